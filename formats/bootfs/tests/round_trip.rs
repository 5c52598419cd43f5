//! What is written is read, and what was not written is refused without a panic.
#![allow(clippy::unwrap_used, reason = "a test's own helpers")]

use bootfs::write::{Content, Entry, Error as WriteError, write};
use bootfs::{Bootfs, Error, Kind, Node};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn entry<'a>(path: &'a str, content: Content<'a>) -> Entry<'a> {
    Entry { path, permissions: 0o644, uid: 1, gid: 2, content }
}

fn file<'a>(path: &'a str, data: &'a [u8]) -> Entry<'a> {
    entry(path, Content::File(data))
}

/// Path → (mode, uid, gid, bytes of a file or a link's target) of every node but the root.
type Listing = BTreeMap<String, (u32, u32, u32, Vec<u8>)>;

fn list(node: Node<'_, '_>, path: &str, out: &mut Listing) {
    for child in node.children() {
        let path = format!("{path}/{}", child.name());
        assert_eq!(child.parent().index(), node.index());
        let data = match child.kind() {
            Kind::File(data) => data.to_vec(),
            Kind::Link(to) => to.as_bytes().to_vec(),
            Kind::Dir => Vec::new(),
        };
        list(child, &path, out);
        out.insert(path, (child.raw_mode(), child.uid(), child.gid(), data));
    }
}

fn listing(fs: &Bootfs<'_>) -> Listing {
    let mut out = Listing::new();
    list(fs.root(), "", &mut out);
    out
}

fn sample() -> Vec<u8> {
    let big: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    let entries = [
        file("/bin/hello", &big),
        file("/etc/motd", b"greetings\n"),
        file("/etc/empty", b""),
        file("/etc/copy", b"greetings\n"),
        entry("/tmp", Content::Dir),
        entry("/bin/hi", Content::Link("hello")),
        file("/page", &big[..4096]),
    ];
    write(&entries, 1_700_000_000).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let bytes = sample();
    let fs = Bootfs::new(&bytes).unwrap();
    fs.verify().unwrap();
    assert_eq!(fs.mtime(), 1_700_000_000);
    assert_eq!(fs.node_count(), 10);
    let all = listing(&fs);
    assert_eq!(all.len(), 9);
    assert_eq!(all["/etc/motd"], (0o100_644, 1, 2, b"greetings\n".to_vec()));
    assert_eq!(all["/bin/hi"], (0o120_644, 1, 2, b"hello".to_vec()));
    assert_eq!(all["/tmp"].0, 0o040_644);
    // A folder that no entry names.
    assert_eq!(all["/bin"], (0o040_755, 0, 0, vec![]));
    assert_eq!(all["/etc/empty"].3, b"");
    for path in all.keys() {
        let node = fs.lookup(path).unwrap();
        assert_eq!(fs.node(node.index()).unwrap().name(), node.name());
    }
    assert_eq!(fs.lookup("/").unwrap().index(), 0);
    for absent in
        ["", "bin", "/bin/", "/bin/hello/x", "/bin/./hi", "/b", "/zzz", "//bin", "/bin/.."]
    {
        assert!(fs.lookup(absent).is_none(), "{absent}");
    }
}

#[test]
fn large_files_can_be_mapped() {
    let bytes = sample();
    let fs = Bootfs::new(&bytes).unwrap();
    for path in ["/bin/hello", "/page"] {
        let node = fs.lookup(path).unwrap();
        let at = node.file_offset().unwrap() as usize;
        let Kind::File(data) = node.kind() else { panic!("{path} is no file") };
        assert_eq!(at % 4096, 0, "{path}");
        let end = at + data.len();
        assert!(bytes[end..end.next_multiple_of(4096)].iter().all(|b| *b == 0), "{path}");
    }
    assert_eq!(bytes.len() % 4096, 0);
    // Equal bytes are stored once.
    let motd = fs.lookup("/etc/motd").unwrap().file_offset();
    assert_eq!(motd, fs.lookup("/etc/copy").unwrap().file_offset());
}

#[test]
fn a_nonzero_byte_after_a_mapped_file_is_refused() {
    let mut bytes = sample();
    let fs = Bootfs::new(&bytes).unwrap();
    let hello = fs.lookup("/bin/hello").unwrap();
    let (at, index) = (hello.file_offset().unwrap() as usize, hello.index());
    bytes[at + 10_000] = 1;
    assert_eq!(Bootfs::new(&bytes).err(), Some(Error::BadNode(index)));
}

#[test]
fn the_order_of_entries_does_not_matter() {
    let a = [file("/x/b", b"1"), file("/x/a", b"2"), entry("/x", Content::Dir), file("/a", b"3")];
    let mut b = a;
    b.reverse();
    assert_eq!(write(&a, 0), write(&b, 0));
}

#[test]
fn many_children_are_found() {
    let names: Vec<String> = (0..1000).map(|i| format!("/d/f{i}")).collect();
    let entries: Vec<_> = names.iter().map(|n| file(n, n.as_bytes())).collect();
    let bytes = write(&entries, 0).unwrap();
    let fs = Bootfs::new(&bytes).unwrap();
    for name in &names {
        assert_eq!(fs.lookup(name).unwrap().kind(), Kind::File(name.as_bytes()));
    }
    assert!(fs.lookup("/d/f1000").is_none());
}

#[test]
fn the_empty_image_has_a_root() {
    let bytes = write(&[], 0).unwrap();
    let fs = Bootfs::new(&bytes).unwrap();
    fs.verify().unwrap();
    assert_eq!((bytes.len(), fs.node_count()), (4096, 1));
    assert_eq!(fs.root().permissions(), 0o755);
    let root = Entry { permissions: 0o1700, ..entry("/", Content::Dir) };
    let bytes = write(&[root], 0).unwrap();
    assert_eq!(Bootfs::new(&bytes).unwrap().root().permissions(), 0o1700);
}

#[test]
fn names_and_targets_are_held_to_their_limits() {
    let (long, longer) = (format!("/{}", "é".repeat(127) + "x"), format!("/{}", "x".repeat(256)));
    assert_eq!(long.len(), 256);
    assert!(write(&[file(&long, b"")], 0).is_ok());
    for bad in [&*longer, "a", "", "/a//b", "/a/", "/a/../b", "/./a", "/a\0b"] {
        assert_eq!(write(&[file(bad, b"")], 0), Err(WriteError::Path(bad.into())), "{bad}");
    }
    let target = "t".repeat(4096);
    for bad in [&*target, "", "a\0"] {
        let e = write(&[entry("/l", Content::Link(bad))], 0);
        assert_eq!(e, Err(WriteError::Target("/l".into())));
    }
    assert!(write(&[entry("/l", Content::Link(&target[1..]))], 0).is_ok());
}

#[test]
fn entries_that_are_no_tree_are_refused() {
    let e = write(&[file("/a", b""), entry("/a", Content::Dir)], 0);
    assert_eq!(e, Err(WriteError::Duplicate("/a".into())));
    for entries in [[file("/a", b""), file("/a/b", b"")], [file("/a/b", b""), file("/a", b"")]] {
        assert_eq!(write(&entries, 0), Err(WriteError::NotDir("/a".into())));
    }
    assert_eq!(write(&[file("/", b"")], 0), Err(WriteError::NotDir("/".into())));
    let e = write(&[Entry { permissions: 0o10000, ..file("/a", b"") }], 0);
    assert_eq!(e, Err(WriteError::Permissions("/a".into())));
    let text = WriteError::Duplicate("/a".into()).to_string();
    assert_eq!(text, "`/a` is there twice");
}

#[test]
fn foreign_and_newer_images_are_refused_by_what_is_wrong() {
    let good = sample();
    let with = |at: usize, byte: u8| {
        let mut b = good.clone();
        b[at] = byte;
        Bootfs::new(&b).err()
    };
    assert_eq!(with(0, b'X'), Some(Error::BadMagic));
    assert_eq!(with(8, 9), Some(Error::UnknownVersion(9)));
    assert_eq!(with(0x0c, 2), Some(Error::UnknownFlags(2)));
    // A read-only-compatible flag does not concern a reader.
    assert_eq!(with(0x10, 1), None);
    assert_eq!(with(0x14, 0), Some(Error::BadHeader));
    assert_eq!(with(0x1e, 1), Some(Error::Truncated));
}

#[test]
fn the_checksum_covers_every_byte() {
    let good = sample();
    // All of the tables, and places in every part of the data.
    for at in (0..good.len()).filter(|at| *at < 1024 || at % 61 == 0) {
        let mut b = good.clone();
        b[at] ^= 0x10;
        let passes = Bootfs::new(&b).is_ok_and(|fs| fs.verify().is_ok());
        assert!(!passes, "byte {at:#x} changed unnoticed");
    }
}

#[test]
fn every_truncation_is_refused() {
    let good = sample();
    for n in 0..good.len() {
        assert_eq!(Bootfs::new(&good[..n]).err(), Some(Error::Truncated), "{n}");
    }
    let mut more = good.clone();
    more.extend([7; 100]);
    assert!(Bootfs::new(&more).unwrap().verify().is_ok());
}

/// Walks everything that an accepted image offers; bounded by the node count.
fn exercise(fs: &Bootfs<'_>) {
    let all = listing(fs);
    assert!(all.len() < fs.node_count() as usize);
    for path in all.keys() {
        assert!(fs.lookup(path).is_some(), "{path}");
    }
    let _ = fs.verify();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_images_never_panic_or_loop(
        changes in proptest::collection::vec((0usize..600, any::<u8>()), 1..6)
    ) {
        let mut bytes = sample();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(fs) = Bootfs::new(&bytes) {
            exercise(&fs);
        }
    }

    #[test]
    fn mutated_words_never_panic_or_loop(
        changes in proptest::collection::vec((2usize..120, prop_oneof![
            0u32..12, Just(u32::MAX), Just(1 << 31), 4090u32..4100, any::<u32>()
        ]), 1..5)
    ) {
        let mut bytes = sample();
        for (word, value) in changes {
            bytes[word * 4..word * 4 + 4].copy_from_slice(&value.to_le_bytes());
        }
        if let Ok(fs) = Bootfs::new(&bytes) {
            exercise(&fs);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_round_trip(
        tree in proptest::collection::btree_map(
            "(/[a-c]{1,2}){1,4}", (0u32..=0o7777, proptest::collection::vec(any::<u8>(), 0..9000)), 0..12)
    ) {
        // Keep the paths that have no other path below them: those are files.
        let paths: Vec<&String> = tree.keys().collect();
        let is_parent = |p: &str| paths.iter().any(|q| q.starts_with(&format!("{p}/")));
        let entries: Vec<_> = tree
            .iter()
            .filter(|(p, _)| !is_parent(p))
            .map(|(p, (mode, data))| Entry { permissions: *mode, ..file(p, data) })
            .collect();
        let bytes = write(&entries, -1).unwrap();
        let fs = Bootfs::new(&bytes).unwrap();
        fs.verify().unwrap();
        let all = listing(&fs);
        for e in &entries {
            let Content::File(data) = e.content else { continue };
            prop_assert_eq!(&all[e.path], &(0o100_000 | e.permissions, 1, 2, data.to_vec()));
        }
        let files = all.values().filter(|v| v.0 & 0o170_000 == 0o100_000).count();
        prop_assert_eq!(files, entries.len());
    }
}
