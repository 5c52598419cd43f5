//! Which crates registered a driver, told from the symbols in the list that the linker
//! gathered (`linkme`): one symbol an entry, and its crate is the first part of its name.

use super::super::names::crate_of;
use super::Finding;
use super::view::FileView;
use std::collections::BTreeSet;

/// The section with the entries of `driver_api::DRIVERS`.
const LIST: &str = "linkme_DRIVERS";

/// Compares the crates that registered with the planned drivers.
pub fn check(file: &FileView<'_>, planned: &[&str], found: &mut Vec<Finding>) {
    let registered = match registered(file) {
        Ok(registered) => registered,
        Err(why) => {
            found.push(Finding::DriverList(why));
            return;
        }
    };
    // A crate's name in symbols has `_` where its package's has `-`.
    let planned: BTreeSet<String> = planned.iter().map(|d| d.replace('-', "_")).collect();
    let package = |name: &String| name.replace('_', "-");
    found.extend(registered.difference(&planned).map(|d| Finding::UnplannedDriver(package(d))));
    found.extend(planned.difference(&registered).map(|d| Finding::MissingDriver(package(d))));
}

/// The crates with entries in the list; none when a kernel has no list.
fn registered(file: &FileView<'_>) -> Result<BTreeSet<String>, String> {
    let sections = &file.elf.section_headers;
    let Some(index) = sections.iter().position(|s| file.section_name(s) == LIST) else {
        return Ok(BTreeSet::new());
    };
    let length = sections.get(index).map_or(0, |s| s.sh_size);
    let entries = file.elf.syms.iter().filter(|s| s.st_shndx == index && s.st_size > 0);
    let (mut crates, mut covered) = (BTreeSet::new(), 0u64);
    for symbol in entries {
        let name = file.name(&symbol);
        crates.insert(crate_of(name).ok_or_else(|| format!("`{name}` is no Rust symbol"))?);
        covered = covered.saturating_add(symbol.st_size);
    }
    if covered != length {
        return Err(format!("its symbols cover {covered} of {length} bytes"));
    }
    Ok(crates)
}
