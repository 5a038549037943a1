//! A loss of vectors beside the student's own one of scores: own + lambda * taught.
//!
//! A [`VectorTerm`] compares the vectors of a batch's distinct queries, and of the items that the own objective lists, with
//! something; [`BesideVectors`] makes an [`Objective`] of it and of the own one, whose slate it leaves as it is.

use crate::settings::wrong;
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Cases, Embedded, Error, Grad, ItemId, Model, Objective, Result, Row, Scores, Slate,
    Tensors, Trace, VectorGrads, VectorObjective, Vectors,
};
use std::sync::Arc;

/// What is taught of vectors.
pub(crate) trait VectorTerm: Send + Sync {
    /// The loss of a batch, summed over what is compared; adds d loss / d vector to `grads`, one side
    /// after the other. Parameters of its own take their
    /// step, by `scale` times their gradient.
    fn loss(&self, met: &Met<'_>, scale: f32, grads: [&mut [f32]; 2]) -> f64;

    /// Whether it looks at every item that the batch's slate lists, those of other terms too.
    fn all_listed(&self) -> bool {
        false
    }

    /// Of parameters: see [`Objective::state`].
    fn state(&self) -> Tensors {
        Tensors::default()
    }

    /// See [`Objective::restore`].
    fn restore(&mut self, _state: &Tensors) -> Result<()> {
        Ok(())
    }
}

/// The vectors that a batch meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met<'a> {
    /// Length of each.
    pub dim: usize,
    pub epoch: usize,
    /// Distinct queries, by number, and then items.
    pub sides: [Side<'a>; 2],
    /// Keys draws, with the epoch.
    key: [u64; 2],
}

/// Those of queries or of items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub ids: &'a [u32],
    /// Row-major without gaps.
    pub vectors: &'a [f32],
}

impl<'a> Met<'a> {
    /// Ids and vectors of both sides, in epoch 0.
    #[cfg(test)]
    pub fn for_test(dim: usize, sides: [(&'a [u32], &'a [f32]); 2]) -> Self {
        let sides = sides.map(|(ids, vectors)| Side { ids, vectors });
        Self { dim, epoch: 0, sides, key: [1, 0] }
    }

    /// Keyed by (seed, purpose, epoch, first case of the batch, id): what is drawn for a query or an item in a batch.
    pub fn rng(&self, purpose: u64, id: u32) -> Rng {
        let [seed, first] = self.key;
        Rng::keyed(seed, [purpose, self.epoch as u64, first, u64::from(id)])
    }
}

/// The teacher's vectors of what a batch meets, one side after the other, row-major without gaps.
pub(crate) fn taught(teacher: &Embedded, met: &Met<'_>) -> [Vec<f32>; 2] {
    let [queries, items] = met.sides.map(|side| side.ids);
    [
        queries.iter().flat_map(|&query| teacher.query(query as usize)).copied().collect(),
        items.iter().flat_map(|&item| teacher.item(item)).copied().collect(),
    ]
}

/// The vectors of the one teacher that a method learns from.
///
/// # Errors
/// When there is not exactly one teacher, it answers other cases, or it came without vectors.
fn one_factored(name: &str, cases: &Cases, traces: &[Trace]) -> Result<Arc<Embedded>> {
    let trace = crate::beside_own::one_teacher(name, cases, traces)?;
    let Some(embedded) = trace.embedded() else {
        let problem = format!(
            "`{}` has no vectors, which {name} compares; take a fitted model whose score is a product of two, or a method \
             that learns from rankings",
            trace.teacher()
        );
        return Err(wrong("", "teachers", problem));
    };
    if embedded.n_items() != cases.n_items() {
        let (expected, found) = (cases.n_items(), embedded.n_items());
        return Err(Error::Length { what: "the teacher's items".into(), expected, found });
    }
    Ok(Arc::clone(embedded))
}

/// The objective of a method that learns from one teacher's vectors: own + lambda * the term, which is made of them. Without a
/// weight the own objective itself: what is fused for it stays fused.
///
/// # Errors
/// See [`one_factored`].
pub(crate) fn beside_vectors<T: VectorTerm + 'static>(
    name: &str,
    lambda: f32,
    own: Box<dyn Objective>,
    cases: &Cases,
    traces: &[Trace],
    term: impl FnOnce(Arc<Embedded>) -> T,
) -> Result<Box<dyn Objective>> {
    let teacher = one_factored(name, cases, traces)?;
    if lambda == 0.0 {
        return Ok(own);
    }
    Ok(Box::new(BesideVectors::new(own, term(teacher), lambda)))
}

/// Own loss + lambda * the term's.
pub(crate) struct BesideVectors<T> {
    own: Box<dyn Objective>,
    term: T,
    lambda: f32,
}

impl<T: VectorTerm> BesideVectors<T> {
    pub fn new(own: Box<dyn Objective>, term: T, lambda: f32) -> Self {
        Self { own, term, lambda }
    }

    /// The items that the own objective lists.
    fn own_items(&self, batch: &Batch<'_>) -> Vec<ItemId> {
        listed(batch, &self.own.slate(batch))
    }
}

impl<T: VectorTerm> Objective for BesideVectors<T> {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        self.own.slate(batch)
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        self.own.loss(row, scores, grad)
    }

    fn once_a_query(&self) -> bool {
        self.own.once_a_query()
    }

    fn of_vectors(&self) -> Option<&dyn VectorObjective> {
        Some(self)
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

impl<T: VectorTerm> VectorObjective for BesideVectors<T> {
    fn items(&self, batch: &Batch<'_>, slate: &Slate) -> Vec<ItemId> {
        let mut items = match self.term.all_listed() {
            true => listed(batch, slate),
            false => self.own_items(batch),
        };
        if let Some(own) = self.own.of_vectors() {
            items.extend(own.items(batch, slate));
            items.sort_unstable();
            items.dedup();
        }
        items
    }

    fn loss(&self, batch: &Batch<'_>, vectors: &Vectors<'_>, grads: VectorGrads<'_>) -> f64 {
        let dim = vectors.dim;
        let asks: Vec<usize> =
            (0..batch.len()).filter(|&at| vectors.counts[at] && batch.is_first(at)).collect();
        let query = |&at: &usize| batch.cases.query_of(batch.rows[at] as usize) as u32;
        let queries: Vec<u32> = asks.iter().map(query).collect();
        let items = match self.term.all_listed() {
            true => vectors.ids.to_vec(),
            false => self.own_items(batch),
        };
        let places: Vec<usize> =
            items.iter().filter_map(|item| vectors.ids.binary_search(item).ok()).collect();
        debug_assert_eq!(places.len(), items.len(), "they were asked for");
        let gathered = |from: &[f32], places: &[usize]| -> Vec<f32> {
            places.iter().flat_map(|&at| from[at * dim..][..dim].iter().copied()).collect()
        };
        let (q, v) = (gathered(vectors.queries, &asks), gathered(vectors.items, &places));
        let met = Met {
            dim,
            epoch: batch.epoch,
            sides: [Side { ids: &queries, vectors: &q }, Side { ids: &items, vectors: &v }],
            key: [batch.seed, batch.rows.first().map_or(0, |&row| u64::from(row))],
        };
        let (mut to_queries, mut to_items) = (vec![0.0; q.len()], vec![0.0; v.len()]);
        let to = [to_queries.as_mut_slice(), to_items.as_mut_slice()];
        let loss = self.term.loss(&met, self.lambda / batch.len() as f32, to);
        let scatter = |from: &[f32], places: &[usize], to: &mut [f32]| {
            for (&at, from) in places.iter().zip(from.chunks_exact(dim)) {
                axpy(self.lambda, from, &mut to[at * dim..][..dim]);
            }
        };
        scatter(&to_queries, &asks, grads.queries);
        scatter(&to_items, &places, grads.items);
        let own = self.own.of_vectors().map_or(0.0, |own| own.loss(batch, vectors, grads));
        own + f64::from(self.lambda) * loss
    }
}

/// The items of a slate, ascending; where it looks at all and lists none, the targets.
fn listed(batch: &Batch<'_>, slate: &Slate) -> Vec<ItemId> {
    let mut items = match slate {
        Slate::Lists { listed, .. } | Slate::WithComplement { listed, .. } => {
            listed.values().to_vec()
        }
        Slate::All => (0..batch.len()).flat_map(|at| batch.case(at).targets.to_vec()).collect(),
    };
    items.sort_unstable();
    items.dedup();
    items
}

#[cfg(test)]
mod tests;
