//! `kernel-config/`: archs, profiles, machines; and a driver's own metadata.

use super::leaf::{Address, DebugInfo, Device, ElfMachine, Lto, OptLevel, Part, RepoPath, Vmm};
use super::{Cpus, Format, List};
use crate::config::decode::Int;
use crate::config::resolved::{MemorySize, ProfileStatus};
use crate::config::table::table;
use crate::model::{Arch, Name};

table! {
    /// An architecture: where its kernel lies, and the tools that make and run it.
    pub struct RawArch, "an arch" {
        /// The version of the file's format.
        _format: "format", Format, required;
        /// ELF `e_machine` of kernels and apps.
        elf_machine: "elf-machine", ElfMachine, required;
        /// Physical address that the kernel is relocated for. `--kernel-base` moves it.
        kernel_base: "kernel-base", Address, required;
        /// Virtual address minus physical address of the kernel.
        high_half: "high-half", Address, required;
        /// rustc's target specification for kernels.
        target: "target", RepoPath, required;
        /// The linker script for kernels.
        link_script: "link-script", RepoPath, required;
        /// rustc's target triple for apps.
        app_target: "app-target", String, required;
        /// The same for apps with `libc = "gnu"`, which cannot be built where it is absent.
        app_target_gnu: "app-target-gnu", String, optional;
        /// The QEMU program.
        qemu: "qemu", String, required;
        /// The image that is built when none is named.
        default_image: "default-image", Name, required;
        /// How each mode compiles kernels and apps.
        mode: "mode", RawModes, required;
    }
}

table! {
    /// The settings of both modes.
    pub struct RawModes, "the table of modes" {
        /// Optimised.
        release: "release", RawMode, required;
        /// With debug assertions.
        debug: "debug", RawMode, required;
    }
}

table! {
    /// How a mode compiles kernels and apps: the keys of a cargo profile.
    pub struct RawMode, "a mode" {
        /// Optimisation level of kernels.
        opt_level: "opt-level", OptLevel, required;
        /// Optimisation level of apps; that of kernels when absent.
        app_opt_level: "app-opt-level", OptLevel, optional;
        /// Link-time optimisation of kernels: `thin` is the linker's, which keeps what it
        /// compiled for the next time, `fat` is rustc's, all at once.
        lto: "lto", Lto, default "\"off\"";
        /// Link-time optimisation of apps, by rustc, with all of the standard library.
        app_lto: "app-lto", Lto, default "\"off\"";
        /// Into how many units rustc cuts a crate.
        codegen_units: "codegen-units", Int<1, 1024>, default "16";
        /// Whether `debug_assert!` and overflow checks are compiled in.
        debug_assertions: "debug-assertions", bool, default "false";
        /// Whether a kernel holds the file and line of each place that can panic. Without, a
        /// panic's place is the first line of its backtrace, which xtask symbolises.
        panic_locations: "panic-locations", bool, default "true";
        /// Debug information.
        debug: "debug", DebugInfo, default "\"line-tables-only\"";
    }
}

table! {
    /// A profile: the buses and devices of one hypervisor.
    pub struct RawProfile, "a profile" {
        /// The version of the file's format.
        _format: "format", Format, required;
        /// What it is for, in one line.
        description: "description", String, required;
        /// Whether it has all that its hypervisor offers.
        status: "status", ProfileStatus, default "\"complete\"";
        /// What a `partial` profile still lacks.
        missing: "missing", List<String>, default "[]";
        /// Drivers and roles. What they require comes by itself.
        drivers: "drivers", List<Name>, default "[]";
        /// The machine to boot it on when `--machine` is not given.
        machine: "machine", Name, required;
        /// Upper bound of `loader-stripped.elf` in KiB, which `cargo xtask check` guards.
        budget_kib: "budget-kib", Int<1, 1_048_576>, optional;
    }
}

table! {
    /// A machine: how a VM is started.
    pub struct RawMachine, "a machine" {
        /// The version of the file's format.
        _format: "format", Format, required;
        /// What it is for, in one line.
        description: "description", String, default "\"\"";
        /// The arch that it runs.
        arch: "arch", Arch, required;
        /// The program that runs it.
        vmm: "vmm", Vmm, default "\"qemu\"";
        /// The VMM's machine type with its options, as in `virt,gic-version=3`.
        machine_type: "type", String, required;
        /// The VMM's CPU model.
        cpu: "cpu", String, default "\"max\"";
        /// Memory when `--memory` is not given.
        memory: "memory", MemorySize, default "\"128M\"";
        /// CPUs when `--cpus` is not given.
        cpus: "cpus", Cpus, default "1";
        /// Devices, each `kind:model`.
        devices: "devices", List<Device>, default "[]";
    }
}

table! {
    /// A driver's needs, in the table `[package.metadata.driver]` of its `Cargo.toml`.
    pub struct RawDriver, "a driver's metadata" {
        /// Roles that it fills, besides its own name.
        provides: "provides", List<Name>, default "[]";
        /// Drivers or roles that it cannot do without.
        requires: "requires", List<Name>, default "[]";
        /// Lists of drivers or roles; it needs one out of each list.
        requires_any: "requires-any", List<List<Name>>, default "[]";
        /// Drivers or roles that it cannot be in one kernel with.
        conflicts: "conflicts", List<Name>, default "[]";
        /// The archs that it can be built for; all when the key is absent.
        arch: "arch", List<Arch>, optional;
        /// Parts of the kernel that it needs and that the link step leaves out where nobody
        /// does: `cpu-times` divides CPU time between the app and the kernel.
        keeps: "keeps", List<Part>, default "[]";
    }
}
