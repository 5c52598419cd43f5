//! Disks of scenarios, and what must be on them.

use super::super::suggest;
use crate::config::diag::FileId;
use crate::config::loader::Loader;
use crate::config::raw::scenario::RawScenario;
use crate::config::resolved::{Disk, DiskCheck, DiskContent};
use crate::model::Pattern;
use std::collections::BTreeSet;

/// The largest disk with a pattern other than zero, which is written out before the VM
/// starts: 256 MiB.
const MAX_PATTERNED: u64 = 256 << 20;
/// The longest name of a disk: its serial number (`VIRTIO_BLK_ID_BYTES`; virtio 1.2, 5.2.6).
const MAX_NAME: usize = 20;

/// The disks of `raw`.
pub fn disks(loader: &mut Loader<'_>, file: FileId, raw: &RawScenario) -> Vec<Disk> {
    let mut known = BTreeSet::new();
    let mut out = Vec::new();
    for disk in raw.disk.iter().filter(|d| !d.bad) {
        let name = &disk.name;
        if !name.bad && !known.insert(&name.value) {
            loader.report(file, name, format!("there are two disks `{}`", name.value));
        }
        if name.as_str().len() > MAX_NAME {
            let message = format!("`{}` is longer than {MAX_NAME} characters", name.value);
            loader
                .report(file, name, message)
                .helps
                .push("a disk's name is its serial number, which has no more".to_owned());
        }
        if disk.pattern.value != Pattern::Zero && disk.size.0 > MAX_PATTERNED {
            let message = "a disk with a pattern is at most 256M large";
            loader
                .report(file, &disk.size, message)
                .helps
                .push("leave `pattern` out: a disk of zeros takes no room".to_owned());
        }
        out.push(Disk {
            name: name.value.clone(),
            size: disk.size.value,
            pattern: disk.pattern.value,
        });
    }
    out
}

/// What must be on them when the VM has ended.
pub fn checks(loader: &mut Loader<'_>, file: FileId, raw: &RawScenario) -> Vec<DiskCheck> {
    let mut out = Vec::new();
    for check in raw.after.iter().filter(|c| !c.bad) {
        let name = &check.disk;
        let Some(disk) = raw.disk.iter().find(|d| d.name.value == name.value) else {
            if !name.bad {
                let known = raw.disk.iter().map(|d| d.name.as_str());
                let help = match raw.disk.is_empty() {
                    true => "declare it: `[[disk]]` with `name` and `size`".to_owned(),
                    false => suggest::help(name.as_str(), known, ""),
                };
                loader
                    .report(file, name, format!("unknown disk `{}`", name.value))
                    .helps
                    .push(help);
            }
            continue;
        };
        let pattern = check.pattern.as_ref().map(|p| DiskContent::Pattern(p.value));
        let sha256 = check.sha256.as_ref().map(|h| DiskContent::Sha256(h.value.0.clone()));
        let content = match (pattern, sha256) {
            (Some(content), None) | (None, Some(content)) => content,
            (both, _) => {
                let is = if both.is_some() { "both" } else { "neither" };
                loader
                    .report(file, check, format!("the check has {is} of `pattern` and `sha256`"))
                    .helps
                    .push("give each `[[after]]` one of them".to_owned());
                continue;
            }
        };
        let offset = u64::try_from(check.offset.0).unwrap_or(0);
        let size = disk.size.0;
        let length = match &check.length {
            Some(length) => u64::try_from(length.0).unwrap_or(0),
            None => size.saturating_sub(offset),
        };
        if length == 0 || offset.saturating_add(length) > size {
            let message = format!("the part goes beyond the disk, which has {size} bytes");
            loader.report(file, check, message);
            continue;
        }
        out.push(DiskCheck { disk: name.value.clone(), offset, length, content });
    }
    out
}
