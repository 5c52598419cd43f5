use super::both;
use crate::link::elf::testing::Sample;
use crate::link::{SizeTable, relocate, size_table};
use object::elf;

fn table(sample: &Sample) -> SizeTable {
    let (_, plan) = both()[0].clone();
    size_table(&relocate(&sample.bytes(), &plan).unwrap().elf, &["ns16550"]).unwrap()
}

#[test]
fn every_byte_has_one_owner() {
    let table = table(&Sample::new(elf::EM_X86_64));
    let owned: u64 = table.owners.iter().map(super::super::OwnerSize::in_memory).sum();
    assert_eq!(owned, table.total());
    // Text, rodata, note, list, relro, data, bss.
    assert_eq!(table.total(), 0x80 + 0x40 + 24 + 0x10 + 0x18 + 0x10 + 0x1000);
    let owner = |name: &str| table.owners.iter().find(|o| o.name == name).unwrap();
    let driver = owner("ns16550");
    assert_eq!((driver.driver, driver.rodata, driver.in_memory()), (true, 0x10, 0x10));
    // `target`; `OSIER_LOADER_HEADER`; `pointer`.
    let c = owner("(C names)");
    assert_eq!((c.driver, c.code, c.rodata, c.data, c.bss), (false, 0x20, 64, 8, 0));
    assert_eq!(owner("(unnamed)").bss, 0x1000);
}

#[test]
fn changes_are_named() {
    let before = table(&Sample::new(elf::EM_X86_64));
    let driver_symbol = "_ZN5pl0116DRIVER17h0123456789abcdefE";
    let now = table(&Sample { driver_symbol, ..Sample::new(elf::EM_X86_64) });
    let deltas: Vec<_> =
        now.since(&before).into_iter().map(|d| (d.name, d.before, d.now)).collect();
    assert_eq!(deltas, [("ns16550".into(), 16, 0), ("pl011".into(), 0, 16)]);
    assert_eq!(now.since(&now), []);
    let text = serde_json::to_string(&now).unwrap();
    assert_eq!(serde_json::from_str::<SizeTable>(&text).unwrap(), now);
}
