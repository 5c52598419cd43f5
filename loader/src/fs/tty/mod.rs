//! The console as a terminal: `/dev/console`, and the first three descriptors.

pub mod discipline;

use super::file::{self, Stream};
use super::poll::{self, Events};
use crate::sync::{Wait, WaitQueue, Woken};
use crate::user;
use discipline::{Discipline, Key, ReadState, Termios};
use driver_api::sync::IrqLock;
use driver_api::vfs::{DeviceNumber, FileType, Metadata};
use driver_api::{Console, ConsoleInput, Error, Result};

/// `ioctl` requests (`include/uapi/asm-generic/ioctls.h`).
mod request {
    pub const TCGETS: u32 = 0x5401;
    pub const TCSETS: u32 = 0x5402;
    pub const TCSETSW: u32 = 0x5403;
    pub const TCSETSF: u32 = 0x5404;
    pub const TCFLSH: u32 = 0x540b;
    pub const TIOCSCTTY: u32 = 0x540e;
    pub const TIOCGPGRP: u32 = 0x540f;
    pub const TIOCSPGRP: u32 = 0x5410;
    pub const TIOCGWINSZ: u32 = 0x5413;
    pub const TIOCSWINSZ: u32 = 0x5414;
    pub const TIOCGSID: u32 = 0x5429;
}

/// The terminal that a process has (`/dev/tty`), and the console: numbers of Linux's
/// `Documentation/admin-guide/devices.txt`. Both are the one terminal there is.
pub const CURRENT: DeviceNumber = DeviceNumber { major: 5, minor: 0 };
/// See [`CURRENT`].
pub const CONSOLE: DeviceNumber = DeviceNumber { major: 5, minor: 1 };

/// How many bytes can be read (`FIONREAD`).
pub const FIONREAD: u32 = 0x541b;

/// Rows and columns of a terminal whose size nobody said: a VT100's.
const DEFAULT_SIZE: [u16; 4] = [24, 80, 0, 0];

/// What a key's signal is sent by.
type SignalHook = fn(Key);

/// The terminal.
pub struct Tty {
    discipline: IrqLock<Discipline>,
    input: WaitQueue,
    /// Where it writes to, and what is called for keys that make signals.
    console: driver_api::Once<(&'static dyn Console, SignalHook)>,
    size: IrqLock<[u16; 4]>,
}

/// The one terminal there is.
pub static TTY: Tty = Tty {
    discipline: IrqLock::new(Discipline::raw()),
    input: WaitQueue::new(),
    console: driver_api::Once::new(),
    size: IrqLock::new([0; 4]),
};

impl Tty {
    /// Connects it to the console that it writes to; the first call counts. `signal` is
    /// called, in interrupt context, for keys that make signals.
    pub fn attach(&self, console: &'static dyn Console, signal: SignalHook) {
        self.discipline.lock().set(Termios::DEFAULT);
        *self.size.lock() = DEFAULT_SIZE;
        self.console.call_once(|| (console, signal));
    }

    fn emit(&self, bytes: &[u8]) {
        if let Some((console, _)) = self.console.get() {
            console.write(bytes);
        }
    }
}

/// Called in interrupt context: the discipline is a few instructions a byte, allocates
/// nothing, and its echo must not wait for a reader.
impl ConsoleInput for Tty {
    fn receive(&self, byte: u8) {
        let key = self.discipline.lock().input(byte, &mut |bytes| self.emit(bytes));
        self.input.wake_all();
        poll::changed();
        if let (Some(key), Some((_, signal))) = (key, self.console.get()) {
            signal(key);
        }
    }
}

/// An open terminal.
pub struct TtyFile;

impl Stream for TtyFile {
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize> {
        let mut result = None;
        let attempt = |d: &mut Discipline| match d.read(buf) {
            ReadState::Bytes(n) => {
                result = Some(n);
                false
            }
            ReadState::Wait => !nonblock,
        };
        let (_, woken) = TTY.input.wait_while(&TTY.discipline, Wait::INTERRUPTIBLE, attempt);
        match (result, woken) {
            (Some(n), _) => Ok(n),
            (None, Woken::Woken) => Err(Error::WouldBlock),
            (None, _) => Err(Error::Restart),
        }
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize> {
        // The lock is not held while the line is slow: only the modes are read under it.
        let modes = TTY.discipline.lock().termios;
        modes.output(buf, &mut |bytes| TTY.emit(bytes));
        Ok(buf.len())
    }

    fn poll(&self) -> Events {
        if TTY.discipline.lock().readable() {
            Events::READ.with(Events::WRITE)
        } else {
            Events::WRITE
        }
    }

    /// Of a kernel without `/dev`, where it has no name.
    fn metadata(&self) -> Option<Metadata> {
        Some(file::nameless(1, FileType::CharDevice, CONSOLE))
    }

    fn ioctl(&self, request: u32, arg: usize) -> Result<usize> {
        match request {
            request::TCGETS => {
                let modes = TTY.discipline.lock().termios.to_bytes();
                user::write(arg, &modes)?;
            }
            request::TCSETS | request::TCSETSW | request::TCSETSF => {
                let modes = Termios::from_bytes(&user::read_array(arg)?);
                let mut discipline = TTY.discipline.lock();
                if request == request::TCSETSF {
                    discipline.flush();
                }
                discipline.set(modes);
            }
            // 0 TCIFLUSH, 1 TCOFLUSH, 2 both: output never waits.
            request::TCFLSH => match arg {
                0 | 2 => TTY.discipline.lock().flush(),
                1 => {}
                _ => return Err(Error::Invalid),
            },
            request::TIOCGWINSZ => {
                let size = *TTY.size.lock();
                let mut raw = [0; 8];
                for (to, n) in raw.chunks_exact_mut(2).zip(size) {
                    to.copy_from_slice(&n.to_le_bytes());
                }
                user::write(arg, &raw)?;
            }
            request::TIOCSWINSZ => {
                let raw: [u8; 8] = user::read_array(arg)?;
                let mut size = TTY.size.lock();
                for (to, pair) in size.iter_mut().zip(raw.as_chunks::<2>().0) {
                    *to = u16::from_le_bytes(*pair);
                }
            }
            // One process, one group, one session: all of number 1.
            request::TIOCGPGRP | request::TIOCGSID => user::write_u32(arg, 1)?,
            request::TIOCSPGRP | request::TIOCSCTTY => {}
            FIONREAD => {
                let n = TTY.discipline.lock().available();
                user::write_u32(arg, n as u32)?;
            }
            _ => return Err(Error::BadRequest),
        }
        Ok(0)
    }
}
