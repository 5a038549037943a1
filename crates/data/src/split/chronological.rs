//! Splits each user's rows by shares, in order of time.
//!
//! The default shares are the rule of the RD paper's data (Tang & Wang, KDD 2018), verified on its released
//! files: the first ceil(0.7 n) rows are for training, those up to ceil(0.8 n) for validation, the remaining
//! ones for test.

use super::{Check, Part, PartBounds, Splitter, check_shares};
use crate::Result;
use crate::timelines::Timelines;
use serde::{Deserialize, Serialize};

/// Boundaries at ceil(train n) and ceil((train + valid) n) of each user's n rows. Logs without times are
/// split in file order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chronological {
    /// Share of training rows.
    pub train: f64,
    /// Share of validation rows; the remainder is for test.
    pub valid: f64,
}

impl Default for Chronological {
    fn default() -> Self {
        Self { train: 0.7, valid: 0.1 }
    }
}

impl Check for Chronological {
    fn check(&self) -> Result<()> {
        check_shares(self.train, self.valid)
    }
}

impl Splitter for Chronological {
    fn assign(&self, lines: &Timelines) -> Result<Vec<Part>> {
        let mut parts = Vec::with_capacity(lines.len());
        for user in 0..lines.n_users() {
            let n = lines.range(user).len();
            let bounds = PartBounds::new(self.train, self.valid, n);
            parts.extend((0..n).map(|k| bounds.part(k)));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::one_user;

    #[test]
    fn the_rd_rule_by_hand() {
        for (n, train, valid, test) in
            [(10, 7, 1, 2), (11, 8, 1, 2), (15, 11, 1, 3), (3, 3, 0, 0), (1, 1, 0, 0), (4, 3, 1, 0)]
        {
            let parts = Chronological::default().assign(&one_user(n)).unwrap();
            let count = |part| parts.iter().filter(|&&p| p == part).count();
            let found = (count(Part::Train), count(Part::Valid), count(Part::Test));
            assert_eq!(found, (train, valid, test), "n = {n}");
            assert!(parts.is_sorted());
        }
    }
}
