//! Routes for items and models.

use super::answer::Answer;
use super::extract::{Params, PathId};
use super::observe::AnsweredBy;
use crate::answer::{Scored, ScoringTask, TaskKind};
use crate::app::Shared;
use crate::model::Slot;
use crate::wire::{
    ChallengerCard, FoundItem, Id, ModelCard, ModelList, Problem, SearchParams, SearchResult,
    Similar, SimilarParams,
};
use axum::extract::State;
use axum::{Extension, Json};
use rankstill_core::Artefact;
use std::sync::Arc;
use std::time::Instant;

/// Returns the items most similar to an item; none for an item that the model was not trained on.
#[utoipa::path(
    get, path = "/v1/items/{id}/similar", tag = "items",
    params(("id" = String, Path, description = "The item's id"), SimilarParams),
    responses(
        (status = 200, body = Similar),
        (status = 404),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn similar(
    State(app): State<Shared>,
    PathId(id): PathId,
    Params(params): Params<SimilarParams>,
) -> Result<(Extension<AnsweredBy>, Answer), Problem> {
    let k = app.limits.k("k", params.k)?;
    let snapshot = app.models.slot("model", params.model.as_deref())?.current();
    let by = AnsweredBy { model: Arc::clone(&snapshot.label), degraded: None };
    let item = snapshot.items.get(&id.0);
    let item =
        item.ok_or_else(|| Problem::not_found(format!("the model does not know the item `{id}`")))?;
    let deadline = Instant::now() + app.limits.deadline;
    let task = ScoringTask { snapshot, kind: TaskKind::Similar { item, k }, deadline, state: None };
    let pending = app.scoring.submit(std::iter::once(task))?.pop();
    let pending = pending.ok_or_else(|| Problem::internal("no task was queued"))?;
    match pending.wait().await? {
        Scored::Similar(found) => Ok((Extension(by), Answer::of(&found, &app.limits)?)),
        Scored::Recommendations(..) => Err(Problem::internal("mismatched reply")),
    }
}

/// Finds items whose titles contain a text. Needs titles (`--items`).
#[utoipa::path(
    get, path = "/v1/items", tag = "items",
    params(SearchParams),
    responses(
        (status = 200, body = SearchResult),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn search(
    State(app): State<Shared>,
    Params(params): Params<SearchParams>,
) -> Result<Answer, Problem> {
    let k = app.limits.k("k", params.k)?;
    if params.search.is_empty() || params.search.len() > Id::LONGEST {
        let problem = format!("expected 1 to {} bytes", Id::LONGEST);
        return Err(Problem::field("search", problem));
    }
    let snapshot = app.models.slot("model", params.model.as_deref())?.current();
    // This reads all titles, so it must not run on a network thread.
    let found = tokio::task::spawn_blocking(move || {
        let items = snapshot.search(&params.search, k).into_iter();
        let found = |item| FoundItem {
            item: Id(snapshot.items.id(item).into_owned()),
            title: snapshot.table.title(item).unwrap_or_default().to_owned(),
        };
        SearchResult { items: items.map(found).collect() }
    });
    match tokio::time::timeout(app.limits.deadline, found).await {
        Ok(Ok(found)) => Answer::of(&found, &app.limits),
        Ok(Err(_)) => Err(Problem::internal("the search failed")),
        Err(_) => Err(Problem::overloaded("the search did not end before the deadline")),
    }
}

/// Lists the models that are served.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
pub(super) async fn models(State(app): State<Shared>) -> Json<ModelList> {
    Json(ModelList { models: app.models.all().map(card).collect() })
}

fn card(slot: &Slot) -> ModelCard {
    let snapshot = slot.current();
    let challenger = slot.challenger().map(|one| ChallengerCard {
        version: one.snapshot.version.clone(),
        kind: one.snapshot.manifest.kind.clone(),
        trial: one.trial.clone(),
        report: one.report(),
    });
    let table = snapshot.precision_use();
    ModelCard {
        name: snapshot.name.clone(),
        version: snapshot.version.clone(),
        kind: snapshot.manifest.kind.clone(),
        users: snapshot.users.len(),
        items: snapshot.items.len(),
        parameters: snapshot.manifest.n_parameters,
        bytes: Artefact::bytes(&snapshot.manifest),
        factored: snapshot.is_factored(),
        graph: snapshot.graph_card().cloned(),
        table: table.map(|used| used.precision.to_string()),
        table_bytes: table.map(|used| used.bytes),
        titles: snapshot.table.n_titles(),
        attributes: snapshot.table.attributes().map(str::to_owned).collect(),
        card: snapshot.manifest.card.clone(),
        previous: slot.previous().map(|previous| previous.version.clone()),
        challenger,
    }
}
