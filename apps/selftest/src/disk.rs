//! `/dev/blk0`: a disk each of whose 8 bytes are their own offset when the kernel boots, of
//! which the tests leave behind what the host then verifies (`scenarios/README.md`): the first
//! 24 MiB inverted, the rest as it was.

use crate::calls::raw;
use crate::{Test, failed, same};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};

pub const TESTS: &[Test] = &[
    ("disk: what it says of itself", asked),
    ("disk: the pattern is read", pattern),
    ("disk: requests of every size", sizes),
    ("disk: bytes at any offset", bytes),
    ("disk: position and end", positions),
    ("disk: random requests from four threads", random),
    ("disk: everything is rewritten and flushed", rewritten),
];

const SECTOR: usize = 512;
/// Bytes at the front that the tests write to.
const SCRATCH: usize = 24 << 20;
/// The largest request.
const LARGEST: usize = 8 << 20;
/// What a written word adds to its offset, times the generation.
const GENERATION: u64 = 1 << 48;
/// Every bit flipped.
const INVERSE: u64 = u64::MAX;

/// `BLK*` (`include/uapi/linux/fs.h`).
mod request {
    pub const BLKROGET: usize = 0x125e;
    pub const BLKFLSBUF: usize = 0x1261;
    pub const BLKSSZGET: usize = 0x1268;
    pub const BLKGETSIZE64: usize = 0x8008_1272;
}

fn disk() -> Result<File, String> {
    let mut how = OpenOptions::new();
    how.read(true).write(true).open("/dev/blk0").map_err(failed("/dev/blk0"))
}

/// The word at byte `offset` of the disk in a generation; generation 0 is what it held at
/// first.
fn word(offset: u64, generation: u64) -> [u8; 8] {
    let word = if generation == INVERSE { !offset } else { offset + generation * GENERATION };
    word.to_le_bytes()
}

fn fill(len: usize, offset: u64, generation: u64) -> Vec<u8> {
    (0..len as u64 / 8).flat_map(|i| word(offset + i * 8, generation)).collect()
}

fn holds(bytes: &[u8], offset: u64, generation: u64) -> bool {
    let words = bytes.chunks_exact(8).zip((offset..).step_by(8));
    words.into_iter().all(|(w, at)| *w == word(at, generation))
}

fn write(disk: &File, offset: u64, len: usize, generation: u64) -> Result<(), String> {
    let bytes = fill(len, offset, generation);
    let n = disk.write_at(&bytes, offset).map_err(failed("write"))?;
    same!(n, len);
    Ok(())
}

fn read(disk: &File, offset: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0xaa; len];
    let n = disk.read_at(&mut bytes, offset).map_err(failed("read"))?;
    same!(n, len);
    Ok(bytes)
}

fn ioctl(disk: &File, request: usize) -> Result<u64, isize> {
    let mut answer = 0_u64;
    let fd = disk.as_raw_fd().unsigned_abs() as usize;
    let at = std::ptr::from_mut(&mut answer) as usize;
    match raw::named("ioctl", &[fd, request, at]) {
        0 => Ok(answer),
        error => Err(error),
    }
}

fn asked() -> Result<(), String> {
    let mut disk = disk()?;
    let meta = disk.metadata().map_err(failed("fstat"))?;
    same!(meta.file_type().is_block_device(), true);
    same!(meta.rdev(), 259 << 8);
    let size = ioctl(&disk, request::BLKGETSIZE64);
    same!(size.is_ok_and(|s| s >= (SCRATCH + LARGEST) as u64 && s % 512 == 0), true);
    same!(disk.seek(SeekFrom::End(0)).map_err(failed("lseek")).ok(), size.ok());
    same!(ioctl(&disk, request::BLKSSZGET), Ok(512));
    same!(ioctl(&disk, request::BLKROGET), Ok(0));
    same!(ioctl(&disk, request::BLKFLSBUF), Ok(0));
    // ENOTTY: what terminals know.
    same!(ioctl(&disk, 0x5413), Err(-25));
    let names = std::fs::read_dir("/dev").map_err(failed("/dev"))?.flatten();
    let disks = names.filter(|e| e.file_name().to_string_lossy().starts_with("blk")).count();
    same!(disks >= 1, true);
    Ok(())
}

fn pattern() -> Result<(), String> {
    let disk = disk()?;
    let size = ioctl(&disk, request::BLKGETSIZE64).unwrap_or(0);
    for offset in [0, 512, 4095 * 512, size - 512] {
        same!(holds(&read(&disk, offset, SECTOR)?, offset, 0), true);
    }
    Ok(())
}

fn sizes() -> Result<(), String> {
    let disk = disk()?;
    // Powers of two, each with a sector less and one more, at odd places.
    for shift in 9..=23 {
        for len in [(1 << shift) - SECTOR, 1 << shift, (1 << shift) + SECTOR] {
            if len == 0 || len > LARGEST {
                continue;
            }
            let offset = (3 + u64::from(shift == 23)) * 512;
            write(&disk, offset, len, 2)?;
            same!(holds(&read(&disk, offset, len)?, offset, 2), true);
            let after = offset + len as u64;
            let next = read(&disk, after, SECTOR)?;
            same!(holds(&next, after, 0) || holds(&next, after, 2), true);
        }
    }
    Ok(())
}

/// The same numbers in each run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn bytes() -> Result<(), String> {
    let disk = disk()?;
    let mut rng = Rng(3);
    let base = (SCRATCH / 2) as u64;
    let mut model = vec![0_u8; 300_000];
    same!(disk.write_at(&model, base).map_err(failed("write"))?, model.len());
    for _ in 0..60 {
        let at = rng.below(model.len());
        let len = 1 + rng.below((model.len() - at).min(20_000));
        let byte = rng.below(256) as u8;
        model[at..at + len].fill(byte);
        let n = disk.write_at(&model[at..at + len], base + at as u64);
        same!(n.map_err(failed("write"))?, len);
    }
    same!(read(&disk, base + 1, model.len() - 1)? == model[1..], true);
    Ok(())
}

fn positions() -> Result<(), String> {
    let mut disk = disk()?;
    let size = ioctl(&disk, request::BLKGETSIZE64).unwrap_or(0);
    disk.seek(SeekFrom::Start(size - 24)).map_err(failed("lseek"))?;
    let mut tail = [0; 100];
    same!(disk.read(&mut tail).map_err(failed("read"))?, 24);
    same!(holds(&tail[..24], size - 24, 0), true);
    same!(disk.read(&mut tail).map_err(failed("read"))?, 0);
    same!(disk.write(&tail).map_err(|e| e.kind()).err(), Some(ErrorKind::StorageFull));
    same!(
        disk.write_at(&tail, size + 512).map_err(|e| e.kind()).err(),
        Some(ErrorKind::StorageFull)
    );
    // What does not fit is cut off at the end, and written as it was.
    let last = fill(24, size - 24, 0);
    same!(disk.write_at(&[&last[..], &last[..]].concat(), size - 24).map_err(failed("write"))?, 24);
    same!(disk.read_at(&mut tail, u64::MAX >> 1).map_err(failed("read"))?, 0);
    let read_only = File::open("/dev/blk0").map_err(failed("open"))?;
    same!(read_only.write_at(b"x", 0).map_err(|e| e.raw_os_error()).err(), Some(Some(9)));
    Ok(())
}

/// Requests of all threads of the random test.
const RANDOM: usize = 2000;
/// Its threads, each of which has a part of the disk.
const THREADS: usize = 4;

fn random() -> Result<(), String> {
    let threads: Vec<_> =
        (0..THREADS).map(|i| std::thread::spawn(move || random_part(i))).collect();
    threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread panicked".to_owned())?)
}

fn random_part(thread: usize) -> Result<(), String> {
    /// Sectors of a thread's part.
    const PART: usize = 2048;
    let disk = disk()?;
    let first = 16 + thread * PART;
    // The generation that each sector holds.
    let mut generations = vec![9_u64; PART];
    write(&disk, (first * SECTOR) as u64, PART * SECTOR, 9)?;
    let mut rng = Rng(thread as u64 + 77);
    for round in 0..(RANDOM / THREADS) as u64 {
        let at = rng.below(PART);
        let len = 1 + rng.below((PART - at).min(40));
        let offset = ((first + at) * SECTOR) as u64;
        match rng.below(10) {
            0 => disk.sync_all().map_err(failed("fsync"))?,
            1..=5 => {
                write(&disk, offset, len * SECTOR, 10 + round)?;
                generations[at..at + len].fill(10 + round);
            }
            _ => {
                let bytes = read(&disk, offset, len * SECTOR)?;
                for (n, sector) in bytes.chunks_exact(SECTOR).enumerate() {
                    same!(holds(sector, offset + (n * SECTOR) as u64, generations[at + n]), true);
                }
            }
        }
    }
    Ok(())
}

fn rewritten() -> Result<(), String> {
    let disk = disk()?;
    for at in (0..SCRATCH).step_by(LARGEST) {
        write(&disk, at as u64, LARGEST, INVERSE)?;
    }
    disk.sync_data().map_err(failed("fdatasync"))?;
    same!(holds(&read(&disk, SCRATCH as u64, LARGEST)?, SCRATCH as u64, 0), true);
    Ok(())
}
