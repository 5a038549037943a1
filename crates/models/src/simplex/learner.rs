//! Training: the batch's users are mixed with their histories, cosines are dot products of unit vectors, and
//! gradients flow back.

use super::Simplex;
use super::attention::Attention;
use super::model::{SimplexModel, back_from_direction, direct};
use crate::parts::item_head::{ItemHead, QueryVectors, known_users};
use rankstill_core::kernel::dropout::{self, Dropout};
use rankstill_core::kernel::gemm::{Mat, MatMut, gemm, parallel};
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::kernel::pairs::weighted_sums;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::{Table, Terms};
use rankstill_core::state;
use rankstill_core::{
    Batch, Interactions, ItemId, Learner, Lists, Objective, Result, Slate, Tensors, UserId,
};
use std::ops::Range;

/// The users' own embeddings and W, the model computed from them, and the scratch space of training.
pub(super) struct SimplexLearner {
    recipe: Simplex,
    own: Table,
    map: DenseParam,
    /// Unless all items of a history weigh the same.
    attention: Option<Attention>,
    /// The latest items of each user; empty where histories have no weight.
    history: Lists<ItemId>,
    model: SimplexModel,
    settled: bool,
    dropout: Dropout,
    head: ItemHead,
    /// The user of each query vector, and the query vector of each row of the batch: its user's, or its own.
    queries: Vec<UserId>,
    query_slots: Slots,
    user_slots: Slots,
    item_slots: Slots,
    mixed: Mixed,
}

/// The forward pass of some users, from embeddings to unit vectors; rows are a table's stride apart.
#[derive(Default)]
struct Mixed {
    /// Entries `starts[k]..starts[k + 1]` are the items of the k-th user's history, with their weights.
    starts: Vec<usize>,
    items: Vec<ItemId>,
    shares: Vec<f32>,
    /// p, then h = g e + (1 - g) W p, its unit vector, and its norm.
    means: Vec<f32>,
    sums: Vec<f32>,
    units: Vec<f32>,
    lengths: Vec<f32>,
    /// The query vectors: the unit vectors after dropout, and its masks.
    queries: Vec<f32>,
    masks: Vec<u64>,
}

/// The parameters of the forward pass.
struct Inputs<'a> {
    recipe: &'a Simplex,
    own: &'a Table,
    /// The items' embeddings for histories.
    pooled: &'a Table,
    history: &'a Lists<ItemId>,
    map: &'a [f32],
}

impl SimplexLearner {
    fn new(recipe: &Simplex, train: &Interactions) -> Self {
        let (n_users, n_items) = (train.n_users(), train.n_items());
        let model = SimplexModel::new(recipe, n_users, n_items, &recipe.optimizer);
        let mut map = DenseParam::new(model.map.len(), recipe.optimizer.clone());
        map.values_mut().copy_from_slice(&model.map);
        let attention = recipe
            .attends()
            .then(|| Attention::new(n_items, recipe.dim, recipe.history, recipe.optimizer.clone()));
        let latest = if recipe.mixes() { recipe.history } else { 0 };
        let last = |items: &[ItemId]| items[items.len().saturating_sub(latest)..].to_vec();
        Self {
            recipe: recipe.clone(),
            own: Table::new(n_users, recipe.dim, recipe.optimizer.clone()),
            map,
            attention,
            history: train.items().iter().map(last).collect(),
            settled: false,
            dropout: Dropout::new(recipe.dropout),
            head: ItemHead::new(n_items),
            queries: Vec::new(),
            query_slots: Slots::new(n_users),
            user_slots: Slots::new(n_users),
            item_slots: Slots::new(n_items),
            mixed: Mixed::default(),
            model,
        }
    }

    /// Normally distributed embeddings and K, W the identity, and b 0.
    pub fn random(recipe: &Simplex, train: &Interactions, seed: u64) -> Self {
        let mut learner = Self::new(recipe, train);
        let std = recipe.init_std as f32;
        let SimplexModel { items, apart, .. } = &mut learner.model;
        let tables = [&mut learner.own, items].into_iter().chain(apart);
        for (which, table) in tables.enumerate() {
            table.init(|row, vector| {
                Rng::keyed(seed, [INIT, which as u64, row as u64]).fill_normal(vector, 0.0, std);
            });
        }
        if let Some(attention) = &mut learner.attention {
            attention.init(&mut Rng::keyed(seed, [INIT, ATTENTION]));
        }
        learner.model.direct_all();
        learner.settle();
        learner
    }

    /// From [`Learner::state`].
    pub fn resumed(recipe: &Simplex, train: &Interactions, kept: &Tensors) -> Result<Self> {
        let mut learner = Self::new(recipe, train);
        learner.own.restore(&state::read(kept, "own")?).map_err(state::wrong("own"))?;
        let items = state::read(kept, "items")?;
        learner.model.items.restore(&items).map_err(state::wrong("items"))?;
        if let Some(apart) = &mut learner.model.apart {
            apart.restore(&state::read(kept, "apart")?).map_err(state::wrong("apart"))?;
        }
        if recipe.mixes() {
            learner.map.restore(&state::read(kept, "map")?).map_err(state::wrong("map"))?;
        }
        if let Some(attention) = &mut learner.attention {
            let weights = state::read(kept, "attention")?;
            attention.weights.restore(&weights).map_err(state::wrong("attention"))?;
        }
        learner.model.direct_all();
        learner.settle();
        Ok(learner)
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        self.set_rate(batch.epoch);
        let (users, counts) = known_users(batch, self.own.n_rows());
        let without = self.recipe.leaves_out().then_some(batch);
        self.assign_queries(users, without.is_some());
        let Self { recipe, own, map, attention, history, model, mixed, queries, .. } = self;
        let inputs = Inputs { recipe, own, pooled: model.pooled(), history, map: map.values() };
        mixed.forward(queries, without, &inputs, attention.as_mut());
        self.mixed.drop(self.dropout, batch, &self.query_slots, self.own.dim(), self.own.stride());
        let Self { head, model, query_slots, mixed, .. } = self;
        let of_row = query_slots.slot_of();
        let context = QueryVectors { vectors: &mixed.queries, of_row, counts: &counts };
        let loss = head.step(&mut model.units, context, batch, slate, objective);
        self.apply(&counts);
        self.settled = false;
        loss
    }

    /// The rows of a user share one query vector, unless each leaves out its own targets.
    fn assign_queries(&mut self, users: Vec<UserId>, one_per_row: bool) {
        if !one_per_row {
            self.query_slots.assign(&users);
            self.queries.clear();
            return self.queries.extend_from_slice(self.query_slots.rows());
        }
        if self.query_slots.n_rows() < users.len() {
            self.query_slots = Slots::new(users.len());
        }
        let rows: Vec<u32> = (0..users.len() as u32).collect();
        self.query_slots.assign(&rows);
        self.queries = users;
    }

    fn set_rate(&mut self, epoch: usize) {
        let rate = self.recipe.training().rate(epoch);
        let SimplexModel { items, apart, .. } = &mut self.model;
        for table in [&mut self.own, items].into_iter().chain(apart) {
            table.set_learning_rate(rate);
        }
        self.map.set_learning_rate(rate);
        if let Some(attention) = &mut self.attention {
            attention.weights.set_learning_rate(rate);
        }
    }

    /// Propagates the gradients back to the parameters, and takes every parameter's step.
    fn apply(&mut self, counts: &[bool]) {
        let to_sums = self.gradients_of_sums();
        let mut to_own: Vec<f32> = to_sums.iter().map(|g| self.recipe.own as f32 * g).collect();
        let mut items = self.gradients_of_scored_items(counts);
        if self.recipe.mixes() {
            self.propagate_to_histories(&to_sums, &mut to_own, &mut items);
        }
        self.step_tables(&to_sums, &to_own, &items);
    }

    /// The gradients of h.
    fn gradients_of_sums(&self) -> Vec<f32> {
        let Self { head, mixed, queries, query_slots, .. } = self;
        let (dim, stride, n) = (self.own.dim(), self.own.stride(), queries.len());
        let mut to_units = vec![0.0; n * stride];
        head.row_terms().sums(query_slots, &mut to_units);
        mixed.drop_gradient(self.dropout, &mut to_units, dim, stride);
        let mut to_sums = vec![0.0; n * stride];
        for (k, out) in to_sums.chunks_exact_mut(stride).enumerate() {
            let at = k * stride..k * stride + dim;
            let (unit, given) = (&mixed.units[at.clone()], &to_units[at]);
            back_from_direction(unit, mixed.lengths[k], given, &mut out[..dim]);
        }
        to_sums
    }

    /// The gradients of the items' embeddings, from those of their unit vectors.
    fn gradients_of_scored_items(&mut self, counts: &[bool]) -> ItemGradients {
        let Self { head, model, mixed, query_slots, item_slots, own, .. } = self;
        let (dim, stride) = (own.dim(), own.stride());
        let mut items = ItemGradients::default();
        let context =
            QueryVectors { vectors: &mixed.queries, of_row: query_slots.slot_of(), counts };
        let listed = match head.live_item_gradients(context, item_slots, &mut items.vectors) {
            Some(slots) => slots.rows().to_vec(),
            None => (0..model.items.n_rows() as u32).collect(),
        };
        let mut turned = vec![0.0; dim];
        let gradients = items.vectors.chunks_exact_mut(stride);
        for (k, (&item, given)) in listed.iter().zip(gradients).enumerate() {
            if given.iter().all(|&g| g == 0.0) {
                continue;
            }
            let item_row = item as usize;
            let length = model.items.row(item_row).iter().fold(0.0, |sum, x| sum + x * x).sqrt();
            let unit = model.units.row(item_row);
            back_from_direction(unit, length, &given[..dim], &mut turned);
            given[..dim].copy_from_slice(&turned);
            items.ids.push(item);
            items.coef.push(1.0);
            items.source.push(k as u32);
        }
        items.scored = items.ids.len();
        items
    }

    /// Adds the gradients of the histories' items, through their pooled embedding and through attention, which
    /// also has a gradient of the users' own embeddings; steps W and attention.
    fn propagate_to_histories(
        &mut self,
        to_sums: &[f32],
        to_own: &mut [f32],
        items: &mut ItemGradients,
    ) {
        let Self { head, map, attention, recipe, mixed, queries, own, .. } = self;
        let (dim, stride, n) = (own.dim(), own.stride(), queries.len());
        let (share, scale) = (recipe.own as f32, head.scale());
        // sums = g e + (1 - g) means W': of W it is (1 - g) to_sums' means, of the means (1 - g) to_sums W.
        let to_sums = Mat::new(to_sums, n, dim, stride);
        let means = Mat::new(&mixed.means, n, dim, stride);
        let mut to_map = vec![0.0; dim * dim];
        gemm(1.0 - share, to_sums.t(), means, 0.0, &mut MatMut::dense(&mut to_map, dim, dim));
        let mut to_means = vec![0.0; n * stride];
        let weights = Mat::dense(map.values(), dim, dim);
        let mut out = MatMut::new(&mut to_means, n, dim, stride);
        gemm(1.0 - share, to_sums, weights, 0.0, &mut out);
        let first = items.vectors.len() / stride;
        for k in 0..n {
            if to_means[k * stride..][..dim].iter().all(|&g| g == 0.0) {
                continue;
            }
            let entries = mixed.starts[k]..mixed.starts[k + 1];
            items.ids.extend_from_slice(&mixed.items[entries.clone()]);
            items.source.extend(entries.clone().map(|_| (first + k) as u32));
            items.coef.extend_from_slice(&mixed.shares[entries]);
        }
        items.vectors.extend_from_slice(&to_means);
        map.update(&to_map, scale);
        if let Some(attention) = attention {
            let back = attention.back(&mixed.starts, &mixed.shares, &to_means, to_own, stride);
            let first = items.vectors.len() / stride;
            let moved = back.to_items.chunks_exact(stride).enumerate();
            for (k, _) in moved.filter(|(_, given)| given.iter().any(|&g| g != 0.0)) {
                items.ids.push(back.items[k]);
                items.coef.push(1.0);
                items.source.push((first + k) as u32);
            }
            items.vectors.extend_from_slice(&back.to_items);
            let to_weights = back.to_weights;
            attention.weights.update(&to_weights, scale);
        }
    }

    /// The steps of the tables, and the unit vectors of the items that moved. Users without a gradient do not move.
    fn step_tables(&mut self, to_sums: &[f32], to_own: &[f32], items: &ItemGradients) {
        let Self { head, model, queries, user_slots, item_slots, own, recipe, .. } = self;
        let (dim, stride, scale) = (own.dim(), own.stride(), head.scale());
        let mut n_ids = items.ids.len();
        if let Some(apart) = &mut model.apart {
            item_slots.assign(&items.ids[items.scored..]);
            apart.apply(item_slots, &items.terms(items.scored..n_ids, stride, scale));
            apart.advance();
            n_ids = items.scored;
        }
        item_slots.assign(&items.ids[..n_ids]);
        model.items.apply(item_slots, &items.terms(0..n_ids, stride, scale));
        model.items.advance();

        let moves = |k: &u32| to_sums[*k as usize * stride..][..dim].iter().any(|&g| g != 0.0);
        let source: Vec<u32> = (0..queries.len() as u32).filter(moves).collect();
        let users: Vec<UserId> = source.iter().map(|&k| queries[k as usize]).collect();
        let coef = vec![1.0; users.len()];
        user_slots.assign(&users);
        let (coef, source, vectors) = (&coef[..], &source[..], to_own);
        own.apply(user_slots, &Terms { coef, source, vectors, stride, scale, decay: 0.0 });
        own.advance();

        if let Optimizer::Adam(Adam { mode: AdamMode::Dense, .. }) = recipe.optimizer {
            return model.direct_all();
        }
        for &item in item_slots.rows() {
            let item = item as usize;
            direct(model.items.row(item), model.units.row_mut(item));
        }
    }
}

/// Gradients of item embeddings: entry j adds `coef[j]` times row `source[j]` of `vectors` to the gradient of
/// item `ids[j]`.
#[derive(Default)]
struct ItemGradients {
    ids: Vec<ItemId>,
    coef: Vec<f32>,
    source: Vec<u32>,
    vectors: Vec<f32>,
    /// The first entries are those of scored items, the others those of histories.
    scored: usize,
}

impl ItemGradients {
    fn terms(&self, entries: Range<usize>, stride: usize, scale: f32) -> Terms<'_> {
        let (coef, source) = (&self.coef[entries.clone()], &self.source[entries]);
        Terms { coef, source, vectors: &self.vectors, stride, scale, decay: 0.0 }
    }
}

impl Mixed {
    /// The unit vectors of some users. With a batch, each row's targets are left out of its history.
    fn forward(
        &mut self,
        users: &[UserId],
        without: Option<&Batch<'_>>,
        &Inputs { recipe, own, pooled, history, map }: &Inputs<'_>,
        attention: Option<&mut Attention>,
    ) {
        let (n, dim, stride) = (users.len(), own.dim(), own.stride());
        for vectors in [&mut self.means, &mut self.sums, &mut self.units] {
            vectors.clear();
            vectors.resize(n * stride, 0.0);
        }
        if recipe.mixes() {
            self.starts.clear();
            self.starts.push(0);
            self.items.clear();
            self.shares.clear();
            for (at, &user) in users.iter().enumerate() {
                let from = self.items.len();
                let left_out = without.map_or(&[][..], |batch| batch.targets(at));
                let own = history.row(user as usize).iter();
                self.items.extend(own.filter(|item| !left_out.contains(item)));
                let n = self.items.len() - from;
                self.shares.resize(self.items.len(), 1.0 / n as f32);
                self.starts.push(self.items.len());
            }
            let Self { starts, items, shares, means, sums, .. } = self;
            if let Some(attention) = attention {
                attention.shares(users, (own, pooled), (starts, items), shares);
            }
            weighted_sums(starts, shares, items, pooled.params(), stride, means);
            let mut sums = MatMut::new(sums, n, dim, stride);
            let means = Mat::new(means, n, dim, stride);
            let share = 1.0 - recipe.own as f32;
            parallel(share, means, Mat::dense(map, dim, dim).t(), 0.0, &mut sums);
        }
        self.lengths.clear();
        for (k, &user) in users.iter().enumerate() {
            let at = k * stride..k * stride + dim;
            let sum = &mut self.sums[at.clone()];
            let share = recipe.own as f32;
            sum.iter_mut().zip(own.row(user as usize)).for_each(|(sum, x)| *sum += share * x);
            self.lengths.push(direct(sum, &mut self.units[at]));
        }
    }

    /// The query vectors; a user's mask is that of the user's first row in the batch.
    fn drop(
        &mut self,
        dropout: Dropout,
        batch: &Batch<'_>,
        users: &Slots,
        dim: usize,
        stride: usize,
    ) {
        self.queries.clone_from(&self.units);
        if dropout.is_off() {
            return;
        }
        let words = Dropout::words(dim);
        self.masks.resize(users.len() * words, 0);
        for (slot, mask) in self.masks.chunks_exact_mut(words).enumerate() {
            dropout.draw(&mut batch.rng(users.occurrences(slot)[0] as usize, DROPOUT), mask);
        }
        dropout::apply(&self.masks, dropout.scale(), &mut self.queries, dim, stride);
    }

    /// The gradients of the unit vectors, from those of the query vectors.
    fn drop_gradient(&self, dropout: Dropout, gradients: &mut [f32], dim: usize, stride: usize) {
        if !dropout.is_off() {
            dropout::apply(&self.masks, dropout.scale(), gradients, dim, stride);
        }
    }
}

impl Learner for SimplexLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.own.n_rows() == 0 || self.model.items.n_rows() == 0 {
            return 0.0;
        }
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.model.changed();
        loss
    }

    fn settle(&mut self) {
        if self.settled {
            return;
        }
        let Self { recipe, own, map, attention, history, model, mixed, .. } = self;
        let users: Vec<UserId> = (0..own.n_rows() as u32).collect();
        let inputs = Inputs { recipe, own, pooled: model.pooled(), history, map: map.values() };
        mixed.forward(&users, None, &inputs, attention.as_mut());
        let stride = own.stride();
        model.users.init(|user, unit| {
            unit.copy_from_slice(&mixed.units[user * stride..][..unit.len()]);
        });
        model.map.copy_from_slice(map.values());
        self.model.changed();
        self.settled = true;
    }

    fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "own", self.own.state());
        state::insert(&mut tensors, "items", self.model.items.state());
        if let Some(apart) = &self.model.apart {
            state::insert(&mut tensors, "apart", apart.state());
        }
        if self.recipe.mixes() {
            state::insert(&mut tensors, "map", self.map.state());
        }
        if let Some(attention) = &self.attention {
            state::insert(&mut tensors, "attention", attention.weights.state());
        }
        tensors
    }
}

crate::parts::scores_as_its_model!(SimplexLearner, model);

/// Random streams of the initial values, among them those of K, and of dropout.
const INIT: u64 = 0x494e_4954;
const ATTENTION: u64 = 0x4154_544e;
const DROPOUT: u64 = 0x4452_4f50;
