//! From the command line to the first instruction of the program.

use super::load::{self, LoadError};
use super::thread::UserThread;
use super::{PID, PROCESS, Places, Process, get, handler};
use crate::arch::trap::{TrapFrame, resume_user};
use crate::cmdline::{Parsed, Root, RootKind};
use crate::end::{self, End, finish};
use crate::fs::file::{OpenFile, flags};
use crate::fs::table::Table;
use crate::fs::tty::{self, TTY, TtyFile, discipline::Key};
use crate::fs::walk::Walker;
use crate::fs::{Credentials, MountTable, NewMount, Path};
use crate::log::direct;
use crate::mm::image;
use crate::signal::{Set, number};
use crate::strings::Strings;
use crate::sync::Mutex;
use crate::text::Text;
use crate::thread::{self as kernel, UserContext};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::AtomicU32;
use driver_api::sync::IrqLock;
use driver_api::vfs::{DeviceNumber, FileType, NewInode, Timestamp};
use driver_api::{BOOT_FILE_SYSTEMS, BootFileSystem, Error, Result};

/// Where a program without a `/` in its name is looked for.
const SEARCH: [&[u8]; 4] = [b"/bin/", b"/usr/bin/", b"/sbin/", b"/usr/sbin/"];
/// What is looked for when the command line names no program.
const DEFAULTS: [&[u8]; 2] = [b"/sbin/init", b"/bin/init"];

/// Says why the program cannot run, and ends.
fn fail(why: fmt::Arguments<'_>) -> ! {
    direct(format_args!("osier: {why}\n"));
    finish(End::Halt)
}

/// Starts the program that the command line names.
pub fn start(mut parsed: Box<Parsed>) -> ! {
    let frame = first_frame(&mut parsed);
    // Nothing that is owned here is dropped after this: the stack is given to the program.
    drop(parsed);
    resume_user(&frame)
}

/// Makes the process; the registers of its first thread, which is this one.
fn first_frame(parsed: &mut Parsed) -> TrapFrame {
    let (mounts, root) = mount_root(parsed.options.root);
    if let Some(console) = crate::log::console() {
        TTY.attach(console, key);
        if let Err(e) = console.start_input(crate::registry::services(), &TTY) {
            log::warn!(target: "console", "no input: {e:?}");
        }
    }
    let walker = Walker { mounts: &mounts, root: &root, base: &root, who: Credentials::ROOT };
    let (name, found) = find_program(&walker, &parsed.words);
    let loaded = match load::load(&walker, &found) {
        Ok(loaded) => *loaded,
        Err(e) => fail(format_args!("{}: {e}", Text(&name))),
    };
    let files = match open_console(&walker) {
        Ok(files) => files,
        Err(e) => fail(format_args!("the console cannot be opened: {e:?}")),
    };
    if parsed.words.is_empty() {
        parsed.words.push(&name);
    }
    let first = UserThread::new(PID, Set::default());
    let trampoline = handler::place_trampoline(&loaded.space).unwrap_or(0);
    let cmdline = core::mem::take(&mut parsed.words);
    let process = PROCESS.call_once(|| Process {
        table: loaded.table,
        space: loaded.space,
        files: Mutex::new(files),
        mounts,
        places: Mutex::new(Places { cwd: root.clone(), root, umask: 0o022 }),
        who: Credentials::ROOT,
        program: loaded.path,
        name,
        cmdline,
        actions: IrqLock::new([crate::signal::Action::default(); 64]),
        threads: IrqLock::new(Vec::from([first.clone()])),
        trampoline,
        next_tid: AtomicU32::new(PID + 1),
    });
    let name = &process.name;

    // From here on this thread is the program's first one.
    let running = kernel::current();
    first.kernel.call_once(|| Arc::downgrade(&running.arc()));
    let base = name.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    running.set_name(name.get(base..).unwrap_or(name));
    let Some(context) = UserContext::new(process.table, 0, 0, Box::new(first)) else {
        fail(format_args!("{}: {}", Text(name), LoadError::Memory));
    };
    running.set_user(context);

    handler::fill_trampoline(trampoline);
    match loaded.prepared.finish(&process.cmdline, &parsed.env) {
        Ok(sp) => TrapFrame::new_user(loaded.entry, sp),
        Err(e) => fail(format_args!("{}: {e}", Text(name))),
    }
}

/// A key of the console: to the process.
fn key(key: Key) {
    let signal = match key {
        Key::Interrupt => number::INT,
        Key::Quit => number::QUIT,
        Key::Suspend => number::TSTP,
    };
    if let Some(process) = get() {
        super::thread::send_to_process(process, signal);
    }
}

/// What was packed with the kernel: the boot module, else what the packer put into the image.
fn packed() -> &'static [u8] {
    let range = end::boot_info().and_then(|info| info.module).or_else(image::bootfs);
    range.map_or(&[], image::read_only)
}

fn new_mount(fs: &BootFileSystem, now: Timestamp) -> Result<NewMount<'static>> {
    let root = (fs.root)(packed(), now)?;
    Ok(NewMount {
        root,
        fs: None,
        claim: None,
        kind: fs.name,
        source: fs.source.as_bytes(),
        read_only: fs.read_only,
    })
}

/// Mounts the root file system, then the others. `wanted`: what the command line asks for.
fn mount_root(wanted: Option<Root>) -> (Box<MountTable>, Path) {
    let all: &[BootFileSystem] = &BOOT_FILE_SYSTEMS;
    let Some(fs) = all.iter().find(|fs| fs.at.is_empty()) else {
        fail(format_args!("no driver of this kernel makes a root file system"));
    };
    // Another root must not be taken for the one that was asked for.
    if wanted.is_some_and(|root| root.kind != RootKind::Ramfs) {
        fail(format_args!("osier.root: this kernel has no such root file system, but {}", fs.name));
    }
    let (mounts, root) = match new_mount(fs, Timestamp::default()) {
        Ok(root) => MountTable::new(root),
        Err(e) => fail(format_args!("the root file system: {e:?}")),
    };
    for fs in all.iter().filter(|fs| !fs.at.is_empty()) {
        if let Err(e) = mount(&mounts, &root, fs) {
            fail(format_args!("/{} cannot be mounted: {e:?}", fs.at));
        }
    }
    if let Err(e) = make_folder(&root, b"tmp", 0o1777) {
        fail(format_args!("/tmp cannot be made: {e:?}"));
    }
    (mounts, root)
}

/// Makes a directory at the root, if there is nothing of that name.
fn make_folder(root: &Path, name: &[u8], mode: u16) -> Result<()> {
    let new = NewInode {
        kind: FileType::Directory,
        mode,
        uid: 0,
        gid: 0,
        device: DeviceNumber::default(),
        target: b"",
        // As the image: the machine's clock is asked when somebody wants to know.
        now: root.inode().metadata().mtime,
    };
    match root.inode().create(name, &new) {
        Ok(_) | Err(Error::Exists) => Ok(()),
        Err(other) => Err(other),
    }
}

/// Mounts a file system on a directory at the root, which is made if it is not there.
fn mount(mounts: &MountTable, root: &Path, fs: &BootFileSystem) -> Result<()> {
    let at = fs.at.as_bytes();
    let now = root.inode().metadata().mtime;
    make_folder(root, at, fs.mode)?;
    let new = new_mount(fs, now)?;
    mounts.mount(&root.with(root.dentry.child(at)?), new)?;
    Ok(())
}

/// The program's path, and its file; or says what was looked for, and ends.
fn find_program(walker: &Walker<'_>, words: &Strings) -> (Vec<u8>, load::Found) {
    let program = words.first();
    let mut looked = Vec::new();
    let mut try_at = |path: Vec<u8>| match load::find(walker, &path) {
        Ok(found) => Some((path, found)),
        Err(LoadError::File(Error::NotFound | Error::NotDirectory)) => {
            if !looked.is_empty() {
                looked.extend_from_slice(b", ");
            }
            looked.extend_from_slice(&path);
            None
        }
        Err(e) => fail(format_args!("{}: {e}", Text(&path))),
    };
    let found = match program {
        Some(path) if path.contains(&b'/') => try_at(path.to_vec()),
        Some(name) => SEARCH.iter().find_map(|place| try_at([place, name].concat())),
        None => DEFAULTS.iter().find_map(|path| try_at(path.to_vec())),
    };
    if let Some(found) = found {
        return found;
    }
    let looked = Text(&looked);
    match program {
        Some(program) => {
            fail(format_args!("no program {}: looked for {looked} in the image", Text(program)))
        }
        None => fail(format_args!(
            "the command line names no program: looked for {looked} in the image"
        )),
    }
}

/// Descriptors 0, 1 and 2: the console, by its file where there is one.
fn open_console(walker: &Walker<'_>) -> Result<Table<Arc<OpenFile>>> {
    let is_console = |path: &Path| path.inode().metadata().device == tty::CONSOLE;
    let path = walker.resolve(b"/dev/console", true).ok().filter(is_console).map(Arc::new);
    let file = OpenFile::new(path, Some(Arc::new(TtyFile)), flags::RDWR);
    Table::with_first(3, &file)
}
