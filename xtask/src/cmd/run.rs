//! `cargo xtask run-qemu`: builds an image and runs it; the exit status is the app's.

use super::build;
use crate::cli::{BuildFlags, Selectors};
use crate::config::resolved::{Machine, Workspace};
use crate::config::suggest;
use crate::context::Context;
use crate::core_dump::Core;
use crate::error::{Refusal, Status};
use crate::exec::boot::{Bootable, Options, Prepared, accelerator, check_machine};
use crate::exec::console::{Console, Ends};
use crate::exec::debug_port::DebugPort;
use crate::exec::{core_dump, setup};
use crate::model::{Arch, Name};
use crate::plan::{self, Selection};
use crate::run::args::{Net, shell_line};
use crate::run::{cmdline, memory};
use crate::setup::{Host, Need, find_program};
use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Builds an image and runs it in QEMU; the exit status is the app's
///
/// When it was not the app that ended the VM, the last line says who and why, and the status
/// is 128 + N for a signal N to the app (or to xtask: Ctrl-C is 130), 250 for a kernel panic,
/// 251 when memory ran out, 252 when the kernel halted, 253 for the time limit, 254 when QEMU
/// failed or the machine reset. 1 is a failed build, 2 a wrong request.
#[derive(clap::Args, Debug)]
pub struct RunQemu {
    #[command(flatten)]
    pub selectors: Selectors,
    #[command(flatten)]
    pub build: BuildFlags,
    /// How the VM is started (default: the profile's machine)
    #[arg(long, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// auto: KVM where a test guest proves that it works, else TCG
    #[arg(long, value_name = "auto|kvm|tcg", default_value = "auto")]
    pub accel: String,
    /// Memory of the VM: 6M, 512K, 1G (default: the machine's)
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// CPUs of the VM (default: the machine's)
    #[arg(long, value_name = "N")]
    pub cpus: Option<std::num::NonZeroU32>,
    /// Replaces the program and its arguments; after a `+`, adds words
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub cmdline: Option<String>,
    /// The VM's network; with socket, one frame a datagram from and to Unix sockets
    #[arg(long, value_name = "user|socket:CARD,PEER|none", default_value = "none")]
    pub net: String,
    /// Forwards a TCP port of this machine to one of the guest (several with commas)
    #[arg(long, value_name = "HOST:GUEST", value_delimiter = ',')]
    pub forward: Vec<String>,
    /// Waits for a debugger, on port 1234 or the given one; 0 is any that is free
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "1234")]
    pub gdb: Option<u16>,
    /// When the app crashes, writes an ELF core of it for gdb
    #[arg(long, value_name = "FILE")]
    pub dump: Option<Utf8PathBuf>,
    /// Ends the VM after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
    /// Builds, then prints QEMU's command line instead of starting it
    #[arg(long)]
    pub dry_run: bool,
    /// Further arguments for QEMU
    #[arg(last = true, value_name = "QEMU-ARGS")]
    pub qemu_args: Vec<String>,
}

impl RunQemu {
    /// Runs the command.
    ///
    /// # Errors
    /// A `Refusal` for a wrong request, others for a failed build.
    pub fn run(mut self, cx: &Context) -> anyhow::Result<Status> {
        // Whatever can be refused is refused before anything is built.
        let memory = self.memory.as_deref().map(memory::parse).transpose()?;
        let net = network(&self.net, &self.forward)?;
        self.cmdline.as_deref().map(cmdline::check).transpose()?;
        // A port that somebody else listens on is refused now, not by QEMU after the build.
        let port = self.gdb.map(DebugPort::listen).transpose()?;
        let dump = self.dump.as_ref().map(|file| core_dump::place(&cx.cwd, file)).transpose()?;
        self.selectors.crash_dump = dump.is_some();
        let workspace = build::workspace(cx)?;
        let selection = one(plan::selections(&self.selectors, &cx.env, &workspace)?)?;
        let arch = selection.arch.value;
        let machine = self.chosen_machine(&workspace, &selection)?;
        check_machine(machine, arch)?;
        if let Some(memory) = memory {
            // The image's size is known only after the build; where it begins is known now.
            memory::check_fits(arch, memory, selection.kernel_base.value)?;
        }
        setup::ensure(cx, &[Need::Qemu(arch)])?;
        if self.accel != "auto" {
            accelerator(&self.accel, arch, "", cx)?;
        }
        let built = build::build(cx, &self.selectors, &self.build)?;
        let made = built.images.first().context("the build made no image")?;
        let image = Bootable::new(cx, made, &built.workspace)?;
        let (accel, why) = accelerator(&self.accel, arch, &image.qemu, cx)?;
        if let Some(why) = why {
            eprintln!("using TCG: {why}");
        }
        let mut prepared = image.prepare(
            cx,
            &Options {
                machine,
                memory: memory.unwrap_or(machine.memory),
                cpus: self.cpus.map_or(machine.cpus, std::num::NonZeroU32::get),
                accel,
                cmdline: self.cmdline.as_deref(),
                net: &net,
                disks: &[],
                peer: false,
                gdb: port.as_ref().map(|port| port.number),
                load_offset: 0,
                qmp: false,
                reboots: false,
                ram_file: dump.is_some(),
                extra: &self.qemu_args,
            },
        )?;
        let args = image.for_copying(&prepared);
        let line = shell_line(&prepared.program, &args);
        if self.dry_run {
            if cx.json {
                println!("{}", json!({"format": 1, "program": prepared.program, "args": args}));
            } else {
                println!("{line}");
            }
            return Ok(Status::OK);
        }
        if cx.verbose > 0 {
            eprintln!("{line}");
        }
        if let Some(port) = &port {
            port.hand_to(&mut prepared)?;
            let remote = format!("target remote 127.0.0.1:{}", port.number);
            let args = [image.loader_elf.to_string(), "-ex".into(), remote];
            eprintln!("waiting for a debugger: {}", gdb_line(cx, arch, &args));
        }
        let status = self.attend(cx, &image, &prepared)?;
        if let (Some(to), Some(ram)) = (dump, &prepared.ram_file) {
            let core = core_dump::write(arch, &prepared.end_file, ram, &to)?;
            tell_core(cx, arch, core.as_ref(), &to, &made.apps);
        }
        Ok(status)
    }

    /// Runs the machine with the user at its console.
    fn attend(
        &self,
        cx: &Context,
        image: &Bootable,
        prepared: &Prepared,
    ) -> anyhow::Result<Status> {
        let ends =
            Ends { limit: self.timeout.map(|s| Duration::from_secs(u64::from(s))), signals: true };
        let mut console = Console::new(image.annotator(), cx.json);
        let outcome = console.attend(prepared.start()?, &ends)?;
        if cx.json {
            println!("{}", outcome.to_json());
        } else if !outcome.is_plain_exit() {
            eprintln!("{}", outcome.sentence());
        }
        Ok(outcome.status())
    }

    fn chosen_machine<'a>(
        &self,
        w: &'a Workspace,
        selection: &Selection,
    ) -> Result<&'a Machine, Refusal> {
        let arch = selection.arch.value;
        let name = match (&self.machine, &w.settings.machine) {
            (Some(typed), _) => Name::new(typed).map_err(|e| Refusal::new(e.to_string()))?,
            (None, Some(set)) => set.value.clone(),
            (None, None) => {
                let key = (arch, selection.profile.value.profile.clone());
                let profile = w.profiles.get(&key).ok_or_else(|| {
                    Refusal::new(format!("unknown profile `{}` for {arch}", key.1))
                })?;
                profile.machine.clone()
            }
        };
        w.machines.get(&name).ok_or_else(|| {
            let known: Vec<&str> =
                w.machines.values().filter(|m| m.arch == arch).map(|m| m.name.as_str()).collect();
            let refusal = Refusal::new(format!("unknown machine `{name}`"));
            let refusal = match suggest::nearest(name.as_str(), known.iter().copied()) {
                Some(near) => refusal.help(format!("did you mean `{near}`?")),
                None => refusal,
            };
            refusal.help(format!("the machines for {arch} are: {}", known.join(", ")))
        })
    }
}

/// One VM runs one image.
fn one(selections: Vec<Selection>) -> Result<Selection, Refusal> {
    let n = selections.len();
    let mut selections = selections.into_iter();
    match (selections.next(), n) {
        (Some(selection), 1) => Ok(selection),
        _ => Err(Refusal::new(format!("run-qemu runs one image, and {n} are selected"))
            .help("name one --arch, --mode, --profile and --image")),
    }
}

fn network(net: &str, forward: &[String]) -> Result<Net, Refusal> {
    match net {
        net if !forward.is_empty() && (net == "none" || net.starts_with("socket")) => {
            Err(Refusal::new("--forward needs QEMU's own network").help("add --net user"))
        }
        "none" => Ok(Net::None),
        net if net == "socket" || net.starts_with("socket:") => {
            let paths = net.strip_prefix("socket:").and_then(|p| p.split_once(','));
            let paths = paths.filter(|(guest, peer)| !guest.is_empty() && !peer.is_empty());
            let (guest, peer) = paths.ok_or_else(|| {
                Refusal::new("--net socket lacks the paths of its two sockets").help(
                    "for example --net socket:/tmp/card,/tmp/peer: the card receives at the first \
                     and sends to the second; a second VM has them the other way round",
                )
            })?;
            Ok(Net::Socket { guest: guest.into(), peer: peer.into() })
        }
        "user" => {
            let pair = |text: &String| {
                let (host, guest) = text.split_once(':')?;
                Some((host.parse().ok()?, guest.parse().ok()?))
            };
            let forward = forward
                .iter()
                .map(|f| {
                    pair(f).ok_or_else(|| {
                        Refusal::new(format!("--forward {f} is not HOST-PORT:GUEST-PORT"))
                            .help("for example --forward 8080:80")
                    })
                })
                .collect::<Result<_, _>>()?;
            Ok(Net::User { forward })
        }
        other => Err(Refusal::new(format!("unknown network `{other}`"))
            .help("the networks are user, socket and none")),
    }
}

/// The command that starts a debugger which knows `arch`.
fn gdb_line(cx: &Context, arch: Arch, args: &[String]) -> String {
    let host = Host { env: &cx.env, exists: &|p: &Utf8Path| p.exists() };
    // Where the system's gdb knows one arch only, another package has one that knows all.
    let mut names = ["gdb", "gdb-multiarch"];
    if Arch::host() != Some(arch) {
        names.reverse();
    }
    let there = names.into_iter().find(|name| find_program(&host, name).is_some());
    shell_line(there.unwrap_or(names[0]), args)
}

/// Says what became of the core file, and how it is opened. `apps`: path in the image → file
/// with symbols.
fn tell_core(
    cx: &Context,
    arch: Arch,
    core: Option<&Core>,
    file: &Utf8Path,
    apps: &BTreeMap<String, Utf8PathBuf>,
) {
    let near = |path: &Utf8Path| path.strip_prefix(&cx.cwd).unwrap_or(path).to_string();
    let Some(core) = core else {
        if !cx.json {
            eprintln!("no core file: the app has not crashed");
        }
        return;
    };
    let app = apps.get(&core.program).map(|elf| near(elf));
    let args: Vec<String> = match app {
        Some(app) => vec![app, near(file)],
        None => vec!["-c".to_owned(), near(file)],
    };
    let line = gdb_line(cx, arch, &args);
    let (threads, missing) = (core.threads, core.missing);
    if cx.json {
        println!(
            "{}",
            json!({"format": 1, "event": "core", "file": file, "threads": threads,
                "missing": missing, "gdb": line})
        );
        return;
    }
    if missing > 0 {
        eprintln!("{missing} threads did not come to rest in time and are not in the core file");
    }
    eprintln!("core file of {threads} threads: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(network("none", &[]), Ok(Net::None));
        let forward = ["8080:80".to_owned(), "2222:22".to_owned()];
        assert_eq!(
            network("user", &forward),
            Ok(Net::User { forward: vec![(8080, 80), (2222, 22)] })
        );
        let socket = Net::Socket { guest: "/a".into(), peer: "b/c".into() };
        assert_eq!(network("socket:/a,b/c", &[]), Ok(socket));
        for bad in ["socket", "socket:", "socket:/a", "socket:,b"] {
            let e = network(bad, &[]).unwrap_err();
            assert!(e.message.contains("lacks the paths") && !e.help.is_empty(), "{bad}: {e}");
        }
        for (net, forward, says) in [
            ("none", "1:2", "--forward needs QEMU's own network"),
            ("socket:a,b", "1:2", "--forward needs QEMU's own network"),
            ("user", "80", "--forward 80 is not"),
            ("user", "1:99999", "--forward 1:99999 is not"),
            ("bridge", "1:2", "unknown network `bridge`"),
        ] {
            let e = network(net, &[forward.to_owned()]).unwrap_err();
            assert!(e.message.contains(says) && !e.help.is_empty(), "{e}");
        }
    }
}
