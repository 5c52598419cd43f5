//! The process and its threads: numbers, ends, limits, the system.

use super::{Errno, Outcome, cpu_clock, process, syscall};
use crate::arch;
use crate::fs::table::MAX_FILES;
use crate::mm::{PAGE_SIZE, frames};
use crate::process::{PID, current, exit, exit_thread};
use crate::{thread, time, user};
use core::sync::atomic::Ordering;
use driver_api::Error;

/// `RLIM_INFINITY`.
const UNLIMITED: u64 = u64::MAX;

/// Most signals with information that are pending.
const PENDING: u64 = super::queue::MAX as u64;

/// `RLIMIT_*` that are not unlimited: number, soft, hard.
const LIMITS: [(u32, u64, u64); 5] = [
    (3, 8 << 20, UNLIMITED), // STACK
    (4, 0, 0),               // CORE
    (11, PENDING, PENDING),  // SIGPENDING
    (13, 0, 0),              // NICE
    (14, 0, 0),              // RTPRIO
];

/// `RLIMIT_CPU` and `RLIMIT_NOFILE`, which can be changed.
const CPU: u32 = 0;
const FILES: u32 = 7;

fn limit(resource: u32) -> Result<(u64, u64), Errno> {
    match resource {
        CPU => return Ok(cpu_clock::limit()),
        FILES => return Ok((process()?.files.lock().limit() as u64, MAX_FILES as u64)),
        16.. => return Err(Errno::EINVAL),
        _ => {}
    }
    let found = LIMITS.iter().find(|l| l.0 == resource);
    Ok(found.map_or((UNLIMITED, UNLIMITED), |l| (l.1, l.2)))
}

/// Sets a limit as a `struct rlimit` at `from` says. Those but that of CPU time and the soft one
/// of descriptors do not change; asking for no more than there is succeeds.
fn set_limit(resource: u32, from: usize) -> Outcome {
    let (_, hard) = limit(resource)?;
    let new = user::read_u64(from)?;
    let new_hard = user::read_u64(from.checked_add(8).ok_or(Error::Fault)?)?;
    if new > new_hard {
        return Err(Errno::EINVAL);
    }
    if resource == CPU {
        // The first user may raise it again.
        if new_hard > hard && process()?.who.uid != 0 {
            return Err(Errno::EPERM);
        }
        cpu_clock::set_limit(new, new_hard)?;
        return Ok(0);
    }
    if new_hard > hard {
        return Err(Errno::EPERM);
    }
    if resource == FILES {
        process()?.files.lock().set_limit(new as usize);
    }
    Ok(0)
}

fn write_limit(to: usize, (soft, hard): (u64, u64)) -> Result<(), Error> {
    user::write_u64(to, soft)?;
    user::write_u64(to.checked_add(8).ok_or(Error::Fault)?, hard)
}

/// Whether `pid` is this process: 0 and its own number.
fn is_self(pid: i32) -> Result<(), Errno> {
    let own = pid == 0 || pid.cast_unsigned() == PID;
    let thread =
        || process().is_ok_and(|p| p.threads.lock().iter().any(|t| t.tid == pid.cast_unsigned()));
    if own || thread() { Ok(()) } else { Err(Errno::ESRCH) }
}

/// `struct new_utsname`: six fields of 65 bytes.
fn write_uname(to: usize) -> Outcome {
    const FIELD: usize = 65;
    let mut raw = [0; 6 * FIELD];
    let fields: [&[u8]; 6] = [
        // Programs and their libraries ask for this name before they do anything of Linux's.
        b"Linux",
        b"osier",
        // Programs compare this with the Linux they need: the ABI that is spoken, then ours.
        concat!("6.1.0-osier-", env!("CARGO_PKG_VERSION")).as_bytes(),
        concat!("Osier ", env!("CARGO_PKG_VERSION")).as_bytes(),
        arch::NAME.as_bytes(),
        b"(none)",
    ];
    for (to, from) in raw.as_chunks_mut::<FIELD>().0.iter_mut().zip(fields) {
        if let Some(to) = to.get_mut(..from.len()) {
            to.copy_from_slice(from);
        }
    }
    user::write(to, &raw)?;
    Ok(0)
}

syscall! {
    /// `exit(2)`.
    fn exit(status: i32) {
        exit_thread(status as u8)
    }

    /// `exit_group(2)`: the machine ends with this status.
    fn exit_group(status: i32) {
        exit(status as u8)
    }

    /// `getpid(2)`.
    fn getpid() {
        Ok(PID as usize)
    }

    /// `gettid(2)`.
    fn gettid() {
        Ok(current().tid as usize)
    }

    /// `getppid(2)`: nobody started it.
    fn getppid() {
        Ok(0)
    }

    /// `getpgrp(2)`.
    fn getpgrp() {
        Ok(PID as usize)
    }

    /// `getpgid(2)`.
    fn getpgid(pid: i32) {
        is_self(pid)?;
        Ok(PID as usize)
    }

    /// `getsid(2)`.
    fn getsid(pid: i32) {
        is_self(pid)?;
        Ok(PID as usize)
    }

    /// `setpgid(2)`: it leads its group already.
    fn setpgid(pid: i32, group: i32) {
        is_self(pid)?;
        if group == 0 || group.cast_unsigned() == PID { Ok(0) } else { Err(Errno::EPERM) }
    }

    /// `setsid(2)`: it leads a session already.
    fn setsid() {
        Err(Errno::EPERM)
    }

    /// `getuid(2)`.
    fn getuid() {
        Ok(process()?.who.uid as usize)
    }

    /// `geteuid(2)`.
    fn geteuid() {
        Ok(process()?.who.uid as usize)
    }

    /// `getgid(2)`.
    fn getgid() {
        Ok(process()?.who.gid as usize)
    }

    /// `getegid(2)`.
    fn getegid() {
        Ok(process()?.who.gid as usize)
    }

    /// `getresuid(2)`.
    fn getresuid(real: usize, effective: usize, saved: usize) {
        let uid = process()?.who.uid;
        for to in [real, effective, saved] {
            user::write_u32(to, uid)?;
        }
        Ok(0)
    }

    /// `getresgid(2)`.
    fn getresgid(real: usize, effective: usize, saved: usize) {
        let gid = process()?.who.gid;
        for to in [real, effective, saved] {
            user::write_u32(to, gid)?;
        }
        Ok(0)
    }

    /// `getgroups(2)`: none besides its own.
    fn getgroups(_count: i32, _to: usize) {
        Ok(0)
    }

    /// `wait4(2)`: there are no children.
    fn wait4() {
        Err(Errno::ECHILD)
    }

    /// `waitid(2)`: there are no children.
    fn waitid() {
        Err(Errno::ECHILD)
    }

    /// `set_tid_address(2)`.
    fn set_tid_address(at: usize) {
        let thread = current();
        thread.clear_tid.store(at, Ordering::Relaxed);
        Ok(thread.tid as usize)
    }

    /// `set_robust_list(2)`.
    fn set_robust_list(head: usize, len: usize) {
        if len != 24 {
            return Err(Errno::EINVAL);
        }
        current().robust_list.store(head, Ordering::Relaxed);
        Ok(0)
    }

    /// `get_robust_list(2)` of the thread that asks.
    fn get_robust_list(pid: i32, head: usize, len: usize) {
        if pid != 0 && pid.cast_unsigned() != current().tid {
            return Err(Errno::ESRCH);
        }
        user::write_u64(head, current().robust_list.load(Ordering::Relaxed) as u64)?;
        user::write_u64(len, 24)?;
        Ok(0)
    }

    /// `uname(2)`. The release begins with the version of Linux whose ABI is spoken.
    fn uname(to: usize) {
        write_uname(to)
    }

    /// `sysinfo(2)`.
    fn sysinfo(to: usize) {
        let stats = frames::stats();
        let page = PAGE_SIZE as u64;
        let threads = process()?.threads.lock().len() as u64;
        let words = [
            time::now_ns() / 1_000_000_000,
            0, 0, 0, // loads
            stats.total * page,
            stats.free * page,
            0, 0, 0, 0, // shared, buffers, swap
            threads,
            0, 0, // high memory
            1,    // unit: bytes
        ];
        let mut raw = [0; 112];
        for (to, word) in raw.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        user::write(to, &raw)?;
        Ok(0)
    }

    /// `prctl(2)`: names, and what is as it should be already.
    fn prctl(option: u32, arg: usize) {
        match option {
            // PR_SET_NAME, PR_GET_NAME
            15 => {
                let mut name = [0; 16];
                for (i, slot) in name.iter_mut().take(15).enumerate() {
                    let [byte] = user::read_array(arg.checked_add(i).ok_or(Error::Fault)?)?;
                    if byte == 0 {
                        break;
                    }
                    *slot = byte;
                }
                let len = name.iter().position(|&b| b == 0).unwrap_or(15);
                thread::current().set_name(name.get(..len).unwrap_or(&[]));
                Ok(0)
            }
            16 => {
                let mut name = [0; 16];
                thread::current().with_name(|n| {
                    if let Some(to) = name.get_mut(..n.len()) {
                        to.copy_from_slice(n);
                    }
                });
                user::write(arg, &name)?;
                Ok(0)
            }
            // PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS
            1 | 4 | 38 => Ok(0),
            // PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS
            3 | 39 => Ok(1),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `getrlimit(2)`.
    fn getrlimit(resource: u32, to: usize) {
        write_limit(to, limit(resource)?)?;
        Ok(0)
    }

    /// `setrlimit(2)`: limits but that of CPU time and the soft one of descriptors do not
    /// change; asking for no more than there is succeeds.
    fn setrlimit(resource: u32, from: usize) {
        set_limit(resource, from)
    }

    /// `prlimit64(2)` of this process; as `getrlimit` and `setrlimit`.
    fn prlimit64(pid: i32, resource: u32, new: usize, old: usize) {
        is_self(pid)?;
        let before = limit(resource)?;
        if new != 0 {
            set_limit(resource, new)?;
        }
        if old != 0 {
            write_limit(old, before)?;
        }
        Ok(0)
    }

    /// `getrusage(2)`: times and the greatest size.
    fn getrusage(who: i32, to: usize) {
        // RUSAGE_SELF, RUSAGE_THREAD; there are no RUSAGE_CHILDREN.
        let time = match who {
            0 => crate::process::cpu_time(process()?),
            1 => thread::current().cpu_time(),
            -1 => thread::CpuTime::default(),
            _ => return Err(Errno::EINVAL),
        };
        let [user, system] = [time.user, time.system].map(|ns| ns / 1000);
        let resident = process()?.space.usage().owned as u64 * 4;
        let mut raw = [0; 144];
        let second = 1_000_000;
        let words =
            [user / second, user % second, system / second, system % second, resident];
        for (to, word) in raw.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        user::write(to, &raw)?;
        Ok(0)
    }

    /// `getrandom(2)`.
    fn getrandom(to: usize, len: usize, how: u32) {
        // GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE
        if how & !7 != 0 {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        let len = len.min(isize::MAX as usize);
        while done < len {
            let mut chunk = [0; 256];
            let n = (len - done).min(chunk.len());
            let part = chunk.get_mut(..n).unwrap_or(&mut []);
            while crate::entropy::fill(part).is_err() {
                // GRND_NONBLOCK or a signal; else wait for a source.
                if how & 1 != 0 || done > 0 {
                    return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) };
                }
                if thread::sleep_until(time::now_ns() + 10_000_000, true) == thread::Woken::Interrupted {
                    return Err(Error::Restart.into());
                }
            }
            let at = to.checked_add(done).ok_or(Error::Fault)?;
            if let Err(e) = user::write(at, part) {
                return if done > 0 { Ok(done) } else { Err(e.into()) };
            }
            done += n;
        }
        Ok(done)
    }

    /// `getcpu(2)`.
    fn getcpu(cpu: usize, node: usize) {
        let index = crate::percpu::with(|cpu| cpu.index.load(Ordering::Relaxed));
        for (to, value) in [(cpu, index as u32), (node, 0)] {
            if to != 0 {
                user::write_u32(to, value)?;
            }
        }
        Ok(0)
    }

    /// `membarrier(2)`: with one CPU every barrier holds; with more, the query says that
    /// there is none, and programs do without.
    fn membarrier(command: u32, how: u32) {
        // GLOBAL, PRIVATE_EXPEDITED and its registration.
        let known = if crate::percpu::count() == 1 { 1 | 8 | 16 } else { 0 };
        match command {
            _ if how != 0 => Err(Errno::EINVAL),
            0 => Ok(known),
            1 | 8 | 16 if known != 0 => Ok(0),
            _ => Err(Errno::EINVAL),
        }
    }
}

// x86-64 alone sets its TLS base by a system call.
#[cfg(target_arch = "x86_64")]
syscall! {
    /// `arch_prctl(2)`: the FS and GS bases.
    fn arch_prctl(code: u32, arg: usize) {
        // ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS
        match code {
            0x1001 | 0x1002 if arg >= arch::USER_END => return Err(Errno::EPERM),
            0x1001 => arch::context::set_user_gs(arg),
            0x1002 => arch::context::set_user_tls(arg),
            0x1003 => user::write_u64(arg, arch::context::user_tls() as u64)?,
            0x1004 => user::write_u64(arg, arch::context::user_gs() as u64)?,
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }
}
