#![allow(clippy::unwrap_used)]
use super::*;
use std::collections::{HashMap, HashSet};

fn small() -> Log {
    simulate(&SimulateOptions { interactions: 60_000, seed: 5, ..SimulateOptions::default() })
        .unwrap()
}

#[test]
fn sizes_are_exact() {
    for (n, users, items) in
        [(1_000, None, None), (1_000, Some(1000), Some(32)), (12_345, Some(77), Some(5_000))]
    {
        let options =
            SimulateOptions { interactions: n, users, items, ..SimulateOptions::default() };
        let log = simulate(&options).unwrap();
        assert_eq!(log.len() as u64, n);
        let world = World::new(&options).unwrap();
        assert_eq!(log.n_users() as u64, world.n_users(), "every user has a row");
        assert!(log.n_items() as u64 <= world.n_items());
        log.check().unwrap();
    }
    let world = |n| {
        let world =
            World::new(&SimulateOptions { interactions: n, ..SimulateOptions::default() }).unwrap();
        (world.n_users(), world.n_items())
    };
    assert_eq!(world(1_000), (50, 112));
    assert_eq!(world(100_000), (2_813, 2_000));
}

#[test]
fn the_same_rows_for_any_number_of_threads() {
    let options = SimulateOptions {
        interactions: 300_000,
        users: Some(13_000),
        ratings: true,
        ..SimulateOptions::default()
    };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.parquet");
        pool.install(|| simulate_to(&path, &options, |_| ())).unwrap();
        std::fs::read(path).unwrap()
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
    let other = simulate(&SimulateOptions { seed: 1, ..options.clone() }).unwrap();
    assert_ne!(other.items, simulate(&options).unwrap().items);
}

#[test]
fn times_rise_and_repeats_are_rare() {
    let log = small();
    let times = log.times.as_ref().unwrap();
    let mut pairs = HashSet::new();
    let mut repeats = 0;
    for row in 0..log.len() {
        if row > 0 && log.users[row] == log.users[row - 1] {
            assert!(times[row] >= times[row - 1]);
        }
        repeats += usize::from(!pairs.insert((log.users[row], log.items[row])));
    }
    assert!(repeats * 10 < log.len(), "{repeats} of {}", log.len());
    assert!(times.iter().all(|&time| time >= START));
}

#[test]
fn popularity_has_a_long_tail() {
    let log = small();
    let mut counts = vec![0usize; log.n_items()];
    log.items.iter().for_each(|&item| counts[item as usize] += 1);
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let top: usize = counts[..counts.len() / 10].iter().sum();
    let share = top as f64 / log.len() as f64;
    assert!((0.25..0.7).contains(&share), "the top tenth has {share}");
}

/// The order carries information that the set of items does not: far more pairs are frequent in succession
/// than seven rows apart, where interests are still much the same.
#[test]
fn successors_can_be_learnt() {
    let log = small();
    let frequent = |apart: usize| {
        let mut pairs = HashMap::new();
        for row in apart..log.len() {
            if log.users[row] == log.users[row - apart] {
                *pairs.entry((log.items[row - apart], log.items[row])).or_insert(0) += 1;
            }
        }
        pairs.values().filter(|&&n| n >= 10).count()
    };
    let (next, later) = (frequent(1), frequent(7));
    assert!(next > 100 && next > 3 * later, "{next} pairs in succession, {later} further apart");
}

#[test]
fn alias_draws_by_weight() {
    let alias = Alias::new(&[4.0, 1.0, 3.0, 2.0]);
    let mut rng = Rng::new(3);
    let mut counts = [0i64; 4];
    for _ in 0..100_000 {
        counts[alias.draw(&mut rng) as usize] += 1;
    }
    for (count, expected) in counts.into_iter().zip([40_000, 10_000, 30_000, 20_000]) {
        assert!((count - expected).abs() < 800, "{counts:?}");
    }
}

#[test]
fn bounds_are_named() {
    let error = |options: SimulateOptions| World::new(&options).unwrap_err().to_string();
    let default = SimulateOptions::default;
    assert!(
        error(SimulateOptions { interactions: 999, ..default() })
            .starts_with("simulate.interactions")
    );
    assert!(error(SimulateOptions { users: Some(0), ..default() }).starts_with("simulate.users"));
    assert!(
        error(SimulateOptions { users: Some(100_001), ..default() }).starts_with("simulate.users")
    );
    assert!(error(SimulateOptions { items: Some(3), ..default() }).starts_with("simulate.items"));
}
