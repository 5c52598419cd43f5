use super::*;
use crash_record::{Arch, Item, flags, kind};
use goblin::elf::Elf;
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: usize = 4096;
/// Pages of the synthetic guest's RAM.
const PAGES: usize = 64;

/// A guest's RAM, and where it begins.
#[derive(Clone)]
struct Guest {
    arch: Arch,
    start: u64,
    bytes: Vec<u8>,
}

impl Memory for Guest {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let from = at.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let there = from.and_then(|f| self.bytes.get(f..f.checked_add(into.len())?));
        there.map(|b| into.copy_from_slice(b)).is_some()
    }
}

const ROOT: usize = 1;
/// Where the first item is.
const FIRST: usize = 40;
const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x60_0000;
const STACK: u64 = 0x7fff_ffff_0000;

impl Guest {
    fn phys(&self, page: usize) -> u64 {
        self.start + (page * PAGE) as u64
    }

    fn put(&mut self, page: usize, offset: usize, bytes: &[u8]) {
        let at = page * PAGE + offset;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&self, page: usize, offset: usize) -> u64 {
        let at = page * PAGE + offset;
        u64::from_le_bytes(*self.bytes[at..].first_chunk().unwrap())
    }

    /// Maps `frame` at `virt`; tables come from `free` on.
    fn map(&mut self, virt: u64, frame: usize, free: &mut usize, no_access: bool) {
        let mut table = ROOT;
        for level in [3, 2, 1] {
            let at = (virt >> (12 + 9 * level) & 511) as usize * 8;
            if self.word(table, at) == 0 {
                let entry = self.phys(*free) | 3;
                self.put(table, at, &entry.to_le_bytes());
                *free += 1;
            }
            let next = self.word(table, at) & 0xffff_ffff_f000;
            table = ((next - self.start) / PAGE as u64) as usize;
        }
        let at = (virt >> 12 & 511) as usize * 8;
        // aarch64: the access flag, which is bit 10 as well.
        let bits = if no_access { 1 << 10 } else { 3 | 1 << 10 };
        let entry = self.phys(frame) | bits;
        self.put(table, at, &entry.to_le_bytes());
    }

    fn layout(&self) -> RamLayout {
        let arch = match self.arch {
            Arch::X64 => crate::model::Arch::X64,
            Arch::Aarch64 => crate::model::Arch::Aarch64,
        };
        let len = self.bytes.len() as u64;
        RamLayout::new(arch, len, self.start + len).unwrap()
    }

    fn core(&self) -> Result<Core, CoreError> {
        core(self, &self.layout(), self.phys(FIRST))
    }
}

fn registers(arch: Arch, tid: u64) -> Vec<u8> {
    let count = if arch == Arch::X64 { 27 } else { 34 };
    (0..count).flat_map(|n| (tid << 32 | n).to_le_bytes()).collect()
}

fn thread(arch: Arch, tid: u64) -> Item {
    let mut item = Item::new(kind::THREAD, 0);
    item.words(&[tid, 0xb, 0xa, 1_500_000_000, 2_000, 0x7000 + tid]);
    item.words(&[if arch == Arch::X64 { 7 } else { 0 }]);
    item.text(b"worker");
    item.text(&registers(arch, tid));
    item.text(&vec![tid as u8; if arch == Arch::X64 { 832 } else { 528 }]);
    item
}

fn mapping(start: u64, end: u64, flags: u64, path: &[u8]) -> Item {
    let mut item = Item::new(kind::MAPPING, 0);
    item.words(&[start, end, flags, 0x2000]);
    item.text(path);
    item
}

/// A guest with the thread 7 that crashed and another one; two pages of four of its code, one
/// of two of its data and the top page of its stack are there.
fn guest(arch: Arch) -> Guest {
    let start = if arch == Arch::X64 { 0 } else { 0x4000_0000 };
    let mut guest = Guest { arch, start, bytes: vec![0; PAGES * PAGE] };
    let mut free = 2;
    guest.map(CODE + 0x1000, 30, &mut free, false);
    guest.map(CODE + 0x2000, 31, &mut free, false);
    guest.map(DATA, 33, &mut free, true);
    guest.map(STACK, 32, &mut free, false);
    for page in 30..34 {
        guest.put(page, 0, &[page as u8; PAGE]);
    }
    // One argument, two variables, and a vector of one pair.
    let words: [u64; 9] = [1, 0x10, 0, 0x20, 0x30, 0, 3, 0x40_0040, 0];
    for (n, word) in words.iter().chain(&[0]).enumerate() {
        guest.put(32, 0x800 + n * 8, &word.to_le_bytes());
    }
    let mut crash = Item::new(kind::CRASH, 0);
    crash.words(&[arch as u64, guest.phys(ROOT), STACK + 0x800, 3, 7, 1000, 100]);
    let mut info = [0; 128];
    (info[0], info[8]) = (11, 1);
    info[16..20].copy_from_slice(&0xdead_0000_u32.to_le_bytes());
    crash.text(&info);
    crash.text(b"/bin/app");
    crash.text(b"/bin/app\0-x\0");
    let rw = flags::READ | flags::WRITE;
    let code = flags::READ | flags::EXECUTE | flags::FILE;
    let items = [
        thread(arch, 8),
        mapping(STACK - 0x3000, STACK + 0x1000, rw, b""),
        mapping(CODE, CODE + 0x4000, code, b"/bin/app"),
        mapping(DATA, DATA + 0x2000, 0, b""),
        thread(arch, 7),
        crash,
    ];
    let count = items.len();
    for (n, item) in items.into_iter().enumerate() {
        let next = if n + 1 < count { guest.phys(FIRST + n + 1) } else { 0 };
        let bytes = item.finish(next).unwrap();
        guest.put(FIRST + n, 0, &bytes);
    }
    guest
}

/// The file as it would be written.
fn file(guest: &Guest, core: &Core) -> Vec<u8> {
    let mut out = vec![0; core.len as usize];
    out[..core.head.len()].copy_from_slice(&core.head);
    for p in &core.pieces {
        let from = &guest.bytes[p.from as usize..(p.from + p.len) as usize];
        out[p.at as usize..(p.at + p.len) as usize].copy_from_slice(from);
    }
    out
}

#[test]
fn an_independent_reader_finds_what_was_there() {
    for arch in [Arch::X64, Arch::Aarch64] {
        let guest = guest(arch);
        let core = guest.core().unwrap();
        assert_eq!((core.threads, core.missing, &core.program[..]), (2, 1, "/bin/app"));
        let bytes = file(&guest, &core);
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.header.e_type, goblin::elf::header::ET_CORE);
        assert_eq!(elf.header.e_machine, if arch == Arch::X64 { 62 } else { 183 });
        let loads: Vec<(u64, u64, u64, u32)> = elf
            .program_headers
            .iter()
            .filter(|h| h.p_type == PT_LOAD)
            .map(|h| (h.p_vaddr, h.p_filesz, h.p_memsz, h.p_flags))
            .collect();
        assert_eq!(
            loads,
            [
                (CODE, 0, 0x1000, 5),
                (CODE + 0x1000, 0x2000, 0x2000, 5),
                (CODE + 0x3000, 0, 0x1000, 5),
                (DATA, 0x2000, 0x2000, 0),
                (STACK - 0x3000, 0x4000, 0x4000, 6),
            ]
        );
        let at = |virt: u64| {
            let inside = |h: &&goblin::elf::ProgramHeader| {
                h.p_type == PT_LOAD && virt >= h.p_vaddr && virt < h.p_vaddr + h.p_filesz
            };
            let h = elf.program_headers.iter().find(inside).unwrap();
            bytes[(h.p_offset + virt - h.p_vaddr) as usize]
        };
        assert_eq!([CODE + 0x1000, CODE + 0x2fff, STACK].map(at), [30, 31, 32]);
        // A page that the app may not touch is there; one that it never touched is zero.
        assert_eq!([DATA + 0xfff, DATA + 0x1000, STACK - 1].map(at), [33, 0, 0]);
        assert_eq!(elf.program_headers.iter().filter(|h| h.p_type == PT_NOTE).count(), 1);
    }
}

#[test]
fn the_notes_are_linuxs() {
    for arch in [Arch::X64, Arch::Aarch64] {
        let guest = guest(arch);
        let core = guest.core().unwrap();
        let bytes = file(&guest, &core);
        let elf = Elf::parse(&bytes).unwrap();
        let notes: Vec<_> = elf.iter_note_headers(&bytes).unwrap().map(|n| n.unwrap()).collect();
        let kinds: Vec<u32> = notes.iter().map(|n| n.n_type).collect();
        let extra = if arch == Arch::X64 { 0x202 } else { 0x401 };
        let process = [3, 0x5349_4749, 6, 0x4649_4c45];
        let expected = [&[1][..], &process, &[2, extra, 1, 2, extra]].concat();
        assert_eq!(kinds, expected);
        let of = |kind: u32| notes.iter().find(|n| n.n_type == kind).unwrap().desc;
        let word =
            |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
        let half =
            |bytes: &[u8], at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
        // struct elf_prstatus: the thread that crashed first.
        let status = of(1);
        assert_eq!(status.len(), if arch == Arch::X64 { 336 } else { 392 });
        assert_eq!([half(status, 0), half(status, 4), half(status, 12)], [11, 1, 11]);
        assert_eq!((word(status, 16), word(status, 24), half(status, 32)), (0xa, 0xb, 7));
        assert_eq!((word(status, 48), word(status, 56)), (1, 500_000));
        assert_eq!(word(status, 112 + 8), 7 << 32 | 1);
        let info = of(3);
        assert_eq!((info.len(), half(info, 16), half(info, 24)), (136, 1000, 7));
        assert_eq!(&info[40..44], b"app\0");
        assert_eq!(&info[56..68], b"/bin/app -x\0");
        assert_eq!(of(6), [3_u64, 0x40_0040, 0, 0].map(u64::to_le_bytes).concat());
        let files = of(0x4649_4c45);
        assert_eq!([0, 8, 16, 24, 32].map(|at| word(files, at)), [1, 4096, CODE, CODE + 0x4000, 2]);
        assert_eq!(&files[40..], b"/bin/app\0");
        let state = of(extra);
        if arch == Arch::X64 {
            assert_eq!((state.len(), word(state, 464), state[463], of(2).len()), (832, 7, 7, 512));
        } else {
            assert_eq!((state, of(2).len()), (&0x7007_u64.to_le_bytes()[..], 528));
        }
    }
}

#[test]
fn a_lost_auxiliary_vector_is_left_out() {
    // An argument count beyond all bounds; then variables without an end.
    for (at, word) in [(0x800, u64::MAX), (0x800, 1 << 20), (0x828, 1)] {
        let mut guest = guest(Arch::X64);
        guest.put(32, at, &word.to_le_bytes());
        if word == 1 {
            guest.put(32, 0x828, &[1; PAGE - 0x828]);
        }
        let core = guest.core().unwrap();
        let bytes = file(&guest, &core);
        let elf = Elf::parse(&bytes).unwrap();
        let mut notes = elf.iter_note_headers(&bytes).unwrap();
        assert!(notes.all(|n| n.unwrap().n_type != 6), "{at:#x} {word:#x}");
    }
}

#[test]
fn damaged_tables_are_errors() {
    for arch in [Arch::X64, Arch::Aarch64] {
        let with = |page: usize, at: usize, entry: u64| {
            let mut guest = guest(arch);
            guest.put(page, at, &entry.to_le_bytes());
            guest.core().unwrap_err()
        };
        let start = guest(arch).start;
        let root = start + (ROOT * PAGE) as u64;
        let twice = CoreError::Tables(BadTables::Twice(root));
        assert_eq!(with(ROOT, 8, root | 3), twice, "a table that holds itself");
        // The first table below the root leads back to it.
        assert_eq!(with(2, 8, root | 3), twice);
        let beyond = start + (PAGES * PAGE) as u64;
        let outside = CoreError::Tables(BadTables::NotRam(beyond));
        assert_eq!(with(ROOT, 8, beyond | 3), outside);
        let leaf = if arch == Arch::X64 { 0x83 } else { 1 };
        assert_eq!(with(ROOT, 8, leaf), CoreError::Tables(BadTables::Leaf(root)));
    }
}

#[test]
fn pages_of_devices_and_large_pages() {
    for arch in [Arch::X64, Arch::Aarch64] {
        let mut guest = guest(arch);
        // 2 MiB at the address 0x20_0000, of which RAM has less; and a page far outside.
        let large = guest.start | if arch == Arch::X64 { 0x87 } else { 1 };
        let level1 = guest.word(2, 0) & 0xffff_f000;
        let page = ((level1 - guest.start) / PAGE as u64) as usize;
        guest.put(page, 8, &large.to_le_bytes());
        let runs = pages::runs(&guest, &guest.layout(), arch, guest.phys(ROOT)).unwrap();
        assert!(runs.iter().all(|r| r.virt != 0x20_0000), "{runs:?}");
        // With RAM enough it counts.
        guest.bytes.resize(4 << 20, 0);
        let runs = pages::runs(&guest, &guest.layout(), arch, guest.phys(ROOT)).unwrap();
        let large = pages::Run { virt: 0x20_0000, phys: guest.start, len: 2 << 20 };
        assert!(runs.contains(&large), "{runs:?}");
    }
}

#[test]
fn impossible_mappings_are_errors() {
    for (start, end) in [
        (0x1001, 0x3000),
        (0x1000, 0x2fff),
        (CODE + 0x3000, CODE + 0x8000),
        (0x1000, !0xfff),
        (1 << 48, (1 << 48) + 0x1000),
    ] {
        let maps = [
            crash_record::Mapping {
                start: CODE,
                end: CODE + 0x4000,
                flags: 0,
                offset: 0,
                path: vec![],
            },
            crash_record::Mapping { start, end, flags: 0, offset: 0, path: vec![] },
        ];
        let e = file::segments(&maps, &[]).unwrap_err();
        assert!(matches!(e, CoreError::Mapping { .. }), "{start:#x}-{end:#x}: {e:?}");
    }
}

#[test]
fn a_reservation_has_only_its_touched_pages_in_the_file() {
    let run = pages::Run { virt: 0x10_0000_5000, phys: 0x3000, len: 0x2000 };
    let maps = [crash_record::Mapping {
        start: 0x10_0000_0000,
        end: 0x20_0000_0000,
        flags: 3,
        offset: 0,
        path: vec![],
    }];
    let segments = file::segments(&maps, &[run]).unwrap();
    let ram = RamLayout::new(crate::model::Arch::X64, 1 << 20, 1 << 20).unwrap();
    let (head, pieces, len) = file::lay_out(Arch::X64, &segments, &[], &ram).unwrap();
    assert_eq!(segments.len(), 3);
    assert_eq!(pieces, [Piece { at: 0x1000, from: 0x3000, len: 0x2000 }]);
    assert!(head.len() < 0x1000 && len == 0x3000, "{len:#x}");
}

#[test]
fn more_segments_than_a_header_can_count() {
    let maps: Vec<_> = (0..66_000_u64)
        .map(|n| crash_record::Mapping {
            start: n * 0x2000 + 0x1000,
            end: n * 0x2000 + 0x2000,
            flags: 1,
            offset: 0,
            path: vec![],
        })
        .collect();
    let segments = file::segments(&maps, &[]).unwrap();
    let ram = RamLayout::new(crate::model::Arch::X64, 1 << 20, 1 << 20).unwrap();
    let (head, _, _) = file::lay_out(Arch::X64, &segments, b"note", &ram).unwrap();
    let half = |at: usize| u16::from_le_bytes(*head[at..].first_chunk().unwrap());
    let sections = u64::from_le_bytes(*head[40..].first_chunk().unwrap()) as usize;
    assert_eq!([half(56), half(58), half(60)], [0xffff, 64, 1]);
    assert_eq!(sections, 64 + 66_001 * 56);
    let info = u32::from_le_bytes(*head[sections + 44..].first_chunk().unwrap());
    assert_eq!((info, &head[sections + 64..]), (66_001, &b"note"[..]));
}

#[test]
fn what_the_record_lacks_is_said() {
    let mut other = guest(Arch::X64);
    // The crash is said to be of thread 9.
    other.put(FIRST + 5, 24 + 32, &9_u64.to_le_bytes());
    assert_eq!(other.core().unwrap_err(), CoreError::NoCrashedThread(9));
    // Registers of the other arch.
    let mut wrong = guest(Arch::X64);
    wrong.put(FIRST + 5, 24, &2_u64.to_le_bytes());
    assert_eq!(wrong.core().unwrap_err(), CoreError::Registers(7));
    let texts = [CoreError::NoCrashedThread(9), CoreError::Registers(7)].map(|e| e.to_string());
    assert!(texts.iter().all(|t| t.contains("crash record")), "{texts:?}");
}

#[test]
fn a_truncated_ram_is_an_error() {
    for arch in [Arch::X64, Arch::Aarch64] {
        let whole = guest(arch);
        for pages in 0..FIRST + 6 {
            let mut cut = whole.clone();
            cut.bytes.truncate(pages * PAGE);
            assert!(cut.core().is_err(), "{pages} pages");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever the guest has left: an error, or a file that its head describes.
    #[test]
    fn changed_bytes_are_never_a_panic(
        x64 in any::<bool>(),
        changes in proptest::collection::btree_map(0..PAGES * PAGE, any::<u8>(), 1..40),
        words in proptest::collection::btree_map((ROOT..FIRST + 6, 0..512_usize), any::<u64>(), 0..8),
    ) {
        let mut guest = guest(if x64 { Arch::X64 } else { Arch::Aarch64 });
        for (at, byte) in changes {
            guest.bytes[at] = byte;
        }
        let words: BTreeMap<(usize, usize), u64> = words;
        for ((page, n), word) in words {
            guest.put(page, n * 8, &word.to_le_bytes());
        }
        if let Ok(core) = guest.core() {
            for piece in &core.pieces {
                prop_assert!(piece.from + piece.len <= guest.bytes.len() as u64);
                prop_assert!(piece.at + piece.len <= core.len);
            }
        }
    }
}
