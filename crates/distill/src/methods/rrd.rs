//! Relaxed Ranking Distillation (Kang, Hwang, Kweon & Yu, "DE-RRD", CIKM 2020, arXiv 2012.04357): the teacher's
//! interesting items in their order, above uninteresting ones in no order.
//!
//! ```text
//! L   = L_own + lambda sum over the batch's distinct queries of L_RRD
//! L_RRD = - sum_k ln( e^s_k / ( sum_(j >= k) e^s_j + sum over uninteresting l of e^s_l ) )      (equation 8)
//! ```
//!
//! - `sampled`, as published: `k` interesting items of the teacher's first `window`, drawn without replacement with probability
//!   proportional to exp(-position / temperature), in the teacher's order; `l` uninteresting ones, uniform over the items that
//!   are neither labelled nor in the window. Drawn anew for each query in each epoch. Values of the authors' code (BPR,
//!   CiteULike).
//! - `direct`, recommended later by the authors (README of HetComp's code): the first `k` items themselves as interesting ones,
//!   and all other unlabelled items as uninteresting ones.
//!
//! Differs from the code: positions are drawn with Gumbel noise (the same distribution), sums cannot overflow (scores are not
//! clipped), and a step follows the mean of own + lambda L_RRD over the batch where the code sums; the proportion of the two is
//! the same. A query without a list is not taught, one with a short list is taught less.

use crate::parts::blend::{Context, ItemScores, Term, blend};
use crate::parts::labelled::Labelled;
use crate::parts::losses::{plackett_luce, plackett_luce_above};
use crate::parts::settings::{Settings, above_0, at_least_1, check_rest, not_negative, wrong};
use crate::parts::teacher_lists::unlabelled_lists;
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use crate::parts::weighted_sampling::weighted_positions;
use rankstill_core::{
    Cases, Distiller, ItemId, Lists, Objective, Requirements, Rest, Result, Trace,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const INTERESTING: u64 = 0x5252_4449;
const UNINTERESTING: u64 = 0x5252_4455;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rrd {
    /// How the lists are made.
    pub mode: RrdMode,
    /// Length of the interesting list, K.
    pub k: usize,
    /// For `sampled`: number of uninteresting items, L.
    pub l: usize,
    /// For `sampled`: length of the teacher's list from which the interesting items are drawn.
    pub window: usize,
    /// For `sampled`: larger = deeper into the window.
    pub temperature: f32,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
    /// For `direct`: how the mass of all other items is computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
}

/// How the interesting items are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RrdMode {
    /// Drawn from the teacher's list, as published.
    Sampled,
    /// The first items of the list, above all other items.
    Direct,
}

impl Default for Rrd {
    fn default() -> Self {
        Self {
            mode: RrdMode::Sampled,
            k: 40,
            l: 40,
            window: 500,
            temperature: 10.0,
            lambda: 1e-3,
            rest: None,
        }
    }
}

impl Settings for Rrd {
    fn check(&self) -> Result<()> {
        at_least_1(&[("k", self.k), ("l", self.l)])?;
        if self.mode == RrdMode::Sampled && self.window < self.k {
            let problem = format!("is {}, must be at least k, {}", self.window, self.k);
            return Err(wrong("window", problem));
        }
        above_0("temperature", self.temperature)?;
        not_negative("lambda", self.lambda)?;
        check_rest(self.rest, self.mode == RrdMode::Direct)
    }
}

impl Rrd {
    /// Length of the teacher's list that is needed.
    pub(crate) fn depth(&self) -> usize {
        match self.mode {
            RrdMode::Sampled => self.window,
            RrdMode::Direct => self.k,
        }
    }

    /// `objective`, which teaches with these settings, with the complement computed as `rest` says.
    pub(crate) fn with_rest(
        &self,
        objective: Box<dyn Objective>,
        cases: &Cases,
    ) -> Box<dyn Objective> {
        if self.mode == RrdMode::Sampled || self.lambda == 0.0 {
            return objective;
        }
        Rest::around(self.rest, objective, cases.n_items(), cases.n_queries())
    }
}

impl Distiller for Rrd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.depth())
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
        let objective = blend("rrd", self.lambda, own, cases, traces, |trace, labelled| {
            Ok(RrdTerm::new(self.clone(), trace, Arc::clone(labelled)))
        });
        Ok(self.with_rest(objective?, cases))
    }
}

/// L_RRD.
pub(crate) struct RrdTerm {
    config: Rrd,
    /// The teacher's unlabelled items for each distinct query.
    pub lists: Lists<ItemId>,
    labelled: Arc<Labelled>,
    /// ln of each position's weight.
    weights: Vec<f32>,
}

impl RrdTerm {
    pub fn new(config: Rrd, trace: &Trace, labelled: Arc<Labelled>) -> Self {
        let lists = unlabelled_lists(trace.last(), &labelled, config.depth());
        let weights = (0..config.depth()).map(|at| -(at as f32) / config.temperature).collect();
        Self { config, lists, labelled, weights }
    }

    /// The numbers of interesting and of uninteresting items of a query.
    fn lens(&self, query: usize) -> (usize, usize) {
        let list = self.lists.row(query).len();
        if list == 0 || self.config.mode == RrdMode::Direct {
            return (list, 0);
        }
        let left = self.labelled.n_unlabelled(query) as usize - list;
        (self.config.k.min(list), self.config.l.min(left))
    }

    /// The number of items listed for a query.
    pub fn n_items(&self, query: usize) -> usize {
        let (interesting, uninteresting) = self.lens(query);
        interesting + uninteresting
    }
}

impl Term for RrdTerm {
    fn uses_complement(&self) -> bool {
        self.config.mode == RrdMode::Direct
    }

    fn list_items(&self, context: Context, sampler: &mut UnlabelledSampler, out: &mut Vec<ItemId>) {
        let list = self.lists.row(context.query);
        if self.config.mode == RrdMode::Direct {
            return out.extend_from_slice(list);
        }
        let mut rng = context.rng(INTERESTING);
        let positions =
            weighted_positions(&self.weights[..list.len()], self.config.k, Some(&mut rng));
        out.extend(positions.into_iter().map(|at| list[at as usize]));
        let begin = out.len();
        out.resize(begin + self.lens(context.query).1, 0);
        let mut rng = context.rng(UNINTERESTING);
        sampler.fill(&self.labelled, context.query, list, false, &mut rng, &mut out[begin..]);
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        to_complement: &mut f64,
    ) -> f32 {
        if self.config.mode == RrdMode::Direct {
            let ItemScores { scores, log_complement, .. } = scores;
            return plackett_luce(scores, log_complement, |_| 1.0, slopes, to_complement) as f32;
        }
        let n = self.lens(context.query).0;
        let (list, others) = scores.scores.split_at(n);
        let (to_list, to_others) = slopes.split_at_mut(n);
        plackett_luce_above(list, others, |_| 1.0, to_list, to_others) as f32
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{K, cases, conforms, context, item_scores, items_of, small, trace};
    use serde_json::json;

    fn term(mode: RrdMode) -> RrdTerm {
        let config = Rrd { mode, k: 3, l: 4, window: K, temperature: 2.0, ..Rrd::default() };
        let cases = cases();
        let labelled = Arc::new(Labelled::new(&cases).unwrap());
        RrdTerm::new(config, &trace(&cases), labelled)
    }

    #[test]
    fn lists_are_drawn_in_the_teachers_order_and_anew_in_each_epoch() {
        let (cases, term) = (cases(), term(RrdMode::Sampled));
        let mut deep = 0;
        for query in 0..cases.n_queries() {
            let list = term.lists.row(query);
            let draws: Vec<Vec<ItemId>> =
                (0..20).map(|epoch| items_of(&term, query, epoch)).collect();
            assert!(
                list.is_empty() || draws.windows(2).any(|pair| pair[0] != pair[1]) || query == 5
            );
            for items in draws {
                if list.is_empty() {
                    assert!(items.is_empty(), "a query without a list is not taught");
                    continue;
                }
                let (interesting, others) = items.split_at(3.min(list.len()));
                let positions: Vec<usize> = interesting
                    .iter()
                    .map(|item| list.iter().position(|other| other == item).unwrap())
                    .collect();
                assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
                deep += usize::from(positions.last() == Some(&(list.len() - 1)));
                let uninteresting =
                    |item: &ItemId| !list.contains(item) && !term.labelled.contains(query, *item);
                assert!(others.iter().all(uninteresting));
                assert_eq!(others.len(), term.lens(query).1);
            }
        }
        assert!(deep > 20, "{deep}");
    }

    #[test]
    fn the_direct_mode_conforms() {
        conforms(&*small("rrd", json!({"mode": "direct"})));
    }

    #[test]
    fn direct_teaches_the_first_k_above_all_other_items() {
        let term = term(RrdMode::Direct);
        assert!(term.uses_complement());
        assert_eq!(items_of(&term, 0, 0), term.lists.row(0)[..3]);
        let (mut slopes, mut to_complement) = ([0.0; 2], 0.0);
        let scores = item_scores(&[0, 1], &[0.0, 0.0]);
        let loss = term.loss(context(0, 0), scores, &mut slopes, &mut to_complement);
        assert!((loss - 6f32.ln()).abs() < 1e-6, "-ln(1/3) - ln(1/2)");
        assert!((to_complement - (1.0 / 3.0 + 0.5)).abs() < 1e-6);
    }
}
