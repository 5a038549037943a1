//! The model: two tables, a tower, and new users.
//!
//! A query without a known user and without a history gets the mean user's embeddings. With a history, they are
//! trained: [`STEPS`] steps of Adam on the pointwise logistic loss of the history and of as many uniform
//! negatives per item as the model was trained with, redrawn in every step, with the network and the items
//! fixed. Step sizes are relative to the spread of trained users, so that the scale of the tables does not
//! matter. (As the score is not a product of two vectors, `parts/fold_in.rs` does not apply.) The draws depend
//! on the history alone.

use super::NeuMf;
use super::tower::{Block, Half, Tower};
use crate::parts::multinomial::distinct;
use rankstill_core::kernel::dense::{axpy, dot};
use rankstill_core::kernel::math::sigmoid;
use rankstill_core::kernel::optimizer::{Adam, Optimizer, Sgd};
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::sample::Positives;
use rankstill_core::kernel::table::Table;
use rankstill_core::state::{self, wrong};
use rankstill_core::{Error, Interactions, ItemId, Model, Query, Result, Scorer, Tensors};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Tables and layers, with their optimiser during training.
pub(super) struct NeuMfModel {
    /// p, padded, and u.
    pub users: Table,
    /// q, padded, and v.
    pub items: Table,
    pub tower: Tower,
    negatives: usize,
    derived: OnceLock<Derived>,
}

/// What scoring needs in addition.
struct Derived {
    /// Every item's half of the first layer's sums.
    halves: Vec<f32>,
    mean_user: Vec<f32>,
    /// Root mean square distance of users from the mean, per component of p and of u.
    spread: [f32; 2],
}

/// Pairs per task.
pub(super) const TILE: usize = 512;

/// Number and relative size of the steps that train a new user.
const STEPS: usize = 60;
const SHARE: f32 = 0.1;

impl NeuMfModel {
    fn new(recipe: &NeuMf, n_users: usize, n_items: usize, optimizer: &Optimizer) -> Self {
        let tower = Tower::new(recipe, optimizer);
        let table = |rows| Table::new(rows, tower.shape.columns(), optimizer.clone());
        Self {
            users: table(n_users),
            items: table(n_items),
            tower,
            negatives: recipe.loss.negatives,
            derived: OnceLock::new(),
        }
    }

    /// The initial values that the recipe documents.
    pub fn random(recipe: &NeuMf, train: &Interactions, seed: u64) -> Self {
        let mut net = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        let (dim, product) = (recipe.dim, net.tower.shape.product());
        for (which, table) in [(0, &mut net.users), (1, &mut net.items)] {
            table.init(|row, vector| {
                let mut rng = Rng::keyed(seed, [INIT, which, row as u64]);
                rng.fill_normal(&mut vector[..dim], 0.0, recipe.init_std as f32);
                rng.fill_normal(&mut vector[product..], 0.0, recipe.init_std as f32);
            });
        }
        net.tower.randomise(&mut Rng::keyed(seed, [INIT, 2, 0]));
        net
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &NeuMf, tensors: &Tensors) -> Result<Self> {
        let (users, n_users, user_dim) = tensors.matrix("users")?;
        let (items, n_items, item_dim) = tensors.matrix("items")?;
        let expected = recipe.dim + recipe.mlp_dim;
        for (name, found) in [("users", user_dim), ("items", item_dim)] {
            if found != expected {
                let problem = format!("expected rows of {expected}, found rows of {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let mut net = Self::new(recipe, n_users, n_items, &Optimizer::Sgd(Sgd::default()));
        let product = net.tower.shape.product();
        for (table, data) in [(&mut net.users, users), (&mut net.items, items)] {
            for (row, data) in data.chunks_exact(expected).enumerate() {
                let to = table.row_mut(row);
                to[..recipe.dim].copy_from_slice(&data[..recipe.dim]);
                to[product..].copy_from_slice(&data[recipe.dim..]);
            }
        }
        net.tower.import(tensors)?;
        Ok(net)
    }

    /// From [`NeuMfModel::state`].
    pub fn resumed(recipe: &NeuMf, train: &Interactions, kept: &Tensors) -> Result<Self> {
        let mut net = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        for (name, table) in [("users", &mut net.users), ("items", &mut net.items)] {
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
            ("tower", self.tower.weights.state()),
        ] {
            state::insert(&mut tensors, name, state);
        }
        tensors
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.derived = OnceLock::new();
    }

    fn derived(&self) -> &Derived {
        self.derived.get_or_init(|| {
            let (product, columns) = (self.tower.shape.product(), self.users.dim());
            let n = self.users.n_rows().max(1) as f64;
            let mut mean = vec![0.0f64; columns];
            for user in 0..self.users.n_rows() {
                let row = self.users.row(user);
                mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) / n);
            }
            let spread =
                [(0..product, self.tower.shape.dim), (product..columns, columns - product)];
            let spread = spread.map(|(range, dim)| {
                let squares = (0..self.users.n_rows()).fold(0.0, |sum, user| {
                    let row = self.users.row(user)[range.clone()].iter().zip(&mean[range.clone()]);
                    row.fold(sum, |sum, (&x, mean)| sum + (f64::from(x) - mean).powi(2))
                });
                (squares / n / dim as f64).sqrt() as f32
            });
            let mean_user = mean.iter().map(|&x| x as f32).collect();
            Derived { halves: self.item_halves(), mean_user, spread }
        })
    }

    /// Every item's half of the first layer's sums; the table must be settled.
    pub fn item_halves(&self) -> Vec<f32> {
        let first = self.tower.shape.first();
        let mut halves = vec![0.0; self.items.n_rows() * first];
        let (data, record) = self.items.params();
        let tiles = halves.par_chunks_mut(TILE * first).enumerate();
        tiles.for_each(|(tile, out)| {
            let rows = &data[tile * TILE * record..];
            self.tower.halves(Half::Item, rows, out.len() / first, record, out);
        });
        halves
    }

    /// The embeddings of a known user, or of a new user with this history.
    fn user(&self, query: &Query<'_>) -> Vec<f32> {
        match query.user {
            Some(user) if (user as usize) < self.users.n_rows() => {
                self.users.row(user as usize).to_vec()
            }
            _ => self.learnt(query.history),
        }
    }

    /// See the module's documentation.
    fn learnt(&self, history: &[ItemId]) -> Vec<f32> {
        let Derived { halves, mean_user, spread } = self.derived();
        let history = distinct(history.iter().copied(), self.items.n_rows());
        if history.is_empty() {
            return mean_user.clone();
        }
        let positives = Positives::new([history.as_slice()], self.items.n_rows() as u32);
        let shape = &self.tower.shape;
        let (product, first) = (shape.product(), shape.first());
        let gmf = self.tower.gmf();
        // In units of the users' spread, so that one rate fits both parts.
        let rate = Adam { learning_rate: f64::from(SHARE), ..Adam::default() };
        let mut away = DenseParam::new(mean_user.len(), Optimizer::Adam(rate));
        let mut gradient = vec![0.0; mean_user.len()];
        let mut user = mean_user.clone();
        let unit = |column: usize| spread[usize::from(column >= product)];
        let mut block = Block::default();
        let mut to_u = vec![0.0; shape.mlp_dim.next_multiple_of(16)];
        for step in 0..STEPS {
            let mut rng = Rng::keyed(step as u64, [LEARN, history.len() as u64]);
            let mut items = history.clone();
            for _ in 0..history.len() * self.negatives {
                items.extend(positives.negative(0, &mut rng));
            }
            let mut slopes = self.scores(&user, &items, halves, &mut block);
            for (k, slope) in slopes.iter_mut().enumerate() {
                *slope = sigmoid(*slope) - f32::from(u8::from(k < history.len()));
            }
            self.tower.backward(&mut block, &slopes);
            gradient.fill(0.0);
            let mut to_half = vec![0.0; first];
            for ((&item, &slope), to) in
                items.iter().zip(&slopes).zip(block.to[0].chunks_exact(first))
            {
                axpy(slope, &self.items.row(item as usize)[..product], &mut gradient[..product]);
                axpy(1.0, to, &mut to_half);
            }
            gradient.iter_mut().zip(gmf).for_each(|(to, h)| *to *= h);
            self.tower.to_vectors(Half::User, &to_half, &mut to_u);
            gradient[product..].copy_from_slice(&to_u[..shape.mlp_dim]);
            gradient.iter_mut().enumerate().for_each(|(k, to)| *to *= unit(k));
            away.update(&gradient, 1.0);
            for (k, (user, away)) in user.iter_mut().zip(away.values()).enumerate() {
                *user = mean_user[k] + unit(k) * away;
            }
        }
        user
    }

    /// The scores of some items for a user's embeddings; `halves` are those of all items.
    fn scores(
        &self,
        user: &[f32],
        items: &[ItemId],
        halves: &[f32],
        block: &mut Block,
    ) -> Vec<f32> {
        let context = self.context(user);
        let (product, first) = (self.tower.shape.product(), self.tower.shape.first());
        block.resize(&self.tower.shape, items.len());
        let sums = block.acts[0].chunks_exact_mut(first);
        let mut out = vec![0.0; items.len()];
        for ((&item, sums), out) in items.iter().zip(sums).zip(&mut out) {
            let half = &halves[item as usize * first..][..first];
            add(&context.half, half, sums);
            *out = dot(&context.product, &self.items.row(item as usize)[..product]);
        }
        self.tower.forward(block, &mut out);
        out
    }

    /// The part of the scores that depends on the user alone.
    pub fn context(&self, user: &[f32]) -> UserContext {
        let product = self.tower.shape.product();
        let mut half = vec![0.0; self.tower.shape.first()];
        self.tower.halves(Half::User, user, 1, user.len(), &mut half);
        let product = user[..product].iter().zip(self.tower.gmf()).map(|(p, h)| p * h).collect();
        UserContext { product, half }
    }

    /// The scores of the items from `first_item` on, as many as `out` is long, and the layers' outputs.
    pub fn score_tile(
        &self,
        context: &UserContext,
        halves: &[f32],
        first_item: usize,
        block: &mut Block,
        out: &mut [f32],
    ) {
        let (product, first) = (self.tower.shape.product(), self.tower.shape.first());
        block.resize(&self.tower.shape, out.len());
        let sums = block.acts[0].chunks_exact_mut(first);
        let halves = halves[first_item * first..].chunks_exact(first);
        for (at, ((sums, half), out)) in sums.zip(halves).zip(&mut *out).enumerate() {
            add(&context.half, half, sums);
            *out = dot(&context.product, &self.items.row(first_item + at)[..product]);
        }
        self.tower.forward(block, out);
    }
}

/// The part of the scores that depends on the user alone: h times p, and the user's half.
pub(super) struct UserContext {
    pub product: Vec<f32>,
    pub half: Vec<f32>,
}

pub(super) fn add(a: &[f32], b: &[f32], sums: &mut [f32]) {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        *sum = a + b;
    }
}

impl Scorer for NeuMfModel {
    fn n_items(&self) -> usize {
        self.items.n_rows()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let halves = &self.derived().halves;
        out.par_chunks_mut(self.n_items().max(1)).zip(queries).for_each(|(out, query)| {
            let context = self.context(&self.user(query));
            out.par_chunks_mut(TILE).enumerate().for_each_init(
                Block::default,
                |block, (at, out)| {
                    self.score_tile(&context, halves, at * TILE, block, out);
                },
            );
        });
    }
}

impl Model for NeuMfModel {
    fn tensors(&self) -> Tensors {
        let (dim, product) = (self.tower.shape.dim, self.tower.shape.product());
        let mut tensors = Tensors::default();
        for (name, table) in [("users", &self.users), ("items", &self.items)] {
            let mut data = Vec::with_capacity(table.n_parameters());
            for row in 0..table.n_rows() {
                data.extend_from_slice(&table.row(row)[..dim]);
                data.extend_from_slice(&table.row(row)[product..]);
            }
            tensors.insert(name, &[table.n_rows(), dim + self.tower.shape.mlp_dim], data);
        }
        self.tower.export(&mut tensors);
        tensors
    }

    fn n_parameters(&self) -> usize {
        let shape = &self.tower.shape;
        let rows = self.users.n_rows() + self.items.n_rows();
        rows * (shape.dim + shape.mlp_dim) + shape.n_parameters()
    }
}

/// Random streams of the initial values and of the negatives of new users.
const INIT: u64 = 0x494e_4954;
const LEARN: u64 = 0x4c45_4152;
