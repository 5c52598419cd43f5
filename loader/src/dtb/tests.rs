//! The device-tree reader against trees made here, whole and broken.

use std::vec::Vec;

use super::build::Builder;
use super::*;

fn sample() -> Vec<u8> {
    let mut tree = Builder::default();
    tree.node("", |t| {
        t.cells("#address-cells", &[2]);
        t.cells("#size-cells", &[2]);
        t.cells("interrupt-parent", &[7]);
        t.node("memory@40000000", |t| {
            t.bytes("device_type", b"memory\0");
            t.cells("reg", &[0, 0x4000_0000, 0, 0x1000_0000, 1, 0, 0, 0x20_0000]);
        });
        t.word(NOP);
        t.node("soc", |t| {
            t.cells("#address-cells", &[1]);
            t.cells("#size-cells", &[1]);
            t.cells("ranges", &[0x1000, 0, 0x900_0000, 0x2000, 0x8000, 1, 0, 0x1000]);
            t.node("uart@1000", |t| {
                t.bytes("compatible", b"arm,pl011\0arm,primecell\0");
                t.cells("reg", &[0x1000, 0x1000]);
                t.cells("interrupts", &[0, 1, 4, 1, 11, 8]);
            });
            t.node("off@3000", |t| {
                t.bytes("compatible", b"arm,pl011\0");
                t.bytes("status", b"disabled\0");
                t.cells("reg", &[0x3000, 0x1000]);
            });
        });
        t.node("gic", |t| {
            t.cells("phandle", &[7]);
            t.cells("#interrupt-cells", &[3]);
        });
        t.node("chosen", |t| {
            t.bytes("bootargs", b"/bin/hello a b\0");
            t.cells("linux,initrd-start", &[0x4800_0000]);
        });
    });
    tree.finish(&[(0x4000_0000, 0x1000), (0x5000_0000, 0x2000)])
}

/// All that a walk shows, so that a broken tree goes through every reader.
fn touch(bytes: &[u8]) -> usize {
    let Ok(tree) = Dtb::new(bytes) else { return 0 };
    let mut nodes = 0;
    let gic = Gic { phandle: 7, cells: 3 };
    tree.walk(&mut |path| {
        nodes += 1;
        for i in [0, 1, 7, usize::MAX] {
            let _ = (path.reg(i), path.interrupt(i, gic));
        }
        let node = path.node();
        let _ = (node.is_compatible("x"), node.is_enabled(), node.number("reg"), Gic::of(&node));
        true
    });
    nodes + tree.reservations().count()
}

#[test]
fn a_tree_is_read() {
    let bytes = sample();
    let tree = Dtb::new(&bytes).unwrap();
    assert_eq!(tree.used_len(), bytes.len());
    let reserved: Vec<_> = tree.reservations().map(|r| (r.start.0, r.len())).collect();
    assert_eq!(reserved, [(0x4000_0000, 0x1000), (0x5000_0000, 0x2000)]);

    let mut names = Vec::new();
    let mut gic = None;
    tree.walk(&mut |path| {
        names.push((path.depth(), path.node().name().to_vec()));
        if path.is(&["memory"]) {
            assert_eq!(path.node().text("device_type"), Some(&b"memory"[..]));
            let range = |i| path.reg(i).map(|r| (r.start.0, r.len()));
            assert_eq!(range(0), Some((0x4000_0000, 0x1000_0000)));
            assert_eq!(range(1), Some((0x1_0000_0000, 0x20_0000)));
            assert_eq!(range(2), None);
        }
        if path.is(&["gic"]) {
            gic = Gic::of(&path.node());
        }
        if path.is(&["chosen"]) {
            assert_eq!(path.node().text("bootargs"), Some(&b"/bin/hello a b"[..]));
            assert_eq!(path.node().number("linux,initrd-start"), Some(0x4800_0000));
            assert_eq!(path.node().property("bootarg"), None, "names match whole");
        }
        true
    });
    let expected: [(usize, &[u8]); 7] = [
        (0, b""),
        (1, b"memory@40000000"),
        (1, b"soc"),
        (2, b"uart@1000"),
        (2, b"off@3000"),
        (1, b"gic"),
        (1, b"chosen"),
    ];
    assert!(names.iter().map(|(d, n)| (*d, n.as_slice())).eq(expected));
    assert_eq!(gic, Some(Gic { phandle: 7, cells: 3 }));
}

#[test]
fn addresses_are_translated_and_interrupts_numbered() {
    let bytes = sample();
    let gic = Gic { phandle: 7, cells: 3 };
    let mut seen = 0;
    Dtb::new(&bytes).unwrap().walk(&mut |path| {
        if path.is(&["soc", "uart"]) {
            seen += 1;
            assert!(path.node().is_compatible("arm,primecell") && path.node().is_enabled());
            assert!(!path.node().is_compatible("arm,pl01"), "whole strings only");
            assert_eq!(path.reg(0).map(|r| (r.start.0, r.len())), Some((0x900_0000, 0x1000)));
            let irq = |i| path.interrupt(i, gic).map(|i| (i.line.0, i.trigger));
            assert_eq!(irq(0), Some((33, Trigger::LevelHigh)));
            assert_eq!(irq(1), Some((27, Trigger::LevelLow)));
            assert_eq!(irq(2), None);
            assert_eq!(path.interrupt(0, Gic { phandle: 8, cells: 3 }), None, "another's");
        }
        if path.is(&["soc", "off"]) {
            seen += 1;
            assert!(!path.node().is_enabled());
            assert_eq!(path.reg(0), None, "no range of the bus holds it");
        }
        true
    });
    assert_eq!(seen, 2);
}

#[test]
fn foreign_bytes_are_refused() {
    let bytes = sample();
    assert_eq!(Dtb::new(&[]).err(), Some(DtbError::Truncated));
    assert_eq!(Dtb::new(&bytes[..bytes.len() - 1]).err(), Some(DtbError::Truncated));
    let with = |at: usize, value: u32| {
        let mut b = bytes.clone();
        b[at..at + 4].copy_from_slice(&value.to_be_bytes());
        Dtb::new(&b).err()
    };
    assert_eq!(with(0, 1), Some(DtbError::BadMagic));
    assert_eq!(with(20, 2), Some(DtbError::Version(2)));
    assert_eq!(with(24, 18), Some(DtbError::Version(17)));
    assert_eq!(with(8, u32::MAX), Some(DtbError::BadLayout));
    assert_eq!(with(8, 57), Some(DtbError::BadLayout), "misaligned");
    assert_eq!(with(36, u32::MAX), Some(DtbError::BadLayout));
    assert_eq!(with(4, 8), Some(DtbError::Truncated), "shorter than its own header");
}

#[test]
fn a_tree_without_end_or_too_deep_ends_the_walk() {
    let mut tree = Builder::default();
    for _ in 0..100 {
        tree.word(BEGIN_NODE);
        tree.word(0x6100_0000);
    }
    assert_eq!(touch(&tree.finish(&[])), MAX_DEPTH);
}

/// Every word of the tree replaced by values that are likely to hurt: no reader may panic
/// (arithmetic is checked in tests), and each walk ends.
#[test]
fn broken_trees_do_no_harm() {
    let bytes = sample();
    assert_eq!(touch(&bytes), 9);
    for at in (0..bytes.len() - 3).step_by(4) {
        for value in [0, 1, 2, 3, 4, 9, 0x7fff_ffff, 0xffff_fffc, u32::MAX] {
            let mut broken = bytes.clone();
            broken[at..at + 4].copy_from_slice(&value.to_be_bytes());
            touch(&broken);
        }
    }
    for len in 0..bytes.len() {
        let mut cut = bytes.clone();
        cut.truncate(len);
        touch(&cut);
        // The same with a header that fits, so that the blocks' checks are reached.
        if let Some(total) = cut.get_mut(4..8) {
            total.copy_from_slice(&(len as u32).to_be_bytes());
            touch(&cut);
        }
    }
}
