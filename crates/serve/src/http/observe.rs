//! For every request: an id, metrics, a log line and a span.

use super::hosts::Hosts;
use crate::app::Shared;
use crate::server::is_health;
use crate::telemetry::{OTHER, method_label};
#[cfg(feature = "otlp")]
use crate::telemetry::{RequestSpan, SpanEnd};
use crate::wire::{FallbackRung, Problem};
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The model that answered. Handlers attach it to the response, for metrics and logs.
#[derive(Clone)]
pub(super) struct AnsweredBy {
    pub model: Arc<str>,
    /// Set if a fallback answered instead of the model.
    pub degraded: Option<FallbackRung>,
}

/// What the observing needs.
#[derive(Clone)]
pub(super) struct Observer {
    pub app: Shared,
    /// The names that clients may use; any if there are none.
    pub hosts: Option<Arc<Hosts>>,
}

pub(super) async fn observe(
    State(Observer { app, hosts }): State<Observer>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let progress = Progress::begin(&app);
    let id = request.headers().get(&REQUEST_ID).filter(|id| is_safe(id)).cloned();
    let id = id.unwrap_or_else(new_id);
    #[cfg(feature = "otlp")]
    let span = app.spans.as_ref().map(|spans| (spans, RequestSpan::begin(request.headers())));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // Health checks must not see that the server is busy: an orchestrator would kill it.
    let busy = app.in_progress.load(Ordering::Relaxed) > app.limits.in_progress;
    let foreign = hosts.as_ref().and_then(|hosts| hosts.check(&request).err());
    let response = if let Some(problem) = foreign {
        problem.into_response()
    } else if busy && !is_health(request.uri().path()) {
        Problem::overloaded("too many requests are in progress").into_response()
    } else {
        next.run(request).await
    };
    let mut response = until_written(response, progress).await;
    let route = route.as_ref().map_or(OTHER, MatchedPath::as_str);
    let (status, took) = (response.status().as_u16(), began.elapsed());
    let by = response.extensions().get::<AnsweredBy>().cloned();
    let model = by.as_ref().map_or("", |by| &by.model);
    let rung = by.as_ref().and_then(|by| by.degraded).map(FallbackRung::name);
    app.metrics.request(method_label(method.as_str()), route, status, model, took);
    let ms = took.as_secs_f64() * 1e3;
    let request_id = id.to_str().unwrap_or_default();
    #[cfg(feature = "otlp")]
    if let Some((spans, span)) = span {
        let method = method_label(method.as_str());
        let end = SpanEnd { method, route, status, model, request_id, rung };
        spans.record(span, &end, &app.metrics);
    }
    // No user ids and no parameters: logs are kept longer than personal data should be.
    match status {
        500.. => tracing::warn!(request_id, %method, route, status, model, rung, ms, "request"),
        _ => tracing::info!(request_id, %method, route, status, model, rung, ms, "request"),
    }
    response.headers_mut().insert(REQUEST_ID.clone(), id);
    response
}

/// Answers from this size on are counted until the client has taken them. Smaller ones mostly fit into what the operating system keeps
/// for the connection.
const LARGE: usize = 16 << 10;

/// Keeps a request in progress until its answer is written, if that is large. Refuses it if too many such answers wait for their
/// clients.
async fn until_written(response: Response, progress: Progress) -> Response {
    let size = response.body().size_hint().lower() as usize;
    if size < LARGE {
        return response;
    }
    let app = Arc::clone(&progress.app);
    if app.unread.fetch_add(size, Ordering::Relaxed) + size > app.limits.unread {
        app.unread.fetch_sub(size, Ordering::Relaxed);
        let problem = "too many bytes of answers wait for their clients to read them";
        return Problem::overloaded(problem).into_response();
    }
    let (head, body) = response.into_parts();
    let counted = Counted { size, progress };
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(
            head,
            Body::from(Bytes::from_owner(Unread { bytes, _counted: counted })),
        ),
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}

/// An answer that is counted as long as it is in memory.
struct Unread {
    bytes: Bytes,
    _counted: Counted,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Counted {
    size: usize,
    progress: Progress,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.progress.app.unread.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// Counts a request while it is in progress, even if its task is cancelled.
struct Progress {
    app: Shared,
}

impl Progress {
    fn begin(app: &Shared) -> Self {
        app.in_progress.fetch_add(1, Ordering::Relaxed);
        Self { app: Arc::clone(app) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.app.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a client's id may be logged and returned.
fn is_safe(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// An id that is unique in this process, and almost surely across processes.
fn new_id() -> HeaderValue {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{:016x}", KEY.hash_one(number));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("none"))
}
