//! Recommendations: for a user, for whoever a body describes, and for many at once.

use super::observe::AnsweredBy;
use crate::answer::{Answered, Recommend};
use crate::app::{App, Shared};
use crate::challenger::{Challenger, Mode};
use crate::extract::{Json, Params, PathId};
use crate::metrics::{DegradedLabels, SwapLabels};
use crate::models::Slot;
use crate::problem::Problem;
use crate::request::{
    BatchAnswer, BatchRequest, OneAnswer, Recommendations, Request, Rung, UserParams,
};
use crate::scoring::{Answer, Ask, NoAnswer, Owed, What};
use crate::snapshot::Snapshot;
use crate::store::OfUser;
use axum::Extension;
use axum::extract::State;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Recommends to a user. Somebody of whom nothing is known gets the most popular items.
#[utoipa::path(
    get, path = "/v1/users/{id}/recommendations", tag = "recommendations",
    params(("id" = String, Path, description = "The user's id"), UserParams),
    responses(
        (status = 200, body = Recommendations),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn for_user(
    State(app): State<Shared>,
    PathId(id): PathId,
    Params(params): Params<UserParams>,
) -> Result<(Extension<AnsweredBy>, axum::Json<Recommendations>), Problem> {
    let request = Request {
        user: Some(id),
        k: params.k,
        with_seen: params.with_seen.unwrap_or_default(),
        explain: params.explain.unwrap_or_default(),
        model: params.model,
        ..Request::default()
    };
    let asked = Asked::new(&app, request).map_err(Problem::as_parameter)?;
    answered(asked).await
}

async fn answered(
    asked: Asked,
) -> Result<(Extension<AnsweredBy>, axum::Json<Recommendations>), Problem> {
    let model = Arc::clone(&asked.answering.label);
    let found = asked.answer().await?;
    Ok((Extension(AnsweredBy { model, degraded: found.degraded }), axum::Json(found)))
}

/// Recommends to a user, to a history, or to both.
#[utoipa::path(
    post, path = "/v1/recommendations", tag = "recommendations",
    request_body = Request,
    responses(
        (status = 200, body = Recommendations),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn post(
    State(app): State<Shared>,
    Json(request): Json<Request>,
) -> Result<(Extension<AnsweredBy>, axum::Json<Recommendations>), Problem> {
    let asked = Asked::new(&app, request)?;
    answered(asked).await
}

/// Answers many requests. One that is wrong gets its problem in its place; the others are answered.
#[utoipa::path(
    post, path = "/v1/recommendations:batch", tag = "recommendations",
    request_body = BatchRequest,
    responses(
        (status = 200, body = BatchAnswer),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn batch(
    State(app): State<Shared>,
    Json(batch): Json<BatchRequest>,
) -> Result<axum::Json<BatchAnswer>, Problem> {
    app.limits.at_most_items("#/requests", batch.requests.len(), app.limits.batch)?;
    let mut answers: Vec<Option<OneAnswer>> = Vec::with_capacity(batch.requests.len());
    let (mut asked, mut places) = (Vec::new(), Vec::new());
    for (at, request) in batch.requests.into_iter().enumerate() {
        answers.push(match Asked::new(&app, request) {
            Ok(one) => {
                asked.push(one);
                places.push(at);
                None
            }
            Err(problem) => Some(OneAnswer::Problem(problem.within(&format!("#/requests/{at}")))),
        });
    }
    // All wait together or none: half an answer helps nobody.
    let owed = app.scoring.ask(asked.iter().map(Asked::ask))?;
    for ((one, owed), at) in asked.into_iter().zip(owed).zip(places) {
        answers[at] = Some(match one.finish(Ok(owed)).await {
            Ok(found) => OneAnswer::Recommendations(found),
            Err(problem) => OneAnswer::Problem(problem),
        });
    }
    Ok(axum::Json(BatchAnswer { answers: answers.into_iter().flatten().collect() }))
}

/// A request and the models that answer it.
struct Asked {
    app: Shared,
    slot: Arc<Slot>,
    answering: Arc<Snapshot>,
    recommend: Arc<Recommend>,
    /// Of the model's answer.
    deadline: Instant,
    /// Of any answer.
    until: Instant,
    /// A trial that takes this request, and the same request in the numbers of the model that answers silently.
    trial: Option<(Arc<Challenger>, Arc<Snapshot>, Arc<Recommend>)>,
}

impl Asked {
    /// # Errors
    /// Names the field that is wrong.
    fn new(app: &Shared, mut request: Request) -> Result<Self, Problem> {
        let until = Instant::now() + app.limits.deadline;
        // A remote store may have to be asked once more, for the ladder.
        let deadline =
            if app.remote_store().is_some() { until - app.limits.deadline / 4 } else { until };
        let slot = Arc::clone(app.models.slot("#/model", request.model.take().as_deref())?);
        let current = slot.current();
        let challenger =
            slot.challenger().filter(|one| one.takes(request.user.as_ref(), &request.history));
        let (mut answering, mut trial) = (current, None);
        if let Some(challenger) = challenger {
            let mut silent = Arc::clone(&challenger.snapshot);
            if challenger.trial.mode == Mode::Canary {
                std::mem::swap(&mut answering, &mut silent);
            }
            // What is only compared needs no reasons, and a filter that only one of the two knows is no failure.
            let plain = Request { explain: 0, ..request.clone() };
            trial = Recommend::new(plain, &silent, &app.limits)
                .ok()
                .map(|ask| (challenger, silent, Arc::new(ask)));
        }
        let recommend = Arc::new(Recommend::new(request, &answering, &app.limits)?);
        Ok(Self { app: Arc::clone(app), slot, answering, recommend, deadline, until, trial })
    }

    fn ask(&self) -> Ask {
        let what = What::Recommend(Arc::clone(&self.recommend));
        let snapshot = Arc::clone(&self.answering);
        Ask { snapshot, what, deadline: self.deadline, stored: None }
    }

    async fn answer(self) -> Result<Recommendations, Problem> {
        let owed = self.app.scoring.ask_one(self.ask());
        self.finish(owed).await
    }

    /// Waits for the answer, and does what is to be done besides.
    async fn finish(self, owed: Result<Owed, NoAnswer>) -> Result<Recommendations, Problem> {
        let answer = match owed {
            Ok(owed) => owed.answer().await,
            Err(reason) => Err(reason),
        };
        match answer {
            Ok(Answer::Recommendations(answered, took)) => {
                let Answered { found, list } = answered;
                if let Some(user) =
                    self.recommend.user.as_ref().filter(|_| self.recommend.is_plain())
                {
                    self.app.ladder.keep(&self.answering, &user.0, &list);
                }
                self.compare(&found, took);
                Ok(found)
            }
            Ok(Answer::Similar(_)) => Err(Problem::internal("an answer to another question")),
            Err(reason) => {
                self.blame(&reason);
                self.degrade(reason).await
            }
        }
    }

    /// The best that can be said without the model.
    async fn degrade(&self, reason: NoAnswer) -> Result<Recommendations, Problem> {
        // Somebody who may have asked to be forgotten, and of whom nobody knows what they have seen, is not answered by guess.
        if !self.app.limits.degrade || matches!(reason, NoAnswer::Unknown) {
            return Err(reason.into());
        }
        let stored = match &self.recommend.user {
            Some(user) => self.app.of_user(user, self.until).await?,
            None => OfUser::default(),
        };
        let found = self.app.ladder.answer(&self.answering, &self.recommend, &stored);
        let rung = found.degraded.map_or("none", Rung::name);
        let labels = DegradedLabels { model: self.slot.name.clone(), rung };
        self.app.metrics.degraded.get_or_create(&labels).inc();
        Ok(found)
    }

    /// Lets the other model of a trial answer too, after the client has its answer and only where there is time to spare.
    fn compare(&self, found: &Recommendations, took: Duration) {
        let Some((challenger, silent, recommend)) = &self.trial else { return };
        if self.app.scoring.waiting() * 4 > self.app.limits.queue {
            return;
        }
        let ask = Ask {
            snapshot: Arc::clone(silent),
            what: What::Recommend(Arc::clone(recommend)),
            deadline: Instant::now() + self.app.limits.deadline,
            stored: None,
        };
        let Ok(Some(owed)) = self.app.scoring.ask(std::iter::once(ask)).map(|mut owed| owed.pop())
        else {
            return;
        };
        let (app, slot) = (Arc::clone(&self.app), Arc::clone(&self.slot));
        let (challenger, found) = (Arc::clone(challenger), found.clone());
        let silent_is_challenger = Arc::ptr_eq(silent, &challenger.snapshot);
        tokio::spawn(async move {
            let verdict = match owed.answer().await {
                Ok(Answer::Recommendations(other, other_took)) => {
                    let (first, second, times) = if silent_is_challenger {
                        (&found, &other.found, [took, other_took])
                    } else {
                        (&other.found, &found, [other_took, took])
                    };
                    let (compared, verdict) = challenger.compared(first, second, times);
                    app.metrics.trial(&slot.name, compared, times);
                    verdict
                }
                // The model that is being tried against is not on trial; and nobody waits for a slow silent answer.
                Err(NoAnswer::Failed(_)) if silent_is_challenger => challenger.failed(),
                _ => None,
            };
            end(&app, &slot, &challenger, verdict);
        });
    }

    /// An answer that the tried model owed and did not give counts against it.
    fn blame(&self, reason: &NoAnswer) {
        let Some((challenger, _, _)) = &self.trial else { return };
        let its_own = Arc::ptr_eq(&self.answering, &challenger.snapshot);
        if its_own && !matches!(reason, NoAnswer::Full | NoAnswer::Unknown) {
            end(&self.app, &self.slot, challenger, challenger.failed());
        }
    }
}

/// Ends a trial if its guard says so.
fn end(app: &App, slot: &Slot, challenger: &Arc<Challenger>, verdict: Option<String>) {
    if let Some(why) = verdict
        && slot.end_trial(Some(challenger)).is_some()
    {
        tracing::error!(
            model = slot.name,
            version = challenger.snapshot.version,
            why,
            "the guard ended a trial"
        );
        let labels = SwapLabels { model: slot.name.clone(), outcome: "ended_by_guard" };
        app.metrics.swaps.get_or_create(&labels).inc();
    }
}
