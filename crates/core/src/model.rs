//! A fitted model.

use crate::{Ranker, Scorer, Tensors};

/// A fitted model: it ranks, and it can be saved.
pub trait Model: Scorer + Ranker {
    /// The arrays from which [`ModelConfig::load`](crate::ModelConfig::load) rebuilds it.
    fn tensors(&self) -> Tensors;

    /// The number of learnt or counted numbers: the "model size" of result tables.
    fn n_parameters(&self) -> usize;
}
