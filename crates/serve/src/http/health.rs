//! Whether the process is alive, and whether it should receive requests.

use crate::app::Shared;
use crate::wire::Problem;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A healthy server.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    pub status: &'static str,
}

/// The process is alive.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Models answer, events can be stored, and the server is not shutting down.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, body = Health),
        (status = 503),
    )
)]
pub(super) async fn ready(State(app): State<Shared>) -> Response {
    if let Some(why) = app.not_ready() {
        return Problem::unavailable(why).into_response();
    }
    Json(Health { status: "ok" }).into_response()
}
