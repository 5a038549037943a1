//! The vectors of a fitted model, as compressors take them.

use crate::parts::coded::{HistoryInputs, Users};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::{Error, Interactions, Model, Query, Result};
use rayon::prelude::*;

/// The vectors of a model that can be compressed.
pub(super) struct Vectors {
    pub dim: usize,
    /// `users x dim`, of all training users.
    pub users: Vec<f32>,
    /// `items x dim`.
    pub items: Vec<f32>,
    /// Where users are sums over their histories: what is summed.
    pub inputs: Option<HistoryInputs>,
}

impl Vectors {
    /// Of a fitted model.
    pub fn of(model: &dyn Model, train: &Interactions) -> Result<Self> {
        let refuse =
            |problem: &str| Err(Error::Config { key: "compress".into(), problem: problem.into() });
        let Some(factored) = model.factored() else {
            return refuse(
                "this model's scores are not products of vectors of users and items, so there is nothing to compress; \
                 choose a factored model (bpr_mf, implicit_als, light_gcn, cml)",
            );
        };
        let table = factored.items();
        let (n_users, dim) = (train.n_users(), table.dim);
        let query = |user: u32, history| Query { user: Some(user), history, hidden: &[] };
        let embed = |queries: &[Query<'_>]| {
            let mut vectors = vec![0.0; queries.len() * dim];
            factored.embed(queries, &mut vectors);
            vectors
        };
        let known: Vec<Query<'_>> =
            (0..n_users as u32).map(|user| query(user, train.history(user))).collect();
        let mut users = vec![0.0; n_users * dim];
        users
            .par_chunks_mut((dim * CHUNK).max(1))
            .zip(known.par_chunks(CHUNK))
            .for_each(|(out, queries)| out.copy_from_slice(&embed(queries)));
        let without: Vec<Query<'_>> =
            (0..n_users.min(CHUNK) as u32).map(|user| query(user, &[])).collect();
        let sums = factored.history_sum();
        if sums.is_none() && embed(&without) != users[..without.len() * dim] {
            return refuse(
                "this model computes a user's vector from the history, so its user side is not a table that could be kept; \
                 choose a model with user vectors (bpr_mf, implicit_als, light_gcn, cml), or fism",
            );
        }
        let items: Vec<f32> = (0..table.len).flat_map(|item| table.row(item)).copied().collect();
        let inputs = sums.map(HistoryInputs::new);
        let extreme = matches!(inputs, Some(None));
        if extreme || !users.iter().chain(&items).all(|x| x.is_finite()) {
            return refuse("some of this model's numbers are not finite, or extreme");
        }
        Ok(Self { dim, users, items, inputs: inputs.flatten() })
    }

    /// The same for compressors that keep vectors of users in another form.
    pub fn with_users(model: &dyn Model, train: &Interactions) -> Result<Self> {
        let vectors = Self::of(model, train)?;
        match vectors.inputs {
            None => Ok(vectors),
            Some(_) => Err(Error::Config {
                key: "compress".into(),
                problem: "this model has no vectors of users, which this compressor would change; choose int, pq, opq, ivf, or sign or \
                    itq with `users = \"exact\"`"
                    .into(),
            }),
        }
    }

    /// What a model keeps of the users that keeps them exactly: their vectors, or what is summed to these.
    pub fn exact_users(&mut self) -> Users {
        match self.inputs.take() {
            Some(inputs) => Users::OfHistory(inputs),
            None => Users::Exact(std::mem::take(&mut self.users)),
        }
    }

    pub fn n_users(&self) -> usize {
        self.users.len() / self.dim.max(1)
    }

    pub fn n_items(&self) -> usize {
        self.items.len() / self.dim.max(1)
    }

    pub fn item_rows(&self) -> Rows<'_> {
        Rows::dense(&self.items, self.n_items(), self.dim)
    }
}

/// Users at a time.
const CHUNK: usize = 256;
