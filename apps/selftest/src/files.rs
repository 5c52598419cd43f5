//! Files, directories, links, pipes, devices.

use crate::{Test, failed, same};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

pub const TESTS: &[Test] = &[
    ("files: read from the image", image),
    ("files: write, seek, truncate", write),
    ("files: large and sparse", large),
    ("files: directories", directories),
    ("files: rename and links", names),
    ("files: errors", errors),
    ("files: many", many),
    ("files: working directory", working_directory),
    ("files: pipes", pipes),
    ("files: devices", devices),
    ("files: standard streams", standard),
    ("files: /proc", proc),
    ("files: locks of whole files", locks),
];

fn image() -> Result<(), String> {
    let text = fs::read_to_string("/etc/motd").map_err(failed("/etc/motd"))?;
    same!(text, "Welcome to Osier.\n");
    let program =
        fs::read(std::env::args().next().unwrap_or_default()).map_err(failed("itself"))?;
    same!(&program[..4], b"\x7fELF");
    Ok(())
}

fn write() -> Result<(), String> {
    let path = "/tmp/write";
    let mut f = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed("create"))?;
    f.write_all(b"hello world").map_err(failed("write"))?;
    f.seek(SeekFrom::Start(6)).map_err(failed("seek"))?;
    let mut text = String::new();
    f.read_to_string(&mut text).map_err(failed("read"))?;
    same!(text, "world");
    f.set_len(5).map_err(failed("truncate"))?;
    same!(f.metadata().map_err(failed("fstat"))?.len(), 5);
    f.write_all_at(b"J", 0).map_err(failed("pwrite"))?;
    same!(fs::read_to_string(path).map_err(failed("read"))?, "Jello");
    let mut f = OpenOptions::new().append(true).open(path).map_err(failed("append"))?;
    f.write_all(b"!").map_err(failed("write"))?;
    same!(fs::read_to_string(path).map_err(failed("read"))?, "Jello!");
    let mode = fs::metadata(path).map_err(failed("stat"))?.mode();
    same!(mode, 0o100_644);
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed("chmod"))?;
    same!(fs::metadata(path).map_err(failed("stat"))?.mode(), 0o100_600);
    fs::remove_file(path).map_err(failed("unlink"))
}

fn large() -> Result<(), String> {
    let path = "/tmp/large";
    let data: Vec<u8> = (0..300_000_u32).map(|i| ((i * 7) >> 3) as u8).collect();
    fs::write(path, &data).map_err(failed("write"))?;
    same!(fs::read(path).map_err(failed("read"))? == data, true);
    let f = OpenOptions::new().write(true).open(path).map_err(failed("open"))?;
    f.write_all_at(b"end", 1 << 40).map_err(failed("sparse write"))?;
    same!(f.metadata().map_err(failed("fstat"))?.len(), (1 << 40) + 3);
    let mut buf = [1; 4];
    let f = File::open(path).map_err(failed("open"))?;
    f.read_exact_at(&mut buf, (1 << 40) - 1).map_err(failed("read"))?;
    same!(&buf, b"\0end");
    fs::remove_file(path).map_err(failed("unlink"))
}

fn directories() -> Result<(), String> {
    fs::create_dir_all("/tmp/d/e/f").map_err(failed("mkdir"))?;
    for i in 0..100 {
        fs::write(format!("/tmp/d/{i}"), b"x").map_err(failed("write"))?;
    }
    let mut names: Vec<_> = fs::read_dir("/tmp/d")
        .map_err(failed("readdir"))?
        .map(|e| e.map(|e| e.file_name().into_string().unwrap_or_default()))
        .collect::<Result<_, _>>()
        .map_err(failed("readdir"))?;
    names.sort();
    same!(names.len(), 101);
    same!(names.last().map(String::as_str), Some("e"));
    same!(fs::remove_dir("/tmp/d").map_err(|e| e.kind()), Err(ErrorKind::DirectoryNotEmpty));
    fs::remove_dir_all("/tmp/d").map_err(failed("remove all"))?;
    same!(Path::new("/tmp/d").exists(), false);
    Ok(())
}

fn names() -> Result<(), String> {
    fs::create_dir("/tmp/n").map_err(failed("mkdir"))?;
    fs::write("/tmp/n/a", b"a").map_err(failed("write"))?;
    fs::hard_link("/tmp/n/a", "/tmp/n/b").map_err(failed("link"))?;
    same!(fs::metadata("/tmp/n/b").map_err(failed("stat"))?.nlink(), 2);
    symlink("b", "/tmp/n/c").map_err(failed("symlink"))?;
    same!(fs::read("/tmp/n/c").map_err(failed("through link"))?, b"a");
    same!(fs::read_link("/tmp/n/c").map_err(failed("readlink"))?, Path::new("b"));
    same!(fs::canonicalize("/tmp/n/../n/c").map_err(failed("realpath"))?, Path::new("/tmp/n/b"));
    fs::write("/tmp/n/d", b"d").map_err(failed("write"))?;
    fs::rename("/tmp/n/d", "/tmp/n/b").map_err(failed("rename"))?;
    same!(fs::read("/tmp/n/c").map_err(failed("read"))?, b"d");
    same!(fs::metadata("/tmp/n/a").map_err(failed("stat"))?.nlink(), 1);
    fs::remove_dir_all("/tmp/n").map_err(failed("remove all"))
}

fn errors() -> Result<(), String> {
    same!(File::open("/none").map(drop).map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    same!(File::open("/etc/motd/x").map(drop).map_err(|e| e.kind()), Err(ErrorKind::NotADirectory));
    same!(File::create("/tmp").map(drop).map_err(|e| e.kind()), Err(ErrorKind::IsADirectory));
    let mut f = File::open("/etc/motd").map_err(failed("open"))?;
    same!(f.write(b"x").map_err(|e| e.raw_os_error()), Err(Some(9)));
    Ok(())
}

/// Names come and go without the table of names or the memory growing without bound.
fn many() -> Result<(), String> {
    fs::create_dir("/tmp/many").map_err(failed("mkdir"))?;
    for i in 0..2000 {
        fs::write(format!("/tmp/many/{i}"), b"").map_err(failed("create"))?;
    }
    same!(fs::read_dir("/tmp/many").map_err(failed("readdir"))?.count(), 2000);
    for i in (0..2000).rev() {
        fs::remove_file(format!("/tmp/many/{i}")).map_err(failed("remove"))?;
    }
    fs::remove_dir("/tmp/many").map_err(failed("rmdir"))
}

fn working_directory() -> Result<(), String> {
    std::env::set_current_dir("/etc").map_err(failed("chdir"))?;
    same!(std::env::current_dir().map_err(failed("getcwd"))?, Path::new("/etc"));
    same!(fs::metadata("motd").is_ok(), true);
    std::env::set_current_dir("/").map_err(failed("chdir"))
}

fn pipes() -> Result<(), String> {
    let (mut r, mut w) = std::io::pipe().map_err(failed("pipe"))?;
    let data: Vec<u8> = (0..200_000).map(|i| i as u8).collect();
    let sent = data.clone();
    let writer = std::thread::spawn(move || w.write_all(&sent));
    let mut got = Vec::new();
    r.read_to_end(&mut got).map_err(failed("read"))?;
    writer.join().map_err(|_| "the writer panicked")?.map_err(failed("write"))?;
    same!(got == data, true);
    let (r, mut w) = std::io::pipe().map_err(failed("pipe"))?;
    drop(r);
    same!(w.write(b"x").map_err(|e| e.kind()), Err(ErrorKind::BrokenPipe));
    Ok(())
}

fn devices() -> Result<(), String> {
    let mut buf = [1; 64];
    same!(File::open("/dev/null").and_then(|mut f| f.read(&mut buf)).map_err(failed("null"))?, 0);
    let read = |path: &str, buf: &mut [u8]| File::open(path).and_then(|mut f| f.read_exact(buf));
    read("/dev/zero", &mut buf).map_err(failed("zero"))?;
    same!(buf, [0; 64]);
    read("/dev/urandom", &mut buf).map_err(failed("urandom"))?;
    let mut other = [0; 64];
    read("/dev/urandom", &mut other).map_err(failed("urandom"))?;
    same!(buf != other && buf != [0; 64], true);
    let full = OpenOptions::new().write(true).open("/dev/full").and_then(|mut f| f.write(b"x"));
    same!(full.map_err(|e| e.raw_os_error()), Err(Some(28)));
    Ok(())
}

fn standard() -> Result<(), String> {
    use std::io::IsTerminal;
    same!(std::io::stdout().is_terminal(), true);
    same!(File::open("/etc/motd").map_err(failed("open"))?.is_terminal(), false);
    Ok(())
}

fn proc() -> Result<(), String> {
    let text = |path: &str| fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    same!(fs::read_link("/proc/self/exe").map_err(failed("exe"))?, Path::new("/bin/selftest"));
    same!(std::env::current_exe().map_err(failed("current_exe"))?, Path::new("/bin/selftest"));
    let maps = text("/proc/self/maps")?;
    let inside = |line: &str, address: usize| {
        let (start, rest) = line.split_once('-').unwrap_or_default();
        let end = rest.split(' ').next().unwrap_or_default();
        let hex = |s| usize::from_str_radix(s, 16).unwrap_or(0);
        (hex(start)..hex(end)).contains(&address)
    };
    let code = maps.lines().find(|l| inside(l, proc as fn() -> _ as usize)).unwrap_or_default();
    same!((code.contains("r-xp"), code.ends_with("/bin/selftest")), (true, true));
    let local = 0;
    let stack = maps.lines().find(|l| inside(l, &raw const local as usize)).unwrap_or_default();
    same!(stack.ends_with("[stack]"), true);
    same!(text("/proc/self/stat")?.starts_with("1 (selftest) R"), true);
    same!(text("/proc/self/status")?.contains("Threads:\t1"), true);
    same!(text("/proc/self/cmdline")?.starts_with("/bin/selftest\0"), true);
    same!(text("/proc/meminfo")?.starts_with("MemTotal:"), true);
    same!(text("/proc/mounts")?.contains("proc /proc proc"), true);
    same!(text("/proc/uptime")?.is_empty(), false);
    let f = File::open("/etc/motd").map_err(failed("open"))?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&f));
    same!(fs::read_link(link).map_err(failed("fd"))?, Path::new("/etc/motd"));
    same!(fs::write("/proc/x", b"").is_err(), true);
    Ok(())
}

/// `std`'s locks are `flock`'s.
fn locks() -> Result<(), String> {
    let open =
        || fs::OpenOptions::new().write(true).create(true).truncate(false).open("/tmp/locked");
    let (a, b) = (open().map_err(failed("open"))?, open().map_err(failed("open"))?);
    a.lock_shared().map_err(failed("lock"))?;
    b.try_lock_shared().map_err(failed("lock"))?;
    same!(a.try_lock().is_err(), true);
    b.unlock().map_err(failed("unlock"))?;
    a.lock().map_err(failed("lock"))?;
    same!(b.try_lock_shared().is_err(), true);
    // It waits until the other is closed.
    let waiting = std::thread::spawn(move || b.lock().map(|()| b));
    std::thread::sleep(std::time::Duration::from_millis(5));
    same!(waiting.is_finished(), false);
    drop(a);
    waiting.join().map_err(|_| "panicked")?.map_err(failed("lock"))?;
    fs::remove_file("/tmp/locked").map_err(failed("remove"))
}
