//! The model: points of users and items, and the items' extended vectors that make distances dot products.

use super::Cml;
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::dense::squared_norm;
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Table;
use rankstill_core::state;
use rankstill_core::{
    Error, Factored, Factors, Interactions, ItemId, Model, Query, Result, Tensors,
};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Points, with their optimiser during training.
pub(super) struct CmlModel {
    pub users: Table,
    pub items: Table,
    /// (v, |v|^2, 1) of every item. Takes no steps; recomputed from items about to be read.
    pub extended: Table,
    panels: ItemPanels,
    centroid: OnceLock<Vec<f32>>,
}

impl CmlModel {
    fn new(recipe: &Cml, n_users: usize, n_items: usize, optimizer: &Optimizer) -> Self {
        let ball = recipe.max_norm as f32;
        Self {
            users: Table::new(n_users, recipe.dim, optimizer.clone()).in_ball(ball),
            items: Table::new(n_items, recipe.dim, optimizer.clone()).in_ball(ball),
            extended: Table::new(n_items, recipe.dim + 2, Optimizer::Sgd(Sgd::default())),
            panels: ItemPanels::default(),
            centroid: OnceLock::new(),
        }
    }

    /// Normally distributed points, projected into the ball.
    pub fn random(recipe: &Cml, train: &Interactions, seed: u64) -> Self {
        let mut model = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        let (std, most) = (recipe.init_std as f32, recipe.max_norm as f32);
        for (which, table) in [(0, &mut model.users), (1, &mut model.items)] {
            table.init(|row, point| {
                Rng::keyed(seed, [INIT, which, row as u64]).fill_normal(point, 0.0, std);
                project(point, most);
            });
        }
        model.extend_all();
        model
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &Cml, tensors: &Tensors) -> Result<Self> {
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
        model.extend_all();
        Ok(model)
    }

    /// From [`CmlModel::state`].
    pub fn resumed(recipe: &Cml, train: &Interactions, kept: &Tensors) -> Result<Self> {
        let mut model = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        for (name, table) in [("users", &mut model.users), ("items", &mut model.items)] {
            table.restore(&state::read(kept, name)?).map_err(state::wrong(name))?;
        }
        model.extend_all();
        Ok(model)
    }

    /// The tables with their optimiser state.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "users", self.users.state());
        state::insert(&mut tensors, "items", self.items.state());
        tensors
    }

    /// Brings all items up to date and computes their extended vectors.
    pub fn extend_all(&mut self) {
        let Self { items, extended, .. } = self;
        items.settle();
        extended.init(|item, extended| extend_item(items.row(item), extended));
    }

    /// The same for some items, whose points are copied to `points`, the table's stride apart.
    pub fn extend_rows(&mut self, slots: &Slots, points: &mut Vec<f32>) {
        let Self { items, extended, .. } = self;
        let (dim, stride) = (items.dim(), items.stride());
        points.resize(slots.len() * stride, 0.0);
        items.fetch(slots, points);
        extended.init_rows(slots, |slot, extended| {
            extend_item(&points[slot * stride..][..dim], extended)
        });
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.panels.forget();
        self.centroid = OnceLock::new();
    }

    /// The point of the query's user.
    fn point_of(&self, query: &Query<'_>, point: &mut [f32]) {
        if let Some(user) = query.user.filter(|&user| (user as usize) < self.users.n_rows()) {
            return point.copy_from_slice(self.users.row(user as usize));
        }
        let mut history: Vec<ItemId> = query.history.to_vec();
        history.retain(|&item| (item as usize) < self.items.n_rows());
        history.sort_unstable();
        history.dedup();
        if history.is_empty() {
            let all_users = || centroid_of(&self.users, 0..self.users.n_rows() as u32);
            return point.copy_from_slice(self.centroid.get_or_init(all_users));
        }
        point.copy_from_slice(&centroid_of(&self.items, history.into_iter()));
    }
}

/// The mean of some rows; 0 if there are none.
fn centroid_of(table: &Table, rows: impl ExactSizeIterator<Item = u32>) -> Vec<f32> {
    let n = rows.len().max(1) as f64;
    let mut sum = vec![0.0; table.dim()];
    for row in rows {
        sum.iter_mut().zip(table.row(row as usize)).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sum.iter().map(|sum| (sum / n) as f32).collect()
}

/// Projects an initial point onto the ball.
fn project(point: &mut [f32], max_norm: f32) {
    let norm = squared_norm(point).sqrt();
    if norm > max_norm {
        let back = max_norm / norm;
        point.iter_mut().for_each(|x| *x *= back);
    }
}

/// An item's point v as (v, |v|^2, 1).
fn extend_item(point: &[f32], extended: &mut [f32]) {
    let dim = point.len();
    extended[..dim].copy_from_slice(point);
    extended[dim] = squared_norm(point);
    extended[dim + 1] = 1.0;
}

/// A user's point u as (2u, -1, -|u|^2): the product with an item's extended vector is minus their squared
/// distance.
pub(super) fn extend_user(point: &[f32], extended: &mut [f32]) {
    let dim = point.len();
    extended.iter_mut().zip(point).for_each(|(extended, x)| *extended = 2.0 * x);
    extended[dim] = -1.0;
    extended[dim + 1] = -squared_norm(point);
}

crate::parts::item_panels::scores_by_products!(CmlModel);

impl Factored for CmlModel {
    fn items(&self) -> Factors<'_> {
        factors(&self.extended)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let chunks = out.par_chunks_mut(self.extended.dim()).zip(queries).with_min_len(64);
        chunks.for_each_init(
            || vec![0.0; self.items.dim()],
            |point, (out, query)| {
                self.point_of(query, point);
                extend_user(point, out);
            },
        );
    }
}

impl Model for CmlModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, table) in [("users", &self.users), ("items", &self.items)] {
            tensors.insert(name, &[table.n_rows(), table.dim()], table.export());
        }
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.users.n_parameters() + self.items.n_parameters()
    }
}

/// Random stream of the initial values.
const INIT: u64 = 0x494e_4954;
