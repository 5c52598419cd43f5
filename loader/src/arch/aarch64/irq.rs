//! Interrupts: the GIC, versions 2 and 3 (Arm IHI 0048B, IHI 0069H).

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use driver_api::Once;
use driver_api::sync::IrqLock;
use driver_api::{Error, IrqLine, Mmio, MsiMessage, Result, Trigger};

use super::describe::GICS;
use super::platform;
use super::trap::TrapFrame;
use super::{clock, percpu};
use crate::bootinfo::BootInfo;
use crate::mm::PhysRange;
use crate::mm::kernel::{map_fixed, registers};
use crate::mm::stack::KernelStack;
use crate::mm::table::Flags;
use crate::percpu::PerCpu;

/// Distributor registers (both versions).
mod gicd {
    pub const CTLR: usize = 0;
    pub const TYPER: usize = 4;
    pub const IGROUPR: usize = 0x80;
    pub const ISENABLER: usize = 0x100;
    pub const ICENABLER: usize = 0x180;
    pub const IPRIORITYR: usize = 0x400;
    pub const ITARGETSR: usize = 0x800;
    pub const ICFGR: usize = 0xc00;
    /// Version 2: sends an SGI.
    pub const SGIR: usize = 0xf00;
    /// Version 3, 64 bits each.
    pub const IROUTER: usize = 0x6000;
    /// CTLR, version 2 and 3: group 0 (v2: the only one we see) and group 1.
    pub const ENABLE: u32 = 3;
    /// CTLR, version 3: affinity routing.
    pub const ARE: u32 = 1 << 4;
    /// CTLR, version 3: a write is still on its way.
    pub const RWP: u32 = 1 << 31;
}

/// CPU interface registers (version 2).
mod gicc {
    pub const CTLR: usize = 0;
    pub const PMR: usize = 4;
    pub const IAR: usize = 0xc;
    pub const EOIR: usize = 0x10;
}

/// Redistributor registers (version 3).
mod gicr {
    pub const TYPER: usize = 8;
    pub const WAKER: usize = 0x14;
    /// Offset of the frame with the registers of private interrupts, laid out as the
    /// distributor's.
    pub const SGI: usize = 0x1_0000;
    /// Both frames; the first two of version 4's four.
    pub const LEN: u64 = 0x2_0000;
    /// TYPER: the last one of its region.
    pub const LAST: u64 = 1 << 4;
    /// TYPER: four frames (version 4).
    pub const VLPIS: u64 = 1 << 1;
    /// WAKER: the kernel's wish, and the answer.
    pub const PROCESSOR_SLEEP: u32 = 1 << 1;
    pub const CHILDREN_ASLEEP: u32 = 1 << 2;
}

/// Priority of every interrupt: below PMR's 0xf0, the same for all (no nesting).
const PRIORITY: u8 = 0xa0;
/// Lowest priority that is let through.
const PRIORITY_MASK: u32 = 0xf0;
/// The first INTID that means "none" or is special.
const SPECIAL: u32 = 1020;
/// The SGI that makes a CPU look at what it has to do.
const NOTIFY: u32 = 0;
/// How often a register is asked before the controller counts as broken.
const TRIES: u32 = 1_000_000;

enum Version {
    V2 { cpu: Mmio },
    V3 { redistributors: PhysRange },
}

struct Controller {
    distributor: Mmio,
    version: Version,
    /// INTIDs there are.
    lines: u32,
    /// Read-modify-write of configuration registers.
    config: IrqLock<()>,
}

static GIC: Once<Controller> = Once::new();

/// Finds and starts the controller, and the timer's line.
pub fn init(_info: &BootInfo) {
    // With guard pages: memory management is up, and interrupts are still off.
    let Some(stack) = KernelStack::new() else {
        log::error!("no memory for the interrupt stack");
        return;
    };
    percpu::current().arch.irq_stack_top.store(stack.top(), Ordering::Relaxed);
    core::mem::forget(stack);
    let found = GICS.iter().find_map(|&(name, version)| {
        platform::with_device(name, 0, |path, _| (version, [path.reg(0), path.reg(1)]))
    });
    let Some((version, [Some(distributor), Some(second)])) = found else {
        log::error!("the device tree describes no interrupt controller that is known");
        return;
    };
    let result = match version {
        2 => start_v2(distributor, second),
        _ => start_v3(distributor, second),
    };
    let result = result.map(|gic| GIC.call_once(|| gic)).and_then(|_| init_this_cpu());
    if let Err(error) = result {
        log::error!("GICv{version} does not start: {error:?}");
    }
}

/// Starts what the controller has for each CPU, and lets the timer and [`NOTIFY`] through.
pub(super) fn init_this_cpu() -> Result<()> {
    let gic = GIC.get().ok_or(Error::NoDevice)?;
    match &gic.version {
        Version::V2 { cpu } => init_cpu_v2(&gic.distributor, cpu),
        Version::V3 { redistributors } => init_cpu_v3(*redistributors)?,
    }
    enable(IrqLine(NOTIFY), Trigger::Edge)?;
    enable(IrqLine(clock::line()), Trigger::LevelHigh)
}

/// Maps device registers for ever.
pub(super) fn map(range: PhysRange) -> Result<Mmio> {
    let flags = Flags::WRITE.with(Flags::DEVICE);
    let base = map_fixed(range.start, range.len(), flags).map_err(|_| Error::NoMemory)?;
    let len = usize::try_from(range.len()).map_err(|_| Error::Invalid)?;
    Ok(registers(base.addr(), len))
}

/// Lines of a distributor: TYPER.ITLinesNumber counts them in steps of 32.
fn lines(distributor: &Mmio) -> u32 {
    ((distributor.read32(gicd::TYPER) & 0x1f) + 1).saturating_mul(32).min(SPECIAL)
}

fn start_v2(distributor: PhysRange, cpu: PhysRange) -> Result<Controller> {
    let (distributor, cpu) = (map(distributor)?, map(cpu)?);
    let lines = lines(&distributor);
    distributor.write32(gicd::CTLR, 0);
    for n in 1..(lines / 32) as usize {
        distributor.write32(gicd::ICENABLER + n * 4, u32::MAX);
    }
    distributor.write32(gicd::CTLR, gicd::ENABLE);
    Ok(Controller { distributor, version: Version::V2 { cpu }, lines, config: IrqLock::new(()) })
}

fn init_cpu_v2(distributor: &Mmio, cpu: &Mmio) {
    // The target registers of private lines read as the CPU that asks; as 0 where there is
    // one CPU only.
    let own = u32::from(distributor.read8(gicd::ITARGETSR)).max(1);
    percpu::current().arch.gic_target.store(own, Ordering::Relaxed);
    distributor.write32(gicd::ICENABLER, u32::MAX);
    cpu.write32(gicc::PMR, PRIORITY_MASK);
    cpu.write32(gicc::CTLR, 1);
}

fn start_v3(distributor: PhysRange, redistributors: PhysRange) -> Result<Controller> {
    let distributor = map(distributor)?;
    let lines = lines(&distributor);
    distributor.write32(gicd::CTLR, 0);
    settle(|| distributor.read32(gicd::CTLR) & gicd::RWP == 0)?;
    for n in 1..(lines / 32) as usize {
        distributor.write32(gicd::ICENABLER + n * 4, u32::MAX);
        distributor.write32(gicd::IGROUPR + n * 4, u32::MAX);
    }
    distributor.write32(gicd::CTLR, gicd::ARE | gicd::ENABLE);
    settle(|| distributor.read32(gicd::CTLR) & gicd::RWP == 0)?;
    let version = Version::V3 { redistributors };
    Ok(Controller { distributor, version, lines, config: IrqLock::new(()) })
}

fn init_cpu_v3(redistributors: PhysRange) -> Result<()> {
    let found = own_redistributor(redistributors)?;
    let redistributor = percpu::current().arch.redistributor.call_once(|| found);
    let waker = redistributor.read32(gicr::WAKER);
    redistributor.write32(gicr::WAKER, waker & !gicr::PROCESSOR_SLEEP);
    settle(|| redistributor.read32(gicr::WAKER) & gicr::CHILDREN_ASLEEP == 0)?;
    redistributor.write32(gicr::SGI + gicd::ICENABLER, u32::MAX);
    redistributor.write32(gicr::SGI + gicd::IGROUPR, u32::MAX);
    // ICC_SRE_EL1, ICC_PMR_EL1, ICC_BPR1_EL1, ICC_CTLR_EL1, ICC_IGRPEN1_EL1.
    // SAFETY: the CPU interface's registers; interrupts are still masked.
    unsafe {
        asm!("mrs {tmp}, S3_0_C12_C12_5", "orr {tmp}, {tmp}, #1", "msr S3_0_C12_C12_5, {tmp}",
            "isb", "msr S3_0_C4_C6_0, {mask}", "msr S3_0_C12_C12_3, xzr",
            "msr S3_0_C12_C12_4, xzr", "msr S3_0_C12_C12_7, {one}", "isb",
            tmp = out(reg) _, mask = in(reg) u64::from(PRIORITY_MASK), one = in(reg) 1_u64,
            options(nostack, preserves_flags));
    }
    Ok(())
}

/// The redistributor of the CPU that runs: the one with its affinity.
fn own_redistributor(region: PhysRange) -> Result<Mmio> {
    let mpidr = percpu::current().arch.mpidr.load(Ordering::Relaxed);
    let affinity = (mpidr & 0xff_ffff) | (mpidr >> 32 & 0xff) << 24;
    let mut at = region.start;
    while at.0.saturating_add(gicr::LEN) <= region.end.0 {
        let frame = map(PhysRange::with_len(at, gicr::LEN))?;
        let typer = frame.read64(gicr::TYPER);
        if typer >> 32 == affinity {
            return Ok(frame);
        }
        if typer & gicr::LAST != 0 {
            break;
        }
        at.0 += if typer & gicr::VLPIS == 0 { gicr::LEN } else { 2 * gicr::LEN };
    }
    Err(Error::NoDevice)
}

/// Waits, bounded, for `ready`.
fn settle(ready: impl Fn() -> bool) -> Result<()> {
    for _ in 0..TRIES {
        if ready() {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    Err(Error::TimedOut)
}

impl Controller {
    /// The registers that configure `line`, and their offset: private lines of version 3 are
    /// configured at this CPU's redistributor.
    fn registers(&self, line: u32) -> (&Mmio, usize) {
        match (&self.version, percpu::current().arch.redistributor.get()) {
            (Version::V3 { .. }, Some(own)) if line < 32 => (own, gicr::SGI),
            _ => (&self.distributor, 0),
        }
    }

    fn enable(&self, line: u32, trigger: Trigger) {
        let (registers, base) = self.registers(line);
        let n = line as usize;
        let _config = self.config.lock();
        if line >= 16 {
            // Two bits a line: 0b10 is edge. A shared line is rising or active high.
            let at = base + gicd::ICFGR + n / 16 * 4;
            let edge = 2 << (n % 16 * 2);
            let old = registers.read32(at);
            let new = if trigger == Trigger::Edge { old | edge } else { old & !edge };
            registers.write32(at, new);
        }
        registers.write8(base + gicd::IPRIORITYR + n, PRIORITY);
        if line >= 32 {
            self.route(line, percpu::current());
        }
        registers.write32(base + gicd::ISENABLER + n / 32 * 4, 1 << (n % 32));
    }

    /// Sends the shared interrupt `line` to `cpu`.
    fn route(&self, line: u32, cpu: &PerCpu) {
        let n = line as usize;
        match self.version {
            Version::V2 { .. } => {
                let target = cpu.arch.gic_target.load(Ordering::Relaxed);
                self.distributor.write8(gicd::ITARGETSR + n, target as u8);
            }
            Version::V3 { .. } => {
                let affinity = cpu.arch.mpidr.load(Ordering::Relaxed);
                self.distributor.write64(gicd::IROUTER + n * 8, affinity);
            }
        }
    }

    fn disable(&self, line: u32) {
        let (registers, base) = self.registers(line);
        registers.write32(base + gicd::ICENABLER + line as usize / 32 * 4, 1 << (line % 32));
    }

    fn acknowledge(&self) -> u32 {
        match &self.version {
            Version::V2 { cpu } => cpu.read32(gicc::IAR),
            Version::V3 { .. } => {
                let id: u64;
                // ICC_IAR1_EL1; the barrier makes the acknowledgement happen before the
                // device is looked at (IHI 0069H 4.1.1).
                // SAFETY: acknowledges the interrupt that is being handled.
                unsafe {
                    asm!("mrs {}, S3_0_C12_C12_0", "dsb sy", out(reg) id,
                        options(nostack, preserves_flags));
                }
                id as u32
            }
        }
    }

    /// `id` is what [`Self::acknowledge`] returned.
    fn end(&self, id: u32) {
        match &self.version {
            Version::V2 { cpu } => cpu.write32(gicc::EOIR, id),
            // SAFETY: ICC_EOIR1_EL1: ends the interrupt that was acknowledged.
            Version::V3 { .. } => unsafe {
                asm!("msr S3_0_C12_C12_1, {}", "isb", in(reg) u64::from(id),
                    options(nostack, preserves_flags));
            },
        }
    }
}

/// Unmasks `line` and sends it to this CPU.
///
/// # Errors
/// `NoDevice` without a controller, `Invalid` for a line that it lacks.
pub fn enable(line: IrqLine, trigger: Trigger) -> Result<()> {
    let gic = GIC.get().ok_or(Error::NoDevice)?;
    if line.0 >= gic.lines {
        return Err(Error::Invalid);
    }
    gic.enable(line.0, trigger);
    Ok(())
}

/// Masks `line`.
pub fn disable(line: IrqLine) {
    if let Some(gic) = GIC.get().filter(|gic| line.0 < gic.lines) {
        gic.disable(line.0);
    }
}

/// The frame of a GICv2m (Arm Server Base System Architecture 1.0, appendix E): writing the
/// number of one of its shared interrupts raises it.
struct MessageFrame {
    setspi: u64,
    next: AtomicU32,
    end: u32,
}

static MESSAGES: Once<Option<MessageFrame>> = Once::new();

/// Finds the message frame.
fn message_frame() -> Option<MessageFrame> {
    /// MSI_TYPER: first interrupt 25:16, how many 9:0. MSI_SETSPI_NS.
    const TYPER: usize = 8;
    const SETSPI: u64 = 0x40;
    let frame = platform::with_device("arm,gic-v2m-frame", 0, |path, _| path.reg(0))??;
    let typer = map(frame).ok()?.read32(TYPER);
    let (first, count) = (typer >> 16 & 0x3ff, typer & 0x3ff);
    let next = AtomicU32::new(first);
    (first >= 32).then_some(MessageFrame {
        setspi: frame.start.0 + SETSPI,
        next,
        end: first + count,
    })
}

/// A new message-signalled interrupt: its line, and what the device writes.
///
/// # Errors
/// `Unsupported` without a message frame (an ITS is not driven), `NoMemory` when all its
/// interrupts are taken.
pub fn message(_cpu: &PerCpu) -> Result<(IrqLine, MsiMessage)> {
    let frame = MESSAGES.call_once(message_frame).as_ref().ok_or(Error::Unsupported)?;
    let take = |n| (n < frame.end).then_some(n + 1);
    let line = frame.next.try_update(Ordering::Relaxed, Ordering::Relaxed, take);
    let line = line.map_err(|_| Error::NoMemory)?;
    Ok((IrqLine(line), MsiMessage { address: frame.setspi, data: line }))
}

/// Lets the message `line` through, to `cpu`.
///
/// # Errors
/// As [`enable`].
pub fn open_message(line: IrqLine, cpu: &PerCpu) -> Result<()> {
    enable(line, Trigger::Edge)?;
    if let Some(gic) = GIC.get() {
        gic.route(line.0, cpu);
    }
    Ok(())
}

/// Raises [`NOTIFY`] on `cpu`.
pub(super) fn send(cpu: &PerCpu) {
    let Some(gic) = GIC.get() else { return };
    match gic.version {
        Version::V2 { .. } => {
            let target = cpu.arch.gic_target.load(Ordering::Relaxed);
            // SAFETY: a barrier: what the CPU is to see is written first.
            unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
            gic.distributor.write32(gicd::SGIR, target << 16 | NOTIFY);
        }
        Version::V3 { .. } => {
            let mpidr = cpu.arch.mpidr.load(Ordering::Relaxed);
            let [aff0, aff1, aff2, _, aff3, ..] = mpidr.to_le_bytes().map(u64::from);
            // ICC_SGI1R_EL1 (IHI 0069H 12.2.10): RangeSelector 47:44 and TargetList 15:0
            // together name Aff0.
            let value = aff3 << 48
                | (aff0 >> 4) << 44
                | aff2 << 32
                | u64::from(NOTIFY) << 24
                | aff1 << 16
                | 1 << (aff0 & 15);
            // SAFETY: raises an interrupt that every CPU handles.
            unsafe {
                asm!("dsb ishst", "msr S3_0_C12_C11_5, {}", "isb", in(reg) value,
                    options(nostack, preserves_flags));
            }
        }
    }
}

/// An interrupt, on the interrupt stack, interrupts masked.
pub(super) extern "C" fn interrupt(_frame: &TrapFrame) {
    let Some(gic) = GIC.get() else { return };
    let raw = gic.acknowledge();
    // Version 2 puts the sending CPU of an SGI above bit 10; EOIR wants it back.
    let id = if matches!(gic.version, Version::V2 { .. }) { raw & 0x3ff } else { raw & 0xff_ffff };
    if (SPECIAL..1024).contains(&id) {
        return;
    }
    match id {
        // What there is to do shows on the way out.
        NOTIFY => {}
        id if id == clock::line() => {
            clock::stop_oneshot();
            crate::time::timer_interrupt();
        }
        id => crate::irq::dispatch(IrqLine(id)),
    }
    gic.end(raw);
}
