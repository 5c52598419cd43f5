//! The flattened device tree (Devicetree Specification 0.4, chapter 5), read in place.
//!
//! Written for trees that may be wrong: every offset is checked, names and depth are
//! bounded, and a walk ends at the first thing that makes no sense. (The crate `dtoolkit`
//! reads such trees as well, but brings proc-macro crates into every kernel build.)

use driver_api::{IrqLine, Trigger};

use crate::mm::{PhysAddr, PhysRange};

/// Length of the header in bytes (section 5.2, version 17).
pub const HEADER_LEN: usize = 40;
/// First word of a tree.
const MAGIC: u32 = 0xd00d_feed;
/// The version whose layout is used; trees say which oldest version they are compatible with.
const VERSION: u32 = 17;
/// Deepest node; QEMU's and real boards' trees have fewer than ten levels.
const MAX_DEPTH: usize = 16;
/// Tokens of the structure block (section 5.4.1).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
#[cfg(test)]
const END: u32 = 9;

/// Why bytes are not a device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtbError {
    /// Fewer bytes than the header, or than it says.
    Truncated,
    /// The magic is another.
    BadMagic,
    /// A version that this code cannot read.
    Version(u32),
    /// A block lies outside the tree or is misaligned.
    BadLayout,
}

/// A device tree.
#[derive(Clone, Copy, Debug)]
pub struct Dtb<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    reservations: &'a [u8],
    used: usize,
}

/// A big-endian word at `at`.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|w| u32::from_be_bytes(*w))
}

/// Length of the whole tree, by its header.
///
/// # Errors
/// `Truncated`, `BadMagic`.
pub fn total_size(header: &[u8]) -> Result<usize, DtbError> {
    match word(header, 0) {
        None => Err(DtbError::Truncated),
        Some(MAGIC) => word(header, 4).map(|n| n as usize).ok_or(DtbError::Truncated),
        Some(_) => Err(DtbError::BadMagic),
    }
}

impl<'a> Dtb<'a> {
    /// The tree at the start of `bytes`.
    ///
    /// # Errors
    /// See [`DtbError`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, DtbError> {
        let bytes = bytes.get(..total_size(bytes)?).ok_or(DtbError::Truncated)?;
        let field = |n: usize| word(bytes, n * 4).ok_or(DtbError::Truncated);
        let (version, last_compatible) = (field(5)?, field(6)?);
        if version < VERSION || last_compatible > VERSION {
            return Err(DtbError::Version(version));
        }
        let block = |offset: u32, len: u32| {
            let start = offset as usize;
            let end = start.checked_add(len as usize).ok_or(DtbError::BadLayout)?;
            bytes.get(start..end).map(|b| (b, end)).ok_or(DtbError::BadLayout)
        };
        let (structure, end1) = block(field(2)?, field(9)?)?;
        let (strings, end2) = block(field(3)?, field(8)?)?;
        let reservations = bytes.get(field(4)? as usize..).ok_or(DtbError::BadLayout)?;
        if !field(2)?.is_multiple_of(4) {
            return Err(DtbError::BadLayout);
        }
        Ok(Self { structure, strings, reservations, used: end1.max(end2).max(HEADER_LEN) })
    }

    /// Bytes from the start of the tree to the end of its last block: what is worth keeping
    /// (QEMU pads its trees to 1 MiB).
    #[must_use]
    pub fn used_len(&self) -> usize {
        self.used
    }

    /// The memory reservation block (section 5.3).
    pub fn reservations(&self) -> impl Iterator<Item = PhysRange> + 'a {
        self.reservations
            .chunks_exact(16)
            .map(|entry| {
                let mut cells = Cells(entry);
                (cells.take(2).unwrap_or(0), cells.take(2).unwrap_or(0))
            })
            .take_while(|&(start, len)| start != 0 || len != 0)
            .map(|(start, len)| PhysRange::with_len(PhysAddr(start), len))
    }

    /// Calls `visit` with every node and its ancestors, in the order of the tree, until it
    /// returns `false` or the tree ends or makes no sense.
    pub fn walk(&self, visit: &mut dyn FnMut(&Path<'_, 'a>) -> bool) {
        let empty = Node { name: b"", properties: b"", strings: self.strings };
        let mut nodes = [empty; MAX_DEPTH];
        let mut depth = 0;
        let mut at = 0;
        while let Some(token) = word(self.structure, at) {
            at += 4;
            match token {
                NOP => {}
                BEGIN_NODE => {
                    let rest = self.structure.get(at..).unwrap_or(&[]);
                    let Some(len) = rest.iter().position(|&b| b == 0) else { return };
                    at = (at + len + 4) & !3;
                    let end = skip_properties(self.structure, at);
                    let Some(slot) = nodes.get_mut(depth) else { return };
                    *slot = Node {
                        name: rest.get(..len).unwrap_or(&[]),
                        properties: self.structure.get(at..end).unwrap_or(&[]),
                        strings: self.strings,
                    };
                    at = end;
                    depth += 1;
                    if !visit(&Path { nodes: nodes.get(..depth).unwrap_or(&[]) }) {
                        return;
                    }
                }
                END_NODE if depth > 1 => depth -= 1,
                // The end, a property after a subnode (section 5.4.1 forbids it), or noise.
                _ => return,
            }
        }
    }
}

/// Where the properties (and NOPs) that begin at `at` end.
fn skip_properties(structure: &[u8], mut at: usize) -> usize {
    loop {
        match word(structure, at) {
            Some(NOP) => at += 4,
            Some(PROP) => match word(structure, at + 4) {
                Some(len) => at = (at + 12).saturating_add(len as usize).saturating_add(3) & !3,
                None => return at,
            },
            _ => return at,
        }
    }
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    name: &'a [u8],
    /// The part of the structure block with its properties.
    properties: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Node<'a> {
    /// Its name, unit address included.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The value of property `name`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        let mut at = 0;
        loop {
            match word(self.properties, at)? {
                NOP => at += 4,
                PROP => {
                    let len = word(self.properties, at + 4)? as usize;
                    let name_at = word(self.properties, at + 8)? as usize;
                    let end = (at + 12).checked_add(len)?;
                    let value = self.properties.get(at + 12..end)?;
                    let found = self.strings.get(name_at..)?;
                    if found.strip_prefix(name.as_bytes()).is_some_and(|r| r.first() == Some(&0)) {
                        return Some(value);
                    }
                    at = end.checked_add(3)? & !3;
                }
                _ => return None,
            }
        }
    }

    /// A property of one or two cells as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.property(name)?;
        match value.len() {
            4 | 8 => Cells(value).take(value.len() / 4),
            _ => None,
        }
    }

    /// A property that is a string, without its terminator.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a [u8]> {
        self.property(name)?.split(|&b| b == 0).next()
    }

    /// Whether `compatible` is in its list.
    #[must_use]
    pub fn is_compatible(&self, compatible: &str) -> bool {
        self.property("compatible")
            .is_some_and(|list| list.split(|&b| b == 0).any(|c| c == compatible.as_bytes()))
    }

    /// Whether its `status` lets the kernel use it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        matches!(self.text("status"), None | Some(b"okay" | b"ok"))
    }

    /// Cells of an address and of a length in its children's `reg` (section 2.3.5: 2 and 1
    /// unless it says otherwise).
    fn child_cells(&self) -> (usize, usize) {
        let cells = |name, default| self.number(name).map_or(default, |n| n as usize);
        (cells("#address-cells", 2), cells("#size-cells", 1))
    }
}

/// Big-endian cells.
struct Cells<'a>(&'a [u8]);

impl Cells<'_> {
    /// The next `count` cells as one number; `None` when they are not there, or when they do
    /// not fit 64 bits.
    fn take(&mut self, count: usize) -> Option<u64> {
        let (head, rest) = self.0.split_at_checked(count.checked_mul(4)?)?;
        self.0 = rest;
        let (high, low) = head.split_at_checked(head.len().saturating_sub(8))?;
        if high.iter().any(|&b| b != 0) {
            return None;
        }
        Some(low.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
    }
}

/// A node and its ancestors.
#[derive(Clone, Copy, Debug)]
pub struct Path<'p, 'a> {
    /// From the root to the node.
    nodes: &'p [Node<'a>],
}

/// An interrupt as the GIC's binding describes it (`arm,gic`: three cells or more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// INTID: 16 + n for private ones, 32 + n for shared ones.
    pub line: IrqLine,
    /// How it signals.
    pub trigger: Trigger,
}

impl<'p, 'a> Path<'p, 'a> {
    /// The node.
    #[must_use]
    pub fn node(&self) -> Node<'a> {
        match self.nodes.last() {
            Some(node) => *node,
            None => Node { name: b"", properties: b"", strings: b"" },
        }
    }

    /// How deep it is: the root is 0.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    /// The node above.
    #[must_use]
    pub fn parent(&self) -> Option<Path<'p, 'a>> {
        let (_, above) = self.nodes.split_last()?;
        (!above.is_empty()).then_some(Path { nodes: above })
    }

    /// Whether the node stands at this place: names from below the root, without unit
    /// addresses.
    #[must_use]
    pub fn is(&self, names: &[&str]) -> bool {
        let below = self.nodes.get(1..).unwrap_or(&[]);
        below.len() == names.len()
            && below
                .iter()
                .zip(names)
                .all(|(node, name)| node.name.split(|&b| b == b'@').next() == Some(name.as_bytes()))
    }

    /// The `index`-th range of its `reg`, as the CPU sees it. `None` when there is none, or
    /// when a bus above does not translate it.
    #[must_use]
    pub fn reg(&self, index: usize) -> Option<PhysRange> {
        let (address, size) = self.parent()?.node().child_cells();
        let entry = (address + size).checked_mul(4).filter(|&n| n > 0)?;
        let mut cells = Cells(self.node().property("reg")?.get(index.checked_mul(entry)?..)?);
        let start = cells.take(address)?;
        let len = cells.take(size)?;
        let start = self.parent()?.translate(start, len)?;
        Some(PhysRange::with_len(PhysAddr(start), len))
    }

    /// What the address `address` on the bus that this node is, is for the CPU (section
    /// 2.3.8).
    fn translate(&self, mut address: u64, len: u64) -> Option<u64> {
        let mut bus = *self;
        while let Some(above) = bus.parent() {
            let ranges = bus.node().property("ranges")?;
            if !ranges.is_empty() {
                let (child, size) = bus.node().child_cells();
                let (parent, _) = above.node().child_cells();
                let mut cells = Cells(ranges);
                address = loop {
                    let from = cells.take(child)?;
                    let to = cells.take(parent)?;
                    let span = cells.take(size)?;
                    let offset = address.wrapping_sub(from);
                    if address >= from && offset.checked_add(len)? <= span {
                        break to.checked_add(offset)?;
                    }
                };
            }
            bus = above;
        }
        Some(address)
    }

    /// The `index`-th entry of its `interrupts`, when its interrupt parent is `gic` (a
    /// phandle).
    #[must_use]
    pub fn interrupt(&self, index: usize, gic: Gic) -> Option<Interrupt> {
        let parent = self.nodes.iter().rev().find_map(|n| n.number("interrupt-parent"))?;
        if parent != gic.phandle {
            return None;
        }
        let entry = gic.cells.checked_mul(4).filter(|&n| n >= 12)?;
        let value = self.node().property("interrupts")?;
        let mut cells = Cells(value.get(index.checked_mul(entry)?..)?);
        let mut cell = || cells.take(1).map(|c| c as u32);
        gic_interrupt(cell()?, cell()?, cell()?)
    }
}

/// What the first three cells of a GIC's interrupt specifier say (`arm,gic.yaml`): kind (0
/// shared, 1 private), number, flags (3:0: 1 rising, 2 falling, 4 high, 8 low).
#[must_use]
pub fn gic_interrupt(kind: u32, number: u32, flags: u32) -> Option<Interrupt> {
    let line = match kind {
        0 if number < 988 => 32 + number,
        1 if number < 16 => 16 + number,
        _ => return None,
    };
    let trigger = match flags & 0xf {
        1 | 2 => Trigger::Edge,
        8 => Trigger::LevelLow,
        _ => Trigger::LevelHigh,
    };
    Some(Interrupt { line: IrqLine(line), trigger })
}

/// What other nodes need to know of the interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gic {
    /// Its phandle.
    pub phandle: u64,
    /// Cells of an interrupt specifier.
    pub cells: usize,
}

impl Gic {
    /// The controller that `node` is.
    #[must_use]
    pub fn of(node: &Node<'_>) -> Option<Self> {
        let cells = node.number("#interrupt-cells")? as usize;
        Some(Self { phandle: node.number("phandle")?, cells })
    }
}

#[cfg(test)]
pub(crate) mod build;
#[cfg(test)]
mod tests;
