//! Routes for administrators: swap a model, roll it back, try a challenger. Also the metrics, and the checks
//! of keys.

use super::extract::{Json, PathId};
use crate::app::{App, Shared};
use crate::model::{Challenger, Slot, Snapshot};
use crate::telemetry::{SwapLabels, label};
use crate::wire::{Problem, SwapRequest, Swapped, TrialRequest, TrialState};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Loads another version, checks and warms it, and then lets it answer. The current version keeps answering
/// meanwhile, and stays if the new one fails a check.
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
    let snapshot = loaded.inspect_err(|_| count_swap(&app, &slot, "refused"))?;
    let version = snapshot.version.clone();
    let previous = slot.swap(Arc::new(snapshot));
    count_swap(&app, &slot, "swapped");
    tracing::warn!(model = slot.name, version, previous = previous.version, "model swapped");
    let seconds = began.elapsed().as_secs_f64();
    let (model, previous) = (slot.name.clone(), previous.version.clone());
    Ok(axum::Json(Swapped { model, version, previous, seconds }))
}

/// Restores the previous version.
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
    let none = || Problem::conflict(format!("`{}` has no previous version", slot.name));
    let back = slot.roll_back().ok_or_else(none)?;
    let previous = slot.previous().map(|previous| previous.version.clone()).unwrap_or_default();
    count_swap(&app, slot, "rolled_back");
    tracing::warn!(model = slot.name, version = back.version, previous, "model rolled back");
    let (model, version) = (slot.name.clone(), back.version.clone());
    Ok(axum::Json(Swapped { model, version, previous, seconds: 0.0 }))
}

/// Starts a trial of a second model.
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
    tracing::warn!(model = slot.name, version = challenger.snapshot.version, "trial started");
    Ok(axum::Json(state(&slot, &challenger)))
}

/// Ends the trial.
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
    let challenger = slot.end_trial(None).ok_or_else(|| no_trial(slot))?;
    tracing::warn!(model = slot.name, version = challenger.snapshot.version, "trial ended");
    Ok(axum::Json(state(slot, &challenger)))
}

/// Replaces the current model by the model on trial.
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
    let challenger = slot.end_trial(None).ok_or_else(|| no_trial(slot))?;
    slot.swap(Arc::clone(&challenger.snapshot));
    count_swap(&app, slot, "swapped");
    tracing::warn!(model = slot.name, version = challenger.snapshot.version, "challenger promoted");
    Ok(axum::Json(state(slot, &challenger)))
}

/// Metrics for Prometheus (OpenMetrics text).
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

/// Requires an administrator's key. Without `--admin-keys`, no request passes.
pub(super) async fn require_admin_key(
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

/// Requires a key, if the server has keys.
pub(super) async fn require_key(
    State(app): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(keys) = &app.keys {
        keys.check(request.headers())?;
    }
    Ok(next.run(request).await)
}

/// Runs on a blocking thread: loading and checking take seconds.
async fn load(app: &Shared, slot: &Arc<Slot>, folder: String) -> Result<Snapshot, Problem> {
    let (app, slot) = (Arc::clone(app), Arc::clone(slot));
    let loaded = tokio::task::spawn_blocking(move || match &app.admin {
        Some(admin) => (admin.load)(&slot.name, &PathBuf::from(folder)),
        None => Err("the server has no administrator keys".into()),
    });
    let loaded =
        loaded.await.map_err(|_| Problem::field("#/artefact", "loading the model panicked"))?;
    loaded.map_err(|problem| Problem::field("#/artefact", problem))
}

fn state(slot: &Slot, challenger: &Challenger) -> TrialState {
    let version = challenger.snapshot.version.clone();
    TrialState { model: slot.name.clone(), version, report: challenger.report() }
}

fn no_trial(slot: &Slot) -> Problem {
    Problem::conflict(format!("`{}` has no trial", slot.name))
}

fn count_swap(app: &App, slot: &Slot, outcome: &'static str) {
    app.metrics.swaps.get_or_create(&SwapLabels { model: label(&slot.name), outcome }).inc();
}
