//! Group commit. A commit takes milliseconds however much it writes, so all events that arrive during one
//! commit go into the next.

use super::{Event, EventStore};
use crate::limits::Limits;
use crate::wire::Problem;
use crate::{Error, Result};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Writes events on a thread of its own, and acknowledges them when they are durable.
pub(crate) struct Writer {
    sender: mpsc::SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
    /// Maximum time to wait for a remote store.
    patience: Option<Duration>,
}

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Written, WriteFailed>>,
}

/// The log has the reason. Clients do not see it, because it says where the store is.
#[derive(Clone, Copy)]
struct WriteFailed;

enum Work {
    Append(Vec<Event>),
    Forget(String),
}

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

impl Writer {
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(store: Arc<dyn EventStore>, limits: &Limits) -> Result<Self> {
        let patience = store.is_remote().then_some(limits.deadline);
        let (sender, receiver) = mpsc::sync_channel(limits.queue);
        let thread = std::thread::Builder::new().name("events".into());
        let thread = thread.spawn(move || write(&*store, &receiver));
        let thread =
            thread.map_err(|source| Error::Network { what: "starting a thread".into(), source })?;
        Ok(Self { sender, thread: Some(thread), patience })
    }

    pub async fn append(&self, events: Vec<Event>) -> std::result::Result<Written, Problem> {
        self.send(Work::Append(events)).await
    }

    pub async fn forget(&self, user: String) -> std::result::Result<Written, Problem> {
        self.send(Work::Forget(user)).await
    }

    async fn send(&self, work: Work) -> std::result::Result<Written, Problem> {
        let (reply, receiver) = oneshot::channel();
        let full = |_| Problem::overloaded("too many events are waiting to be written");
        self.sender.try_send(Job { work, reply }).map_err(full)?;
        let reply = match self.patience {
            Some(patience) => tokio::time::timeout(patience, receiver).await,
            None => Ok(receiver.await),
        };
        match reply {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(WriteFailed))) => {
                Err(Problem::unavailable("not acknowledged: the event store cannot be written"))
            }
            Ok(Err(_)) => Err(Problem::overloaded("the server is shutting down")),
            Err(_) => Err(Problem::unavailable(
                "not acknowledged before the deadline; it may have been stored, so send it again with the same key",
            )),
        }
    }
}

impl Drop for Writer {
    /// Waits until all accepted events are written.
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
                let written = store.forget(&user).map(Written::Forgotten);
                _ = first.reply.send(written.map_err(|error| logged(&error)));
                continue;
            }
            Work::Append(events) => events,
        };
        let (mut all, mut replies) = (events, Vec::new());
        replies.push((all.len(), first.reply));
        while all.len() < EVENTS_PER_COMMIT {
            match jobs.try_recv() {
                Ok(Job { work: Work::Append(events), reply }) => {
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
        match store.append(&all) {
            Ok(new) => {
                let mut remaining = &new[..];
                for (n, reply) in replies {
                    let (own, others) = remaining.split_at(n.min(remaining.len()));
                    remaining = others;
                    _ = reply.send(Ok(Written::Appended(own.to_vec())));
                }
            }
            Err(error) => {
                let failed = logged(&error);
                replies.into_iter().for_each(|(_, reply)| _ = reply.send(Err(failed)));
            }
        }
    }
}

fn logged(error: &Error) -> WriteFailed {
    tracing::error!(%error, "the event store failed");
    WriteFailed
}
