//! Where answers are computed: threads of their own, so that no request waits for another one's products on the threads that
//! read and write the network, and a queue that is never longer than can be worked off in time.
//!
//! What waits together is answered together: requests for the same model, of the same length and without a set of their own go
//! through the items in one pass. An idle server answers each alone and at once; a busy one gains what the kernel gains on
//! blocks of queries.
//!
//! Handing a question over and its answer back wakes two threads, which on a machine that sleeps takes longer than the product with a
//! small item table. Where that is known ([`Snapshot::is_quick`]) and nothing waits, the thread that reads the network answers itself,
//! unless the event store is remote: what waits for another process waits here, with one question to it for all that are answered
//! together.

use crate::answer::{self, Answered, Known, Recommend};
use crate::problem::Problem;
use crate::request::{Basis, Similar};
use crate::snapshot::Snapshot;
use crate::store::{EventStore, OfUser};
use crate::{Error, Result};
use rankstill_core::ItemId;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The scoring threads and what waits for them.
pub(crate) struct Scoring {
    pool: rayon::ThreadPool,
    queue: Arc<Queue>,
}

/// One question to one model.
pub(crate) struct Ask {
    pub snapshot: Arc<Snapshot>,
    pub what: What,
    /// An answer after this is of no use.
    pub deadline: Instant,
    /// What the store knows of the user, where it was asked already.
    pub stored: Option<OfUser>,
}

pub(crate) enum What {
    Recommend(Arc<Recommend>),
    Similar { item: ItemId, k: usize },
}

pub(crate) enum Answer {
    /// And how long it took to compute, together with those that were computed with it.
    Recommendations(Answered, Duration),
    Similar(Similar),
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// Too many wait already.
    Full,
    /// It was not computed in time.
    Late,
    /// The event store does not say what is known of the user, and whether they are to be forgotten.
    Unknown,
    /// It cannot be computed.
    Failed(String),
}

impl From<NoAnswer> for Problem {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::Full => Problem::overloaded("too many requests wait for an answer"),
            NoAnswer::Late => Problem::overloaded("the answer was not ready before the deadline"),
            // Where it is and what it says is in the log, and nothing that clients are told.
            NoAnswer::Unknown => Problem::unavailable("the event store does not answer"),
            NoAnswer::Failed(why) => Problem::internal(why),
        }
    }
}

type Reply = std::result::Result<Answer, NoAnswer>;

/// An answer that is owed.
pub(crate) struct Owed {
    receiver: oneshot::Receiver<Reply>,
    deadline: Instant,
}

impl Owed {
    pub async fn answer(self) -> Reply {
        match tokio::time::timeout_at(self.deadline.into(), self.receiver).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(NoAnswer::Failed("the computation ended early".into())),
            Err(_) => Err(NoAnswer::Late),
        }
    }
}

impl Scoring {
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(
        threads: usize,
        most_waiting: usize,
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
        let queue = Queue { waiting: Mutex::default(), most_waiting, store };
        Ok(Self { pool, queue: Arc::new(queue) })
    }

    /// Puts questions into the queue: all, or none.
    pub fn ask(
        &self,
        asks: impl ExactSizeIterator<Item = Ask>,
    ) -> std::result::Result<Vec<Owed>, NoAnswer> {
        let n = asks.len();
        let mut owed = Vec::with_capacity(n);
        {
            let mut waiting = self.queue.lock();
            if waiting.len() + n > self.queue.most_waiting {
                return Err(NoAnswer::Full);
            }
            for ask in asks {
                let (reply, receiver) = oneshot::channel();
                owed.push(Owed { receiver, deadline: ask.deadline });
                waiting.push_back(Job { ask, reply });
            }
        }
        for _ in 0..n {
            let queue = Arc::clone(&self.queue);
            self.pool.spawn(move || queue.work());
        }
        Ok(owed)
    }

    /// As [`Scoring::ask`] for one, answered on this very thread where that takes less time than to hand it over.
    pub fn ask_one(&self, mut ask: Ask) -> std::result::Result<Owed, NoAnswer> {
        if self.queue.is_quick(&mut ask) && self.queue.lock().is_empty() {
            let (reply, receiver) = oneshot::channel();
            let owed = Owed { receiver, deadline: ask.deadline };
            self.queue.answer(vec![Job { ask, reply }]);
            return Ok(owed);
        }
        self.ask(std::iter::once(ask))?.pop().ok_or(NoAnswer::Full)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.lock().len()
    }
}

struct Queue {
    waiting: Mutex<VecDeque<Job>>,
    most_waiting: usize,
    store: Option<Arc<dyn EventStore>>,
}

struct Job {
    ask: Ask,
    reply: oneshot::Sender<Reply>,
}

/// Answered in one pass: as many as the kernel holds in registers. More would make the first wait for the last.
const TOGETHER: usize = 12;

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing but one pass over a small item table is to be done: nothing is waited for, solved for or explained.
    fn is_quick(&self, ask: &mut Ask) -> bool {
        let What::Recommend(recommend) = &ask.what else { return false };
        let plain = recommend.explain == 0 && recommend.k <= 100 && recommend.allowed.is_none();
        let remote = self.store.as_ref().is_some_and(|store| store.is_remote());
        if remote || !plain || !ask.snapshot.is_quick() {
            return false;
        }
        ask.stored = match (&self.store, &recommend.user) {
            (Some(store), Some(user)) => store.of_user(&user.0).ok(), // asked again, and told, in the queue
            _ => Some(OfUser::default()),
        };
        let known = |stored| Known::of(&ask.snapshot, recommend, stored);
        ask.stored.as_ref().map(known).is_some_and(|known| known.basis == Basis::User)
    }

    /// Answers the first that waits, and those that go with it.
    fn work(&self) {
        let jobs = self.take();
        if !jobs.is_empty() {
            self.answer(jobs); // if not others took it along
        }
    }

    fn answer(&self, mut jobs: Vec<Job>) {
        let store = self.store.as_deref();
        let replies = catch_unwind(AssertUnwindSafe(|| compute(&mut jobs, store)));
        let replies = replies.unwrap_or_else(|_| {
            tracing::error!("a computation panicked");
            jobs.iter().map(|_| Err(NoAnswer::Failed("the computation failed".into()))).collect()
        });
        for (job, reply) in jobs.into_iter().zip(replies) {
            _ = job.reply.send(reply); // nobody may wait for it any more
        }
    }

    fn take(&self) -> Vec<Job> {
        let now = Instant::now();
        let mut waiting = self.lock();
        let mut taken: Vec<Job> = Vec::new();
        while taken.is_empty() {
            let Some(job) = waiting.pop_front() else { return taken };
            if job.ask.deadline > now && !job.reply.is_closed() {
                taken.push(job);
            }
        }
        let mut at = 0;
        while taken.len() < TOGETHER && at < waiting.len() {
            if taken[0].ask.goes_with(&waiting[at].ask) {
                taken.extend(waiting.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }
}

impl Ask {
    fn goes_with(&self, other: &Self) -> bool {
        match (&self.what, &other.what) {
            (What::Recommend(a), What::Recommend(b)) => {
                Arc::ptr_eq(&self.snapshot, &other.snapshot) && a.goes_with(b)
            }
            _ => false,
        }
    }
}

fn compute(jobs: &mut [Job], store: Option<&dyn EventStore>) -> Vec<Reply> {
    let failed = |error: Error| {
        tracing::error!(%error, "no answer");
        error.to_string()
    };
    let began = Instant::now();
    if let Err(error) = look_up(jobs, store) {
        failed(error);
        return jobs.iter().map(|_| Err(NoAnswer::Unknown)).collect();
    }
    let Some(first) = jobs.first() else { return Vec::new() };
    let snapshot = &first.ask.snapshot;
    if let What::Similar { item, k } = first.ask.what {
        let answer = answer::similar(snapshot, item, k);
        return vec![answer.map(Answer::Similar).map_err(|error| NoAnswer::Failed(failed(error)))];
    }
    let nothing = OfUser::default();
    let asked: Vec<(&Recommend, &OfUser)> = jobs
        .iter()
        .filter_map(|job| match &job.ask.what {
            What::Recommend(ask) => Some((&**ask, job.ask.stored.as_ref().unwrap_or(&nothing))),
            What::Similar { .. } => None,
        })
        .collect();
    let answers = answer::recommend(snapshot, &asked);
    let took = began.elapsed();
    match answers {
        Ok(answers) => {
            answers.into_iter().map(|answer| Ok(Answer::Recommendations(answer, took))).collect()
        }
        Err(error) => {
            let why = failed(error);
            jobs.iter().map(|_| Err(NoAnswer::Failed(why.clone()))).collect()
        }
    }
}

/// Asks the store, once, about all users of whom it was not asked yet.
fn look_up(jobs: &mut [Job], store: Option<&dyn EventStore>) -> Result<()> {
    let Some(store) = store else { return Ok(()) };
    let (mut places, mut users) = (Vec::new(), Vec::new());
    for (place, job) in jobs.iter().enumerate() {
        if let What::Recommend(ask) = &job.ask.what
            && let (None, Some(user)) = (&job.ask.stored, &ask.user)
        {
            places.push(place);
            users.push(user.0.as_str());
        }
    }
    if users.is_empty() {
        return Ok(());
    }
    let found = store.of_users(&users)?;
    for (place, stored) in places.into_iter().zip(found) {
        jobs[place].ask.stored = Some(stored);
    }
    Ok(())
}
