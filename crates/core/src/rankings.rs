//! Ranked lists of items with scores: the output of every ranker, and all that a student needs from a teacher.

use crate::{Error, ItemId, Lists, Result};

/// Row *i* is the list for query *i*: items best first, no item twice, scores never increasing.
///
/// ```
/// use rankstill_core::Rankings;
///
/// let mut rankings = Rankings::default();
/// rankings.push([(7, 0.9), (2, 0.4)]);
/// rankings.push([]);
/// assert_eq!(rankings.len(), 2);
/// assert_eq!((rankings.items(0), rankings.scores(0)), (&[7, 2][..], &[0.9, 0.4][..]));
/// assert!(rankings.items(1).is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rankings {
    items: Lists<ItemId>,
    scores: Vec<f32>,
}

impl Rankings {
    /// `scores` are parallel to `items.values()`.
    ///
    /// # Errors
    /// When the two differ in length.
    pub fn new(items: Lists<ItemId>, scores: Vec<f32>) -> Result<Self> {
        if items.values().len() != scores.len() {
            return Err(Error::Length {
                what: "scores of a ranking".into(),
                expected: items.values().len(),
                found: scores.len(),
            });
        }
        Ok(Self { items, scores })
    }

    /// The number of lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no lists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items of list `i`, best first.
    #[must_use]
    pub fn items(&self, i: usize) -> &[ItemId] {
        self.items.row(i)
    }

    /// The scores of list `i`, highest first.
    #[must_use]
    pub fn scores(&self, i: usize) -> &[f32] {
        &self.scores[self.items.range(i)]
    }

    /// The items of all lists.
    #[must_use]
    pub fn lists(&self) -> &Lists<ItemId> {
        &self.items
    }

    /// The scores of all lists, parallel to `lists().values()`.
    #[must_use]
    pub fn all_scores(&self) -> &[f32] {
        &self.scores
    }

    /// Adds a list at the end.
    pub fn push(&mut self, ranked: impl IntoIterator<Item = (ItemId, f32)>) {
        let scores = &mut self.scores;
        self.items.push(ranked.into_iter().map(|(item, score)| {
            scores.push(score);
            item
        }));
    }

    /// Adds all lists of `other` at the end.
    pub fn append(&mut self, other: Self) {
        self.items.append(other.items);
        self.scores.extend(other.scores);
    }
}
