//! The model: two item tables, and a query's vector as a scaled sum over its history.

use super::{Fism, Start};
use crate::parts::baskets::baskets;
use crate::parts::history_sum::history_vector;
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::sparse_svd::{Effort, RightVectors, right_vectors};
use rankstill_core::kernel::table::Table;
use rankstill_core::state;
use rankstill_core::{
    Error, Factored, Factors, HistorySum, Interactions, Model, Query, Result, ServingBytes, Tensors,
};
use rayon::prelude::*;

/// The parameters, with their optimiser during training.
pub(super) struct FismModel {
    /// P, for items of a history.
    pub inputs: Table,
    /// Q, and the bias as its last column, if there is one.
    pub items: Table,
    pub alpha: f32,
    panels: ItemPanels,
}

impl FismModel {
    fn new(recipe: &Fism, n_items: usize, optimizer: &Optimizer) -> Self {
        let columns = recipe.dim + usize::from(recipe.item_bias);
        Self {
            inputs: Table::new(n_items, recipe.dim, optimizer.clone()),
            items: Table::new(n_items, columns, optimizer.clone()),
            alpha: recipe.alpha as f32,
            panels: ItemPanels::default(),
        }
    }

    /// As training begins; biases 0.
    pub fn first(recipe: &Fism, train: &Interactions, seed: u64) -> Self {
        let mut model = Self::new(recipe, train.n_items(), &recipe.optimizer);
        let (dim, std) = (recipe.dim, recipe.init_std as f32);
        let known = match recipe.start {
            Start::Random => RightVectors { values: Vec::new(), vectors: Vec::new() },
            Start::Svd => right_vectors(&baskets(train), dim, EFFORT, &|| false),
        };
        // Of orthonormal columns the mean square is 1 / rows.
        let (found, scale) = (known.values.len(), std * (train.n_items() as f32).sqrt());
        for (which, table) in [(0, &mut model.inputs), (1, &mut model.items)] {
            table.init(|row, vector| {
                vector.fill(0.0);
                let mut rng = Rng::keyed(seed, [INIT, which, row as u64]);
                rng.fill_normal(&mut vector[..dim], 0.0, std);
                let known = &known.vectors[row * found..][..found];
                vector.iter_mut().zip(known).for_each(|(x, known)| *x = scale * known);
            });
        }
        model
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &Fism, tensors: &Tensors) -> Result<Self> {
        let (inputs, n_inputs, input_dim) = tensors.matrix("inputs")?;
        let (items, n_items, item_dim) = tensors.matrix("items")?;
        let mut model = Self::new(recipe, n_items, &Optimizer::Sgd(Sgd::default()));
        for (name, what, found, expected) in [
            ("inputs", "columns", input_dim, recipe.dim),
            ("items", "columns", item_dim, model.items.dim()),
            ("inputs", "rows", n_inputs, n_items),
        ] {
            if found != expected {
                let problem = format!("expected {expected} {what}, found {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        model.inputs.import(inputs).map_err(state::wrong("inputs"))?;
        model.items.import(items).map_err(state::wrong("items"))?;
        Ok(model)
    }

    /// From [`FismModel::state`].
    pub fn resumed(recipe: &Fism, train: &Interactions, kept: &Tensors) -> Result<Self> {
        let mut model = Self::new(recipe, train.n_items(), &recipe.optimizer);
        for (name, table) in [("inputs", &mut model.inputs), ("items", &mut model.items)] {
            table.restore(&state::read(kept, name)?).map_err(state::wrong(name))?;
        }
        Ok(model)
    }

    /// The tables with their optimiser state.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "inputs", self.inputs.state());
        state::insert(&mut tensors, "items", self.items.state());
        tensors
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.panels.forget();
    }
}

impl Factored for FismModel {
    fn items(&self) -> Factors<'_> {
        factors(&self.items)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let Self { inputs, items, alpha, .. } = self;
        let rows = out.par_chunks_mut(items.dim()).zip(queries).with_min_len(64);
        rows.for_each(|(out, query)| {
            out.fill(1.0); // for the bias
            let out = &mut out[..inputs.dim()];
            let add = |item, out: &mut [f32]| axpy(1.0, inputs.row(item), out);
            history_vector(*alpha, inputs.n_rows(), query.history, add, out);
        });
    }

    fn history_sum(&self) -> Option<HistorySum<'_>> {
        Some(HistorySum { inputs: factors(&self.inputs), alpha: self.alpha })
    }
}

crate::parts::item_panels::scores_by_products!(FismModel);

impl Model for FismModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, table) in [("inputs", &self.inputs), ("items", &self.items)] {
            tensors.insert(name, &[table.n_rows(), table.dim()], table.export());
        }
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.inputs.n_parameters() + self.items.n_parameters()
    }

    /// Both tables are of items; users cost nothing.
    fn serving_bytes(&self) -> ServingBytes {
        ServingBytes { items: 4 * self.n_parameters() as u64, users: 0 }
    }
}

/// Random stream of the initial values.
const INIT: u64 = 0x4649_534d;

/// How closely the first singular vectors are approached: training moves them anyway.
const EFFORT: Effort = Effort { extra: 16, rounds: 6 };
