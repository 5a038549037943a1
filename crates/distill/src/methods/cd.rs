//! Collaborative Distillation (Lee et al., ICDM 2019, arXiv 1911.05276): the teacher's scores of unlabelled items as soft labels, on
//! a few items that are sampled by rank.
//!
//! ```text
//! L   = L_own + lambda mean over the sampled items of - q ln sigmoid(s) - (1 - q) ln(1 - sigmoid(s))
//! q   = sigmoid((z + shift) / temperature)                 z: the teacher's score, s: the student's
//! p_i proportional to 1 - pi_i      sampling "linear";     pi: the rank of item i, from 0 to 1
//! p_i proportional to exp(-gamma pi_i)      "exponential"
//! ```
//!
//! Ranks are the teacher's (`guide = "teacher"`, the paper's CD-TG), the student's (`"student"`, CD-SG, its best; updated every
//! `refresh_every` epochs) or are ignored (`"none"`, CD-Base). Each case has `samples` items, drawn without replacement and anew
//! in each epoch.
//!
//! Differs: candidates are the teacher's first `window` unlabelled items, whose scores are known, not all items. pi is therefore
//! the teacher's, or the student's, rank within the window. The paper samples a share of the unlabelled items; here, as in the
//! public re-implementation (woriazzc/KDs: 2 of a window of 3,000, temperature 2, lambda 0.5), it is a fixed number. The loss is
//! a mean, so that lambda need not change with that number.

use crate::parts::blend::{Context, ItemScores, Term, blend};
use crate::parts::losses::soft_label;
use crate::parts::settings::{Settings, above_0, at_least_1, not_negative};
use crate::parts::teacher_lists::{
    per_item_state, restore_per_item, scored_lists, unlabelled_ranks,
};
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use crate::parts::weighted_sampling::weighted_positions;
use rankstill_core::kernel::math::{ln_slice, sigmoid};
use rankstill_core::{
    Cases, Distiller, Error, ItemId, Lists, Model, Objective, Requirements, Result, Tensors, Trace,
};
use serde::{Deserialize, Serialize};

/// Keeps these draws apart from all others.
const SAMPLES: u64 = 0x4344_5341;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cd {
    /// Whose ranks items are sampled by.
    pub guide: Guide,
    /// How ranks become probabilities.
    pub sampling: RankSampling,
    /// For `exponential`: larger = closer to the top.
    pub gamma: f32,
    /// Length of the teacher's list from which items are sampled.
    pub window: usize,
    /// Items sampled for a case in an epoch.
    pub samples: usize,
    /// Divisor of the teacher's scores (T1): larger = softer labels.
    pub temperature: f32,
    /// Added to them before (T2).
    pub shift: f32,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
    /// For `student`: epochs between two updates of its ranks.
    pub refresh_every: usize,
}

/// Whose ranks items are sampled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guide {
    /// None: sampled uniformly.
    None,
    /// The teacher's.
    Teacher,
    /// The student's.
    Student,
}

/// How ranks become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankSampling {
    /// 1 - pi.
    Linear,
    /// exp(-gamma pi).
    Exponential,
}

impl Default for Cd {
    fn default() -> Self {
        Self {
            guide: Guide::Student,
            sampling: RankSampling::Linear,
            gamma: 10.0,
            window: 3000,
            samples: 2,
            temperature: 2.0,
            shift: 0.0,
            lambda: 0.5,
            refresh_every: 5,
        }
    }
}

impl Settings for Cd {
    fn check(&self) -> Result<()> {
        let counts = [
            ("window", self.window),
            ("samples", self.samples),
            ("refresh_every", self.refresh_every),
        ];
        at_least_1(&counts)?;
        above_0("temperature", self.temperature)?;
        not_negative("gamma", self.gamma)?;
        not_negative("lambda", self.lambda)
    }
}

impl Distiller for Cd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.window)
    }

    /// Learns from one teacher. If a trace has checkpoints, the last is used.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil); when a score is NaN or infinite.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check()?;
        blend("cd", self.lambda, own, cases, traces, |trace, labelled| {
            let (lists, scores) = scored_lists(trace, labelled, self.window)?;
            Ok(CdTerm::new(self.clone(), lists, scores))
        })
    }
}

struct CdTerm {
    config: Cd,
    lists: Lists<ItemId>,
    /// The teacher's scores, parallel to the lists' values.
    scores: Vec<f32>,
    /// The student's rank of each of them within its list, 0-based; empty before the first update.
    ranks: Vec<u32>,
}

impl CdTerm {
    fn new(config: Cd, lists: Lists<ItemId>, scores: Vec<f32>) -> Self {
        Self { config, lists, scores, ranks: Vec::new() }
    }

    /// The sampled positions of the list.
    fn sampled(&self, context: Context) -> Vec<u32> {
        let n = self.lists.row(context.query).len();
        let student = self.ranks.get(self.lists.range(context.query));
        let rank = |at: usize| match self.config.guide {
            Guide::None => None,
            Guide::Teacher => Some(at),
            // `None` before the first update.
            Guide::Student => student.map(|ranks| ranks[at] as usize),
        };
        let mut weights: Vec<f32> = match self.config.sampling {
            RankSampling::Linear => {
                (0..n).map(|at| rank(at).map_or(1.0, |rank| (n - rank) as f32)).collect()
            }
            RankSampling::Exponential => {
                let decay = -self.config.gamma / n as f32;
                (0..n).map(|at| rank(at).map_or(0.0, |rank| decay * rank as f32)).collect()
            }
        };
        if self.config.sampling == RankSampling::Linear {
            ln_slice(&mut weights);
        }
        weighted_positions(&weights, self.config.samples, Some(&mut context.rng(SAMPLES)))
    }
}

impl Term for CdTerm {
    fn once_per_query(&self) -> bool {
        false
    }

    fn list_items(
        &self,
        context: Context,
        _sampler: &mut UnlabelledSampler,
        out: &mut Vec<ItemId>,
    ) {
        let list = self.lists.row(context.query);
        out.extend(self.sampled(context).into_iter().map(|at| list[at as usize]));
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        _to_complement: &mut f64,
    ) -> f32 {
        let list = self.lists.row(context.query);
        let teacher = &self.scores[self.lists.range(context.query)];
        let share = 1.0 / scores.items.len() as f32;
        let mut loss = 0.0;
        for ((item, &score), slope) in scores.items.iter().zip(scores.scores).zip(slopes) {
            let Some(at) = list.iter().position(|other| other == item) else { continue };
            let label = sigmoid((teacher[at] + self.config.shift) / self.config.temperature);
            let (part, to) = soft_label(score, label);
            loss += share * part;
            *slope += share * to;
        }
        loss
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        let due = self.ranks.is_empty() || epoch.is_multiple_of(self.config.refresh_every);
        if self.config.guide == Guide::Student && due {
            let ranks = unlabelled_ranks(student, cases, &self.lists)?;
            self.ranks = ranks_within(&ranks, &self.lists);
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        per_item_state("places", &self.ranks)
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        let ranks = restore_per_item("places", state, &self.lists)?;
        let sound = |(list, row): (usize, &[ItemId])| {
            ranks[self.lists.range(list)].iter().all(|&rank| (rank as usize) < row.len())
        };
        if !ranks.is_empty() && !self.lists.iter().enumerate().all(sound) {
            let problem = "holds a rank beyond the end of its list".into();
            return Err(Error::Tensor { name: "places".into(), problem });
        }
        self.ranks = ranks;
        Ok(())
    }
}

/// Ranks in the catalogue as ranks within their list, 0-based; ties by position.
fn ranks_within(ranks: &[u32], lists: &Lists<ItemId>) -> Vec<u32> {
    let mut within = vec![0; ranks.len()];
    for list in 0..lists.len() {
        let range = lists.range(list);
        let ranks = &ranks[range.clone()];
        let mut order: Vec<usize> = (0..ranks.len()).collect();
        order.sort_by_key(|&at| ranks[at]); // stable
        order.iter().zip(0..).for_each(|(&at, rank)| within[range.start + at] = rank);
    }
    within
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{conforms, context, item_scores, items_of, small};
    use serde_json::json;

    fn term(guide: Guide, sampling: RankSampling) -> CdTerm {
        let config = Cd { guide, sampling, gamma: 2.0, samples: 1, ..Cd::default() };
        CdTerm::new(config, Lists::from_iter([vec![7u32, 5, 9]]), vec![2.0, 1.0, 0.0])
    }

    #[test]
    fn items_are_sampled_by_the_guides_ranks() {
        let share = |term: &CdTerm| {
            let mut counts = [0.0f64; 3];
            for epoch in 0..9000 {
                let item = items_of(term, 0, epoch)[0];
                counts[[7, 5, 9].iter().position(|&other| other == item).unwrap_or(3)] += 1.0;
            }
            counts.map(|count| count / 9000.0)
        };
        let close = |found: [f64; 3], expected: [f64; 3]| {
            let near = found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 0.025);
            assert!(near, "{found:?} {expected:?}");
        };
        close(
            share(&term(Guide::Teacher, RankSampling::Linear)),
            [3.0 / 6.0, 2.0 / 6.0, 1.0 / 6.0],
        );
        close(share(&term(Guide::None, RankSampling::Linear)), [1.0 / 3.0; 3]);
        let mut student = term(Guide::Student, RankSampling::Linear);
        close(share(&student), [1.0 / 3.0; 3]);
        student.ranks = ranks_within(&[40, 3, 3], &student.lists);
        assert_eq!(student.ranks, [2, 0, 1]);
        close(share(&student), [1.0 / 6.0, 3.0 / 6.0, 2.0 / 6.0]);
        let e = |rank: f64| (-2.0 * rank / 3.0).exp();
        let sum = e(0.0) + e(1.0) + e(2.0);
        let expected = [e(0.0) / sum, e(1.0) / sum, e(2.0) / sum];
        close(share(&term(Guide::Teacher, RankSampling::Exponential)), expected);
    }

    #[test]
    fn the_teacher_as_guide_conforms() {
        let settings = json!({"guide": "teacher", "sampling": "exponential", "shift": 1.0});
        conforms(&*small("cd", settings));
    }

    #[test]
    fn labels_are_softened() {
        let term = term(Guide::None, RankSampling::Linear);
        let mut slopes = [0.0];
        let scores = item_scores(&[7], &[0.0]);
        let loss = term.loss(context(0, 0), scores, &mut slopes, &mut 0.0);
        let label = 1.0 / (1.0 + (-1.0f32).exp()); // 2 / temperature 2
        assert!((loss - 2f32.ln()).abs() < 1e-6);
        assert!((slopes[0] - (0.5 - label)).abs() < 1e-6);
    }
}
