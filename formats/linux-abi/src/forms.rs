//! Ways in which calls are made: what each argument is, so that a test can make every call
//! well, and then badly in one argument at a time.
//!
//! Only tests use it; a kernel holds none of it.

/// An argument of a [`Form`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// This number, and no other: another could end the test, or its process.
    Is(u64),
    /// This number is right; any other is harmless.
    Any(u64),
    /// A length in bytes, or of an array: this one is right.
    Len(u64),
    /// A descriptor of a regular file of a page or more, open for reading and writing.
    File,
    /// A descriptor of a directory.
    Dir,
    /// A descriptor of what the form's `made_by` made: an epoll set, a timer.
    Made,
    /// Where these bytes are, which the call reads. Others could end the test.
    In(&'static [u8]),
    /// As [`Self::In`], and any other bytes are harmless.
    InAny(&'static [u8]),
    /// As [`Self::In`], or null.
    InOrNull(&'static [u8]),
    /// As [`Self::In`]: how long to wait. Null, for ever, is right as well.
    Timeout(&'static [u8]),
    /// Where the call writes so many bytes.
    Out(usize),
    /// As [`Self::Out`], or null.
    OutOrNull(usize),
    /// Where the call reads these bytes, and writes as many or fewer.
    InOut(&'static [u8]),
    /// As [`Self::InOut`], or null.
    InOutOrNull(&'static [u8]),
    /// Path of a regular file.
    Path,
    /// Path of an empty directory.
    DirPath,
    /// Path of a symbolic link.
    LinkPath,
    /// A path where nothing is, in a directory that is there.
    NewPath,
    /// Two `struct iovec` of 32 bytes each, to read into.
    VectorOut,
    /// The same, to write from.
    VectorIn,
    /// Address of whole pages of the test's own, of which the call needs `Len` bytes.
    Pages,
    /// An address that the call keeps, or does not look at.
    Address,
}

impl Arg {
    /// Whether the call reads or writes memory there.
    #[must_use]
    pub const fn is_pointer(self) -> bool {
        matches!(
            self,
            Self::In(_)
                | Self::InAny(_)
                | Self::InOrNull(_)
                | Self::Timeout(_)
                | Self::Out(_)
                | Self::OutOrNull(_)
                | Self::InOut(_)
                | Self::InOutOrNull(_)
                | Self::Path
                | Self::DirPath
                | Self::LinkPath
                | Self::NewPath
                | Self::VectorOut
                | Self::VectorIn
        )
    }

    /// Whether a null pointer is right as well.
    #[must_use]
    pub const fn may_be_null(self) -> bool {
        matches!(
            self,
            Self::InOrNull(_) | Self::OutOrNull(_) | Self::InOutOrNull(_) | Self::Timeout(_)
        )
    }

    /// Whether the call writes there.
    #[must_use]
    pub const fn is_written(self) -> bool {
        matches!(self, Self::Out(_) | Self::OutOrNull(_) | Self::InOut(_))
    }
}

/// What a call answers when all of its arguments are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No error.
    Works,
    /// This error, whatever the arguments are.
    Fails(i32),
    /// It would not come back to the test as it was: made with bad pointers only.
    NotMade,
}

/// A way to make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The call's name.
    pub name: &'static str,
    /// Its arguments; those that are missing are 0.
    pub args: &'static [Arg],
    /// Its answer when they are right.
    pub answer: Answer,
    /// The form, by its call's name, whose result is the descriptor [`Arg::Made`].
    pub made_by: &'static str,
}

/// Calls that no test makes, and why.
pub const NOT_MADE: &[(&str, &str)] = &[
    ("exit", "ends the thread"),
    ("exit_group", "ends the machine"),
    ("pause", "waits for a signal, and has no arguments"),
    ("rt_sigreturn", "its argument is the stack"),
    ("set_tid_address", "who joins the thread relies on it"),
];

const fn form(name: &'static str, args: &'static [Arg]) -> Form {
    Form { name, args, answer: Answer::Works, made_by: "" }
}

const fn fails(name: &'static str, args: &'static [Arg], errno: i32) -> Form {
    Form { name, args, answer: Answer::Fails(errno), made_by: "" }
}

const fn not_made(name: &'static str, args: &'static [Arg]) -> Form {
    Form { name, args, answer: Answer::NotMade, made_by: "" }
}

use crate::errno::{EBADF, ECHILD, EINVAL, ENODEV, ENOSYS, EPERM};
use Arg::{
    Address, Any, Dir, DirPath, File, In, InAny, InOrNull, InOut, InOutOrNull, Is, Len, LinkPath,
    Made, NewPath, Out, OutOrNull, Pages, Path, Timeout, VectorIn, VectorOut,
};

/// `AT_FDCWD`.
const CWD: Arg = Is(-100_i64 as u64);
/// Eight zero bytes and more.
const Z: &[u8] = &[0; 256];

const fn zeroes(n: usize) -> &'static [u8] {
    Z.split_at(n).0
}

/// No time at all: a `struct timespec`.
const TIME: &[u8] = zeroes(16);
/// An empty signal set.
const SET: &[u8] = zeroes(8);
/// A `struct rlimit` of descriptors that changes nothing: 4096, and 4096.
const LIMIT: &[u8] = &[0, 16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0];
/// One `struct pollfd`: descriptor -1, which nobody waits for.
const POLL: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// A set of all CPUs that there can be.
const ALL_CPUS: &[u8] = &[0xff; 8];
/// A `struct sched_attr`: its length, and `SCHED_OTHER` with nice 0.
const ATTRIBUTES: &[u8] = &{
    let mut raw = [0; 48];
    raw[0] = 48;
    raw
};
/// The root's path.
const ROOT: &[u8] = b"/\0";
/// `struct flock` of the whole file: `F_WRLCK` from the start.
const LOCK: &[u8] = &[
    1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// The same that unlocks: a lock of the file's is in the way of the process's.
const UNLOCK: &[u8] = &[
    2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A `struct sigevent` with `SIGEV_NONE`.
const NO_SIGNAL: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Length of `struct epoll_event`: packed on x86-64.
const EVENT: usize = if cfg!(target_arch = "x86_64") { 12 } else { 16 };
/// Length of `struct stat`: x86-64 has its own, arm64 the generic one.
const STAT: usize = if cfg!(target_arch = "x86_64") { 144 } else { 128 };

/// `CLONE_VM | FS | FILES | SIGHAND | THREAD | PARENT_SETTID` (`linux/sched.h`).
const THREAD_SETTID: u64 = 0x11_0f00;

/// The forms of all calls that the kernel has, sorted by name.
#[rustfmt::skip]
pub static FORMS: &[Form] = &[
    form("access", &[Path, Any(4)]),
    form("alarm", &[Is(0)]),
    form("arch_prctl", &[Is(0x1003), Out(8)]),
    form("arch_prctl", &[Is(0x1004), Out(8)]),
    form("brk", &[Is(0)]),
    form("chdir", &[DirPath]),
    form("chmod", &[Path, Is(0o644)]),
    form("chown", &[Path, Is(0), Is(0)]),
    form("chroot", &[In(ROOT)]),
    form("clock_getres", &[Any(1), OutOrNull(16)]),
    form("clock_gettime", &[Any(0), Out(16)]),
    form("clock_nanosleep", &[Any(1), Any(0), InAny(TIME), Is(0)]),
    not_made("clock_settime", &[Is(0), In(TIME)]),
    not_made("clone", &[Is(THREAD_SETTID), Address, Out(4), Is(0), Is(0)]),
    not_made("clone3", &[In(zeroes(88)), Is(88)]),
    fails("close", &[Is(4095)], EBADF),
    form("close_range", &[Is(4090), Is(4095), Any(0)]),
    form("creat", &[NewPath, Is(0o644)]),
    form("dup", &[File]),
    form("dup2", &[File, Is(300)]),
    form("dup3", &[File, Is(301), Any(0)]),
    form("epoll_create", &[Any(1)]),
    form("epoll_create1", &[Any(0)]),
    Form { made_by: "epoll_create1", ..fails("epoll_ctl", &[Made, Is(1), File, InAny(zeroes(EVENT))], EPERM) },
    Form { made_by: "epoll_create1", ..form("epoll_pwait", &[Made, Address, Any(4), Is(0), InOrNull(SET), Any(8)]) },
    Form { made_by: "epoll_create1", ..form("epoll_pwait2", &[Made, Address, Any(4), Timeout(TIME), InOrNull(SET), Any(8)]) },
    Form { made_by: "epoll_create1", ..form("epoll_wait", &[Made, Address, Any(4), Is(0)]) },
    form("eventfd", &[Any(1)]),
    form("eventfd2", &[Any(1), Any(0)]),
    fails("execve", &[Path, Is(0), Is(0)], ENOSYS),
    form("faccessat", &[CWD, Path, Any(4)]),
    form("faccessat2", &[CWD, Path, Any(4), Any(0)]),
    form("fallocate", &[File, Any(0), Is(0), Is(100)]),
    form("fchdir", &[Dir]),
    form("fchmod", &[File, Is(0o644)]),
    form("fchmodat", &[CWD, Path, Is(0o644)]),
    form("fchown", &[File, Is(0), Is(0)]),
    form("fchownat", &[CWD, Path, Is(0), Is(0), Any(0)]),
    form("fcntl", &[File, Is(1), Any(0)]),
    form("fcntl", &[File, Is(2), Any(0)]),
    form("fcntl", &[File, Is(3), Any(0)]),
    form("fcntl", &[File, Is(4), Any(0)]),
    form("fcntl", &[File, Is(0), Any(0)]),
    form("fcntl", &[File, Is(5), InOut(LOCK)]),
    form("fcntl", &[File, Is(6), In(LOCK)]),
    form("fcntl", &[File, Is(36), InOut(LOCK)]),
    form("fcntl", &[File, Is(37), In(UNLOCK)]),
    form("fcntl", &[File, Is(1030), Any(0)]),
    form("fdatasync", &[File]),
    form("flock", &[File, Any(1)]),
    fails("fork", &[], ENOSYS),
    form("fstat", &[File, Out(STAT)]),
    form("fstatfs", &[File, Out(120)]),
    form("fsync", &[File]),
    form("ftruncate", &[File, Is(8192)]),
    form("futex", &[Address, Is(129), Any(1), Any(0), Any(0), Any(0)]),
    form("futex", &[In(zeroes(4)), Is(131), Any(0), Any(0), Is(64), Is(0)]),
    form("futex", &[In(zeroes(4)), Is(133), Any(1), Any(1), InOut(zeroes(4)), Any(0)]),
    not_made("futex", &[In(zeroes(4)), Is(128), Any(0), Timeout(TIME)]),
    not_made("futex", &[In(zeroes(4)), Is(137), Any(0), Timeout(TIME), Is(0), Any(1)]),
    form("get_robust_list", &[Is(0), Out(8), Out(8)]),
    form("getcpu", &[OutOrNull(4), OutOrNull(4), Any(0)]),
    form("getcwd", &[Out(2), Len(64)]),
    form("getdents64", &[Dir, Out(48), Len(48)]),
    form("getegid", &[]),
    form("geteuid", &[]),
    form("getgid", &[]),
    form("getgroups", &[Is(0), Address]),
    form("getitimer", &[Is(0), Out(32)]),
    form("getpgid", &[Any(0)]),
    form("getpgrp", &[]),
    form("getpid", &[]),
    form("getppid", &[]),
    form("getpriority", &[Any(0), Any(0)]),
    form("getrandom", &[Out(64), Len(64), Any(0)]),
    form("getresgid", &[Out(4), Out(4), Out(4)]),
    form("getresuid", &[Out(4), Out(4), Out(4)]),
    form("getrlimit", &[Any(7), Out(16)]),
    form("getrusage", &[Any(0), Out(144)]),
    form("getsid", &[Any(0)]),
    form("gettid", &[]),
    form("gettimeofday", &[OutOrNull(16), OutOrNull(8)]),
    form("getuid", &[]),
    form("ioctl", &[File, Is(0x5421), In(zeroes(4))]),
    form("kill", &[Is(0), Is(0)]),
    form("lchown", &[LinkPath, Is(0), Is(0)]),
    form("link", &[Path, NewPath]),
    form("linkat", &[CWD, Path, CWD, NewPath, Any(0)]),
    form("lseek", &[File, Any(16), Any(0)]),
    form("lstat", &[LinkPath, Out(STAT)]),
    form("madvise", &[Pages, Len(8192), Any(4)]),
    form("membarrier", &[Any(0), Any(0)]),
    form("mincore", &[Pages, Len(8192), Out(2)]),
    form("mkdir", &[NewPath, Is(0o755)]),
    form("mkdirat", &[CWD, NewPath, Is(0o755)]),
    form("mknod", &[NewPath, Is(0o10_644), Any(0)]),
    form("mknodat", &[CWD, NewPath, Is(0o10_644), Any(0)]),
    form("mlock", &[Pages, Len(8192)]),
    form("mmap", &[Is(0), Len(8192), Any(3), Is(0x22), Any(u64::MAX), Any(0)]),
    form("mmap", &[Pages, Len(4096), Any(3), Is(0x32), Any(u64::MAX), Any(0)]),
    form("mmap", &[Is(0), Len(4096), Any(1), Is(2), File, Any(0)]),
    fails("mount", &[InAny(b"none\0"), DirPath, InAny(b"nofs\0"), Is(0), InOrNull(b"\0")], ENODEV),
    form("mprotect", &[Pages, Len(8192), Any(3)]),
    form("mremap", &[Pages, Len(8192), Is(4096), Is(1), Is(0)]),
    form("mremap", &[Pages, Len(4096), Is(12288), Is(1), Is(0)]),
    form("msync", &[Pages, Len(8192), Any(4)]),
    form("munlock", &[Pages, Len(8192)]),
    form("munmap", &[Pages, Len(8192)]),
    form("nanosleep", &[InAny(TIME), Is(0)]),
    form("newfstatat", &[CWD, Path, Out(STAT), Any(0)]),
    form("open", &[Path, Any(2), Is(0)]),
    form("open", &[NewPath, Is(0o102), Is(0o644)]),
    form("openat", &[CWD, Path, Any(0), Is(0)]),
    form("pipe", &[Out(8)]),
    form("pipe2", &[Out(8), Any(0)]),
    form("poll", &[InOut(POLL), Len(1), Is(0)]),
    form("ppoll", &[InOut(POLL), Len(1), Timeout(TIME), InOrNull(SET), Any(8)]),
    form("prctl", &[Is(15), In(b"selftest\0")]),
    form("prctl", &[Is(16), Out(16)]),
    form("pread64", &[File, Out(64), Len(64), Any(0)]),
    form("preadv", &[File, VectorOut, Len(2), Any(0), Any(0)]),
    form("preadv2", &[File, VectorOut, Len(2), Any(0), Any(0), Any(0)]),
    form("prlimit64", &[Is(0), Is(7), InOrNull(LIMIT), OutOrNull(16)]),
    form("pselect6", &[Is(8), InOutOrNull(SET), InOutOrNull(SET), InOutOrNull(SET), Timeout(TIME), Is(0)]),
    form("pselect6", &[Is(0), Is(0), Is(0), Is(0), Timeout(TIME), InOrNull(zeroes(16))]),
    form("pwrite64", &[File, InAny(zeroes(64)), Len(64), Is(0)]),
    form("pwritev", &[File, VectorIn, Len(2), Is(0), Is(0)]),
    form("pwritev2", &[File, VectorIn, Len(2), Is(0), Is(0), Any(0)]),
    form("read", &[File, Out(64), Len(64)]),
    form("readlink", &[LinkPath, Out(1), Len(64)]),
    form("readlinkat", &[CWD, LinkPath, Out(1), Len(64)]),
    form("readv", &[File, VectorOut, Len(2)]),
    form("rename", &[Path, NewPath]),
    form("renameat", &[CWD, Path, CWD, NewPath]),
    form("renameat2", &[CWD, Path, CWD, NewPath, Any(0)]),
    form("rmdir", &[DirPath]),
    form("rt_sigaction", &[Is(64), InOrNull(zeroes(32)), OutOrNull(32), Any(8)]),
    form("rt_sigpending", &[Out(8), Any(8)]),
    form("rt_sigprocmask", &[Is(0), InOrNull(SET), OutOrNull(8), Any(8)]),
    form("rt_sigqueueinfo", &[Is(1), Is(0), InAny(zeroes(32))]),
    not_made("rt_sigsuspend", &[In(SET), Is(8)]),
    not_made("rt_sigtimedwait", &[In(SET), Address, Timeout(TIME), Is(8)]),
    form("rt_tgsigqueueinfo", &[Is(1), Is(1), Is(0), InAny(zeroes(32))]),
    form("sched_get_priority_max", &[Any(0)]),
    form("sched_get_priority_min", &[Any(0)]),
    form("sched_getaffinity", &[Any(0), Is(8), Out(8)]),
    form("sched_getattr", &[Any(0), Out(48), Is(48), Any(0)]),
    form("sched_getparam", &[Any(0), Out(4)]),
    form("sched_getscheduler", &[Any(0)]),
    form("sched_rr_get_interval", &[Any(0), Out(16)]),
    form("sched_setaffinity", &[Is(0), Is(8), In(ALL_CPUS)]),
    form("sched_setattr", &[Is(0), In(ATTRIBUTES), Any(0)]),
    form("sched_setparam", &[Any(0), InAny(zeroes(4))]),
    form("sched_setscheduler", &[Is(0), Is(0), In(zeroes(4))]),
    form("sched_yield", &[]),
    form("select", &[Is(8), InOutOrNull(SET), InOutOrNull(SET), InOutOrNull(SET), Timeout(TIME)]),
    form("set_robust_list", &[Address, Is(24)]),
    form("setitimer", &[Is(0), InOrNull(zeroes(32)), OutOrNull(32)]),
    form("setpgid", &[Any(0), Any(0)]),
    form("setpriority", &[Is(0), Is(0), Is(0)]),
    form("setrlimit", &[Is(7), In(LIMIT)]),
    fails("setsid", &[], EPERM),
    form("sigaltstack", &[InOrNull(&[0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), OutOrNull(24)]),
    form("stat", &[Path, Out(STAT)]),
    form("statfs", &[Path, Out(120)]),
    form("statx", &[CWD, Path, Any(0), Any(0x7ff), Out(256)]),
    form("symlink", &[In(b"target\0"), NewPath]),
    form("symlinkat", &[In(b"target\0"), CWD, NewPath]),
    form("sync", &[]),
    form("syncfs", &[File]),
    form("sysinfo", &[Out(112)]),
    // How much is written depends on the log: `selftest edges` has its bad pointers.
    form("syslog", &[Is(10), Address, Any(1024)]),
    form("tgkill", &[Is(1), Is(1), Is(0)]),
    form("time", &[OutOrNull(8)]),
    form("timer_create", &[Any(1), InOrNull(NO_SIGNAL), Out(4)]),
    fails("timer_delete", &[Is(63)], EINVAL),
    fails("timer_getoverrun", &[Is(63)], EINVAL),
    fails("timer_gettime", &[Is(63), Address], EINVAL),
    fails("timer_settime", &[Is(63), Any(0), In(zeroes(32)), Address], EINVAL),
    form("timerfd_create", &[Any(1), Any(0)]),
    Form { made_by: "timerfd_create", ..form("timerfd_gettime", &[Made, Out(32)]) },
    Form { made_by: "timerfd_create", ..form("timerfd_settime", &[Made, Any(0), InAny(zeroes(32)), OutOrNull(32)]) },
    form("times", &[OutOrNull(32)]),
    form("tkill", &[Is(1), Is(0)]),
    form("truncate", &[Path, Is(8192)]),
    form("umask", &[Is(0o022)]),
    fails("umount2", &[DirPath, Is(0)], EINVAL),
    form("uname", &[Out(390)]),
    form("unlink", &[Path]),
    form("unlinkat", &[CWD, Path, Is(0)]),
    form("utimensat", &[CWD, Path, InOrNull(zeroes(32)), Any(0)]),
    fails("vfork", &[], ENOSYS),
    fails("wait4", &[Any(0), Address, Any(0), Address], ECHILD),
    fails("waitid", &[Any(0), Any(0), Address, Any(4), Address], ECHILD),
    form("write", &[File, InAny(zeroes(64)), Len(64)]),
    form("writev", &[File, VectorIn, Len(2)]),
];
