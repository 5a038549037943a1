//! A scorer that is asked often, its items packed once.

use crate::kernel::narrow::{self, Narrow, Width};
use crate::kernel::panels::{Order, Panels, Rows};
use crate::kernel::{ranks, topk};
use crate::rank::{ByRows as _, Masks, embed};
use crate::{
    Cases, Error, Factored, ItemSet, Lists, Query, Ranker, Rankings, Result, Scorer, TopK,
};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the numbers of an item table are kept in while it is searched. **Answers do not depend on it**, to the last bit: a narrow
/// table finds the few items that are worth a score, which is computed from the full vectors (see
/// [`narrow`](crate::kernel::narrow)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The vectors themselves: four bytes a number, scored as they are read.
    #[default]
    F32,
    /// Two bytes a number.
    F16,
    /// One byte a number.
    Int8,
}

impl Precision {
    /// All, widest first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Int8];

    /// As it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Int8 => "int8",
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
        Self::ALL.into_iter().find(|table| table.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Precision::name).join(", ");
            Error::Config {
                key: "table".into(),
                problem: format!("`{name}`: expected one of {names}"),
            }
        })
    }
}

/// How the table of a [`Packed`] was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrecisionUse {
    /// What it is kept in.
    pub table: Precision,
    /// Bytes of the table, beside the vectors themselves.
    pub bytes: usize,
    /// Queries that were answered from it.
    pub queries: u64,
    /// Items that were scored exactly for them from the full vectors; 0 for [`Precision::F32`], which holds these.
    pub rescored: u64,
}

/// A scorer that is asked often: where it is factored, its items are packed once, not once a call. `P` is how the scorer is
/// held: a reference while a model is measured, a box where it is served.
pub struct Packed<P> {
    scorer: P,
    items: Option<Items>,
    /// Packed once, when it is first needed, in the order that counting places wants.
    by_id: OnceLock<Panels>,
    queries: AtomicU64,
    rescored: AtomicU64,
}

/// In the order that top-K wants.
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
    /// Packs the items of `scorer`.
    #[must_use]
    pub fn new(scorer: P) -> Self {
        Self::with_precision(scorer, Precision::F32)
    }

    /// Packs the items of `scorer`; in full where a narrow table cannot be made (see [`Narrow::pack`]).
    #[must_use]
    pub fn with_precision(scorer: P, table: Precision) -> Self {
        let pack = |factored: &dyn Factored| {
            let rows = factored.items().rows();
            let narrow = match table {
                Precision::F32 => None,
                Precision::F16 => Narrow::pack(rows, Width::Half),
                Precision::Int8 => Narrow::pack(rows, Width::Byte),
            };
            narrow.map_or_else(|| Items::Full(Panels::pack(rows, Order::Norm)), Items::Narrow)
        };
        let items = scorer.factored().map(pack);
        let (queries, rescored) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { scorer, items, by_id: OnceLock::new(), queries, rescored }
    }

    /// What was packed.
    #[must_use]
    pub fn scorer(&self) -> &P::Target {
        &self.scorer
    }

    /// The table that answers; `None` where the scorer is not factored.
    #[must_use]
    pub fn table(&self) -> Option<PrecisionUse> {
        let (table, bytes) = match self.items.as_ref()? {
            Items::Full(panels) => (Precision::F32, panels.bytes()),
            Items::Narrow(narrow) => match narrow.width() {
                Width::Half => (Precision::F16, narrow.bytes()),
                Width::Byte => (Precision::Int8, narrow.bytes()),
            },
        };
        let queries = self.queries.load(Ordering::Relaxed);
        Some(PrecisionUse {
            table,
            bytes,
            queries,
            rescored: self.rescored.load(Ordering::Relaxed),
        })
    }
}

/// The only masking and top-K code there is, parallel over blocks of queries: fused with the products for scorers that are
/// factored, from rows of scores for the others. Both give the same order: larger scores first, ties to the smaller id, NaN
/// last.
impl<P: Deref<Target: Scorer> + Send + Sync> Ranker for Packed<P> {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        let masks = Masks::new(queries, top);
        let allowed = top.allowed.map(ItemSet::words);
        if let (Some(items), Some(factored)) = (&self.items, self.scorer.factored()) {
            let vectors = embed(factored, queries);
            let asked = Rows::dense(&vectors, queries.len(), items.dim());
            let masked = |i: usize| masks.of(i);
            let lists = match items {
                Items::Full(panels) => topk::top_k(asked, panels, top.k, masked, allowed),
                Items::Narrow(narrow) => {
                    let rows = factored.items().rows();
                    let found = narrow::search(asked, rows, narrow, top.k, masked, allowed);
                    self.rescored.fetch_add(found.rescored, Ordering::Relaxed);
                    found.lists
                }
            };
            self.queries.fetch_add(queries.len() as u64, Ordering::Relaxed);
            let items = Lists::from_parts(lists.offsets, lists.ids).unwrap_or_default();
            return Rankings::new(items, lists.scores);
        }
        let lists = self
            .scorer
            .by_rows(queries, |i, scores| topk::select_row(scores, masks.of(i), allowed, top.k));
        let mut ranked = Rankings::default();
        lists.into_iter().for_each(|list| ranked.push(list));
        Ok(ranked)
    }

    fn target_ranks(&self, cases: &Cases, top: &TopK<'_>) -> Result<Lists<u32>> {
        let queries = cases.queries();
        let masks = Masks::new(&queries, top);
        let allowed = top.allowed.map(ItemSet::words);
        let targets = |i: usize| cases.case(i).targets;
        if let (Some(items), Some(factored)) = (&self.items, self.scorer.factored()) {
            let vectors = embed(factored, &queries);
            let asked = Rows::dense(&vectors, queries.len(), items.dim());
            let panels = self.by_id.get_or_init(|| match items {
                Items::Full(panels) => panels.reordered(Order::Id),
                Items::Narrow(_) => Panels::pack(factored.items().rows(), Order::Id),
            });
            let found = ranks::target_ranks(asked, panels, targets, |i| masks.of(i), allowed);
            return Ok(Lists::from_parts(found.offsets, found.ranks).unwrap_or_default());
        }
        let rows = self.scorer.by_rows(&queries, |i, scores| {
            ranks::rank_in_row(scores, targets(i), masks.of(i), allowed)
        });
        Ok(rows.into_iter().collect())
    }
}
