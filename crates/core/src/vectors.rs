//! Losses on vectors: the embeddings of a factored teacher, and objectives that see those of a student.
//!
//! A method that compares vectors rather than scores needs the teacher's [`Embedded`] queries and items, and
//! its objective provides a [`VectorObjective`]. At each step, a learner whose score is a dot product passes
//! its query and item vectors to it and back-propagates their gradient like that of the scores. Models do not
//! know the method.

use crate::{Batch, Error, Factored, ItemId, Query, Result, Slate};

/// An objective of a student's vectors, beside the one of its scores (see [`crate::Objective::vector_objective`]). For students
/// whose score is the product of a query's vector and an item's ([`crate::Scorer::factored`]).
pub trait VectorObjective: Send + Sync {
    /// The items of a batch whose vectors the loss needs, ascending and distinct. The batch's slate must list
    /// them or cover all items. The loss may be given more.
    fn items(&self, batch: &Batch<'_>, slate: &Slate) -> Vec<ItemId>;

    /// The summed loss of the whole batch. The step divides it by the number of rows, as it does for the
    /// scores. `grads` are zero on entry.
    ///
    /// Called once per step. The loss updates its own parameters (a projection, groups) here, behind a lock,
    /// because the next slate is drawn at the same time. It depends only on those parameters, the batch and
    /// the vectors.
    fn loss(&self, batch: &Batch<'_>, vectors: &Vectors<'_>, grads: VectorGrads<'_>) -> f64;
}

/// A student's vectors for a batch, row-major without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'a> {
    /// Length of each vector.
    pub dim: usize,
    /// The query vector of each row.
    pub queries: &'a [f32],
    /// Whether a row's query vector is learnt; those of unknown users are computed from others.
    pub counts: &'a [bool],
    /// The items, ascending.
    pub ids: &'a [ItemId],
    /// Their vectors.
    pub items: &'a [f32],
}

/// d loss / d vector, parallel to [`Vectors`]. Of several rows with the same query, one may hold the whole gradient.
#[derive(Debug)]
pub struct VectorGrads<'a> {
    /// Of the query vectors.
    pub queries: &'a mut [f32],
    /// Of the item vectors.
    pub items: &'a mut [f32],
}

/// The query and item vectors of a factored model: its scores are their dot products.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    dim: usize,
    queries: Vec<f32>,
    items: Vec<f32>,
}

impl Embedded {
    /// The vectors of these queries and of all items. An item bias is the last number of the item vector;
    /// query vectors hold 1 there.
    ///
    /// # Errors
    /// When a number is NaN or infinite.
    pub fn new(name: &str, model: &dyn Factored, queries: &[Query<'_>]) -> Result<Self> {
        let table = model.items();
        let mut vectors = vec![0.0; queries.len() * table.dim];
        model.embed(queries, &mut vectors);
        let mut items = Vec::with_capacity(table.len * table.dim);
        (0..table.len).for_each(|item| items.extend_from_slice(table.row(item)));
        if vectors.iter().chain(&items).any(|x| !x.is_finite()) {
            let problem = "some numbers of its vectors are not finite".into();
            return Err(Error::Ranker { name: name.to_owned(), problem });
        }
        Ok(Self { dim: table.dim, queries: vectors, items })
    }

    /// The length of the vectors.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The number of queries.
    #[must_use]
    pub fn n_queries(&self) -> usize {
        self.queries.len() / self.dim.max(1)
    }

    /// The number of items.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.items.len() / self.dim.max(1)
    }

    /// The vector of distinct query `query`.
    #[must_use]
    pub fn query(&self, query: usize) -> &[f32] {
        &self.queries[query * self.dim..][..self.dim]
    }

    /// The vector of `item`.
    #[must_use]
    pub fn item(&self, item: ItemId) -> &[f32] {
        &self.items[item as usize * self.dim..][..self.dim]
    }
}
