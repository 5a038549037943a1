//! The model: two tables, their products, and users who are in neither.
//!
//! **Fold-in.** A query without a known user gets the mean user vector if it has no history. With one, the item table is
//! kept as it is, and ridge regression looks for the vector w for which the items of the history score 1 above the average
//! item: minimise sum over i of (1 - w (q_i - mean q))^2 + r |w|^2, with r the mean squared length of q_i - mean q (so that
//! the scale of the table does not matter). Scores of a pair-wise loss have no unit, so only the direction of w is used: the
//! user is the mean user plus w stretched to the typical (root mean square) distance of a trained user from the mean.

use super::BprMf;
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::panels::{Order, Panels, Rows};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::table::{Table, TableState, WrongLength};
use rankstill_core::{
    Error, Factored, Factors, Interactions, ItemId, Model, Query, Result, Scorer, Tensors,
};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Vectors of users and items, with their optimiser while they learn.
pub(super) struct Mf {
    pub users: Table,
    pub items: Table,
    /// Whether the last column is the items' bias; users are taken to hold 1 there, whatever the table says.
    pub item_bias: bool,
    panels: OnceLock<Panels>,
    fold_in: OnceLock<FoldIn>,
}

impl Mf {
    fn new(recipe: &BprMf, n_users: usize, n_items: usize, optimizer: &Optimizer) -> Self {
        let table = |n| Table::new(n, recipe.columns(), optimizer.clone());
        Self {
            users: table(n_users),
            items: table(n_items),
            item_bias: recipe.item_bias,
            panels: OnceLock::new(),
            fold_in: OnceLock::new(),
        }
    }

    /// Normally distributed vectors; biases 0.
    pub fn random(recipe: &BprMf, train: &Interactions, seed: u64) -> Self {
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

    /// From [`Model::tensors`]; without an optimiser's state.
    pub fn loaded(recipe: &BprMf, tensors: &Tensors) -> Result<Self> {
        let (users, n_users, user_dim) = tensors.matrix("users")?;
        let (items, n_items, item_dim) = tensors.matrix("items")?;
        for (name, found, expected) in
            [("users", user_dim, recipe.dim), ("items", item_dim, recipe.columns())]
        {
            if found != expected {
                let problem = format!("expected rows of {expected}, found rows of {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let mut model = Self::new(recipe, n_users, n_items, &Optimizer::Sgd(Sgd::default()));
        for user in 0..n_users {
            let row = model.users.row_mut(user);
            row.fill(1.0);
            row[..user_dim].copy_from_slice(&users[user * user_dim..][..user_dim]);
        }
        model.items.import(items).map_err(wrong("items"))?;
        Ok(model)
    }

    /// From [`Mf::state`].
    pub fn resumed(recipe: &BprMf, train: &Interactions, state: &Tensors) -> Result<Self> {
        let mut model = Self::new(recipe, train.n_users(), train.n_items(), &recipe.optimizer);
        for (name, table) in [("users", &mut model.users), ("items", &mut model.items)] {
            let part = |part: &str| format!("{name}.{part}");
            let floats = |part: &str| {
                let len = state.get(part).map_or(0, |tensor| tensor.data.len());
                state.f32s(part, len).map(<[f32]>::to_vec)
            };
            let step = state.u32s(&part("step"))?;
            let [step] = step else {
                return Err(wrong(name)(WrongLength { expected: 1, found: step.len() }));
            };
            let kept = TableState {
                step: *step,
                parameters: floats(&part("parameters"))?,
                first_moments: floats(&part("first_moments"))?,
                second_moments: floats(&part("second_moments"))?,
                last_step: state.u32s(&part("last_step"))?.to_vec(),
            };
            table.restore(&kept).map_err(wrong(name))?;
        }
        Ok(model)
    }

    /// The tables with their optimiser's state.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, table) in [("users", &self.users), ("items", &self.items)] {
            let state = table.state();
            tensors.insert(format!("{name}.step"), &[1], vec![state.step]);
            for (part, values) in [
                ("parameters", state.parameters),
                ("first_moments", state.first_moments),
                ("second_moments", state.second_moments),
            ] {
                tensors.insert(format!("{name}.{part}"), &[values.len()], values);
            }
            let last = state.last_step;
            tensors.insert(format!("{name}.last_step"), &[last.len()], last);
        }
        tensors
    }

    /// Forgets what was derived from the tables.
    pub fn changed(&mut self) {
        self.panels = OnceLock::new();
        self.fold_in = OnceLock::new();
    }

    /// Length of the vectors, without the bias.
    fn dim(&self) -> usize {
        self.users.dim() - usize::from(self.item_bias)
    }

    /// A known user's vector, or that of whoever has such a history.
    fn embed_one(&self, query: &Query<'_>, out: &mut [f32]) {
        let dim = self.dim();
        out.fill(1.0); // against the bias, where there is one
        match query.user {
            Some(user) if (user as usize) < self.users.n_rows() => {
                out[..dim].copy_from_slice(&self.users.row(user as usize)[..dim]);
            }
            _ => {
                let fold_in = self.fold_in.get_or_init(|| FoldIn::new(self));
                fold_in.embed(self, query.history, &mut out[..dim]);
            }
        }
    }
}

impl Scorer for Mf {
    fn n_items(&self) -> usize {
        self.items.n_rows()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let (n_items, dim) = (self.items.n_rows(), self.items.dim());
        if n_items == 0 {
            return;
        }
        let panels = self.panels.get_or_init(|| {
            let (data, stride) = self.items.params();
            Panels::pack(Rows::new(data, n_items, dim, stride), Order::Id)
        });
        let mut vectors = vec![0.0; queries.len() * dim];
        self.embed(queries, &mut vectors);
        out.par_chunks_mut(n_items)
            .zip(vectors.par_chunks(dim))
            .for_each(|(out, vector)| panels.score_row(vector, out));
    }

    fn factored(&self) -> Option<&dyn Factored> {
        Some(self)
    }
}

impl Factored for Mf {
    fn items(&self) -> Factors<'_> {
        let (data, stride) = self.items.params();
        Factors { data, len: self.items.n_rows(), dim: self.items.dim(), stride }
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
        let (n_users, dim) = (self.users.n_rows(), self.dim());
        let mut users = Vec::with_capacity(n_users * dim);
        (0..n_users).for_each(|user| users.extend_from_slice(&self.users.row(user)[..dim]));
        let mut tensors = Tensors::default();
        tensors.insert("users", &[n_users, dim], users);
        tensors.insert("items", &[self.items.n_rows(), self.items.dim()], self.items.export());
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.users.n_rows() * self.dim() + self.items.n_parameters()
    }
}

/// What fold-in needs of the tables.
struct FoldIn {
    mean_user: Vec<f64>,
    mean_item: Vec<f64>,
    /// Root mean square distance of users from the mean.
    spread: f64,
    /// Mean squared distance of items from the mean.
    ridge: f64,
}

impl FoldIn {
    fn new(model: &Mf) -> Self {
        let (mean_user, squared_spread) = moments(&model.users, model.dim());
        let (mean_item, ridge) = moments(&model.items, model.dim());
        Self { mean_user, mean_item, spread: squared_spread.sqrt(), ridge }
    }

    fn embed(&self, model: &Mf, history: &[ItemId], out: &mut [f32]) {
        let dim = out.len();
        let mut items: Vec<ItemId> = history.to_vec();
        items.retain(|&item| (item as usize) < model.items.n_rows());
        items.sort_unstable();
        items.dedup();

        // (sum of q q' + ridge) w = sum of q, all q less the mean; the lower triangle, row by row.
        let mut normal = vec![0.0f64; dim * dim];
        let mut w = vec![0.0f64; dim];
        let mut q = vec![0.0f64; dim];
        for &item in &items {
            let row = &model.items.row(item as usize)[..dim];
            for ((q, &value), mean) in q.iter_mut().zip(row).zip(&self.mean_item) {
                *q = f64::from(value) - mean;
            }
            for i in 0..dim {
                w[i] += q[i];
                for j in 0..=i {
                    normal[i * dim + j] += q[i] * q[j];
                }
            }
        }
        (0..dim).for_each(|i| normal[i * dim + i] += self.ridge);
        solve(&mut normal, &mut w);
        let length = w.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
        let stretch = if length > 0.0 && length.is_finite() { self.spread / length } else { 0.0 };
        for ((out, mean), w) in out.iter_mut().zip(&self.mean_user).zip(&w) {
            *out = (mean + if stretch > 0.0 { stretch * w } else { 0.0 }) as f32;
        }
    }
}

/// The mean row of the first `dim` columns, and the mean squared distance from it.
fn moments(table: &Table, dim: usize) -> (Vec<f64>, f64) {
    let n = table.n_rows().max(1) as f64;
    let mut mean = vec![0.0f64; dim];
    for row in 0..table.n_rows() {
        mean.iter_mut().zip(table.row(row)).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    let mut squares = 0.0;
    for row in 0..table.n_rows() {
        for (mean, &x) in mean.iter().zip(table.row(row)) {
            squares += (f64::from(x) - mean).powi(2);
        }
    }
    (mean, squares / n)
}

/// Solves a x = b for a symmetric positive definite `a`, of which the lower triangle is read, by Cholesky's factorisation
/// in place. Directions in which `a` is not positive get 0.
fn solve(a: &mut [f64], b: &mut [f64]) {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let (above, row) = a.split_at_mut(i * n);
            let other = if j == i { &row[..j] } else { &above[j * n..j * n + j] };
            let dot = row[..j].iter().zip(other).fold(0.0, |sum, (x, y)| sum + x * y);
            let left = row[j] - dot;
            row[j] = match () {
                () if j == i && left > 0.0 => left.sqrt(),
                () if j == i => f64::INFINITY,
                () => left / above[j * n + j],
            };
        }
    }
    for i in 0..n {
        let dot = (0..i).fold(0.0, |sum, j| sum + a[i * n + j] * b[j]);
        b[i] = (b[i] - dot) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let dot = (i + 1..n).fold(0.0, |sum, j| sum + a[j * n + i] * b[j]);
        b[i] = (b[i] - dot) / a[i * n + i];
    }
}

/// Keeps the first draws apart from all others.
const INIT: u64 = 0x494e_4954;

fn wrong(name: &'static str) -> impl Fn(WrongLength) -> Error {
    move |error| Error::Tensor { name: name.into(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_system_by_hand() {
        // [4 2; 2 3] x = [8; 7] has x = [1.25; 1.5].
        let (mut a, mut b) = (vec![4.0, f64::NAN, 2.0, 3.0], vec![8.0, 7.0]);
        solve(&mut a, &mut b);
        assert!((b[0] - 1.25).abs() < 1e-12 && (b[1] - 1.5).abs() < 1e-12, "{b:?}");
    }
}
