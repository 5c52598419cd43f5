//! Proves from inside what the kernel offers to programs: each test prints its name and
//! `ok`, a failed one says why; status 0 when all passed.
//!
//! ```text
//! selftest [FILTER]    runs the tests whose name contains FILTER
//! ```

mod files;
mod memory;
mod signals;
mod system;
mod threads;

use std::process::ExitCode;

/// A test: its name, and what it does. An error says what was expected and what was found.
type Test = (&'static str, fn() -> Result<(), String>);

/// Fails the test when two values differ.
macro_rules! same {
    ($left:expr, $right:expr) => {
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    return Err(format!(
                        "line {}: {} is {left:?}, and not {right:?}",
                        line!(),
                        stringify!($left)
                    ));
                }
            }
        }
    };
}
pub(crate) use same;

/// An error of a call that should have worked.
pub(crate) fn failed<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> String + '_ {
    move |e| format!("{what}: {e}")
}

fn all() -> Vec<Test> {
    [files::TESTS, memory::TESTS, threads::TESTS, signals::TESTS, system::TESTS].concat()
}

fn main() -> ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let mut failures = 0;
    let mut run = 0;
    for (name, test) in all() {
        if !name.contains(&filter) {
            continue;
        }
        run += 1;
        match test() {
            Ok(()) => println!("{name}: ok"),
            Err(why) => {
                println!("{name}: FAILED: {why}");
                failures += 1;
            }
        }
    }
    println!("selftest: {run} tests, {failures} failed");
    ExitCode::from(u8::from(failures > 0 || run == 0))
}
