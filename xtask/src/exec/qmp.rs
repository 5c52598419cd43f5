//! QEMU's monitor protocol: JSON, one object a line, over a Unix socket (QEMU, "QMP
//! protocol specification"). One command at a time, each answer awaited with a time limit.

use camino::Utf8Path;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long QEMU may take to open the socket, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to one QEMU.
pub struct Qmp {
    stream: BufReader<UnixStream>,
    /// Part of a line that a time limit cut.
    partial: Vec<u8>,
    /// Events that came while an answer was awaited.
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects, and leaves the negotiation phase.
    ///
    /// # Errors
    /// When QEMU does not answer as it should.
    pub fn connect(socket: &Utf8Path) -> io::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(e) if Instant::now() >= deadline => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let stream = BufReader::new(stream);
        let mut qmp = Self { stream, partial: Vec::new(), events: VecDeque::new() };
        let greeting = qmp.object(deadline)?;
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
        let deadline = Instant::now() + PATIENCE;
        writeln!(self.stream.get_mut(), "{command}")?;
        loop {
            let object = self.object(deadline)?;
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
    /// When it does not by `deadline`.
    pub fn guest_reset(&mut self, deadline: Instant) -> io::Result<()> {
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => self.object(deadline)?,
            };
            let by_guest = event.pointer("/data/guest").and_then(Value::as_bool);
            if event.get("event").and_then(Value::as_str) == Some("RESET") && by_guest == Some(true)
            {
                return Ok(());
            }
        }
    }

    fn object(&mut self, deadline: Instant) -> io::Result<Value> {
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, "QEMU's monitor said nothing in time");
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
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
        let mut qmp = Qmp::connect(&path).unwrap();
        let status = qmp.command(&json!({"execute": "query-status"})).unwrap();
        assert_eq!(status["running"], true);
        let e = qmp.command(&json!({"execute": "x"})).unwrap_err();
        assert!(e.to_string().contains("CommandNotFound"), "{e}");
        qmp.guest_reset(Instant::now() + PATIENCE).unwrap();
        let e = qmp.guest_reset(Instant::now()).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
    }
}
