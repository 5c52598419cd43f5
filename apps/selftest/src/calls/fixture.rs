//! The files that calls are made on.

use super::arena::Arena;
use super::{arguments, number, raw};
use crate::failed;
use linux_abi::{FORMS, Form};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// Bytes in the file.
const FILE_LEN: usize = 8192;

/// A directory with a file, an empty directory and a symbolic link.
pub struct Fixture {
    root: PathBuf,
    /// A descriptor of the file.
    pub file: i32,
    /// A descriptor of the directory.
    pub dir: i32,
    made: Vec<(&'static str, usize)>,
}

/// Puts the limit of descriptors back: a call that reads it where memory went away meanwhile, or
/// was mapped by another call, reads zeroes, and then there is no descriptor to make.
pub fn unlimit() {
    const DESCRIPTORS: usize = 7; // RLIMIT_NOFILE
    let all = [4096_u64; 2];
    raw::named("prlimit64", &[0, DESCRIPTORS, all.as_ptr().expose_provenance(), 0]);
}

impl Fixture {
    /// A directory of its own in `/tmp`.
    pub fn new(name: &str) -> Result<Self, String> {
        let root = PathBuf::from(format!("/tmp/calls-{name}"));
        fs::create_dir_all(&root).map_err(failed("the fixture's directory"))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(root.join("open"))
            .map_err(failed("the fixture's file"))?;
        (&file).write_all(&[b'x'; FILE_LEN]).map_err(failed("the fixture's file"))?;
        let dir = fs::File::open(&root).map_err(failed("the fixture's directory"))?;
        let (file, dir) = (file.into_raw_fd(), dir.into_raw_fd());
        let mut fixture = Self { root, file, dir, made: Vec::new() };
        fixture.prepare()?;
        Ok(fixture)
    }

    /// The path of `name`, as a call takes it.
    pub fn path(&self, name: &str) -> Vec<u8> {
        let mut path = self.root.join(name).into_os_string().into_encoded_bytes();
        path.push(0);
        path
    }

    /// Everything is there as the forms suppose.
    pub fn prepare(&mut self) -> Result<(), String> {
        unlimit();
        let at = |name: &str| self.root.join(name);
        let there = |name: &str| at(name).symlink_metadata().is_ok();
        if !there("file") {
            fs::write(at("file"), [b'x'; 256]).map_err(failed("file"))?;
        }
        if !there("empty") {
            fs::create_dir(at("empty")).map_err(failed("empty"))?;
        }
        if !there("link") {
            symlink("file", at("link")).map_err(failed("link"))?;
        }
        if there("new") {
            let _ = fs::remove_file(at("new")).or_else(|_| fs::remove_dir(at("new")));
        }
        // The position of both at the start.
        raw::named("lseek", &[self.file as usize, 0, 0]);
        raw::named("lseek", &[self.dir as usize, 0, 0]);
        Ok(())
    }

    /// The descriptor that the form of `call` makes; made once.
    pub fn made(&mut self, call: &str, arena: &Arena) -> Result<usize, String> {
        if let Some((_, fd)) = self.made.iter().find(|(name, _)| *name == call) {
            return Ok(*fd);
        }
        let form = FORMS.iter().find(|f| f.name == call).ok_or("no such form")?;
        let number = number(call).ok_or("no such call")?;
        let args = arguments(form, self, arena)?;
        let fd = raw::call(number, args);
        let fd = usize::try_from(fd).map_err(|_| format!("{call}: {fd}"))?;
        self.made.push((form.name, fd));
        Ok(fd)
    }

    /// Takes back what a call did that would be in the way of the next ones.
    pub fn undo(&self, form: &Form, result: isize, args: [usize; 6]) {
        if result < 0 {
            return;
        }
        match form.name {
            // Descriptors that were made. Numbers below 20 may be the test's own.
            "dup" | "dup2" | "dup3" | "open" | "openat" | "creat" | "eventfd" | "eventfd2"
            | "epoll_create" | "epoll_create1" | "timerfd_create"
                if form.made_by.is_empty() =>
            {
                raw::named("close", &[result as usize]);
            }
            "fcntl" if matches!(args[1], 0 | 1030) => {
                raw::named("close", &[result as usize]);
            }
            "pipe" | "pipe2" => {
                for fd in super::arena::get(args[0], 8).as_chunks::<4>().0 {
                    raw::named("close", &[u32::from_le_bytes(*fd) as usize]);
                }
            }
            "timer_create" => {
                let id = super::arena::get(args[2], 4);
                let id = id.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
                raw::named("timer_delete", &[id as usize]);
            }
            "mmap" if args[0] == 0 => {
                raw::named("munmap", &[result as usize, args[1]]);
            }
            "mremap" => {
                raw::named("munmap", &[result as usize, args[2]]);
            }
            "chdir" | "fchdir" => {
                let _ = std::env::set_current_dir("/");
            }
            _ => {}
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let made = self.made.iter().map(|(_, fd)| *fd);
        for fd in made.chain([self.file as usize, self.dir as usize]) {
            raw::named("close", &[fd]);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}
