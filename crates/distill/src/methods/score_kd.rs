//! Point-wise distillation: the student's scores of the teacher's items should be like the teacher's.
//!
//! ```text
//! L = L_own + lambda mean over the list of l(s, z)
//! l = - q ln sigmoid(s) - (1 - q) ln(1 - sigmoid(s)), q = sigmoid((z + shift) / temperature)      loss "soft_labels"
//! l = (s - (z + shift) / temperature)^2 / 2                                                       loss "squares"
//! ```
//!
//! with the teacher's score z and the student's s: the soft targets of Hinton et al. (2015) for single items, and the regression
//! of scores (Ba & Caruana, NeurIPS 2014). Not from a paper on recommenders, but the natural baseline for the other methods. The
//! items are the same in every epoch. The teacher's scores must be comparable between items and users.

use crate::parts::blend::{Context, ItemScores, Term, blend};
use crate::parts::losses::soft_label;
use crate::parts::settings::{Settings, above_0, at_least_1, not_negative};
use crate::parts::teacher_lists::scored_lists;
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use rankstill_core::kernel::math::sigmoid;
use rankstill_core::{Cases, Distiller, ItemId, Lists, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreKd {
    /// Number of the teacher's items.
    pub k: usize,
    /// The loss of a score.
    pub loss: ScoreLoss,
    /// Divisor of the teacher's scores: larger = softer.
    pub temperature: f32,
    /// Added to them before.
    pub shift: f32,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
}

/// The loss of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreLoss {
    /// Binary cross-entropy with the sigmoid of the teacher's score.
    SoftLabels,
    /// Squared difference from the teacher's score.
    Squares,
}

impl Default for ScoreKd {
    fn default() -> Self {
        Self { k: 100, loss: ScoreLoss::SoftLabels, temperature: 1.0, shift: 0.0, lambda: 1.0 }
    }
}

impl Settings for ScoreKd {
    fn check(&self) -> Result<()> {
        at_least_1(&[("k", self.k)])?;
        above_0("temperature", self.temperature)?;
        not_negative("lambda", self.lambda)
    }
}

impl Distiller for ScoreKd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.k)
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
        blend("score_kd", self.lambda, own, cases, traces, |trace, labelled| {
            let (lists, scores) = scored_lists(trace, labelled, self.k)?;
            Ok(ScoreKdTerm { config: self.clone(), lists, scores })
        })
    }
}

struct ScoreKdTerm {
    config: ScoreKd,
    lists: Lists<ItemId>,
    /// The teacher's scores, parallel to the lists' values.
    scores: Vec<f32>,
}

impl Term for ScoreKdTerm {
    fn list_items(
        &self,
        context: Context,
        _sampler: &mut UnlabelledSampler,
        out: &mut Vec<ItemId>,
    ) {
        out.extend_from_slice(self.lists.row(context.query));
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        _to_complement: &mut f64,
    ) -> f32 {
        let teacher = &self.scores[self.lists.range(context.query)];
        let share = 1.0 / teacher.len() as f32;
        let mut loss = 0.0;
        for ((&score, &teacher), slope) in scores.scores.iter().zip(teacher).zip(slopes) {
            let target = (teacher + self.config.shift) / self.config.temperature;
            let (part, to) = match self.config.loss {
                ScoreLoss::SoftLabels => soft_label(score, sigmoid(target)),
                ScoreLoss::Squares => (0.5 * (score - target) * (score - target), score - target),
            };
            loss += share * part;
            *slope += share * to;
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::parts::labelled::Labelled;
    use crate::testing::{cases, conforms, context, item_scores, small};
    use rankstill_core::Rankings;
    use serde_json::json;

    #[test]
    fn both_forms_by_hand() {
        let lists = Lists::from_iter([vec![3u32, 1]]);
        // Labels 3/4 and 1/2; the student's probabilities are 1/4 and 1/2.
        let scores = vec![2.0 * 3f32.ln() - 1.0, -1.0];
        let config = ScoreKd { temperature: 2.0, shift: 1.0, ..ScoreKd::default() };
        let student = [-(3f32.ln()), 0.0];
        let student = item_scores(&[3, 1], &student);
        let with = |loss| {
            let config = ScoreKd { loss, ..config.clone() };
            let term = ScoreKdTerm { config, lists: lists.clone(), scores: scores.clone() };
            let mut slopes = [0.0; 2];
            (term.loss(context(0, 0), student, &mut slopes, &mut 0.0), slopes)
        };
        let (loss, slopes) = with(ScoreLoss::SoftLabels);
        let by_hand = 0.5 * (-0.75 * 0.25f32.ln() - 0.25 * 0.75f32.ln() + 2f32.ln());
        assert!((loss - by_hand).abs() < 1e-6, "{loss} {by_hand}");
        assert!((slopes[0] + 0.25).abs() < 1e-6 && slopes[1].abs() < 1e-6, "{slopes:?}");
        let (loss, slopes) = with(ScoreLoss::Squares);
        let away = 2.0 * 3f32.ln();
        assert!((loss - 0.25 * away * away).abs() < 1e-5);
        assert!((slopes[0] + 0.5 * away).abs() < 1e-6 && slopes[1].abs() < 1e-6, "{slopes:?}");
    }

    #[test]
    fn squares_conform() {
        let settings = json!({"loss": "squares", "temperature": 2.0});
        conforms(&*small("score_kd", settings));
    }

    #[test]
    fn a_teacher_without_scores_is_refused() {
        let cases = cases();
        let mut rankings = Rankings::default();
        (0..cases.n_queries()).for_each(|_| rankings.push([(29, f32::NEG_INFINITY)]));
        let trace = Trace::new("unscored", vec![(0, rankings)]).unwrap();
        let labelled = Labelled::new(&cases).unwrap();
        let error = scored_lists(&trace, &labelled, 3).err().unwrap().to_string();
        assert!(error.contains("unscored") && error.contains("finite"), "{error}");
    }
}
