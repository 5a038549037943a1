#![allow(clippy::unwrap_used)]
use super::*;
use crate::profile::Profile;
use std::collections::HashMap;

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
fn times_rise_and_nothing_is_repeated_unasked() {
    let log = small();
    let times = log.times.as_ref().unwrap();
    for row in 1..log.len() {
        assert!(log.users[row] != log.users[row - 1] || times[row] >= times[row - 1]);
    }
    assert!(times.iter().all(|&time| time >= START));
    assert!(Profile::of(&log).repeats < 0.001);
}

#[test]
fn repeats_are_as_many_as_asked() {
    let options = SimulateOptions { interactions: 60_000, repeats: 0.3, ..Default::default() };
    // The first row of a user cannot repeat one; a user has 34 on average.
    let found = Profile::of(&simulate(&options).unwrap()).repeats;
    assert!((0.28..0.31).contains(&found), "{found}");
}

#[test]
fn spreads_and_least_values_are_those_asked() {
    let options = SimulateOptions { interactions: 60_000, ..SimulateOptions::default() };
    let of = |options| Profile::of(&simulate(&options).unwrap());
    let (even, usual) = (
        of(SimulateOptions { activity: 0.0, popularity: 0.0, ..options.clone() }),
        of(options.clone()),
    );
    assert!(even.most - even.median <= 1 && usual.most > 4 * usual.median);
    assert!(even.gini < 0.2 && usual.gini > 0.4, "{} {}", even.gini, usual.gini);
    let all_alike = of(SimulateOptions { rarest: 1.0, ..options });
    assert!(all_alike.gini < 0.2, "{}", all_alike.gini);
}

/// The defaults, in the size of MovieLens 100K, whose profile this is: `cargo run -p rankstill --features data --example log_profile`.
#[test]
fn a_log_like_movielens_100k() {
    let options =
        SimulateOptions { users: Some(943), items: Some(1682), ..SimulateOptions::default() };
    let found = Profile::of(&simulate(&options).unwrap());
    let near = |name: &str, found: f64, real: f64, by: f64| {
        assert!((found - real).abs() < by * real, "{name}: {found}, not {real}");
    };
    near("density", found.density, 0.063, 0.1);
    near("gini", found.gini, 0.63, 0.1);
    near("top_10", found.top_10, 0.43, 0.15);
    near("median", found.median as f64, 65.0, 0.15);
    near("p90", found.p90 as f64, 244.0, 0.2);
    near("popularity", found.next.popularity, 0.086, 0.3);
    near("order", found.next.order().unwrap(), 2.5, 0.3);
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
    let found = error(SimulateOptions { repeats: 1.5, ..default() });
    assert_eq!(found, "simulate.repeats: must be from 0 to 1, found 1.5");
    let found = error(SimulateOptions { activity: f64::NAN, ..default() });
    assert_eq!(found, "simulate.activity: must be from 0 to 3, found NaN");
    let found = error(SimulateOptions { order: 0.6, taste: 0.5, ..default() });
    assert_eq!(found, "simulate.order: and simulate.taste must be at most 1 together, found 1.1");
}
