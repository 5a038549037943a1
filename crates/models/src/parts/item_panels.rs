//! The scores of all items for factored models: the items are packed at first use and repacked after the model
//! changes.

use rankstill_core::kernel::panels::{PanelOrder, Panels};
use rankstill_core::kernel::table::Table;
use rankstill_core::{Factored, Factors, Query};
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
        let panels = self.0.get_or_init(|| Panels::pack(items.rows(), PanelOrder::Id));
        let mut vectors = vec![0.0; queries.len() * items.dim];
        model.embed(queries, &mut vectors);
        out.par_chunks_mut(items.len)
            .zip(vectors.par_chunks(items.dim))
            .for_each(|(out, vector)| panels.score_row(vector, out));
    }

    /// Must be called after every change of the model.
    pub fn forget(&mut self) {
        self.0 = OnceLock::new();
    }
}

/// The rows of a table as item vectors.
pub(crate) fn factors(items: &Table) -> Factors<'_> {
    let (data, stride) = items.params();
    Factors { data, len: items.n_rows(), dim: items.dim(), stride }
}

/// `impl Scorer` for a [`Factored`] model that keeps its [`ItemPanels`] as `panels`.
macro_rules! scores_by_products {
    ($model:ty) => {
        impl rankstill_core::Scorer for $model {
            fn n_items(&self) -> usize {
                rankstill_core::Factored::items(self).len
            }

            fn score(&self, queries: &[rankstill_core::Query<'_>], out: &mut [f32]) {
                self.panels.score(self, queries, out);
            }

            fn factored(&self) -> Option<&dyn rankstill_core::Factored> {
                Some(self)
            }
        }
    };
}
pub(crate) use scores_by_products;
