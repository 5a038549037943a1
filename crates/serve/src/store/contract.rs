//! The contract of [`EventStore`], tested for every store.
#![allow(clippy::unwrap_used)]

use super::{Event, EventStore, UserState};
use crate::Result;
use crate::wire::Id;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A place for a store, empty at first.
pub(super) trait Fixture {
    /// Opens the store. What was stored before is there.
    fn open(&self) -> Arc<dyn EventStore>;

    /// The store, and further instances on the same data if that is allowed.
    fn instances(&self, store: &Arc<dyn EventStore>) -> Vec<Arc<dyn EventStore>>;
}

pub(super) fn event(user: &str, item: &str, time: i64, key: Option<&str>) -> Event {
    let id = |text: &str| Id(text.to_owned());
    Event { user: id(user), item: id(item), time: Some(time), weight: None, key: key.map(id) }
}

/// A time that no test comes to.
pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

pub(super) fn items(store: &dyn EventStore, user: &str) -> Vec<String> {
    state(store, user).unwrap().items
}

pub(super) fn state(store: &dyn EventStore, user: &str) -> Result<UserState> {
    store.user_state(user, usize::MAX, soon())
}

pub(super) fn numbers(store: &dyn EventStore) -> Vec<u64> {
    store.read(0, usize::MAX).unwrap().iter().map(|stored| stored.number).collect()
}

/// A test of each clause, on the fixture that `$fixture` makes. The tests are skipped if it is `None`.
macro_rules! contract_tests {
    ($fixture:expr; $($clause:ident)*) => {$(
        #[test]
        fn $clause() {
            if let Some(fixture) = $fixture {
                super::super::contract::$clause(&fixture);
            }
        }
    )*};
    ($fixture:expr) => {
        super::super::contract::contract_tests! { $fixture;
            events_are_still_there_after_reopening
            events_round_trip
            users_are_looked_up_together
            no_more_than_the_newest_events_are_read
            a_store_that_works_says_so
            a_key_counts_once_for_its_user
            only_a_mark_remains_of_a_forgotten_user
            empty_calls_do_nothing
            a_reader_that_follows_numbers_misses_no_event
        }
    };
}
pub(super) use contract_tests;

pub(super) fn events_are_still_there_after_reopening(fixture: &impl Fixture) {
    let store = fixture.open();
    let batch = [event("a", "x", 5, None), event("b", "y", 1, None), event("a", "z", 2, None)];
    assert_eq!(store.append(&batch).unwrap(), [true, true, true]);
    drop(store);
    let store = fixture.open();
    assert_eq!(items(&*store, "a"), ["z", "x"], "by time");
    assert_eq!(items(&*store, "ab"), [""; 0]);
    assert_eq!(numbers(&*store), [1, 2, 3]);
    let all = store.read(0, 10).unwrap();
    assert_eq!(all[1].event, event("b", "y", 1, None));
    assert_eq!(store.read(1, 1).unwrap(), all[1..2]);
    assert_eq!(store.read(3, 1).unwrap(), []);
    assert_eq!(store.n_events().unwrap(), 3);
    assert_eq!(store.append(&[event("a", "w", 5, None)]).unwrap(), [true]);
    assert_eq!(items(&*store, "a"), ["z", "x", "w"], "in the order of arrival for equal times");
}

pub(super) fn events_round_trip(fixture: &impl Fixture) {
    let store = fixture.open();
    let odd = |text: &str| Id(text.to_owned());
    let batch = [
        Event {
            user: odd("O'Brien \"\\ é 日本 🦀"),
            item: odd("{a,b}"),
            time: Some(i64::MIN),
            weight: Some(0.1),
            key: Some(odd("NULL")),
        },
        Event {
            weight: Some(f32::MIN_POSITIVE),
            ..event("", "\u{10ffff}\u{1}", i64::MAX, Some(""))
        },
        Event {
            key: Some(Id("k".repeat(Id::LONGEST))),
            ..event(&"u".repeat(Id::LONGEST), "", 0, None)
        },
    ];
    store.append(&batch).unwrap();
    let back: Vec<Event> = store.read(0, 9).unwrap().into_iter().map(|one| one.event).collect();
    assert_eq!(back, batch);
    for one in &batch {
        assert_eq!(items(&*store, &one.user.0), [one.item.0.as_str()]);
    }
    assert_eq!(items(&*store, "nobody\0"), [""; 0]);
}

pub(super) fn users_are_looked_up_together(fixture: &impl Fixture) {
    let store = fixture.open();
    let batch = [event("a", "x", 1, None), event("b", "y", 1, None), event("a", "z", 2, None)];
    store.append(&batch).unwrap();
    store.forget("c").unwrap();
    let state = |items: &[&str], forgotten| UserState {
        items: items.iter().map(|&item| item.to_owned()).collect(),
        forgotten,
    };
    assert_eq!(
        store.user_states(&["b", "nobody", "a", "c", "b"], usize::MAX, soon()).unwrap(),
        [
            state(&["y"], false),
            state(&[], false),
            state(&["x", "z"], false),
            state(&[], true),
            state(&["y"], false)
        ]
    );
    assert_eq!(store.user_states(&[], usize::MAX, soon()).unwrap(), []);
}

pub(super) fn no_more_than_the_newest_events_are_read(fixture: &impl Fixture) {
    let store = fixture.open();
    let events: Vec<Event> = (0..20).map(|at| event("a", &format!("i{at}"), at, None)).collect();
    store.append(&events).unwrap();
    store.append(&[event("b", "x", 1, None)]).unwrap();
    let found = store.user_states(&["a", "b"], 3, soon()).unwrap();
    assert_eq!(
        (&found[0].items[..], &found[1].items[..]),
        (&["i17", "i18", "i19"].map(String::from)[..], &["x".to_owned()][..])
    );
    assert_eq!(store.user_state("a", 0, soon()).unwrap().items, [""; 0]);
}

pub(super) fn a_store_that_works_says_so(fixture: &impl Fixture) {
    let store = fixture.open();
    store.check().unwrap();
    store.append(&[event("a", "x", 1, None)]).unwrap();
    store.check().unwrap();
    assert_eq!(numbers(&*store), [1], "a check stores nothing");
}

pub(super) fn a_key_counts_once_for_its_user(fixture: &impl Fixture) {
    let store = fixture.open();
    let first = event("a", "x", 1, Some("k"));
    let other = event("b", "x", 1, Some("k"));
    let batch = [first.clone(), event("c", "x", 1, None), first.clone(), other.clone()];
    assert_eq!(store.append(&batch).unwrap(), [true, true, false, true]);
    let again = [first, event("a", "y", 1, None), other, event("a", "z", 1, Some("l"))];
    assert_eq!(store.append(&again).unwrap(), [false, true, false, true]);
    assert_eq!(items(&*store, "a"), ["x", "y", "z"]);
    assert_eq!(store.n_events().unwrap(), 5);
    assert_eq!(numbers(&*store), [1, 2, 3, 4, 5], "a repeated event takes no number");
}

pub(super) fn only_a_mark_remains_of_a_forgotten_user(fixture: &impl Fixture) {
    let store = fixture.open();
    let of_a = event("a", "x", 1, Some("k"));
    let batch = [of_a.clone(), event("ab", "y", 1, Some("k")), event("a", "z", 1, None)];
    store.append(&batch).unwrap();
    assert_eq!(store.forget("a").unwrap(), 2);
    drop(store);
    let store = fixture.open();
    assert_eq!(
        store.user_state("a", usize::MAX, soon()).unwrap(),
        UserState { items: vec![], forgotten: true }
    );
    assert_eq!(items(&*store, "ab"), ["y"], "another user");
    assert_eq!(store.forgotten().unwrap(), ["a"]);
    assert_eq!(store.append(&[of_a, event("ab", "y", 1, Some("k"))]).unwrap(), [true, false]);
    assert_eq!(numbers(&*store), [2, 4], "numbers are not reused");
    assert_eq!(items(&*store, "a"), ["x"], "later events count");
    assert_eq!(store.forget("a").unwrap(), 1, "a second time");
    for user in ["nobody", "Z", "é"] {
        assert_eq!(store.forget(user).unwrap(), 0);
    }
    assert_eq!(store.forgotten().unwrap(), ["Z", "a", "nobody", "é"]);
}

pub(super) fn empty_calls_do_nothing(fixture: &impl Fixture) {
    let store = fixture.open();
    assert_eq!(store.append(&[]).unwrap(), [true; 0]);
    assert_eq!(store.n_events().unwrap(), 0);
    assert_eq!(store.read(0, 10).unwrap(), []);
    assert_eq!(store.read(u64::MAX, 10).unwrap(), []);
    assert_eq!(store.forgotten().unwrap(), [""; 0]);
    assert_eq!(store.user_state("a", usize::MAX, soon()).unwrap(), UserState::default());
}

/// Concurrent writers, half of them through a second instance if that is allowed.
pub(super) fn a_reader_that_follows_numbers_misses_no_event(fixture: &impl Fixture) {
    const WRITERS: usize = 4;
    const BATCHES: usize = 30;
    let store = fixture.open();
    let stores = fixture.instances(&store);
    let (mut followed, mut after) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = &stores[writer % stores.len()];
                scope.spawn(move || {
                    for batch in 0..BATCHES {
                        let keyed = |at| {
                            event(&format!("u{writer}"), "x", 0, Some(&format!("{batch}-{at}")))
                        };
                        // All writers send this one; only the first counts.
                        let shared = event("all", "x", 0, Some(&batch.to_string()));
                        let events: Vec<Event> =
                            (0..batch % 3).map(keyed).chain([shared]).collect();
                        store.append(&events).unwrap();
                    }
                })
            })
            .collect();
        loop {
            let ended = writers.iter().all(|writer| writer.is_finished());
            let news = store.read(after, 7).unwrap();
            after = news.last().map_or(after, |last| last.number);
            if ended && news.is_empty() {
                break;
            }
            followed.extend(news.into_iter().map(|one| one.number));
        }
    });
    let expected = WRITERS * (BATCHES / 3) * 3 + BATCHES; // 0, 1 or 2 events per batch, and each shared event once
    assert_eq!(followed, (1..=expected as u64).collect::<Vec<_>>());
    assert_eq!(numbers(&*store), followed);
    assert_eq!(items(&*store, "all").len(), BATCHES);
}
