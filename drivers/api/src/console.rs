//! Consoles: where the kernel's log and the app's terminal go.

/// A serial port or another character device that people read.
pub trait Console: Send + Sync {
    /// Writes all of `bytes`, waiting for the device where it must. Callable from any
    /// context, interrupts and panics included; takes no lock that a panic could hold
    /// for ever (implementations try, bounded, then write anyway).
    fn write(&self, bytes: &[u8]);

    /// Starts to deliver input to `input` by interrupts. Called once, after memory and
    /// interrupts are up.
    ///
    /// # Errors
    /// When the device has no interrupt or the kernel refuses it.
    fn start_input(
        &'static self,
        kernel: &'static dyn crate::Kernel,
        input: &'static dyn ConsoleInput,
    ) -> crate::Result<()>;
}

/// Where a console's input goes.
pub trait ConsoleInput: Send + Sync {
    /// Takes one received byte. Called in interrupt context.
    fn receive(&self, byte: u8);
}
