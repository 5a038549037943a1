//! A split log: each user's rows are ordered as training, validation, test.

use super::Part;
use crate::timelines::{Shard, Timelines};
use crate::{Error, Result};
use rankstill_core::text_table::{TextTable, thousands};
use rankstill_core::{Interactions, Lists};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// The training rows of user `u` are `starts[u]..train_ends[u]`, the validation rows
/// `train_ends[u]..valid_ends[u]`, the test rows the remaining ones. Rows of a part keep their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// All rows; its `parts` are `None`, because the ends define them.
    pub lines: Timelines,
    /// Where each user's training rows end.
    pub train_ends: Vec<usize>,
    /// Where each user's validation rows end.
    pub valid_ends: Vec<usize>,
    /// Sizes, and the numbers of dropped rows and of rows that cannot be evaluated.
    pub counts: SplitCounts,
}

/// The sizes of a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitCounts {
    /// Users of the data set.
    pub users: usize,
    /// Items of the data set.
    pub items: usize,
    /// Training rows.
    pub train: usize,
    /// Validation rows.
    pub valid: usize,
    /// Test rows.
    pub test: usize,
    /// Users with training rows.
    pub train_users: usize,
    /// Items with training rows.
    pub train_items: usize,
    /// Users with validation rows: the validation cases.
    pub valid_users: usize,
    /// Users with test rows: the test cases. Averages exclude all other users.
    pub test_users: usize,
    /// Kept validation rows of items without training rows.
    pub valid_unseen: usize,
    /// Kept test rows of items without training rows.
    pub test_unseen: usize,
    /// Dropped validation rows of items without training rows.
    pub valid_dropped: usize,
    /// Dropped test rows of items without training rows.
    pub test_dropped: usize,
}

impl Partition {
    /// Orders a log by the parts of its rows. Drops rows of [`Part::Out`] and, with `drop_unseen_items`,
    /// validation and test rows of items without training rows.
    ///
    /// # Errors
    /// When there are no training rows.
    pub fn new(
        mut lines: Timelines,
        mut parts: Vec<Part>,
        drop_unseen_items: bool,
    ) -> Result<Self> {
        let expected = lines.len();
        if parts.len() != expected {
            let found = parts.len();
            let what = "parts of a log".into();
            return Err(rankstill_core::Error::Length { what, expected, found }.into());
        }
        let mut trained = vec![false; lines.n_items];
        for (&item, &part) in lines.items.iter().zip(&parts) {
            if part == Part::Train {
                trained[item as usize] = true;
            }
        }
        let mut counts = SplitCounts::default();
        for (&item, part) in lines.items.iter().zip(&mut parts) {
            let unseen = !trained[item as usize];
            let (kept, dropped) = match part {
                Part::Valid if unseen => (&mut counts.valid_unseen, &mut counts.valid_dropped),
                Part::Test if unseen => (&mut counts.test_unseen, &mut counts.test_dropped),
                _ => continue,
            };
            if drop_unseen_items {
                *dropped += 1;
                *part = Part::Out;
            } else {
                *kept += 1;
            }
        }
        let some_out = parts.contains(&Part::Out);
        lines.parts = Some(parts);
        lines.for_each_shard(order_by_part);
        if some_out {
            let parts = lines.parts.clone().unwrap_or_default();
            lines.retain(|_, row| parts[row] != Part::Out);
        }
        let parts = lines.parts.take().unwrap_or_default();
        let end = |user: usize, last: Part| {
            let range = lines.range(user);
            range.start + parts[range].partition_point(|&part| part <= last)
        };
        let users = 0..lines.n_users();
        let train_ends: Vec<usize> = users.clone().map(|user| end(user, Part::Train)).collect();
        let valid_ends: Vec<usize> = users.map(|user| end(user, Part::Valid)).collect();
        counts.train_items = trained.into_iter().filter(|&trained| trained).count();
        let mut partition = Self { lines, train_ends, valid_ends, counts };
        partition.count();
        if partition.counts.train == 0 {
            return Err(Error::config("split", "no training interactions remain"));
        }
        Ok(partition)
    }

    /// Users, with or without rows.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.lines.n_users()
    }

    /// The rows of a user that belong to a part; none for [`Part::Out`].
    #[must_use]
    pub fn range(&self, user: usize, part: Part) -> Range<usize> {
        let line = self.lines.range(user);
        match part {
            Part::Train => line.start..self.train_ends[user],
            Part::Valid => self.train_ends[user]..self.valid_ends[user],
            Part::Test => self.valid_ends[user]..line.end,
            Part::Out => line.end..line.end,
        }
    }

    /// The training rows, for fitting while hyper-parameters are chosen.
    #[must_use]
    pub fn train(&self) -> Interactions {
        self.first(|user| self.train_ends[user])
    }

    /// Training and validation rows, for the final fit.
    #[must_use]
    pub fn train_valid(&self) -> Interactions {
        self.first(|user| self.valid_ends[user])
    }

    fn first(&self, end: impl Fn(usize) -> usize) -> Interactions {
        let lines = &self.lines;
        beginnings(lines, &lines.items, end)
    }

    fn count(&mut self) {
        let mut counts = SplitCounts {
            users: self.n_users(),
            items: self.lines.n_items,
            train: 0,
            valid: 0,
            test: 0,
            train_users: 0,
            valid_users: 0,
            test_users: 0,
            ..self.counts
        };
        for user in 0..self.n_users() {
            let n = [Part::Train, Part::Valid, Part::Test].map(|part| self.range(user, part).len());
            counts.train += n[0];
            counts.valid += n[1];
            counts.test += n[2];
            counts.train_users += usize::from(n[0] > 0);
            counts.valid_users += usize::from(n[1] > 0);
            counts.test_users += usize::from(n[2] > 0);
        }
        self.counts = counts;
    }
}

impl fmt::Display for SplitCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = TextTable::new(["part", "rows", "users", "unseen items", "dropped"]);
        for (part, rows, users, unseen, dropped) in [
            ("train", self.train, self.train_users, 0, 0),
            ("valid", self.valid, self.valid_users, self.valid_unseen, self.valid_dropped),
            ("test", self.test, self.test_users, self.test_unseen, self.test_dropped),
        ] {
            let numbers = [rows, users, unseen, dropped].map(thousands);
            table.push(std::iter::once(part.to_owned()).chain(numbers));
        }
        table.fmt(f)
    }
}

/// Each user's rows up to `end`; `items` is a parameter because a split shares it with its cases.
pub(super) fn beginnings(
    lines: &Timelines,
    items: &[u32],
    end: impl Fn(usize) -> usize,
) -> Interactions {
    let n_users = lines.n_users();
    let ranges = || (0..n_users).map(|user| lines.starts[user]..end(user));
    let total = ranges().map(|range| range.len()).sum();
    let mut list = Lists::with_capacity(n_users, total);
    for range in ranges() {
        list.push(items[range].iter().copied());
    }
    let times = lines.times.as_ref().map(|times| gather(times, ranges(), total));
    let weights = lines.weights.as_ref().map(|weights| gather(weights, ranges(), total));
    Interactions::new(lines.n_items, list, times, weights)
        .expect("columns of a partition are equally long and its items within the catalogue")
        .with_time_unit(lines.time_unit)
}

fn gather<T: Copy>(
    column: &[T],
    ranges: impl Iterator<Item = Range<usize>>,
    total: usize,
) -> Vec<T> {
    let mut out = Vec::with_capacity(total);
    for range in ranges {
        out.extend_from_slice(&column[range]);
    }
    out
}

/// A stable sort: rows of a part keep their order.
fn order_by_part(mut shard: Shard<'_>) {
    for user in shard.users.clone() {
        let range = shard.range(user);
        let Some(parts) = &shard.parts else { return };
        let parts = &parts[range.clone()];
        if parts.is_sorted() {
            continue;
        }
        let mut order: Vec<usize> = (0..range.len()).collect();
        order.sort_by_key(|&row| parts[row]);
        shard.permute(range, order.into_iter());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use Part::{Out, Test, Train, Valid};

    fn lines() -> Timelines {
        Timelines {
            n_items: 6,
            starts: vec![0, 5, 7],
            items: vec![0, 1, 2, 3, 4, 0, 5],
            times: Some(vec![1, 2, 3, 4, 5, 6, 7]),
            ..Timelines::default()
        }
    }

    #[test]
    fn a_line_is_train_then_valid_then_test() {
        let parts = vec![Test, Train, Valid, Train, Out, Train, Test];
        let partition = Partition::new(lines(), parts, false).unwrap();
        assert_eq!(partition.lines.items, [1, 3, 2, 0, 0, 5]);
        assert_eq!(partition.lines.times, Some(vec![2, 4, 3, 1, 6, 7]));
        assert_eq!(partition.range(0, Train), 0..2);
        assert_eq!(partition.range(0, Valid), 2..3);
        assert_eq!(partition.range(0, Test), 3..4);
        assert_eq!(partition.train().history(0), [1, 3]);
        assert_eq!(partition.train_valid().history(0), [1, 3, 2]);
        assert_eq!(partition.train_valid().times(), Some(&[2, 4, 3, 6][..]));
        let counts = partition.counts;
        assert_eq!((counts.train, counts.valid, counts.test), (3, 1, 2));
        assert_eq!((counts.train_users, counts.valid_users, counts.test_users), (2, 1, 2));
        assert_eq!(counts.train_items, 3);
        assert_eq!((counts.valid_unseen, counts.test_unseen), (1, 1), "items 2 and 5");
    }

    #[test]
    fn unseen_items_go_when_asked_and_are_counted() {
        let parts = vec![Test, Train, Valid, Train, Out, Train, Test];
        let partition = Partition::new(lines(), parts, true).unwrap();
        assert_eq!(partition.lines.items, [1, 3, 0, 0]);
        let counts = partition.counts;
        assert_eq!((counts.valid_dropped, counts.test_dropped), (1, 1));
        assert_eq!((counts.valid_unseen, counts.test_unseen), (0, 0));
        assert_eq!((counts.valid_users, counts.test_users), (0, 1));
    }

    #[test]
    fn nothing_to_train_on_is_an_error() {
        let error = Partition::new(lines(), vec![Test; 7], false).unwrap_err().to_string();
        assert_eq!(error, "split: no training interactions remain");
        assert!(Partition::new(lines(), vec![Train; 3], false).is_err());
    }
}
