//! The last layer of every factored learner: products of the batch's query vectors with an item table.
//!
//! A learner computes one vector per row of the batch (a row of a table, or a network's output for a history), then
//! 1. [`ItemHead::step`] scores the slate, evaluates the objective and computes the gradient of every row's vector;
//! 2. the learner propagates [`ItemHead::row_gradients`] further back, while
//! 3. [`ItemHead::apply`] takes the item table's optimiser step.
//!
//! An item occurs many times in a batch. Each distinct row of the table is copied once (a "slot"), scores are
//! products with these copies, and each row sums the gradients of its occurrences, in the batch's order, and
//! takes one step. No row has two owners, so any number of threads gives the same bits.

mod everything;
mod of_vectors;
mod sample;
mod wide;

pub(crate) use everything::rows_to_gradients;

use of_vectors::OfVectors;
use rankstill_core::kernel::complement::Complement;
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::optimizer::{AdamMode, Optimizer};
use rankstill_core::kernel::pairs::{pair_dots, weighted_sums};
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::{Table, Terms};
use rankstill_core::{Batch, Grad, ItemId, Lists, Objective, Row, Scores, Slate, UserId};
use rayon::prelude::*;
use sample::OfSample;

/// Scratch space of the steps on one item table.
pub(crate) struct ItemHead {
    slots: Slots,
    probe_slots: Slots,
    /// One row per slot, the table's stride apart.
    rows: Vec<f32>,
    /// For every listed item of the batch: the index of its row's vector, its score, and the score's gradient.
    vector_of: Vec<u32>,
    scores: Vec<f32>,
    grads: Vec<f32>,
    /// For every probe: the index of its row's vector, and its score.
    probe_vector_of: Vec<u32>,
    probe_scores: Vec<f32>,
    /// The gradient of every row's vector, the table's stride apart, and whether it is non-zero (1 or 0).
    to_rows: Vec<f32>,
    row_counts: Vec<f32>,
    row_numbers: Vec<u32>,
    /// The gradient of all items, and whether there is one: for slates over the whole catalogue.
    to_items: Vec<f32>,
    to_all: bool,
    /// For a batch processed as a whole: its vectors, and every item's score for each, which becomes the
    /// score's gradient.
    wide_vectors: Vec<f32>,
    wide_scores: Vec<f32>,
    /// Created when a slate first needs the complement's mass; the gradient of its logarithm, one per row.
    complement: Option<Complement>,
    to_rest: Vec<f32>,
    /// For slates with a sample.
    of_sample: OfSample,
    /// For objectives that also use vectors.
    of_vectors: OfVectors,
    stride: usize,
    /// 1 / rows of the batch: a step follows the mean over the batch.
    scale: f32,
}

/// The query vectors of a batch.
#[derive(Clone, Copy)]
pub(crate) struct QueryVectors<'a> {
    /// Row-major, the item table's stride apart; 0 beyond its dimension.
    pub vectors: &'a [f32],
    /// The index of the vector of each row of the batch.
    pub of_row: &'a [u32],
    /// Whether each row has a loss: from some there is nothing to learn.
    pub counts: &'a [bool],
}

impl ItemHead {
    /// For a table of `n_items` rows.
    pub fn new(n_items: usize) -> Self {
        Self {
            slots: Slots::new(n_items),
            probe_slots: Slots::new(n_items),
            rows: Vec::new(),
            vector_of: Vec::new(),
            scores: Vec::new(),
            grads: Vec::new(),
            probe_vector_of: Vec::new(),
            probe_scores: Vec::new(),
            to_rows: Vec::new(),
            row_counts: Vec::new(),
            row_numbers: Vec::new(),
            to_items: Vec::new(),
            to_all: false,
            wide_vectors: Vec::new(),
            wide_scores: Vec::new(),
            complement: None,
            to_rest: Vec::new(),
            of_sample: OfSample::default(),
            of_vectors: OfVectors::default(),
            stride: 0,
            scale: 0.0,
        }
    }

    /// Scores the slate, evaluates the objective, and computes the gradients of the rows' vectors. Returns the
    /// summed loss.
    pub fn step(
        &mut self,
        items: &mut Table,
        context: QueryVectors<'_>,
        batch: &Batch<'_>,
        slate: &Slate,
        objective: &dyn Objective,
    ) -> f64 {
        debug_assert_eq!(context.of_row.len(), batch.len());
        self.stride = items.stride();
        self.scale = 1.0 / batch.len() as f32;
        self.to_all = slate.reaches_all();
        self.to_rows.clear();
        self.to_rows.resize(batch.len() * self.stride, 0.0);
        let of_vectors = objective.vector_objective();
        self.of_vectors.look_at(of_vectors.map_or(Vec::new(), |of| of.items(batch, slate)));
        self.of_sample.clear();
        let mut loss = match slate {
            Slate::Lists { listed, probes, .. } => {
                self.score(items, context, listed, &[]);
                self.score_probes(items, context, probes);
                let loss = self.ask(batch, slate, &[], context.counts, objective);
                self.sum_listed(listed);
                loss
            }
            Slate::WithSample { .. } => {
                self.step_with_sample(items, context, batch, slate, objective)
            }
            Slate::WithComplement { .. } if items.dim() <= FUSED => {
                self.step_with_complement(items, context, batch, slate, objective)
            }
            Slate::WithComplement { .. } | Slate::All => {
                self.step_on_everything(items, context, batch, slate, objective)
            }
        };
        if let Some(of_vectors) = of_vectors {
            loss += self.ask_of_vectors(items, context, batch, of_vectors);
        }
        let counts = |row: &[f32]| f32::from(u8::from(row.iter().any(|&x| x != 0.0)));
        self.row_counts.clear();
        self.row_counts.extend(self.to_rows.chunks_exact(self.stride.max(1)).map(counts));
        self.row_numbers.clear();
        self.row_numbers.extend(0..batch.len() as u32);
        loss
    }

    /// The gradient of each row's loss with respect to its vector, the item table's stride apart. A step
    /// follows their mean: scale with [`ItemHead::scale`].
    pub fn row_gradients(&self) -> &[f32] {
        &self.to_rows
    }

    /// 1 / rows of the batch.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The rows' gradients, for the table that the vectors come from.
    pub fn row_terms(&self) -> Terms<'_> {
        Terms {
            coef: &self.row_counts,
            source: &self.row_numbers,
            vectors: &self.to_rows,
            stride: self.stride,
            scale: self.scale,
            decay: 0.0,
        }
    }

    /// The item table's step.
    pub fn apply(&self, items: &mut Table, context: QueryVectors<'_>) {
        if self.to_all {
            return items.apply_full(&self.to_items, self.scale);
        }
        self.with_terms(context, &[], self.scale, |terms| items.apply(&self.slots, terms));
    }

    /// Instead of [`ItemHead::apply`], for learners that compute the items' vectors from other parameters:
    /// appends the gradients of the items' vectors to `out`, the table's stride apart, not yet scaled with
    /// [`ItemHead::scale`]. They belong to the slots returned, or to all items if none are.
    pub fn item_gradients(&self, context: QueryVectors<'_>, out: &mut Vec<f32>) -> Option<&Slots> {
        if self.to_all {
            out.extend_from_slice(&self.to_items);
            return None;
        }
        let from = out.len();
        out.resize(from + self.slots.len() * self.stride, 0.0);
        self.with_terms(context, &[], 1.0, |terms| terms.sums(&self.slots, &mut out[from..]));
        Some(&self.slots)
    }

    /// The same for the items with a non-zero gradient only, in the caller's slots: losses with a margin give
    /// most of many negatives none.
    pub fn live_item_gradients<'a>(
        &'a self,
        context: QueryVectors<'_>,
        slots: &'a mut Slots,
        out: &mut Vec<f32>,
    ) -> Option<&'a Slots> {
        let others = !(self.of_vectors.items.is_empty() && self.of_sample.is_empty());
        if self.to_all || others {
            return self.item_gradients(context, out);
        }
        let (mut items, mut coef, mut source) = (Vec::new(), Vec::new(), Vec::new());
        let named = self.slots.slot_of().iter().zip(&self.vector_of);
        for (&slope, (&slot, &vector)) in self.grads.iter().zip(named).filter(|of| *of.0 != 0.0) {
            items.push(self.slots.rows()[slot as usize]);
            coef.push(slope);
            source.push(vector);
        }
        slots.assign(&items);
        let from = out.len();
        out.resize(from + slots.len() * self.stride, 0.0);
        let (vectors, stride) = (context.vectors, self.stride);
        let (coef, source) = (&coef[..], &source[..]);
        let terms = Terms { coef, source, vectors, stride, scale: 1.0, decay: 0.0 };
        terms.sums(slots, &mut out[from..]);
        Some(slots)
    }

    /// The item table's step for models whose queries use the same vectors: `ids` are the table's rows that the
    /// queries used, and `gradients` the gradients of these uses, the table's stride apart.
    pub fn apply_tied(
        &mut self,
        items: &mut Table,
        context: QueryVectors<'_>,
        slate: &Slate,
        ids: &[ItemId],
        gradients: &[f32],
    ) {
        let stride = self.stride;
        let Some(listed) = slate.listed().filter(|_| !self.to_all) else {
            for (&id, gradient) in ids.iter().zip(gradients.chunks_exact(stride)) {
                axpy(1.0, gradient, &mut self.to_items[id as usize * stride..][..stride]);
            }
            return items.apply_full(&self.to_items, self.scale);
        };
        let others = [slate.drawn(), &self.of_vectors.items, ids];
        self.slots.assign(&[&[listed.values()], &others[..]].concat().concat());
        self.with_terms(context, gradients, self.scale, |terms| items.apply(&self.slots, terms));
    }

    /// The scores of the listed items. `drawn`: others whose vectors a step needs.
    fn score(
        &mut self,
        items: &mut Table,
        context: QueryVectors<'_>,
        listed: &Lists<ItemId>,
        drawn: &[ItemId],
    ) {
        self.assign(listed.values(), drawn);
        self.rows.resize(self.slots.len() * self.stride, 0.0);
        items.fetch(&self.slots, &mut self.rows);
        spread(context.of_row, listed, &mut self.vector_of);
        self.scores.resize(listed.values().len(), 0.0);
        let rows = (self.rows.as_slice(), self.stride);
        let sources = &self.slots.slot_of()[..listed.values().len()];
        let vectors = context.vectors;
        pair_dots(vectors, &self.vector_of, rows, sources, self.stride, &mut self.scores);
    }

    /// The gradient of the rows' vectors from the listed items.
    fn sum_listed(&mut self, listed: &Lists<ItemId>) {
        let sources = &self.slots.slot_of()[..listed.values().len()];
        let (rows, starts) = ((self.rows.as_slice(), self.stride), listed.starts());
        weighted_sums(starts, &self.grads, sources, rows, self.stride, &mut self.to_rows);
    }

    /// Probes are read from the table in place: most occur once per batch, and nothing is written.
    fn score_probes(
        &mut self,
        items: &mut Table,
        context: QueryVectors<'_>,
        probes: &Lists<ItemId>,
    ) {
        let lazy = matches!(items.optimizer(), Optimizer::Adam(a) if a.mode == AdamMode::Exact);
        if lazy && !probes.is_empty() {
            // Many probes cover most rows: going through all rows in order is faster than finding which.
            if probes.values().len() < items.n_rows() {
                self.probe_slots.assign(probes.values());
                items.catch_up(&self.probe_slots);
            } else {
                items.settle();
            }
        }
        spread(context.of_row, probes, &mut self.probe_vector_of);
        self.probe_scores.resize(probes.values().len(), 0.0);
        let (vectors, vector_of) = (context.vectors, &self.probe_vector_of);
        let (table, scores) = (items.params(), &mut self.probe_scores);
        pair_dots(vectors, vector_of, table, probes.values(), self.stride, scores);
    }

    /// Evaluates the objective and every row's gradient, rows in parallel; returns the summed loss.
    /// `log_complement` is empty for a slate of lists.
    fn ask(
        &mut self,
        batch: &Batch<'_>,
        slate: &Slate,
        log_complement: &[f32],
        counts: &[bool],
        objective: &dyn Objective,
    ) -> f64 {
        let Some(listed) = slate.listed() else { return 0.0 };
        let probes = slate.probes();
        self.grads.clear();
        self.grads.resize(self.scores.len(), 0.0);
        self.to_rest.clear();
        self.to_rest.resize(batch.len(), 0.0);
        let (scores, probe_scores) = (&self.scores, &self.probe_scores);
        // Losses against everything take longer for each row.
        let chunk = if log_complement.is_empty() { CHUNK } else { CHUNK / 16 };
        let mut chunks = Vec::with_capacity(batch.len().div_ceil(chunk));
        let mut left = self.grads.as_mut_slice();
        for (first, to_rest) in (0..batch.len()).step_by(chunk).zip(self.to_rest.chunks_mut(chunk))
        {
            let rows = first..(first + chunk).min(batch.len());
            let (own, rest) = left.split_at_mut(listed.starts()[rows.end] - listed.starts()[first]);
            left = rest;
            chunks.push((rows, own, to_rest));
        }
        let losses: Vec<f64> = chunks
            .into_par_iter()
            .map(|(rows, mut grads, to_rest)| {
                rows.zip(to_rest).fold(0.0, |sum, (at, to_rest)| {
                    let (own, rest) = std::mem::take(&mut grads).split_at_mut(listed.row(at).len());
                    grads = rest;
                    if !counts[at] {
                        return sum;
                    }
                    let probes = probes.map_or(0..0, |probes| probes.range(at));
                    let scores = Scores {
                        listed: &scores[listed.range(at)],
                        probes: &probe_scores[probes],
                        log_complement: log_complement
                            .get(at)
                            .copied()
                            .unwrap_or(f32::NEG_INFINITY),
                    };
                    let row = Row { batch, slate, at };
                    let grad = Grad { listed: own, log_complement: to_rest };
                    sum + f64::from(objective.loss(row, scores, grad))
                })
            })
            .collect();
        losses.iter().fold(0.0, |sum, loss| sum + loss)
    }
}

/// The user of each row of a batch, and whether the user is known. Unknown users become user 0 and do not
/// count: they have no vector to learn.
pub(crate) fn known_users(batch: &Batch<'_>, n_users: usize) -> (Vec<UserId>, Vec<bool>) {
    (0..batch.len())
        .map(|at| {
            let user = batch.user(at).filter(|&user| (user as usize) < n_users);
            (user.unwrap_or(0), user.is_some())
        })
        .unzip()
}

/// Up to this dimension a fused kernel compares the listed items with the complement; longer vectors go through
/// plain products.
const FUSED: usize = 128;

/// Rows per task.
const CHUNK: usize = 256;

/// The index of the vector of each value of the lists.
fn spread(of_row: &[u32], lists: &Lists<ItemId>, out: &mut Vec<u32>) {
    out.clear();
    for (list, &vector) in lists.iter().zip(of_row) {
        out.extend(std::iter::repeat_n(vector, list.len()));
    }
}
