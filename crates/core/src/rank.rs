//! Rankers: anything that answers a query with items, best first.

use crate::kernel::panels::Rows;
use crate::{Cases, Error, ItemId, Lists, Query, Rankings, Result};

pub use crate::kernel::bits::ItemSet;

/// Anything that ranks items for queries: in-process, cached or remote. It may fail. Every [`Scorer`] is a ranker.
pub trait Ranker: Send + Sync {
    /// Row *i* holds at most `top.k` items for query *i*, best first; ties go to the smaller id. Items that
    /// may not be recommended are never returned, so a list may be shorter than `k`.
    ///
    /// # Errors
    /// When an external ranker does not answer.
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings>;

    /// Row *i* holds the 1-based rank of every target of case *i* in the full ranking of the items that may
    /// be recommended; 0 for a target that is not in it. In-process models count exactly; others search their
    /// longest list.
    ///
    /// # Errors
    /// When an external ranker does not answer.
    fn target_ranks(&self, cases: &Cases, top: &TopK<'_>) -> Result<Lists<u32>> {
        let everything = TopK { k: cases.n_items(), ..*top };
        let queries = cases.queries();
        let mut ranks = Lists::with_capacity(cases.len(), cases.len());
        for block in queries.chunks(WHOLE_LISTS) {
            let ranked = self.rank(block, &everything)?;
            for list in ranked.lists().iter().take(block.len()) {
                ranks.push(ranks_in_list(list, cases.case(ranks.len()).targets));
            }
        }
        Ok(ranks)
    }
}

/// Full rankings held at a time: 256 lists of 100,000 items and scores take 205 MB.
const WHOLE_LISTS: usize = 256;

/// The rank of each target of each case in that case's list: 1-based, 0 if it is not listed.
#[must_use]
pub fn ranks_in_lists(lists: &Lists<ItemId>, cases: &Cases) -> Lists<u32> {
    lists.iter().zip(cases.iter()).map(|(list, case)| ranks_in_list(list, case.targets)).collect()
}

/// The rank of each target in the list: 1-based, 0 if it is not listed. One lookup per item of the list, so
/// the cost is not the product of both lengths.
fn ranks_in_list(list: &[ItemId], targets: &[ItemId]) -> Vec<u32> {
    let mut by_item: Vec<(ItemId, usize)> = targets.iter().copied().zip(0..).collect();
    by_item.sort_unstable();
    let mut ranks = vec![0; targets.len()];
    for (item, rank) in list.iter().zip(1..) {
        let first = by_item.partition_point(|(target, _)| target < item);
        for (_, at) in by_item[first..].iter().take_while(|(target, _)| target == item) {
            if ranks[*at] == 0 {
                ranks[*at] = rank;
            }
        }
    }
    ranks
}

/// The length of the lists, and the items that may be in them.
#[derive(Clone, Copy, Debug)]
pub struct TopK<'a> {
    /// Maximum number of items per list.
    pub k: usize,
    /// Leave out the query's history and hidden items.
    pub skip_seen: bool,
    /// Recommend only these items.
    pub allowed: Option<&'a ItemSet>,
}

impl TopK<'_> {
    /// The `k` best unseen items of the whole catalogue.
    #[must_use]
    pub fn unseen(k: usize) -> Self {
        Self { k, skip_seen: true, allowed: None }
    }
}

impl ItemSet {
    /// These items, of a catalogue of `n_items`.
    ///
    /// # Errors
    /// When an id is not below `n_items`.
    pub fn new(n_items: usize, items: impl IntoIterator<Item = ItemId>) -> Result<Self> {
        let mut set = Self::empty(n_items);
        for item in items {
            if item as usize >= n_items {
                return Err(Error::UnknownItem { item: item as usize, n_items });
            }
            set.insert(item);
        }
        Ok(set)
    }
}

/// An in-process model. It cannot fail: unknown users get an answer too.
pub trait Scorer: Send + Sync {
    /// The size of the catalogue.
    fn n_items(&self) -> usize;

    /// Writes the score of every item for every query, `queries x n_items`; larger is better, NaN ranks last.
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]);

    /// Set when the score is a dot product with an item table, as in most models: the fused top-K kernel,
    /// quantisation, approximate search and vector export then work for it.
    fn factored(&self) -> Option<&dyn Factored> {
        None
    }

    /// Set when the scorer finds the best items faster than by scoring all of them, as codes and indexes do. It takes
    /// precedence over [`Scorer::factored`] for lists; ranks of targets are counted from [`Scorer::score`], which must agree:
    /// what a search cannot find has a score of minus infinity.
    fn search(&self) -> Option<&dyn Search> {
        None
    }
}

/// A way of its own to the best items.
pub trait Search: Send + Sync {
    /// The `k` best items of each query with their scores, best first: larger scores first, ties to the smaller id. Query `i`
    /// must not get the items `masked[i]`, in any order, repeats and unknown ids included; with `allowed`, only its items.
    fn top_k(
        &self,
        queries: &[Query<'_>],
        k: usize,
        masked: &[&[ItemId]],
        allowed: Option<&ItemSet>,
    ) -> Rankings;
}

/// A scorer whose scores are dot products of query vectors and item vectors.
pub trait Factored: Send + Sync {
    /// The item table; an item bias is its last column.
    fn items(&self) -> Factors<'_>;

    /// Writes the query vectors, `queries x dim`; they hold 1 where the item table has a bias column.
    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]);

    /// Set when a query's vector is a sum over its history and nothing else: such a model has no vectors of users.
    fn history_sum(&self) -> Option<HistorySum<'_>> {
        None
    }
}

/// The vector of a history of n distinct items is `n^-alpha` times the sum of their input vectors. The item table may have a bias
/// column in addition.
#[derive(Clone, Copy, Debug)]
pub struct HistorySum<'a> {
    /// The input vector of each item.
    pub inputs: Factors<'a>,
    /// How much long histories are scaled down.
    pub alpha: f32,
}

/// A row-major table; rows may have gaps between them: row *i* is `data[i * stride..][..dim]`.
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a> {
    /// The numbers.
    pub data: &'a [f32],
    /// Number of rows.
    pub len: usize,
    /// Length of a row.
    pub dim: usize,
    /// Distance between the starts of two rows.
    pub stride: usize,
}

impl<'a> Factors<'a> {
    /// The same table, as the kernels take it.
    #[must_use]
    pub fn rows(&self) -> Rows<'a> {
        Rows::new(self.data, self.len, self.dim, self.stride)
    }

    /// Row `i`.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.stride..][..self.dim]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranks_in_a_list_are_those_that_a_scan_finds() {
        let list = [7, 3, 9, 0, 4];
        let targets = [4, 8, 7, 4, 9];
        assert_eq!(ranks_in_list(&list, &targets), [5, 0, 1, 5, 3]);
        assert!(ranks_in_list(&list, &[]).is_empty());
        assert_eq!(ranks_in_list(&[], &targets), [0; 5]);
    }

    #[test]
    fn a_set_refuses_items_beyond_the_catalogue() {
        assert!(ItemSet::new(5, [4, 0]).unwrap().contains(4));
        let error = ItemSet::new(5, [5]).unwrap_err();
        assert_eq!(error.to_string(), "item 5 is not in a catalogue of 5 items");
    }
}
