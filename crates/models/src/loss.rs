//! The models' own objectives: observed items against a few sampled ones.
//!
//! A row's slate is its t targets, then t times `negatives` items drawn uniformly, with replacement, outside the user's
//! history (`among = "everything"`: in it too), afresh in every epoch; the first `negatives` of them belong to the first
//! target, and so on. With scores s, the loss of a target i and its negatives j in N is
//! - `bpr` (Rendle et al., UAI 2009, with more than one j): mean over j of -ln sigmoid(s_i - s_j);
//! - `log_loss` (He et al., WWW 2017, eq. 7; the point-wise loss of the RD paper): -ln sigmoid(s_i) - sum over j of
//!   ln(1 - sigmoid(s_j));
//! - `softmax` (sampled softmax without correction, also called InfoNCE): -ln(e^s_i / (e^s_i + sum over j of e^s_j));
//! - `hinge` (Hsieh et al., WWW 2017, eq. 2 and 3, as in the authors' code): w [margin - s_i + s_j]+ for the hardest of the j,
//!   with s = -distance^2. The weight w = ln(1 + r) follows Weston et al.'s WARP: r, the rank of the target, is estimated as
//!   items x the share of the j with margin - s_i + s_j > 0. It has no gradient;
//! - `cosine_contrastive` (Mao et al., CIKM 2021, eq. 1): (1 - s_i) + weight x mean over j of [s_j - margin]+, for scores that
//!   are cosines.
//!
//! A row's loss is the sum over its targets. Users who have seen the whole catalogue have no negative: `bpr`, `softmax`
//! and `hinge` learn nothing of them.

use rankstill_core::kernel::math::{
    exp, exp_slice, ln, sigmoid, sigmoid_slice, softplus, softplus_slice,
};
use rankstill_core::kernel::sample::Positives;
use rankstill_core::{
    Batch, Grad, Interactions, ItemId, Lists, Objective, Result, Row, Scores, Slate, UserId,
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
    /// What they are drawn from.
    pub among: NegativePool,
}

/// What negatives are drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativePool {
    /// What the user has not seen.
    #[default]
    Unseen,
    /// The whole catalogue, targets included, as in SimpleX's code: with many negatives that keeps a model from learning its log by
    /// heart. Where users have seen much of the catalogue it does harm.
    Everything,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Pairs.
    Bpr,
    /// Points, by logistic regression.
    LogLoss,
    /// The target among the sampled.
    Softmax,
    /// The target against the hardest of the sampled, weighted by its estimated rank: `{"hinge": {"margin": 0.5}}`.
    Hinge(Hinge),
    /// Cosines: the target's towards 1, the sampled ones' below a margin:
    /// `{"cosine_contrastive": {"margin": 0.9, "weight": 150}}`.
    CosineContrastive(CosineContrastive),
}

/// Settings of [`LossKind::Hinge`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hinge {
    /// By how much the target's score must exceed the others'.
    pub margin: f32,
}

impl Default for Hinge {
    fn default() -> Self {
        Self { margin: 1.0 }
    }
}

/// Settings of [`LossKind::CosineContrastive`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineContrastive {
    /// Sampled items with a cosine below it are far enough.
    pub margin: f32,
    /// What the sampled items count against the target.
    pub weight: f32,
}

impl Default for CosineContrastive {
    fn default() -> Self {
        Self { margin: 0.9, weight: 150.0 }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Self { kind: LossKind::Bpr, negatives: 1, among: NegativePool::Unseen }
    }
}

impl Loss {
    /// Says what is wrong with the settings, if anything is.
    ///
    /// # Errors
    /// When a number is below 0, there is no negative, or more than fit into memory.
    pub fn check(&self) -> Result<()> {
        let numbers = match self.kind {
            LossKind::Hinge(hinge) => vec![("margin", hinge.margin)],
            LossKind::CosineContrastive(ccl) => {
                vec![("margin", ccl.margin), ("weight", ccl.weight)]
            }
            LossKind::Bpr | LossKind::LogLoss | LossKind::Softmax => vec![],
        };
        for (key, value) in numbers {
            if !(value >= 0.0 && value.is_finite()) {
                let problem = format!("`{key}` must be at least 0, is {value}");
                return Err(crate::invalid("loss.kind", problem));
            }
        }
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
    /// Negatives will be outside the histories of `train`, but where the loss says otherwise.
    #[must_use]
    pub fn new(loss: Loss, train: &Interactions) -> Self {
        let positives = Positives::new(train.items().iter(), train.n_items() as u32);
        Self { loss, positives }
    }

    /// A row of the slate, appended to `out`: its targets and their negatives.
    fn draw(&self, batch: &Batch<'_>, at: usize, seen: &mut Vec<u64>, out: &mut Vec<ItemId>) {
        let mut rng = batch.rng(at, NEGATIVES);
        let targets = batch.targets(at);
        out.extend_from_slice(targets);
        let n = targets.len() * self.loss.negatives;
        if self.loss.among == NegativePool::Everything {
            return out.extend((0..n).map(|_| rng.below(self.positives.n_items())));
        }
        if let Some(user) = self.known(batch, at) {
            if n >= MANY {
                return self.positives.many_negatives(user, n, &mut rng, seen, out);
            }
            out.extend((0..n).map_while(|_| self.positives.negative(user, &mut rng)));
            return;
        }
        // Somebody whom the training data do not know: one user's worth of a sampler.
        let seen = [batch.case(at).query.history, targets].concat();
        let seen = Positives::new([seen.as_slice()], self.positives.n_items());
        out.extend((0..n).map_while(|_| seen.negative(0, &mut rng)));
    }

    /// Has what the draws of a row will look at fetched from memory; of many draws, the first.
    fn foresee(&self, batch: &Batch<'_>, at: usize) {
        if self.loss.among == NegativePool::Everything || self.loss.negatives >= MANY {
            return; // draws look nothing up in the filter of all
        }
        if let Some(user) = self.known(batch, at) {
            let n = self.loss.negatives.min(MOST_FORESEEN);
            self.positives.foresee(user, n, batch.rng(at, NEGATIVES));
        }
    }

    /// The row's user, if the training data know them.
    fn known(&self, batch: &Batch<'_>, at: usize) -> Option<UserId> {
        batch.user(at).filter(|&user| (user as usize) < self.positives.n_users())
    }
}

/// Keeps these draws apart from all others.
const NEGATIVES: u64 = 0x4e45_4741;

/// From so many draws a row on, a set of what its user has seen is worth making.
const MANY: usize = 64;

/// Rows of one task.
const CHUNK: usize = 256;

/// How many rows ahead of its draws a row is first fetched from memory, and then its draws are foreseen, so many at most:
/// they must outlast the wait in a core's own cache.
const FAR: usize = 24;
const NEAR: usize = 8;
const MOST_FORESEEN: usize = 16;

impl Objective for Sampled {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let chunks: Vec<Lists<ItemId>> = (0..batch.len().div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let rows = chunk * CHUNK..((chunk + 1) * CHUNK).min(batch.len());
                let values = rows.len() * (1 + self.loss.negatives);
                let mut lists = Lists::with_capacity(rows.len(), values);
                let (mut seen, mut row) = (Vec::new(), Vec::with_capacity(1 + self.loss.negatives));
                for at in rows.start..rows.end + FAR {
                    // From memory come first who asks and the targets, then what the draws look at.
                    if at < rows.end {
                        batch.cases.prefetch(batch.rows[at] as usize);
                    }
                    if let Some(at) = at.checked_sub(FAR - NEAR).filter(|at| rows.contains(at)) {
                        self.foresee(batch, at);
                    }
                    if let Some(at) = at.checked_sub(FAR).filter(|at| rows.contains(at)) {
                        row.clear();
                        self.draw(batch, at, &mut seen, &mut row);
                        lists.push(row.iter().copied());
                    }
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
        let n_targets = row.batch.targets(row.at).len();
        let (targets, negatives) = scores.listed.split_at(n_targets);
        let (to_targets, to_negatives) = grad.listed.split_at_mut(n_targets);
        let each = negatives.len() / n_targets.max(1);
        let of_target =
            |target: f32, negatives: &[f32], to: &mut f32, to_negatives: &mut [f32]| match self
                .loss
                .kind
            {
                LossKind::Bpr => bpr(target, negatives, to, to_negatives),
                LossKind::LogLoss => log_loss(target, negatives, to, to_negatives),
                LossKind::Softmax => softmax(target, negatives, to, to_negatives),
                LossKind::Hinge(Hinge { margin }) => {
                    let n_items = self.positives.n_items();
                    hinge(margin, n_items, target, negatives, to, to_negatives)
                }
                LossKind::CosineContrastive(settings) => {
                    cosine_contrastive(settings, target, negatives, to, to_negatives)
                }
            };
        let mut sum = 0.0;
        for (t, (&target, to_target)) in targets.iter().zip(to_targets).enumerate() {
            let its = t * each..(t + 1) * each;
            sum += of_target(target, &negatives[its.clone()], to_target, &mut to_negatives[its]);
        }
        sum
    }

    fn plain_bpr(&self) -> Option<&Positives> {
        let plain = Loss { kind: LossKind::Bpr, negatives: 1, among: NegativePool::Unseen };
        (self.loss == plain).then_some(&self.positives)
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

fn hinge(
    margin: f32,
    n_items: u32,
    target: f32,
    negatives: &[f32],
    to_target: &mut f32,
    to_negatives: &mut [f32],
) -> f32 {
    let (mut hardest, mut violating) = (0, 0u32);
    for (j, &negative) in negatives.iter().enumerate() {
        violating += u32::from(margin - target + negative > 0.0);
        if negative > negatives[hardest] {
            hardest = j;
        }
    }
    if violating == 0 {
        return 0.0;
    }
    let rank = n_items as f32 * (violating as f32 / negatives.len() as f32);
    let weight = ln(1.0 + rank);
    *to_target -= weight;
    to_negatives[hardest] += weight;
    weight * (margin - target + negatives[hardest])
}

fn cosine_contrastive(
    settings: CosineContrastive,
    target: f32,
    negatives: &[f32],
    to_target: &mut f32,
    to_negatives: &mut [f32],
) -> f32 {
    let share = settings.weight / negatives.len().max(1) as f32;
    let mut beyond = 0.0;
    for (&negative, to_negative) in negatives.iter().zip(to_negatives) {
        if negative > settings.margin {
            beyond += negative - settings.margin;
            *to_negative = share;
        }
    }
    // Dropout can carry a target beyond a cosine of 1.
    let short = (1.0 - target).max(0.0);
    if short > 0.0 {
        *to_target -= 1.0;
    }
    short + share * beyond
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
    use rankstill_core::kernel::rng::Rng;
    use rankstill_core::{Cases, Span};
    use std::sync::Arc;

    const KINDS: [LossKind; 3] = [LossKind::Bpr, LossKind::LogLoss, LossKind::Softmax];

    fn all_losses() -> impl Iterator<Item = Loss> {
        KINDS.into_iter().flat_map(|kind| {
            [1, 3, 70].map(|negatives| Loss { kind, negatives, ..Loss::default() })
        })
    }

    fn row_of_one_target(loss: Loss, scores: &[f32]) -> (f32, Vec<f32>) {
        let train = testing::blocks();
        let cases = Cases::each_interaction(&train);
        let batch = Batch::new(&cases, &[0], 0, 1);
        let (mut grad, mut log_complement) = (vec![0.0; scores.len()], 0.0);
        let loss = Sampled::new(loss, &train).loss(
            Row { batch: &batch, at: 0, items: &[0, 11, 12][..scores.len()] },
            Scores { listed: scores, probes: &[], log_complement: f32::NEG_INFINITY },
            Grad { listed: &mut grad, log_complement: &mut log_complement },
        );
        (loss, grad)
    }

    #[test]
    fn one_target_and_two_negatives_by_hand() {
        // e^ln2 = 2, e^0 = 1, e^ln3 = 3.
        let scores = [2f32.ln(), 0.0, 3f32.ln()];
        let close = |kind, loss: f64, grad: [f64; 3]| {
            let ours = row_of_one_target(Loss { kind, negatives: 2, ..Loss::default() }, &scores);
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
    fn a_hinge_pushes_the_hardest_by_the_logarithm_of_the_estimated_rank() {
        let hinge = |margin| Loss {
            kind: LossKind::Hinge(Hinge { margin }),
            negatives: 2,
            ..Loss::default()
        };
        // Both of two are within the margin: all 40 items are held to be ahead.
        let (loss, grad) = row_of_one_target(hinge(0.5), &[0.3, 0.1, 0.0]);
        let weight = 41f64.ln();
        assert!((f64::from(loss) - 0.3 * weight).abs() < 1e-5, "{loss}");
        assert!((f64::from(grad[1]) - weight).abs() < 1e-5 && grad[2] == 0.0);
        assert_eq!(grad[0], -grad[1]);
        // One of two: half of them.
        let (loss, grad) = row_of_one_target(hinge(0.25), &[0.3, 0.0, 0.1]);
        let weight = 21f64.ln();
        assert!((f64::from(loss) - 0.05 * weight).abs() < 1e-5, "{loss}");
        assert!((f64::from(grad[2]) - weight).abs() < 1e-5 && grad[1] == 0.0);
        let (loss, grad) = row_of_one_target(hinge(0.1), &[0.3, 0.0, 0.1]);
        assert!(loss == 0.0 && grad == [0.0; 3]);
    }

    #[test]
    fn the_cosine_contrastive_loss_by_hand() {
        let kind = CosineContrastive { margin: 0.4, weight: 3.0 };
        let loss =
            Loss { kind: LossKind::CosineContrastive(kind), negatives: 2, ..Loss::default() };
        let (loss, grad) = row_of_one_target(loss, &[0.8, 0.6, 0.1]);
        // 0.2 + 3 / 2 * 0.2
        assert!((loss - 0.5).abs() < 1e-6, "{loss}");
        assert_eq!(grad, [-1.0, 1.5, 0.0]);
    }

    #[test]
    fn losses_with_kinks_have_the_slope_between_them() {
        const EPS: f32 = 1e-2;
        let kinds = [
            LossKind::Hinge(Hinge { margin: 0.7 }),
            LossKind::CosineContrastive(CosineContrastive { margin: 0.2, weight: 2.0 }),
        ];
        for kind in kinds {
            let mut checked = 0;
            for case in 0..50 {
                let mut scores = vec![0.0; 3];
                Rng::keyed(8, [case]).fill_normal(&mut scores, 0.0, 1.0);
                let at = |scores: &[f32]| {
                    row_of_one_target(Loss { kind, negatives: 2, ..Loss::default() }, scores)
                };
                let (here, grad) = at(&scores);
                for i in 0..3 {
                    let (mut up, mut down) = (scores.clone(), scores.clone());
                    (up[i], down[i]) = (up[i] + EPS, down[i] - EPS);
                    let (up, down) = (at(&up).0 - here, here - at(&down).0);
                    if (up - down).abs() < 1e-5 {
                        checked += 1;
                        let slope = (up + down) / (2.0 * EPS);
                        assert!((slope - grad[i]).abs() < 2e-3, "{kind:?}: {slope} {}", grad[i]);
                    }
                }
            }
            assert!(checked > 120, "{kind:?}: {checked} of 150");
        }
    }

    #[test]
    fn settings_of_a_loss_are_read_by_name() {
        use serde_json::json;
        let read = |kind| serde_json::from_value::<LossKind>(kind).unwrap();
        assert_eq!(read(json!({"hinge": {}})), LossKind::Hinge(Hinge::default()));
        let kind = read(json!({"cosine_contrastive": {"margin": 0.4}}));
        let expected = CosineContrastive { margin: 0.4, ..CosineContrastive::default() };
        assert_eq!(kind, LossKind::CosineContrastive(expected));
        let loss: Loss = serde_json::from_value(json!({"among": "everything"})).unwrap();
        assert_eq!(loss, Loss { among: NegativePool::Everything, ..Loss::default() });
        assert!(Sampled::new(loss, &testing::blocks()).plain_bpr().is_none());
        let wrong = LossKind::Hinge(Hinge { margin: -1.0 });
        let error =
            Loss { kind: wrong, negatives: 1, ..Loss::default() }.check().unwrap_err().to_string();
        assert_eq!(error, "loss.kind: `margin` must be at least 0, is -1");
    }

    #[test]
    fn far_scores_give_finite_losses() {
        for kind in KINDS {
            for scores in [[-300.0, 300.0, 0.0], [300.0, -300.0, -300.0]] {
                let (loss, grad) =
                    row_of_one_target(Loss { kind, negatives: 2, ..Loss::default() }, &scores);
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
        let objective =
            Sampled::new(Loss { kind: LossKind::Bpr, negatives: 20, ..Loss::default() }, &train);
        let rows = [2, 0, 1];
        let batch = Batch::new(&cases, &rows, 3, 1);
        let Slate::Lists { listed: lists, .. } = objective.slate(&batch) else { panic!() };
        assert_eq!(lists.row(0).len(), 1 + 20);
        assert_eq!(lists.row(1).len(), 2 + 40);
        assert_eq!(lists.row(2), [0], "nothing is left to sample");
        for at in [0, 1] {
            let targets = batch.case(at).targets;
            assert_eq!(&lists.row(at)[..targets.len()], targets);
            assert!(lists.row(at)[targets.len()..].iter().all(|item| *item >= 3));
        }
        let everything = Loss { negatives: 20, among: NegativePool::Everything, ..Loss::default() };
        let slate = Sampled::new(everything, &train).slate(&batch);
        let Slate::Lists { listed: lists, .. } = slate else { panic!() };
        assert_eq!(lists.row(2).len(), 1 + 20, "there is always something to sample");
        for at in 0..3 {
            let targets = batch.case(at).targets;
            assert_eq!(&lists.row(at)[..targets.len()], targets);
            let drawn = &lists.row(at)[targets.len()..];
            assert!(drawn.iter().all(|item| *item < 6) && drawn.iter().any(|item| *item < 3));
        }
    }

    #[test]
    fn a_row_draws_the_same_wherever_it_stands_and_afresh_every_epoch() {
        let train = testing::blocks();
        let cases = Cases::each_interaction(&train);
        let objective =
            Sampled::new(Loss { kind: LossKind::Bpr, negatives: 3, ..Loss::default() }, &train);
        let all: Vec<u32> = (0..cases.len() as u32).collect();
        let of = |rows: &[u32], epoch| match objective.slate(&Batch::new(&cases, rows, epoch, 1)) {
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
