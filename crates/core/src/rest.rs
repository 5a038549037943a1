//! List-wise losses that need not see the whole catalogue: the mass of a slate's complement, estimated from a part of it.
//!
//! A list-wise loss (softmax, Plackett-Luce, HetComp's) needs R, the summed exp of the scores of all items that it neither lists nor
//! leaves out. Exactly, that is a pass over the catalogue for every query of a batch, and every item takes a step. Estimated, it is
//!
//! ```text
//! ln R = logaddexp( lse(H), lse(U) + ln(n / |U|) )
//! ```
//!
//! - H: those of the student's own first `top` items that are in the complement, each counted exactly. They are looked up by an exact
//!   search, every `refresh_every` epochs.
//! - U: `sample` others of the complement, drawn uniformly without replacement from the n that are not in H, anew in each epoch. If
//!   these are all there are, the result is exact. Sixty-four rows of a batch share one draw, except for what is not eligible in one of
//!   them: each estimate is distributed as with draws of its own, and a step reads and updates far fewer items.
//!
//! Given H the estimate of R is unbiased (that of ln R is low by half the squared relative error, as with every sampled softmax), and H
//! carries most of the mass: a part of the catalogue can only stand for all of it if it holds what the student itself ranks high (the
//! closure argument of RCE-KD, ICLR 2026). The gradient flows through both, so only listed and drawn items take a step.
//!
//! It is an objective around another one: it asks for lists where that one asks for the complement, so no model and no loss knows of it.

use crate::item_sampler::{ItemSampler, SharedSample};
use crate::kernel::math::exp_slice;
use crate::student_lists::StudentLists;
use crate::{
    Batch, Cases, Error, Estimated, Grad, ItemId, Lists, Model, Objective, Result, Row, Scores,
    Slate, Tensors, VectorObjective,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How the mass of the items that a list-wise loss does not list is computed; left out, the size of the catalogue decides
/// ([`Rest::around`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Over the whole catalogue.
    Exact,
    /// From the student's best items and random ones.
    Estimated(Estimate),
}

/// Settings of an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Estimate {
    /// Number of the student's own best items that are counted exactly.
    pub top: usize,
    /// Number of random items that stand for all others.
    pub sample: usize,
    /// Epochs between two searches for the student's best items; 0 = as many as keep their cost about that of the steps, or below.
    pub refresh_every: usize,
}

impl Default for Estimate {
    fn default() -> Self {
        Self { top: 200, sample: 500, refresh_every: 0 }
    }
}

/// Catalogues from this size on are estimated unless the settings say otherwise: well above those for which an exact pass is known to be
/// quick (40,981 items), and not yet chosen by a measurement.
pub const MANY_ITEMS: usize = 200_000;

/// How many items an exact search is taken to score in the time of a step on one listed item: an assumption, not a measurement.
const SCORED_IN_A_STEP: f64 = 100.0;

impl Rest {
    /// Checks the settings. Errors name the setting without the table it stands in.
    ///
    /// # Errors
    /// When there is no sample.
    pub fn check(self) -> Result<()> {
        match self {
            Self::Estimated(Estimate { sample: 0, .. }) => Err(Error::Config {
                key: "rest.estimated.sample".into(),
                problem:
                    "must be at least 1: without a sample most of the catalogue would not count"
                        .into(),
            }),
            Self::Estimated(_) | Self::Exact => Ok(()),
        }
    }

    /// `objective` with the complements of its slates computed so. Without settings those of small catalogues are exact, and those of
    /// large ones are estimated.
    #[must_use]
    pub fn around(
        rest: Option<Self>,
        objective: Box<dyn Objective>,
        n_items: usize,
        n_queries: usize,
    ) -> Box<dyn Objective> {
        let large = || match n_items >= MANY_ITEMS {
            true => Self::Estimated(Estimate::default()),
            false => Self::Exact,
        };
        match rest.unwrap_or_else(large) {
            Self::Exact => objective,
            Self::Estimated(settings) => {
                let student = StudentLists::default();
                Box::new(WithEstimate { settings, objective, n_items, n_queries, student })
            }
        }
    }
}

/// An objective whose complements are estimated.
struct WithEstimate {
    settings: Estimate,
    objective: Box<dyn Objective>,
    n_items: usize,
    n_queries: usize,
    /// H, and what of the student's first items is not in the complement.
    student: StudentLists,
}

/// Keep the draws of U apart from all others: those that rows share, and those that complete one row.
const SHARED: u64 = 0x5245_5354;
const SAMPLE: u64 = 0x5245_5355;

/// Rows that share a draw, and rows whose items one task draws.
const SHARING: usize = 64;
const CHUNK: usize = SHARING;

impl Objective for WithEstimate {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let exact = self.objective.slate(batch);
        let Slate::WithComplement { listed, probes, .. } = &exact else { return exact };
        let chunks: Vec<(Lists<ItemId>, Vec<u32>, Vec<u32>)> = (0..batch.len().div_ceil(CHUNK))
            .into_par_iter()
            .map_init(
                || {
                    let shared = SharedSample::empty(self.n_items, false);
                    (ItemSampler::new(self.n_items), shared)
                },
                |(sampler, shared), chunk| {
                    let rows = chunk * CHUNK..((chunk + 1) * CHUNK).min(batch.len());
                    let n = listed.starts()[rows.end] - listed.starts()[rows.start];
                    let each = self.settings.top + self.settings.sample;
                    let mut lists = Lists::with_capacity(rows.len(), n + rows.len() * each);
                    let (mut row, mut top, mut drawn_from) = (Vec::new(), Vec::new(), Vec::new());
                    for at in rows {
                        if at.is_multiple_of(SHARING) {
                            let mut rng = batch.rng(at, SHARED);
                            shared.draw(self.settings.sample.min(self.n_items), &mut rng);
                        }
                        row.clear();
                        row.extend_from_slice(listed.row(at));
                        let left_out = exact.left_out(at);
                        let (n_top, n_others) = left_out.map_or((0, 0), |left_out| {
                            self.extend(batch, at, left_out, (&mut *sampler, &*shared), &mut row)
                        });
                        lists.push(row.iter().copied());
                        top.push(n_top);
                        drawn_from.push(n_others);
                    }
                    (lists, top, drawn_from)
                },
            )
            .collect();
        let n = chunks.iter().map(|(lists, ..)| lists.values().len()).sum();
        let (mut lists, mut top) = (Lists::with_capacity(batch.len(), n), Vec::new());
        let mut drawn_from = Vec::new();
        for (part, part_top, part_drawn_from) in chunks {
            lists.append(part);
            top.extend(part_top);
            drawn_from.extend(part_drawn_from);
        }
        let probes = probes.clone();
        let estimated = Some(Box::new(Estimated { exact, top, drawn_from }));
        Slate::Lists { listed: lists, probes, blended: None, estimated }
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let Some(Estimated { exact, top, drawn_from }) = row.slate.estimated() else {
            return self.objective.loss(row, scores, grad);
        };
        let own = Row { slate: exact, ..row };
        let (listed, rest) = scores.listed.split_at(own.items().len());
        let (to_listed, to_rest) = grad.listed.split_at_mut(listed.len());
        let mass = Mass::of(rest, top[row.at] as usize, drawn_from[row.at], to_rest);
        let mut slope = 0.0;
        let loss = self.objective.loss(
            own,
            Scores { listed, probes: scores.probes, log_complement: mass.log },
            Grad { listed: to_listed, log_complement: &mut slope },
        );
        mass.give_back(slope, to_rest);
        loss
    }

    fn once_per_query(&self) -> bool {
        self.objective.once_per_query()
    }

    fn vector_objective(&self) -> Option<&dyn VectorObjective> {
        self.objective.vector_objective()
    }

    fn note(&self) -> Option<String> {
        let Estimate { top, sample, .. } = self.settings;
        Some(format!(
            "the mass of the items that are not listed is estimated from the student's first {top} and from {sample} random ones of \
             {}; `rest = \"exact\"` computes it over all",
            self.n_items
        ))
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        self.objective.refresh(epoch, student, cases)?;
        let Estimate { top, sample, refresh_every } = self.settings;
        if top == 0 {
            return Ok(());
        }
        let every = match refresh_every {
            0 => {
                let search = cases.n_queries() as f64 * self.n_items as f64;
                let steps = cases.len() as f64 * (top + sample) as f64 * SCORED_IN_A_STEP;
                (search / steps).ceil() as usize
            }
            every => every,
        };
        self.student.refresh(top, every, epoch, student, cases)
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        state.insert_all("exact.", self.objective.state());
        state.insert_all("rest.", self.student.state());
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.objective.restore(&state.with_prefix("exact."))?;
        self.student.restore(&state.with_prefix("rest."), self.n_queries, self.n_items)
    }
}

impl WithEstimate {
    /// Appends H and U to a row that holds the listed items; returns |H| and n.
    fn extend(
        &self,
        batch: &Batch<'_>,
        at: usize,
        left_out: &[ItemId],
        (sampler, shared): (&mut ItemSampler, &SharedSample),
        row: &mut Vec<ItemId>,
    ) -> (u32, u32) {
        let n_listed = row.len();
        let top = self.student.of(batch.query_of(at));
        let mut kept = Vec::with_capacity(top.len());
        let n_excluded = sampler.outside(top, &[row.as_slice(), left_out], &mut kept);
        row.extend(kept);
        let n_top = row.len() - n_listed;
        let n_others = self.n_items - n_excluded - n_top;
        let begin = row.len();
        row.resize(begin + self.settings.sample.min(n_others), 0);
        let (before, out) = row.split_at_mut(begin);
        let mut rng = batch.rng(at, SAMPLE);
        sampler.fill_from_shared(shared, &[before, left_out], &mut rng, out);
        (n_top as u32, n_others as u32)
    }
}

/// The estimated mass of a complement.
struct Mass {
    /// Its logarithm; -inf without any item.
    log: f32,
    /// Divided by e^(the largest score).
    scaled: f64,
    n_top: usize,
    /// How many items each drawn one stands for.
    weight: f64,
}

impl Mass {
    /// From the scores of `n_top` items that stand for themselves and others that were drawn from `drawn_from`. Leaves e^(score - largest
    /// score) in `shares`.
    fn of(scores: &[f32], n_top: usize, drawn_from: u32, shares: &mut [f32]) -> Self {
        let most = scores.iter().fold(f32::NEG_INFINITY, |most, &score| most.max(score));
        let n_drawn = scores.len() - n_top;
        let weight = f64::from(drawn_from) / n_drawn.max(1) as f64;
        if scores.is_empty() {
            return Self { log: f32::NEG_INFINITY, scaled: 0.0, n_top, weight };
        }
        shares.iter_mut().zip(scores).for_each(|(share, score)| *share = score - most);
        exp_slice(shares);
        let sum = |shares: &[f32]| shares.iter().fold(0.0, |sum, &share| sum + f64::from(share));
        let scaled = sum(&shares[..n_top]) + weight * sum(&shares[n_top..]);
        Self { log: (f64::from(most) + scaled.ln()) as f32, scaled, n_top, weight }
    }

    /// Turns the shares into the slopes of the scores, from that of the mass's logarithm.
    fn give_back(&self, slope: f32, shares: &mut [f32]) {
        let slope = if slope == 0.0 { 0.0 } else { f64::from(slope) / self.scaled };
        let (top, drawn) = shares.split_at_mut(self.n_top);
        top.iter_mut().for_each(|share| *share *= slope as f32);
        drawn.iter_mut().for_each(|share| *share *= (slope * self.weight) as f32);
    }
}

#[cfg(test)]
mod tests;
