//! Group commit: forcing to disk takes milliseconds however much is written, so what arrives while one commit runs goes into the
//! next one together.

use super::{Event, EventStore};
use crate::limits::Limits;
use crate::problem::Problem;
use crate::{Error, Result};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Acknowledges events once they are on the disk.
pub(crate) struct Writer {
    sender: mpsc::SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
    /// Waited for an acknowledgement, where another process gives it.
    patience: Option<Duration>,
}

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Done, Unwritten>>,
}

/// Why is in the log: clients are not told where the store is.
#[derive(Clone, Copy)]
struct Unwritten;

enum Work {
    Append(Vec<Event>),
    Forget(String),
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// For each event whether it is new.
    Appended(Vec<bool>),
    /// So many events.
    Forgotten(u64),
}

/// Events in a commit: more would make the first wait long.
const TOGETHER: usize = 4096;

impl Writer {
    /// # Errors
    /// When no thread can be started.
    pub fn start(store: Arc<dyn EventStore>, limits: &Limits) -> Result<Self> {
        let patience = store.is_remote().then_some(limits.deadline);
        let (sender, receiver) = mpsc::sync_channel(limits.queue);
        let thread = std::thread::Builder::new().name("events".into());
        let thread = thread.spawn(move || write(&*store, &receiver));
        let thread =
            thread.map_err(|source| Error::Network { what: "starting a thread".into(), source })?;
        Ok(Self { sender, thread: Some(thread), patience })
    }

    pub async fn append(&self, events: Vec<Event>) -> std::result::Result<Done, Problem> {
        self.send(Work::Append(events)).await
    }

    pub async fn forget(&self, user: String) -> std::result::Result<Done, Problem> {
        self.send(Work::Forget(user)).await
    }

    async fn send(&self, work: Work) -> std::result::Result<Done, Problem> {
        let (reply, receiver) = oneshot::channel();
        let full = |_| Problem::overloaded("too many events wait to be written");
        self.sender.try_send(Job { work, reply }).map_err(full)?;
        let reply = match self.patience {
            Some(patience) => tokio::time::timeout(patience, receiver).await,
            None => Ok(receiver.await),
        };
        match reply {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(Unwritten))) => {
                Err(Problem::unavailable("not acknowledged: the event store cannot be written"))
            }
            Ok(Err(_)) => Err(Problem::overloaded("the server is shutting down")),
            Err(_) => Err(Problem::unavailable(
                "not acknowledged before the deadline; it may be kept all the same: send it again with its key",
            )),
        }
    }
}

impl Drop for Writer {
    /// Waits for what was taken.
    fn drop(&mut self) {
        let (closed, _) = mpsc::sync_channel(0);
        self.sender = closed;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn write(store: &dyn EventStore, jobs: &mpsc::Receiver<Job>) {
    let mut held = None;
    while let Some(first) = held.take().or_else(|| jobs.recv().ok()) {
        let events = match first.work {
            Work::Forget(user) => {
                let done = store.forget(&user).map(Done::Forgotten);
                _ = first.reply.send(done.map_err(|error| told(&error)));
                continue;
            }
            Work::Append(events) => events,
        };
        let (mut all, mut parts) = (events, Vec::new());
        parts.push((all.len(), first.reply));
        while all.len() < TOGETHER {
            match jobs.try_recv() {
                Ok(Job { work: Work::Append(events), reply }) => {
                    parts.push((events.len(), reply));
                    all.extend(events);
                }
                Ok(other) => {
                    held = Some(other); // in the order in which they came
                    break;
                }
                Err(_) => break,
            }
        }
        match store.append(&all) {
            Ok(new) => {
                let mut rest = &new[..];
                for (n, reply) in parts {
                    let (own, others) = rest.split_at(n.min(rest.len()));
                    rest = others;
                    _ = reply.send(Ok(Done::Appended(own.to_vec())));
                }
            }
            Err(error) => {
                let problem = told(&error);
                parts.into_iter().for_each(|(_, reply)| _ = reply.send(Err(problem)));
            }
        }
    }
}

fn told(error: &Error) -> Unwritten {
    tracing::error!(%error, "the event store failed");
    Unwritten
}
