//! What `/proc` says of the process and the machine.

use super::{PID, Process, get};
use crate::arch;
use crate::fs::kinds;
use crate::mm::slab::per_slab;
use crate::mm::usage::Usage;
use crate::mm::vma::{Backing, Prot, Role, Vma};
use crate::mm::{PAGE_SIZE, frames, heap};
use crate::time;
use alloc::vec::Vec;
use core::fmt::{Result, Write};
use driver_api::BOOT_FILE_SYSTEMS;
use driver_api::process::ProcessFiles;
use driver_api::vfs::FileType;

/// What `/proc` shows.
pub static FILES: ProcessFiles = ProcessFiles {
    machine: &[
        ("cpuinfo", cpuinfo),
        ("filesystems", filesystems),
        ("meminfo", meminfo),
        ("mounts", mounts),
        ("slabinfo", slabinfo),
        ("uptime", uptime),
        ("version", version),
    ],
    own: &[
        ("cmdline", cmdline),
        ("comm", comm),
        ("maps", maps),
        ("mounts", mounts),
        ("stat", stat),
        ("statm", statm),
        ("status", status),
    ],
    links: &[("cwd", cwd), ("exe", exe), ("root", root)],
    fds: || match get() {
        Some(p) => p.files.lock().iter().map(|(fd, _)| fd).collect(),
        None => Vec::new(),
    },
    fd,
    pid: PID,
};

/// Bytes as they are: paths may hold anything.
fn raw(out: &mut dyn Write, bytes: &[u8]) -> Result {
    bytes.utf8_chunks().try_for_each(|c| {
        out.write_str(c.valid())?;
        c.invalid().iter().try_for_each(|b| write!(out, "\\x{b:02x}"))
    })
}

fn name(process: &Process) -> &[u8] {
    process.name.rsplit(|b| *b == b'/').next().unwrap_or(&process.name)
}

fn uptime(out: &mut dyn Write) -> Result {
    let hundredths = time::now_ns() / 10_000_000;
    let (secs, rest) = (hundredths / 100, hundredths % 100);
    writeln!(out, "{secs}.{rest:02} 0.00")
}

fn version(out: &mut dyn Write) -> Result {
    writeln!(out, "Osier version {} ({})", env!("CARGO_PKG_VERSION"), arch::NAME)
}

fn meminfo(out: &mut dyn Write) -> Result {
    let frames = frames::stats();
    let usage = Usage::now();
    let (dirty, writing) = crate::fs::cache::counts();
    // `MemTotal` is `MemFree` and all kinds from `Cached` on, but for what devices have.
    [
        ("MemTotal", frames.total),
        ("MemFree", frames.free),
        ("MemAvailable", frames.free.saturating_sub(frames.reserve)),
        ("Buffers", 0),
        ("Dirty", dirty as u64),
        ("Writeback", writing as u64),
        ("Cached", usage.cached),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("AnonPages", usage.app),
        ("Slab", usage.heap),
        ("KernelStack", usage.stacks),
        ("PageTables", usage.tables),
    ]
    .into_iter()
    .try_for_each(|(name, frames)| {
        writeln!(out, "{name}:{:>w$} kB", frames * 4, w = 23 - name.len())
    })
}

/// The kernel heap's sizes of objects (`slabinfo(5)`, version 2.1, without the tunables). The last
/// are the frames that allocations have to themselves.
fn slabinfo(out: &mut dyn Write) -> Result {
    let (classes, frames) = (heap::classes(), heap::whole_frames());
    out.write_str("slabinfo - version: 2.1\n")?;
    out.write_str("# name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n")?;
    classes.into_iter().enumerate().try_for_each(|(class, (size, used, slabs))| {
        let each = per_slab(class);
        writeln!(out, "kmalloc-{size} {used} {} {size} {each} 1", slabs * each)
    })?;
    writeln!(out, "frames {frames} {frames} {PAGE_SIZE} 1 1")
}

/// One block a CPU, with no more than what programs count CPUs by.
fn cpuinfo(out: &mut dyn Write) -> Result {
    (0..crate::percpu::count())
        .try_for_each(|n| writeln!(out, "processor\t: {n}\nmodel name\t: {}\n", arch::NAME))
}

fn mounts(out: &mut dyn Write) -> Result {
    let Some(process) = get() else { return Ok(()) };
    let top = process.places.lock().root.clone();
    for mount in process.mounts.list() {
        let at = mount.at.as_ref().map_or(Vec::from(*b"/"), |at| at.absolute(&top));
        let how = if mount.read_only { "ro" } else { "rw" };
        raw(out, &mount.source)?;
        out.write_str(" ")?;
        raw(out, &at)?;
        writeln!(out, " {} {how} 0 0", mount.kind)?;
    }
    Ok(())
}

/// The kinds that `mount` knows; those without a device are mounted at boot.
fn filesystems(out: &mut dyn Write) -> Result {
    BOOT_FILE_SYSTEMS.iter().try_for_each(|fs| writeln!(out, "nodev\t{}", fs.name))?;
    kinds::list().iter().try_for_each(|kind| writeln!(out, "\t{}", kind.name()))
}

fn cmdline(out: &mut dyn Write) -> Result {
    get().map_or(Ok(()), |p| raw(out, p.cmdline.as_bytes()))
}

fn comm(out: &mut dyn Write) -> Result {
    get().map_or(Ok(()), |p| raw(out, name(p)))?;
    out.write_str("\n")
}

/// `start-end perms offset major:minor inode path`, as in Linux.
fn maps(out: &mut dyn Write) -> Result {
    let Some(process) = get() else { return Ok(()) };
    // Copied out: a path's name is not looked up under the lock of the address space.
    let mut areas: Vec<Vma> = Vec::new();
    process.space.for_each(&mut |vma| areas.push(vma.clone()));
    let top = process.places.lock().root.clone();
    for vma in &areas {
        let bit = |has, letter| if vma.prot.has(has) { letter } else { '-' };
        write!(
            out,
            "{:08x}-{:08x} {}{}{}{} ",
            vma.start,
            vma.end,
            bit(Prot::READ, 'r'),
            bit(Prot::WRITE, 'w'),
            bit(Prot::EXECUTE, 'x'),
            if vma.shared { 's' } else { 'p' }
        )?;
        match (&vma.backing, vma.role) {
            (Backing::File { path, offset }, _) => {
                let ino = path.inode().metadata().ino;
                write!(out, "{offset:08x} 00:{:02x} {ino} ", path.mount.id)?;
                raw(out, &path.absolute(&top))?;
            }
            (_, Role::Heap) => out.write_str("00000000 00:00 0 [heap]")?,
            (_, Role::Stack) => out.write_str("00000000 00:00 0 [stack]")?,
            _ => out.write_str("00000000 00:00 0")?,
        }
        out.write_str("\n")?;
    }
    Ok(())
}

/// The fields up to `rss` (24), the rest 0.
fn stat(out: &mut dyn Write) -> Result {
    let Some(process) = get() else { return Ok(()) };
    let usage = process.space.usage();
    let threads = process.threads.lock().len();
    let time = super::cpu_time(process);
    let [user, system] = [time.user, time.system].map(|ns| ns / 10_000_000);
    write!(out, "{PID} (")?;
    raw(out, name(process))?;
    write!(out, ") R 0 {PID} {PID} 0 -1 0 0 0 0 0 {user} {system} 0 0 20 0 {threads} 0 0 ")?;
    write!(out, "{} {}", usage.pages * 4096, usage.owned)?;
    (25..=52).try_for_each(|_| out.write_str(" 0"))?;
    out.write_str("\n")
}

fn statm(out: &mut dyn Write) -> Result {
    let Some(process) = get() else { return Ok(()) };
    let usage = process.space.usage();
    writeln!(out, "{} {} 0 0 0 {} 0", usage.pages, usage.owned, usage.owned)
}

fn status(out: &mut dyn Write) -> Result {
    let Some(process) = get() else { return Ok(()) };
    let usage = process.space.usage();
    let (uid, gid) = (process.who.uid, process.who.gid);
    let threads = process.threads.lock().len();
    out.write_str("Name:\t")?;
    raw(out, name(process))?;
    writeln!(out, "\nState:\tR (running)\nTgid:\t{PID}\nPid:\t{PID}\nPPid:\t0")?;
    writeln!(out, "Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{gid}\t{gid}\t{gid}\t{gid}")?;
    writeln!(out, "VmSize:\t{} kB\nVmRSS:\t{} kB", usage.pages * 4, usage.owned * 4)?;
    writeln!(out, "Threads:\t{threads}")
}

fn exe() -> Option<Vec<u8>> {
    let process = get()?;
    let top = process.places.lock().root.clone();
    Some(process.program.absolute(&top))
}

fn cwd() -> Option<Vec<u8>> {
    let (top, cwd) = {
        let places = get()?.places.lock();
        (places.root.clone(), places.cwd.clone())
    };
    Some(cwd.absolute(&top))
}

fn root() -> Option<Vec<u8>> {
    Some(Vec::from(*b"/"))
}

fn fd(fd: i32) -> Option<Vec<u8>> {
    let process = get()?;
    let file = process.file(fd).ok()?;
    match &file.path {
        Some(path) => {
            let top = process.places.lock().root.clone();
            Some(path.absolute(&top))
        }
        None => {
            let meta = file.metadata();
            // The console of a kernel without `/dev`.
            if meta.is_ok_and(|m| m.kind == FileType::CharDevice) {
                return Some(Vec::from(*b"/dev/console"));
            }
            let ino = meta.map_or(0, |m| m.ino);
            let mut out = alloc::string::String::new();
            write!(out, "pipe:[{ino}]").ok()?;
            Some(out.into_bytes())
        }
    }
}
