//! A loss of what a teacher said beside the student's own one: own + lambda * taught.
//!
//! A [`Term`] says which items' scores it needs of a query, and its loss from them; [`BesideOwn`] makes an [`Objective`] of it
//! and of the student's own one, whatever slate that asks for. A row's slate is the own objective's, then the term's items. Where
//! either loss looks at the mass of what it does not list, each must see its own rest: see `rest.rs`.

use crate::labelled::Labelled;
use crate::listwise::{log_sum_exp, portion};
use crate::rank_distil::Scratch;
use crate::rest::{Rest, own_loss};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Cases, Error, Grad, ItemId, Lists, Model, Objective, Result, Row, Scores, Slate,
    Tensors, Trace, VectorObjective,
};
use rayon::prelude::*;
use std::sync::Arc;

/// Rows whose items one task draws.
const CHUNK: usize = 16;

/// What is taught of a query, from the scores of some items.
pub(crate) trait Term: Send + Sync {
    /// Whether a query that stands in several rows of a batch is taught in the first of them alone.
    fn once(&self) -> bool {
        true
    }

    /// Whether the loss looks at the mass of what it neither lists nor has labelled.
    fn against(&self) -> bool {
        false
    }

    /// How many items [`Term::items`] adds.
    fn len(&self, asked: Asked) -> usize;

    /// Adds the items whose scores the loss needs. The same again for the same question.
    fn items(&self, asked: Asked, scratch: &mut Scratch, out: &mut Vec<ItemId>);

    /// The loss; adds d loss / d score to `slopes` and d loss / d `log_complement` to `to_rest`.
    fn loss(&self, asked: Asked, said: Said<'_>, slopes: &mut [f32], to_rest: &mut f64) -> f32;

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

/// Who is asked about, when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The number of the distinct query.
    pub query: usize,
    /// That of the case.
    pub case: usize,
    pub epoch: usize,
    pub seed: u64,
}

impl Asked {
    /// Keyed by (seed, purpose, epoch, query): a query's draws last for an epoch, in whatever batches it stands.
    pub fn rng(&self, purpose: u64) -> Rng {
        Rng::keyed(self.seed, [purpose, self.epoch as u64, self.query as u64])
    }
}

/// What the student says to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    /// What [`Term::items`] asked for.
    pub items: &'a [ItemId],
    /// Parallel to the items.
    pub scores: &'a [f32],
    /// ln of the summed exp of the rest's scores, for a term that looks [against](Term::against) it.
    pub log_complement: f64,
}

/// The objective of a method that learns from one teacher: own + lambda * the term, which is made of the teacher's trace and of
/// what is labelled. Without a weight the own objective itself: what is fused for it stays fused.
///
/// # Errors
/// See [`one_teacher`]; when the term cannot be made.
pub(crate) fn beside_own<T: Term + 'static>(
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
    Ok(Box::new(BesideOwn::new(own, term, lambda, cases, labelled)))
}

/// The one trace that a method learns from.
///
/// # Errors
/// When there is not exactly one, it answers other cases, or names an item that is not in the catalogue.
pub(crate) fn one_teacher<'a>(name: &str, cases: &Cases, traces: &'a [Trace]) -> Result<&'a Trace> {
    let [trace] = traces else {
        let problem = format!(
            "{name} learns from one teacher, not {}; fuse several into one ranking first",
            traces.len()
        );
        return Err(Error::Config { key: "teachers".into(), problem });
    };
    trace.answers(cases)?;
    Ok(trace)
}

/// Own loss + lambda * the term's.
pub(crate) struct BesideOwn<T> {
    own: Box<dyn Objective>,
    term: T,
    lambda: f32,
    labelled: Arc<Labelled>,
    /// Whether the own objective asks for [`Slate::WithComplement`]; an objective keeps its kind of slate.
    own_against: bool,
}

impl<T: Term> BesideOwn<T> {
    pub fn new(
        own: Box<dyn Objective>,
        term: T,
        lambda: f32,
        cases: &Cases,
        labelled: Arc<Labelled>,
    ) -> Self {
        let first = Batch::new(cases, &[0], 0, 0);
        let own_against =
            !cases.is_empty() && matches!(own.slate(&first), Slate::WithComplement { .. });
        Self { own, term, lambda, labelled, own_against }
    }

    /// What is taught.
    pub fn term_mut(&mut self) -> &mut T {
        &mut self.term
    }
}

impl<T: Term> Objective for BesideOwn<T> {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let (own, own_rest, probes) = match self.own.slate(batch) {
            Slate::All => return Slate::All,
            Slate::Lists { listed, probes } => (listed, None, probes),
            Slate::WithComplement { listed, left_out, asking, probes } => {
                (listed, Some((left_out, asking)), probes)
            }
        };
        debug_assert_eq!(own_rest.is_some(), self.own_against, "one kind of slate");
        // What the own objective leaves out in a row where it asks for the rest.
        let own_left_out = |at: usize| {
            let (left_out, asking) = own_rest.as_ref()?;
            asking.binary_search(&(at as u32)).is_ok().then(|| left_out.row(at))
        };
        let n_items = batch.cases.n_items();
        // Of each row the listed items and, where either asks for the rest, those left out.
        let rows: Vec<(Vec<ItemId>, Option<Vec<ItemId>>)> = (0..batch.len())
            .into_par_iter()
            .with_min_len(CHUNK)
            .map_init(
                || Scratch::new(n_items),
                |scratch, at| {
                    let mut listed = own.row(at).to_vec();
                    let left_out = own_left_out(at);
                    if !self.is_taught(batch, at) {
                        return (listed, left_out.map(<[_]>::to_vec));
                    }
                    let asked = asked_of(batch, at);
                    self.term.items(asked, scratch, &mut listed);
                    debug_assert_eq!(listed.len() - own.row(at).len(), self.term.len(asked));
                    let labelled = self.labelled.of(asked.query);
                    let left_out = match (self.term.against(), left_out) {
                        (false, own) => own.map(<[_]>::to_vec),
                        (true, None) => Some(labelled.to_vec()),
                        (true, Some(own)) => Some(meet(labelled, own, &mut listed)),
                    };
                    (listed, left_out)
                },
            )
            .collect();
        let (listed, left_out): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let listed = Lists::from_iter(listed);
        if self.own_against || self.term.against() {
            let rows = (0..).zip(&left_out);
            let asking = rows.filter_map(|(at, asks)| asks.as_ref().map(|_| at)).collect();
            let left_out = left_out.into_iter().map(Option::unwrap_or_default).collect();
            Slate::WithComplement { listed, left_out, asking, probes }
        } else {
            Slate::Lists { listed, probes }
        }
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        if row.items.is_empty() && !scores.listed.is_empty() {
            return self.loss_of_all(row, scores, grad);
        }
        let asked = asked_of(row.batch, row.at);
        let n = match self.is_taught(row.batch, row.at) {
            true => self.term.len(asked),
            false => 0,
        };
        // Asked for again, with the batch cut down to this row: an objective draws by row (see [`Batch::rng`]).
        let own_slate = self.own_against.then(|| self.own.slate(&row.batch.only(row.at)));
        let (n_own, left_out) = match &own_slate {
            Some(Slate::WithComplement { listed, left_out, asking, .. }) => {
                (listed.row(0).len(), (!asking.is_empty()).then(|| left_out.row(0)))
            }
            _ => (row.items.len() - n, None),
        };
        let mut grad = grad;
        let own = own_loss(&*self.own, n_own, left_out, row, scores, &mut grad);
        if n == 0 {
            return own;
        }

        let ours = n_own..n_own + n;
        let rest = match self.term.against() {
            true => {
                let labelled = self.labelled.of(asked.query);
                Rest::of(&row, scores, ours.clone(), |item| labelled.binary_search(&item).is_ok())
            }
            false => Rest::none(),
        };
        let (mut to_ours, mut slope) = (vec![0.0; n], 0.0);
        let said = Said {
            items: &row.items[ours.clone()],
            scores: &scores.listed[ours.clone()],
            log_complement: rest.log,
        };
        let loss = self.term.loss(asked, said, &mut to_ours, &mut slope);
        for (to, slope) in grad.listed[ours].iter_mut().zip(to_ours) {
            *to += self.lambda * slope;
        }
        rest.give_back(self.lambda * slope as f32, scores, &mut grad);
        own + self.lambda * loss
    }

    fn once_a_query(&self) -> bool {
        self.own.once_a_query()
    }

    fn of_vectors(&self) -> Option<&dyn VectorObjective> {
        self.own.of_vectors()
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        self.own.refresh(epoch, student, cases)?;
        self.term.refresh(epoch, student, cases)
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        state.insert_all("own.", self.own.state());
        state.insert_all("term.", self.term.state());
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.own.restore(&state.with_prefix("own."))?;
        self.term.restore(&state.with_prefix("term."))
    }
}

impl<T: Term> BesideOwn<T> {
    /// A row of [`Slate::All`]: every score is there.
    fn loss_of_all(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let Grad { listed: slopes, log_complement } = grad;
        let own = self.own.loss(row, scores, Grad { listed: &mut *slopes, log_complement });
        if !self.is_taught(row.batch, row.at) {
            return own;
        }
        let (asked, all) = (asked_of(row.batch, row.at), scores.listed);
        let mut items = Vec::new();
        self.term.items(asked, &mut Scratch::new(all.len()), &mut items);
        if items.is_empty() {
            return own;
        }
        let listed: Vec<f32> = items.iter().map(|&item| all[item as usize]).collect();
        let mut rest: Vec<usize> = Vec::new();
        let mut log_complement = f64::NEG_INFINITY;
        if self.term.against() {
            let mut counts = vec![true; all.len()];
            for &item in items.iter().chain(self.labelled.of(asked.query)) {
                counts[item as usize] = false;
            }
            rest.extend((0..all.len()).filter(|&item| counts[item]));
            log_complement = log_sum_exp(rest.iter().map(|&item| all[item]));
        }
        let (mut to_ours, mut slope) = (vec![0.0; items.len()], 0.0);
        let said = Said { items: &items, scores: &listed, log_complement };
        let loss = self.term.loss(asked, said, &mut to_ours, &mut slope);
        for (&item, to_item) in items.iter().zip(to_ours) {
            slopes[item as usize] += self.lambda * to_item;
        }
        for item in rest {
            slopes[item] += self.lambda * (slope * portion(all[item], log_complement)) as f32;
        }
        own + self.lambda * loss
    }

    fn is_taught(&self, batch: &Batch<'_>, at: usize) -> bool {
        !self.term.once() || batch.is_first(at)
    }
}

fn asked_of(batch: &Batch<'_>, at: usize) -> Asked {
    let case = batch.rows[at] as usize;
    let query = batch.cases.query_of(case);
    Asked { query, case, epoch: batch.epoch, seed: batch.seed }
}

/// What both leave out; what only one does is added to the listed items, for the other one to count.
fn meet(labelled: &[ItemId], own: &[ItemId], listed: &mut Vec<ItemId>) -> Vec<ItemId> {
    let ours = |item: &ItemId| labelled.binary_search(item).is_ok();
    let both = own.iter().copied().filter(ours).collect();
    let own_alone = own.iter().filter(|item| !ours(item));
    let ours_alone = labelled.iter().filter(|item| !own.contains(item));
    for &item in own_alone.chain(ours_alone) {
        if !listed.contains(&item) {
            listed.push(item);
        }
    }
    both
}

#[cfg(test)]
mod tests;
