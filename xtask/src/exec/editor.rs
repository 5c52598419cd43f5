//! The language server's process, with the proxy on both of its pipes.

use super::supervise;
use crate::editor::{Decoder, Proxy, encode};
use anyhow::{Context as _, bail};
use std::io::{self, Read, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the server may take to end once the editor is gone, or has closed its pipe.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many bytes are read at a time.
const CHUNK: usize = 64 << 10;

/// Which direction has ended, and how.
enum Ended {
    /// The editor says nothing more.
    Editor(anyhow::Result<()>),
    /// The server says nothing more.
    Server(anyhow::Result<()>),
}

/// Runs `server` between this process's stdin and stdout until either side ends. The
/// server's status; `None` when it had to be killed after the editor was gone.
///
/// # Errors
/// When the server cannot be started, or one side does not speak the protocol.
pub fn serve(server: &str, args: &[String], proxy: Proxy) -> anyhow::Result<Option<ExitStatus>> {
    // The guard's promise holds as long as this thread: it waits below.
    let mut child = supervise::spawn(server, args, |c| {
        c.stdin(Stdio::piped()).stdout(Stdio::piped());
        // What `cargo run` adds for xtask is not the environment that the editor gave; a
        // build script that looks at it would be run again and again.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|p| text.starts_with(p))
                || ["CARGO_PRIMARY_PACKAGE", "LD_LIBRARY_PATH"].contains(&&*text)
            {
                c.env_remove(name);
            }
        }
    })
    .with_context(|| format!("cannot start {server}"))?;
    let to_server = child.stdin.take().context("the server has no stdin")?;
    let from_server = child.stdout.take().context("the server has no stdout")?;
    let proxy = Arc::new(Mutex::new(proxy));
    let (ended, end) = channel();
    // Neither is joined without bound: one that waits for the editor's next byte goes with the
    // process.
    {
        let (ended, proxy): (Sender<Ended>, _) = (ended.clone(), Arc::clone(&proxy));
        thread::spawn(move || {
            let rewrite = |body| lock(&proxy).editor_says(body);
            let _ = ended.send(Ended::Editor(pump("the editor", io::stdin(), to_server, rewrite)));
        });
    }
    thread::spawn(move || {
        let rewrite = |body: Vec<u8>| {
            lock(&proxy).server_says(&body);
            body
        };
        let _ = ended.send(Ended::Server(pump("the server", from_server, io::stdout(), rewrite)));
    });
    let first = end.recv().context("both directions ended")?;
    // The editor's last bytes have reached the server and its stdin is closed; or it is
    // ending by itself.
    let (status, killed) = supervise::reap(&mut child, Instant::now() + PATIENCE)?;
    // What it said last is still on its way. A program that it has left behind may hold its
    // stdout open, and an editor that is gone may not read.
    if matches!(first, Ended::Editor(Ok(()))) && !killed {
        let _ = end.recv_timeout(PATIENCE);
    }
    match first {
        Ended::Editor(Err(e)) | Ended::Server(Err(e)) => Err(e),
        Ended::Server(Ok(())) if killed => bail!("{server} closed its output and went on"),
        _ => Ok((!killed).then_some(status)),
    }
}

fn lock(proxy: &Mutex<Proxy>) -> std::sync::MutexGuard<'_, Proxy> {
    proxy.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands on messages until `from` ends. `to` is closed then, where closing it means
/// something.
fn pump(
    who: &str,
    mut from: impl Read,
    mut to: impl Write,
    mut rewrite: impl FnMut(Vec<u8>) -> Vec<u8>,
) -> anyhow::Result<()> {
    let mut decoder = Decoder::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = match from.read(&mut chunk) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).with_context(|| format!("cannot read from {who}")),
        };
        if n == 0 {
            if decoder.is_between() {
                return Ok(());
            }
            bail!("{who} ended in the middle of a message");
        }
        decoder.feed(chunk.get(..n).unwrap_or_default());
        while let Some(body) = decoder.next().with_context(|| format!("{who} sent no LSP"))? {
            let sent = to.write_all(&encode(&rewrite(body))).and_then(|()| to.flush());
            match sent {
                // The other side is gone: its own end says why.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                sent => sent.with_context(|| format!("cannot hand on what {who} said"))?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_handed_on_to_its_end() {
        let stream: Vec<u8> = [&b"{}"[..], b"[1]"].iter().flat_map(|b| encode(b)).collect();
        let mut out = Vec::new();
        let upper = |mut body: Vec<u8>| {
            body.push(b' ');
            body
        };
        pump("it", &stream[..], &mut out, upper).unwrap();
        assert_eq!(out, b"Content-Length: 3\r\n\r\n{} Content-Length: 4\r\n\r\n[1] ");
        let cut = stream.len() - 1;
        let e = pump("it", &stream[..cut], io::sink(), |b| b).unwrap_err();
        assert!(e.to_string().contains("in the middle of a message"), "{e}");
        let e = pump("it", &b"hello\r\n\r\n"[..], io::sink(), |b| b).unwrap_err();
        assert!(format!("{e:#}").contains("it sent no LSP: `hello` is no header"), "{e:#}");
    }
}
