//! What the kernel needs of ACPI, read without an interpreter of its byte code: interrupt
//! controllers and CPUs (MADT), the power-off registers and timer (FADT), and the sleep type
//! of S5, which is a constant in the DSDT.
//!
//! Section numbers are of the ACPI Specification 6.5. Every table's checksum is verified and
//! every length bounded: the tables are input.

use super::phys::PhysMemory;

/// Most interrupt controllers, CPUs and ISA interrupts that are kept.
pub const MAX_IO_APICS: usize = 4;
/// Most CPUs that are kept.
pub const MAX_CPUS: usize = 64;
/// ISA has 16 interrupts.
const ISA_IRQS: usize = 16;
/// Most tables that an XSDT is searched for.
const MAX_TABLES: usize = 64;
/// Longest table that is read. QEMU's DSDTs have 8 KiB, those of real machines some 300 KiB.
const MAX_TABLE: u32 = 1 << 20;
/// A table's header (5.2.6).
const HEADER: usize = 36;

/// An I/O APIC (5.2.12.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoApic {
    /// Physical address of its registers.
    pub address: u32,
    /// The global system interrupt of its first input.
    pub gsi_base: u32,
}

/// Where an ISA interrupt is wired to (5.2.12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaIrq {
    /// The global system interrupt.
    pub gsi: u32,
    /// Level-triggered instead of edge.
    pub level: bool,
    /// Active low instead of high.
    pub low: bool,
}

/// How the machine is powered off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Fixed hardware: the PM1 control registers (4.8.3.2), I/O ports.
    Pm1 {
        /// PM1a's port and the value of its SLP_TYP field.
        a: (u16, u8),
        /// PM1b's, where there is one.
        b: Option<(u16, u8)>,
    },
    /// Hardware-reduced: the sleep control register (4.8.3.7), a byte.
    Reduced {
        /// Where it is.
        register: Register,
        /// The value of its SLP_TYP field.
        kind: u8,
    },
}

/// A register that a generic address structure (5.2.3.2) describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// Physical address.
    Memory(u64),
    /// I/O port.
    Port(u16),
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Interrupt controllers.
    pub io_apics: [Option<IoApic>; MAX_IO_APICS],
    /// ISA interrupts that are wired otherwise than one to one.
    pub isa: [Option<IsaIrq>; ISA_IRQS],
    /// Local APIC ids of the CPUs that can be started.
    pub cpus: [Option<u32>; MAX_CPUS],
    /// Port of the power management timer (4.8.3.3).
    pub pm_timer: Option<u16>,
    /// How to power off.
    pub sleep: Option<Sleep>,
    /// The reset register and what to write (4.8.3.6).
    pub reset: Option<(Register, u8)>,
    /// CMOS index of the century, 0 when there is none (5.2.9).
    pub century: u8,
    /// Which tables there were, for the log.
    pub found: bool,
}

impl Default for Tables {
    fn default() -> Self {
        // Constants, which are memory set to zero; what is not constant is a loop a list.
        Self {
            io_apics: const { [None; MAX_IO_APICS] },
            isa: const { [None; ISA_IRQS] },
            cpus: const { [None; MAX_CPUS] },
            pm_timer: None,
            sleep: None,
            reset: None,
            century: 0,
            found: false,
        }
    }
}

/// Reads all tables from the root pointer at `rsdp`, or where a PC has it when that is
/// `None`. What cannot be read is left out.
pub fn read(memory: &impl PhysMemory, rsdp: Option<u64>) -> Tables {
    let mut tables = Tables::default();
    if let Some(rsdp) = rsdp.or_else(|| search(memory)) {
        each_table(memory, rsdp, &mut |signature, at| match signature {
            b"APIC" => madt(memory, at, &mut tables),
            b"FACP" => fadt(memory, at, &mut tables),
            _ => {}
        });
    }
    tables
}

/// The root pointer in a PC's read-only memory (5.2.5.1), on a 16-byte boundary.
fn search(memory: &impl PhysMemory) -> Option<u64> {
    memory.find(0xe_0000, 0x10_0000, *b"RSD ", &mut |at| root(memory, at).is_some())
}

/// Address of the XSDT or RSDT that the root pointer (5.2.5.3) at `at` gives, and the length
/// of an entry in it.
fn root(memory: &impl PhysMemory, at: u64) -> Option<(u64, usize)> {
    let v1: [u8; 20] = memory.array(at)?;
    if v1.get(..8)? != b"RSD PTR " || sum(&v1) != 0 {
        return None;
    }
    if v1[15] >= 2 {
        let v2: [u8; 36] = memory.array(at)?;
        let xsdt = word64(&v2, 24)?;
        if sum(&v2) == 0 && xsdt != 0 {
            return Some((xsdt, 8));
        }
    }
    Some((u64::from(word32(&v1, 16)?), 4))
}

/// Memory-mapped configuration space of a PCI segment (PCI Firmware Specification 3.3, table
/// 4-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecam {
    /// Where bus 0 would be; the first bus is at its place from there.
    pub base: u64,
    /// PCI segment group.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

/// Calls `each` with what the MCFG lists, at most [`MAX_TABLES`] of them. Read when a driver
/// asks and not with the rest: kernels without PCI do not hold it.
pub fn ecam(memory: &impl PhysMemory, rsdp: Option<u64>, each: &mut dyn FnMut(Ecam)) {
    let Some(rsdp) = rsdp.or_else(|| search(memory)) else { return };
    each_table(memory, rsdp, &mut |signature, at| {
        if signature != b"MCFG" {
            return;
        }
        let Some(len) = verified(memory, at) else { return };
        // After the header: 8 reserved bytes, then structures of 16.
        let (first, end) = (at + HEADER as u64 + 8, at + u64::from(len));
        for n in 0..MAX_TABLES as u64 {
            let here = first + n * 16;
            let Some(e) = memory.array::<16>(here).filter(|_| here + 16 <= end) else { return };
            let (Some(base), Some(segment)) = (word64(&e, 0), word16(&e, 8)) else { return };
            let (first_bus, last_bus) = (e[10], e[11]);
            if first_bus <= last_bus && base != 0 {
                each(Ecam { base, segment, first_bus, last_bus });
            }
        }
    });
}

/// Calls `f` with signature and address of every table that the root pointer leads to.
fn each_table(memory: &impl PhysMemory, rsdp: u64, f: &mut dyn FnMut(&[u8; 4], u64)) {
    let Some((root, width)) = root(memory, rsdp) else { return };
    let Some(len) = verified(memory, root) else { return };
    let entries = (len as usize).saturating_sub(HEADER) / width;
    for i in 0..entries.min(MAX_TABLES) {
        let mut pointer = [0; 8];
        let Some(at) = root.checked_add((HEADER + i * width) as u64) else { return };
        let Some(bytes) = pointer.get_mut(..width) else { return };
        if !memory.read(at, bytes) {
            return;
        }
        let table = u64::from_le_bytes(pointer);
        if let Some(signature) = memory.array(table) {
            f(&signature, table);
        }
    }
}

/// Length of the table at `at`, when its bytes can be read and sum to zero.
fn verified(memory: &impl PhysMemory, at: u64) -> Option<u32> {
    let header: [u8; HEADER] = memory.array(at)?;
    let len = word32(&header, 4)?;
    if len < HEADER as u32 || len > MAX_TABLE {
        return None;
    }
    let mut total = 0_u8;
    let mut chunk = [0; 256];
    let mut done = 0;
    while done < len {
        let part = chunk.get_mut(..(len - done).min(256) as usize)?;
        if !memory.read(at.checked_add(u64::from(done))?, part) {
            return None;
        }
        total = total.wrapping_add(sum(part));
        done += part.len() as u32;
    }
    (total == 0).then_some(len)
}

/// The multiple APIC description table (5.2.12).
fn madt(memory: &impl PhysMemory, at: u64, tables: &mut Tables) {
    let Some(len) = verified(memory, at) else { return };
    tables.found = true;
    // After the header: the local APIC's address, flags, then structures that begin with
    // type and length.
    let (mut here, end) = (at + HEADER as u64 + 8, at + u64::from(len));
    while let Some([kind, size]) = memory.array::<2>(here) {
        let next = here + u64::from(size);
        if size < 2 || next > end {
            return;
        }
        // Shorter structures than their type wants read as zeroes.
        let mut s = [0; 16];
        let take = usize::from(size).min(s.len());
        if !s.get_mut(..take).is_some_and(|s| memory.read(here, s)) {
            return;
        }
        structure(kind, &s, tables);
        here = next;
    }
}

/// One structure of the MADT, by its type.
fn structure(kind: u8, s: &[u8; 16], tables: &mut Tables) {
    // Local APIC flags: enabled, or can be enabled (5.2.12.2).
    const USABLE: u32 = 0b11;
    let half = |i| u32::from(word16(s, i).unwrap_or(0));
    let word = |i| word32(s, i).unwrap_or(0);
    match kind {
        0 if word(4) & USABLE != 0 => add(&mut tables.cpus, u32::from(s[3])),
        1 => add(&mut tables.io_apics, IoApic { address: word(4), gsi_base: word(8) }),
        2 => {
            // Polarity and trigger: 0 conforms to the bus (high, edge), 1 high/edge, 3 low/level.
            let flags = half(8);
            let irq = IsaIrq { gsi: word(4), low: flags & 3 == 3, level: flags >> 2 & 3 == 3 };
            if let Some(slot) = tables.isa.get_mut(usize::from(s[3])) {
                *slot = Some(irq);
            }
        }
        9 if word(8) & USABLE != 0 => add(&mut tables.cpus, word(4)),
        _ => {}
    }
}

/// Puts `value` into the first free slot; there may be none.
pub(super) fn add<T>(slots: &mut [Option<T>], value: T) {
    if let Some(slot) = slots.iter_mut().find(|s| s.is_none()) {
        *slot = Some(value);
    }
}

/// The fixed ACPI description table (5.2.9).
fn fadt(memory: &impl PhysMemory, at: u64, tables: &mut Tables) {
    // Flags (table 5.10).
    const RESET_SUPPORTED: u32 = 1 << 10;
    const HARDWARE_REDUCED: u32 = 1 << 20;
    let Some(len) = verified(memory, at) else { return };
    tables.found = true;
    // Up to SLEEP_STATUS_REG; fields past the table's length read as zero.
    let mut f = [0; 268];
    let take = (len as usize).min(f.len());
    if !f.get_mut(..take).is_some_and(|f| memory.read(at, f)) {
        return;
    }
    let word = |i| word32(&f, i).unwrap_or(0);
    let long = |i| word64(&f, i).unwrap_or(0);
    let flags = word(112);
    tables.century = f[108];
    if flags & RESET_SUPPORTED != 0 {
        tables.reset = register(&f, 116).map(|r| (r, f[128]));
    }
    // X_DSDT, else DSDT.
    let dsdt = if long(140) != 0 { long(140) } else { u64::from(word(40)) };
    let s5 = sleep_type_s5(memory, dsdt);
    if flags & HARDWARE_REDUCED != 0 {
        let register = register(&f, 244);
        tables.sleep =
            register.zip(s5).map(|(register, (kind, _))| Sleep::Reduced { register, kind });
        return;
    }
    // The extended blocks, else the plain ones; both are I/O ports in practice.
    let port = |extended, plain| match register(&f, extended) {
        Some(Register::Port(p)) => Some(p),
        Some(Register::Memory(_)) => None,
        None => u16::try_from(word(plain)).ok().filter(|p| *p != 0),
    };
    // PM_TMR_LEN is 4 where the timer exists.
    tables.pm_timer = if f[91] == 4 { port(208, 76) } else { None };
    tables.sleep = port(172, 64).zip(s5).map(|(a, (kind_a, kind_b))| Sleep::Pm1 {
        a: (a, kind_a),
        b: port(184, 68).map(|b| (b, kind_b)),
    });
}

/// The generic address structure (5.2.3.2) at offset `at` of `table`.
fn register(table: &[u8], at: usize) -> Option<Register> {
    let address = word64(table, at + 4)?;
    match (table.get(at)?, address) {
        (_, 0) => None,
        (0, address) => Some(Register::Memory(address)),
        (1, port) => u16::try_from(port).ok().map(Register::Port),
        _ => None,
    }
}

/// The SLP_TYP values of `Name (_S5_, Package () { a, b, … })` in the DSDT at `at` (7.4.2.6).
/// Finds the definition's bytes (20.2.2 to 20.2.5): NameOp, the name, PackageOp, the package's
/// length, the number of elements, then constants.
fn sleep_type_s5(memory: &impl PhysMemory, at: u64) -> Option<(u8, u8)> {
    let len = u64::from(verified(memory, at)?);
    let (mut here, end) = (at + HEADER as u64, at + len);
    while here < end {
        let mut window = [0; 64];
        let part = window.get_mut(..(end - here).min(64) as usize)?;
        if !memory.read(here, part) {
            return None;
        }
        let found = part.windows(4).position(|w| w == b"_S5_");
        match found {
            // Near the end of the window: look again from where it begins.
            Some(0) => {
                if let Some(types) = package_of_two(part.get(4..)?) {
                    return Some(types);
                }
                here += 1;
            }
            Some(i) => here += i as u64,
            None if part.len() < 64 => return None,
            None => here += 61,
        }
    }
    None
}

/// The first two constants of a package.
fn package_of_two(aml: &[u8]) -> Option<(u8, u8)> {
    let (&0x12, rest) = aml.split_first()? else { return None };
    // PkgLength: the two upper bits of the first byte say how many more there are.
    let rest = rest.get(1 + usize::from(rest.first()? >> 6)..)?;
    let (_elements, mut rest) = rest.split_first()?;
    let mut constant = || {
        let (&op, after) = rest.split_first()?;
        let (value, after) = match op {
            0 | 1 => (op, after),
            0x0a => (*after.first()?, after.get(1..)?),
            _ => return None,
        };
        rest = after;
        Some(value)
    };
    Some((constant()?, constant().unwrap_or(0)))
}

pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |a, b| a.wrapping_add(*b))
}

pub(super) fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

pub(super) fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
