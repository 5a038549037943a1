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
//! - U: those among `sample` random items of the catalogue that are in the complement and not in H: a uniform sample of the n such
//!   items. If the sample is the catalogue, the result is exact.
//!
//! **Sixty-four rows of a batch share the random items.** The products of rows and shared items are dense, which costs less than scattered
//! ones. So a thousand can be drawn in the time of two hundred of each row's own: less noise in each row, at the price that the rows err
//! together. If the whole batch shared one draw, an item would have a step with a large gradient now and then, which Adam takes as noise
//! and slows down. A draw is keyed by its first row.
//!
//! Given H the estimate of R is unbiased (that of ln R is low by half the squared relative error, as with every sampled softmax, and a
//! row for which none of the random items is left counts H alone), and H carries most of the mass: a part of the catalogue can only
//! stand for all of it if it holds what the student itself ranks high (the closure argument of RCE-KD, ICLR 2026). The gradient flows
//! through both, so only listed and drawn items take a step.
//!
//! It is an objective around another one: it asks for a sample where that one asks for the complement, so no loss knows of it.

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
        Self { top: 300, sample: 2000, refresh_every: 0 }
    }
}

/// Catalogues from this size on are estimated unless the settings say otherwise: larger than those on which the methods were published
/// (40,981 items), whose results stay what they are. On 22,392 items an epoch takes half the time of an exact one
/// (16 dimensions).
pub const MANY_ITEMS: usize = 50_000;

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

/// Keeps the draws apart from all others.
const SAMPLE: u64 = 0x5245_5354;

/// Rows that share a draw.
const SHARING: usize = 64;

impl Objective for WithEstimate {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let exact = self.objective.slate(batch);
        let Slate::WithComplement { listed, probes, .. } = &exact else { return exact };
        let n = self.settings.sample.min(self.n_items);
        let parts: Vec<Part> = (0..batch.len().div_ceil(SHARING))
            .into_par_iter()
            .map_init(
                || (ItemSampler::new(self.n_items), SharedSample::empty(self.n_items, false)),
                |(sampler, sample), group| {
                    let rows = group * SHARING..((group + 1) * SHARING).min(batch.len());
                    sample.draw(n, &mut batch.rng(rows.start, SAMPLE));
                    let mut drawn = sample.items().to_vec();
                    drawn.sort_unstable();
                    let draw = Draw { drawn: &drawn, sample };
                    let mut part = Part::default();
                    for at in rows {
                        let (own, left_out) = (listed.row(at), exact.left_out(at));
                        match left_out {
                            Some(left_out) => {
                                let best = self.student.of(batch.query_of(at));
                                part.add(own, left_out, best, draw, sampler);
                            }
                            None => part.add_without_complement(own, draw),
                        }
                    }
                    part.drawn.push(drawn);
                    part
                },
            )
            .collect();
        let mut whole = Part::default();
        parts.into_iter().for_each(|part| whole.append(part));
        let probes = probes.clone();
        let Part { listed, top, barred, stands_for, drawn } = whole;
        let estimated = Box::new(Estimated { exact, top, barred, stands_for });
        Slate::WithSample { listed, probes, drawn, sharing: SHARING, estimated }
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let Some(Estimated { exact, top, stands_for, .. }) = row.slate.estimated() else {
            return self.objective.loss(row, scores, grad);
        };
        let own = Row { slate: exact, ..row };
        let (listed, rest) = scores.listed.split_at(own.items().len());
        let (to_listed, to_rest) = grad.listed.split_at_mut(listed.len());
        let n_top = top[row.at] as usize;
        let (top, drawn) = rest.split_at(n_top);
        let (to_top, to_drawn) = to_rest.split_at_mut(n_top);
        // Listed in this row, where a learner has spelled the sample out.
        let lse_drawn = match drawn.is_empty() {
            true => scores.log_complement,
            false => shares_of(drawn, to_drawn),
        };
        let mass = Mass::of(top, lse_drawn + stands_for[row.at], to_top);
        let mut slope = 0.0;
        let loss = self.objective.loss(
            own,
            Scores { listed, probes: scores.probes, log_complement: mass.log },
            Grad { listed: to_listed, log_complement: &mut slope },
        );
        let slope = mass.give_back(slope, to_top);
        match drawn.is_empty() {
            true => *grad.log_complement = slope,
            false => to_drawn.iter_mut().for_each(|share| *share *= slope),
        }
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
                let of_case = top as f64 * SCORED_IN_A_STEP + sample as f64;
                let steps = cases.len() as f64 * of_case;
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

/// The random items of a group of rows.
#[derive(Clone, Copy)]
struct Draw<'a> {
    /// Ascending.
    drawn: &'a [ItemId],
    /// The same as a set.
    sample: &'a SharedSample,
}

/// Some rows of a slate, with their draws.
#[derive(Default)]
struct Part {
    listed: Lists<ItemId>,
    top: Vec<u32>,
    barred: Lists<u32>,
    stands_for: Vec<f32>,
    drawn: Lists<ItemId>,
}

impl Part {
    /// A row with the items that its loss lists, those it leaves out, and the student's best.
    fn add(
        &mut self,
        own: &[ItemId],
        left_out: &[ItemId],
        best: &[ItemId],
        Draw { drawn, sample }: Draw<'_>,
        sampler: &mut ItemSampler,
    ) {
        let mut top = Vec::with_capacity(best.len());
        let n_excluded = sampler.outside(best, &[own, left_out], &mut top);
        let n_others = sampler.n_items() - n_excluded - top.len();
        let taken = [own, left_out, &top].into_iter().flatten().filter(|&&id| sample.contains(id));
        let mut barred: Vec<u32> =
            taken.filter_map(|id| drawn.binary_search(id).ok()).map(|at| at as u32).collect();
        barred.sort_unstable();
        barred.dedup();
        let n_free = drawn.len() - barred.len();
        self.stands_for.push((n_others as f64 / n_free.max(1) as f64).ln() as f32);
        self.barred.push(barred);
        self.top.push(top.len() as u32);
        self.listed.push(own.iter().copied().chain(top));
    }

    fn add_without_complement(&mut self, own: &[ItemId], Draw { drawn, .. }: Draw<'_>) {
        self.stands_for.push(0.0);
        self.barred.push(0..drawn.len() as u32);
        self.top.push(0);
        self.listed.push(own.iter().copied());
    }

    fn append(&mut self, other: Self) {
        self.listed.append(other.listed);
        self.top.extend(other.top);
        self.barred.append(other.barred);
        self.stands_for.extend(other.stands_for);
        self.drawn.append(other.drawn);
    }
}

/// The estimated mass of a complement.
struct Mass {
    /// Its logarithm; -inf without any item.
    log: f32,
    /// Both divided by e^(the largest logarithm): the mass, and the part that drawn items stand for.
    scaled: f64,
    drawn: f64,
}

impl Mass {
    /// From the scores of items that stand for themselves and the logarithm of the mass of others. Leaves e^(score - largest logarithm)
    /// in `shares`.
    fn of(top: &[f32], drawn: f32, shares: &mut [f32]) -> Self {
        let most = top.iter().fold(drawn, |most, &score| most.max(score));
        if most == f32::NEG_INFINITY {
            return Self { log: most, scaled: 0.0, drawn: 0.0 };
        }
        shares.iter_mut().zip(top).for_each(|(share, score)| *share = score - most);
        exp_slice(shares);
        let drawn = f64::from(drawn - most).exp();
        let scaled = shares.iter().fold(drawn, |sum, &share| sum + f64::from(share));
        Self { log: (f64::from(most) + scaled.ln()) as f32, scaled, drawn }
    }

    /// Turns the shares into the slopes of the scores, from that of the mass's logarithm; returns that of the logarithm of the others'.
    fn give_back(&self, slope: f32, shares: &mut [f32]) -> f32 {
        let slope = if slope == 0.0 { 0.0 } else { f64::from(slope) / self.scaled };
        shares.iter_mut().for_each(|share| *share *= slope as f32);
        (slope * self.drawn) as f32
    }
}

/// The log-sum-exp of some scores; leaves the share of each.
fn shares_of(scores: &[f32], shares: &mut [f32]) -> f32 {
    let mass = Mass::of(scores, f32::NEG_INFINITY, shares);
    mass.give_back(1.0, shares);
    mass.log
}

#[cfg(test)]
mod tests;
