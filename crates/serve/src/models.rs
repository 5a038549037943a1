//! The models that are served, by name; how another version takes the place of one without a request noticing, and comes back.
//!
//! A request takes the pointer once and keeps the version that it began with. The version that was replaced is held until the
//! next one, so that bringing it back takes no time.

use crate::challenger::Challenger;
use crate::problem::Problem;
use crate::snapshot::Snapshot;
use crate::{Error, Result};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In the order in which they were given. A handful: looked for by reading all.
pub(crate) struct Models {
    slots: Vec<Arc<Slot>>,
}

/// A name and who answers to it.
pub(crate) struct Slot {
    pub name: String,
    current: ArcSwap<Snapshot>,
    challenger: ArcSwapOption<Challenger>,
    /// Held while anything of the slot is changed.
    previous: Mutex<Option<Arc<Snapshot>>>,
}

impl Models {
    pub fn new(models: Vec<Snapshot>) -> Result<Self> {
        let wrong = |problem: String| Error::Setting { key: "models".into(), problem };
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        for snapshot in models {
            let name = snapshot.name.clone();
            if slots.iter().any(|slot| slot.name == name) {
                return Err(wrong(format!("two are called `{name}`")));
            }
            slots.push(Arc::new(Slot {
                name,
                current: ArcSwap::from_pointee(snapshot),
                challenger: ArcSwapOption::empty(),
                previous: Mutex::default(),
            }));
        }
        if slots.is_empty() {
            return Err(wrong("there is none".into()));
        }
        Ok(Self { slots })
    }

    /// The model of that name; the first where no name is given.
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
            Problem::field(field, format!("no such model; there are: {}", names.join(", ")))
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

    /// The model that is tried beside it.
    pub fn challenger(&self) -> Option<Arc<Challenger>> {
        self.challenger.load_full()
    }

    /// Puts another version in the place of the one that answers, which is given back.
    pub fn swap(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let mut previous = self.lock();
        let replaced = self.current.swap(snapshot);
        *previous = Some(Arc::clone(&replaced));
        replaced
    }

    /// Brings the version before back; a second time, brings the newer one back. `None` where there was none.
    pub fn roll_back(&self) -> Option<Arc<Snapshot>> {
        let mut previous = self.lock();
        let back = previous.take()?;
        *previous = Some(self.current.swap(Arc::clone(&back)));
        Some(back)
    }

    /// Tries a model, in the place of one that may be tried already.
    pub fn begin_trial(&self, challenger: Arc<Challenger>) {
        let _changing = self.lock();
        self.challenger.store(Some(challenger));
    }

    /// Ends the trial; where `only` is given, only if it is that one. Gives back whose it was.
    pub fn end_trial(&self, only: Option<&Arc<Challenger>>) -> Option<Arc<Challenger>> {
        let _changing = self.lock();
        let tried = self.challenger.load_full()?;
        if only.is_some_and(|only| !Arc::ptr_eq(only, &tried)) {
            return None;
        }
        self.challenger.store(None);
        Some(tried)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Snapshot>>> {
        self.previous.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
