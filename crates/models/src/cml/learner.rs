//! Training: sampled lists use [`ListStep`]; everything else uses distances as dot products, with gradients
//! propagated to the points.
//!
//! With W the gradient of a user's extended vector and G that of an item's, the gradients of the points are
//! 2 W_1..d - 2 W_d+2 u and G_1..d + 2 G_d+1 v.

use super::Cml;
use super::covariance;
use super::list_step::ListStep;
use super::model::{CmlModel, extend_user};
use crate::parts::item_head::{ItemHead, QueryVectors, known_users};
use rankstill_core::kernel::simd::LANES;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::{Batch, Learner, Lists, Objective, Slate, Tensors, UserId};
use rayon::prelude::*;

/// A model with the scratch space of training.
pub(super) struct CmlLearner {
    recipe: Cml,
    model: CmlModel,
    list_step: ListStep,
    head: ItemHead,
    user_slots: Slots,
    item_slots: Slots,
    /// One point per slot, the tables' stride apart.
    user_points: Vec<f32>,
    item_points: Vec<f32>,
    /// The extended vectors of the batch's users.
    user_queries: Vec<f32>,
    /// Gradients of extended vectors: of the batch's users, then of its items.
    extended: Vec<f32>,
    users: Points,
    items: Points,
}

/// The points with a gradient.
#[derive(Default)]
struct Points {
    rows: Vec<u32>,
    /// The position of the gradient of each one's extended vector.
    positions: Vec<u32>,
    points: Vec<f32>,
    gradients: Vec<f32>,
}

/// Points per task.
const CHUNK: usize = 128;

impl CmlLearner {
    pub fn new(recipe: &Cml, model: CmlModel) -> Self {
        Self {
            recipe: recipe.clone(),
            list_step: ListStep::new(model.users.n_rows(), model.items.n_rows()),
            head: ItemHead::new(model.items.n_rows()),
            user_slots: Slots::new(model.users.n_rows()),
            item_slots: Slots::new(model.items.n_rows()),
            user_points: Vec::new(),
            item_points: Vec::new(),
            user_queries: Vec::new(),
            extended: Vec::new(),
            users: Points::default(),
            items: Points::default(),
            model,
        }
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        self.set_rate(batch.epoch);
        let loss = match slate {
            Slate::Lists { listed, probes, .. }
                if probes.is_empty()
                    && objective.vector_objective().is_none()
                    && self.recipe.covariance == 0.0 =>
            {
                self.list_step.step(&mut self.model, batch, slate, listed, objective)
            }
            _ => self.step_by_products(batch, slate, objective),
        };
        self.model.users.advance();
        self.model.items.advance();
        loss
    }

    /// With the extended vectors: for any slate, any objective, and the penalty.
    fn step_by_products(
        &mut self,
        batch: &Batch<'_>,
        slate: &Slate,
        objective: &dyn Objective,
    ) -> f64 {
        let (users, counts) = known_users(batch, self.model.users.n_rows());
        self.extend_users(&users);
        self.extend_items(batch, slate, objective);

        let Self { recipe, model, head, user_slots, item_slots, user_queries, extended, .. } = self;
        let context =
            QueryVectors { vectors: user_queries, of_row: user_slots.slot_of(), counts: &counts };
        let loss = head.step(&mut model.extended, context, batch, slate, objective);

        let (stride, longer_stride) = (model.users.stride(), model.extended.stride());
        extended.clear();
        extended.resize(user_slots.len() * longer_stride, 0.0);
        head.row_terms().sums(user_slots, extended);
        let of_items = extended.len();
        let every_item: Vec<u32>;
        // The head has the same slots, except for probes at the end, or none, which means all items.
        let (items, item_points) = match head.item_gradients(context, extended) {
            Some(slots) => (slots.rows(), (self.item_points.as_slice(), stride)),
            None => {
                every_item = (0..model.items.n_rows() as u32).collect();
                (every_item.as_slice(), model.items.params())
            }
        };
        let dim = model.users.dim();
        let (of_users, of_items) = extended.split_at(of_items);
        let of_users = (of_users, longer_stride);
        let user_points = (self.user_points.as_slice(), stride);
        self.users.gather(dim, user_slots.rows(), user_points, of_users, |point, g, out| {
            for ((out, g_k), x) in out.iter_mut().zip(g).zip(point) {
                *out = 2.0 * g_k - 2.0 * g[dim + 1] * x;
            }
        });
        self.items.gather(dim, items, item_points, (of_items, longer_stride), |point, g, out| {
            for ((out, g_k), x) in out.iter_mut().zip(g).zip(point) {
                *out = g_k + 2.0 * g[dim] * x;
            }
        });

        let scale = head.scale();
        // One penalty per batch, whatever its size: not a mean over rows.
        let strength = recipe.covariance as f32 / scale;
        for points in [&mut self.users, &mut self.items] {
            covariance::penalise(&points.points, dim, stride, strength, &mut points.gradients);
        }
        user_slots.assign(&self.users.rows);
        item_slots.assign(&self.items.rows);
        let CmlModel { users, items, .. } = model;
        rayon::join(
            || users.apply_dense_rows(user_slots, &self.users.gradients, scale),
            || items.apply_dense_rows(item_slots, &self.items.gradients, scale),
        );
        loss
    }

    /// Sets the epoch's learning rate; a resumed learner finds the same one.
    fn set_rate(&mut self, epoch: usize) {
        let rate = self.recipe.training().rate(epoch);
        for table in [&mut self.model.users, &mut self.model.items] {
            table.set_learning_rate(rate);
        }
    }

    /// The extended vectors of a batch's users.
    fn extend_users(&mut self, users: &[UserId]) {
        let Self { model, user_slots, user_points, user_queries, .. } = self;
        user_slots.assign(users);
        let (from, to) = (model.users.stride(), model.extended.stride());
        let (dim, longer_dim) = (model.users.dim(), model.extended.dim());
        user_points.resize(user_slots.len() * from, 0.0);
        model.users.fetch(user_slots, user_points);
        user_queries.resize(user_slots.len() * to, 0.0);
        let pairs = user_queries.par_chunks_mut(to).zip(user_points.par_chunks(from));
        pairs.with_min_len(CHUNK).for_each(|(user_queries, point)| {
            extend_user(&point[..dim], &mut user_queries[..longer_dim]);
        });
    }

    /// The extended vectors of the items that a step will read.
    fn extend_items(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) {
        let Some(listed) = slate.listed().filter(|_| !slate.reaches_all()) else {
            return self.model.extend_all();
        };
        let probes = slate.probes().map_or(&[][..], Lists::values);
        let of_vectors =
            objective.vector_objective().map_or(Vec::new(), |of| of.items(batch, slate));
        let needed = [listed.values(), slate.drawn(), &of_vectors, probes].concat();
        self.item_slots.assign(&needed);
        self.model.extend_rows(&self.item_slots, &mut self.item_points);
    }
}

impl Points {
    /// Collects those of `rows` with a non-zero gradient, which `turn` computes from that of the extended
    /// vector. Points, of `dim` numbers, and gradients are in the order of the rows, with the given strides.
    fn gather(
        &mut self,
        dim: usize,
        rows: &[u32],
        (points, distance): (&[f32], usize),
        (extended, longer_stride): (&[f32], usize),
        turn: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
    ) {
        let stride = dim.next_multiple_of(LANES);
        let gradients = extended.par_chunks_exact(longer_stride).with_min_len(CHUNK);
        let moves: Vec<bool> = gradients.map(|g| g.iter().any(|&g| g != 0.0)).collect();
        self.positions.clear();
        self.positions.extend((0..rows.len() as u32).filter(|&position| moves[position as usize]));
        self.rows.clear();
        self.rows.extend(self.positions.iter().map(|&position| rows[position as usize]));
        self.points.resize(self.rows.len() * stride, 0.0);
        self.gradients.resize(self.rows.len() * stride, 0.0);
        let moved = self.points.par_chunks_mut(stride).zip(self.gradients.par_chunks_mut(stride));
        let moved = moved.zip(&self.positions).with_min_len(CHUNK);
        moved.for_each(|((point, gradient), &position)| {
            let position = position as usize;
            point[..dim].copy_from_slice(&points[position * distance..][..dim]);
            let extended = &extended[position * longer_stride..][..longer_stride];
            turn(&point[..dim], extended, &mut gradient[..dim]);
        });
    }
}

impl Learner for CmlLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.model.users.n_rows() == 0 || self.model.items.n_rows() == 0 {
            return 0.0;
        }
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.model.changed();
        loss
    }

    fn settle(&mut self) {
        self.model.users.settle();
        self.model.extend_all();
    }

    fn state(&self) -> Tensors {
        self.model.state()
    }
}

crate::parts::scores_as_its_model!(CmlLearner, model);
