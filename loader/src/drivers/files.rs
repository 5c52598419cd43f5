//! What file systems show and the kernel knows: device files, the process, random bytes.

use driver_api::chardev::{CharFile, Emit};
use driver_api::process::ProcessFiles;
use driver_api::{Error, Result};

use crate::entropy;
use crate::fs::devices;
use crate::process;

#[unsafe(no_mangle)]
extern "Rust" fn osier_add_char_devices(list: &'static [CharFile]) {
    devices::add(list);
}

#[unsafe(no_mangle)]
extern "Rust" fn osier_device_files(emit: &mut Emit<'_>) -> Result<()> {
    devices::each(emit)
}

#[unsafe(no_mangle)]
extern "Rust" fn osier_process_files() -> &'static ProcessFiles {
    &process::FILES
}

#[unsafe(no_mangle)]
extern "Rust" fn osier_random(out: &mut [u8]) -> Result<()> {
    entropy::fill(out).map_err(|_| Error::WouldBlock)
}
