//! The kernel's side of [`driver_api::Services`].
//!
//! Reached through symbols that drivers name: a kernel none of whose drivers asks holds
//! nothing of this module.

pub mod block;
mod files;
mod locks;
mod names;
pub mod net;
#[cfg(debug_assertions)]
pub(crate) mod tests;
mod wait;
mod worker;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use driver_api::block::BlockDevice;
use driver_api::dma::DmaArena;
use driver_api::entropy::EntropySource;
use driver_api::net::NetDevice;
use driver_api::paged::FileSystemType;
use driver_api::pci::Host;
use driver_api::wait::WaitPlace;
use driver_api::{
    BusAddress, Error, IrqHandler, IrqLine, MsiMessage, Result, Services, Trigger, Wake, Worker,
};

use crate::mm::dma::Frames;
use crate::registry::SERVICES;
use crate::{arch, cmdline, end, entropy, irq, mm, percpu, thread};

#[unsafe(no_mangle)]
extern "Rust" fn osier_services() -> &'static dyn Services {
    &SERVICES
}

#[unsafe(no_mangle)]
extern "Rust" fn osier_pci_hosts() -> Vec<Host> {
    arch::platform::pci_hosts()
}

/// Bytes that a new source of randomness is asked for: twice what the generator needs.
const SEED: usize = 64;

/// How many devices have given entropy.
static ENTROPY_SOURCES: AtomicUsize = AtomicUsize::new(0);

impl Services for crate::registry::Services {
    fn dma(&self) -> &'static dyn DmaArena {
        &Frames
    }

    fn cpus(&self) -> usize {
        percpu::count()
    }

    fn cpu(&self) -> usize {
        percpu::with(|cpu| cpu.index.load(Ordering::Relaxed))
    }

    fn attach_msi(&self, cpu: usize, handler: &'static dyn IrqHandler) -> Result<MsiMessage> {
        let cpu = percpu::all().nth(cpu).ok_or(Error::Invalid)?;
        let (line, message) = arch::irq::message(cpu)?;
        irq::add(line, Trigger::Edge, handler)?;
        arch::irq::open_message(line, cpu)?;
        Ok(message)
    }

    fn irq_done(&self, line: IrqLine) {
        irq::done(line);
    }

    fn start_worker(&self, name: &str, worker: Arc<dyn Worker>) -> Result<Arc<dyn Wake>> {
        worker::start(name, worker)
    }

    fn sleep_ns(&self, ns: u64) {
        thread::sleep_ns(ns);
    }

    fn wait_place(&self) -> Arc<dyn WaitPlace> {
        Arc::new(wait::Place::new())
    }

    fn described_devices(&self, key: &str) -> Vec<Vec<u8>> {
        let given = end::boot_info().map_or(&[][..], |info| info.cmdline);
        let mut all = Vec::new();
        for line in [mm::image::default_cmdline(), given] {
            cmdline::values(line, key, &mut all);
        }
        all
    }

    fn add_block(&self, at: BusAddress, device: Arc<dyn BlockDevice>) {
        block::add(at, device);
    }

    fn add_net(&self, at: BusAddress, device: Arc<dyn NetDevice>) {
        net::add(at, device);
    }

    fn add_file_system(&self, kind: &'static dyn FileSystemType) {
        crate::fs::kinds::add(kind);
    }

    fn add_entropy(&self, source: Arc<dyn EntropySource>) {
        let mut seed = Box::new([0; SEED]);
        match source.fill(&mut *seed) {
            Ok(n) => {
                let got = seed.get(..n).unwrap_or(&[]);
                ENTROPY_SOURCES.fetch_add(1, Ordering::Relaxed);
                entropy::add(got, got.len() as u32 * 8);
                log::info!(target: "entropy", "{} bytes from a device", got.len());
            }
            Err(e) => log::warn!(target: "entropy", "a device gave nothing: {e:?}"),
        }
    }
}
