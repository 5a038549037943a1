#![allow(clippy::unwrap_used)]
use super::*;
use crate::split::Part;
use proptest::prelude::*;

/// `(user, item, time, rating)` of each row.
fn rows(of: &[(u32, u32, i64, f32)]) -> DenseLog {
    DenseLog {
        n_users: of.iter().map(|row| row.0 as usize + 1).max().unwrap_or(0),
        n_items: of.iter().map(|row| row.1 as usize + 1).max().unwrap_or(0),
        users: of.iter().map(|row| row.0).collect(),
        columns: LogColumns {
            items: of.iter().map(|row| row.1).collect(),
            times: Some(of.iter().map(|row| row.2).collect()),
            weights: Some(of.iter().map(|row| row.3).collect()),
            ..LogColumns::default()
        },
    }
}

/// What is left as `(user, item, time)` in old ids.
fn left(kept: &FilteredLog) -> Vec<(u32, u32, i64)> {
    let lines = &kept.lines;
    let mut out = Vec::new();
    for user in 0..lines.n_users() {
        for row in lines.range(user) {
            let item = kept.items[lines.items[row] as usize];
            out.push((kept.users[user], item, lines.times.as_ref().unwrap()[row]));
        }
    }
    out
}

#[test]
fn first_and_last_are_by_time_and_then_by_place() {
    let log = [(0, 7, 50, 1.0), (0, 7, 20, 2.0), (0, 7, 20, 3.0), (0, 7, 50, 4.0), (0, 3, 30, 1.0)];
    let kept = |duplicates| Filter { duplicates, ..Filter::default() }.apply(rows(&log)).unwrap();
    let first = kept(Duplicates::First);
    assert_eq!(left(&first), [(0, 7, 20), (0, 3, 30)]);
    assert_eq!(first.lines.weights, Some(vec![2.0, 1.0]));
    let last = kept(Duplicates::Last);
    assert_eq!(left(&last), [(0, 3, 30), (0, 7, 50)]);
    assert_eq!(last.lines.weights, Some(vec![1.0, 4.0]));
    assert_eq!(kept(Duplicates::All).lines.len(), 5);
    assert_eq!(first.report.steps[1].removed, LogSize { rows: 3, users: 0, items: 0 });
}

#[test]
fn duplicates_across_ready_made_parts_stay_for_the_audit() {
    let mut log = rows(&[(0, 1, 1, 1.0), (0, 1, 2, 1.0), (0, 1, 3, 1.0)]);
    log.columns.parts = Some(vec![Part::Train, Part::Train, Part::Test]);
    let kept = Filter::default().apply(log).unwrap();
    assert_eq!(left(&kept), [(0, 1, 1), (0, 1, 3)]);
    assert_eq!(kept.lines.parts, Some(vec![Part::Train, Part::Test]));
}

#[test]
fn window_and_rating_go_before_duplicates() {
    let log = [(0, 1, 10, 5.0), (0, 1, 20, 2.0), (1, 1, 30, 4.0), (1, 2, 40, 5.0)];
    let filter = Filter {
        from: Some(Instant::from_seconds(15)),
        to: Some(Instant::from_seconds(40)),
        min_rating: Some(4.0),
        ..Filter::default()
    };
    let kept = filter.apply(rows(&log)).unwrap();
    assert_eq!(left(&kept), [(1, 1, 30)]);
    let names: Vec<&str> = kept.report.steps.iter().map(|step| step.filter.as_str()).collect();
    assert_eq!(
        names,
        [
            "as read",
            "from 1970-01-01 00:00:15 UTC, to 1970-01-01 00:00:40 UTC",
            "min_rating 4",
            "duplicates first"
        ]
    );
    assert_eq!(kept.report.steps[1].removed, LogSize { rows: 2, users: 0, items: 1 });
    assert_eq!(kept.report.steps[2].removed, LogSize { rows: 1, users: 1, items: 0 });
}

#[test]
fn minimum_counts_run_once_and_cores_until_all_hold() {
    // Item 2 has two rows; without user 1 (one row) it has one, and then user 2 has one.
    let log = [
        (0, 0, 1, 1.0),
        (0, 1, 2, 1.0),
        (1, 2, 3, 1.0),
        (2, 2, 4, 1.0),
        (2, 0, 5, 1.0),
        (3, 0, 6, 1.0),
        (3, 1, 7, 1.0),
    ];
    let once = Filter { min_user_count: 2, min_item_count: 2, ..Filter::default() };
    assert_eq!(left(&once.apply(rows(&log)).unwrap()).len(), 6);
    let core = Filter { user_core: 2, item_core: 2, ..Filter::default() };
    let kept = core.apply(rows(&log)).unwrap();
    assert_eq!(left(&kept), [(0, 0, 1), (0, 1, 2), (3, 0, 6), (3, 1, 7)]);
    assert_eq!(kept.users, [0, 3]);
    assert_eq!(kept.report.steps[2].removed, LogSize { rows: 3, users: 2, items: 1 });
    assert_eq!(kept.report.steps[2].filter, "user_core 2, item_core 2");
}

#[test]
fn what_the_log_lacks_is_said() {
    let mut log = rows(&[(0, 0, 1, 1.0)]);
    log.columns.times = None;
    log.columns.weights = None;
    let error = |filter: Filter| filter.apply(log.clone()).unwrap_err().to_string();
    assert_eq!(
        error(Filter { from: Some(Instant::from_seconds(1)), ..Filter::default() }),
        "filter.from: the log has no times"
    );
    assert_eq!(
        error(Filter { min_rating: Some(1.0), ..Filter::default() }),
        "filter.min_rating: the log has no ratings"
    );
    assert_eq!(
        error(Filter { user_core: 2, ..Filter::default() }),
        "filter: `user_core 2` removed all 1 interactions"
    );
    assert!(serde_json::from_str::<Filter>(r#"{"usercore": 5}"#).is_err());
}

/// Removes one offending user or item at a time, from sets, until none offends.
fn naive_core(log: &[(u32, u32)], user_core: usize, item_core: usize) -> Vec<(u32, u32)> {
    let mut log = log.to_vec();
    loop {
        let users = |user| log.iter().filter(|row| row.0 == user).count();
        let items = |item| log.iter().filter(|row| row.1 == item).count();
        let bad = log.iter().find(|row| users(row.0) < user_core || items(row.1) < item_core);
        let Some(&(user, item)) = bad else { return log };
        if users(user) < user_core {
            log.retain(|row| row.0 != user);
        } else {
            log.retain(|row| row.1 != item);
        }
    }
}

proptest! {
    #[test]
    fn k_core_equals_the_naive_one(
        log in prop::collection::btree_set((0u32..12, 0u32..12), 1..70),
        user_core in 0u32..5,
        item_core in 0u32..5,
    ) {
        let log: Vec<(u32, u32)> = log.into_iter().collect();
        let table: Vec<_> = log.iter().map(|&(u, i)| (u, i, 0, 1.0)).collect();
        let expected = naive_core(&log, user_core as usize, item_core as usize);
        let filter = Filter { user_core, item_core, ..Filter::default() };
        match filter.apply(rows(&table)) {
            Ok(kept) => {
                let found: Vec<_> = left(&kept).iter().map(|row| (row.0, row.1)).collect();
                prop_assert_eq!(found, expected);
            }
            Err(_) => prop_assert!(expected.is_empty()),
        }
    }

    #[test]
    fn removed_and_left_add_up(
        log in prop::collection::vec((0u32..8, 0u32..8, 0i64..20, 1u8..6), 1..60),
        core in 0u32..3,
    ) {
        let table: Vec<_> = log.iter().map(|&(u, i, t, r)| (u, i, t, f32::from(r))).collect();
        let filter = Filter { from: Some(Instant::from_seconds(2)), min_rating: Some(2.0), min_user_count: 2, user_core: core, ..Filter::default() };
        if let Ok(kept) = filter.apply(rows(&table)) {
            for pair in kept.report.steps.windows(2) {
                prop_assert_eq!(pair[0].left.rows, pair[1].left.rows + pair[1].removed.rows);
                prop_assert_eq!(pair[0].left.users, pair[1].left.users + pair[1].removed.users);
                prop_assert_eq!(pair[0].left.items, pair[1].left.items + pair[1].removed.items);
            }
            let last = kept.report.steps.last().unwrap().left;
            prop_assert_eq!(last, LogSize {
                rows: kept.lines.len(), users: kept.users.len(), items: kept.items.len(),
            });
            let mut pairs: Vec<_> = left(&kept).iter().map(|row| (row.0, row.1)).collect();
            pairs.sort_unstable();
            let n = pairs.len();
            pairs.dedup();
            prop_assert_eq!(pairs.len(), n, "no duplicate is left");
        }
    }
}
