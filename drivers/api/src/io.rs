//! Device registers: I/O ports and memory, with every access checked against its range.

/// A claimed range of x64 I/O ports.
#[derive(Debug)]
pub struct Pio {
    base: u16,
    len: u16,
}

impl Pio {
    /// # Safety
    /// The caller (the kernel) gives each range of ports to one driver only, and no port in
    /// it may change memory or the CPU's state behind Rust's back.
    #[must_use]
    pub const unsafe fn new(base: u16, len: u16) -> Self {
        Self { base, len }
    }

    /// The first port.
    #[must_use]
    pub const fn base(&self) -> u16 {
        self.base
    }

    /// Reads the byte port `offset`; all ones when it is outside the range, as from a port
    /// without a device.
    #[must_use]
    pub fn read8(&self, offset: u16) -> u8 {
        if offset >= self.len {
            return u8::MAX;
        }
        port_in(self.base + offset)
    }

    /// Writes the byte port `offset`; nothing happens when it is outside the range.
    pub fn write8(&self, offset: u16, value: u8) {
        if offset < self.len {
            port_out(self.base + offset, value);
        }
    }
}

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
fn port_in(port: u16) -> u8 {
    let value: u8;
    // SAFETY: `Pio::new`'s contract: reading this port touches the device alone.
    unsafe {
        core::arch::asm!("in al, dx", in("dx") port, out("al") value,
            options(nomem, nostack, preserves_flags));
    }
    value
}

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
fn port_out(port: u16, value: u8) {
    // SAFETY: `Pio::new`'s contract: writing this port touches the device alone.
    unsafe {
        core::arch::asm!("out dx, al", in("dx") port, in("al") value,
            options(nomem, nostack, preserves_flags));
    }
}

/// Where there are no ports, reads float high.
#[cfg(not(all(target_os = "none", target_arch = "x86_64")))]
fn port_in(_port: u16) -> u8 {
    u8::MAX
}

/// Where there are no ports, writes are lost.
#[cfg(not(all(target_os = "none", target_arch = "x86_64")))]
fn port_out(_port: u16, _value: u8) {}

/// A mapped range of device registers.
#[derive(Debug)]
pub struct Mmio {
    base: *mut u8,
    len: usize,
}

// SAFETY: the range is device memory that every CPU sees at the same address; accesses are
// volatile and of register size, and the driver that owns the value orders them.
unsafe impl Send for Mmio {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mmio {}

impl Mmio {
    /// # Safety
    /// `base` is the virtual address of `len` bytes of device memory, mapped uncached for
    /// ever, or (on the host) of plain memory that outlives the value and that nothing else
    /// refers to. It is aligned to 8 bytes.
    #[must_use]
    pub const unsafe fn new(base: *mut u8, len: usize) -> Self {
        Self { base, len }
    }

    /// Registers that are plain memory, for tests of drivers: what is written stays, and the
    /// test sees and changes it through `words`.
    #[cfg(not(target_os = "none"))]
    #[must_use]
    pub fn fake(words: &'static [core::sync::atomic::AtomicU64]) -> Self {
        // SAFETY: atomics may change while they are shared; they live for ever and are
        // aligned to 8 bytes, and the host's accesses of register size are whole.
        unsafe { Self::new(words.as_ptr().cast_mut().cast(), size_of_val(words)) }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the range is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of a register of `T`, when it is aligned and inside.
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let end = offset.checked_add(size_of::<T>())?;
        (end <= self.len && offset.is_multiple_of(align_of::<T>()))
            .then(|| self.base.wrapping_add(offset).cast())
    }
}

macro_rules! accessors {
    ($($read:ident $write:ident $ty:ty;)*) => { impl Mmio { $(
        /// Reads a register; all ones when `offset` (bytes) is outside the range or
        /// misaligned, as from a bus without a device.
        #[must_use]
        pub fn $read(&self, offset: usize) -> $ty {
            match self.at::<$ty>(offset) {
                // SAFETY: `at` checked range and alignment; `new`'s contract for the rest.
                Some(p) => unsafe { p.read_volatile() },
                None => <$ty>::MAX,
            }
        }

        /// Writes a register; nothing happens when `offset` (bytes) is outside the range or
        /// misaligned.
        pub fn $write(&self, offset: usize, value: $ty) {
            if let Some(p) = self.at::<$ty>(offset) {
                // SAFETY: `at` checked range and alignment; `new`'s contract for the rest.
                unsafe { p.write_volatile(value) }
            }
        }
    )* } };
}

accessors! {
    read8 write8 u8;
    read16 write16 u16;
    read32 write32 u32;
    read64 write64 u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mmio_refuses_what_is_outside_or_misaligned() {
        let mut registers = [0x1122_3344_5566_7788_u64, u64::MAX];
        // SAFETY: `registers` outlives `mmio` and is used through it alone until the end.
        let mmio = unsafe { Mmio::new(registers.as_mut_ptr().cast(), 16) };
        assert_eq!(mmio.read32(0), 0x5566_7788);
        assert_eq!(mmio.read32(2), u32::MAX);
        assert_eq!(mmio.read64(9), u64::MAX);
        assert_eq!(mmio.read64(usize::MAX), u64::MAX);
        mmio.write32(4, 7);
        mmio.write32(16, 9);
        assert_eq!(mmio.read64(0), 0x7_5566_7788);
    }
}
