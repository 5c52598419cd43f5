//! A thread's share of a CPU: the policy and the nice value that the app gave it.
//!
//! Threads that are ready run by turns. One that is to have more of the CPU has longer turns, so
//! nothing has to be kept in order or counted. `sched(7)` has the words.

/// How long a turn is with nice 0, in ns.
pub const SLICE: u32 = 4_000_000;
/// The shortest turn: switching takes a small part of it.
const SHORTEST: u32 = 250_000;
/// The longest: so long do others wait at most for each thread before them.
const LONGEST: u32 = 64_000_000;

/// How the app wants a thread scheduled (`uapi/linux/sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Policy {
    /// `SCHED_OTHER`.
    #[default]
    Other = 0,
    /// `SCHED_BATCH`: as the other, for nobody gets a turn earlier for having waited.
    Batch = 3,
    /// `SCHED_IDLE`: the least that there is, whatever the nice value.
    Idle = 5,
}

/// A thread's share of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Share {
    /// Its policy.
    pub policy: Policy,
    /// -20, the most, to 19.
    pub nice: i8,
    /// Threads that it starts have no better nice value than 0 (`SCHED_RESET_ON_FORK`).
    pub reset_on_fork: bool,
}

impl Share {
    /// In one word; that of the default is 0.
    #[must_use]
    pub const fn pack(self) -> u32 {
        self.nice.cast_unsigned() as u32
            | (self.policy as u32) << 8
            | (self.reset_on_fork as u32) << 16
    }

    /// From [`Self::pack`].
    #[must_use]
    pub const fn unpack(word: u32) -> Self {
        let policy = match word >> 8 & 0xff {
            3 => Policy::Batch,
            5 => Policy::Idle,
            _ => Policy::Other,
        };
        Self { policy, nice: (word as u8).cast_signed(), reset_on_fork: word >> 16 & 1 != 0 }
    }

    /// How long a turn is while others wait, in ns: a quarter more for each nice value less, as
    /// Linux's weights are (`sched_prio_to_weight`), within bounds.
    #[must_use]
    pub fn slice(self) -> u32 {
        if self.policy == Policy::Idle {
            return SHORTEST;
        }
        let mut slice = SLICE;
        for _ in 0..self.nice.unsigned_abs() {
            slice = if self.nice < 0 { slice / 4 * 5 } else { slice / 5 * 4 };
            slice = slice.clamp(SHORTEST, LONGEST);
        }
        slice
    }

    /// That of a thread which one with this share starts.
    #[must_use]
    pub fn inherited(self) -> Self {
        if self.reset_on_fork {
            Self { nice: self.nice.max(0), reset_on_fork: false, ..self }
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_fits_into_a_word() {
        assert_eq!(Share::default().pack(), 0);
        for policy in [Policy::Other, Policy::Batch, Policy::Idle] {
            for nice in -20..20 {
                for reset_on_fork in [false, true] {
                    let share = Share { policy, nice, reset_on_fork };
                    assert_eq!(Share::unpack(share.pack()), share);
                }
            }
        }
    }

    #[test]
    fn nicer_threads_have_shorter_turns() {
        let slice = |nice| Share { nice, ..Share::default() }.slice();
        assert_eq!([-1, 0, 1].map(slice), [5_000_000, SLICE, 3_200_000]);
        assert_eq!([-20, -13, 13, 19].map(slice), [LONGEST, LONGEST, SHORTEST, SHORTEST]);
        assert!((-20..19).all(|nice| slice(nice) >= slice(nice + 1)));
        let idle = Share { policy: Policy::Idle, nice: -20, reset_on_fork: false };
        assert_eq!(idle.slice(), SHORTEST);
    }

    #[test]
    fn what_is_reset_is_reset_once() {
        let share = Share { nice: -5, reset_on_fork: true, ..Share::default() };
        assert_eq!(share.inherited(), Share::default());
        let nicer = Share { nice: 5, ..share };
        assert_eq!(nicer.inherited(), Share { nice: 5, ..Share::default() });
        let kept = Share { reset_on_fork: false, ..share };
        assert_eq!(kept.inherited(), kept);
    }
}
