//! Margin-MSE (Hofstätter et al., 2020, arXiv 2010.02666): the student's differences between scores are those of the teacher.
//!
//! ```text
//! L = L_own + lambda mean over the pairs of ( (s_i - s_j) - (z_i - z_j) / unit )^2 / 2       s: the student's scores, z: the teacher's
//! ```
//!
//! Only differences of the teacher's scores count, never their level, so a student with a score scale of its own can follow. Each
//! epoch draws `pairs` pairs of a query's list anew: a position with probability proportional to exp(-position / temperature), and
//! one that is uniform among the others. `unit` is the deviation of the teacher's scores within a list, root mean square over the
//! lists, divided by `spread`: cosines, probabilities and fused ranks then teach margins of the same size. `spread = 0` takes the
//! scores as they are.
//!
//! Differs from the paper, which teaches a text ranker: there a pair is a relevant passage and one that a first ranker retrieved.
//! A teacher's lists hold no scores of labelled items, so here both are unlabelled items that the teacher retrieved; the labelled
//! ones are those of the student's own loss.

use crate::parts::blend::{Context, ItemScores, Term, blend};
use crate::parts::settings::{Settings, above_0, at_least_1, not_negative, wrong};
use crate::parts::teacher_lists::scored_lists;
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use crate::parts::weighted_sampling::summed_before;
use rankstill_core::{Cases, Distiller, ItemId, Lists, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};

/// Keeps these draws apart from all others.
const PAIRS: u64 = 0x4d4d_5345;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarginMse {
    /// Length of the teacher's list.
    pub window: usize,
    /// Pairs drawn from it in each epoch.
    pub pairs: usize,
    /// For the first item of a pair: larger = deeper into the list.
    pub temperature: f32,
    /// The deviation of the teacher's scores within a list, after scaling; 0 leaves them as they are.
    pub spread: f32,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
}

impl Default for MarginMse {
    fn default() -> Self {
        Self { window: 200, pairs: 40, temperature: 20.0, spread: 1.0, lambda: 1.0 }
    }
}

impl Settings for MarginMse {
    fn check(&self) -> Result<()> {
        at_least_1(&[("pairs", self.pairs)])?;
        if self.window < 2 {
            return Err(wrong("window", "must be at least 2: a pair has two items"));
        }
        above_0("temperature", self.temperature)?;
        not_negative("spread", self.spread)?;
        not_negative("lambda", self.lambda)
    }
}

impl Distiller for MarginMse {
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
        blend("margin_mse", self.lambda, own, cases, traces, |trace, labelled| {
            let (lists, scores) = scored_lists(trace, labelled, self.window)?;
            Ok(MarginMseTerm::new(self.clone(), lists, scores))
        })
    }
}

/// Lists the items of each pair one after the other.
struct MarginMseTerm {
    config: MarginMse,
    lists: Lists<ItemId>,
    /// The teacher's scores in units of the deviation that is asked for, parallel to the lists' values.
    scores: Vec<f32>,
    /// The summed weights of the positions before each one.
    before: Vec<f64>,
}

impl MarginMseTerm {
    fn new(config: MarginMse, lists: Lists<ItemId>, mut scores: Vec<f32>) -> Self {
        let deviation = deviation_within(&lists, &scores);
        if config.spread > 0.0 && deviation > 0.0 {
            let scale = f64::from(config.spread) / deviation;
            scores.iter_mut().for_each(|score| *score = (f64::from(*score) * scale) as f32);
        }
        let before = summed_before(config.window, config.temperature);
        Self { config, lists, scores, before }
    }

    /// The positions of each pair in the query's list, the same whenever they are asked for.
    fn pairs(&self, context: Context) -> impl Iterator<Item = [usize; 2]> + '_ {
        let n = self.lists.row(context.query).len();
        let pairs = if n < 2 { 0 } else { self.config.pairs };
        let mut rng = context.rng(PAIRS);
        (0..pairs).map(move |_| {
            let goal = rng.uniform_f64() * self.before[n];
            let first = (self.before.partition_point(|&sum| sum <= goal) - 1).min(n - 1);
            let other = rng.below(n as u32 - 1) as usize;
            [first, if other < first { other } else { other + 1 }]
        })
    }
}

/// The deviation of a list's scores from their mean, root mean square over all scores.
fn deviation_within(lists: &Lists<ItemId>, scores: &[f32]) -> f64 {
    let mut squares = 0.0;
    for query in 0..lists.len() {
        let own = &scores[lists.range(query)];
        let mean = own.iter().map(|&score| f64::from(score)).sum::<f64>() / own.len().max(1) as f64;
        squares += own.iter().map(|&score| (f64::from(score) - mean).powi(2)).sum::<f64>();
    }
    (squares / scores.len().max(1) as f64).sqrt()
}

impl Term for MarginMseTerm {
    fn list_items(
        &self,
        context: Context,
        _sampler: &mut UnlabelledSampler,
        out: &mut Vec<ItemId>,
    ) {
        let list = self.lists.row(context.query);
        out.extend(self.pairs(context).flatten().map(|at| list[at]));
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        _to_complement: &mut f64,
    ) -> f32 {
        let teacher = &self.scores[self.lists.range(context.query)];
        let share = 1.0 / self.config.pairs as f32;
        let mut loss = 0.0;
        let students = scores.scores.chunks_exact(2).zip(slopes.chunks_exact_mut(2));
        for ([i, j], (student, slopes)) in self.pairs(context).zip(students) {
            let away = (student[0] - student[1]) - (teacher[i] - teacher[j]);
            loss += share * 0.5 * away * away;
            slopes[0] += share * away;
            slopes[1] -= share * away;
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, item_scores, items_of};

    fn term(spread: f32) -> MarginMseTerm {
        let config = MarginMse { pairs: 30, temperature: 1.0, spread, ..MarginMse::default() };
        let lists = Lists::from_iter([vec![7u32, 3, 9], vec![4], vec![]]);
        MarginMseTerm::new(config, lists, vec![5.0, 3.0, 1.0, 8.0])
    }

    #[test]
    fn pairs_are_of_two_items_and_favour_the_top() {
        let term = term(0.0);
        let mut first = [0; 3];
        for epoch in 0..40 {
            let items = items_of(&term, 0, epoch);
            assert_eq!(items.len(), 60);
            for pair in items.chunks(2) {
                assert_ne!(pair[0], pair[1]);
                let at = [7, 3, 9].iter().position(|item| *item == pair[0]);
                first[at.unwrap_or(3)] += 1;
            }
        }
        // 1200 draws with weights 1, 1/e, 1/e^2: 798, 294, 108 expected.
        assert!((750..850).contains(&first[0]) && (70..150).contains(&first[2]), "{first:?}");
        assert!(items_of(&term, 1, 0).is_empty() && items_of(&term, 2, 0).is_empty());
    }

    #[test]
    fn a_list_by_hand() {
        let term = term(0.0);
        let pairs: Vec<[usize; 2]> = term.pairs(context(0, 3)).collect();
        let items = items_of(&term, 0, 3);
        // The student ranks the other way round, with half the margins.
        let of = |item: u32| match item {
            7 => 0.0f32,
            3 => 1.0,
            _ => 2.0,
        };
        let scores: Vec<f32> = items.iter().map(|&item| of(item)).collect();
        let mut slopes = vec![0.0; items.len()];
        let loss = term.loss(context(0, 3), item_scores(&items, &scores), &mut slopes, &mut 0.0);
        let teacher = [5.0f32, 3.0, 1.0];
        let away = |[i, j]: [usize; 2]| (i as f32 - j as f32) - (teacher[i] - teacher[j]);
        let by_hand = pairs.iter().map(|&pair| away(pair).powi(2) / 60.0).sum::<f32>();
        assert!((loss - by_hand).abs() < 1e-4 * by_hand, "{loss} {by_hand}");
        for (pair, slopes) in pairs.iter().zip(slopes.chunks(2)) {
            assert!((slopes[0] - away(*pair) / 30.0).abs() < 1e-6 && slopes[1] == -slopes[0]);
        }
    }

    #[test]
    fn scores_are_given_the_spread_that_is_asked_for() {
        let term = term(2.0);
        assert!((deviation_within(&term.lists, &term.scores) - 2.0).abs() < 1e-6);
        // The squares are 4 + 0 + 4 over four scores: a deviation of sqrt 2.
        assert!((term.scores[0] - term.scores[1] - 2.0 * 2f32.sqrt()).abs() < 1e-6);
    }
}
