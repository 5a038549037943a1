//! The model: three tables, a tower, and new users.

use super::Caser;
use super::tower::{Pass, Tower};
use crate::parts::fold_in::FoldIn;
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::table::Table;
use rankstill_core::state::{self, wrong};
use rankstill_core::{
    Error, Factored, Factors, Interactions, ItemId, Model, Query, Result, Tensors,
};
use std::sync::OnceLock;

/// Embeddings of users and items, layers, and the output table, with their optimiser during training.
pub(super) struct CaserModel {
    pub users: Table,
    /// The embeddings of history items; the padding item is the last row.
    pub items: Table,
    /// The output table; the bias is its last column.
    pub outputs: Table,
    pub tower: Tower,
    panels: ItemPanels,
    /// For unknown users.
    fold_in: OnceLock<FoldIn>,
}

impl CaserModel {
    fn new(recipe: &Caser, n_users: usize, n_items: usize, optimizer: &Optimizer) -> Self {
        let table = |rows, dim| Table::new(rows, dim, optimizer.clone());
        Self {
            users: table(n_users, recipe.dim),
            items: table(n_items + 1, recipe.dim),
            outputs: table(n_items, 2 * recipe.dim + 1),
            tower: Tower::new(recipe, optimizer),
            panels: ItemPanels::default(),
            fold_in: OnceLock::new(),
        }
    }

    /// The initial values that the recipe documents.
    pub fn random(recipe: &Caser, train: &Interactions, seed: u64) -> Self {
        let mut net = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        let dim = recipe.dim;
        let tables = [(&mut net.users, dim), (&mut net.items, dim), (&mut net.outputs, 2 * dim)];
        for (which, (table, random)) in tables.into_iter().enumerate() {
            table.init(|row, vector| {
                let mut rng = Rng::keyed(seed, [INIT, which as u64, row as u64]);
                rng.fill_normal(&mut vector[..random], 0.0, 1.0 / random as f32);
            });
        }
        net.tower.randomise(&mut Rng::keyed(seed, [INIT, 3, 0]));
        net
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &Caser, tensors: &Tensors) -> Result<Self> {
        let (users, n_users, user_dim) = tensors.matrix("users")?;
        let (items, n_rows, item_dim) = tensors.matrix("items")?;
        let (outputs, n_items, output_dim) = tensors.matrix("outputs")?;
        for (name, what, found, expected) in [
            ("users", "rows of", user_dim, recipe.dim),
            ("items", "rows of", item_dim, recipe.dim),
            ("outputs", "rows of", output_dim, 2 * recipe.dim + 1),
            ("items", "as many rows as outputs and one, which are", n_rows, n_items + 1),
        ] {
            if found != expected {
                let problem = format!("expected {what} {expected}, found {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let mut net = Self::new(recipe, n_users, n_items, &Optimizer::Sgd(Sgd::default()));
        net.users.import(users).map_err(wrong("users"))?;
        net.items.import(items).map_err(wrong("items"))?;
        net.outputs.import(outputs).map_err(wrong("outputs"))?;
        net.tower.import(tensors)?;
        Ok(net)
    }

    /// From [`CaserModel::state`].
    pub fn resumed(recipe: &Caser, train: &Interactions, kept: &Tensors) -> Result<Self> {
        let mut net = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        for (name, table) in
            [("users", &mut net.users), ("items", &mut net.items), ("outputs", &mut net.outputs)]
        {
            table.restore(&state::read(kept, name)?).map_err(wrong(name))?;
        }
        net.tower.weights.restore(&state::read(kept, "tower")?).map_err(wrong("tower"))?;
        net.tower.changed();
        Ok(net)
    }

    /// All parameters with their optimiser state.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, state) in [
            ("users", self.users.state()),
            ("items", self.items.state()),
            ("outputs", self.outputs.state()),
            ("tower", self.tower.weights.state()),
        ] {
            state::insert(&mut tensors, name, state);
        }
        tensors
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.panels.forget();
        self.fold_in = OnceLock::new();
    }

    /// The last items of a history that are in the catalogue, padded from the left to the length of the window.
    pub fn window(&self, history: &[ItemId], out: &mut [ItemId]) {
        let padding = self.outputs.n_rows() as ItemId;
        let known = history.iter().rev().copied().filter(|&item| item < padding);
        let items = known.chain(std::iter::repeat(padding));
        out.iter_mut().rev().zip(items).for_each(|(out, item)| *out = item);
    }

    /// The embedding of a known user, or of a new user with this history.
    fn user(&self, query: &Query<'_>, out: &mut [f32]) {
        match query.user {
            Some(user) if (user as usize) < self.users.n_rows() => {
                out.copy_from_slice(self.users.row(user as usize));
            }
            _ => {
                let columns = self.users.dim()..2 * self.users.dim();
                let fold_in =
                    self.fold_in.get_or_init(|| FoldIn::new(&self.users, &self.outputs, columns));
                fold_in.embed(&self.outputs, query.history, out);
            }
        }
    }
}

crate::parts::item_panels::scores_by_products!(CaserModel);

impl Factored for CaserModel {
    fn items(&self) -> Factors<'_> {
        factors(&self.outputs)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let (layout, dim) = (&self.tower.layout, self.outputs.dim());
        let stride = layout.shape.stride();
        let mut pass = Pass::default();
        pass.resize(layout, queries.len(), dim);
        let mut window = vec![0; layout.shape.length];
        let windows = pass.windows.chunks_exact_mut(layout.shape.window());
        for (query, vectors) in queries.iter().zip(windows) {
            self.window(query.history, &mut window);
            for (&item, vector) in window.iter().zip(vectors.chunks_exact_mut(stride)) {
                let row = self.items.row(item as usize);
                vector[..row.len()].copy_from_slice(row);
            }
        }
        let user = |row: usize, out: &mut [f32]| self.user(&queries[row], out);
        self.tower.forward(&mut pass, user, None);
        out.copy_from_slice(&pass.queries);
    }
}

impl Model for CaserModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, table) in
            [("users", &self.users), ("items", &self.items), ("outputs", &self.outputs)]
        {
            tensors.insert(name, &[table.n_rows(), table.dim()], table.export());
        }
        self.tower.export(&mut tensors);
        tensors
    }

    /// As counted in the paper: with the padding item's row of the output table, which is never used.
    fn n_parameters(&self) -> usize {
        let tables = [&self.users, &self.items, &self.outputs].map(Table::n_parameters);
        tables.iter().sum::<usize>() + self.outputs.dim() + self.tower.layout.n_parameters()
    }
}

/// Random stream of the initial values.
const INIT: u64 = 0x494e_4954;
