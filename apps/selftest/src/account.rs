//! Where the machine's memory is, by kind: two accounts must be equal when what was done
//! between them is undone.

use crate::calls::raw;
use crate::failed;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Memory by kind. What is the program's own (its pages, their tables, areas) is left out:
/// the C library keeps pages, and a table goes when its last area does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Neither free nor of any kind that the kernel counts, in KiB.
    other: u64,
    /// Pages of files, in KiB.
    cached: u64,
    /// Stacks of threads in the kernel, in KiB.
    stacks: u64,
    /// Allocations of whole frames in the kernel heap, in KiB.
    whole: u64,
    /// Objects of the kernel heap by size in bytes, without those of areas.
    objects: BTreeMap<u64, u64>,
}

/// Size of the objects that areas of the address space are.
const AREA: u64 = 96;

/// Size of the frames that allocations have to themselves.
const FRAME: u64 = 4096;

/// Bytes of the longest text: some 900 areas.
const TEXT: usize = 64 << 10;

/// Makes what never shrinks as large as it will be: the table of descriptors, which has 4096
/// at most, each CPU's room for timers, which a thread, a timer and a descriptor need, and the
/// folders in which calls make names.
pub fn prepare() -> Result<(), String> {
    raw::named("dup3", &[0, 4095, 0]);
    // CLOCK_MONOTONIC; far more than are in use at once.
    let timers: Vec<isize> = (0..500).map(|_| raw::named("timerfd_create", &[1, 0])).collect();
    timers.iter().for_each(|&fd| _ = raw::named("close", &[fd as usize]));
    raw::named("close", &[4095]);
    for folder in ["/", "/tmp"] {
        let names: Vec<_> = (0..200).map(|n| Path::new(folder).join(format!("room-{n}"))).collect();
        names.iter().try_for_each(|name| File::create(name).map(drop)).map_err(failed(folder))?;
        names.iter().try_for_each(std::fs::remove_file).map_err(failed(folder))?;
    }
    Ok(())
}

/// A file of `/proc`, read without an allocation: that could make or remove an area.
struct Text([u8; TEXT], usize);

impl Text {
    fn read(&mut self, path: &str) -> Result<(), String> {
        let mut file = File::open(path).map_err(failed(path))?;
        self.1 = 0;
        loop {
            let n = file.read(&mut self.0[self.1..]).map_err(failed(path))?;
            if n == 0 {
                break;
            }
            self.1 += n;
        }
        if self.1 == self.0.len() { Err(format!("{path} is too long")) } else { Ok(()) }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        str::from_utf8(&self.0[..self.1]).unwrap_or_default().lines()
    }
}

impl Account {
    /// What is so now.
    fn now() -> Result<Self, String> {
        let [mut memory, mut slabs, mut maps] = [const { Text([0; TEXT], 0) }; 3];
        memory.read("/proc/meminfo")?;
        slabs.read("/proc/slabinfo")?;
        maps.read("/proc/self/maps")?;
        let kib = |name: &str| -> Result<u64, String> {
            let line = memory.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok());
            number.ok_or_else(|| format!("no {name} in /proc/meminfo"))
        };
        let (stacks, slab) = (kib("KernelStack")?, kib("Slab")?);
        let (free, cached) = (kib("MemFree")?, kib("Cached")?);
        let known = free + cached + kib("AnonPages")? + kib("PageTables")? + stacks + slab;
        let mut objects = BTreeMap::new();
        for line in slabs.lines().skip(2) {
            let mut numbers = line.split_whitespace().skip(1).map(str::parse::<u64>);
            let [Some(Ok(used)), Some(Ok(_)), Some(Ok(size))] = [(); 3].map(|()| numbers.next())
            else {
                return Err(format!("/proc/slabinfo says {line}"));
            };
            objects.insert(size, used);
        }
        let areas = maps.lines().count() as u64;
        let of_areas = objects.get_mut(&AREA).ok_or("areas are of another size")?;
        *of_areas = of_areas.checked_sub(areas).ok_or("areas are of another size")?;
        // All of `slabinfo` is of one moment: `meminfo` was read at another, when a text was another
        // object of the heap.
        let whole = 4 * objects.remove(&FRAME).ok_or("/proc/slabinfo counts no frames")?;
        Ok(Self { other: kib("MemTotal")?.wrapping_sub(known), cached, stacks, whole, objects })
    }

    /// What is so when nothing changes any more: the last steps of threads that were joined,
    /// and of calls that were interrupted, come later.
    pub fn settled() -> Result<Self, String> {
        // What closed files had locked is forgotten with the next lock.
        File::open("/").and_then(|root| root.lock_shared()).map_err(failed("flock"))?;
        let mut last = Self::now()?;
        let mut same = 0;
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(2));
            let now = Self::now()?;
            same = if now == last { same + 1 } else { 0 };
            last = now;
            if same == 3 {
                break;
            }
        }
        Ok(last)
    }

    /// Fails if something was lost for good since `before`. What is under way (a thread that was
    /// joined gives up its stack in its last step, on a CPU that the host may have taken away) is
    /// waited for; what is lost never comes, and the bound is for that.
    pub fn come_back(before: &Self) -> Result<(), String> {
        let mut result = Self::settled()?.check(before);
        for _ in 0..50 {
            if result.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            result = Self::settled()?.check(before);
        }
        result
    }

    /// Whether nothing was lost since `before`, to the last frame and the last object.
    ///
    /// A vector that has grown keeps its room (a folder's names, timers): its object is one
    /// of another size then, and no object more. The table of descriptors is grown to its
    /// largest by [`prepare`].
    fn check(&self, before: &Self) -> Result<(), String> {
        let count = |a: &Self| a.objects.values().sum::<u64>();
        let lost = self.other != before.other
            || self.cached > before.cached
            || self.stacks > before.stacks
            || count(self) > count(before)
            || self.whole > before.whole;
        if lost { Err(format!("memory was {before:?}, and is {self:?}")) } else { Ok(()) }
    }
}
