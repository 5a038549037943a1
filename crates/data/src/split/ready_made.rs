//! A published split, used as it is.

use super::{Check, Part, Splitter};
use crate::timelines::Timelines;
use crate::{Error, Result};
use rankstill_core::kernel::rng::Rng;
use serde::{Deserialize, Serialize};

/// The parts come with the log, as separate files, and are kept. Optionally, a split without validation rows
/// takes them from its training rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadyMade {
    /// Share of each user's training rows, drawn at random, that is used for validation: ceil(share n) of n,
    /// but never all.
    pub valid_from_train: f64,
    /// Seed of the draw.
    pub seed: u64,
}

impl Check for ReadyMade {
    fn check(&self) -> Result<()> {
        if (0.0..1.0).contains(&self.valid_from_train) {
            return Ok(());
        }
        let problem = format!("must be at least 0 and below 1, found {}", self.valid_from_train);
        Err(Error::config("split.valid_from_train", problem))
    }
}

impl Splitter for ReadyMade {
    fn assign(&self, lines: &Timelines) -> Result<Vec<Part>> {
        let problem = "`ready_made` needs a log that comes as separate training, test and optional validation files";
        let mut parts = lines.parts.clone().ok_or_else(|| Error::config("split.kind", problem))?;
        if self.valid_from_train == 0.0 {
            return Ok(parts);
        }
        if parts.contains(&Part::Valid) {
            let problem = "must be 0, because the log comes with a validation part";
            return Err(Error::config("split.valid_from_train", problem));
        }
        for user in 0..lines.n_users() {
            let mut train: Vec<usize> =
                lines.range(user).filter(|&row| parts[row] == Part::Train).collect();
            let n = super::ceil_share(self.valid_from_train, train.len());
            let n = n.min(train.len().saturating_sub(1));
            Rng::keyed(self.seed, [user as u64]).shuffle(&mut train);
            for &row in &train[..n] {
                parts[row] = Part::Valid;
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

    #[test]
    fn parts_stay_and_validation_can_come_out_of_training() {
        let mut lines = one_user(10);
        assert!(ReadyMade::default().assign(&lines).is_err());
        let mut parts = vec![Part::Train; 8];
        parts.extend([Part::Test; 2]);
        lines.parts = Some(parts.clone());
        assert_eq!(ReadyMade::default().assign(&lines).unwrap(), parts);
        let taken = ReadyMade { valid_from_train: 0.25, seed: 1 }.assign(&lines).unwrap();
        assert_eq!(taken.iter().filter(|&&part| part == Part::Valid).count(), 2);
        assert_eq!(taken[8..], parts[8..]);
        let all = ReadyMade { valid_from_train: 0.99, seed: 1 }.assign(&lines).unwrap();
        assert_eq!(all.iter().filter(|&&part| part == Part::Train).count(), 1, "one stays");
    }
}
