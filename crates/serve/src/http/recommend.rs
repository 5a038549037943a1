//! Routes for recommendations: for a user, for a request body, and for a batch.

use super::answer::Answer;
use super::extract::{Json, Params, PathId};
use super::observe::AnsweredBy;
use crate::answer::{
    Answered, PendingAnswer, ResolvedQuery, Scored, ScoringError, ScoringTask, TaskKind,
};
use crate::app::{App, Shared};
use crate::limits::at_most;
use crate::model::{Challenger, Slot, Snapshot};
use crate::store::UserState;
use crate::telemetry::{DegradedLabels, SwapLabels, label};
use crate::wire::{
    BatchAnswer, BatchRequest, FallbackRung, OneAnswer, Problem, Recommendations, Request,
    TrialMode, UserParams,
};
use axum::Extension;
use axum::extract::State;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Response = Result<(Extension<AnsweredBy>, Answer), Problem>;

/// Recommends items to a user. A user whom the model was not trained on is answered by their history, or by the most popular items.
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
) -> Response {
    let request = Request {
        user: Some(id),
        k: params.k,
        with_seen: params.with_seen.unwrap_or_default(),
        explain: params.explain.unwrap_or_default(),
        model: params.model,
        ..Request::default()
    };
    let request = RoutedRequest::new(&app, request).map_err(Problem::as_parameter)?;
    respond(request).await
}

/// Recommends items to a user, to a history, or to both.
#[utoipa::path(
    post, path = "/v1/recommendations", tag = "recommendations",
    request_body = Request,
    responses(
        (status = 200, body = Recommendations),
        (status = 422),
        (status = 503),
    )
)]
pub(super) async fn post(State(app): State<Shared>, Json(request): Json<Request>) -> Response {
    respond(RoutedRequest::new(&app, request)?).await
}

async fn respond(request: RoutedRequest) -> Response {
    let model = Arc::clone(&request.answering.label);
    let app = Arc::clone(&request.app);
    let found = request.answer().await?;
    let answer = Answer::of(&found, &app.limits)?;
    Ok((Extension(AnsweredBy { model, degraded: found.degraded }), answer))
}

/// Answers several requests. An invalid request gets its problem as its answer; the others are still answered. The sum of
/// `k` x (1 + `explain`) over all requests is limited; so are the bytes of the answer.
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
) -> Result<Answer, Problem> {
    at_most("#/requests", batch.requests.len(), app.limits.batch)?;
    let lines = batch.requests.iter().map(|request| app.limits.lines(request));
    let (lines, most) = (lines.fold(0, usize::saturating_add), app.limits.lines);
    if lines > most {
        let problem = format!(
            "expected at most {most} items and reasons, k x (1 + explain), in all answers together, found {lines}"
        );
        return Err(Problem::field("#/requests", problem));
    }
    let mut answers: Vec<Option<OneAnswer>> = Vec::with_capacity(batch.requests.len());
    let (mut valid, mut positions) = (Vec::new(), Vec::new());
    for (at, request) in batch.requests.into_iter().enumerate() {
        answers.push(match RoutedRequest::new(&app, request) {
            Ok(request) => {
                valid.push(request);
                positions.push(at);
                None
            }
            Err(problem) => Some(OneAnswer::Problem(problem.within(&format!("#/requests/{at}")))),
        });
    }
    read_users(&app, &mut valid, &mut positions, &mut answers).await;
    // All are queued or none: half a batch is of no use.
    let pending = app.scoring.submit(valid.iter().map(RoutedRequest::task))?;
    for ((request, pending), at) in valid.into_iter().zip(pending).zip(positions) {
        answers[at] = Some(match request.finish(Ok(pending)).await {
            Ok(found) => OneAnswer::Recommendations(found),
            Err(problem) => OneAnswer::Problem(problem),
        });
    }
    Answer::of(&BatchAnswer { answers: answers.into_iter().flatten().collect() }, &app.limits)
}

/// Reads what the store knows about the users of a batch, once for each. If it cannot be read, their requests get the problem.
async fn read_users(
    app: &Shared,
    valid: &mut Vec<RoutedRequest>,
    positions: &mut Vec<usize>,
    answers: &mut [Option<OneAnswer>],
) {
    if app.store.is_none() {
        return;
    }
    let named = |request: &RoutedRequest| request.query.user.as_ref().map(|user| user.0.clone());
    let users: BTreeSet<String> = valid.iter().filter_map(named).collect();
    let users: Vec<String> = users.into_iter().collect();
    let Some(deadline) = valid.iter().map(|request| request.model_deadline).max() else { return };
    match app.user_states(users.clone(), deadline).await {
        Ok(states) => {
            for request in valid {
                let user = request.query.user.as_ref();
                let at = user.and_then(|user| users.binary_search(&user.0).ok());
                request.state = at.and_then(|at| states.get(at).cloned());
            }
        }
        Err(reason) => {
            let problem = Problem::from(reason);
            let without =
                positions.iter().zip(valid.iter()).filter(|(_, one)| one.query.user.is_some());
            without.for_each(|(&at, _)| answers[at] = Some(OneAnswer::Problem(problem.clone())));
            let mut kept =
                valid.iter().map(|one| one.query.user.is_none()).collect::<Vec<_>>().into_iter();
            positions.retain(|_| kept.next().unwrap_or_default());
            valid.retain(|one| one.query.user.is_none());
        }
    }
}

/// A request and the models that answer it.
struct RoutedRequest {
    app: Shared,
    slot: Arc<Slot>,
    answering: Arc<Snapshot>,
    query: Arc<ResolvedQuery>,
    /// Deadline of the model's answer.
    model_deadline: Instant,
    /// Deadline of any answer.
    deadline: Instant,
    /// What the store knows about the user, if that has been read.
    state: Option<Arc<UserState>>,
    trial: Option<Comparing>,
}

/// A trial that this request takes part in.
struct Comparing {
    challenger: Arc<Challenger>,
    /// The model whose answer is only compared.
    silent: Arc<Snapshot>,
    /// The same request in the item numbers of `silent`.
    query: Arc<ResolvedQuery>,
}

impl RoutedRequest {
    /// # Errors
    /// Names the invalid field.
    fn new(app: &Shared, mut request: Request) -> Result<Self, Problem> {
        let allowance = app.limits.deadline;
        let deadline = Instant::now() + allowance;
        // The fallback may have to read a remote store once more.
        let remote = app.remote_store().is_some();
        let model_deadline = if remote { deadline - allowance / 4 } else { deadline };
        let slot = Arc::clone(app.models.slot("#/model", request.model.take().as_deref())?);
        let current = slot.current();
        let challenger =
            slot.challenger().filter(|one| one.takes(request.user.as_ref(), &request.history));
        let (mut answering, mut trial) = (current, None);
        if let Some(challenger) = challenger {
            let mut silent = Arc::clone(&challenger.snapshot);
            if challenger.trial.mode == TrialMode::Canary {
                std::mem::swap(&mut answering, &mut silent);
            }
            // A comparison needs no explanations. It is skipped if the silent model does not know a filter of
            // the request.
            let plain = Request { explain: 0, ..request.clone() };
            trial = ResolvedQuery::new(plain, &silent, &app.limits).ok().map(|query| Comparing {
                challenger,
                silent,
                query: Arc::new(query),
            });
        }
        let query = Arc::new(ResolvedQuery::new(request, &answering, &app.limits)?);
        let app = Arc::clone(app);
        Ok(Self { app, slot, answering, query, model_deadline, deadline, state: None, trial })
    }

    fn task(&self) -> ScoringTask {
        let kind = TaskKind::Recommend(Arc::clone(&self.query));
        let snapshot = Arc::clone(&self.answering);
        ScoringTask { snapshot, kind, deadline: self.model_deadline, state: self.state.clone() }
    }

    async fn answer(self) -> Result<Recommendations, Problem> {
        let pending = self.app.scoring.submit_one(self.task());
        self.finish(pending).await
    }

    /// Waits for the answer, caches it for the fallback, and compares it in a trial.
    async fn finish(
        self,
        pending: Result<PendingAnswer, ScoringError>,
    ) -> Result<Recommendations, Problem> {
        let scored = match pending {
            Ok(pending) => pending.wait().await,
            Err(reason) => Err(reason),
        };
        match scored {
            Ok(Scored::Recommendations(answered, took)) => {
                let Answered { recommendations, list } = answered;
                if let Some(user) = self.query.user.as_ref().filter(|_| self.query.is_plain()) {
                    self.app.ladder.remember(&self.answering, &user.0, &list);
                }
                self.compare(&recommendations, took);
                Ok(recommendations)
            }
            Ok(Scored::Similar(_)) => Err(Problem::internal("mismatched reply")),
            Err(reason) => {
                self.count_failure(&reason);
                self.fall_back(reason).await
            }
        }
    }

    /// The best answer without the model.
    async fn fall_back(&self, reason: ScoringError) -> Result<Recommendations, Problem> {
        // Without the store, the user may have asked to be forgotten, and the seen items are unknown: do not
        // guess.
        if !self.app.limits.degrade || matches!(reason, ScoringError::StoreUnavailable) {
            return Err(reason.into());
        }
        let state = match (&self.state, &self.query.user) {
            (Some(state), _) => Arc::clone(state),
            (None, Some(user)) => {
                // A store on this machine is read again after the deadline, but not for long.
                let soon = Instant::now() + self.app.limits.deadline / 4;
                let remote = self.app.remote_store().is_some();
                let until = if remote { self.deadline } else { self.deadline.max(soon) };
                let mut states = self.app.user_states(vec![user.0.clone()], until).await?;
                states.pop().unwrap_or_default()
            }
            (None, None) => Arc::default(),
        };
        let found = self.app.ladder.answer(&self.answering, &self.query, &state);
        let rung = found.degraded.map_or("none", FallbackRung::name);
        let labels = DegradedLabels { model: label(&self.slot.name), rung };
        self.app.metrics.degraded.get_or_create(&labels).inc();
        Ok(found)
    }

    /// In a trial, lets the other model answer too: after the client has its answer, and only if the queue is
    /// short.
    fn compare(&self, found: &Recommendations, took: Duration) {
        let Some(Comparing { challenger, silent, query }) = &self.trial else { return };
        if self.app.scoring.waiting() * 4 > self.app.limits.queue {
            return;
        }
        let task = ScoringTask {
            snapshot: Arc::clone(silent),
            kind: TaskKind::Recommend(Arc::clone(query)),
            deadline: Instant::now() + self.app.limits.deadline,
            state: self.state.clone(),
        };
        let submitted = self.app.scoring.submit(std::iter::once(task));
        let Ok(Some(pending)) = submitted.map(|mut pending| pending.pop()) else { return };
        let (app, slot) = (Arc::clone(&self.app), Arc::clone(&self.slot));
        let (challenger, found) = (Arc::clone(challenger), found.clone());
        let silent_is_challenger = Arc::ptr_eq(silent, &challenger.snapshot);
        tokio::spawn(async move {
            let verdict = match pending.wait().await {
                Ok(Scored::Recommendations(other, other_took)) => {
                    let (first, second, times) = if silent_is_challenger {
                        (&found, &other.recommendations, [took, other_took])
                    } else {
                        (&other.recommendations, &found, [other_took, took])
                    };
                    let (agreement, verdict) = challenger.add_comparison(first, second, times);
                    app.metrics.trial(&slot.name, agreement, times);
                    verdict
                }
                // Failures of the current model do not count, nor do answers that are late because the silent
                // model is slow.
                Err(ScoringError::Failed(_)) if silent_is_challenger => challenger.add_failure(),
                _ => None,
            };
            end_trial(&app, &slot, &challenger, verdict);
        });
    }

    /// Counts an answer that the challenger should have given against it.
    fn count_failure(&self, reason: &ScoringError) {
        let Some(Comparing { challenger, .. }) = &self.trial else { return };
        let by_challenger = Arc::ptr_eq(&self.answering, &challenger.snapshot);
        let unrelated = matches!(reason, ScoringError::QueueFull | ScoringError::StoreUnavailable);
        if by_challenger && !unrelated {
            end_trial(&self.app, &self.slot, challenger, challenger.add_failure());
        }
    }
}

/// Ends the trial if the guard gives a reason.
fn end_trial(app: &App, slot: &Slot, challenger: &Arc<Challenger>, reason: Option<String>) {
    if let Some(why) = reason
        && slot.end_trial(Some(challenger)).is_some()
    {
        let version = &challenger.snapshot.version;
        tracing::error!(model = slot.name, version, why, "the guard ended a trial");
        let labels = SwapLabels { model: label(&slot.name), outcome: "ended_by_guard" };
        app.metrics.swaps.get_or_create(&labels).inc();
    }
}
