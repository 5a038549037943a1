//! A server that runs out of something, or whose surroundings hang: it goes on when that is over, and ends when it is told to.
#![cfg(all(feature = "serve", unix))]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/server.rs"]
mod server;

use common::{error, rankstill, text};
use serde_json::{Value, json};
use server::{Connection, Server, artefact, models};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The folder of fitted models, and one of them as it is served.
static FITTED: LazyLock<(tempfile::TempDir, Vec<String>)> = LazyLock::new(models);

fn model() -> &'static str {
    &FITTED.1[0]
}

const BINARY: &str = env!("CARGO_BIN_EXE_rankstill");

/// Starts a server and waits until it listens.
fn started(command: &mut Command) -> Server {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
    Server { child, address }
}

fn serve(args: &[&str]) -> Command {
    rankstill(&[&["serve", "--listen", "127.0.0.1:0", model()], args].concat())
}

/// Waits for the end, which must come.
fn ends(child: &mut Child, within: Duration) -> i32 {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(began.elapsed() < within, "the server has not ended");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const SOON: Duration = Duration::from_secs(60);

#[test]
fn connections_are_accepted_again_after_there_were_too_few_descriptors() {
    // More descriptors than the soft limit are used; more connections than the hard one allows are refused.
    for (limit, clients) in [("128:4096", 400), ("200:200", 300)] {
        let mut command = Command::new("prlimit");
        command.args([
            &format!("--nofile={limit}"),
            BINARY,
            "serve",
            "--quiet",
            "--listen",
            "127.0.0.1:0",
            model(),
        ]);
        if Command::new("prlimit").arg("--version").output().is_err() {
            println!("skipped: there is no prlimit");
            return;
        }
        let server = started(&mut command);
        let open: Vec<TcpStream> =
            (0..clients).filter_map(|_| TcpStream::connect(&server.address).ok()).collect();
        assert_eq!(open.len(), clients);
        std::thread::sleep(Duration::from_millis(500));
        if clients == 400 {
            let (status, _) = server.connect().get("/v1/models");
            assert_eq!(status, 200, "the limit was raised");
        }
        drop(open);
        let began = Instant::now();
        let answered = || {
            let mut connection = Connection::open(&server.address).ok()?;
            connection
                .send("GET", "/v1/models", &Value::Null)
                .ok()
                .filter(|(status, _)| *status == 200)
        };
        while answered().is_none() {
            assert!(began.elapsed() < SOON, "nothing is accepted any more");
        }
    }
}

#[test]
fn whoever_reads_the_log_cannot_stop_the_server() {
    // One reader goes away, the other stalls.
    for goes in [true, false] {
        let mut server = started(serve(&["--log"]).stderr(Stdio::piped()));
        let mut log = BufReader::new(server.child.stderr.take().unwrap());
        log.read_exact(&mut [0]).unwrap();
        let log = (!goes).then_some(log);
        let mut connection = server.connect();
        let path = format!("/v1/nothing/{}", "x".repeat(2000));
        for at in 0..12_000 {
            let (status, _) = connection.get(&path);
            assert_eq!(status, 404, "request {at}");
        }
        let page = metrics(&server);
        let dropped =
            page.lines().find_map(|line| line.strip_prefix("rankstill_log_lines_dropped_total "));
        let dropped: u64 = dropped.unwrap().parse().unwrap();
        assert!(dropped > 1000, "{dropped} lines");
        server.signal("-TERM");
        assert_eq!(ends(&mut server.child, SOON), 0);
        drop(log);
    }
}

fn metrics(server: &Server) -> String {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn a_model_that_is_no_file_is_refused_and_nothing_that_hangs_keeps_the_server() {
    let root = &FITTED.0;
    let (hangs, keys) = (root.path().join("hangs"), root.path().join("keys"));
    fs::create_dir_all(&hangs).unwrap();
    assert!(Command::new("mkfifo").arg(hangs.join("manifest.json")).status().unwrap().success());
    let message = error(&["serve", "--quiet", "--listen", "127.0.0.1:0", text(&hangs)]);
    assert!(message.contains("manifest.json: expected a file, found a pipe"), "{message}");
    fs::write(&keys, rankstill::core::artefact::sha256(b"secret")).unwrap();
    let mut server = started(&mut serve(&["--quiet", "--admin-keys", text(&keys)]));
    let swap = |folder: &std::path::Path| {
        let body = json!({ "artefact": text(folder) });
        server.connect().send_with("POST", "/admin/models/MF/swap", &body, Some("secret")).unwrap()
    };
    let (status, problem) = swap(&hangs);
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("found a pipe"), "{problem}");
    assert_eq!(swap(&artefact(&root.path().join("run"), "MF")).0, 200);
    server.signal("-TERM");
    assert_eq!(ends(&mut server.child, SOON), 0);
}

#[test]
fn a_hangup_drains_and_a_second_signal_does_not_wait() {
    let mut server = started(&mut serve(&["--quiet"]));
    assert_eq!(server.connect().get("/v1/models").0, 200);
    server.signal("-HUP");
    assert_eq!(ends(&mut server.child, SOON), 0);
    // A request whose body does not come keeps the first signal waiting, for seconds.
    let mut server = started(serve(&[]).stderr(Stdio::piped()));
    let mut connection = server.connect();
    let head = "POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    connection.raw(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.signal("-TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.child.try_wait().unwrap().is_none(), "the request is waited for");
    server.signal("-TERM");
    let began = Instant::now();
    assert_eq!(ends(&mut server.child, SOON), 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let mut said = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("some requests were not answered in time"), "{said}");
}

#[test]
fn only_the_servers_own_names_are_answered() {
    let server = started(&mut serve(&["--quiet", "--host", "Shop.Example"]));
    let status = |host: &str| {
        let mut connection = server.connect();
        connection.raw(format!("GET /v1/models HTTP/1.1\r\n{host}\r\n").as_bytes()).unwrap();
        connection.read().unwrap()
    };
    for own in ["host: localhost\r\n", "host: 127.0.0.1:1\r\n", "host: shop.example\r\n"] {
        assert_eq!(status(own).0, 200, "{own}");
    }
    assert_eq!(status("").0, 400);
    let (foreign, problem) = status("host: evil.example\r\n");
    assert_eq!(foreign, 421);
    assert!(
        problem["detail"].as_str().unwrap().contains("does not answer for `evil.example`"),
        "{problem}"
    );
    let mut anywhere = rankstill(&["serve", "--listen", "0.0.0.0:0", model()]);
    let mut server = started(anywhere.stderr(Stdio::piped()));
    server.signal("-TERM");
    let mut said = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("under any host name are answered"), "{said}");
}

#[test]
fn options_that_no_server_can_have_are_errors() {
    for (option, value) in [
        ("--queue", "18446744073709551615"),
        ("--max-k", "18446744073709551615"),
        ("--deadline", "18446744073709551615"),
    ] {
        let output = serve(&["--quiet", option, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(option) && !message.contains("panicked"), "{message}");
    }
    let keys = FITTED.0.path().join("no-keys");
    fs::write(&keys, rankstill::core::artefact::sha256(b"")).unwrap();
    for option in ["--keys", "--admin-keys"] {
        let message =
            error(&["serve", "--quiet", "--listen", "127.0.0.1:0", model(), option, text(&keys)]);
        assert!(message.contains("no-keys") && message.contains("SHA-256 of nothing"), "{message}");
    }
    let output = serve(&["--host", "http://shop"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a name without a port"));
    let output = rankstill(&["list"]).env("RANKSTILL_ISA", "avx9").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("expected one of portable, avx2, avx512, neon, found `avx9`")
    );
}
