//! Whether the process lives, and whether it should be sent requests.

use crate::app::Shared;
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use std::sync::atomic::Ordering;
use utoipa::ToSchema;

/// That all is well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    pub status: &'static str,
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Models are loaded and the server is not about to end.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, body = Health),
        (status = 503),
    )
)]
pub(super) async fn ready(State(app): State<Shared>) -> Response {
    if app.draining.load(Ordering::Relaxed) {
        return Problem::overloaded("the server is shutting down").into_response();
    }
    Json(Health { status: "ok" }).into_response()
}
