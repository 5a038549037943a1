//! The network's outputs for all items as a factored model, and the learner that scores with it.

use super::ItemAe;
use crate::mult_vae::VaeLearner;
use crate::parts::fold_in::FoldIn;
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::gemm::{Mat, MatMut, gemm};
use rankstill_core::kernel::math::{exp_slice, ln};
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::table::Table;
use rankstill_core::state::wrong;
use rankstill_core::{
    Batch, Cases, Error, Factored, Factors, Interactions, Learner, Model, Objective, Query, Result,
    Scorer, Slate, Tensors,
};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// Users' and items' vectors. The last column is the items' own term, for which users hold 1.
pub(super) struct Decoded {
    users: Table,
    items: Table,
    /// That of the network it was decoded from.
    n_parameters: usize,
    panels: ItemPanels,
    fold_in: OnceLock<FoldIn>,
}

/// Items decoded at a time.
const BLOCK: usize = 32;

impl Decoded {
    fn new(hidden: usize, n_users: usize, n_items: usize, n_parameters: usize) -> Self {
        let table = |n| Table::new(n, hidden + 1, Optimizer::Sgd(Sgd::default()));
        Self {
            users: table(n_users),
            items: table(n_items),
            n_parameters,
            panels: ItemPanels::default(),
            fold_in: OnceLock::new(),
        }
    }

    /// Of a settled network; `log` has the users of each item.
    fn of(recipe: &ItemAe, learner: &VaeLearner, log: &Interactions) -> Self {
        let (net, hidden) = (learner.net(), recipe.hidden);
        let outputs = net.items();
        let (n_users, n_items) = (outputs.len, log.n_users());
        let mut decoded = Self::new(hidden, n_users, n_items, net.n_parameters());
        let cases = Cases::per_user(log);
        let queries = cases.queries();
        let dim = hidden + 1;
        let mut vectors = vec![0.0; n_items * dim];
        vectors.par_chunks_mut(BLOCK * dim).zip(queries.par_chunks(BLOCK)).for_each(
            |(vectors, queries)| {
                net.embed(queries, vectors);
                let n = queries.len();
                let mut scores = vec![0.0; n * n_users];
                let (items, users) = (
                    Mat::dense(vectors, n, dim),
                    Mat::new(outputs.data, n_users, dim, outputs.stride),
                );
                let to = &mut MatMut::dense(&mut scores, n, n_users);
                gemm(1.0, items, users.t(), 0.0, to);
                let rows = vectors.chunks_exact_mut(dim).zip(queries);
                for ((vector, query), scores) in rows.zip(scores.chunks_exact_mut(n_users.max(1))) {
                    let popularity = ln(1.0 + query.history.len() as f32);
                    vector[hidden] = recipe.popularity as f32 * popularity - log_mass(scores);
                }
            },
        );
        for (row, vector) in vectors.chunks_exact(dim).enumerate() {
            decoded.items.row_mut(row).copy_from_slice(vector);
        }
        for user in 0..n_users {
            let row = decoded.users.row_mut(user);
            row[..hidden].copy_from_slice(&outputs.row(user)[..hidden]);
            row[hidden] = 1.0;
        }
        decoded
    }

    /// From [`Model::tensors`].
    pub fn loaded(recipe: &ItemAe, tensors: &Tensors) -> Result<Self> {
        let (users, n_users, user_dim) = tensors.matrix("users")?;
        let (items, n_items, item_dim) = tensors.matrix("items")?;
        let hidden = recipe.hidden;
        for (name, found, expected) in
            [("users", user_dim, hidden), ("items", item_dim, hidden + 1)]
        {
            if found != expected {
                let problem = format!("expected rows of {expected}, found rows of {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let n_parameters = tensors.u64s("n_parameters")?;
        let [n_parameters] = n_parameters else {
            let problem = format!("expected 1 number, found {}", n_parameters.len());
            return Err(Error::Tensor { name: "n_parameters".into(), problem });
        };
        let mut model = Self::new(hidden, n_users, n_items, *n_parameters as usize);
        for user in 0..n_users {
            let row = model.users.row_mut(user);
            row[..hidden].copy_from_slice(&users[user * hidden..][..hidden]);
            row[hidden] = 1.0;
        }
        model.items.import(items).map_err(wrong("items"))?;
        Ok(model)
    }
}

/// Log-sum-exp.
fn log_mass(scores: &mut [f32]) -> f32 {
    let most = scores.iter().fold(f32::NEG_INFINITY, |most, &score| most.max(score));
    scores.iter_mut().for_each(|score| *score -= most);
    exp_slice(scores);
    let mass = scores
        .chunks(256)
        .fold(0.0, |sum, part| sum + f64::from(part.iter().fold(0.0f32, |sum, share| sum + share)));
    most + ln(mass as f32)
}

crate::parts::item_panels::scores_by_products!(Decoded);

impl Factored for Decoded {
    fn items(&self) -> Factors<'_> {
        factors(&self.items)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let dim = self.items.dim();
        let rows = out.par_chunks_mut(dim).zip(queries).with_min_len(16);
        rows.for_each(|(out, query)| match query.user {
            Some(user) if (user as usize) < self.users.n_rows() => {
                out.copy_from_slice(self.users.row(user as usize));
            }
            _ => {
                let fold_in =
                    self.fold_in.get_or_init(|| FoldIn::new(&self.users, &self.items, 0..dim - 1));
                fold_in.embed(&self.items, query.history, &mut out[..dim - 1]);
                out[dim - 1] = 1.0;
            }
        });
    }
}

impl Model for Decoded {
    fn tensors(&self) -> Tensors {
        let (n_users, hidden) = (self.users.n_rows(), self.users.dim() - 1);
        let mut users = Vec::with_capacity(n_users * hidden);
        (0..n_users).for_each(|user| users.extend_from_slice(&self.users.row(user)[..hidden]));
        let mut tensors = Tensors::default();
        tensors.insert("users", &[n_users, hidden], users);
        tensors.insert("items", &[self.items.n_rows(), hidden + 1], self.items.export());
        tensors.insert("n_parameters", &[1], vec![self.n_parameters as u64]);
        tensors
    }

    /// Those of the network: what was learnt, not what is stored.
    fn n_parameters(&self) -> usize {
        self.n_parameters
    }
}

/// The network in training, which scores with the vectors it decodes to. They are computed at first use after a
/// step.
pub(super) struct DecodingLearner {
    recipe: ItemAe,
    inner: VaeLearner,
    log: Arc<Interactions>,
    decoded: OnceLock<Decoded>,
}

impl DecodingLearner {
    /// `log` has the users of each item.
    pub fn new(recipe: &ItemAe, inner: VaeLearner, log: &Arc<Interactions>) -> Self {
        let (recipe, log) = (recipe.clone(), Arc::clone(log));
        Self { recipe, inner, log, decoded: OnceLock::new() }
    }

    fn decoded(&self) -> &Decoded {
        self.decoded.get_or_init(|| Decoded::of(&self.recipe, &self.inner, &self.log))
    }
}

impl Learner for DecodingLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        self.decoded = OnceLock::new();
        self.inner.step(batch, slate, objective)
    }

    fn settle(&mut self) {
        self.inner.settle();
    }

    fn state(&self) -> Tensors {
        self.inner.state()
    }
}

impl Scorer for DecodingLearner {
    fn n_items(&self) -> usize {
        self.log.n_users()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        self.decoded().score(queries, out);
    }

    fn factored(&self) -> Option<&dyn Factored> {
        Some(self.decoded())
    }
}

impl Model for DecodingLearner {
    fn tensors(&self) -> Tensors {
        self.decoded().tensors()
    }

    fn n_parameters(&self) -> usize {
        self.inner.net().n_parameters()
    }
}
