//! Approximate search in a graph of near items (HNSW), for catalogues of many millions. A wrapper around the exact table: who asks for
//! something that the graph cannot tell is answered from the table, and what the graph misses is measured against it.
//!
//! Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs"
//! (2018), as the `usearch` crate has it. A graph wants a distance, and a score is a product; so each item gets one more number,
//! which makes all of one length (Bachrach et al., "Speeding up the Xbox recommender system using a Euclidean transformation for
//! inner-product spaces", 2014): the nearest are then those of the highest score.
//!
//! The graph is built anew at each start: a file of one could not be checked before it is trusted. It is built by several threads, so
//! two graphs of one model differ, and so may answers; scores are those of the model, to the last bit.

use crate::request::GraphCard;
use crate::{Error, Result};
use rankstill_core::kernel::panels::score_one;
use rankstill_core::{
    Factored, Factors, ItemId, Model, Packed, Query, Ranker as _, Rankings, TopK,
};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::time::Instant;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

/// A graph over the items of a factored model.
pub(crate) struct Graph {
    index: Index,
    pub card: GraphCard,
}

/// How far a search looks around, narrowest first.
const REACH: [usize; 6] = [64, 128, 256, 512, 1024, 2048];
/// Seen items that are asked for besides; whoever knows more is answered from the table.
const MOST_SEEN: usize = 1000;
/// Items in the lists that are compared.
const COMPARED: usize = 20;

impl Graph {
    /// Builds it and looks no further around than `wanted` needs: the share of the exact answers to `queries` that is to be found.
    ///
    /// # Errors
    /// When the model is not factored, memory is short, or no search finds so much.
    pub fn new(
        packed: &Packed<Box<dyn Model>>,
        queries: &[Query<'_>],
        wanted: f64,
    ) -> Result<Self> {
        let refused = |problem: String| Error::Setting { key: "hnsw".into(), problem };
        let Some(factored) = packed.scorer().factored() else {
            return Err(refused("its score is not a product of two vectors".into()));
        };
        let began = Instant::now();
        let index = build(factored.items()).map_err(refused)?;
        let card = GraphCard {
            recall: 0.0,
            recall_at: COMPARED,
            reach: 0,
            bytes: index.memory_usage(),
            built_in_seconds: began.elapsed().as_secs_f64(),
        };
        let mut graph = Self { index, card };
        let top = TopK::unseen(COMPARED);
        let exact = packed.rank(queries, &top)?;
        for reach in REACH {
            graph.index.change_expansion_search(reach);
            let found = queries.par_iter().enumerate().map(|(i, query)| {
                let list = graph.one(factored, query, &top).unwrap_or_default();
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
        Err(refused(format!("a graph finds {found:.3} of the exact answers, asked for {wanted}")))
    }

    /// The answers; `None` where the table must give them.
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
            ranked.push(self.one(factored, query, top)?);
        }
        Some(ranked)
    }

    fn one(
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
            seen.extend(query.history.iter().chain(query.hidden));
            seen.sort_unstable();
            seen.dedup();
        }
        let length = norm(&vector);
        if seen.len() > MOST_SEEN || !length.is_normal() {
            return None;
        }
        let mut asked: Vec<f32> = vector.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        asked.push(0.0);
        let near = self.index.search(&asked, (top.k + seen.len()).min(items.len)).ok()?;
        let score = |item: ItemId| (item, score_one(&vector, items.row(item as usize)) + 0.0);
        let near = near.keys.iter().filter_map(|&key| ItemId::try_from(key).ok());
        let unseen =
            near.filter(|item| (*item as usize) < items.len && seen.binary_search(item).is_err());
        let mut list: Vec<(ItemId, f32)> = unseen.map(score).collect();
        list.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0)));
        list.truncate(top.k);
        // Too few: what is around is mostly seen.
        (list.len() == top.k.min(items.len.saturating_sub(seen.len()))).then_some(list)
    }
}

/// The items, all of length 1 with one more number.
fn build(items: Factors<'_>) -> std::result::Result<Index, String> {
    let lengths: Vec<f64> = (0..items.len).into_par_iter().map(|i| norm(items.row(i))).collect();
    let longest = lengths.iter().fold(0.0, |a: f64, &b| if b > a || b.is_nan() { b } else { a });
    if !longest.is_normal() {
        return Err("its item vectors are not numbers, or all zero".into());
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
    let index = Index::new(&options).map_err(told)?;
    // Threads that may be inside at once: those that compute, and those of the network that answer quick questions.
    let threads = 4 * rayon::current_num_threads() + 64;
    index.reserve_capacity_and_threads(items.len, threads).map_err(told)?;
    (0..items.len).into_par_iter().try_for_each(|i| {
        let mut vector: Vec<f32> =
            items.row(i).iter().map(|x| (f64::from(*x) / longest) as f32).collect();
        let rest = 1.0 - (lengths[i] / longest).powi(2);
        vector.push(rest.max(0.0).sqrt() as f32);
        index.add(i as u64, &vector).map_err(told)
    })?;
    Ok(index)
}

fn told(error: impl std::fmt::Display) -> String {
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
    use rankstill_core::ItemSet;

    fn asked(snapshot: &crate::Snapshot) -> Vec<Query<'_>> {
        let users = 0..snapshot.users.len() as u32;
        users
            .map(|user| Query { user: Some(user), history: snapshot.history(user), hidden: &[3] })
            .collect()
    }

    #[test]
    fn a_graph_of_few_items_finds_what_the_table_finds() {
        for kind in [Kind::Factors, Kind::FactorsWithBias] {
            let snapshot = snapshot(kind);
            let queries = asked(&snapshot);
            let packed = Packed::new(model(kind));
            let graph = Graph::new(&packed, &queries, 0.99).unwrap();
            assert!(graph.card.recall >= 0.99 && graph.card.bytes > 0, "{:?}", graph.card);
            let top = TopK::unseen(9);
            let found = graph.rank(packed.scorer().factored().unwrap(), &queries, &top).unwrap();
            assert_eq!(found, packed.rank(&queries, &top).unwrap(), "scores too");
        }
    }

    #[test]
    fn what_a_graph_cannot_tell_is_left_to_the_table() {
        let snapshot = snapshot(Kind::Factors);
        let queries = asked(&snapshot);
        let packed = Packed::new(model(Kind::Factors));
        let graph = Graph::new(&packed, &queries, 0.5).unwrap();
        let factored = packed.scorer().factored().unwrap();
        let some = ItemSet::all(N_ITEMS);
        let top = TopK { k: 5, skip_seen: true, allowed: Some(&some) };
        assert!(graph.rank(factored, &queries, &top).is_none());
        let refused = |kind, wanted| Graph::new(&Packed::new(model(kind)), &queries, wanted).err();
        let told = refused(Kind::Rows, 0.5).unwrap().to_string();
        assert!(told.contains("not a product"), "{told}");
        let told = refused(Kind::Factors, 1.1).unwrap().to_string();
        assert!(told.contains("of the exact answers, asked for 1.1"), "{told}");
    }
}
