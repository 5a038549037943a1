//! The model: two item tables, Markov weights, and a query's vector as a weighted sum over its history.

use super::Fossil;
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::pairs::weighted_sums;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::table::Table;
use rankstill_core::state;
use rankstill_core::{
    Error, Factored, Factors, Interactions, ItemId, Model, Query, Result, Tensors, UserId,
};

/// The parameters, with their optimiser during training.
pub(super) struct FossilModel {
    /// P, for items of a history.
    pub histories: Table,
    /// Q, and the bias as its last column.
    pub items: Table,
    /// eta^u.
    pub own_weights: Table,
    /// eta.
    pub weights: DenseParam,
    alpha: f64,
    panels: ItemPanels,
}

/// The history items of some queries and their weights: entries `starts[q]..starts[q + 1]` are those of query `q`.
#[derive(Debug, Default)]
pub(super) struct Mix {
    pub starts: Vec<usize>,
    pub items: Vec<ItemId>,
    pub shares: Vec<f32>,
}

impl FossilModel {
    fn new(recipe: &Fossil, n_users: usize, n_items: usize, optimizer: &Optimizer) -> Self {
        Self {
            histories: Table::new(n_items, recipe.dim, optimizer.clone()),
            items: Table::new(n_items, recipe.dim + 1, optimizer.clone()),
            own_weights: Table::new(n_users, recipe.order, optimizer.clone()),
            weights: DenseParam::new(recipe.order, optimizer.clone()),
            alpha: recipe.alpha,
            panels: ItemPanels::default(),
        }
    }

    pub fn random(recipe: &Fossil, train: &Interactions, seed: u64) -> Self {
        let (n_users, n_items) = (train.n_users(), train.n_items());
        let mut model = Self::new(recipe, n_users, n_items, &recipe.optimizer);
        let std = recipe.init_std as f32;
        let tables = [&mut model.histories, &mut model.items, &mut model.own_weights];
        for (which, (table, drawn)) in
            tables.into_iter().zip([recipe.dim, recipe.dim, recipe.order]).enumerate()
        {
            table.init(|row, vector| {
                vector.fill(0.0); // the bias
                let mut rng = Rng::keyed(seed, [INIT, which as u64, row as u64]);
                rng.fill_normal(&mut vector[..drawn], 0.0, std);
            });
        }
        model
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &Fossil, tensors: &Tensors) -> Result<Self> {
        let (histories, n_items, history_dim) = tensors.matrix("said")?;
        let (items, n_scored, item_dim) = tensors.matrix("items")?;
        let (own, n_users, own_dim) = tensors.matrix("own_weights")?;
        for (name, what, found, expected) in [
            ("said", "columns", history_dim, recipe.dim),
            ("items", "columns", item_dim, recipe.dim + 1),
            ("items", "rows", n_scored, n_items),
            ("own_weights", "columns", own_dim, recipe.order),
        ] {
            if found != expected {
                let problem = format!("expected {expected} {what}, found {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let mut model = Self::new(recipe, n_users, n_items, &Optimizer::Sgd(Sgd::default()));
        model.histories.import(histories).map_err(state::wrong("said"))?;
        model.items.import(items).map_err(state::wrong("items"))?;
        model.own_weights.import(own).map_err(state::wrong("own_weights"))?;
        model.weights.values_mut().copy_from_slice(tensors.f32s("weights", recipe.order)?);
        Ok(model)
    }

    /// From [`FossilModel::state`].
    pub fn resumed(recipe: &Fossil, train: &Interactions, tensors: &Tensors) -> Result<Self> {
        let (n_users, n_items) = (train.n_users(), train.n_items());
        let mut model = Self::new(recipe, n_users, n_items, &recipe.optimizer);
        for (name, table) in [
            ("said", &mut model.histories),
            ("items", &mut model.items),
            ("own_weights", &mut model.own_weights),
        ] {
            table.restore(&state::read(tensors, name)?).map_err(state::wrong(name))?;
        }
        let weights = state::read(tensors, "weights")?;
        model.weights.restore(&weights).map_err(state::wrong("weights"))?;
        Ok(model)
    }

    /// All parameters with their optimiser state.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "said", self.histories.state());
        state::insert(&mut tensors, "items", self.items.state());
        state::insert(&mut tensors, "own_weights", self.own_weights.state());
        state::insert(&mut tensors, "weights", self.weights.state());
        tensors
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.panels.forget();
    }

    /// L.
    pub fn order(&self) -> usize {
        self.weights.len()
    }

    /// The query's user, if known.
    pub fn user(&self, query: &Query<'_>) -> Option<UserId> {
        query.user.filter(|&user| (user as usize) < self.own_weights.n_rows())
    }

    /// The history items of the queries and their weights. Items beyond the catalogue are ignored.
    pub fn mix(&self, queries: &[Query<'_>]) -> Mix {
        let n_items = self.histories.n_rows();
        let most = queries.iter().map(|query| query.history.len()).sum();
        let (items, shares) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut mix = Mix { starts: vec![0], items, shares };
        for query in queries {
            let start = mix.items.len();
            let known = query.history.iter().filter(|&&item| (item as usize) < n_items);
            mix.items.extend(known);
            let n = mix.items.len() - start;
            mix.shares.resize(mix.items.len(), (n as f64).powf(-self.alpha) as f32);
            let own = self.user(query).map(|user| self.own_weights.row(user as usize));
            for (lag, share) in mix.shares[start..].iter_mut().rev().take(self.order()).enumerate()
            {
                *share += self.weights.values()[lag] + own.map_or(0.0, |own| own[lag]);
            }
            mix.starts.push(mix.items.len());
        }
        mix
    }

    /// The query vectors, without the 1 for the bias, the stride of `histories` apart.
    pub fn sums(&self, mix: &Mix, out: &mut [f32]) {
        let stride = self.histories.stride();
        weighted_sums(&mix.starts, &mix.shares, &mix.items, self.histories.params(), stride, out);
    }
}

impl Factored for FossilModel {
    fn items(&self) -> Factors<'_> {
        factors(&self.items)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let (dim, stride) = (self.histories.dim(), self.histories.stride());
        let mut sums = vec![0.0; queries.len() * stride];
        self.sums(&self.mix(queries), &mut sums);
        for (out, sum) in out.chunks_exact_mut(dim + 1).zip(sums.chunks_exact(stride)) {
            out[..dim].copy_from_slice(&sum[..dim]);
            out[dim] = 1.0;
        }
    }
}

crate::parts::item_panels::scores_by_products!(FossilModel);

impl Model for FossilModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, table) in
            [("said", &self.histories), ("items", &self.items), ("own_weights", &self.own_weights)]
        {
            tensors.insert(name, &[table.n_rows(), table.dim()], table.export());
        }
        tensors.insert("weights", &[self.order()], self.weights.values().to_vec());
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.histories.n_parameters()
            + self.items.n_parameters()
            + self.own_weights.n_parameters()
            + self.weights.len()
    }
}

/// Random stream of the initial values.
const INIT: u64 = 0x464f_5353;
