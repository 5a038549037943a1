//! A fitted model.

use crate::{Ranker, Scorer, Tensors};

/// A fitted model: it ranks, and it can be saved.
pub trait Model: Scorer + Ranker {
    /// The arrays from which [`ModelConfig::load`](crate::ModelConfig::load) rebuilds it.
    fn tensors(&self) -> Tensors;

    /// The number of learnt or counted numbers: the "model size" of result tables.
    fn n_parameters(&self) -> usize;

    /// What must be in memory to answer. By default four bytes a parameter: the item table of a factored model is its item side, all
    /// else the user side (vectors, or the network that computes them); a model that is not factored is all item side.
    fn serving_bytes(&self) -> ServingBytes {
        let all = 4 * self.n_parameters() as u64;
        let items = match self.factored() {
            Some(factored) => {
                let items = factored.items();
                all.min(4 * (items.len * items.dim) as u64)
            }
            None => all,
        };
        ServingBytes { items, users: all - items }
    }
}

/// Bytes that must be in memory to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServingBytes {
    /// Of the items: vectors or codes, codebooks, scales, lengths, lists, and exact vectors if candidates are scored again.
    pub items: u64,
    /// Of the users: vectors or codes, or the network that computes them.
    pub users: u64,
}
