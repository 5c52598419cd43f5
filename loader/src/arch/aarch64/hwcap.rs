//! `AT_HWCAP`: what unprivileged programs may use, as Linux numbers it
//! (`arch/arm64/include/uapi/asm/hwcap.h`).

/// The identification registers that decide (Arm ARM D17.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct IdRegisters {
    /// ID_AA64ISAR0_EL1.
    pub isar0: u64,
    /// ID_AA64ISAR1_EL1.
    pub isar1: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
}

/// Which register a field is in.
#[derive(Clone, Copy)]
enum In {
    Isar0,
    Isar1,
    Pfr0,
}

/// Field (register, lowest bit), its least value, the bit of `AT_HWCAP`. Left out: SVE, SME
/// and pointer authentication, which the kernel keeps off; CPUID, for it emulates no MRS.
const FEATURES: [(In, u32, u64, u32); 23] = [
    (In::Isar0, 4, 1, 3),   // AES
    (In::Isar0, 4, 2, 4),   // PMULL
    (In::Isar0, 8, 1, 5),   // SHA1
    (In::Isar0, 12, 1, 6),  // SHA2
    (In::Isar0, 16, 1, 7),  // CRC32
    (In::Isar0, 20, 2, 8),  // ATOMICS (FEAT_LSE)
    (In::Pfr0, 16, 1, 9),   // FPHP
    (In::Pfr0, 20, 1, 10),  // ASIMDHP
    (In::Isar0, 28, 1, 12), // ASIMDRDM
    (In::Isar1, 12, 1, 13), // JSCVT
    (In::Isar1, 16, 1, 14), // FCMA
    (In::Isar1, 20, 1, 15), // LRCPC
    (In::Isar1, 0, 1, 16),  // DCPOP
    (In::Isar0, 32, 1, 17), // SHA3
    (In::Isar0, 36, 1, 18), // SM3
    (In::Isar0, 40, 1, 19), // SM4
    (In::Isar0, 44, 1, 20), // ASIMDDP
    (In::Isar0, 12, 2, 21), // SHA512
    (In::Isar0, 48, 1, 23), // ASIMDFHM
    (In::Pfr0, 48, 1, 24),  // DIT
    (In::Isar1, 20, 2, 26), // ILRCPC
    (In::Isar0, 52, 1, 27), // FLAGM
    (In::Isar1, 36, 1, 29), // SB
];

/// Value of a floating-point field that means "none".
const NO_FP: u64 = 0xf;

/// `AT_HWCAP` of a CPU.
#[must_use]
pub const fn hwcap(id: &IdRegisters) -> u64 {
    let mut caps = 0;
    let mut i = 0;
    while i < FEATURES.len() {
        let (register, shift, least, bit) = FEATURES[i];
        let value = match register {
            In::Isar0 => id.isar0,
            In::Isar1 => id.isar1,
            In::Pfr0 => id.pfr0,
        } >> shift
            & 0xf;
        let floating_point = matches!(register, In::Pfr0) && shift < 24;
        if value >= least && !(floating_point && value == NO_FP) {
            caps |= 1 << bit;
        }
        i += 1;
    }
    // FP and ASIMD: value 0 means that they are there.
    if id.pfr0 >> 16 & 0xf != NO_FP {
        caps |= 1;
    }
    if id.pfr0 >> 20 & 0xf != NO_FP {
        caps |= 1 << 1;
    }
    caps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cortex_a57_has_what_its_manual_says() {
        // DDI 0488 4.3: AES with PMULL, SHA1, SHA2, CRC32; plain FP and ASIMD.
        let a57 = IdRegisters { isar0: 0x1_1120, isar1: 0, pfr0: 0x22 };
        assert_eq!(hwcap(&a57), 0b1111_1011);
    }

    #[test]
    fn newer_features_are_seen_and_missing_units_are_not() {
        let atomics = IdRegisters { isar0: 2 << 20, ..IdRegisters::default() };
        assert_eq!(hwcap(&atomics), 1 << 8 | 3);
        let no_fp = IdRegisters { pfr0: 0xff << 16, ..IdRegisters::default() };
        assert_eq!(hwcap(&no_fp), 0);
        let half = IdRegisters { pfr0: 0x11 << 16, ..IdRegisters::default() };
        assert_eq!(hwcap(&half), 1 << 9 | 1 << 10 | 3);
        let lrcpc2 = IdRegisters { isar1: 2 << 20, ..IdRegisters::default() };
        assert_eq!(hwcap(&lrcpc2), 1 << 15 | 1 << 26 | 3);
    }
}
