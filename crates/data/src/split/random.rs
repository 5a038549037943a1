//! Splits each user's rows at random.

use super::{Check, Part, PartBounds, Splitter, check_shares};
use crate::Result;
use crate::timelines::Timelines;
use rankstill_core::kernel::rng::Rng;
use serde::{Deserialize, Serialize};

/// Of each user's n rows in random order, the first ceil(train n) are for training, those up to ceil((train +
/// valid) n) for validation, the others for test. Rows of a part keep their order. The draw depends on the
/// seed and the user number only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomRatio {
    /// Share of training rows.
    pub train: f64,
    /// Share of validation rows; the remainder is for test.
    pub valid: f64,
    /// Seed of the random order.
    pub seed: u64,
}

impl Default for RandomRatio {
    fn default() -> Self {
        Self { train: 0.7, valid: 0.1, seed: 0 }
    }
}

impl Check for RandomRatio {
    fn check(&self) -> Result<()> {
        check_shares(self.train, self.valid)
    }
}

impl Splitter for RandomRatio {
    fn assign(&self, lines: &Timelines) -> Result<Vec<Part>> {
        let mut parts = Vec::with_capacity(lines.len());
        for user in 0..lines.n_users() {
            let n = lines.range(user).len();
            let bounds = PartBounds::new(self.train, self.valid, n);
            let start = parts.len();
            parts.extend((0..n).map(|k| bounds.part(k)));
            Rng::keyed(self.seed, [user as u64]).shuffle(&mut parts[start..]);
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{lines, one_user};

    #[test]
    fn shares_are_exact_and_places_random() {
        let split = RandomRatio { train: 0.5, valid: 0.2, seed: 3 };
        let parts = split.assign(&one_user(1000)).unwrap();
        let count = |part| parts.iter().filter(|&&p| p == part).count();
        assert_eq!((count(Part::Train), count(Part::Valid), count(Part::Test)), (500, 200, 300));
        // The first half holds about half of the test rows: 150, standard deviation 7.2.
        let early = parts[..500].iter().filter(|&&p| p == Part::Test).count();
        assert!((115..185).contains(&early), "{early}");
        let other = RandomRatio { seed: 4, ..split }.assign(&one_user(1000)).unwrap();
        assert_ne!(parts, other);
        assert_eq!(parts, split.assign(&one_user(1000)).unwrap());
    }

    #[test]
    fn a_user_is_dealt_alike_whoever_else_is_in_the_log() {
        let all = lines(20, 9, 1);
        let parts = RandomRatio::default().assign(&all).unwrap();
        let mut first = all.clone();
        first.retain(|user, _| user < 5);
        let few = RandomRatio::default().assign(&first).unwrap();
        assert_eq!(parts[..few.len()], few);
    }
}
