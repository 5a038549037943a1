//! The seam between models and losses: a learner scores a slate, an objective turns the scores into a loss
//! and its gradient. Models and distillers know of each other only through these scores, or through vectors
//! (see [`crate::vectors`]).

use crate::kernel::sample::Positives;
use crate::{Batch, Case, Cases, ItemId, Model, Result, Slate, Tensors, VectorObjective};

/// A model in training.
pub trait Learner: Model {
    /// One optimiser step on `batch`: scores the slate, evaluates the objective, back-propagates. Returns the
    /// summed loss of the batch's rows; the step follows the mean loss (or the sum, for some recipes).
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64;

    /// A whole epoch at once, for learners with a fused kernel for this objective; returns the summed loss.
    /// `None` if there is no such kernel: the training loop then steps batch by batch.
    fn epoch(&mut self, _epoch: usize, _seed: u64, _objective: &dyn Objective) -> Option<f64> {
        None
    }

    /// Brings lazily updated parameters up to date; called before the model is read.
    fn settle(&mut self) {}

    /// Everything that the next step depends on: parameters and the optimiser's state.
    fn state(&self) -> Tensors;
}

/// A loss: from the scores of a slate to a number and its gradient with respect to those scores.
pub trait Objective: Send + Sync {
    /// The items to score for a batch.
    fn slate(&self, batch: &Batch<'_>) -> Slate;

    /// The loss of one row. Writes d loss / d score to `grad`, which is zero on entry. Called from several threads.
    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32;

    /// Whether the loss is defined per query and not per case: the learner then gets only the first row of each query of a
    /// batch.
    fn once_per_query(&self) -> bool {
        false
    }

    /// An additional loss on the student's vectors, if there is one.
    fn vector_objective(&self) -> Option<&dyn VectorObjective> {
        None
    }

    /// What whoever runs a training should know of how the loss is computed.
    fn note(&self) -> Option<String> {
        None
    }

    /// Called before each epoch with the current student: curricula move their targets here.
    ///
    /// # Errors
    /// When the student cannot be queried.
    fn refresh(&mut self, _epoch: usize, _student: &dyn Model, _cases: &Cases) -> Result<()> {
        Ok(())
    }

    /// What [`Objective::refresh`] has accumulated and the objective's own parameters, for checkpoints.
    fn state(&self) -> Tensors {
        Tensors::default()
    }

    /// Restores an [`Objective::state`].
    ///
    /// # Errors
    /// When it is not a state of this objective.
    fn restore(&mut self, _state: &Tensors) -> Result<()> {
        Ok(())
    }

    /// Set for plain BPR with one uniform negative: learners may then run a fused kernel.
    fn plain_bpr(&self) -> Option<&Positives> {
        None
    }
}

/// One row of a batch, as an objective sees it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The batch.
    pub batch: &'a Batch<'a>,
    /// The slate that was drawn for it.
    pub slate: &'a Slate,
    /// The row's position in both.
    pub at: usize,
}

impl<'a> Row<'a> {
    /// The index of the case among the training cases.
    #[must_use]
    pub fn index(&self) -> usize {
        self.batch.rows[self.at] as usize
    }

    /// The case.
    #[must_use]
    pub fn case(&self) -> Case<'a> {
        self.batch.case(self.at)
    }

    /// The listed items of its slate; empty for [`Slate::All`].
    #[must_use]
    pub fn items(&self) -> &'a [ItemId] {
        self.slate.listed().map_or(&[], |listed| listed.row(self.at))
    }
}

/// The scores of one row's slate.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Parallel to the listed items; the scores of all items for [`Slate::All`].
    pub listed: &'a [f32],
    /// Parallel to the row's probes ([`Slate::probes`]); empty if there are none.
    pub probes: &'a [f32],
    /// The log-sum-exp of the complement's scores, for rows of [`Slate::WithComplement`] that need it, and of the drawn items' for rows
    /// of [`Slate::WithSample`]; -inf otherwise.
    pub log_complement: f32,
}

/// The gradient of one row's loss, parallel to [`Scores`]; probes have none.
#[derive(Debug)]
pub struct Grad<'a> {
    /// d loss / d listed score.
    pub listed: &'a mut [f32],
    /// d loss / d `log_complement`.
    pub log_complement: &'a mut f32,
}
