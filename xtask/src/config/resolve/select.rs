//! Names that select: `[select]` tables, and the profiles that scenarios boot.

use super::{Definitions, names};
use crate::config::decode::Val;
use crate::config::diag::FileId;
use crate::config::loader::Loader;
use crate::config::raw::project::RawSelect;
use crate::config::selector::ProfileSelector;
use crate::config::suggest;
use crate::model::Name;
use std::collections::BTreeSet;

/// Reports names in a `[select]` table that nothing has.
pub fn check(loader: &mut Loader<'_>, defs: &Definitions, file: FileId, select: &RawSelect) {
    for profile in select.profile.iter().flat_map(|p| &p.0) {
        self::profile(loader, defs, file, profile);
    }
    for image in select.image.iter().flat_map(|i| &i.0) {
        if !image.bad && !defs.images.contains_key(&image.value) {
            loader.unknown(file, image, "image", names(&defs.images));
        }
    }
    if let Some(machine) = select.machine.as_ref().filter(|m| !m.bad)
        && !defs.machines.contains_key(&machine.value)
    {
        loader.unknown(file, machine, "machine", names(&defs.machines));
    }
}

/// Reads `P+driver~driver`, whose names must exist on some arch; `None` when a mistake was
/// reported.
pub fn profile(
    loader: &mut Loader<'_>,
    defs: &Definitions,
    file: FileId,
    written: &Val<String>,
) -> Option<ProfileSelector> {
    if written.bad {
        return None;
    }
    let selector = match written.value.parse::<ProfileSelector>() {
        Ok(selector) => selector,
        Err(message) => {
            loader.report(file, written, message);
            return None;
        }
    };
    let known: BTreeSet<&str> =
        defs.profiles.values().flat_map(|p| p.keys().map(Name::as_str)).collect();
    if !known.contains(selector.profile.as_str()) {
        let help = suggest::help(selector.profile.as_str(), known.iter().copied(), "");
        let message = format!("unknown profile `{}`", selector.profile);
        loader.report(file, written, message).helps.push(help);
        return None;
    }
    for driver in selector.plus.iter().chain(&selector.minus) {
        if !defs.roles.contains(driver) {
            let known = defs.roles.iter().map(Name::as_str);
            let help = suggest::help(driver.as_str(), known, "");
            let message = format!("unknown driver or role `{driver}`");
            loader.report(file, written, message).helps.push(help);
        }
    }
    Some(selector)
}
