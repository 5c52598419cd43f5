//! One running QEMU: its console, its end channel, and its end.
//!
//! The console is QEMU's stdin and stdout, which are pipes of ours. The end record is a file
//! in the run folder, written by QEMU and read here. The caller pulls [`Event`]s with a time
//! limit, so nothing waits without bound.

use super::supervise;
use crate::run::outcome::Outcome;
use camino::{Utf8Path, Utf8PathBuf};
use end_record::End;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may stay after the guest has said how it ended.
const AFTER_RECORD: Duration = Duration::from_secs(1);
/// How often the end channel is looked at while the console is silent.
const POLL: Duration = Duration::from_millis(50);
/// The longest path of a Unix socket (`sun_path`, unix(7): 108 bytes with the NUL).
const SOCKET_PATH: usize = 107;
/// How much of QEMU's own last words a message quotes, in bytes.
const QUOTED: usize = 2000;

/// What happened, and when it was read.
#[derive(Debug)]
pub enum Event {
    /// Bytes of the guest's console.
    Console(Vec<u8>, Instant),
    /// QEMU closed the console: it is ending, or gone.
    Closed,
    /// Nothing until the deadline that the caller gave.
    Quiet,
}

enum FromThread {
    Console(Vec<u8>, Instant),
    Closed,
    /// All that QEMU wrote to stderr.
    Said(Vec<u8>),
}

/// A running QEMU. It is killed when dropped.
pub struct Vm {
    child: Child,
    events: Receiver<FromThread>,
    input: Sender<Vec<u8>>,
    end_file: Utf8PathBuf,
    /// When the process was started.
    pub started: Instant,
    closed: bool,
    said: Option<Vec<u8>>,
    record_seen: Option<Instant>,
}

impl Vm {
    /// Starts `program` with `args`, whose end channel is `end_file`. The calling thread
    /// must stay for as long as the machine is to run (see [`supervise`]).
    ///
    /// # Errors
    /// When the guard process cannot be started.
    pub fn start(program: &str, args: &[String], end_file: &Utf8Path) -> io::Result<Self> {
        let started = Instant::now();
        let mut child = supervise::spawn(program, args, |c| {
            c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        })?;
        let (send, events) = channel();
        if let Some(mut stdout) = child.stdout.take() {
            let send = send.clone();
            thread::spawn(move || {
                // The guest's UART hands over byte by byte; the pipe gathers them.
                let mut buffer = vec![0; 64 << 10];
                while let Ok(n @ 1..) = stdout.read(&mut buffer) {
                    let bytes = buffer.get(..n).unwrap_or_default().to_vec();
                    if send.send(FromThread::Console(bytes, Instant::now())).is_err() {
                        return;
                    }
                }
                let _ = send.send(FromThread::Closed);
            });
        }
        if let Some(mut stderr) = child.stderr.take() {
            thread::spawn(move || {
                let mut said = Vec::new();
                let _ = stderr.read_to_end(&mut said);
                let _ = send.send(FromThread::Said(said));
            });
        }
        let (input, typed) = channel();
        if let Some(stdin) = child.stdin.take() {
            thread::spawn(move || type_in(stdin, &typed));
        }
        Ok(Self {
            child,
            events,
            input,
            end_file: end_file.to_owned(),
            started,
            closed: false,
            said: None,
            record_seen: None,
        })
    }

    /// Where to send what is typed. What the guest does not take waits, without bound on
    /// the sender.
    #[must_use]
    pub fn keyboard(&self) -> Sender<Vec<u8>> {
        self.input.clone()
    }

    /// The next event, at the latest at `deadline`. A machine that is still there a second
    /// after its end record is killed, which shows as [`Event::Closed`].
    pub fn next(&mut self, deadline: Instant) -> Event {
        loop {
            if self.closed {
                return Event::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left.min(POLL)) {
                Ok(FromThread::Console(bytes, at)) => return Event::Console(bytes, at),
                Ok(FromThread::Said(said)) => self.said = Some(said),
                Ok(FromThread::Closed) | Err(RecvTimeoutError::Disconnected) => self.closed = true,
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Event::Quiet,
                Err(RecvTimeoutError::Timeout) => self.end_if_recorded(),
            }
        }
    }

    /// Whether the process has ended.
    pub fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What the guest has said over its end channel so far.
    #[must_use]
    pub fn record(&self) -> Option<End> {
        End::last_in(&std::fs::read(&self.end_file).unwrap_or_default())
    }

    fn end_if_recorded(&mut self) {
        match self.record_seen {
            None if self.record().is_some() => self.record_seen = Some(Instant::now()),
            Some(at) if at.elapsed() >= AFTER_RECORD => {
                // What the console still holds is read until the pipe closes.
                let _ = self.child.kill();
            }
            _ => {}
        }
    }

    /// Ends the machine and says how it ended. `why` is the reason when it was not the
    /// guest's or QEMU's own doing; an end record that is already there counts more.
    ///
    /// # Errors
    /// Those of waiting for the process.
    pub fn finish(mut self, why: Option<Outcome>) -> io::Result<Outcome> {
        let patience = if why.is_some() { Duration::ZERO } else { AFTER_RECORD };
        let (status, killed) = supervise::reap(&mut self.child, Instant::now() + patience)?;
        if let Some(end) = self.record() {
            return Ok(Outcome::Guest(end));
        }
        if let Some(why) = why {
            return Ok(why);
        }
        if status.success() || status.code().is_some_and(is_debug_exit) && self.said().is_empty() {
            return Ok(Outcome::Silent);
        }
        let status = if killed { "it did not end".to_owned() } else { status.to_string() };
        Ok(Outcome::Vmm { status, said: self.said() })
    }

    /// QEMU's last words, without its name in front.
    fn said(&mut self) -> String {
        let deadline = Instant::now() + AFTER_RECORD;
        while self.said.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(FromThread::Said(said)) => self.said = Some(said),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let said = self.said.as_deref().unwrap_or_default();
        let tail = said.get(said.len().saturating_sub(QUOTED)..).unwrap_or(said);
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

/// `isa-debug-exit` ends QEMU with `value << 1 | 1`; a guest that powers off through it
/// without a record wrote 0.
fn is_debug_exit(code: i32) -> bool {
    code == 1
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes what is typed until nobody types any more or QEMU is gone.
fn type_in(mut stdin: ChildStdin, typed: &Receiver<Vec<u8>>) {
    while let Ok(bytes) = typed.recv() {
        if stdin.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// The folder of one run, with private links to what QEMU opens; removed when dropped.
///
/// A hard link keeps the file that was there when the run began: every artifact is replaced
/// by rename, never written in place, so a rebuild does not disturb the guest.
#[derive(Debug)]
pub struct RunDir {
    path: Utf8PathBuf,
    /// The folder itself, for paths that do not lead through its parents.
    handle: File,
}

impl RunDir {
    /// Makes a folder in `parent`, and removes those of runs that are no more.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(parent: &Utf8Path) -> io::Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        std::fs::create_dir_all(parent)?;
        remove_abandoned(parent);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{}-{n}", std::process::id()));
        // A run of the same process id may have been killed before.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path)?;
        let handle = File::open(&path)?;
        Ok(Self { path, handle })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The path of a Unix socket in the folder, for this process and the programs that it starts.
    /// Where the folder lies so deep that its own path is too long for a socket, it leads through
    /// this process's descriptor, and is good for as long as this is.
    #[must_use]
    pub fn socket(&self, name: &str) -> Utf8PathBuf {
        let path = self.path.join(name);
        if path.as_str().len() <= SOCKET_PATH {
            return path;
        }
        let (process, fd) = (std::process::id(), self.handle.as_raw_fd());
        format!("/proc/{process}/fd/{fd}/{name}").into()
    }

    /// A private link to `file`, called `name`: a hard link, or a copy where file systems
    /// differ.
    ///
    /// # Errors
    /// Those of link(2) and of the copy.
    pub fn private(&self, file: &Utf8Path, name: &str) -> io::Result<Utf8PathBuf> {
        // A hard link to a symbolic link would still lead to whatever that names later.
        let file = file.canonicalize_utf8()?;
        let link = self.path.join(name);
        if std::fs::hard_link(&file, &link).is_err() {
            std::fs::copy(&file, &link)?;
        }
        Ok(link)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders of processes that no longer live. A process id that was given out
/// again only delays it.
fn remove_abandoned(parent: &Utf8Path) {
    let Ok(entries) = parent.read_dir_utf8() else { return };
    for entry in entries.flatten() {
        let pid = entry.file_name().split('-').next().and_then(|p| p.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Utf8Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn sockets_work_however_deep_the_folder_lies() {
        let temp = tempfile::tempdir().unwrap();
        let temp = Utf8PathBuf::from_path_buf(temp.path().canonicalize().unwrap()).unwrap();
        for parent in [temp.join("a"), temp.join("deep".repeat(40))] {
            let dir = RunDir::new(&parent).unwrap();
            let socket = dir.socket("qmp");
            assert!(socket.as_str().len() <= SOCKET_PATH, "{socket}");
            let listener = UnixListener::bind(&socket).unwrap();
            UnixStream::connect(&socket).unwrap();
            listener.accept().unwrap();
            assert!(dir.path().join("qmp").exists(), "it lies in the folder, and goes with it");
        }
    }
}
