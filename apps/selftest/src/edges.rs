//! The edges of calls: names as long as they may be, flags that exclude each other, limits,
//! futexes with every operation.

use crate::calls::raw;
use crate::events::{call, close};
use crate::{Test, failed, same};
use std::ffi::CString;
use std::fs;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("edges: long names, many links", names),
    ("edges: renames with flags, links", renames),
    ("edges: directories in pieces", pieces),
    ("edges: vectors and positions", vectors),
    ("edges: the limit of descriptors", limits),
    ("edges: moved and forgotten memory", moved),
    ("edges: futexes", futexes),
    ("edges: robust futexes", robust),
    ("edges: names of threads, the system", system),
    ("edges: the kernel's log", log),
];

const AT_CWD: usize = -100_isize as usize;
const CREATE: usize = 0o102;
const X64: bool = cfg!(target_arch = "x86_64");
const O_DIRECTORY: usize = if X64 { 0o200_000 } else { 0o40_000 };
const O_NOFOLLOW: usize = if X64 { 0o400_000 } else { 0o100_000 };
/// The first address that no program has.
const END: usize = if X64 { 1 << 47 } else { 1 << 48 };
const EBADF: isize = -9;
const EFAULT: isize = -14;
const EEXIST: isize = -17;
const EINVAL: isize = -22;
const ENOENT: isize = -2;

fn text(path: &str) -> Result<CString, String> {
    CString::new(path).map_err(|e| e.to_string())
}

/// A call whose one argument is a path; the arguments around it as given.
fn with_path(name: &str, path: &str, after: &[usize]) -> Result<isize, String> {
    let path = text(path)?;
    let mut args = vec![AT_CWD, path.as_ptr().expose_provenance()];
    args.extend(after);
    Ok(raw::named(name, &args))
}

fn two_paths(name: &str, from: &str, to: &str, flags: usize) -> Result<isize, String> {
    let (from, to) = (text(from)?, text(to)?);
    let at = |path: &CString| path.as_ptr().expose_provenance();
    Ok(raw::named(name, &[AT_CWD, at(&from), AT_CWD, at(&to), flags]))
}

/// Opens and closes; 0, or the error.
fn open(path: &str, how: usize) -> Result<isize, String> {
    let fd = with_path("openat", path, &[how, 0o644])?;
    if fd > 0 {
        close(&[fd as usize])?;
    }
    Ok(fd.min(0))
}

fn names() -> Result<(), String> {
    const TOO_LONG: isize = -36;
    const LOOP: isize = -40;
    fs::create_dir_all("/tmp/edges").map_err(failed("mkdir"))?;
    let at = |name: &str| format!("/tmp/edges/{name}");
    same!(open(&at(&"n".repeat(255)), CREATE)?, 0);
    same!(open(&at(&"n".repeat(256)), CREATE)?, TOO_LONG);
    same!(open(&at(&"ü".repeat(127)), CREATE)?, 0);
    // 4095 bytes and the end, and one more.
    let dots = "./".repeat(2042);
    same!(open(&at(&dots), 0)?, 0);
    let longest = format!("{}x", at(&dots[..4096 - 1 - 11 - 1]));
    same!(longest.len(), 4095);
    same!((open(&longest, CREATE)?, open(&format!("{longest}x"), 0)?), (0, TOO_LONG));
    same!((open("", 0)?, open("/..", 0)?, open("/../tmp/../..", 0)?), (ENOENT, 0, 0));
    // Forty links are followed.
    for i in 0..41 {
        std::os::unix::fs::symlink(format!("c{}", i + 1), at(&format!("c{i}")))
            .map_err(failed("symlink"))?;
    }
    fs::write(at("c41"), b"").map_err(failed("write"))?;
    same!((open(&at("c1"), 0)?, open(&at("c0"), 0)?), (0, LOOP));
    // The last two: O_CREAT | O_EXCL, O_TRUNC.
    same!((open(&at("c1"), O_NOFOLLOW)?, open(&at("c41"), O_DIRECTORY)?), (LOOP, -20));
    same!((open(&at("c0"), 0o302)?, open("/tmp", 0o1000)?), (EEXIST, -21));
    same!((open(&at("c41/"), 0)?, open(&at("new/"), CREATE)?), (-20, -21));
    fs::remove_dir_all("/tmp/edges").map_err(failed("remove"))
}

fn renames() -> Result<(), String> {
    let at = |name: &str| format!("/tmp/edges-r/{name}");
    fs::create_dir_all(at("d/e")).map_err(failed("mkdir"))?;
    fs::write(at("a"), b"a").map_err(failed("write"))?;
    fs::write(at("b"), b"b").map_err(failed("write"))?;
    let rename = |from: &str, to: &str, how| two_paths("renameat2", &at(from), &at(to), how);
    const NO_REPLACE: usize = 1;
    const EXCHANGE: usize = 2;
    same!((rename("a", "b", NO_REPLACE)?, rename("a", "b", 3)?), (EEXIST, EINVAL));
    same!((rename("a", "b", EXCHANGE)?, rename("a", "none", EXCHANGE)?), (0, ENOENT));
    same!(fs::read(at("a")).map_err(failed("read"))?, b"b");
    // Of different kinds, but not a directory with what is in it.
    same!((rename("a", "d", EXCHANGE)?, rename("a", "d", EXCHANGE)?), (0, 0));
    same!((rename("d", "d/e", EXCHANGE)?, rename("d", "d/e/x", 0)?), (EINVAL, EINVAL));
    same!((rename("d", "a", 0)?, rename("a", "d", 0)?, rename("d/e", "d", 0)?), (-20, -21, -39));
    same!((rename("a", "a", 0)?, rename("a/", "x", 0)?, rename("a", ".", 0)?), (0, -20, -16));
    let unlink = |name: &str, how| with_path("unlinkat", &at(name), &[how]);
    const DIRECTORY: usize = 0x200;
    same!((unlink("d", 0)?, unlink("d/", 0)?, unlink("a/", 0)?), (-21, -21, -20));
    same!((unlink("none/", 0)?, unlink("a", DIRECTORY)?, unlink("d", DIRECTORY)?), (-2, -20, -39));
    let link = |from: &str, to: &str| two_paths("linkat", &at(from), &at(to), 0);
    same!((link("d", "x")?, link("a", "b")?, link("a", "x/")?), (-1, EEXIST, ENOENT));
    same!((link("a", "x")?, rename("a", "x", 0)?, open(&at("a"), 0)?), (0, 0, 0));
    // What is removed has no entries and takes none.
    let gone = with_path("openat", &at("d/e"), &[O_DIRECTORY, 0])? as usize;
    same!(unlink("d/e", DIRECTORY)?, 0);
    let mut entries = [0_u8; 256];
    let buffer = entries.as_mut_ptr().expose_provenance();
    same!(raw::named("getdents64", &[gone, buffer, 256]), ENOENT);
    let name = text("x")?;
    let name = name.as_ptr().expose_provenance();
    same!(raw::named("openat", &[gone, name, CREATE, 0o644]), ENOENT);
    close(&[gone])?;
    fs::remove_dir_all("/tmp/edges-r").map_err(failed("remove"))
}

/// The same names come whatever the buffer holds.
fn pieces() -> Result<(), String> {
    fs::create_dir_all("/tmp/edges-d").map_err(failed("mkdir"))?;
    for i in 0..50 {
        fs::write(format!("/tmp/edges-d/{}{i}", "n".repeat(i)), b"").map_err(failed("write"))?;
    }
    let fd = with_path("openat", "/tmp/edges-d", &[O_DIRECTORY, 0])? as usize;
    let mut buffer = [0_u8; 4096];
    let at = buffer.as_mut_ptr().expose_provenance();
    same!(
        (raw::named("getdents64", &[fd, at, 23]), raw::named("getdents64", &[fd, 1, 99])),
        (EINVAL, EFAULT)
    );
    for len in [96, 200, 4096] {
        call("lseek", &[fd, 0, 0])?;
        let mut count = 0;
        loop {
            let n = call("getdents64", &[fd, at, len])?;
            same!(n <= len, true);
            if n == 0 {
                break;
            }
            let mut rest = buffer.get(..n).unwrap_or(&[]);
            while let Some(&[a, b]) = rest.get(16..18) {
                rest = rest.get(usize::from(u16::from_le_bytes([a, b]))..).unwrap_or(&[]);
                count += 1;
            }
        }
        // With `.` and `..`.
        same!(count, 52);
    }
    close(&[fd])?;
    fs::remove_dir_all("/tmp/edges-d").map_err(failed("remove"))
}

fn vectors() -> Result<(), String> {
    let fd = with_path("openat", "/tmp/edges-v", &[CREATE, 0o644])? as usize;
    let mut bytes = *b"0123456789";
    let at = bytes.as_mut_ptr().expose_provenance();
    same!(raw::named("write", &[fd, at, 10]), 10);
    let many = vec![[at, 1_usize]; 1025];
    let many = many.as_ptr().expose_provenance();
    call("lseek", &[fd, 0, 0])?;
    same!(
        (raw::named("readv", &[fd, many, 1024]), raw::named("readv", &[fd, many, 1025])),
        (10, EINVAL)
    );
    // A length that is none is said before anything is read.
    call("lseek", &[fd, 3, 0])?;
    let bad = [[at, 1], [at, usize::MAX]];
    same!(raw::named("readv", &[fd, bad.as_ptr().expose_provenance(), 2]), EINVAL);
    same!(call("lseek", &[fd, 0, 1])?, 3);
    same!((raw::named("readv", &[fd, 1, 1]), raw::named("readv", &[9999, 1, 1])), (EFAULT, EBADF));
    // Where nothing has a position, and where the position is no number.
    let minus = -1_isize as usize;
    same!(
        (raw::named("pread64", &[fd, at, 1, minus]), raw::named("preadv", &[fd, many, 1, minus])),
        (EINVAL, EINVAL)
    );
    same!(
        (raw::named("preadv2", &[fd, many, 2, minus, minus, 0]), call("lseek", &[fd, 0, 1])?),
        (2, 5)
    );
    same!(raw::named("preadv2", &[fd, many, 1, 0, 0, 1 << 20]), -95);
    // The end, a hole's end, behind it.
    let seek = |by: isize, whence| raw::named("lseek", &[fd, by.cast_unsigned(), whence]);
    same!(
        (seek(-11, 2), seek(3, 3), seek(3, 4), seek(10, 3), seek(0, 9)),
        (EINVAL, 3, 10, -6, EINVAL)
    );
    // With O_APPEND all goes to the end, `pwrite` too, as in Linux.
    call("fcntl", &[fd, 4, 0o2000])?;
    same!((raw::named("pwrite64", &[fd, at, 1, 0]), seek(0, 2)), (1, 11));
    let mut pipe = [0_i32; 2];
    call("pipe2", &[pipe.as_mut_ptr().expose_provenance(), 0o4000])?;
    let [from, to] = pipe.map(|fd| fd as usize);
    same!(
        (raw::named("lseek", &[from, 0, 1]), raw::named("pread64", &[from, at, 1, 0])),
        (-29, -29)
    );
    let big = vec![0_u8; 70_000];
    let big = big.as_ptr().expose_provenance();
    same!(
        (raw::named("write", &[to, big, 70_000]), raw::named("write", &[to, big, 1])),
        (65536, -11)
    );
    same!(
        (
            raw::named("dup3", &[to, to, 0]),
            raw::named("dup3", &[9999, 5, 0]),
            raw::named("dup3", &[to, 5, 1])
        ),
        (EINVAL, EBADF, EINVAL)
    );
    close(&[fd, from, to])?;
    fs::remove_file("/tmp/edges-v").map_err(failed("remove"))
}

fn limits() -> Result<(), String> {
    const FILES: usize = 7;
    let mut old = [0_u64; 2];
    let at = old.as_mut_ptr().expose_provenance();
    let set = |soft: u64, hard: u64| {
        let new = [soft, hard];
        raw::named("prlimit64", &[0, FILES, new.as_ptr().expose_provenance(), 0])
    };
    call("prlimit64", &[0, FILES, 0, at])?;
    let [soft, hard] = old;
    same!(set(30, hard), 0);
    call("prlimit64", &[0, FILES, 0, at])?;
    same!(old, [30, hard]);
    let mut made = Vec::with_capacity(30);
    let last = loop {
        match raw::named("dup", &[1]) {
            fd if fd < 0 => break fd,
            fd => made.push(fd as usize),
        }
    };
    // EMFILE
    same!((last, made.iter().all(|fd| *fd < 30)), (-24, true));
    let refused = [raw::named("dup3", &[1, 30, 0]), raw::named("fcntl", &[1, 0, 30])];
    same!((refused, raw::named("dup3", &[1, 29, 0])), ([EBADF, EINVAL], 29));
    close(&made)?;
    let crossed = [set(100, 50), set(10, hard + 1)];
    same!((crossed, set(soft, hard)), ([EINVAL, -1], 0));
    let unknown =
        [raw::named("prlimit64", &[0, 16, 0, at]), raw::named("prlimit64", &[9999, FILES, 0, at])];
    same!(unknown, [EINVAL, -3]);
    Ok(())
}

fn moved() -> Result<(), String> {
    const PAGE: usize = 4096;
    const ENOMEM: isize = -12;
    let map = |len: usize| call("mmap", &[0, len * PAGE, 3, 0x22, usize::MAX, 0]);
    let byte = |at: usize| std::ptr::with_exposed_provenance_mut::<u8>(at);
    let at = map(8)?;
    for page in 0..8 {
        // SAFETY: a mapping of this test.
        unsafe { byte(at + page * PAGE).write_volatile(page as u8 + 1) };
    }
    let remap = |old: usize, from: usize, to: usize, how: usize, new: usize| {
        raw::named("mremap", &[old, from * PAGE, to * PAGE, how, new])
    };
    // Onto itself, to nothing, of what is not there, where it must not move.
    same!(
        (remap(at, 4, 4, 3, at + PAGE), remap(at, 1, 0, 1, 0), remap(at, 1, 1, 2, 0)),
        (EINVAL, EINVAL, EINVAL)
    );
    same!((remap(at + 1, 1, 1, 1, 0), remap(at, 4, 6, 0, 0)), (EINVAL, ENOMEM));
    same!(remap(at, 8, 6, 0, 0), at as isize);
    let mut resident = [0_u8; 8];
    let resident = resident.as_mut_ptr().expose_provenance();
    same!(raw::named("mincore", &[at, 8 * PAGE, resident]), ENOMEM);
    let new = remap(at, 6, 20, 1, 0);
    same!(new > 0, true);
    let new = new as usize;
    // SAFETY: as above.
    let read = |page: usize| unsafe { byte(new + page * PAGE).read_volatile() };
    same!((0..20).map(read).collect::<Vec<_>>(), [vec![1, 2, 3, 4, 5, 6], vec![0; 14]].concat());
    // Forgotten pages are zeroes; a hole is said after what lies around it was done.
    call("munmap", &[new + PAGE, PAGE])?;
    same!(
        (raw::named("madvise", &[new, 4 * PAGE, 4]), read(0), read(2), read(4)),
        (ENOMEM, 0, 0, 5)
    );
    same!(
        (raw::named("madvise", &[new + 1, PAGE, 4]), raw::named("madvise", &[new, PAGE, 99])),
        (EINVAL, EINVAL)
    );
    same!(raw::named("mprotect", &[new, 3 * PAGE, 1]), ENOMEM);
    // A place that is taken, one that is no place.
    let fixed = |at: usize, how: usize| raw::named("mmap", &[at, PAGE, 3, how, usize::MAX, 0]);
    same!(
        (fixed(new, 0x10_0022), fixed(new + 1, 0x32), fixed(END, 0x32)),
        (EEXIST, EINVAL, ENOMEM)
    );
    same!(
        (fixed(new, 0x20), raw::named("mmap", &[0, 0, 3, 0x22, usize::MAX, 0])),
        (EINVAL, EINVAL)
    );
    call("munmap", &[new, 20 * PAGE])?;
    // The end of the heap, up and down, never below its start.
    let end = call("brk", &[0])?;
    same!((call("brk", &[end + PAGE + 1])?, call("brk", &[1])?), (end + PAGE + 1, end + PAGE + 1));
    same!(call("brk", &[end])?, end);
    Ok(())
}

static WORD: AtomicU32 = AtomicU32::new(0);
static OTHER: AtomicU32 = AtomicU32::new(0);

fn futexes() -> Result<(), String> {
    let word = WORD.as_ptr().expose_provenance();
    let other = OTHER.as_ptr().expose_provenance();
    let futex = |args: &[usize]| raw::named("futex", args);
    const AGAIN: isize = -11;
    const TIMED_OUT: isize = -110;
    const PRIVATE: usize = 128;
    const REALTIME: usize = 256;
    let [none, negative, long] = [[0_u64, 0], [u64::MAX, 0], [0, 1_000_000_000]].map(Box::new);
    let at = |t: &[u64; 2]| t.as_ptr().expose_provenance();
    same!(
        (futex(&[word, 0, 1, 0]), futex(&[word + 1, 0, 0, 0]), futex(&[8, 0, 0, 0])),
        (AGAIN, EINVAL, EFAULT)
    );
    same!((futex(&[word, 0, 0, at(&negative)]), futex(&[word, 0, 0, at(&long)])), (EINVAL, EINVAL));
    // A length of time; a point of it, by both clocks.
    same!(futex(&[word, PRIVATE, 0, at(&none)]), TIMED_OUT);
    for (clock, how) in [(1, 9), (0, 9 | REALTIME)] {
        let mut now = [0_u64; 2];
        call("clock_gettime", &[clock, now.as_mut_ptr().expose_provenance()])?;
        now[1] += 5_000_000;
        now = [now[0] + now[1] / 1_000_000_000, now[1] % 1_000_000_000];
        same!(futex(&[word, how, 0, at(&now), 0, 1]), TIMED_OUT);
        let mut then = [0_u64; 2];
        call("clock_gettime", &[clock, then.as_mut_ptr().expose_provenance()])?;
        same!(then >= now, true);
        same!(futex(&[word, how, 0, at(&now), 0, 0]), EINVAL);
    }
    // What inherits priority is declined: C libraries then do without.
    for operation in [6, 7, 8, 11, 12, 13] {
        same!(futex(&[word, operation, 0, 0, other, 0]), -38);
    }
    // Four wait; one is woken, two move, one stays.
    let waiters: Vec<_> = (0..4)
        .map(|_| thread::spawn(move || raw::named("futex", &[word, 9 | PRIVATE, 0, 0, 0, 2])))
        .collect();
    // Whoever moves all of them there and back has seen all four.
    while futex(&[word, 3, 0, 9, other]) + futex(&[other, 3, 0, 9, word]) < 8 {
        thread::sleep(Duration::from_millis(1));
    }
    same!(
        (futex(&[word, 4, 1, 1, other, 5]), futex(&[word, 3, usize::MAX, 1, other])),
        (AGAIN, EINVAL)
    );
    same!(futex(&[word, 3, 1, usize::MAX, other]), EINVAL);
    same!((futex(&[word, 10, 9, 0, 0, 1]), futex(&[word, 4 | PRIVATE, 1, 2, other, 0])), (0, 3));
    same!((futex(&[other, 10, 9, 0, 0, 2]), futex(&[word, 1, 9])), (2, 1));
    for waiter in waiters {
        same!(waiter.join().map_err(|_| "panicked")?, 0);
    }
    // Changes the second word: adds 3; wakes there if it was more than 0.
    let add = 1 << 28 | 4 << 24 | 3 << 12;
    same!((futex(&[word, 5, 1, 1, other, add]), OTHER.swap(0, Ordering::SeqCst)), (0, 3));
    Ok(())
}

/// A thread that ends with a futex of its list held: it is marked, and who waits goes on.
fn robust() -> Result<(), String> {
    // The list's head (first entry, where the futex lies from an entry, none pending), an entry,
    // its futex.
    static LIST: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
    const WAITERS: u64 = 1 << 31;
    let head = LIST.as_ptr().expose_provenance();
    let futex = head + 32;
    let owner = thread::spawn(move || {
        let own = call("gettid", &[])? as u64;
        for (slot, value) in LIST.iter().zip([head as u64 + 24, 8, 0, head as u64, own | WAITERS]) {
            slot.store(value, Ordering::SeqCst);
        }
        call("set_robust_list", &[head, 24])?;
        let (mut at, mut len) = (0_usize, 0_usize);
        call(
            "get_robust_list",
            &[0, (&raw mut at).expose_provenance(), (&raw mut len).expose_provenance()],
        )?;
        same!((at, len), (head, 24));
        // Until the other one waits.
        while raw::named("futex", &[futex, 3, 0, 1, futex]) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        Ok::<u64, String>(own)
    });
    while LIST[4].load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let value = LIST[4].load(Ordering::SeqCst) as usize;
    same!(raw::named("futex", &[futex, 0, value, 0]), 0);
    let own = owner.join().map_err(|_| "panicked")??;
    same!(value as u64, own | WAITERS);
    // FUTEX_OWNER_DIED
    same!(LIST[4].load(Ordering::SeqCst), WAITERS | 1 << 30);
    same!(raw::named("set_robust_list", &[head, 23]), EINVAL);
    Ok(())
}

fn system() -> Result<(), String> {
    let long = text("a name of many letters")?;
    let mut name = [0_u8; 16];
    let at = name.as_mut_ptr().expose_provenance();
    same!(raw::named("prctl", &[16, at]), 0);
    let before = name;
    same!(raw::named("prctl", &[15, long.as_ptr().expose_provenance()]), 0);
    same!((raw::named("prctl", &[16, at]), &name), (0, b"a name of many \0"));
    same!(
        (
            raw::named("prctl", &[15, before.as_ptr().expose_provenance()]),
            raw::named("prctl", &[9999])
        ),
        (0, EINVAL)
    );
    let mut info = [0_u64; 14];
    call("sysinfo", &[info.as_mut_ptr().expose_provenance()])?;
    // Bytes in all and free, threads, the unit.
    same!(info[4] >= info[5] && info[5] > 0 && info[10] as u16 >= 1 && info[13] as u32 == 1, true);
    let mut mask = [0_u64; 1];
    let at = mask.as_mut_ptr().expose_provenance();
    same!(
        (
            raw::named("sched_getaffinity", &[0, 8, at]),
            raw::named("sched_getaffinity", &[0, 7, at])
        ),
        (8, EINVAL)
    );
    let cpus = mask[0].count_ones() as usize;
    same!(thread::available_parallelism().map(usize::from).map_err(failed("CPUs"))?, cpus);
    let mut cpu = 99_u32;
    call("getcpu", &[(&raw mut cpu).expose_provenance(), 0, 0])?;
    same!(mask[0] >> cpu & 1, 1);
    let nobody = 0_u64;
    same!(
        raw::named("sched_setaffinity", &[0, 8, (&raw const nobody).expose_provenance()]),
        EINVAL
    );
    // A time before all times, a sleep until one that has passed.
    let past = [0_u64; 2];
    let negative = [u64::MAX, 0];
    let sleep = |how, time: &[u64; 2]| {
        raw::named("clock_nanosleep", &[1, how, time.as_ptr().expose_provenance(), 0])
    };
    same!((sleep(1, &past), sleep(0, &negative), sleep(1, &negative)), (0, EINVAL, EINVAL));
    #[cfg(target_arch = "x86_64")]
    same!(raw::named("select", &[0, 0, 0, 0, negative.as_ptr().expose_provenance()]), EINVAL);
    let mut wide = [0_u64; 32];
    let at = wide.as_mut_ptr().expose_provenance();
    // STATX_BASIC_STATS are all there; what excludes each other.
    same!((with_path("statx", "/etc/motd", &[0, 0x7ff, at])?, wide[0] & 0x7ff), (0, 0x7ff));
    same!(with_path("statx", "/etc/motd", &[0x6000, 0x7ff, at])?, EINVAL);
    Ok(())
}

/// What `dmesg` does.
fn log() -> Result<(), String> {
    let mut bytes = vec![0_u8; 32 << 10];
    let at = bytes.as_mut_ptr().expose_provenance();
    let syslog = |what: usize, len: usize| raw::named("syslog", &[what, at, len]);
    same!(
        (syslog(10, 0) > 0 && syslog(10, 0) as usize <= bytes.len(), syslog(9999, 1)),
        (true, EINVAL)
    );
    same!((syslog(3, usize::MAX), raw::named("syslog", &[3, 0, 9])), (EINVAL, EINVAL));
    // A call that is not there is reported once, as a warning.
    let missing = raw::named("futex_waitv", &[]);
    same!((missing, raw::named("futex_waitv", &[])), (-38, -38));
    let n = syslog(3, bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..n as usize).unwrap_or(&[])).into_owned();
    let reports = |text: &str| text.lines().filter(|l| l.contains("futex_waitv")).count();
    same!(reports(&text), 1);
    same!(text.lines().all(|l| l.starts_with('<') && l.get(2..4) == Some(">[")), true);
    let line = text.lines().find(|l| l.contains("futex_waitv")).unwrap_or_default();
    same!((line.starts_with("<4>["), line.contains("] WARN syscall: ")), (true, true));
    // A short buffer has the last lines, whole.
    let last = text.lines().last().unwrap_or_default();
    same!(syslog(3, last.len() + 2), last.len() as isize + 1);
    same!(bytes.starts_with(last.as_bytes()), true);
    same!((syslog(3, last.len()), syslog(4, bytes.len()), syslog(3, bytes.len())), (0, n, 0));
    // What comes later is there again.
    same!((raw::named("futex_requeue", &[]), syslog(3, bytes.len()) > 0), (-38, true));
    for bad in [8, END, usize::MAX - 4096] {
        same!(raw::named("syslog", &[3, bad, bytes.len()]), EFAULT);
    }
    Ok(())
}
