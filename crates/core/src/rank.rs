//! Rankers: anything that answers a query with items, best first.

use crate::kernel::panels::Rows;
use rayon::prelude::*;

use crate::{Cases, Error, ItemId, Lists, Packed, Query, Rankings, Result};

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

impl<S: Scorer + ?Sized> Ranker for S {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        Packed::new(self).rank(queries, top)
    }

    fn target_ranks(&self, cases: &Cases, top: &TopK<'_>) -> Result<Lists<u32>> {
        Packed::new(self).target_ranks(cases, top)
    }
}

impl<S: Scorer + ?Sized> ByRows for S {}

/// For scorers that are not factored.
pub(crate) trait ByRows: Scorer {
    /// Scores a few queries at a time and hands each row of scores to `take`, with the query's number.
    fn by_rows<T: Send>(
        &self,
        queries: &[Query<'_>],
        take: impl Fn(usize, &[f32]) -> T + Sync,
    ) -> Vec<T> {
        let n_items = self.n_items();
        let blocks = queries.par_chunks(BLOCK).enumerate().map(|(block, part)| {
            let mut scores = vec![0.0; part.len() * n_items];
            self.score(part, &mut scores);
            let row = |at: usize| &scores[at * n_items..][..n_items];
            (0..part.len()).map(|at| take(block * BLOCK + at, row(at))).collect::<Vec<_>>()
        });
        blocks.collect::<Vec<_>>().into_iter().flatten().collect()
    }
}

/// Queries scored or embedded at a time: 16 rows of 100,000 items are 6.4 MB.
const BLOCK: usize = 16;

/// The queries' vectors, `queries x dim`.
pub(crate) fn embed(factored: &dyn Factored, queries: &[Query<'_>]) -> Vec<f32> {
    let dim = factored.items().dim;
    let mut vectors = vec![0.0; queries.len() * dim];
    vectors
        .par_chunks_mut((dim * BLOCK).max(1))
        .zip(queries.par_chunks(BLOCK))
        .for_each(|(out, part)| factored.embed(part, out));
    vectors
}

/// What each query must not be recommended, as one slice. History and hidden items are copied only where both are there.
pub(crate) struct Masks<'a> {
    queries: &'a [Query<'a>],
    both: Lists<ItemId>,
    skip: bool,
}

impl<'a> Masks<'a> {
    pub fn new(queries: &'a [Query<'a>], top: &TopK<'_>) -> Self {
        let skip = top.skip_seen;
        let mut both = Lists::with_capacity(queries.len(), 0);
        for query in queries {
            let needed = skip && !query.history.is_empty() && !query.hidden.is_empty();
            let parts: [&[ItemId]; 2] =
                if needed { [query.history, query.hidden] } else { [&[], &[]] };
            both.push(parts.into_iter().flatten().copied());
        }
        Self { queries, both, skip }
    }

    pub fn of(&self, i: usize) -> &[ItemId] {
        let Query { history, hidden, .. } = self.queries[i];
        match (self.skip, hidden.is_empty(), history.is_empty()) {
            (false, ..) => &[],
            (true, true, _) => history,
            (true, false, true) => hidden,
            (true, false, false) => self.both.row(i),
        }
    }
}

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

    /// The whole catalogue.
    #[must_use]
    pub fn all(n_items: usize) -> Self {
        let mut words = vec![u64::MAX; n_items.div_ceil(64)];
        if let Some(last) = words.last_mut().filter(|_| !n_items.is_multiple_of(64)) {
            *last = (1 << (n_items % 64)) - 1;
        }
        Self { n_items, words }
    }

    /// Takes an item out; one that is not in it is no error.
    pub fn remove(&mut self, item: ItemId) {
        if self.contains(item) {
            self.words[item as usize / 64] &= !(1 << (item % 64));
        }
    }

    /// Keeps what `other` holds too.
    ///
    /// # Panics
    /// When the catalogues differ in size.
    pub fn keep(&mut self, other: &Self) {
        assert_eq!(self.n_items, other.n_items, "sets of one catalogue");
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
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

impl<'a> Factors<'a> {
    /// As the kernels take it.
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
    use crate::Precision;
    use crate::kernel::rng::Rng;
    use crate::{Interactions, Span};
    use std::sync::Arc;

    /// Random vectors; says it is factored or not.
    struct Dots {
        users: Vec<f32>,
        items: Vec<f32>,
        dim: usize,
        factored: bool,
    }

    impl Scorer for Dots {
        fn n_items(&self) -> usize {
            self.items.len() / self.dim
        }
        fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
            let mut vectors = vec![0.0; queries.len() * self.dim];
            self.embed(queries, &mut vectors);
            for (vector, row) in vectors.chunks(self.dim).zip(out.chunks_mut(self.n_items())) {
                for (item, score) in self.items.chunks(self.dim).zip(row) {
                    *score = crate::kernel::panels::score_one(vector, item);
                }
            }
        }
        fn factored(&self) -> Option<&dyn Factored> {
            self.factored.then_some(self)
        }
    }

    impl Factored for Dots {
        fn items(&self) -> Factors<'_> {
            let (dim, len) = (self.dim, self.n_items());
            Factors { data: &self.items, len, dim, stride: dim }
        }
        fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
            for (query, out) in queries.iter().zip(out.chunks_mut(self.dim)) {
                let user = query.user.unwrap() as usize;
                out.copy_from_slice(&self.users[user * self.dim..][..self.dim]);
            }
        }
    }

    fn dots(n_users: usize, n_items: usize, dim: usize, factored: bool) -> Dots {
        let mut rng = Rng::new(3);
        let mut draw = |n: usize| (0..n).map(|_| rng.normal()).collect();
        Dots { users: draw(n_users * dim), items: draw(n_items * dim), dim, factored }
    }

    /// 40 users of 300 items, each with a history, hidden items and two targets.
    fn cases() -> Cases {
        let mut rng = Rng::new(4);
        let timeline: Vec<u32> = (0..40 * 10).map(|_| rng.below(300)).collect();
        let spans = (0..40).map(|user| {
            let start = user * 10;
            let history = start..start + user % 6;
            let hidden = start + 6..start + 6 + user % 3;
            let targets = start + 8..start + 10;
            Span { user: Some(user as u32), history, hidden, targets }
        });
        Cases::new(300, Arc::new(timeline), spans.collect()).unwrap()
    }

    fn by_sorting(model: &Dots, cases: &Cases, top: &TopK<'_>) -> Vec<Vec<u32>> {
        let rows = cases.iter().map(|case| {
            let mut scores = vec![0.0; 300];
            model.score(&[case.query], &mut scores);
            let mut left: Vec<u32> = (0..300)
                .filter(|item| {
                    let seen =
                        case.query.history.contains(item) || case.query.hidden.contains(item);
                    !(top.skip_seen && seen) && top.allowed.is_none_or(|set| set.contains(*item))
                })
                .collect();
            left.sort_by(|&a, &b| {
                scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b))
            });
            left
        });
        rows.collect()
    }

    #[test]
    fn lists_and_places_are_those_of_sorting_everything() {
        let cases = cases();
        let some = ItemSet::new(300, (0..300).filter(|item| item % 3 != 0)).unwrap();
        for factored in [false, true] {
            let model = dots(40, 300, 7, factored);
            for (skip_seen, allowed) in [(false, None), (true, None), (true, Some(&some))] {
                let top = TopK { k: 20, skip_seen, allowed };
                let sorted = by_sorting(&model, &cases, &top);
                let ranked = model.rank(&cases.queries(), &top).unwrap();
                let places = model.target_ranks(&cases, &top).unwrap();
                for table in Precision::ALL {
                    let packed = Packed::with_precision(&model, table);
                    assert_eq!(packed.rank(&cases.queries(), &top).unwrap(), ranked, "{table}");
                    assert_eq!(packed.target_ranks(&cases, &top).unwrap(), places, "{table}");
                    let told = packed.table().map(|told| (told.table, told.queries));
                    assert_eq!(told, factored.then_some((table, 40)));
                }
                for (i, (list, case)) in sorted.iter().zip(cases.iter()).enumerate() {
                    assert_eq!(ranked.items(i), &list[..20]);
                    for (target, place) in case.targets.iter().zip(places.row(i)) {
                        let found = list.iter().position(|item| item == target);
                        assert_eq!(*place as usize, found.map_or(0, |at| at + 1));
                    }
                }
            }
        }
    }

    #[test]
    fn no_query_and_no_item_is_answered_with_nothing() {
        let model = dots(1, 0, 4, true);
        let query = Query { user: Some(0), ..Query::default() };
        assert!(model.rank(&[query], &TopK::unseen(5)).unwrap().items(0).is_empty());
        assert!(model.rank(&[], &TopK::unseen(5)).unwrap().is_empty());
        let empty = Interactions::new(0, Lists::default(), None, None).unwrap();
        let none = Cases::per_user(&empty);
        assert!(model.target_ranks(&none, &TopK::unseen(5)).unwrap().is_empty());
    }

    #[test]
    fn sets_lose_what_is_taken_out_and_what_others_do_not_hold() {
        for n_items in [0, 1, 63, 64, 65, 200] {
            let mut set = ItemSet::all(n_items);
            let bits: u32 = set.words().iter().map(|word| word.count_ones()).sum();
            assert_eq!(bits as usize, n_items);
            set.remove(63);
            set.remove(1000);
            set.keep(&ItemSet::new(n_items, (0..n_items as u32).filter(|i| i % 3 == 0)).unwrap());
            for item in 0..2 * n_items as u32 {
                let held = (item as usize) < n_items && item != 63 && item % 3 == 0;
                assert_eq!(set.contains(item), held, "{item} of {n_items}");
            }
        }
    }

    #[test]
    fn places_are_those_that_a_scan_finds() {
        let list = [7, 3, 9, 0, 4];
        let targets = [4, 8, 7, 4, 9];
        assert_eq!(places(&list, &targets), [5, 0, 1, 5, 3]);
        assert!(places(&list, &[]).is_empty());
        assert_eq!(places(&[], &targets), [0; 5]);
    }
}
