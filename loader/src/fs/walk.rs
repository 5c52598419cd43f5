//! From a path to a name: components, `.`, `..`, symbolic links, mount points, permissions
//! (POSIX.1 "Pathname Resolution").

use super::access::{self, Credentials};
use super::dentry::{MountTable, NAME_MAX, Path};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use driver_api::vfs::FileType;
use driver_api::{Error, Result};

/// Longest path in bytes, the NUL included (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// Most symbolic links in one walk (`MAXSYMLINKS` of Linux).
const MAX_SYMLINKS: usize = 40;

/// From where, and for whom, a path is walked.
#[derive(Clone, Copy)]
pub struct Walker<'a> {
    /// All mounts.
    pub mounts: &'a MountTable,
    /// Where `/` is.
    pub root: &'a Path,
    /// Where relative paths begin.
    pub base: &'a Path,
    /// Who walks.
    pub who: Credentials,
}

/// The last component of a path, whose parent was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name, which may or may not exist.
    Name(Box<[u8]>),
    /// `/`, `.` or `..`: the parent that was returned is the file itself.
    Itself,
}

/// Where a path leads, but for its last component.
#[derive(Clone)]
pub struct Parent {
    /// The directory (or, for [`Last::Itself`], the file).
    pub dir: Path,
    /// The rest.
    pub last: Last,
    /// The path ended in `/`: only a directory will do.
    pub want_directory: bool,
}

impl Walker<'_> {
    /// The file that `path` names; a symbolic link at the end is followed if `follow`.
    ///
    /// # Errors
    /// `NotFound` (also for an empty path), `NotDirectory`, `AccessDenied`, `NameTooLong`,
    /// `TooManySymlinks`, and what file systems give.
    pub fn resolve(&self, path: &[u8], follow: bool) -> Result<Path> {
        let mut links = 0;
        let mut parent = self.walk(path, &mut links)?;
        loop {
            let found = match parent.last {
                Last::Itself => return Ok(parent.dir),
                Last::Name(ref name) => self.step(&parent.dir, name)?,
            };
            let kind = found.inode().metadata().kind;
            if kind == FileType::Symlink && (follow || parent.want_directory) {
                let want = parent.want_directory;
                parent = self.follow(&parent.dir, &found, &mut links)?;
                parent.want_directory |= want;
                continue;
            }
            if parent.want_directory && kind != FileType::Directory {
                return Err(Error::NotDirectory);
            }
            return Ok(found);
        }
    }

    /// The directory that the last component of `path` is in, with search permission.
    ///
    /// # Errors
    /// As for [`Walker::resolve`].
    pub fn parent(&self, path: &[u8]) -> Result<Parent> {
        self.walk(path, &mut 0)
    }

    /// As [`Walker::parent`], but a last component that is a symbolic link is followed: the
    /// place where `open` with `O_CREAT` makes a file.
    ///
    /// # Errors
    /// As for [`Walker::resolve`].
    pub fn parent_following(&self, path: &[u8]) -> Result<Parent> {
        let mut links = 0;
        let mut parent = self.walk(path, &mut links)?;
        loop {
            let Last::Name(ref name) = parent.last else { return Ok(parent) };
            let found = match self.step(&parent.dir, name) {
                Ok(found) => found,
                Err(Error::NotFound) => return Ok(parent),
                Err(other) => return Err(other),
            };
            if found.inode().metadata().kind != FileType::Symlink {
                return Ok(parent);
            }
            parent = self.follow(&parent.dir, &found, &mut links)?;
        }
    }

    /// One component down from `dir`, which must be a directory that may be searched.
    ///
    /// # Errors
    /// As for [`Walker::resolve`].
    pub fn step(&self, dir: &Path, name: &[u8]) -> Result<Path> {
        self.check_search(dir)?;
        let child = dir.dentry.child(name)?;
        Ok(self.mounts.descend(dir.with(child)))
    }

    fn check_search(&self, dir: &Path) -> Result<()> {
        let meta = dir.inode().metadata();
        if meta.kind != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        access::check(self.who, &meta, access::EXECUTE)
    }

    fn follow(&self, dir: &Path, link: &Path, links: &mut usize) -> Result<Parent> {
        *links += 1;
        if *links > MAX_SYMLINKS {
            return Err(Error::TooManySymlinks);
        }
        let target = link.inode().read_link()?;
        Walker { base: dir, ..*self }.walk(&target, links)
    }

    fn walk(&self, path: &[u8], links: &mut usize) -> Result<Parent> {
        if path.is_empty() {
            return Err(Error::NotFound);
        }
        if path.len() >= PATH_MAX {
            return Err(Error::NameTooLong);
        }
        let mut here = if path.starts_with(b"/") { self.root } else { self.base }.clone();
        let want_directory = path.ends_with(b"/");
        let mut named = path;
        while let [head @ .., b'/'] = named {
            named = head;
        }
        // What is walked: the path; once a link was met, its target and what was left.
        let mut text = Cow::Borrowed(named);
        let mut at = 0;
        loop {
            let (part, end) = component(&text, at);
            let is_last = end == text.len();
            if part.len() > NAME_MAX {
                return Err(Error::NameTooLong);
            }
            match part {
                b"" => return Ok(Parent { dir: here, last: Last::Itself, want_directory }),
                b"." | b".." => {
                    self.check_search(&here)?;
                    if part.len() == 2 {
                        here = self.up(here);
                    }
                }
                _ if is_last => {
                    self.check_search(&here)?;
                    let last = Last::Name(part.into());
                    return Ok(Parent { dir: here, last, want_directory });
                }
                _ => {
                    let found = self.step(&here, part)?;
                    if found.inode().metadata().kind != FileType::Symlink {
                        here = found;
                    } else {
                        *links += 1;
                        if *links > MAX_SYMLINKS {
                            return Err(Error::TooManySymlinks);
                        }
                        let mut target = found.inode().read_link()?;
                        match target.first() {
                            None => return Err(Error::NotFound),
                            Some(b'/') => here = self.root.clone(),
                            Some(_) => {}
                        }
                        target.extend_from_slice(text.get(end..).unwrap_or(&[]));
                        text = Cow::Owned(target);
                        at = 0;
                        continue;
                    }
                }
            }
            at = end;
        }
    }

    /// The directory above, out of mounts, not above the root.
    fn up(&self, mut here: Path) -> Path {
        loop {
            if here.same(self.root) {
                return here;
            }
            if let Some(parent) = here.dentry.parent() {
                return self.mounts.descend(here.with(parent));
            }
            match here.mount.at.clone() {
                Some(at) => here = at,
                None => return here,
            }
        }
    }
}

/// The component of `path` that begins at or after `at`, empty at the end, and where it ends.
fn component(path: &[u8], mut at: usize) -> (&[u8], usize) {
    while path.get(at) == Some(&b'/') {
        at += 1;
    }
    let rest = path.get(at..).unwrap_or(&[]);
    let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    (rest.get(..len).unwrap_or(&[]), at + len)
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
