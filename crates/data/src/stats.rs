//! Statistics of a data set: the columns of Table 1 of the RD paper (Tang & Wang, KDD 2018).

use crate::split::Partition;
use rankstill_core::text_table::{TextTable, thousands};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Table 1 of the RD paper, and the extremes of activity and popularity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Users of the data set.
    pub users: usize,
    /// Items of the data set.
    pub items: usize,
    /// Interactions in all parts.
    pub actions: usize,
    /// `actions / users`.
    pub actions_per_user: f64,
    /// Pairs of a user and a sequence, (u, S^(u,t)): windows of 5 items and 1 target over training and
    /// validation rows. A user with 2 to 5 such rows counts as 1.
    pub pairs: usize,
    /// The share of user-item pairs without an interaction, `1 - actions / (users * items)`.
    pub sparsity: f64,
    /// Rows of the least active user.
    pub min_user: usize,
    /// Rows of the most active user.
    pub max_user: usize,
    /// Rows of the least popular item.
    pub min_item: usize,
    /// Rows of the most popular item.
    pub max_item: usize,
}

/// Items per window (the paper's L) and targets (T).
const WINDOW: usize = 5;
const TARGETS: usize = 1;

impl Stats {
    /// The statistics of a split log.
    #[must_use]
    pub fn of(partition: &Partition) -> Self {
        let lines = &partition.lines;
        let (users, items, actions) = (lines.n_users(), lines.n_items, lines.len());
        let mut popularity = vec![0usize; items];
        lines.items.iter().for_each(|&item| popularity[item as usize] += 1);
        let per_user = || (0..users).map(|user| lines.range(user).len());
        let pairs = (0..users).map(|user| {
            let n = partition.valid_ends[user] - lines.starts[user];
            if n > TARGETS { n.saturating_sub(WINDOW + TARGETS - 1).max(1) } else { 0 }
        });
        Self {
            users,
            items,
            actions,
            actions_per_user: actions as f64 / users.max(1) as f64,
            pairs: pairs.sum(),
            sparsity: 1.0 - actions as f64 / (users as f64 * items as f64).max(1.0),
            min_user: per_user().min().unwrap_or(0),
            max_user: per_user().max().unwrap_or(0),
            min_item: popularity.iter().copied().min().unwrap_or(0),
            max_item: popularity.iter().copied().max().unwrap_or(0),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table =
            TextTable::new(["users", "items", "actions", "per user", "(u, S) pairs", "sparsity"]);
        table.push([
            thousands(self.users),
            thousands(self.items),
            thousands(self.actions),
            format!("{:.2}", self.actions_per_user),
            thousands(self.pairs),
            format!("{:.2}%", 100.0 * self.sparsity),
        ]);
        table.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::split::{Part, SplitConfig};
    use crate::timelines::Timelines;
    use rankstill_core::Cases;

    #[test]
    fn table_1_by_hand() {
        // 10 rows: 8 train or validate, so windows at 5, 6, 7. 3 rows: all train, one short window. 1 row:
        // none.
        let lines = Timelines {
            n_items: 10,
            starts: vec![0, 10, 13, 14],
            items: (0..10).chain(0..3).chain([0]).collect(),
            ..Timelines::default()
        };
        let partition = SplitConfig::default().cut(lines).unwrap();
        let stats = Stats::of(&partition);
        assert_eq!((stats.users, stats.items, stats.actions, stats.pairs), (3, 10, 14, 4));
        assert!((stats.actions_per_user - 14.0 / 3.0).abs() < 1e-12);
        assert!((stats.sparsity - (1.0 - 14.0 / 30.0)).abs() < 1e-12);
        assert_eq!((stats.min_user, stats.max_user, stats.min_item, stats.max_item), (1, 10, 1, 3));
    }

    #[test]
    fn pairs_are_the_windows_that_models_train_on() {
        let partition = SplitConfig::default().cut(crate::testing::lines(50, 20, 3)).unwrap();
        let cases = Cases::windows(&partition.train_valid(), WINDOW, TARGETS);
        assert_eq!(Stats::of(&partition).pairs, cases.len());
        assert!(partition.range(0, Part::Train).len() <= 20);
    }
}
