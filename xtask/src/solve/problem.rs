//! What stands against a kernel, in words.

use super::{AnyOf, Ask, Asker, Reason};
use crate::config::resolved::Origin;
use crate::config::suggest;
use crate::model::{Arch, Name};
use serde::Serialize;

/// Why a request has no solution: one problem or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SolveError {
    /// The arch of the kernel.
    pub arch: Arch,
    /// At least one.
    pub problems: Vec<Problem>,
}

/// A chain of drivers, from one that was asked for to one that requires what is unmet.
pub type Chain = Vec<(Name, Reason)>;

/// One thing that stands against a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// A name that no profile, image, driver or role has.
    Unknown {
        /// The name.
        name: Name,
        /// What was perhaps meant.
        help: String,
    },
    /// No driver for this arch fills the requirement.
    Unmet {
        /// How the requirement came about; empty when it was asked for by name.
        chain: Chain,
        /// Who requires it.
        reason: Reason,
        /// The requirement.
        any_of: AnyOf,
        /// Drivers for other archs that fill it.
        elsewhere: Vec<(Name, Vec<Arch>)>,
    },
    /// Several drivers fill the requirement and none of them is chosen.
    Ambiguous {
        /// As in [`Problem::Unmet`].
        chain: Chain,
        /// As in [`Problem::Unmet`].
        reason: Reason,
        /// As in [`Problem::Unmet`].
        any_of: AnyOf,
        /// The drivers.
        candidates: Vec<Name>,
    },
    /// Only drivers that `~` took away fill the requirement.
    Removed {
        /// As in [`Problem::Unmet`].
        chain: Chain,
        /// As in [`Problem::Unmet`].
        reason: Reason,
        /// As in [`Problem::Unmet`].
        any_of: AnyOf,
        /// The drivers.
        removed: Vec<Name>,
    },
    /// Two chosen drivers cannot be in one kernel.
    Conflict {
        /// The driver that declares the conflict.
        driver: Name,
        /// The driver or role that it names.
        over: Name,
        /// The driver that it meets.
        other: Name,
        /// How the first came in.
        chain: Chain,
        /// How the other came in.
        other_chain: Chain,
    },
}

impl Problem {
    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self, arch: Arch) -> String {
        match self {
            Problem::Unknown { name, .. } => format!("unknown driver or role `{name}`"),
            Problem::Unmet { any_of, .. } => {
                format!("no driver for {arch} fills {}", roles(any_of))
            }
            Problem::Ambiguous { any_of, candidates, .. } => {
                format!("several drivers fill {}: {}", roles(any_of), quoted(candidates, "and"))
            }
            Problem::Removed { any_of, removed, .. } => {
                let was = if removed.len() == 1 { "was" } else { "were" };
                let gone = quoted(removed, "and");
                format!("{} is needed, but {gone} {was} taken away by `~`", roles(any_of))
            }
            Problem::Conflict { driver, over, other, .. } if over == other => {
                format!("`{driver}` and `{other}` cannot be in one kernel")
            }
            Problem::Conflict { driver, over, other, .. } => format!(
                "`{driver}` cannot be in one kernel with another driver that fills `{over}`, \
                 which `{other}` does"
            ),
        }
    }

    /// The chain in words, from the request on; empty for an unknown name.
    #[must_use]
    pub fn because(&self) -> Vec<String> {
        match self {
            Problem::Unknown { .. } => Vec::new(),
            Problem::Unmet { chain, reason, .. }
            | Problem::Ambiguous { chain, reason, .. }
            | Problem::Removed { chain, reason, .. } => {
                let mut lines: Vec<String> = chain.iter().map(|(n, r)| link(n, r)).collect();
                lines.push(last_link(reason));
                lines
            }
            Problem::Conflict { chain, other_chain, .. } => {
                chain.iter().chain(other_chain).map(|(n, r)| link(n, r)).collect()
            }
        }
    }

    /// What to type next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Problem::Unknown { help, .. } => help.clone(),
            Problem::Unmet { elsewhere, .. } if elsewhere.is_empty() => {
                "write a driver that provides it: `cargo xtask new driver NAME`".to_owned()
            }
            Problem::Unmet { elsewhere, .. } => {
                let one = |(name, arches): &(Name, Vec<Arch>)| {
                    let arches: Vec<String> = arches.iter().map(Arch::to_string).collect();
                    format!("`{name}` is for {}", suggest::list(&arches, "and"))
                };
                elsewhere.iter().map(one).collect::<Vec<_>>().join("; ")
            }
            Problem::Ambiguous { candidates, .. } => {
                let plus: Vec<String> = candidates.iter().map(|c| format!("`+{c}`")).collect();
                format!("choose one: add {} to the profile", suggest::list(&plus, "or"))
            }
            // What every image has without asking, an image can do without.
            Problem::Removed { reason: Reason::Asked(ask), .. }
                if matches!(ask.by, Asker::Image(_)) && ask.origin == Origin::Default =>
            {
                let name = &ask.name;
                format!("leave out `~{name}`, or let the image do without: `roles = [\"~{name}\"]`")
            }
            Problem::Removed { removed, .. } => {
                let minus: Vec<String> = removed.iter().map(|c| format!("`~{c}`")).collect();
                format!("leave out {}, or take away what needs it", suggest::list(&minus, "or"))
            }
            Problem::Conflict { driver, other, .. } => {
                format!("take one of them away: `~{driver}` or `~{other}`")
            }
        }
    }
}

/// A link of a chain in words.
#[must_use]
pub fn link(name: &Name, reason: &Reason) -> String {
    match reason {
        Reason::Asked(ask) if ask.name == *name => {
            format!("`{name}` is asked for by {}", asker(ask))
        }
        Reason::Asked(ask) => {
            format!("`{name}` alone fills `{}`, asked for by {}", ask.name, asker(ask))
        }
        Reason::Required { by, any_of } if any_of.as_slice() == std::slice::from_ref(name) => {
            format!("`{by}` requires `{name}`")
        }
        Reason::Required { by, any_of } => {
            format!("`{by}` requires {}, which `{name}` alone fills", roles(any_of))
        }
    }
}

fn last_link(reason: &Reason) -> String {
    match reason {
        Reason::Asked(ask) => format!("`{}` is asked for by {}", ask.name, asker(ask)),
        Reason::Required { by, any_of } => format!("`{by}` requires {}", roles(any_of)),
    }
}

fn asker(ask: &Ask) -> String {
    match &ask.by {
        Asker::Profile(name) => format!("the profile `{name}` ({})", ask.origin),
        Asker::Image(name) => format!("the image `{name}` ({})", ask.origin),
        Asker::Root(name) => format!("the root of the image `{name}` ({})", ask.origin),
        Asker::Selector => format!("`+{}`", ask.name),
    }
}

fn roles(any_of: &[Name]) -> String {
    match any_of {
        [one] => format!("`{one}`"),
        many => format!("any of {}", quoted(many, "and")),
    }
}

fn quoted(names: &[Name], last: &str) -> String {
    let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    suggest::list(&names, last)
}

impl std::fmt::Display for SolveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", problem.message(self.arch))?;
            for line in problem.because() {
                write!(f, "\n  because {line}")?;
            }
            write!(f, "\n  help: {}", problem.help())?;
        }
        Ok(())
    }
}

impl std::error::Error for SolveError {}
