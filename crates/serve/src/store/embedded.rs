//! An event store in a single file, through `redb`. Its B-trees are copy-on-write, so a crash at any moment
//! leaves the last commit intact.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `events` | number (u64) | the event as JSON, with a checksum |
//! | `by_user` | user, number | empty |
//! | `keys` | user, key of an event | its number |
//! | `forgotten` | user | a checksum of the user |
//! | `counters` | `last` | the last event number |
//!
//! Keys belong to a user: forgetting the user deletes them, and different users may use the same key.

mod audit;
#[cfg(test)]
mod faults;

use super::record;
use super::{Event, EventStore, StoredEvent, UserState};
use crate::{Error, Result};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};
use std::fmt::Display;
use std::path::{Path, PathBuf};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const BY_USER: TableDefinition<'_, (&str, u64), ()> = TableDefinition::new("by_user");
const KEYS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("keys");
const FORGOTTEN: TableDefinition<'_, &str, u64> = TableDefinition::new("forgotten");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const LAST: &str = "last";

/// Bytes of pages cached in memory.
const CACHE: usize = 64 << 20;

const OPEN_ELSEWHERE: &str = "is open in another process, such as a running server; stop that process, or read a copy of the file";

const EMPTY: &str = "is an empty file, which a store never is: put the store back, or remove the file to begin a new one";
const MARK_DAMAGED: &str = "the mark does not match its checksum, so somebody else may have been forgotten; take the store from a backup";

/// An event store in a local file.
pub struct EmbeddedStore {
    path: PathBuf,
    database: Database,
}

impl EmbeddedStore {
    /// Opens the file or creates it. Repairs a file that a killed process left behind.
    ///
    /// # Errors
    /// If another process has it open, it cannot be written, it is not an event store, or its marks of forgotten users are damaged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // A new store would be begun in it, and forgotten users would come back.
        if path.metadata().is_ok_and(|found| found.is_file() && found.len() == 0) {
            return Err(at(&path)(&EMPTY));
        }
        let database = Database::builder().set_cache_size(CACHE).create(&path);
        let database = database.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => at(&path)(&OPEN_ELSEWHERE),
            other => at(&path)(&other),
        })?;
        Self::with(path, database)
    }

    fn with(path: PathBuf, database: Database) -> Result<Self> {
        let store = Self { path, database };
        store.write(|transaction| {
            // Readers need every table to exist.
            transaction.open_table(EVENTS)?;
            transaction.open_table(BY_USER)?;
            transaction.open_table(KEYS)?;
            transaction.open_table(FORGOTTEN)?;
            transaction.open_table(COUNTERS)?;
            Ok(())
        })?;
        store.forgotten()?;
        Ok(store)
    }

    /// Runs one transaction, which is durable when this returns.
    fn write<T>(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let run = || {
            let transaction = self.database.begin_write()?;
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|error: redb::Error| at(&self.path)(&error))
    }

    fn view<T>(
        &self,
        query: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let run = || query(&self.database.begin_read()?);
        run().map_err(|error: redb::Error| at(&self.path)(&error))
    }

    /// The event of a record. One that is damaged is named and passed over: it must not keep the others from being read.
    fn parse(&self, number: u64, bytes: &[u8]) -> Option<Event> {
        let event = record::read(number, bytes);
        event.inspect_err(|problem| self.passed_over(number, problem)).ok()
    }

    fn passed_over(&self, number: u64, problem: &str) {
        tracing::error!(store = %self.path.display(), event = number, problem, "an event is damaged and passed over");
    }
}

fn at(path: &Path) -> impl Fn(&dyn Display) -> Error {
    |problem| Error::Store { location: path.display().to_string(), problem: problem.to_string() }
}

impl EventStore for EmbeddedStore {
    fn is_remote(&self) -> bool {
        false
    }

    fn append(&self, events: &[Event]) -> Result<Vec<bool>> {
        let bytes = events.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>();
        let bytes = bytes.map_err(|error| at(&self.path)(&error))?;
        self.write(|transaction| {
            let mut table = transaction.open_table(EVENTS)?;
            let mut by_user = transaction.open_table(BY_USER)?;
            let mut keys = transaction.open_table(KEYS)?;
            let mut counters = transaction.open_table(COUNTERS)?;
            let mut last = counters.get(LAST)?.map_or(0, |last| last.value());
            let mut new = Vec::with_capacity(events.len());
            for (event, bytes) in events.iter().zip(&bytes) {
                let user = event.user.0.as_str();
                if let Some(key) = &event.key {
                    let key = (user, key.0.as_str());
                    if keys.get(key)?.is_some() {
                        new.push(false);
                        continue;
                    }
                    keys.insert(key, last + 1)?;
                }
                last += 1;
                table.insert(last, record::sealed(last, bytes).as_slice())?;
                by_user.insert((user, last), ())?;
                new.push(true);
            }
            counters.insert(LAST, last)?;
            Ok(new)
        })
    }

    fn user_states(&self, users: &[&str]) -> Result<Vec<UserState>> {
        let found = self.view(|transaction| {
            let by_user = transaction.open_table(BY_USER)?;
            let forgotten = transaction.open_table(FORGOTTEN)?;
            let mut found = Vec::with_capacity(users.len());
            for &user in users {
                let numbers = by_user.range((user, 0)..=(user, u64::MAX))?;
                let numbers = numbers
                    .map(|entry| Ok(entry?.0.value().1))
                    .collect::<Result<Vec<u64>, redb::Error>>()?;
                let mut events: Vec<(u64, Vec<u8>)> = Vec::with_capacity(numbers.len());
                if !numbers.is_empty() {
                    let table = transaction.open_table(EVENTS)?; // most users have none
                    for number in numbers {
                        let bytes = table.get(number)?;
                        events.extend(bytes.map(|bytes| (number, bytes.value().to_vec())));
                    }
                }
                found.push((events, forgotten.get(user)?.is_some()));
            }
            Ok(found)
        })?;
        let state = |((events, forgotten), user): ((Vec<(u64, Vec<u8>)>, bool), &&str)| {
            let of_user = |(number, bytes): &(u64, Vec<u8>)| {
                let event = self.parse(*number, bytes)?;
                let own = event.user.0 == **user;
                if !own {
                    self.passed_over(*number, "is listed among those of another user");
                }
                own.then_some(event)
            };
            let mut events: Vec<Event> = events.iter().filter_map(of_user).collect();
            events.sort_by_key(|event| event.time); // stable: events of the same time stay in the order of arrival
            UserState { items: events.into_iter().map(|event| event.item.0).collect(), forgotten }
        };
        Ok(found.into_iter().zip(users).map(state).collect())
    }

    fn forget(&self, user: &str) -> Result<u64> {
        self.write(|transaction| {
            let mut table = transaction.open_table(EVENTS)?;
            let mut by_user = transaction.open_table(BY_USER)?;
            let mut keys = transaction.open_table(KEYS)?;
            let numbers = by_user.range((user, 0)..=(user, u64::MAX))?;
            let numbers = numbers
                .map(|entry| Ok(entry?.0.value().1))
                .collect::<Result<Vec<u64>, redb::Error>>()?;
            for &number in &numbers {
                table.remove(number)?;
                by_user.remove((user, number))?;
            }
            let owned = keys.range((user, "")..)?.map_while(|entry| match entry {
                Ok((key, _)) if key.value().0 != user => None,
                Ok((key, _)) => Some(Ok(key.value().1.to_owned())),
                Err(error) => Some(Err(error)),
            });
            let owned = owned.collect::<Result<Vec<String>, _>>()?;
            for key in &owned {
                keys.remove((user, key.as_str()))?;
            }
            transaction.open_table(FORGOTTEN)?.insert(user, record::mark(user))?;
            Ok(numbers.len() as u64)
        })
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>> {
        self.view(|transaction| {
            let table = transaction.open_table(EVENTS)?;
            let stored = table.range(after.saturating_add(1)..)?.filter_map(|entry| {
                let read = |(number, bytes): (
                    redb::AccessGuard<'_, u64>,
                    redb::AccessGuard<'_, &[u8]>,
                )| {
                    let number = number.value();
                    self.parse(number, bytes.value()).map(|event| StoredEvent { number, event })
                };
                entry.map(read).transpose()
            });
            Ok(stored.take(limit).collect::<Result<Vec<_>, _>>()?)
        })
    }

    fn damaged(&self) -> Result<Vec<String>> {
        self.view(audit::damaged)
    }

    fn forgotten(&self) -> Result<Vec<String>> {
        let marks = self.view(|transaction| {
            let table = transaction.open_table(FORGOTTEN)?;
            let marks = table
                .iter()?
                .map(|entry| entry.map(|(user, mark)| (user.value().to_owned(), mark.value())));
            Ok(marks.collect::<Result<Vec<_>, _>>()?)
        })?;
        let user = |(user, mark): (String, u64)| match record::marks(&user, mark) {
            true => Ok(user),
            false => Err(at(&self.path)(&format!("forgotten user `{user}`: {MARK_DAMAGED}"))),
        };
        marks.into_iter().map(user).collect()
    }

    fn n_events(&self) -> Result<u64> {
        self.view(|transaction| Ok(transaction.open_table(EVENTS)?.len()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::contract::{Fixture, contract_tests};
    use super::*;
    use std::sync::Arc;

    impl Fixture for tempfile::TempDir {
        fn open(&self) -> Arc<dyn EventStore> {
            Arc::new(EmbeddedStore::open(self.path().join("events.redb")).unwrap())
        }

        fn instances(&self, store: &Arc<dyn EventStore>) -> Vec<Arc<dyn EventStore>> {
            assert!(
                EmbeddedStore::open(self.path().join("events.redb")).is_err(),
                "only one process may open it"
            );
            vec![Arc::clone(store)]
        }
    }

    contract_tests!(Some(tempfile::tempdir().unwrap()));

    #[test]
    fn an_empty_file_is_no_new_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.redb");
        std::fs::File::create(&path).unwrap();
        let refused = EmbeddedStore::open(&path).err().unwrap().to_string();
        assert!(
            refused.contains("events.redb") && refused.contains("is an empty file"),
            "{refused}"
        );
    }

    #[test]
    fn a_file_that_is_not_a_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter");
        std::fs::write(&path, "dear ".repeat(2000)).unwrap();
        assert!(EmbeddedStore::open(&path).err().unwrap().to_string().contains("letter"));
    }
}
