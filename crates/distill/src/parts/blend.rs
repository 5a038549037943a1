//! The student's own loss together with a loss of what a teacher teaches: own weight * own + weight * term.
//!
//! A [`Term`] lists the items whose scores it needs for a query, and computes its loss from them. [`Blend`] makes an
//! [`Objective`] of it and of the student's own one, for whatever kind of slate that asks. The own objective may itself be a
//! blend: several terms are added one after the other, and each slate remembers the one that it extends ([`Blended`]).
//!
//! A row lists the own objective's items, then the term's. A loss may also need its complement: the mass of all items that it
//! neither lists nor leaves out. The learner's complement is what the complements of both losses share. Items that only one
//! of them counts are listed, and [`Complement`] adds them for that loss.

use super::labelled::Labelled;
use super::losses::{log_sum_exp, softmax_share};
use super::teacher_lists::one_teacher;
use super::unlabelled_sampler::UnlabelledSampler;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Blended, Cases, Grad, ItemId, Lists, Model, Objective, Result, Row, Scores, Slate,
    Tensors, Trace, VectorObjective,
};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Rows whose items one task lists.
const CHUNK: usize = 16;

/// A loss of a query, computed from the student's scores of some items.
///
/// A method implements [`Term::list_items`] and [`Term::loss`]; [`blend`] makes its objective. The simplest example is
/// `methods/score_kd.rs`.
pub(crate) trait Term: Send + Sync {
    /// Whether a query that stands in several rows of a batch counts in the first of them alone. Otherwise the loss counts in
    /// every row, that is once for each case.
    fn once_per_query(&self) -> bool {
        true
    }

    /// Whether the loss needs its complement, the mass of all items that it does not list and that are not labelled.
    fn uses_complement(&self) -> bool {
        false
    }

    /// Appends the items whose scores the loss needs; none where there is nothing to teach. An item may be listed twice.
    /// Draws are keyed by the context, so that they depend neither on the batch nor on threads.
    fn list_items(&self, context: Context, sampler: &mut UnlabelledSampler, out: &mut Vec<ItemId>);

    /// Called once a batch: `own`, the probes of the student's own loss, extended in each row by those of this loss.
    fn extend_probes(&self, _batch: &Batch<'_>, own: Option<&Lists<ItemId>>) -> Lists<ItemId> {
        own.cloned().unwrap_or_default()
    }

    /// The loss of a query for which items were listed. Adds d loss / d score to `slopes`, which is parallel to the items, and
    /// d loss / d `log_complement` to `to_complement`. Called from several threads.
    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        to_complement: &mut f64,
    ) -> f32;

    /// See [`Objective::refresh`].
    fn refresh(&mut self, _epoch: usize, _student: &dyn Model, _cases: &Cases) -> Result<()> {
        Ok(())
    }

    /// See [`Objective::state`].
    fn state(&self) -> Tensors {
        Tensors::default()
    }

    /// See [`Objective::restore`].
    fn restore(&mut self, _state: &Tensors) -> Result<()> {
        Ok(())
    }
}

/// What a loss is computed for: a case, its query, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The number of the distinct query.
    pub query: usize,
    /// The number of the case.
    pub case: usize,
    pub epoch: usize,
    pub seed: u64,
}

impl Context {
    /// That of the batch's row `at`.
    pub fn of(batch: &Batch<'_>, at: usize) -> Self {
        let (query, case) = (batch.query_of(at), batch.rows[at] as usize);
        Self { query, case, epoch: batch.epoch, seed: batch.seed }
    }

    /// Keyed by (seed, purpose, epoch, query): a query has the same draws in all batches of an epoch.
    pub fn rng(&self, purpose: u64) -> Rng {
        Rng::keyed(self.seed, [purpose, self.epoch as u64, self.query as u64])
    }

    /// Keyed by (seed, purpose, epoch, case), as [`Batch::rng`].
    pub fn case_rng(&self, purpose: u64) -> Rng {
        Rng::keyed(self.seed, [purpose, self.epoch as u64, self.case as u64])
    }
}

/// The student's scores that a [`Term`] is computed from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemScores<'a> {
    /// As listed by [`Term::list_items`].
    pub items: &'a [ItemId],
    /// Parallel to the items.
    pub scores: &'a [f32],
    /// ln of the summed exp of the complement's scores, for a term that [uses it](Term::uses_complement).
    pub log_complement: f64,
    /// Of the probes that the term has added; they have no gradient.
    pub probes: &'a [f32],
    /// Of every item, where the student's own loss needs them all. There are no probes then.
    pub all: Option<&'a [f32]>,
}

/// The objective of a method that learns from one teacher: own + `lambda` * term, where `term` is made of the teacher's trace
/// and the labelled items. Without a weight it is the own objective itself, so that fused kernels stay in use.
///
/// # Errors
/// See [`one_teacher`]; when the term cannot be made.
pub(crate) fn blend<T: Term + 'static>(
    name: &str,
    lambda: f32,
    own: Box<dyn Objective>,
    cases: &Cases,
    traces: &[Trace],
    term: impl FnOnce(&Trace, &Arc<Labelled>) -> Result<T>,
) -> Result<Box<dyn Objective>> {
    let trace = one_teacher(name, cases, traces)?;
    if lambda == 0.0 {
        return Ok(own);
    }
    let labelled = Arc::new(Labelled::new(cases)?);
    let term = term(trace, &labelled)?;
    Ok(Box::new(Blend::new(own, term, lambda, labelled)))
}

/// Own loss and term in one objective.
pub(crate) struct Blend<T> {
    own: Box<dyn Objective>,
    own_weight: f32,
    term: T,
    /// `None`: the term weighs itself, and adds its slopes in place.
    weight: Option<f32>,
    labelled: Arc<Labelled>,
    once_per_query: bool,
    /// What the term's tensors are called in a checkpoint begins with this.
    prefix: &'static str,
}

impl<T: Term> Blend<T> {
    /// own + `weight` * term.
    pub fn new(own: Box<dyn Objective>, term: T, weight: f32, labelled: Arc<Labelled>) -> Self {
        let (once_per_query, weight) = (own.once_per_query(), Some(weight));
        Self { own, own_weight: 1.0, term, weight, labelled, once_per_query, prefix: "term." }
    }

    /// `own_weight` * own + term, for a term that has its weight in its loss and slopes. It needs every case, even where the
    /// own loss counts once per query.
    pub fn weighted(
        own_weight: f32,
        own: Box<dyn Objective>,
        term: T,
        labelled: Arc<Labelled>,
    ) -> Self {
        Self { own, own_weight, term, weight: None, labelled, once_per_query: false, prefix: "" }
    }

    pub fn term_mut(&mut self) -> &mut T {
        &mut self.term
    }

    fn is_taught(&self, batch: &Batch<'_>, at: usize) -> bool {
        !self.term.once_per_query() || batch.is_first(at)
    }
}

impl<T: Term> Objective for Blend<T> {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let own = self.own.slate(batch).spelled_out().into_owned();
        let Some(own_listed) = own.listed() else { return Slate::All };
        let chunks = in_chunks(batch, |rows, sampler| {
            let mut parts = Parts::default();
            let mut listed = Vec::new();
            for at in rows {
                listed.clear();
                listed.extend_from_slice(own_listed.row(at));
                self.add_row(batch, at, own.left_out(at), sampler, &mut listed, &mut parts);
            }
            parts
        });
        let mut parts = Parts::default();
        chunks.into_iter().for_each(|chunk| parts.append(chunk));
        let Parts { listed, added, left_out, asks } = parts;
        let probes = self.term.extend_probes(batch, own.probes());
        let with_complement =
            matches!(own, Slate::WithComplement { .. }) || self.term.uses_complement();
        let blended = Some(Box::new(Blended { own, added }));
        if !with_complement {
            return Slate::Lists { listed, probes, blended, estimated: None };
        }
        let asking = (0..).zip(asks).filter_map(|(at, asks)| asks.then_some(at)).collect();
        Slate::WithComplement { listed, left_out, asking, probes, blended }
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, mut grad: Grad<'_>) -> f32 {
        let Some(Blended { own: own_slate, added }) = row.slate.blended() else {
            return self.loss_of_all(row, scores, grad);
        };
        let own_row = Row { slate: own_slate, ..row };
        let (items, n_own, n) = (row.items(), own_row.items().len(), added[row.at] as usize);
        let own_probes = own_slate.probes().map_or(0, |probes| probes.row(row.at).len());
        let (own_probes, probes) = scores.probes.split_at(own_probes);
        let complement = match own_slate.left_out(row.at) {
            Some(left_out) => {
                Complement::of(items, scores, 0..n_own, |item| left_out.contains(&item))
            }
            None => Complement::none(),
        };
        let mut slope = 0.0;
        let own = self.own.loss(
            own_row,
            Scores {
                listed: &scores.listed[..n_own],
                probes: own_probes,
                log_complement: complement.log as f32,
            },
            Grad { listed: &mut grad.listed[..n_own], log_complement: &mut slope },
        );
        complement.give_back(slope, scores, &mut grad);
        if self.own_weight != 1.0 {
            let slopes = grad.listed.iter_mut().chain([&mut *grad.log_complement]);
            slopes.for_each(|slope| *slope *= self.own_weight);
        }
        let own = self.own_weight * own;
        if n == 0 {
            return own;
        }

        let ours = n_own..n_own + n;
        let context = Context::of(row.batch, row.at);
        let complement = match self.term.uses_complement() {
            true => {
                let labelled = self.labelled.of(context.query);
                let is_labelled = |item| labelled.binary_search(&item).is_ok();
                Complement::of(items, scores, ours.clone(), is_labelled)
            }
            false => Complement::none(),
        };
        let term_scores = ItemScores {
            items: &items[ours.clone()],
            scores: &scores.listed[ours.clone()],
            log_complement: complement.log,
            probes,
            all: None,
        };
        let mut slope = 0.0;
        let Some(weight) = self.weight else {
            return own + self.term.loss(context, term_scores, &mut grad.listed[ours], &mut slope);
        };
        let mut slopes = vec![0.0; n];
        let loss = self.term.loss(context, term_scores, &mut slopes, &mut slope);
        for (to, slope) in grad.listed[ours].iter_mut().zip(slopes) {
            *to += weight * slope;
        }
        complement.give_back(weight * slope as f32, scores, &mut grad);
        own + weight * loss
    }

    fn once_per_query(&self) -> bool {
        self.once_per_query
    }

    fn vector_objective(&self) -> Option<&dyn VectorObjective> {
        self.own.vector_objective()
    }

    fn note(&self) -> Option<String> {
        self.own.note()
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        self.own.refresh(epoch, student, cases)?;
        self.term.refresh(epoch, student, cases)
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        state.insert_all("own.", self.own.state());
        state.insert_all(self.prefix, self.term.state());
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.own.restore(&state.with_prefix("own."))?;
        self.term.restore(&state.with_prefix(self.prefix))
    }
}

impl<T: Term> Blend<T> {
    /// Adds row `at` to the slate: `listed`, the items of the own loss, followed by those of the term.
    fn add_row(
        &self,
        batch: &Batch<'_>,
        at: usize,
        own_left_out: Option<&[ItemId]>,
        sampler: &mut UnlabelledSampler,
        listed: &mut Vec<ItemId>,
        parts: &mut Parts,
    ) {
        let n_own = listed.len();
        let (left_out, shared): (Option<&[ItemId]>, Vec<ItemId>);
        if self.is_taught(batch, at) {
            let context = Context::of(batch, at);
            self.term.list_items(context, sampler, listed);
            parts.added.push((listed.len() - n_own) as u32);
            let labelled = self.labelled.of(context.query);
            left_out = match (self.term.uses_complement(), own_left_out) {
                (false, own) => own,
                (true, None) => Some(labelled),
                (true, Some(own)) => {
                    shared = left_out_by_both(labelled, own, listed);
                    Some(&shared[..])
                }
            };
        } else {
            left_out = own_left_out;
            parts.added.push(0);
        }
        parts.listed.push(listed.iter().copied());
        parts.asks.push(left_out.is_some());
        parts.left_out.push(left_out.unwrap_or_default().iter().copied());
    }

    /// A row of [`Slate::All`]: every score is there.
    fn loss_of_all(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let Grad { listed: slopes, log_complement } = grad;
        let own = self.own.loss(row, scores, Grad { listed: &mut *slopes, log_complement });
        if self.own_weight != 1.0 {
            slopes.iter_mut().for_each(|slope| *slope *= self.own_weight);
        }
        let own = self.own_weight * own;
        if !self.is_taught(row.batch, row.at) {
            return own;
        }
        let (context, all) = (Context::of(row.batch, row.at), scores.listed);
        let mut items = Vec::new();
        self.term.list_items(context, &mut UnlabelledSampler::new(all.len()), &mut items);
        if items.is_empty() {
            return own;
        }
        let listed: Vec<f32> = items.iter().map(|&item| all[item as usize]).collect();
        let mut complement: Vec<usize> = Vec::new();
        let mut log_complement = f64::NEG_INFINITY;
        if self.term.uses_complement() {
            let mut counts = vec![true; all.len()];
            for &item in items.iter().chain(self.labelled.of(context.query)) {
                counts[item as usize] = false;
            }
            complement.extend((0..all.len()).filter(|&item| counts[item]));
            log_complement = log_sum_exp(complement.iter().map(|&item| all[item]));
        }
        let (mut to_items, mut slope) = (vec![0.0; items.len()], 0.0);
        let term_scores = ItemScores {
            items: &items,
            scores: &listed,
            log_complement,
            probes: &[],
            all: Some(all),
        };
        let loss = self.term.loss(context, term_scores, &mut to_items, &mut slope);
        let weight = self.weight.unwrap_or(1.0);
        for (&item, to_item) in items.iter().zip(to_items) {
            slopes[item as usize] += weight * to_item;
        }
        for item in complement {
            slopes[item] += weight * (slope * softmax_share(all[item], log_complement)) as f32;
        }
        own + weight * loss
    }
}

/// What tasks make of chunks of a batch's rows, in order.
pub(crate) fn in_chunks<P: Send>(
    batch: &Batch<'_>,
    make: impl Fn(Range<usize>, &mut UnlabelledSampler) -> P + Sync,
) -> Vec<P> {
    let (n_items, n) = (batch.cases.n_items(), batch.len());
    (0..n.div_ceil(CHUNK))
        .into_par_iter()
        .map_init(
            || UnlabelledSampler::new(n_items),
            |sampler, chunk| make(chunk * CHUNK..((chunk + 1) * CHUNK).min(n), sampler),
        )
        .collect()
}

/// Rows of a slate.
#[derive(Default)]
struct Parts {
    listed: Lists<ItemId>,
    /// See [`Blended::added`].
    added: Vec<u32>,
    left_out: Lists<ItemId>,
    /// Whether each row needs its complement.
    asks: Vec<bool>,
}

impl Parts {
    fn append(&mut self, other: Self) {
        self.listed.append(other.listed);
        self.added.extend(other.added);
        self.left_out.append(other.left_out);
        self.asks.extend(other.asks);
    }
}

/// The items that both losses leave out. Items that only one of them leaves out are listed, for the other to count.
fn left_out_by_both(labelled: &[ItemId], own: &[ItemId], listed: &mut Vec<ItemId>) -> Vec<ItemId> {
    let is_labelled = |item: &ItemId| labelled.binary_search(item).is_ok();
    let both = own.iter().copied().filter(is_labelled).collect();
    let own_alone = own.iter().filter(|item| !is_labelled(item));
    let labelled_alone = labelled.iter().filter(|item| !own.contains(item));
    for &item in own_alone.chain(labelled_alone) {
        if !listed.contains(&item) {
            listed.push(item);
        }
    }
    both
}

/// The complement as one loss of a row sees it: the learner's, and those listed items that this loss neither lists nor leaves
/// out. An item that is listed several times counts once.
struct Complement {
    /// ln of its mass.
    log: f64,
    /// Positions of the listed items in it.
    listed: Vec<usize>,
}

impl Complement {
    /// Of a loss that needs none.
    fn none() -> Self {
        Self { log: f64::NEG_INFINITY, listed: Vec::new() }
    }

    /// Of a loss that lists the row's items in `own`.
    fn of(
        items: &[ItemId],
        scores: Scores<'_>,
        own: Range<usize>,
        left_out: impl Fn(ItemId) -> bool,
    ) -> Self {
        let listed: Vec<usize> = (0..items.len())
            .filter(|at| !own.contains(at))
            .filter(|&at| !items[own.clone()].contains(&items[at]) && !left_out(items[at]))
            .filter(|&at| !items[..at].contains(&items[at]))
            .collect();
        let masses = listed.iter().map(|&at| scores.listed[at]).chain([scores.log_complement]);
        let log = match listed.is_empty() {
            true => f64::from(scores.log_complement),
            false => log_sum_exp(masses),
        };
        Self { log, listed }
    }

    /// Propagates the slope of its log mass to the scores that it is made of.
    fn give_back(&self, slope: f32, scores: Scores<'_>, grad: &mut Grad<'_>) {
        if slope == 0.0 {
            return;
        }
        let share = |score: f32| (f64::from(slope) * softmax_share(score, self.log)) as f32;
        for &at in &self.listed {
            grad.listed[at] += share(scores.listed[at]);
        }
        *grad.log_complement += share(scores.log_complement);
    }
}

#[cfg(test)]
mod tests;
