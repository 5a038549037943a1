//! Routes for events: append, export, and forget a user.

use super::extract::{Json, Params, PathId};
use crate::app::{App, Shared};
use crate::limits::at_most;
use crate::store::{Writer, Written};
use crate::telemetry::EventLabels;
use crate::wire::{Appended, Event, EventBatch, ExportParams, Forgotten, Id, Problem};
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Stores what users did. When this returns, the events are durable, and the next answer takes them into account.
#[utoipa::path(
    post, path = "/v1/events", tag = "events",
    request_body = EventBatch,
    responses(
        (status = 200, body = Appended),
        (status = 404),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn append(
    State(app): State<Shared>,
    Json(batch): Json<EventBatch>,
) -> Result<axum::Json<Appended>, Problem> {
    let writer = writer(&app)?;
    let mut events: Vec<Event> = batch.events.into_iter().map(Event::from).collect();
    at_most("#/events", events.len(), app.limits.events)?;
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    for (at, event) in events.iter_mut().enumerate() {
        event.time.get_or_insert(now);
        for (name, id) in
            [("user", Some(&event.user)), ("item", Some(&event.item)), ("key", event.key.as_ref())]
        {
            if let Some(problem) = id.and_then(Id::problem) {
                return Err(Problem::field(format!("#/events/{at}/{name}"), problem));
            }
        }
        if event.weight.is_some_and(|weight| !weight.is_finite()) {
            return Err(Problem::field(
                format!("#/events/{at}/weight"),
                "expected a finite number",
            ));
        }
    }
    match writer.append(events).await? {
        Written::Appended(new) => {
            let kept = new.iter().filter(|&&new| new).count();
            let repeated = new.len() - kept;
            for (outcome, n) in [("kept", kept), ("repeated", repeated)] {
                app.metrics.events.get_or_create(&EventLabels { outcome }).inc_by(n as u64);
            }
            Ok(axum::Json(Appended { kept, repeated }))
        }
        Written::Forgotten(_) => Err(Problem::internal("mismatched reply")),
    }
}

/// Forgets a user: deletes the events, and no longer uses what a model learnt about the user. Later events
/// count again.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "events",
    params(("id" = String, Path, description = "The user's id")),
    responses(
        (status = 200, body = Forgotten),
        (status = 404),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn forget(
    State(app): State<Shared>,
    PathId(user): PathId,
) -> Result<axum::Json<Forgotten>, Problem> {
    match writer(&app)?.forget(user.0.clone()).await? {
        Written::Forgotten(events) => Ok(axum::Json(Forgotten { user, events })),
        Written::Appended(_) => Err(Problem::internal("mismatched reply")),
    }
}

/// Maximum number of events in an export.
const MAX_EXPORT: usize = 65_536;
/// Header with the number of the last event in an export, to continue from.
static LAST: HeaderName = HeaderName::from_static("rankstill-last");

/// Exports events in the order of arrival, as a log that `prepare` reads. To continue, pass the header
/// `rankstill-last` as `after`; an answer without rows is the end.
#[utoipa::path(
    get, path = "/admin/events", tag = "admin",
    params(ExportParams),
    responses(
        (status = 200, body = String, content_type = "text/tab-separated-values"),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn export(
    State(app): State<Shared>,
    Params(params): Params<ExportParams>,
) -> Result<Response, Problem> {
    let store = Arc::clone(app.store.as_ref().ok_or_else(no_store)?);
    let limit = params.limit.unwrap_or(MAX_EXPORT);
    if !(1..=MAX_EXPORT).contains(&limit) {
        return Err(Problem::field("limit", format!("expected 1 to {MAX_EXPORT}")));
    }
    let after = params.after;
    let read = tokio::task::spawn_blocking(move || store.read(after, limit)).await;
    let stored = read.map_err(|error| Problem::internal(error.to_string()))?;
    let stored = stored.map_err(|error| {
        tracing::error!(%error, "the event store failed");
        Problem::unavailable("the event store does not respond")
    })?;
    let mut log = String::from("user_id\titem_id\ttimestamp\tweight\n");
    for Event { user, item, time, weight, .. } in stored.iter().map(|stored| &stored.event) {
        let (user, item) = (quoted(&user.0), quoted(&item.0));
        let (time, weight) = (time.unwrap_or_default(), weight.unwrap_or(1.0));
        _ = writeln!(log, "{user}\t{item}\t{time}\t{weight}"); // cannot fail for a string
    }
    let last = stored.last().map_or(after, |last| last.number);
    let kind = "text/tab-separated-values; charset=utf-8";
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (LAST.clone(), last.to_string())];
    Ok((headers, log).into_response())
}

/// Quotes as in RFC 4180. Ids contain no tabs and no line breaks, which are refused on arrival.
fn quoted(id: &str) -> std::borrow::Cow<'_, str> {
    if id.contains('"') { format!("\"{}\"", id.replace('"', "\"\"")).into() } else { id.into() }
}

fn writer(app: &App) -> Result<&Writer, Problem> {
    app.writer.as_ref().ok_or_else(no_store)
}

fn no_store() -> Problem {
    Problem::not_found("this server stores no events: it was started without --events")
}
