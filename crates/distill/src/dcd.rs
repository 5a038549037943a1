//! Dual Correction Distillation (Lee & Kim, CIKM 2021, arXiv 2109.03459): beside the order of the teacher's items, those that the
//! student ranks too low shall stand above those that it ranks too high.
//!
//! ```text
//! L     = L_own + lambda ( L_RRD + correction L_UCD )
//! L_UCD = - sum_k ln( e^s_k / ( sum_(j >= k) e^s_j + sum over o of e^s_o ) )
//! ```
//!
//! for k over `corrected` under-estimated items in the teacher's order and o over as many over-estimated ones, out of the
//! teacher's first `window`. With p the place that the teacher gives an item and q the student's (both from 1, among what is not
//! labelled), they are drawn without replacement with probability proportional to tanh(max((q - p) / divisor, 0)) and
//! tanh(max((p - q) / divisor, 0)), or `floor` where that is less. In mode `direct`, the advice of the authors of HetComp, the
//! items of the largest weights are taken, the earlier of two alike. The first term is [`Rrd`]'s, with the same settings.
//!
//! *The item's side*: for each item that the batch lists (at most `items` of them, by chance), users out of the teacher's first
//! `user_window` whom the student ranks too low for it, above those that it ranks too high: at most `corrected` of either, drawn
//! with the same weights, `floor` apart. The loss's weight is lambda `item_correction`.
//!
//! Source: the abstract and the public re-implementation (woriazzc/KDs), whose values are the defaults (there `corrected` is 100;
//! the student's ranks are looked at before each epoch).
//!
//! Differs: an item drawn as under-estimated is not drawn as over-estimated too. On the item's side users are those of the batch,
//! and their ranks are among these, the student's as they are at each step; the teacher's order of an item's users is its lists
//! turned round (see `item_side.rs`); and who is ranked right is not drawn.

use crate::beside_own::{Asked, Said, Term, beside_own, one_teacher};
use crate::beside_vectors::BesideVectors;
use crate::item_side::{By, Form, ItemSide};
use crate::labelled::Labelled;
use crate::listwise::{above, log_sum_exp, portion};
use crate::places::weighted_places;
use crate::rank_distil::{PassOver, Scratch, exact_ranks};
use crate::rrd::{Interesting, Mode, Rrd};
use crate::settings::{self, above_0, at_least_1, not_negative};
use rankstill_core::kernel::math::{ln_slice, tanh_slice};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Distiller, Error, ItemId, Lists, Model, Objective, Requirements, Result, Tensors, Trace,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const UNDER: u64 = 0x4443_4455;
const OVER: u64 = 0x4443_444f;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dcd {
    /// How lists are made, of both terms.
    pub mode: Mode,
    /// Of [`Rrd`]: length of the interesting list.
    pub k: usize,
    /// Of [`Rrd`]: how many uninteresting items.
    pub l: usize,
    /// The teacher's items among which all is drawn.
    pub window: usize,
    /// Of [`Rrd`]: larger = deeper into the window.
    pub temperature: f32,
    /// The distillation's weight. At 0 the student learns by its own objective alone.
    pub lambda: f32,
    /// How many items of either kind are corrected, at most.
    pub corrected: usize,
    /// Larger = larger differences of ranks count.
    pub divisor: f32,
    /// The least weight of an item.
    pub floor: f32,
    /// The correction's weight beside RRD's 1.
    pub correction: f32,
    /// Epochs between two looks at the student.
    pub refresh_every: usize,
    /// The weight of the item's side beside RRD's 1. 0 leaves it out, as the re-implementation does; otherwise the student must be
    /// factored.
    pub item_correction: f32,
    /// The users of an item that have a rank.
    pub user_window: usize,
    /// By what the teacher orders an item's users.
    pub by: By,
    /// At most so many items of a batch; 0 = all.
    pub items: usize,
}

impl Default for Dcd {
    fn default() -> Self {
        let Rrd { mode, k, l, window, temperature, lambda } = Rrd::default();
        Self {
            mode,
            k,
            l,
            window,
            temperature,
            lambda,
            corrected: 100,
            divisor: 10.0,
            floor: 1e-5,
            correction: 1.0,
            refresh_every: 1,
            item_correction: 0.0,
            user_window: 500,
            by: By::Places,
            items: 1000,
        }
    }
}

impl Dcd {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    fn check(&self, path: &str) -> Result<()> {
        self.rrd().check(path)?;
        at_least_1(path, &[("corrected", self.corrected), ("refresh_every", self.refresh_every)])?;
        above_0(path, "divisor", self.divisor)?;
        above_0(path, "floor", self.floor)?;
        not_negative(path, "correction", self.correction)?;
        at_least_1(path, &[("user_window", self.user_window)])?;
        not_negative(path, "item_correction", self.item_correction)
    }

    fn rrd(&self) -> Rrd {
        let Self { mode, k, l, window, temperature, lambda, .. } = *self;
        Rrd { mode, k, l, window, temperature, lambda }
    }
}

impl Distiller for Dcd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.window.max(self.k))
    }

    /// Learns from one teacher; of a trace with checkpoints it takes the last.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil).
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check("")?;
        let own = self.beside_items(own, cases, traces)?;
        beside_own("dcd", self.lambda, own, cases, traces, |trace, labelled| {
            Ok(Corrected::new(self.clone(), trace, Arc::clone(labelled)))
        })
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// RRD's lists, then the under-estimated and the over-estimated items.
impl Dcd {
    /// The own objective with the item's side beside it.
    fn beside_items(
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
        let draws = self.mode == Mode::Sampled;
        let form = Form::Corrected { n: self.corrected, divisor: self.divisor, draws };
        let labelled = Labelled::new(cases)?;
        let users = (self.by, self.user_window, self.items);
        let term = ItemSide::new(form, trace, &labelled, cases.n_items(), users);
        Ok(Box::new(BesideVectors::new(own, term, lambda)))
    }
}

struct Corrected {
    config: Dcd,
    rrd: Interesting,
    /// The whole window of each distinct query.
    window: Lists<ItemId>,
    /// The student's, parallel to the window; empty before the first look.
    ranks: Vec<u32>,
}

impl Corrected {
    fn new(config: Dcd, trace: &Trace, labelled: Arc<Labelled>) -> Self {
        let whole = Rrd { mode: Mode::Sampled, ..config.rrd() };
        let window = Interesting::new(whole, trace, Arc::clone(&labelled)).lists;
        let rrd = Interesting::new(config.rrd(), trace, labelled);
        Self { config, rrd, window, ranks: Vec::new() }
    }

    /// How many under-estimated, and how many over-estimated items.
    fn lens(&self, query: usize) -> (usize, usize) {
        if self.ranks.is_empty() {
            return (0, 0);
        }
        let window = self.window.row(query).len();
        let under = self.config.corrected.min(window);
        (under, self.config.corrected.min(window - under))
    }

    /// Ln of the weights of the window's items: `sign` 1 for the under-estimated ones, -1 for the others.
    fn log_weights(&self, query: usize, sign: f32) -> Vec<f32> {
        let ranks = &self.ranks[self.window.range(query)];
        let mut weights: Vec<f32> = ranks
            .iter()
            .zip(1i64..)
            .map(|(&rank, place)| sign * (i64::from(rank) - place) as f32 / self.config.divisor)
            .map(|lower_by| lower_by.max(0.0))
            .collect();
        tanh_slice(&mut weights);
        weights.iter_mut().for_each(|weight| *weight = weight.max(self.config.floor));
        ln_slice(&mut weights);
        weights
    }

    fn places(&self, asked: Asked, weights: &[f32], k: usize, purpose: u64) -> Vec<u32> {
        let mut rng = asked.rng(purpose);
        let chance = self.config.mode == Mode::Sampled;
        weighted_places(weights, k, chance.then_some(&mut rng))
    }
}

impl Term for Corrected {
    fn against(&self) -> bool {
        self.rrd.against()
    }

    fn len(&self, asked: Asked) -> usize {
        let (under, over) = self.lens(asked.query);
        self.rrd.len(asked) + under + over
    }

    fn items(&self, asked: Asked, scratch: &mut Scratch, out: &mut Vec<ItemId>) {
        self.rrd.items(asked, scratch, out);
        let (under, over) = self.lens(asked.query);
        if under == 0 {
            return;
        }
        let window = self.window.row(asked.query);
        let places = self.places(asked, &self.log_weights(asked.query, 1.0), under, UNDER);
        out.extend(places.iter().map(|&at| window[at as usize]));
        let mut weights = self.log_weights(asked.query, -1.0);
        places.iter().for_each(|&at| weights[at as usize] = f32::NEG_INFINITY);
        let places = self.places(asked, &weights, over, OVER);
        out.extend(places.iter().map(|&at| window[at as usize]));
    }

    fn loss(&self, asked: Asked, said: Said<'_>, slopes: &mut [f32], to_rest: &mut f64) -> f32 {
        let n = self.rrd.len(asked);
        let (ours, corrected) = said.scores.split_at(n);
        let (to_ours, to_corrected) = slopes.split_at_mut(n);
        // In mode `direct`, RRD's rest is everything that it does not list. What is corrected stands in the slate besides, so
        // its mass goes back there.
        let mut back: Vec<usize> = (0..corrected.len()).collect();
        back.retain(|&at| self.against() && !said.items[..n].contains(&said.items[n + at]));
        let masses = back.iter().map(|&at| corrected[at]).chain([said.log_complement as f32]);
        let log_complement =
            if back.is_empty() { said.log_complement } else { log_sum_exp(masses) };
        let first = Said { items: &said.items[..n], scores: ours, log_complement };
        let mut slope = 0.0;
        let loss = self.rrd.loss(asked, first, to_ours, &mut slope);
        if slope != 0.0 {
            for at in back {
                to_corrected[at] += (slope * portion(corrected[at], log_complement)) as f32;
            }
            *to_rest += slope * portion(said.log_complement as f32, log_complement);
        }
        let (under, _) = self.lens(asked.query);
        let (low, high) = corrected.split_at(under);
        let (to_low, to_high) = to_corrected.split_at_mut(under);
        let weight = f64::from(self.config.correction);
        loss + above(low, high, |_| weight, to_low, to_high) as f32
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        if self.ranks.is_empty() || epoch.is_multiple_of(self.config.refresh_every) {
            self.ranks = exact_ranks(student, cases, &self.window, PassOver::Labelled)?;
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        if !self.ranks.is_empty() {
            state.insert("ranks", &[self.ranks.len()], self.ranks.clone());
        }
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.ranks = match state.get("ranks") {
            None => Vec::new(),
            Some(_) => state.u32s("ranks")?.to_vec(),
        };
        let (found, expected) = (self.ranks.len(), self.window.values().len());
        if found != 0 && found != expected {
            let problem = format!("holds {found} ranks, the teacher's lists {expected} items");
            return Err(Error::Tensor { name: "ranks".into(), problem });
        }
        Ok(())
    }
}
