//! The evaluation protocol: the history that a model gets and the items it must not recommend, for validation
//! and test.

use super::partition::beginnings;
use super::{Part, Partition};
use crate::timelines::Timelines;
use crate::{Error, Result};
use rankstill_core::{Cases, Interactions, ItemId, Lists, Span, UserId};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// The two tables `mask` and `history` of a configuration.
///
/// Published protocols: HetComp masks `train+test` for validation and `train+valid` for test; RD fits the
/// final model on train+valid and uses both as history; LightGCN's split has no validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protocol {
    /// Items that must not be recommended.
    pub mask: Mask,
    /// The history that the model gets.
    pub history: History,
}

/// Items that must not be recommended, in addition to the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mask {
    /// For validation.
    pub valid: MaskValid,
    /// For test.
    pub test: MaskTest,
}

/// Items that must not be recommended in validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaskValid {
    /// The user's training items.
    #[default]
    #[serde(rename = "train")]
    Train,
    /// Training and test items, as in some papers: test items are then known not to be validation targets.
    #[serde(rename = "train+test")]
    TrainTest,
}

/// Items that must not be recommended in test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaskTest {
    /// The user's training items.
    #[serde(rename = "train")]
    Train,
    /// Training and validation items.
    #[default]
    #[serde(rename = "train+valid")]
    TrainValid,
}

/// The history of a user that the model gets. For validation it is always the training items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// For test; by default the items that `mask.test` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TestHistory>,
}

/// The history that the model gets for test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TestHistory {
    /// The training items.
    #[serde(rename = "train")]
    Train,
    /// The training and validation items, in this order.
    #[serde(rename = "train+valid")]
    TrainValid,
}

/// Training data and cases. Users without targets have no case; [`super::SplitCounts`] counts them.
#[derive(Clone, Debug)]
pub struct Split {
    /// The training rows, for fitting while hyper-parameters are chosen.
    pub train: Interactions,
    /// One case for each user with validation rows.
    pub valid: Cases,
    /// One case for each user with test rows.
    pub test: Cases,
    timeline: Arc<Vec<ItemId>>,
    /// Its `items` were moved to `timeline`.
    lines: Timelines,
    valid_ends: Vec<usize>,
}

impl Protocol {
    /// Checks that the settings are valid together.
    ///
    /// # Errors
    /// When the history would contain items that may be recommended.
    pub fn check(&self) -> Result<()> {
        if self.mask.test == MaskTest::Train && self.history.test == Some(TestHistory::TrainValid) {
            let problem = "`train+valid` requires that both are masked; set mask.test = \"train+valid\" or history.test = \"train\"";
            return Err(Error::config("history.test", problem));
        }
        Ok(())
    }

    /// The history for test, with the default filled in.
    #[must_use]
    pub fn known_at_test(&self) -> TestHistory {
        self.history.test.unwrap_or(match self.mask.test {
            MaskTest::Train => TestHistory::Train,
            MaskTest::TrainValid => TestHistory::TrainValid,
        })
    }
}

impl Split {
    /// Builds the cases. They share the rows of the partition; only the training rows are copied.
    ///
    /// # Errors
    /// As [`Protocol::check`].
    pub fn new(partition: Partition, protocol: &Protocol) -> Result<Self> {
        protocol.check()?;
        let train = partition.train();
        let valid: Vec<Span> = spans(&partition, Part::Valid, |user, train, _valid, test| {
            let none = train.end..train.end;
            let hidden = if protocol.mask.valid == MaskValid::TrainTest { test } else { none };
            (user, train, hidden)
        });
        let known = protocol.known_at_test();
        let test: Vec<Span> = spans(&partition, Part::Test, |user, train, valid, _test| {
            match (known, protocol.mask.test) {
                (TestHistory::TrainValid, _) => {
                    (user, train.start..valid.end, valid.end..valid.end)
                }
                (TestHistory::Train, MaskTest::TrainValid) => (user, train, valid),
                (TestHistory::Train, MaskTest::Train) => (user, train, valid.end..valid.end),
            }
        });
        let Partition { mut lines, valid_ends, .. } = partition;
        let timeline = Arc::new(std::mem::take(&mut lines.items));
        Ok(Self {
            train,
            valid: Cases::new(lines.n_items, Arc::clone(&timeline), valid)?,
            test: Cases::new(lines.n_items, Arc::clone(&timeline), test)?,
            timeline,
            lines,
            valid_ends,
        })
    }

    /// Training and validation rows, for the final fit.
    #[must_use]
    pub fn train_valid(&self) -> Interactions {
        beginnings(&self.lines, &self.timeline, |user| self.valid_ends[user])
    }

    /// All rows, for a model that goes into service and is no longer measured.
    #[must_use]
    pub fn all(&self) -> Interactions {
        beginnings(&self.lines, &self.timeline, |user| self.lines.range(user).end)
    }

    /// The weights of the test rows, if the log has weights: row *i* is parallel to the targets of test case *i*.
    #[must_use]
    pub fn test_weights(&self) -> Option<Lists<f32>> {
        let weights = self.lines.weights.as_ref()?;
        let rows = |user: usize| self.valid_ends[user]..self.lines.range(user).end;
        let tested = (0..self.lines.n_users()).map(rows).filter(|rows| !rows.is_empty());
        Some(tested.map(|rows| weights[rows].iter().copied()).collect())
    }
}

/// One span for each user with rows in `part`; `query` returns user, history and hidden rows from the user's
/// three parts.
fn spans(
    partition: &Partition,
    part: Part,
    query: impl Fn(
        UserId,
        Range<usize>,
        Range<usize>,
        Range<usize>,
    ) -> (UserId, Range<usize>, Range<usize>),
) -> Vec<Span> {
    let users = (0..partition.n_users()).filter(|&user| !partition.range(user, part).is_empty());
    users
        .map(|user| {
            let [train, valid, test] =
                [Part::Train, Part::Valid, Part::Test].map(|part| partition.range(user, part));
            let targets = partition.range(user, part);
            let (user, history, hidden) = query(user as UserId, train, valid, test);
            Span { user: Some(user), history, hidden, targets }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// User 0: train 1 3, valid 2, test 0 4; user 1: train 5; user 2: train 0, test 5.
    fn partition() -> Partition {
        let lines = Timelines {
            n_items: 6,
            starts: vec![0, 5, 6, 8],
            items: vec![1, 3, 2, 0, 4, 5, 0, 5],
            weights: Some(vec![1.0, 3.0, 2.0, 0.0, 4.0, 5.0, 0.5, 5.5]),
            ..Timelines::default()
        };
        use Part::{Test, Train, Valid};
        let parts = vec![Train, Train, Valid, Test, Test, Train, Train, Test];
        Partition::new(lines, parts, false).unwrap()
    }

    fn queries(text: &str) -> (Split, Vec<Vec<u32>>, Vec<Vec<u32>>) {
        let protocol: Protocol = serde_json::from_str(text).unwrap();
        let split = Split::new(partition(), &protocol).unwrap();
        let valid = split.valid.query(0);
        let test = split.test.query(0);
        let valid = vec![valid.history.to_vec(), valid.hidden.to_vec()];
        let test = vec![test.history.to_vec(), test.hidden.to_vec()];
        (split, valid, test)
    }

    #[test]
    fn each_protocol_hides_what_it_says() {
        let (split, valid, test) = queries("{}");
        assert_eq!(valid, [vec![1, 3], vec![]]);
        assert_eq!(test, [vec![1, 3, 2], vec![]]);
        assert_eq!(
            (split.valid.len(), split.test.len()),
            (1, 2),
            "users without targets have no case"
        );
        assert_eq!(split.test.case(0).targets, [0, 4]);
        assert_eq!(split.test.case(1).query.user, Some(2));
        assert_eq!(split.train.history(0), [1, 3]);
        assert_eq!(split.train_valid().history(0), [1, 3, 2]);
        assert_eq!(split.all().history(0), [1, 3, 2, 0, 4]);
        assert_eq!(split.all().len(), 8);
        let weights = split.test_weights().unwrap();
        assert_eq!(
            (weights.len(), weights.row(0), weights.row(1)),
            (2, &[0.0, 4.0][..], &[5.5][..])
        );

        let (_, valid, test) =
            queries(r#"{"mask": {"valid": "train+test"}, "history": {"test": "train"}}"#);
        assert_eq!(valid, [vec![1, 3], vec![0, 4]]);
        assert_eq!(test, [vec![1, 3], vec![2]]);

        let (_, _, test) = queries(r#"{"mask": {"test": "train"}}"#);
        assert_eq!(test, [vec![1, 3], vec![]], "validation items may be recommended then");
    }

    #[test]
    fn what_is_told_cannot_be_recommended() {
        let text = r#"{"mask": {"test": "train"}, "history": {"test": "train+valid"}}"#;
        let protocol: Protocol = serde_json::from_str(text).unwrap();
        assert!(
            Split::new(partition(), &protocol).unwrap_err().to_string().starts_with("history.test")
        );
        assert!(serde_json::from_str::<Protocol>(r#"{"mask": {"test": "all"}}"#).is_err());
    }
}
