//! The door: accepts connections, and sends each one on its way.
//!
//! Health checks and metrics have a way of their own. A connection whose first request is for them stays on
//! the thread of the door, where nothing else is computed; all others go to the threads that answer
//! requests. So a server under any load still says that it lives. (An encrypted connection shows its first
//! request only after the handshake, and always goes to the others.)

use super::paced::Paced;
#[cfg(feature = "tls")]
use super::tls::{self, Tls};
use crate::limits::Limits;
use crate::wire::Problem;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// Connections beyond the limit that may show their first request, because it may be a health check.
const AT_THE_DOOR: usize = 64;

/// Pause after an error of `accept`, such as too few descriptors: others may be free then.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Door {
    pub listener: TcpListener,
    pub routes: Router,
    pub limits: Limits,
    /// The most connections that are open at once.
    pub connections: usize,
    /// The threads that answer requests.
    pub answering: Handle,
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<Tls>>,
}

impl Door {
    /// Accepts connections until the sender of `closing` is dropped. Whatever `accept` reports, it goes on.
    pub async fn accept(self, mut closing: watch::Receiver<()>) -> GracefulShutdown {
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(self.connections));
        let at_the_door = Arc::new(Semaphore::new(self.connections + AT_THE_DOOR));
        let mut reported: Option<Instant> = None;
        loop {
            let next = async {
                let place = Arc::clone(&at_the_door).acquire_owned().await;
                (self.listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                biased;
                _ = closing.changed() => return graceful,
                next = next => next,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if reported.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                        tracing::warn!(%error, "a connection could not be accepted");
                        reported = Some(Instant::now());
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            _ = stream.set_nodelay(true); // an answer is one small write
            let way = Way {
                routes: self.routes.clone(),
                limits: self.limits.clone(),
                answering: self.answering.clone(),
                watcher: graceful.watcher(),
                #[cfg(feature = "tls")]
                tls: self.tls.clone(),
            };
            let (slots, closing) = (Arc::clone(&slots), closing.clone());
            tokio::spawn(async move {
                way.send(stream, slots, closing).await;
                drop(place);
            });
        }
    }
}

/// What a connection needs on its way.
struct Way {
    routes: Router,
    limits: Limits,
    answering: Handle,
    watcher: Watcher,
    #[cfg(feature = "tls")]
    tls: Option<Arc<Tls>>,
}

impl Way {
    /// Ends with the connection.
    async fn send(
        self,
        stream: TcpStream,
        slots: Arc<Semaphore>,
        mut closing: watch::Receiver<()>,
    ) {
        #[cfg(feature = "tls")]
        let encrypted = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let encrypted = false;
        if !encrypted {
            let begins = tokio::select! {
                begins = first_bytes(&stream, self.limits.arrival) => begins,
                _ = closing.changed() => return,
            };
            let Some(begins) = begins else { return };
            if asks_for_health(&begins) {
                return self.answer_here(stream).await;
            }
        }
        let Ok(slot) = slots.try_acquire_owned() else { return refuse(&stream).await };
        // The stream leaves this thread's reactor for that of the answering threads.
        let Ok(stream) = stream.into_std() else { return };
        let answering = self.answering.clone();
        let answered = answering.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                self.answer(stream).await;
            }
        });
        _ = answered.await; // errors of the connection are the client's
        drop(slot);
    }

    /// Answers all requests of the connection.
    async fn answer(self, stream: TcpStream) {
        let service = TowerToHyperService::new(self.routes);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            if let Ok(stream) = tls::handshake(tls.acceptor(), stream, self.limits.arrival).await {
                converse(stream, service, &self.limits, self.watcher).await;
            }
            return;
        }
        converse(stream, service, &self.limits, self.watcher).await;
    }

    /// Answers requests for health and metrics on this thread, and sends others to the answering threads.
    async fn answer_here(self, stream: TcpStream) {
        let (routes, answering) = (self.routes, self.answering);
        let service = service_fn(move |request: Request<Incoming>| {
            let (routes, answering) = (routes.clone(), answering.clone());
            async move {
                let here = is_health(request.uri().path());
                let answer = TowerToHyperService::new(routes).call(request);
                if here {
                    return answer.await;
                }
                let failed = |_| Ok(Problem::internal("the request failed").into_response());
                answering.spawn(answer).await.unwrap_or_else(failed)
            }
        });
        converse(stream, service, &self.limits, self.watcher).await;
    }
}

/// The first bytes that the client sends, which stay in the stream. `None` if none arrive in time.
async fn first_bytes(stream: &TcpStream, within: Duration) -> Option<[u8; 16]> {
    let mut begins = [0; 16];
    match tokio::time::timeout(within, stream.peek(&mut begins)).await {
        Ok(Ok(n)) if n > 0 => Some(begins),
        _ => None,
    }
}

/// Whether a connection begins with a request for health or metrics. Their clients send it in one piece.
fn asks_for_health(begins: &[u8]) -> bool {
    let path = begins.strip_prefix(b"GET ").or_else(|| begins.strip_prefix(b"HEAD "));
    path.is_some_and(|path| path.starts_with(b"/health/") || path.starts_with(b"/metrics"))
}

/// Whether a path is answered on the way of its own.
pub(crate) fn is_health(path: &str) -> bool {
    path.starts_with("/health/") || path == "/metrics"
}

/// Tells a client that there are too many connections.
async fn refuse(stream: &TcpStream) {
    let answer = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    // Nothing was written to it yet, so there is room.
    if let Ok(Ok(())) = tokio::time::timeout(PAUSE, stream.writable()).await {
        _ = stream.try_write(answer.as_bytes());
    }
}

/// Reads requests and writes answers until one side closes the connection.
async fn converse<S, V>(stream: S, service: V, limits: &Limits, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    V: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.arrival)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Paced::new(stream, limits.departure)), service);
    _ = watcher.watch(connection).await; // errors of the connection are the client's
}
