//! Amounts of memory as users type them, and the least that an image can be started in.

use crate::config::resolved::MemorySize;
use crate::error::Refusal;
use crate::model::Arch;

/// Parses `6M`, `64M`, `1G`, `512K`, `6MiB`; a bare number is mebibytes, as in QEMU.
///
/// # Errors
/// A [`Refusal`] when it is not an amount, or does not fit 64 bits.
pub fn parse(text: &str) -> Result<MemorySize, Refusal> {
    let bad = || {
        Refusal::new(format!("`{text}` is not an amount of memory"))
            .help("write it as 6M, 512K or 1G")
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase();
    let shift = match suffix.trim_end_matches("ib") {
        "k" => 10,
        "m" | "" => 20,
        "g" => 30,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let bytes = number.checked_mul(1 << shift).filter(|&b| b > 0).ok_or_else(bad)?;
    Ok(MemorySize(bytes))
}

/// Where the arch's machines have the first byte of RAM.
#[must_use]
pub const fn ram_start(arch: Arch) -> u64 {
    match arch {
        Arch::X64 => 0,
        // QEMU's `virt` machine, hw/arm/virt.c: VIRT_MEM.
        Arch::Aarch64 => 0x4000_0000,
    }
}

/// Checks that an image whose last byte lies before the physical address `image_end` fits
/// into a machine's memory.
///
/// # Errors
/// A [`Refusal`] that says where the image ends and what amount would do.
pub fn check_fits(arch: Arch, memory: MemorySize, image_end: u64) -> Result<(), Refusal> {
    let need = image_end.saturating_sub(ram_start(arch));
    if memory.0 >= need {
        return Ok(());
    }
    // Page tables, heap and the program need room besides the image.
    let enough = need.saturating_add(4 << 20).div_ceil(1 << 20);
    Err(Refusal::new(format!(
        "--memory {} is less than the image needs: it is loaded up to {image_end:#x}, {} KiB above the start of RAM",
        show(memory),
        need.div_ceil(1024)
    ))
    .help(format!("try --memory {enough}M")))
}

/// An amount in the largest unit that holds it exactly.
#[must_use]
pub fn show(MemorySize(bytes): MemorySize) -> String {
    match bytes {
        b if b % (1 << 30) == 0 => format!("{}G", b >> 30),
        b if b % (1 << 20) == 0 => format!("{}M", b >> 20),
        b if b % (1 << 10) == 0 => format!("{}K", b >> 10),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, bytes) in [
            ("6M", 6 << 20),
            ("512k", 512 << 10),
            ("1G", 1 << 30),
            ("64", 64 << 20),
            ("2MiB", 2 << 20),
        ] {
            assert_eq!(parse(text), Ok(MemorySize(bytes)), "{text}");
        }
        for text in
            ["", "M", "0M", "-1M", "1T", "1.5G", "99999999999999999999", "18446744073709551615G"]
        {
            let e = parse(text).unwrap_err();
            assert!(e.message.contains(&format!("`{text}`")), "{}", e.message);
        }
    }

    #[test]
    fn too_little_memory_says_what_would_do() {
        let e = check_fits(Arch::X64, MemorySize(1 << 20), 0x24_0000).unwrap_err();
        assert!(e.message.contains("--memory 1M is less") && e.message.contains("0x240000"), "{e}");
        assert_eq!(e.help, ["try --memory 7M"]);
        assert_eq!(check_fits(Arch::X64, MemorySize(6 << 20), 0x24_0000), Ok(()));
        assert_eq!(check_fits(Arch::Aarch64, MemorySize(12 << 20), 0x4020_0000), Ok(()));
        assert!(check_fits(Arch::Aarch64, MemorySize(1 << 20), 0x4020_0000).is_err());
    }
}
