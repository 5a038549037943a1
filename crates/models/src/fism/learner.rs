//! Training: the sum of each query's history is computed once a batch; each row leaves its own targets out of it.

use super::Fism;
use super::model::FismModel;
use crate::parts::history_sum::history_share;
use crate::parts::item_head::{ItemHead, QueryVectors};
use crate::parts::multinomial::distinct;
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::pairs::weighted_sums;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Terms;
use rankstill_core::{Batch, ItemId, Learner, Objective, Slate, Tensors};
use rayon::prelude::*;

/// A model with the scratch space of training.
pub(super) struct FismLearner {
    recipe: Fism,
    model: FismModel,
    head: ItemHead,
    query_slots: Slots,
    input_slots: Slots,
    uses: Uses,
    /// The vector of each row, the item table's stride apart.
    vectors: Vec<f32>,
}

/// The items whose input vectors a batch uses: those of the histories, added, then the rows' targets, subtracted again.
#[derive(Default)]
struct Uses {
    items: Vec<ItemId>,
    /// Of the distinct queries: query k has entries `starts[k]..starts[k + 1]`.
    starts: Vec<usize>,
    /// The row of each entry behind those.
    row_of: Vec<u32>,
    /// The weight of each row's items.
    shares: Vec<f32>,
}

impl Uses {
    fn n_added(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn of(&mut self, batch: &Batch<'_>, queries: &Slots, model: &FismModel) {
        let n_items = model.inputs.n_rows();
        self.items.clear();
        self.starts.clear();
        self.row_of.clear();
        self.shares.clear();
        self.starts.push(0);
        let history = |query: usize| {
            let first = queries.occurrences(query)[0] as usize;
            distinct(batch.case(first).query.history.iter().copied(), n_items)
        };
        let histories = (0..queries.len()).into_par_iter().with_min_len(32).map(history);
        for history in histories.collect::<Vec<_>>() {
            self.items.extend(history);
            self.starts.push(self.items.len());
        }
        for (at, &query) in (0..batch.len()).zip(queries.slot_of()) {
            let history = self.starts[query as usize]..self.starts[query as usize + 1];
            let mut left = history.len();
            for target in distinct(batch.targets(at).iter().copied(), n_items) {
                if self.items[history.clone()].binary_search(&target).is_ok() {
                    self.items.push(target);
                    self.row_of.push(at as u32);
                    left -= 1;
                }
            }
            self.shares.push(history_share(model.alpha, left));
        }
    }
}

impl FismLearner {
    pub fn new(recipe: &Fism, model: FismModel) -> Self {
        Self {
            recipe: recipe.clone(),
            head: ItemHead::new(model.items.n_rows()),
            query_slots: Slots::new(0),
            input_slots: Slots::new(model.inputs.n_rows()),
            uses: Uses::default(),
            vectors: Vec::new(),
            model,
        }
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        let rate = self.recipe.training().rate(batch.epoch);
        let Self { model, head, query_slots, input_slots, uses, vectors, .. } = self;
        model.inputs.set_learning_rate(rate);
        model.items.set_learning_rate(rate);

        let n = batch.len();
        let queries: Vec<u32> = (0..n).map(|at| batch.query_of(at) as u32).collect();
        if query_slots.n_rows() < batch.cases.n_queries() {
            *query_slots = Slots::new(batch.cases.n_queries());
        }
        query_slots.assign(&queries);
        uses.of(batch, query_slots, model);
        input_slots.assign(&uses.items);
        let FismModel { inputs, items, .. } = model;
        inputs.catch_up(input_slots);

        let (dim, stride, wide) = (inputs.dim(), inputs.stride(), items.stride());
        let n_added = uses.n_added();
        let mut sums = vec![0.0; query_slots.len() * stride];
        let ones = vec![1.0; n_added];
        let added = &uses.items[..n_added];
        weighted_sums(&uses.starts, &ones, added, inputs.params(), stride, &mut sums);
        vectors.clear();
        vectors.resize(n * wide, 0.0);
        let row = |at: usize| at * wide..at * wide + dim;
        for (at, &query) in query_slots.slot_of().iter().enumerate() {
            vectors[row(at)].copy_from_slice(&sums[query as usize * stride..][..dim]);
        }
        for (&item, &at) in uses.items[n_added..].iter().zip(&uses.row_of) {
            axpy(-1.0, inputs.row(item as usize), &mut vectors[row(at as usize)]);
        }
        for (at, &share) in uses.shares.iter().enumerate() {
            vectors[row(at)].iter_mut().for_each(|x| *x *= share);
            if items.dim() > dim {
                vectors[at * wide + dim] = 1.0; // for the bias
            }
        }
        let of_row: Vec<u32> = (0..n as u32).collect();
        let counts = vec![true; n];
        let context = QueryVectors { vectors, of_row: &of_row, counts: &counts };
        let loss = head.step(items, context, batch, slate, objective);

        // The gradients of the queries' sums, then those of the rows' vectors before they are scaled.
        let n_queries = query_slots.len();
        let mut gradients = vec![0.0; (n_queries + n) * stride];
        let (to_sums, to_rows) = gradients.split_at_mut(n_queries * stride);
        let rows = to_rows.chunks_exact_mut(stride).zip(head.row_gradients().chunks_exact(wide));
        for ((to_row, given), (&share, &query)) in
            rows.zip(uses.shares.iter().zip(query_slots.slot_of()))
        {
            axpy(share, &given[..dim], &mut to_row[..dim]);
            axpy(1.0, to_row, &mut to_sums[query as usize * stride..][..stride]);
        }
        let mut coef = vec![1.0; n_added];
        coef.resize(uses.items.len(), -1.0);
        let of_query = uses.starts.windows(2).zip(0..);
        let mut source: Vec<u32> = of_query
            .flat_map(|(pair, query)| std::iter::repeat_n(query, pair[1] - pair[0]))
            .collect();
        source.extend(uses.row_of.iter().map(|at| n_queries as u32 + at));
        let terms = Terms {
            coef: &coef,
            source: &source,
            vectors: &gradients,
            stride,
            scale: head.scale(),
            decay: 0.0,
        };
        rayon::join(|| inputs.apply(input_slots, &terms), || head.apply(items, context));
        loss
    }
}

impl Learner for FismLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.model.items.n_rows() == 0 {
            return 0.0;
        }
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.model.inputs.advance();
        self.model.items.advance();
        self.model.changed();
        loss
    }

    fn settle(&mut self) {
        self.model.inputs.settle();
        self.model.items.settle();
    }

    fn state(&self) -> Tensors {
        self.model.state()
    }
}

crate::parts::scores_as_its_model!(FismLearner, model);
