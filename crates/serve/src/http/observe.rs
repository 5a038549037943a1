//! What is done with every request: a number to find it by, and a line of the log.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) async fn observe(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request.headers().get(&REQUEST_ID).filter(|id| sane(id)).cloned();
    let id = id.unwrap_or_else(new_id);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let (status, ms) = (response.status().as_u16(), began.elapsed().as_secs_f64() * 1e3);
    let request_id = id.to_str().unwrap_or_default();
    // No ids of users and no parameters: a log is kept longer than what it speaks of should be.
    match status {
        500.. => tracing::warn!(request_id, %method, route, status, ms, "request"),
        _ => tracing::info!(request_id, %method, route, status, ms, "request"),
    }
    response.headers_mut().insert(REQUEST_ID.clone(), id);
    response
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
