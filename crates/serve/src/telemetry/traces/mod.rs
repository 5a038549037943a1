//! A span for each request, sent to a collector as OTLP over HTTP (protobuf) without delaying the request.
//!
//! Requests put their spans into a queue, and a task sends them in batches. If the queue is full because the
//! collector is slow, spans are dropped; if the collector is down or refuses a batch, the batch is dropped.
//! Both are counted, no request waits, and nothing is sent twice.
//!
//! A client's `traceparent` (W3C Trace Context) is continued: its trace, its span as the parent, and its flag
//! that the trace is not recorded. All other requests begin a new trace.
//!
//! OpenTelemetry's own crates are not used: with an HTTP client they add 48 crates (13 without), and the
//! queue of the SDK does not report how much it drops.

#[cfg(test)]
mod tests;

mod otlp;

use super::metrics::{Metrics, OTHER, SpanLabels};
use crate::{Error, Result};
use axum::body::Body;
use axum::http::{HeaderMap, Request, Uri, header, uri::Scheme};
use hyper_util::rt::TokioIo;
use otlp::Value;
use prost::Message as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of spans in the queue; more are dropped.
const QUEUE: usize = 4096;
/// Maximum number of spans in a batch.
const BATCH: usize = 512;
/// Maximum time to fill a batch.
const FILL: Duration = Duration::from_secs(1);
/// Maximum time for the collector to accept a batch.
const SEND: Duration = Duration::from_secs(5);
/// Maximum time to send the last spans at shutdown.
const FLUSH: Duration = Duration::from_secs(3);

/// Sends the spans of requests to a collector.
#[derive(Debug)]
pub struct SpanExporter {
    collector: Uri,
    sender: mpsc::Sender<otlp::Span>,
    /// Taken by the task that sends.
    receiver: Mutex<Option<mpsc::Receiver<otlp::Span>>>,
}

impl SpanExporter {
    /// Exports to the collector at `http://HOST:PORT`, path `/v1/traces`.
    ///
    /// # Errors
    /// If the URL has another form.
    pub fn to(url: &str) -> Result<Self> {
        Self::with_queue(url, QUEUE)
    }

    fn with_queue(url: &str, waiting: usize) -> Result<Self> {
        let wrong = |problem: String| Error::Setting { key: format!("otlp: {url}"), problem };
        let base: Uri = url.parse().map_err(|error| wrong(format!("{error}")))?;
        let (Some(authority), true) = (base.authority(), base.scheme() == Some(&Scheme::HTTP))
        else {
            let problem = "expected http://HOST:PORT; for a remote collector, run a local one that forwards over TLS";
            return Err(wrong(problem.into()));
        };
        let path = format!("{}/v1/traces", base.path().trim_end_matches('/'));
        let collector = Uri::builder().scheme(Scheme::HTTP).authority(authority.clone());
        let collector = collector.path_and_query(path).build();
        let collector = collector.map_err(|error| wrong(error.to_string()))?;
        let (sender, receiver) = mpsc::channel(waiting);
        Ok(Self { collector, sender, receiver: Mutex::new(Some(receiver)) })
    }

    /// Queues a finished span, or drops it.
    pub(crate) fn record(&self, span: RequestSpan, end: &SpanEnd<'_>, metrics: &Metrics) {
        let Some(context) = span.context else { return };
        if self.sender.try_send(context.ended(span.began, end)).is_err() {
            count(metrics, "dropped", 1);
        }
    }

    /// Sends spans until `end`, then the remaining ones. A second caller has nothing to send.
    pub(crate) async fn send(&self, metrics: &Metrics, end: oneshot::Receiver<()>) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        let mut end = std::pin::pin!(async {
            _ = end.await;
            tokio::time::Instant::now() + FLUSH
        });
        let mut flush_until = None;
        loop {
            let mut batch = Vec::new();
            let mut full = tokio::time::Instant::now() + FILL;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                tokio::select! {
                    last = &mut end, if flush_until.is_none() => {
                        flush_until = Some(last);
                        receiver.close();
                    }
                    n = receiver.recv_many(&mut batch, room) => {
                        if n == 0 {
                            break;
                        }
                        if n == batch.len() {
                            full = tokio::time::Instant::now() + FILL; // these are the first ones
                        }
                    }
                    () = tokio::time::sleep_until(full), if !batch.is_empty() => break,
                }
            }
            if batch.is_empty() {
                return;
            }
            let n = batch.len() as u64;
            let deadline = tokio::time::Instant::now() + SEND;
            let deadline = flush_until.map_or(deadline, |until| deadline.min(until));
            match tokio::time::timeout_at(deadline, self.post(batch)).await {
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

    async fn post(&self, spans: Vec<otlp::Span>) -> std::result::Result<(), String> {
        let message = |error: &dyn std::fmt::Display| error.to_string();
        let authority = self.collector.authority().map_or("", |authority| authority.as_str());
        let host = self.collector.host().unwrap_or_default();
        let address = (host.trim_matches(['[', ']']), self.collector.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(address).await.map_err(|error| message(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| message(&error))?;
        let request = Request::post(self.collector.path())
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONNECTION, "close")
            .body(Body::from(otlp::export(spans).encode_to_vec()))
            .map_err(|error| message(&error))?;
        // This task ends when the response, or the caller that waits for it, is gone.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| message(&error))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("the collector answered {status}")) }
    }
}

fn count(metrics: &Metrics, outcome: &'static str, n: u64) {
    metrics.spans.get_or_create(&SpanLabels { outcome }).inc_by(n);
}

/// The span of a request in progress.
pub(crate) struct RequestSpan {
    began: u64,
    /// `None` if the client does not record the trace.
    context: Option<TraceContext>,
}

/// How a request ended.
pub(crate) struct SpanEnd<'a> {
    pub method: &'a str,
    pub route: &'a str,
    pub status: u16,
    pub model: &'a str,
    pub request_id: &'a str,
    /// The rung of the fallback ladder, if it answered.
    pub rung: Option<&'static str>,
}

/// The trace that a span belongs to.
struct TraceContext {
    trace: [u8; 16],
    /// The client's span; empty if the trace begins here.
    parent: Vec<u8>,
    state: String,
}

impl RequestSpan {
    pub fn begin(headers: &HeaderMap) -> Self {
        let given =
            headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(parse);
        let context = match given {
            Some((_, _, false)) => None,
            Some((trace, parent, true)) => {
                let state = headers.get("tracestate").and_then(|value| value.to_str().ok());
                let state = state.filter(|state| state.len() <= 512).unwrap_or_default().to_owned();
                Some(TraceContext { trace, parent: parent.to_vec(), state })
            }
            None => {
                let trace = (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
                Some(TraceContext { trace, parent: Vec::new(), state: String::new() })
            }
        };
        Self { began: now(), context }
    }
}

impl TraceContext {
    fn ended(self, began: u64, end: &SpanEnd<'_>) -> otlp::Span {
        let text = |key: &str, value: &str| otlp::attribute(key, Value::Text(value.into()));
        // OpenTelemetry's conventions for HTTP. A path that matches no route is not reported, because clients
        // can invent it.
        let (method, name) =
            if end.method == OTHER { ("_OTHER", "HTTP") } else { (end.method, end.method) };
        let route = (end.route != OTHER).then_some(end.route);
        let mut attributes = vec![
            text("http.request.method", method),
            otlp::attribute("http.response.status_code", Value::Int(end.status.into())),
            text("rankstill.request_id", end.request_id),
            otlp::attribute("rankstill.degraded", Value::Bool(end.rung.is_some())),
        ];
        attributes.extend(route.map(|route| text("http.route", route)));
        attributes.extend(end.rung.map(|rung| text("rankstill.rung", rung)));
        attributes.extend((!end.model.is_empty()).then(|| text("rankstill.model", end.model)));
        let failed = end.status >= 500;
        otlp::Span {
            trace_id: self.trace.to_vec(),
            span_id: random().to_be_bytes().to_vec(),
            trace_state: self.state,
            parent_span_id: self.parent,
            name: route.map_or_else(|| name.to_owned(), |route| format!("{name} {route}")),
            kind: otlp::SERVER,
            start: began,
            end: now().max(began), // the clock may have been set back
            attributes,
            status: failed.then_some(otlp::Status { code: otlp::ERROR }),
        }
    }
}

/// Reads `traceparent`: trace, parent, and whether the trace is recorded.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut parts = text.split('-');
    let [version, trace, parent, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let [version] = hex::<1>(version)?;
    // A later version may have more parts, but these four keep their meaning.
    let known = version != 0xff && (version > 0 || parts.next().is_none());
    let (trace, parent, [flags]) = (hex(trace)?, hex(parent)?, hex::<1>(flags)?);
    let non_zero = trace != [0; 16] && parent != [0; 8];
    (known && non_zero).then_some((trace, parent, flags & 1 == 1))
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

/// Different at every call, almost surely different from other processes, and never 0.
fn random() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(NEXT.fetch_add(1, Ordering::Relaxed)).max(1)
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
