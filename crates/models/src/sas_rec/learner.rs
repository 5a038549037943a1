//! Training: one step on the slate of a batch.
//!
//! Histories and scores use the same embeddings: an item's step follows the sum of both gradients.

use super::model::SasRecModel;
use super::tower::Pass;
use crate::parts::item_head::{ItemHead, QueryVectors};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::{Batch, Learner, Objective, Slate, Tensors};
use rayon::prelude::*;

/// A model with the scratch space of training.
pub(super) struct SasLearner {
    net: SasRecModel,
    slots: Slots,
    passes: Vec<Pass>,
    grads: Vec<f32>,
    head: ItemHead,
}

/// Cases per task.
const CASES: usize = 16;

impl SasLearner {
    pub fn new(net: SasRecModel) -> Self {
        let (slots, head) = (Slots::new(net.items.n_rows()), ItemHead::new(net.items.n_rows()));
        Self { slots, passes: Vec::new(), grads: vec![0.0; net.tower.weights.len()], head, net }
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        let Self { net, slots, passes, grads, head } = self;
        let (mut items, mut starts) = (Vec::new(), vec![0]);
        for at in 0..batch.len() {
            net.window(batch.case(at).query.history, &mut items);
            starts.push(items.len());
        }
        slots.assign(&items);
        net.items.catch_up(slots);
        let stride = net.items.stride();
        passes.resize_with(batch.len().div_ceil(CASES), Pass::default);
        let mut queries = vec![0.0; batch.len() * stride];
        let tasks = passes.par_iter_mut().zip(queries.par_chunks_mut(CASES * stride));
        tasks.enumerate().for_each(|(task, (pass, queries))| {
            let first = task * CASES;
            net.fill(pass, &starts[first..=(first + CASES).min(batch.len())], &items);
            let draws = |case: usize, purpose: u64| batch.rng(first + case, purpose);
            net.tower.forward(pass, Some(&draws));
            queries.copy_from_slice(&pass.out);
        });

        let of_row: Vec<u32> = (0..batch.len() as u32).collect();
        let counts = vec![true; batch.len()];
        let context = QueryVectors { vectors: &queries, of_row: &of_row, counts: &counts };
        let loss = head.step(&mut net.items, context, batch, slate, objective);
        let to_queries = head.row_gradients();
        passes
            .par_iter_mut()
            .zip(to_queries.par_chunks(CASES * stride))
            .for_each(|(pass, to_queries)| net.tower.backward(pass, to_queries, stride, true));
        let to_windows: Vec<f32> = passes.iter().flat_map(|pass| &pass.x).copied().collect();
        grads.fill(0.0);
        passes.iter().for_each(|pass| axpy(1.0, &pass.grads, grads));
        head.apply_tied(&mut net.items, context, slate, &items, &to_windows);
        net.tower.weights.update(grads, head.scale());
        net.tower.changed();
        loss
    }
}

impl Learner for SasLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.net.items.n_rows() == 0 {
            return 0.0;
        }
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.net.items.advance();
        self.net.changed();
        loss
    }

    fn settle(&mut self) {
        self.net.items.settle();
    }

    fn state(&self) -> Tensors {
        self.net.state()
    }
}

crate::parts::scores_as_its_model!(SasLearner, net);
