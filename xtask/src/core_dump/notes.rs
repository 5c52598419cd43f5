//! The notes of a core file: what Linux writes for a process and its threads
//! (`fs/binfmt_elf.c`, `include/uapi/linux/elf.h` and `elfcore.h`).

use super::CoreError;
use super::pages::{self, PAGE, Run};
use crash_record::{Arch, Memory, Record, Thread, flags};

/// Note types.
mod nt {
    pub const PRSTATUS: u32 = 1;
    pub const PRFPREG: u32 = 2;
    pub const PRPSINFO: u32 = 3;
    pub const AUXV: u32 = 6;
    pub const X86_XSTATE: u32 = 0x202;
    pub const ARM_TLS: u32 = 0x401;
    /// "SIGI" and "FILE".
    pub const SIGINFO: u32 = 0x5349_4749;
    pub const FILE: u32 = 0x4649_4c45;
}

/// Number of the one process that the kernel runs.
const PID: u32 = 1;
/// Length of what FXSAVE writes (Intel SDM vol. 1, 10.5.1), which is x64's `elf_fpregset_t`.
const FXSAVE: usize = 512;
/// Where XCR0 stands in `NT_X86_XSTATE`: the first of the words that FXSAVE leaves to software
/// (Linux's `xstate_fx_sw_bytes`).
const XCR0: usize = 464;
/// Most words that are looked at for the auxiliary vector: arguments and environment are a
/// quarter of an 8 MiB stack at most.
const STACK_WORDS: u64 = (2 << 20) / 8;
/// Most pairs of the auxiliary vector: Linux's has about 20.
const AUX_PAIRS: u64 = 64;

/// Bytes of `elf_gregset_t`, and the least of the vector registers.
const fn sizes(arch: Arch) -> (usize, usize) {
    match arch {
        Arch::X64 => (27 * 8, FXSAVE),
        Arch::Aarch64 => (34 * 8, 32 * 16 + 16),
    }
}

/// All notes. The thread that crashed comes first: debuggers show it.
///
/// # Errors
/// `Registers`, `NoCrashedThread`.
pub fn notes(memory: &impl Memory, record: &Record, pages: &[Run]) -> Result<Vec<u8>, CoreError> {
    let crash = &record.crash;
    let mut threads: Vec<&Thread> = record.threads.iter().collect();
    threads.sort_by_key(|t| (t.tid != crash.tid, t.tid));
    let first = threads.first().filter(|t| t.tid == crash.tid);
    let first = *first.ok_or(CoreError::NoCrashedThread(crash.tid))?;
    let mut out = Vec::new();
    let mut add = |owner: &str, kind: u32, bytes: &[u8]| note(&mut out, owner, kind, bytes);
    for thread in threads {
        let (general, vectors) = sizes(crash.arch);
        if thread.registers.len() != general || thread.vectors.len() < vectors {
            return Err(CoreError::Registers(thread.tid));
        }
        add("CORE", nt::PRSTATUS, &prstatus(record, thread));
        // Those of the process follow its first thread, as Linux has it.
        if std::ptr::eq(thread, first) {
            add("CORE", nt::PRPSINFO, &prpsinfo(record, first));
            add("CORE", nt::SIGINFO, &crash.siginfo);
            if let Some(aux) = auxiliary(memory, pages, crash.stack) {
                add("CORE", nt::AUXV, &aux);
            }
            add("CORE", nt::FILE, &files(record));
        }
        add("CORE", nt::PRFPREG, thread.vectors.get(..vectors).unwrap_or_default());
        match crash.arch {
            Arch::X64 if thread.xcr0 != 0 => {
                let mut state = thread.vectors.clone();
                if let Some(word) = state.get_mut(XCR0..XCR0 + 8) {
                    word.copy_from_slice(&thread.xcr0.to_le_bytes());
                }
                add("LINUX", nt::X86_XSTATE, &state);
            }
            Arch::X64 => {}
            Arch::Aarch64 => add("LINUX", nt::ARM_TLS, &thread.tls.to_le_bytes()),
        }
    }
    Ok(out)
}

/// Adds a note: sizes, type, owner and bytes, each padded to 4 (System V ABI, "Note Section").
fn note(out: &mut Vec<u8>, owner: &str, kind: u32, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for word in [owner.len() as u32 + 1, len, kind] {
        out.extend(word.to_le_bytes());
    }
    for part in [&[owner.as_bytes(), b"\0"].concat(), bytes] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// Fields one after the other.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u32s(&mut self, values: &[u32]) -> &mut Self {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    fn u64s(&mut self, values: &[u64]) -> &mut Self {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    /// `text` in a field of `len` bytes, which ends with a NUL.
    fn text(&mut self, text: &[u8], len: usize) -> &mut Self {
        let end = self.0.len() + len;
        self.0.extend(text.iter().take(len.saturating_sub(1)));
        self.0.resize(end, 0);
        self
    }
}

/// The 32-bit number at `at` of a `siginfo`.
fn info(siginfo: &[u8; 128], at: usize) -> u32 {
    siginfo.get(at..).and_then(|i| i.first_chunk()).map_or(0, |w| u32::from_le_bytes(*w))
}

/// `struct elf_prstatus`.
fn prstatus(record: &Record, thread: &Thread) -> Vec<u8> {
    let crash = &record.crash;
    let [signal, errno, code] = [0, 4, 8].map(|at| info(&crash.siginfo, at));
    let mut out = Fields::default();
    out.u32s(&[signal, code, errno]);
    // pr_cursig has 16 bits; the next field begins at a multiple of 8.
    out.u32s(&[signal & 0xffff]);
    out.u64s(&[thread.pending, thread.blocked]);
    out.u32s(&[thread.tid, 0, PID, PID]);
    for ns in [thread.user_ns, thread.system_ns, 0, 0] {
        out.u64s(&[ns / 1_000_000_000, ns / 1000 % 1_000_000]);
    }
    out.0.extend(&thread.registers);
    // pr_fpvalid.
    out.u32s(&[1, 0]);
    out.0
}

/// `struct elf_prpsinfo`.
fn prpsinfo(record: &Record, thread: &Thread) -> Vec<u8> {
    let crash = &record.crash;
    let mut out = Fields::default();
    // State 0, called R; no zombie, no nice value.
    out.0.extend([0, b'R', 0, 0]);
    out.u32s(&[0]).u64s(&[0]).u32s(&[crash.uid, crash.gid, thread.tid, 0, PID, PID]);
    let name = crash.program.rsplit(|&b| b == b'/').next().unwrap_or_default();
    out.text(name, 16);
    let words = crash.arguments.strip_suffix(b"\0").unwrap_or(&crash.arguments);
    let words: Vec<u8> = words.iter().map(|&b| if b == 0 { b' ' } else { b }).collect();
    out.text(&words, 80);
    out.0
}

/// The files that are mapped: their number, the unit of offsets; start, end and offset of
/// each; their names, each with a NUL.
fn files(record: &Record) -> Vec<u8> {
    let mut mapped: Vec<_> =
        record.mappings.iter().filter(|m| m.flags & flags::FILE != 0).collect();
    mapped.sort_by_key(|m| m.start);
    let mut out = Fields::default();
    out.u64s(&[mapped.len() as u64, PAGE]);
    for m in &mapped {
        out.u64s(&[m.start, m.end, m.offset / PAGE]);
    }
    for m in &mapped {
        // A name ends at its first NUL, whatever the record says.
        out.0.extend(m.path.iter().take_while(|&&b| b != 0));
        out.0.push(0);
    }
    out.0
}

/// The auxiliary vector, behind arguments and environment on the first stack (System V ABI,
/// "Process Initialization"), its end included; `None` when it is not there any more.
/// Debuggers need it to know where a position-independent program lies.
fn auxiliary(memory: &impl Memory, pages: &[Run], stack: u64) -> Option<Vec<u8>> {
    let word = |n: u64| {
        let mut bytes = [0; 8];
        let at = stack.checked_add(n.checked_mul(8)?)?;
        pages::read(memory, pages, at, &mut bytes).then(|| u64::from_le_bytes(bytes))
    };
    let arguments = word(0).filter(|&n| n < STACK_WORDS)?;
    // The count, the arguments, and a null.
    let mut at = 1 + arguments + 1;
    while word(at)? != 0 {
        at += 1;
        if at > STACK_WORDS {
            return None;
        }
    }
    at += 1;
    let mut out = Vec::new();
    for pair in 0..AUX_PAIRS {
        let (kind, value) = (word(at + pair * 2)?, word(at + pair * 2 + 1)?);
        out.extend(kind.to_le_bytes());
        out.extend(value.to_le_bytes());
        if kind == 0 {
            return Some(out);
        }
    }
    None
}
