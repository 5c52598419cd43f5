//! Physical memory as readers of firmware tables see it: any address may be out of reach.

/// Something that can be read by physical address.
pub trait PhysMemory {
    /// Fills `out` from `at`; `false` when not all of it can be read.
    fn read(&self, at: u64, out: &mut [u8]) -> bool;

    /// `N` bytes from `at`.
    fn array<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut out = [0; N];
        self.read(at, &mut out).then_some(out)
    }

    /// The first multiple of 16 in `start .. end`, both such multiples, where the bytes
    /// `signature` are and `accept` says yes.
    fn find(
        &self,
        start: u64,
        end: u64,
        signature: [u8; 4],
        accept: &mut dyn FnMut(u64) -> bool,
    ) -> Option<u64> {
        (start..end).step_by(16).find(|&at| self.array(at) == Some(signature) && accept(at))
    }
}

/// Bytes from address 0, for tests.
impl PhysMemory for &[u8] {
    fn read(&self, at: u64, out: &mut [u8]) -> bool {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..));
        match from.and_then(|b| b.get(..out.len())) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

/// The early mapping of the first 4 GiB.
#[cfg(target_os = "none")]
#[derive(Clone, Copy, Debug)]
pub struct Low4G(());

#[cfg(target_os = "none")]
impl Low4G {
    /// # Safety
    /// The caller keeps the value no longer than the early page tables are active.
    #[must_use]
    pub unsafe fn new() -> Self {
        Self(())
    }
}

#[cfg(target_os = "none")]
impl PhysMemory for Low4G {
    fn read(&self, at: u64, out: &mut [u8]) -> bool {
        let end = at.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > 4 << 30) {
            return false;
        }
        let from = (super::DIRECT_MAP + at as usize) as *const u8;
        // SAFETY: the early tables map these addresses (`new`'s contract); what lies there is
        // plain bytes that nobody writes now, and `out` is the kernel's own memory.
        unsafe { core::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) };
        true
    }
    /// Firmware's 128 KiB are searched at every boot without ACPI: word by word.
    fn find(
        &self,
        start: u64,
        end: u64,
        signature: [u8; 4],
        accept: &mut dyn FnMut(u64) -> bool,
    ) -> Option<u64> {
        let wanted = u32::from_le_bytes(signature);
        let end = end.min(4 << 30);
        let mut at = start.next_multiple_of(16);
        while at < end {
            let word = (super::DIRECT_MAP + at as usize) as *const u32;
            // SAFETY: as in `read`, and aligned.
            if unsafe { word.read_volatile() } == wanted && accept(at) {
                return Some(at);
            }
            at += 16;
        }
        None
    }
}
