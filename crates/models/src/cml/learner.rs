//! Training: distances as dot products, and their gradients back to the points.
//!
//! With W the gradient of a user's longer vector and G that of an item's, the points have 2 W_1..d - 2 W_d+2 u and
//! G_1..d + 2 G_d+1 v.

use super::Cml;
use super::covariance;
use super::model::{CmlModel, ask, lengthen, put_back};
use crate::falling;
use crate::item_head::{Asked, ItemHead, known_users};
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Table;
use rankstill_core::{Batch, Learner, Objective, Slate, Tensors};

/// A model with the scratch space of its training.
pub(super) struct CmlLearner {
    recipe: Cml,
    model: CmlModel,
    head: ItemHead,
    user_slots: Slots,
    item_slots: Slots,
    /// The longer vectors of the batch's users.
    asked: Vec<f32>,
    /// Gradients of longer vectors: of the batch's users, then of its items.
    longer: Vec<f32>,
    users: Points,
    items: Points,
}

/// Points that are to move.
#[derive(Default)]
struct Points {
    rows: Vec<u32>,
    points: Vec<f32>,
    gradients: Vec<f32>,
}

impl CmlLearner {
    pub fn new(recipe: &Cml, model: CmlModel) -> Self {
        Self {
            recipe: recipe.clone(),
            head: ItemHead::new(model.items.n_rows()),
            user_slots: Slots::new(model.users.n_rows()),
            item_slots: Slots::new(model.items.n_rows()),
            asked: Vec::new(),
            longer: Vec::new(),
            users: Points::default(),
            items: Points::default(),
            model,
        }
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        let Self { recipe, model, head, user_slots, item_slots, asked, longer, .. } = self;
        let rate = falling::rate(&recipe.optimizer, recipe.final_rate, &recipe.train, batch.epoch);
        falling::set(&mut model.users, rate);
        falling::set(&mut model.items, rate);

        let (users, counts) = known_users(batch, model.users.n_rows());
        user_slots.assign(&users);
        let (dim, stride) = (model.longer.dim(), model.longer.stride());
        asked.resize(user_slots.len() * stride, 0.0);
        for (asked, &user) in asked.chunks_exact_mut(stride).zip(user_slots.rows()) {
            ask(model.users.row(user as usize), &mut asked[..dim]);
        }
        let asked = Asked { vectors: asked, of_row: user_slots.slot_of(), counts: &counts };
        let loss = head.step(&mut model.longer, asked, batch, slate, objective);

        longer.clear();
        longer.resize(user_slots.len() * stride, 0.0);
        head.row_terms().sums(user_slots, longer);
        let of_items = longer.len();
        let every_item: Vec<u32>;
        let items = match head.item_gradients(asked, longer) {
            Some(slots) => slots.rows(),
            None => {
                every_item = (0..model.items.n_rows() as u32).collect();
                &every_item
            }
        };
        let (of_users, of_items) = longer.split_at(of_items);
        self.users.gather(&model.users, user_slots.rows(), of_users, stride, |point, g, out| {
            let end = point.len();
            for (k, out) in out.iter_mut().enumerate() {
                *out = 2.0 * g[k] - 2.0 * g[end + 1] * point[k];
            }
        });
        self.items.gather(&model.items, items, of_items, stride, |point, g, out| {
            let end = point.len();
            for (k, out) in out.iter_mut().enumerate() {
                *out = g[k] + 2.0 * g[end] * point[k];
            }
        });

        let scale = head.scale();
        // One penalty a batch, whatever its size: not a mean over rows.
        let strength = recipe.covariance as f32 / scale;
        for (points, table) in [(&mut self.users, &model.users), (&mut self.items, &model.items)] {
            let (dim, stride) = (table.dim(), table.stride());
            covariance::penalise(&points.points, dim, stride, strength, &mut points.gradients);
        }
        user_slots.assign(&self.users.rows);
        item_slots.assign(&self.items.rows);
        model.users.apply_dense_rows(user_slots, &self.users.gradients, scale);
        model.items.apply_dense_rows(item_slots, &self.items.gradients, scale);
        model.users.advance();
        model.items.advance();
        self.put_back();
        loss
    }

    /// Puts what has moved back into the ball, and makes the items' longer vectors anew.
    fn put_back(&mut self) {
        let most = self.recipe.max_norm as f32;
        let Self { model, .. } = self;
        if let Optimizer::Adam(Adam { mode: AdamMode::Dense, .. }) = self.recipe.optimizer {
            model.users.init(|_, point| put_back(point, most));
            model.items.init(|_, point| put_back(point, most));
            return model.lengthen_all();
        }
        for &user in &self.users.rows {
            put_back(model.users.row_mut(user as usize), most);
        }
        for &item in &self.items.rows {
            let item = item as usize;
            put_back(model.items.row_mut(item), most);
            lengthen(model.items.row(item), model.longer.row_mut(item));
        }
    }
}

impl Points {
    /// Those with a gradient, which `turn` makes from that of their longer vector.
    fn gather(
        &mut self,
        table: &Table,
        rows: &[u32],
        longer: &[f32],
        longer_stride: usize,
        turn: impl Fn(&[f32], &[f32], &mut [f32]),
    ) {
        let (dim, stride) = (table.dim(), table.stride());
        self.rows.clear();
        self.points.clear();
        self.gradients.clear();
        for (&row, gradient) in rows.iter().zip(longer.chunks_exact(longer_stride)) {
            if gradient.iter().all(|&g| g == 0.0) {
                continue;
            }
            let from = self.points.len();
            self.points.resize(from + stride, 0.0);
            self.gradients.resize(from + stride, 0.0);
            let point = &mut self.points[from..][..dim];
            point.copy_from_slice(table.row(row as usize));
            turn(point, gradient, &mut self.gradients[from..][..dim]);
            self.rows.push(row);
        }
    }
}

impl Learner for CmlLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.model.users.n_rows() == 0 || self.model.items.n_rows() == 0 {
            return 0.0;
        }
        // Into the thread pool once, not once for each of the phases.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.model.changed();
        loss
    }

    fn state(&self) -> Tensors {
        self.model.state()
    }
}

answers_as_its_model!(CmlLearner, model);
