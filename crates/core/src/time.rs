//! The unit in which a log counts time.

use serde::{Deserialize, Serialize};

/// Times are whole numbers of this unit since 1970-01-01 00:00:00 UTC, without leap seconds (Unix time).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
    /// Billionths of a second.
    Nanoseconds,
}

impl TimeUnit {
    /// All units, the coarsest first.
    pub const ALL: [Self; 4] =
        [Self::Seconds, Self::Milliseconds, Self::Microseconds, Self::Nanoseconds];

    /// How many of this unit are a second.
    #[must_use]
    pub fn per_second(self) -> i64 {
        10i64.pow(self.decimals())
    }

    /// The number of decimal places of a second that this unit counts: 0, 3, 6 or 9.
    #[must_use]
    pub fn decimals(self) -> u32 {
        3 * self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_a_thousand_apart() {
        assert_eq!(TimeUnit::ALL.map(TimeUnit::per_second), [1, 1_000, 1_000_000, 1_000_000_000]);
    }
}
