//! Long seeded runs against a plain vector, and several threads at once.

use super::super::file::Want;
use super::super::reclaim::How;
use super::fake::{Fake, P, machine, with};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use driver_api::vfs::Inode;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

/// Reads, writes, cuts, stores through mappings, write-outs and drops of one file.
fn run(record: usize, limit: usize, seed: u64) {
    const MOST: usize = 40 * P;
    let (fakes, cache) = machine(limit);
    let mut random = Random(seed);
    let start = random.below(MOST);
    let fake = Fake::new(record, start as u64);
    let mut model: Vec<u8> = (0..start).map(|at| (at / P) as u8 + 1).collect();
    for step in 0..600 {
        with(cache, &fake, |file| {
            // The pages of a record that are there are dirty or clean together.
            let mut state = file.kept.state.lock();
            for page in 0..60 {
                let flags = |p: Option<&mut super::super::map::Slot>| p.map(|s| s.flags & 3);
                let first = flags(state.pages.get(file.kept.record_of(page)));
                let own = flags(state.pages.get(page));
                assert!(own.is_none() || own == first, "{step} {record}: page {page}");
            }
        });
        with(cache, &fake, |file| match random.below(10) {
            0..3 => {
                let (at, len) = (random.below(MOST), random.below(3 * P) + 1);
                let bytes = vec![step as u8 | 1; len];
                assert_eq!(file.write(Some(at as u64), &bytes), Ok(((at + len) as u64, len)));
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&bytes);
            }
            3..5 => {
                let (at, len) = (random.below(MOST), random.below(3 * P) + 1);
                let mut buf = vec![0; len];
                let n = file.read(at as u64, &mut buf).unwrap();
                let expected = model.get(at..model.len().min(at + len)).unwrap_or(&[]);
                assert!(buf[..n] == *expected, "step {step}");
            }
            5 => {
                let size = random.below(MOST);
                file.truncate(size as u64).unwrap();
                model.resize(size, 0);
            }
            6 => {
                // A store, also in the last page beyond the end, which is not the file's.
                let page = random.below(MOST / P);
                let within = random.below(P);
                if page < model.len().div_ceil(P) {
                    while file.mapped(page as u64, true).is_none() {
                        file.prepare(page as u64, Want::Store).unwrap();
                    }
                    let mut state = file.kept.state.lock();
                    let slot = state.pages.get(page as u64).unwrap();
                    slot.frame.as_ref().unwrap().write(within, &[step as u8]);
                    if let Some(byte) = model.get_mut(page * P + within) {
                        *byte = step as u8;
                    }
                }
            }
            7 => file.write_out().unwrap(),
            8 => drop(cache.drop_clean(random.below(16), How::Wait)),
            _ => {
                fakes.now.fetch_add(super::AGE_NS, Ordering::Relaxed);
                assert_eq!(cache.write_aged(), None);
            }
        });
        assert_eq!(fake.metadata().size, model.len() as u64);
    }
    with(cache, &fake, |file| {
        file.write_out().unwrap();
        let mut state = file.kept.state.lock();
        let mut dirty = 0;
        for page in 0..100 {
            dirty += state.pages.get(page).map_or(0, |slot| slot.flags & 3);
        }
        assert_eq!((dirty, state.dirty), (0, 0));
        assert_eq!(cache.pages.load(Ordering::Relaxed) as u64, state.pages.len());
    });
    assert_eq!(cache.dirty_pages.load(Ordering::Relaxed), 0);
    assert_eq!(cache.writing.load(Ordering::Relaxed), 0);
    let disk = fake.disk.lock().unwrap();
    assert!(disk.reserved.is_empty());
    for (page, expected) in model.chunks(P).enumerate() {
        let bytes = disk.pages.get(&(page as u64)).copied().unwrap_or([0; P]);
        assert!(bytes[..expected.len()] == *expected, "page {page} on the device");
        assert!(bytes[expected.len()..].iter().all(|b| *b == 0), "behind the end");
    }
}

#[test]
fn a_file_is_what_a_vector_is() {
    for seed in 0..30 {
        for record in [512, P, 2 * P, 4 * P] {
            run(record, if seed % 2 == 0 { 1000 } else { 24 }, seed);
        }
    }
}

#[test]
fn threads_do_not_see_each_other() {
    const THREADS: u64 = 4;
    for record in [P, 4 * P] {
        let (_, cache) = machine(48);
        let fake = Fake::new(record, 64 * P as u64);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..THREADS)
                .map(|me| {
                    let fake = &fake;
                    scope.spawn(move || {
                        let mut random = Random(me);
                        // Bytes of their own, in pages that all share.
                        let mut mine = [None; 64];
                        for round in 0..400_u64 {
                            let page = random.below(64);
                            let at = page as u64 * P as u64 + me;
                            with(cache, fake, |file| {
                                if round % 3 == 0 {
                                    let mut seen = [0];
                                    file.read(at, &mut seen).unwrap();
                                    assert_eq!(seen[0], mine[page].unwrap_or(page as u8 + 1));
                                } else {
                                    file.write(Some(at), &[round as u8]).unwrap();
                                    mine[page] = Some(round as u8);
                                }
                            });
                        }
                    })
                })
                .collect();
            let writer = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    with(cache, &fake, |file| file.write_out().unwrap());
                    cache.drop_clean(8, How::Try);
                }
            });
            for thread in all {
                let result = thread.join();
                if result.is_err() {
                    over.store(true, Ordering::Relaxed);
                }
                result.unwrap();
            }
            over.store(true, Ordering::Relaxed);
            writer.join().unwrap();
        });
        with(cache, &fake, |file| file.write_out().unwrap());
        assert!(fake.disk.lock().unwrap().reserved.is_empty());
    }
}
