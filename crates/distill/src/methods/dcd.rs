//! Dual Correction Distillation (Lee & Kim, CIKM 2021, arXiv 2109.03459): the order of the teacher's items, and in addition items
//! that the student ranks too low above items that it ranks too high.
//!
//! ```text
//! L     = L_own + lambda ( L_RRD + correction L_UCD )
//! L_UCD = - sum_k ln( e^s_k / ( sum_(j >= k) e^s_j + sum over o of e^s_o ) )
//! ```
//!
//! for k over `corrected` underestimated items in the teacher's order and o over as many overestimated ones, all of the teacher's
//! first `window`. With p the teacher's rank of an item and q the student's (both 1-based, among the unlabelled items), they are
//! drawn without replacement with probability proportional to tanh(max((q - p) / divisor, 0)) and tanh(max((p - q) / divisor, 0)),
//! or `floor` where that is less. In mode `direct`, recommended by the authors of HetComp, the items with the largest weights are
//! taken; ties go to the higher rank. The first term is that of [`Rrd`], with the same settings.
//!
//! *Item side*: for each item that the batch lists (at most `items` of them, chosen at random), those of the teacher's first
//! `user_window` users for whom the student ranks the item too low, above those for whom it ranks it too high: at most
//! `corrected` of each, drawn with the same weights, without `floor`. The weight of this loss is lambda `item_correction`.
//!
//! Source: the abstract and the public re-implementation (woriazzc/KDs), whose values are the defaults (there `corrected` is 100;
//! the student's ranks are updated before each epoch).
//!
//! Differs: an item drawn as underestimated is not drawn as overestimated too. On the item side, users are those of the batch and
//! are ranked among themselves, with the student's scores at each step; the teacher's order of an item's users is derived from
//! its lists (see `item_side.rs`); and users that are ranked correctly are not drawn.

use super::rrd::{Rrd, RrdMode, RrdTerm};
use crate::parts::blend::{Context, ItemScores, Term, blend};
use crate::parts::item_side::{ItemSide, UserOrder, UserSelection};
use crate::parts::labelled::Labelled;
use crate::parts::losses::{log_sum_exp, plackett_luce_above, softmax_share};
use crate::parts::settings::{Settings, above_0, at_least_1, not_negative};
use crate::parts::teacher_lists::{
    one_teacher, per_item_state, restore_per_item, unlabelled_ranks,
};
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use crate::parts::vector_blend::VectorBlend;
use crate::parts::weighted_sampling::weighted_positions;
use rankstill_core::kernel::math::{ln_slice, tanh_slice};
use rankstill_core::{
    Cases, Distiller, ItemId, Lists, Model, Objective, Requirements, Rest, Result, Tensors, Trace,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const UNDER: u64 = 0x4443_4455;
const OVER: u64 = 0x4443_444f;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dcd {
    /// How the items of both terms are chosen.
    pub mode: RrdMode,
    /// Length of [`Rrd`]'s interesting list.
    pub k: usize,
    /// Number of [`Rrd`]'s uninteresting items.
    pub l: usize,
    /// Length of the teacher's list from which all items are drawn.
    pub window: usize,
    /// For [`Rrd`]: larger = deeper into the window.
    pub temperature: f32,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
    /// In mode `direct`: how [`Rrd`] computes the mass of all other items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    /// Maximum number of underestimated, and of overestimated items.
    pub corrected: usize,
    /// Divisor of differences of ranks.
    pub divisor: f32,
    /// Minimum weight of an item in the draw.
    pub floor: f32,
    /// Weight of the correction, where RRD's is 1.
    pub correction: f32,
    /// Epochs between two updates of the student's ranks.
    pub refresh_every: usize,
    /// Weight of the item side, where RRD's is 1. 0 omits it, as the re-implementation does; otherwise the student must be a
    /// factored model.
    pub item_correction: f32,
    /// Number of an item's users that are ordered.
    pub user_window: usize,
    /// How an item's users are ordered.
    pub by: UserOrder,
    /// Maximum number of items of a batch; 0 = all.
    pub items: usize,
}

impl Default for Dcd {
    fn default() -> Self {
        let Rrd { mode, k, l, window, temperature, lambda, rest } = Rrd::default();
        Self {
            mode,
            k,
            l,
            window,
            temperature,
            lambda,
            rest,
            corrected: 100,
            divisor: 10.0,
            floor: 1e-5,
            correction: 1.0,
            refresh_every: 1,
            item_correction: 0.0,
            user_window: 500,
            by: UserOrder::Places,
            items: 1000,
        }
    }
}

impl Settings for Dcd {
    fn check(&self) -> Result<()> {
        self.rrd().check()?;
        at_least_1(&[("corrected", self.corrected), ("refresh_every", self.refresh_every)])?;
        above_0("divisor", self.divisor)?;
        above_0("floor", self.floor)?;
        not_negative("correction", self.correction)?;
        at_least_1(&[("user_window", self.user_window)])?;
        not_negative("item_correction", self.item_correction)
    }
}

impl Dcd {
    fn rrd(&self) -> Rrd {
        let Self { mode, k, l, window, temperature, lambda, rest, .. } = *self;
        Rrd { mode, k, l, window, temperature, lambda, rest }
    }
}

impl Distiller for Dcd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.window.max(self.k))
    }

    /// Learns from one teacher. If a trace has checkpoints, the last is used.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil).
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check()?;
        let own = self.with_item_side(own, cases, traces)?;
        let objective = blend("dcd", self.lambda, own, cases, traces, |trace, labelled| {
            Ok(DcdTerm::new(self.clone(), trace, Arc::clone(labelled)))
        });
        Ok(self.rrd().with_rest(objective?, cases))
    }
}

impl Dcd {
    /// The own objective with the loss of the item side.
    fn with_item_side(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        let lambda = self.lambda * self.item_correction;
        let trace = one_teacher("dcd", cases, traces)?;
        if lambda == 0.0 {
            return Ok(own);
        }
        let draws = self.mode == RrdMode::Sampled;
        let selection =
            UserSelection::Corrected { n: self.corrected, divisor: self.divisor, draws };
        let labelled = Labelled::new(cases)?;
        let users = (self.by, self.user_window, self.items);
        let term = ItemSide::new(selection, trace, &labelled, cases.n_items(), users);
        Ok(Box::new(VectorBlend::new(own, term, lambda)))
    }
}

/// L_RRD + correction L_UCD. Lists RRD's items, then the underestimated and the overestimated ones.
struct DcdTerm {
    config: Dcd,
    rrd: RrdTerm,
    /// The whole window of each distinct query.
    window: Lists<ItemId>,
    /// The student's ranks, parallel to the window; empty before the first update.
    ranks: Vec<u32>,
}

impl DcdTerm {
    fn new(config: Dcd, trace: &Trace, labelled: Arc<Labelled>) -> Self {
        let whole = Rrd { mode: RrdMode::Sampled, ..config.rrd() };
        let window = RrdTerm::new(whole, trace, Arc::clone(&labelled)).lists;
        let rrd = RrdTerm::new(config.rrd(), trace, labelled);
        Self { config, rrd, window, ranks: Vec::new() }
    }

    /// The numbers of underestimated and of overestimated items.
    fn lens(&self, query: usize) -> (usize, usize) {
        if self.ranks.is_empty() {
            return (0, 0);
        }
        let window = self.window.row(query).len();
        let under = self.config.corrected.min(window);
        (under, self.config.corrected.min(window - under))
    }

    /// ln of the weights of the window's items as underestimated (`sign` = 1) or overestimated ones (-1).
    fn log_weights(&self, query: usize, sign: f32) -> Vec<f32> {
        let ranks = &self.ranks[self.window.range(query)];
        let mut weights: Vec<f32> = ranks
            .iter()
            .zip(1i64..)
            .map(|(&rank, teacher)| sign * (i64::from(rank) - teacher) as f32 / self.config.divisor)
            .map(|lower_by| lower_by.max(0.0))
            .collect();
        tanh_slice(&mut weights);
        weights.iter_mut().for_each(|weight| *weight = weight.max(self.config.floor));
        ln_slice(&mut weights);
        weights
    }

    fn positions(&self, context: Context, weights: &[f32], k: usize, purpose: u64) -> Vec<u32> {
        let mut rng = context.rng(purpose);
        let draws = self.config.mode == RrdMode::Sampled;
        weighted_positions(weights, k, draws.then_some(&mut rng))
    }
}

impl Term for DcdTerm {
    fn uses_complement(&self) -> bool {
        self.rrd.uses_complement()
    }

    fn list_items(&self, context: Context, sampler: &mut UnlabelledSampler, out: &mut Vec<ItemId>) {
        self.rrd.list_items(context, sampler, out);
        let (under, over) = self.lens(context.query);
        if under == 0 {
            return;
        }
        let window = self.window.row(context.query);
        let log_weights = self.log_weights(context.query, 1.0);
        let positions = self.positions(context, &log_weights, under, UNDER);
        out.extend(positions.iter().map(|&at| window[at as usize]));
        let mut weights = self.log_weights(context.query, -1.0);
        positions.iter().for_each(|&at| weights[at as usize] = f32::NEG_INFINITY);
        let positions = self.positions(context, &weights, over, OVER);
        out.extend(positions.iter().map(|&at| window[at as usize]));
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        to_complement: &mut f64,
    ) -> f32 {
        let n = self.rrd.n_items(context.query);
        let (items, log_complement) = (scores.items, scores.log_complement);
        let (rrd, corrected) = scores.scores.split_at(n);
        let (to_rrd, to_corrected) = slopes.split_at_mut(n);
        // In mode `direct`, RRD's complement includes the corrected items that it does not list itself.
        let mut also: Vec<usize> = (0..corrected.len()).collect();
        also.retain(|&at| self.uses_complement() && !items[..n].contains(&items[n + at]));
        let masses = also.iter().map(|&at| corrected[at]).chain([log_complement as f32]);
        let log_mass = if also.is_empty() { log_complement } else { log_sum_exp(masses) };
        let rrd =
            ItemScores { items: &items[..n], scores: rrd, log_complement: log_mass, ..scores };
        let mut slope = 0.0;
        let loss = self.rrd.loss(context, rrd, to_rrd, &mut slope);
        if slope != 0.0 {
            for at in also {
                to_corrected[at] += (slope * softmax_share(corrected[at], log_mass)) as f32;
            }
            *to_complement += slope * softmax_share(log_complement as f32, log_mass);
        }
        let (under, _) = self.lens(context.query);
        let (low, high) = corrected.split_at(under);
        let (to_low, to_high) = to_corrected.split_at_mut(under);
        let weight = f64::from(self.config.correction);
        loss + plackett_luce_above(low, high, |_| weight, to_low, to_high) as f32
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        if self.ranks.is_empty() || epoch.is_multiple_of(self.config.refresh_every) {
            self.ranks = unlabelled_ranks(student, cases, &self.window)?;
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        per_item_state("ranks", &self.ranks)
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.ranks = restore_per_item("ranks", state, &self.window)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{conforms, small};
    use serde_json::json;

    #[test]
    fn the_direct_mode_and_the_item_side_conform() {
        conforms(&*small("dcd", json!({"mode": "direct"})));
        let items = json!({"item_correction": 2.0, "divisor": 2.0, "items": 0});
        conforms(&*small("dcd", items));
    }
}
