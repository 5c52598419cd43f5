//! Devices, as the device tree describes them.

use driver_api::Resource;
use spin::Once;

use crate::dtb::{Dtb, Gic, Path};

/// The interrupt controllers that the kernel knows, and their versions.
pub(super) const GICS: [(&str, u8); 4] =
    [("arm,gic-v3", 3), ("arm,gic-400", 2), ("arm,cortex-a15-gic", 2), ("arm,cortex-a9-gic", 2)];

struct Platform {
    tree: Dtb<'static>,
    gic: Option<Gic>,
}

static PLATFORM: Once<Platform> = Once::new();

/// Keeps the device tree.
pub(super) fn init(tree: Dtb<'static>) {
    let mut gic = None;
    tree.walk(&mut |path| {
        if GICS.iter().any(|(name, _)| path.node().is_compatible(name)) {
            gic = Gic::of(&path.node());
        }
        gic.is_none()
    });
    PLATFORM.call_once(|| Platform { tree, gic });
}

/// Calls `f` with the `index`-th usable node that is compatible with `compatible`.
pub(super) fn with_device<R>(
    compatible: &str,
    index: usize,
    f: impl FnOnce(&Path<'_, 'static>, Option<Gic>) -> R,
) -> Option<R> {
    let platform = PLATFORM.get()?;
    let mut f = Some(f);
    let mut result = None;
    let mut left = index;
    platform.tree.walk(&mut |path| {
        let node = path.node();
        if !node.is_compatible(compatible) || !node.is_enabled() {
            return true;
        }
        if left > 0 {
            left -= 1;
            return true;
        }
        result = f.take().map(|f| f(path, platform.gic));
        false
    });
    result
}

/// Calls `each` with the affinity (MPIDR_EL1) of every CPU that PSCI may start.
pub(super) fn each_cpu(each: &mut dyn FnMut(u64)) {
    let Some(platform) = PLATFORM.get() else { return };
    platform.tree.walk(&mut |path| {
        let node = path.node();
        let usable = path.depth() == 2
            && path.is(&["cpus", "cpu"])
            && node.is_enabled()
            && node.text("enable-method").is_none_or(|method| method == b"psci");
        if let Some(id) = node.number("reg").filter(|_| usable) {
            each(id);
        }
        true
    });
}

/// The `index`-th device that the device tree calls `compatible`: its registers, then its
/// interrupts. Returns how many were put into `out`.
pub fn find_device(compatible: &str, index: usize, out: &mut [Resource]) -> Option<usize> {
    with_device(compatible, index, |path, gic| {
        let registers = (0..)
            .map_while(|i| path.reg(i).map(|r| Resource::Mmio { base: r.start.0, len: r.len() }));
        let interrupts = (0..).map_while(|i| {
            let irq = path.interrupt(i, gic?)?;
            Some(Resource::Irq { line: irq.line, trigger: irq.trigger })
        });
        out.iter_mut().zip(registers.chain(interrupts)).map(|(slot, r)| *slot = r).count()
    })
}
