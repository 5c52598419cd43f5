//! From the kernel's errors to Linux's numbers.

use driver_api::Error;
use linux_abi::errno as e;

/// An error number of Linux, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What a call returns to be made again (`ERESTARTSYS` of Linux, which no app sees).
pub const RESTART: isize = -512;

impl Errno {
    /// See `linux_abi::errno`.
    pub const ENOSYS: Self = Self(e::ENOSYS);
    /// See `linux_abi::errno`.
    pub const EINTR: Self = Self(e::EINTR);
    /// See `linux_abi::errno`.
    pub const EINVAL: Self = Self(e::EINVAL);
    /// See `linux_abi::errno`.
    pub const EAGAIN: Self = Self(e::EAGAIN);
    /// See `linux_abi::errno`.
    pub const ESRCH: Self = Self(e::ESRCH);
    /// See `linux_abi::errno`.
    pub const ETIMEDOUT: Self = Self(e::ETIMEDOUT);
    /// See `linux_abi::errno`.
    pub const EPERM: Self = Self(e::EPERM);
    /// See `linux_abi::errno`.
    pub const ECHILD: Self = Self(e::ECHILD);
    /// See `linux_abi::errno`.
    pub const ERANGE: Self = Self(e::ERANGE);
    /// See `linux_abi::errno`.
    pub const EOPNOTSUPP: Self = Self(e::EOPNOTSUPP);

    /// As the result register holds it.
    #[must_use]
    pub const fn register(self) -> isize {
        -(self.0 as isize)
    }
}

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::NoDevice => e::ENXIO,
            Error::Busy => e::EBUSY,
            Error::Invalid | Error::OutOfRange => e::EINVAL,
            Error::NoMemory => e::ENOMEM,
            Error::Io => e::EIO,
            Error::TimedOut => e::ETIMEDOUT,
            Error::Unsupported => e::EOPNOTSUPP,
            Error::Cancelled => e::ECANCELED,
            Error::NotFound => e::ENOENT,
            Error::Exists => e::EEXIST,
            Error::NotDirectory => e::ENOTDIR,
            Error::IsDirectory => e::EISDIR,
            Error::NotEmpty => e::ENOTEMPTY,
            Error::AccessDenied => e::EACCES,
            Error::NotPermitted => e::EPERM,
            Error::ReadOnly => e::EROFS,
            Error::NameTooLong => e::ENAMETOOLONG,
            Error::TooManySymlinks => e::ELOOP,
            Error::TooManyLinks => e::EMLINK,
            Error::NoSpace => e::ENOSPC,
            Error::FileTooLarge => e::EFBIG,
            Error::CrossDevice => e::EXDEV,
            Error::NotSeekable => e::ESPIPE,
            Error::BrokenPipe => e::EPIPE,
            Error::WouldBlock => e::EAGAIN,
            Error::Interrupted => e::EINTR,
            Error::Restart => -(RESTART as i32),
            Error::BadFile => e::EBADF,
            Error::TooManyFiles => e::EMFILE,
            Error::BadRequest => e::ENOTTY,
            Error::Fault => e::EFAULT,
            Error::TextBusy => e::ETXTBSY,
        })
    }
}

/// A call's outcome as its result register.
pub fn register(outcome: super::Outcome) -> isize {
    match outcome {
        Ok(value) => value.cast_signed(),
        Err(errno) => errno.register(),
    }
}
