//! Point-wise distillation: the student's scores of the teacher's items shall be like the teacher's.
//!
//! ```text
//! L = L_own + lambda mean over the list of l(s, z)
//! l = - q ln sigmoid(s) - (1 - q) ln(1 - sigmoid(s)), q = sigmoid((z + shift) / temperature)      loss "soft_labels"
//! l = (s - (z + shift) / temperature)^2 / 2                                                       loss "squares"
//! ```
//!
//! with the teacher's score z and the student's s: Hinton et al.'s soft targets (2015) for single items, and the regression of
//! scores (Ba & Caruana, NeurIPS 2014). Not the method of a paper on recommenders, but the first thing that one would try, and
//! what the others here are measured against. The same items in every epoch; needs scores of the teacher that mean something.

use crate::beside_own::{Asked, Said, Term, beside_own};
use crate::labelled::Labelled;
use crate::rank_distil::Scratch;
use crate::settings::{self, above_0, at_least_1, not_negative};
use rankstill_core::kernel::math::{sigmoid, softplus};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Distiller, Error, ItemId, Lists, Objective, Requirements, Result, Trace,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreKd {
    /// How many of the teacher's items.
    pub k: usize,
    /// What is asked of a score.
    pub loss: Form,
    /// What the teacher's scores are divided by: larger = softer.
    pub temperature: f32,
    /// What is added to them before.
    pub shift: f32,
    /// The distillation loss's weight. At 0 the student learns by its own objective alone.
    pub lambda: f32,
}

/// What is asked of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// To be as probable as the teacher says, as logits.
    SoftLabels,
    /// To be the teacher's.
    Squares,
}

impl Default for ScoreKd {
    fn default() -> Self {
        Self { k: 100, loss: Form::SoftLabels, temperature: 1.0, shift: 0.0, lambda: 1.0 }
    }
}

impl ScoreKd {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    fn check(&self, path: &str) -> Result<()> {
        at_least_1(path, &[("k", self.k)])?;
        above_0(path, "temperature", self.temperature)?;
        not_negative(path, "lambda", self.lambda)
    }
}

impl Distiller for ScoreKd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.k)
    }

    /// Learns from one teacher; of a trace with checkpoints it takes the last.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil); when a score is no finite number.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check("")?;
        beside_own("score_kd", self.lambda, own, cases, traces, |trace, labelled| {
            let (lists, scores) = scored_lists(trace, labelled, self.k)?;
            Ok(Scored { config: self.clone(), lists, scores })
        })
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The first `k` unlabelled items of each of the teacher's lists, and their scores.
///
/// # Errors
/// When a score is no finite number.
pub(crate) fn scored_lists(
    trace: &Trace,
    labelled: &Labelled,
    k: usize,
) -> Result<(Lists<ItemId>, Vec<f32>)> {
    let said = trace.last();
    let (mut lists, mut scores) = (Lists::with_capacity(said.len(), 0), Vec::new());
    for query in 0..said.len() {
        let scored = said.items(query).iter().copied().zip(said.scores(query).iter().copied());
        let kept = scored.filter(|(item, _)| !labelled.contains(query, *item)).take(k);
        lists.push(kept.map(|(item, score)| {
            scores.push(score);
            item
        }));
    }
    if scores.iter().any(|score| !score.is_finite()) {
        let problem = "some of its scores are no finite numbers".into();
        return Err(Error::Ranker { name: trace.teacher().to_owned(), problem });
    }
    Ok((lists, scores))
}

struct Scored {
    config: ScoreKd,
    lists: Lists<ItemId>,
    /// The teacher's, parallel to the lists' values.
    scores: Vec<f32>,
}

impl Term for Scored {
    fn len(&self, asked: Asked) -> usize {
        self.lists.row(asked.query).len()
    }

    fn items(&self, asked: Asked, _scratch: &mut Scratch, out: &mut Vec<ItemId>) {
        out.extend_from_slice(self.lists.row(asked.query));
    }

    fn loss(&self, asked: Asked, said: Said<'_>, slopes: &mut [f32], _to_rest: &mut f64) -> f32 {
        let taught = &self.scores[self.lists.range(asked.query)];
        let share = 1.0 / taught.len() as f32;
        let mut loss = 0.0;
        for ((&score, &taught), slope) in said.scores.iter().zip(taught).zip(slopes) {
            let goal = (taught + self.config.shift) / self.config.temperature;
            let (part, to) = match self.config.loss {
                Form::SoftLabels => soft_label(score, sigmoid(goal)),
                Form::Squares => (0.5 * (score - goal) * (score - goal), score - goal),
            };
            loss += share * part;
            *slope += share * to;
        }
        loss
    }
}

/// The loss of a logit whose label is `probability`, and its slope.
pub(crate) fn soft_label(score: f32, probability: f32) -> (f32, f32) {
    let loss = probability * softplus(-score) + (1.0 - probability) * softplus(score);
    (loss, sigmoid(score) - probability)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{asked, cases};
    use rankstill_core::Rankings;

    #[test]
    fn both_forms_by_hand() {
        let lists = Lists::from_iter([vec![3u32, 1]]);
        // Labels 3/4 and 1/2; the student says 1/4 and 1/2.
        let scores = vec![2.0 * 3f32.ln() - 1.0, -1.0];
        let config = ScoreKd { temperature: 2.0, shift: 1.0, ..ScoreKd::default() };
        let said = Said { items: &[3, 1], scores: &[-(3f32.ln()), 0.0], log_complement: 0.0 };
        let with = |loss| {
            let config = ScoreKd { loss, ..config.clone() };
            let term = Scored { config, lists: lists.clone(), scores: scores.clone() };
            let mut slopes = [0.0; 2];
            (term.loss(asked(0, 0), said, &mut slopes, &mut 0.0), slopes)
        };
        let (loss, slopes) = with(Form::SoftLabels);
        let by_hand = 0.5 * (-0.75 * 0.25f32.ln() - 0.25 * 0.75f32.ln() + 2f32.ln());
        assert!((loss - by_hand).abs() < 1e-6, "{loss} {by_hand}");
        assert!((slopes[0] + 0.25).abs() < 1e-6 && slopes[1].abs() < 1e-6, "{slopes:?}");
        let (loss, slopes) = with(Form::Squares);
        let away = 2.0 * 3f32.ln();
        assert!((loss - 0.25 * away * away).abs() < 1e-5);
        assert!((slopes[0] + 0.5 * away).abs() < 1e-6 && slopes[1].abs() < 1e-6, "{slopes:?}");
    }

    #[test]
    fn a_teacher_without_scores_is_refused() {
        let cases = cases();
        let mut said = Rankings::default();
        (0..cases.n_queries()).for_each(|_| said.push([(29, f32::NEG_INFINITY)]));
        let trace = Trace::new("mute", vec![(0, said)]).unwrap();
        let labelled = Labelled::new(&cases).unwrap();
        let error = scored_lists(&trace, &labelled, 3).err().unwrap().to_string();
        assert!(error.contains("mute") && error.contains("finite"), "{error}");
    }
}
