//! Proves from inside what the kernel offers to programs: each test prints its name and
//! `ok`, a failed one says why; status 0 when all passed.
//!
//! ```text
//! selftest [FILTER]               runs the tests whose name contains FILTER
//! selftest boots                  writes to the disk at the first boot, reads at the second
//! selftest spin                   two busy threads, for `cargo xtask bench smp`
//! selftest crash                  four threads, one of which crashes, for `run-qemu --dump`
//! selftest random SEED SECONDS    makes random system calls for so long
//! ```

mod account;
mod bare;
mod calls;
mod cpu;
mod crash;
mod delivery;
mod disk;
mod edges;
mod events;
mod fifo;
mod files;
mod locks;
mod mapped;
mod memory;
mod mount;
mod queue;
mod sched;
mod signals;
mod stress;
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

/// Whether the kernel is Osier's. Calls made for their own sake are made nowhere else: on
/// the machine of whoever tries the program they would change that machine.
fn on_osier() -> bool {
    rustix::system::uname().version().to_bytes().windows(5).any(|w| w == b"Osier")
}

/// The tests to choose from.
fn all(filter: &str) -> Vec<Test> {
    let mut all =
        [files::TESTS, mapped::TESTS, memory::TESTS, threads::TESTS, signals::TESTS, system::TESTS]
            .concat();
    if on_osier() {
        all.extend(events::TESTS);
        all.extend(cpu::TESTS);
        all.extend(fifo::TESTS);
        all.extend(sched::TESTS);
        all.extend(locks::TESTS);
        all.extend(delivery::TESTS);
        all.extend(queue::TESTS);
        all.extend(edges::TESTS);
        all.extend(calls::TESTS);
    }
    // Asked for by name only: they take all memory.
    if filter.starts_with("stress") && on_osier() {
        all.extend(stress::TESTS);
    }
    // Asked for by name only: other kernels have /dev.
    if filter.starts_with("bare:") && on_osier() {
        all.extend(bare::TESTS);
    }
    // Asked for by name only: they write to the machine's disk.
    for (name, tests) in
        [("disk:", disk::TESTS), ("mount:", mount::TESTS), ("contents:", mount::CONTENTS)]
    {
        if filter.starts_with(name) && on_osier() {
            all.extend(tests);
        }
    }
    all
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [how, seed, seconds] = &args[..]
        && let (Ok(seed), Ok(seconds)) = (seed.parse(), seconds.parse())
        && how == "random"
        && on_osier()
    {
        let result = calls::random::for_seconds(seed, seconds);
        println!("random: {result:?}");
        return ExitCode::from(u8::from(result.is_err()));
    }
    if args == ["spin"] {
        threads::spin();
        return ExitCode::SUCCESS;
    }
    if args == ["boots"] && on_osier() {
        let result = mount::boots();
        println!("boots: {result:?}");
        return ExitCode::from(u8::from(result.is_err()));
    }
    if args == ["crash"] {
        crash::crash();
        return ExitCode::FAILURE;
    }
    let filter = args.first().cloned().unwrap_or_default();
    let mut failures = 0;
    let mut run = 0;
    for (name, test) in all(&filter) {
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
