//! A store in memory, for demonstrations: its events are gone when the process ends, so nothing that it acknowledges is durable. The
//! worked example of `CONTRIBUTING.md`; it is compiled and tested, but no command opens it.

use super::{Event, EventStore, StoredEvent, UserState};
use crate::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Events in memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    last: u64,
    events: BTreeMap<u64, Event>,
    /// (user, key) of the events that have a key.
    keys: BTreeSet<(String, String)>,
    forgotten: BTreeSet<String>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventStore for MemoryStore {
    fn is_remote(&self) -> bool {
        false
    }

    fn append(&self, events: &[Event]) -> Result<Vec<bool>> {
        let mut tables = self.tables();
        let keep = |event: &Event| {
            let key = event.key.as_ref().map(|key| (event.user.0.clone(), key.0.clone()));
            let new = key.is_none_or(|key| tables.keys.insert(key));
            if new {
                tables.last += 1;
                let number = tables.last;
                tables.events.insert(number, event.clone());
            }
            new
        };
        Ok(events.iter().map(keep).collect())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn user_states(&self, users: &[&str], newest: usize, _: Instant) -> Result<Vec<UserState>> {
        let tables = self.tables();
        let state = |user: &&str| {
            let of_user = tables.events.values().filter(|event| event.user.0 == **user);
            let mut events: Vec<&Event> = of_user.collect();
            events.drain(..events.len().saturating_sub(newest));
            events.sort_by_key(|event| event.time); // stable: equal times stay in the order of arrival
            let items = events.into_iter().map(|event| event.item.0.clone()).collect();
            UserState { items, forgotten: tables.forgotten.contains(*user) }
        };
        Ok(users.iter().map(state).collect())
    }

    fn forget(&self, user: &str) -> Result<u64> {
        let mut tables = self.tables();
        let before = tables.events.len();
        tables.events.retain(|_, event| event.user.0 != user);
        tables.keys.retain(|(owner, _)| owner != user);
        tables.forgotten.insert(user.to_owned());
        Ok((before - tables.events.len()) as u64)
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>> {
        let tables = self.tables();
        let later = tables.events.range(after.saturating_add(1)..).filter(|(n, _)| **n > after);
        let stored = later.map(|(&number, event)| StoredEvent { number, event: event.clone() });
        Ok(stored.take(limit).collect())
    }

    fn forgotten(&self) -> Result<Vec<String>> {
        Ok(self.tables().forgotten.iter().cloned().collect())
    }

    fn n_events(&self) -> Result<u64> {
        Ok(self.tables().events.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{Fixture, contract_tests};
    use super::*;
    use std::sync::Arc;

    impl Fixture for Arc<MemoryStore> {
        fn open(&self) -> Arc<dyn EventStore> {
            Arc::clone(self) as _
        }

        fn instances(&self, store: &Arc<dyn EventStore>) -> Vec<Arc<dyn EventStore>> {
            vec![Arc::clone(store)]
        }
    }

    contract_tests!(Some(Arc::new(MemoryStore::default())));
}
