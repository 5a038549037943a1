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
use crate::wire::Id;
use axum::body::Bytes;
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize};
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
    /// Number of requests that have arrived and are not answered yet.
    pub(crate) in_progress: AtomicUsize,
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
    /// If there is no model, if two have the same name, or if threads cannot be started.
    pub fn new(setup: Setup) -> Result<Self> {
        let Setup { models, store, limits, threads, keys, admin, .. } = setup;
        let writer = store.clone().map(|store| Writer::start(store, &limits)).transpose()?;
        Ok(Self {
            models: Models::new(models)?,
            scoring: Scoring::new(threads, limits.queue, store.clone())?,
            ladder: Ladder::new(limits.remembered / 2),
            metrics: Metrics::new(),
            document: OnceLock::new(),
            #[cfg(feature = "otlp")]
            spans: setup.traces,
            limits,
            store,
            writer,
            keys,
            admin,
            in_progress: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        })
    }

    /// The event store, if reading it means waiting for another process.
    pub(crate) fn remote_store(&self) -> Option<&Arc<dyn EventStore>> {
        self.store.as_ref().filter(|store| store.is_remote())
    }

    /// What the store knows about a user, or an error at `deadline`. For handlers, which must not block a
    /// network thread.
    ///
    /// # Errors
    /// If the store does not answer. The log has the reason.
    pub(crate) async fn user_state(
        &self,
        user: &Id,
        deadline: Instant,
    ) -> Result<UserState, ScoringError> {
        let unavailable = |error: &dyn Display| {
            tracing::error!(%error, "the event store cannot be read");
            ScoringError::StoreUnavailable
        };
        let Some(store) = &self.store else { return Ok(UserState::default()) };
        if !store.is_remote() {
            return store.user_state(&user.0).map_err(|error| unavailable(&error));
        }
        let (store, user) = (Arc::clone(store), user.0.clone());
        let read = tokio::task::spawn_blocking(move || store.user_state(&user));
        match tokio::time::timeout_at(deadline.into(), read).await {
            Ok(Ok(read)) => read.map_err(|error| unavailable(&error)),
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(error) => Err(unavailable(&error)),
        }
    }
}
