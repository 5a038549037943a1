//! The model: two tables of vectors; new users are solved for at query time.

use super::ImplicitAls;
use crate::parts::baskets::distinct;
use crate::parts::item_panels::ItemPanels;
use rankstill_core::kernel::als;
use rankstill_core::kernel::cholesky::solve;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Error, Factored, Factors, Interactions, ItemId, Model, Query, Result, Scorer, Tensors,
};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Vectors of users and items, with rows padded with zeros to a multiple of 16.
pub(super) struct AlsModel {
    pub users: Vec<f32>,
    pub items: Vec<f32>,
    pub stride: usize,
    dim: usize,
    /// For new users: what an item of the history adds to its confidence, and what the penalty is.
    alpha: f64,
    recipe: ImplicitAls,
    panels: ItemPanels,
    /// Y'Y, `dim x dim`.
    gram: OnceLock<Vec<f64>>,
}

impl AlsModel {
    fn new(recipe: &ImplicitAls, alpha: f64, users: Vec<f32>, items: Vec<f32>) -> Self {
        Self {
            users,
            items,
            stride: recipe.dim.next_multiple_of(16),
            dim: recipe.dim,
            alpha,
            recipe: recipe.clone(),
            panels: ItemPanels::default(),
            gram: OnceLock::new(),
        }
    }

    /// Normally distributed users; items are 0, because they are solved for first.
    pub fn random(recipe: &ImplicitAls, train: &Interactions, seed: u64) -> Self {
        let stride = recipe.dim.next_multiple_of(16);
        let deviation = recipe.init_length / (recipe.dim as f64).sqrt();
        let mut users = vec![0.0; train.n_users() * stride];
        users.par_chunks_mut(stride).enumerate().with_min_len(64).for_each(|(user, vector)| {
            let mut rng = Rng::keyed(seed, [INIT, user as u64]);
            rng.fill_normal(&mut vector[..recipe.dim], 0.0, deviation as f32);
        });
        Self::new(recipe, recipe.alpha_for(train), users, vec![0.0; train.n_items() * stride])
    }

    /// From [`Model::tensors`].
    pub fn loaded(recipe: &ImplicitAls, tensors: &Tensors) -> Result<Self> {
        let stride = recipe.dim.next_multiple_of(16);
        let read = |name: &str| {
            let bad = |problem| Error::Tensor { name: name.into(), problem };
            let (data, rows, columns) = tensors.matrix(name)?;
            if columns != recipe.dim {
                return Err(bad(format!(
                    "expected rows of {}, found rows of {columns}",
                    recipe.dim
                )));
            }
            if let Some(odd) = data.iter().find(|x| !x.is_finite()) {
                return Err(bad(format!("expected finite numbers, found {odd}")));
            }
            let mut padded = vec![0.0; rows * stride];
            for (to, from) in padded.chunks_exact_mut(stride).zip(data.chunks_exact(columns)) {
                to[..columns].copy_from_slice(from);
            }
            Ok(padded)
        };
        let alpha = match recipe.alpha {
            0.0 => {
                let alpha = f64::from(tensors.f32s("alpha", 1)?[0]);
                if !(alpha > 0.0 && alpha.is_finite()) {
                    let problem = format!("expected a number above 0, found {alpha}");
                    return Err(Error::Tensor { name: "alpha".into(), problem });
                }
                alpha
            }
            alpha => alpha,
        };
        Ok(Self::new(recipe, alpha, read("users")?, read("items")?))
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.panels.forget();
        self.gram = OnceLock::new();
    }

    /// The exact solution for a history, given the items.
    fn solve_for(&self, history: &[ItemId], out: &mut [f32]) {
        let dim = self.dim;
        let gram = self.gram.get_or_init(|| {
            let rows = Rows::dense(&self.items, self.n_items(), self.stride);
            let gram = als::gram(rows, &self.items);
            let rows = gram.chunks_exact(self.stride).take(dim);
            rows.flat_map(|row| row[..dim].iter().map(|&x| f64::from(x))).collect()
        });
        let mut matrix = gram.clone();
        let mut x = vec![0.0f64; dim];
        let (alpha, mut confidence) = (self.alpha, self.n_items() as f64);
        for item in distinct(history) {
            let Some(y) = self.items.chunks_exact(self.stride).nth(item as usize) else { continue };
            confidence += alpha;
            for i in 0..dim {
                let weighted = alpha * f64::from(y[i]);
                x[i] += (1.0 + alpha) * f64::from(y[i]);
                for (m, &y) in matrix[i * dim..][..=i].iter_mut().zip(y) {
                    *m += weighted * f64::from(y);
                }
            }
        }
        let l2 = self.recipe.penalty(confidence);
        (0..dim).for_each(|i| matrix[i * dim + i] += l2);
        solve(&mut matrix, &mut x);
        out.iter_mut().zip(&x).for_each(|(out, &x)| *out = x as f32);
    }

    /// Without the padding.
    fn unpadded(&self, data: &[f32]) -> Vec<f32> {
        data.chunks_exact(self.stride).flat_map(|row| &row[..self.dim]).copied().collect()
    }
}

crate::parts::item_panels::scores_by_products!(AlsModel);

impl Factored for AlsModel {
    fn items(&self) -> Factors<'_> {
        let Self { items, stride, dim, .. } = self;
        Factors { data: items, len: items.len() / stride, dim: *dim, stride: *stride }
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let n_users = self.users.len() / self.stride;
        out.par_chunks_mut(self.dim).zip(queries).with_min_len(8).for_each(|(out, query)| {
            match query.user {
                Some(user) if (user as usize) < n_users => {
                    out.copy_from_slice(&self.users[user as usize * self.stride..][..self.dim]);
                }
                _ => self.solve_for(query.history, out),
            }
        });
    }
}

impl Model for AlsModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, data) in [("users", &self.users), ("items", &self.items)] {
            tensors.insert(name, &[data.len() / self.stride, self.dim], self.unpadded(data));
        }
        // Where the recipe does not say it, it follows from the log.
        if self.recipe.alpha == 0.0 {
            tensors.insert("alpha", &[1], vec![self.alpha as f32]);
        }
        tensors
    }

    fn n_parameters(&self) -> usize {
        (self.users.len() + self.items.len()) / self.stride * self.dim
    }
}

/// Random stream of the initial values.
const INIT: u64 = 0x414c_5349;
