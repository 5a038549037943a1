//! Training: the batch goes forward through the layers, the slate is scored, and the gradient flows back to
//! every node.

use super::LightGcn;
use super::layers::{Layers, SparseGradient};
use super::model::LightGcnModel;
use crate::parts::item_head::{ItemHead, QueryVectors, known_users};
use rankstill_core::kernel::propagate::NONE;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Table;
use rankstill_core::state;
use rankstill_core::{Batch, Interactions, Learner, Objective, Result, Slate, Tensors};

/// The parameters, the embeddings last computed from them, and the scratch space of training.
pub(super) struct LightGcnLearner {
    recipe: LightGcn,
    n_users: usize,
    /// The layer-0 embeddings: users, then items.
    first: Table,
    layers: Layers,
    /// The final embeddings: of the last batch's items after each step, of all when settled.
    model: LightGcnModel,
    settled: bool,
    head: ItemHead,
    user_slots: Slots,
    item_slots: Slots,
    user_rows: Vec<f32>,
    item_rows: Vec<f32>,
    /// The gradient of the final embeddings: see [`SparseGradient`].
    nodes: Vec<u32>,
    rows: Vec<f32>,
    position: Vec<u32>,
}

impl LightGcnLearner {
    fn new(recipe: &LightGcn, train: &Interactions) -> Self {
        let (n_users, n_items) = (train.n_users(), train.n_items());
        let first = Table::new(n_users + n_items, recipe.dim, recipe.optimizer.clone());
        let layers = Layers::new(train, recipe.layers, first.stride());
        let degrees = (0..n_items).map(|item| layers.degree(n_users + item)).collect();
        Self {
            recipe: recipe.clone(),
            n_users,
            model: LightGcnModel::new(recipe.dim, n_users, n_items, degrees),
            settled: false,
            head: ItemHead::new(n_items),
            user_slots: Slots::new(n_users),
            item_slots: Slots::new(n_items),
            user_rows: Vec::new(),
            item_rows: Vec::new(),
            nodes: Vec::new(),
            rows: Vec::new(),
            position: vec![NONE; n_users + n_items],
            first,
            layers,
        }
    }

    /// Normally distributed embeddings.
    pub fn random(recipe: &LightGcn, train: &Interactions, seed: u64) -> Self {
        let mut learner = Self::new(recipe, train);
        let std = recipe.init_std as f32;
        learner.first.init(|node, vector| {
            Rng::keyed(seed, [INIT, node as u64]).fill_normal(vector, 0.0, std);
        });
        learner.settle();
        learner
    }

    /// From [`Learner::state`].
    pub fn resumed(recipe: &LightGcn, train: &Interactions, kept: &Tensors) -> Result<Self> {
        let mut learner = Self::new(recipe, train);
        let state = state::read(kept, "first")?;
        learner.first.restore(&state).map_err(state::wrong("first"))?;
        learner.settle();
        Ok(learner)
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        self.first.set_learning_rate(self.recipe.training().rate(batch.epoch));
        let (users, counts) = known_users(batch, self.n_users);
        self.user_slots.assign(&users);
        self.mix(slate);

        let Self { head, model, user_slots, user_rows, .. } = self;
        let context =
            QueryVectors { vectors: user_rows, of_row: user_slots.slot_of(), counts: &counts };
        let loss = head.step(&mut model.items, context, batch, slate, objective);

        self.gather(&counts);
        let gradient =
            SparseGradient { nodes: &self.nodes, rows: &self.rows, position: &self.position };
        self.layers.backward(gradient);
        self.penalise(slate, &counts);
        let gradient =
            SparseGradient { nodes: &self.nodes, rows: &self.rows, position: &self.position };
        let layers = &self.layers;
        self.first
            .apply_full_by(|from, out| layers.gradient(gradient, from, out), self.head.scale());
        self.first.advance();
        self.settled = false;
        loss
    }

    /// The final embeddings of the batch's users, and of the items that the slate needs.
    fn mix(&mut self, slate: &Slate) {
        let (dim, stride) = (self.first.dim(), self.first.stride());
        self.layers.forward(&self.first);
        self.user_rows.resize(self.user_slots.len() * stride, 0.0);
        self.layers.mixed(&self.first, self.user_slots.rows(), &mut self.user_rows);
        self.nodes.clear();
        let first_item = self.n_users as u32;
        match slate {
            Slate::Lists { listed, probes, .. } | Slate::WithSample { listed, probes, .. } => {
                let needed = [listed.values(), probes.values(), slate.drawn()].concat();
                self.item_slots.assign(&needed);
                self.nodes.extend(self.item_slots.rows().iter().map(|item| first_item + item));
            }
            Slate::WithComplement { .. } | Slate::All => {
                self.nodes.extend(first_item..self.layers.n() as u32);
            }
        }
        self.item_rows.resize(self.nodes.len() * stride, 0.0);
        self.layers.mixed(&self.first, &self.nodes, &mut self.item_rows);
        for (node, row) in self.nodes.iter().zip(self.item_rows.chunks_exact(stride)) {
            let item = (node - first_item) as usize;
            self.model.items.row_mut(item).copy_from_slice(&row[..dim]);
        }
    }

    /// The gradient of the final embeddings.
    fn gather(&mut self, counts: &[bool]) {
        let stride = self.first.stride();
        self.nodes.clear();
        self.nodes.extend_from_slice(self.user_slots.rows());
        self.rows.clear();
        self.rows.resize(self.user_slots.len() * stride, 0.0);
        self.head.row_terms().sums(&self.user_slots, &mut self.rows);
        let context =
            QueryVectors { vectors: &self.user_rows, of_row: self.user_slots.slot_of(), counts };
        let first_item = self.n_users as u32;
        match self.head.item_gradients(context, &mut self.rows) {
            Some(slots) => self.nodes.extend(slots.rows().iter().map(|item| first_item + item)),
            None => self.nodes.extend(first_item..self.layers.n() as u32),
        }
        self.position.fill(NONE);
        for (&node, position) in self.nodes.iter().zip(0..) {
            self.position[node as usize] = position;
        }
    }

    /// Adds the penalty, times L + 1, because the gradient of the final embeddings reaches layer 0 divided by that.
    fn penalise(&mut self, slate: &Slate, counts: &[bool]) {
        if self.recipe.l2 == 0.0 {
            return;
        }
        let mut occurs = vec![0u32; self.nodes.len()];
        for (&slot, &counts) in self.user_slots.slot_of().iter().zip(counts) {
            occurs[slot as usize] += u32::from(counts);
        }
        if let Some(listed) = slate.listed() {
            for (items, _) in listed.iter().zip(counts).filter(|(_, counts)| **counts) {
                for &item in items {
                    occurs[self.position[self.n_users + item as usize] as usize] += 1;
                }
            }
        }
        let factor = self.recipe.l2 as f32 * (self.recipe.layers + 1) as f32;
        let rows = self.rows.chunks_exact_mut(self.first.stride());
        for ((row, &node), &n) in rows.zip(&self.nodes).zip(&occurs) {
            let penalty = factor * n as f32;
            let vector = self.first.row(node as usize);
            row.iter_mut().zip(vector).for_each(|(row, x)| *row += penalty * x);
        }
    }
}

impl Learner for LightGcnLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.n_users == 0 || self.layers.n() == self.n_users {
            return 0.0;
        }
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.model.changed();
        loss
    }

    fn settle(&mut self) {
        if self.settled || self.layers.n() == 0 {
            return;
        }
        self.first.settle();
        self.layers.forward(&self.first);
        let (dim, stride) = (self.first.dim(), self.first.stride());
        for (first, table) in [(0, &mut self.model.users), (self.n_users, &mut self.model.items)] {
            self.nodes.clear();
            self.nodes.extend((first..first + table.n_rows()).map(|node| node as u32));
            self.rows.resize(self.nodes.len() * stride, 0.0);
            self.layers.mixed(&self.first, &self.nodes, &mut self.rows);
            table.init(|row, vector| vector.copy_from_slice(&self.rows[row * stride..][..dim]));
        }
        self.model.changed();
        self.settled = true;
    }

    fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "first", self.first.state());
        tensors
    }
}

crate::parts::scores_as_its_model!(LightGcnLearner, model);

/// Random stream of the initial values.
const INIT: u64 = 0x494e_4954;
