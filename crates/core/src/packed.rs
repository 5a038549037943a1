//! Top-K and ranks for in-process models: the only masking and selection code, over item tables that are packed once.

use crate::kernel::narrow::{self, Narrow, Width};
use crate::kernel::panels::{PanelOrder, Panels, Rows};
use crate::kernel::{ranks, topk};
use crate::{Cases, Error, Factored, ItemId, Lists, Query, Ranker, Rankings, Result, Scorer, TopK};
use rayon::prelude::*;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The precision of the item table that is searched. **Results do not depend on it**, to the last bit: a
/// narrow table finds the few candidates, whose scores are then computed from the full vectors (see
/// [`narrow`](crate::kernel::narrow)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Full vectors, four bytes per number.
    #[default]
    F32,
    /// Two bytes per number.
    F16,
    /// One byte per number.
    Int8,
}

impl Precision {
    /// All, widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// The name, as written on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Config {
                key: "table".into(),
                problem: format!("`{name}`: expected one of {names}"),
            }
        })
    }
}

/// What the item table of a [`Packed`] scorer takes and has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrecisionUse {
    /// Its precision: [`Precision::F32`] if a narrower table was not possible.
    pub precision: Precision,
    /// Its size in bytes, in addition to the model's own vectors.
    pub bytes: usize,
    /// Queries answered from it.
    pub queries: u64,
    /// Items that were rescored for them with the full vectors; 0 for [`Precision::F32`].
    pub rescored: u64,
}

/// A scorer that is queried many times: if it is factored, its items are packed once and not in every call.
/// `P` is any pointer to the scorer: a reference during evaluation, a box in a server.
///
/// ```
/// use rankstill_core::{Packed, Precision, Query, Ranker, Scorer, TopK};
///
/// /// The same fixed scores for every query.
/// struct Popularity(Vec<f32>);
///
/// impl Scorer for Popularity {
///     fn n_items(&self) -> usize {
///         self.0.len()
///     }
///     fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
///         out.chunks_exact_mut(self.n_items()).take(queries.len()).for_each(|row| row.copy_from_slice(&self.0));
///     }
/// }
///
/// let model = Popularity(vec![0.5, 3.0, 1.0, 2.0]);
/// let query = Query { user: None, history: &[1], hidden: &[] };
/// let packed = Packed::with_precision(&model, Precision::Int8);
/// let ranked = packed.rank(&[query], &TopK::unseen(2))?;
/// assert_eq!(ranked.items(0), [3, 2]); // item 1 is in the history
/// assert_eq!(ranked, model.rank(&[query], &TopK::unseen(2))?); // every scorer is a ranker
/// # Ok::<(), rankstill_core::Error>(())
/// ```
pub struct Packed<P> {
    scorer: P,
    items: Option<Items>,
    /// In the order that counting ranks needs; packed on first use.
    by_id: OnceLock<Panels>,
    queries: AtomicU64,
    rescored: AtomicU64,
}

/// In the order that top-K needs.
enum Items {
    Full(Panels),
    Narrow(Narrow),
}

impl Items {
    fn dim(&self) -> usize {
        match self {
            Items::Full(panels) => panels.dim(),
            Items::Narrow(narrow) => narrow.dim(),
        }
    }
}

impl<P: Deref<Target: Scorer>> Packed<P> {
    /// Packs the items of `scorer` in full precision.
    #[must_use]
    pub fn new(scorer: P) -> Self {
        Self::with_precision(scorer, Precision::F32)
    }

    /// Packs the items of `scorer`; in full precision if a narrow table is not possible (see [`Narrow::pack`]).
    #[must_use]
    pub fn with_precision(scorer: P, precision: Precision) -> Self {
        let pack = |factored: &dyn Factored| {
            let rows = factored.items().rows();
            let narrow = match precision {
                Precision::F32 => None,
                Precision::F16 => Narrow::pack(rows, Width::Half),
                Precision::Int8 => Narrow::pack(rows, Width::Byte),
            };
            narrow.map_or_else(|| Items::Full(Panels::pack(rows, PanelOrder::Norm)), Items::Narrow)
        };
        // What a search answers needs no copy of the items.
        let factored = scorer.factored().filter(|_| scorer.search().is_none());
        let items = factored.map(pack);
        let (queries, rescored) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { scorer, items, by_id: OnceLock::new(), queries, rescored }
    }

    /// The scorer itself.
    #[must_use]
    pub fn scorer(&self) -> &P::Target {
        &self.scorer
    }

    /// The packed item table and its use; `None` if the scorer is not factored.
    #[must_use]
    pub fn precision_use(&self) -> Option<PrecisionUse> {
        let (precision, bytes) = match self.items.as_ref()? {
            Items::Full(panels) => (Precision::F32, panels.bytes()),
            Items::Narrow(narrow) => match narrow.width() {
                Width::Half => (Precision::F16, narrow.bytes()),
                Width::Byte => (Precision::Int8, narrow.bytes()),
            },
        };
        let queries = self.queries.load(Ordering::Relaxed);
        Some(PrecisionUse {
            precision,
            bytes,
            queries,
            rescored: self.rescored.load(Ordering::Relaxed),
        })
    }
}

/// Parallel over blocks of queries: fused with the dot products for factored scorers, from rows of scores for
/// the others. Both give the same order: larger scores first, ties to the smaller id, NaN last.
impl<P: Deref<Target: Scorer> + Send + Sync> Ranker for Packed<P> {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        let masks = Masks::new(queries, top);
        let allowed = top.allowed;
        if let Some(search) = self.scorer.search() {
            let masked: Vec<&[ItemId]> = (0..queries.len()).map(|i| masks.of(i)).collect();
            return Ok(search.top_k(queries, top.k, &masked, allowed));
        }
        if let (Some(items), Some(factored)) = (&self.items, self.scorer.factored()) {
            let vectors = embed(factored, queries);
            let query_rows = Rows::dense(&vectors, queries.len(), items.dim());
            let masked = |i: usize| masks.of(i);
            let lists = match items {
                Items::Full(panels) => topk::top_k(query_rows, panels, top.k, masked, allowed),
                Items::Narrow(narrow) => {
                    let rows = factored.items().rows();
                    let found = narrow::search(query_rows, rows, narrow, top.k, masked, allowed);
                    self.rescored.fetch_add(found.rescored, Ordering::Relaxed);
                    found.lists
                }
            };
            self.queries.fetch_add(queries.len() as u64, Ordering::Relaxed);
            let items = Lists::from_parts(lists.offsets, lists.ids).unwrap_or_default();
            return Rankings::new(items, lists.scores);
        }
        let lists = score_rows(&*self.scorer, queries, |i, scores| {
            topk::select_row(scores, masks.of(i), allowed, top.k)
        });
        let mut ranked = Rankings::default();
        lists.into_iter().for_each(|list| ranked.push(list));
        Ok(ranked)
    }

    fn target_ranks(&self, cases: &Cases, top: &TopK<'_>) -> Result<Lists<u32>> {
        let queries = cases.queries();
        let masks = Masks::new(&queries, top);
        let allowed = top.allowed;
        let targets = |i: usize| cases.case(i).targets;
        if let (Some(items), Some(factored)) = (&self.items, self.scorer.factored()) {
            let vectors = embed(factored, &queries);
            let query_rows = Rows::dense(&vectors, queries.len(), items.dim());
            let panels = self.by_id.get_or_init(|| match items {
                Items::Full(panels) => panels.reordered(PanelOrder::Id),
                Items::Narrow(_) => Panels::pack(factored.items().rows(), PanelOrder::Id),
            });
            let found = ranks::target_ranks(query_rows, panels, targets, |i| masks.of(i), allowed);
            return Ok(Lists::from_parts(found.offsets, found.ranks).unwrap_or_default());
        }
        let rows = score_rows(&*self.scorer, &queries, |i, scores| {
            ranks::rank_in_row(scores, targets(i), masks.of(i), allowed)
        });
        Ok(rows.into_iter().collect())
    }
}

impl<S: Scorer + ?Sized> Ranker for S {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        Packed::new(self).rank(queries, top)
    }

    fn target_ranks(&self, cases: &Cases, top: &TopK<'_>) -> Result<Lists<u32>> {
        Packed::new(self).target_ranks(cases, top)
    }
}

/// The best items of each query, of which row *i* of `scores` holds the scores of all `n_items` items, in parallel: for systems that
/// score a batch at once. The order is that of every other ranker.
///
/// # Errors
/// When there are not `queries.len() * n_items` scores.
pub fn rank_rows(
    scores: &[f32],
    n_items: usize,
    queries: &[Query<'_>],
    top: &TopK<'_>,
) -> Result<Rankings> {
    check_rows(scores, n_items, queries)?;
    let masks = Masks::new(queries, top);
    let list = |i: usize| {
        topk::select_row(&scores[i * n_items..][..n_items], masks.of(i), top.allowed, top.k)
    };
    let lists: Vec<_> = (0..queries.len()).into_par_iter().map(list).collect();
    let mut ranked = Rankings::default();
    lists.into_iter().for_each(|list| ranked.push(list));
    Ok(ranked)
}

/// The ranks of the targets of each case, as [`Ranker::target_ranks`], from such rows of scores.
///
/// # Errors
/// As [`rank_rows`].
pub fn target_ranks_in_rows(
    scores: &[f32],
    n_items: usize,
    cases: &Cases,
    top: &TopK<'_>,
) -> Result<Lists<u32>> {
    let queries = cases.queries();
    check_rows(scores, n_items, &queries)?;
    let masks = Masks::new(&queries, top);
    let ranks = |i: usize| {
        let row = &scores[i * n_items..][..n_items];
        ranks::rank_in_row(row, cases.case(i).targets, masks.of(i), top.allowed)
    };
    let rows: Vec<_> = (0..queries.len()).into_par_iter().map(ranks).collect();
    Ok(rows.into_iter().collect())
}

fn check_rows(scores: &[f32], n_items: usize, queries: &[Query<'_>]) -> Result<()> {
    let (expected, found) = (queries.len() * n_items, scores.len());
    if expected != found {
        return Err(Error::Length { what: "scores".into(), expected, found });
    }
    Ok(())
}

/// Scores a few queries at a time and passes each row of scores, with the query's number, to `take`.
fn score_rows<S: Scorer + ?Sized, T: Send>(
    scorer: &S,
    queries: &[Query<'_>],
    take: impl Fn(usize, &[f32]) -> T + Sync,
) -> Vec<T> {
    let n_items = scorer.n_items();
    let blocks = queries.par_chunks(BLOCK).enumerate().map(|(block, part)| {
        let mut scores = vec![0.0; part.len() * n_items];
        scorer.score(part, &mut scores);
        let row = |at: usize| &scores[at * n_items..][..n_items];
        (0..part.len()).map(|at| take(block * BLOCK + at, row(at))).collect::<Vec<_>>()
    });
    blocks.collect::<Vec<_>>().into_iter().flatten().collect()
}

/// Queries scored or embedded at a time: 16 rows of 100,000 items take 6.4 MB.
const BLOCK: usize = 16;

/// The query vectors, `queries x dim`.
fn embed(factored: &dyn Factored, queries: &[Query<'_>]) -> Vec<f32> {
    let dim = factored.items().dim;
    let mut vectors = vec![0.0; queries.len() * dim];
    vectors
        .par_chunks_mut((dim * BLOCK).max(1))
        .zip(queries.par_chunks(BLOCK))
        .for_each(|(out, part)| factored.embed(part, out));
    vectors
}

/// The items that must not be recommended to each query, as one slice. History and hidden items are copied
/// only for queries that have both.
struct Masks<'a> {
    queries: &'a [Query<'a>],
    both: Lists<ItemId>,
    skip: bool,
}

impl<'a> Masks<'a> {
    fn new(queries: &'a [Query<'a>], top: &TopK<'_>) -> Self {
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

    fn of(&self, i: usize) -> &[ItemId] {
        let Query { history, hidden, .. } = self.queries[i];
        match (self.skip, hidden.is_empty(), history.is_empty()) {
            (false, ..) => &[],
            (true, true, _) => history,
            (true, false, true) => hidden,
            (true, false, false) => self.both.row(i),
        }
    }
}

#[cfg(test)]
mod tests;
