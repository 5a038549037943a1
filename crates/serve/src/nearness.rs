//! How like each other two items are to a model: for `similar`, and to say because of what something is recommended.
//!
//! Where the model ends in a dot product with an item table, it is the cosine of the two rows (without the bias, where the last
//! column is one). For other models it is the score of the one item for a stranger whose history is the other alone: for
//! neighbourhood models that is their similarity.

use crate::Result;
use crate::snapshot::probes;
use rankstill_core::kernel::panels::{PanelOrder, Panels, Rows};
use rankstill_core::kernel::topk;
use rankstill_core::{
    Factored, Interactions, ItemId, ItemSet, Model, Packed, Query, Ranker as _, TopK,
};
use std::sync::OnceLock;

pub(crate) struct Nearness {
    n_items: usize,
    /// Columns that are compared; `None` for models that are not factored.
    dim: Option<usize>,
    /// All rows at length 1, packed when they are first asked for: not everybody asks, and it doubles the table.
    directions: OnceLock<Panels>,
}

impl Nearness {
    pub fn new(model: &dyn Model, history: &Interactions) -> Self {
        let dim = model.factored().map(|factored| {
            let dim = factored.items().dim;
            if dim > 1 && last_is_bias(factored, history) { dim - 1 } else { dim }
        });
        Self { n_items: model.n_items(), dim, directions: OnceLock::new() }
    }

    pub fn is(&self) -> &'static str {
        match self.dim {
            Some(_) => "cosine of the items' vectors",
            None => "the model's score for somebody who knows the one item alone",
        }
    }

    pub fn similar(
        &self,
        model: &Packed<Box<dyn Model>>,
        item: ItemId,
        k: usize,
    ) -> Result<Vec<(ItemId, f32)>> {
        let (Some(dim), Some(factored)) = (self.dim, model.scorer().factored()) else {
            let query = Query { user: None, history: &[item], hidden: &[] };
            let ranked = model.rank(&[query], &TopK::unseen(k))?;
            return Ok(ranked
                .items(0)
                .iter()
                .copied()
                .zip(ranked.scores(0).iter().copied())
                .collect());
        };
        let directions = self.directions.get_or_init(|| {
            let mut rows = vec![0.0; self.n_items * dim];
            rows.chunks_mut(dim.max(1))
                .zip(0..)
                .for_each(|(out, item)| direction(factored, item, out));
            Panels::pack(Rows::dense(&rows, self.n_items, dim), PanelOrder::Id)
        });
        let mut asked = vec![0.0; dim];
        direction(factored, item, &mut asked);
        let known = [item];
        let lists = topk::top_k(Rows::dense(&asked, 1, dim), directions, k, |_| &known, None);
        let (items, scores) = lists.list(0);
        Ok(items.iter().copied().zip(scores.iter().copied()).collect())
    }

    /// Row *i*: how like `items[i]` each of `others` is.
    pub fn likeness(
        &self,
        model: &Packed<Box<dyn Model>>,
        items: &[ItemId],
        others: &[ItemId],
    ) -> Result<Vec<Vec<f32>>> {
        if let (Some(dim), Some(factored)) = (self.dim, model.scorer().factored()) {
            let directions = |of: &[ItemId]| {
                let mut rows = vec![0.0; of.len() * dim];
                rows.chunks_mut(dim.max(1))
                    .zip(of)
                    .for_each(|(out, &item)| direction(factored, item, out));
                rows
            };
            let (a, b) = (directions(items), directions(others));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b);
            let row = |a: &[f32]| b.chunks(dim.max(1)).map(|b| dot(a, b)).collect();
            return Ok(a.chunks(dim.max(1)).map(row).collect());
        }
        let allowed = ItemSet::new(self.n_items, items.iter().copied())?;
        let alone = others.iter().map(std::slice::from_ref);
        let queries: Vec<_> =
            alone.map(|history| Query { user: None, history, hidden: &[] }).collect();
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

/// The item's row at length 1; a row of zeros stays one.
fn direction(factored: &dyn Factored, item: ItemId, out: &mut [f32]) {
    let items = factored.items();
    let row = &items.row(item as usize)[..out.len()];
    let length = row.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x)).sqrt();
    let scale = if length > 0.0 { (1.0 / length) as f32 } else { 0.0 };
    out.iter_mut().zip(row).for_each(|(out, x)| *out = x * scale);
}

/// Against a bias column every query's vector holds 1: so says the contract of `Factored`, and nothing else does by chance.
fn last_is_bias(factored: &dyn Factored, history: &Interactions) -> bool {
    let mut queries = vec![Query::default()];
    for user in probes(history) {
        let line = history.history(user);
        queries.push(Query { user: Some(user), history: line, hidden: &[] });
        queries.push(Query { user: None, history: line, hidden: &[] });
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
    fn likeness_is_the_cosine_and_leaves_the_bias_out() {
        for kind in [Kind::Factors, Kind::FactorsWithBias] {
            let snapshot = snapshot(kind);
            let row = |item: u32| crate::testing::item_vector(item);
            let by_hand = |a: u32, b: u32| {
                let dot: f32 = row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum();
                let length = |v: [f32; 4]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
                dot / (length(row(a)) * length(row(b)))
            };
            let found = snapshot.similar(7, 100).unwrap();
            assert_eq!(found.len(), 39, "all but itself");
            for &(item, cosine) in &found {
                assert!((cosine - by_hand(7, item)).abs() < 1e-5, "{item}: {cosine}");
            }
            assert!(found.is_sorted_by(|a, b| a.1 >= b.1));
            let likeness = snapshot.likeness(&[3, 7], &[1, 2, 7]).unwrap();
            assert!((likeness[0][1] - by_hand(3, 2)).abs() < 1e-5);
            assert!((likeness[1][2] - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn other_models_are_asked_about_the_one_item() {
        let snapshot = snapshot(Kind::Rows);
        let found = snapshot.similar(7, 5).unwrap();
        assert!(found.iter().all(|&(item, _)| item != 7) && found.len() == 5);
        let likeness = snapshot.likeness(&[found[0].0, found[4].0], &[7, 8]).unwrap();
        assert_eq!((likeness[0][0], likeness[1][0]), (found[0].1, found[4].1));
    }
}
