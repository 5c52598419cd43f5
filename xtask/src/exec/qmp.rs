//! QEMU's monitor protocol: JSON, one object a line, over a Unix socket (QEMU, "QMP
//! protocol specification"). One command at a time, each answer awaited until a deadline, which is
//! the whole run's: how long QEMU takes depends on what else the host does.

use camino::Utf8Path;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A connection to one QEMU.
pub struct Qmp {
    stream: BufReader<UnixStream>,
    /// Until when answers are awaited.
    deadline: Instant,
    /// Part of a line that a time limit cut.
    partial: Vec<u8>,
    /// Events that came while an answer was awaited.
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects, and leaves the negotiation phase. `gone` says whether QEMU has ended: then
    /// nobody will open the socket any more.
    ///
    /// # Errors
    /// When QEMU does not answer as it should by `deadline`.
    pub fn connect(
        socket: &Utf8Path,
        deadline: Instant,
        mut gone: impl FnMut() -> bool,
    ) -> io::Result<Self> {
        let stream = loop {
            // Asked first: one that opened it and then ended is connected to, and refuses.
            let last = gone() || Instant::now() >= deadline;
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(e) if last => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let stream = BufReader::new(stream);
        let mut qmp = Self { stream, deadline, partial: Vec::new(), events: VecDeque::new() };
        let greeting = qmp.object()?;
        if greeting.get("QMP").is_none() {
            return Err(io::Error::other(format!("not a QMP greeting: {greeting}")));
        }
        qmp.command(&json!({"execute": "qmp_capabilities"}))?;
        Ok(qmp)
    }

    /// Sends a command and returns what it returned.
    ///
    /// # Errors
    /// When QEMU reports an error, or nothing in time.
    pub fn command(&mut self, command: &Value) -> io::Result<Value> {
        writeln!(self.stream.get_mut(), "{command}")?;
        loop {
            let object = self.object()?;
            if let Some(returned) = object.get("return") {
                return Ok(returned.clone());
            }
            if let Some(error) = object.get("error") {
                return Err(io::Error::other(format!("{command} failed: {error}")));
            }
            self.events.push_back(object);
        }
    }

    /// Waits until the guest has reset itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn guest_reset(&mut self) -> io::Result<()> {
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => self.object()?,
            };
            let by_guest = event.pointer("/data/guest").and_then(Value::as_bool);
            if event.get("event").and_then(Value::as_str) == Some("RESET") && by_guest == Some(true)
            {
                return Ok(());
            }
        }
    }

    fn object(&mut self) -> io::Result<Value> {
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, "QEMU's monitor said nothing in time");
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            match self.stream.read_until(b'\n', &mut self.partial) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.partial);
                    return serde_json::from_slice(&line).map_err(io::Error::other);
                }
                Ok(_) => {}
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const HOUR: Duration = Duration::from_secs(3600);

    fn connect(path: &Utf8Path) -> Qmp {
        Qmp::connect(path, Instant::now() + HOUR, || false).unwrap()
    }

    /// A QEMU that answers with `answers`, one for each line that it gets.
    fn qemu(answers: &'static [&'static str]) -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("qmp")).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, r#"{{"QMP": {{"version": {{}}}}}}"#).unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap());
            for (_, answer) in lines.lines().zip(answers) {
                writeln!(stream, "{answer}").unwrap();
            }
        });
        (dir, path)
    }

    #[test]
    fn answers_and_events_are_told_apart() {
        let (_dir, path) = qemu(&[
            r#"{"return": {}}"#,
            "{\"event\": \"RESET\", \"data\": {\"guest\": true}}\n{\"return\": {\"running\": true}}",
            r#"{"error": {"class": "CommandNotFound", "desc": "no"}}"#,
        ]);
        let mut qmp = connect(&path);
        let status = qmp.command(&json!({"execute": "query-status"})).unwrap();
        assert_eq!(status["running"], true);
        let e = qmp.command(&json!({"execute": "x"})).unwrap_err();
        assert!(e.to_string().contains("CommandNotFound"), "{e}");
        qmp.guest_reset().unwrap();
        qmp.deadline = Instant::now();
        let e = qmp.guest_reset().unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn nobody_waits_for_a_qemu_that_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("qmp")).unwrap();
        let mut asked = 0;
        let gone = || {
            asked += 1;
            asked == 3
        };
        let refused = Qmp::connect(&path, Instant::now() + HOUR, gone).err().unwrap();
        assert_eq!((refused.kind(), asked), (io::ErrorKind::NotFound, 3));
    }
}
