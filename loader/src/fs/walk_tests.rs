use super::*;
use crate::fs::NewMount;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use driver_api::vfs::{DeviceNumber, NewInode, RenameMode, Timestamp};
use ramfs::RamFs;

struct World {
    mounts: Box<MountTable>,
    root: Path,
}

fn new(kind: FileType, mode: u16, target: &[u8]) -> NewInode<'_> {
    NewInode {
        kind,
        mode,
        uid: 0,
        gid: 0,
        device: DeviceNumber::default(),
        target,
        now: Timestamp::default(),
    }
}

impl World {
    fn new() -> Self {
        let fs = RamFs::new(0o755, Timestamp::default());
        let (mounts, root) = MountTable::new(NewMount::plain(fs.root(), "ramfs"));
        Self { mounts, root }
    }

    fn walker(&self) -> Walker<'_> {
        Walker { mounts: &self.mounts, root: &self.root, base: &self.root, who: Credentials::ROOT }
    }

    fn add(&self, path: &str, new: &NewInode<'_>) {
        let parent = self.walker().parent(path.as_bytes()).unwrap();
        let Last::Name(name) = parent.last else { panic!("{path} has no name") };
        parent.dir.dentry.create(&name, new).unwrap();
    }

    fn dir(&self, path: &str) {
        self.add(path, &new(FileType::Directory, 0o755, b""));
    }

    fn file(&self, path: &str) {
        self.add(path, &new(FileType::Regular, 0o644, b""));
    }

    fn link(&self, path: &str, target: &str) {
        self.add(path, &new(FileType::Symlink, 0o777, target.as_bytes()));
    }

    fn find(&self, path: &str) -> Result<String> {
        self.find_how(path, true)
    }

    fn find_how(&self, path: &str, follow: bool) -> Result<String> {
        let found = self.walker().resolve(path.as_bytes(), follow)?;
        Ok(String::from_utf8(found.absolute(&self.root)).unwrap())
    }
}

fn world() -> World {
    let w = World::new();
    w.dir("/a");
    w.dir("/a/b");
    w.file("/a/b/f");
    w.link("/a/rel", "b");
    w.link("/abs", "/a/b");
    w.link("/to-f", "a/rel/f");
    w.link("/loop", "loop");
    w.link("/a/up", "../..");
    w.link("/dangling", "a/none");
    w
}

#[test]
fn components_dots_and_links() {
    let w = world();
    assert_eq!(w.find("/").unwrap(), "/");
    assert_eq!(w.find("//a//b/./f").unwrap(), "/a/b/f");
    assert_eq!(w.find("a/../a/b/..").unwrap(), "/a");
    assert_eq!(w.find("/../..").unwrap(), "/");
    assert_eq!(w.find("/a/rel/f").unwrap(), "/a/b/f");
    assert_eq!(w.find("/abs/../rel/f").unwrap(), "/a/b/f");
    assert_eq!(w.find("/to-f").unwrap(), "/a/b/f");
    assert_eq!(w.find_how("/to-f", false).unwrap(), "/to-f");
    assert_eq!(w.find("/a/up/abs/f").unwrap(), "/a/b/f");
    assert_eq!(w.find_how("/abs/", false).unwrap(), "/a/b", "a slash follows the link");
}

#[test]
fn what_is_not_there_says_so() {
    let w = world();
    assert_eq!(w.find("").unwrap_err(), Error::NotFound);
    assert_eq!(w.find("/none").unwrap_err(), Error::NotFound);
    assert_eq!(w.find("/none/x").unwrap_err(), Error::NotFound);
    assert_eq!(w.find("/dangling").unwrap_err(), Error::NotFound);
    assert_eq!(w.find("/a/b/f/x").unwrap_err(), Error::NotDirectory);
    assert_eq!(w.find("/a/b/f/..").unwrap_err(), Error::NotDirectory);
    assert_eq!(w.find("/a/b/f/").unwrap_err(), Error::NotDirectory);
    assert_eq!(w.find("/to-f/").unwrap_err(), Error::NotDirectory);
    assert_eq!(w.find("/loop").unwrap_err(), Error::TooManySymlinks);
    assert_eq!(w.find("/loop/x").unwrap_err(), Error::TooManySymlinks);
    let long = "x".repeat(256);
    assert_eq!(w.find(&long).unwrap_err(), Error::NameTooLong);
    assert_eq!(w.find(&"a/".repeat(2048)).unwrap_err(), Error::NameTooLong);
    assert_eq!(w.find(&"x".repeat(255)).unwrap_err(), Error::NotFound);
}

#[test]
fn the_place_of_a_new_file_is_found_through_links() {
    let w = world();
    let parent = w.walker().parent_following(b"/dangling").unwrap();
    assert_eq!(parent.dir.absolute(&w.root), b"/a");
    assert_eq!(parent.last, Last::Name((*b"none").into()));
    let parent = w.walker().parent(b"/dangling").unwrap();
    assert_eq!(parent.dir.absolute(&w.root), b"/");
    let parent = w.walker().parent(b"/new/").unwrap();
    assert!(parent.want_directory);
    assert_eq!(w.walker().parent(b"/a/..").unwrap().last, Last::Itself);
}

#[test]
fn search_permission_is_needed_on_the_way() {
    let w = world();
    w.add("/closed", &new(FileType::Directory, 0o700, b""));
    w.file("/closed/f");
    let someone = Walker { who: Credentials { uid: 7, gid: 7 }, ..w.walker() };
    assert_eq!(someone.resolve(b"/closed/f", true).err(), Some(Error::AccessDenied));
    assert!(someone.resolve(b"/closed", true).is_ok());
    assert!(someone.resolve(b"/a/b/f", true).is_ok());
}

#[test]
fn mounts_are_entered_and_left() {
    let w = world();
    let at = w.walker().resolve(b"/a/b", true).unwrap();
    let other = RamFs::new(0o755, Timestamp::default());
    w.mounts.mount(&at, NewMount::plain(other.root(), "ramfs")).unwrap();
    assert_eq!(w.find("/a/b/f").unwrap_err(), Error::NotFound);
    w.file("/a/b/g");
    assert_eq!(w.find("/a/b/g").unwrap(), "/a/b/g");
    assert_eq!(w.find("/a/b/..").unwrap(), "/a");
    assert_eq!(w.find("/abs/../b/g").unwrap(), "/a/b/g");
    let a = w.walker().resolve(b"/a", true).unwrap();
    let remove = w.mounts.remove(Credentials::ROOT, &a, b"b", true, Timestamp::default());
    assert_eq!(remove, Err(Error::Busy));
}

#[test]
fn a_mount_goes_when_nobody_uses_it() {
    let w = world();
    let at = w.walker().resolve(b"/a/b", true).unwrap();
    let other = RamFs::new(0o755, Timestamp::default());
    let claim = Arc::new(());
    let new =
        NewMount { claim: Some(Box::new(claim.clone())), ..NewMount::plain(other.root(), "ramfs") };
    w.mounts.mount(&at, new).unwrap();
    w.file("/a/b/g");
    let find = |path: &str| w.walker().resolve(path.as_bytes(), true).unwrap();
    assert_eq!(w.mounts.unmount(find("/")).err(), Some(Error::Busy), "the root of all");
    assert_eq!(w.mounts.unmount(find("/a")).err(), Some(Error::Invalid), "no mount point");
    assert_eq!(w.mounts.unmount(find("/a/b/g")).err(), Some(Error::Invalid));
    let open = find("/a/b/g");
    assert_eq!(w.mounts.unmount(find("/a/b")).err(), Some(Error::Busy), "a file is open");
    drop(open);
    // Another on top: it goes first, and the one below is seen again.
    let top = RamFs::new(0o755, Timestamp::default());
    w.mounts.mount(&find("/a/b"), NewMount::plain(top.root(), "ramfs")).unwrap();
    assert_eq!(w.find("/a/b/g").unwrap_err(), Error::NotFound);
    drop(w.mounts.unmount(find("/a/b")).unwrap());
    assert_eq!(w.find("/a/b/g").unwrap(), "/a/b/g");
    assert_eq!(Arc::strong_count(&claim), 2);
    drop(w.mounts.unmount(find("/a/b")).unwrap());
    assert_eq!(Arc::strong_count(&claim), 1, "the device is free again");
    assert_eq!(w.find("/a/b/f").unwrap(), "/a/b/f");
    assert_eq!(w.mounts.list().len(), 1);
}

fn rename(w: &World, from: &str, to: &str) -> Result<()> {
    let (f, t) = (w.walker().parent(from.as_bytes())?, w.walker().parent(to.as_bytes())?);
    let (Last::Name(a), Last::Name(b)) = (f.last, t.last) else { return Err(Error::Busy) };
    w.mounts.rename(
        Credentials::ROOT,
        (&f.dir, &a),
        (&t.dir, &b),
        RenameMode::Replace,
        Timestamp::default(),
    )
}

/// A removal that fails drops the last handle of the name, which takes the same lock.
#[test]
fn a_removal_may_fail() {
    let w = world();
    let remove = |name: &[u8], directory| {
        w.mounts.remove(Credentials::ROOT, &w.root, name, directory, Timestamp::default())
    };
    assert_eq!(remove(b"a", true), Err(Error::NotEmpty));
    assert_eq!(remove(b"a", false), Err(Error::IsDirectory));
    assert_eq!(remove(b"abs", true), Err(Error::NotDirectory));
    assert_eq!(remove(b"none", false), Err(Error::NotFound));
    assert_eq!(remove(b"abs", false), Ok(()));
}

#[test]
fn a_name_in_use_follows_a_rename() {
    let w = world();
    let f = w.walker().resolve(b"/a/b/f", true).unwrap();
    rename(&w, "/a/b", "/c").unwrap();
    assert_eq!(f.absolute(&w.root), b"/c/f");
    assert_eq!(w.find("/c/f").unwrap(), "/c/f");
    assert_eq!(w.find("/a/b").unwrap_err(), Error::NotFound);
    rename(&w, "/c/f", "/a/g").unwrap();
    assert_eq!(f.absolute(&w.root), b"/a/g");
    assert_eq!(rename(&w, "/a", "/a/x"), Err(Error::Invalid));
    w.dir("/a/d");
    assert_eq!(rename(&w, "/a/d", "/a"), Err(Error::NotEmpty));
    let at = w.walker().resolve(b"/a", true).unwrap();
    w.mounts.remove(Credentials::ROOT, &at, b"g", false, Timestamp::default()).unwrap();
    assert_eq!(f.absolute(&w.root), b"/a/g (deleted)");
}

#[test]
fn names_that_are_not_in_use_take_no_memory_and_deep_trees_no_stack() {
    let w = World::new();
    let mut path = String::new();
    let mut paths = vec![];
    for _ in 0..1000 {
        path.push_str("/d");
        w.dir(&path);
        paths.push(path.clone());
    }
    let deep = w.walker().resolve(path.as_bytes(), true).unwrap();
    assert_eq!(deep.absolute(&w.root).len(), 2000);
    let weak = alloc::sync::Arc::downgrade(&deep.dentry.parent().unwrap());
    drop(deep);
    assert!(weak.upgrade().is_none());
}
