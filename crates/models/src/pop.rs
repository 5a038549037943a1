//! Popularity: an item's score is its number of interactions. Not personalised; the lower bound of every
//! comparison.

use crate::parts::settings::Checked;
use rankstill_core::{
    Fit, Interactions, Model, ModelConfig, Query, Recipe, Result, Scorer, Tensors,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Ranks by the number of interactions in the training log, repeats included. Has no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pop {}

impl Checked for Pop {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl Recipe for Pop {
    fn fit(&self, train: &Arc<Interactions>, _fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        Ok(Box::new(Counts(train.popularity())))
    }
}

impl ModelConfig for Pop {
    fn kind(&self) -> &'static str {
        "pop"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(Counts(tensors.u32s("interactions")?.to_vec())))
    }

    fn memory(&self, _n_users: usize, n_items: usize, _n_interactions: usize) -> u64 {
        4 * n_items as u64
    }
}

/// The number of interactions of each item.
struct Counts(Vec<u32>);

impl Scorer for Counts {
    fn n_items(&self) -> usize {
        self.0.len()
    }

    fn score(&self, _queries: &[Query<'_>], out: &mut [f32]) {
        for row in out.chunks_exact_mut(self.0.len().max(1)) {
            for (score, &count) in row.iter_mut().zip(&self.0) {
                *score = count as f32;
            }
        }
    }
}

impl Model for Counts {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert("interactions", &[self.0.len()], self.0.clone());
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::{Lists, TopK};

    #[test]
    fn counts_and_leaves_out_seen_items() {
        let lines = [vec![0, 2], vec![2, 1], vec![2, 1], vec![3]];
        let train = Interactions::new(5, Lists::from_iter(lines), None, None).unwrap();
        let model = Pop {}.fit(&Arc::new(train), &mut Fit::seeded(1)).unwrap();
        let query = Query { user: None, history: &[2], hidden: &[] };
        let ranked = model.rank(&[query], &TopK::unseen(9)).unwrap();
        assert_eq!(ranked.items(0), [1, 0, 3, 4]);
        assert_eq!(ranked.scores(0), [2.0, 1.0, 1.0, 0.0]);
    }
}
