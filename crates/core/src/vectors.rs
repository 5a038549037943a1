//! The seam of vectors: what a factored teacher's scores are products of, and an objective that looks at a student's.
//!
//! A method that compares vectors and not scores asks a teacher for its [`Embedded`] queries and items, and gives its
//! objective a [`VectorObjective`]. A learner whose score is the product of a query's vector and an item's hands both over at
//! each step, and takes their gradient as it takes that of the scores: models know of no method here either.

use crate::{Batch, Error, Factored, ItemId, Query, Result, Slate};

/// An objective of a student's vectors, beside the one of its scores (see [`crate::Objective::vector_objective`]). For students
/// whose score is the product of a query's vector and an item's ([`crate::Scorer::factored`]).
pub trait VectorObjective: Send + Sync {
    /// The items of a batch whose vectors it looks at, ascending, none twice. The batch's slate must list them, or reach over
    /// all items. It may be given more.
    fn items(&self, batch: &Batch<'_>, slate: &Slate) -> Vec<ItemId>;

    /// The loss of the whole batch, as a sum: a step follows it divided by the batch's rows, like that of the scores. `grads`
    /// come zeroed.
    ///
    /// Called once a step. Parameters of its own (a projection, groups) take their step here: from behind a lock, since the
    /// next batch's slate is drawn meanwhile. Like the slate, the loss depends on nothing but those, the batch and the vectors.
    fn loss(&self, batch: &Batch<'_>, vectors: &Vectors<'_>, grads: VectorGrads<'_>) -> f64;
}

/// A student's vectors of a batch, row-major without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'a> {
    /// Length of each.
    pub dim: usize,
    /// That of each row's query.
    pub queries: &'a [f32],
    /// Whether a row's query has a vector to learn: a stranger's is made of what others learn.
    pub counts: &'a [bool],
    /// Items, ascending.
    pub ids: &'a [ItemId],
    /// Their vectors.
    pub items: &'a [f32],
}

/// d loss / d vector, parallel to [`Vectors`]. Of rows that ask the same query with the same vector, one may have it all.
#[derive(Debug)]
pub struct VectorGrads<'a> {
    /// Of the rows' queries.
    pub queries: &'a mut [f32],
    /// Of the items.
    pub items: &'a mut [f32],
}

/// What a factored model says of queries and items: the vectors whose products are its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    dim: usize,
    queries: Vec<f32>,
    items: Vec<f32>,
}

impl Embedded {
    /// Of these queries, and of all items. A bias is the last number of an item's vector, against which queries hold 1.
    ///
    /// # Errors
    /// When a number is not finite.
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

    /// Length of the vectors.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many queries.
    #[must_use]
    pub fn n_queries(&self) -> usize {
        self.queries.len() / self.dim.max(1)
    }

    /// How many items.
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
