//! What a device tree says of the machine, as values.

use driver_api::Resource;

use crate::bootinfo::{MemoryMap, Region, RegionKind};
use crate::dtb::{Dtb, Gic, Path};
use crate::mm::{PAGE_SIZE, PhysAddr, PhysRange};

/// The interrupt controllers that the kernel knows, and their versions.
pub const GICS: [(&str, u8); 4] =
    [("arm,gic-v3", 3), ("arm,gic-400", 2), ("arm,cortex-a15-gic", 2), ("arm,cortex-a9-gic", 2)];

/// How PSCI is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// HVC: firmware, or the hypervisor, is at EL2.
    Hvc,
    /// SMC: it is at EL3.
    Smc,
}

/// What the boot needs of the tree.
#[derive(Debug)]
pub struct Machine<'a> {
    /// RAM, and what is reserved in it: by the tree, by the tree's own place, the initrd.
    pub memory: MemoryMap,
    /// `/chosen/bootargs`.
    pub bootargs: &'a [u8],
    /// `/chosen/linux,initrd-start` and `-end`.
    pub initrd: Option<PhysRange>,
    /// The first bytes of `/chosen/rng-seed`; never all zero.
    pub seed: Option<[u8; 32]>,
    /// `/psci/method`.
    pub conduit: Option<Conduit>,
}

/// Reads the machine from `tree`, which lies at `dtb`.
#[must_use]
pub fn machine<'a>(tree: &Dtb<'a>, dtb: PhysRange) -> Machine<'a> {
    let mut machine = Machine {
        memory: MemoryMap::new(),
        bootargs: b"",
        initrd: None,
        seed: None,
        conduit: None,
    };
    let mut reserved = MemoryMap::new();
    tree.walk(&mut |path| {
        let node = path.node();
        if path.depth() == 1 && node.text("device_type") == Some(b"memory") && node.is_enabled() {
            add(&mut machine.memory, path, RegionKind::Usable);
        } else if path.depth() == 2 && path.parent().is_some_and(|p| p.is(&["reserved-memory"])) {
            add(&mut reserved, path, RegionKind::Reserved);
        } else if path.is(&["chosen"]) {
            machine.bootargs = node.text("bootargs").unwrap_or(b"");
            let range = node.number("linux,initrd-start").zip(node.number("linux,initrd-end"));
            machine.initrd = range
                .map(|(start, end)| PhysRange::new(PhysAddr(start), PhysAddr(end)))
                .filter(|range| !range.is_empty());
            let seed = node.property("rng-seed").and_then(|bytes| bytes.first_chunk::<32>());
            machine.seed = seed.copied().filter(|seed| seed.iter().any(|&b| b != 0));
        } else if path.is(&["psci"]) {
            machine.conduit = match node.text("method") {
                Some(b"hvc") => Some(Conduit::Hvc),
                Some(b"smc") => Some(Conduit::Smc),
                _ => None,
            };
        }
        true
    });
    let mut reserve = |range| {
        machine.memory.push(Region { range: pages(range), kind: RegionKind::Reserved });
    };
    reserved.regions().iter().for_each(|region| reserve(region.range));
    tree.reservations().for_each(&mut reserve);
    reserve(dtb);
    machine.initrd.into_iter().for_each(reserve);
    machine
}

/// Adds every range of the node's `reg`.
fn add(map: &mut MemoryMap, path: &Path<'_, '_>, kind: RegionKind) {
    (0..).map_while(|i| path.reg(i)).for_each(|range| {
        map.push(Region { range, kind });
    });
}

/// The whole pages that `range` touches.
fn pages(range: PhysRange) -> PhysRange {
    let page = PAGE_SIZE as u64;
    PhysRange::new(
        PhysAddr(range.start.0 & !(page - 1)),
        PhysAddr(range.end.0.saturating_add(page - 1) & !(page - 1)),
    )
}

/// The interrupt controller.
#[must_use]
pub fn gic(tree: &Dtb<'_>) -> Option<Gic> {
    let mut gic = None;
    tree.walk(&mut |path| {
        if GICS.iter().any(|(name, _)| path.node().is_compatible(name)) {
            gic = Gic::of(&path.node());
        }
        gic.is_none()
    });
    gic
}

/// Calls `each` with the affinity (MPIDR_EL1) of every CPU that PSCI may start.
pub fn cpus(tree: &Dtb<'_>, each: &mut dyn FnMut(u64)) {
    tree.walk(&mut |path| {
        let node = path.node();
        let usable = path.is(&["cpus", "cpu"])
            && node.is_enabled()
            && node.text("enable-method").is_none_or(|method| method == b"psci");
        if let Some(id) = node.number("reg").filter(|_| usable) {
            each(id);
        }
        true
    });
}

/// Calls `f` with the `index`-th usable node that is compatible with `compatible`.
pub fn with_device<'a, R>(
    tree: &Dtb<'a>,
    compatible: &str,
    index: usize,
    f: impl FnOnce(&Path<'_, 'a>) -> R,
) -> Option<R> {
    let mut f = Some(f);
    let mut result = None;
    let mut left = index;
    tree.walk(&mut |path| {
        let node = path.node();
        if !node.is_compatible(compatible) || !node.is_enabled() {
            return true;
        }
        if left > 0 {
            left -= 1;
            return true;
        }
        result = f.take().map(|f| f(path));
        false
    });
    result
}

/// Registers and interrupts of a device, in this order. Returns how many were put into `out`.
pub fn resources(path: &Path<'_, '_>, gic: Option<Gic>, out: &mut [Resource]) -> usize {
    let registers =
        (0..).map_while(|i| path.reg(i).map(|r| Resource::Mmio { base: r.start.0, len: r.len() }));
    let interrupts = (0..).map_while(|i| {
        let irq = path.interrupt(i, gic?)?;
        Some(Resource::Irq { line: irq.line, trigger: irq.trigger })
    });
    out.iter_mut().zip(registers.chain(interrupts)).map(|(slot, r)| *slot = r).count()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use driver_api::{IrqLine, Trigger};

    use super::*;
    use crate::dtb::build::Builder;

    /// A tree as QEMU's `virt` has it, in short.
    fn tree(seed: &[u8]) -> Vec<u8> {
        let mut tree = Builder::default();
        tree.node("", |t| {
            t.cells("interrupt-parent", &[1]);
            t.cells("#address-cells", &[2]);
            t.cells("#size-cells", &[2]);
            t.node("psci", |t| t.bytes("method", b"smc\0"));
            t.node("memory@40000000", |t| {
                t.bytes("device_type", b"memory\0");
                t.cells("reg", &[0, 0x4000_0000, 0, 0x800_0000]);
            });
            t.node("secram@e000000", |t| {
                t.bytes("device_type", b"memory\0");
                t.bytes("status", b"disabled\0");
                t.cells("reg", &[0, 0xe00_0000, 0, 0x100_0000]);
            });
            t.node("reserved-memory", |t| {
                t.cells("#address-cells", &[2]);
                t.cells("#size-cells", &[2]);
                t.cells("ranges", &[]);
                t.node("firmware@41000000", |t| {
                    t.cells("reg", &[0, 0x4100_0800, 0, 0x1000]);
                });
            });
            t.node("intc@8000000", |t| {
                t.bytes("compatible", b"arm,cortex-a15-gic\0");
                t.cells("phandle", &[1]);
                t.cells("#interrupt-cells", &[3]);
            });
            t.node("cpus", |t| {
                t.cells("#address-cells", &[1]);
                t.cells("#size-cells", &[0]);
                for (id, method) in
                    [(0, "psci\0"), (1, "psci\0"), (2, "spin-table\0"), (0x100, "psci\0")]
                {
                    t.node("cpu@0", |t| {
                        t.bytes("enable-method", method.as_bytes());
                        t.cells("reg", &[id]);
                    });
                }
            });
            for (base, status) in [(0x904_0000, "disabled\0"), (0x900_0000, "okay\0")] {
                t.node("pl011@0", |t| {
                    t.bytes("compatible", b"arm,pl011\0arm,primecell\0");
                    t.bytes("status", status.as_bytes());
                    t.cells("reg", &[0, base, 0, 0x1000]);
                    t.cells("interrupts", &[0, 1, 4]);
                });
            }
            t.node("chosen", |t| {
                t.bytes("bootargs", b"/bin/hello --exit 3\0");
                t.cells("linux,initrd-start", &[0, 0x4400_0000]);
                t.cells("linux,initrd-end", &[0, 0x4400_0123]);
                t.bytes("rng-seed", seed);
            });
        });
        tree.finish(&[(0x4200_0000, 0x1000)])
    }

    const DTB: PhysRange = PhysRange::new(PhysAddr(0x4800_0000), PhysAddr(0x4800_1d73));

    #[test]
    fn the_machine_is_read() {
        let bytes = tree(&[7; 48]);
        let machine = machine(&Dtb::new(&bytes).unwrap(), DTB);
        let found: Vec<_> = machine
            .memory
            .regions()
            .iter()
            .map(|r| (r.range.start.0, r.range.end.0, r.kind))
            .collect();
        use RegionKind::{Reserved, Usable};
        assert_eq!(
            found,
            [
                (0x4000_0000, 0x4800_0000, Usable),
                (0x4100_0000, 0x4100_2000, Reserved), // whole pages
                (0x4200_0000, 0x4200_1000, Reserved),
                (0x4800_0000, 0x4800_2000, Reserved),
                (0x4400_0000, 0x4400_1000, Reserved),
            ]
        );
        assert_eq!(machine.bootargs, b"/bin/hello --exit 3");
        assert_eq!(machine.initrd.map(|r| (r.start.0, r.len())), Some((0x4400_0000, 0x123)));
        assert_eq!(machine.seed, Some([7; 32]));
        assert_eq!(machine.conduit, Some(Conduit::Smc));
    }

    #[test]
    fn a_seed_of_zeroes_or_too_short_is_none() {
        for seed in [&[0; 32][..], &[1; 31], &[]] {
            let bytes = tree(seed);
            assert_eq!(machine(&Dtb::new(&bytes).unwrap(), DTB).seed, None);
        }
    }

    #[test]
    fn devices_and_cpus_are_found() {
        let bytes = tree(&[]);
        let tree = Dtb::new(&bytes).unwrap();
        let gic = gic(&tree);
        let mut out = [Resource::Mmio { base: 0, len: 0 }; 4];
        let find = |index, out: &mut [Resource]| {
            with_device(&tree, "arm,pl011", index, |path| resources(path, gic, out))
        };
        assert_eq!(find(0, &mut out), Some(2), "the disabled one does not count");
        assert_eq!(out[0], Resource::Mmio { base: 0x900_0000, len: 0x1000 });
        assert_eq!(out[1], Resource::Irq { line: IrqLine(33), trigger: Trigger::LevelHigh });
        assert_eq!(find(1, &mut out), None);
        assert_eq!(find(0, &mut out[..1]), Some(1), "no more than there is room for");

        let mut ids = Vec::new();
        cpus(&tree, &mut |id| ids.push(id));
        assert_eq!(ids, [0, 1, 0x100]);
    }

    #[test]
    fn more_regions_than_fit_lose_memory_but_no_reservation() {
        let mut builder = Builder::default();
        builder.node("", |t| {
            for i in 0..100 {
                t.node("memory@0", |t| {
                    t.bytes("device_type", b"memory\0");
                    t.cells("reg", &[0, i << 20, 0x1000]);
                });
            }
        });
        let bytes = builder.finish(&[(0x5000, 0x1000)]);
        let machine = machine(&Dtb::new(&bytes).unwrap(), DTB);
        let reserved = |start| {
            let mut all = machine.memory.regions().iter();
            all.any(|r| r.kind == RegionKind::Reserved && r.range.start.0 == start)
        };
        assert!(reserved(0x5000) && reserved(0x4800_0000));
    }
}
