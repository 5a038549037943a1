//! Times of top-20 over Gowalla's 40,981 items in codes, from one ALS model of 64 dimensions, next to exact 8-bit search; and what the codes
//! find of the exact top 20. One thread, blocks of queries as an evaluation has them and single ones as a server has them.
//!
//! ```sh
//! cargo bench -p rankstill-models --bench codes -- [--folder DIR] [--rounds 5]
//! ```
//! With a folder, the vectors are written to it (`users.f32`, `items.f32`, row-major) for `benches/codes_faiss.py`. Lines of two words are
//! `name value` pairs for that script: microseconds a query of a block (`name_us`), of a single query (`name_single_us`), recall.

#[path = "gowalla/mod.rs"]
mod gowalla;

use gowalla::Gowalla;
use rankstill_core::kernel::codes::{
    CodeTable, Hamming, Ints, InvertedLists, Products, Ragged, Scale, top_k,
};
use rankstill_core::kernel::narrow::{Narrow, Width, search};
use rankstill_core::kernel::panels::{PanelOrder, Panels, Rows};
use rankstill_core::kernel::topk;
use rankstill_core::{Fit, Query, Recipe as _, Result};
use rankstill_models::ImplicitAls;
use std::time::Instant;

const DIM: usize = 64;
const K: usize = 20;
/// Queries of a block.
const QUERIES: usize = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("timings run under `cargo bench` only");
        return;
    }
    let named = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let folder = named("--folder");
    let rounds = named("--rounds").and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let data = match Gowalla::read() {
        Ok(data) => data,
        Err(error) => return println!("skipped: {error}"),
    };
    let (users, items) = vectors(&data).expect("valid settings");
    if let Some(folder) = folder {
        for (name, numbers) in [("users", &users), ("items", &items)] {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(format!("{folder}/{name}.f32"), bytes).expect("a folder to write to");
        }
    }
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    pool.install(|| times(&users, &items, rounds));
}

/// Of every third user up to a thousand, and of all items. Says how good the model is.
fn vectors(data: &Gowalla) -> Result<(Vec<f32>, Vec<f32>)> {
    let recipe = ImplicitAls { dim: DIM, ..ImplicitAls::default() };
    let model = recipe.fit(&data.train, &mut Fit::seeded(1))?;
    println!("model_recall {:.4}", data.measure(&*model)?.0);
    let factored = model.factored().expect("products of vectors");
    let table = factored.items();
    let items = (0..table.len).flat_map(|item| table.row(item)).copied().collect();
    let query = |at: usize| Query { user: Some(3 * at as u32), ..Query::default() };
    let queries: Vec<Query<'_>> = (0..QUERIES).map(query).collect();
    let mut users = vec![0.0; QUERIES * DIM];
    factored.embed(&queries, &mut users);
    Ok((users, items))
}

fn times(users: &[f32], items: &[f32], rounds: usize) {
    let (queries, rows) =
        (Rows::dense(users, QUERIES, DIM), Rows::dense(items, items.len() / DIM, DIM));
    let panels = Panels::pack(rows, PanelOrder::Norm);
    let bytes = Narrow::pack(rows, Width::Byte).expect("moderate numbers");
    let masks: Vec<&[u32]> = vec![&[]; QUERIES];
    let exact = topk::top_k(queries, &panels, K, |_| &[], None);

    let lengths: Vec<u32> = (0..rows.n()).map(|i| if i % 4 == 0 { 40 } else { 8 }).collect();
    let mut lists = InvertedLists::fit(rows, 256, 20, 1).expect("moderate numbers");
    let wanted = probes_for(&lists, queries, &exact, 0.95);
    lists.set_probes(wanted);
    let scored: usize = (0..QUERIES).map(|i| lists.n_scored(queries.row(i))).sum();
    println!("ivf_probes {wanted}");
    println!("ivf_share_scored {:.4}", scored as f64 / (QUERIES * rows.n()) as f64);
    let ints = |bits| Box::new(Ints::pack(rows, bits, Scale::Nearest).expect("moderate numbers"));
    let products = |parts, centres| {
        Box::new(Products::fit(rows, parts, centres, 25, 1).expect("moderate numbers"))
    };
    let tables: Vec<(&str, Box<dyn CodeTable>)> = vec![
        ("ints_8", ints(8)),
        ("ints_6", ints(6)),
        ("ints_4", ints(4)),
        ("ints_3", ints(3)),
        ("sign_real_query", ints(1)),
        ("popcount_64", Box::new(Hamming::pack(rows, false).expect("moderate numbers"))),
        ("pq_8_256", products(8, 256)),
        ("pq_16_16", products(16, 16)),
        ("pq_32_16", products(32, 16)),
        ("ragged_quarter", Box::new(Ragged::pack(rows, &lengths).expect("as many lengths"))),
        ("ivf", Box::new(lists)),
    ];
    let mut best = vec![[f64::INFINITY; 2]; tables.len() + 2];
    let mut time = |at: usize, which: usize, n: usize, work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        let us = began.elapsed().as_secs_f64() * 1e6 / n as f64;
        best[at][which] = best[at][which].min(us);
    };
    // Single queries in short rounds: the best round is one in which nothing else ran.
    let single = 50;
    for round in 0..rounds {
        time(0, 0, QUERIES, &mut || drop(topk::top_k(queries, &panels, K, |_| &[], None)));
        time(1, 0, QUERIES, &mut || drop(search(queries, rows, &bytes, K, |_| &[], None)));
        let one = |i: usize| Rows::dense(queries.row((round * single + i) % QUERIES), 1, DIM);
        time(0, 1, single, &mut || {
            (0..single).for_each(|i| drop(topk::top_k(one(i), &panels, K, |_| &[], None)));
        });
        time(1, 1, single, &mut || {
            (0..single).for_each(|i| drop(search(one(i), rows, &bytes, K, |_| &[], None)));
        });
        for (at, (_, table)) in tables.iter().enumerate() {
            time(at + 2, 0, QUERIES, &mut || drop(top_k(&**table, queries, K, &masks, None)));
            time(at + 2, 1, single, &mut || {
                (0..single).for_each(|i| drop(top_k(&**table, one(i), K, &masks[..1], None)));
            });
        }
    }
    let names = ["exact_f32", "exact_int8"].into_iter().chain(tables.iter().map(|(name, _)| *name));
    for (name, [block, single]) in names.zip(&best) {
        println!("{name}_us {block:.2}");
        println!("{name}_single_us {single:.2}");
    }
    for (name, table) in &tables {
        let found = top_k(&**table, queries, K, &masks, None);
        let hits: usize = (0..QUERIES)
            .map(|i| found.list(i).0.iter().filter(|id| exact.list(i).0.contains(id)).count())
            .sum();
        println!("{name}_recall {:.4}", hits as f64 / (QUERIES * K) as f64);
        println!("{name}_bytes_per_item {:.2}", table.bytes() as f64 / rows.n() as f64);
    }
}

/// The smallest number of lists in which this share of the best items is.
fn probes_for(
    lists: &InvertedLists,
    queries: Rows<'_>,
    exact: &topk::TopLists,
    recall: f64,
) -> usize {
    let mut needed = Vec::new();
    for i in 0..queries.n() {
        let order = lists.order(queries.row(i));
        for &item in exact.list(i).0 {
            let list = lists.list_of(item) as u32;
            needed.push(1 + order.iter().position(|at| *at == list).unwrap_or(order.len()));
        }
    }
    needed.sort_unstable();
    needed[(recall * needed.len() as f64) as usize]
}
