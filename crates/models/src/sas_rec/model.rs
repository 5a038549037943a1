//! The model: the items' embeddings, used by both histories and scores, and a tower.

use super::SasRec;
use super::tower::{Pass, Tower};
use crate::parts::item_panels::{ItemPanels, factors};
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::table::Table;
use rankstill_core::state::{self, wrong};
use rankstill_core::{Error, Factored, Factors, ItemId, Model, Query, Result, Tensors};

/// A table and layers, with their optimiser during training.
pub(super) struct SasRecModel {
    pub items: Table,
    pub tower: Tower,
    panels: ItemPanels,
}

impl SasRecModel {
    fn new(recipe: &SasRec, n_items: usize, optimizer: &Optimizer) -> Self {
        Self {
            items: Table::new(n_items, recipe.dim, optimizer.clone()),
            tower: Tower::new(recipe, optimizer),
            panels: ItemPanels::default(),
        }
    }

    /// The initial values that the recipe documents.
    pub fn random(recipe: &SasRec, n_items: usize, seed: u64) -> Self {
        let mut net = Self::new(recipe, n_items, &recipe.optimizer);
        let std = recipe.init_std as f32;
        net.items.init(|row, vector| {
            Rng::keyed(seed, [INIT, 0, row as u64]).fill_normal(vector, 0.0, std);
        });
        net.tower.randomise(&mut Rng::keyed(seed, [INIT, 1, 0]), std);
        net
    }

    /// From [`Model::tensors`], without optimiser state.
    pub fn loaded(recipe: &SasRec, tensors: &Tensors) -> Result<Self> {
        let (items, n_items, dim) = tensors.matrix("items")?;
        if dim != recipe.dim {
            let problem = format!("expected rows of {}, found rows of {dim}", recipe.dim);
            return Err(Error::Tensor { name: "items".into(), problem });
        }
        let mut net = Self::new(recipe, n_items, &Optimizer::Sgd(Sgd::default()));
        net.items.import(items).map_err(wrong("items"))?;
        net.tower.import(tensors)?;
        Ok(net)
    }

    /// From [`SasRecModel::state`].
    pub fn resumed(recipe: &SasRec, n_items: usize, kept: &Tensors) -> Result<Self> {
        let mut net = Self::new(recipe, n_items, &recipe.optimizer);
        net.items.restore(&state::read(kept, "items")?).map_err(wrong("items"))?;
        net.tower.weights.restore(&state::read(kept, "tower")?).map_err(wrong("tower"))?;
        net.tower.changed();
        Ok(net)
    }

    /// All parameters with their optimiser state.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "items", self.items.state());
        state::insert(&mut tensors, "tower", self.tower.weights.state());
        tensors
    }

    /// Drops what was derived from the table.
    pub fn changed(&mut self) {
        self.panels.forget();
    }

    /// The last items of a history that are in the catalogue, oldest first, appended to `out`.
    pub fn window(&self, history: &[ItemId], out: &mut Vec<ItemId>) {
        let begin = out.len();
        let known = history.iter().rev().filter(|&&item| (item as usize) < self.items.n_rows());
        out.extend(known.take(self.tower.length));
        out[begin..].reverse();
    }

    /// Prepares cases for [`Tower::forward`]: case i has the items `starts[i]..starts[i + 1]`.
    pub fn fill(&self, pass: &mut Pass, starts: &[usize], items: &[ItemId]) {
        let stride = self.items.stride();
        pass.starts.clear();
        pass.starts.extend(starts.iter().map(|start| start - starts[0]));
        pass.x.clear();
        for &item in &items[starts[0]..starts[starts.len() - 1]] {
            pass.x.extend_from_slice(self.items.row(item as usize));
            pass.x.resize(pass.x.len().next_multiple_of(stride), 0.0);
        }
    }
}

crate::parts::item_panels::scores_by_products!(SasRecModel);

impl Factored for SasRecModel {
    fn items(&self) -> Factors<'_> {
        factors(&self.items)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let (mut items, mut starts) = (Vec::new(), vec![0]);
        for query in queries {
            self.window(query.history, &mut items);
            starts.push(items.len());
        }
        let mut pass = Pass::default();
        self.fill(&mut pass, &starts, &items);
        self.tower.forward(&mut pass, None);
        let (dim, stride) = (self.items.dim(), self.items.stride());
        for (out, vector) in out.chunks_exact_mut(dim).zip(pass.out.chunks_exact(stride)) {
            out.copy_from_slice(&vector[..dim]);
        }
    }
}

impl Model for SasRecModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert("items", &[self.items.n_rows(), self.items.dim()], self.items.export());
        self.tower.export(&mut tensors);
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.items.n_parameters() + self.tower.n_parameters()
    }
}

/// Random stream of the initial values.
const INIT: u64 = 0x494e_4954;
