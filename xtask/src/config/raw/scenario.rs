//! `scenarios/`: what is proved by booting.

use super::leaf::{Address, End, Sha256};
use super::{Cpus, Format, List, Many, PerArch};
use crate::config::decode::Int;
use crate::config::resolved::MemorySize;
use crate::config::table::table;
use crate::model::{Arch, Mode, Name, Pattern};

table! {
    /// A scenario: one boot test.
    pub struct RawScenario, "a scenario" {
        /// The version of the file's format.
        _format: "format", Format, required;
        /// What it proves, in one line.
        description: "description", String, required;
        /// The image that boots.
        image: "image", Name, required;
        /// The profile, with `+driver` and `~driver` as on the command line.
        profile: "profile", String, default "\"all\"";
        /// The archs that it runs on; when absent, those of its machines, else every one
        /// that has both the image and the profile.
        arch: "arch", List<Arch>, optional;
        /// The mode.
        mode: "mode", Mode, default "\"release\"";
        /// The machines that it runs on, once each; the profile's when absent.
        machine: "machine", Many<Name>, optional;
        /// CPUs; the machine's when absent.
        cpus: "cpus", Cpus, optional;
        /// Memory; the machine's when absent. One size, or one for each arch.
        memory: "memory", PerArch<MemorySize>, optional;
        /// Replaces the program part of the image's command line; after a `+`, adds words.
        cmdline: "cmdline", String, optional;
        /// Physical address that the kernel is relocated for; the arch's when absent.
        kernel_base: "kernel-base", PerArch<Address>, optional;
        /// How far from the planned address the image is loaded: a multiple of 2 MiB.
        load_offset: "load-offset", MemorySize, optional;
        /// Seconds after which the VM is ended and the scenario has failed.
        timeout_s: "timeout-s", Int<1, 3600>, default "60";
        /// How the VM must end: `exit N`, `signal N`, `panic`, `oom` or `halt`.
        exit: "exit", End, default "\"exit 0\"";
        /// What is done and awaited, in order.
        step: "step", List<RawStep>, default "[]";
        /// Its disks, in the order in which the machine has them.
        disk: "disk", List<RawDisk>, default "[]";
        /// What must be on its disks when the VM has ended.
        after: "after", List<RawAfter>, default "[]";
    }
}

table! {
    /// A disk of a scenario, made anew for each run. It sits on the machine's `disk:` device;
    /// of several, the first disk on the first.
    pub struct RawDisk, "a disk" {
        /// What it is called in `[[after]]`; its serial number too. At most 20 characters.
        name: "name", Name, required;
        /// How large it is.
        size: "size", MemorySize, required;
        /// What is on it at first: `zero`; `offset`: each 8 bytes, little-endian, are their own
        /// offset; `inverse`: the same with every bit flipped.
        pattern: "pattern", Pattern, default "\"zero\"";
    }
}

table! {
    /// What must be on a disk, or a part of it, when the VM has ended: a pattern or a hash.
    pub struct RawAfter, "a check" {
        /// The disk.
        disk: "disk", Name, required;
        /// Where the part begins, in bytes.
        offset: "offset", Int<0, 1_099_511_627_776>, default "0";
        /// How long the part is, in bytes; to the disk's end when absent.
        length: "length", Int<1, 1_099_511_627_776>, optional;
        /// The pattern that it holds, as in `[[disk]]`.
        pattern: "pattern", Pattern, optional;
        /// The SHA-256 of it, 64 hexadecimal digits.
        sha256: "sha256", Sha256, optional;
    }
}

table! {
    /// One step of a scenario: one of its keys.
    pub struct RawStep, "a step" {
        /// A regular expression over console output not consumed yet.
        expect: "expect", String, optional;
        /// Text that is typed on the console, as written.
        send: "send", String, optional;
        /// A QMP command as JSON.
        qmp: "qmp", String, optional;
        /// A helper on the host side, by name: `frames` is the far end of the network card.
        peer: "peer", Name, optional;
        /// `true`: the guest resets here and boots again.
        reboot: "reboot", bool, optional;
    }
}
