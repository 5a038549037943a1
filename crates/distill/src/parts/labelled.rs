//! The labelled items of each distinct query: those about which the student's own data says something.

use rankstill_core::kernel::sample::Positives;
use rankstill_core::{Cases, Error, ItemId, Lists, Result};

/// The history, the hidden items and the targets of each distinct query, sorted. Consecutive queries with the same items (the
/// windows of one user) share one entry.
#[derive(Clone, Debug)]
pub struct Labelled {
    items: Positives,
    /// The entry of each distinct query; `None` where query `q` has entry `q`.
    entry_of: Option<Vec<u32>>,
}

impl Labelled {
    /// Of every distinct query of `cases`.
    ///
    /// # Errors
    /// When there are 2^32 - 1 items or queries, or more.
    pub fn new(cases: &Cases) -> Result<Self> {
        let queries = cases.distinct_queries();
        let limit = u32::MAX as usize;
        if cases.n_items() >= limit || queries.len() >= limit {
            return Err(Error::Config {
                key: "data".into(),
                problem: format!(
                    "{} items and {} queries; distillation takes fewer than {limit} of each",
                    cases.n_items(),
                    queries.len()
                ),
            });
        }
        // Where every case has its own query, targets may lie outside the history; elsewhere they never do. Those inside are not
        // repeated, so that the windows of a user share an entry.
        let one_case_each =
            queries.len() == cases.len() && (0..cases.len()).all(|i| cases.query_of(i) == i);
        let mut entries: Lists<ItemId> = Lists::default();
        let mut entry_of = Vec::with_capacity(queries.len());
        for (q, query) in queries.iter().enumerate() {
            let targets: &[ItemId] = if one_case_each { cases.case(q).targets } else { &[] };
            let outside = targets
                .iter()
                .filter(|item| !query.hidden.contains(item) && !query.history.contains(item));
            let labelled = query.history.iter().chain(query.hidden).chain(outside);
            let same = |last: &[ItemId]| labelled.clone().eq(last);
            if entries.is_empty() || !same(entries.row(entries.len() - 1)) {
                entries.push(labelled.copied());
            }
            entry_of.push(entries.len() as u32 - 1);
        }
        let shared = entries.len() < queries.len();
        Ok(Self {
            items: Positives::new(entries.iter(), cases.n_items() as u32),
            entry_of: shared.then_some(entry_of),
        })
    }

    /// The labelled items of distinct query `query`: ascending, none twice.
    #[must_use]
    pub fn of(&self, query: usize) -> &[ItemId] {
        self.items.of(self.entry(query))
    }

    /// Whether `item` is labelled for distinct query `query`.
    #[must_use]
    pub fn contains(&self, query: usize, item: ItemId) -> bool {
        self.items.contains(self.entry(query), item)
    }

    /// How many items are not labelled for distinct query `query`.
    #[must_use]
    pub fn n_unlabelled(&self, query: usize) -> u32 {
        self.items.n_items() - self.of(query).len() as u32
    }

    /// The labelled items by entry, for drawing negatives; see [`Labelled::entry`].
    #[must_use]
    pub fn positives(&self) -> &Positives {
        &self.items
    }

    /// The entry of [`Labelled::positives`] for distinct query `query`.
    #[must_use]
    pub fn entry(&self, query: usize) -> u32 {
        self.entry_of.as_ref().map_or(query as u32, |entries| entries[query])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::{Interactions, Span};
    use std::sync::Arc;

    fn log() -> Interactions {
        let lines = Lists::from_iter([vec![4, 2, 7, 1], vec![], vec![5, 5], vec![5, 5]]);
        Interactions::new(9, lines, None, None).unwrap()
    }

    #[test]
    fn all_items_of_a_user_are_labelled() {
        let labelled = Labelled::new(&Cases::each_interaction(&log())).unwrap();
        assert_eq!(labelled.of(0), [1, 2, 4, 7]);
        assert!(labelled.of(1).is_empty());
        assert_eq!((labelled.of(2), labelled.of(3)), (&[5][..], &[5][..]));
        assert_eq!(labelled.n_unlabelled(0), 5);
        assert!(labelled.contains(0, 7) && !labelled.contains(1, 7) && !labelled.contains(3, 7));
    }

    #[test]
    fn the_windows_of_a_user_share_an_entry() {
        let cases = Cases::windows(&log(), 1, 1);
        let labelled = Labelled::new(&cases).unwrap();
        assert_eq!(
            cases.n_queries(),
            5,
            "three windows of the first user, one of each of two more"
        );
        assert_eq!(labelled.positives().n_users(), 2, "the last two users have the same items");
        for query in 0..3 {
            assert_eq!(labelled.of(query), [1, 2, 4, 7]);
        }
        assert_eq!(labelled.of(4), [5]);
    }

    #[test]
    fn targets_outside_the_history_are_labelled_too() {
        let span = |history, targets| Span { user: None, history, hidden: 0..0, targets };
        let spans = vec![span(0..1, 2..3), span(0..1, 3..4)];
        let cases = Cases::new(9, Arc::new(vec![8, 7, 6, 5]), spans).unwrap();
        let labelled = Labelled::new(&cases).unwrap();
        assert_eq!((labelled.of(0), labelled.of(1)), (&[6, 8][..], &[5, 8][..]));
    }
}
