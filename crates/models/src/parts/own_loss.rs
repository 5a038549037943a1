//! The objective of a learner that knows its own loss and cannot be taught another: it scores nothing.

use rankstill_core::{Batch, Grad, ItemId, Lists, Objective, Row, Scores, Slate};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnLoss;

impl Objective for OwnLoss {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let nothing: Lists<ItemId> = (0..batch.len()).map(|_| []).collect();
        Slate::lists(nothing)
    }

    fn loss(&self, _row: Row<'_>, _scores: Scores<'_>, _grad: Grad<'_>) -> f32 {
        0.0
    }
}
