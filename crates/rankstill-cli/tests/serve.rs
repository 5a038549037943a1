//! The server as a user runs it: a process, its artefacts, its event store, and what happens when it is killed.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/http.rs"]
mod http;

use common::{error, in_folder, ok, rankstill, text};
use http::{Connection, Server};
use rankstill::core::kernel::rng::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A small log; what is fitted on it comes behind.
const LOG: &str = r#"
[data]
simulate = { interactions = 4_000, seed = 3 }
filter = { user_core = 5 }
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0.0
"#;
const FITTED: &str = r#"
[models.POP]
kind = "pop"
[models.ItemCF]
kind = "item_cf"
[models.MF]
kind = "bpr_mf"
dim = 8
train = { epochs = 3 }
[models.Fossil]
kind = "fossil"
dim = 6
order = 3
train = { epochs = 2 }
[models.Caser]
kind = "caser"
dim = 8
length = 3
horizontal_filters = 4
train = { epochs = 2 }
"#;
const MODELS: [&str; 5] = ["MF", "POP", "ItemCF", "Fossil", "Caser"];

/// The models of [`FITTED`], as `NAME=FOLDER`.
fn models() -> (tempfile::TempDir, Vec<String>) {
    let (root, file) = in_folder(&format!("{LOG}{FITTED}"));
    let out = root.path().join("run");
    ok(&mut rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]));
    let folder = |name: &&str| format!("{name}={}", artefact(&out, name).display());
    (root, MODELS.iter().map(folder).collect())
}

fn artefact(run: &Path, name: &str) -> PathBuf {
    run.join("models").join(name).join("seed-1/artefact")
}

/// What `recommend` says, by user.
fn recommended(artefact: &Path, k: usize) -> BTreeMap<String, Vec<(String, f32)>> {
    let lists = artefact.with_file_name("lists.jsonl");
    let k = k.to_string();
    ok(&mut rankstill(&[
        "recommend",
        text(artefact),
        "--all",
        "--k",
        &k,
        "--quiet",
        "--out",
        text(&lists),
    ]));
    let mut by_user: BTreeMap<String, Vec<(String, f32)>> = BTreeMap::new();
    for line in fs::read_to_string(&lists).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let list = by_user.entry(id(&row["user_id"])).or_default();
        assert_eq!(row["rank"], list.len() + 1);
        list.push((id(&row["item_id"]), row["score"].as_f64().unwrap() as f32));
    }
    by_user
}

fn id(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(answer: &Value) -> Vec<(String, f32)> {
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| (id(&item["item"]), item["score"].as_f64().unwrap() as f32)).collect()
}

/// Every user alone and in batches, bit for bit.
fn assert_online_is_offline(server: &Server, model: &str, artefact: &Path, k: usize) {
    let offline = recommended(artefact, k);
    let mut connection = server.connect();
    for (user, expected) in &offline {
        let (status, answer) =
            connection.get(&format!("/v1/users/{user}/recommendations?k={k}&model={model}"));
        assert_eq!((status, &answer["basis"]), (200, &json!("user")), "{model} {user}: {answer}");
        assert_eq!(&list(&answer), expected, "{model} {user}");
    }
    let users: Vec<&String> = offline.keys().collect();
    for block in users.chunks(100) {
        let requests: Vec<Value> =
            block.iter().map(|user| json!({ "user": user, "k": k, "model": model })).collect();
        let (status, batch) =
            connection.post("/v1/recommendations:batch", &json!({ "requests": requests }));
        assert_eq!(status, 200);
        for (answer, user) in batch["answers"].as_array().unwrap().iter().zip(block) {
            assert_eq!(list(answer), offline[*user], "{model} {user} in a batch");
        }
    }
}

#[test]
fn online_equals_offline_for_every_user() {
    let (root, given) = models();
    let folder = |name: &str| artefact(&root.path().join("run"), name);
    for table in ["f16", "int8"] {
        let server = Server::start(&["--table", table, &given[0]]);
        assert_online_is_offline(&server, MODELS[0], &folder(MODELS[0]), 20);
        let (_, list) = server.connect().get("/v1/models");
        assert_eq!(list["models"][0]["table"], table);
    }
    let args: Vec<&str> = given.iter().map(String::as_str).collect();
    let server = Server::start(&args);
    for name in MODELS {
        assert_online_is_offline(&server, name, &folder(name), 20);
    }
    let (_, list) = server.connect().get("/v1/models");
    let names: Vec<&str> =
        list["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, MODELS);
}

const FACTORED: &str = r#"
[models.MF]
kind = "bpr_mf"
dim = 7
item_bias = true
train = { epochs = 2 }
[models.CML]
kind = "cml"
dim = 16
train = { epochs = 2 }
[models.LightGCN]
kind = "light_gcn"
dim = 9
train = { epochs = 2 }
[models.SimpleX]
kind = "simplex"
dim = 8
train = { epochs = 2 }
"#;

#[test]
fn users_who_stay_on_the_disk_get_the_same_answers() {
    let (root, file) = in_folder(&format!("{LOG}{FACTORED}"));
    let out = root.path().join("run");
    ok(&mut rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]));
    for name in ["MF", "CML", "LightGCN", "SimpleX"] {
        let folder = artefact(&out, name);
        let server = Server::start(&["--map", text(&folder)]);
        assert_online_is_offline(&server, name, &folder, 15);
        let in_memory = Server::start(&[text(&folder)]);
        // Somebody unknown rests on what is known of all users.
        let ids: Vec<String> =
            recommended(&folder, 3).into_values().flatten().map(|x| x.0).collect();
        for stranger in [json!({}), json!({ "history": [ids[0], ids[9], ids[20]] })] {
            let answers = [&server, &in_memory]
                .map(|server| server.connect().post("/v1/recommendations", &stranger));
            assert_eq!(answers[0].0, 200, "{name}: {:?}", answers[0]);
            assert_eq!(list(&answers[0].1), list(&answers[1].1), "{name} {stranger}");
        }
    }
}

#[test]
fn online_equals_offline_on_movielens() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("RANKSTILL_DATA").map_or(shared, PathBuf::from).join("ml-100k");
    let (log, items) = (data.join("ml-100k.inter"), data.join("ml-100k.item"));
    if !log.is_file() {
        println!("skipped: no {}", log.display());
        return;
    }
    let (root, file) = in_folder(&format!(
        "[data]\npath = {log:?}\n[evaluate]\nmetrics = [\"ndcg@10\"]\nlatency_seconds = 0.0\n[models.MF]\nkind = \"bpr_mf\"\ndim = 20\ntrain = {{ epochs = 3 }}\n"
    ));
    let out = root.path().join("run");
    ok(&mut rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]));
    let folder = artefact(&out, "MF");
    let server = Server::start(&[text(&folder), "--items", text(&items)]);
    assert_online_is_offline(&server, "MF", &folder, 50);
    let body = json!({ "history": ["1"], "k": 5, "explain": 1, "filter": { "class": ["Comedy"] } });
    let (status, answer) = server.connect().post("/v1/recommendations", &body);
    assert_eq!(status, 200);
    for item in answer["items"].as_array().unwrap() {
        assert!(item["title"].is_string());
        assert!(item["attributes"]["class"].as_array().unwrap().contains(&json!("Comedy")));
        let because = item["because"].as_array().cloned().unwrap_or_default();
        assert!(because.iter().all(|reason| reason["title"] == "Toy Story"));
    }
}

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
        let event = json!({ "user": "newcomer", "item": item, "time": 1000 - at, "weight": 2.5, "key": at });
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
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());

    let (log, gone) = (root.path().join("log.tsv"), root.path().join("gone.txt"));
    let args = ["events", text(&store), "--out", text(&log), "--forgotten", text(&gone), "--json"];
    let told: Value = serde_json::from_str(&ok(&mut rankstill(&args))).unwrap();
    assert_eq!(told, json!({ "events": 3, "last": 3 }));
    assert_eq!(fs::read_to_string(&gone).unwrap(), "7\n");
    let lines: Vec<String> = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "user_id\titem_id\ttimestamp\tweight");
    assert_eq!(lines[1], format!("newcomer\t{}\t1000\t2.5", items[0]));
    let data = root.path().join("data");
    ok(&mut rankstill(&["prepare", text(&log), "--quiet", "--out", text(&data)]));
    let again = ["events", text(&store), "--after", "3", "--out", text(&log), "--json", "--quiet"];
    assert!(ok(&mut rankstill(&again)).contains("\"events\":0"));
}

/// Moments at which the server is killed: RANKSTILL_KILLS, or a few.
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
                            return; // the server was killed: this one was not acknowledged
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
    // Every one of them is known: sending it again keeps nothing.
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

/// A PostgreSQL of its own, if there is one; it ends when this is dropped.
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
    let event = json!({ "events": [{ "user": "7", "item": first, "time": 1, "key": "k" }] });
    assert_eq!(one.connect().post("/v1/events", &event).0, 200);
    let (_, after) = other.connect().get("/v1/users/7/recommendations");
    assert!(list(&after).iter().all(|(item, _)| *item != first), "in the other's next answer");

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
                        Ok((status, told)) => assert_eq!(status, 200, "{told}"),
                        Err(_) => {
                            // The server was killed: this one was not acknowledged, and goes to the other.
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
    let told = ok(&mut rankstill(&["events", &url, "--out", text(&log), "--json", "--quiet"]));
    // What was sent again because nobody had acknowledged it is not there twice.
    assert_eq!(
        serde_json::from_str::<Value>(&told).unwrap(),
        json!({ "events": 401, "last": 401 })
    );
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 402);
    drop(other);
    drop(script.stdin.take());
    script.wait().unwrap();
}

#[test]
fn an_ending_server_finishes_what_it_took() {
    let (_root, given) = models();
    let mut server = Server::start(&[given[0].as_str()]);
    let (answered, address) = (Mutex::new(0), server.address.clone());
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (address, answered) = (&address, &answered);
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for number in 0.. {
                    let path = format!("/v1/users/{}/recommendations?k=100", client + number % 20);
                    // What was sent is answered; after that the connection may be closed.
                    match connection.send("GET", &path, &Value::Null) {
                        Ok((status, _)) => assert_eq!(status, 200),
                        Err(_) => break,
                    }
                    *answered.lock().unwrap() += 1;
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        server.signal("-TERM");
        assert!(server.child.wait().unwrap().success());
    });
    assert!(*answered.lock().unwrap() > 20);
    assert!(Connection::open(&server.address).is_err(), "nobody listens any more");
}

#[test]
fn hostile_bytes_change_nothing() {
    let (_root, given) = models();
    let mut server = Server::start(&[given[0].as_str()]);
    let mut rng = Rng::new(5);
    for round in 0..200 {
        let mut connection = server.connect();
        let mut bytes = match round % 4 {
            0 => Vec::new(),
            1 => b"GET /v1/users/1/recommendations?k=".to_vec(),
            2 => b"POST /v1/recommendations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n".to_vec(),
            _ => b"POST /v1/recommendations HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        };
        bytes.extend((0..40).map(|_| rng.below(256) as u8));
        bytes.extend(b"\r\n\r\n");
        _ = connection.raw(&bytes);
        if round % 2 == 0 {
            // An answer, if there is one, is the client's fault.
            if let Ok((status, _)) = connection.read() {
                assert!((400..500).contains(&status), "{status}");
            }
        }
    }
    let mut connection = server.connect();
    _ = connection.raw(b"GET / HTTP/1.1\r\n");
    for _ in 0..2000 {
        if connection.raw(format!("x-filler: {}\r\n", "a".repeat(1000)).as_bytes()).is_err() {
            break; // it has heard enough
        }
    }
    let (status, _) = server.connect().get("/v1/users/1/recommendations");
    assert_eq!(status, 200);
    assert!(server.child.try_wait().unwrap().is_none());
}

#[test]
fn what_cannot_be_served_is_named() {
    let (root, given) = models();
    let told =
        |args: &[&str]| error(&[&["serve", "--quiet", "--listen", "127.0.0.1:0"], args].concat());
    assert!(told(&["nowhere"]).contains("nowhere: there is no such folder"));
    assert!(told(&[&given[0], &given[0]]).contains("models: two have the name `MF`"));
    let folder = root.path().join("run/models/MF/seed-1/artefact");
    let items = folder.join("items.vocab");
    let mut bytes = fs::read(&items).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&items, bytes).unwrap();
    assert!(told(&[&given[0]]).contains("items.vocab: SHA-256"));
    let letter = root.path().join("letter");
    fs::write(&letter, "dear ".repeat(1000)).unwrap();
    assert!(told(&[&given[1], "--events", text(&letter)]).contains("letter"));
    assert!(
        error(&["events", text(&root.path().join("none")), "--out", "x.tsv"])
            .contains("no such store")
    );
}

/// How long models are swapped under load: RANKSTILL_SOAK_SECONDS, or a few.
fn soak() -> Duration {
    Duration::from_secs(std::env::var("RANKSTILL_SOAK_SECONDS").map_or(4, |n| n.parse().unwrap()))
}

/// Memory that the process holds, in KiB; `None` where the system does not say.
fn resident(server: &Server) -> Option<u64> {
    let told = fs::read_to_string(format!("/proc/{}/status", server.child.id())).ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn models_are_swapped_under_load_without_an_error_or_a_lost_event() {
    let (root, given) = models();
    let (store, keys) = (root.path().join("events.redb"), root.path().join("keys"));
    fs::write(&keys, rankstill::core::artefact::sha256(b"secret")).unwrap();
    let args = [given[0].as_str(), "--events", text(&store), "--admin-keys", text(&keys)];
    let server = Server::start(&args);
    let folders =
        [artefact(&root.path().join("run"), "MF"), artefact(&root.path().join("run"), "Fossil")];
    let (ends, began) = (Instant::now() + soak(), Instant::now());
    let (kept, answers) = (Mutex::new(0u64), Mutex::new(0u64));
    let (mut swaps, mut early, mut late) = (0, None, None);
    std::thread::scope(|scope| {
        for client in 0..3u64 {
            let (server, kept, answers) = (&server, &kept, &answers);
            scope.spawn(move || {
                let mut connection = server.connect();
                for number in 0u64.. {
                    if Instant::now() > ends {
                        break;
                    }
                    let user = (client + 3 * number) % 40;
                    let (status, answer) = connection.get(&format!("/v1/users/{user}/recommendations?k=20"));
                    assert_eq!((status, answer["items"].as_array().unwrap().len()), (200, 20), "{answer}");
                    *answers.lock().unwrap() += 1;
                    if number % 5 == 0 {
                        let event = json!({ "user": format!("new {client} {}", number % 50), "item": number % 30 });
                        let (status, told) = connection.post("/v1/events", &json!({ "events": [event] }));
                        assert_eq!(status, 200, "{told}");
                        *kept.lock().unwrap() += 1;
                    }
                }
            });
        }
        let mut connection = server.connect();
        while Instant::now() < ends {
            let body = json!({ "artefact": text(&folders[swaps % 2]) });
            let (status, told) = connection
                .send_with("POST", "/admin/models/MF/swap", &body, Some("secret"))
                .unwrap();
            assert_eq!(status, 200, "{told}");
            swaps += 1;
            std::thread::sleep(Duration::from_millis(200));
            let now = resident(&server);
            if early.is_none() && began.elapsed() > soak() / 4 {
                early = now;
            }
            late = now;
        }
    });
    let (kept, answers) = (kept.into_inner().unwrap(), answers.into_inner().unwrap());
    assert!(swaps > 3 && answers > 20, "{swaps} swaps, {answers} answers");
    println!("{swaps} swaps, {answers} answers, {kept} events, {early:?} then {late:?} KiB");
    if let (Some(early), Some(late)) = (early, late) {
        // Swapping holds two versions and reads a third: it moves, and does not grow.
        assert!(late < early + early / 2 + 20_000, "memory went from {early} to {late} KiB");
    }
    server.signal("-TERM");
    let mut server = server;
    assert!(server.child.wait().unwrap().success());
    let log = root.path().join("log.jsonl");
    ok(&mut rankstill(&["events", text(&store), "--out", text(&log), "--quiet"]));
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count() as u64, kept);
}

#[test]
fn a_server_is_measured_at_a_given_rate() {
    let args = [
        "bench",
        "serve",
        "--catalogue",
        "2000x8",
        "--table",
        "int8",
        "--rate",
        "50,0",
        "--seconds",
        "1",
        "--connections",
        "4",
    ];
    let found: Value =
        serde_json::from_str(&ok(rankstill(&args).args(["--json", "--quiet", "--threads", "1"])))
            .unwrap();
    let [slow, fast] = &found.as_array().unwrap()[..] else { panic!("{found}") };
    assert_eq!(
        (&slow["catalogue"], &slow["table"], &slow["answers"], &slow["refused"]),
        (&json!("2000x8"), &json!("int8"), &json!(50), &json!(0))
    );
    let rescored = slow["rescored_a_query"].as_f64().unwrap();
    assert!((20.0..1000.0).contains(&rescored), "{rescored} of 2,000 items to find 20");
    assert!(fast["answers"].as_u64().unwrap() > 10);
    for told in [slow, fast] {
        let ms = |name: &str| told["ms"][name].as_f64().unwrap();
        assert!(0.0 < ms("p50") && ms("p50") <= ms("p99") && ms("p99") <= ms("max"), "{told}");
    }
}
