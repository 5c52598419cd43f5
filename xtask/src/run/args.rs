//! QEMU's argument list, from a resolved machine and what the user overrode.

use crate::config::resolved::MemorySize;
use crate::error::Refusal;
use crate::model::Arch;
use camino::{Utf8Path, Utf8PathBuf};
use end_record::{
    CHANNEL_DEBUGCON, CHANNEL_KEY, CHANNEL_SEMIHOSTING, DEBUG_EXIT_PORT, DEBUGCON_PORT,
    POWEROFF_DEBUG_EXIT, POWEROFF_KEY,
};

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The host's virtualisation, through `/dev/kvm`.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

impl Accel {
    /// QEMU's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }
}

/// The guest's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Net {
    /// No network card.
    #[default]
    None,
    /// QEMU's user-mode network; `(host port, guest port)` are forwarded over TCP.
    User { forward: Vec<(u16, u16)> },
    /// A Unix datagram socket on each side, one Ethernet frame a datagram: QEMU receives on
    /// the first path and sends to the second.
    Socket { guest: Utf8PathBuf, peer: Utf8PathBuf },
}

/// A disk: a raw file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFile {
    /// The guest sees it as the disk's serial number.
    pub serial: String,
    pub path: Utf8PathBuf,
}

/// One virtual machine, every option decided.
#[derive(Clone, Debug)]
pub struct VmSpec<'a> {
    pub arch: Arch,
    /// The machine type with its options, as in `virt,gic-version=3`.
    pub machine_type: &'a str,
    /// The CPU model.
    pub cpu: &'a str,
    pub memory: MemorySize,
    /// A file that the RAM lies in, and stays in when the machine is gone.
    pub ram_file: Option<&'a Utf8Path>,
    pub cpus: u32,
    /// Abstract devices, `kind:model`. What disks and the network sit on is there only
    /// with them.
    pub devices: &'a [String],
    /// The nth sits on the nth `disk:` device; all further ones on the last.
    pub disks: &'a [DiskFile],
    pub accel: Accel,
    /// What `-kernel` loads.
    pub kernel: &'a Utf8Path,
    /// The whole kernel command line.
    pub cmdline: &'a str,
    /// The file that the end record is written to.
    pub end_file: &'a Utf8Path,
    /// A socket for QEMU's monitor protocol.
    pub qmp: Option<&'a Utf8Path>,
    pub net: &'a Net,
    /// Wait for a debugger at this TCP port of the loopback interface.
    pub gdb: Option<u16>,
    /// A reset boots again instead of ending the machine.
    pub reboots: bool,
    /// Added last, as given.
    pub extra: &'a [String],
}

/// The words of the kernel command line that name the end channel. They stand first, so
/// that a long command line cannot push them out.
#[must_use]
pub fn channel_words(arch: Arch) -> String {
    match arch {
        Arch::X64 => {
            format!("{CHANNEL_KEY}={CHANNEL_DEBUGCON} {POWEROFF_KEY}={POWEROFF_DEBUG_EXIT}")
        }
        Arch::Aarch64 => format!("{CHANNEL_KEY}={CHANNEL_SEMIHOSTING}"),
    }
}

/// The arguments of `spec`, without the program's name.
///
/// # Errors
/// A [`Refusal`] for a device that no QEMU device stands for.
pub fn arguments(spec: &VmSpec) -> Result<Vec<String>, Refusal> {
    let mut args = Args(Vec::with_capacity(48));
    // Nothing that the machine file does not list, and nothing from the user's own files.
    args.flag("-nodefaults").flag("-no-user-config").opt("-display", "none");
    if !spec.reboots {
        args.flag("-no-reboot");
    }
    match spec.ram_file {
        None => args.opt("-machine", spec.machine_type),
        Some(file) => {
            let (MemorySize(size), file) = (spec.memory, escaped(file.as_str()));
            args.opt(
                "-object",
                format!("memory-backend-file,id=ram,size={size},mem-path={file},share=on"),
            );
            args.opt("-machine", format!("{},memory-backend=ram", spec.machine_type))
        }
    };
    args.opt("-cpu", spec.cpu);
    args.opt("-accel", spec.accel.name());
    args.opt("-m", memory(spec.memory)).opt("-smp", spec.cpus.to_string());
    // `signal=off`: Ctrl-C is xtask's, never QEMU's.
    args.opt("-chardev", "stdio,id=console,signal=off").opt("-serial", "chardev:console");
    args.opt("-chardev", format!("file,id=end,path={}", escaped(spec.end_file.as_str())));
    match spec.arch {
        Arch::X64 => {
            args.opt("-device", format!("isa-debugcon,iobase={DEBUGCON_PORT:#x},chardev=end"));
            args.opt("-device", format!("isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=0x4"));
        }
        // `userspace` stays off: the app at EL0 must not reach the channel.
        Arch::Aarch64 => {
            args.opt("-semihosting-config", "enable=on,target=native,chardev=end");
        }
    }
    args.opt("-kernel", spec.kernel.as_str()).opt("-append", spec.cmdline);
    let mut devices = Vec::new();
    for device in spec.devices.iter().filter(|d| !d.starts_with("disk:") && !d.starts_with("net:"))
    {
        devices.push(device_model(spec.machine_type, device)?);
    }
    for (n, disk) in spec.disks.iter().enumerate() {
        let file = escaped(disk.path.as_str());
        // The file is this run's own, so nothing else holds it, and nobody reads it after a loss of
        // the host's power: a guest's flush need not wait for the host's disk, which may have a whole
        // build to write first.
        let options = format!("node-name=file{n},cache.no-flush=on,filename={file}");
        args.opt("-blockdev", format!("driver=file,{options}"));
        args.opt("-blockdev", format!("driver=raw,node-name=disk{n},file=file{n}"));
        let slots: Vec<&String> = spec.devices.iter().filter(|d| d.starts_with("disk:")).collect();
        let slot = slots.get(n).or(slots.last()).ok_or_else(|| {
            Refusal::new("the machine has no device for disks")
                .help("add \"disk:virtio-blk\" to its `devices`, or choose another machine")
        })?;
        let model = device_model(spec.machine_type, slot)?;
        devices.push(format!("{model},drive=disk{n},serial={}", escaped(&disk.serial)));
    }
    if let Some(netdev) = netdev(spec.net) {
        args.opt("-netdev", netdev);
        let card = spec.devices.iter().find(|d| d.starts_with("net:"));
        let card = card.map_or("net:virtio-net", String::as_str);
        devices.push(format!("{},netdev=net0", device_model(spec.machine_type, card)?));
    }
    if devices.iter().any(|d| is_mmio(d)) {
        // QEMU's default is the interface from before virtio 1.0, which drivers need not know.
        args.opt("-global", "virtio-mmio.force-legacy=false");
    }
    for device in devices {
        args.opt("-device", device);
    }
    if let Some(socket) = spec.qmp {
        let socket = escaped(socket.as_str());
        args.opt("-chardev", format!("socket,id=qmp,path={socket},server=on,wait=off"));
        args.opt("-mon", "chardev=qmp,mode=control");
    }
    if let Some(port) = spec.gdb {
        args.opt("-gdb", format!("tcp:127.0.0.1:{port}")).flag("-S");
    }
    args.0.extend(spec.extra.iter().cloned());
    Ok(args.0)
}

/// `program` and `args` as one line for a POSIX shell.
#[must_use]
pub fn shell_line(program: &str, args: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    let mut line = program.to_owned();
    for arg in args {
        line.push(' ');
        if !arg.is_empty() && arg.chars().all(plain) {
            line.push_str(arg);
        } else {
            line.push_str(&format!("'{}'", arg.replace('\'', r"'\''")));
        }
    }
    line
}

struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.to_owned());
        self
    }

    fn opt(&mut self, flag: &str, value: impl Into<String>) -> &mut Self {
        self.0.push(flag.to_owned());
        self.0.push(value.into());
        self
    }
}

/// A comma ends a value in QEMU's `key=value` lists; doubled it stands for itself.
fn escaped(path: &str) -> String {
    path.replace(',', ",,")
}

/// An amount in the largest of QEMU's units that holds it exactly.
fn memory(MemorySize(bytes): MemorySize) -> String {
    match bytes {
        b if b % (1 << 20) == 0 => format!("{}M", b >> 20),
        b => format!("{}k", b >> 10),
    }
}

fn netdev(net: &Net) -> Option<String> {
    match net {
        Net::None => None,
        Net::User { forward } => {
            let mut net = "user,id=net0".to_owned();
            for (host, guest) in forward {
                net.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
            }
            Some(net)
        }
        Net::Socket { guest, peer } => Some(format!(
            "dgram,id=net0,local.type=unix,local.path={},remote.type=unix,remote.path={}",
            escaped(guest.as_str()),
            escaped(peer.as_str())
        )),
    }
}

/// The abstract devices, `kind:model`, which QEMU knows by the model's name and a bus.
const DEVICES: [&str; 3] = ["disk:virtio-blk", "net:virtio-net", "rng:virtio-rng"];

/// QEMU's name of an abstract device on a machine: virtio sits on MMIO where there is no
/// PCI, which among QEMU's machines is `microvm`. A model that ends in `-pci` or `-mmio` sits
/// there on any machine.
fn device_model(machine_type: &str, device: &str) -> Result<String, Refusal> {
    let usual = if machine_type.split(',').next() == Some("microvm") { MMIO } else { "pci" };
    let on_mmio = device.strip_suffix("-mmio").map(|base| (base, MMIO));
    let on_pci = || device.strip_suffix("-pci").map(|base| (base, "pci"));
    let (base, bus) = on_mmio.or_else(on_pci).unwrap_or((device, usual));
    match base.split_once(':') {
        Some((_, model)) if DEVICES.contains(&base) => Ok(format!("{model}-{bus}")),
        _ => Err(Refusal::new(format!("no QEMU device is known for `{device}`"))
            .help(format!("the devices are {}; each also with -pci or -mmio", DEVICES.join(", ")))),
    }
}

/// QEMU's suffix of a virtio device on MMIO.
const MMIO: &str = "device";

fn is_mmio(device: &str) -> bool {
    device.split(',').next().is_some_and(|model| model.ends_with("-device"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec<'a>(arch: Arch, machine_type: &'a str) -> VmSpec<'a> {
        VmSpec {
            arch,
            machine_type,
            cpu: "max",
            memory: MemorySize(128 << 20),
            ram_file: None,
            cpus: 1,
            devices: &[],
            disks: &[],
            accel: Accel::Tcg,
            kernel: Utf8Path::new("/b/loader.img"),
            cmdline: "osier.exit=debugcon /bin/hello \"a b\"",
            end_file: Utf8Path::new("/b/run/1,2/end"),
            qmp: None,
            net: &Net::None,
            gdb: None,
            reboots: false,
            extra: &[],
        }
    }

    fn line(spec: &VmSpec) -> String {
        shell_line("qemu", &arguments(spec).unwrap())
    }

    #[test]
    fn the_plain_machines() {
        assert_eq!(
            line(&spec(Arch::X64, "microvm,rtc=off")),
            "qemu -nodefaults -no-user-config -display none -no-reboot -machine microvm,rtc=off \
             -cpu max -accel tcg -m 128M -smp 1 -chardev stdio,id=console,signal=off \
             -serial chardev:console -chardev file,id=end,path=/b/run/1,,2/end \
             -device isa-debugcon,iobase=0x500,chardev=end \
             -device isa-debug-exit,iobase=0x501,iosize=0x4 \
             -kernel /b/loader.img -append 'osier.exit=debugcon /bin/hello \"a b\"'"
        );
        let arm = line(&spec(Arch::Aarch64, "virt"));
        assert!(arm.contains(" -semihosting-config enable=on,target=native,chardev=end "), "{arm}");
        assert!(!arm.contains("userspace") && !arm.contains("isa-"), "{arm}");
    }

    #[test]
    fn what_is_overridden_shows() {
        let extra = ["-d".to_owned(), "int,cpu_reset".to_owned()];
        let net = Net::User { forward: vec![(8080, 80)] };
        let line = line(&VmSpec {
            memory: MemorySize((6 << 20) + 512),
            ram_file: Some(Utf8Path::new("/r/a,b/ram")),
            cpus: 3,
            accel: Accel::Kvm,
            devices: &["rng:virtio-rng".to_owned()],
            net: &net,
            gdb: Some(1234),
            qmp: Some(Utf8Path::new("/r/qmp")),
            reboots: true,
            extra: &extra,
            ..spec(Arch::X64, "q35")
        });
        for part in [
            "-accel kvm",
            "-m 6144k",
            "-smp 3",
            "-object memory-backend-file,id=ram,size=6291968,mem-path=/r/a,,b/ram,share=on \
             -machine q35,memory-backend=ram ",
            "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80 -device virtio-rng-pci \
             -device virtio-net-pci,netdev=net0",
            "-gdb tcp:127.0.0.1:1234 -S",
            "-chardev socket,id=qmp,path=/r/qmp,server=on,wait=off -mon chardev=qmp,mode=control",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(line.ends_with(" -d int,cpu_reset"), "{line}");
        assert!(!line.contains("-no-reboot"), "{line}");
    }

    #[test]
    fn virtio_sits_on_the_machines_bus() {
        assert_eq!(
            device_model("microvm,acpi=off", "rng:virtio-rng").unwrap(),
            "virtio-rng-device"
        );
        assert_eq!(device_model("virt", "rng:virtio-rng").unwrap(), "virtio-rng-pci");
        assert_eq!(device_model("virt", "net:virtio-net-mmio").unwrap(), "virtio-net-device");
        assert_eq!(
            device_model("microvm,pcie=on", "disk:virtio-blk-pci").unwrap(),
            "virtio-blk-pci"
        );
        let refused = device_model("q35", "disk:floppy").unwrap_err();
        assert!(refused.message.contains("`disk:floppy`"), "{}", refused.message);
        assert!(refused.help[0].contains("rng:virtio-rng"), "{:?}", refused.help);
    }

    #[test]
    fn disks_and_the_card_sit_on_the_machines_devices() {
        let devices =
            ["disk:virtio-blk", "net:virtio-net", "disk:virtio-blk-pci", "rng:virtio-rng"]
                .map(str::to_owned);
        let machine = VmSpec { devices: &devices, ..spec(Arch::X64, "microvm,pcie=on") };
        let bare = line(&machine);
        assert!(!bare.contains("-blk") && !bare.contains("-net"), "{bare}");
        let disk = |serial: &str| DiskFile {
            serial: serial.to_owned(),
            path: format!("/r/a,b/{serial}").into(),
        };
        let disks = ["a", "b", "c"].map(disk);
        let net = Net::Socket { guest: "/r/g".into(), peer: "/r/p".into() };
        let full = line(&VmSpec { disks: &disks, net: &net, ..machine });
        for part in [
            "-blockdev driver=file,node-name=file0,cache.no-flush=on,filename=/r/a,,b/a \
             -blockdev driver=raw,node-name=disk0,file=file0 ",
            "-netdev dgram,id=net0,local.type=unix,local.path=/r/g,remote.type=unix,remote.path=/r/p \
             -global virtio-mmio.force-legacy=false -device virtio-rng-device \
             -device virtio-blk-device,drive=disk0,serial=a \
             -device virtio-blk-pci,drive=disk1,serial=b \
             -device virtio-blk-pci,drive=disk2,serial=c \
             -device virtio-net-device,netdev=net0",
        ] {
            assert!(full.contains(part), "{part} in {full}");
        }
        let refused = arguments(&VmSpec { disks: &disks, ..spec(Arch::X64, "q35") }).unwrap_err();
        assert!(refused.message.contains("no device for disks"), "{}", refused.message);
    }

    #[test]
    fn the_channel_is_announced() {
        assert_eq!(channel_words(Arch::X64), "osier.exit=debugcon osier.poweroff=isa-debug-exit");
        assert_eq!(channel_words(Arch::Aarch64), "osier.exit=semihosting");
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let args = ["".to_owned(), "it's".to_owned(), "a$b".to_owned(), "plain-1".to_owned()];
        assert_eq!(shell_line("q", &args), r"q '' 'it'\''s' 'a$b' plain-1");
    }
}
