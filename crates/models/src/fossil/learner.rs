//! Training: a query's vector is a weighted sum, so its gradient flows to every item of the history with its
//! weight, and to the Markov weights of the latest items as dot products.

use super::model::FossilModel;
use crate::parts::item_head::{ItemHead, QueryVectors};
use rankstill_core::kernel::pairs::pair_dots;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Terms;
use rankstill_core::{Batch, Learner, Objective, Query, Slate, Tensors, UserId};

/// A model with the scratch space of training.
pub(super) struct FossilLearner {
    model: FossilModel,
    head: ItemHead,
    history_slots: Slots,
    user_slots: Slots,
    /// One vector per row of the batch, and its gradient: with the stride of P, and with that of Q, which has
    /// the bias as well.
    sums: Vec<f32>,
    vectors: Vec<f32>,
    /// d loss / d Markov weights of every row.
    to_weights: Vec<f32>,
}

impl FossilLearner {
    pub fn new(model: FossilModel) -> Self {
        Self {
            head: ItemHead::new(model.items.n_rows()),
            history_slots: Slots::new(model.histories.n_rows()),
            user_slots: Slots::new(model.own_weights.n_rows()),
            sums: Vec::new(),
            vectors: Vec::new(),
            to_weights: Vec::new(),
            model,
        }
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        let Self { model, head, history_slots, user_slots, sums, vectors, to_weights } = self;
        let n = batch.len();
        let queries: Vec<Query<'_>> = (0..n).map(|at| batch.case(at).query).collect();
        let users: Vec<Option<UserId>> = queries.iter().map(|query| model.user(query)).collect();
        let known = users.iter().flatten().copied().collect::<Vec<_>>();
        user_slots.assign(&known);
        model.own_weights.catch_up(user_slots);
        let mix = model.mix(&queries);
        history_slots.assign(&mix.items);
        model.histories.catch_up(history_slots);

        let (dim, stride, wide) =
            (model.histories.dim(), model.histories.stride(), model.items.stride());
        sums.resize(n * stride, 0.0);
        model.sums(&mix, sums);
        vectors.clear();
        vectors.resize(n * wide, 0.0);
        for (vector, sum) in vectors.chunks_exact_mut(wide).zip(sums.chunks_exact(stride)) {
            vector[..dim].copy_from_slice(&sum[..dim]);
            vector[dim] = 1.0;
        }
        let of_row: Vec<u32> = (0..n as u32).collect();
        let counts = vec![true; n];
        let context = QueryVectors { vectors, of_row: &of_row, counts: &counts };
        let loss = head.step(&mut model.items, context, batch, slate, objective);

        // From here on `sums` holds gradients.
        for (to_sum, row) in
            sums.chunks_exact_mut(stride).zip(head.row_gradients().chunks_exact(wide))
        {
            to_sum[..dim].copy_from_slice(&row[..dim]);
        }
        let order = model.order();
        let weights_stride = model.own_weights.stride();
        let (mut rows, mut positions, mut latest) = (Vec::new(), Vec::new(), Vec::new());
        let mut row_of = Vec::with_capacity(mix.items.len());
        for (row, bounds) in mix.starts.windows(2).enumerate() {
            let history = &mix.items[bounds[0]..bounds[1]];
            row_of.extend(std::iter::repeat_n(row as u32, history.len()));
            for (lag, &item) in history.iter().rev().take(order).enumerate() {
                rows.push(row as u32);
                positions.push(row * weights_stride + lag);
                latest.push(item);
            }
        }
        let mut slopes = vec![0.0; latest.len()];
        pair_dots(sums, &rows, model.histories.params(), &latest, stride, &mut slopes);
        to_weights.clear();
        to_weights.resize(n * weights_stride, 0.0);
        positions.iter().zip(&slopes).for_each(|(&position, &slope)| to_weights[position] = slope);
        let mut to_shared = vec![0.0; order];
        for row in to_weights.chunks_exact(weights_stride) {
            to_shared.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
        }

        let scale = head.scale();
        let decay = 0.0;
        let (coef, source) = (mix.shares.as_slice(), row_of.as_slice());
        let of_histories = Terms { coef, source, vectors: sums, stride, scale, decay };
        let row_of_user: Vec<u32> =
            (0..).zip(&users).filter_map(|(row, user)| user.map(|_| row)).collect();
        let ones = vec![1.0; known.len()];
        let of_users = Terms {
            coef: &ones,
            source: &row_of_user,
            vectors: to_weights,
            stride: weights_stride,
            scale,
            decay,
        };
        let FossilModel { histories, items, own_weights, weights, .. } = model;
        rayon::join(
            || histories.apply(history_slots, &of_histories),
            || {
                head.apply(items, context);
                own_weights.apply(user_slots, &of_users);
                weights.update(&to_shared, scale);
            },
        );
        loss
    }
}

impl Learner for FossilLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.model.items.n_rows() == 0 {
            return 0.0;
        }
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.model.histories.advance();
        self.model.items.advance();
        self.model.own_weights.advance();
        self.model.changed();
        loss
    }

    fn settle(&mut self) {
        self.model.histories.settle();
        self.model.items.settle();
        self.model.own_weights.settle();
    }

    fn state(&self) -> Tensors {
        self.model.state()
    }
}

crate::parts::scores_as_its_model!(FossilLearner, model);
