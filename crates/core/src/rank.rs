//! Rankers: anything that answers a query with items, best first.

use rayon::prelude::*;

use crate::{Cases, Error, ItemId, Lists, Query, Rankings, Result};

/// Anything that answers: in-process, cached, remote. May fail.
pub trait Ranker: Send + Sync {
    /// Row *i* answers query *i* with at most `top.k` items, best first, ties to the smaller id. Fewer where fewer are left:
    /// an item that may not be recommended is never returned.
    ///
    /// # Errors
    /// When the ranker is elsewhere and does not answer.
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings>;

    /// Row *i*: for every target of case *i* its 1-based place in the whole ranking of the items that may be recommended;
    /// 0 for a target that is not in it. In-process models count exactly; others search their longest list.
    ///
    /// # Errors
    /// When the ranker is elsewhere and does not answer.
    fn target_ranks(&self, cases: &Cases, top: &TopK<'_>) -> Result<Lists<u32>> {
        let everything = TopK { k: cases.n_items(), ..*top };
        let queries = cases.queries();
        let mut ranks = Lists::with_capacity(cases.len(), cases.len());
        for block in queries.chunks(WHOLE_LISTS) {
            let ranked = self.rank(block, &everything)?;
            for list in ranked.lists().iter().take(block.len()) {
                ranks.push(places(list, cases.case(ranks.len()).targets));
            }
        }
        Ok(ranks)
    }
}

/// Whole rankings held at a time: 256 lists of 100,000 items and scores are 205 MB.
const WHOLE_LISTS: usize = 256;

/// Where each target of each case stands in that case's list: 1-based, 0 when it is not listed.
#[must_use]
pub fn ranks_in_lists(lists: &Lists<ItemId>, cases: &Cases) -> Lists<u32> {
    lists.iter().zip(cases.iter()).map(|(list, case)| places(list, case.targets)).collect()
}

/// Where each target stands in the list: 1-based, 0 when it is not listed. One look-up an item of the list, so long lists
/// and many targets do not multiply.
fn places(list: &[ItemId], targets: &[ItemId]) -> Vec<u32> {
    let mut by_item: Vec<(ItemId, usize)> = targets.iter().copied().zip(0..).collect();
    by_item.sort_unstable();
    let mut places = vec![0; targets.len()];
    for (item, place) in list.iter().zip(1..) {
        let first = by_item.partition_point(|(target, _)| target < item);
        for (_, at) in by_item[first..].iter().take_while(|(target, _)| target == item) {
            if places[*at] == 0 {
                places[*at] = place;
            }
        }
    }
    places
}

/// The only masking and top-K code there is: in blocks of queries, over several threads.
impl<S: Scorer + ?Sized> Ranker for S {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        let n_items = self.n_items();
        let blocks: Vec<Rankings> = queries
            .par_chunks(BLOCK)
            .map(|block| {
                let mut scores = vec![0.0; block.len() * n_items];
                self.score(block, &mut scores);
                let mut ranked = Rankings::default();
                for (query, row) in block.iter().zip(scores.chunks(n_items.max(1))) {
                    let mut left: Vec<(ItemId, f32)> = (0..).zip(row.iter().copied()).collect();
                    if top.skip_seen {
                        left.retain(|(item, _)| {
                            !query.history.contains(item) && !query.hidden.contains(item)
                        });
                    }
                    if let Some(allowed) = top.allowed {
                        left.retain(|(item, _)| allowed.contains(*item));
                    }
                    left.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                    left.truncate(top.k);
                    ranked.push(left);
                }
                ranked
            })
            .collect();
        let mut all = Rankings::default();
        blocks.into_iter().for_each(|block| all.append(block));
        Ok(all)
    }
}

/// Queries scored at a time: 16 rows of 100,000 items are 6.4 MB.
const BLOCK: usize = 16;

/// How long a list, and of what.
#[derive(Clone, Copy, Debug)]
pub struct TopK<'a> {
    /// At most so many items.
    pub k: usize,
    /// Leave out the query's history and hidden items.
    pub skip_seen: bool,
    /// Recommend only these.
    pub allowed: Option<&'a ItemSet>,
}

impl TopK<'_> {
    /// The `k` best unseen items of the whole catalogue.
    #[must_use]
    pub fn unseen(k: usize) -> Self {
        Self { k, skip_seen: true, allowed: None }
    }
}

/// A set of items, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemSet {
    n_items: usize,
    words: Vec<u64>,
}

impl ItemSet {
    /// From ids.
    ///
    /// # Errors
    /// When an id is not below `n_items`.
    pub fn new(n_items: usize, items: impl IntoIterator<Item = ItemId>) -> Result<Self> {
        let mut words = vec![0; n_items.div_ceil(64)];
        for item in items {
            let at = item as usize;
            if at >= n_items {
                return Err(Error::UnknownItem { item: at, n_items });
            }
            words[at / 64] |= 1 << (at % 64);
        }
        Ok(Self { n_items, words })
    }

    /// Whether `item` is one of them.
    #[must_use]
    pub fn contains(&self, item: ItemId) -> bool {
        let at = item as usize;
        at < self.n_items && self.words[at / 64] >> (at % 64) & 1 == 1
    }

    /// One bit an item, 64 to the word.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}

/// An in-process model. Cannot fail: an unknown user gets an answer too.
pub trait Scorer: Send + Sync {
    /// The catalogue's size.
    fn n_items(&self) -> usize;

    /// Every item's score for every query, `queries x n_items`, larger is better. NaN ranks below everything.
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]);

    /// Most rankers end in a dot product with an item table. Those say so, and the fused top-K kernel, quantisation, ANN
    /// search and vector export work for all of them.
    fn factored(&self) -> Option<&dyn Factored> {
        None
    }
}

/// A scorer whose score is the dot product of a query's vector and an item's.
pub trait Factored: Send + Sync {
    /// The item table; a bias is its last column.
    fn items(&self) -> Factors<'_>;

    /// The queries' vectors, `queries x dim`; against a bias column the vector holds 1.
    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]);
}

/// A row-major table whose rows may lie apart: row *i* is `data[i * stride..][..dim]`.
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a> {
    /// The numbers.
    pub data: &'a [f32],
    /// Rows.
    pub len: usize,
    /// Numbers a row.
    pub dim: usize,
    /// From one row's start to the next one's.
    pub stride: usize,
}

impl Factors<'_> {
    /// Row `i`.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.stride..][..self.dim]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_a_scan_finds() {
        let list = [7, 3, 9, 0, 4];
        let targets = [4, 8, 7, 4, 9];
        assert_eq!(places(&list, &targets), [5, 0, 1, 5, 3]);
        assert!(places(&list, &[]).is_empty());
        assert_eq!(places(&[], &targets), [0; 5]);
    }
}
