//! `SIZE@BASE:IRQ[:ID]`.

use driver_api::{IrqLine, Trigger};

use crate::Place;

/// The place that a word describes; `None` when it describes none.
pub(crate) fn parse(word: &[u8]) -> Option<Place> {
    let text = core::str::from_utf8(word).ok()?;
    let (size, rest) = text.split_once('@')?;
    let mut rest = rest.split(':');
    let (base, irq) = (number(rest.next()?)?, number(rest.next()?)?);
    // An id only tells Linux how to call it.
    rest.next().map(number).is_none_or(|id| id.is_some()).then_some(())?;
    if rest.next().is_some() {
        return None;
    }
    let line = IrqLine(u32::try_from(irq).ok()?);
    // The interrupts of a PC's old devices are edges, and this is how VMMs connect them.
    Some(Place { base, len: number(size)?, line, trigger: Trigger::Edge })
}

/// A number: decimal, hexadecimal after `0x`, with `K`, `M` or `G` behind it.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 10),
        b'M' | b'm' => (text.get(..text.len() - 1)?, 20),
        b'G' | b'g' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    value.ok().filter(|_| !digits.contains('+'))?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_qemu_and_firecracker_are_read() {
        let place = |base, len, line| {
            Some(Place { base, len, line: IrqLine(line), trigger: Trigger::Edge })
        };
        assert_eq!(parse(b"512@0xfeb00e00:12"), place(0xfeb0_0e00, 512, 12));
        assert_eq!(parse(b"4K@0xd0000000:5"), place(0xd000_0000, 4096, 5));
        assert_eq!(parse(b"0x200@0xfeb00000:0x18:3"), place(0xfeb0_0000, 512, 24));
    }

    #[test]
    fn other_words_are_none() {
        for word in [
            "",
            "512",
            "512@",
            "512@0x1",
            "512@0x1:",
            "512@0x1:x",
            "512@0x1:5:",
            "512@0x1:5:1:1",
            "K@0x1:5",
            "-1@0x1:5",
            "+1@0x1:5",
            "512@0x1:4294967296",
            "20000000000G@0x1:5",
        ] {
            assert_eq!(parse(word.as_bytes()), None, "{word}");
        }
        assert_eq!(parse(&[0xff, b'@']), None);
    }
}
