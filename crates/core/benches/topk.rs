//! Exact top-K against the machine's own peak of dense products, measured in the same run.
//!
//! `cargo bench -p rankstill-core --bench topk [-- THREADS [DIM]]`. Sizes are Gowalla's (29,858 x 40,981);
//! vectors are random, the worst case for the thresholds, and, as a second row, random with the unequal
//! lengths of a trained model. Each figure is wall time, the best of several alternating rounds.

use std::time::Instant;

use rankstill_core::kernel::gemm::{self, Mat, MatMut};
use rankstill_core::kernel::narrow::{Narrow, Width, search};
use rankstill_core::kernel::panels::{PanelOrder, Panels, Rows};
use rankstill_core::kernel::ranks::target_ranks;
use rankstill_core::kernel::simd;
use rankstill_core::kernel::topk::top_k;

const N_USERS: usize = 29_858;
const N_ITEMS: usize = 40_981;
const ROUNDS: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let threads = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    let dims = arguments.next().and_then(|a| a.parse().ok()).map_or(vec![64, 20], |dim| vec![dim]);
    println!("{} threads, {}", threads, simd::isa().name());
    pool.install(|| {
        let masks = masks();
        for dim in dims {
            for skew in [false, true] {
                case(dim, skew, &masks);
            }
        }
        one_request();
    });
}

fn case(dim: usize, skew: bool, masks: &[Vec<u32>]) {
    let users = random(N_USERS * dim, 1);
    let mut items = random(N_ITEMS * dim, 2);
    if skew {
        for (i, row) in items.chunks_mut(dim).enumerate() {
            // Lengths from 1 down to 0.2, as popularity would have them, spread over the ids.
            let place = (i * 7_919 % N_ITEMS) as f32 / N_ITEMS as f32;
            row.iter_mut().for_each(|x| *x *= 0.2 + 0.8 * (-6.0 * place).exp());
        }
    }
    let panels = Panels::pack(Rows::dense(&items, N_ITEMS, dim), PanelOrder::Norm);
    let queries = Rows::dense(&users, N_USERS, dim);
    let flop = 2.0 * (N_USERS * N_ITEMS * dim) as f64;
    let (mut plain, mut masked, mut scores_only, mut peak) = (f64::MAX, f64::MAX, f64::MAX, 0f64);
    for _ in 0..ROUNDS {
        peak = peak.max(gemm_peak());
        plain = plain.min(seconds(|| drop(top_k(queries, &panels, 100, |_| &[], None))));
        masked = masked.min(seconds(|| drop(top_k(queries, &panels, 100, |u| &masks[u], None))));
        // One item is nearly all that a short list costs.
        scores_only = scores_only.min(seconds(|| drop(top_k(queries, &panels, 1, |_| &[], None))));
    }
    let by_id = Panels::pack(Rows::dense(&items, N_ITEMS, dim), PanelOrder::Id);
    // Gowalla's test part has 217,242 targets, 7 a user.
    let targets: Vec<u32> = (0..7 * N_USERS).map(|i| (i * 7_919 % N_ITEMS) as u32).collect();
    let ranks = seconds(|| {
        drop(target_ranks(queries, &by_id, |u| &targets[7 * u..][..7], |u| &masks[u], None));
    });
    let rate = |s: f64| flop / s / 1e9;
    println!(
        "d {dim:3} {}: top-100 {plain:.3} s ({:.0} GFLOP/s), masked {masked:.3} s ({:.0}, {:.0}% of gemm's {peak:.0}), top-1 {scores_only:.3} s ({:.0}), ranks of 7 targets each {ranks:.3} s",
        if skew { "skewed" } else { "random" },
        rate(plain),
        rate(masked),
        100.0 * rate(masked) / peak,
        rate(scores_only),
    );
}

/// One query at a time, as in a server, and twelve at once; from tables of every width, in turn.
fn one_request() {
    for (n, dim) in [(2_000, 32), (25_000, 20), (25_000, 64), (100_000, 32), (1_000_000, 32)] {
        let items = random(n * dim, 3);
        let rows = Rows::dense(&items, n, dim);
        let panels = Panels::pack(rows, PanelOrder::Norm);
        let narrow =
            [Width::Half, Width::Byte].map(|width| Narrow::pack(rows, width).expect("numbers"));
        let mut rounds = 1_000_000 / n.max(20_000) * 10;
        for together in [1, 12] {
            let (mut times, mut rescored) = (vec![Vec::new(); 3], [0; 2]);
            for round in 0..rounds {
                let queries = random(together * dim, 100 + round as u64);
                let queries = Rows::dense(&queries, together, dim);
                let masked = |_: usize| &[1u32, 2, 3][..];
                let mut time = |at: usize, work: &mut dyn FnMut()| times[at].push(seconds(work));
                time(0, &mut || drop(top_k(queries, &panels, 20, masked, None)));
                for (at, table) in narrow.iter().enumerate() {
                    time(1 + at, &mut || {
                        rescored[at] += search(queries, rows, table, 20, masked, None).rescored;
                    });
                }
            }
            let median = |times: &mut Vec<f64>| {
                times.sort_by(f64::total_cmp);
                times[times.len() / 2] * 1e6
            };
            let [full, half, byte] = [0, 1, 2].map(|at| median(&mut times[at]));
            let scored = rescored.map(|n| n as f64 / (rounds * together) as f64);
            println!(
                "{together:2} queries, top-20 of {n} x {dim}: f32 {full:.1} us, f16 {half:.1} ({:.2}x, {:.0} rescored), int8 {byte:.1} ({:.2}x, {:.0} rescored)",
                full / half,
                scored[0],
                full / byte,
                scored[1],
            );
            rounds = (rounds / 4).max(5);
        }
    }
}

/// GFLOP/s of the `gemm` crate on a shape that suits it, in blocks on all threads.
fn gemm_peak() -> f64 {
    let (m, n, k) = (2_048, 2_048, 512);
    let (a, b) = (random(m * k, 5), random(k * n, 6));
    let mut c = vec![0.0; m * n];
    let mut best = f64::MAX;
    for _ in 0..6 {
        best = best.min(seconds(|| {
            let mut c = MatMut::dense(&mut c, m, n);
            gemm::parallel(1.0, Mat::dense(&a, m, k), Mat::dense(&b, k, n), 0.0, &mut c);
        }));
    }
    2.0 * (m * n * k) as f64 / best / 1e9
}

/// Gowalla's seen lists where the data are there, else as many random items.
fn masks() -> Vec<Vec<u32>> {
    let data = std::env::var("RANKSTILL_DATA").unwrap_or_else(|_| "../../../shared/data".into());
    let mut masks = vec![Vec::new(); N_USERS];
    if let Ok(text) = std::fs::read_to_string(format!("{data}/gowalla/train.tsv")) {
        for line in text.lines().skip(1) {
            let mut fields = line.split('\t').map(str::parse::<usize>);
            if let (Some(Ok(user)), Some(Ok(item))) = (fields.next(), fields.next())
                && user < N_USERS
            {
                masks[user].push(item as u32);
            }
        }
        println!("masks: Gowalla, {} items", masks.iter().map(Vec::len).sum::<usize>());
    } else {
        println!("masks: 27 random items a user (no gowalla/train.tsv under {data})");
        for (user, mask) in masks.iter_mut().enumerate() {
            mask.extend((0..27).map(|i| ((user * 31 + i * 1_511) % N_ITEMS) as u32));
        }
    }
    masks
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Roughly normal numbers.
fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next() + next() + next() + next()).collect()
}
