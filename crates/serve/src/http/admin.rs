//! What is served is changed here, by who has an administrator's key: another version, the one before, a second model on trial.
//! And what is counted is read here.

use crate::app::{App, Shared};
use crate::challenger::{Challenger, Trial, TrialReport};
use crate::extract::{Json, PathId};
use crate::metrics::SwapLabels;
use crate::models::Slot;
use crate::problem::Problem;
use crate::snapshot::Snapshot;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// Another version of a model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SwapRequest {
    /// A folder on the server's machine.
    pub artefact: String,
}

/// A second model, to be tried.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialRequest {
    /// A folder on the server's machine.
    pub artefact: String,
    /// How.
    pub trial: Trial,
}

/// Which version answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Swapped {
    /// The model.
    pub model: String,
    /// The version that answers now.
    pub version: String,
    /// The version that answered before; `rollback` brings it back.
    pub previous: String,
    /// How long it took to read, check and warm it, in seconds.
    pub seconds: f64,
}

/// A trial, as it began or as it ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct TrialState {
    /// The model that answers.
    pub model: String,
    /// The version that is tried.
    pub version: String,
    /// How it went so far.
    pub report: TrialReport,
}

/// Reads another version, checks and warms it, and lets it answer. The version that answers meanwhile is not disturbed; if the new
/// one fails a check, it stays.
#[utoipa::path(
    post, path = "/admin/models/{id}/swap", tag = "admin",
    params(("id" = String, Path, description = "The model's name")),
    request_body = SwapRequest,
    responses(
        (status = 200, body = Swapped),
        (status = 409),
        (status = 422),
    )
)]
pub(super) async fn swap(
    State(app): State<Shared>,
    PathId(name): PathId,
    Json(request): Json<SwapRequest>,
) -> Result<axum::Json<Swapped>, Problem> {
    let began = Instant::now();
    let slot = Arc::clone(app.models.slot("id", Some(&name.0))?);
    let loaded = load(&app, &slot, request.artefact).await;
    let snapshot = loaded.inspect_err(|_| count(&app, &slot, "refused"))?;
    let version = snapshot.version.clone();
    let previous = slot.swap(Arc::new(snapshot));
    count(&app, &slot, "swapped");
    tracing::warn!(model = slot.name, version, previous = previous.version, "swapped");
    let seconds = began.elapsed().as_secs_f64();
    let (model, previous) = (slot.name.clone(), previous.version.clone());
    Ok(axum::Json(Swapped { model, version, previous, seconds }))
}

/// Lets the version before answer again.
#[utoipa::path(
    post, path = "/admin/models/{id}/rollback", tag = "admin",
    params(("id" = String, Path, description = "The model's name")),
    responses(
        (status = 200, body = Swapped),
        (status = 409),
        (status = 422),
    )
)]
pub(super) async fn rollback(
    State(app): State<Shared>,
    PathId(name): PathId,
) -> Result<axum::Json<Swapped>, Problem> {
    let slot = app.models.slot("id", Some(&name.0))?;
    let none = || Problem::conflict(format!("`{}` was never swapped", slot.name));
    let back = slot.roll_back().ok_or_else(none)?;
    let previous = slot.previous().map(|previous| previous.version.clone()).unwrap_or_default();
    count(&app, slot, "rolled_back");
    tracing::warn!(model = slot.name, version = back.version, previous, "rolled back");
    let (model, version) = (slot.name.clone(), back.version.clone());
    Ok(axum::Json(Swapped { model, version, previous, seconds: 0.0 }))
}

/// Tries a second model beside the one that answers.
#[utoipa::path(
    put, path = "/admin/models/{id}/challenger", tag = "admin",
    params(("id" = String, Path, description = "The model's name")),
    request_body = TrialRequest,
    responses(
        (status = 200, body = TrialState),
        (status = 409),
        (status = 422),
    )
)]
pub(super) async fn challenge(
    State(app): State<Shared>,
    PathId(name): PathId,
    Json(request): Json<TrialRequest>,
) -> Result<axum::Json<TrialState>, Problem> {
    request.trial.check()?;
    let slot = Arc::clone(app.models.slot("id", Some(&name.0))?);
    let snapshot = load(&app, &slot, request.artefact).await?;
    let challenger = Arc::new(Challenger::new(snapshot, request.trial));
    slot.begin_trial(Arc::clone(&challenger));
    tracing::warn!(model = slot.name, version = challenger.snapshot.version, "a trial begins");
    Ok(axum::Json(state(&slot, &challenger)))
}

/// Ends a trial.
#[utoipa::path(
    delete, path = "/admin/models/{id}/challenger", tag = "admin",
    params(("id" = String, Path, description = "The model's name")),
    responses(
        (status = 200, body = TrialState),
        (status = 409),
        (status = 422),
    )
)]
pub(super) async fn dismiss(
    State(app): State<Shared>,
    PathId(name): PathId,
) -> Result<axum::Json<TrialState>, Problem> {
    let slot = app.models.slot("id", Some(&name.0))?;
    let tried = slot.end_trial(None).ok_or_else(|| no_trial(slot))?;
    tracing::warn!(model = slot.name, version = tried.snapshot.version, "a trial ends");
    Ok(axum::Json(state(slot, &tried)))
}

/// Lets the model on trial answer all requests from now on.
#[utoipa::path(
    post, path = "/admin/models/{id}/challenger/promote", tag = "admin",
    params(("id" = String, Path, description = "The model's name")),
    responses(
        (status = 200, body = TrialState),
        (status = 409),
        (status = 422),
    )
)]
pub(super) async fn promote(
    State(app): State<Shared>,
    PathId(name): PathId,
) -> Result<axum::Json<TrialState>, Problem> {
    let slot = app.models.slot("id", Some(&name.0))?;
    let tried = slot.end_trial(None).ok_or_else(|| no_trial(slot))?;
    slot.swap(Arc::clone(&tried.snapshot));
    count(&app, slot, "swapped");
    tracing::warn!(model = slot.name, version = tried.snapshot.version, "promoted");
    Ok(axum::Json(state(slot, &tried)))
}

/// What is counted and timed, for Prometheus (OpenMetrics text).
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(app): State<Shared>) -> impl IntoResponse {
    let served: Vec<_> = app.models.all().map(Slot::current).collect();
    let page = app.metrics.page(served.iter().map(|one| &**one), app.scoring.waiting());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page)
}

/// Lets in who has an administrator's key; where there is none, nobody.
pub(super) async fn guard(
    State(app): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let admin = app.admin.as_ref();
    let admin =
        admin.ok_or_else(|| Problem::not_found("this server was started without --admin-keys"))?;
    admin.keys.check(request.headers())?;
    Ok(next.run(request).await)
}

/// Lets in who has a key, where keys are asked for.
pub(super) async fn guard_answers(
    State(app): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(keys) = &app.keys {
        keys.check(request.headers())?;
    }
    Ok(next.run(request).await)
}

/// On a thread that may wait: reading and checking takes seconds.
async fn load(app: &Shared, slot: &Arc<Slot>, folder: String) -> Result<Snapshot, Problem> {
    let (app, slot) = (Arc::clone(app), Arc::clone(slot));
    let loaded = tokio::task::spawn_blocking(move || match &app.admin {
        Some(admin) => (admin.load)(&slot.name, &PathBuf::from(folder)),
        None => Err("there is no administrator".into()),
    });
    let loaded = loaded.await.map_err(|_| Problem::field("#/artefact", "the checks panicked"))?;
    loaded.map_err(|problem| Problem::field("#/artefact", problem))
}

fn state(slot: &Slot, challenger: &Challenger) -> TrialState {
    let version = challenger.snapshot.version.clone();
    TrialState { model: slot.name.clone(), version, report: challenger.report() }
}

fn no_trial(slot: &Slot) -> Problem {
    Problem::conflict(format!("`{}` has no model on trial", slot.name))
}

fn count(app: &App, slot: &Slot, outcome: &'static str) {
    app.metrics.swaps.get_or_create(&SwapLabels { model: slot.name.clone(), outcome }).inc();
}
