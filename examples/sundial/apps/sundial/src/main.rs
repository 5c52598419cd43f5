//! Greets as its configuration file says, and tells the time.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// The words after `greeting =` in a configuration file.
fn greeting(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("greeting =")).map(str::trim)
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("sundial: usage: sundial CONFIG");
        return ExitCode::from(2);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("sundial: cannot read {path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    println!("{}, {seconds} s after 1970", greeting(&text).unwrap_or("No greeting"));
    ExitCode::SUCCESS
}
