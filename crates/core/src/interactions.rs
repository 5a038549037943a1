//! What users did: per user, in order, the items they acted on.

use crate::{Error, Lists, Result};

/// A user, `0..n_users`. The user's own id is in the vocabulary.
pub type UserId = u32;
/// An item, `0..n_items`. The item's own id is in the vocabulary.
pub type ItemId = u32;

/// A log in dense ids, user by user; a user's items stand in the order of the log (of time, where it has times).
#[derive(Clone, Debug, PartialEq)]
pub struct Interactions {
    n_items: usize,
    items: Lists<ItemId>,
    times: Option<Vec<i64>>,
    weights: Option<Vec<f32>>,
}

impl Interactions {
    /// `times` and `weights` lie parallel to `items.values()`.
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
        Ok(Self { n_items, items, times, weights })
    }

    /// Users, with or without interactions.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.items.len()
    }

    /// Items, with or without interactions.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Interactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.values().len()
    }

    /// Whether nobody did anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `user` acted on, oldest first; nothing for a user beyond the log.
    #[must_use]
    pub fn history(&self, user: UserId) -> &[ItemId] {
        if (user as usize) < self.items.len() { self.items.row(user as usize) } else { &[] }
    }

    /// Every user's items, oldest first.
    #[must_use]
    pub fn items(&self) -> &Lists<ItemId> {
        &self.items
    }

    /// Unix seconds (or any increasing number), parallel to `items().values()`.
    #[must_use]
    pub fn times(&self) -> Option<&[i64]> {
        self.times.as_deref()
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
