//! The first program: greets from inside an Osier kernel, and shows what a program is given
//! there. It is an ordinary Linux program and does the same on Linux.
//!
//! ```text
//! hello [WORD…]      greets, shows its words and environment
//!   --exit N         then ends with status N (0 … 255)
//!   --stdin          then reads lines and repeats them, until an empty one or the end
//!   --panic          then panics (status 101)
//!   --segfault       then writes where nothing is mapped (signal 11)
//!   --abort          then aborts (signal 6)
//!   --oom            then takes memory until there is none
//! ```
#![deny(unsafe_code)]

mod crash;

use rustix::time::{ClockId, clock_gettime};
use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

/// What the program does after the greeting.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    Exit(u8),
    Stdin,
    Panic,
    Segfault,
    Abort,
    Oom,
}

/// Finds what to do in the words after the program's name. Words that are no option are
/// only shown.
fn parse(args: &[String]) -> Result<Then, String> {
    let mut then = Then::Exit(0);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        then = match arg.as_str() {
            "--exit" => {
                let n = args.next().ok_or("--exit wants a status, as in `--exit 3`")?;
                Then::Exit(n.parse().map_err(|_| format!("`{n}` is no status from 0 to 255"))?)
            }
            "--stdin" => Then::Stdin,
            "--panic" => Then::Panic,
            "--segfault" => Then::Segfault,
            "--abort" => Then::Abort,
            "--oom" => Then::Oom,
            option if option.starts_with("--") => {
                return Err(format!("unknown option `{option}`"));
            }
            _ => continue,
        };
    }
    Ok(then)
}

/// Everything that is shown, in one piece: a console write is a system call.
fn greeting() -> String {
    let system = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let up = clock_gettime(ClockId::Boottime);
    let mut out = format!(
        "Hello from {} {} on {}\n",
        text(system.sysname()),
        text(system.release()),
        text(system.machine())
    );
    out += &format!("  uptime: {}.{:06} s\n", up.tv_sec, up.tv_nsec / 1000);
    for (n, arg) in std::env::args_os().enumerate() {
        out += &format!("  argv[{n}]: {}\n", arg.to_string_lossy());
    }
    for (name, value) in std::env::vars_os() {
        out += &format!("  env: {}={}\n", name.to_string_lossy(), value.to_string_lossy());
    }
    match std::fs::read_to_string("/etc/motd") {
        Ok(motd) => motd.lines().for_each(|line| out += &format!("  /etc/motd: {line}\n")),
        Err(e) => out += &format!("  /etc/motd: {e}\n"),
    }
    out
}

/// Repeats lines until an empty one or the end of the input.
fn repeat_lines() -> std::io::Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        println!("read: {line}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let then = match parse(&args) {
        Ok(then) => then,
        Err(message) => {
            eprintln!("hello: {message}");
            return ExitCode::from(2);
        }
    };
    let mut out = std::io::stdout().lock();
    if out.write_all(greeting().as_bytes()).and_then(|()| out.flush()).is_err() {
        return ExitCode::FAILURE;
    }
    drop(out);
    match then {
        Then::Exit(status) => return ExitCode::from(status),
        Then::Stdin => {
            if let Err(e) = repeat_lines() {
                eprintln!("hello: standard input: {e}");
                return ExitCode::FAILURE;
            }
        }
        Then::Panic => panic!("asked for by --panic"),
        Then::Segfault => crash::segfault(),
        Then::Abort => std::process::abort(),
        Then::Oom => crash::take_all_memory(),
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Then, String> {
        parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_found_between_words() {
        assert_eq!(parsed(&[]), Ok(Then::Exit(0)));
        assert_eq!(parsed(&["a", "--exit", "255", "b"]), Ok(Then::Exit(255)));
        assert_eq!(parsed(&["--stdin"]), Ok(Then::Stdin));
    }

    #[test]
    fn bad_options_are_refused_by_name() {
        assert_eq!(parsed(&["--exit", "256"]), Err("`256` is no status from 0 to 255".into()));
        assert!(parsed(&["--exit"]).is_err_and(|e| e.contains("--exit 3")));
        assert_eq!(parsed(&["--exti"]), Err("unknown option `--exti`".into()));
    }

    #[test]
    fn the_first_line_greets() {
        assert!(greeting().starts_with("Hello from "));
    }
}
