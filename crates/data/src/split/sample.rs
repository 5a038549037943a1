//! A smaller training part: models are fitted on a share of each user's interactions, while evaluation stays
//! the same.

use crate::{Error, Result};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Interactions, Lists};
use serde::{Deserialize, Serialize};

/// `data.sample`: a share of each user's training interactions. Histories and targets of validation and test
/// stay the same; models are fitted on less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSample {
    /// Above 0, at most 1. Of n interactions, ceil(share n) are kept; a smaller share is a subset of a larger
    /// one.
    pub share: f64,
    /// Which of them are kept.
    pub keep: Keep,
}

/// Which interactions of a user are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The last ones.
    #[default]
    Latest,
    /// The first ones.
    Earliest,
    /// A random choice, the same for every seed, in the original order.
    Random,
}

impl Default for TrainSample {
    fn default() -> Self {
        Self { share: 1.0, keep: Keep::default() }
    }
}

/// Separates the draws of samples from all others.
const STREAM: u64 = 0x5341_4d50;

impl TrainSample {
    /// Checks the share.
    ///
    /// # Errors
    /// When it is not above 0 and at most 1.
    pub fn check(&self) -> Result<()> {
        let share = self.share;
        if share > 0.0 && share <= 1.0 {
            return Ok(());
        }
        let problem = format!("must be above 0 and at most 1, is {share}");
        Err(Error::config("data.sample.share", problem))
    }

    /// Whether this is the default, which keeps everything.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// The kept interactions, each user's in their order.
    ///
    /// # Errors
    /// As [`TrainSample::check`].
    pub fn apply(&self, train: Interactions) -> Result<Interactions> {
        self.check()?;
        if self.share == 1.0 {
            return Ok(train);
        }
        let mut rows = Vec::new();
        let mut items = Lists::with_capacity(train.n_users(), train.len());
        for user in 0..train.n_users() {
            let line = train.items().range(user);
            let n = n_kept(self.share, line.len());
            let kept: Vec<usize> = match self.keep {
                Keep::Latest => (line.end - n..line.end).collect(),
                Keep::Earliest => (line.start..line.start + n).collect(),
                Keep::Random => {
                    let order = Rng::keyed(STREAM, [user as u64]).permutation(line.len() as u32);
                    let mut kept: Vec<usize> =
                        order[..n].iter().map(|&at| line.start + at as usize).collect();
                    kept.sort_unstable();
                    kept
                }
            };
            items.push(kept.iter().map(|&row| train.items().values()[row]));
            rows.extend(kept);
        }
        let times = train.times().map(|times| rows.iter().map(|&row| times[row]).collect());
        let weights = train.weights().map(|weights| rows.iter().map(|&row| weights[row]).collect());
        let kept = Interactions::new(train.n_items(), items, times, weights)?;
        Ok(kept.with_time_unit(train.time_unit()))
    }
}

/// `ceil(share * n)`, where a product that exceeds a whole number by 1e-9 at most counts as that number. The
/// tolerance of [`super::ceil_share`] grows with the product; the two differ only for shares written with
/// nine or more digits and rounded up.
fn n_kept(share: f64, n: usize) -> usize {
    (share * n as f64 - 1e-9).ceil() as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::ceil_share;
    use super::*;

    #[test]
    fn a_smaller_share_is_part_of_a_larger_one_and_lines_keep_their_order() {
        let lines = [vec![3, 1, 4, 0, 5], vec![], vec![2]];
        let whole =
            Interactions::new(6, Lists::from_iter(lines), Some(vec![1, 2, 3, 4, 5, 6]), None)
                .unwrap();
        let of = |share, keep| TrainSample { share, keep }.apply(whole.clone()).unwrap();
        let latest = of(0.4, Keep::Latest);
        assert_eq!(
            (latest.history(0), latest.history(1), latest.history(2)),
            (&[0, 5][..], &[][..], &[2][..])
        );
        assert_eq!(latest.times(), Some(&[4, 5, 6][..]));
        assert_eq!(of(0.41, Keep::Earliest).history(0), [3, 1, 4]);
        assert_eq!(of(1.0, Keep::Random), whole);
        let mut before: Vec<u32> = Vec::new();
        for share in [0.2, 0.4, 0.6, 0.8, 1.0] {
            let now = of(share, Keep::Random);
            let at = |item: &u32| whole.history(0).iter().position(|other| other == item).unwrap();
            assert!(now.history(0).is_sorted_by_key(at));
            assert!(before.iter().all(|item| now.history(0).contains(item)));
            before = now.history(0).to_vec();
        }
        assert_eq!(before.len(), 5);
        let error = TrainSample { share: 0.0, keep: Keep::Latest }.apply(whole).unwrap_err();
        assert_eq!(error.to_string(), "data.sample.share: must be above 0 and at most 1, is 0");
    }

    #[test]
    fn samples_and_splits_round_usual_shares_alike() {
        let percents = (1..=100).map(|percent| f64::from(percent) / 100.0);
        let fractions = (2..=12).flat_map(|b| (1..b).map(move |a| f64::from(a) / f64::from(b)));
        let typed = [0.001, 0.005, 0.333, 0.3333, 0.667, 0.6667, 0.333_333, 0.666_667, 0.999];
        for share in percents.chain(fractions).chain(typed) {
            for n in 0..=100_000 {
                assert_eq!(n_kept(share, n), ceil_share(share, n), "{share} of {n}");
            }
        }
        assert_eq!((n_kept(0.666_666_667, 6), ceil_share(0.666_666_667, 6)), (5, 4));
    }
}
