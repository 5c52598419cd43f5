//! One bad argument at a time.

use super::arena::{self, Arena, put};
use super::fixture::Fixture;
use super::{BAD_ADDRESS, Hex, arguments, content, forms, is_right, raw};
use linux_abi::{Answer, Arg, Form};

/// The first address that programs never have.
const USER_END: usize = 1 << 47;

/// An error for the test's report.
fn wrong(form: &Form, args: &[usize], result: isize, why: &str) -> String {
    format!("{}{:?}, {why}, gave {result}", form.name, Hex(args))
}

/// Addresses where nothing can be read or written, whatever the object is; `len` is its
/// length: the last places lack only its last byte, and all but its first.
fn nowhere(arena: &Arena, slot: usize, len: usize) -> Vec<usize> {
    let end = arena.slot(slot).end();
    let mut all = vec![
        1,
        0xfff,
        0x1_0000,
        end,
        arena.no_access(),
        USER_END - 1,
        USER_END,
        1 << 48,
        // The kernel's half on both archs: its image, its direct map, its last bytes.
        0xffff_ffff_8020_0000,
        0xffff_0000_4008_0000,
        0xffff_8000_0000_0000,
        usize::MAX - 7,
        usize::MAX,
    ];
    if len > 1 {
        all.extend([end - 1, end - len + 1]);
    }
    all
}

/// Each pointer of each form, at places that are not there: the call answers `EFAULT` or
/// `EINVAL`, and where a pointer is only misaligned it may also work.
pub fn pointers() -> Result<(), String> {
    let (mut fixture, arena) = (Fixture::new("bad")?, Arena::new()?);
    let mut made = 0;
    for (number, form) in forms() {
        let fails = matches!(form.answer, Answer::Fails(_));
        for (i, arg) in form.args.iter().enumerate().filter(|(_, a)| a.is_pointer()) {
            arena.reset()?;
            let good = arguments(form, &mut fixture, &arena)?;
            let bytes = content(*arg, &fixture, &arena, i);
            let mut places = nowhere(&arena, i, bytes.len());
            if !arg.may_be_null() {
                places.push(0);
            }
            if arg.is_written() && !matches!(arg, Arg::InOut(_)) {
                places.push(arena.read_only());
            }
            for at in places {
                // What is there of the object is right, so that only its end is missing.
                let end = arena.slot(i).end();
                if arena.slot(i).start() <= at && at < end {
                    put(at, &bytes[..end - at]);
                }
                let mut args = good;
                args[i] = at;
                let result = raw::call(number, args);
                made += 1;
                if !(BAD_ADDRESS.contains(&result) || fails && is_right(form, result)) {
                    return Err(wrong(form, &args, result, "with a bad pointer"));
                }
            }
            if form.answer == Answer::NotMade {
                continue;
            }
            // Misaligned, at the very end of what is there: all of it can be reached.
            let mut args = arguments(form, &mut fixture, &arena)?;
            args[i] =
                arena.slot(i).end() - bytes.len() - usize::from(bytes.len().is_multiple_of(2));
            put(args[i], &bytes);
            let result = raw::call(number, args);
            if !(is_right(form, result) || BAD_ADDRESS.contains(&result)) {
                return Err(wrong(form, &args, result, "with a misaligned pointer"));
            }
            fixture.undo(form, result, args);
        }
        if arena::get(arena.read_only(), 4096).iter().any(|b| *b != 0) {
            return Err(format!("{} wrote to a read-only page", form.name));
        }
    }
    // The table is there, and was gone through.
    if made > 1000 { Ok(()) } else { Err(format!("{made} calls only")) }
}

/// Each length of each form far too large, with as much memory as the right one takes: an
/// error, or no more done than memory is there for.
pub fn lengths() -> Result<(), String> {
    let (mut fixture, arena) = (Fixture::new("lengths")?, Arena::new()?);
    for (number, form) in forms().filter(|(_, f)| f.answer == Answer::Works) {
        for (i, arg) in form.args.iter().enumerate() {
            let Arg::Len(right) = *arg else { continue };
            for len in [usize::MAX, usize::MAX - 4095, isize::MAX as usize, 1 << 48] {
                arena.reset()?;
                let mut args = arguments(form, &mut fixture, &arena)?;
                // Pointers so that their objects end where memory does.
                for (j, other) in form.args.iter().enumerate().filter(|(_, a)| a.is_pointer()) {
                    let bytes = content(*other, &fixture, &arena, j);
                    args[j] = arena.slot(j).end() - bytes.len();
                    put(args[j], &bytes);
                }
                args[i] = len;
                let result = raw::call(number, args);
                // EFAULT, EINVAL; ENOMEM, E2BIG, ENAMETOOLONG say "too long" too.
                let refused = [-14, -22, -12, -7, -36].contains(&result);
                let short = (0..=right.cast_signed() as isize).contains(&result);
                if !(refused || short) {
                    return Err(wrong(form, &args, result, "with a length beyond all bounds"));
                }
            }
        }
    }
    Ok(())
}

/// Vectors whose elements are bad: the call fails, or does what comes before them.
pub fn vectors() -> Result<(), String> {
    let (mut fixture, arena) = (Fixture::new("vectors")?, Arena::new()?);
    for (number, form) in forms() {
        let vector = |a: &Arg| matches!(a, Arg::VectorIn | Arg::VectorOut);
        let Some(i) = form.args.iter().position(vector) else { continue };
        for at in nowhere(&arena, i, 32) {
            for (element, right) in [(0, None), (1, Some(32))] {
                arena.reset()?;
                let args = arguments(form, &mut fixture, &arena)?;
                put(args[i] + element * 16, &(at as u64).to_le_bytes());
                let result = raw::call(number, args);
                if right != Some(result) && !BAD_ADDRESS.contains(&result) {
                    let why = format!("with element {element} at {at:#x}");
                    return Err(wrong(form, &args, result, &why));
                }
            }
        }
        // Lengths that are negative, and such that only their sum is too large.
        for len in [u64::MAX, i64::MAX as u64] {
            arena.reset()?;
            let args = arguments(form, &mut fixture, &arena)?;
            put(args[i] + 8, &len.to_le_bytes());
            put(args[i] + 24, &len.to_le_bytes());
            let result = raw::call(number, args);
            let there = (arena.slot(i).end() - arena.slot(i).start()) as isize;
            if result > there || result < 0 && !BAD_ADDRESS.contains(&result) {
                return Err(wrong(form, &args, result, "with an element of that length"));
            }
        }
    }
    Ok(())
}
