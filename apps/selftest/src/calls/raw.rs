//! System calls without a C library.

/// Makes a call; a negative result is an errno.
///
/// It is for calls that leave the test's own memory and threads as they are: the table of
/// forms, and who picks from it, see to that.
#[cfg(target_arch = "x86_64")]
pub fn call(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the instruction changes what is named here; what the call does to memory is
    // the caller's care, as said above.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// Makes a call; a negative result is an errno.
///
/// It is for calls that leave the test's own memory and threads as they are: the table of
/// forms, and who picks from it, see to that.
#[cfg(target_arch = "aarch64")]
pub fn call(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: as for the other arch.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack)
        );
    }
    result
}

/// Makes the call of this name.
pub fn named(name: &str, args: &[usize]) -> isize {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    super::number(name).map_or(-38, |number| call(number, all))
}
