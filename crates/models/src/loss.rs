//! The models' own objectives: observed items against a few sampled ones.
//!
//! A row's slate is its t targets, then t times `negatives` items drawn uniformly, with replacement, outside the user's
//! history, afresh in every epoch; the first `negatives` of them belong to the first target, and so on. With scores s, the
//! loss of a target i and its negatives j in N is
//! - `bpr` (Rendle et al., UAI 2009, with more than one j): mean over j of -ln sigmoid(s_i - s_j);
//! - `log_loss` (He et al., WWW 2017, eq. 7; the point-wise loss of the RD paper): -ln sigmoid(s_i) - sum over j of
//!   ln(1 - sigmoid(s_j));
//! - `softmax` (sampled softmax without correction, also called InfoNCE): -ln(e^s_i / (e^s_i + sum over j of e^s_j)).
//!
//! A row's loss is the sum over its targets. Users who have seen the whole catalogue have no negative: `bpr` and `softmax`
//! learn nothing of them.

use rankstill_core::kernel::math::{
    exp, exp_slice, ln, sigmoid, sigmoid_slice, softplus, softplus_slice,
};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::sample::Positives;
use rankstill_core::{
    Batch, Case, Grad, Interactions, ItemId, Lists, Objective, Result, Row, Scores, Slate,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A sampled loss, as a recipe has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// Which.
    pub kind: LossKind,
    /// Sampled items a target.
    pub negatives: usize,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Pairs.
    Bpr,
    /// Points, by logistic regression.
    LogLoss,
    /// The target among the sampled.
    Softmax,
}

impl Default for Loss {
    fn default() -> Self {
        Self { kind: LossKind::Bpr, negatives: 1 }
    }
}

impl Loss {
    /// Says what is wrong with the settings, if anything is.
    ///
    /// # Errors
    /// When there is no negative, or more than fit into memory.
    pub fn check(&self) -> Result<()> {
        match self.negatives {
            0 => Err(crate::invalid("loss.negatives", "must be at least 1")),
            1..=MOST_NEGATIVES => Ok(()),
            n => Err(crate::invalid(
                "loss.negatives",
                format!("must be at most {MOST_NEGATIVES}, is {n}"),
            )),
        }
    }
}

/// A slate of batch x negatives must fit into memory.
const MOST_NEGATIVES: usize = 100_000;

/// [`Loss`] on some training data.
#[derive(Clone, Debug)]
pub struct Sampled {
    loss: Loss,
    positives: Positives,
}

impl Sampled {
    /// Negatives will be outside the histories of `train`.
    #[must_use]
    pub fn new(loss: Loss, train: &Interactions) -> Self {
        let positives = Positives::new(train.items().iter(), train.n_items() as u32);
        Self { loss, positives }
    }

    /// The negatives of one case, appended to `out`.
    fn draw(&self, case: &Case<'_>, rng: &mut Rng, out: &mut Vec<ItemId>) {
        let n = case.targets.len() * self.loss.negatives;
        match case.query.user {
            Some(user) if (user as usize) < self.positives.n_users() => {
                out.extend((0..n).map_while(|_| self.positives.negative(user, rng)));
            }
            // Somebody whom the training data do not know: one user's worth of a sampler.
            _ => {
                let seen = [case.query.history, case.targets].concat();
                let seen = Positives::new([seen.as_slice()], self.positives.n_items());
                out.extend((0..n).map_while(|_| seen.negative(0, rng)));
            }
        }
    }
}

/// Keeps these draws apart from all others.
const NEGATIVES: u64 = 0x4e45_4741;

/// Rows of one task.
const CHUNK: usize = 256;

impl Objective for Sampled {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let chunks: Vec<Lists<ItemId>> = (0..batch.len().div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let rows = chunk * CHUNK..((chunk + 1) * CHUNK).min(batch.len());
                let values = rows.len() * (1 + self.loss.negatives);
                let mut lists = Lists::with_capacity(rows.len(), values);
                let mut row = Vec::with_capacity(1 + self.loss.negatives);
                for at in rows {
                    let case = batch.case(at);
                    row.clear();
                    row.extend_from_slice(case.targets);
                    self.draw(&case, &mut batch.rng(at, NEGATIVES), &mut row);
                    lists.push(row.iter().copied());
                }
                lists
            })
            .collect();
        let values = chunks.iter().map(|lists| lists.values().len()).sum();
        let mut lists = Lists::with_capacity(batch.len(), values);
        chunks.into_iter().for_each(|chunk| lists.append(chunk));
        Slate::lists(lists)
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let n_targets = row.case().targets.len();
        let (targets, negatives) = scores.listed.split_at(n_targets);
        let (to_targets, to_negatives) = grad.listed.split_at_mut(n_targets);
        let each = negatives.len() / n_targets.max(1);
        let of_target = match self.loss.kind {
            LossKind::Bpr => bpr,
            LossKind::LogLoss => log_loss,
            LossKind::Softmax => softmax,
        };
        let mut sum = 0.0;
        for (t, (&target, to_target)) in targets.iter().zip(to_targets).enumerate() {
            let its = t * each..(t + 1) * each;
            sum += of_target(target, &negatives[its.clone()], to_target, &mut to_negatives[its]);
        }
        sum
    }

    fn plain_bpr(&self) -> Option<&Positives> {
        (self.loss == Loss { kind: LossKind::Bpr, negatives: 1 }).then_some(&self.positives)
    }
}

fn bpr(target: f32, negatives: &[f32], to_target: &mut f32, to_negatives: &mut [f32]) -> f32 {
    for (to_negative, &negative) in to_negatives.iter_mut().zip(negatives) {
        *to_negative = negative - target;
    }
    let share = 1.0 / negatives.len().max(1) as f32;
    let loss = sum_of(to_negatives, softplus_slice) * share;
    sigmoid_slice(to_negatives);
    for slope in to_negatives {
        *slope *= share;
        *to_target -= *slope;
    }
    loss
}

fn log_loss(target: f32, negatives: &[f32], to_target: &mut f32, to_negatives: &mut [f32]) -> f32 {
    *to_target -= sigmoid(-target);
    to_negatives.copy_from_slice(negatives);
    sigmoid_slice(to_negatives);
    softplus(-target) + sum_of(negatives, softplus_slice)
}

fn softmax(target: f32, negatives: &[f32], to_target: &mut f32, to_negatives: &mut [f32]) -> f32 {
    let most = negatives.iter().fold(target, |most, &score| most.max(score));
    for (to_negative, &negative) in to_negatives.iter_mut().zip(negatives) {
        *to_negative = negative - most;
    }
    exp_slice(to_negatives);
    let own = exp(target - most);
    let rest = to_negatives.iter().fold(0.0, |sum, &mass| sum + mass);
    to_negatives.iter_mut().for_each(|mass| *mass /= own + rest);
    *to_target -= rest / (own + rest);
    ln(own + rest) - (target - most)
}

/// The sum of a function of every number, which is computed in place and so needs a copy.
fn sum_of(numbers: &[f32], in_place: fn(&mut [f32])) -> f32 {
    let mut copy = [0.0; 64];
    let mut sum = 0.0;
    for part in numbers.chunks(copy.len()) {
        let copy = &mut copy[..part.len()];
        copy.copy_from_slice(part);
        in_place(copy);
        sum = copy.iter().fold(sum, |sum, value| sum + value);
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;
    use rankstill_core::{Cases, Span};
    use std::sync::Arc;

    const KINDS: [LossKind; 3] = [LossKind::Bpr, LossKind::LogLoss, LossKind::Softmax];

    fn all_losses() -> impl Iterator<Item = Loss> {
        KINDS.into_iter().flat_map(|kind| [1, 3, 70].map(|negatives| Loss { kind, negatives }))
    }

    fn row_of_one_target(loss: Loss, scores: &[f32]) -> (f32, Vec<f32>) {
        let train = testing::blocks();
        let cases = Cases::each_interaction(&train);
        let batch = Batch { cases: &cases, rows: &[0], epoch: 0, seed: 1 };
        let (mut grad, mut log_rest) = (vec![0.0; scores.len()], 0.0);
        let loss = Sampled::new(loss, &train).loss(
            Row { batch: &batch, at: 0, items: &[0, 11, 12][..scores.len()] },
            Scores { listed: scores, probes: &[], log_rest: f32::NEG_INFINITY },
            Grad { listed: &mut grad, log_rest: &mut log_rest },
        );
        (loss, grad)
    }

    #[test]
    fn one_target_and_two_negatives_by_hand() {
        // e^ln2 = 2, e^0 = 1, e^ln3 = 3.
        let scores = [2f32.ln(), 0.0, 3f32.ln()];
        let close = |kind, loss: f64, grad: [f64; 3]| {
            let ours = row_of_one_target(Loss { kind, negatives: 2 }, &scores);
            assert!((f64::from(ours.0) - loss).abs() < 1e-6, "{kind:?}: {ours:?}");
            for (ours, by_hand) in ours.1.iter().zip(grad) {
                assert!((f64::from(*ours) - by_hand).abs() < 1e-6, "{kind:?}: {ours:?}");
            }
        };
        // sigmoid(-ln 2) = 1/3, sigmoid(ln 3/2) = 3/5
        let pairs = 0.5 * (1.5f64.ln() + 2.5f64.ln());
        close(LossKind::Bpr, pairs, [-(1.0 / 6.0 + 0.3), 1.0 / 6.0, 0.3]);
        let points = 1.5f64.ln() + 2f64.ln() + 4f64.ln();
        close(LossKind::LogLoss, points, [-1.0 / 3.0, 0.5, 0.75]);
        close(LossKind::Softmax, 3f64.ln(), [-2.0 / 3.0, 1.0 / 6.0, 0.5]);
    }

    #[test]
    fn every_gradient_is_the_slope() {
        let train = testing::blocks();
        for loss in all_losses() {
            let objective = Sampled::new(loss, &train);
            testing::objective_gradient(&objective, &Cases::each_interaction(&train));
            testing::objective_gradient(&objective, &Cases::windows(&train, 2, 3));
        }
    }

    #[test]
    fn far_scores_give_finite_losses() {
        for kind in KINDS {
            for scores in [[-300.0, 300.0, 0.0], [300.0, -300.0, -300.0]] {
                let (loss, grad) = row_of_one_target(Loss { kind, negatives: 2 }, &scores);
                assert!(loss.is_finite() && grad.iter().all(|g| g.is_finite()));
                assert_eq!(loss > 100.0, scores[0] < 0.0, "{kind:?}: {loss}");
            }
        }
    }

    #[test]
    fn slates_list_targets_then_unseen_items_whoever_asks() {
        // User 0 knows 3 of 6 items, user 1 all; the third case is a stranger's.
        let lines = [vec![0, 1, 2], vec![0, 1, 2, 3, 4, 5]];
        let train = Interactions::new(6, Lists::from_iter(lines), None, None).unwrap();
        let span = |user, history, targets| Span { user, history, hidden: 0..0, targets };
        let spans =
            vec![span(Some(0), 0..3, 0..2), span(Some(1), 3..9, 3..4), span(None, 1..3, 0..1)];
        let timeline = Arc::new(train.items().values().to_vec());
        let cases = Cases::new(6, timeline, spans).unwrap();
        let objective = Sampled::new(Loss { kind: LossKind::Bpr, negatives: 20 }, &train);
        let rows = [2, 0, 1];
        let batch = Batch { cases: &cases, rows: &rows, epoch: 3, seed: 1 };
        let Slate::Lists { listed: lists, .. } = objective.slate(&batch) else { panic!() };
        assert_eq!(lists.row(0).len(), 1 + 20);
        assert_eq!(lists.row(1).len(), 2 + 40);
        assert_eq!(lists.row(2), [0], "nothing is left to sample");
        for at in [0, 1] {
            let targets = batch.case(at).targets;
            assert_eq!(&lists.row(at)[..targets.len()], targets);
            assert!(lists.row(at)[targets.len()..].iter().all(|item| *item >= 3));
        }
    }

    #[test]
    fn a_row_draws_the_same_wherever_it_stands_and_afresh_every_epoch() {
        let train = testing::blocks();
        let cases = Cases::each_interaction(&train);
        let objective = Sampled::new(Loss { kind: LossKind::Bpr, negatives: 3 }, &train);
        let all: Vec<u32> = (0..cases.len() as u32).collect();
        let of = |rows: &[u32], epoch| match objective.slate(&Batch {
            cases: &cases,
            rows,
            epoch,
            seed: 1,
        }) {
            Slate::Lists { listed, .. } => listed,
            other => panic!("{other:?}"),
        };
        assert!(all.len() > CHUNK);
        let whole = of(&all, 0);
        assert_eq!(of(&all[300..302], 0).row(1), whole.row(301));
        assert_ne!(of(&all, 1), whole);
    }

    #[test]
    fn only_bpr_with_one_negative_is_plain() {
        let train = testing::blocks();
        for loss in all_losses() {
            let plain = loss == Loss::default();
            assert_eq!(Sampled::new(loss, &train).plain_bpr().is_some(), plain);
        }
    }
}
