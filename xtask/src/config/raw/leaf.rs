//! The kinds of string that configuration is made of.

use crate::config::decode::{Leaf, Problem};
use crate::config::resolved::{Libc, MemorySize, ProfileStatus};
use crate::model::{Arch, Mode, Name, Pattern};
use camino::Utf8PathBuf;

/// Any text.
impl Leaf for String {
    const WHAT: &'static str = "a string";

    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(text.to_owned())
    }

    fn placeholder() -> Self {
        String::new()
    }
}

impl Leaf for Name {
    const WHAT: &'static str = "a name";
    const PATTERN: Option<&'static str> = Some("^[a-z0-9][a-z0-9-]*$");

    fn parse(text: &str) -> Result<Self, Problem> {
        Name::new(text).map_err(|e| Problem::new(e.to_string()))
    }

    fn placeholder() -> Self {
        Name::new("placeholder").unwrap_or_else(|_| unreachable!("a constant that is a name"))
    }
}

/// A driver or role that an image needs, or one that it does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRole {
    /// Its name.
    pub name: Name,
    /// Written with `~`: the kernel must not hold it.
    pub without: bool,
}

impl Leaf for ImageRole {
    const WHAT: &'static str = "a name, or `~` and a name";
    const PATTERN: Option<&'static str> = Some("^~?[a-z0-9][a-z0-9-]*$");

    fn parse(text: &str) -> Result<Self, Problem> {
        let (name, without) = match text.strip_prefix('~') {
            Some(name) => (name, true),
            None => (text, false),
        };
        Ok(Self { name: Name::parse(name)?, without })
    }

    fn placeholder() -> Self {
        Self { name: Name::placeholder(), without: false }
    }
}

/// Implements [`Leaf`] for an enumeration with one word a variant.
macro_rules! choice {
    ($ty:ty, $what:literal, $($word:literal => $value:expr),+ $(,)?) => {
        impl Leaf for $ty {
            const WHAT: &'static str = $what;
            const CHOICES: &'static [&'static str] = &[$($word),+];

            fn parse(text: &str) -> Result<Self, Problem> {
                match text {
                    $($word => Ok($value),)+
                    other => Err(Problem::new(format!("`{other}` is not {}", $what))),
                }
            }

            fn placeholder() -> Self {
                [$($value),+][0].clone()
            }
        }
    };
}

impl Leaf for Arch {
    const WHAT: &'static str = "an arch";
    const CHOICES: &'static [&'static str] = &["x64", "aarch64"];

    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|_| {
            let problem = Problem::new(format!("`{text}` is not an arch"));
            match Arch::meant(text) {
                Some(arch) => problem.help(format!("Osier calls it `{arch}`")),
                None => problem,
            }
        })
    }

    fn placeholder() -> Self {
        Arch::X64
    }
}

choice!(Mode, "a mode", "release" => Mode::Release, "debug" => Mode::Debug);
choice!(
    Pattern,
    "a disk's pattern",
    "zero" => Pattern::Zero,
    "offset" => Pattern::Offset,
    "inverse" => Pattern::Inverse,
);
choice!(
    ProfileStatus,
    "a profile's status",
    "complete" => ProfileStatus::Complete,
    "partial" => ProfileStatus::Partial,
);

/// ELF `e_machine`.
#[derive(Clone, Copy, Debug)]
pub struct ElfMachine(pub u16);

// Numbers: System V gABI, "e_machine".
choice!(
    ElfMachine,
    "an ELF machine",
    "EM_X86_64" => ElfMachine(62),
    "EM_AARCH64" => ElfMachine(183),
);

/// A word that is passed on as written, out of a fixed list.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, [$($word:literal),+]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub &'static str);

        choice!($name, $what, $($word => $name($word)),+);
    };
}

word!(
    /// Link-time optimisation, in the words of cargo's `lto`.
    Lto, "a kind of link-time optimisation", ["off", "thin", "fat"]
);
word!(
    /// Debug information, as in cargo's `debug`.
    DebugInfo, "a level of debug information", ["none", "line-tables-only", "limited", "full"]
);
word!(
    /// Optimisation level, as in cargo's `opt-level`.
    OptLevel, "an optimisation level", ["0", "1", "2", "3", "s", "z"]
);
choice!(
    Libc,
    "a C library",
    "musl" => Libc::Musl,
    "gnu" => Libc::Gnu,
);
word!(
    /// What a kernel may have or not by the link step's choice, and a driver may need.
    Part, "a part of the kernel", ["cpu-times"]
);
word!(
    /// The root file system of an image.
    Root, "a root file system", ["ramfs"]
);
word!(
    /// The program that runs a VM.
    Vmm, "a VMM", ["qemu"]
);

/// Reads `0x…` or decimal digits, with `_` between digits.
fn number(text: &str) -> Option<u64> {
    let plain = text.replace('_', "");
    // `from_str_radix` takes a sign as well.
    if !plain.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    match plain.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => plain.parse().ok(),
    }
}

/// A 64-bit address. As a string, since TOML's integers end at 2⁶³ − 1; an integer does
/// where it suffices.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub u64);

impl Leaf for Address {
    const WHAT: &'static str = "an address like \"0x200000\"";
    const PATTERN: Option<&'static str> = Some("^0x[0-9a-fA-F_]+$");
    const INTEGER_TOO: bool = true;

    fn parse(text: &str) -> Result<Self, Problem> {
        number(text).filter(|_| text.starts_with("0x")).map(Self).ok_or_else(|| {
            Problem::new(format!("`{text}` is not a 64-bit address"))
                .help("write it in hexadecimal, as in `\"0x200000\"`")
        })
    }

    fn parse_integer(value: i128) -> Option<Result<Self, Problem>> {
        let in_range = u64::try_from(value).map(Self);
        Some(in_range.map_err(|_| Problem::new(format!("{value} is not a 64-bit address"))))
    }

    fn placeholder() -> Self {
        Self(0)
    }
}

impl Leaf for MemorySize {
    const WHAT: &'static str = "a size like \"64M\"";
    const PATTERN: Option<&'static str> = Some("^[0-9]+[KMGT]$");

    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|e: String| Problem::new(e))
    }

    fn parse_integer(value: i128) -> Option<Result<Self, Problem>> {
        let problem = Problem::new(format!("the size {value} has no unit"));
        Some(Err(problem.help(format!("write it as a string: `\"{value}M\"`"))))
    }

    fn placeholder() -> Self {
        Self(0)
    }
}

/// Permission bits, `0` … `0o7777`.
#[derive(Clone, Copy, Debug)]
pub struct FileMode(pub u32);

impl Leaf for FileMode {
    const WHAT: &'static str = "permission bits like \"0755\"";
    const PATTERN: Option<&'static str> = Some("^[0-7]{3,5}$");

    fn parse(text: &str) -> Result<Self, Problem> {
        let digits = text.len() >= 3 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let bits = if digits { u32::from_str_radix(text, 8).ok() } else { None };
        bits.filter(|m| *m <= 0o7777).map(Self).ok_or_else(|| {
            Problem::new(format!("`{text}` is no file mode"))
                .help("write three or four octal digits, as in `\"0755\"`")
        })
    }

    fn parse_integer(value: i128) -> Option<Result<Self, Problem>> {
        // 755 and 0o755 would mean different bits: ask for the one unmistakable spelling.
        let help = "write it in quotes, in octal: `\"0755\"`";
        Some(
            Err(Problem::new(format!("the file mode {value} is ambiguous as a number")).help(help)),
        )
    }

    fn placeholder() -> Self {
        Self(0o755)
    }
}

/// A user or group: a name that every Linux has, or a number.
#[derive(Clone, Debug)]
pub struct Owner {
    /// As written.
    pub written: String,
    /// The id it stands for.
    pub id: u32,
}

/// Users and groups that may be named. The ids are those of Debian's `base-passwd`; for
/// each name listed, user and group id agree.
const OWNERS: &[(&str, u32)] = &[
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("mail", 8),
    ("www-data", 33),
    ("nogroup", 65534),
    ("nobody", 65534),
];

impl Leaf for Owner {
    const WHAT: &'static str = "a user or group: a name or a number";
    const INTEGER_TOO: bool = true;

    fn parse(text: &str) -> Result<Self, Problem> {
        let known = OWNERS.iter().find(|(n, _)| *n == text).map(|(_, id)| *id);
        let number = || text.parse().ok().filter(|_| !text.starts_with('+'));
        match known.or_else(number) {
            Some(id) => Ok(Self { written: text.to_owned(), id }),
            None => {
                let names = OWNERS.iter().map(|(n, _)| *n);
                let help = super::super::suggest::help(text, names, "");
                Err(Problem::new(format!("unknown user or group `{text}`"))
                    .help(format!("{help} Any other stands as a number.")))
            }
        }
    }

    fn parse_integer(value: i128) -> Option<Result<Self, Problem>> {
        let id = u32::try_from(value).map(|id| Self { written: id.to_string(), id });
        Some(id.map_err(|_| Problem::new(format!("{value} is no user or group id"))))
    }

    fn placeholder() -> Self {
        Self { written: "root".to_owned(), id: 0 }
    }
}

/// Longest name of a file, in bytes: `formats/bootfs` and Linux's `NAME_MAX` agree on it.
const NAME_MAX: usize = 255;
/// Longest path, in bytes: Linux's `PATH_MAX` less the terminator.
const PATH_MAX: usize = 4095;

/// A path inside an image: absolute and normalised.
#[derive(Clone, Debug)]
pub struct ImagePath(pub String);

impl Leaf for ImagePath {
    const WHAT: &'static str = "an absolute path in the image";
    const PATTERN: Option<&'static str> = Some("^/.+$");

    fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |why: &str| Problem::new(format!("`{text}` is no path in an image: {why}"));
        let Some(rest) = text.strip_prefix('/') else {
            return Err(refuse("it must be absolute").help(format!("write `/{text}`")));
        };
        if text.len() > PATH_MAX {
            return Err(refuse("it is longer than 4095 bytes"));
        }
        if rest.is_empty() {
            return Err(refuse("the root folder is always there"));
        }
        let normal: Vec<&str> = rest.split('/').filter(|c| !c.is_empty() && *c != ".").collect();
        if normal.contains(&"..") {
            return Err(refuse("it must not hold `..`"));
        }
        let normal = format!("/{}", normal.join("/"));
        if normal != text {
            return Err(refuse("it must be normalised").help(format!("write `{normal}`")));
        }
        if rest.split('/').any(|c| c.len() > NAME_MAX) {
            return Err(refuse("a component is longer than 255 bytes"));
        }
        if text.contains('\0') {
            return Err(refuse("it holds a NUL byte"));
        }
        Ok(Self(normal))
    }

    fn placeholder() -> Self {
        Self(String::new())
    }
}

/// A path below the root of the repository whose file names it.
#[derive(Clone, Debug)]
pub struct RepoPath(pub Utf8PathBuf);

impl Leaf for RepoPath {
    const WHAT: &'static str = "a path below the repository's root";

    fn parse(text: &str) -> Result<Self, Problem> {
        let path = Utf8PathBuf::from(text);
        if path.is_absolute() {
            return Err(Problem::new(format!("`{text}` is an absolute path")).help(
                "write it relative to the repository's root; a file elsewhere needs a \
                 repository of its own or a symbolic link",
            ));
        }
        let plain = |c: camino::Utf8Component<'_>| matches!(c, camino::Utf8Component::Normal(_));
        let normal: Utf8PathBuf = path.components().collect();
        if text.is_empty() || !path.components().all(plain) || normal.as_str() != text {
            return Err(Problem::new(format!("`{text}` is no normalised relative path"))
                .help("leave out `.`, `..`, doubled and trailing slashes"));
        }
        Ok(Self(path))
    }

    fn placeholder() -> Self {
        Self(Utf8PathBuf::new())
    }
}

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvName(pub String);

impl Leaf for EnvName {
    const WHAT: &'static str = "the name of an environment variable";
    const PATTERN: Option<&'static str> = Some("^[A-Za-z_][A-Za-z0-9_]*$");

    fn parse(text: &str) -> Result<Self, Problem> {
        let head = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let tail = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if head && tail {
            Ok(Self(text.to_owned()))
        } else {
            Err(Problem::new(format!("`{text}` is not the name of an environment variable"))
                .help("use letters, digits and `_`, not beginning with a digit"))
        }
    }

    fn placeholder() -> Self {
        Self(String::new())
    }
}

/// An abstract device of a machine, `kind:model`.
#[derive(Clone, Debug)]
pub struct Device(pub String);

/// The kinds of device that a machine may have.
const DEVICE_KINDS: &[&str] = &["disk", "net", "rng", "balloon", "fs", "console"];

impl Leaf for Device {
    const WHAT: &'static str = "a device like \"disk:virtio-blk\"";
    const PATTERN: Option<&'static str> =
        Some("^(disk|net|rng|balloon|fs|console):[a-z0-9][a-z0-9-]*$");

    fn parse(text: &str) -> Result<Self, Problem> {
        let Some((kind, model)) = text.split_once(':') else {
            return Err(Problem::new(format!("`{text}` names no device"))
                .help("write `KIND:MODEL`, as in `\"disk:virtio-blk\"`"));
        };
        if !DEVICE_KINDS.contains(&kind) {
            let help = super::super::suggest::help(kind, DEVICE_KINDS.iter().copied(), "");
            return Err(Problem::new(format!("unknown kind of device `{kind}`")).help(help));
        }
        Name::new(model).map_err(|e| Problem::new(e.to_string()))?;
        Ok(Self(text.to_owned()))
    }

    fn placeholder() -> Self {
        Self(String::new())
    }
}

/// A SHA-256 as lower-case hexadecimal digits.
#[derive(Clone, Debug)]
pub struct Sha256(pub String);

impl Leaf for Sha256 {
    const WHAT: &'static str = "a SHA-256";
    const PATTERN: Option<&'static str> = Some("^[0-9a-f]{64}$");

    fn parse(text: &str) -> Result<Self, Problem> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(digit) {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(format!("`{text}` is no SHA-256"))
            .help("write 64 hexadecimal digits, as sha256sum prints them"))
    }

    fn placeholder() -> Self {
        Self("0".repeat(64))
    }
}

/// A system call of Linux, by its name, on whichever arch has it.
#[derive(Clone, Copy, Debug)]
pub struct SystemCall(pub &'static str);

impl Leaf for SystemCall {
    const WHAT: &'static str = "a system call of Linux";
    const PATTERN: Option<&'static str> = Some("^[a-z0-9_]+$");

    fn parse(text: &str) -> Result<Self, Problem> {
        linux_abi::by_name(text).map(|call| Self(call.name)).ok_or_else(|| {
            let known = linux_abi::SYSCALLS.iter().map(|call| call.name);
            let help = super::super::suggest::help(text, known, "see docs/linux-calls.md");
            Problem::new(format!("Linux has no system call `{text}`")).help(help)
        })
    }

    fn placeholder() -> Self {
        Self("")
    }
}

/// How a VM ends: `exit N`, `signal N`, `panic`, `oom` or `halt`.
#[derive(Clone, Debug)]
pub struct End(pub String);

impl Leaf for End {
    const WHAT: &'static str = "how the VM ends, like \"exit 0\" or \"panic\"";
    const PATTERN: Option<&'static str> = Some("^(exit [0-9]+|signal [0-9]+|panic|oom|halt)$");

    fn parse(text: &str) -> Result<Self, Problem> {
        let number =
            |n: &str, max: u32| n.parse::<u32>().is_ok_and(|v| v <= max && v.to_string() == n);
        let good = match text.split_once(' ') {
            Some(("exit", n)) => number(n, 255),
            Some(("signal", n)) => number(n, 64) && n != "0",
            Some(_) => false,
            None => matches!(text, "panic" | "oom" | "halt"),
        };
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(format!("`{text}` is no way for a VM to end"))
            .help("write `exit N` (0 to 255), `signal N` (1 to 64), `panic`, `oom` or `halt`"))
    }

    fn placeholder() -> Self {
        Self("exit 0".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_values_are_read_as_meant() {
        for (text, bytes) in [("1K", 1 << 10), ("6M", 6 << 20), ("3G", 3 << 30), ("1T", 1 << 40)] {
            let size = <MemorySize as Leaf>::parse(text).expect(text);
            assert_eq!((size.0, size.to_string().as_str()), (bytes, text));
        }
        let address = |text| Address::parse(text).map(|a| a.0).ok();
        assert_eq!(address("0xffff_ffff_8000_0000"), Some(0xffff_ffff_8000_0000));
        assert_eq!(
            (address("0x+1"), address("10"), address("0x1_0000_0000_0000_0000")),
            (None, None, None)
        );
        let mode = |text| FileMode::parse(text).map(|m| m.0).ok();
        assert_eq!(
            (mode("0755"), mode("644"), mode("07777")),
            (Some(0o755), Some(0o644), Some(0o7777))
        );
        assert_eq!((mode("17777"), mode("+755"), mode("75")), (None, None, None));
        let owner = |text| Owner::parse(text).map(|o| o.id).ok();
        assert_eq!(
            (owner("root"), owner("nobody"), owner("1000")),
            (Some(0), Some(65534), Some(1000))
        );
        assert_eq!((owner(""), owner("+1"), owner("4294967296")), (None, None, None));
        for end in ["exit 0", "exit 255", "signal 11", "panic", "oom", "halt"] {
            assert!(End::parse(end).is_ok(), "{end}");
        }
        for end in ["exit", "exit 00", "exit +1", "signal 0", "signal 65", "panic 1", "Exit 1"] {
            assert!(End::parse(end).is_err(), "{end}");
        }
    }

    #[test]
    fn paths_are_normalised_and_bounded() {
        let long = format!("/{}", "x".repeat(256));
        let deep = "/x".repeat(2048);
        for bad in ["", "/", "x", "/x/", "/./x", "/x/..", "//x", "/x\0y", &long, &deep] {
            assert!(ImagePath::parse(bad).is_err(), "{bad}");
        }
        for good in ["/x", "/.x", "/..x/ä b", long.get(..256).expect("ASCII")] {
            assert_eq!(ImagePath::parse(good).expect(good).0, good);
        }
        for bad in ["", ".", "..", "/x", "x/", "x//y", "./x", "x/../y"] {
            assert!(RepoPath::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(RepoPath::parse("a/b.c").expect("a path").0, "a/b.c");
    }
}
