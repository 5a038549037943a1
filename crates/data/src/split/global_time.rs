//! Splits at two points in time that are the same for all users.

use super::{Check, Part, PartBounds, Splitter, check_shares};
use crate::timelines::Timelines;
use crate::{Error, Instant, Result};
use serde::{Deserialize, Serialize};

/// Rows before `valid_from` are for training, rows from `test_from` on for test, those in between for
/// validation. If the times are not given, they are found from the shares: the time of row ceil(share n) in
/// order of time, so rows with the same time always stay together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlobalTime {
    /// Share of training rows, if no times are given.
    pub train: f64,
    /// Share of validation rows, if no times are given.
    pub valid: f64,
    /// The first time of validation: a date, a date and time, or Unix seconds. Defaults to `test_from` if only that is given: no validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Instant>,
    /// The first time of test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_from: Option<Instant>,
}

impl Default for GlobalTime {
    fn default() -> Self {
        Self { train: 0.8, valid: 0.1, valid_from: None, test_from: None }
    }
}

impl Check for GlobalTime {
    fn check(&self) -> Result<()> {
        match (self.valid_from, self.test_from) {
            (Some(valid), None) => Err(Error::config(
                "split.test_from",
                format!("is missing, but split.valid_from = {valid} is given"),
            )),
            (Some(valid), Some(test)) if valid > test => Err(Error::config(
                "split.valid_from",
                format!("must not be later than split.test_from = {test}, found {valid}"),
            )),
            _ => check_shares(self.train, self.valid),
        }
    }
}

impl Splitter for GlobalTime {
    fn assign(&self, lines: &Timelines) -> Result<Vec<Part>> {
        let times = lines.times.as_ref().ok_or_else(|| {
            Error::config("split.kind", "`global_time` needs times, but the log has none")
        })?;
        let (valid_from, test_from) = match self.test_from {
            Some(test) => {
                let at = |instant: Instant| instant.ticks(lines.time_unit);
                (at(self.valid_from.unwrap_or(test)), at(test))
            }
            None => self.times_of_shares(times),
        };
        let part = |&time: &i64| {
            if time < valid_from {
                Part::Train
            } else if time < test_from {
                Part::Valid
            } else {
                Part::Test
            }
        };
        Ok(times.iter().map(part).collect())
    }
}

impl GlobalTime {
    fn times_of_shares(&self, times: &[i64]) -> (i64, i64) {
        let bounds = PartBounds::new(self.train, self.valid, times.len());
        let mut times = times.to_vec();
        let mut time_at = |at: usize| {
            if at < times.len() { *times.select_nth_unstable(at).1 } else { i64::MAX }
        };
        (time_at(bounds.train), time_at(bounds.valid))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use Part::{Test, Train, Valid};

    fn lines(times: &[i64]) -> Timelines {
        Timelines {
            n_items: 1,
            starts: vec![0, times.len()],
            items: vec![0; times.len()],
            times: Some(times.to_vec()),
            ..Timelines::default()
        }
    }

    #[test]
    fn moments_cut_for_all_users() {
        let split = GlobalTime {
            valid_from: Some(Instant::from_seconds(10)),
            test_from: Some(Instant::from_seconds(20)),
            ..GlobalTime::default()
        };
        assert_eq!(
            split.assign(&lines(&[1, 9, 10, 19, 20, 99])).unwrap(),
            [Train, Train, Valid, Valid, Test, Test]
        );
        let split =
            GlobalTime { test_from: Some(Instant::from_seconds(20)), ..GlobalTime::default() };
        assert_eq!(split.assign(&lines(&[19, 20])).unwrap(), [Train, Test]);
    }

    #[test]
    fn shares_find_moments_and_ties_stay_together() {
        let times: Vec<i64> = (0..10).rev().collect();
        let parts = GlobalTime::default().assign(&lines(&times)).unwrap();
        assert_eq!(parts[0], Test);
        assert_eq!(parts[1], Valid);
        assert!(parts[2..].iter().all(|&part| part == Train));
        // Positions 6 to 9 of 10 all have time 7: all four are for test.
        let parts = GlobalTime::default().assign(&lines(&[0, 1, 2, 3, 4, 5, 7, 7, 7, 7])).unwrap();
        assert_eq!(parts.iter().filter(|&&part| part == Test).count(), 4);
        assert_eq!(parts.iter().filter(|&&part| part == Valid).count(), 0);
    }

    #[test]
    fn without_times_it_says_so() {
        let mut lines = lines(&[1]);
        lines.times = None;
        let error = GlobalTime::default().assign(&lines).unwrap_err().to_string();
        assert_eq!(error, "split.kind: `global_time` needs times, but the log has none");
        let late = GlobalTime {
            valid_from: Some(Instant::from_seconds(9)),
            test_from: Some(Instant::from_seconds(5)),
            ..GlobalTime::default()
        };
        assert!(late.check().is_err());
    }
}
