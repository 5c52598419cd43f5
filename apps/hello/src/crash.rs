//! Ways to end badly, for those who test how that is reported.

/// Writes to the first page, which is never mapped.
#[allow(unsafe_code)]
#[inline(never)]
pub fn segfault() {
    // Not null itself: debug builds check for that and panic instead.
    let nowhere = std::ptr::without_provenance_mut::<u8>(8);
    // SAFETY: none. The write is meant to be refused by the MMU; on a system that mapped the
    // first page it would change a byte there, which nothing in this program uses.
    unsafe { nowhere.write_volatile(1) }
}

/// Takes memory, and uses it, until the system ends the program or refuses.
pub fn take_all_memory() {
    const CHUNK: usize = 1 << 20;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(CHUNK).is_err() {
            println!("refused after {} MiB", taken.len());
            return;
        }
        chunk.resize(CHUNK, taken.len() as u8);
        taken.push(std::hint::black_box(chunk));
    }
}
