extern crate std;
use super::*;
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

/// RAM from address 0 on.
struct Ram(Vec<u8>);

impl Memory for Ram {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let from = usize::try_from(at).ok();
        let bytes = from.and_then(|f| self.0.get(f..f.checked_add(into.len())?));
        bytes.map(|b| into.copy_from_slice(b)).is_some()
    }
}

fn crash_item() -> Item {
    let mut item = Item::new(kind::CRASH, 300);
    item.words(&[1, 0x5000, 0x7fff_0000, 2, 7, 0, 0]);
    item.text(&[11; 128]);
    item.text(b"/bin/app");
    item.text(b"app\0-x\0");
    item
}

fn thread_item(tid: u64) -> Item {
    let mut item = Item::new(kind::THREAD, 0);
    item.words(&[tid, 1, 2, 3, 4, 5, 7]);
    item.text(b"worker");
    item.text(&[8; 216]);
    item.text(&[9; 832]);
    item
}

fn mapping_item(start: u64, end: u64) -> Item {
    let mut item = Item::new(kind::MAPPING, 64);
    item.words(&[start, end, flags::READ | flags::FILE, 0x3000]);
    item.text(b"/bin/app");
    item
}

/// Items at 0x1000, 0x2000 …, each followed by the next.
fn ram(items: Vec<Item>) -> Ram {
    let count = items.len();
    let mut ram = vec![0; (count + 1) << 12];
    for (n, item) in items.into_iter().enumerate() {
        let next = if n + 1 < count { (n as u64 + 2) << 12 } else { 0 };
        let bytes = item.finish(next).unwrap();
        let at = (n + 1) << 12;
        ram[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    Ram(ram)
}

fn good() -> Ram {
    ram(vec![thread_item(7), mapping_item(0x1000, 0x3000), crash_item(), thread_item(8)])
}

#[test]
fn what_is_written_is_read() {
    let record = Record::read(&good(), 0x1000).unwrap();
    assert_eq!((record.crash.arch, record.crash.tid), (Arch::X64, 7));
    assert_eq!((record.crash.root, record.crash.stack), (0x5000, 0x7fff_0000));
    assert_eq!(record.crash.threads, 2);
    assert_eq!(record.crash.arguments, b"app\0-x\0");
    let tids: Vec<u32> = record.threads.iter().map(|t| t.tid).collect();
    assert_eq!(tids, [7, 8]);
    assert_eq!((&record.threads[0].name[..], record.threads[0].xcr0), (&b"worker"[..], 7));
    assert_eq!(record.threads[1].vectors, [9; 832]);
    let mapping = &record.mappings[0];
    assert_eq!((mapping.start, mapping.end, mapping.offset), (0x1000, 0x3000, 0x3000));
}

#[test]
fn the_announcement_comes_back() {
    let said = Announcement { first: 0x1fe_3040, ram_end: 0x400_0000 };
    let line = said.to_string();
    assert_eq!(line, "osier-dump 1 0x1fe3040 0x4000000\n");
    let channel = std::format!("noise\n{line}osier-end 1 signal 11\n");
    assert_eq!(announced(channel.as_bytes()), Some(said));
    for not in [
        "",
        "osier-dump 1 0x10 0x20",
        "osier-dump 2 0x10 0x20\n",
        "osier-dump 1 0x10\n",
        "osier-dump 1 10 20\n",
        "osier-dump 1 0x+1 0x20\n",
        "osier-dump 1 0x11112222333344445 0x20\n",
        "osier-dump 1 0x 0x\n",
    ] {
        assert_eq!(announced(not.as_bytes()), None, "{not:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let with = |change: fn(&mut [u8])| {
        let mut ram = good();
        change(&mut ram.0[0x1000..]);
        Record::read(&ram, 0x1000).unwrap_err()
    };
    assert_eq!(with(|m| m[0] = b'X'), BadRecord::NoItem(0x1000));
    assert_eq!(with(|m| m[8] = 9), BadRecord::Kind(0x1000, 9));
    assert_eq!(with(|m| m[15] = 0x7f), BadRecord::TooLong(0x1000, 0x7f00_046e));
    assert_eq!(with(|m| m[12] = 0x6f), BadRecord::Fields(0x1000));
    assert_eq!(with(|m| m[12] = 0x6d), BadRecord::Fields(0x1000));
    // The thread's number has more than 32 bits; its name is longer than the item.
    assert_eq!(with(|m| m[24 + 5] = 1), BadRecord::Value(0x1000));
    assert_eq!(with(|m| m[24 + 56 + 7] = 0xff), BadRecord::Fields(0x1000));
    assert_eq!(with(|m| m[17] = 0x10), BadRecord::Loop(0x1000));
    assert_eq!(with(|m| m[23] = 0xff), BadRecord::NotRam(0xff00_0000_0000_2000));
    assert_eq!(with(|m| m[0x1000 + 24..0x1000 + 40].fill(0)), BadRecord::Value(0x2000));
    assert_eq!(with(|m| m[0x2000 + 24] = 3), BadRecord::Value(0x3000));
    let none = ram(vec![thread_item(1)]);
    assert_eq!(Record::read(&none, 0x1000), Err(BadRecord::Crashes(0)));
    let two = ram(vec![crash_item(), crash_item()]);
    assert_eq!(Record::read(&two, 0x1000), Err(BadRecord::Crashes(2)));
    for at in [0, 0x9_0000, u64::MAX, u64::MAX - 23] {
        assert!(Record::read(&good(), at).is_err(), "{at:#x}");
    }
}

#[test]
fn a_truncated_ram_is_an_error() {
    let whole = good().0;
    // The last item's last byte, and everything before it.
    let end = 0x4000 + HEADER + 0x46e;
    assert!(Record::read(&Ram(whole[..end].to_vec()), 0x1000).is_ok());
    for len in (0..end).step_by(97).chain([end - 1]) {
        assert!(Record::read(&Ram(whole[..len].to_vec()), 0x1000).is_err(), "{len:#x}");
    }
}

proptest! {
    #[test]
    fn changed_bytes_are_never_a_panic(
        changes in proptest::collection::vec((0x1000_usize..0x4600, any::<u8>()), 1..20),
    ) {
        let mut ram = good();
        for (at, byte) in changes {
            ram.0[at] = byte;
        }
        let _ = Record::read(&ram, 0x1000);
    }
}
