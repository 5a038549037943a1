//! The state that all requests share: models, scoring threads, event store, limits.

use crate::Result;
use crate::answer::{Ladder, Scoring, ScoringError};
use crate::keys::Keys;
use crate::limits::Limits;
use crate::model::{Models, Snapshot};
use crate::store::{EventStore, UserState, Writer};
use crate::telemetry::Metrics;
#[cfg(feature = "otlp")]
use crate::telemetry::SpanExporter;
use axum::body::Bytes;
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub(crate) type Shared = Arc<App>;

/// A server without its network.
///
/// [`router`](crate::router) answers requests from it. To serve it on a socket, use [`run`](crate::run) or
/// [`Server`](crate::Server).
pub struct App {
    pub(crate) models: Models,
    pub(crate) limits: Limits,
    pub(crate) scoring: Scoring,
    pub(crate) store: Option<Arc<dyn EventStore>>,
    pub(crate) writer: Option<Writer>,
    pub(crate) keys: Option<Keys>,
    pub(crate) admin: Option<Admin>,
    pub(crate) ladder: Ladder,
    pub(crate) metrics: Metrics,
    /// The OpenAPI document, made at the first request for it.
    pub(crate) document: OnceLock<Bytes>,
    #[cfg(feature = "otlp")]
    pub(crate) spans: Option<SpanExporter>,
    /// Number of requests that have arrived and whose answers are not written yet.
    pub(crate) in_progress: AtomicUsize,
    /// Bytes of large answers that are not written yet.
    pub(crate) unread: AtomicUsize,
    /// Set during shutdown, while the last requests are answered.
    pub(crate) draining: AtomicBool,
}

/// The parts of a server.
#[derive(Default)]
pub struct Setup {
    /// The models. The first one answers requests that name none.
    pub models: Vec<Snapshot>,
    /// The event store. Without one, the server accepts no events.
    pub store: Option<Arc<dyn EventStore>>,
    /// Limits on requests.
    pub limits: Limits,
    /// Number of scoring threads; 0 means one per core.
    pub threads: usize,
    /// Keys that clients need. Without them, all clients have access.
    pub keys: Option<Keys>,
    /// Access for administrators. Without it, the models cannot be changed.
    pub admin: Option<Admin>,
    /// Lines of the log that were dropped, counted by whoever writes it. Shown by the metrics.
    pub dropped_log_lines: Arc<AtomicU64>,
    /// Where to send a span for each request.
    #[cfg(feature = "otlp")]
    pub traces: Option<SpanExporter>,
}

/// Access for administrators, who replace models while the server runs.
pub struct Admin {
    /// Keys of the administrators.
    pub keys: Keys,
    /// Loads and checks an artefact for the model of this name. The administrator sees the error.
    pub load: Box<Load>,
}

/// See [`Admin::load`].
pub type Load = dyn Fn(&str, &Path) -> std::result::Result<Snapshot, String> + Send + Sync;

impl App {
    /// # Errors
    /// If there is no model, if two have the same name, if a limit is out of range, or if threads cannot be started.
    pub fn new(setup: Setup) -> Result<Self> {
        let Setup { models, store, limits, threads, keys, admin, .. } = setup;
        limits.check_possible()?;
        let writer = store.clone().map(|store| Writer::start(store, &limits)).transpose()?;
        Ok(Self {
            models: Models::new(models)?,
            scoring: Scoring::new(threads, &limits, store.clone())?,
            ladder: Ladder::new(limits.remembered / 2),
            metrics: Metrics::new(setup.dropped_log_lines),
            document: OnceLock::new(),
            #[cfg(feature = "otlp")]
            spans: setup.traces,
            limits,
            store,
            writer,
            keys,
            admin,
            in_progress: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        })
    }

    /// The event store, if reading it means waiting for another process.
    pub(crate) fn remote_store(&self) -> Option<&Arc<dyn EventStore>> {
        self.store.as_ref().filter(|store| store.is_remote())
    }

    /// What the store knows about each user, or an error at `deadline`: one call, away from the network threads.
    ///
    /// # Errors
    /// If the store does not answer. The log has the reason.
    pub(crate) async fn user_states(
        &self,
        users: Vec<String>,
        deadline: Instant,
    ) -> Result<Vec<Arc<UserState>>, ScoringError> {
        let unavailable = |error: &dyn Display| {
            tracing::error!(%error, "the event store cannot be read");
            ScoringError::StoreUnavailable
        };
        let Some(store) = &self.store else {
            return Ok(users.iter().map(|_| Arc::default()).collect());
        };
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let (store, newest) = (Arc::clone(store), self.limits.stored);
        let read = tokio::task::spawn_blocking(move || {
            let users: Vec<&str> = users.iter().map(String::as_str).collect();
            store.user_states(&users, newest, deadline)
        });
        match tokio::time::timeout_at(deadline.into(), read).await {
            Ok(Ok(Ok(states))) => Ok(states.into_iter().map(Arc::new).collect()),
            Ok(Ok(Err(error))) => Err(unavailable(&error)),
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Why the server should get no requests now; `None` if it should.
    pub(crate) fn not_ready(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("the server is shutting down");
        }
        if self.writer.as_ref().is_some_and(|writer| !writer.works()) {
            return Some("the event store cannot be written");
        }
        self.scoring.is_stuck().then_some("the models do not answer")
    }
}
