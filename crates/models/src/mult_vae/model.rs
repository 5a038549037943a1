//! The model: an input table of items, the layers in between, and an output table of items.

use super::MultVae;
use super::coder::{Coder, Pass, Shape, glorot};
use crate::parts::item_panels::{ItemPanels, factors};
use crate::parts::multinomial::distinct;
use rankstill_core::kernel::dropout::Dropout;
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::pairs::weighted_sums;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::table::Table;
use rankstill_core::state::{self, wrong};
use rankstill_core::{Error, Factored, Factors, ItemId, Model, Query, Result, Scorer, Tensors};

/// Tables and layers, with their optimiser during training.
pub(crate) struct MultVaeModel {
    /// W1.
    pub inputs: Table,
    /// W4; the bias is its last column.
    pub outputs: Table,
    pub(super) coder: Coder,
    panels: ItemPanels,
}

/// Histories as sparse rows: row r has the entries `starts[r]..starts[r + 1]`.
#[derive(Default)]
pub(super) struct Sparse {
    pub starts: Vec<usize>,
    pub items: Vec<ItemId>,
    pub values: Vec<f32>,
}

impl Sparse {
    /// Removes all rows.
    pub fn clear(&mut self) {
        self.starts.clear();
        self.starts.push(0);
        self.items.clear();
        self.values.clear();
    }

    /// Appends a history as an L2-normalised binary vector; with dropout if there is a generator.
    pub fn push(&mut self, history: &[ItemId], n_items: usize, dropped: Option<(Dropout, Rng)>) {
        let items = distinct(history.iter().copied(), n_items);
        let mut value = 1.0 / (items.len().max(1) as f32).sqrt();
        match dropped {
            None => self.items.extend(items),
            Some((dropout, mut rng)) => {
                let mut mask = vec![0; Dropout::words(items.len())];
                dropout.draw(&mut rng, &mut mask);
                let kept = |at: &usize| mask[at / 64] >> (at % 64) & 1 == 1;
                self.items.extend((0..items.len()).filter(kept).map(|at| items[at]));
                value *= dropout.scale();
            }
        }
        self.values.resize(self.items.len(), value);
        self.starts.push(self.items.len());
    }
}

impl MultVaeModel {
    fn new(recipe: &MultVae, n_items: usize, optimizer: &Optimizer) -> Self {
        Self {
            inputs: Table::new(n_items, recipe.hidden, optimizer.clone()),
            outputs: Table::new(n_items, recipe.hidden + 1, optimizer.clone()),
            coder: Coder::new(Shape::of(recipe), optimizer),
            panels: ItemPanels::default(),
        }
    }

    /// The initial values that the recipe documents.
    pub fn random(recipe: &MultVae, n_items: usize, seed: u64) -> Self {
        let mut net = Self::new(recipe, n_items, &recipe.optimizer);
        let (hidden, bound) = (recipe.hidden, glorot(n_items, recipe.hidden));
        for (which, table) in [(0, &mut net.inputs), (1, &mut net.outputs)] {
            table.init(|row, vector| {
                let mut rng = Rng::keyed(seed, [INIT, which, row as u64]);
                rng.fill_uniform(&mut vector[..hidden], -bound, bound);
            });
        }
        net.coder.randomise(&mut Rng::keyed(seed, [INIT, 2, 0]));
        net
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &MultVae, tensors: &Tensors) -> Result<Self> {
        let (inputs, n_inputs, input_dim) = tensors.matrix("inputs")?;
        let (outputs, n_items, output_dim) = tensors.matrix("outputs")?;
        for (name, what, found, expected) in [
            ("inputs", "rows of", input_dim, recipe.hidden),
            ("outputs", "rows of", output_dim, recipe.hidden + 1),
            ("inputs", "as many rows as outputs, which are", n_inputs, n_items),
        ] {
            if found != expected {
                let problem = format!("expected {what} {expected}, found {found}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
        }
        let mut net = Self::new(recipe, n_items, &Optimizer::Sgd(Sgd::default()));
        net.inputs.import(inputs).map_err(wrong("inputs"))?;
        net.outputs.import(outputs).map_err(wrong("outputs"))?;
        net.coder.import(tensors)?;
        Ok(net)
    }

    /// From [`MultVaeModel::state`].
    pub fn resumed(recipe: &MultVae, n_items: usize, kept: &Tensors) -> Result<Self> {
        let mut net = Self::new(recipe, n_items, &recipe.optimizer);
        for (name, table) in [("inputs", &mut net.inputs), ("outputs", &mut net.outputs)] {
            table.restore(&state::read(kept, name)?).map_err(wrong(name))?;
        }
        net.coder.restore(&state::read(kept, "coder")?)?;
        Ok(net)
    }

    /// All parameters with their optimiser state.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, state) in [
            ("inputs", self.inputs.state()),
            ("outputs", self.outputs.state()),
            ("coder", self.coder.weights.state()),
        ] {
            state::insert(&mut tensors, name, state);
        }
        tensors
    }

    /// Drops what was derived from the tables.
    pub fn changed(&mut self) {
        self.panels.forget();
    }

    /// The sums over histories, into `pass.first`. Their rows of the input table must be settled.
    pub(super) fn sum(&self, histories: &Sparse, pass: &mut Pass) {
        let (table, stride) = (self.inputs.params(), self.inputs.stride());
        pass.first.resize((histories.starts.len() - 1) * stride, 0.0);
        let Sparse { starts, items, values } = histories;
        weighted_sums(starts, values, items, table, stride, &mut pass.first);
    }
}

crate::parts::item_panels::scores_by_products!(MultVaeModel);

impl Factored for MultVaeModel {
    fn items(&self) -> Factors<'_> {
        factors(&self.outputs)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let mut histories = Sparse::default();
        histories.clear();
        for query in queries {
            histories.push(query.history, self.n_items(), None);
        }
        let mut pass = Pass::default();
        self.sum(&histories, &mut pass);
        self.coder.forward(&mut pass, None);
        let vectors = pass.queries.chunks_exact(self.outputs.stride());
        for (out, vector) in out.chunks_exact_mut(self.outputs.dim()).zip(vectors) {
            out.copy_from_slice(&vector[..self.outputs.dim()]);
        }
    }
}

impl Model for MultVaeModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, table) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            tensors.insert(name, &[table.n_rows(), table.dim()], table.export());
        }
        self.coder.export(&mut tensors);
        tensors
    }

    fn n_parameters(&self) -> usize {
        let tables = self.inputs.n_parameters() + self.outputs.n_parameters();
        tables + self.coder.shape.n_parameters()
    }
}

/// Random stream of the initial values.
const INIT: u64 = 0x494e_4954;
