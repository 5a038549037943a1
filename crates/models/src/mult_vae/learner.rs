//! Training: one step on the slate of a batch.

use super::MultVae;
use super::coder::Pass;
use super::model::{MultVaeModel, Sparse};
use crate::parts::item_head::{ItemHead, QueryVectors};
use rankstill_core::kernel::dropout::Dropout;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Terms;
use rankstill_core::{Batch, Learner, Objective, Slate, Tensors};

/// A model with the scratch space of training.
pub(crate) struct VaeLearner {
    recipe: MultVae,
    net: MultVaeModel,
    dropout: Dropout,
    histories: Sparse,
    slots: Slots,
    pass: Pass,
    head: ItemHead,
}

/// Random streams of dropout and noise.
pub(super) const DROPOUT: u64 = 0x4452_4f50;
pub(super) const NOISE: u64 = 0x4e4f_4953;

impl VaeLearner {
    pub fn new(recipe: &MultVae, net: MultVaeModel) -> Self {
        Self {
            recipe: recipe.clone(),
            dropout: Dropout::new(recipe.dropout),
            histories: Sparse::default(),
            slots: Slots::new(net.inputs.n_rows()),
            pass: Pass::default(),
            head: ItemHead::new(net.outputs.n_rows()),
            net,
        }
    }

    /// The current model.
    pub fn net(&self) -> &MultVaeModel {
        &self.net
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        self.set_rate(batch.epoch);
        let Self { recipe, net, dropout, histories, slots, pass, head } = self;
        let n_items = net.outputs.n_rows();
        histories.clear();
        for at in 0..batch.len() {
            let dropped = (!dropout.is_off()).then(|| (*dropout, batch.rng(at, DROPOUT)));
            histories.push(batch.case(at).query.history, n_items, dropped);
        }
        slots.assign(&histories.items);
        net.inputs.catch_up(slots);
        net.sum(histories, pass);
        let noise = |row: usize| batch.rng(row, NOISE);
        let divergence = net.coder.forward(pass, Some(&noise));

        let of_row: Vec<u32> = (0..batch.len() as u32).collect();
        let counts = vec![true; batch.len()];
        let queries = std::mem::take(&mut pass.queries);
        let context = QueryVectors { vectors: &queries, of_row: &of_row, counts: &counts };
        let beta = recipe.beta_at(net.outputs.step());
        let loss = head.step(&mut net.outputs, context, batch, slate, objective);
        net.coder.backward(pass, head.row_gradients(), beta);

        let (rows, scale) = (histories.starts.windows(2).zip(0..), head.scale());
        let source: Vec<u32> =
            rows.flat_map(|(pair, row)| std::iter::repeat_n(row, pair[1] - pair[0])).collect();
        let terms = Terms {
            coef: &histories.values,
            source: &source,
            vectors: &pass.first,
            stride: net.inputs.stride(),
            scale,
            decay: 0.0,
        };
        let MultVaeModel { inputs, outputs, coder, .. } = net;
        rayon::join(
            || head.apply(outputs, context),
            || rayon::join(|| inputs.apply(slots, &terms), || coder.update(scale)),
        );
        self.pass.queries = queries;
        loss + f64::from(beta) * divergence
    }

    fn set_rate(&mut self, epoch: usize) {
        let rate = self.recipe.training().rate(epoch);
        let MultVaeModel { inputs, outputs, coder, .. } = &mut self.net;
        inputs.set_learning_rate(rate);
        outputs.set_learning_rate(rate);
        coder.weights.set_learning_rate(rate);
    }
}

impl Learner for VaeLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.net.outputs.n_rows() == 0 {
            return 0.0;
        }
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.net.inputs.advance();
        self.net.outputs.advance();
        self.net.changed();
        loss
    }

    fn settle(&mut self) {
        self.net.inputs.settle();
        self.net.outputs.settle();
    }

    fn state(&self) -> Tensors {
        self.net.state()
    }
}

crate::parts::scores_as_its_model!(VaeLearner, net);
