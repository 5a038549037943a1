//! The models that are served, by name. A model can be replaced by another version, and rolled back, while
//! requests are running.
//!
//! A request loads the pointer once and keeps that version to its end. The replaced version stays in memory
//! until the next swap, so a rollback is immediate.

use super::challenger::Challenger;
use super::snapshot::Snapshot;
use crate::wire::Problem;
use crate::{Error, Result};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All models, in the order in which they were given. They are few, so a lookup is a linear search.
pub(crate) struct Models {
    slots: Vec<Arc<Slot>>,
}

/// A name and the versions behind it.
pub(crate) struct Slot {
    pub name: String,
    current: ArcSwap<Snapshot>,
    challenger: ArcSwapOption<Challenger>,
    /// Locked during every change of the slot.
    previous: Mutex<Option<Arc<Snapshot>>>,
}

impl Models {
    pub fn new(models: Vec<Snapshot>) -> Result<Self> {
        let wrong = |problem: String| Error::Setting { key: "models".into(), problem };
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        for snapshot in models {
            let name = snapshot.name.clone();
            if slots.iter().any(|slot| slot.name == name) {
                return Err(wrong(format!("two have the name `{name}`")));
            }
            slots.push(Arc::new(Slot {
                name,
                current: ArcSwap::from_pointee(snapshot),
                challenger: ArcSwapOption::empty(),
                previous: Mutex::default(),
            }));
        }
        if slots.is_empty() {
            return Err(wrong("expected at least one, found none".into()));
        }
        Ok(Self { slots })
    }

    /// The model with this name; the first one if there is no name.
    pub fn slot(
        &self,
        field: &str,
        name: Option<&str>,
    ) -> std::result::Result<&Arc<Slot>, Problem> {
        let slot = match name {
            None => self.slots.first(),
            Some(name) => self.slots.iter().find(|slot| slot.name == name),
        };
        slot.ok_or_else(|| {
            let names: Vec<&str> = self.slots.iter().map(|slot| slot.name.as_str()).collect();
            Problem::field(field, format!("no such model; expected one of: {}", names.join(", ")))
        })
    }

    pub fn all(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().map(|slot| &**slot)
    }
}

impl Slot {
    /// The version that answers now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The version before it.
    pub fn previous(&self) -> Option<Arc<Snapshot>> {
        self.lock().clone()
    }

    /// The model on trial.
    pub fn challenger(&self) -> Option<Arc<Challenger>> {
        self.challenger.load_full()
    }

    /// Replaces the version that answers now, and returns the old one.
    pub fn swap(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let mut previous = self.lock();
        let replaced = self.current.swap(snapshot);
        *previous = Some(Arc::clone(&replaced));
        replaced
    }

    /// Restores the previous version, and returns it. A second call restores the newer one. `None` if there
    /// is no previous version.
    pub fn roll_back(&self) -> Option<Arc<Snapshot>> {
        let mut previous = self.lock();
        let back = previous.take()?;
        *previous = Some(self.current.swap(Arc::clone(&back)));
        Some(back)
    }

    /// Starts a trial. It replaces any trial that is running.
    pub fn begin_trial(&self, challenger: Arc<Challenger>) {
        let _changing = self.lock();
        self.challenger.store(Some(challenger));
    }

    /// Ends the trial and returns its challenger. If `only` is given, ends only that trial.
    pub fn end_trial(&self, only: Option<&Arc<Challenger>>) -> Option<Arc<Challenger>> {
        let _changing = self.lock();
        let challenger = self.challenger.load_full()?;
        if only.is_some_and(|only| !Arc::ptr_eq(only, &challenger)) {
            return None;
        }
        self.challenger.store(None);
        Some(challenger)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Snapshot>>> {
        self.previous.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
