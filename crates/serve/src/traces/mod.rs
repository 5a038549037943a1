//! A span for each request, sent to a collector as OTLP over HTTP (protobuf), off the way of the requests.
//!
//! Requests put their spans into a queue; a task of its own sends what is there, a batch at a time. Where the queue is full, because the
//! collector is slow, spans are dropped; where the collector refuses or is not there, the batch is. Both are counted, nobody waits, and
//! nothing is sent a second time.
//!
//! A client's `traceparent` (W3C Trace Context) is gone on with: its trace, its span as the parent, and its word that this
//! trace is not recorded. All others begin a trace.
//!
//! OpenTelemetry's own crates were left aside: with an HTTP client they bring 48 new crates (13 without), and the SDK's
//! queue does not say how much it drops.

#[cfg(test)]
mod tests;
mod wire;

use crate::metrics::{Metrics, OTHER, SpanLabels};
use crate::{Error, Result};
use axum::body::Body;
use axum::http::{HeaderMap, Request, Uri, header, uri::Scheme};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use wire::Value;

/// Spans that wait to be sent; more are dropped.
const WAITING: usize = 4096;
/// Spans in a batch.
const TOGETHER: usize = 512;
/// How long a batch is waited for until it is full.
const GATHERED: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end waits for the last spans to be sent.
const FLUSHED: Duration = Duration::from_secs(3);

/// Where spans go.
#[derive(Debug)]
pub struct Traces {
    collector: Uri,
    sender: mpsc::Sender<wire::Span>,
    /// Until somebody sends.
    receiver: Mutex<Option<mpsc::Receiver<wire::Span>>>,
}

impl Traces {
    /// To the collector at `http://HOST:PORT`, at `/v1/traces` below it.
    ///
    /// # Errors
    /// When the URL is no such thing.
    pub fn to(url: &str) -> Result<Self> {
        Self::with_queue(url, WAITING)
    }

    fn with_queue(url: &str, waiting: usize) -> Result<Self> {
        let wrong = |problem: String| Error::Setting { key: format!("otlp: {url}"), problem };
        let base: Uri = url.parse().map_err(|error| wrong(format!("{error}")))?;
        let (Some(authority), true) = (base.authority(), base.scheme() == Some(&Scheme::HTTP))
        else {
            let problem = "expected http://HOST:PORT; beyond this machine, run a collector here that encrypts";
            return Err(wrong(problem.into()));
        };
        let path = format!("{}/v1/traces", base.path().trim_end_matches('/'));
        let collector = Uri::builder().scheme(Scheme::HTTP).authority(authority.clone());
        let collector = collector.path_and_query(path).build();
        let collector = collector.map_err(|error| wrong(error.to_string()))?;
        let (sender, receiver) = mpsc::channel(waiting);
        Ok(Self { collector, sender, receiver: Mutex::new(Some(receiver)) })
    }

    /// Keeps a span until it is sent, or drops it.
    pub(crate) fn keep(&self, span: Span, done: &Done<'_>, metrics: &Metrics) {
        let Some(context) = span.context else { return };
        if self.sender.try_send(context.ended(span.began, done)).is_err() {
            count(metrics, "dropped", 1);
        }
    }

    /// Sends until `end`, and then what is left. The second caller has nothing to send.
    pub(crate) async fn send(&self, metrics: &Metrics, end: oneshot::Receiver<()>) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        let mut end = std::pin::pin!(async {
            _ = end.await;
            tokio::time::Instant::now() + FLUSHED
        });
        let mut until = None;
        loop {
            let mut batch = Vec::new();
            let mut full = tokio::time::Instant::now() + GATHERED;
            while batch.len() < TOGETHER {
                let room = TOGETHER - batch.len();
                tokio::select! {
                    last = &mut end, if until.is_none() => {
                        until = Some(last);
                        receiver.close();
                    }
                    n = receiver.recv_many(&mut batch, room) => {
                        if n == 0 {
                            break;
                        }
                        if n == batch.len() {
                            full = tokio::time::Instant::now() + GATHERED; // the first of them
                        }
                    }
                    () = tokio::time::sleep_until(full), if !batch.is_empty() => break,
                }
            }
            if batch.is_empty() {
                return;
            }
            let n = batch.len() as u64;
            let soon = tokio::time::Instant::now() + PATIENCE;
            let soon = until.map_or(soon, |until| soon.min(until));
            match tokio::time::timeout_at(soon, self.post(batch)).await {
                Ok(Ok(())) => count(metrics, "sent", n),
                Ok(Err(problem)) => {
                    tracing::warn!(collector = %self.collector, problem, "spans were not sent");
                    count(metrics, "refused", n);
                }
                Err(_) => {
                    tracing::warn!(collector = %self.collector, problem = "too slow", "spans were not sent");
                    count(metrics, "refused", n);
                }
            }
        }
    }

    async fn post(&self, spans: Vec<wire::Span>) -> std::result::Result<(), String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let authority = self.collector.authority().map_or("", |authority| authority.as_str());
        let host = self.collector.host().unwrap_or_default();
        let address = (host.trim_matches(['[', ']']), self.collector.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(address).await.map_err(|error| told(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| told(&error))?;
        let request = Request::post(self.collector.path())
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONNECTION, "close")
            .body(Body::from(wire::of(spans).encode_to_vec()))
            .map_err(|error| told(&error))?;
        // It ends when the answer, or whoever waits for it, is gone.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

fn count(metrics: &Metrics, outcome: &'static str, n: u64) {
    metrics.spans.get_or_create(&SpanLabels { outcome }).inc_by(n);
}

/// A request that has begun.
pub(crate) struct Span {
    began: u64,
    /// None where whoever began the trace does not record it.
    context: Option<Context>,
}

/// How it ended.
pub(crate) struct Done<'a> {
    pub method: &'a str,
    pub route: &'a str,
    pub status: u16,
    pub model: &'a str,
    pub request_id: &'a str,
    /// The rung of the ladder that answered.
    pub rung: Option<&'static str>,
}

/// Of which trace it is part.
struct Context {
    trace: [u8; 16],
    /// The caller's span; empty where the trace begins here.
    parent: Vec<u8>,
    state: String,
}

impl Span {
    pub fn begin(headers: &HeaderMap) -> Self {
        let given =
            headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(parse);
        let context = match given {
            Some((_, _, false)) => None,
            Some((trace, parent, true)) => {
                let state = headers.get("tracestate").and_then(|value| value.to_str().ok());
                let state = state.filter(|state| state.len() <= 512).unwrap_or_default().to_owned();
                Some(Context { trace, parent: parent.to_vec(), state })
            }
            None => {
                let trace = (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
                Some(Context { trace, parent: Vec::new(), state: String::new() })
            }
        };
        Self { began: now(), context }
    }
}

impl Context {
    fn ended(self, began: u64, done: &Done<'_>) -> wire::Span {
        let text = |key: &str, value: &str| wire::attribute(key, Value::Text(value.into()));
        // As OpenTelemetry's conventions for HTTP have it; a path without a route is not told: who asks makes it up.
        let (method, name) =
            if done.method == OTHER { ("_OTHER", "HTTP") } else { (done.method, done.method) };
        let route = (done.route != OTHER).then_some(done.route);
        let mut attributes = vec![
            text("http.request.method", method),
            wire::attribute("http.response.status_code", Value::Int(done.status.into())),
            text("rankstill.request_id", done.request_id),
            wire::attribute("rankstill.degraded", Value::Bool(done.rung.is_some())),
        ];
        attributes.extend(route.map(|route| text("http.route", route)));
        attributes.extend(done.rung.map(|rung| text("rankstill.rung", rung)));
        attributes.extend((!done.model.is_empty()).then(|| text("rankstill.model", done.model)));
        let failed = done.status >= 500;
        wire::Span {
            trace_id: self.trace.to_vec(),
            span_id: random().to_be_bytes().to_vec(),
            trace_state: self.state,
            parent_span_id: self.parent,
            name: route.map_or_else(|| name.to_owned(), |route| format!("{name} {route}")),
            kind: wire::SERVER,
            start: began,
            end: now().max(began), // a clock can be set back
            attributes,
            status: failed.then_some(wire::Status { code: wire::ERROR }),
        }
    }
}

/// Trace, parent, and whether it is recorded, from `traceparent`.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut parts = text.split('-');
    let [version, trace, parent, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let [version] = hex::<1>(version)?;
    // A later version may have more parts; what it says here stays the same.
    let known = version != 0xff && (version > 0 || parts.next().is_none());
    let (trace, parent, [flags]) = (hex(trace)?, hex(parent)?, hex::<1>(flags)?);
    let named = trace != [0; 16] && parent != [0; 8];
    (known && named).then_some((trace, parent, flags & 1 == 1))
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 2 * N || !digits {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Different each time, hardly ever what another process has, and never 0.
fn random() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(NEXT.fetch_add(1, Ordering::Relaxed)).max(1)
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
