//! The one error type of drivers and file systems. Only `loader/src/syscall` turns it into
//! an errno.

/// What can go wrong in a driver, in a file system, or in a service that they call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device is not there.
    NoDevice,
    /// The device, or the resource, is in use by another driver.
    Busy,
    /// An argument is outside what the device or the service can do.
    Invalid,
    /// An offset or a length is outside the device or the region.
    OutOfRange,
    /// No memory was left.
    NoMemory,
    /// The device answered with an error, or with something that makes no sense.
    Io,
    /// The device did not answer in time.
    TimedOut,
    /// The device, or the service, cannot do this.
    Unsupported,
    /// It was given up before it was done.
    Cancelled,

    /// No file has this name.
    NotFound,
    /// A file of this name is there already.
    Exists,
    /// A directory was wanted, and this is another kind of file.
    NotDirectory,
    /// Another kind of file was wanted, and this is a directory.
    IsDirectory,
    /// The directory still has entries.
    NotEmpty,
    /// The file's mode and owner do not allow it.
    AccessDenied,
    /// Only a privileged caller may do it, or nobody.
    NotPermitted,
    /// The file system cannot be written to.
    ReadOnly,
    /// A component of the path, or the path, is too long.
    NameTooLong,
    /// The path goes through too many symbolic links.
    TooManySymlinks,
    /// The file has too many names.
    TooManyLinks,
    /// The file system is full.
    NoSpace,
    /// The file would become larger than can be.
    FileTooLarge,
    /// The two names are on different file systems.
    CrossDevice,
    /// The file has no position to seek to.
    NotSeekable,
    /// No process reads the other end of the pipe.
    BrokenPipe,
    /// It would have to wait, and was asked not to.
    WouldBlock,
    /// A signal came while it waited.
    Interrupted,
    /// A signal came while it waited; the call may simply be made again.
    Restart,
    /// The descriptor is not open, or not for this.
    BadFile,
    /// The process has too many open files.
    TooManyFiles,
    /// The request is not one that this kind of file knows.
    BadRequest,
    /// A user pointer does not point to memory that may be used so.
    Fault,
    /// The file is a running program.
    TextBusy,
}

/// A result with [`Error`].
pub type Result<T> = core::result::Result<T, Error>;
