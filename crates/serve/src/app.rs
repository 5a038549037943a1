//! What all requests share: the models by name, the scoring threads, the event store, the limits.

use crate::limits::Limits;
use crate::problem::Problem;
use crate::scoring::Scoring;
use crate::snapshot::Snapshot;
use crate::store::{EventStore, Writer};
use crate::{Error, Result};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(crate) type Shared = Arc<App>;

/// A server's state, without its network.
pub struct App {
    pub(crate) models: Models,
    pub(crate) limits: Limits,
    pub(crate) scoring: Scoring,
    pub(crate) writer: Option<Writer>,
    /// Set while the last answers are given before the end.
    pub(crate) draining: AtomicBool,
}

impl App {
    /// Serves `models`, of which the first answers where a request names none. Without a `store` there are no events.
    ///
    /// # Errors
    /// When there is no model, two have one name, or no threads can be started.
    pub fn new(
        models: Vec<Snapshot>,
        store: Option<Arc<dyn EventStore>>,
        limits: Limits,
        scoring_threads: usize,
    ) -> Result<Self> {
        let writer = store.clone().map(|store| Writer::start(store, limits.queue)).transpose()?;
        Ok(Self {
            models: Models::new(models)?,
            scoring: Scoring::new(scoring_threads, limits.queue, store)?,
            limits,
            writer,
            draining: AtomicBool::new(false),
        })
    }
}

/// The models that are served, by name.
pub(crate) struct Models {
    /// In the order in which they were given. A handful: looked for by reading all.
    slots: Vec<Slot>,
}

pub(crate) struct Slot {
    name: String,
    current: ArcSwap<Snapshot>,
}

impl Models {
    fn new(models: Vec<Snapshot>) -> Result<Self> {
        let wrong = |problem: String| Error::Setting { key: "models".into(), problem };
        let mut slots: Vec<Slot> = Vec::new();
        for snapshot in models {
            let name = snapshot.name.clone();
            if slots.iter().any(|slot| slot.name == name) {
                return Err(wrong(format!("two are called `{name}`")));
            }
            slots.push(Slot { name, current: ArcSwap::from_pointee(snapshot) });
        }
        if slots.is_empty() {
            return Err(wrong("there is none".into()));
        }
        Ok(Self { slots })
    }

    /// The model of that name as it is now; the first where no name is given.
    pub fn get(&self, field: &str, name: Option<&str>) -> Result<Arc<Snapshot>, Problem> {
        let slot = match name {
            None => self.slots.first(),
            Some(name) => self.slots.iter().find(|slot| slot.name == name),
        };
        slot.map(|slot| slot.current.load_full()).ok_or_else(|| {
            let names: Vec<&str> = self.slots.iter().map(|slot| slot.name.as_str()).collect();
            Problem::field(field, format!("no such model; there are: {}", names.join(", ")))
        })
    }

    pub fn all(&self) -> impl Iterator<Item = Arc<Snapshot>> {
        self.slots.iter().map(|slot| slot.current.load_full())
    }
}
