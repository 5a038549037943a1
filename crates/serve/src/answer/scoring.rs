//! The threads that compute answers. They are separate from the network threads, so no request waits there
//! for another one's scores. The queue is bounded: requests that could not be answered in time are refused at
//! once.
//!
//! Requests that wait together are answered together: those for the same model with the same length and
//! without an allow list share one pass over the items. An idle server answers each request alone and at
//! once. A busy one profits from the kernel's speed on blocks of queries.
//!
//! Handing a request to another thread and its answer back wakes two threads, which on an idle machine takes
//! longer than the product with a small item table. If the table is small ([`Snapshot::is_quick`]) and no
//! request waits, the network thread computes the answer itself. It does not if the event store is remote:
//! then the scoring threads wait for the store, with one call for all requests that are answered together.

use super::context::UserContext;
use super::query::ResolvedQuery;
use super::recommend::{Answered, recommend, similar};
use crate::limits::Limits;
use crate::model::Snapshot;
use crate::store::{EventStore, UserState};
use crate::wire::{Basis, Problem, Similar};
use crate::{Error, Result};
use rankstill_core::ItemId;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The scoring threads and their queue.
pub(crate) struct Scoring {
    pool: rayon::ThreadPool,
    queue: Arc<Queue>,
}

/// A request to one model.
pub(crate) struct ScoringTask {
    pub snapshot: Arc<Snapshot>,
    pub kind: TaskKind,
    /// An answer after this time is useless.
    pub deadline: Instant,
    /// The user's state in the store, if it has been read already.
    pub state: Option<Arc<UserState>>,
}

pub(crate) enum TaskKind {
    Recommend(Arc<ResolvedQuery>),
    Similar { item: ItemId, k: usize },
}

pub(crate) enum Scored {
    /// The answer, and the time to compute it together with the others in its batch.
    Recommendations(Answered, Duration),
    Similar(Similar),
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ScoringError {
    /// Too many requests are waiting.
    QueueFull,
    /// The answer was not computed in time.
    DeadlineExceeded,
    /// The event store does not respond, so the user's events, and whether the user is to be forgotten, are
    /// unknown.
    StoreUnavailable,
    /// The computation failed.
    Failed(String),
}

impl From<ScoringError> for Problem {
    fn from(reason: ScoringError) -> Self {
        match reason {
            ScoringError::QueueFull => {
                Problem::overloaded("too many requests are waiting for an answer")
            }
            ScoringError::DeadlineExceeded => {
                Problem::overloaded("the answer was not ready before the deadline")
            }
            // The log has the store's location and error. Clients must not see them.
            ScoringError::StoreUnavailable => {
                Problem::unavailable("the event store does not respond")
            }
            ScoringError::Failed(why) => Problem::internal(why),
        }
    }
}

type Reply = std::result::Result<Scored, ScoringError>;

/// An answer that is being computed.
pub(crate) struct PendingAnswer {
    receiver: oneshot::Receiver<Reply>,
    deadline: Instant,
}

impl PendingAnswer {
    pub async fn wait(self) -> Reply {
        match tokio::time::timeout_at(self.deadline.into(), self.receiver).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(ScoringError::Failed("the computation ended early".into())),
            Err(_) => Err(ScoringError::DeadlineExceeded),
        }
    }
}

impl Scoring {
    /// # Errors
    /// If the threads cannot be started.
    pub fn new(
        threads: usize,
        limits: &Limits,
        store: Option<Arc<dyn EventStore>>,
    ) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("scoring-{i}"))
            .build();
        let pool = pool.map_err(|error| Error::Setting {
            key: "threads".into(),
            problem: error.to_string(),
        })?;
        let (capacity, stored, patience) = (limits.queue, limits.stored, limits.arrival);
        let queue = Queue { waiting: Mutex::default(), capacity, stored, patience, store };
        Ok(Self { pool, queue: Arc::new(queue) })
    }

    /// Queues all tasks, or none.
    pub fn submit(
        &self,
        tasks: impl ExactSizeIterator<Item = ScoringTask>,
    ) -> std::result::Result<Vec<PendingAnswer>, ScoringError> {
        let n = tasks.len();
        let mut pending = Vec::with_capacity(n);
        {
            let mut waiting = self.queue.lock();
            if waiting.len() + n > self.queue.capacity {
                return Err(ScoringError::QueueFull);
            }
            for task in tasks {
                let (reply, receiver) = oneshot::channel();
                pending.push(PendingAnswer { receiver, deadline: task.deadline });
                waiting.push_back(Job { task, reply });
            }
        }
        for _ in 0..n {
            let queue = Arc::clone(&self.queue);
            self.pool.spawn(move || queue.work());
        }
        Ok(pending)
    }

    /// Queues one task, or answers it on this thread if that takes less time than handing it over.
    pub fn submit_one(
        &self,
        mut task: ScoringTask,
    ) -> std::result::Result<PendingAnswer, ScoringError> {
        if self.queue.is_quick(&mut task) && self.queue.lock().is_empty() {
            let (reply, receiver) = oneshot::channel();
            let pending = PendingAnswer { receiver, deadline: task.deadline };
            self.queue.answer(vec![Job { task, reply }]);
            return Ok(pending);
        }
        self.submit(std::iter::once(task))?.pop().ok_or(ScoringError::QueueFull)
    }

    /// Number of tasks that wait.
    pub fn waiting(&self) -> usize {
        self.queue.lock().len()
    }

    /// Whether no thread has taken the first task for long: they take late ones too, so all of them hang.
    pub fn is_stuck(&self) -> bool {
        let waiting = self.queue.lock();
        waiting.front().is_some_and(|job| job.task.deadline + self.queue.patience < Instant::now())
    }
}

struct Queue {
    waiting: Mutex<VecDeque<Job>>,
    capacity: usize,
    /// The most events of a user that are read.
    stored: usize,
    /// A task that waits for so long after its deadline shows that no thread works.
    patience: Duration,
    store: Option<Arc<dyn EventStore>>,
}

struct Job {
    task: ScoringTask,
    reply: oneshot::Sender<Reply>,
}

/// Maximum number of tasks per pass: as many queries as the kernel holds in registers. More would keep the
/// first one waiting.
const BATCH: usize = 12;

/// Events of a user that a network thread may read.
const FEW_EVENTS: usize = 64;

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the task is only one pass over a small item table, without a remote store, folding in a
    /// history, or explanations.
    fn is_quick(&self, task: &mut ScoringTask) -> bool {
        let TaskKind::Recommend(query) = &task.kind else { return false };
        let plain = query.explain == 0 && query.k <= 100 && query.allowed.is_none();
        let remote = self.store.as_ref().is_some_and(|store| store.is_remote());
        if remote || !plain || !task.snapshot.is_quick() || self.stored < FEW_EVENTS {
            return false;
        }
        task.state = match (&self.store, &query.user) {
            (Some(store), Some(user)) => {
                // An error is reported by the queue's own read.
                let state = store.user_state(&user.0, FEW_EVENTS + 1, task.deadline);
                state.ok().filter(|state| state.items.len() <= FEW_EVENTS).map(Arc::new)
            }
            _ => Some(Arc::default()),
        };
        let context = |state: &UserState| UserContext::new(&task.snapshot, query, state);
        task.state.as_deref().map(context).is_some_and(|context| context.basis == Basis::User)
    }

    /// Answers the first task that waits, and others that can be batched with it.
    fn work(&self) {
        let jobs = self.take();
        if !jobs.is_empty() {
            self.answer(jobs); // otherwise another thread took it along
        }
    }

    fn answer(&self, mut jobs: Vec<Job>) {
        let replies = catch_unwind(AssertUnwindSafe(|| self.compute(&mut jobs)));
        let replies = replies.unwrap_or_else(|_| {
            tracing::error!("a computation panicked");
            jobs.iter()
                .map(|_| Err(ScoringError::Failed("the computation failed".into())))
                .collect()
        });
        for (job, reply) in jobs.into_iter().zip(replies) {
            _ = job.reply.send(reply); // the receiver may be gone
        }
    }

    fn take(&self) -> Vec<Job> {
        let now = Instant::now();
        let mut waiting = self.lock();
        let mut taken: Vec<Job> = Vec::new();
        while taken.is_empty() {
            let Some(job) = waiting.pop_front() else { return taken };
            if job.task.deadline > now && !job.reply.is_closed() {
                taken.push(job);
            }
        }
        let mut at = 0;
        while taken.len() < BATCH && at < waiting.len() {
            if taken[0].task.batches_with(&waiting[at].task) {
                taken.extend(waiting.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }

    fn compute(&self, jobs: &mut [Job]) -> Vec<Reply> {
        let failed = |error: Error| {
            tracing::error!(%error, "a request could not be answered");
            error.to_string()
        };
        let began = Instant::now();
        if let Err(error) = self.look_up_users(jobs) {
            failed(error);
            return jobs.iter().map(|_| Err(ScoringError::StoreUnavailable)).collect();
        }
        let Some(first) = jobs.first() else { return Vec::new() };
        let snapshot = &first.task.snapshot;
        if let TaskKind::Similar { item, k } = first.task.kind {
            let answer = similar(snapshot, item, k);
            return vec![
                answer.map(Scored::Similar).map_err(|error| ScoringError::Failed(failed(error))),
            ];
        }
        let unknown = UserState::default();
        let queries: Vec<(&ResolvedQuery, &UserState)> = jobs
            .iter()
            .filter_map(|job| match &job.task.kind {
                TaskKind::Recommend(query) => {
                    Some((&**query, job.task.state.as_deref().unwrap_or(&unknown)))
                }
                TaskKind::Similar { .. } => None,
            })
            .collect();
        let answers = recommend(snapshot, &queries);
        let took = began.elapsed();
        match answers {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| Ok(Scored::Recommendations(answer, took)))
                .collect(),
            Err(error) => {
                let why = failed(error);
                jobs.iter().map(|_| Err(ScoringError::Failed(why.clone()))).collect()
            }
        }
    }

    /// Reads, in one call, the state of all users that has not been read yet; of each user once.
    fn look_up_users(&self, jobs: &mut [Job]) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let (mut of_jobs, mut users, mut until) = (Vec::new(), Vec::<&str>::new(), None);
        for (at, job) in jobs.iter().enumerate() {
            if let TaskKind::Recommend(query) = &job.task.kind
                && let (None, Some(user)) = (&job.task.state, &query.user)
            {
                let known = users.iter().position(|known| *known == user.0);
                of_jobs.push((at, known.unwrap_or(users.len())));
                if known.is_none() {
                    users.push(&user.0);
                }
                until = until.max(Some(job.task.deadline));
            }
        }
        let Some(until) = until else { return Ok(()) };
        let states = store.user_states(&users, self.stored, until)?;
        let states: Vec<Arc<UserState>> = states.into_iter().map(Arc::new).collect();
        for (at, user) in of_jobs {
            jobs[at].task.state = states.get(user).cloned();
        }
        Ok(())
    }
}

impl ScoringTask {
    fn batches_with(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (TaskKind::Recommend(a), TaskKind::Recommend(b)) => {
                Arc::ptr_eq(&self.snapshot, &other.snapshot) && a.batches_with(b)
            }
            _ => false,
        }
    }
}
