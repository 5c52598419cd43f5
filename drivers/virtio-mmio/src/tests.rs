//! The registers of a device, scripted.

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use driver_api::fake::{Machine, Registers};
use driver_api::sync::IrqLock;

const BASE: u64 = 0xfeb0_0000;
const LINE: IrqLine = IrqLine(5);

/// What was written, in order, and what is read.
#[derive(Default)]
struct Model {
    values: IrqLock<BTreeMap<usize, u32>>,
    written: IrqLock<Vec<(usize, u32)>>,
    /// QUEUE_READY stays 0.
    stubborn: bool,
}

impl Model {
    fn new(version: u32, id: u32) -> Self {
        let model = Self::default();
        model.set(register::MAGIC, MAGIC);
        model.set(register::VERSION, version);
        model.set(register::DEVICE_ID, id);
        model
    }

    fn set(&self, offset: usize, value: u32) {
        self.values.lock().insert(offset, value);
    }
}

impl Registers for Model {
    fn read(&self, offset: usize, _size: usize) -> u64 {
        let values = self.values.lock();
        let value = |at| values.get(&at).copied().unwrap_or(0);
        // The features' upper half is selected.
        if offset == register::DEVICE_FEATURES && value(register::DEVICE_FEATURES_SEL) == 1 {
            return 1;
        }
        value(offset).into()
    }

    fn write(&self, offset: usize, _size: usize, value: u64) {
        self.written.lock().push((offset, value as u32));
        if offset == register::INTERRUPT_ACK {
            let mut values = self.values.lock();
            let pending = values.entry(register::INTERRUPT_STATUS).or_default();
            *pending &= !(value as u32);
        } else if !(self.stubborn && offset == register::QUEUE_READY) {
            self.set(offset, value as u32);
        }
    }
}

fn machine(model: Model) -> (&'static Machine, Arc<Model>) {
    let (machine, model) = (Machine::install(), Arc::new(model));
    machine.set_registers(BASE, 0x200, model.clone());
    (machine, model)
}

const PLACE: Place = Place { base: BASE, len: 0x200, line: LINE, trigger: Trigger::Edge };

#[test]
fn only_modern_devices_are_opened() {
    let open = |version, id| {
        let (machine, _) = machine(Model::new(version, id));
        Device::open(machine, &PLACE).map(|d| d.device_id())
    };
    assert_eq!(open(2, 4), Ok(4));
    assert_eq!(open(2, 0), Err(Error::NoDevice), "an empty place");
    assert_eq!(open(1, 0), Err(Error::NoDevice), "an empty place of a legacy board");
    assert_eq!(open(1, 4), Err(Error::Unsupported));
    assert_eq!(open(3, 4), Err(Error::Unsupported));
    let (machine, model) = machine(Model::new(2, 4));
    let short = Place { len: 0xff, ..PLACE };
    assert_eq!(Device::open(machine, &short).err(), Some(Error::Invalid));
    model.set(register::MAGIC, 0);
    assert_eq!(Device::open(machine, &PLACE).err(), Some(Error::NoDevice));
}

#[test]
fn devices_are_found_by_tree_and_by_word() {
    let (machine, _) = machine(Model::new(2, 4));
    assert_eq!(probe(machine), Err(Error::NoDevice));
    machine.describe_by_word("virtio_mmio.device", "nonsense");
    assert_eq!(probe(machine), Err(Error::NoDevice));
    machine.describe_by_word("virtio_mmio.device", "512@0xfeb00000:5");
    assert_eq!(probe(machine), Ok(()));
    let (machine, _) = self::machine(Model::new(2, 4));
    machine.describe("virtio,mmio", &[Resource::Mmio { base: 0, len: 0x200 }]);
    let irq = Resource::Irq { line: LINE, trigger: Trigger::Edge };
    machine.describe("virtio,mmio", &[Resource::Mmio { base: BASE, len: 0x200 }, irq]);
    assert_eq!(probe(machine), Ok(()));
}

#[test]
fn a_queue_is_set_whole_and_then_turned_on() {
    let (machine, model) = machine(Model::new(2, 4));
    let device = Device::open(machine, &PLACE).unwrap();
    model.set(register::DEVICE_FEATURES, 0x8000_0001);
    assert_eq!(device.device_features(), 0x1_8000_0001);
    model.set(register::QUEUE_SIZE_MAX, 0x1_0000);
    assert_eq!(device.queue_size(3), u16::MAX);
    model.written.lock().clear();
    let rings = Rings { descriptors: 0x1_0000_1000, available: 0x1_0000_1800, used: 0x2_0000_1a00 };
    device.set_queue(3, 64, &rings).unwrap();
    assert_eq!(
        *model.written.lock(),
        [
            (register::QUEUE_SEL, 3),
            (register::QUEUE_SIZE, 64),
            (register::QUEUE_DESC, 0x1000),
            (register::QUEUE_DESC + 4, 1),
            (register::QUEUE_DRIVER, 0x1800),
            (register::QUEUE_DRIVER + 4, 1),
            (register::QUEUE_DEVICE, 0x1a00),
            (register::QUEUE_DEVICE + 4, 2),
            (register::QUEUE_READY, 1),
        ]
    );
    assert_eq!(device.set_queue(3, 64, &rings), Err(Error::Io), "it is on already");
    let (machine, _) = self::machine(Model { stubborn: true, ..Model::new(2, 4) });
    let device = Device::open(machine, &PLACE).unwrap();
    assert_eq!(device.set_queue(0, 64, &rings), Err(Error::Io), "it does not turn on");
}

#[test]
fn interrupts_are_acknowledged_and_wake() {
    #[derive(Default)]
    struct Bell(IrqLock<u32>);
    impl Wake for Bell {
        fn wake(&self) {
            *self.0.lock() += 1;
        }
    }
    let (machine, model) = machine(Model::new(2, 4));
    let device = Device::open(machine, &PLACE).unwrap();
    let bell = Arc::new(Bell::default());
    device.attach(&[bell.clone() as Arc<dyn Wake>]).unwrap();
    model.set(register::INTERRUPT_STATUS, 3);
    machine.pull_line(LINE, || false);
    assert_eq!(*bell.0.lock(), 1);
    assert_eq!(model.values.lock()[&register::INTERRUPT_STATUS], 0);
    assert_eq!(device.attach(&[]), Err(Error::Busy), "an edge is not shared");
}
