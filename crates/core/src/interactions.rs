//! The interaction log: for each user, in order, the items they interacted with.

use crate::{Error, Lists, Result, TimeUnit, Vocab};
use std::collections::HashSet;

/// A user, `0..n_users`. Original ids are in the vocabulary.
pub type UserId = u32;
/// An item, `0..n_items`. Original ids are in the vocabulary.
pub type ItemId = u32;

/// A log in dense ids, grouped by user; each user's items are in the order of the log (chronological, if it
/// has times).
#[derive(Clone, Debug, PartialEq)]
pub struct Interactions {
    n_items: usize,
    items: Lists<ItemId>,
    times: Option<Vec<i64>>,
    time_unit: TimeUnit,
    weights: Option<Vec<f32>>,
}

impl Interactions {
    /// A log of (user, item) pairs with ids of any kind, such as text or integers. Users and items are
    /// numbered in the order of their first appearance; a user's items keep the order of the pairs. Of equal
    /// pairs, only the first is kept.
    ///
    /// ```
    /// use rankstill_core::Interactions;
    ///
    /// let log = Interactions::from_pairs([("ann", "tea"), ("bob", "tea"), ("ann", "milk"), ("ann", "tea")]);
    /// assert_eq!((log.interactions.n_users(), log.interactions.n_items(), log.interactions.len()), (2, 2, 3));
    /// let ann = log.users.get("ann").unwrap();
    /// let items: Vec<_> = log.interactions.history(ann).iter().map(|&item| log.items.id(item)).collect();
    /// assert_eq!(items, ["tea", "milk"]);
    ///
    /// let by_number = Interactions::from_pairs([(7_u64, 1200_u64), (7, 1300)]);
    /// assert_eq!(by_number.items.get("1300"), Some(1));
    /// ```
    ///
    /// # Panics
    /// When there are more users or items than a vocabulary can hold ([`Vocab::MAX_LEN`]).
    pub fn from_pairs<U: ToString, I: ToString>(
        pairs: impl IntoIterator<Item = (U, I)>,
    ) -> IndexedLog {
        let (mut users, mut items) = (Vocab::new(), Vocab::new());
        let mut histories: Vec<Vec<ItemId>> = Vec::new();
        let mut known = HashSet::new();
        for (user, item) in pairs {
            let user = users.intern(&user.to_string());
            let item = items.intern(&item.to_string());
            if user as usize == histories.len() {
                histories.push(Vec::new());
            }
            if known.insert((user, item)) {
                histories[user as usize].push(item);
            }
        }
        let lists = Lists::from_iter(histories);
        let n_items = items.len();
        let time_unit = TimeUnit::default();
        let interactions = Self { n_items, items: lists, times: None, time_unit, weights: None };
        IndexedLog { interactions, users, items }
    }

    /// `times`, in seconds, and `weights` are parallel to `items.values()`.
    ///
    /// # Errors
    /// When an item is not below `n_items`, or a column has another length.
    pub fn new(
        n_items: usize,
        items: Lists<ItemId>,
        times: Option<Vec<i64>>,
        weights: Option<Vec<f32>>,
    ) -> Result<Self> {
        if let Some(&item) = items.values().iter().find(|&&item| item as usize >= n_items) {
            return Err(Error::UnknownItem { item: item as usize, n_items });
        }
        let n = items.values().len();
        for (column, found) in [
            ("times", times.as_ref().map_or(n, Vec::len)),
            ("weights", weights.as_ref().map_or(n, Vec::len)),
        ] {
            if found != n {
                return Err(Error::Length { what: column.into(), expected: n, found });
            }
        }
        Ok(Self { n_items, items, times, time_unit: TimeUnit::default(), weights })
    }

    /// The same log; its times are in `unit`.
    #[must_use]
    pub fn with_time_unit(self, unit: TimeUnit) -> Self {
        Self { time_unit: unit, ..self }
    }

    /// The number of users, with or without interactions.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.items.len()
    }

    /// The number of items, with or without interactions.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// The number of interactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.values().len()
    }

    /// Whether there are no interactions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items of `user`, oldest first; empty for users beyond the log.
    #[must_use]
    pub fn history(&self, user: UserId) -> &[ItemId] {
        if (user as usize) < self.items.len() { self.items.row(user as usize) } else { &[] }
    }

    /// Every user's items, oldest first.
    #[must_use]
    pub fn items(&self) -> &Lists<ItemId> {
        &self.items
    }

    /// Unix time in [`Interactions::time_unit`], parallel to `items().values()`.
    #[must_use]
    pub fn times(&self) -> Option<&[i64]> {
        self.times.as_deref()
    }

    /// The unit of the times.
    #[must_use]
    pub fn time_unit(&self) -> TimeUnit {
        self.time_unit
    }

    /// Ratings or counts, parallel to `items().values()`.
    #[must_use]
    pub fn weights(&self) -> Option<&[f32]> {
        self.weights.as_deref()
    }

    /// How many interactions each item has.
    #[must_use]
    pub fn popularity(&self) -> Vec<u32> {
        let mut counts = vec![0; self.n_items];
        for &item in self.items.values() {
            counts[item as usize] += 1;
        }
        counts
    }

    /// `user, item, time` of every interaction, user by user.
    pub fn iter(&self) -> impl Iterator<Item = (UserId, ItemId, Option<i64>)> + '_ {
        (0..self.n_users()).flat_map(move |user| {
            self.items.range(user).map(move |at| {
                let time = self.times.as_ref().map(|times| times[at]);
                (user as UserId, self.items.values()[at], time)
            })
        })
    }
}

/// A log together with the original ids of its users and items.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexedLog {
    /// The log, in dense ids.
    pub interactions: Interactions,
    /// The ids of the users.
    pub users: Vocab,
    /// The ids of the items.
    pub items: Vocab,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_item_beyond_the_catalogue_is_refused() {
        let items = Lists::from_iter([vec![0, 3]]);
        let error = Interactions::new(3, items, None, None).unwrap_err();
        assert_eq!(error.to_string(), "item 3 is not in a catalogue of 3 items");
    }

    #[test]
    fn popularity_counts_every_interaction() {
        let log =
            Interactions::new(3, Lists::from_iter([vec![0, 2], vec![2]]), None, None).unwrap();
        assert_eq!(log.popularity(), [1, 0, 2]);
        assert!(log.history(7).is_empty());
        assert_eq!(log.iter().last(), Some((1, 2, None)));
    }
}
