//! Training: one step on the slate of a batch.
//!
//! A batch names the same user or item many times: each distinct one's vector is copied out once, and takes one step by the
//! sum of its gradients, in the batch's order. The output table's side is [`ItemHead`]'s.

use super::model::Net;
use super::tower::Pass;
use crate::item_head::{Asked, ItemHead};
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::{Table, Terms};
use rankstill_core::{
    Batch, Factored, ItemId, Learner, Model, Objective, Query, Scorer, Slate, Tensors, UserId,
};
use rayon::prelude::*;

/// A model with the scratch space of its training.
pub(super) struct CaserLearner {
    net: Net,
    users: Compact,
    items: Compact,
    pass: Pass,
    head: ItemHead,
}

/// The distinct rows of a table that a batch names.
struct Compact {
    slots: Slots,
    /// One row of the table's stride a slot.
    rows: Vec<f32>,
}

impl Compact {
    fn new(table: &Table) -> Self {
        Self { slots: Slots::new(table.n_rows()), rows: Vec::new() }
    }

    fn fetch(&mut self, table: &mut Table, ids: &[u32]) {
        self.slots.assign(ids);
        self.rows.resize(self.slots.len() * table.stride(), 0.0);
        table.fetch(&self.slots, &mut self.rows);
    }

    /// The vector of occurrence `o`.
    fn row(&self, o: usize, stride: usize) -> &[f32] {
        &self.rows[self.slots.slot_of()[o] as usize * stride..][..stride]
    }
}

/// Keeps the draws of dropout apart from all others.
pub(super) const DROPOUT: u64 = 0x4452_4f50;

/// Occurrences copied by one task.
const CHUNK: usize = 256;

impl CaserLearner {
    pub fn new(net: Net) -> Self {
        Self {
            users: Compact::new(&net.users),
            items: Compact::new(&net.items),
            pass: Pass::default(),
            head: ItemHead::new(net.outputs.n_rows()),
            net,
        }
    }

    /// Fetches the vectors of the batch's users, and of its histories' items. Strangers share user 0's slot.
    fn fetch(&mut self, batch: &Batch<'_>, users: &[UserId]) {
        let Self { net, items, pass, .. } = self;
        let length = net.tower.layout.shape.length;
        let mut ids: Vec<ItemId> = vec![0; batch.len() * length];
        for (at, window) in ids.chunks_exact_mut(length).enumerate() {
            net.window(batch.case(at).query.history, window);
        }
        self.users.fetch(&mut net.users, users);
        items.fetch(&mut net.items, &ids);
        pass.resize(&net.tower.layout, batch.len(), net.outputs.stride());
        let stride = net.items.stride();
        pass.windows.par_chunks_mut(CHUNK * stride).enumerate().for_each(|(chunk, windows)| {
            for (o, vector) in (chunk * CHUNK..).zip(windows.chunks_exact_mut(stride)) {
                vector.copy_from_slice(items.row(o, stride));
            }
        });
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        // There is nothing to learn of strangers: their rows are left out.
        let n_users = self.net.users.n_rows();
        let user = |at| batch.case(at).query.user.filter(|&user| (user as usize) < n_users);
        let users: Vec<Option<UserId>> = (0..batch.len()).map(user).collect();
        let counts: Vec<bool> = users.iter().map(Option::is_some).collect();
        let users: Vec<UserId> = users.iter().map(|user| user.unwrap_or(0)).collect();
        self.fetch(batch, &users);

        let Self { net, users, items, pass, head } = self;
        let Net { tower, .. } = net;
        let dim = tower.layout.shape.dim;
        let (stride, length) = (net.items.stride(), tower.layout.shape.length);
        let user = |row: usize, out: &mut [f32]| {
            out.copy_from_slice(&users.row(row, stride)[..dim]);
        };
        tower.forward(pass, user, Some(&|row| batch.rng(row, DROPOUT)));

        let of_row: Vec<u32> = (0..batch.len() as u32).collect();
        let queries = std::mem::take(&mut pass.queries);
        let asked = Asked { vectors: &queries, of_row: &of_row, counts: &counts };
        let loss = head.step(&mut net.outputs, asked, batch, slate, objective);
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
                    || net.users.apply(&users.slots, &of_users),
                    || {
                        net.items
                            .apply(&items.slots, &terms(&of_window, &of_item, &pass.to_windows))
                    },
                )
            },
            || rayon::join(|| head.apply(outputs, asked), || tower.update(scale)),
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
        // Into the thread pool once, not once for each of the phases.
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

impl Scorer for CaserLearner {
    fn n_items(&self) -> usize {
        self.net.n_items()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        self.net.score(queries, out);
    }

    fn factored(&self) -> Option<&dyn Factored> {
        self.net.factored()
    }
}

impl Model for CaserLearner {
    fn tensors(&self) -> Tensors {
        self.net.tensors()
    }

    fn n_parameters(&self) -> usize {
        self.net.n_parameters()
    }
}
