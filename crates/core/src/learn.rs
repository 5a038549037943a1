//! How a model is taught, without knowing by whom: models meet distillers only through scores and their gradients, or through
//! vectors and theirs (see [`crate::vectors`]).

use crate::kernel::rng::Rng;
use crate::{Case, Cases, ItemId, Lists, Model, Result, Scorer, Tensors, UserId, VectorObjective};
use std::sync::OnceLock;

/// A model in training.
pub trait Learner: Scorer + Model {
    /// One optimiser step on `batch`: score the slate, ask the objective, back-propagate. Returns the summed loss of the
    /// batch's rows; the step follows the mean (or the sum, where the recipe says so).
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64;

    /// A whole epoch at once, for learners with a fused kernel for this objective; `None` when there is none, and the loop
    /// goes batch by batch.
    fn epoch(&mut self, _epoch: usize, _seed: u64, _objective: &dyn Objective) -> Option<f64> {
        None
    }

    /// Brings lazily kept parameters up to date; called before anyone reads the model.
    fn settle(&mut self) {}

    /// Everything that the next step depends on: parameters and the optimiser's state.
    fn state(&self) -> Tensors;
}

/// Some rows of the training cases.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// All training cases.
    pub cases: &'a Cases,
    /// Which of them.
    pub rows: &'a [u32],
    /// 0-based.
    pub epoch: usize,
    /// The run's seed.
    pub seed: u64,
    /// See [`Batch::is_first`]: found when it is first asked for.
    first: OnceLock<Vec<bool>>,
}

impl<'a> Batch<'a> {
    /// These rows of `cases`, in the 0-based `epoch` of the run with this `seed`.
    #[must_use]
    pub fn new(cases: &'a Cases, rows: &'a [u32], epoch: usize, seed: u64) -> Self {
        Self { cases, rows, epoch, seed, first: OnceLock::new() }
    }

    /// Its row `at` alone, which is [first](Batch::is_first) if it is so in the whole batch.
    #[must_use]
    pub fn only(&self, at: usize) -> Self {
        let first = OnceLock::from(vec![self.is_first(at)]);
        Self { rows: &self.rows[at..=at], first, ..*self }
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The case of the batch's row `at`.
    #[must_use]
    pub fn case(&self, at: usize) -> Case<'a> {
        self.cases.case(self.rows[at] as usize)
    }

    /// Who asks in the batch's row `at`.
    #[must_use]
    pub fn user(&self, at: usize) -> Option<UserId> {
        self.cases.user(self.rows[at] as usize)
    }

    /// What is right in the batch's row `at`.
    #[must_use]
    pub fn targets(&self, at: usize) -> &'a [ItemId] {
        self.cases.targets_of(self.rows[at] as usize)
    }

    /// Whether no earlier row of the batch asks the same query (see [`Cases::query_of`]): what is to be learnt once a query
    /// and not once an interaction is learnt of this row.
    #[must_use]
    pub fn is_first(&self, at: usize) -> bool {
        self.first.get_or_init(|| self.firsts())[at]
    }

    fn firsts(&self) -> Vec<bool> {
        let query = |at: &usize| self.cases.query_of(self.rows[*at] as usize);
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(query); // stable: the first row of each query comes first
        let mut first = vec![false; self.len()];
        for (k, &at) in order.iter().enumerate() {
            first[at] = k == 0 || query(&order[k - 1]) != query(&at);
        }
        first
    }

    /// The generator of the batch's row `at`: keyed by (seed, purpose, epoch, case), so no thread, batch size or order can
    /// change what it draws. `purpose` keeps the draws of different places apart.
    #[must_use]
    pub fn rng(&self, at: usize, purpose: u64) -> Rng {
        Rng::keyed(self.seed, [purpose, self.epoch as u64, u64::from(self.rows[at])])
    }
}

/// The items that a learner must score for each query of a batch.
#[derive(Clone, Debug)]
pub enum Slate {
    /// Row *i* of the lists for row *i* of the batch: BPR, RD, CML, RRD as published.
    Lists {
        /// Scored one by one.
        listed: Lists<ItemId>,
        /// See [`Slate::probes`].
        probes: Lists<ItemId>,
    },
    /// The listed items, and as one number the summed exp of the scores of all other items but the left-out ones: HetComp,
    /// direct RRD, softmax.
    WithComplement {
        /// Scored one by one.
        listed: Lists<ItemId>,
        /// In neither.
        left_out: Lists<ItemId>,
        /// The rows that ask for the rest, ascending; to the others it is nothing, and costs nothing.
        asking: Vec<u32>,
        /// See [`Slate::probes`].
        probes: Lists<ItemId>,
    },
    /// Every item: autoencoders' targets, KL to a full distribution.
    All,
}

impl Slate {
    /// Lists without probes.
    #[must_use]
    pub fn lists(listed: Lists<ItemId>) -> Self {
        Self::Lists { listed, probes: Lists::default() }
    }

    /// Lists against the rest, for which every row asks, without probes.
    #[must_use]
    pub fn against(listed: Lists<ItemId>, left_out: Lists<ItemId>) -> Self {
        let asking = (0..listed.len() as u32).collect();
        Self::WithComplement { listed, left_out, asking, probes: Lists::default() }
    }

    /// Items that are only looked at, one row a row of the batch, or no row at all: RD estimates a rank from random ones. The
    /// objective is given their scores, which have no gradient, so that a learner need neither copy their vectors nor take a
    /// step for them. They may be items that are listed, left out or counted in the rest as well.
    #[must_use]
    pub fn probes(&self) -> Option<&Lists<ItemId>> {
        match self {
            Self::Lists { probes, .. } | Self::WithComplement { probes, .. } => {
                (!probes.is_empty()).then_some(probes)
            }
            Self::All => None,
        }
    }
}

/// Given the scores of a slate, the loss and its gradient with respect to those scores.
pub trait Objective: Send + Sync {
    /// What the learner shall score.
    fn slate(&self, batch: &Batch<'_>) -> Slate;

    /// The loss of one row. `grad` comes zeroed; write d loss / d score. Called from several threads.
    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32;

    /// Whether a query that several rows of a batch ask counts once: the learner is then given the first of them alone. For
    /// what is taught by query and not by case.
    fn once_a_query(&self) -> bool {
        false
    }

    /// What it asks of the student's vectors besides.
    fn of_vectors(&self) -> Option<&dyn VectorObjective> {
        None
    }

    /// Curricula move their targets here, before an epoch, looking at the student as it is.
    ///
    /// # Errors
    /// When the student cannot be asked.
    fn refresh(&mut self, _epoch: usize, _student: &dyn Model, _cases: &Cases) -> Result<()> {
        Ok(())
    }

    /// What [`Objective::refresh`] has accumulated, and parameters of its own, for checkpoints.
    fn state(&self) -> Tensors {
        Tensors::default()
    }

    /// Goes on from [`Objective::state`].
    ///
    /// # Errors
    /// When it is not a state of this objective.
    fn restore(&mut self, _state: &Tensors) -> Result<()> {
        Ok(())
    }

    /// Set when this is nothing but BPR with one uniform negative: learners may then run a fused kernel.
    fn plain_bpr(&self) -> Option<&crate::kernel::sample::Positives> {
        None
    }
}

/// One row of a batch, as an objective sees it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The batch.
    pub batch: &'a Batch<'a>,
    /// Which of its rows.
    pub at: usize,
    /// The listed items of its slate; empty for [`Slate::All`].
    pub items: &'a [ItemId],
}

impl<'a> Row<'a> {
    /// The case's number in the training cases.
    #[must_use]
    pub fn index(&self) -> usize {
        self.batch.rows[self.at] as usize
    }

    /// The case.
    #[must_use]
    pub fn case(&self) -> Case<'a> {
        self.batch.case(self.at)
    }
}

/// The scores of one row's slate.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Parallel to the listed items; every item's score for [`Slate::All`].
    pub listed: &'a [f32],
    /// Parallel to the row's probes ([`Slate::probes`]); empty where there is none.
    pub probes: &'a [f32],
    /// For a row of [`Slate::WithComplement`] that asks for it: ln of the summed exp of the rest's scores; -inf otherwise.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Interactions;

    #[test]
    fn a_row_is_first_if_none_before_it_asks_the_same() {
        let lines = Lists::from_iter([vec![0, 1], vec![2], vec![3, 4]]);
        let cases = Cases::each_interaction(&Interactions::new(5, lines, None, None).unwrap());
        let first = |rows: &[u32]| -> Vec<bool> {
            let batch = Batch::new(&cases, rows, 0, 1);
            (0..rows.len()).map(|at| batch.is_first(at)).collect()
        };
        // Cases 0 and 1 are user 0's, 3 and 4 user 2's.
        assert_eq!(first(&[1, 3, 0, 2, 4, 1]), [true, true, false, true, false, false]);
        assert_eq!(first(&[0]), [true]);
        let batch = Batch::new(&cases, &[0, 1, 3], 0, 1);
        assert_eq!([0, 1, 2].map(|at| batch.only(at).is_first(0)), [true, false, true]);
    }
}
