//! From a file to a program in memory.

use super::get;
use crate::arch;
use crate::exec::elf::{self, ElfError, Program, ReadAt};
use crate::exec::plan::{self, LoadPlan};
use crate::exec::stack::{self, at};
use crate::fs::access::{self, Credentials};
use crate::fs::walk::Walker;
use crate::fs::{Path, cache};
use crate::mm::aspace::{AddressSpace, Bounds, Place};
use crate::mm::pages::UserPages;
use crate::mm::vma::{Backing, Prot, Role, Vma};
use crate::mm::{PAGE_SIZE, PhysAddr};
use crate::strings::Strings;
use crate::text::Text;
use crate::user;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use driver_api::Error;
use driver_api::Once;
use driver_api::vfs::FileType;

/// The first thread's stack, as Linux's `RLIMIT_STACK`.
pub const STACK_SIZE: usize = 8 << 20;
/// Arguments and environment may take a quarter of it, as in Linux.
const ARGS_MAX: usize = STACK_SIZE / 4;
/// Free space below the stack, so that a large frame does not reach into the next mapping.
const STACK_GAP: usize = 1 << 20;
/// `e_machine` of the programs that run here.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { elf::EM_X86_64 } else { elf::EM_AARCH64 };
/// Ticks a second that `times` counts in (`USER_HZ`).
const CLOCK_TICKS: u64 = 100;

/// What was loaded where, for backtraces: the program, and its interpreter.
static IMAGES: Once<Vec<(Arc<Path>, usize)>> = Once::new();

/// The program's stack pointer when it began: its arguments lie there.
pub static STACK_START: AtomicUsize = AtomicUsize::new(0);

/// The load bias of the file at `path`, if it was loaded at the start.
pub fn base_of(path: &Arc<Path>) -> Option<usize> {
    IMAGES.get()?.iter().find(|(p, _)| Arc::ptr_eq(p, path)).map(|(_, bias)| *bias)
}

/// Why a program cannot be started. Displays as the rest of a sentence that begins with the
/// program's path.
#[derive(Debug)]
pub enum LoadError {
    /// Its file cannot be found or used.
    File(Error),
    /// It is a directory or a device.
    NotRegular,
    /// Nobody may execute it.
    NotExecutable(u16),
    /// It is no program for this machine.
    Elf(ElfError),
    /// Its interpreter cannot be loaded.
    Interpreter(Vec<u8>, Box<LoadError>),
    /// It does not fit into the address space, or memory is out.
    Memory,
    /// Arguments and environment are too long.
    Arguments,
    /// There is no entropy for its random bytes.
    NoEntropy,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(Error::NotFound) => f.write_str("no such file in the image"),
            Self::File(Error::NotDirectory) => f.write_str("a part of the path is no directory"),
            Self::File(Error::TooManySymlinks) => f.write_str("too many symbolic links"),
            Self::File(Error::AccessDenied) => f.write_str("permission denied"),
            Self::File(e) => write!(f, "{e:?}"),
            Self::NotRegular => f.write_str("not a regular file"),
            Self::NotExecutable(mode) => write!(f, "not executable (its mode is {mode:04o})"),
            Self::Elf(e) => e.fmt(f),
            Self::Interpreter(path, e) => {
                write!(f, "a dynamic program; its interpreter {}: {e}", Text(path))
            }
            Self::Memory => f.write_str("not enough memory to load it"),
            Self::Arguments => {
                write!(f, "arguments and environment take more than {ARGS_MAX} bytes")
            }
            Self::NoEntropy => f.write_str("no source of random numbers yet"),
        }
    }
}

impl From<ElfError> for LoadError {
    fn from(e: ElfError) -> Self {
        Self::Elf(e)
    }
}

/// A file as the ELF reader sees it.
struct Contents<'a>(&'a Path);

impl ReadAt for Contents<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ElfError> {
        cache::read(self.0, offset, buf).map_err(|_| ElfError::Unreadable)
    }
}

/// A program's file, checked and read.
pub struct Found {
    path: Arc<Path>,
    program: Box<Program>,
}

/// Finds and reads the program at `path`.
///
/// # Errors
/// See [`LoadError`].
pub fn find(walker: &Walker<'_>, path: &[u8]) -> Result<Found, LoadError> {
    let found = walker.resolve(path, true).map_err(LoadError::File)?;
    let meta = found.inode().metadata();
    if meta.kind != FileType::Regular {
        return Err(LoadError::NotRegular);
    }
    access::check(walker.who, &meta, access::EXECUTE)
        .map_err(|_| LoadError::NotExecutable(meta.mode))?;
    let program = elf::parse(
        &Contents(&found),
        meta.size,
        arch::NAME,
        MACHINE,
        arch::USER_END as u64,
        PAGE_SIZE as u64,
    )?;
    Ok(Found { path: Arc::new(found), program })
}

/// A program that is ready to run.
pub struct Loaded {
    /// Its memory, in force from now on only after it was given to the thread.
    pub space: Box<AddressSpace<UserPages>>,
    /// The root of its page tables.
    pub table: PhysAddr,
    /// Its file.
    pub path: Arc<Path>,
    /// First instruction: the interpreter's, if it has one.
    pub entry: usize,
    /// What is left to do.
    pub prepared: Prepared,
}

/// What is left to do once the memory is in force.
pub struct Prepared {
    /// Bytes that must be zeroed: address and length.
    zeroes: Vec<(usize, usize)>,
    /// Top of the stack.
    stack_top: usize,
    aux: [(u64, u64); 15],
}

/// Random bits below `1 << bits`, in pages.
fn random_pages(bits: u32) -> Result<usize, LoadError> {
    let mut raw = [0; 8];
    crate::entropy::fill(&mut raw).map_err(|_| LoadError::NoEntropy)?;
    Ok((u64::from_le_bytes(raw) as usize & ((1 << bits) - 1)) * PAGE_SIZE)
}

/// Makes an address space with the program in it.
///
/// # Errors
/// See [`LoadError`].
pub fn load(walker: &Walker<'_>, found: &Found) -> Result<Box<Loaded>, LoadError> {
    let interpreter = match found.program.interpreter {
        Some((offset, len)) => Some(find_interpreter(walker, found, offset, len)?),
        None => None,
    };
    // Stack at the top, mappings below it, programs in the middle (as Linux's
    // ELF_ET_DYN_BASE), each at a random place of 28, or 22, bits of pages.
    let stack_top = arch::USER_END - PAGE_SIZE - random_pages(22)?;
    let mmap_top = stack_top - STACK_SIZE - STACK_GAP - random_pages(28)?;
    let pages = UserPages::new().map_err(|_| LoadError::Memory)?;
    let table = pages.root();
    let memory = crate::mm::frames::stats().total as usize * PAGE_SIZE;
    let bounds = Bounds { user_end: arch::USER_END, mmap_top, memory };
    let mut space = Box::new(AddressSpace::new(pages, bounds));
    let mut zeroes = Vec::new();
    let mut images = Vec::new();

    let wanted = (arch::USER_END / 3 * 2 + random_pages(28)?) as u64;
    let Some(program) = plan_at(found, wanted) else { return Err(LoadError::Memory) };
    images.push((found.path.clone(), program.bias as usize));
    place(&space, &found.path, &program, &mut zeroes)?;
    let linker = match &interpreter {
        Some(i) => {
            let (low, high) = plan::span(&i.program);
            let at = (mmap_top - random_pages(8)?) as u64 - (high - low);
            let linker = plan_at(i, at & !(i.program.align - 1)).ok_or(LoadError::Memory)?;
            images.push((i.path.clone(), linker.bias as usize));
            place(&space, &i.path, &linker, &mut zeroes)?;
            Some(linker)
        }
        None => None,
    };
    IMAGES.call_once(|| images);

    space.set_brk_start(program.end as usize + random_pages(13)?);
    let rw = Prot::READ.with(Prot::WRITE);
    let stack = Vma { role: Role::Stack, ..Vma::anonymous(0, STACK_SIZE, rw) };
    space.map(Place::Fixed(stack_top - STACK_SIZE), stack).map_err(|_| LoadError::Memory)?;

    let who: Credentials = walker.who;
    let aux = [
        (at::PHDR, program.phdrs),
        (at::PHENT, elf::PHDR_LEN as u64),
        (at::PHNUM, u64::from(found.program.phnum)),
        (at::PAGESZ, PAGE_SIZE as u64),
        (at::BASE, linker.as_ref().map_or(0, |l| l.bias)),
        (at::FLAGS, 0),
        (at::ENTRY, program.entry),
        (at::UID, u64::from(who.uid)),
        (at::EUID, u64::from(who.uid)),
        (at::GID, u64::from(who.gid)),
        (at::EGID, u64::from(who.gid)),
        (at::HWCAP, arch::cpu::hwcap()),
        (at::HWCAP2, 0),
        (at::CLKTCK, CLOCK_TICKS),
        (at::SECURE, 0),
    ];
    let entry = linker.map_or(program.entry, |l| l.entry) as usize;
    let prepared = Prepared { zeroes, stack_top, aux };
    Ok(Box::new(Loaded { space, table, path: found.path.clone(), entry, prepared }))
}

fn find_interpreter(
    walker: &Walker<'_>,
    found: &Found,
    offset: u64,
    len: usize,
) -> Result<Found, LoadError> {
    let mut path = vec![0; len];
    let n = cache::read(&found.path, offset, &mut path).map_err(LoadError::File)?;
    if n != len {
        return Err(ElfError::Truncated.into());
    }
    path.truncate(elf::interpreter_path(&path).len());
    match find(walker, &path) {
        Ok(i) if i.program.interpreter.is_some() => {
            Err(LoadError::Elf(ElfError::Malformed("its interpreter has an interpreter")))
        }
        Ok(i) => Ok(i),
        Err(e) => Err(LoadError::Interpreter(path, e.into())),
    }
}

/// Where `found` goes: at or above `wanted`.
fn plan_at(found: &Found, wanted: u64) -> Option<LoadPlan> {
    let bias = plan::bias(&found.program, wanted, arch::USER_END as u64)?;
    Some(plan::plan(&found.program, bias))
}

/// Maps the segments of the file at `path` as planned.
fn place(
    space: &AddressSpace<UserPages>,
    path: &Arc<Path>,
    plan: &LoadPlan,
    zeroes: &mut Vec<(usize, usize)>,
) -> Result<(), LoadError> {
    for m in &plan.mappings {
        let prot = Prot::new(m.access.read, m.access.write, m.access.execute);
        let backing = match m.offset {
            Some(offset) => Backing::File { path: path.clone(), offset },
            None => Backing::Anonymous,
        };
        let vma = Vma { backing, ..Vma::anonymous(0, m.len as usize, prot) };
        space.map(Place::Fixed(m.start as usize), vma).map_err(|_| LoadError::Memory)?;
        if let Some(from) = m.zero_from {
            zeroes.push((from as usize, (m.start + m.len - from) as usize));
        }
    }
    Ok(())
}

impl Prepared {
    /// The rest of the work, once the memory is in force and the process known: zeroes, and
    /// the first stack. Returns the stack pointer.
    ///
    /// # Errors
    /// `Arguments`, `NoEntropy`, `Memory`.
    pub fn finish(&self, args: &Strings, env: &Strings) -> Result<usize, LoadError> {
        for &(at, len) in &self.zeroes {
            user::zero(at, len).map_err(|_| LoadError::Memory)?;
        }
        let mut random = [0; 16];
        crate::entropy::fill(&mut random).map_err(|_| LoadError::NoEntropy)?;
        let execfn = get().map_or(&[][..], |p| &p.name);
        let contents = stack::Contents {
            args,
            env,
            execfn,
            platform: arch::NAME.as_bytes(),
            random,
            aux: &self.aux,
        };
        let image = stack::build(self.stack_top as u64, ARGS_MAX, &contents)
            .map_err(|_| LoadError::Arguments)?;
        user::write(image.sp as usize, &image.bytes).map_err(|_| LoadError::Memory)?;
        STACK_START.store(image.sp as usize, Ordering::Relaxed);
        Ok(image.sp as usize)
    }
}
