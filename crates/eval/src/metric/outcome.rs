//! What came of asking a ranker all cases: computed once a model, looked at by every metric.

use crate::metric::Needs;
use crate::{Error, Result};
use rankstill_core::rank::ranks_in_lists;
use rankstill_core::{Cases, ItemId, Lists, Ranker, Rankings, TopK};
use std::sync::Arc;

/// The lists that a ranker gave, and where the targets stand in its ranking.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    cases: &'a Cases,
    /// Which cases, in order: all of them, unless this is a group's part.
    rows: Vec<u32>,
    ranked: Arc<Rankings>,
    /// A row's different targets; those that are ranked first, in the order of `hits`.
    targets: Lists<ItemId>,
    /// The 1-based ranks of the ranked targets, ascending.
    hits: Lists<u32>,
    whole: bool,
    popularity: Option<&'a [u32]>,
    teacher: Option<&'a Rankings>,
}

impl<'a> Outcome<'a> {
    /// Asks `ranker` all `cases`, in blocks: `top.k` (or what `needs` asks for, if that is more) items each and, where needed,
    /// the targets' ranks in the whole ranking. Holds the lists and the ranks, never all scores.
    ///
    /// # Errors
    /// When the ranker fails or a case has no target.
    pub fn ask<R: Ranker + ?Sized>(
        ranker: &R,
        cases: &'a Cases,
        top: &TopK<'_>,
        needs: Needs,
    ) -> Result<Self> {
        let top = TopK { k: top.k.max(needs.depth).min(cases.n_items()), ..*top };
        let mut ranked = Rankings::default();
        let mut ranks = Lists::default();
        let mut at = 0;
        while at < cases.len() {
            let part = cases.slice(at..(at + BLOCK).min(cases.len()));
            at += part.len();
            if top.k > 0 {
                ranked.append(ranker.rank(&part.queries(), &top)?);
            } else {
                part.iter().for_each(|_| ranked.push([]));
            }
            if needs.whole {
                ranks.append(ranker.target_ranks(&part, &top)?);
            }
        }
        if !needs.whole {
            ranks = ranks_in_lists(ranked.lists(), cases);
        }
        Self::new(cases, ranked, ranks, needs.whole)
    }

    /// From any system's lists, row *i* for case *i*. Metrics "over the whole ranking" then end with the given list.
    ///
    /// # Errors
    /// When there are not as many lists as cases, a list holds an item twice or one that is not in the catalogue, or a case has
    /// no target.
    pub fn of_rankings(cases: &'a Cases, ranked: Rankings) -> Result<Self> {
        if ranked.len() != cases.len() {
            let what = "rankings to evaluate".into();
            return Err(Error::Length { what, expected: cases.len(), found: ranked.len() });
        }
        let n_items = cases.n_items();
        let mut last_in = vec![u32::MAX; n_items];
        for (row, list) in ranked.lists().iter().enumerate() {
            for &item in list {
                let Some(last) = last_in.get_mut(item as usize) else {
                    return Err(rankstill_core::Error::UnknownItem {
                        item: item as usize,
                        n_items,
                    }
                    .into());
                };
                if std::mem::replace(last, row as u32) == row as u32 {
                    return Err(Error::Twice { row, item });
                }
            }
        }
        let ranks = ranks_in_lists(ranked.lists(), cases);
        Self::new(cases, ranked, ranks, false)
    }

    /// `ranks`: for every target of every case its 1-based place, 0 when it has none.
    fn new(cases: &'a Cases, ranked: Rankings, ranks: Lists<u32>, whole: bool) -> Result<Self> {
        for (what, found) in [("answers", ranked.len()), ("ranks of targets", ranks.len())] {
            if found != cases.len() {
                return Err(Error::Length { what: what.into(), expected: cases.len(), found });
            }
        }
        let mut targets = Lists::with_capacity(cases.len(), ranks.values().len());
        let mut hits = Lists::with_capacity(cases.len(), ranks.values().len());
        let mut pairs: Vec<(u32, ItemId)> = Vec::new();
        for (row, (case, ranks)) in cases.iter().zip(ranks.iter()).enumerate() {
            if case.targets.is_empty() {
                return Err(Error::NoTarget { row });
            }
            pairs.clear();
            // 0 wraps to the end: what is not ranked comes last.
            pairs.extend(
                ranks.iter().map(|rank| rank.wrapping_sub(1)).zip(case.targets.iter().copied()),
            );
            pairs.sort_unstable();
            pairs.dedup_by_key(|(_, item)| *item); // the same item has the same rank: the two are neighbours
            targets.push(pairs.iter().map(|(_, item)| *item));
            hits.push(pairs.iter().filter(|(at, _)| *at != u32::MAX).map(|(at, _)| at + 1));
        }
        let rows = (0..cases.len() as u32).collect();
        let ranked = Arc::new(ranked);
        Ok(Self { cases, rows, ranked, targets, hits, whole, popularity: None, teacher: None })
    }

    /// With how often each item was acted on in training.
    ///
    /// # Errors
    /// When that is not one count an item.
    pub fn with_popularity(mut self, counts: &'a [u32]) -> Result<Self> {
        let (expected, found) = (self.cases.n_items(), counts.len());
        if expected != found {
            return Err(Error::Length { what: "popularity of items".into(), expected, found });
        }
        self.popularity = Some(counts);
        Ok(self)
    }

    /// With a teacher's lists, row *i* for case *i*.
    ///
    /// # Errors
    /// When there are not as many as cases.
    pub fn with_teacher(mut self, lists: &'a Rankings) -> Result<Self> {
        let (expected, found) = (self.cases.len(), lists.len());
        if expected != found {
            return Err(Error::Length { what: "rankings of the teacher".into(), expected, found });
        }
        self.teacher = Some(lists);
        Ok(self)
    }

    /// How many cases are measured.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no case is measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All cases that were asked.
    #[must_use]
    pub fn cases(&self) -> &'a Cases {
        self.cases
    }

    /// Which of [`Outcome::cases`] are measured, in the order of every [`crate::Measure::PerCase`].
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The lists for all cases that were asked.
    #[must_use]
    pub fn rankings(&self) -> &Rankings {
        &self.ranked
    }

    /// The list of the `i`-th measured case.
    #[must_use]
    pub fn list(&self, i: usize) -> &[ItemId] {
        self.ranked.items(self.rows[i] as usize)
    }

    /// The ranks of the `i`-th measured case's targets, 1-based and ascending; those that are not ranked are not among them.
    #[must_use]
    pub fn hits(&self, i: usize) -> &[u32] {
        self.hits.row(i)
    }

    /// How many different targets the `i`-th measured case has; at least 1.
    #[must_use]
    pub fn n_targets(&self, i: usize) -> usize {
        self.targets.row(i).len()
    }

    /// What the `i`-th measured user did before.
    #[must_use]
    pub fn history(&self, i: usize) -> &'a [ItemId] {
        self.cases.query(self.rows[i] as usize).history
    }

    /// Whether the ranks reach over the whole catalogue, not the lists alone.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// How often each item was acted on in training, where that is known.
    #[must_use]
    pub fn popularity(&self) -> Option<&'a [u32]> {
        self.popularity
    }

    /// The teacher's list for the `i`-th measured case, where there is a teacher.
    #[must_use]
    pub fn teacher(&self, i: usize) -> Option<&'a [ItemId]> {
        self.teacher.map(|lists| lists.items(self.rows[i] as usize))
    }

    /// What the reader must know about these numbers besides the definitions.
    #[must_use]
    pub fn notes(&self, needs: Needs) -> Vec<String> {
        let longest = self.ranked.lists().iter().map(<[_]>::len).max().unwrap_or(0);
        let mut notes = Vec::new();
        if needs.whole && !self.whole {
            notes.push(format!(
                "The rankings are lists of at most {longest} items: metrics over the whole ranking see these lists alone."
            ));
        }
        if needs.depth > longest && longest < self.cases.n_items() {
            notes.push(format!(
                "The rankings are lists of at most {longest} items; metrics look at up to {}.",
                needs.depth
            ));
        }
        notes
    }

    /// The same outcome, of the measured cases for which `keep(case's row)` holds.
    #[must_use]
    pub fn select(&self, keep: impl Fn(usize) -> bool) -> Self {
        self.part(|row, _| keep(row))
    }

    /// The same outcome where only the targets for which `keep` holds count as such; the rest of the catalogue stays in the
    /// ranking. Cases that lose all their targets drop out.
    #[must_use]
    pub fn with_targets(&self, keep: impl Fn(ItemId) -> bool) -> Self {
        self.part(|_, item| keep(item))
    }

    fn part(&self, keep: impl Fn(usize, ItemId) -> bool) -> Self {
        let (mut rows, mut targets, mut hits) = (Vec::new(), Lists::default(), Lists::default());
        for (i, &row) in self.rows.iter().enumerate() {
            let kept = |item: &ItemId| keep(row as usize, *item);
            if self.targets.row(i).iter().any(kept) {
                rows.push(row);
                targets.push(self.targets.row(i).iter().copied().filter(kept));
                let ranked = self.targets.row(i).iter().zip(self.hits.row(i));
                hits.push(ranked.filter(|(item, _)| kept(item)).map(|(_, rank)| *rank));
            }
        }
        Self { rows, targets, hits, ranked: Arc::clone(&self.ranked), ..*self }
    }
}

/// Cases asked at a time: bounds what a ranker lays out at once, and is plenty for its blocked products.
const BLOCK: usize = 8192;
