//! The one error type of drivers. Only `loader/src/syscall` turns it into an errno.

/// What can go wrong in a driver or in a service that it calls.
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
}

/// A result with [`Error`].
pub type Result<T> = core::result::Result<T, Error>;
