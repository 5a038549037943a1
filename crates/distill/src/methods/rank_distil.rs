//! Ranking Distillation (Tang & Wang, KDD 2018, arXiv 1809.07428): the teacher's K best unlabelled items of a query are extra
//! positives for the student, weighted by their position in the teacher's list and by how far below it the student ranks
//! them.
//!
//! With the student's own loss L^R and the teacher's list pi_1..K:
//!
//! ```text
//! L   = (1 - alpha) L^R + alpha L^D                 blend "paper"      (equation 4)
//! L   =             L^R + alpha L^D                 blend "authors_code"
//! L^D = - sum_r w_r ln sigmoid(score(pi_r))         loss "point_wise"  (equation 6)
//! L^D = - sum_r w_r ln sigmoid(score(pi_r) - score(j_r)), j_r a random unlabelled item   loss "pair_wise"
//! L^D = - sum_r w_r ln(e^score(pi_r) / (sum_(s >= r) e^score(pi_s) + sum_s e^score(j_s)))   loss "list_wise"
//! w^a_r = exp(-r / lambda), divided by its sum      weighting "position"
//! w^b_r = tanh(max(mu (rank_r - r), 0))             weighting "discrepancy"; rank_r: the student's rank of pi_r
//! w_r   = w^a_r w^b_r, divided by its sum           weighting "hybrid" (not divided with renormalise = false)
//! w_r   = 1 / K                                     weighting "uniform"
//! ```
//!
//! r counts from 1. No gradient flows through the weights. During the first `warm_up` epochs, when the student's ranks mean
//! nothing, `discrepancy` and `hybrid` weight by position. rank_r is estimated by Algorithm 1 from `epsilon` random unlabelled
//! items, or computed exactly.
//!
//! Where the paper and its authors' code (graytowne/rank_distill) differ, `preset` chooses. The numbers that the paper's text
//! does not give (K, lambda, mu, epsilon, warm-up) are those of the code in both.
//!
//! | | `paper` | `authors_code` |
//! | --- | --- | --- |
//! | blend, alpha | (1 - alpha) L^R + alpha L^D, 0.5 | L^R + alpha L^D, 1.0 (twice the paper's at 0.5) |
//! | hybrid weights | divided by their sum | not divided |
//! | samples for a rank | without replacement | with replacement |
//! | ranks are among | the unlabelled items | the whole catalogue |
//! | the teacher's list leaves out | all labelled items | the targets of the case |
//!
//! Differs from both: `pair_wise`, `list_wise`, `discrepancy = "exact"` and `shared_samples` are ours. The paper varies the form
//! of L^R only (the student's own loss: `bpr` is its pair-wise, `softmax` a list-wise form); our forms of L^D are for students
//! that learn only from differences of scores, such as BPR.
//!
//! A student that returns all scores ([`Slate::All`]) is ranked exactly instead of by samples. A list shorter than K keeps the
//! weights of its positions, so it teaches less. A query without a list is not taught, and its own loss keeps its share.

mod term;
mod weights;

use crate::parts::blend::Blend;
use crate::parts::labelled::Labelled;
use crate::parts::settings::{Presets, Settings, a_share, above_0, at_least_1, not_negative};
use crate::parts::teacher_lists::{one_teacher, unlabelled_lists};
use rankstill_core::{
    Answers, Candidates, Cases, Distiller, ListRequest, Lists, Objective, Requirements, Result,
    Trace,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use term::PositionsTerm;

#[cfg(doc)]
use rankstill_core::Slate;

/// The settings. In a configuration, `preset = "paper"` (the default) or `"authors_code"` fills in those that are not named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankDistil {
    /// Length of the teacher's list, K.
    pub k: usize,
    /// Weight of the distillation loss, see [`LossBlend`]. At 0 the student learns only from its own objective.
    pub alpha: f32,
    /// How the two losses are added.
    pub blend: LossBlend,
    /// The form of the distillation loss.
    pub loss: ListLoss,
    /// For the pair-wise and the list-wise form: random items drawn for each item of the list.
    pub rivals: usize,
    /// What is left out of the teacher's list.
    pub pass_over: PassOver,
    /// How the positions of the teacher's list are weighted.
    pub weighting: Weighting,
    /// For position weights: larger = flatter.
    pub lambda: f32,
    /// For discrepancy weights: larger = closer to 1 at small discrepancies.
    pub mu: f32,
    /// Whether hybrid weights are divided by their sum.
    pub renormalise: bool,
    /// Epochs before discrepancies count.
    pub warm_up: usize,
    /// How the student's ranks are computed.
    pub discrepancy: StudentRanks,
    /// For sampled ranks: number of random items that a rank is estimated from.
    pub epsilon: usize,
    /// For sampled ranks: whether the random items are drawn with replacement.
    pub replacement: bool,
    /// For sampled ranks: what the estimate is scaled to.
    pub population: RankPopulation,
    /// For sampled ranks: the rows of a batch share their random items, except for those that are labelled in a row. The
    /// estimate of each row keeps its distribution, but those of a batch are no longer independent. The student then scores
    /// few distinct items.
    pub shared_samples: bool,
    /// For exact ranks: epochs between two updates.
    pub refresh_every: usize,
}

/// How the student's own loss and the distillation loss are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossBlend {
    /// (1 - alpha) own + alpha distillation; alpha is between 0 and 1.
    Paper,
    /// own + alpha distillation.
    AuthorsCode,
}

/// The form of the distillation loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListLoss {
    /// Each item of the list should score high, as in the paper.
    PointWise,
    /// Each should score higher than its rivals, on average. Rivals are unlabelled items, drawn uniformly for it in every epoch;
    /// one may itself be in the list, which is as rare as K items in the catalogue.
    PairWise,
    /// The items should come in the teacher's order, above all rivals, drawn in the same way: the Plackett-Luce likelihood, each
    /// position weighted.
    ListWise,
}

/// What is left out of the teacher's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassOver {
    /// All labelled items: the query's history, its targets, and the user's other training items.
    Labelled,
    /// Only the targets of the case, so that the user's other training items may be taught.
    Targets,
}

/// How the positions of the teacher's list are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// All equal, 1 / K.
    Uniform,
    /// w^a.
    Position,
    /// w^b.
    Discrepancy,
    /// w^a w^b.
    Hybrid,
}

/// How the student's rank of a teacher's item is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudentRanks {
    /// Estimated by Algorithm 1, anew for each case in each epoch.
    Sampled,
    /// Counted over all unlabelled items, every `refresh_every` epochs. Costs a full ranking then, and nothing in between.
    Exact,
}

/// What a sampled rank is scaled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankPopulation {
    /// The number of unlabelled items, |O^|.
    Unlabelled,
    /// The number of items.
    Catalogue,
}

impl Default for RankDistil {
    fn default() -> Self {
        Self::paper()
    }
}

impl RankDistil {
    /// As in the paper.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            k: 10,
            alpha: 0.5,
            blend: LossBlend::Paper,
            loss: ListLoss::PointWise,
            rivals: 1,
            pass_over: PassOver::Labelled,
            weighting: Weighting::Hybrid,
            lambda: 1.0,
            mu: 0.1,
            renormalise: true,
            warm_up: 10,
            discrepancy: StudentRanks::Sampled,
            epsilon: 100,
            replacement: false,
            population: RankPopulation::Unlabelled,
            shared_samples: false,
            refresh_every: 5,
        }
    }

    /// As in the authors' code.
    #[must_use]
    pub fn authors_code() -> Self {
        Self {
            alpha: 1.0,
            blend: LossBlend::AuthorsCode,
            renormalise: false,
            pass_over: PassOver::Targets,
            replacement: true,
            population: RankPopulation::Catalogue,
            ..Self::paper()
        }
    }
}

impl Settings for RankDistil {
    const PRESETS: Presets<Self> = &[("paper", Self::paper), ("authors_code", Self::authors_code)];

    fn check(&self) -> Result<()> {
        match self.blend {
            LossBlend::Paper => a_share("alpha", self.alpha)?,
            LossBlend::AuthorsCode => not_negative("alpha", self.alpha)?,
        }
        above_0("lambda", self.lambda)?;
        not_negative("mu", self.mu)?;
        let counts = [("k", self.k), ("rivals", self.rivals), ("epsilon", self.epsilon)];
        at_least_1(&counts)?;
        at_least_1(&[("refresh_every", self.refresh_every)])
    }
}

impl Distiller for RankDistil {
    fn requires(&self) -> Requirements {
        let candidates = match self.pass_over {
            PassOver::Labelled => Candidates::Unlabelled,
            PassOver::Targets => Candidates::Everything,
        };
        Requirements { lists: ListRequest { k: self.k, candidates }, ..Requirements::lists(self.k) }
    }

    /// The weight is `alpha`; in the warm-up the list is taught with weights by position.
    fn teaches_from(&self) -> Option<usize> {
        (self.alpha > 0.0).then_some(0)
    }

    /// Learns from one teacher. If a trace has checkpoints, the last is used.
    ///
    /// # Errors
    /// When there is not exactly one trace, it answers other cases, lists an item that is not in the catalogue, or a setting is
    /// out of its range.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check()?;
        let trace = one_teacher("rank_distil", cases, traces)?;
        if self.alpha == 0.0 {
            return Ok(own); // as it is, so that fused kernels stay in use
        }
        let own_weight = match self.blend {
            LossBlend::Paper => 1.0 - self.alpha,
            LossBlend::AuthorsCode => 1.0,
        };
        let labelled = Arc::new(Labelled::new(cases)?);
        let lists = match self.pass_over {
            PassOver::Labelled => unlabelled_lists(trace.last(), &labelled, self.k),
            PassOver::Targets => lists_without_targets(trace.last(), cases, self.k),
        };
        let term = PositionsTerm::new(self.clone(), lists, Arc::clone(&labelled));
        Ok(Box::new(Blend::weighted(own_weight, own, term, labelled)))
    }
}

/// For each case, the first `k` items of its query's list that are not its targets.
fn lists_without_targets(answers: &Answers, cases: &Cases, k: usize) -> Lists<u32> {
    let mut lists = Lists::with_capacity(cases.len(), cases.len() * k);
    for (i, case) in cases.iter().enumerate() {
        let list = answers.items(cases.query_of(i)).iter().copied();
        lists.push(list.filter(|item| !case.targets.contains(item)).take(k));
    }
    lists
}

#[cfg(test)]
mod tests;
