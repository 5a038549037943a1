//! The routes. Handlers read a request, pass it to the scoring threads or the event store, and write the answer.

mod admin;
mod answer;
mod events;
mod extract;
mod health;
mod hosts;
mod items;
mod observe;
mod openapi;
mod page;
mod recommend;
#[cfg(test)]
mod tests;

pub(crate) use hosts::Hosts;
pub use openapi::openapi;

use crate::app::{App, Shared};
use crate::wire::Problem;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use std::sync::Arc;

/// All routes of a server. Any host name will do.
pub fn router(app: Arc<App>) -> Router {
    routes_for(app, None)
}

/// All routes of a server that clients may ask for by these names.
pub(crate) fn routes_for(app: Arc<App>, hosts: Option<Hosts>) -> Router {
    let app: Shared = app;
    let observer = observe::Observer { app: Arc::clone(&app), hosts: hosts.map(Arc::new) };
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
        .route_layer(from_fn_with_state(Arc::clone(&app), admin::require_key));
    let administration = Router::new()
        .route("/admin/events", get(events::export))
        .route("/admin/models/{id}/swap", post(admin::swap))
        .route("/admin/models/{id}/rollback", post(admin::rollback))
        .route("/admin/models/{id}/challenger", put(admin::challenge).delete(admin::dismiss))
        .route("/admin/models/{id}/challenger/promote", post(admin::promote))
        .route_layer(from_fn_with_state(Arc::clone(&app), admin::require_admin_key));
    Router::new()
        .merge(answers)
        .merge(administration)
        .merge(page::routes())
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/openapi.json", get(openapi::document))
        .fallback(async || Problem::not_found("no such path; see /openapi.json"))
        .method_not_allowed_fallback(async || Problem::method())
        .layer(from_fn_with_state(observer, observe::observe))
        .with_state(app)
}
