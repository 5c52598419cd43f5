//! Whether KVM carries a real guest here. `/dev/kvm` proves little: a software KVM may
//! enter long mode and ring 3 and then hang at `SYSCALL`. So a tiny guest is run that does
//! what a kernel does, under a time limit, and the answer is kept.

use super::build_dir;
use super::qemu::{Event, RunDir, Vm};
use crate::config::resolved::MemorySize;
use crate::context::Context;
use crate::model::Arch;
use crate::run::args::{Accel, Net, VmSpec, arguments};
use crate::run::guests::{PROBE_OK, kvm_probe};
use crate::setup::{Host, find_program};
use camino::Utf8Path;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::time::{Duration, Instant};

/// How long the tiny guest may take. On a working KVM it needs a few milliseconds, QEMU's
/// own start included.
const LIMIT: Duration = Duration::from_secs(1);
/// The device.
const DEVICE: &str = "/dev/kvm";

/// The accelerator to use, and why when it is not KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub accel: Accel,
    /// One clause: "KVM …".
    pub why: Option<String>,
}

/// Chooses the accelerator for guests of `arch` in the QEMU binary `qemu`.
#[must_use]
pub fn choose(arch: Arch, qemu: &str, cx: &Context) -> Choice {
    match usable(arch, qemu, cx) {
        Ok(()) => Choice { accel: Accel::Kvm, why: None },
        Err(why) => Choice { accel: Accel::Tcg, why: Some(why) },
    }
}

/// # Errors
/// Why KVM is of no use.
fn usable(arch: Arch, qemu: &str, cx: &Context) -> Result<(), String> {
    if Arch::host() != Some(arch) {
        return Err(format!("KVM runs guests of the host's arch only, and this one is {arch}"));
    }
    if arch == Arch::Aarch64 {
        // The proof is written for x64; what is not proved is not used.
        return Err("KVM is not proved on aarch64 hosts yet; --accel kvm takes it on trust".into());
    }
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|e| format!("{DEVICE} cannot be opened: {e}"))?;
    let answer_file = cx.layout.cache().join(format!("kvm-{}", key(qemu, cx)));
    if let Ok(answer) = fs::read_to_string(&answer_file) {
        return match answer.trim() {
            "ok" => Ok(()),
            why => Err(why.to_owned()),
        };
    }
    let answer = prove(qemu, cx, Accel::Kvm, LIMIT);
    let text = answer.as_ref().map_or_else(Clone::clone, |()| "ok".to_owned());
    // The answer is only a saving: without it the next run asks again.
    let beside = cx.layout.cache().join(format!("kvm-{}", std::process::id()));
    let _ = fs::create_dir_all(cx.layout.cache())
        .and_then(|()| fs::write(&beside, format!("{text}\n")))
        .and_then(|()| fs::rename(&beside, &answer_file));
    answer
}

/// What the answer depends on: the host's kernel, the QEMU binary, the CPU.
fn key(qemu: &str, cx: &Context) -> String {
    let mut hash = Sha256::new();
    hash.update(fs::read("/proc/sys/kernel/osrelease").unwrap_or_default());
    hash.update(fs::read("/proc/sys/kernel/version").unwrap_or_default());
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // The first CPU's fixed lines; its clock rate changes from one read to the next.
    for line in cpu.lines().take_while(|l| !l.is_empty()).filter(|l| !l.starts_with("cpu MHz")) {
        hash.update(line);
    }
    // The binary's size and time stand for QEMU's version, at the price of a stat.
    let host = Host { env: &cx.env, exists: &|p: &Utf8Path| p.exists() };
    let binary = find_program(&host, qemu);
    if let Some(meta) = binary.as_deref().and_then(|p| fs::metadata(p).ok()) {
        hash.update(format!("{binary:?} {} {:?}", meta.len(), meta.modified().ok()));
    }
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Runs the tiny guest.
///
/// # Errors
/// What it did not do.
fn prove(qemu: &str, cx: &Context, accel: Accel, limit: Duration) -> Result<(), String> {
    let io = |e: std::io::Error| format!("KVM could not be tried: {e}");
    let folder = build_dir::run_folder(cx).map_err(|e| format!("KVM could not be tried: {e:#}"))?;
    let dir = RunDir::new(&folder).map_err(io)?;
    let (kernel, end_file) = (dir.path().join("probe.elf"), dir.path().join("end"));
    fs::write(&kernel, kvm_probe()).map_err(io)?;
    let spec = VmSpec {
        arch: Arch::X64,
        machine_type: "microvm",
        cpu: "max",
        memory: MemorySize(16 << 20),
        cpus: 1,
        devices: &[],
        disks: &[],
        accel,
        kernel: &kernel,
        cmdline: "",
        end_file: &end_file,
        qmp: None,
        net: &Net::None,
        gdb: None,
        reboots: false,
        ram_file: None,
        extra: &[],
    };
    let args = arguments(&spec).map_err(|e| e.message)?;
    let deadline = Instant::now() + limit;
    let mut vm = Vm::start(qemu, &args, &end_file).map_err(io)?;
    let finished = loop {
        match vm.next(deadline) {
            Event::Console(..) => {}
            Event::Closed => break true,
            Event::Quiet => break false,
        }
    };
    drop(vm);
    if said_ok(&end_file) {
        return Ok(());
    }
    Err(if finished {
        "KVM does not carry a guest here: the test guest died before its first timer tick"
    } else {
        "KVM does not carry a guest here: the test guest (a ring-3 system call and a timer tick) \
         did not finish within a second"
    }
    .to_owned())
}

fn said_ok(end_file: &Utf8Path) -> bool {
    fs::read(end_file).is_ok_and(|said| said == PROBE_OK)
}
