//! The model: two tables, their products, and new users.
//!
//! A query without a known user is folded in from its history: see `parts/fold_in.rs`.

use super::coded::CodedItems;
use super::{BprMf, Start};
use crate::ImplicitAls;
use crate::parts::coded::CompressedModel;
use crate::parts::fold_in::FoldIn;
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::dense::dot;
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::table::Table;
use rankstill_core::state;
use rankstill_core::{
    Error, Factored, Factors, Fit, Interactions, Model, Query, Recipe as _, Result, Scorer, Search,
    ServingBytes, Tensors,
};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// Embeddings of users and items, with their optimiser during training.
pub(super) struct Mf {
    pub users: Table,
    pub items: Table,
    /// Whether the last column is the item bias; there users count as 1, whatever the table holds.
    pub item_bias: bool,
    /// For items that are trained in codes.
    pub coded: Option<CodedItems>,
    panels: ItemPanels,
    fold_in: OnceLock<FoldIn>,
}

impl Mf {
    fn new(recipe: &BprMf, n_users: usize, n_items: usize, optimizer: &Optimizer) -> Self {
        let table = |n| Table::new(n, recipe.columns(), optimizer.clone());
        let coded = || CodedItems::new(recipe.item_bits, n_items, recipe.columns());
        Self {
            coded: (recipe.item_bits > 0).then(coded),
            users: table(n_users),
            items: table(n_items),
            item_bias: recipe.item_bias,
            panels: ItemPanels::default(),
            fold_in: OnceLock::new(),
        }
    }

    /// As training begins; biases 0.
    ///
    /// # Errors
    /// When ALS cannot be fitted to the log.
    pub fn first(recipe: &BprMf, train: &Arc<Interactions>, seed: u64) -> Result<Self> {
        match recipe.start {
            Start::Random => Ok(Self::random(recipe, train, seed)),
            Start::Als => Self::factorised(recipe, train, seed),
        }
    }

    /// Normally distributed embeddings.
    fn random(recipe: &BprMf, train: &Interactions, seed: u64) -> Self {
        let mut model = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        let (dim, std) = (recipe.dim, recipe.init_std as f32);
        for (which, table, bias) in [(0, &mut model.users, 1.0), (1, &mut model.items, 0.0)] {
            table.init(|row, vector| {
                vector.fill(bias);
                Rng::keyed(seed, [INIT, which, row as u64]).fill_normal(
                    &mut vector[..dim],
                    0.0,
                    std,
                );
            });
        }
        model
    }

    /// The vectors of a short run of ALS, both sides scaled alike.
    fn factorised(recipe: &BprMf, train: &Arc<Interactions>, seed: u64) -> Result<Self> {
        let dim = recipe.dim;
        // Training knows no weights either.
        let (iterations, binary) = (ITERATIONS, true);
        let als = ImplicitAls { dim, iterations, binary, patience: 0, ..Default::default() };
        let fitted = als.fit(train, &mut Fit::seeded(seed))?.tensors();
        let ((users, ..), (items, ..)) = (fitted.matrix("users")?, fitted.matrix("items")?);
        let own = train.iter().map(|(user, item, _)| {
            let (user, item) = (user as usize * dim, item as usize * dim);
            f64::from(dot(&users[user..][..dim], &items[item..][..dim]))
        });
        let mean = own.fold(0.0, |sum, score| sum + score) / train.len().max(1) as f64;
        // Where ALS has found nothing, nothing is scaled up.
        let scale = (OWN / mean.max(1e-3)).sqrt() as f32;
        let mut model = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        for (table, found, bias) in [(&mut model.users, users, 1.0), (&mut model.items, items, 0.0)]
        {
            table.init(|row, vector| {
                vector.fill(bias);
                let found = &found[row * dim..][..dim];
                vector.iter_mut().zip(found).for_each(|(x, found)| *x = scale * found);
            });
        }
        Ok(model)
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &BprMf, tensors: &Tensors) -> Result<Self> {
        let (_, _, user_dim) = tensors.matrix("users")?;
        let (items, n_items, item_dim) = tensors.matrix("items")?;
        for (name, found, expected) in
            [("users", user_dim, recipe.dim), ("items", item_dim, recipe.columns())]
        {
            if found != expected {
                let problem = format!("expected rows of {expected}, found rows of {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let mut model = Self::new(recipe, 0, n_items, &Optimizer::Sgd(Sgd::default()));
        // Without the column of 1s for the item bias.
        model.users = crate::parts::users::loaded(tensors, recipe.dim)?;
        model.items.import(items).map_err(state::wrong("items"))?;
        Ok(model)
    }

    /// From [`Mf::state`].
    pub fn resumed(recipe: &BprMf, train: &Interactions, kept: &Tensors) -> Result<Self> {
        let mut model = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        for (name, table) in [("users", &mut model.users), ("items", &mut model.items)] {
            table.restore(&state::read(kept, name)?).map_err(state::wrong(name))?;
        }
        Ok(model)
    }

    /// The tables with their optimiser state.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "users", self.users.state());
        state::insert(&mut tensors, "items", self.items.state());
        tensors
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.coded.iter_mut().for_each(CodedItems::changed);
        self.panels.forget();
        self.fold_in = OnceLock::new();
    }

    /// The items' vectors as scores see them.
    fn seen_items(&self) -> &Table {
        self.coded.as_ref().map_or(&self.items, |coded| &coded.decoded)
    }

    /// The model as it is saved and served, if that is in codes.
    fn compressed(&self) -> Option<&CompressedModel> {
        self.coded.as_ref().map(|coded| coded.compressed(&self.users, &self.items))
    }

    /// Number of dimensions, without the bias.
    fn dim(&self) -> usize {
        self.items.dim() - usize::from(self.item_bias)
    }

    /// The embedding of a known user, or of a new user with this history.
    fn embed_one(&self, query: &Query<'_>, out: &mut [f32]) {
        let dim = self.dim();
        out.fill(1.0); // for the bias, if there is one
        match query.user {
            Some(user) if (user as usize) < self.users.n_rows() => {
                out[..dim].copy_from_slice(&self.users.row(user as usize)[..dim]);
            }
            _ => {
                let items = self.seen_items();
                let fold_in = self.fold_in.get_or_init(|| FoldIn::new(&self.users, items, 0..dim));
                fold_in.embed(items, query.history, &mut out[..dim]);
            }
        }
    }
}

impl Scorer for Mf {
    fn n_items(&self) -> usize {
        self.items.n_rows()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        match self.compressed() {
            Some(compressed) => compressed.score(queries, out),
            None => self.panels.score(self, queries, out),
        }
    }

    fn factored(&self) -> Option<&dyn Factored> {
        Some(self)
    }

    fn search(&self) -> Option<&dyn Search> {
        self.compressed()?.search()
    }
}

impl Factored for Mf {
    fn items(&self) -> Factors<'_> {
        factors(self.seen_items())
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        out.par_chunks_mut(self.items.dim())
            .zip(queries)
            .with_min_len(64)
            .for_each(|(out, query)| self.embed_one(query, out));
    }
}

impl Model for Mf {
    fn tensors(&self) -> Tensors {
        if let Some(compressed) = self.compressed() {
            return compressed.tensors();
        }
        let (n_users, dim) = (self.users.n_rows(), self.dim());
        let mut users = Vec::with_capacity(n_users * dim);
        (0..n_users).for_each(|user| users.extend_from_slice(&self.users.row(user)[..dim]));
        let mut tensors = Tensors::default();
        tensors.insert("users", &[n_users, dim], users);
        tensors.insert("items", &[self.items.n_rows(), self.items.dim()], self.items.export());
        tensors
    }

    fn n_parameters(&self) -> usize {
        let exact = || self.users.n_rows() * self.dim() + self.items.n_parameters();
        self.compressed().map_or_else(exact, Model::n_parameters)
    }

    fn serving_bytes(&self) -> ServingBytes {
        if let Some(compressed) = self.compressed() {
            return compressed.serving_bytes();
        }
        let (users, items) = (self.users.n_rows() * self.dim(), self.items.n_parameters());
        ServingBytes { items: 4 * items as u64, users: 4 * users as u64 }
    }
}

/// Iterations of ALS before training.
const ITERATIONS: usize = 8;

/// The mean score of the log's own pairs as training begins, where it begins with ALS: there all other scores are near 0, and losses
/// take differences for logarithms of odds.
const OWN: f64 = 4.0;

/// Random stream of the initial values.
const INIT: u64 = 0x494e_4954;
