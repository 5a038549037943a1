//! What users did, as it happens; and their right to be forgotten.

use crate::app::{App, Shared};
use crate::extract::{Json, Params, PathId};
use crate::metrics::EventLabels;
use crate::problem::Problem;
use crate::request::{Id, objects};
use crate::store::{Done, Event, Writer};
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::{IntoParams, ToSchema};

/// Events, in the order in which they happened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBatch {
    /// All are kept, or none.
    #[serde(deserialize_with = "objects")]
    pub events: Vec<Event>,
}

/// The events are on the disk.
#[derive(Serialize, ToSchema)]
pub(crate) struct Appended {
    /// So many are new.
    pub kept: usize,
    /// So many were there already: same user, same key.
    pub repeated: usize,
}

/// The user is forgotten.
#[derive(Serialize, ToSchema)]
pub(crate) struct Forgotten {
    /// Who.
    pub user: Id,
    /// Events that were deleted.
    pub events: u64,
}

/// Keeps what users did. When this is answered the events are on the disk, and the next answer takes them into account.
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
    let mut events = batch.events;
    app.limits.at_most_items("#/events", events.len(), app.limits.events)?;
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    for (at, event) in events.iter_mut().enumerate() {
        event.time.get_or_insert(now);
        for (name, id) in
            [("user", Some(&event.user)), ("item", Some(&event.item)), ("key", event.key.as_ref())]
        {
            if id.is_some_and(|id| id.0.is_empty() || id.0.contains(['\t', '\n', '\r', '\0'])) {
                let problem = "expected an id that is not empty and has no tab, line end or NUL";
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
        Done::Appended(new) => {
            let kept = new.iter().filter(|&&new| new).count();
            let repeated = new.len() - kept;
            for (outcome, n) in [("kept", kept), ("repeated", repeated)] {
                app.metrics.events.get_or_create(&EventLabels { outcome }).inc_by(n as u64);
            }
            Ok(axum::Json(Appended { kept, repeated }))
        }
        Done::Forgotten(_) => Err(Problem::internal("an answer to another question")),
    }
}

/// Forgets a user: their events are deleted, and what a model learnt of them is no longer used. What they do afterwards counts
/// again.
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
    if user.0.contains('\0') {
        return Err(Problem::field("id", "expected an id without NUL: no event has one"));
    }
    match writer(&app)?.forget(user.0.clone()).await? {
        Done::Forgotten(events) => Ok(axum::Json(Forgotten { user, events })),
        Done::Appended(_) => Err(Problem::internal("an answer to another question")),
    }
}

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportParams {
    /// Those that arrived after this number.
    pub after: u64,
    /// At most so many; 65,536 where it is left out.
    #[param(minimum = 1, maximum = 65536)]
    pub limit: Option<usize>,
}

/// Events in an answer.
const EXPORTED: usize = 65_536;
/// The number of the last event in an answer: what to go on after.
static LAST: HeaderName = HeaderName::from_static("rankstill-last");

/// What users did, in the order in which it arrived, as a log that `prepare` reads. The header `rankstill-last` says what to go on
/// after; an answer without a row is the end.
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
    let limit = params.limit.unwrap_or(EXPORTED);
    if !(1..=EXPORTED).contains(&limit) {
        return Err(Problem::field("limit", format!("expected 1 to {EXPORTED}")));
    }
    let after = params.after;
    let read = tokio::task::spawn_blocking(move || store.read(after, limit)).await;
    let stored = read.map_err(|error| Problem::internal(error.to_string()))?;
    let stored = stored.map_err(|error| {
        tracing::error!(%error, "the event store failed");
        Problem::unavailable("the event store does not answer")
    })?;
    let mut log = String::from("user_id\titem_id\ttimestamp\tweight\n");
    for Event { user, item, time, weight, .. } in stored.iter().map(|stored| &stored.event) {
        let (user, item) = (quoted(&user.0), quoted(&item.0));
        let (time, weight) = (time.unwrap_or_default(), weight.unwrap_or(1.0));
        _ = writeln!(log, "{user}\t{item}\t{time}\t{weight}"); // into a string it cannot fail
    }
    let last = stored.last().map_or(after, |last| last.number);
    let kind = "text/tab-separated-values; charset=utf-8";
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (LAST.clone(), last.to_string())];
    Ok((headers, log).into_response())
}

/// As RFC 4180 has it. Ids have no tabs and no line ends: those are refused when they come in.
fn quoted(id: &str) -> std::borrow::Cow<'_, str> {
    if id.contains('"') { format!("\"{}\"", id.replace('"', "\"\"")).into() } else { id.into() }
}

fn writer(app: &App) -> Result<&Writer, Problem> {
    app.writer.as_ref().ok_or_else(no_store)
}

fn no_store() -> Problem {
    Problem::not_found("this server keeps no events: it was started without --events")
}
