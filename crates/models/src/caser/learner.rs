//! Training: one step on the slate of a batch.
//!
//! A user or item occurs many times in a batch: each distinct one takes one step with the sum of its gradients,
//! in the batch's order. [`ItemHead`] does the output table's side.

use super::model::CaserModel;
use super::tower::Pass;
use crate::parts::item_head::{ItemHead, QueryVectors, known_users};
use rankstill_core::kernel::simd::{LANES, prefetch};
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Terms;
use rankstill_core::{Batch, ItemId, Learner, Objective, Slate, Tensors, UserId};
use rayon::prelude::*;

/// A model with the scratch space of training.
pub(super) struct CaserLearner {
    net: CaserModel,
    user_slots: Slots,
    item_slots: Slots,
    pass: Pass,
    head: ItemHead,
}

/// Random stream of dropout.
pub(super) const DROPOUT: u64 = 0x4452_4f50;

/// Embeddings copied per task, and the distance of prefetching.
const CHUNK: usize = 256;
const AHEAD: usize = 6;

impl CaserLearner {
    pub fn new(net: CaserModel) -> Self {
        Self {
            user_slots: Slots::new(net.users.n_rows()),
            item_slots: Slots::new(net.items.n_rows()),
            pass: Pass::default(),
            head: ItemHead::new(net.outputs.n_rows()),
            net,
        }
    }

    /// Brings the rows of the batch's users and of its histories' items up to date, and copies the items to the
    /// windows.
    fn fetch(&mut self, batch: &Batch<'_>, users: &[UserId]) {
        let Self { net, user_slots, item_slots, pass, .. } = self;
        let length = net.tower.layout.shape.length;
        let mut ids: Vec<ItemId> = vec![0; batch.len() * length];
        for (at, window) in ids.chunks_exact_mut(length).enumerate() {
            net.window(batch.case(at).query.history, window);
        }
        user_slots.assign(users);
        item_slots.assign(&ids);
        net.users.catch_up(user_slots);
        net.items.catch_up(item_slots);
        pass.resize(&net.tower.layout, batch.len(), net.outputs.stride());
        // Directly from the table: most items of a batch occur once, so an intermediate compact copy would not pay.
        let ((data, record), stride) = (net.items.params(), net.items.stride());
        let windows = pass.windows.par_chunks_mut(CHUNK * stride).zip(ids.par_chunks(CHUNK));
        windows.for_each(|(windows, ids)| {
            for (k, (vector, &id)) in windows.chunks_exact_mut(stride).zip(ids).enumerate() {
                if let Some(&next) = ids.get(k + AHEAD) {
                    let next = &data[next as usize * record..][..stride];
                    next.iter().step_by(LANES).for_each(|line| prefetch(line));
                }
                vector.copy_from_slice(&data[id as usize * record..][..stride]);
            }
        });
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        let (users, counts) = known_users(batch, self.net.users.n_rows());
        self.fetch(batch, &users);

        let Self { net, user_slots, item_slots, pass, head } = self;
        let CaserModel { tower, .. } = net;
        let (stride, length) = (net.items.stride(), tower.layout.shape.length);
        let user = |row: usize, out: &mut [f32]| {
            out.copy_from_slice(net.users.row(users[row] as usize));
        };
        tower.forward(pass, user, Some(&|row| batch.rng(row, DROPOUT)));

        let of_row: Vec<u32> = (0..batch.len() as u32).collect();
        let queries = std::mem::take(&mut pass.queries);
        let context = QueryVectors { vectors: &queries, of_row: &of_row, counts: &counts };
        let loss = head.step(&mut net.outputs, context, batch, slate, objective);
        tower.backward(pass, head.row_gradients(), true);

        // A case without a gradient does not count as an occurrence of its user or items.
        let (live, scale) = (head.row_terms().coef, head.scale());
        let of_window: Vec<f32> =
            live.iter().flat_map(|&live| std::iter::repeat_n(live, length)).collect();
        let of_item: Vec<u32> = (0..of_window.len() as u32).collect();
        let terms =
            |coef, source, vectors| Terms { coef, source, vectors, stride, scale, decay: 0.0 };
        let (outputs, pass) = (&mut net.outputs, &*pass);
        rayon::join(
            || {
                let of_users = terms(live, &of_row, &pass.to_users);
                rayon::join(
                    || net.users.apply(user_slots, &of_users),
                    || net.items.apply(item_slots, &terms(&of_window, &of_item, &pass.to_windows)),
                )
            },
            || rayon::join(|| head.apply(outputs, context), || tower.update(scale)),
        );
        self.pass.queries = queries;
        loss
    }
}

impl Learner for CaserLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.net.users.n_rows() == 0 {
            return 0.0;
        }
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        for table in [&mut self.net.users, &mut self.net.items, &mut self.net.outputs] {
            table.advance();
        }
        self.net.changed();
        loss
    }

    fn settle(&mut self) {
        for table in [&mut self.net.users, &mut self.net.items, &mut self.net.outputs] {
            table.settle();
        }
    }

    fn state(&self) -> Tensors {
        self.net.state()
    }
}

crate::parts::scores_as_its_model!(CaserLearner, net);
