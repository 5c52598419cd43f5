//! The linker's command line.

use crate::model::Arch;
use camino::Utf8Path;

/// What the link step works on.
#[derive(Clone, Copy, Debug)]
pub struct LinkInputs<'a> {
    pub arch: Arch,
    /// The kernel's static library.
    pub archive: &'a Utf8Path,
    /// The object with the system-call table, from [`super::syscall_object`].
    pub syscalls: &'a Utf8Path,
    /// `kernel-config/link/<arch>.ld`.
    pub script: &'a Utf8Path,
    /// The archive holds bitcode, compiled at this `opt-level`, to be optimised across its
    /// modules.
    pub lto: Option<&'a str>,
    /// The folder in which the linker keeps the machine code of bitcode modules, and finds
    /// that of those which have not changed; it decides no byte.
    pub cache: Option<&'a Utf8Path>,
    /// The linked PIE to write.
    pub output: &'a Utf8Path,
    /// Threads that the linker may use.
    pub jobs: usize,
}

/// How bitcode is optimised. What decides between size and speed (`opt-level`) stands in the
/// bitcode itself, function by function.
const LTO: [&str; 6] = [
    "--lto-O3",
    // Functions of up to so many instructions (100 otherwise) are brought into other modules
    // to be inlined there: more makes kernels larger and slower to boot.
    "-mllvm",
    "-import-instr-limit=10",
    // rustc's own LTO does it too: monomorphic instances often come out the same.
    "-mllvm",
    "-enable-merge-functions",
    // Entries of the cache: unused for a month they go, the oldest first beyond the size.
    "--thinlto-cache-policy=prune_after=720h:cache_size_bytes=512m",
];

/// How bitcode is optimised that was compiled at level `z`. It is inlined up to a cost of so many
/// units (5 otherwise; 50 at level `s`): some calls that are saved make up for their copies, and
/// code that runs once, at boot, runs through fewer of them. A table of jumps is made from so many
/// cases on (4 otherwise): below, comparisons are shorter.
const SMALL: [&str; 4] = ["-mllvm", "-inline-threshold=25", "-mllvm", "-min-jump-table-entries=8"];

/// The arguments of `rust-lld` that link a kernel.
#[must_use]
pub fn lld_args(inputs: &LinkInputs<'_>) -> Vec<String> {
    let emulation = match inputs.arch {
        Arch::X64 => "elf_x86_64",
        Arch::Aarch64 => "aarch64elf",
    };
    let threads = format!("--threads={}", inputs.jobs.max(1));
    let fixed = [
        "-flavor",
        "gnu",
        "-m",
        emulation,
        "--color-diagnostics=never",
        "--fatal-warnings",
        threads.as_str(),
        "-pie",
        "--no-dynamic-linker",
        "-z",
        "defs",
        // Drivers are found through their linkme sections alone: without --whole-archive
        // nothing pulls their objects in, and the list links empty without a word.
        "--gc-sections",
        // The static relocations of the debug sections are how the relocate step moves
        // DWARF addresses, and those of the code and data are what its result is held against.
        "--emit-relocs",
        "-z",
        "max-page-size=4096",
        "-z",
        "norelro",
        "-z",
        "rodynamic",
        "-z",
        "nognustack",
        "-z",
        "pack-relative-relocs",
        "--hash-style=sysv",
        "--build-id=none",
        // What no rule of the script names must not land in a segment by accident.
        "--orphan-handling=error",
    ];
    let mut args: Vec<String> = fixed.map(str::to_owned).to_vec();
    if let Some(opt_level) = inputs.lto {
        args.extend(LTO.map(str::to_owned));
        if opt_level == "z" {
            args.extend(SMALL.map(str::to_owned));
        }
        args.push(format!("--thinlto-jobs={}", inputs.jobs.max(1)));
        let cache = inputs.cache.map(|folder| format!("--thinlto-cache-dir={folder}"));
        args.extend(cache);
    }
    let mut two = |a: &str, b: &Utf8Path| args.extend([a.to_owned(), b.to_string()]);
    two("-T", inputs.script);
    two("-o", inputs.output);
    two("--whole-archive", inputs.archive);
    args.push(inputs.syscalls.to_string());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let args = lld_args(&LinkInputs {
            arch: Arch::X64,
            archive: "libkernel.a".into(),
            syscalls: "syscalls.o".into(),
            script: "x64.ld".into(),
            lto: None,
            cache: Some("cache".into()),
            output: "kernel.pie".into(),
            jobs: 0,
        });
        let line = args.join(" ");
        assert!(!line.contains("lto"), "{line}");
        assert!(line.starts_with("-flavor gnu -m elf_x86_64 "), "{line}");
        assert!(line.contains(" --threads=1 "), "{line}");
        assert!(
            line.ends_with("-T x64.ld -o kernel.pie --whole-archive libkernel.a syscalls.o"),
            "{line}"
        );
    }
}
