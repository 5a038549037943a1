//! The routes. Handlers read a request, put it to the scoring threads or the store, and write what comes back.

mod events;
mod health;
mod items;
mod observe;
mod recommend;
#[cfg(test)]
mod tests;

pub(crate) use events::{__path_append, __path_forget};
pub(crate) use health::{__path_live, __path_ready};
pub(crate) use items::{__path_models, __path_similar};
pub(crate) use recommend::{__path_batch, __path_for_user, __path_post};

pub(crate) use events::{Appended, EventBatch, Forgotten};
pub(crate) use health::Health;

use crate::app::{App, Shared};
use crate::problem::Problem;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use std::sync::Arc;

/// All routes over this state.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/users/{id}/recommendations", get(recommend::for_user))
        .route("/v1/users/{id}", delete(events::forget))
        .route("/v1/recommendations", post(recommend::post))
        .route("/v1/recommendations:batch", post(recommend::batch))
        .route("/v1/items/{id}/similar", get(items::similar))
        .route("/v1/models", get(items::models))
        .route("/v1/events", post(events::append))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/openapi.json", get(openapi))
        .fallback(async || Problem::not_found("no such path; see /openapi.json"))
        .method_not_allowed_fallback(async || Problem::method())
        .layer(axum::middleware::from_fn(observe::observe))
        .with_state::<()>(app as Shared)
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], crate::openapi())
}
