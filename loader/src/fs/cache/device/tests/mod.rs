//! The rules of the cache, one by one, against a scripted file system.

mod fake;
mod random;

use super::super::PAGER;
use super::file::Want;
use super::reclaim::How;
use super::{AGE_NS, Global};
use crate::fs::file::{OpenFile, flags};
use crate::fs::{MountTable, NewMount};
use crate::mm::PhysAddr;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use driver_api::Error;
use driver_api::vfs::Inode;
use fake::{Fake, P, machine, with};

#[test]
fn what_is_read_comes_from_the_device_once_and_ahead() {
    let (_, cache) = machine(1000);
    let f = Fake::new(P, 40 * P as u64 + 10);
    with(cache, &f, |file| {
        let mut buf = vec![0; P];
        for page in 0..41 {
            let n = file.read(page * P as u64, &mut buf).unwrap();
            assert_eq!(n, if page < 40 { P } else { 10 });
            assert!(buf[..n].iter().all(|b| *b == page as u8 + 1));
        }
        assert_eq!(file.read(41 * P as u64, &mut buf), Ok(0));
        assert_eq!(file.read(5, &mut buf), Ok(P));
        assert_eq!((buf[P - 6], buf[P - 5]), (1, 2));
    });
    // One page, then ever more.
    assert_eq!(f.disk.lock().unwrap().fills, [(0, 1), (1, 4), (5, 8), (13, 16), (29, 12)]);
    // Not in order: nothing ahead.
    let g = Fake::new(P, 100 * P as u64);
    with(cache, &g, |file| {
        for page in [90, 10, 50] {
            file.read(page * P as u64, &mut [0; 8]).unwrap();
        }
    });
    assert_eq!(g.disk.lock().unwrap().fills, [(90, 1), (10, 1), (50, 1)]);
}

#[test]
fn records_move_whole() {
    let (_, cache) = machine(1000);
    let f = Fake::new(4 * P, 9 * P as u64 + 1);
    with(cache, &f, |file| {
        file.read(5 * P as u64, &mut [0; 8]).unwrap();
        file.write(Some(9 * P as u64), b"xyz").unwrap();
        // Beyond the end, in the same record and in others.
        file.write(Some(11 * P as u64), b"abc").unwrap();
        file.write(Some(21 * P as u64), b"def").unwrap();
        file.write_out().unwrap();
    });
    let disk = f.disk.lock().unwrap();
    assert_eq!(disk.fills, [(4, 4), (8, 2)]);
    assert_eq!(disk.writes, [(8, 4), (20, 2)]);
    assert_eq!((&disk.pages[&9][..3], &disk.pages[&11][..3]), (&b"xyz"[..], &b"abc"[..]));
    assert_eq!((&disk.pages[&21][..3], disk.size), (&b"def"[..], 21 * P as u64 + 3));
    assert!(disk.reserved.is_empty());
}

#[test]
fn a_page_that_is_written_over_is_not_read() {
    let (_, cache) = machine(1000);
    let f = Fake::new(P, 4 * P as u64);
    with(cache, &f, |file| {
        assert_eq!(file.write(Some(0), &[9; 2 * P]), Ok((2 * P as u64, 2 * P)));
        assert_eq!(file.write(None, b"end"), Ok((4 * P as u64 + 3, 3)));
        let mut buf = [0; 3];
        file.read(4 * P as u64, &mut buf).unwrap();
        assert_eq!(&buf, b"end");
    });
    assert_eq!(f.disk.lock().unwrap().fills, []);
}

#[test]
fn a_failed_fill_leaves_nothing_behind() {
    let (_, cache) = machine(1000);
    let f = Fake::new(P, 8 * P as u64);
    f.disk.lock().unwrap().fail_fill = true;
    with(cache, &f, |file| {
        assert_eq!(file.read(0, &mut [0; 8]), Err(Error::Io));
        assert_eq!(file.write(Some(10), b"x"), Err(Error::Io));
        assert_eq!(file.prepare(3, Want::Store), Err(Error::Io));
        assert_eq!(file.kept.state.lock().pages.len(), 0);
        f.disk.lock().unwrap().fail_fill = false;
        let mut buf = [0; 2];
        assert_eq!(file.read(0, &mut buf), Ok(2));
        assert_eq!(buf, [1, 1]);
    });
}

#[test]
fn space_is_set_aside_first_and_given_back_by_a_cut() {
    let (_, cache) = machine(1000);
    let f = Fake::new(2 * P, 8 * P as u64);
    f.disk.lock().unwrap().room = Some(6);
    with(cache, &f, |file| {
        assert_eq!(file.write(Some(0), &[9; 8 * P]), Ok((6 * P as u64, 6 * P)));
        assert_eq!(file.write(Some(6 * P as u64), b"x"), Err(Error::NoSpace));
        assert_eq!(file.prepare(7, Want::Store), Err(Error::NoSpace));
        assert_eq!(file.mapped(7, true), None);
        assert!(file.mapped(7, false).is_some(), "reading needs no space");
        file.truncate(2 * P as u64 + 1).unwrap();
        assert_eq!(f.disk.lock().unwrap().reserved.len(), 4, "the cut record keeps its own");
        assert_eq!(file.kept.state.lock().dirty, 3);
        file.truncate(0).unwrap();
        assert_eq!(f.disk.lock().unwrap().reserved.len(), 0);
        assert_eq!(cache.dirty_pages.load(Ordering::Relaxed), 0);
        assert_eq!(cache.pages.load(Ordering::Relaxed), 0);
        // A file that cannot grow keeps nothing beyond its end.
        f.disk.lock().unwrap().fail_extend = true;
        assert_eq!(file.write(None, b"x"), Err(Error::FileTooLarge));
        assert_eq!(f.disk.lock().unwrap().reserved.len(), 0);
    });
}

#[test]
fn a_failed_write_out_is_counted_and_tried_again() {
    let (_, cache) = machine(1000);
    let f = Fake::new(P, 0);
    f.disk.lock().unwrap().fail_write = true;
    with(cache, &f, |file| {
        file.write(None, b"hello").unwrap();
        assert_eq!((file.write_out(), file.kept.errors()), (Err(Error::Io), 1));
        assert_eq!(file.kept.state.lock().dirty, 1);
        assert_eq!(f.disk.lock().unwrap().reserved.len(), 1);
        f.disk.lock().unwrap().fail_write = false;
        assert_eq!((file.write_out(), file.kept.errors()), (Ok(()), 1));
        assert_eq!(file.kept.state.lock().dirty, 0);
    });
    assert_eq!(&f.disk.lock().unwrap().pages[&0][..5], b"hello");
}

#[test]
fn a_failure_is_told_once_for_each_open_file() {
    let (machine, cache) = machine(1000);
    PAGER.call_once(|| Box::leak(Box::new(Global(cache))));
    let f = Fake::new(P, 0);
    let (_mounts, root) = MountTable::new(NewMount::plain(f.clone(), "fake"));
    let path = Arc::new(root);
    let open = || OpenFile::new(Some(path.clone()), None, flags::RDWR);
    let fail = |fails| f.disk.lock().unwrap().fail_write = fails;
    let (a, b) = (open(), open());
    a.write(b"lost?").unwrap();
    fail(true);
    // Whoever asked for it, and again while it goes on.
    assert_eq!((a.sync(), a.sync()), (Err(Error::Io), Err(Error::Io)));
    fail(false);
    let late = open();
    assert_eq!((a.sync(), a.sync()), (Ok(()), Ok(())));
    // The other one did not hear of it yet; one that was opened later does not.
    assert_eq!((b.sync(), b.sync(), late.sync()), (Err(Error::Io), Ok(()), Ok(())));
    // Nor does it matter that nobody asked: the writer's failure is told to all, once each.
    b.write(b"old").unwrap();
    fail(true);
    machine.now.store(AGE_NS + 1, Ordering::Relaxed);
    cache.write_aged();
    fail(false);
    for file in [&a, &b, &late] {
        assert_eq!((file.sync(), file.sync()), (Err(Error::Io), Ok(())));
    }
    assert_eq!(&f.disk.lock().unwrap().pages[&0][..5], b"oldt?");
}

#[test]
fn pages_are_stable_while_they_are_written() {
    let (fakes, cache) = machine(1000);
    let f = Fake::new(P, 0);
    with(cache, &f, |file| {
        file.write(None, &[1; P]).unwrap();
        assert!(file.mapped(0, true).is_some());
    });
    f.disk.lock().unwrap().hold = true;
    std::thread::scope(|scope| {
        // The thread's own machine says where pages are mapped: none are.
        let out = scope.spawn(|| with(cache, &f, |file| file.write_out()));
        f.wait_held();
        let writer = scope.spawn(|| with(cache, &f, |file| file.write(Some(0), &[2; 4])));
        with(cache, &f, |file| {
            let mut buf = [0; 2];
            assert_eq!(file.read(0, &mut buf), Ok(2), "a reader does not wait");
            assert_eq!(buf, [1, 1]);
            assert_eq!((file.mapped(0, true), file.mapped(0, false)), (None, None));
        });
        // `Fake::write` sees that the page is what it was.
        f.release_held();
        assert_eq!(out.join().unwrap(), Ok(()));
        assert_eq!(writer.join().unwrap(), Ok((4, 4)));
    });
    assert_eq!(f.disk.lock().unwrap().pages[&0][0], 1);
    with(cache, &f, |file| {
        assert_eq!(file.kept.state.lock().dirty, 1, "written again later");
        assert!(file.mapped(0, true).is_some());
        file.write_out().unwrap();
        assert!(file.mapped(0, true).is_none(), "clean: a store faults");
    });
    assert_eq!(fakes.protected.lock().unwrap().as_slice(), std::slice::from_ref(&(0..1)));
}

#[test]
fn a_dirty_file_lives_until_it_is_clean() {
    let (_, cache) = machine(1000);
    let f = Fake::new(P, 0);
    with(cache, &f, |file| file.write(None, b"x").unwrap());
    let weak = Arc::downgrade(&f);
    drop(f);
    assert_eq!(weak.strong_count(), 1);
    assert_eq!(cache.sync(2), Ok(()), "another file system");
    assert_eq!(weak.strong_count(), 1);
    assert_eq!(cache.sync(1), Ok(()));
    assert_eq!(weak.strong_count(), 0);
    assert_eq!(cache.pages.load(Ordering::Relaxed), 0);
    assert_eq!(cache.drop_clean(1, How::Try), 0);
}

#[test]
fn what_cannot_be_written_goes_with_its_file_system() {
    let (_, cache) = machine(1000);
    let f = Fake::new(P, 0);
    f.disk.lock().unwrap().fail_write = true;
    with(cache, &f, |file| file.write(None, b"x").unwrap());
    assert_eq!(cache.sync(1), Err(Error::Io));
    cache.forget(1);
    assert_eq!(Arc::strong_count(&f), 1);
    assert_eq!(cache.dirty_pages.load(Ordering::Relaxed), 0);
}

#[test]
fn old_pages_are_written_and_failures_wait_their_turn() {
    let (fakes, cache) = machine(1000);
    let f = Fake::new(P, 0);
    fakes.now.store(100, Ordering::Relaxed);
    with(cache, &f, |file| file.write(None, b"x").unwrap());
    assert_eq!(fakes.woken.load(Ordering::Relaxed), 1);
    assert_eq!(cache.write_aged(), Some(100 + AGE_NS));
    assert_eq!(f.disk.lock().unwrap().writes, []);
    f.disk.lock().unwrap().fail_write = true;
    fakes.now.store(100 + AGE_NS, Ordering::Relaxed);
    assert_eq!(cache.write_aged(), Some(100 + 2 * AGE_NS), "tried again later");
    f.disk.lock().unwrap().fail_write = false;
    fakes.now.store(100 + 2 * AGE_NS, Ordering::Relaxed);
    assert_eq!(cache.write_aged(), None);
    assert_eq!(f.disk.lock().unwrap().writes, [(0, 1), (0, 1)]);
}

#[test]
fn who_writes_too_much_writes_it_out() {
    let (fakes, cache) = machine(100);
    let f = Fake::new(P, 0);
    with(cache, &f, |file| {
        for _ in 0..200 {
            file.write(None, &[7; P]).unwrap();
            assert!(cache.dirty_pages.load(Ordering::Relaxed) <= 20);
        }
    });
    assert!(fakes.woken.load(Ordering::Relaxed) > 1, "from a tenth on the writer is woken");
    assert!(!f.disk.lock().unwrap().writes.is_empty());
}

#[test]
fn a_full_memory_drops_what_was_not_used() {
    let (_, cache) = machine(64);
    let f = Fake::new(P, 400 * P as u64);
    with(cache, &f, |file| {
        for page in 1..400_u64 {
            let mut buf = [0; 1];
            // The first page is in use all the time.
            file.read(0, &mut buf).unwrap();
            assert_eq!(buf, [1]);
            file.read((page * 7 % 399 + 1) * P as u64, &mut buf).unwrap();
            assert_eq!(buf, [(page * 7 % 399 + 2) as u8]);
        }
        assert!(file.kept.state.lock().pages.len() <= 64);
    });
    let disk = f.disk.lock().unwrap();
    let first = disk.fills.iter().filter(|(first, _)| *first == 0).count();
    assert!(first <= 2, "the page that is used was dropped {first} times");
}

#[test]
fn a_memory_full_of_dirty_pages_is_written() {
    // Nobody throttles: stores through mappings.
    let (fakes, cache) = machine(64);
    let f = Fake::new(2 * P, 300 * P as u64);
    with(cache, &f, |file| {
        for page in 0..300 {
            while file.mapped(page, true).is_none() {
                file.prepare(page, Want::Store).unwrap();
            }
            let mut state = file.kept.state.lock();
            state.pages.get(page).unwrap().frame.as_ref().unwrap().write(1, &[page as u8]);
        }
        file.write_out().unwrap();
    });
    assert!(!fakes.protected.lock().unwrap().is_empty());
    assert!(!fakes.unmapped.lock().unwrap().is_empty(), "mapped pages are dropped too");
    let disk = f.disk.lock().unwrap();
    assert!((0..300).all(|page| {
        let old = (page as u8).wrapping_add(1);
        disk.pages[&page][..3] == [old, page as u8, old]
    }));
}

#[test]
fn out_of_memory_fails_the_request() {
    let (fakes, cache) = machine(8);
    let f = Fake::new(P, 100 * P as u64);
    f.disk.lock().unwrap().fail_write = true;
    with(cache, &f, |file| {
        // Nothing can be written, so nothing can be dropped.
        let written = file.write(Some(0), &[1; 20 * P]).unwrap();
        assert_eq!(written.1, 8 * P);
        assert_eq!(file.read(50 * P as u64, &mut [0; 1]), Err(Error::NoMemory));
        assert!(fakes.shrunk.load(Ordering::Relaxed) > 0, "file systems were asked");
        f.disk.lock().unwrap().fail_write = false;
        fakes.now.store(1, Ordering::Relaxed);
        assert_eq!(file.read(50 * P as u64, &mut [0; 1]), Ok(1));
    });
}

#[test]
fn mapped_pages_stay_while_somebody_holds_the_address_space() {
    let (fakes, cache) = machine(100);
    let f = Fake::new(P, 4 * P as u64);
    with(cache, &f, |file| {
        let mut seen: Vec<Option<PhysAddr>> = vec![];
        for page in 0..4 {
            file.prepare(page, Want::Read).unwrap();
            seen.push(file.mapped(page, false));
        }
        fakes.locked.store(true, Ordering::Relaxed);
        assert_eq!(cache.drop_clean(4, How::Try), 0);
        assert_eq!((0..4).map(|page| file.mapped(page, false)).collect::<Vec<_>>(), seen);
        fakes.locked.store(false, Ordering::Relaxed);
        assert_eq!(cache.drop_clean(4, How::Try), 4);
        assert_eq!(file.mapped(0, false), None);
    });
}

#[test]
fn a_cut_waits_for_what_is_written() {
    let (_, cache) = machine(100);
    let f = Fake::new(2 * P, 0);
    with(cache, &f, |file| file.write(None, &[3; 6 * P]).unwrap());
    f.disk.lock().unwrap().hold = true;
    std::thread::scope(|scope| {
        let out = scope.spawn(|| with(cache, &f, |file| file.write_out()));
        f.wait_held();
        let cut = scope.spawn(|| with(cache, &f, |file| file.truncate(P as u64 + 5)));
        // `Fake::truncate` sees that nothing of what is cut is being moved.
        f.release_held();
        assert_eq!((out.join().unwrap(), cut.join().unwrap()), (Ok(()), Ok(())));
    });
    assert_eq!(f.metadata().size, P as u64 + 5);
    with(cache, &f, |file| {
        let mut buf = [9; 4 * P];
        assert_eq!(file.read(0, &mut buf), Ok(P + 5));
        file.truncate(3 * P as u64).unwrap();
        assert_eq!(file.read(0, &mut buf), Ok(3 * P));
        assert!(buf[..P + 5].iter().all(|b| *b == 3) && buf[P + 5..3 * P].iter().all(|b| *b == 0));
    });
}

#[test]
fn a_file_system_without_memory_gets_less_at_once() {
    let (_, cache) = machine(1000);
    let f = Fake::new(2 * P, 0);
    f.disk.lock().unwrap().most = Some(2);
    with(cache, &f, |file| {
        file.write(None, &[3; 6 * P]).unwrap();
        assert_eq!((file.write_out(), file.kept.errors()), (Ok(()), 0));
    });
    assert_eq!(f.disk.lock().unwrap().writes, [(0, 6), (0, 2), (2, 2), (4, 2)]);
}
