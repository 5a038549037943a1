//! Items like an item, and what is served.

use crate::app::Shared;
use crate::extract::{Params, PathId};
use crate::problem::Problem;
use crate::request::{ModelCard, ModelList, Similar, SimilarParams};
use crate::scoring::{Answer, Ask, What};
use crate::snapshot::Snapshot;
use axum::Json;
use axum::extract::State;
use rankstill_core::Artefact;
use std::time::Instant;

/// The items most like an item.
#[utoipa::path(
    get, path = "/v1/items/{id}/similar", tag = "items",
    params(("id" = String, Path, description = "The item's id"), SimilarParams),
    responses(
        (status = 200, body = Similar),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn similar(
    State(app): State<Shared>,
    PathId(id): PathId,
    Params(params): Params<SimilarParams>,
) -> Result<Json<Similar>, Problem> {
    let k = app.limits.k("k", params.k)?;
    let snapshot = app.models.get("model", params.model.as_deref())?;
    let item = snapshot.items.get(&id.0);
    let item = item.ok_or_else(|| Problem::not_found(format!("the model knows no item `{id}`")))?;
    let deadline = Instant::now() + app.limits.deadline;
    let ask = Ask { snapshot, what: What::Similar { item, k }, deadline };
    let owed = app.scoring.ask(std::iter::once(ask))?.pop();
    let owed = owed.ok_or_else(|| Problem::internal("nothing was asked"))?;
    match owed.answer().await? {
        Answer::Similar(found) => Ok(Json(found)),
        Answer::Recommendations(_) => Err(Problem::internal("an answer to another question")),
    }
}

/// What is served.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
pub(super) async fn models(State(app): State<Shared>) -> Json<ModelList> {
    Json(ModelList { models: app.models.all().map(|snapshot| card(&snapshot)).collect() })
}

fn card(snapshot: &Snapshot) -> ModelCard {
    ModelCard {
        name: snapshot.name.clone(),
        version: snapshot.version.clone(),
        kind: snapshot.manifest.kind.clone(),
        users: snapshot.users.len(),
        items: snapshot.items.len(),
        parameters: snapshot.manifest.n_parameters,
        bytes: Artefact::bytes(&snapshot.manifest),
        factored: snapshot.is_factored(),
        titles: snapshot.table.n_titles(),
        attributes: snapshot.table.attributes().map(str::to_owned).collect(),
        card: snapshot.manifest.card.clone(),
    }
}
