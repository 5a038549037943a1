//! The student's own loss of scores together with a loss of its vectors: own + lambda * term.
//!
//! A [`VectorTerm`] is a loss of the vectors of a batch's distinct queries and of the items that the own objective lists.
//! [`VectorBlend`] makes an [`Objective`] of it and of the own one, whose slate it keeps.

use super::settings::wrong;
use super::teacher_lists::one_teacher;
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Cases, Embedded, Error, Grad, ItemId, Model, Objective, Result, Row, Scores, Slate,
    Tensors, Trace, VectorGrads, VectorObjective, Vectors,
};
use std::sync::Arc;

/// A loss of vectors. A method implements [`VectorTerm::loss`]; [`vector_blend`] makes its objective. The simplest example is
/// `methods/ftd.rs`.
pub(crate) trait VectorTerm: Send + Sync {
    /// The summed loss of a batch. Adds d loss / d vector to `grads`: those of the queries, and those of the items. A term with
    /// parameters updates them, by `scale` times their gradient.
    fn loss(&self, batch: &BatchVectors<'_>, scale: f32, grads: [&mut [f32]; 2]) -> f64;

    /// Whether the loss is over all items that the batch's slate lists, including those of other terms.
    fn all_listed(&self) -> bool {
        false
    }

    /// The parameters, see [`Objective::state`].
    fn state(&self) -> Tensors {
        Tensors::default()
    }

    /// See [`Objective::restore`].
    fn restore(&mut self, _state: &Tensors) -> Result<()> {
        Ok(())
    }
}

/// The student's vectors of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchVectors<'a> {
    /// Length of each.
    pub dim: usize,
    pub epoch: usize,
    /// Those of the distinct queries, by number, and those of the items.
    pub sides: [SideVectors<'a>; 2],
    /// (seed, first case of the batch), for draws.
    key: [u64; 2],
}

/// The vectors of queries, or of items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SideVectors<'a> {
    pub ids: &'a [u32],
    /// Row-major without gaps.
    pub vectors: &'a [f32],
}

impl<'a> BatchVectors<'a> {
    /// Ids and vectors of both sides, in epoch 0.
    #[cfg(test)]
    pub fn for_test(dim: usize, sides: [(&'a [u32], &'a [f32]); 2]) -> Self {
        let sides = sides.map(|(ids, vectors)| SideVectors { ids, vectors });
        Self { dim, epoch: 0, sides, key: [1, 0] }
    }

    /// For draws for a query or an item in a batch; keyed by (seed, purpose, epoch, first case of the batch, id).
    pub fn rng(&self, purpose: u64, id: u32) -> Rng {
        let [seed, first] = self.key;
        Rng::keyed(seed, [purpose, self.epoch as u64, first, u64::from(id)])
    }
}

/// The teacher's vectors of the same queries and items, row-major without gaps.
pub(crate) fn teacher_vectors(teacher: &Embedded, batch: &BatchVectors<'_>) -> [Vec<f32>; 2] {
    let [queries, items] = batch.sides.map(|side| side.ids);
    [
        queries.iter().flat_map(|&query| teacher.query(query as usize)).copied().collect(),
        items.iter().flat_map(|&item| teacher.item(item)).copied().collect(),
    ]
}

/// The vectors of the one teacher that a method learns from.
///
/// # Errors
/// When there is not exactly one teacher, it answers other cases, or its vectors are not known.
fn one_factored_teacher(name: &str, cases: &Cases, traces: &[Trace]) -> Result<Arc<Embedded>> {
    let trace = one_teacher(name, cases, traces)?;
    let Some(embedded) = trace.embedded() else {
        let problem = format!(
            "`{}` has no vectors, and {name} compares vectors; use a fitted model whose scores are dot products, or a method \
             that learns from rankings",
            trace.teacher()
        );
        return Err(wrong("teachers", problem));
    };
    if embedded.n_items() != cases.n_items() {
        let (expected, found) = (cases.n_items(), embedded.n_items());
        return Err(Error::Length { what: "the teacher's items".into(), expected, found });
    }
    Ok(Arc::clone(embedded))
}

/// The objective of a method that learns from one teacher's vectors: own + `lambda` * term, where `term` is made of these. Without
/// a weight it is the own objective itself, so that fused kernels stay in use.
///
/// # Errors
/// See [`one_factored_teacher`].
pub(crate) fn vector_blend<T: VectorTerm + 'static>(
    name: &str,
    lambda: f32,
    own: Box<dyn Objective>,
    cases: &Cases,
    traces: &[Trace],
    term: impl FnOnce(Arc<Embedded>) -> T,
) -> Result<Box<dyn Objective>> {
    let teacher = one_factored_teacher(name, cases, traces)?;
    if lambda == 0.0 {
        return Ok(own);
    }
    Ok(Box::new(VectorBlend::new(own, term(teacher), lambda)))
}

/// Own loss and term in one objective.
pub(crate) struct VectorBlend<T> {
    own: Box<dyn Objective>,
    term: T,
    lambda: f32,
}

impl<T: VectorTerm> VectorBlend<T> {
    pub fn new(own: Box<dyn Objective>, term: T, lambda: f32) -> Self {
        Self { own, term, lambda }
    }

    /// The items that the own objective lists.
    fn own_items(&self, batch: &Batch<'_>) -> Vec<ItemId> {
        listed(batch, &self.own.slate(batch))
    }
}

impl<T: VectorTerm> Objective for VectorBlend<T> {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        self.own.slate(batch)
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        self.own.loss(row, scores, grad)
    }

    fn once_per_query(&self) -> bool {
        self.own.once_per_query()
    }

    fn vector_objective(&self) -> Option<&dyn VectorObjective> {
        Some(self)
    }

    fn note(&self) -> Option<String> {
        self.own.note()
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        self.own.refresh(epoch, student, cases)
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        state.insert_all("own.", self.own.state());
        state.insert_all("term.", self.term.state());
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.own.restore(&state.with_prefix("own."))?;
        self.term.restore(&state.with_prefix("term."))
    }
}

impl<T: VectorTerm> VectorObjective for VectorBlend<T> {
    fn items(&self, batch: &Batch<'_>, slate: &Slate) -> Vec<ItemId> {
        let mut items = match self.term.all_listed() {
            true => listed(batch, slate),
            false => self.own_items(batch),
        };
        if let Some(own) = self.own.vector_objective() {
            items.extend(own.items(batch, slate));
            items.sort_unstable();
            items.dedup();
        }
        items
    }

    fn loss(&self, batch: &Batch<'_>, vectors: &Vectors<'_>, grads: VectorGrads<'_>) -> f64 {
        let dim = vectors.dim;
        let first: Vec<usize> =
            (0..batch.len()).filter(|&at| vectors.counts[at] && batch.is_first(at)).collect();
        let queries: Vec<u32> = first.iter().map(|&at| batch.query_of(at) as u32).collect();
        let items = match self.term.all_listed() {
            true => vectors.ids.to_vec(),
            false => self.own_items(batch),
        };
        let positions: Vec<usize> =
            items.iter().filter_map(|item| vectors.ids.binary_search(item).ok()).collect();
        debug_assert_eq!(positions.len(), items.len(), "the learner gives the items of `items`");
        let gather = |from: &[f32], positions: &[usize]| -> Vec<f32> {
            positions.iter().flat_map(|&at| from[at * dim..][..dim].iter().copied()).collect()
        };
        let (q, v) = (gather(vectors.queries, &first), gather(vectors.items, &positions));
        let batch_vectors = BatchVectors {
            dim,
            epoch: batch.epoch,
            sides: [
                SideVectors { ids: &queries, vectors: &q },
                SideVectors { ids: &items, vectors: &v },
            ],
            key: [batch.seed, batch.rows.first().map_or(0, |&row| u64::from(row))],
        };
        let (mut to_queries, mut to_items) = (vec![0.0; q.len()], vec![0.0; v.len()]);
        let to = [to_queries.as_mut_slice(), to_items.as_mut_slice()];
        let loss = self.term.loss(&batch_vectors, self.lambda / batch.len() as f32, to);
        let scatter = |from: &[f32], positions: &[usize], to: &mut [f32]| {
            for (&at, from) in positions.iter().zip(from.chunks_exact(dim)) {
                axpy(self.lambda, from, &mut to[at * dim..][..dim]);
            }
        };
        scatter(&to_queries, &first, grads.queries);
        scatter(&to_items, &positions, grads.items);
        let own = self.own.vector_objective().map_or(0.0, |own| own.loss(batch, vectors, grads));
        own + f64::from(self.lambda) * loss
    }
}

/// The items that a slate lists, ascending; the targets for [`Slate::All`].
fn listed(batch: &Batch<'_>, slate: &Slate) -> Vec<ItemId> {
    // Items from which a complement is estimated are not taught.
    let slate = slate.estimated().map_or(slate, |estimated| &estimated.exact);
    let mut items = match slate.listed() {
        Some(listed) => listed.values().to_vec(),
        None => (0..batch.len()).flat_map(|at| batch.targets(at).to_vec()).collect(),
    };
    items.sort_unstable();
    items.dedup();
    items
}

#[cfg(test)]
mod tests;
