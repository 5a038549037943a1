//! Items, best first, with scores: what every ranker answers with, and all that a student needs of a teacher.

use crate::{Error, ItemId, Lists, Result};

/// Row *i* answers query *i*: items best first, no item twice, with scores that never rise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rankings {
    items: Lists<ItemId>,
    scores: Vec<f32>,
}

impl Rankings {
    /// `scores` lie parallel to `items.values()`.
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

    /// How many queries were answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no query was answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items of answer `i`, best first.
    #[must_use]
    pub fn items(&self, i: usize) -> &[ItemId] {
        self.items.row(i)
    }

    /// The scores of answer `i`, highest first.
    #[must_use]
    pub fn scores(&self, i: usize) -> &[f32] {
        &self.scores[self.items.range(i)]
    }

    /// All answers' items.
    #[must_use]
    pub fn lists(&self) -> &Lists<ItemId> {
        &self.items
    }

    /// All answers' scores, parallel to `lists().values()`.
    #[must_use]
    pub fn all_scores(&self) -> &[f32] {
        &self.scores
    }

    /// Adds an answer at the end.
    pub fn push(&mut self, ranked: impl IntoIterator<Item = (ItemId, f32)>) {
        let scores = &mut self.scores;
        self.items.push(ranked.into_iter().map(|(item, score)| {
            scores.push(score);
            item
        }));
    }

    /// Adds all answers of `other` at the end.
    pub fn append(&mut self, other: Self) {
        self.items.append(other.items);
        self.scores.extend(other.scores);
    }
}
