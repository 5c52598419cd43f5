//! Device registers: I/O ports and memory, with every access checked against its range.

#[cfg(not(target_os = "none"))]
use crate::fake::Registers;
#[cfg(not(target_os = "none"))]
use alloc::sync::Arc;

/// A claimed range of x64 I/O ports.
pub struct Pio {
    base: u16,
    len: u16,
    /// On the host: what answers.
    #[cfg(not(target_os = "none"))]
    model: Option<Arc<dyn Registers>>,
}

impl core::fmt::Debug for Pio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ports {:#x} + {}", self.base, self.len)
    }
}

impl Pio {
    /// # Safety
    /// The caller (the kernel) gives each range of ports to one driver only, and no port in
    /// it may change memory or the CPU's state behind Rust's back.
    #[must_use]
    pub const unsafe fn new(base: u16, len: u16) -> Self {
        Self {
            base,
            len,
            #[cfg(not(target_os = "none"))]
            model: None,
        }
    }

    /// Ports that a model answers for, in tests.
    #[cfg(not(target_os = "none"))]
    #[must_use]
    pub fn model(model: Arc<dyn Registers>, base: u16, len: u16) -> Self {
        Self { base, len, model: Some(model) }
    }

    /// The first port.
    #[must_use]
    pub const fn base(&self) -> u16 {
        self.base
    }

    /// The port at `offset`, when `size` bytes from there are inside.
    fn at(&self, offset: u16, size: u16) -> Option<u16> {
        let end = offset.checked_add(size)?;
        if end <= self.len { self.base.checked_add(offset) } else { None }
    }
}

macro_rules! ports {
    ($($read:ident $write:ident $ty:ident $in:ident $out:ident;)*) => { impl Pio { $(
        /// Reads the port `offset`; all ones when it is outside the range, as from a port
        /// without a device.
        #[must_use]
        pub fn $read(&self, offset: u16) -> $ty {
            #[cfg(not(target_os = "none"))]
            if let Some(model) = &self.model {
                let size = size_of::<$ty>();
                return match self.at(offset, size as u16) {
                    Some(_) => model.read(offset.into(), size) as $ty,
                    None => $ty::MAX,
                };
            }
            self.at(offset, size_of::<$ty>() as u16).map_or($ty::MAX, raw::$in)
        }

        /// Writes the port `offset`; nothing happens when it is outside the range.
        pub fn $write(&self, offset: u16, value: $ty) {
            let Some(port) = self.at(offset, size_of::<$ty>() as u16) else { return };
            #[cfg(not(target_os = "none"))]
            if let Some(model) = &self.model {
                return model.write(offset.into(), size_of::<$ty>(), value.into());
            }
            raw::$out(port, value);
        }
    )* } };
}

ports! {
    read8 write8 u8 in8 out8;
    read16 write16 u16 in16 out16;
    read32 write32 u32 in32 out32;
}

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod raw {
    use core::arch::asm;

    macro_rules! instructions {
        ($($in:ident $out:ident $ty:ty, $read:literal, $write:literal, $reg:tt;)*) => { $(
            pub fn $in(port: u16) -> $ty {
                let value: $ty;
                // SAFETY: `Pio::new`'s contract: reading this port touches the device alone.
                unsafe {
                    asm!($read, in("dx") port, out($reg) value,
                        options(nomem, nostack, preserves_flags));
                }
                value
            }

            pub fn $out(port: u16, value: $ty) {
                // SAFETY: `Pio::new`'s contract: writing this port touches the device alone.
                unsafe {
                    asm!($write, in("dx") port, in($reg) value,
                        options(nomem, nostack, preserves_flags));
                }
            }
        )* };
    }

    instructions! {
        in8 out8 u8, "in al, dx", "out dx, al", "al";
        in16 out16 u16, "in ax, dx", "out dx, ax", "ax";
        in32 out32 u32, "in eax, dx", "out dx, eax", "eax";
    }
}

/// Where there are no ports, reads float high and writes are lost.
#[cfg(not(all(target_os = "none", target_arch = "x86_64")))]
mod raw {
    macro_rules! none {
        ($($in:ident $out:ident $ty:ident;)*) => { $(
            pub fn $in(_port: u16) -> $ty {
                $ty::MAX
            }

            pub fn $out(_port: u16, _value: $ty) {}
        )* };
    }

    none! {
        in8 out8 u8;
        in16 out16 u16;
        in32 out32 u32;
    }
}

/// A mapped range of device registers.
pub struct Mmio {
    base: *mut u8,
    len: usize,
    /// On the host: what answers, and where in it this range begins.
    #[cfg(not(target_os = "none"))]
    model: Option<(Arc<dyn Registers>, usize)>,
}

impl core::fmt::Debug for Mmio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "registers {:p} + {:#x}", self.base, self.len)
    }
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
    /// refers to.
    #[must_use]
    pub const unsafe fn new(base: *mut u8, len: usize) -> Self {
        Self {
            base,
            len,
            #[cfg(not(target_os = "none"))]
            model: None,
        }
    }

    /// The `len` bytes from `offset` of registers that a model answers for, in tests.
    #[cfg(not(target_os = "none"))]
    #[must_use]
    pub fn model(model: Arc<dyn Registers>, offset: usize, len: usize) -> Self {
        Self { base: core::ptr::null_mut(), len, model: Some((model, offset)) }
    }

    /// The part of it from `offset` on, `len` bytes long.
    ///
    /// # Errors
    /// `OutOfRange` when it is not all inside, or begins at no multiple of 4.
    pub fn part(&self, offset: usize, len: usize) -> crate::Result<Self> {
        let end = offset.checked_add(len).ok_or(crate::Error::OutOfRange)?;
        if end > self.len || !offset.is_multiple_of(4) {
            return Err(crate::Error::OutOfRange);
        }
        Ok(Self {
            base: self.base.wrapping_add(offset),
            len,
            #[cfg(not(target_os = "none"))]
            model: self.model.as_ref().map(|(model, at)| (Arc::clone(model), at + offset)),
        })
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
        let at = self.base.wrapping_add(offset);
        (end <= self.len && at.addr().is_multiple_of(align_of::<T>())).then(|| at.cast())
    }
}

macro_rules! accessors {
    ($($read:ident $write:ident $ty:ty;)*) => { impl Mmio { $(
        /// Reads a register; all ones when `offset` (bytes) is outside the range or
        /// misaligned, as from a bus without a device.
        #[must_use]
        pub fn $read(&self, offset: usize) -> $ty {
            #[cfg(not(target_os = "none"))]
            if let Some((model, start)) = &self.model {
                return match self.at::<$ty>(offset) {
                    Some(_) => model.read(start + offset, size_of::<$ty>()) as $ty,
                    None => <$ty>::MAX,
                };
            }
            match self.at::<$ty>(offset) {
                // SAFETY: `at` checked range and alignment; `new`'s contract for the rest.
                Some(p) => unsafe { p.read_volatile() },
                None => <$ty>::MAX,
            }
        }

        /// Writes a register; nothing happens when `offset` (bytes) is outside the range or
        /// misaligned.
        pub fn $write(&self, offset: usize, value: $ty) {
            #[cfg(not(target_os = "none"))]
            if let Some((model, start)) = &self.model {
                if self.at::<$ty>(offset).is_some() {
                    model.write(start + offset, size_of::<$ty>(), value.into());
                }
                return;
            }
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
