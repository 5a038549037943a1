//! A ranker's answers to all cases: computed once per model and read by every metric.

use crate::error::{Error, Result};
use rankstill_core::rank::ranks_in_lists;
use rankstill_core::{Cases, ItemId, Lists, Ranker, Rankings, TopK};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lists of a ranker for some cases, and the ranks of the cases' targets.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    cases: &'a Cases,
    /// The measured cases, in order: all of them, unless this is the part of a group.
    rows: Vec<u32>,
    ranked: Arc<Rankings>,
    /// The different targets of a row: first those that are ranked, in the order of `hits`.
    targets: Lists<ItemId>,
    /// The 1-based ranks of the ranked targets, ascending.
    hits: Lists<u32>,
    /// Parallel to `targets`, if known.
    grades: Option<Lists<f32>>,
    whole_ranking: bool,
    popularity: Option<&'a [u32]>,
    teacher: Option<&'a Rankings>,
}

/// The parts of an outcome that metrics read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Minimum length of the lists.
    pub depth: usize,
    /// The targets' ranks in the whole ranking, beyond the lists.
    pub whole_ranking: bool,
    /// The number of training interactions of each item.
    pub popularity: bool,
    /// A teacher's lists.
    pub teacher: bool,
    /// The grades of the targets.
    pub grades: bool,
}

impl<'a> Outcome<'a> {
    /// Queries `ranker` with all `cases`, in blocks, for `top.k` items each (`needs.depth`, if that is more)
    /// and, if needed, for the targets' ranks in the whole ranking. Holds the lists and the ranks, never all
    /// scores.
    ///
    /// # Errors
    /// When the ranker fails or a case has no target.
    pub fn of_ranker<R: Ranker + ?Sized>(
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
            if needs.whole_ranking {
                ranks.append(ranker.target_ranks(&part, &top)?);
            }
        }
        if !needs.whole_ranking {
            ranks = ranks_in_lists(ranked.lists(), cases);
        }
        Self::new(cases, ranked, ranks, needs.whole_ranking)
    }

    /// From any system's lists, row *i* for case *i*. Metrics over the whole ranking then end with the given
    /// list.
    ///
    /// # Errors
    /// When the number of lists is not the number of cases, a list holds an item twice or one that is not in
    /// the catalogue, or a case has no target.
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

    /// `ranks`: the 1-based rank of every target of every case, 0 if it is not ranked.
    fn new(
        cases: &'a Cases,
        ranked: Rankings,
        ranks: Lists<u32>,
        whole_ranking: bool,
    ) -> Result<Self> {
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
            // 0 wraps around: targets that are not ranked come last.
            pairs.extend(
                ranks.iter().map(|rank| rank.wrapping_sub(1)).zip(case.targets.iter().copied()),
            );
            pairs.sort_unstable();
            pairs.dedup_by_key(|(_, item)| *item); // duplicates have the same rank, so they are neighbours
            targets.push(pairs.iter().map(|(_, item)| *item));
            hits.push(pairs.iter().filter(|(at, _)| *at != u32::MAX).map(|(at, _)| at + 1));
        }
        let rows = (0..cases.len() as u32).collect();
        let ranked = Arc::new(ranked);
        let (grades, popularity, teacher) = (None, None, None);
        Ok(Self { cases, rows, ranked, targets, hits, grades, whole_ranking, popularity, teacher })
    }

    /// Adds the number of training interactions of each item.
    ///
    /// # Errors
    /// When the number of counts is not the number of items.
    pub fn with_popularity(mut self, counts: &'a [u32]) -> Result<Self> {
        let (expected, found) = (self.cases.n_items(), counts.len());
        if expected != found {
            return Err(Error::Length { what: "popularity of items".into(), expected, found });
        }
        self.popularity = Some(counts);
        Ok(self)
    }

    /// Adds how relevant the targets are: row *i* is parallel to the targets of case *i*. A target that is written twice has the
    /// higher of its grades.
    ///
    /// # Errors
    /// When the numbers differ, or a grade is negative or not finite.
    pub fn with_grades(mut self, grades: &Lists<f32>) -> Result<Self> {
        let (expected, found) = (self.cases.len(), grades.len());
        if expected != found {
            return Err(Error::Length { what: "grades of cases".into(), expected, found });
        }
        let mut all = Lists::with_capacity(self.rows.len(), self.targets.values().len());
        for (&row, targets) in self.rows.iter().zip(self.targets.iter()) {
            let (case, grades) = (self.cases.case(row as usize), grades.row(row as usize));
            let (expected, found) = (case.targets.len(), grades.len());
            if expected != found {
                let what = format!("grades of the targets of case {row}");
                return Err(Error::Length { what, expected, found });
            }
            let mut highest: BTreeMap<ItemId, f32> = BTreeMap::new();
            for (&item, &grade) in case.targets.iter().zip(grades) {
                if !(0.0..f32::INFINITY).contains(&grade) {
                    return Err(Error::Grade { row: row as usize, item, grade });
                }
                let known = highest.entry(item).or_insert(grade);
                *known = known.max(grade);
            }
            all.push(targets.iter().map(|item| highest[item]));
        }
        self.grades = Some(all);
        Ok(self)
    }

    /// Adds a teacher's lists, row *i* for case *i*.
    ///
    /// # Errors
    /// When the number of lists is not the number of cases.
    pub fn with_teacher(mut self, lists: &'a Rankings) -> Result<Self> {
        let (expected, found) = (self.cases.len(), lists.len());
        if expected != found {
            return Err(Error::Length { what: "rankings of the teacher".into(), expected, found });
        }
        self.teacher = Some(lists);
        Ok(self)
    }

    /// Number of measured cases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no case is measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All cases that the ranker answered.
    #[must_use]
    pub fn cases(&self) -> &'a Cases {
        self.cases
    }

    /// Which of [`Outcome::cases`] are measured, in the order of every [`PerCase`](super::Measure::PerCase).
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The lists of all cases that the ranker answered.
    #[must_use]
    pub fn rankings(&self) -> &Rankings {
        &self.ranked
    }

    /// The list of the `i`-th measured case.
    #[must_use]
    pub fn list(&self, i: usize) -> &[ItemId] {
        self.ranked.items(self.rows[i] as usize)
    }

    /// The first `n` items of that list, or all.
    #[must_use]
    pub fn first(&self, i: usize, n: usize) -> &[ItemId] {
        let list = self.list(i);
        &list[..n.min(list.len())]
    }

    /// The ranks of the `i`-th measured case's targets, 1-based and ascending, without targets that are not
    /// ranked.
    #[must_use]
    pub fn hits(&self, i: usize) -> &[u32] {
        self.hits.row(i)
    }

    /// Number of different targets of the `i`-th measured case; at least 1.
    #[must_use]
    pub fn n_targets(&self, i: usize) -> usize {
        self.targets.row(i).len()
    }

    /// The grades of the `i`-th measured case's different targets, if known: first those of [`Outcome::hits`], in their order.
    #[must_use]
    pub fn grades(&self, i: usize) -> Option<&[f32]> {
        self.grades.as_ref().map(|grades| grades.row(i))
    }

    /// The history of the `i`-th measured case.
    #[must_use]
    pub fn history(&self, i: usize) -> &'a [ItemId] {
        self.cases.query(self.rows[i] as usize).history
    }

    /// The number of training interactions of each item, if known.
    #[must_use]
    pub fn popularity(&self) -> Option<&'a [u32]> {
        self.popularity
    }

    /// The teacher's list for the `i`-th measured case, if there is a teacher.
    #[must_use]
    pub fn teacher(&self, i: usize) -> Option<&'a [ItemId]> {
        self.teacher.map(|lists| lists.items(self.rows[i] as usize))
    }

    /// Remarks for readers of the numbers, in addition to the definitions.
    #[must_use]
    pub fn notes(&self, needs: Needs) -> Vec<String> {
        let longest = self.ranked.lists().iter().map(<[_]>::len).max().unwrap_or(0);
        let mut notes = Vec::new();
        if needs.whole_ranking && !self.whole_ranking {
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

    /// The same outcome, restricted to the measured cases for which `keep(row)` holds.
    #[must_use]
    pub fn select(&self, keep: impl Fn(usize) -> bool) -> Self {
        self.part(|row, _| keep(row))
    }

    /// The same outcome, restricted to the targets for which `keep` holds; the ranking still holds the whole
    /// catalogue. Cases without a remaining target are dropped.
    #[must_use]
    pub fn with_targets(&self, keep: impl Fn(ItemId) -> bool) -> Self {
        self.part(|_, item| keep(item))
    }

    fn part(&self, keep: impl Fn(usize, ItemId) -> bool) -> Self {
        let (mut rows, mut targets, mut hits) = (Vec::new(), Lists::default(), Lists::default());
        let mut grades = self.grades.as_ref().map(|_| Lists::default());
        for (i, &row) in self.rows.iter().enumerate() {
            let kept = |item: &ItemId| keep(row as usize, *item);
            if self.targets.row(i).iter().any(kept) {
                rows.push(row);
                targets.push(self.targets.row(i).iter().copied().filter(kept));
                let ranked = self.targets.row(i).iter().zip(self.hits.row(i));
                hits.push(ranked.filter(|(item, _)| kept(item)).map(|(_, rank)| *rank));
                if let (Some(to), Some(from)) = (&mut grades, &self.grades) {
                    let graded = self.targets.row(i).iter().zip(from.row(i));
                    to.push(graded.filter(|(item, _)| kept(item)).map(|(_, grade)| *grade));
                }
            }
        }
        Self { rows, targets, hits, grades, ranked: Arc::clone(&self.ranked), ..*self }
    }
}

/// Number of cases per call of the ranker: bounds its memory, and is plenty for its blocked products.
const BLOCK: usize = 8192;
