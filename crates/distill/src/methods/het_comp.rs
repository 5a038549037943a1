//! HetComp (Kang, Kweon, Lee, Lian, Xie & Yu, WWW 2023, arXiv 2303.01130): an ensemble of unlike teachers is compressed into
//! a light student by targets that go from easy to hard. Easy targets are the teachers' own rankings early in their training.
//!
//! **Dynamic knowledge construction** (`curriculum.rs`). Each teacher x comes with states of its training. The target of user u
//! is the fusion ([`Fusion`]) of the lists of states v(u, x), which are all 0 at first. Every `period` epochs the student's
//! rankings are compared with teacher x's *next* state: the discrepancy d(u, x) is 1 - NDCG. Where d has fallen by the factor
//! `threshold` x `decay`^(epoch / period) since it was recorded, or has risen, the state advances and the targets are fused
//! again.
//!
//! **Adaptive knowledge transfer** (`transfer.rs`). With scores s, T the K target items, P the user's own items that
//! the teachers rank highest, and R the summed exp(s) of all items in neither T nor the user's log:
//!
//! ```text
//! overall, until every state is the last:    - sum over i in P and T of ln(e^s_i / (e^s_i + R))
//! fine, from then on, with PL(list, R) = - sum over positions k of ln(e^s_k / (sum over j >= k of e^s_j + R)):
//!     PL(P, R50) + 1/2 (PL(T[..K/2], R50) + PL(T[..K/10], R10)),   R50, R10: R and the targets after K/2, K/10
//! ```
//!
//! Sums are over the distinct users of a batch, times `overall_weight` or `fine_weight`. As in the released code, the
//! student's own loss is replaced: the log enters through P.
//!
//! The equations are those of the released code (SeongKu-Kang/HetComp_WWW23). `preset = "paper"` differs in one point: the
//! grade of an item in NDCG follows the *teacher's* rank of it, exp(-r / 10), not the student's.
//!
//! Defects of the released code, and what is done here (`released_defects = true` restores the first two):
//! - d is rounded to four digits, and where it was 0 and is 0 the state waits forever (0 / 0 is NaN): here it advances;
//! - the curriculum ends when the mean state, rounded to two digits, is the last one; here, when all states are;
//! - ties of fused scores are broken arbitrarily; here by the item's number;
//! - the lists of users with fewer than K / 10 own items are padded; here they are shorter;
//! - scores are clipped to -40..40, beyond which nothing is learnt; here they are not, since everything is in logarithms;
//! - P's order is read from a file that was not released; here it is the fusion of the last states' ranks of the user's items.
//!
//! Teachers without recorded states (files, counting models) have one, their last. With `curriculum = false` all start with it.

mod curriculum;
mod objective;
#[cfg(test)]
mod tests;
mod transfer;

use crate::fusion::{Fusion, RankedList};
use crate::parts::settings::{
    Presets, Settings, above_0, at_least_1, check_rest, not_negative, wrong,
};
use objective::HetCompObjective;
use rankstill_core::{
    Cases, Distiller, ItemId, Lists, Objective, Requirements, Rest, Result, Trace, UnderPath,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The settings. In a configuration, `preset` is `"authors_code"` (the default) or `"paper"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HetComp {
    /// Length of the target list, K. The fine-grained loss orders half of it, and a tenth of it twice.
    pub k: usize,
    /// Number of the user's own items that are taught, in order.
    pub observed: usize,
    /// How the lists of the states are fused.
    pub fusion: Fusion,
    /// Epochs between two comparisons with the student.
    pub period: usize,
    /// How much closer the student must have come to a state before it becomes the target, as a ratio.
    pub threshold: f64,
    /// Multiplies the threshold after every period.
    pub decay: f64,
    /// Cutoff of NDCG.
    pub cutoff: usize,
    /// Whose rank determines the grades of NDCG.
    pub grade: Grade,
    /// Whether the targets go from easy to hard; otherwise they are those of the last states from the start.
    pub curriculum: bool,
    /// Which losses.
    pub transfer: Transfer,
    /// Epochs of the overall loss where no curriculum ends it.
    pub overall_epochs: usize,
    /// Weight of the overall loss.
    pub overall_weight: f32,
    /// Weight of the fine-grained loss.
    pub fine_weight: f32,
    /// How R, the mass of all other items, is computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    /// Restores defects of the released code; see the module.
    pub released_defects: bool,
}

/// Whose rank determines the grades of NDCG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// The student's.
    Student,
    /// The teacher's.
    Teacher,
}

/// Which losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// The overall loss first, the fine-grained one once the curriculum is over.
    Adaptive,
    /// Only the overall loss.
    Overall,
    /// Only the fine-grained loss.
    Fine,
}

impl Default for HetComp {
    fn default() -> Self {
        Self {
            k: 100,
            observed: 10,
            fusion: Fusion::default(),
            period: 10,
            threshold: 1.05,
            decay: 0.995,
            cutoff: 50,
            grade: Grade::Student,
            curriculum: true,
            transfer: Transfer::Adaptive,
            overall_epochs: 40,
            overall_weight: 0.01,
            fine_weight: 0.005,
            rest: None,
            released_defects: false,
        }
    }
}

impl HetComp {
    /// As in the paper.
    fn paper() -> Self {
        Self { grade: Grade::Teacher, ..Self::default() }
    }
}

impl Settings for HetComp {
    const PRESETS: Presets<Self> = &[("authors_code", Self::default), ("paper", Self::paper)];

    fn check(&self) -> Result<()> {
        at_least_1(&[("k", self.k), ("period", self.period), ("cutoff", self.cutoff)])?;
        above_0("threshold", self.threshold)?;
        above_0("decay", self.decay)?;
        not_negative("overall_weight", self.overall_weight)?;
        not_negative("fine_weight", self.fine_weight)?;
        check_rest(self.rest, true)?;
        for (key, value) in
            [("user_weights", self.fusion.user_weights), ("select", self.fusion.select as f32)]
        {
            if value != 0.0 {
                let problem =
                    "only an ensemble has validation data to choose and weight its members by";
                return Err(wrong(key, problem).under("fusion"));
            }
        }
        self.fusion.check(self.fusion.weights.len()).under("fusion")
    }
}

impl Distiller for HetComp {
    fn requires(&self) -> Requirements {
        Requirements {
            trajectory: true,
            labelled_ranks: true,
            ..Requirements::lists(self.k.max(self.cutoff).max(self.fusion.cut))
        }
    }

    /// Learns from any number of teachers.
    ///
    /// # Errors
    /// When a setting is out of its range, or a trace answers other cases.
    fn teach(
        &self,
        _own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.fusion.check(traces.len()).under("distill.fusion")?;
        traces.iter().try_for_each(|trace| trace.answers(cases))?;
        let observed = self.observed(cases, traces);
        let objective = HetCompObjective::new(self.clone(), cases, traces, observed);
        Ok(Rest::around(self.rest, Box::new(objective), cases.n_items(), cases.n_queries()))
    }

    fn replaces_own_loss(&self) -> bool {
        true
    }
}

impl HetComp {
    /// P: for each query, the first of its labelled items by the fusion of the last states' ranks of them.
    fn observed(&self, cases: &Cases, traces: &[Trace]) -> Lists<ItemId> {
        let queries = cases.distinct_queries();
        let of = |query: usize| {
            let mut own: Vec<ItemId> = Vec::new();
            let labelled = queries[query].history.iter().chain(queries[query].hidden);
            // An item with several interactions counts once.
            let firsts: Vec<usize> = labelled
                .enumerate()
                .filter_map(|(at, item)| {
                    let new = !own.contains(item);
                    own.push(*item);
                    new.then_some(at)
                })
                .collect();
            let orders: Vec<Vec<ItemId>> = traces
                .iter()
                .map(|trace| {
                    let ranks = trace.labelled_ranks().map(|ranks| ranks.row(query));
                    // Items without a rank come last, in the order of the log.
                    let rank = |at: usize| ranks.map_or(0, |ranks| ranks[at]).wrapping_sub(1);
                    let mut order = firsts.clone();
                    order.sort_by_key(|&at| rank(at));
                    order.into_iter().map(|at| own[at]).collect()
                })
                .collect();
            let lists: Vec<RankedList<'_>> =
                orders.iter().map(|items| RankedList::of(items)).collect();
            // P is of the user's own items, among which popularity is no bias.
            let fused = self.fusion.fuse(&lists, None, None, self.observed);
            fused.into_iter().map(|(item, _)| item).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<ItemId>> = (0..queries.len()).into_par_iter().map(of).collect();
        rows.into_iter().collect()
    }
}
