//! One case of a scenario: booted, talked to, ended, judged.

use super::boot::{Bootable, Options};
use super::disk;
use super::peer::{Peer, Wire};
use super::qemu::{Event, Vm};
use super::qmp::Qmp;
use crate::config::resolved::DiskCheck;
use crate::context::Context;
use crate::run::args::{Accel, DiskFile, Net};
use crate::run::outcome::Outcome;
use crate::scenario::{Action, Case, Script};
use crate::symbols::{Annotator, LineTail};
use anyhow::Context as _;
use camino::Utf8Path;
use std::time::{Duration, Instant};

/// How a case went.
#[derive(Debug)]
pub struct Verdict {
    /// Why it failed; `None` when it held.
    pub failure: Option<String>,
    /// From starting QEMU to the first byte on the console.
    pub boot: Option<Duration>,
    /// From starting QEMU to its end.
    pub took: Duration,
    /// The console, with addresses symbolised.
    pub log: String,
}

/// Boots `case` from `image` and carries out its steps. The calling thread must stay until
/// this returns.
///
/// # Errors
/// When it cannot be started at all; what goes wrong later is a failed [`Verdict`].
pub fn run(cx: &Context, case: &Case, image: &Bootable) -> anyhow::Result<Verdict> {
    let script = Script::new(&case.scenario.steps)?;
    let mut prepared = image.prepare(
        cx,
        &Options {
            machine: case.machine,
            memory: case.memory(),
            cpus: case.cpus(),
            // The same instructions on every machine: what is proved is the guest.
            accel: Accel::Tcg,
            cmdline: case.scenario.cmdline.as_deref(),
            net: &Net::None,
            disks: &case.scenario.disks,
            peer: script.has_peers(),
            gdb: None,
            load_offset: case.scenario.load_offset.unwrap_or(0),
            qmp: script.needs_qmp(),
            reboots: script.reboots(),
            ram_file: false,
            extra: &[],
        },
    )?;
    let limit = Duration::from_secs(u64::from(case.scenario.timeout_s));
    let vm = prepared.start()?;
    let started = vm.started;
    let mut run = Run {
        deadline: started + limit,
        limit,
        script,
        qmp: None,
        wire: prepared.wire.take(),
        peer: None,
        annotator: image.annotator(),
        tail: LineTail::default(),
        console: Vec::new(),
        first: None,
        vm,
    };
    let stopped = run.until_it_ends(prepared.qmp.as_deref());
    let Run { vm, console, first, script, peer, .. } = run;
    let (why, broken) = match stopped {
        Ok(why) => (why, None),
        Err(broken) => (Some(Outcome::Timeout(limit)), Some(broken)),
    };
    let outcome = vm.finish(why)?;
    let took = started.elapsed();
    let log = String::from_utf8_lossy(&console).replace("\r\n", "\n");
    let failure = broken.or_else(|| judge(&outcome, &case.scenario.exit, &script));
    // A peer is ended in any case.
    let peer = peer.and_then(Peer::finish);
    let failure = match failure.or(peer) {
        None => after(&case.scenario.after, &prepared.disks)?,
        failure => failure,
    };
    let boot = first.map(|f| f.saturating_duration_since(started));
    Ok(Verdict { failure, boot, took, log })
}

/// Why a machine that ended so did not do what its scenario says.
fn judge(outcome: &Outcome, wanted: &str, script: &Script) -> Option<String> {
    let unmet = script.unmet();
    let unmet = unmet.map(|(n, pattern)| format!("step {n}, expect {pattern:?}, was not met"));
    let ended = (outcome.words() != wanted)
        .then(|| format!("wanted the end `{wanted}`; {}", outcome.sentence()));
    match (unmet, ended) {
        (Some(unmet), Some(ended)) => Some(format!("{unmet}; {ended}")),
        (unmet, ended) => unmet.or(ended),
    }
}

/// What is on a disk and should not be.
///
/// # Errors
/// When a disk cannot be read.
fn after(checks: &[DiskCheck], disks: &[DiskFile]) -> anyhow::Result<Option<String>> {
    for check in checks {
        let file = disks.iter().find(|d| d.serial == check.disk.as_str());
        let file = file.with_context(|| format!("there is no disk {}", check.disk))?;
        if let Some(failure) = disk::check(&file.path, check)? {
            return Ok(Some(failure));
        }
    }
    Ok(None)
}

struct Run {
    vm: Vm,
    script: Script,
    qmp: Option<Qmp>,
    wire: Option<Wire>,
    peer: Option<Peer>,
    annotator: Annotator,
    tail: LineTail,
    /// What the guest printed, addresses symbolised: what the steps see.
    console: Vec<u8>,
    first: Option<Instant>,
    deadline: Instant,
    limit: Duration,
}

impl Run {
    /// Runs until the machine has ended (`None`) or the time is up.
    ///
    /// # Errors
    /// A step that failed, in words.
    fn until_it_ends(&mut self, qmp: Option<&Utf8Path>) -> Result<Option<Outcome>, String> {
        if let Some(socket) = qmp {
            let vm = &mut self.vm;
            let qmp = Qmp::connect(socket, self.deadline, || vm.is_gone());
            self.qmp = Some(qmp.map_err(|e| format!("no QMP connection: {e}"))?);
        }
        loop {
            self.act()?;
            match self.vm.next(self.deadline) {
                Event::Console(bytes, at) => {
                    self.first.get_or_insert(at);
                    let before = self.console.len();
                    self.tail.feed(&bytes, &mut self.annotator, &mut self.console);
                    self.script.feed(self.console.get(before..).unwrap_or_default());
                    // One that never stops printing is never quiet. What was read in time counts
                    // even if it is looked at late.
                    if at > self.deadline {
                        return Ok(Some(Outcome::Timeout(self.limit)));
                    }
                }
                Event::Closed => {
                    // The last output may have satisfied a step that only waited for it, or for
                    // its line to end.
                    self.script.close();
                    self.act()?;
                    return Ok(None);
                }
                Event::Quiet => return Ok(Some(Outcome::Timeout(self.limit))),
            }
        }
    }

    /// Carries out what can be done now.
    fn act(&mut self) -> Result<(), String> {
        loop {
            match self.script.next() {
                Action::Wait | Action::Done => return Ok(()),
                // A guest that is gone takes nothing; its end is seen by the caller.
                Action::Send(bytes) => drop(self.vm.keyboard().send(bytes)),
                Action::Qmp(text) => {
                    let command = serde_json::from_str(&text)
                        .map_err(|e| format!("the QMP command {text} is not JSON: {e}"))?;
                    self.qmp()?.command(&command).map_err(|e| e.to_string())?;
                }
                Action::Reboot => {
                    let reset = self.qmp()?.guest_reset();
                    reset.map_err(|e| format!("the guest did not reset: {e}"))?;
                }
                Action::Peer(name) => match (name.as_str(), self.wire.take()) {
                    ("frames", Some(wire)) => self.peer = Some(wire.frames()),
                    ("frames", None) => {
                        return Err("the card's other end is taken: one peer a scenario".to_owned());
                    }
                    (name, _) => return Err(format!("there is no peer named `{name}`")),
                },
            }
        }
    }

    fn qmp(&mut self) -> Result<&mut Qmp, String> {
        self.qmp.as_mut().ok_or_else(|| "there is no QMP connection".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolved::ScenarioStep;
    use end_record::End;

    #[test]
    fn a_case_holds_when_its_end_and_its_steps_do() {
        let mut script = Script::new(&[ScenarioStep::Expect("hi".into())]).unwrap();
        let panic = Outcome::Guest(End::Panic);
        let both = judge(&panic, "exit 0", &script).unwrap();
        assert!(
            both.contains("\"hi\"") && both.contains("`exit 0`; the kernel panicked"),
            "{both}"
        );
        let steps = judge(&panic, "panic", &script).unwrap();
        assert_eq!(steps, "step 1, expect \"hi\", was not met");
        script.feed(b"hi");
        assert_eq!(script.next(), Action::Done);
        assert_eq!(judge(&panic, "panic", &script), None);
        let timeout = Outcome::Timeout(Duration::from_secs(1));
        assert!(judge(&timeout, "exit 0", &script).is_some());
    }
}
