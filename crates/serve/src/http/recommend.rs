//! Recommendations: for a user, for whoever a body describes, and for many at once.

use crate::answer::Recommend;
use crate::app::{App, Shared};
use crate::extract::{Json, Params, PathId};
use crate::problem::Problem;
use crate::request::{BatchAnswer, BatchRequest, OneAnswer, Recommendations, Request, UserParams};
use crate::scoring::{Answer, Ask, Owed, What};
use axum::extract::State;
use std::time::Instant;

/// Recommends to a user. Somebody of whom nothing is known gets the most popular items.
#[utoipa::path(
    get, path = "/v1/users/{id}/recommendations", tag = "recommendations",
    params(("id" = String, Path, description = "The user's id"), UserParams),
    responses(
        (status = 200, body = Recommendations),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn for_user(
    State(app): State<Shared>,
    PathId(id): PathId,
    Params(params): Params<UserParams>,
) -> Result<axum::Json<Recommendations>, Problem> {
    let request = Request {
        user: Some(id),
        k: params.k,
        with_seen: params.with_seen.unwrap_or_default(),
        explain: params.explain.unwrap_or_default(),
        model: params.model,
        ..Request::default()
    };
    let asked = ask(&app, request).map_err(|problem| problem.as_parameter())?;
    answer(one(&app, asked)?).await.map(axum::Json)
}

/// Recommends to a user, to a history, or to both.
#[utoipa::path(
    post, path = "/v1/recommendations", tag = "recommendations",
    request_body = Request,
    responses(
        (status = 200, body = Recommendations),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 415, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn post(
    State(app): State<Shared>,
    Json(request): Json<Request>,
) -> Result<axum::Json<Recommendations>, Problem> {
    let asked = ask(&app, request)?;
    answer(one(&app, asked)?).await.map(axum::Json)
}

/// Answers many requests. One that is wrong gets its problem in its place; the others are answered.
#[utoipa::path(
    post, path = "/v1/recommendations:batch", tag = "recommendations",
    request_body = BatchRequest,
    responses(
        (status = 200, body = BatchAnswer),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 415, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn batch(
    State(app): State<Shared>,
    Json(batch): Json<BatchRequest>,
) -> Result<axum::Json<BatchAnswer>, Problem> {
    app.limits.at_most_items("#/requests", batch.requests.len(), app.limits.batch)?;
    let mut answers = Vec::with_capacity(batch.requests.len());
    let (mut asks, mut places) = (Vec::new(), Vec::new());
    for (at, request) in batch.requests.into_iter().enumerate() {
        answers.push(match ask(&app, request) {
            Ok(ask) => {
                asks.push(ask);
                places.push(at);
                None
            }
            Err(problem) => Some(OneAnswer::Problem(problem.within(&format!("#/requests/{at}")))),
        });
    }
    let owed = app.scoring.ask(asks.into_iter())?;
    for (owed, at) in owed.into_iter().zip(places) {
        answers[at] = Some(match answer(owed).await {
            Ok(found) => OneAnswer::Recommendations(found),
            Err(problem) => OneAnswer::Problem(problem),
        });
    }
    Ok(axum::Json(BatchAnswer { answers: answers.into_iter().flatten().collect() }))
}

fn ask(app: &App, mut request: Request) -> Result<Ask, Problem> {
    let snapshot = app.models.get("#/model", request.model.take().as_deref())?;
    let recommend = Recommend::new(request, &snapshot, &app.limits)?;
    let deadline = Instant::now() + app.limits.deadline;
    Ok(Ask { snapshot, what: What::Recommend(recommend), deadline })
}

fn one(app: &App, ask: Ask) -> Result<Owed, Problem> {
    let mut owed = app.scoring.ask(std::iter::once(ask))?;
    owed.pop().ok_or_else(|| Problem::internal("nothing was asked"))
}

async fn answer(owed: Owed) -> Result<Recommendations, Problem> {
    match owed.answer().await? {
        Answer::Recommendations(found) => Ok(found),
        Answer::Similar(_) => Err(Problem::internal("an answer to another question")),
    }
}
