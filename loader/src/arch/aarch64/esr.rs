//! What ESR_EL1 says of a synchronous exception (Arm ARM D17.2.37).

/// The exceptions that the kernel tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// SVC from AArch64.
    Syscall,
    /// An instruction could not be fetched: translation, access flag or permission.
    InstructionAbort,
    /// Data could not be accessed: translation, access flag or permission.
    DataAbort {
        /// A store (cache maintenance counts as a load).
        write: bool,
    },
    /// PC, SP or data alignment.
    Alignment,
    /// The memory system answered an access with an error.
    ExternalAbort,
    /// BRK, single step, breakpoint, watchpoint.
    Breakpoint,
    /// A floating-point exception that is trapped.
    FloatingPoint,
    /// Everything else: undefined and trapped instructions, illegal state.
    Illegal,
}

/// Fault status codes (ISS.DFSC/IFSC) of translation (0b0001LL), access flag (0b0010LL) and
/// permission (0b0011LL) faults at level LL; address size faults (0b0000LL) are the tables'
/// fault and count as translation.
const fn is_mmu_fault(status: u64) -> bool {
    status & 0x3f < 0x10
}

/// Status code of an alignment fault.
const ALIGNMENT: u64 = 0x21;
/// ISS.WnR of a data abort.
const WRITE: u64 = 1 << 6;
/// ISS.CM of a data abort: cache maintenance, which sets WnR without writing.
const CACHE_MAINTENANCE: u64 = 1 << 8;

/// The class of `esr`.
#[must_use]
pub const fn class(esr: u64) -> Class {
    match esr >> 26 & 0x3f {
        0x15 => Class::Syscall,
        0x20 | 0x21 if is_mmu_fault(esr) => Class::InstructionAbort,
        0x24 | 0x25 if is_mmu_fault(esr) => {
            Class::DataAbort { write: esr & WRITE != 0 && esr & CACHE_MAINTENANCE == 0 }
        }
        0x24 | 0x25 if esr & 0x3f == ALIGNMENT => Class::Alignment,
        0x20 | 0x21 | 0x24 | 0x25 => Class::ExternalAbort,
        0x22 | 0x26 => Class::Alignment,
        0x2c => Class::FloatingPoint,
        0x30..=0x35 | 0x3c => Class::Breakpoint,
        _ => Class::Illegal,
    }
}

/// What to say of an exception that the kernel itself has caused.
#[must_use]
pub const fn describe(class: Class) -> &'static str {
    match class {
        Class::Syscall => "system call from the kernel",
        Class::InstructionAbort => "jump to an address that is not executable",
        Class::DataAbort { write: false } => "read of an address that is not mapped",
        Class::DataAbort { write: true } => "write to an address that is not writable",
        Class::Alignment => "misaligned access",
        Class::ExternalAbort => "external abort",
        Class::Breakpoint => "breakpoint",
        Class::FloatingPoint => "floating-point exception",
        Class::Illegal => "illegal instruction",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_told_apart() {
        for (esr, expected) in [
            (0x5600_0000, Class::Syscall),                    // SVC #0
            (0x8200_0006, Class::InstructionAbort),           // EL0, translation, level 2
            (0x9200_0007, Class::DataAbort { write: false }), // EL0 load, translation, level 3
            (0x9200_004f, Class::DataAbort { write: true }),  // EL0 store, permission, level 3
            (0x9600_0147, Class::DataAbort { write: false }), // EL1 DC, WnR set, CM set
            (0x9200_0021, Class::Alignment),
            (0x8a00_0000, Class::Alignment), // PC
            (0x9a00_0000, Class::Alignment), // SP
            (0x9200_0010, Class::ExternalAbort),
            (0xf200_0000, Class::Breakpoint), // BRK #0
            (0xb200_0000, Class::FloatingPoint),
            (0x0200_0000, Class::Illegal), // undefined
            (0x6600_0000, Class::Illegal), // SVE trap
            (u64::MAX, Class::Illegal),
        ] {
            assert_eq!(class(esr), expected, "{esr:#x}");
        }
    }
}
