//! `manifests/`: images and components.

use super::leaf::{EnvName, FileMode, ImagePath, ImageRole, Owner, RepoPath, Root, SystemCall};
use super::{Format, List};
use crate::config::decode::Map;
use crate::config::resolved::{Libc, MemorySize};
use crate::config::table::table;
use crate::model::{Arch, Name};

table! {
    /// An image: a root file system, the program that runs in it, and through the roles
    /// that these need a part of the kernel.
    pub struct RawImage, "an image" {
        /// The version of the file's format.
        _format: "format", Format, required;
        /// What it is for, in one line.
        description: "description", String, required;
        /// The root file system: the driver that the kernel must have for it.
        root: "root", Root, default "\"ramfs\"";
        /// The components whose files it holds.
        components: "components", List<Name>, default "[]";
        /// Drivers or roles that its kernel must have, beyond the root file system: `devfs`
        /// without being asked. With a `~` before its name, as on the command line, one that the
        /// kernel must not have.
        roles: "roles", List<ImageRole>, default "[]";
        /// Size of the disk; as small as its content allows when the key is absent.
        size: "size", MemorySize, optional;
        /// The first program.
        run: "run", RawRun, optional;
        /// Files.
        file: "file", List<RawFile>, default "[]";
        /// Folders. Those above a file or link come by themselves, with mode 0755.
        dir: "dir", List<RawDir>, default "[]";
        /// Symbolic links.
        link: "link", List<RawLink>, default "[]";
        /// What is different on one arch, by arch. Lists and `env` add to the image's own;
        /// other keys replace them. An image can be built for the archs on which it has a
        /// program.
        arch: "arch", Map<Arch, RawImageOn>, default "{}";
    }
}

table! {
    /// What is different about an image on one arch.
    pub struct RawImageOn, "an image's part for one arch" {
        /// The root file system.
        root: "root", Root, optional;
        /// More components.
        components: "components", List<Name>, default "[]";
        /// More roles.
        roles: "roles", List<ImageRole>, default "[]";
        /// Size of the disk.
        size: "size", MemorySize, optional;
        /// The first program; keys that are absent are the image's.
        run: "run", RawRun, optional;
        /// More files.
        file: "file", List<RawFile>, default "[]";
        /// More folders.
        dir: "dir", List<RawDir>, default "[]";
        /// More symbolic links.
        link: "link", List<RawLink>, default "[]";
    }
}

table! {
    /// The program that runs first, alone in its VM.
    pub struct RawRun, "the first program" {
        /// Its path in the image.
        program: "program", ImagePath, optional;
        /// Its arguments, without the program itself.
        args: "args", List<String>, optional;
        /// Its environment.
        env: "env", Map<EnvName, String>, default "{}";
        /// The system calls that its kernel has; all that Osier knows, when absent.
        system_calls: "system-calls", List<SystemCall>, optional;
    }
}

table! {
    /// A component: files that belong together.
    pub struct RawComponent, "a component" {
        /// The version of the file's format.
        _format: "format", Format, required;
        /// What it is for, in one line.
        description: "description", String, default "\"\"";
        /// Components that it cannot do without.
        requires: "requires", List<Name>, default "[]";
        /// Files.
        file: "file", List<RawFile>, default "[]";
        /// Folders. Those above a file or link come by themselves, with mode 0755.
        dir: "dir", List<RawDir>, default "[]";
        /// Symbolic links.
        link: "link", List<RawLink>, default "[]";
    }
}

table! {
    /// A file, with one of `source`, `app` and `text`.
    pub struct RawFile, "a file" {
        /// Where it lies in the image.
        path: "path", ImagePath, required;
        /// Permission bits in octal. An app's file is 0755, any other 0644 by default.
        mode: "mode", FileMode, optional;
        /// Its user.
        owner: "owner", Owner, default "\"root\"";
        /// Its group.
        group: "group", Owner, default "\"root\"";
        /// The file in the repository that it is a copy of.
        source: "source", RepoPath, optional;
        /// The app whose ELF file it is.
        app: "app", Name, optional;
        /// The C library that is linked into the app, statically: `gnu` is the glibc of the
        /// machine that builds, on archs with an `app-target-gnu`; `musl` when absent.
        libc: "libc", Libc, optional;
        /// Its content.
        text: "text", String, optional;
    }
}

table! {
    /// A folder.
    pub struct RawDir, "a folder" {
        /// Where it lies in the image.
        path: "path", ImagePath, required;
        /// Permission bits in octal.
        mode: "mode", FileMode, default "\"0755\"";
        /// Its user.
        owner: "owner", Owner, default "\"root\"";
        /// Its group.
        group: "group", Owner, default "\"root\"";
    }
}

table! {
    /// A symbolic link.
    pub struct RawLink, "a symbolic link" {
        /// Where it lies in the image.
        path: "path", ImagePath, required;
        /// What it points to, as `readlink` returns it.
        target: "target", String, required;
        /// Its user.
        owner: "owner", Owner, default "\"root\"";
        /// Its group.
        group: "group", Owner, default "\"root\"";
    }
}
