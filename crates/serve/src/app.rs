//! What all requests share: the models by name, the scoring threads, the event store, the limits.

use crate::Result;
use crate::keys::Keys;
use crate::ladder::Ladder;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::scoring::Scoring;
use crate::snapshot::Snapshot;
use crate::store::{EventStore, Writer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

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
        let Setup { models, store, limits, threads, keys, admin } = setup;
        let writer = store.clone().map(|store| Writer::start(store, limits.queue)).transpose()?;
        Ok(Self {
            models: Models::new(models)?,
            scoring: Scoring::new(threads, limits.queue, store.clone())?,
            ladder: Ladder::new(limits.remembered / 2),
            metrics: Metrics::new(),
            limits,
            store,
            writer,
            keys,
            admin,
            in_progress: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        })
    }
}
