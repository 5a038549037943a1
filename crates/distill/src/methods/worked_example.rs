//! ListNet (Cao, Qin, Liu, Tsai & Li, ICML 2007) as distillation: over the teacher's list, the student's softmax should be the
//! teacher's. The worked example of `CONTRIBUTING.md`; it is compiled and tested, but not registered.
//!
//! ```text
//! L = L_own + lambda * - sum over the list of softmax(z / temperature) ln softmax(s / temperature)
//! ```
//!
//! with the teacher's scores z and the student's s. Differs from the paper, which trains on graded relevance.

use crate::parts::blend::{Context, ItemScores, Term, blend};
use crate::parts::losses::cross_entropy;
use crate::parts::settings::{Settings, above_0, at_least_1, not_negative};
use crate::parts::teacher_lists::scored_lists;
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use rankstill_core::{Cases, Distiller, ItemId, Lists, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListNet {
    /// Number of the teacher's items.
    pub k: usize,
    /// Divisor of the scores: larger = softer.
    pub temperature: f32,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
}

impl Default for ListNet {
    fn default() -> Self {
        Self { k: 50, temperature: 1.0, lambda: 1.0 }
    }
}

impl Settings for ListNet {
    fn check(&self) -> Result<()> {
        at_least_1(&[("k", self.k)])?;
        above_0("temperature", self.temperature)?;
        not_negative("lambda", self.lambda)
    }
}

impl Distiller for ListNet {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.k)
    }

    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check()?;
        blend("list_net", self.lambda, own, cases, traces, |trace, labelled| {
            let (lists, scores) = scored_lists(trace, labelled, self.k)?;
            Ok(ListNetTerm { temperature: self.temperature, lists, scores })
        })
    }
}

struct ListNetTerm {
    temperature: f32,
    lists: Lists<ItemId>,
    /// The teacher's scores, parallel to the lists' values.
    scores: Vec<f32>,
}

impl Term for ListNetTerm {
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
        let teacher = self.scores[self.lists.range(context.query)].iter().copied();
        cross_entropy(scores.scores, teacher, self.temperature, slopes, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, gradients_are_slopes, is_reproducible, item_scores};

    #[test]
    fn it_conforms() {
        let method = ListNet { k: 5, ..ListNet::default() };
        gradients_are_slopes(&method);
        is_reproducible(&method);
    }

    #[test]
    fn two_items_by_hand() {
        let lists = Lists::from_iter([vec![3u32, 1]]);
        // The teacher says 3/4 and 1/4, the student 1/2 and 1/2.
        let term = ListNetTerm { temperature: 1.0, lists, scores: vec![3f32.ln(), 0.0] };
        let mut slopes = [0.0; 2];
        let scores = item_scores(&[3, 1], &[0.7, 0.7]);
        let loss = term.loss(context(0, 0), scores, &mut slopes, &mut 0.0);
        assert!((loss - 2f32.ln()).abs() < 1e-6, "{loss}");
        assert!((slopes[0] + 0.25).abs() < 1e-6 && (slopes[1] - 0.25).abs() < 1e-6, "{slopes:?}");
    }
}
