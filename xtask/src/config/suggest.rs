//! Did you mean …?

/// The candidate that `word` was most likely meant to be, when one is near enough: at
/// most a third of its letters wrong (transpositions count once), or a part of the word.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase().replace('_', "-");
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == word {
            continue;
        }
        let mut distance = strsim::damerau_levenshtein(&folded, candidate);
        let part = folded.len() >= 3 && (candidate.contains(&folded) || folded.contains(candidate));
        if part && candidate.len() >= 3 {
            distance = distance.min(2);
        }
        let longest = folded.chars().count().max(candidate.chars().count());
        let near = distance <= (longest / 3).max(1) || (part && candidate.len() >= 3);
        if near && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, c)| c)
}

/// A help line for an unknown `word`: the nearest candidate, else all of them when they
/// are few, else `more`, the command that lists them.
pub fn help<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    more: &str,
) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<String> = candidates.into_iter().map(|c| format!("`{c}`")).collect();
    match all.len() {
        0 => format!("there is none yet{more}"),
        1 => format!("there is only {}", list(&all, "and")),
        2..=12 => format!("there are {}", list(&all, "and")),
        _ => format!("there are {} of them{more}", all.len()),
    }
}

/// `a, b and c`.
#[must_use]
pub fn list(items: &[String], last: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., tail] => format!("{} {last} {tail}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let names = ["virtio-blk", "virtio-net", "pl011", "ns16550"];
        for (typed, meant) in [
            ("virtio-blc", Some("virtio-blk")),
            ("virtoi-net", Some("virtio-net")),
            ("virtio_net", Some("virtio-net")),
            ("PL011", Some("pl011")),
            ("16550", Some("ns16550")),
            ("zfs", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }

    #[test]
    fn lists_read_as_sentences() {
        let v = |n: usize| ["a", "b", "c"][..n].iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(list(&v(0), "and"), "");
        assert_eq!(list(&v(1), "and"), "a");
        assert_eq!(list(&v(3), "or"), "a, b or c");
    }
}
