//! One row of each user is for test, one for validation, the others for training.

use super::{Check, Part, Splitter};
use crate::Result;
use crate::timelines::Timelines;
use rankstill_core::kernel::rng::Rng;
use serde::{Deserialize, Serialize};

/// A user with one row has only a training row, a user with two has no validation row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaveOneOut {
    /// The test row.
    pub which: Which,
    /// Whether another row (for `last`, the one before) is for validation.
    pub valid: bool,
    /// Seed for `random`.
    pub seed: u64,
}

/// Which row is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The latest.
    #[default]
    Last,
    /// A random one.
    Random,
}

impl Default for LeaveOneOut {
    fn default() -> Self {
        Self { which: Which::Last, valid: true, seed: 0 }
    }
}

impl Check for LeaveOneOut {}

impl Splitter for LeaveOneOut {
    fn assign(&self, lines: &Timelines) -> Result<Vec<Part>> {
        let mut parts = vec![Part::Train; lines.len()];
        for user in 0..lines.n_users() {
            let own = &mut parts[lines.range(user)];
            let n = own.len();
            if n < 2 {
                continue;
            }
            let (test, valid) = match self.which {
                Which::Last => (n - 1, n - 2),
                Which::Random => {
                    let mut rng = Rng::keyed(self.seed, [user as u64]);
                    let test = rng.below(n as u32) as usize;
                    // Any other row: those from `test` on are shifted by one.
                    let other = rng.below(n as u32 - 1) as usize;
                    (test, other + usize::from(other >= test))
                }
            };
            own[test] = Part::Test;
            if self.valid && n > 2 {
                own[valid] = Part::Valid;
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::one_user;
    use Part::{Test, Train, Valid};

    #[test]
    fn the_last_tests_and_the_one_before_validates() {
        let split = LeaveOneOut::default();
        assert_eq!(split.assign(&one_user(4)).unwrap(), [Train, Train, Valid, Test]);
        assert_eq!(split.assign(&one_user(2)).unwrap(), [Train, Test]);
        assert_eq!(split.assign(&one_user(1)).unwrap(), [Train]);
        let split = LeaveOneOut { valid: false, ..split };
        assert_eq!(split.assign(&one_user(3)).unwrap(), [Train, Train, Test]);
    }

    #[test]
    fn at_random_every_row_is_equally_likely() {
        let mut test_at = [0; 4];
        let mut valid_at = [0; 4];
        for seed in 0..4000 {
            let split = LeaveOneOut { which: Which::Random, valid: true, seed };
            let parts = split.assign(&one_user(4)).unwrap();
            test_at[parts.iter().position(|&p| p == Test).unwrap()] += 1;
            valid_at[parts.iter().position(|&p| p == Valid).unwrap()] += 1;
        }
        for count in test_at.into_iter().chain(valid_at) {
            assert!((850..1150).contains(&count), "1000 expected, standard deviation 27: {count}");
        }
    }
}
