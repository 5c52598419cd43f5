//! The debugger's port, which is listened on before QEMU is started and handed to it: whoever
//! was told the port can connect at once, and nobody else can take it meanwhile.

use super::boot::Prepared;
use crate::error::Refusal;
use anyhow::Context as _;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;

/// A port of this host on which a debugger's connection is awaited.
#[derive(Debug)]
pub struct DebugPort {
    listener: TcpListener,
    /// Its number.
    pub number: u16,
}

impl DebugPort {
    /// Listens on `port`; on one that is free when that is 0.
    ///
    /// # Errors
    /// A [`Refusal`] when somebody else listens there.
    pub fn listen(port: u16) -> Result<Self, Refusal> {
        let refused = |e| {
            Refusal::new(format!("the debugger's port {port} cannot be used: {e}"))
                .help(format!("choose another: --gdb={}", port.checked_add(1).unwrap_or(1234)))
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(refused)?;
        let number = listener.local_addr().map_err(refused)?.port();
        Ok(Self { listener, number })
    }

    /// Lets `machine` take the connection, where its command line has QEMU listen itself. The
    /// port must stay until the machine has been started.
    ///
    /// # Errors
    /// When the descriptor cannot be made one that is inherited.
    pub fn hand_to(&self, machine: &mut Prepared) -> anyhow::Result<()> {
        let flags = fcntl_getfd(&self.listener).context("fcntl(F_GETFD)")?;
        fcntl_setfd(&self.listener, flags - FdFlags::CLOEXEC).context("fcntl(F_SETFD)")?;
        take_over(&mut machine.args, self.listener.as_raw_fd());
        Ok(())
    }
}

/// Replaces what `-gdb` says in QEMU's arguments by the listening socket `fd`.
fn take_over(args: &mut Vec<String>, fd: i32) {
    let Some(at) = args.iter().position(|a| a == "-gdb") else { return };
    let chardev = format!("socket,id=gdb,fd={fd},server=on,wait=off");
    let rest = args.split_off(at);
    args.extend(["-chardev", &chardev, "-gdb", "chardev:gdb"].map(str::to_owned));
    args.extend(rest.into_iter().skip(2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_refused_with_another() {
        let held = DebugPort::listen(0).unwrap();
        let port = held.number;
        let e = DebugPort::listen(port).unwrap_err();
        assert!(e.message.contains(&format!("port {port} cannot be used")), "{e}");
        assert!(e.help[0].contains("--gdb="), "{:?}", e.help);
    }

    #[test]
    fn the_socket_takes_the_ports_place() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut args = words("-m 64M -gdb tcp:127.0.0.1:1234 -S");
        take_over(&mut args, 7);
        let chardev = "-chardev socket,id=gdb,fd=7,server=on,wait=off";
        assert_eq!(args, words(&format!("-m 64M {chardev} -gdb chardev:gdb -S")));
        let mut none = words("-m 64M");
        take_over(&mut none, 7);
        assert_eq!(none, words("-m 64M"));
    }
}
