//! Who may do what to a file: owner, group, others (POSIX.1, "File Access Permissions").

use driver_api::vfs::{FileType, Metadata};
use driver_api::{Error, Result};

/// Permission to read (`R_OK`).
pub const READ: u8 = 4;
/// Permission to write (`W_OK`).
pub const WRITE: u8 = 2;
/// Permission to execute, or to search a directory (`X_OK`).
pub const EXECUTE: u8 = 1;

/// On whose behalf files are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl Credentials {
    /// The privileged user, who may everything but execute what nobody may.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// Checks that `who` may do all of `wanted` to a file.
///
/// # Errors
/// `AccessDenied`.
pub fn check(who: Credentials, file: &Metadata, wanted: u8) -> Result<()> {
    let bits = if who.uid == 0 {
        let any_execute = file.mode & 0o111 != 0 || file.kind == FileType::Directory;
        READ | WRITE | if any_execute { EXECUTE } else { 0 }
    } else {
        let shift = if who.uid == file.uid {
            6
        } else if who.gid == file.gid {
            3
        } else {
            0
        };
        (file.mode >> shift & 7) as u8
    };
    if bits & wanted == wanted { Ok(()) } else { Err(Error::AccessDenied) }
}

/// Checks that `who` may remove or rename `victim` in `dir`: write and search permission,
/// and in a sticky directory (`S_ISVTX`) ownership of either.
///
/// # Errors
/// `AccessDenied`, `NotPermitted` for the sticky bit.
pub fn check_remove(who: Credentials, dir: &Metadata, victim: &Metadata) -> Result<()> {
    check(who, dir, WRITE | EXECUTE)?;
    let sticky = dir.mode & 0o1000 != 0;
    if sticky && who.uid != 0 && who.uid != dir.uid && who.uid != victim.uid {
        return Err(Error::NotPermitted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver_api::vfs::{DeviceNumber, Timestamp};

    fn file(mode: u16, kind: FileType) -> Metadata {
        Metadata {
            ino: 1,
            kind,
            mode,
            uid: 10,
            gid: 20,
            nlink: 1,
            size: 0,
            blocks: 0,
            block_size: 4096,
            device: DeviceNumber::default(),
            atime: Timestamp::default(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
        }
    }

    #[test]
    fn the_first_class_that_matches_decides() {
        let f = file(0o074, FileType::Regular);
        let may = |uid, gid, wanted| check(Credentials { uid, gid }, &f, wanted).is_ok();
        assert!(!may(10, 20, READ), "the owner has no permission though the group has");
        assert!(may(11, 20, READ | WRITE | EXECUTE));
        assert!(may(11, 21, READ));
        assert!(!may(11, 21, WRITE));
        assert!(may(0, 0, READ | WRITE | EXECUTE));
    }

    #[test]
    fn root_executes_only_what_somebody_may() {
        assert!(check(Credentials::ROOT, &file(0o600, FileType::Regular), EXECUTE).is_err());
        assert!(check(Credentials::ROOT, &file(0, FileType::Directory), EXECUTE).is_ok());
    }

    #[test]
    fn the_sticky_bit_protects_the_files_of_others() {
        let dir = file(0o1777, FileType::Directory);
        let mut victim = file(0o666, FileType::Regular);
        victim.uid = 11;
        let who = |uid| check_remove(Credentials { uid, gid: 1 }, &dir, &victim);
        assert_eq!(who(12), Err(Error::NotPermitted));
        assert_eq!(who(11), Ok(()));
        assert_eq!(who(10), Ok(()));
        assert_eq!(who(0), Ok(()));
    }
}
