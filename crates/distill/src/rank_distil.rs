//! Ranking Distillation (Tang & Wang, KDD 2018, arXiv 1809.07428): the teacher's K best unlabelled items of a query are
//! extra positives of the student's loss, weighted by their place in the teacher's list and by how far below it the student
//! ranks them.
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
//! w^b_r = tanh(max(mu (rank_r - r), 0))             weighting "discrepancy"; rank_r: where the student has pi_r
//! w_r   = w^a_r w^b_r, divided by its sum           weighting "hybrid" (the sum is left out with renormalise = false)
//! w_r   = 1 / K                                     weighting "uniform"
//! ```
//!
//! r counts from 1. No gradient flows through the weights. During the first `warm_up` epochs, when the student's ranks mean
//! nothing, `discrepancy` and `hybrid` weigh by position. rank_r is estimated by Algorithm 1 from `epsilon` random unlabelled
//! items, or is exact.
//!
//! Where the paper and its authors' code (graytowne/rank_distill) differ, `preset` chooses; the numbers that the paper's text
//! does not name (K, lambda, mu, epsilon, warm-up) are the code's in both.
//!
//! | | `paper` | `authors_code` |
//! | --- | --- | --- |
//! | blend, alpha | (1 - alpha) L^R + alpha L^D, 0.5 | L^R + alpha L^D, 1.0 (twice the paper's at 0.5) |
//! | hybrid weights | divided by their sum | not divided |
//! | samples for a rank | without replacement | with replacement |
//! | ranks are among | the unlabelled items | the whole catalogue |
//! | the teacher's list passes over | all that is labelled | the current targets |
//!
//! Differs from both: `pair_wise`, `list_wise`, `discrepancy = "exact"` and `shared_samples` are ours. The paper states other
//! forms for L^R only (which is the student's own loss: `bpr` is its pair-wise, `softmax` a list-wise form); ours are for
//! students that learn nothing but differences of scores, such as BPR.
//!
//! A student that returns all scores ([`Slate::All`]) is ranked exactly instead of by sample. A list shorter than K keeps its
//! places' weights: it teaches less. A query without a list is taught nothing, and its own loss keeps its share.

mod objective;
mod samples;
mod weights;

use crate::labelled::Labelled;
use crate::settings::key;
use objective::Taught;
pub(crate) use objective::exact_ranks;
use rankstill_core::registry::{Config, lay_under};
use rankstill_core::{
    Answers, Candidates, Cases, Distiller, Error, ListRequest, Lists, Objective, Requirements,
    Result, Trace,
};
pub(crate) use samples::Scratch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(doc)]
use rankstill_core::Slate;

/// The settings. In a configuration, `preset = "paper"` (the default) or `"authors_code"` gives the values of those that are
/// not named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankDistil {
    /// Length of the teacher's list, K.
    pub k: usize,
    /// The distillation loss's share, see [`Blend`]. At 0 the student learns by its own objective alone.
    pub alpha: f32,
    /// How the two losses are added.
    pub blend: Blend,
    /// The form of the distillation loss.
    pub loss: Form,
    /// Of the pair-wise and the list-wise form: how many rivals are drawn an item of the list.
    pub rivals: usize,
    /// What is left out of the teacher's list.
    pub pass_over: PassOver,
    /// How the places of the teacher's list are weighed.
    pub weighting: Weighting,
    /// Of the position weights: larger = flatter.
    pub lambda: f32,
    /// Of the discrepancy weights: larger = sooner at 1.
    pub mu: f32,
    /// Whether hybrid weights are divided by their sum.
    pub renormalise: bool,
    /// Epochs before discrepancies count.
    pub warm_up: usize,
    /// How the student's ranks are found.
    pub discrepancy: Discrepancy,
    /// Of a sampled rank: how many random items it is estimated from.
    pub epsilon: usize,
    /// Of a sampled rank: whether those are drawn with replacement.
    pub replacement: bool,
    /// Of a sampled rank: what the estimate is scaled to.
    pub population: Population,
    /// Of a sampled rank: the rows of a batch share their random items, but for those that a row has labelled. The estimate of
    /// each row has the same distribution; those of one batch are no longer independent. The student then scores few
    /// different items.
    pub shared_samples: bool,
    /// Of an exact rank: epochs between two looks at the student.
    pub refresh_every: usize,
}

/// How the student's own loss and the distillation loss are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blend {
    /// (1 - alpha) own + alpha distillation; alpha lies in 0..=1.
    Paper,
    /// own + alpha distillation.
    AuthorsCode,
}

/// The form of the distillation loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The teacher's items shall score high: what the paper does.
    PointWise,
    /// Each shall score higher than its rivals, on average: unlabelled items, drawn uniformly for it in every epoch (one that is
    /// itself in the list is as rare as K in the catalogue, and allowed).
    PairWise,
    /// They shall come in the teacher's order, above all their rivals, drawn alike: Plackett and Luce's likelihood, each place
    /// weighed.
    ListWise,
}

/// What is left out of the teacher's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassOver {
    /// Everything that is labelled: the query's history, its targets, and the rest of the user's training items.
    Labelled,
    /// The case's own targets only, so that the user's other training items may be taught.
    Targets,
}

/// How the places of the teacher's list are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// All alike, 1 / K.
    Uniform,
    /// w^a.
    Position,
    /// w^b.
    Discrepancy,
    /// w^a w^b.
    Hybrid,
}

/// How the student's rank of a teacher's item is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discrepancy {
    /// Estimated by Algorithm 1, anew for each case in each epoch.
    Sampled,
    /// Counted over all unlabelled items, once in `refresh_every` epochs. Costs a ranking of everything then, and nothing in
    /// between.
    Exact,
}

/// What a sampled rank is scaled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Population {
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
            blend: Blend::Paper,
            loss: Form::PointWise,
            rivals: 1,
            pass_over: PassOver::Labelled,
            weighting: Weighting::Hybrid,
            lambda: 1.0,
            mu: 0.1,
            renormalise: true,
            warm_up: 10,
            discrepancy: Discrepancy::Sampled,
            epsilon: 100,
            replacement: false,
            population: Population::Unlabelled,
            shared_samples: false,
            refresh_every: 5,
        }
    }

    /// As in the authors' code.
    #[must_use]
    pub fn authors_code() -> Self {
        Self {
            alpha: 1.0,
            blend: Blend::AuthorsCode,
            renormalise: false,
            pass_over: PassOver::Targets,
            replacement: true,
            population: Population::Catalogue,
            ..Self::paper()
        }
    }

    /// From a configuration: `preset` first, the named settings over it.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        let mut named = config.value.clone();
        let preset = named.as_object_mut().and_then(|table| table.remove("preset"));
        let base = match preset.as_ref().map(Value::as_str) {
            None | Some(Some("paper")) => Self::paper(),
            Some(Some("authors_code")) => Self::authors_code(),
            Some(_) => {
                let found = preset.unwrap_or_default();
                let problem = format!("unknown preset {found}; one of: paper, authors_code");
                return Err(Error::Config { key: key(config.path, "preset"), problem });
            }
        };
        if let (Some(named), Value::Object(base)) = (named.as_object_mut(), base.config()) {
            lay_under(named, &base);
        }
        let read: Self = Config { path: config.path, value: &named }.read()?;
        read.check(config.path)?;
        Ok(read)
    }

    fn check(&self, path: &str) -> Result<()> {
        let most_alpha = if self.blend == Blend::Paper { 1.0 } else { f32::MAX };
        let wrong = [
            (self.k == 0, "k", "must be at least 1".to_owned()),
            (
                !(0.0..=most_alpha).contains(&self.alpha),
                "alpha",
                match self.blend {
                    Blend::Paper => format!("is {}, must be between 0 and 1", self.alpha),
                    Blend::AuthorsCode => format!("is {}, must be at least 0", self.alpha),
                },
            ),
            (
                !(self.lambda > 0.0 && self.lambda.is_finite()),
                "lambda",
                format!("is {}, must be above 0", self.lambda),
            ),
            (
                !(self.mu >= 0.0 && self.mu.is_finite()),
                "mu",
                format!("is {}, must be at least 0", self.mu),
            ),
            (self.rivals == 0, "rivals", "must be at least 1".to_owned()),
            (self.epsilon == 0, "epsilon", "must be at least 1".to_owned()),
            (self.refresh_every == 0, "refresh_every", "must be at least 1".to_owned()),
        ];
        match wrong.into_iter().find(|(wrong, ..)| *wrong) {
            None => Ok(()),
            Some((_, name, problem)) => Err(Error::Config { key: key(path, name), problem }),
        }
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

    /// Learns from one teacher; of a trace with checkpoints it takes the last.
    ///
    /// # Errors
    /// When there is not exactly one trace, it answers other cases, names an item that is not in the catalogue, or a setting
    /// is out of its range.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check("")?;
        let [trace] = traces else {
            let problem = format!(
                "rank_distil learns from one teacher, not {}; fuse several into one ranking first",
                traces.len()
            );
            return Err(Error::Config { key: "teachers".into(), problem });
        };
        trace.answers(cases)?;
        if self.alpha == 0.0 {
            return Ok(own); // the very objective: what is fused for it stays fused
        }
        let labelled = Labelled::new(cases)?;
        let said = trace.last();
        let lists = match self.pass_over {
            PassOver::Labelled => unlabelled_lists(said, &labelled, self.k),
            PassOver::Targets => lists_but_targets(said, cases, self.k),
        };
        Ok(Box::new(Taught::new(self.clone(), own, cases, lists, labelled)))
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The first `k` unlabelled items of each of the teacher's lists.
pub(crate) fn unlabelled_lists(said: &Answers, labelled: &Labelled, k: usize) -> Lists<u32> {
    let mut lists = Lists::with_capacity(said.len(), 0);
    for (query, list) in said.iter().enumerate() {
        lists.push(list.iter().copied().filter(|&item| !labelled.contains(query, item)).take(k));
    }
    lists
}

/// For each case, the first `k` items of its query's list that are not its targets.
fn lists_but_targets(said: &Answers, cases: &Cases, k: usize) -> Lists<u32> {
    let mut lists = Lists::with_capacity(cases.len(), cases.len() * k);
    for (i, case) in cases.iter().enumerate() {
        let list = said.items(cases.query_of(i)).iter().copied();
        lists.push(list.filter(|item| !case.targets.contains(item)).take(k));
    }
    lists
}

#[cfg(test)]
mod tests;
