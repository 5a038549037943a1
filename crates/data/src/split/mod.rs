//! Splits a log into training, validation and test.
//!
//! A [`Splitter`] assigns every row to a [`Part`]. The rest is common to all splits: [`Partition`] orders
//! each user's rows as training, validation, test and optionally drops unseen items; [`Split`] builds the
//! cases and their masks. A new split is a file with a config struct and a line in [`SPLITS`].

mod all;
mod chronological;
mod global_time;
mod leave_one_out;
mod partition;
mod protocol;
mod random;
mod ready_made;
mod sample;

pub use crate::part::Part;
pub use all::All;
pub use chronological::Chronological;
pub use global_time::GlobalTime;
pub use leave_one_out::{LeaveOneOut, Which};
pub use partition::{Partition, SplitCounts};
pub use protocol::{History, Mask, MaskTest, MaskValid, Protocol, Split, TestHistory};
pub use random::RandomRatio;
pub use ready_made::ReadyMade;
pub use sample::{Keep, TrainSample};

use crate::timelines::Timelines;
use crate::{Error, Result};
use rankstill_core::registry::{self, Config, Entry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A rule that splits a log.
pub trait Splitter: ToSettings + Send + Sync {
    /// Returns the part of every row.
    ///
    /// # Errors
    /// When the log lacks what the rule needs (times, ready-made parts).
    fn assign(&self, lines: &Timelines) -> Result<Vec<Part>>;
}

/// The settings of a config struct, including defaults.
pub trait ToSettings {
    /// The settings as a table.
    fn settings(&self) -> Map<String, Value>;
}

impl<T: Serialize> ToSettings for T {
    fn settings(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(settings)) => settings,
            _ => Map::new(),
        }
    }
}

/// Every kind of split.
pub static SPLITS: &[Entry<dyn Splitter>] = &[
    Entry {
        name: "chronological",
        about: "each user's earliest rows are for training, the next for validation, the latest for test",
        small: "{}",
        parse: parse::<Chronological>,
    },
    Entry {
        name: "random",
        about: "each user's rows are assigned at random, in the given shares",
        small: "{}",
        parse: parse::<RandomRatio>,
    },
    Entry {
        name: "leave_one_out",
        about: "each user's last (or a random) row is for test, the one before for validation",
        small: "{}",
        parse: parse::<LeaveOneOut>,
    },
    Entry {
        name: "global_time",
        about: "all rows before one point in time are for training, all rows after another for test",
        small: "{}",
        parse: parse::<GlobalTime>,
    },
    Entry {
        name: "ready_made",
        about: "the log comes as separate training, validation and test files",
        small: "{}",
        parse: parse::<ReadyMade>,
    },
    Entry {
        name: "all",
        about: "every row is for training: for a model that goes into service and is not measured",
        small: "{}",
        parse: parse::<All>,
    },
];

/// The `split` table of a configuration: `kind`, `drop_unseen_items`, and the settings of that kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitConfig {
    /// One of [`SPLITS`].
    pub kind: String,
    /// Drops validation and test rows of items without training rows. Otherwise they are kept and counted: no
    /// model has evidence to rank such items.
    #[serde(default)]
    pub drop_unseen_items: bool,
    /// The settings of this kind.
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

impl Default for SplitConfig {
    /// The rule of the RD paper: for each user 70% training, 10% validation, 20% test.
    fn default() -> Self {
        Self { kind: "chronological".into(), drop_unseen_items: false, options: Map::new() }
    }
}

impl SplitConfig {
    /// A split of this kind with its defaults.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    /// Returns the rule, and this configuration with every default filled in.
    ///
    /// # Errors
    /// For an unknown kind or setting, or an invalid value; the message names the key and lists the valid ones.
    pub fn resolve(&self) -> Result<(Box<dyn Splitter>, Self)> {
        let mut value = self.options.clone();
        value.insert("kind".into(), self.kind.clone().into());
        let value = Value::Object(value);
        let (_, splitter) = registry::parse(SPLITS, Config { path: "split", value: &value })?;
        let options = splitter.settings();
        Ok((splitter, Self { options, ..self.clone() }))
    }

    /// Splits the log.
    ///
    /// # Errors
    /// As [`SplitConfig::resolve`] and [`Splitter::assign`], and when no training rows remain.
    pub fn cut(&self, mut lines: Timelines) -> Result<Partition> {
        let (splitter, _) = self.resolve()?;
        let parts = splitter.assign(&lines)?;
        lines.parts = None;
        Partition::new(lines, parts, self.drop_unseen_items)
    }
}

/// A config struct that is a splitter.
fn parse<S: Splitter + Check + DeserializeOwned + 'static>(
    config: Config<'_>,
) -> rankstill_core::Result<Box<dyn Splitter>> {
    let split: S = config.read()?;
    match split.check() {
        Err(Error::Config { key, problem }) => Err(rankstill_core::Error::Config { key, problem }),
        _ => Ok(Box::new(split)),
    }
}

/// Checks that the settings are valid together.
trait Check {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// `ceil(share * n)`, where a product that differs from a whole number only by rounding counts as that
/// number: 0.07 of 100 is 7, although the floating-point product is 7.000000000000001.
pub(crate) fn ceil_share(share: f64, n: usize) -> usize {
    let product = share * n as f64;
    let near = product.round();
    let whole = if (product - near).abs() <= 1e-9 * near.max(1.0) { near } else { product.ceil() };
    (whole as usize).min(n)
}

/// Checks the shares of training and validation; the remainder is for test.
fn check_shares(train: f64, valid: f64) -> Result<()> {
    for (key, share) in [("split.train", train), ("split.valid", valid)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::config(key, format!("must be from 0 to 1, found {share}")));
        }
    }
    if train == 0.0 {
        return Err(Error::config("split.train", "must be greater than 0, found 0"));
    }
    if train + valid > 1.0 + 1e-9 {
        let problem =
            format!("split.train + split.valid must not exceed 1, found {train} + {valid}");
        return Err(Error::config("split.valid", problem));
    }
    Ok(())
}

/// The parts of `n` rows in order, with boundaries at the ceilings of the cumulated shares.
struct PartBounds {
    train: usize,
    valid: usize,
}

impl PartBounds {
    fn new(train: f64, valid: f64, n: usize) -> Self {
        Self { train: ceil_share(train, n), valid: ceil_share(train + valid, n) }
    }

    fn part(&self, k: usize) -> Part {
        if k < self.train {
            Part::Train
        } else if k < self.valid {
            Part::Valid
        } else {
            Part::Test
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ceilings_are_not_fooled_by_rounding() {
        assert_eq!(ceil_share(0.7, 10), 7);
        assert_eq!(ceil_share(0.7 + 0.1, 10), 8);
        assert_eq!(ceil_share(0.07, 100), 7);
        assert_eq!(ceil_share(0.7, 11), 8);
        assert_eq!(ceil_share(0.29, 100), 29);
        assert_eq!(ceil_share(0.7, 0), 0);
        assert_eq!(ceil_share(1.0, 5), 5);
        assert_eq!(ceil_share(1e-6, 5), 1);
    }

    proptest! {
        #[test]
        fn ceilings_equal_whole_number_arithmetic(percent in 0usize..=100, n in 0usize..100_000) {
            prop_assert_eq!(ceil_share(percent as f64 / 100.0, n), (percent * n).div_ceil(100));
        }
    }

    #[test]
    fn a_typo_names_the_key_and_lists_the_right_ones() {
        let of = |text: &str| {
            let config: SplitConfig = serde_json::from_str(text).unwrap();
            config.resolve().map(|_| ()).unwrap_err().to_string()
        };
        let error = of(r#"{"kind": "kronological"}"#);
        assert!(
            error.starts_with("split.kind: unknown kind `kronological`; one of: chronological"),
            "{error}"
        );
        let error = of(r#"{"kind": "chronological", "trian": 0.5}"#);
        assert!(error.contains("trian") && error.contains("`train`"), "{error}");
        let error = of(r#"{"kind": "random", "train": 0.95}"#);
        assert!(error.contains("0.95 + 0.1"), "{error}");
    }

    #[test]
    fn resolving_fills_in_the_defaults() {
        let (_, full) = SplitConfig::default().resolve().unwrap();
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"chronological","drop_unseen_items":false,"train":0.7,"valid":0.1}"#
        );
    }

    /// Any log, any kind: every row is in exactly one part, and each user's parts are in order.
    #[test]
    fn every_split_keeps_every_row() {
        let lines = crate::testing::lines(40, 12, 7);
        for entry in SPLITS {
            let mut lines = lines.clone();
            if entry.name == "ready_made" {
                let any = [Part::Train, Part::Train, Part::Test, Part::Valid];
                lines.parts = Some((0..lines.len()).map(|row| any[row * 7 % 4]).collect());
            }
            let partition = SplitConfig::of(entry.name).cut(lines.clone()).unwrap();
            for user in 0..lines.n_users() {
                let mut before = lines.items[lines.range(user)].to_vec();
                let mut after = partition.lines.items[partition.lines.range(user)].to_vec();
                before.sort_unstable();
                after.sort_unstable();
                assert_eq!(before, after, "{} user {user}", entry.name);
            }
            let counts = partition.counts;
            assert_eq!(counts.train + counts.valid + counts.test, lines.len(), "{}", entry.name);
        }
    }
}
