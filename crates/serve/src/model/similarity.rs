//! Similarity of items according to a model, for similar items and explanations.
//!
//! If the model is factored, it is the cosine of the two rows of the item table, without the bias column if
//! there is one. For other models it is the score of one item for an unknown user whose history is the other
//! item alone; for neighbourhood models that is their similarity.

use super::sample::few_users;
use crate::Result;
use rankstill_core::kernel::panels::{PanelOrder, Panels, Rows};
use rankstill_core::kernel::topk;
use rankstill_core::{
    Factored, Interactions, ItemId, ItemSet, Model, Packed, Query, Ranker as _, TopK,
};
use std::sync::OnceLock;

pub(super) struct Similarity {
    n_items: usize,
    /// Number of columns to compare; `None` if the model is not factored.
    dim: Option<usize>,
    /// All rows, normalised and packed at first use: many servers never need them, and they double the memory
    /// of the table.
    normalised: OnceLock<Panels>,
}

impl Similarity {
    pub fn new(model: &dyn Model, history: &Interactions) -> Self {
        let dim = model.factored().map(|factored| {
            let dim = factored.items().dim;
            if dim > 1 && last_is_bias(factored, history) { dim - 1 } else { dim }
        });
        Self { n_items: model.n_items(), dim, normalised: OnceLock::new() }
    }

    /// What the similarity measures, for people.
    pub fn description(&self) -> &'static str {
        match self.dim {
            Some(_) => "cosine of the items' vectors",
            None => "the model's score for a user whose history is this item alone",
        }
    }

    pub fn most_similar(
        &self,
        model: &Packed<Box<dyn Model>>,
        item: ItemId,
        k: usize,
        allowed: Option<&ItemSet>,
    ) -> Result<Vec<(ItemId, f32)>> {
        let (Some(dim), Some(factored)) = (self.dim, model.scorer().factored()) else {
            let query = Query { user: None, history: &[item], hidden: &[] };
            let ranked = model.rank(&[query], &TopK { k, skip_seen: true, allowed })?;
            return Ok(ranked
                .items(0)
                .iter()
                .copied()
                .zip(ranked.scores(0).iter().copied())
                .collect());
        };
        let normalised = self.normalised.get_or_init(|| {
            let mut rows = vec![0.0; self.n_items * dim];
            rows.chunks_mut(dim.max(1))
                .zip(0..)
                .for_each(|(out, item)| normalise(factored, item, out));
            Panels::pack(Rows::dense(&rows, self.n_items, dim), PanelOrder::Id)
        });
        let mut query = vec![0.0; dim];
        normalise(factored, item, &mut query);
        let seen = [item];
        let lists = topk::top_k(Rows::dense(&query, 1, dim), normalised, k, |_| &seen, allowed);
        let (items, scores) = lists.list(0);
        Ok(items.iter().copied().zip(scores.iter().copied()).collect())
    }

    /// Row *i*: the similarity of `items[i]` to each of `others`.
    pub fn matrix(
        &self,
        model: &Packed<Box<dyn Model>>,
        items: &[ItemId],
        others: &[ItemId],
    ) -> Result<Vec<Vec<f32>>> {
        if let (Some(dim), Some(factored)) = (self.dim, model.scorer().factored()) {
            let rows = |items: &[ItemId]| {
                let mut rows = vec![0.0; items.len() * dim];
                rows.chunks_mut(dim.max(1))
                    .zip(items)
                    .for_each(|(out, &item)| normalise(factored, item, out));
                rows
            };
            let (a, b) = (rows(items), rows(others));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b);
            let row = |a: &[f32]| b.chunks(dim.max(1)).map(|b| dot(a, b)).collect();
            return Ok(a.chunks(dim.max(1)).map(row).collect());
        }
        let allowed = ItemSet::new(self.n_items, items.iter().copied())?;
        let histories = others.iter().map(std::slice::from_ref);
        let queries: Vec<_> =
            histories.map(|history| Query { user: None, history, hidden: &[] }).collect();
        let top = TopK { k: items.len(), skip_seen: false, allowed: Some(&allowed) };
        let ranked = model.rank(&queries, &top)?;
        let score = |item: ItemId, other: usize| {
            let at = ranked.items(other).iter().position(|&found| found == item);
            at.map_or(0.0, |at| ranked.scores(other)[at])
        };
        Ok(items
            .iter()
            .map(|&item| (0..others.len()).map(|other| score(item, other)).collect())
            .collect())
    }
}

/// Writes the item's row, scaled to length 1. A row of zeros stays zero.
fn normalise(factored: &dyn Factored, item: ItemId, out: &mut [f32]) {
    let items = factored.items();
    let row = &items.row(item as usize)[..out.len()];
    let length = row.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x)).sqrt();
    let scale = if length > 0.0 { (1.0 / length) as f32 } else { 0.0 };
    out.iter_mut().zip(row).for_each(|(out, x)| *out = x * scale);
}

/// Whether the last column is a bias: then, by the contract of `Factored`, the last number of every query
/// vector is 1. No other column has this property by chance.
fn last_is_bias(factored: &dyn Factored, history: &Interactions) -> bool {
    let mut queries = vec![Query::default()];
    for user in few_users(history) {
        let items = history.history(user);
        queries.push(Query { user: Some(user), history: items, hidden: &[] });
        queries.push(Query { user: None, history: items, hidden: &[] });
    }
    let dim = factored.items().dim;
    let mut vectors = vec![0.0; queries.len() * dim];
    factored.embed(&queries, &mut vectors);
    queries.len() > 1 && vectors.chunks(dim).all(|vector| vector[dim - 1] == 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::testing::{Kind, snapshot};

    #[test]
    fn similarity_is_the_cosine_without_the_bias() {
        for kind in [Kind::Factors, Kind::FactorsWithBias] {
            let snapshot = snapshot(kind);
            let row = |item: u32| crate::testing::item_vector(item);
            let by_hand = |a: u32, b: u32| {
                let dot: f32 = row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum();
                let length = |v: [f32; 4]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
                dot / (length(row(a)) * length(row(b)))
            };
            let found = snapshot.similar(7, 100).unwrap();
            assert_eq!(found.len(), 39, "all other items");
            for &(item, cosine) in &found {
                assert!((cosine - by_hand(7, item)).abs() < 1e-5, "{item}: {cosine}");
            }
            assert!(found.is_sorted_by(|a, b| a.1 >= b.1));
            let matrix = snapshot.similarities(&[3, 7], &[1, 2, 7]).unwrap();
            assert!((matrix[0][1] - by_hand(3, 2)).abs() < 1e-5);
            assert!((matrix[1][2] - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn other_models_score_an_unknown_user_with_one_item() {
        let snapshot = snapshot(Kind::Unfactored);
        let found = snapshot.similar(7, 5).unwrap();
        assert!(found.iter().all(|&(item, _)| item != 7) && found.len() == 5);
        let matrix = snapshot.similarities(&[found[0].0, found[4].0], &[7, 8]).unwrap();
        assert_eq!((matrix[0][0], matrix[1][0]), (found[0].1, found[4].1));
    }
}
