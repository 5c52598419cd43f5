//! `P+driver~driver`: a profile as users select it.

use crate::model::Name;
use serde::Serialize;
use std::collections::BTreeSet;

/// A profile, with drivers added and taken away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProfileSelector {
    /// The profile.
    pub profile: Name,
    /// Drivers or roles added by `+`.
    pub plus: BTreeSet<Name>,
    /// Drivers taken away by `~`.
    pub minus: BTreeSet<Name>,
}

impl std::str::FromStr for ProfileSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let end = text.find(['+', '~']).unwrap_or(text.len());
        let (head, mut rest) = text.split_at(end);
        let name = |s: &str, what: &str| {
            Name::new(s).map_err(|e| match s {
                "" => format!("`{text}`: {what} is missing; write PROFILE+driver~driver"),
                _ => format!("`{text}`: {e}"),
            })
        };
        let profile = name(head, "the profile's name")?;
        let (mut plus, mut minus) = (BTreeSet::new(), BTreeSet::new());
        while let Some(sign) = rest.chars().next() {
            let tail = rest.get(1..).unwrap_or("");
            let end = tail.find(['+', '~']).unwrap_or(tail.len());
            let (driver, next) = tail.split_at(end);
            let driver = name(driver, &format!("a driver's name after `{sign}`"))?;
            let (to, other) = match sign {
                '+' => (&mut plus, &minus),
                _ => (&mut minus, &plus),
            };
            if other.contains(&driver) {
                return Err(format!("`{text}` both adds and removes `{driver}`"));
            }
            to.insert(driver);
            rest = next;
        }
        Ok(Self { profile, plus, minus })
    }
}

/// In one spelling, whatever the order in which it was written: additions, then removals,
/// each sorted.
impl std::fmt::Display for ProfileSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.profile)?;
        self.plus.iter().try_for_each(|d| write!(f, "+{d}"))?;
        self.minus.iter().try_for_each(|d| write!(f, "~{d}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_and_written_in_one_order() {
        for (text, canonical) in [
            ("all", "all"),
            ("all+b+a", "all+a+b"),
            ("base~x+y~w", "base+y~w~x"),
            ("all+a+a", "all+a"),
        ] {
            let selector: ProfileSelector = text.parse().expect(text);
            assert_eq!(selector.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(selector));
        }
    }

    #[test]
    fn bad_selectors_are_refused_by_what_is_wrong() {
        for (text, message) in [
            ("", "``: the profile's name is missing; write PROFILE+driver~driver"),
            ("+a", "`+a`: the profile's name is missing; write PROFILE+driver~driver"),
            ("all+", "`all+`: a driver's name after `+` is missing; write PROFILE+driver~driver"),
            (
                "all~~a",
                "`all~~a`: a driver's name after `~` is missing; write PROFILE+driver~driver",
            ),
            ("all+a~a", "`all+a~a` both adds and removes `a`"),
        ] {
            assert_eq!(text.parse::<ProfileSelector>(), Err(message.to_owned()));
        }
        let error = "all+A".parse::<ProfileSelector>().expect_err("capital");
        assert!(error.contains("`A` is not a name"), "{error}");
    }
}
