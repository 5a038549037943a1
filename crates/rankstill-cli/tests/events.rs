//! The events of a server as a user runs it: stored, exported, shared, and never lost when a server is killed.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/server.rs"]
mod server;

use common::{error, ok, rankstill, text};
use rankstill::core::kernel::rng::Rng;
use serde_json::{Value, json};
use server::{Connection, Server, id, list, models};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

#[test]
fn events_close_the_loop_to_the_next_training() {
    let (root, given) = models();
    let store = root.path().join("events.redb");
    let args = [given[0].as_str(), given[3].as_str(), "--events", text(&store)];
    let mut server = Server::start(&args);
    let mut connection = server.connect();
    let (_, before) = connection.get("/v1/users/newcomer/recommendations");
    assert_eq!(before["basis"], "popular");
    let items: Vec<String> = list(&before).into_iter().take(3).map(|(item, _)| item).collect();
    for (at, item) in items.iter().enumerate() {
        let event = json!({ "user": "newcomer", "item": item, "time": 1_700_001_000 - at, "weight": 2.5, "key": at });
        assert_eq!(connection.post("/v1/events", &json!({ "events": [event] })).0, 200);
    }
    for model in ["MF", "Fossil"] {
        let (_, answer) =
            connection.get(&format!("/v1/users/newcomer/recommendations?model={model}"));
        assert_eq!(answer["basis"], "history");
        let body = json!({ "history": items.iter().rev().collect::<Vec<_>>(), "model": model });
        assert_eq!(
            list(&answer),
            list(&connection.post("/v1/recommendations", &body).1),
            "by time"
        );
    }
    assert_eq!(connection.send("DELETE", "/v1/users/7", &Value::Null).unwrap().0, 200);
    let locked = error(&["events", text(&store), "--out", "x.tsv"]);
    assert!(locked.contains("events.redb: is open in another process"), "{locked}");
    assert!(locked.contains("stop that process, or read a copy"), "{locked}");
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());

    let (log, gone) = (root.path().join("log.tsv"), root.path().join("gone.txt"));
    let args = ["events", text(&store), "--out", text(&log), "--forgotten", text(&gone), "--json"];
    let printed: Value = serde_json::from_str(&ok(&mut rankstill(&args))).unwrap();
    assert_eq!(printed, json!({ "events": 3, "last": 3 }));
    assert_eq!(fs::read_to_string(&gone).unwrap(), "7\n");
    let lines: Vec<String> = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "user_id\titem_id\ttimestamp\tweight");
    assert_eq!(lines[1], format!("newcomer\t{}\t1700001000\t2.5", items[0]));
    let data = root.path().join("data");
    ok(&mut rankstill(&["prepare", text(&log), "--quiet", "--out", text(&data)]));
    let again = ["events", text(&store), "--after", "3", "--out", text(&log), "--json", "--quiet"];
    assert!(ok(&mut rankstill(&again)).contains("\"events\":0"));
}

/// How often the server is killed: RANKSTILL_KILLS, or 4 times.
fn kills() -> u64 {
    std::env::var("RANKSTILL_KILLS").map_or(4, |n| n.parse().unwrap())
}

#[test]
fn an_acknowledged_event_survives_any_kill() {
    let (root, given) = models();
    let store = root.path().join("events.redb");
    let args = [given[1].as_str(), "--events", text(&store)];
    let acknowledged = Mutex::new(BTreeSet::new());
    let rng = Mutex::new(Rng::new(11));
    for round in 0..kills() {
        let mut server = Server::start(&args); // the store always opens
        let patience = Duration::from_millis(5 + u64::from(rng.lock().unwrap().below(250)));
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (address, acknowledged) = (server.address.clone(), &acknowledged);
                scope.spawn(move || {
                    let Ok(mut connection) = Connection::open(&address) else { return };
                    for number in 0.. {
                        let events: Vec<Value> = (0..1 + number % 3)
                            .map(|at| json!({ "user": format!("u{client}"), "item": at, "key": format!("{round}-{number}-{at}") }))
                            .collect();
                        let Ok((status, _)) = connection.send("POST", "/v1/events", &json!({ "events": events })) else {
                            return; // the server was killed before it acknowledged this one
                        };
                        assert_eq!(status, 200);
                        let keys = events.iter().map(|event| (id(&event["user"]), id(&event["key"])));
                        acknowledged.lock().unwrap().extend(keys);
                    }
                });
            }
            let began = Instant::now();
            while began.elapsed() < patience {
                std::thread::sleep(Duration::from_millis(1));
            }
            server.child.kill().unwrap(); // SIGKILL
            server.child.wait().unwrap();
        });
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > 10, "only {} events were acknowledged", acknowledged.len());
    // Every acknowledged event is known: sending it again adds nothing.
    let mut server = Server::start(&args);
    let mut connection = server.connect();
    for block in acknowledged.iter().collect::<Vec<_>>().chunks(500) {
        let events: Vec<Value> = block
            .iter()
            .map(|(user, key)| json!({ "user": user, "item": 0, "key": key }))
            .collect();
        let (status, kept) = connection.post("/v1/events", &json!({ "events": events }));
        assert_eq!((status, kept), (200, json!({ "kept": 0, "repeated": block.len() })));
    }
    server.signal("-INT");
    assert!(server.child.wait().unwrap().success());
    let log = root.path().join("log.jsonl");
    ok(&mut rankstill(&["events", text(&store), "--out", text(&log), "--quiet"]));
    let kept = fs::read_to_string(&log).unwrap().lines().count();
    assert!(kept >= acknowledged.len(), "{kept} events, {} acknowledged", acknowledged.len());
    println!("{} kills, {} events acknowledged, {kept} kept", kills(), acknowledged.len());
}

/// Starts a PostgreSQL for this test, if one is installed; it stops when its standard input is closed.
#[cfg(feature = "postgres")]
fn database() -> Option<(std::process::Child, String)> {
    use std::process::{Command, Stdio};
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres.sh");
    let mut command = Command::new("sh");
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = command.spawn().unwrap();
    let mut url = String::new();
    let mut answers = std::io::BufReader::new(script.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut answers, &mut url).unwrap();
    if url.is_empty() {
        assert_eq!(script.wait().unwrap().code(), Some(3));
        println!("skipped: PostgreSQL is not installed");
        return None;
    }
    Some((script, url.trim().to_owned()))
}

#[cfg(feature = "postgres")]
#[test]
fn servers_share_a_database_and_lose_nothing_when_one_is_killed() {
    let Some((mut script, url)) = database() else { return };
    let (root, given) = models();
    let start = || Server::start(&[&given[0], "--events", &url, "--deadline", "20000"]);
    let (mut one, other) = (start(), start());
    let (_, before) = other.connect().get("/v1/users/7/recommendations");
    let first = list(&before)[0].0.clone();
    let event =
        json!({ "events": [{ "user": "7", "item": first, "time": 1_700_000_001, "key": "k" }] });
    assert_eq!(one.connect().post("/v1/events", &event).0, 200);
    let (_, after) = other.connect().get("/v1/users/7/recommendations");
    assert!(
        list(&after).iter().all(|(item, _)| *item != first),
        "missing in the next answer of the other server"
    );

    let acknowledged = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (one, other) = (one.address.clone(), other.address.clone());
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                let mut address = &one;
                let mut connection = Connection::open(address).unwrap();
                for number in 0..100 {
                    let key = format!("{client} {number}");
                    let event = json!({ "events": [{ "user": "u", "item": 0, "key": key }] });
                    match connection.send("POST", "/v1/events", &event) {
                        Ok((status, reply)) => assert_eq!(status, 200, "{reply}"),
                        Err(_) => {
                            // The server was killed before it acknowledged this one, so it goes to the other.
                            assert_eq!(address, &one);
                            address = &other;
                            connection = Connection::open(address).unwrap();
                            assert_eq!(connection.post("/v1/events", &event).0, 200);
                        }
                    }
                    acknowledged.lock().unwrap().insert(key);
                }
            });
        }
        while acknowledged.lock().unwrap().len() < 40 {
            std::thread::sleep(Duration::from_millis(1));
        }
        one.child.kill().unwrap(); // SIGKILL
    });
    let log = root.path().join("log.tsv");
    let printed = ok(&mut rankstill(&["events", &url, "--out", text(&log), "--json", "--quiet"]));
    // An event that was sent again for lack of an acknowledgement is stored once.
    assert_eq!(
        serde_json::from_str::<Value>(&printed).unwrap(),
        json!({ "events": 401, "last": 401 })
    );
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 402);
    drop(other);
    drop(script.stdin.take());
    script.wait().unwrap();
}
