//! Devices, as the device tree describes them.

use alloc::vec::Vec;

use driver_api::Once;
use driver_api::Resource;
use driver_api::pci::Host;

use super::{describe, pci};
use crate::dtb::{Dtb, Gic, Path};

struct Platform {
    tree: Dtb<'static>,
    gic: Option<Gic>,
}

static PLATFORM: Once<Platform> = Once::new();

/// Keeps the device tree.
pub(super) fn init(tree: Dtb<'static>) {
    PLATFORM.call_once(|| Platform { tree, gic: describe::gic(&tree) });
}

/// Calls `f` with the `index`-th usable node that is compatible with `compatible`, and the
/// interrupt controller.
pub(super) fn with_device<R>(
    compatible: &str,
    index: usize,
    f: impl FnOnce(&Path<'_, 'static>, Option<Gic>) -> R,
) -> Option<R> {
    let platform = PLATFORM.get()?;
    describe::with_device(&platform.tree, compatible, index, |path| f(path, platform.gic))
}

/// Calls `each` with the affinity of every CPU that PSCI may start.
pub(super) fn each_cpu(each: &mut dyn FnMut(u64)) {
    if let Some(platform) = PLATFORM.get() {
        describe::cpus(&platform.tree, each);
    }
}

/// The `index`-th device that the device tree calls `compatible`: its registers, then its
/// interrupts. Returns how many were put into `out`.
pub fn find_device(compatible: &str, index: usize, out: &mut [Resource]) -> Option<usize> {
    with_device(compatible, index, |path, gic| describe::resources(path, gic, out))
}

/// The PCI host bridges that the device tree describes.
#[must_use]
pub fn pci_hosts() -> Vec<Host> {
    PLATFORM.get().map_or_else(Vec::new, |platform| pci::hosts(&platform.tree))
}
