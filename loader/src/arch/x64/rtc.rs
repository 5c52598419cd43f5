//! The CMOS real-time clock's registers, decoded (Motorola MC146818A data sheet).

/// The time registers, as they were read twice alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Registers 0, 2, 4, 7, 8, 9.
    pub second: u8,
    /// Minute.
    pub minute: u8,
    /// Hour; bit 7 is "afternoon" in 12-hour mode.
    pub hour: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Month, from 1.
    pub month: u8,
    /// Year of the century.
    pub year: u8,
    /// The century, when the machine has a register for it.
    pub century: Option<u8>,
    /// Register B: bit 1 is 24-hour mode, bit 2 binary instead of BCD.
    pub status_b: u8,
}

/// Register B: hours count to 24.
const HOURS_24: u8 = 1 << 1;
/// Register B: values are binary.
const BINARY: u8 = 1 << 2;
/// Hour register: afternoon.
const PM: u8 = 1 << 7;

/// Seconds since 1970-01-01 00:00 UTC, as which the clock is read; `None` when the registers
/// hold no time (there is no clock, or it was never set).
#[must_use]
pub fn unix_time(r: &Registers) -> Option<u64> {
    let value = |raw: u8, limit: u8| {
        let v = if r.status_b & BINARY != 0 {
            raw
        } else if raw & 0xf > 9 || raw >> 4 > 9 {
            return None;
        } else {
            (raw >> 4) * 10 + (raw & 0xf)
        };
        (v <= limit).then_some(u64::from(v))
    };
    let mut hour = value(if r.status_b & HOURS_24 != 0 { r.hour } else { r.hour & !PM }, 23)?;
    if r.status_b & HOURS_24 == 0 {
        hour = hour % 12 + if r.hour & PM != 0 { 12 } else { 0 };
    }
    let (minute, second) = (value(r.minute, 59)?, value(r.second, 59)?);
    let (day, month) = (value(r.day, 31)?, value(r.month, 12)?);
    let century = match r.century {
        Some(raw) => value(raw, 99).filter(|c| *c >= 19).unwrap_or(20),
        None => 20,
    };
    let year = century * 100 + value(r.year, 99)?;
    if day == 0 || month == 0 || year < 1970 {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970-01-01 to the first of a month of the Gregorian calendar; `year` is 1970 or
/// later.
fn days_before(year: u64, month: u64) -> u64 {
    // Years that begin in March put the leap day last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5;
    // The same for 1970-01-01.
    days - (1969 * 365 + 1969 / 4 - 1969 / 100 + 1969 / 400 + 306)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Registers = Registers {
        second: 0x56,
        minute: 0x34,
        hour: 0x12,
        day: 0x20,
        month: 0x11,
        year: 0x26,
        century: Some(0x20),
        status_b: HOURS_24,
    };

    #[test]
    fn bcd_binary_and_12_hours_agree() {
        // date -u -d '2026-11-20 12:34:56' +%s
        assert_eq!(unix_time(&SAMPLE), Some(1_795_178_096));
        let binary = Registers {
            second: 56,
            minute: 34,
            hour: 12,
            day: 20,
            month: 11,
            year: 26,
            century: None,
            status_b: HOURS_24 | BINARY,
        };
        assert_eq!(unix_time(&binary), Some(1_795_178_096));
        let noon = Registers { hour: 0x12 | PM, status_b: 0, ..SAMPLE };
        assert_eq!(unix_time(&noon), Some(1_795_178_096));
        let midnight = Registers { hour: 0x12, status_b: 0, ..SAMPLE };
        assert_eq!(unix_time(&midnight), Some(1_795_178_096 - 12 * 3600));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (year, month, days) in
            [(1970, 1, 0), (1970, 3, 59), (1972, 3, 790), (2000, 3, 11_017), (2100, 3, 47_541)]
        {
            assert_eq!(days_before(year, month), days, "{year}-{month}");
        }
    }

    #[test]
    fn no_clock_is_no_time() {
        let none = Registers {
            second: 0xff,
            minute: 0xff,
            hour: 0xff,
            day: 0xff,
            month: 0xff,
            year: 0xff,
            century: None,
            status_b: 0xff,
        };
        assert_eq!(unix_time(&none), None);
        assert_eq!(unix_time(&Registers { day: 0, ..SAMPLE }), None);
        assert_eq!(unix_time(&Registers { month: 0x13, ..SAMPLE }), None);
    }
}
