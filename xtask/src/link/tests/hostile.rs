//! Every step on damaged files: an error or a result, never a panic or a hang.

use super::{both, check_plan};
use crate::link::{RelocatePlan, Relocated, check, relocate, size_table, strip};
use crate::pack::loader_img;
use proptest::prelude::*;

/// Runs all steps, as far as each accepts what the one before it made.
fn all_steps(linked: &[u8], plan: &RelocatePlan) -> bool {
    let Ok(done) = relocate(linked, plan) else { return false };
    let _ = check(linked, &done, &check_plan(*plan));
    let _ = strip(&done.elf);
    let _ = size_table(&done.elf, &["ns16550"]);
    let _ = loader_img(&done.elf, 6, "init");
    true
}

#[test]
fn every_truncation_is_refused() {
    for (sample, plan) in both() {
        let bytes = sample.bytes();
        assert!(all_steps(&bytes, &plan));
        let done = relocate(&bytes, &plan).unwrap();
        for n in 0..bytes.len() {
            // The section header table is last: without it the file is refused.
            assert!(!all_steps(&bytes[..n], &plan), "{n}");
        }
        for n in 0..done.elf.len() {
            assert!(strip(&done.elf[..n]).is_err(), "{n}");
            assert!(loader_img(&done.elf[..n], 0, "").is_err(), "{n}");
            let cut = Relocated { elf: done.elf[..n].to_vec(), relocs: done.relocs.clone() };
            assert!(check(&bytes, &cut, &check_plan(plan)).is_err(), "{n}");
        }
    }
}

#[test]
fn every_header_word_may_be_anything() {
    let values =
        [0, 1, 8, 0x1000, 0x7fff_ffff, u64::from(u32::MAX), 1 << 63, u64::MAX, u64::MAX - 7];
    for (sample, plan) in both() {
        let bytes = sample.bytes();
        // File header and program headers, then the section header table.
        let sections = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
        let heads = (16..64 + 6 * 56).chain(sections..bytes.len() - 8);
        for at in heads.step_by(4) {
            for value in values {
                let mut bytes = bytes.clone();
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                all_steps(&bytes, &plan);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_mutations(
        arch in 0usize..2,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            any::<u64>(), 0u64..0x5000, Just(u64::MAX), (0u32..64).prop_map(|b| 1 << b)
        ], 1usize..=8), 1..6)
    ) {
        let (sample, plan) = both()[arch].clone();
        let mut bytes = sample.bytes();
        // Where the file holds something: its padding is of no interest.
        let places: Vec<usize> = (0..bytes.len()).filter(|i| {
            bytes[i.saturating_sub(16)..(i + 16).min(bytes.len())].iter().any(|b| *b != 0)
        }).collect();
        for (at, value, len) in changes {
            let at = *at.get(&places);
            for (to, from) in bytes[at..].iter_mut().zip(&value.to_le_bytes()[..len]) {
                *to = *from;
            }
        }
        all_steps(&bytes, &plan);
    }

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, plan) = both()[0].clone();
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
        file.extend(bytes);
        prop_assert!(!all_steps(&file, &plan));
    }
}
