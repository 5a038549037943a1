//! The server as a user runs it: a process that answers as `recommend` does, and keeps answering.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/server.rs"]
mod server;

use common::{error, in_folder, ok, rankstill, text};
use rankstill::core::kernel::rng::Rng;
use serde_json::{Value, json};
use server::{Connection, LOG, MODELS, Server, artefact, id, list, models};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The lists of `rankstill recommend`, by user.
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
        // The vector of an unknown user is computed from those of all users.
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
fn a_stopping_server_answers_every_accepted_request() {
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
                    // A request that was sent is answered; then the connection may be closed.
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
    assert!(Connection::open(&server.address).is_err(), "the port is closed");
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
            2 => b"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n".to_vec(),
            _ => b"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        };
        bytes.extend((0..40).map(|_| rng.below(256) as u8));
        bytes.extend(b"\r\n\r\n");
        _ = connection.raw(&bytes);
        if round % 2 == 0 {
            // If there is an answer, it blames the client.
            if let Ok((status, _)) = connection.read() {
                assert!((400..500).contains(&status), "{status}");
            }
        }
    }
    let mut connection = server.connect();
    _ = connection.raw(b"GET / HTTP/1.1\r\n");
    for _ in 0..2000 {
        if connection.raw(format!("x-filler: {}\r\n", "a".repeat(1000)).as_bytes()).is_err() {
            break; // the server closed the connection
        }
    }
    let (status, _) = server.connect().get("/v1/users/1/recommendations");
    assert_eq!(status, 200);
    assert!(server.child.try_wait().unwrap().is_none());
}

#[test]
fn errors_name_what_cannot_be_served() {
    let (root, given) = models();
    let refused =
        |args: &[&str]| error(&[&["serve", "--quiet", "--listen", "127.0.0.1:0"], args].concat());
    assert!(refused(&["nowhere"]).contains("nowhere: no such folder"));
    assert!(refused(&[&given[0], &given[0]]).contains("models: two have the name `MF`"));
    let folder = root.path().join("run/models/MF/seed-1/artefact");
    let items = folder.join("items.vocab");
    let mut bytes = fs::read(&items).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&items, bytes).unwrap();
    assert!(refused(&[&given[0]]).contains("items.vocab: SHA-256"));
    let letter = root.path().join("letter");
    fs::write(&letter, "text ".repeat(1000)).unwrap();
    assert!(refused(&[&given[1], "--events", text(&letter)]).contains("letter"));
    assert!(
        error(&["events", text(&root.path().join("none")), "--out", "x.tsv"])
            .contains("no such store")
    );
}

/// How long models are swapped under load: RANKSTILL_SOAK_SECONDS, or 4 seconds.
fn soak() -> Duration {
    Duration::from_secs(std::env::var("RANKSTILL_SOAK_SECONDS").map_or(4, |n| n.parse().unwrap()))
}

/// Resident memory of the process in KiB; `None` if the system does not report it.
fn resident(server: &Server) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
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
                        let (status, reply) = connection.post("/v1/events", &json!({ "events": [event] }));
                        assert_eq!(status, 200, "{reply}");
                        *kept.lock().unwrap() += 1;
                    }
                }
            });
        }
        let mut connection = server.connect();
        while Instant::now() < ends {
            let body = json!({ "artefact": text(&folders[swaps % 2]) });
            let (status, reply) = connection
                .send_with("POST", "/admin/models/MF/swap", &body, Some("secret"))
                .unwrap();
            assert_eq!(status, 200, "{reply}");
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
        // A swap holds two versions and reads a third: memory varies but does not grow.
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
    for result in [slow, fast] {
        let ms = |name: &str| result["ms"][name].as_f64().unwrap();
        assert!(0.0 < ms("p50") && ms("p50") <= ms("p99") && ms("p99") <= ms("max"), "{result}");
    }
}
