//! Approximate search in a graph (HNSW), for catalogues of many millions of items. The exact table answers
//! queries that the graph cannot, and is the reference for the graph's recall.
//!
//! Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs" (2018), as implemented by the `usearch` crate. The graph needs a distance,
//! but scores are dot products. So each item vector gets one more number that gives all vectors the same
//! length (Bachrach et al., "Speeding up the Xbox recommender system using a Euclidean transformation for
//! inner-product spaces", 2014). The nearest items are then those with the highest scores.
//!
//! The graph is rebuilt at every start, because a stored graph could not be verified before use. Several
//! threads build it, so two graphs of one model differ, and their answers may differ too. Scores are exactly
//! those of the model.

use crate::wire::GraphCard;
use crate::{Error, Result};
use rankstill_core::kernel::panels::score_one;
use rankstill_core::{
    Factored, Factors, ItemId, ItemSet, Model, Packed, Query, Ranker as _, Rankings, TopK,
};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::time::Instant;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

/// A graph over the items of a factored model.
pub(super) struct Graph {
    index: Index,
    pub card: GraphCard,
}

/// Numbers of candidates that a search may keep (HNSW's `ef`), smallest first.
const REACH: [usize; 6] = [64, 128, 256, 512, 1024, 2048];
/// Maximum number of seen items, which are fetched in addition. Users with more are answered from the table.
const MOST_SEEN: usize = 1000;
/// Length of the lists that recall is measured on.
const RECALL_AT: usize = 20;

impl Graph {
    /// Builds a graph of the `allowed` items, or all, with the smallest reach whose recall on `queries` is at least `wanted`.
    ///
    /// # Errors
    /// If the model is not factored, there is too little memory, or no reach gives that recall.
    pub fn new(
        packed: &Packed<Box<dyn Model>>,
        queries: &[Query<'_>],
        wanted: f64,
        allowed: Option<&ItemSet>,
    ) -> Result<Self> {
        let refused = |problem: String| Error::Setting { key: "hnsw".into(), problem };
        let Some(factored) = packed.scorer().factored() else {
            return Err(refused("the model's score is not a dot product of two vectors".into()));
        };
        let began = Instant::now();
        let index = build(factored.items(), allowed).map_err(refused)?;
        let card = GraphCard {
            recall: 0.0,
            recall_at: RECALL_AT,
            reach: 0,
            bytes: index.memory_usage(),
            built_in_seconds: began.elapsed().as_secs_f64(),
        };
        let mut graph = Self { index, card };
        let top = TopK { k: RECALL_AT, skip_seen: true, allowed };
        let exact = packed.rank(queries, &top)?;
        for reach in REACH {
            graph.index.change_expansion_search(reach);
            let found = queries.par_iter().enumerate().map(|(i, query)| {
                let list = graph.search(factored, query, &top).unwrap_or_default();
                list.iter().filter(|(item, _)| exact.items(i).contains(item)).count()
            });
            let expected: usize = (0..queries.len()).map(|i| exact.items(i).len()).sum();
            graph.card.recall = found.sum::<usize>() as f64 / expected.max(1) as f64;
            graph.card.reach = reach;
            if graph.card.recall >= wanted {
                return Ok(graph);
            }
        }
        let found = graph.card.recall;
        Err(refused(format!("expected a recall of {wanted}, reached {found:.3}")))
    }

    /// Ranks items; `None` if the exact table must answer.
    pub fn rank(
        &self,
        factored: &dyn Factored,
        queries: &[Query<'_>],
        top: &TopK<'_>,
    ) -> Option<Rankings> {
        if top.allowed.is_some() {
            return None;
        }
        let mut ranked = Rankings::default();
        for query in queries {
            ranked.push(self.search(factored, query, top)?);
        }
        Some(ranked)
    }

    fn search(
        &self,
        factored: &dyn Factored,
        query: &Query<'_>,
        top: &TopK<'_>,
    ) -> Option<Vec<(ItemId, f32)>> {
        let items = factored.items();
        let mut vector = vec![0.0; items.dim];
        factored.embed(std::slice::from_ref(query), &mut vector);
        let mut seen = Vec::new();
        if top.skip_seen {
            let listed = |item: &&ItemId| self.index.contains(u64::from(**item));
            seen.extend(query.history.iter().chain(query.hidden).filter(listed));
            seen.sort_unstable();
            seen.dedup();
        }
        let length = norm(&vector);
        if seen.len() > MOST_SEEN || !length.is_normal() {
            return None;
        }
        let mut direction: Vec<f32> =
            vector.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        direction.push(0.0);
        let near =
            self.index.search(&direction, (top.k + seen.len()).min(self.index.size())).ok()?;
        let score = |item: ItemId| (item, score_one(&vector, items.row(item as usize)) + 0.0);
        let near = near.keys.iter().filter_map(|&key| ItemId::try_from(key).ok());
        let unseen =
            near.filter(|item| (*item as usize) < items.len && seen.binary_search(item).is_err());
        let mut list: Vec<(ItemId, f32)> = unseen.map(score).collect();
        list.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0)));
        list.truncate(top.k);
        // A short list means that most candidates were already seen: fall back to the table.
        (list.len() == top.k.min(self.index.size().saturating_sub(seen.len()))).then_some(list)
    }
}

/// An index of the items, scaled and extended by one number to length 1.
fn build(items: Factors<'_>, allowed: Option<&ItemSet>) -> std::result::Result<Index, String> {
    let lengths: Vec<f64> = (0..items.len).into_par_iter().map(|i| norm(items.row(i))).collect();
    let longest = lengths.iter().fold(0.0, |a: f64, &b| if b > a || b.is_nan() { b } else { a });
    if !longest.is_normal() {
        return Err("the item vectors are all zero, or contain NaN or infinity".into());
    }
    let options = IndexOptions {
        dimensions: items.dim + 1,
        metric: MetricKind::IP,
        quantization: ScalarKind::F32,
        connectivity: 16,
        expansion_add: 128,
        expansion_search: REACH[0],
        ..IndexOptions::default()
    };
    let index = Index::new(&options).map_err(message)?;
    // Maximum number of threads that search at once: scoring threads, and network threads that answer quick
    // requests.
    let threads = 4 * rayon::current_num_threads() + 64;
    index.reserve_capacity_and_threads(items.len, threads).map_err(message)?;
    let listed = |i: &usize| allowed.is_none_or(|allowed| allowed.contains(*i as ItemId));
    (0..items.len).into_par_iter().filter(listed).try_for_each(|i| {
        let mut vector: Vec<f32> =
            items.row(i).iter().map(|x| (f64::from(*x) / longest) as f32).collect();
        let remainder = 1.0 - (lengths[i] / longest).powi(2);
        vector.push(remainder.max(0.0).sqrt() as f32);
        index.add(i as u64, &vector).map_err(message)
    })?;
    Ok(index)
}

fn message(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{Kind, N_ITEMS, model, snapshot};

    fn queries(snapshot: &crate::Snapshot) -> Vec<Query<'_>> {
        let users = 0..snapshot.users.len() as u32;
        users
            .map(|user| Query { user: Some(user), history: snapshot.history(user), hidden: &[3] })
            .collect()
    }

    #[test]
    fn a_small_graph_agrees_with_the_table() {
        for kind in [Kind::Factors, Kind::FactorsWithBias] {
            let snapshot = snapshot(kind);
            let queries = queries(&snapshot);
            let packed = Packed::new(model(kind));
            let graph = Graph::new(&packed, &queries, 0.99, None).unwrap();
            assert!(graph.card.recall >= 0.99 && graph.card.bytes > 0, "{:?}", graph.card);
            let top = TopK::unseen(9);
            let found = graph.rank(packed.scorer().factored().unwrap(), &queries, &top).unwrap();
            assert_eq!(found, packed.rank(&queries, &top).unwrap(), "including scores");
        }
    }

    #[test]
    fn queries_with_an_allow_list_are_left_to_the_table() {
        let snapshot = snapshot(Kind::Factors);
        let queries = queries(&snapshot);
        let packed = Packed::new(model(Kind::Factors));
        let graph = Graph::new(&packed, &queries, 0.5, None).unwrap();
        let factored = packed.scorer().factored().unwrap();
        let allowed = ItemSet::all(N_ITEMS);
        let top = TopK { k: 5, skip_seen: true, allowed: Some(&allowed) };
        assert!(graph.rank(factored, &queries, &top).is_none());
        let refused =
            |kind, wanted| Graph::new(&Packed::new(model(kind)), &queries, wanted, None).err();
        let message = refused(Kind::Unfactored, 0.5).unwrap().to_string();
        assert!(message.contains("not a dot product"), "{message}");
        let message = refused(Kind::Factors, 1.1).unwrap().to_string();
        assert!(message.contains("expected a recall of 1.1"), "{message}");
    }
}
