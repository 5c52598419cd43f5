//! System calls made as the table `linux_abi::FORMS` says: well, with bad pointers, with
//! pointers to memory that goes away meanwhile, and at random.

pub mod arena;
mod bad;
pub mod fixture;
mod racing;
pub mod random;
pub mod raw;

use crate::Test;
use arena::Arena;
use fixture::Fixture;
use linux_abi::{Answer, Arg, FORMS, Form};

pub const TESTS: &[Test] = &[
    ("calls: every form works", works),
    ("calls: bad pointers", bad::pointers),
    ("calls: lengths beyond all bounds", bad::lengths),
    ("calls: vectors with bad elements", bad::vectors),
    ("calls: memory that goes away meanwhile", racing::racing),
    ("calls: at random", random::bounded),
];

/// The errors that a bad address may give.
pub const BAD_ADDRESS: [isize; 2] = [-14, -22];

/// The call's number on this arch.
pub fn number(name: &str) -> Option<usize> {
    let call = linux_abi::by_name(name)?;
    let number = if cfg!(target_arch = "x86_64") { call.x64 } else { call.aarch64 };
    number.map(usize::from)
}

/// All forms of calls that this arch has, with their numbers.
pub fn forms() -> impl Iterator<Item = (usize, &'static Form)> {
    FORMS.iter().filter_map(|form| Some((number(form.name)?, form)))
}

/// Arguments with which `form` works, and what it needs done before. Each pointer has a
/// place of its own in `arena`, at the end of readable memory.
pub fn arguments(form: &Form, fixture: &mut Fixture, arena: &Arena) -> Result<[usize; 6], String> {
    fixture.prepare()?;
    let mut out = [0; 6];
    for (i, (slot, arg)) in out.iter_mut().zip(form.args).enumerate() {
        *slot = match *arg {
            Arg::Is(n) | Arg::Any(n) | Arg::Len(n) => n as usize,
            Arg::File => fixture.file as usize,
            Arg::Dir => fixture.dir as usize,
            Arg::Made => fixture.made(form.made_by, arena)?,
            Arg::Pages => arena.pages(),
            Arg::Address => arena.slot(i).end() - 64,
            pointer => {
                let bytes = content(pointer, fixture, arena, i);
                arena.slot(i).place(&bytes)
            }
        };
    }
    Ok(out)
}

/// What is at a pointer when the call is made.
pub fn content(arg: Arg, fixture: &Fixture, arena: &Arena, slot: usize) -> Vec<u8> {
    match arg {
        Arg::In(b) | Arg::InAny(b) | Arg::InOrNull(b) | Arg::Timeout(b) => b.to_vec(),
        Arg::InOut(b) | Arg::InOutOrNull(b) => b.to_vec(),
        Arg::Out(n) | Arg::OutOrNull(n) => vec![0x5a; n],
        Arg::Path => fixture.path("file"),
        Arg::DirPath => fixture.path("empty"),
        Arg::LinkPath => fixture.path("link"),
        Arg::NewPath => fixture.path("new"),
        Arg::VectorIn | Arg::VectorOut => {
            // Two elements, which lie before the vector in its slot.
            let base = arena.slot(slot).start() as u64;
            [base, 32, base + 64, 32].iter().flat_map(|w| w.to_le_bytes()).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether `result` is what `form` answers when all is right.
pub fn is_right(form: &Form, result: isize) -> bool {
    match form.answer {
        Answer::Works => result >= 0,
        Answer::Fails(errno) => result == -(errno as isize),
        Answer::NotMade => true,
    }
}

fn works() -> Result<(), String> {
    let (mut fixture, arena) = (Fixture::new("works")?, Arena::new()?);
    for (number, form) in forms().filter(|(_, f)| f.answer != Answer::NotMade) {
        arena.reset()?;
        let args = arguments(form, &mut fixture, &arena)?;
        let result = raw::call(number, args);
        if !is_right(form, result) {
            return Err(format!("{}{:?} gave {result}: {form:?}", form.name, Hex(&args)));
        }
        fixture.undo(form, result, args);
    }
    Ok(())
}

/// Arguments, to be read by people.
pub struct Hex<'a>(pub &'a [usize]);

impl std::fmt::Debug for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(")?;
        for (i, word) in self.0.iter().enumerate() {
            write!(f, "{}{word:#x}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}
