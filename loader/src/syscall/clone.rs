//! New threads. New processes are declined.

use super::{Errno, Outcome, process, syscall};
use crate::process::{NewThread, current, spawn_thread};
use crate::user;
use driver_api::Error;

/// `CLONE_*` (`linux/sched.h`).
mod flag {
    pub const VM: u64 = 0x100;
    pub const FS: u64 = 0x200;
    pub const FILES: u64 = 0x400;
    pub const SIGHAND: u64 = 0x800;
    pub const THREAD: u64 = 0x1_0000;
    pub const SYSVSEM: u64 = 0x4_0000;
    pub const SETTLS: u64 = 0x8_0000;
    pub const PARENT_SETTID: u64 = 0x10_0000;
    pub const CHILD_CLEARTID: u64 = 0x20_0000;
    pub const DETACHED: u64 = 0x40_0000;
    pub const CHILD_SETTID: u64 = 0x100_0000;
    /// What a thread shares with its process.
    pub const SHARED: u64 = VM | FS | FILES | SIGHAND | THREAD;
}

/// What the app asks for.
struct Request {
    flags: u64,
    stack: usize,
    parent_tid: usize,
    child_tid: usize,
    tls: usize,
}

fn start(frame: &crate::arch::trap::TrapFrame, request: &Request) -> Outcome {
    const KNOWN: u64 = flag::SHARED
        | flag::SYSVSEM
        | flag::SETTLS
        | flag::PARENT_SETTID
        | flag::CHILD_CLEARTID
        | flag::DETACHED
        | flag::CHILD_SETTID;
    if request.flags & flag::THREAD == 0 {
        // fork and vfork: one process, as unikernels have it.
        return Err(Errno::ENOSYS);
    }
    if request.flags & flag::SHARED != flag::SHARED || request.flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let has = |bit| request.flags & bit != 0;
    let mut child = *frame;
    child.set_syscall_result(0);
    if request.stack != 0 {
        child.set_sp(request.stack);
    }
    let blocked = current().signals.lock().blocked;
    let new = NewThread {
        frame: child,
        tls: has(flag::SETTLS).then_some(request.tls),
        blocked,
        clear_tid: if has(flag::CHILD_CLEARTID) { request.child_tid } else { 0 },
    };
    let tid = spawn_thread(process()?, new, |tid| {
        if has(flag::PARENT_SETTID) {
            user::write_u32(request.parent_tid, tid)?;
        }
        if has(flag::CHILD_SETTID) {
            user::write_u32(request.child_tid, tid)?;
        }
        Ok(())
    })?;
    Ok(tid as usize)
}

syscall! {
    /// `clone(2)` of threads. New processes are declined with `ENOSYS`.
    fn clone[call](flags: u64, stack: usize, parent_tid: usize, fourth: usize, fifth: usize) {
        // x86-64 has the last two the other way round than the others (CONFIG_CLONE_BACKWARDS).
        let (child_tid, tls) =
            if cfg!(target_arch = "x86_64") { (fourth, fifth) } else { (fifth, fourth) };
        // The low byte is the signal at the child's end: a thread has none.
        let flags = flags & 0xffff_ff00;
        start(call.frame, &Request { flags, stack, parent_tid, child_tid, tls })
    }

    /// `clone3(2)` of threads.
    fn clone3[call](args: usize, size: usize) {
        /// Length of the first version of `struct clone_args`.
        const V0: usize = 64;
        if size < V0 {
            return Err(Errno::EINVAL);
        }
        if size > 4096 {
            return Err(Errno(linux_abi::errno::E2BIG));
        }
        let raw: [u8; V0] = user::read_array(args)?;
        for i in V0..size {
            if user::read_array::<1>(args.checked_add(i).ok_or(Error::Fault)?)? != [0] {
                return Err(Errno(linux_abi::errno::E2BIG));
            }
        }
        let word = |i: usize| raw.as_chunks::<8>().0.get(i).map_or(0, |w| u64::from_le_bytes(*w));
        let (base, len) = (word(5) as usize, word(6) as usize);
        if (base == 0) != (len == 0) {
            return Err(Errno::EINVAL);
        }
        let stack = base.checked_add(len).ok_or(Errno::EINVAL)?;
        let request = Request {
            flags: word(0),
            stack,
            child_tid: word(2) as usize,
            parent_tid: word(3) as usize,
            tls: word(7) as usize,
        };
        start(call.frame, &request)
    }

    /// `fork(2)`: declined.
    fn fork() {
        Err(Errno::ENOSYS)
    }

    /// `vfork(2)`: declined.
    fn vfork() {
        Err(Errno::ENOSYS)
    }

    /// `execve(2)`: declined.
    fn execve() {
        Err(Errno::ENOSYS)
    }
}
