//! How the machine is powered off, and how its end is told.

use driver_api::Mmio;
use x86_64::instructions::port::Port;

use super::acpi::{Register, Sleep};
use super::platform;
use crate::bootinfo::BootInfo;
use crate::mm::{PAGE_SIZE, PhysAddr};

/// PM1 control (ACPI 4.8.3.2.1): where SLP_TYP is, and SLP_EN.
const PM1_TYPE_SHIFT: u16 = 10;
const PM1_ENABLE: u16 = 1 << 13;
/// The sleep control register (ACPI 4.8.3.7): the same.
const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_ENABLE: u8 = 1 << 5;

/// The page of the sleep control register and its offset in it, mapped before it is needed.
static SLEEP_REGISTER: driver_api::Once<(Mmio, usize)> = driver_api::Once::new();

/// Maps what [`off`] will need: a panic may come with no memory left.
pub(super) fn init() {
    if let Some(Sleep::Reduced { register: Register::Memory(at), .. }) = platform::tables().sleep {
        let page = at & !(PAGE_SIZE as u64 - 1);
        match platform::map(PhysAddr(page)) {
            Ok(registers) => {
                SLEEP_REGISTER.call_once(|| (registers, (at - page) as usize));
            }
            Err(error) => log::warn!("the power-off register cannot be mapped: {error:?}"),
        }
    }
}

/// How long a machine may take to go off after it was told to. QEMU's main loop does it while
/// the CPU goes on.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Powers the machine off. Returns if there is no way, or if none worked.
pub fn off(_info: &BootInfo) {
    if tell() {
        let until = crate::time::now_ns().saturating_add(PATIENCE_NS);
        while crate::time::now_ns() < until {
            super::cpu::relax();
        }
    }
}

/// Tells the machine to power itself off. `false`: there is no way.
fn tell() -> bool {
    if crate::end::options().poweroff_debug_exit {
        // SAFETY: the command line says that the port is this device, which ends QEMU.
        unsafe { Port::<u8>::new(end_record::DEBUG_EXIT_PORT).write(0) };
    }
    match platform::tables().sleep {
        None => return false,
        Some(Sleep::Pm1 { a, b }) => {
            for (port, kind) in [Some(a), b].into_iter().flatten() {
                let value = u16::from(kind & 7) << PM1_TYPE_SHIFT | PM1_ENABLE;
                // SAFETY: the port is the FADT's PM1 control register.
                unsafe { Port::<u16>::new(port).write(value) };
            }
        }
        Some(Sleep::Reduced { register, kind }) => {
            let value = (kind & 7) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE;
            match register {
                Register::Memory(_) => {
                    if let Some((registers, offset)) = SLEEP_REGISTER.get() {
                        registers.write8(*offset, value);
                    }
                }
                // SAFETY: the port is the FADT's sleep control register.
                Register::Port(port) => unsafe { Port::<u8>::new(port).write(value) },
            }
        }
    }
    true
}

/// Writes to the channel on which the end of the VM is told (`osier.exit=debugcon`).
pub fn exit_channel(bytes: &[u8]) {
    let mut port = Port::<u8>::new(end_record::DEBUGCON_PORT);
    for byte in bytes {
        // SAFETY: the command line says that the port is QEMU's `isa-debugcon`.
        unsafe { port.write(*byte) };
    }
}
