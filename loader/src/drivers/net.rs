//! Network cards.

use alloc::sync::Arc;

use driver_api::BusAddress;
use driver_api::net::NetDevice;

use super::names::Names;

static CARDS: Names<dyn NetDevice> = Names::new();

/// A driver has found a card.
pub(super) fn add(at: BusAddress, card: Arc<dyn NetDevice>) {
    let info = card.info();
    let [a, b, c, d, e, f] = info.mac;
    log::info!(target: "net", "card at {at}: {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, MTU {}", info.mtu);
    CARDS.add(at, card);
}

/// The card `net<index>`.
#[must_use]
pub fn get(index: usize) -> Option<Arc<dyn NetDevice>> {
    CARDS.get(index).map(|(_, card)| card)
}
