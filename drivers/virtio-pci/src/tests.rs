//! The registers of a device on PCI, scripted.

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec;
use driver_api::fake::{Machine, Registers};
use driver_api::pci::PinRoute;
use driver_api::{IrqLine, Trigger};
use pci::fake::{Fake, function};

const BASE: u64 = 0xfe00_0000;
/// Where in the memory each region is.
const COMMON: usize = 0;
const ISR: usize = 0x1000;
const DEVICE: usize = 0x2000;
const NOTIFY: usize = 0x3000;
const TABLE: usize = 0x4000;

#[derive(Default)]
struct Model {
    /// By offset; registers of queues by the queue that is selected as well.
    values: IrqLock<BTreeMap<(u64, usize), u64>>,
    /// Offsets and values of notifications.
    rung: IrqLock<Vec<(usize, u64)>>,
    /// Takes no vector.
    stubborn: bool,
}

impl Model {
    fn key(&self, offset: usize) -> (u64, usize) {
        let of_queue = (common::QUEUE_SIZE..common::LEN as usize).contains(&offset);
        let selected = (0, common::QUEUE_SELECT);
        let queue = self.values.lock().get(&selected).copied().unwrap_or(0);
        (if of_queue { queue } else { 0 }, offset)
    }

    fn set(&self, offset: usize, value: u64) {
        let key = self.key(offset);
        self.values.lock().insert(key, value);
    }

    fn get(&self, queue: u64, offset: usize) -> u64 {
        self.values.lock().get(&(queue, offset)).copied().unwrap_or(0)
    }
}

impl Registers for Model {
    fn read(&self, offset: usize, _size: usize) -> u64 {
        let (queue, offset) = self.key(offset);
        let value = self.get(queue, offset);
        if offset == ISR {
            self.set(ISR, 0);
        }
        value
    }

    fn write(&self, offset: usize, _size: usize, value: u64) {
        if (NOTIFY..TABLE).contains(&offset) {
            self.rung.lock().push((offset - NOTIFY, value));
        } else if !(self.stubborn && offset == common::QUEUE_VECTOR) {
            self.set(offset, value);
        }
    }
}

struct Bench {
    machine: &'static Machine,
    model: Arc<Model>,
    device: Device,
}

/// A device with `entries` MSI-X messages and two queues.
fn bench(entries: u32, stubborn: bool) -> Bench {
    let machine = Machine::leaked();
    let model = Arc::new(Model { stubborn, ..Model::default() });
    model.set(common::NUM_QUEUES, 2);
    machine.set_registers(BASE, 0x8000, model.clone());
    let fake = Fake::ids(VENDOR, MODERN + 2);
    fake.bar(4, BASE, 0x8000, true);
    fake.set(pci::config::register::INTERRUPT, 0x100);
    let capabilities = [
        (0x40, 0x54, 1, 16, COMMON),
        (0x54, 0x68, 2, 20, NOTIFY),
        (0x68, 0x78, 3, 16, ISR),
        (0x78, 0x88, 4, 16, DEVICE),
    ];
    for (at, next, kind, len, offset) in capabilities {
        fake.set(at, kind << 24 | len << 16 | next << 8 | 9);
        fake.set(at + 4, 4);
        fake.set(at + 8, offset as u32);
        fake.set(at + 12, 0x1000);
    }
    fake.set(0x64, 4); // the distance between two queues' places
    if entries > 0 {
        fake.set(0x88, (entries - 1) << 16 | 0x11);
        fake.set(0x8c, TABLE as u32 | 4);
    } else {
        fake.set(0x78, 4 << 24 | 16 << 16 | 9);
    }
    let pin = PinRoute { device: 1, pin: 1, line: IrqLine(35), trigger: Trigger::LevelHigh };
    let function = function(machine, fake, vec![pin]).unwrap().unwrap();
    Bench { machine, model, device: Device::open(machine, function).unwrap() }
}

#[derive(Default)]
struct Bell(IrqLock<u32>);

impl Wake for Bell {
    fn wake(&self) {
        *self.0.lock() += 1;
    }
}

/// Two bells, and the same as what a driver attaches.
fn bells() -> ([Arc<Bell>; 2], [Arc<dyn Wake>; 2]) {
    let bells: [Arc<Bell>; 2] = Default::default();
    let wakes = bells.clone().map(|b| b as Arc<dyn Wake>);
    (bells, wakes)
}

fn counts(bells: &[Arc<Bell>; 2]) -> [u32; 2] {
    [*bells[0].0.lock(), *bells[1].0.lock()]
}

const RINGS: Rings =
    Rings { descriptors: 0x1_0000_1000, available: 0x1_0000_1800, used: 0x2_0000_1a00 };

#[test]
fn kinds_are_told_by_both_kinds_of_ids() {
    assert_eq!(bench(3, false).device.device_id(), 2);
    let ids = |device, subsystem| Ids {
        vendor: VENDOR,
        device,
        revision: 0,
        class: 0,
        subsystem_vendor: VENDOR,
        subsystem,
    };
    assert_eq!((kind(&ids(0x1001, 2)), kind(&ids(0x1044, 7))), (2, 4));
    assert!(wants(&ids(0x1000, 0)) && wants(&ids(0x107f, 0)));
    assert!(!wants(&ids(0x1080, 0)) && !wants(&Ids { vendor: 1, ..ids(0x1001, 0) }));
}

#[test]
fn a_queue_is_set_and_rung_at_its_place() {
    let b = bench(3, false);
    b.model.set(common::QUEUE_SELECT, 1);
    b.model.set(common::QUEUE_SIZE, 256);
    b.model.set(common::QUEUE_NOTIFY_OFF, 5);
    assert_eq!((b.device.queue_size(1), b.device.queue_size(2)), (256, 0));
    b.device.set_queue(1, 64, &RINGS).unwrap();
    let of_queue = |offset| b.model.get(1, offset);
    assert_eq!(of_queue(common::QUEUE_SIZE), 64);
    assert_eq!((of_queue(common::QUEUE_DESC), of_queue(common::QUEUE_DESC + 4)), (0x1000, 1));
    assert_eq!((of_queue(common::QUEUE_DRIVER), of_queue(common::QUEUE_DEVICE)), (0x1800, 0x1a00));
    assert_eq!(of_queue(common::QUEUE_ENABLE), 1);
    b.device.notify(1);
    b.device.notify(0);
    b.device.notify(9);
    assert_eq!(*b.model.rung.lock(), [(20, 1)], "queues that were not set are not rung");
    assert_eq!(b.device.set_queue(1, 64, &RINGS), Err(Error::Io), "it is on already");
}

#[test]
fn devices_that_lie_about_queues_are_refused() {
    let b = bench(3, false);
    b.model.set(common::QUEUE_NOTIFY_OFF, 0x400);
    assert_eq!(b.device.set_queue(0, 64, &RINGS), Err(Error::Io), "its place is outside");
    let b = bench(3, true);
    let (_, wakes) = bells();
    b.device.attach(&wakes).unwrap();
    assert_eq!(b.device.set_queue(0, 64, &RINGS), Err(Error::Io), "it takes no vector");
}

#[test]
fn each_queue_has_a_message_of_its_own() {
    let b = bench(3, false);
    b.machine.set_cpus(2);
    let (bells, wakes) = bells();
    b.device.attach(&wakes).unwrap();
    b.device.set_queue(0, 64, &RINGS).unwrap();
    b.device.set_queue(1, 64, &RINGS).unwrap();
    assert_eq!(b.model.get(0, common::CONFIG_VECTOR), 0);
    assert_eq!(
        [b.model.get(0, common::QUEUE_VECTOR), b.model.get(1, common::QUEUE_VECTOR)],
        [1, 2]
    );
    let send = |n: usize| {
        let at = TABLE + n * 16;
        let address = b.model.get(0, at) | b.model.get(0, at + 4) << 32;
        let data = b.model.get(0, at + 8) as u32;
        assert!(b.machine.send_message(driver_api::MsiMessage { address, data }));
        b.machine.message_cpu(data)
    };
    assert_eq!(send(1), Some(0));
    assert_eq!(counts(&bells), [1, 0]);
    assert_eq!(send(2), Some(1));
    assert_eq!(counts(&bells), [1, 1]);
    send(0);
    assert_eq!(counts(&bells), [2, 2], "its own registers are everybody's");
}

#[test]
fn with_fewer_messages_queues_share_and_without_any_the_pin_is_used() {
    let b = bench(2, false);
    let (_, wakes) = bells();
    b.device.attach(&wakes).unwrap();
    b.device.set_queue(0, 64, &RINGS).unwrap();
    b.device.set_queue(1, 64, &RINGS).unwrap();
    assert_eq!(
        [b.model.get(0, common::QUEUE_VECTOR), b.model.get(1, common::QUEUE_VECTOR)],
        [1, 1]
    );
    let b = bench(0, false);
    let (bells, wakes) = self::bells();
    b.device.attach(&wakes).unwrap();
    assert_eq!(b.model.get(0, common::CONFIG_VECTOR), NO_VECTOR.into());
    b.model.set(ISR, 1);
    b.machine.pull_line(IrqLine(35), || false);
    assert_eq!(counts(&bells), [1, 1]);
}

#[test]
fn a_device_can_be_kept_from_memory() {
    let b = bench(3, false);
    let master = |b: &Bench| b.device.function.read(pci::config::register::COMMAND) & 0b100;
    assert_ne!(master(&b), 0);
    assert!(b.device.cut_off());
    assert_eq!(master(&b), 0);
}
