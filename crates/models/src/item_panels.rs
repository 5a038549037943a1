//! Every item's score for every query, for models that are factored: the items are packed once, when they are first asked
//! for, until the model changes.

use rankstill_core::kernel::panels::{Order, Panels};
use rankstill_core::{Factored, Query};
use rayon::prelude::*;
use std::sync::OnceLock;

/// A factored model's items, packed for products.
#[derive(Default)]
pub(crate) struct ItemPanels(OnceLock<Panels>);

impl ItemPanels {
    /// See [`rankstill_core::Scorer::score`].
    pub fn score(&self, model: &dyn Factored, queries: &[Query<'_>], out: &mut [f32]) {
        let items = model.items();
        if items.len == 0 {
            return;
        }
        let panels = self.0.get_or_init(|| Panels::pack(items.rows(), Order::Id));
        let mut vectors = vec![0.0; queries.len() * items.dim];
        model.embed(queries, &mut vectors);
        out.par_chunks_mut(items.len)
            .zip(vectors.par_chunks(items.dim))
            .for_each(|(out, vector)| panels.score_row(vector, out));
    }

    /// The model has changed.
    pub fn forget(&mut self) {
        self.0 = OnceLock::new();
    }
}
