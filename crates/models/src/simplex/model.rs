//! The model: the users' unit vectors, the items' embeddings and their unit vectors, and new users.

use super::Simplex;
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::table::Table;
use rankstill_core::state;
use rankstill_core::{Error, Factored, Factors, ItemId, Model, Query, Result, Tensors};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Unit vectors of users, and embeddings of items with their optimiser during training.
pub(super) struct SimplexModel {
    /// Unit vectors. They take no steps.
    pub users: Table,
    pub items: Table,
    /// Unit vectors of the items. They take no steps.
    pub units: Table,
    /// The items' separate embeddings for histories, if any.
    pub apart: Option<Table>,
    /// W, row-major; empty where histories have no weight.
    pub map: Vec<f32>,
    panels: ItemPanels,
    mean_user: OnceLock<Vec<f32>>,
}

impl SimplexModel {
    pub fn new(recipe: &Simplex, n_users: usize, n_items: usize, optimizer: &Optimizer) -> Self {
        let still = Optimizer::Sgd(Sgd::default());
        Self {
            users: Table::new(n_users, recipe.dim, still.clone()),
            items: Table::new(n_items, recipe.dim, optimizer.clone()),
            units: Table::new(n_items, recipe.dim, still),
            apart: recipe
                .has_second_table()
                .then(|| Table::new(n_items, recipe.dim, optimizer.clone())),
            map: if recipe.mixes() { identity(recipe.dim) } else { Vec::new() },
            panels: ItemPanels::default(),
            mean_user: OnceLock::new(),
        }
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &Simplex, tensors: &Tensors) -> Result<Self> {
        let (_, _, user_dim) = tensors.matrix("users")?;
        let (items, n_items, item_dim) = tensors.matrix("items")?;
        for (name, found) in [("users", user_dim), ("items", item_dim)] {
            if found != recipe.dim {
                let problem = format!("expected rows of {}, found rows of {found}", recipe.dim);
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let mut model = Self::new(recipe, 0, n_items, &Optimizer::Sgd(Sgd::default()));
        model.users = crate::parts::users::loaded(tensors, recipe.dim)?;
        model.items.import(items).map_err(state::wrong("items"))?;
        if let Some(apart) = &mut model.apart {
            let vectors = tensors.f32s("apart", n_items * recipe.dim)?;
            apart.import(vectors).map_err(state::wrong("apart"))?;
        }
        if recipe.mixes() {
            model.map = tensors.f32s("map", recipe.dim * recipe.dim)?.to_vec();
        }
        model.direct_all();
        Ok(model)
    }

    /// The items' embeddings for histories.
    pub fn pooled(&self) -> &Table {
        self.apart.as_ref().unwrap_or(&self.items)
    }

    /// Computes the unit vectors of all items.
    pub fn direct_all(&mut self) {
        let Self { items, units, .. } = self;
        units.init(|item, unit| {
            direct(items.row(item), unit);
        });
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
            let mean = || mean_of(&self.users, 0..self.users.n_rows() as u32);
            return out.copy_from_slice(self.mean_user.get_or_init(mean));
        }
        let mean = mean_of(self.pooled(), history.into_iter());
        if self.map.is_empty() {
            direct(&mean, out);
            return;
        }
        let rows = self.map.chunks_exact(mean.len());
        let mapped: Vec<f32> =
            rows.map(|row| row.iter().zip(&mean).fold(0.0, |sum, (w, x)| sum + w * x)).collect();
        direct(&mapped, out);
    }
}

/// The mean of some rows; 0 if there are none.
fn mean_of(table: &Table, rows: impl ExactSizeIterator<Item = u32>) -> Vec<f32> {
    let n = rows.len().max(1) as f64;
    let mut sum = vec![0.0; table.dim()];
    for row in rows {
        sum.iter_mut().zip(table.row(row as usize)).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sum.iter().map(|sum| (sum / n) as f32).collect()
}

/// Writes a vector's unit vector and returns its norm. That of 0 is 0.
pub(super) fn direct(vector: &[f32], unit: &mut [f32]) -> f32 {
    let length = vector.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    unit.iter_mut().zip(vector).for_each(|(unit, x)| *unit = scale * x);
    length
}

/// The gradient of a vector from that of its unit vector: the component along the vector vanishes.
pub(super) fn back_from_direction(unit: &[f32], length: f32, given: &[f32], out: &mut [f32]) {
    let along = unit.iter().zip(given).fold(0.0, |sum, (u, g)| sum + u * g);
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    for ((out, unit), given) in out.iter_mut().zip(unit).zip(given) {
        *out = scale * (given - along * unit);
    }
}

fn identity(dim: usize) -> Vec<f32> {
    (0..dim * dim).map(|at| f32::from(u8::from(at / dim == at % dim))).collect()
}

crate::parts::item_panels::scores_by_products!(SimplexModel);

impl Factored for SimplexModel {
    fn items(&self) -> Factors<'_> {
        factors(&self.units)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        out.par_chunks_mut(self.units.dim())
            .zip(queries)
            .with_min_len(64)
            .for_each(|(out, query)| self.embed_one(query, out));
    }
}

impl Model for SimplexModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let dim = self.items.dim();
        tensors.insert("users", &[self.users.n_rows(), dim], self.users.export());
        tensors.insert("items", &[self.items.n_rows(), dim], self.items.export());
        if let Some(apart) = &self.apart {
            tensors.insert("apart", &[apart.n_rows(), dim], apart.export());
        }
        if !self.map.is_empty() {
            tensors.insert("map", &[dim, dim], self.map.clone());
        }
        tensors
    }

    fn n_parameters(&self) -> usize {
        let apart = self.apart.as_ref().map_or(0, Table::n_parameters);
        self.users.n_parameters() + self.items.n_parameters() + apart + self.map.len()
    }
}
