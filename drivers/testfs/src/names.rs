//! Operations on names: each changes all that it must, or nothing.

use alloc::vec::Vec;
use driver_api::vfs::{FileType, NewInode, RenameMode, Timestamp};
use driver_api::{Error, Result};

use crate::block::Kind;
use crate::dir::Place;
use crate::layout::{PAYLOAD, ROOTS, UNIT, put};
use crate::record::{Pointer, Record};
use crate::volume::Volume;

/// Most names of a file.
const MAX_LINKS: u32 = 65_000;

impl Volume {
    /// A directory that still has a name.
    fn directory(&mut self, ino: u32) -> Result<Record> {
        let dir = self.record(ino)?;
        match (dir.kind, dir.nlink) {
            (FileType::Directory, 0) => Err(Error::NotFound),
            (FileType::Directory, _) => Ok(dir),
            _ => Err(Error::NotDirectory),
        }
    }

    /// The inode called `name`, and its kind.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `Io`, `NoMemory`.
    pub fn lookup(&mut self, dir: u32, name: &[u8]) -> Result<(u32, Record)> {
        let dir = self.record(dir)?;
        if dir.kind != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        let place = self.find(&dir, name)?.ok_or(Error::NotFound)?;
        Ok((place.ino, self.named(place)?))
    }

    /// What a name stands for. The two must agree: a damaged tree gives nothing else away.
    fn named(&mut self, place: Place) -> Result<Record> {
        let record = self.record(place.ino)?;
        if record.kind == place.kind && record.nlink > 0 { Ok(record) } else { Err(Error::Io) }
    }

    /// Makes an inode under a name that is free.
    ///
    /// # Errors
    /// As for `Inode::create`.
    pub fn create(&mut self, dir: u32, name: &[u8], new: &NewInode<'_>) -> Result<(u32, Record)> {
        let mut parent = self.directory(dir)?;
        if self.find(&parent, name)?.is_some() {
            return Err(Error::Exists);
        }
        let ino = self.space.take_inode(&mut self.journal)?;
        let mut record = Record {
            kind: new.kind,
            height: 0,
            mode: new.mode & 0o7777,
            nlink: if new.kind == FileType::Directory { 2 } else { 1 },
            uid: new.uid,
            gid: new.gid,
            size: 0,
            units: 0,
            device: new.device,
            atime: new.now,
            mtime: new.now,
            ctime: new.now,
            roots: [Pointer::default(); ROOTS],
        };
        if new.kind == FileType::Symlink {
            if new.target.is_empty() || new.target.len() > PAYLOAD {
                return Err(Error::NameTooLong);
            }
            let unit = self.space.take(&mut self.journal, false)?;
            put(self.journal.create(unit, Kind::Target)?, 0, new.target);
            self.set_pointer(&mut record, 0, Pointer { unit, sum: 0, valid: UNIT as u32 })?;
            record.size = new.target.len() as u64;
        }
        self.add_name(&mut parent, name, ino, new.kind)?;
        parent.nlink += u32::from(new.kind == FileType::Directory);
        (parent.mtime, parent.ctime) = (new.now, new.now);
        self.set_record(dir, &parent)?;
        self.set_record(ino, &record)?;
        Ok((ino, record))
    }

    /// Where a symbolic link points to.
    ///
    /// # Errors
    /// `Invalid` for another kind, `Io`, `NoMemory`.
    pub fn target(&mut self, ino: u32) -> Result<Vec<u8>> {
        let record = self.record(ino)?;
        if record.kind != FileType::Symlink {
            return Err(Error::Invalid);
        }
        let unit = self.pointer(&record, 0)?.unit;
        let bytes = self.block(unit, Kind::Target)?;
        let len = usize::try_from(record.size).map_err(|_| Error::Io)?;
        Ok(bytes.get(..len).ok_or(Error::Io)?.to_vec())
    }

    /// Gives an inode, which is no directory, one more name.
    ///
    /// # Errors
    /// As for `Inode::link`.
    pub fn link(&mut self, dir: u32, name: &[u8], ino: u32, now: Timestamp) -> Result<()> {
        let mut parent = self.directory(dir)?;
        let mut record = self.record(ino)?;
        if record.kind == FileType::Directory {
            return Err(Error::NotPermitted);
        }
        if self.find(&parent, name)?.is_some() {
            return Err(Error::Exists);
        }
        if record.nlink >= MAX_LINKS {
            return Err(Error::TooManyLinks);
        }
        if record.nlink == 0 {
            return Err(Error::NotFound);
        }
        self.add_name(&mut parent, name, ino, record.kind)?;
        (parent.mtime, parent.ctime) = (now, now);
        record.nlink += 1;
        record.ctime = now;
        self.set_record(dir, &parent)?;
        self.set_record(ino, &record)
    }

    /// One name less. The space comes back when nobody has the inode any more.
    fn lose_name(&mut self, ino: u32, now: Timestamp) -> Result<()> {
        let mut record = self.record(ino)?;
        record.nlink = match record.kind {
            FileType::Directory => 0,
            _ => record.nlink.checked_sub(1).ok_or(Error::Io)?,
        };
        record.ctime = now;
        self.set_record(ino, &record)
    }

    /// Removes a name.
    ///
    /// # Errors
    /// As for `Inode::unlink`.
    pub fn unlink(&mut self, dir: u32, name: &[u8], directory: bool, now: Timestamp) -> Result<()> {
        let mut parent = self.directory(dir)?;
        let place = self.find(&parent, name)?.ok_or(Error::NotFound)?;
        let record = self.named(place)?;
        match (record.kind == FileType::Directory, directory) {
            (true, false) => return Err(Error::IsDirectory),
            (false, true) => return Err(Error::NotDirectory),
            (true, true) if !self.is_empty(&record)? => return Err(Error::NotEmpty),
            _ => {}
        }
        self.remove_name(place)?;
        if directory {
            parent.nlink = parent.nlink.checked_sub(1).ok_or(Error::Io)?;
        }
        (parent.mtime, parent.ctime) = (now, now);
        self.set_record(dir, &parent)?;
        self.lose_name(place.ino, now)
    }

    /// Moves a name.
    ///
    /// # Errors
    /// As for `Inode::rename`.
    pub fn rename(
        &mut self,
        (from, name): (u32, &[u8]),
        (to, to_name): (u32, &[u8]),
        mode: RenameMode,
        now: Timestamp,
    ) -> Result<()> {
        let old_dir = self.directory(from)?;
        let new_dir = self.directory(to)?;
        let source = self.find(&old_dir, name)?.ok_or(Error::NotFound)?;
        let target = self.find(&new_dir, to_name)?;
        let moved = self.named(source)?;
        let replaced = target.map(|t| self.named(t)).transpose()?;
        let is_dir = |r: &Record| r.kind == FileType::Directory;
        match (&replaced, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Error::Exists),
            (None, RenameMode::Exchange) => return Err(Error::NotFound),
            (Some(there), RenameMode::Replace) => match (is_dir(there), is_dir(&moved)) {
                (true, false) => return Err(Error::IsDirectory),
                (false, true) => return Err(Error::NotDirectory),
                (true, true) if !self.is_empty(there)? => return Err(Error::NotEmpty),
                _ => {}
            },
            _ => {}
        }
        if target.is_some_and(|t| t.ino == source.ino) {
            return Ok(());
        }
        match target {
            Some(t) if mode == RenameMode::Exchange => {
                self.set_name(source, t.ino, t.kind)?;
                self.set_name(t, source.ino, source.kind)?;
            }
            Some(t) => {
                self.set_name(t, source.ino, source.kind)?;
                self.remove_name(source)?;
            }
            None => {
                // Before the new name comes, which may move nothing but free slots.
                self.remove_name(source)?;
                let mut dir = self.record(to)?;
                self.add_name(&mut dir, to_name, source.ino, source.kind)?;
                self.set_record(to, &dir)?;
            }
        }
        let exchange = mode == RenameMode::Exchange;
        let went = i64::from(is_dir(&moved));
        let came = i64::from(exchange && replaced.as_ref().is_some_and(is_dir));
        let gone = i64::from(replaced.as_ref().is_some_and(is_dir));
        self.count(from, came - went, now)?;
        self.count(to, went - gone, now)?;
        let mut moved = self.record(source.ino)?;
        moved.ctime = now;
        self.set_record(source.ino, &moved)?;
        let Some(target) = target else { return Ok(()) };
        if exchange {
            let mut other = self.record(target.ino)?;
            other.ctime = now;
            return self.set_record(target.ino, &other);
        }
        self.lose_name(target.ino, now)
    }

    /// A directory has changed, and has `by` more directories in it.
    fn count(&mut self, dir: u32, by: i64, now: Timestamp) -> Result<()> {
        let mut record = self.record(dir)?;
        record.nlink = u32::try_from(i64::from(record.nlink) + by).map_err(|_| Error::Io)?;
        (record.mtime, record.ctime) = (now, now);
        self.set_record(dir, &record)
    }
}
