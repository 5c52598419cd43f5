//! The peers of scenarios: the host's side of the guest's network card, one Ethernet frame a
//! datagram.

use crate::scenario::frames::Frames;
use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a peer looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(20);
/// The longest frame that QEMU hands over (`NET_BUFSIZE`, net/net.h: 4096 + 65536 bytes).
const LONGEST: usize = 4096 + 65536;

/// The host's side of a network card. It is there before the VM starts, so that the frames
/// of a guest that is early wait.
#[derive(Debug)]
pub struct Wire {
    socket: UnixDatagram,
    guest: Utf8PathBuf,
}

/// A peer at work.
#[derive(Debug)]
pub struct Peer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Frames, io::Result<()>)>,
}

impl Wire {
    /// Receives at `peer` what the card sends, which receives at `guest`.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn new(peer: &Utf8Path, guest: &Utf8Path) -> anyhow::Result<Self> {
        let socket =
            UnixDatagram::bind(peer).with_context(|| format!("cannot make the socket {peer}"))?;
        socket.set_read_timeout(Some(TICK))?;
        socket.set_write_timeout(Some(TICK))?;
        Ok(Self { socket, guest: guest.to_owned() })
    }

    /// Starts the peer `frames`.
    #[must_use]
    pub fn frames(self) -> Peer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut frames = Frames::default();
            let mut buffer = vec![0; LONGEST];
            let ended = loop {
                match self.socket.recv(&mut buffer) {
                    Ok(n) => {
                        let answer = frames.answer(buffer.get(..n).unwrap_or_default());
                        if let Some(Err(e)) =
                            answer.map(|a| self.socket.send_to(&a, &self.guest)).filter(lost)
                        {
                            break Err(e);
                        }
                    }
                    // All that had come is answered before the end.
                    Err(e) if is_tick(&e) && stopped.load(Ordering::Relaxed) => break Ok(()),
                    Err(e) if is_tick(&e) => {}
                    Err(e) => break Err(e),
                }
            };
            (frames, ended)
        });
        Peer { stop, thread }
    }
}

/// Whether sending failed for another reason than that a network has: nobody takes the
/// frame, or not now.
fn lost(sent: &io::Result<usize>) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let network = |e: &io::Error| {
        is_tick(e) || matches!(e.kind(), ConnectionRefused | NotFound)
            // ENOBUFS has no kind of its own.
            || e.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
    };
    sent.as_ref().is_err_and(|e| !network(e))
}

fn is_tick(e: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(e.kind(), WouldBlock | TimedOut | Interrupted)
}

impl Peer {
    /// Ends it; why the scenario fails, if it does.
    #[must_use]
    pub fn finish(self) -> Option<String> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok((frames, Ok(()))) => frames.verdict().err().map(|e| e.to_string()),
            Ok((_, Err(e))) => Some(format!("peer frames: {e}")),
            Err(_) => Some("peer frames panicked".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::frames::sample;

    #[test]
    fn frames_are_answered_over_the_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| Utf8PathBuf::from_path_buf(dir.path().join(name)).unwrap();
        let (here, there) = (path("guest"), path("peer"));
        let wire = Wire::new(&there, &here).unwrap();
        let guest = UnixDatagram::bind(&here).unwrap();
        guest.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // Sent before the peer is at work.
        guest.send_to(&sample(60), &there).unwrap();
        let peer = wire.frames();
        let mut buffer = vec![0; 2000];
        for length in 60..=1514 {
            if length > 60 {
                guest.send_to(&sample(length), &there).unwrap();
            }
            let n = guest.recv(&mut buffer).unwrap();
            assert_eq!((n, buffer[14]), (length, !sample(length)[14]));
        }
        assert_eq!(peer.finish(), None);
    }

    #[test]
    fn a_guest_that_sends_nothing_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| Utf8PathBuf::from_path_buf(dir.path().join(name)).unwrap();
        let wire = Wire::new(&path("peer"), &path("guest")).unwrap();
        let said = wire.frames().finish().unwrap();
        assert_eq!(said, "peer frames: 1455 of 1455 frame lengths never came, first 60");
    }
}
