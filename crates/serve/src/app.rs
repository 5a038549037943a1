//! What all requests share: the models by name, the scoring threads, the event store, the limits.

use crate::Result;
use crate::keys::Keys;
use crate::ladder::Ladder;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::request::Id;
use crate::scoring::{NoAnswer, Scoring};
use crate::snapshot::Snapshot;
use crate::store::{EventStore, OfUser, Writer};
use axum::body::Bytes;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;

pub(crate) type Shared = Arc<App>;

/// A server's state, without its network.
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
    /// What `/openapi.json` answers.
    pub(crate) document: Bytes,
    #[cfg(feature = "otlp")]
    pub(crate) traces: Option<crate::Traces>,
    /// Requests that were taken and are not answered yet.
    pub(crate) in_progress: AtomicUsize,
    /// Set while the last answers are given before the end.
    pub(crate) draining: AtomicBool,
}

/// What a server is made of.
#[derive(Default)]
pub struct Setup {
    /// The first answers where a request names none.
    pub models: Vec<Snapshot>,
    /// Without it there are no events.
    pub store: Option<Arc<dyn EventStore>>,
    /// How much a request may ask for.
    pub limits: Limits,
    /// That compute answers; 0 is one a core.
    pub threads: usize,
    /// Who may ask; without them anybody who reaches the server.
    pub keys: Option<Keys>,
    /// Who may change what is served; without it nobody.
    pub admin: Option<Admin>,
    /// Where a span of each request goes; nowhere without it.
    #[cfg(feature = "otlp")]
    pub traces: Option<crate::Traces>,
}

/// Who may change what is served, and how another version is read.
pub struct Admin {
    /// Who.
    pub keys: Keys,
    /// Reads and checks an artefact for a model of this name; the error is told to the administrator.
    pub load: Box<Load>,
}

/// See [`Admin::load`].
pub type Load = dyn Fn(&str, &Path) -> std::result::Result<Snapshot, String> + Send + Sync;

impl App {
    /// # Errors
    /// When there is no model, two have one name, or no threads can be started.
    pub fn new(setup: Setup) -> Result<Self> {
        let Setup { models, store, limits, threads, keys, admin, .. } = setup;
        let writer = store.clone().map(|store| Writer::start(store, &limits)).transpose()?;
        let models = Models::new(models)?;
        let names: Vec<&str> = models.all().map(|slot| slot.name.as_str()).collect();
        Ok(Self {
            document: crate::openapi(&limits, &names).into(),
            models,
            scoring: Scoring::new(threads, limits.queue, store.clone())?,
            ladder: Ladder::new(limits.remembered / 2),
            metrics: Metrics::new(),
            #[cfg(feature = "otlp")]
            traces: setup.traces,
            limits,
            store,
            writer,
            keys,
            admin,
            in_progress: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        })
    }

    /// The store, where reading it waits for another process.
    pub(crate) fn remote_store(&self) -> Option<&Arc<dyn EventStore>> {
        self.store.as_ref().filter(|store| store.is_remote())
    }

    /// What the store knows of a user, `until` then; for handlers, which must not wait on the network's threads.
    ///
    /// # Errors
    /// When it does not say; the log says why.
    pub(crate) async fn of_user(&self, user: &Id, until: Instant) -> Result<OfUser, NoAnswer> {
        let unknown = |error: &dyn Display| {
            tracing::error!(%error, "no answer");
            NoAnswer::Unknown
        };
        let Some(store) = &self.store else { return Ok(OfUser::default()) };
        if !store.is_remote() {
            return store.of_user(&user.0).map_err(|error| unknown(&error));
        }
        let (store, user) = (Arc::clone(store), user.0.clone());
        let read = tokio::task::spawn_blocking(move || store.of_user(&user));
        match tokio::time::timeout_at(until.into(), read).await {
            Ok(Ok(read)) => read.map_err(|error| unknown(&error)),
            Ok(Err(error)) => Err(unknown(&error)),
            Err(error) => Err(unknown(&error)),
        }
    }
}
