//! HetComp (Kang, Kweon, Lee, Lian, Xie & Yu, WWW 2023, arXiv 2303.01130): an ensemble of unlike teachers is compressed into
//! a light student by targets that go from easy to hard. What is easy is what the teachers themselves said early in their
//! training.
//!
//! **Dynamic knowledge construction** (`curriculum.rs`). Each teacher x comes with the states of its training. For user u the
//! target is the fusion ([`Fusion`]) of the lists of states v(u, x), at first all 0. Every `period` epochs the student is
//! asked; d(u, x), how far its ranking is from teacher x's *next* state, is 1 - NDCG. Where d has fallen by the factor
//! `threshold` x `decay`^(epoch / period) since it was noted, or has risen, the state moves on, and the targets are fused anew.
//!
//! **Adaptive knowledge transfer** (`transfer.rs`). With scores s, T the K target items, P the best of the user's own items by
//! the teachers' word, and R the summed exp(s) of all items in neither T nor the user's log:
//!
//! ```text
//! overall, until every state is the last:    - sum over i in P and T of ln(e^s_i / (e^s_i + R))
//! fine, from then on, with PL(list, R) = - sum over places k of ln(e^s_k / (sum over j >= k of e^s_j + R)):
//!     PL(P, R50) + 1/2 (PL(T[..K/2], R50) + PL(T[..K/10], R10)),   R50, R10: R and the targets behind K/2, K/10
//! ```
//!
//! Sums are over the distinct users of a batch, times `overall_weight` or `fine_weight`. As in the released code the student's
//! own loss takes no part: what it has learnt from the log enters through P.
//!
//! The equations are those of the released code (SeongKu-Kang/HetComp_WWW23). `preset = "paper"` differs in one point: the
//! grade of an item in NDCG follows the *teacher's* rank of it, exp(-r / 10), not the place at which the student has it.
//!
//! Defects of the released code, and what is done here (`released_defects = true` has them back where they are ours to have):
//! - d is rounded to four digits, and where it was 0 and is 0 the state waits for ever (0 / 0 is no number): here it moves on;
//! - the curriculum is over when the mean state, rounded to two digits, is the last one; here, when every one is;
//! - equal fused scores are ordered by luck; here by the item's number;
//! - users with less than K / 10 own items have their list padded; here it is as long as it is;
//! - scores are cut to -40..40, beyond which nothing is learnt; here they are not: everything is in logarithms;
//! - P's order is read from a file that was not released; here it is the fusion of the last states' ranks of the user's items.
//!
//! Teachers without states (files, counted models) have one, their last. With `curriculum = false` all begin with it.

mod curriculum;
mod objective;
#[cfg(test)]
mod tests;
mod transfer;

use crate::fusion::{Fusion, Said};
use crate::settings::{at_least_1, not_negative, wrong};
use objective::Taught;
use rankstill_core::registry::{Config, lay_under};
use rankstill_core::{
    Cases, Distiller, Error, ItemId, Lists, Objective, Requirements, Result, Trace,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The settings. In a configuration, `preset` is `"authors_code"` (the default) or `"paper"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HetComp {
    /// Length of the target list, K. Half of it is ordered in the end, and a tenth of it twice.
    pub k: usize,
    /// How many of the user's own items are taught, ordered.
    pub observed: usize,
    /// How the states' lists become one.
    pub fusion: Fusion,
    /// Epochs between two looks at the student.
    pub period: usize,
    /// How much closer the student must have come to a state for it to be its target, as a ratio.
    pub threshold: f64,
    /// Multiplies the threshold, every period.
    pub decay: f64,
    /// NDCG is cut here.
    pub cutoff: usize,
    /// Whose rank the grades of NDCG follow.
    pub grade: Grade,
    /// Whether the targets go from easy to hard; otherwise they are the last states' from the start.
    pub curriculum: bool,
    /// Which losses.
    pub transfer: Transfer,
    /// Epochs of the overall loss, where there is no curriculum to end it.
    pub overall_epochs: usize,
    /// Of the sum over users.
    pub overall_weight: f32,
    /// Of the sum over users.
    pub fine_weight: f32,
    /// See the module.
    pub released_defects: bool,
}

/// Whose rank the grades of NDCG follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Where the student has the item.
    Student,
    /// Where the teacher has it.
    Teacher,
}

/// Which losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// The overall loss first, the fine-grained one in the end.
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
            released_defects: false,
        }
    }
}

impl HetComp {
    /// # Errors
    /// With the key that is wrong and what would be right.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        let mut value = config.value.clone();
        if let Some(named) = value.as_object_mut() {
            let preset = named.remove("preset").unwrap_or_else(|| "authors_code".into());
            let preset = match preset.as_str() {
                Some("authors_code") => json!({}),
                Some("paper") => json!({"grade": "teacher"}),
                _ => {
                    let key = format!("{}.preset", config.path);
                    let problem = format!("unknown preset {preset}; one of: authors_code, paper");
                    return Err(Error::Config { key, problem });
                }
            };
            preset.as_object().into_iter().for_each(|preset| lay_under(named, preset));
        }
        let read: Self = Config { path: config.path, value: &value }.read_over_default()?;
        read.check(config.path)?;
        Ok(read)
    }

    fn check(&self, path: &str) -> Result<()> {
        at_least_1(path, &[("k", self.k), ("period", self.period), ("cutoff", self.cutoff)])?;
        for (key, value) in [("threshold", self.threshold), ("decay", self.decay)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(wrong(path, key, format!("must be above 0, is {value}")));
            }
        }
        not_negative(path, "overall_weight", self.overall_weight)?;
        not_negative(path, "fine_weight", self.fine_weight)?;
        if self.fusion.user_weights != 0.0 {
            let problem = "only an ensemble has validation data to weigh its members by";
            return Err(wrong(&format!("{path}.fusion"), "user_weights", problem.into()));
        }
        if self.fusion.weights.is_empty() {
            self.fusion.check(&format!("{path}.fusion"), 0)
        } else {
            self.fusion.check(&format!("{path}.fusion"), self.fusion.weights.len())
        }
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

    fn teach(
        &self,
        _own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.fusion.check("distill.fusion", traces.len())?;
        traces.iter().try_for_each(|trace| trace.answers(cases))?;
        let observed = self.observed(cases, traces);
        Ok(Box::new(Taught::new(self.clone(), cases, traces, observed)?))
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl HetComp {
    /// P: of each query, the first of its labelled items in the order that the teachers' last states have them in together.
    fn observed(&self, cases: &Cases, traces: &[Trace]) -> Lists<ItemId> {
        let queries = cases.distinct_queries();
        let of = |query: usize| {
            let mut own: Vec<ItemId> = Vec::new();
            let labelled = queries[query].history.iter().chain(queries[query].hidden);
            // An item that was acted on several times counts once.
            let firsts: Vec<usize> = labelled
                .enumerate()
                .filter_map(|(at, item)| {
                    let new = !own.contains(item);
                    own.push(*item);
                    new.then_some(at)
                })
                .collect();
            let lists: Vec<Vec<ItemId>> = traces
                .iter()
                .map(|trace| {
                    let ranks = trace.labelled_ranks().map(|ranks| ranks.row(query));
                    // Without a rank it comes last, in the order of the log.
                    let rank = |at: usize| ranks.map_or(0, |ranks| ranks[at]).wrapping_sub(1);
                    let mut order = firsts.clone();
                    order.sort_by_key(|&at| rank(at));
                    order.into_iter().map(|at| own[at]).collect()
                })
                .collect();
            let said: Vec<Said<'_>> =
                lists.iter().map(|items| Said { items, scores: &[], deviations: &[] }).collect();
            let fused = self.fusion.fuse(&said, None, self.observed);
            fused.into_iter().map(|(item, _)| item).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<ItemId>> = (0..queries.len()).into_par_iter().map(of).collect();
        rows.into_iter().collect()
    }
}
