//! Memory: the heap, large and small, given back.

use crate::{Test, failed, same};

pub const TESTS: &[Test] = &[
    ("memory: small and large blocks", blocks),
    ("memory: grows in place or moves", grow),
    ("memory: zeroed and given back", give_back),
    ("memory: deep recursion", recursion),
];

/// A line of `/proc/meminfo`.
pub fn meminfo_kib(name: &str) -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(failed("meminfo"))?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)).ok_or("no such line")?;
    line.trim().trim_end_matches(" kB").parse().map_err(failed(name))
}

/// How much memory nobody uses. It takes none to ask: a file of `/proc` cannot be opened when all
/// is full.
pub fn free_kib() -> u64 {
    let info = rustix::system::sysinfo();
    info.freeram * u64::from(info.mem_unit) / 1024
}

fn blocks() -> Result<(), String> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for i in 0..2000_usize {
        let len = i * 37 % 5000 + 1;
        all.push(vec![i as u8; len]);
        if i % 3 == 0 {
            all.swap_remove(i * 7 % all.len());
        }
    }
    for block in &all {
        same!(block.iter().all(|b| *b == block[0]), true);
    }
    Ok(())
}

fn grow() -> Result<(), String> {
    let mut v: Vec<u64> = Vec::new();
    for i in 0..400_000 {
        v.push(i);
    }
    same!(v.iter().enumerate().all(|(i, x)| i as u64 == *x), true);
    v.truncate(10);
    v.shrink_to_fit();
    same!(v.len(), 10);
    Ok(())
}

/// More in all than the machine has: what is dropped must come back, and as zeroes.
fn give_back() -> Result<(), String> {
    for _ in 0..64 {
        let v = vec![0_u8; 4 << 20];
        same!(v.iter().step_by(4096).all(|b| *b == 0), true);
        let mut v = v;
        v.iter_mut().step_by(4096).for_each(|b| *b = 0xff);
        std::hint::black_box(&v);
    }
    Ok(())
}

fn recursion() -> Result<(), String> {
    #[inline(never)]
    fn depth(n: usize) -> usize {
        let frame = [n as u8; 512];
        std::hint::black_box(&frame);
        if n == 0 { 0 } else { 1 + depth(n - 1) }
    }
    same!(depth(8000), 8000);
    Ok(())
}
