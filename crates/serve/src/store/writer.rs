//! Group commit. A commit takes milliseconds however much it writes, so all events that arrive during one
//! commit go into the next.

use super::{Event, EventStore};
use crate::limits::Limits;
use crate::wire::Problem;
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Writes events on a thread of its own, and acknowledges them when they are durable. Between them it looks
/// after the store.
pub(crate) struct Writer {
    sender: mpsc::SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
    /// Maximum time to wait for the store.
    patience: Duration,
    /// Whether the store could be written when that was last tried.
    works: Arc<AtomicBool>,
    /// Set when the store hangs at the end: then its thread is not waited for.
    abandoned: AtomicBool,
}

enum Job {
    Append(Vec<Event>, Reply),
    Forget(String, Reply),
    /// Answered when everything before it is done.
    Finish(mpsc::SyncSender<()>),
}

type Reply = oneshot::Sender<Result<Written, WriteFailed>>;

/// The log has the reason. Clients do not see it, because it says where the store is.
#[derive(Clone, Copy)]
struct WriteFailed;

/// A completed write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// For each event, whether it is new.
    Appended(Vec<bool>),
    /// The number of deleted events.
    Forgotten(u64),
}

/// Target number of events per commit: more would keep the first one waiting.
const EVENTS_PER_COMMIT: usize = 4096;

/// How often an idle store is checked.
const CHECK_EVERY: Duration = Duration::from_secs(1);

impl Writer {
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(store: Arc<dyn EventStore>, limits: &Limits) -> Result<Self> {
        // A disk takes milliseconds, unless it hangs; a database has the time of a request.
        let patience = if store.is_remote() { limits.deadline } else { limits.arrival };
        let (sender, receiver) = mpsc::sync_channel(limits.queue);
        let works = Arc::new(AtomicBool::new(true));
        let thread = std::thread::Builder::new().name("events".into());
        let thread = {
            let works = Arc::clone(&works);
            thread.spawn(move || write(&*store, &receiver, &works))
        };
        let thread =
            thread.map_err(|source| Error::Network { what: "starting a thread".into(), source })?;
        Ok(Self {
            sender,
            thread: Some(thread),
            patience,
            works,
            abandoned: AtomicBool::new(false),
        })
    }

    /// Whether the store could be written when that was last tried, at most a second ago unless it hangs.
    pub fn works(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    pub async fn append(&self, events: Vec<Event>) -> std::result::Result<Written, Problem> {
        self.send(|reply| Job::Append(events, reply)).await
    }

    pub async fn forget(&self, user: String) -> std::result::Result<Written, Problem> {
        self.send(|reply| Job::Forget(user, reply)).await
    }

    async fn send(&self, job: impl FnOnce(Reply) -> Job) -> std::result::Result<Written, Problem> {
        let (reply, receiver) = oneshot::channel();
        let full = |_| Problem::overloaded("too many events are waiting to be written");
        self.sender.try_send(job(reply)).map_err(full)?;
        match tokio::time::timeout(self.patience, receiver).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(WriteFailed))) => {
                Err(Problem::unavailable("not acknowledged: the event store cannot be written"))
            }
            Ok(Err(_)) => Err(Problem::overloaded("the server is shutting down")),
            Err(_) => {
                self.works.store(false, Ordering::Relaxed); // until the store does something again
                Err(Problem::unavailable(
                    "not acknowledged before the deadline; it may have been stored, so send it again with the same key",
                ))
            }
        }
    }

    /// Waits until everything accepted is written. Returns whether it was in time; if not, nothing waits for the store any more.
    pub fn finish(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let (done, finished) = mpsc::sync_channel(1);
        let mut job = Job::Finish(done);
        let sent = loop {
            match self.sender.try_send(job) {
                Ok(()) => break true,
                Err(mpsc::TrySendError::Full(back)) if Instant::now() < until => {
                    job = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(_) => break false,
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        let in_time = sent && finished.recv_timeout(left).is_ok();
        self.abandoned.store(!in_time, Ordering::Relaxed);
        in_time
    }
}

impl Drop for Writer {
    /// Waits until all accepted events are written.
    fn drop(&mut self) {
        let (closed, _) = mpsc::sync_channel(0);
        self.sender = closed;
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        if let Some(thread) = self.thread.take().filter(|_| !abandoned) {
            _ = thread.join();
        }
    }
}

fn write(store: &dyn EventStore, jobs: &mpsc::Receiver<Job>, works: &AtomicBool) {
    let noted = |failed: Option<&Error>| {
        let worked = works.swap(failed.is_none(), Ordering::Relaxed);
        match failed {
            Some(error) if worked => tracing::error!(%error, "the event store failed"),
            None if !worked => tracing::warn!("the event store works again"),
            _ => {}
        }
        WriteFailed
    };
    let mut held = None;
    loop {
        let next = match held.take() {
            Some(job) => Ok(job),
            None => jobs.recv_timeout(CHECK_EVERY),
        };
        let (events, reply) = match next {
            Ok(Job::Append(events, reply)) => (events, reply),
            Ok(Job::Forget(user, reply)) => {
                let written = store.forget(&user).map(Written::Forgotten);
                let failed = noted(written.as_ref().err());
                _ = reply.send(written.map_err(|_| failed));
                continue;
            }
            Ok(Job::Finish(done)) => {
                _ = done.send(());
                continue;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                noted(store.check().err().as_ref());
                continue;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        let (mut all, mut replies) = (events, Vec::new());
        replies.push((all.len(), reply));
        while all.len() < EVENTS_PER_COMMIT {
            match jobs.try_recv() {
                Ok(Job::Append(events, reply)) => {
                    replies.push((events.len(), reply));
                    all.extend(events);
                }
                Ok(other) => {
                    held = Some(other); // keep the order of arrival
                    break;
                }
                Err(_) => break,
            }
        }
        let appended = store.append(&all);
        let failed = noted(appended.as_ref().err());
        match appended {
            Ok(new) => {
                let mut remaining = &new[..];
                for (n, reply) in replies {
                    let (own, others) = remaining.split_at(n.min(remaining.len()));
                    remaining = others;
                    _ = reply.send(Ok(Written::Appended(own.to_vec())));
                }
            }
            Err(_) => replies.into_iter().for_each(|(_, reply)| _ = reply.send(Err(failed))),
        }
    }
}
