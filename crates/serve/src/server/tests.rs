//! Clients that hold on to what they can get, over sockets.
#![allow(clippy::unwrap_used)]

use super::{Listen, Server};
use crate::testing::{Gate, Kind, snapshot};
use crate::{App, Limits, Setup};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// A server of the toy model. Answering has one thread, apart from that of the test.
struct Running {
    app: Arc<App>,
    address: SocketAddr,
    end: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<bool>,
    answering: Runtime,
}

impl Running {
    async fn start(limits: Limits) -> Self {
        let setup =
            Setup { models: vec![snapshot(Kind::Factors)], limits, threads: 1, ..Setup::default() };
        let app = Arc::new(App::new(setup).unwrap());
        let answering = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listen = Listen {
            address: ([127, 0, 0, 1], 0).into(),
            hosts: vec![],
            threads: 0,
            #[cfg(feature = "tls")]
            tls: None,
        };
        let server = Server::bind(Arc::clone(&app), listen).await.unwrap();
        let server = server.answering_on(answering.handle().clone());
        let address = server.address().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let served = tokio::spawn(server.serve(async { _ = ended.await }));
        Self { app, address, end, served, answering }
    }

    /// Sends a request on a new connection; its status, or 0 if there is none within two seconds.
    async fn status(&self, path: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        self.status_on(&mut stream, path).await
    }

    async fn status_on(&self, stream: &mut TcpStream, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut head));
        match read.await {
            Ok(Ok(_)) => String::from_utf8_lossy(&head[9..]).parse().unwrap(),
            _ => 0,
        }
    }

    async fn stop(self) {
        drop(self.end);
        assert!(self.served.await.unwrap());
        self.answering.shutdown_background();
    }
}

#[tokio::test]
async fn health_is_answered_while_every_answering_thread_is_busy() {
    let running = Running::start(Limits::default()).await;
    let gate = Gate::open();
    gate.set(false);
    let busy = gate.clone();
    running.answering.spawn(async move { busy.pass() }); // as a computation that does not end would
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.status("/v1/models").await, 0);
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(running.status(path).await, 200, "{path}");
    }
    // A connection may ask for something else later.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut all = vec![0; 4096];
    assert!(stream.read(&mut all).await.unwrap() > 0);
    gate.set(true);
    assert_eq!(running.status_on(&mut stream, "/v1/models").await, 200);
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn beyond_the_limit_connections_are_refused_but_not_health_checks() {
    let running = Running::start(Limits { connections: 2, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        assert_eq!(running.status_on(&mut stream, "/v1/models").await, 200);
        open.push(stream);
    }
    assert_eq!(running.status("/v1/models").await, 503);
    assert_eq!(running.status("/health/live").await, 200);
    open.clear();
    let began = Instant::now();
    while running.status("/v1/models").await != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "a closed connection frees its place");
    }
    running.stop().await;
}

/// A client that asks for some megabytes and reads nothing.
async fn unread_answer(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let history: Vec<String> = (0..30).map(|item| format!("i{item}")).collect();
    let one = json!({ "history": history, "k": 40, "explain": 10, "with_seen": true });
    let body = json!({ "requests": vec![one; 256] }).to_string();
    let request = format!(
        "POST /v1/recommendations:batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_answer_counts_until_it_is_read_and_its_client_has_little_time() {
    let departure = Duration::from_millis(1500);
    let deadline = Duration::from_secs(60);
    let limits =
        Limits { departure, deadline, lines: usize::MAX, unread: 8 << 20, ..Limits::default() };
    let running = Running::start(limits).await;
    let app = Arc::clone(&running.app);
    let bytes = || app.unread.load(Ordering::Relaxed);
    let mut silent = unread_answer(running.address).await;
    until("the answer is counted", || bytes() > 4 << 20).await;
    assert_eq!(
        app.in_progress.load(Ordering::Relaxed),
        1,
        "a request is in progress until its answer is written"
    );
    // Another such answer would be too much.
    let mut second = unread_answer(running.address).await;
    let mut head = [0; 12];
    second.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 503");
    until("the silent client is cut off", || bytes() == 0).await;
    until("it is not in progress any more", || app.in_progress.load(Ordering::Relaxed) == 0).await;
    let mut rest = Vec::new();
    assert!(silent.read_to_end(&mut rest).await.is_err() || rest.len() < 6 << 20);
    running.stop().await;
}

#[test]
fn a_server_in_the_background_answers_until_it_is_stopped() {
    use std::io::{Read as _, Write as _};
    let setup = || Setup { models: vec![snapshot(Kind::Factors)], threads: 1, ..Setup::default() };
    let listen = |port| Listen {
        address: ([127, 0, 0, 1], port).into(),
        hosts: vec![],
        threads: 1,
        #[cfg(feature = "tls")]
        tls: None,
    };
    let mut running = super::start(App::new(setup()).unwrap(), listen(0)).unwrap();
    let address = running.address();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The address is taken.
    assert!(super::start(App::new(setup()).unwrap(), listen(address.port())).is_err());
    assert!(running.stop() && running.stop());
    assert!(std::net::TcpStream::connect(address).is_err());
}
