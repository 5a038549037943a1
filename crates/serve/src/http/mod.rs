//! The routes. Handlers read a request, put it to the scoring threads or the store, and write what comes back.

mod admin;
mod events;
mod health;
mod items;
mod observe;
mod recommend;
#[cfg(test)]
mod tests;

pub(crate) use admin::{
    __path_challenge, __path_dismiss, __path_metrics, __path_promote, __path_rollback, __path_swap,
};
pub(crate) use events::{__path_append, __path_export, __path_forget};
pub(crate) use health::{__path_live, __path_ready};
pub(crate) use items::{__path_models, __path_search, __path_similar};
pub(crate) use recommend::{__path_batch, __path_for_user, __path_post};

pub(crate) use admin::{SwapRequest, Swapped, TrialRequest, TrialState};
pub(crate) use events::{Appended, EventBatch, Forgotten};
pub(crate) use health::Health;

use crate::app::{App, Shared};
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post, put};
use std::sync::Arc;

/// All routes over this state.
pub fn router(app: Arc<App>) -> Router {
    let app: Shared = app;
    let answers = Router::new()
        .route("/v1/users/{id}/recommendations", get(recommend::for_user))
        .route("/v1/users/{id}", delete(events::forget))
        .route("/v1/recommendations", post(recommend::post))
        .route("/v1/recommendations:batch", post(recommend::batch))
        .route("/v1/items/{id}/similar", get(items::similar))
        .route("/v1/items", get(items::search))
        .route("/v1/models", get(items::models))
        .route("/v1/events", post(events::append))
        .route("/metrics", get(admin::metrics))
        .route_layer(from_fn_with_state(Arc::clone(&app), admin::guard_answers));
    let administration = Router::new()
        .route("/admin/events", get(events::export))
        .route("/admin/models/{id}/swap", post(admin::swap))
        .route("/admin/models/{id}/rollback", post(admin::rollback))
        .route("/admin/models/{id}/challenger", put(admin::challenge).delete(admin::dismiss))
        .route("/admin/models/{id}/challenger/promote", post(admin::promote))
        .route_layer(from_fn_with_state(Arc::clone(&app), admin::guard));
    Router::new()
        .merge(answers)
        .merge(administration)
        .merge(crate::page::routes())
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/openapi.json", get(openapi))
        .fallback(async || Problem::not_found("no such path; see /openapi.json"))
        .method_not_allowed_fallback(async || Problem::method())
        .layer(from_fn_with_state(Arc::clone(&app), observe::observe))
        .with_state(app)
}

async fn openapi(State(app): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone())
}
