//! The models' own objectives: observed items against sampled negatives.
//!
//! A row's slate is its t targets, then t times `negatives` items, drawn uniformly with replacement from
//! outside the user's history (`among = "everything"`: from the whole catalogue) and redrawn in every epoch.
//! The first `negatives` of them belong to the first target, and so on. With scores s, the loss of a target i
//! and its negatives j in N is
//! - `bpr` (Rendle et al., UAI 2009, with more than one j): mean over j of -ln sigmoid(s_i - s_j);
//! - `log_loss` (He et al., WWW 2017, eq. 7; the pointwise loss of the RD paper): -ln sigmoid(s_i) - sum over j of
//!   ln(1 - sigmoid(s_j));
//! - `softmax` (sampled softmax without correction, also called InfoNCE): -ln(e^s_i / (e^s_i + sum over j of
//!   e^s_j));
//! - `hinge` (Hsieh et al., WWW 2017, eq. 2 and 3, as in the authors' code): w [margin - s_i + s_j]+ for the
//!   hardest j, with s = -distance^2. The weight w = ln(1 + r) follows Weston et al.'s WARP: r, the rank of the
//!   target, is estimated as
//!   items x the share of the j with margin - s_i + s_j > 0. No gradient flows through it;
//! - `cosine_contrastive` (Mao et al., CIKM 2021, eq. 1): (1 - s_i) + weight x mean over j of [s_j - margin]+,
//!   for scores that are cosines.
//!
//! A row's loss is the sum over its targets. Users who have seen the whole catalogue have no negatives: `bpr`,
//! `softmax` and `hinge` learn nothing from them.

use super::settings;
use rankstill_core::kernel::math::{
    exp, exp_slice, ln, sigmoid, sigmoid_slice, softplus, softplus_slice,
};
use rankstill_core::kernel::sample::Positives;
use rankstill_core::{
    Batch, Grad, Interactions, ItemId, Lists, Objective, Result, Row, Scores, Slate, UserId,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A sampled loss in a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// The kind of loss.
    pub kind: LossKind,
    /// Negatives per target.
    pub negatives: usize,
    /// The items that negatives are drawn from.
    pub among: NegativePool,
}

/// The items that negatives are drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativePool {
    /// Items that the user has not seen.
    #[default]
    Unseen,
    /// The whole catalogue, targets included, as in SimpleX's code: with many negatives this keeps a model from
    /// overfitting. It hurts where users have seen much of the catalogue.
    Everything,
}

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Pairwise logistic loss.
    Bpr,
    /// Pointwise logistic loss.
    LogLoss,
    /// Softmax over the target and its negatives.
    Softmax,
    /// The target against its hardest negative, weighted by the estimated rank: `{"hinge": {"margin": 0.5}}`.
    Hinge(Hinge),
    /// Pushes the target's cosine towards 1 and those of negatives below a margin:
    /// `{"cosine_contrastive": {"margin": 0.9, "weight": 150}}`.
    CosineContrastive(CosineContrastive),
}

/// Settings of [`LossKind::Hinge`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hinge {
    /// The margin by which the target's score must exceed those of negatives.
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
    /// Negatives with a cosine below it have no loss.
    pub margin: f32,
    /// Weight of the negatives against the target.
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
    /// Checks the settings.
    ///
    /// # Errors
    /// When a number is negative, or there are no negatives or more than fit into memory.
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
                return Err(settings::invalid("loss.kind", problem));
            }
        }
        match self.negatives {
            0 => Err(settings::invalid("loss.negatives", "must be at least 1")),
            1..=MOST_NEGATIVES => Ok(()),
            n => Err(settings::invalid(
                "loss.negatives",
                format!("must be at most {MOST_NEGATIVES}, is {n}"),
            )),
        }
    }
}

/// The slate, batch x negatives, must fit into memory.
const MOST_NEGATIVES: usize = 100_000;

/// [`Loss`] on some training data.
#[derive(Clone, Debug)]
pub struct Sampled {
    loss: Loss,
    positives: Positives,
}

impl Sampled {
    /// Unless the loss draws from everything, negatives are outside the histories of `train`.
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
        // A user who is not in the training data: a sampler for this user alone.
        let seen = [batch.case(at).query.history, targets].concat();
        let seen = Positives::new([seen.as_slice()], self.positives.n_items());
        out.extend((0..n).map_while(|_| seen.negative(0, &mut rng)));
    }

    /// Prefetches the memory that the draws of a row will read; of many draws, the first.
    fn foresee(&self, batch: &Batch<'_>, at: usize) {
        if self.loss.among == NegativePool::Everything || self.loss.negatives >= MANY {
            return; // such draws do not read the shared filter
        }
        if let Some(user) = self.known(batch, at) {
            let n = self.loss.negatives.min(MOST_FORESEEN);
            self.positives.foresee(user, n, batch.rng(at, NEGATIVES));
        }
    }

    /// The row's user, if in the training data.
    fn known(&self, batch: &Batch<'_>, at: usize) -> Option<UserId> {
        batch.user(at).filter(|&user| (user as usize) < self.positives.n_users())
    }
}

/// Random stream of the negatives.
const NEGATIVES: u64 = 0x4e45_4741;

/// From this number of draws per row on, a set of the user's seen items pays off.
const MANY: usize = 64;

/// Rows per task.
const CHUNK: usize = 256;

/// Number of rows ahead at which a row itself is prefetched, and then the memory of its draws, for at most
/// `MOST_FORESEEN` draws: they must survive in a core's own cache until used.
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
                    // First the row's query and targets are prefetched, then the memory of its draws.
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
    // Dropout can push a target beyond a cosine of 1.
    let short = (1.0 - target).max(0.0);
    if short > 0.0 {
        *to_target -= 1.0;
    }
    short + share * beyond
}

/// The sum of a function of every number. The function works in place and so needs a copy.
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
