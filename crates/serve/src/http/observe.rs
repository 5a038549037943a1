//! What is done with every request: a number to find it by, and a line of the log.

use crate::app::Shared;
use crate::metrics::{OTHER, known};
use crate::problem::Problem;
use crate::request::Rung;
#[cfg(feature = "otlp")]
use crate::traces::{Done, Span};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which model answered: put into a response by its handler, taken out for the metrics.
#[derive(Clone)]
pub(super) struct AnsweredBy {
    pub model: Arc<str>,
    /// Where it was not the model itself.
    pub degraded: Option<Rung>,
}

pub(super) async fn observe(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let _progress = Progress::begin(&app.in_progress);
    let id = request.headers().get(&REQUEST_ID).filter(|id| sane(id)).cloned();
    let id = id.unwrap_or_else(new_id);
    #[cfg(feature = "otlp")]
    let span = app.traces.as_ref().map(|traces| (traces, Span::begin(request.headers())));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // Whoever asks whether the process lives must not be told that it is busy: it would be ended.
    let busy = app.in_progress.load(Ordering::Relaxed) > app.limits.in_progress;
    let mut response = if busy && !request.uri().path().starts_with("/health/") {
        Problem::overloaded("too many requests are in progress").into_response()
    } else {
        next.run(request).await
    };
    let route = route.as_ref().map_or(OTHER, MatchedPath::as_str);
    let (status, took) = (response.status().as_u16(), began.elapsed());
    let by = response.extensions().get::<AnsweredBy>().cloned();
    let model = by.as_ref().map_or("", |by| &by.model);
    let rung = by.as_ref().and_then(|by| by.degraded).map(Rung::name);
    app.metrics.request(known(method.as_str()), route, status, model, took);
    let ms = took.as_secs_f64() * 1e3;
    let request_id = id.to_str().unwrap_or_default();
    #[cfg(feature = "otlp")]
    if let Some((traces, span)) = span {
        let method = known(method.as_str());
        traces.keep(span, &Done { method, route, status, model, request_id, rung }, &app.metrics);
    }
    // No ids of users and no parameters: a log is kept longer than what it speaks of should be.
    match status {
        500.. => tracing::warn!(request_id, %method, route, status, model, rung, ms, "request"),
        _ => tracing::info!(request_id, %method, route, status, model, rung, ms, "request"),
    }
    response.headers_mut().insert(REQUEST_ID.clone(), id);
    response
}

/// Counts a request as long as it is in progress, whatever becomes of it.
struct Progress<'a>(&'a AtomicUsize);

impl<'a> Progress<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether it may be written back and logged.
fn sane(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Different from all others of this process, and hardly ever that of another.
fn new_id() -> HeaderValue {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{:016x}", KEY.hash_one(number));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("none"))
}
