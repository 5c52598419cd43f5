//! Files mapped into memory: shared and private, against `read` and `write`.

use crate::calls::raw;
use crate::{Test, failed, same};
use std::ffi::{c_int, c_void};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("mapped: what one stores all see", shared),
    ("mapped: private copies stay private", private),
    ("mapped: a file that is cut is a bus error", cut),
    ("mapped: beyond the end", beyond),
    ("mapped: protection, moves, forgotten pages", changes),
    ("mapped: a file of the image", image),
    ("mapped: several threads", threads),
    ("mapped: pages that are gone when a thread wakes", asleep),
    ("mapped: futexes", futexes),
    ("mapped: what is refused", refused),
];

const PAGE: usize = 4096;
const READ: c_int = 1;
pub const READ_WRITE: c_int = 3;
pub const SHARED: c_int = 1;
const PRIVATE: c_int = 2;
const MS_SYNC: c_int = 4;
const MADV_DONTNEED: c_int = 4;
const MREMAP_MAYMOVE: c_int = 1;

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn munmap(at: *mut c_void, len: usize) -> c_int;
    fn mprotect(at: *mut c_void, len: usize, prot: c_int) -> c_int;
    fn msync(at: *mut c_void, len: usize, flags: c_int) -> c_int;
    fn madvise(at: *mut c_void, len: usize, advice: c_int) -> c_int;
    fn mremap(at: *mut c_void, old: usize, new: usize, flags: c_int, ...) -> *mut c_void;
    fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> usize;
}

/// Files are made where a file system is mounted, not in the root's.
static MOUNTED: AtomicBool = AtomicBool::new(false);

/// All of it with files of the file system that is mounted.
pub fn mounted() -> Result<(), String> {
    MOUNTED.store(true, Ordering::Relaxed);
    let all = [shared, private, cut, beyond, changes, threads, futexes];
    let result = all.into_iter().try_for_each(|test| test());
    MOUNTED.store(false, Ordering::Relaxed);
    result
}

/// Stores to each page of the file, the first half of them made durable.
pub fn store(file: &File, pages: usize) -> Result<(), String> {
    let map = Map::new(file, pages * PAGE, READ_WRITE, SHARED, 0)?;
    for page in 0..pages {
        map.set(page * PAGE + page, page as u8);
        if page == pages / 2 {
            // SAFETY: a mapping of this test.
            ok("msync", unsafe { msync(map.at.cast(), map.len, MS_SYNC) })?;
        }
    }
    // Of what was written out a second store is not lost either.
    map.set(5, 55);
    Ok(())
}

/// A mapping, undone when it is dropped.
pub struct Map {
    at: *mut u8,
    len: usize,
}

// SAFETY: memory that is accessed by volatile loads and stores only.
unsafe impl Sync for Map {}

impl Map {
    /// Maps a file.
    pub fn new(
        file: &File,
        len: usize,
        prot: c_int,
        flags: c_int,
        offset: i64,
    ) -> Result<Self, String> {
        // SAFETY: a new place is taken.
        let at = unsafe { mmap(std::ptr::null_mut(), len, prot, flags, file.as_raw_fd(), offset) };
        if at as isize == -1 {
            return Err(format!("mmap: {}", std::io::Error::last_os_error()));
        }
        Ok(Self { at: at.cast(), len })
    }

    /// A byte.
    pub fn get(&self, at: usize) -> u8 {
        assert!(at < self.len);
        // SAFETY: within the mapping.
        unsafe { self.at.add(at).read_volatile() }
    }

    /// Stores a byte.
    pub fn set(&self, at: usize, value: u8) {
        assert!(at < self.len);
        // SAFETY: as above; every test has its own mappings.
        unsafe { self.at.add(at).write_volatile(value) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: nothing refers to it any more.
        unsafe { munmap(self.at.cast(), self.len) };
    }
}

fn ok(what: &str, result: c_int) -> Result<(), String> {
    if result == 0 {
        return Ok(());
    }
    Err(format!("{what}: {}", std::io::Error::last_os_error()))
}

/// What a thread that waits for a futex says when it was woken.
fn waiting(at: usize, operation: usize) -> std::thread::JoinHandle<isize> {
    std::thread::spawn(move || raw::named("futex", &[at, operation, 0, 0]))
}

/// Wakes until somebody has waited.
fn wake(at: usize, operation: usize) {
    while raw::named("futex", &[at, operation, 1]) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn futexes() -> Result<(), String> {
    const WAIT: usize = 0;
    const WAKE: usize = 1;
    const REQUEUE: usize = 3;
    const LOCAL: usize = 128;
    let file = scratch(&[0; 2 * PAGE])?;
    let maps = [
        Map::new(&file, 2 * PAGE, READ_WRITE, SHARED, 0)?,
        Map::new(&file, PAGE, READ_WRITE, SHARED, PAGE as i64)?,
        Map::new(&file, 2 * PAGE, READ_WRITE, PRIVATE, 0)?,
    ];
    let [all, second, own] = [0, 1, 2].map(|n| maps[n].at.expose_provenance());
    let at = all + PAGE + 8;
    let joined = |t: std::thread::JoinHandle<isize>| t.join().map_err(|_| "panicked".to_owned());
    // A place in the file is one futex wherever it is mapped, and a neighbour is another.
    let waiter = waiting(at, WAIT);
    wake(second + 8, WAKE);
    same!(joined(waiter)?, 0);
    let waiter = waiting(second + 8, WAIT);
    for (other, operation) in
        [(all + 8, WAKE), (at + 4, WAKE), (own + PAGE + 8, WAKE), (at, WAKE | LOCAL)]
    {
        for _ in 0..5 {
            same!(raw::named("futex", &[other, operation, 9]), 0);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    wake(at, WAKE);
    same!(joined(waiter)?, 0);
    // One that is said to be private is at its address.
    let waiter = waiting(at, WAIT | LOCAL);
    for _ in 0..5 {
        same!(raw::named("futex", &[second + 8, WAKE, 9]), 0);
        std::thread::sleep(Duration::from_millis(1));
    }
    wake(at, WAKE | LOCAL);
    same!(joined(waiter)?, 0);
    // Whoever waits is moved by any of its addresses.
    let waiter = waiting(at, WAIT);
    while raw::named("futex", &[second + 8, REQUEUE, 0, 1, all]) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    same!(raw::named("futex", &[second + 8, WAKE, 9]), 0);
    wake(all, WAKE);
    same!(joined(waiter)?, 0);
    // Memory of nobody's: its address.
    // SAFETY: a new place is taken.
    let none = unsafe { mmap(std::ptr::null_mut(), PAGE, READ_WRITE, SHARED | 0x20, -1, 0) };
    let word = none.expose_provenance();
    let waiter = waiting(word, WAIT);
    wake(word, WAKE);
    same!(joined(waiter)?, 0);
    // SAFETY: nothing refers to it any more.
    ok("munmap", unsafe { munmap(none, PAGE) })?;
    same!(raw::named("futex", &[word, WAKE, 1]), -14);
    same!(
        (
            raw::named("futex", &[at + 1, WAKE, 1]),
            raw::named("futex", &[at, REQUEUE, 0, 1, at + 2])
        ),
        (-22, -22)
    );
    Ok(())
}

/// A new file with these bytes; its name is gone already.
fn scratch(bytes: &[u8]) -> Result<File, String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let dir = if MOUNTED.load(Ordering::Relaxed) { crate::mount::AT } else { "/tmp" };
    let path = format!("{dir}/mapped-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    std::fs::create_dir_all(dir).map_err(failed("mkdir"))?;
    let mut how = OpenOptions::new();
    let file = how.read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.map_err(failed("open"))?;
    std::fs::remove_file(&path).map_err(failed("unlink"))?;
    file.write_all_at(bytes, 0).map_err(failed("write"))?;
    Ok(file)
}

fn byte(file: &File, at: usize) -> Result<u8, String> {
    let mut one = [0];
    file.read_exact_at(&mut one, at as u64).map_err(failed("read"))?;
    Ok(one[0])
}

fn shared() -> Result<(), String> {
    let file = scratch(&[1; 3 * PAGE])?;
    let a = Map::new(&file, 3 * PAGE, READ_WRITE, SHARED, 0)?;
    let b = Map::new(&file, 2 * PAGE, READ_WRITE, SHARED, PAGE as i64)?;
    same!((a.get(PAGE), b.get(0)), (1, 1));
    a.set(PAGE + 5, 7);
    same!((b.get(5), byte(&file, PAGE + 5)?), (7, 7));
    b.set(PAGE + 9, 8);
    same!((a.get(2 * PAGE + 9), byte(&file, 2 * PAGE + 9)?), (8, 8));
    file.write_all_at(&[9], 11).map_err(failed("write"))?;
    same!(a.get(11), 9);
    // SAFETY: a mapping of this test.
    ok("msync", unsafe { msync(a.at.cast(), a.len, MS_SYNC) })?;
    // What is mapped lives on without the descriptor.
    drop(file);
    a.set(PAGE + 6, 77);
    same!(b.get(6), 77);
    Ok(())
}

fn private() -> Result<(), String> {
    let file = scratch(&[1; 2 * PAGE])?;
    let p = Map::new(&file, 2 * PAGE, READ_WRITE, PRIVATE, 0)?;
    let q = Map::new(&file, 2 * PAGE, READ_WRITE, PRIVATE, 0)?;
    let s = Map::new(&file, 2 * PAGE, READ_WRITE, SHARED, 0)?;
    same!(p.get(0), 1);
    p.set(0, 2);
    q.set(PAGE, 3);
    same!((s.get(0), s.get(PAGE), byte(&file, 0)?), (1, 1, 1));
    s.set(0, 4);
    s.set(PAGE, 5);
    same!((p.get(0), q.get(PAGE)), (2, 3));
    // What was not copied yet shows the file.
    same!((p.get(PAGE), q.get(0)), (5, 4));
    Ok(())
}

static FAULTS: AtomicUsize = AtomicUsize::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

/// Puts a page of its own where the access failed, so that it goes on.
extern "C" fn mend(_signal: c_int) {
    FAULTS.fetch_add(1, Ordering::SeqCst);
    let at = ADDRESS.load(Ordering::SeqCst) as *mut c_void;
    // SAFETY: a page of the test's mapping; MAP_PRIVATE, MAP_FIXED and MAP_ANONYMOUS.
    unsafe { mmap(at, PAGE, READ_WRITE, 0x32, -1, 0) };
}

/// Whether an access to the page at `at` is a bus error.
fn faults(at: *mut u8, store: bool) -> bool {
    const SIGBUS: c_int = 7;
    FAULTS.store(0, Ordering::SeqCst);
    ADDRESS.store(at as usize, Ordering::SeqCst);
    // SAFETY: the handler makes the access possible; a mapping of the calling test.
    unsafe {
        signal(SIGBUS, mend);
        if store {
            at.write_volatile(1)
        } else {
            let _ = std::hint::black_box(at.read_volatile());
        }
    }
    FAULTS.load(Ordering::SeqCst) == 1
}

fn cut() -> Result<(), String> {
    let file = scratch(&[1; 3 * PAGE])?;
    let s = Map::new(&file, 3 * PAGE, READ_WRITE, SHARED, 0)?;
    let p = Map::new(&file, 3 * PAGE, READ_WRITE, PRIVATE, 0)?;
    for page in 0..3 {
        s.set(page * PAGE + 100, 2);
        p.set(page * PAGE + 100, 3);
    }
    file.set_len(PAGE as u64 + 50).map_err(failed("truncate"))?;
    same!((s.get(PAGE + 100), s.get(PAGE + 49)), (0, 1));
    same!(p.get(PAGE + 100), 3);
    // SAFETY: within the mappings.
    let (third_s, third_p) = unsafe { (s.at.add(2 * PAGE), p.at.add(2 * PAGE)) };
    same!((faults(third_s, true), faults(third_p, false)), (true, true));
    // What was stored behind the end does not come back when the file grows.
    s.set(PAGE + 200, 5);
    file.set_len(3 * PAGE as u64).map_err(failed("truncate"))?;
    same!((byte(&file, PAGE + 200)?, byte(&file, 2 * PAGE)?), (0, 0));
    let again = Map::new(&file, 3 * PAGE, READ, SHARED, 0)?;
    same!((again.get(2 * PAGE), again.get(100)), (0, 2));
    Ok(())
}

fn beyond() -> Result<(), String> {
    let file = scratch(&[1; 10])?;
    let m = Map::new(&file, 2 * PAGE, READ_WRITE, SHARED, 0)?;
    same!((m.get(9), m.get(10), m.get(PAGE - 1)), (1, 0, 0));
    // SAFETY: within the mapping.
    same!(faults(unsafe { m.at.add(PAGE) }, false), true);
    let m = Map::new(&file, 2 * PAGE, READ_WRITE, SHARED, 0)?;
    file.write_all_at(&[6], PAGE as u64 + 3).map_err(failed("write"))?;
    same!(m.get(PAGE + 3), 6);
    Ok(())
}

fn changes() -> Result<(), String> {
    let file = scratch(&[1; 4 * PAGE])?;
    let m = Map::new(&file, 4 * PAGE, READ_WRITE, SHARED, 0)?;
    m.set(0, 2);
    // SAFETY: a mapping of this test.
    unsafe {
        ok("mprotect", mprotect(m.at.cast(), m.len, READ))?;
        same!((m.get(0), m.get(PAGE)), (2, 1));
        ok("mprotect", mprotect(m.at.cast(), m.len, READ_WRITE))?;
        m.set(PAGE, 3);
        ok("madvise", madvise(m.at.cast(), m.len, MADV_DONTNEED))?;
    }
    same!((m.get(0), m.get(PAGE)), (2, 3));
    // The upper half moves to where there is room for more.
    // SAFETY: the upper half of the mapping is given up for the new one.
    let moved = unsafe { mremap(m.at.add(2 * PAGE).cast(), 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE) };
    same!(moved as isize == -1, false);
    let moved = Map { at: moved.cast(), len: 8 * PAGE };
    let lower = Map { at: m.at, len: 2 * PAGE };
    std::mem::forget(m);
    moved.set(7, 4);
    same!((byte(&file, 2 * PAGE + 7)?, lower.get(0)), (4, 2));
    file.set_len(8 * PAGE as u64).map_err(failed("truncate"))?;
    moved.set(5 * PAGE, 9);
    same!(byte(&file, 7 * PAGE)?, 9);
    Ok(())
}

/// A thread sleeps while another gives up what it has just written: what it sees when it wakes,
/// on a CPU that had nothing to do meanwhile, is the file.
fn asleep() -> Result<(), String> {
    let file = scratch(&[7; 20 * PAGE])?;
    for round in 0..100 {
        // Few pages are forgotten one by one, many all at once.
        let pages = [1, 20][round % 2];
        let m = Map::new(&file, pages * PAGE, READ_WRITE, PRIVATE, 0)?;
        let all = &|| (0..pages).map(|page| m.get(page * PAGE)).collect::<Vec<u8>>();
        let (to, from) = std::sync::mpsc::channel();
        let (written, wait) = std::sync::mpsc::channel();
        let seen = std::thread::scope(|scope| {
            let m = &m;
            let sleeper = scope.spawn(move || {
                (0..pages).for_each(|page| m.set(page * PAGE, 9));
                let before = all();
                written.send(()).map_err(failed("send"))?;
                from.recv().map_err(failed("receive"))?;
                Ok::<_, String>((before, all()))
            });
            wait.recv().map_err(failed("receive"))?;
            std::thread::sleep(Duration::from_millis(1));
            // SAFETY: a mapping of this test.
            ok("madvise", unsafe { madvise(m.at.cast(), m.len, MADV_DONTNEED) })?;
            to.send(()).map_err(failed("send"))?;
            sleeper.join().map_err(|_| "the sleeper panicked")?
        })?;
        same!(seen, (vec![9; pages], vec![7; pages]));
    }
    Ok(())
}

/// The program itself lies in the image and is mapped from there.
fn image() -> Result<(), String> {
    let file = File::open("/proc/self/exe").map_err(failed("open"))?;
    let s = Map::new(&file, PAGE, READ, SHARED, 0)?;
    let mut p = Map::new(&file, PAGE, READ_WRITE, PRIVATE, 0)?;
    same!((s.get(1), p.get(1)), (b'E', b'E'));
    p.set(1, b'X');
    same!((s.get(1), byte(&file, 1)?), (b'E', b'E'));
    if !crate::on_osier() {
        return Ok(());
    }
    // A small file of the image can be written.
    let file = OpenOptions::new().read(true).write(true).open("/etc/motd");
    let file = file.map_err(failed("open"))?;
    let first = byte(&file, 0)?;
    p = Map::new(&file, PAGE, READ_WRITE, SHARED, 0)?;
    same!(p.get(0), first);
    p.set(0, first ^ 1);
    same!(byte(&file, 0)?, first ^ 1);
    file.write_all_at(&[first], 0).map_err(failed("write"))?;
    same!(p.get(0), first);
    Ok(())
}

/// Each thread has pages of its own in one mapping, while one writes the others by `write`.
fn threads() -> Result<(), String> {
    const THREADS: usize = 4;
    const ROUNDS: usize = 50;
    let file = scratch(&vec![0; 2 * THREADS * PAGE])?;
    let map = Map::new(&file, 2 * THREADS * PAGE, READ_WRITE, SHARED, 0)?;
    let (file, map) = (&file, &map);
    std::thread::scope(|scope| {
        let mut all = vec![];
        for me in 0..THREADS {
            all.push(scope.spawn(move || {
                for round in 1..=ROUNDS {
                    let (stored, written) = (2 * me * PAGE, (2 * me + 1) * PAGE);
                    map.set(stored + round, round as u8);
                    same!(byte(file, stored + round)?, round as u8);
                    file.write_all_at(&[round as u8], (written + round) as u64)
                        .map_err(failed("write"))?;
                    same!(map.get(written + round), round as u8);
                    // SAFETY: a page of the mapping that this thread alone uses.
                    ok("madvise", unsafe {
                        madvise(map.at.add(stored).cast(), PAGE, MADV_DONTNEED)
                    })?;
                }
                Ok(())
            }));
        }
        all.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread failed".to_owned())?)
    })
}

fn refused() -> Result<(), String> {
    let file = scratch(&[1; PAGE])?;
    same!(Map::new(&file, PAGE, READ, SHARED, 100).is_err(), true);
    let reader = File::open("/proc/self/exe").map_err(failed("open"))?;
    same!(Map::new(&reader, PAGE, READ_WRITE, SHARED, 0).is_err(), true);
    let m = Map::new(&reader, PAGE, READ, SHARED, 0)?;
    // SAFETY: a mapping of this test.
    same!(unsafe { mprotect(m.at.cast(), PAGE, READ_WRITE) }, -1);
    Ok(())
}
