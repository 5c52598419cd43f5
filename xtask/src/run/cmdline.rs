//! The kernel command line (design §5): words separated by blanks, `"…"` quotes; words
//! `osier.*`, `virtio_mmio.device=*` and `env.*` belong to the kernel wherever they stand;
//! what remains is the program and its arguments.

use crate::error::Refusal;

/// The longest command line that every way of booting carries: Linux's limit on x86
/// (`COMMAND_LINE_SIZE`), which QEMU and the kernel's buffers are made for.
pub const MAX: usize = 2048;

/// Prefixes of the words that are the kernel's.
const SYSTEM: [&str; 3] = ["osier.", "virtio_mmio.device=", "env."];

/// One word: as it stood in the text, and whether it is the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word<'a> {
    raw: &'a str,
    system: bool,
}

/// Splits a command line into its words, quotes kept.
///
/// # Errors
/// A [`Refusal`] for a quote that is not closed.
fn words(line: &str) -> Result<Vec<Word<'_>>, Refusal> {
    let mut out = Vec::new();
    let mut start = None;
    let mut quoted = false;
    let bounds = line.char_indices().chain([(line.len(), ' ')]);
    for (at, c) in bounds {
        if c == '"' {
            quoted = !quoted;
        }
        let blank = (c == ' ' || c == '\t') && !quoted;
        match start {
            None if !blank => start = Some(at),
            Some(from) if blank || at == line.len() => {
                let raw = line.get(from..at).unwrap_or_default();
                let bare = raw.trim_start_matches('"');
                out.push(Word { raw, system: SYSTEM.iter().any(|p| bare.starts_with(p)) });
                start = None;
            }
            _ => {}
        }
    }
    if quoted {
        return Err(Refusal::new(format!("a quote is not closed in the command line: {line}"))
            .help("a word with blanks stands between two `\"`"));
    }
    Ok(out)
}

/// Whether `change` could be part of any command line: what is wrong with it by itself is known
/// before there is an image.
///
/// # Errors
/// As [`compose`].
pub fn check(change: &str) -> Result<(), Refusal> {
    compose("", "", Some(change)).map(drop)
}

/// The command line that the kernel gets: the channel's words, then the image's default
/// line as `change` leaves it. `+…` adds words at the end; anything else replaces the program
/// and its arguments, and keeps the image's own kernel words.
///
/// # Errors
/// A [`Refusal`] for an open quote, a control character, or a line longer than [`MAX`].
pub fn compose(channel: &str, default: &str, change: Option<&str>) -> Result<String, Refusal> {
    let default = default.trim();
    let mut parts = vec![channel];
    match change.map(|c| c.strip_prefix('+').ok_or(c)) {
        None => parts.push(default),
        Some(Ok(added)) => parts.extend([default, added.trim()]),
        Some(Err(program)) => {
            let kept = words(default)?.into_iter().filter(|w| w.system).map(|w| w.raw);
            parts.extend(kept);
            parts.push(program.trim());
        }
    }
    parts.retain(|p| !p.is_empty());
    let line = parts.join(" ");
    words(&line)?;
    if let Some(c) = line.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(Refusal::new(format!("the command line holds the control character {c:?}")));
    }
    if line.len() > MAX {
        let over = line.len() - MAX;
        return Err(Refusal::new(format!(
            "the kernel command line is {} bytes long, {over} more than the {MAX} that fit",
            line.len()
        ))
        .help("put long lists into a file of the image instead"));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "osier.root=ramfs env.A=\"1 2\" /bin/hello x";

    #[test]
    fn the_default_line_follows_the_channel() {
        assert_eq!(
            compose("osier.exit=debugcon", &format!("{DEFAULT}\n"), None).unwrap(),
            format!("osier.exit=debugcon {DEFAULT}")
        );
    }

    #[test]
    fn a_program_replaces_the_program_part_only() {
        assert_eq!(
            compose("osier.exit=debugcon", DEFAULT, Some("/bin/hello --exit 7")).unwrap(),
            "osier.exit=debugcon osier.root=ramfs env.A=\"1 2\" /bin/hello --exit 7"
        );
    }

    #[test]
    fn a_plus_adds_words() {
        assert_eq!(
            compose("c", DEFAULT, Some("+y \"z z\"")).unwrap(),
            format!("c {DEFAULT} y \"z z\"")
        );
        assert_eq!(compose("", DEFAULT, Some("+")).unwrap(), DEFAULT);
    }

    #[test]
    fn quoted_words_are_one() {
        let raw: Vec<&str> =
            words("a \"b c\" d\"e f\"g \"osier.x=1\"").unwrap().iter().map(|w| w.raw).collect();
        assert_eq!(raw, ["a", "\"b c\"", "d\"e f\"g", "\"osier.x=1\""]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let open = compose("", DEFAULT, Some("/bin/x \"y")).unwrap_err();
        assert!(open.message.contains("not closed"), "{}", open.message);
        let control = compose("", DEFAULT, Some("a\nb")).unwrap_err();
        assert!(control.message.contains("'\\n'"), "{}", control.message);
        let long = compose("", DEFAULT, Some(&"x".repeat(MAX + 1))).unwrap_err();
        assert!(long.message.contains("more than the 2048"), "{}", long.message);
    }
}
