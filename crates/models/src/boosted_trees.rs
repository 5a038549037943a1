//! Boosted trees over counts: a ranker without vectors or a gradient with respect to its parameters, as many
//! run in production. Counts of the log describe a query and an item ([`FEATURES`]); gradient-boosted trees
//! predict how likely the item comes next. The trees are trained by the crate `perpetual`, whose one setting is
//! a budget; only their nodes are kept.
//!
//! - Training examples: `samples` items of each user as positives, and for each of them `negatives` items that
//!   the user does not have. The user is excluded from the counts, as is the user's action on the positive: as
//!   if it were still to come.
//! - A query's `candidates` are the items of users with similar histories (the largest sums of b b / n). The
//!   trees rank only these, and training examples are drawn from them. All other items follow, by popularity.
//!
//! On HetComp's CiteULike split (Recall@50 / nDCG@50) the defaults reach .276 / .136, with 500 candidates .246
//! / .118; one of the sums alone, over all users, .275 / .138.
//!
//! Not from a paper: the plain form of what is done with LightGBM or XGBoost on hand-made features. New users
//! are scored from their history; without a history they get popular items.

mod candidates;
mod forest;
#[cfg(test)]
mod tests;

use crate::parts::baskets::{self, baskets, distinct};
use crate::parts::settings::{self, Checked};
pub use candidates::FEATURES;
use candidates::{CandidateIndex, CandidateScratch, N};
use forest::Forest;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Fit, Interactions, ItemId, Model, ModelConfig, Query, Recipe, Result, Scorer, Stop, Tensors,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Gradient-boosted trees over counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoostedTrees {
    /// Training effort: .1 is little, .5 usual, 2 a lot. Each step of .1 takes about a quarter longer.
    pub budget: f32,
    /// Number of items that the trees score per query.
    pub candidates: usize,
    /// Positives per user.
    pub samples: usize,
    /// Negatives per positive.
    pub negatives: usize,
    /// Maximum number of users to learn from, spread evenly; 0 = all.
    pub users: usize,
}

impl Default for BoostedTrees {
    fn default() -> Self {
        Self { budget: 0.5, candidates: 200, samples: 2, negatives: 10, users: 20_000 }
    }
}

impl Checked for BoostedTrees {
    fn check(&self) -> Result<()> {
        let in_range = self.budget > 0.0 && self.budget <= 10.0;
        settings::must(in_range, "budget", "above 0 and at most 10", self.budget)?;
        let counts = [
            ("candidates", self.candidates),
            ("samples", self.samples),
            ("negatives", self.negatives),
        ];
        match counts.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(settings::invalid(key, "must be at least 1")),
            None => Ok(()),
        }
    }
}

impl BoostedTrees {
    /// Features of positives and negatives, and their labels.
    fn examples(
        &self,
        log: &CandidateIndex,
        train: &Interactions,
        seed: u64,
        stop: &Stop,
    ) -> (Vec<[f32; N]>, Vec<f64>) {
        let step = match self.users {
            0 => 1,
            most => train.n_users().div_ceil(most).max(1),
        };
        let users: Vec<u32> = (0..train.n_users() as u32).step_by(step).collect();
        let examples: Vec<Vec<([f32; N], f64)>> = users
            .par_iter()
            .map_init(
                || CandidateScratch::new(log),
                |scratch, &user| {
                    let mut rows = Vec::new();
                    let line = train.history(user);
                    let mut items = distinct(line);
                    if items.len() < 2 || stop.asked() {
                        return rows;
                    }
                    let mut rng = Rng::keyed(seed, [DRAWS, u64::from(user)]);
                    rng.shuffle(&mut items);
                    for &target in items.iter().take(self.samples) {
                        let history: Vec<ItemId> =
                            line.iter().copied().filter(|&item| item != target).collect();
                        let positive = Some((user, target));
                        let mut near = log.candidates(&history, positive, self.candidates, scratch);
                        let Some(at) = near.iter().position(|(item, _)| *item == target) else {
                            continue; // the trees would not rank it
                        };
                        rows.push((near.swap_remove(at).1, 1.0));
                        near.retain(|(item, _)| !items.contains(item));
                        near.sort_unstable_by_key(|(item, _)| *item);
                        for _ in 0..self.negatives.min(near.len()) {
                            let at = rng.below(near.len() as u32) as usize;
                            rows.push((near.swap_remove(at).1, 0.0));
                        }
                    }
                    rows
                },
            )
            .collect();
        examples.into_iter().flatten().unzip()
    }
}

/// Random stream of the training examples.
const DRAWS: u64 = 0x5452_4545;

impl Recipe for BoostedTrees {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        let log = CandidateIndex::new(baskets(train));
        let (rows, labels) = self.examples(&log, train, fit.seed, &fit.stop);
        fit.stop.check()?;
        let forest = Forest::learn(&rows, labels, self.budget, fit.seed, &fit.stop)?;
        Ok(Box::new(Boosted { candidates: self.candidates, log, forest }))
    }
}

impl ModelConfig for BoostedTrees {
    fn kind(&self) -> &'static str {
        "boosted_trees"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let n_items = baskets::read_n_items(tensors)?;
        let log = CandidateIndex::new(baskets::read(tensors, n_items, false)?);
        Ok(Box::new(Boosted { candidates: self.candidates, log, forest: Forest::read(tensors)? }))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let users = if self.users == 0 { n_users } else { self.users.min(n_users) };
        let rows = users * self.samples * (1 + self.negatives);
        // Features as drawn and as the trees' columns; the log both ways; the counts around a query.
        let threads = rayon::current_num_threads();
        (12 * N * rows
            + 8 * n_interactions
            + (16 + 8 * N * threads) * n_items
            + 8 * threads * n_users) as u64
    }
}

/// The log and the trees.
struct Boosted {
    candidates: usize,
    log: CandidateIndex,
    forest: Forest,
}

impl Scorer for Boosted {
    fn n_items(&self) -> usize {
        self.log.n_items()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        // Every candidate scores at least 1; all other items 0 if every user has them, less the fewer do.
        let n_users = self.log.baskets.n_rows().max(1) as f32;
        let popularity: Vec<f32> = (0..self.n_items())
            .map(|item| self.log.users_of.row(item).len() as f32 / n_users - 1.0)
            .collect();
        let mut scratch = CandidateScratch::new(&self.log);
        for (query, row) in queries.iter().zip(out.chunks_exact_mut(self.n_items().max(1))) {
            row.copy_from_slice(&popularity);
            let mut near = self.log.candidates(query.history, None, self.candidates, &mut scratch);
            near.sort_unstable_by_key(|(item, _)| *item);
            let scores: Vec<f32> = near.iter().map(|(_, row)| self.forest.score(row)).collect();
            let least = scores.iter().copied().fold(f32::INFINITY, f32::min);
            for ((item, _), score) in near.iter().zip(scores) {
                row[*item as usize] = 1.0 + (score - least);
            }
        }
    }
}

impl Model for Boosted {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        baskets::insert_n_items(&mut tensors, self.n_items());
        baskets::insert(&mut tensors, &self.log.baskets);
        self.forest.insert(&mut tensors);
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.log.baskets.n_entries() + 4 * self.forest.values.len()
    }
}
