//! From counter ticks to nanoseconds, by multiplication and shift.

/// Nanoseconds of a second.
pub const NS: u64 = 1_000_000_000;

/// ns = ticks × mult ÷ 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// 0 while the frequency is unknown: time stands still.
    mult: u64,
}

impl Scale {
    /// Before the frequency is known.
    pub const UNKNOWN: Self = Self { mult: 0 };

    /// Of a counter of `hz` ticks a second.
    #[must_use]
    pub const fn of(hz: u64) -> Self {
        if hz == 0 {
            return Self::UNKNOWN;
        }
        // Rounded to nearest: an error of at most 2⁻³³ ns a tick.
        let mult = (((NS as u128) << 32) + hz as u128 / 2) / hz as u128;
        Self { mult: mult as u64 }
    }

    /// The multiplier, for whoever stores it in a word of its own.
    #[must_use]
    pub const fn mult(self) -> u64 {
        self.mult
    }

    /// From [`Self::mult`].
    #[must_use]
    pub const fn from_mult(mult: u64) -> Self {
        Self { mult }
    }

    /// `ticks` in nanoseconds; wraps after 2⁶⁴ ns, 584 years.
    #[must_use]
    pub const fn ns(self, ticks: u64) -> u64 {
        ((ticks as u128 * self.mult as u128) >> 32) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_an_hour_at_any_frequency() {
        for hz in [
            1_000_000,
            3_579_545,
            24_000_000,
            62_500_000,
            1_000_000_000,
            2_893_437_123,
            5_000_000_000,
        ] {
            let ns = Scale::of(hz).ns(hz * 3600);
            let off = ns.abs_diff(3600 * NS);
            assert!(off * 1_000_000 <= 3600 * NS, "{hz} Hz: {off} ns off");
        }
        assert_eq!(Scale::of(0).ns(123), 0);
        assert_eq!(Scale::of(NS).ns(u64::MAX / 4), u64::MAX / 4);
    }
}
