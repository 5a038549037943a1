//! A batch of training cases, and the items that a learner scores for it.

use crate::kernel::rng::Rng;
use crate::{Case, Cases, ItemId, Lists, UserId};
use std::borrow::Cow;
use std::sync::OnceLock;

/// Some rows of the training cases.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// All training cases.
    pub cases: &'a Cases,
    /// The rows of the batch.
    pub rows: &'a [u32],
    /// 0-based.
    pub epoch: usize,
    /// The seed of the run.
    pub seed: u64,
    /// See [`Batch::is_first`]; computed on first use.
    first: OnceLock<Vec<bool>>,
}

impl<'a> Batch<'a> {
    /// These rows of `cases`, in the 0-based `epoch` of the run with this `seed`.
    #[must_use]
    pub fn new(cases: &'a Cases, rows: &'a [u32], epoch: usize, seed: u64) -> Self {
        Self { cases, rows, epoch, seed, first: OnceLock::new() }
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The case of row `at`.
    #[must_use]
    pub fn case(&self, at: usize) -> Case<'a> {
        self.cases.case(self.rows[at] as usize)
    }

    /// The user of row `at`.
    #[must_use]
    pub fn user(&self, at: usize) -> Option<UserId> {
        self.cases.user(self.rows[at] as usize)
    }

    /// The targets of row `at`.
    #[must_use]
    pub fn targets(&self, at: usize) -> &'a [ItemId] {
        self.cases.targets_of(self.rows[at] as usize)
    }

    /// The number of the distinct query of row `at` (see [`Cases::query_of`]).
    #[must_use]
    pub fn query_of(&self, at: usize) -> usize {
        self.cases.query_of(self.rows[at] as usize)
    }

    /// Whether no earlier row of the batch has the same query (see [`Cases::query_of`]). A loss defined per query, and not per
    /// interaction, is applied to this row only.
    #[must_use]
    pub fn is_first(&self, at: usize) -> bool {
        self.first.get_or_init(|| self.firsts())[at]
    }

    fn firsts(&self) -> Vec<bool> {
        let query = |at: &usize| self.query_of(*at);
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(query); // stable: the first row of each query comes first
        let mut first = vec![false; self.len()];
        for (k, &at) in order.iter().enumerate() {
            first[at] = k == 0 || query(&order[k - 1]) != query(&at);
        }
        first
    }

    /// The random generator of row `at`. It is keyed by (seed, purpose, epoch, case), so draws do not depend
    /// on threads, batch size or order. `purpose` separates the draws of different parts of the program.
    #[must_use]
    pub fn rng(&self, at: usize, purpose: u64) -> Rng {
        Rng::keyed(self.seed, [purpose, self.epoch as u64, u64::from(self.rows[at])])
    }
}

/// The items that a learner must score for each query of a batch.
#[derive(Clone, Debug)]
pub enum Slate {
    /// Row *i* of the lists belongs to row *i* of the batch: BPR, RD, CML, RRD as published.
    Lists {
        /// Items to score.
        listed: Lists<ItemId>,
        /// See [`Slate::probes`].
        probes: Lists<ItemId>,
        /// See [`Slate::blended`].
        blended: Option<Box<Blended>>,
        /// See [`Slate::estimated`].
        estimated: Option<Box<Estimated>>,
    },
    /// The listed items and, as one number, the log-sum-exp of the complement: all items that are neither
    /// listed nor left out. HetComp, direct RRD, softmax.
    WithComplement {
        /// Items to score.
        listed: Lists<ItemId>,
        /// Items that are neither scored nor part of the complement.
        left_out: Lists<ItemId>,
        /// The rows that need the complement, ascending. Other rows do not compute it.
        asking: Vec<u32>,
        /// See [`Slate::probes`].
        probes: Lists<ItemId>,
        /// See [`Slate::blended`].
        blended: Option<Box<Blended>>,
    },
    /// The listed items and, as one number, the log-sum-exp of random items that some rows share, but for those that are barred from a
    /// row. Stands for the complement of another slate: see [`crate::rest`].
    WithSample {
        /// Items to score.
        listed: Lists<ItemId>,
        /// See [`Slate::probes`].
        probes: Lists<ItemId>,
        /// The random items: those of row i are `drawn.row(i / sharing)`; distinct, ascending, and equally many.
        drawn: Lists<ItemId>,
        /// How many rows share a draw.
        sharing: usize,
        /// See [`Slate::estimated`].
        estimated: Box<Estimated>,
    },
    /// Every item: the targets of autoencoders, KL divergence to a full distribution.
    All,
}

/// How a slate that serves two losses is divided between them.
#[derive(Clone, Debug)]
pub struct Blended {
    /// The slate of the first loss. Its listed items, and its probes, come first in each row.
    pub own: Slate,
    /// For each row, the number of items that the second loss lists, after those of `own`. Any further items are listed so that
    /// each loss can compute its own complement.
    pub added: Vec<u32>,
}

/// How a slate that estimates the complement of another one is divided.
#[derive(Clone, Debug)]
pub struct Estimated {
    /// The slate whose complement is estimated. Its listed items, and its probes, come first in each row.
    pub exact: Slate,
    /// For each row, the number of items of the complement that follow and stand for themselves. Any further items were drawn.
    pub top: Vec<u32>,
    /// For each row, which items of its draw are not for it: their positions, ascending. All are where nothing is asked for.
    pub barred: Lists<u32>,
    /// For each row, the logarithm of the number of items that each drawn one stands for.
    pub stands_for: Vec<f32>,
}

impl Estimated {
    /// The rows that ask for a complement, ascending.
    #[must_use]
    pub fn asking(&self) -> &[u32] {
        match &self.exact {
            Slate::WithComplement { asking, .. } => asking,
            _ => &[],
        }
    }
}

impl Slate {
    /// Lists without probes.
    #[must_use]
    pub fn lists(listed: Lists<ItemId>) -> Self {
        Self::Lists { listed, probes: Lists::default(), blended: None, estimated: None }
    }

    /// Lists with the complement for every row, without probes.
    #[must_use]
    pub fn with_complement(listed: Lists<ItemId>, left_out: Lists<ItemId>) -> Self {
        let asking = (0..listed.len() as u32).collect();
        Self::WithComplement { listed, left_out, asking, probes: Lists::default(), blended: None }
    }

    /// The items to score one by one; `None` for [`Slate::All`].
    #[must_use]
    pub fn listed(&self) -> Option<&Lists<ItemId>> {
        match self {
            Self::Lists { listed, .. }
            | Self::WithComplement { listed, .. }
            | Self::WithSample { listed, .. } => Some(listed),
            Self::All => None,
        }
    }

    /// Items whose scores the objective reads without a gradient, one list per row of the batch, or `None`.
    /// (RD estimates a rank from random items.) A learner neither copies their vectors nor updates them.
    /// Probes may also be listed, left out or part of the complement.
    #[must_use]
    pub fn probes(&self) -> Option<&Lists<ItemId>> {
        match self {
            Self::Lists { probes, .. }
            | Self::WithComplement { probes, .. }
            | Self::WithSample { probes, .. } => (!probes.is_empty()).then_some(probes),
            Self::All => None,
        }
    }

    /// The items left out of the complement of row `at`; `None` for rows that do not need a complement.
    #[must_use]
    pub fn left_out(&self, at: usize) -> Option<&[ItemId]> {
        match self {
            Self::WithComplement { left_out, asking, .. } => {
                asking.binary_search(&(at as u32)).is_ok().then(|| left_out.row(at))
            }
            Self::Lists { .. } | Self::WithSample { .. } | Self::All => None,
        }
    }

    /// If the slate serves two losses: how it is divided between them.
    #[must_use]
    pub fn blended(&self) -> Option<&Blended> {
        match self {
            Self::Lists { blended, .. } | Self::WithComplement { blended, .. } => {
                blended.as_deref()
            }
            Self::WithSample { .. } | Self::All => None,
        }
    }

    /// If the slate estimates the complement of another one: how it is divided. See [`crate::rest`].
    #[must_use]
    pub fn estimated(&self) -> Option<&Estimated> {
        match self {
            Self::Lists { estimated, .. } => estimated.as_deref(),
            Self::WithSample { estimated, .. } => Some(estimated),
            Self::WithComplement { .. } | Self::All => None,
        }
    }

    /// Whether a step on it reaches every item.
    #[must_use]
    pub fn reaches_all(&self) -> bool {
        matches!(self, Self::WithComplement { .. } | Self::All)
    }

    /// The random items of all rows, one draw after the other ([`Slate::WithSample`]).
    #[must_use]
    pub fn drawn(&self) -> &[ItemId] {
        match self {
            Self::WithSample { drawn, .. } => drawn.values(),
            Self::Lists { .. } | Self::WithComplement { .. } | Self::All => &[],
        }
    }

    /// Those of them that stand for the complement of row `at`.
    pub fn drawn_for(&self, at: usize) -> impl Iterator<Item = ItemId> + '_ {
        let (drawn, barred): (&[ItemId], &[u32]) = match self {
            Self::WithSample { drawn, sharing, estimated, .. } => {
                (drawn.row(at / sharing), estimated.barred.row(at))
            }
            Self::Lists { .. } | Self::WithComplement { .. } | Self::All => (&[], &[]),
        };
        let mut barred = barred.iter().copied().peekable();
        let free = move |(at, _): &(u32, &ItemId)| barred.next_if_eq(at).is_none();
        (0..).zip(drawn).filter(free).map(|(_, &item)| item)
    }

    /// The same with shared items listed in each row, for learners that have no quicker way with them.
    #[must_use]
    pub fn spelled_out(&self) -> Cow<'_, Self> {
        let Self::WithSample { listed, probes, drawn, sharing, estimated } = self else {
            return Cow::Borrowed(self);
        };
        let n = listed.values().len() + sharing * drawn.values().len();
        let mut all = Lists::with_capacity(listed.len(), n);
        for (at, row) in listed.iter().enumerate() {
            all.push(row.iter().copied().chain(self.drawn_for(at)));
        }
        let (probes, estimated) = (probes.clone(), Some(estimated.clone()));
        Cow::Owned(Self::Lists { listed: all, probes, blended: None, estimated })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Interactions;

    #[test]
    fn a_row_is_first_if_no_earlier_row_has_its_query() {
        let lines = Lists::from_iter([vec![0, 1], vec![2], vec![3, 4]]);
        let cases = Cases::each_interaction(&Interactions::new(5, lines, None, None).unwrap());
        let first = |rows: &[u32]| -> Vec<bool> {
            let batch = Batch::new(&cases, rows, 0, 1);
            (0..rows.len()).map(|at| batch.is_first(at)).collect()
        };
        // Cases 0 and 1 are user 0's, 3 and 4 user 2's.
        assert_eq!(first(&[1, 3, 0, 2, 4, 1]), [true, true, false, true, false, false]);
        assert_eq!(first(&[0]), [true]);
    }
}
