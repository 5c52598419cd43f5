//! MSI-X (PCI 6.8.2): a table of messages in a function's memory.

use driver_api::{Error, Mmio, MsiMessage, PciAddress, Result};

use crate::capability::{self, Capability};
use crate::config::ConfigSpace;

/// Offsets in the capability. Control is the upper half of its first word.
const CONTROL: u16 = 0;
const TABLE: u16 = 4;
/// Length of the capability.
const LEN: u16 = 12;
/// Control, in the word: entries less one; all masked; on.
const SIZE_SHIFT: u32 = 16;
const SIZE: u32 = 0x7ff;
const MASK_ALL: u32 = 1 << 30;
const ENABLE: u32 = 1 << 31;
/// Bytes of an entry: address, its upper half, data, control (bit 0: masked).
const ENTRY: usize = 16;

/// A function's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    capability: Capability,
    /// How many entries it has.
    pub entries: usize,
    /// The base address register with its memory.
    pub bar: usize,
    /// Where it begins there.
    pub offset: usize,
}

impl Table {
    /// The table of the function at `at`, if it has one.
    #[must_use]
    pub fn find(space: &dyn ConfigSpace, at: PciAddress) -> Option<Self> {
        let is_msix = |c: &Capability| c.id == capability::id::MSIX && c.holds(LEN);
        let capability = capability::list(space, at).find(is_msix)?;
        let control = space.read(at, capability.offset + CONTROL);
        let place = space.read(at, capability.offset + TABLE);
        let (bar, offset) = ((place & 7) as usize, (place & !7) as usize);
        let entries = (control >> SIZE_SHIFT & SIZE) as usize + 1;
        (bar < crate::bars::COUNT).then_some(Self { capability, entries, bar, offset })
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries * ENTRY
    }

    /// Whether it has no entries: never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Makes entry n send `messages[n]`, masks the others, and turns MSI-X on. `table` is the
    /// table's memory.
    ///
    /// # Errors
    /// `OutOfRange` for more messages than entries, or memory that is too short.
    pub fn enable(
        &self,
        space: &dyn ConfigSpace,
        at: PciAddress,
        table: &Mmio,
        messages: &[MsiMessage],
    ) -> Result<()> {
        if messages.len() > self.entries || table.len() < self.len() {
            return Err(Error::OutOfRange);
        }
        let control = space.read(at, self.capability.offset) & !(MASK_ALL | ENABLE);
        // On, so that the table can be written; masked until it is.
        space.write(at, self.capability.offset, control | ENABLE | MASK_ALL);
        for n in 0..self.entries {
            let entry = n * ENTRY;
            table.write32(entry + 12, 1);
            if let Some(message) = messages.get(n) {
                table.write32(entry, message.address as u32);
                table.write32(entry + 4, (message.address >> 32) as u32);
                table.write32(entry + 8, message.data);
                table.write32(entry + 12, 0);
            }
        }
        space.write(at, self.capability.offset, control | ENABLE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{AT, Fake, Words};
    use alloc::sync::Arc;

    #[test]
    fn messages_are_written_and_the_rest_masked() {
        let fake = Fake::new();
        fake.capability(0x40, 0x11, 0);
        fake.set(0x40, 0x0002_0011); // three entries
        fake.set(0x44, 0x2001);
        let table = Table::find(&fake, AT).unwrap();
        assert_eq!((table.entries, table.bar, table.offset), (3, 1, 0x2000));
        let words = Arc::new(Words::default());
        let memory = Mmio::model(words.clone(), 0, 48);
        let message = |data| MsiMessage { address: 0x1_fee0_0000, data };
        table.enable(&fake, AT, &memory, &[message(7), message(8)]).unwrap();
        assert_eq!(words.all(0..12), [0xfee0_0000, 1, 7, 0, 0xfee0_0000, 1, 8, 0, 0, 0, 0, 1]);
        assert_eq!(fake.read(AT, 0x40) >> 30, 0b10, "on, and not masked");
        let four = [message(0); 4];
        assert_eq!(table.enable(&fake, AT, &memory, &four), Err(Error::OutOfRange));
        let short = Mmio::model(words, 0, 47);
        assert_eq!(table.enable(&fake, AT, &short, &[]), Err(Error::OutOfRange));
    }

    #[test]
    fn a_table_that_cannot_be_is_none() {
        let fake = Fake::new();
        assert_eq!(Table::find(&fake, AT), None);
        fake.capability(0x40, 0x11, 0);
        fake.set(0x44, 7); // there are six registers
        assert_eq!(Table::find(&fake, AT), None);
        fake.capability(0x40, 9, 0xf8); // its end would be outside
        fake.capability(0xf8, 0x11, 0);
        assert_eq!(Table::find(&fake, AT), None);
    }
}
