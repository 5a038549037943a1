//! The model: the final embeddings, their products, and new users.

use super::LightGcn;
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::table::Table;
use rankstill_core::state;
use rankstill_core::{Error, Factored, Factors, ItemId, Model, Query, Result, Tensors};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Final embeddings of users and items. The tables take no steps: they are computed from layer 0.
pub(super) struct LightGcnModel {
    pub users: Table,
    pub items: Table,
    /// Number of neighbours of each item.
    item_degrees: Vec<u32>,
    panels: ItemPanels,
    mean_user: OnceLock<Vec<f32>>,
}

impl LightGcnModel {
    pub fn new(dim: usize, n_users: usize, n_items: usize, item_degrees: Vec<u32>) -> Self {
        let table = |n| Table::new(n, dim, Optimizer::Sgd(Sgd::default()));
        Self {
            users: table(n_users),
            items: table(n_items),
            item_degrees,
            panels: ItemPanels::default(),
            mean_user: OnceLock::new(),
        }
    }

    /// From [`Model::tensors`].
    pub fn loaded(recipe: &LightGcn, tensors: &Tensors) -> Result<Self> {
        let (_, _, user_dim) = tensors.matrix("users")?;
        let (items, n_items, item_dim) = tensors.matrix("items")?;
        let degrees = tensors.u32s("item_degrees")?;
        for (name, what, found, expected) in [
            ("users", "columns", user_dim, recipe.dim),
            ("items", "columns", item_dim, recipe.dim),
            ("item_degrees", "numbers", degrees.len(), n_items),
        ] {
            if found != expected {
                let problem = format!("expected {expected} {what}, found {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let mut model = Self::new(recipe.dim, 0, n_items, degrees.to_vec());
        model.users = crate::parts::users::loaded(tensors, recipe.dim)?;
        model.items.import(items).map_err(state::wrong("items"))?;
        Ok(model)
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.panels.forget();
        self.mean_user = OnceLock::new();
    }

    fn embed_one(&self, query: &Query<'_>, out: &mut [f32]) {
        if let Some(user) = query.user.filter(|&user| (user as usize) < self.users.n_rows()) {
            return out.copy_from_slice(self.users.row(user as usize));
        }
        let mut history: Vec<ItemId> = query.history.to_vec();
        history.retain(|&item| (item as usize) < self.items.n_rows());
        history.sort_unstable();
        history.dedup();
        if history.is_empty() {
            return out.copy_from_slice(self.mean_user.get_or_init(|| self.mean_user()));
        }
        out.fill(0.0);
        for &item in &history {
            let both = history.len() as f64 * f64::from(self.item_degrees[item as usize].max(1));
            let share = both.sqrt().recip() as f32;
            let vector = self.items.row(item as usize);
            out.iter_mut().zip(vector).for_each(|(out, x)| *out += share * x);
        }
    }

    fn mean_user(&self) -> Vec<f32> {
        let n = self.users.n_rows();
        let mut mean = vec![0.0; self.users.dim()];
        for user in 0..n {
            mean.iter_mut().zip(self.users.row(user)).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter().map(|sum| (sum / n.max(1) as f64) as f32).collect()
    }
}

crate::parts::item_panels::scores_by_products!(LightGcnModel);

impl Factored for LightGcnModel {
    fn items(&self) -> Factors<'_> {
        factors(&self.items)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        out.par_chunks_mut(self.items.dim())
            .zip(queries)
            .with_min_len(64)
            .for_each(|(out, query)| self.embed_one(query, out));
    }
}

impl Model for LightGcnModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let dim = self.items.dim();
        tensors.insert("users", &[self.users.n_rows(), dim], self.users.export());
        tensors.insert("items", &[self.items.n_rows(), dim], self.items.export());
        tensors.insert("item_degrees", &[self.item_degrees.len()], self.item_degrees.clone());
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.users.n_parameters() + self.items.n_parameters() + self.item_degrees.len()
    }
}
