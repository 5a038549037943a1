//! What requests may cost: no request within the limits makes the server do, read or send more than ten times its share (the cost model of
//! `docs/serving.md`). Work is counted, not timed.

use crate::Result;
use crate::store::worked_example::MemoryStore;
use crate::store::{Event, EventStore, StoredEvent, UserState};
use crate::testing::{
    Gate, Kind, N_ITEMS, Site, administered_over, artefact, block_on, gated, patient, site,
    snapshot,
};
use crate::{Limits, Request, Snapshot};
use rankstill_core::kernel::rng::Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A store that counts what is read.
#[derive(Default)]
struct Counting {
    events: MemoryStore,
    calls: AtomicUsize,
    users: AtomicUsize,
    read: AtomicUsize,
}

impl EventStore for Counting {
    fn is_remote(&self) -> bool {
        false
    }
    fn append(&self, events: &[Event]) -> Result<Vec<bool>> {
        self.events.append(events)
    }
    fn check(&self) -> Result<()> {
        self.events.check()
    }
    fn user_states(&self, users: &[&str], newest: usize, until: Instant) -> Result<Vec<UserState>> {
        let states = self.events.user_states(users, newest, until)?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.users.fetch_add(users.len(), Ordering::Relaxed);
        self.read.fetch_add(states.iter().map(|state| state.items.len()).sum(), Ordering::Relaxed);
        Ok(states)
    }
    fn forget(&self, user: &str) -> Result<u64> {
        self.events.forget(user)
    }
    fn read(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>> {
        self.events.read(after, limit)
    }
    fn forgotten(&self) -> Result<Vec<String>> {
        self.events.forgotten()
    }
    fn n_events(&self) -> Result<u64> {
        self.events.n_events()
    }
}

impl Counting {
    /// Calls, users looked up, and events read, since the last time.
    fn taken(&self) -> [usize; 3] {
        [&self.calls, &self.users, &self.read].map(|count| count.swap(0, Ordering::Relaxed))
    }
}

/// A site whose user `heavy` has this many events.
fn with_events(n: i64, model: Snapshot, limits: Limits) -> (Arc<Counting>, Site) {
    let store = Arc::new(Counting::default());
    let event = |at: i64| Event {
        user: crate::Id("heavy".into()),
        item: crate::Id(format!("i{}", at % N_ITEMS as i64)),
        time: Some(at),
        weight: None,
        key: None,
    };
    store.append(&(0..n).map(event).collect::<Vec<_>>()).unwrap();
    (Arc::clone(&store), administered_over(store, vec![model], limits))
}

#[test]
fn a_long_stored_history_is_read_once_for_a_batch_and_not_to_its_end() {
    let (store, site) =
        with_events(2000, snapshot(Kind::Factors), Limits { stored: 300, ..patient() });
    block_on(async {
        let requests = vec![json!({"user": "heavy", "k": 3, "with_seen": true}); 256];
        let (status, found) =
            site.post("/v1/recommendations:batch", json!({ "requests": requests })).await;
        assert_eq!((status.as_u16(), found["answers"].as_array().unwrap().len()), (200, 256));
        assert_eq!(found["answers"][255]["basis"], "history");
        assert_eq!(store.taken(), [1, 1, 300], "one call, one user, the newest 300 events");
        let (_, alone) = site.get("/v1/users/heavy/recommendations?k=3&with_seen=true").await;
        assert_eq!(alone, found["answers"][0]);
        let [calls, _, read] = store.taken();
        assert!(calls <= 2 && read <= 300 + 65, "{calls} calls, {read} events");
    });
}

#[test]
fn fallbacks_of_a_batch_read_nothing_again() {
    let gate = Gate::open();
    let slow =
        Snapshot::new("slow", artefact(N_ITEMS), gated(&gate), Default::default(), None).unwrap();
    let limits = Limits { stored: 300, deadline: Duration::from_millis(500), ..patient() };
    let (store, site) = with_events(2000, slow, limits);
    gate.set(false);
    block_on(async {
        let requests = vec![json!({"user": "heavy", "with_seen": true}); 40];
        let (_, found) =
            site.post("/v1/recommendations:batch", json!({ "requests": requests })).await;
        let degraded = |answer: &Value| answer["degraded"] == "popular";
        assert!(found["answers"].as_array().unwrap().iter().all(degraded), "{found}");
        assert_eq!(store.taken(), [1, 1, 300]);
    });
    gate.set(true);
}

#[test]
fn a_batch_asks_for_a_bounded_number_of_items() {
    let site = site(vec![snapshot(Kind::Factors)], Limits { lines: 100, ..patient() });
    block_on(async {
        let ask = async |n: usize, k: usize, explain: usize| {
            let one = json!({"history": ["i1", "i2", "i3"], "k": k, "explain": explain});
            site.post("/v1/recommendations:batch", json!({"requests": vec![one; n]})).await
        };
        assert_eq!(ask(10, 10, 0).await.0, 200);
        assert_eq!(ask(10, 5, 1).await.0, 200);
        for (n, k, explain) in [(11, 10, 0), (10, 10, 1), (2, usize::MAX, 10)] {
            let (status, problem) = ask(n, k, explain).await;
            assert_eq!(
                (status.as_u16(), &problem["errors"][0]["field"]),
                (422, &json!("#/requests"))
            );
            assert!(
                problem["detail"].as_str().unwrap().contains("at most 100 items and reasons"),
                "{problem}"
            );
        }
    });
}

#[test]
fn an_answer_has_a_bounded_number_of_bytes() {
    let site = site(vec![snapshot(Kind::Factors)], Limits { answer: 2000, ..patient() });
    block_on(async {
        assert_eq!(site.get("/v1/users/u1/recommendations?k=5").await.0, 200);
        for path in ["/v1/users/u1/recommendations?k=40", "/v1/items/i1/similar?k=40"] {
            let (status, problem) = site.get(path).await;
            assert_eq!(status, 422, "{path}");
            assert!(
                problem["detail"].as_str().unwrap().contains("more than 2000 bytes"),
                "{problem}"
            );
        }
        let requests = vec![json!({"user": "u1", "k": 5}); 20];
        assert_eq!(
            site.post("/v1/recommendations:batch", json!({ "requests": requests })).await.0,
            422
        );
    });
}

/// Units per request, line, entry of a list and stored event, as the cost model has them.
fn share(requests: &[Request], stored: usize) -> usize {
    let limits = Limits::default();
    let users: BTreeSet<&str> =
        requests.iter().filter_map(|one| Some(one.user.as_ref()?.0.as_str())).collect();
    let heavy = if users.contains("heavy") { stored } else { 0 };
    let of_one = |one: &Request| {
        let lists = one.history.len() + one.deny.len() + one.allow.as_ref().map_or(0, Vec::len);
        1 + limits.lines(one) + lists
    };
    requests.iter().map(of_one).sum::<usize>() + users.len() + heavy
}

/// Bytes that a unit may make.
const BYTES: usize = 64;

#[test]
fn no_request_within_the_limits_costs_more_than_ten_times_its_share() {
    let (store, site) = with_events(20_000, snapshot(Kind::Factors), patient());
    let limits = patient();
    let mut rng = Rng::new(17);
    let (mut dearest, mut asked) = (0.0f64, 0);
    for round in 0..120 {
        // One in three is at the limits of the document, the others anywhere below.
        let mut up_to =
            |most: usize| if round % 3 == 0 { most } else { rng.below(most as u32 + 1) as usize };
        let n = [1, up_to(limits.batch)][round % 2].max(1);
        let k = up_to(limits.k).max(1);
        let explain = up_to(limits.explain);
        let lists = up_to(limits.body / 8 / n / 8).min(limits.history);
        let named =
            |n: usize| (0..n).map(|at| crate::Id(format!("i{}", at % 50))).collect::<Vec<_>>();
        let one = Request {
            user: [Some("heavy"), Some("u1"), None][round % 3].map(|user| crate::Id(user.into())),
            history: named(lists),
            k: Some(k),
            with_seen: round % 4 < 2,
            allow: (round % 5 == 0).then(|| named(lists)),
            deny: if round % 7 == 0 { named(lists) } else { vec![] },
            explain,
            ..Request::default()
        };
        let mut requests = vec![one; n];
        while requests.iter().map(|one| limits.lines(one)).sum::<usize>() > limits.lines {
            requests.pop();
        }
        let body = json!({ "requests": requests });
        store.taken();
        let (status, answer) = block_on(site.post("/v1/recommendations:batch", body));
        assert_eq!(status, 200, "{answer}");
        let answers = answer["answers"].as_array().unwrap();
        assert!(answers.iter().all(|one| one["status"].is_null()), "{answer}");
        let [calls, users, read] = store.taken();
        let share = share(&requests, limits.stored);
        assert!(calls <= 1 && users <= requests.len(), "{calls} calls for {users} users");
        let bytes = answer.to_string().len();
        let lines: usize = answers.iter().map(lines_of).sum();
        for (what, cost) in [("events", read), ("lines", lines), ("bytes", bytes / BYTES)] {
            assert!(cost <= 10 * share, "round {round}: {what} cost {cost}, the share is {share}");
            dearest = dearest.max(cost as f64 / share as f64);
        }
        asked += requests.len();
    }
    println!("{asked} requests; the dearest cost {dearest:.2} times its share");
}

fn lines_of(answer: &Value) -> usize {
    let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    items.iter().map(|item| 1 + item["because"].as_array().map_or(0, Vec::len)).sum()
}
