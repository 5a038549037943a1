//! Tests with a real server: the one at the URL in RANKSTILL_POSTGRES, or one that `scripts/postgres.sh`
//! starts. Skipped if PostgreSQL is not installed.
#![allow(clippy::unwrap_used)]

use super::super::contract::{Fixture, contract_tests, event, items, numbers, soon, state};
use super::connection::Connection;
use super::*;
use crate::Limits;
use crate::Snapshot;
use crate::testing::{Gate, Kind, N_ITEMS, administered_over, artefact, gated, patient, snapshot};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

/// A server that stops when this is dropped, or with this process.
struct Server {
    url: String,
    /// The script stops when this is closed.
    commands: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    script: Child,
}

impl Server {
    fn start() -> Option<Self> {
        let script_path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres.sh");
        let mut script = Command::new("sh");
        script.arg(script_path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().ok()?;
        let mut replies = BufReader::new(script.stdout.take().unwrap());
        let mut url = String::new();
        replies.read_line(&mut url).unwrap();
        if url.is_empty() {
            let status = script.wait().unwrap();
            assert_eq!(status.code(), Some(3), "scripts/postgres.sh failed");
            println!("skipped: RANKSTILL_POSTGRES is not set, and PostgreSQL is not installed");
            return None;
        }
        let commands = script.stdin.take();
        Some(Self { url: url.trim().into(), commands, replies, script })
    }

    fn command(&mut self, command: &str, expected: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        let mut reply = String::new();
        self.replies.read_line(&mut reply).unwrap();
        assert_eq!(reply.trim(), expected);
    }

    fn kill(&mut self) {
        self.command("kill", "killed");
    }

    fn start_again(&mut self) {
        self.command("start", "started");
    }

    fn schema(&self) -> Schema {
        Schema::of(&self.url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.commands = None;
        _ = self.script.wait();
    }
}

/// A new schema in a database, dropped at the end.
struct Schema {
    admin: String,
    name: String,
    database: Database,
}

impl Schema {
    fn new() -> Option<Self> {
        static URL: LazyLock<Option<String>> = LazyLock::new(|| {
            static SERVER: Mutex<Option<Server>> = Mutex::new(None);
            std::env::var("RANKSTILL_POSTGRES").ok().or_else(|| {
                let mut server = SERVER.lock().unwrap();
                *server = Server::start();
                server.as_ref().map(|server| server.url.clone())
            })
        });
        URL.as_deref().map(Self::of)
    }

    fn of(url: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rankstill_test_{}_{number}", std::process::id());
        let separator = if url.contains('?') { '&' } else { '?' };
        let schema = Self {
            admin: url.into(),
            database: Database {
                url: format!("{url}{separator}options=-csearch_path%3D{name}"),
                password: None,
                roots: None,
                patience: Duration::from_secs(20), // tolerates a busy machine
            },
            name,
        };
        schema.run(&format!("CREATE SCHEMA {}", schema.name)).unwrap();
        schema
    }

    /// Runs statements as the server's superuser.
    fn run(&self, statements: &str) -> Option<()> {
        let deadline = Instant::now() + LONG;
        let target = Target { config: self.admin.parse().unwrap(), encryption: None };
        let connection = Connection::open(&target, LONG, deadline).ok()?;
        connection.run(deadline, async |client| client.batch_execute(statements).await).ok()
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(PostgresStore::open(&self.database).unwrap())
    }

    /// The error when it cannot be opened.
    fn refusal(database: &Database) -> String {
        let message = PostgresStore::open(database).err().unwrap().to_string();
        assert!(!message.contains("secret"), "{message}");
        message
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        _ = self.run(&format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

impl Fixture for Schema {
    fn open(&self) -> Arc<dyn EventStore> {
        self.store()
    }

    fn instances(&self, store: &Arc<dyn EventStore>) -> Vec<Arc<dyn EventStore>> {
        vec![Arc::clone(store), self.store()]
    }
}

contract_tests!(Schema::new());

#[test]
fn two_instances_see_each_others_events_at_once() {
    let Some(schema) = Schema::new() else { return };
    let (one, other) = (schema.store(), schema.store());
    for round in 0..50 {
        let (user, key) = (format!("u{round}"), round.to_string());
        assert_eq!(one.append(&[event(&user, "x", 0, Some(&key))]).unwrap(), [true]);
        assert_eq!(items(&*other, &user), ["x"]);
        assert_eq!(other.append(&[event(&user, "x", 0, Some(&key))]).unwrap(), [false]);
        assert_eq!(other.forget(&user).unwrap(), 1);
        assert_eq!(state(&*one, &user).unwrap(), UserState { items: vec![], forgotten: true });
    }
}

#[test]
fn a_large_table_is_not_scanned() {
    let Some(schema) = Schema::new() else { return };
    let single = |round: usize| event(&format!("u{round}"), "x", 0, Some("k"));
    {
        let store = schema.store();
        // The first plans are made for an empty table, and cached.
        (0..10).for_each(|round| drop(store.append(&[single(round)]).unwrap()));
        let many: Vec<Event> = (100..3100).map(single).collect();
        store.append(&many).unwrap();
        schema.run(&format!("ANALYZE {}.rankstill_events", schema.name)).unwrap();
        for round in 10..50 {
            store.append(&[single(round)]).unwrap();
            assert_eq!(
                store.user_states(&["u7", "nobody"], usize::MAX, soon()).unwrap()[0].items,
                ["x"]
            );
        }
        store.append(&many[..10]).unwrap();
        store.forget("u3").unwrap();
    }
    // The statistics are updated when the connections have closed, which takes a moment.
    let counts = PostgresStore::at(&schema.database).unwrap();
    let counts = || {
        let sql = "SELECT n_tup_ins, seq_tup_read + idx_tup_fetch, (
                       SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes
                       WHERE relid = 'rankstill_events'::regclass
                   ) FROM pg_stat_user_tables WHERE relid = 'rankstill_events'::regclass";
        let rows = counts.query(sql).unwrap();
        [0, 1, 2].map(|at| rows[0].get::<_, i64>(at))
    };
    let began = Instant::now();
    while counts()[2] < 40 {
        assert!(began.elapsed() < LONG, "{:?}", counts());
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
    let [inserted, rows, entries] = counts();
    assert_eq!(inserted, 3050);
    assert!(rows < 200 && entries < 200, "{rows} rows and {entries} entries were read");
}

#[test]
fn many_servers_may_start_at_once() {
    let Some(schema) = Schema::new() else { return };
    let message = PostgresStore::existing(&schema.database).err().unwrap().to_string();
    assert!(message.contains("no such store"), "{message}");
    std::thread::scope(|scope| {
        for number in 0..6 {
            let schema = &schema;
            scope.spawn(move || {
                schema.store().append(&[event(&number.to_string(), "x", 0, None)]).unwrap();
            });
        }
    });
    let store = PostgresStore::existing(&schema.database).unwrap();
    assert_eq!(numbers(&store), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn the_role_that_writes_need_not_own_the_tables() {
    let Some(schema) = Schema::new() else { return };
    drop(schema.store());
    let (name, role) = (&schema.name, &schema.name);
    schema
        .run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA {name} TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {role};
             ALTER ROLE {role} SET synchronous_commit = off;
             ALTER ROLE {role} SET default_transaction_isolation = 'serializable'"
        ))
        .unwrap();
    let mut database = schema.database.clone();
    let (_, rest) = schema.admin.split_once('@').unwrap();
    let parameters = schema.database.url.split_once("options").unwrap().1;
    let separator = if rest.contains('?') { '&' } else { '?' };
    database.url = format!("postgres://{role}@{rest}{separator}options{parameters}");
    database.password = Some("secret".into());
    let store = PostgresStore::open(&database).unwrap();
    assert_eq!(store.append(&[event("a", "x", 0, None)]).unwrap(), [true]);
    let rows = store.query("SHOW synchronous_commit").unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), "on", "acknowledged events are durable");
    drop(store);
    schema.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}

#[test]
fn tables_of_another_format_are_refused() {
    let Some(schema) = Schema::new() else { return };
    drop(schema.store());
    schema.run(&format!("UPDATE {}.rankstill_store SET format = 2", schema.name)).unwrap();
    let message = Schema::refusal(&schema.database);
    assert!(message.contains("rankstill_store.format: expected 1, found 2"), "{message}");
}

#[test]
fn errors_name_the_database_without_its_password() {
    let database = |url: &str| Database {
        url: url.into(),
        password: Some("secret too".into()),
        roots: Some(b"no certificate".into()),
        patience: Duration::from_millis(500),
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = format!("127.0.0.1:{port}");
    let message = Schema::refusal(&database(&format!("postgres://me:secret@{closed}/shop")));
    assert!(message.contains(&format!("postgres://me@{closed}/shop")), "{message}");
    assert!(message.contains("onnection refused"), "{message}");
    let message = Schema::refusal(&database("postgres://me:secret@host:port/shop"));
    assert!(message.contains("port"), "{message}");
    let message = Schema::refusal(&database("postgres://me:secret@host/shop?sslmode=require"));
    assert!(message.contains("root certificates: expected -----BEGIN"), "{message}");
    let Some(schema) = Schema::new() else { return };
    let url = schema.database.url.replace("rankstill:secret@", "rankstill:secretive@");
    if url != schema.database.url {
        let message = Schema::refusal(&database(&url));
        assert!(message.contains("password authentication failed"), "{message}");
    }
}

#[test]
fn connections_can_be_encrypted_with_a_trusted_certificate() {
    if std::env::var_os("RANKSTILL_POSTGRES").is_some() {
        return println!("skipped: does not restart a shared server");
    }
    let Some(mut server) = Server::start() else { return };
    let plain = server.schema();
    let with = |sslmode: &str, roots: Option<&str>, host: &str| Database {
        url: format!("{}&sslmode={sslmode}", plain.database.url.replace("127.0.0.1", host)),
        roots: roots.map(Into::into),
        ..plain.database.clone()
    };
    let message = Schema::refusal(&with("require", None, "localhost"));
    assert!(
        message.contains("server does not support TLS"),
        "no fallback to an unencrypted connection: {message}"
    );

    let issue = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (made, other) = (issue(), issue().cert.pem());
    let ours = made.cert.pem();
    let both = ours.clone() + &made.signing_key.serialize_pem();
    server.command(&format!("encrypt\n{}\nend", both.trim()), "encrypting");
    for sslmode in ["require", "verify-full"] {
        let store = PostgresStore::open(&with(sslmode, Some(&ours), "localhost")).unwrap();
        let how = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert!(store.query(how).unwrap()[0].get::<_, bool>(0), "{sslmode}");
    }
    for (roots, host, expected) in [
        (Some(other.as_str()), "localhost", "invalid peer certificate"), // signed by another key
        (None, "localhost", "UnknownIssuer"), // not among the system's roots
        (Some(ours.as_str()), "127.0.0.1", "not valid for name"), // issued for another host
    ] {
        let message = Schema::refusal(&with("require", roots, host));
        assert!(message.contains(expected), "expected {expected}, found {message}");
    }
}

#[test]
fn calls_fail_fast_after_a_database_did_not_respond() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // never accepts
    let url = format!("postgres://me@{}/shop", silent.local_addr().unwrap());
    let patience = Duration::from_millis(600);
    let store =
        PostgresStore::at(&Database { url, password: None, roots: None, patience }).unwrap();
    let began = Instant::now();
    assert!(state(&store, "a").unwrap_err().to_string().contains("did not respond in time"));
    assert!(began.elapsed() >= patience / 2 - Duration::from_millis(1));
    assert!(state(&store, "a").unwrap_err().to_string().contains("next attempt"));
    std::thread::sleep(patience / 2);
    assert!(state(&store, "a").unwrap_err().to_string().contains("did not respond in time"));
}

#[test]
fn acknowledged_events_survive_a_crash_and_calls_recover() {
    if std::env::var_os("RANKSTILL_POSTGRES").is_some() {
        return println!("skipped: does not kill a shared server");
    }
    let Some(mut server) = Server::start() else { return };
    let schema = server.schema();
    let store = schema.store();
    let (acknowledged, ended) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (store, acknowledged, ended) = (&store, &acknowledged, &ended);
        scope.spawn(move || {
            for number in 0.. {
                let key = number.to_string();
                match store.append(&[event("a", "x", 0, Some(&key))]) {
                    Ok(new) => acknowledged.lock().unwrap().push((key, new)),
                    Err(error) => {
                        let message = error.to_string();
                        assert!(
                            message.contains("127.0.0.1") && !message.contains("secret"),
                            "{message}"
                        );
                        break;
                    }
                }
            }
            ended.store(1, Ordering::Relaxed);
        });
        while acknowledged.lock().unwrap().len() < 30 {
            state(&**store, "a").unwrap();
        }
        server.kill();
        while ended.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(state(&**store, "a").is_err());
    });
    assert!(store.append(&[event("b", "x", 0, None)]).is_err());
    server.start_again();
    // The first call succeeds: broken connections are detected and replaced.
    assert_eq!(store.append(&[event("b", "y", 0, None)]).unwrap(), [true]);
    assert_eq!(items(&*store, "b"), ["y"], "all or nothing");
    let acknowledged = acknowledged.into_inner().unwrap();
    let again: Vec<_> =
        acknowledged.iter().map(|(key, _)| event("a", "x", 0, Some(key.as_str()))).collect();
    assert_eq!(store.append(&again).unwrap(), vec![false; acknowledged.len()]);
    // One event may be stored without an acknowledgement; none is stored twice.
    assert!((0..=1).contains(&(items(&*store, "a").len() - acknowledged.len())));
    let found = numbers(&*store);
    assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
}

/// Runs on network threads, which must not wait for the database.
fn on_the_network<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_server_uses_the_store() {
    let Some(schema) = Schema::new() else { return };
    let site = administered_over(schema.store(), vec![snapshot(Kind::Factors)], patient());
    let other = administered_over(schema.store(), vec![snapshot(Kind::Factors)], patient());
    on_the_network(async {
        let list = |answer: &Value| -> Vec<String> {
            let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
            items.iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect()
        };
        let path = "/v1/users/u1/recommendations?k=5";
        let (_, before) = site.get(path).await;
        assert_eq!(before["basis"], "user");
        let first = &list(&before)[0];
        let event = json!({ "user": "u1", "item": first, "key": 1, "time": 1_700_000_007 });
        let (_, message) = site.post("/v1/events", json!({ "events": [event] })).await;
        assert_eq!(message, json!({ "kept": 1, "repeated": 0 }));
        let (_, after) = other.get(path).await;
        assert!(!list(&after).contains(first), "in the next answer of the other instance");
        let many: Vec<Value> =
            (0..30).map(|n| json!({ "user": format!("u{n}"), "k": 5 })).collect();
        let (_, batch) = other.post("/v1/recommendations:batch", json!({ "requests": many })).await;
        assert_eq!(list(&batch["answers"][1]), list(&after));
        let body = json!({ "events": [{ "user": "u1\0", "item": "i1" }] });
        assert_eq!(site.post("/v1/events", body).await.0, 422);
        assert_eq!(site.send("DELETE", "/v1/users/u%00", "text/plain", "").await.0, 422);
        assert_eq!(site.get("/v1/users/u%00/recommendations").await.0, 422);
        let (_, message) = other.send("DELETE", "/v1/users/u1", "text/plain", "").await;
        assert_eq!(message, json!({ "user": "u1", "events": 1 }));
        assert_eq!(site.get(path).await.1["basis"], "popular");
        let router = crate::http::router(Arc::clone(&site.app));
        let request = axum::http::Request::get("/admin/events?after=0")
            .header("authorization", "Bearer admin")
            .body(axum::body::Body::empty());
        let answer = tower::ServiceExt::oneshot(router, request.unwrap()).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["rankstill-last"]),
            (200, &"0".parse().unwrap())
        );
    });
}

#[test]
fn the_fallback_looks_users_up_without_the_scoring_threads() {
    let Some(schema) = Schema::new() else { return };
    let gate = Gate::open();
    let slow = Snapshot::new("slow", artefact(N_ITEMS), gated(&gate), Default::default(), None);
    let late = Limits { deadline: Duration::from_secs(2), ..patient() };
    let site = administered_over(schema.store(), vec![slow.unwrap()], late);
    on_the_network(async {
        gate.set(false);
        let (status, answer) = site.get("/v1/users/u1/recommendations").await;
        assert_eq!((status.as_u16(), &answer["degraded"]), (200, &json!("popular")), "{answer}");
        let first = answer["items"][0]["item"].as_str().unwrap().to_owned();
        let event = json!({ "events": [{ "user": "u1", "item": first }] });
        assert_eq!(site.post("/v1/events", event).await.0, 200);
        let (_, again) = site.get("/v1/users/u1/recommendations").await;
        assert!(!again.to_string().contains(&format!("\"{first}\"")), "seen: {again}");
        gate.set(true);
    });
}

#[test]
fn without_its_database_a_server_refuses_named_users_and_recovers() {
    if std::env::var_os("RANKSTILL_POSTGRES").is_some() {
        return println!("skipped: does not kill a shared server");
    }
    let Some(mut server) = Server::start() else { return };
    let schema = server.schema();
    let site = administered_over(schema.store(), vec![snapshot(Kind::Factors)], patient());
    on_the_network(async {
        let path = "/v1/users/u1/recommendations";
        assert_eq!(site.get(path).await.0, 200);
        server.kill();
        let (status, message) = site.get(path).await;
        assert_eq!(
            (status.as_u16(), &message["type"]),
            (503, &json!("urn:rankstill:problem:unavailable"))
        );
        assert!(
            !message.to_string().contains("127.0.0.1"),
            "clients do not see where the database is: {message}"
        );
        assert_eq!(site.post("/v1/recommendations", json!({ "history": ["i3"] })).await.0, 200);
        let event = json!({ "events": [{ "user": "u1", "item": "i1" }] });
        let (status, message) = site.post("/v1/events", event.clone()).await;
        assert_eq!(status, 503);
        assert!(message["detail"].as_str().unwrap().starts_with("not acknowledged"), "{message}");
        server.start_again();
        assert_eq!(site.post("/v1/events", event).await.0, 200);
        assert_eq!(site.get(path).await.0, 200);
    });
    assert_eq!(items(&*schema.store(), "u1"), ["i1"]);
}
