//! QEMU's argument list, from a resolved machine and what the user overrode.

use crate::config::resolved::MemorySize;
use crate::error::Refusal;
use crate::model::Arch;
use camino::Utf8Path;
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
    pub cpus: u32,
    /// Abstract devices, `kind:model`.
    pub devices: &'a [String],
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
    args.opt("-machine", spec.machine_type).opt("-cpu", spec.cpu);
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
    for device in spec.devices {
        args.opt("-device", device_model(spec.machine_type, device)?);
    }
    if let Net::User { forward } = spec.net {
        let mut net = "user,id=net0".to_owned();
        for (host, guest) in forward {
            net.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
        }
        let card = device_model(spec.machine_type, "net:virtio-net")?;
        args.opt("-netdev", net).opt("-device", format!("{card},netdev=net0"));
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

/// The abstract devices and the names of QEMU's, without the transport's suffix.
const DEVICES: [(&str, &str); 2] =
    [("rng:virtio-rng", "virtio-rng"), ("net:virtio-net", "virtio-net")];

/// QEMU's name of an abstract device on a machine: virtio sits on MMIO where there is no
/// PCI, which among QEMU's machines is `microvm`.
fn device_model(machine_type: &str, device: &str) -> Result<String, Refusal> {
    let (_, model) = DEVICES.iter().find(|(name, _)| *name == device).ok_or_else(|| {
        let known: Vec<&str> = DEVICES.iter().map(|(name, _)| *name).collect();
        Refusal::new(format!("no QEMU device is known for `{device}`"))
            .help(format!("the devices are: {}", known.join(", ")))
    })?;
    let mmio = machine_type.split(',').next() == Some("microvm");
    Ok(format!("{model}-{}", if mmio { "device" } else { "pci" }))
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
            cpus: 1,
            devices: &[],
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
            "-device virtio-rng-pci",
            "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80 -device virtio-net-pci,netdev=net0",
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
        let refused = device_model("q35", "disk:floppy").unwrap_err();
        assert!(refused.message.contains("`disk:floppy`"), "{}", refused.message);
        assert!(refused.help[0].contains("rng:virtio-rng"), "{:?}", refused.help);
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
