//! From artifacts to a running machine: shared by `run-qemu`, `test` and `bench`.

use super::peer::Wire;
use super::qemu::{RunDir, Vm};
use super::{disk, kvm};
use crate::cmd::build::BuiltImage;
use crate::config::resolved::{Disk, Machine, MemorySize, Workspace};
use crate::context::Context;
use crate::error::Refusal;
use crate::model::Arch;
use crate::run::args::{Accel, DiskFile, Net, VmSpec, arguments, channel_words};
use crate::run::{cmdline, image, memory};
use crate::symbols::{Annotator, Source};
use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use std::fs;

/// An image that was built, by private links: a later build of the same image, with another
/// kernel base or from edited sources, does not change it.
#[derive(Debug)]
pub struct Bootable {
    pub arch: Arch,
    /// The QEMU binary.
    pub qemu: String,
    /// `loader.elf` where the build put it.
    pub loader_elf: Utf8PathBuf,
    /// `loader.img` where the build put it.
    loader_img: Utf8PathBuf,
    /// Holds the links; they go with it.
    _links: RunDir,
    image: Utf8PathBuf,
    kernel: Utf8PathBuf,
    /// The default command line.
    cmdline: String,
    /// The apps in it: path in the image, ELF file on the host.
    apps: Vec<(String, Utf8PathBuf)>,
}

/// How to start it.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    pub machine: &'a Machine,
    pub memory: MemorySize,
    pub cpus: u32,
    pub accel: Accel,
    /// As `run::cmdline::compose` takes it.
    pub cmdline: Option<&'a str>,
    pub net: &'a Net,
    /// Disks, made anew.
    pub disks: &'a [Disk],
    /// The card's other end is a peer in this process; `net` does not count.
    pub peer: bool,
    pub gdb: Option<u16>,
    /// Load the image this many bytes higher than it was planned for.
    pub load_offset: u64,
    pub qmp: bool,
    pub reboots: bool,
    /// The RAM lies in a file of the run folder.
    pub ram_file: bool,
    pub extra: &'a [String],
}

impl<'a> Options<'a> {
    /// The machine as it is described, emulated, with the image's own command line and nothing
    /// plugged in.
    #[must_use]
    pub const fn plain(machine: &'a Machine) -> Self {
        Self {
            machine,
            memory: machine.memory,
            cpus: machine.cpus,
            accel: Accel::Tcg,
            cmdline: None,
            net: &Net::None,
            disks: &[],
            peer: false,
            gdb: None,
            load_offset: 0,
            qmp: false,
            reboots: false,
            ram_file: false,
            extra: &[],
        }
    }
}

/// A machine that is ready to start. Its run folder lives as long as this does.
pub struct Prepared {
    pub program: String,
    pub args: Vec<String>,
    pub end_file: Utf8PathBuf,
    pub qmp: Option<Utf8PathBuf>,
    /// The file that the RAM lies in, when it was asked for.
    pub ram_file: Option<Utf8PathBuf>,
    /// The files of the disks, in their order.
    pub disks: Vec<DiskFile>,
    /// The peer's side of the card.
    pub wire: Option<Wire>,
    dir: RunDir,
}

impl Prepared {
    /// The same command line with another kernel, and a run folder of its own.
    ///
    /// # Errors
    /// When the kernel cannot be written.
    pub fn with_kernel(&self, kernel: &[u8]) -> anyhow::Result<Self> {
        let parent = self.dir.path().parent().context("a run folder has a parent")?;
        let dir = RunDir::new(parent).with_context(|| format!("cannot make {parent}"))?;
        let path = dir.path().join("kernel");
        fs::write(&path, kernel).with_context(|| format!("cannot write {path}"))?;
        let end_file = dir.path().join("end");
        let mut args = self.args.clone();
        let at = args.iter().position(|a| a == "-kernel").and_then(|at| args.get_mut(at + 1));
        *at.context("there is no -kernel")? = path.into_string();
        for arg in &mut args {
            *arg = arg.replace(self.end_file.as_str(), end_file.as_str());
        }
        Ok(Self {
            program: self.program.clone(),
            args,
            end_file,
            qmp: None,
            ram_file: None,
            disks: Vec::new(),
            wire: None,
            dir,
        })
    }

    /// Starts QEMU. See [`Vm::start`] for what the calling thread has to do.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> anyhow::Result<Vm> {
        Vm::start(&self.program, &self.args, &self.end_file)
            .with_context(|| format!("cannot start {}", self.program))
    }
}

impl Bootable {
    /// Links everything that booting `image` opens.
    ///
    /// # Errors
    /// A [`Refusal`] when the arch has no configuration; other errors when an artifact is
    /// not there.
    pub fn new(cx: &Context, image: &BuiltImage, workspace: &Workspace) -> anyhow::Result<Self> {
        let arch = image.selected.arch;
        let config = workspace
            .arches
            .get(&arch)
            .ok_or_else(|| Refusal::new(format!("there is no kernel-config/arch/{arch}.toml")))?;
        let parent = cx.layout.run();
        let links = RunDir::new(&parent).with_context(|| format!("cannot make {parent}"))?;
        let link = |file: &Utf8Path, name: &str| {
            links.private(file, name).with_context(|| format!("cannot link or copy {file}"))
        };
        let cmdline = fs::read_to_string(&image.cmdline)
            .with_context(|| format!("cannot read {}", image.cmdline))?;
        let apps = image.apps.iter().enumerate();
        let apps = apps.map(|(n, (path, elf))| Ok((path.clone(), link(elf, &format!("app-{n}"))?)));
        Ok(Self {
            arch,
            qemu: config.qemu.clone(),
            loader_elf: image.loader_elf.clone(),
            loader_img: image.loader_img.clone(),
            image: link(&image.loader_img, "loader.img")?,
            kernel: link(&image.loader_elf, "loader.elf")?,
            apps: apps.collect::<anyhow::Result<_>>()?,
            cmdline,
            _links: links,
        })
    }

    /// Makes the run folder and QEMU's command line.
    ///
    /// # Errors
    /// A [`Refusal`] when the machine cannot hold the image or the command line is wrong;
    /// other errors when an artifact cannot be read.
    pub fn prepare(&self, cx: &Context, options: &Options<'_>) -> anyhow::Result<Prepared> {
        let built = &self.image;
        let bytes = fs::read(built).with_context(|| format!("cannot read {built}"))?;
        let bad = || format!("{built} is not a bootable image for {}", self.arch);
        let end = image::physical_end(self.arch, &bytes).with_context(bad)?;
        let end = end.saturating_add(options.load_offset);
        memory::check_fits(self.arch, options.memory, end)?;
        let words = channel_words(self.arch);
        let cmdline = cmdline::compose(&words, &self.cmdline, options.cmdline)?;

        let parent = cx.layout.run();
        let dir = RunDir::new(&parent).with_context(|| format!("cannot make {parent}"))?;
        let kernel = if options.load_offset == 0 {
            built.clone()
        } else {
            let moved =
                image::load_elsewhere(self.arch, &bytes, options.load_offset).with_context(bad)?;
            let path = dir.path().join("loader.img");
            fs::write(&path, moved).with_context(|| format!("cannot write {path}"))?;
            path
        };
        let (end_file, qmp) = (dir.path().join("end"), dir.socket("qmp"));
        let qmp = options.qmp.then_some(qmp);
        let ram_file = options.ram_file.then(|| dir.path().join("ram"));
        let disks = options.disks.iter().map(|disk| {
            let path = dir.path().join(format!("disk-{}", disk.name));
            disk::create(&path, disk)?;
            Ok(DiskFile { serial: disk.name.to_string(), path })
        });
        let disks: Vec<DiskFile> = disks.collect::<anyhow::Result<_>>()?;
        let (guest, peer) = (dir.socket("card"), dir.socket("peer"));
        let wire = options.peer.then(|| Wire::new(&peer, &guest)).transpose()?;
        let to_peer = Net::Socket { guest, peer };
        let args = arguments(&VmSpec {
            arch: self.arch,
            machine_type: &options.machine.machine_type,
            cpu: &options.machine.cpu,
            memory: options.memory,
            ram_file: ram_file.as_deref(),
            cpus: options.cpus,
            devices: &options.machine.devices,
            accel: options.accel,
            kernel: &kernel,
            cmdline: &cmdline,
            end_file: &end_file,
            qmp: qmp.as_deref(),
            disks: &disks,
            net: if options.peer { &to_peer } else { options.net },
            gdb: options.gdb,
            reboots: options.reboots,
            extra: options.extra,
        })?;
        Ok(Prepared { program: self.qemu.clone(), args, end_file, qmp, ram_file, disks, wire, dir })
    }

    /// QEMU's command line for a person to copy: it names the artifacts themselves instead
    /// of links that go with this process, shows the end record on stderr, and keeps the RAM in
    /// a file of the current folder.
    #[must_use]
    pub fn for_copying(&self, prepared: &Prepared) -> Vec<String> {
        let copy = |arg: &String| {
            let arg = arg
                .replace(prepared.end_file.as_str(), "/dev/stderr")
                .replace(self.image.as_str(), self.loader_img.as_str());
            match &prepared.ram_file {
                Some(ram) => arg.replace(ram.as_str(), "guest-ram"),
                None => arg,
            }
        };
        prepared.args.iter().map(copy).collect()
    }

    /// An annotator for its console: addresses of its kernel and of its apps.
    #[must_use]
    pub fn annotator(&self) -> Annotator {
        let kernel = self.kernel.clone();
        let apps = self.apps.clone();
        let source: Source = Box::new(move |of| match of {
            None => fs::read(&kernel).ok(),
            Some(path) => {
                let (_, file) = apps.iter().find(|(in_image, _)| in_image == path)?;
                fs::read(file).ok()
            }
        });
        Annotator::new(source)
    }
}

/// Refuses a machine of another arch.
///
/// # Errors
/// A [`Refusal`] that names both.
pub fn check_machine(machine: &Machine, arch: Arch) -> Result<(), Refusal> {
    if machine.vmm != "qemu" {
        return Err(Refusal::new(format!(
            "machine `{}` is for {}, not for QEMU",
            machine.name, machine.vmm
        )));
    }
    if machine.arch != arch {
        return Err(Refusal::new(format!(
            "machine `{}` is an {} machine; the kernel is built for {arch}",
            machine.name, machine.arch
        ))
        .help(format!("add --arch {}, or choose another --machine", machine.arch)));
    }
    Ok(())
}

/// The accelerator that `--accel` asks for, and why when `auto` did not choose KVM.
///
/// # Errors
/// A [`Refusal`] for a word that is none, or for KVM where there is none.
pub fn accelerator(
    asked: &str,
    arch: Arch,
    qemu: &str,
    cx: &Context,
) -> Result<(Accel, Option<String>), Refusal> {
    match asked {
        "tcg" => Ok((Accel::Tcg, None)),
        "kvm" if Arch::host() != Some(arch) => Err(Refusal::new(format!(
            "--accel kvm runs guests of the host's arch only, and this one is {arch}"
        ))
        .help("leave --accel out: xtask takes KVM where it works and TCG elsewhere")),
        "kvm" if !Utf8Path::new("/dev/kvm").exists() => {
            Err(Refusal::new("--accel kvm needs /dev/kvm, which is not here")
                .help("leave --accel out, or say --accel tcg"))
        }
        "kvm" => Ok((Accel::Kvm, None)),
        "auto" => {
            let choice = kvm::choose(arch, qemu, cx);
            Ok((choice.accel, choice.why))
        }
        other => Err(Refusal::new(format!("unknown accelerator `{other}`"))
            .help("the accelerators are auto, kvm and tcg")),
    }
}
