//! Driver for battery-backed clocks: the Motorola MC146818 that every PC has a descendant of
//! (I/O ports, data sheet ADI-856), and ARM's PL031 (memory, ARM DDI 0224). It reads the
//! time once and says it.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;
use driver_api::{Driver, Error, Kernel, Mmio, Pio, Resource, Result};

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "rtc", early: None, probe };

/// Where a PC's clock answers: the index port, then the data port.
const PORTS: u16 = 0x70;

fn probe(kernel: &'static dyn Kernel) -> Result<()> {
    let now = match pl031(kernel) {
        Some(registers) => DateTime::of_unix(registers?.read32(0).into()),
        None => mc146818(&kernel.claim_pio(PORTS, 2)?).ok_or(Error::NoDevice)?,
    };
    driver_api::log::info!(target: "rtc", "it is {now}");
    Ok(())
}

/// The registers of a PL031, where the device tree names one. Register 0, RTCDR, holds the
/// seconds since 1970.
fn pl031(kernel: &dyn Kernel) -> Option<Result<Mmio>> {
    let mut found = [Resource::Mmio { base: 0, len: 0 }; 4];
    let count = kernel.find_device("arm,pl031", 0, &mut found)?;
    found.get(..count)?.iter().find_map(|r| match *r {
        Resource::Mmio { base, len } => Some(kernel.map_mmio(base, len)),
        _ => None,
    })
}

/// How often a clock that is being updated is asked again; an update takes 2 ms at most.
const TRIES: u32 = 100_000;

/// Reads a PC's clock; `None` when nothing sensible answers.
fn mc146818(ports: &Pio) -> Option<DateTime> {
    let read = |register: u8| {
        ports.write8(0, register);
        ports.read8(1)
    };
    // Register A, bit 7: an update is in progress and the fields do not fit together.
    (0..TRIES).find(|_| read(0x0a) & 0x80 == 0)?;
    let fields = [0x00, 0x02, 0x04, 0x07, 0x08, 0x09].map(read);
    DateTime::of_cmos(fields, read(0x0b))
}

/// A date and a time of day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DateTime {
    year: u64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl DateTime {
    /// The date `seconds` after 1970 began.
    fn of_unix(seconds: u64) -> Self {
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Days since 1 March of the year 0, so that a leap day ends its year; 400 years are
        // 146 097 days.
        let since = days + 719_468;
        let (era, day_of_era) = (since / 146_097, since % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March, of 30.6 days.
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self {
            year,
            month: month as u8,
            day: day as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }

    /// From the registers second, minute, hour, day, month and year, as register B (`mode`)
    /// says they are coded; `None` when they are no date.
    fn of_cmos(fields: [u8; 6], mode: u8) -> Option<Self> {
        const BINARY: u8 = 1 << 2;
        const HOURS_24: u8 = 1 << 1;
        const PM: u8 = 1 << 7;
        let afternoon = mode & HOURS_24 == 0 && fields[2] & PM != 0;
        let number = |field: u8| match mode & BINARY {
            0 => (field >> 4) * 10 + (field & 0xf),
            _ => field,
        };
        let hour = match (mode & HOURS_24 == 0, number(fields[2] & !PM)) {
            (false, hour) => hour,
            (true, hour) => hour % 12 + if afternoon { 12 } else { 0 },
        };
        let [second, minute, day, month] = [fields[0], fields[1], fields[3], fields[4]].map(number);
        let good = second < 60 && minute < 60 && hour < 24;
        let good = good && (1..=31).contains(&day) && (1..=12).contains(&month);
        let year = 2000 + u64::from(number(fields[5]));
        good.then_some(Self { year, month, day, hour, minute, second })
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn seconds_become_dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (1_795_200_000, "2026-11-20 18:40:00"),
        ] {
            assert_eq!(DateTime::of_unix(seconds).to_string(), date);
        }
    }

    #[test]
    fn registers_are_read_as_their_mode_says() {
        let read = |fields, mode| DateTime::of_cmos(fields, mode).map(|d| d.to_string());
        let noon = Some("2026-11-20 18:40:05".to_string());
        assert_eq!(read([0x05, 0x40, 0x18, 0x20, 0x11, 0x26], 0x02), noon);
        assert_eq!(read([5, 40, 18, 20, 11, 26], 0x06), noon);
        assert_eq!(read([0x05, 0x40, 0x86, 0x20, 0x11, 0x26], 0x00), noon);
        let midnight = Some("2026-11-20 00:40:05".to_string());
        assert_eq!(read([0x05, 0x40, 0x12, 0x20, 0x11, 0x26], 0x00), midnight);
        // What ports without a device read.
        assert_eq!(read([0xff; 6], 0xff), None);
    }
}
