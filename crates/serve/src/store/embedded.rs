//! An event store in a single file, through `redb`. Its B-trees are copy-on-write, so a crash at any moment
//! leaves the last commit intact.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `events` | number (u64) | the event as JSON, with a checksum |
//! | `by_user` | user, number | empty |
//! | `keys` | user, key of an event | its number |
//! | `forgotten` | user | a checksum of the user |
//! | `counters` | `last`, `events`, `forgotten` | the last event number, the number of events, that of forgotten users |
//!
//! Keys belong to a user: forgetting the user deletes them, and different users may use the same key.

mod audit;
#[cfg(test)]
mod faults;
mod file;
#[cfg(test)]
mod outages;

use super::record;
use super::{Event, EventStore, StoredEvent, UserState};
use crate::Result;
use file::StoreFile;
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition, TableHandle as _};
use std::path::PathBuf;
use std::time::Instant;

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const BY_USER: TableDefinition<'_, (&str, u64), ()> = TableDefinition::new("by_user");
const KEYS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("keys");
const FORGOTTEN: TableDefinition<'_, &str, u64> = TableDefinition::new("forgotten");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const LAST: &str = "last";
const TABLES: [&str; 5] = ["events", "by_user", "keys", "forgotten", "counters"];

const MARK_DAMAGED: &str = "the mark does not match its checksum, so somebody else may have been forgotten; take the store from a backup";
const BACKUP: &str = "take the store from a backup";

/// Numbers and bytes of events.
type Records = Vec<(u64, Vec<u8>)>;

/// An event store in a local file.
pub struct EmbeddedStore {
    file: StoreFile,
}

impl EmbeddedStore {
    /// Opens the file or creates it. Repairs a file that a killed process left behind.
    ///
    /// # Errors
    /// If another process has it open, it cannot be written, it is not an event store, or its marks of forgotten users are damaged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::with(StoreFile::open(path.into())?)
    }

    fn with(file: StoreFile) -> Result<Self> {
        let store = Self { file };
        store.all_tables_or_none()?;
        store.file.write(|transaction| {
            // Readers need every table to exist.
            let n_events = transaction.open_table(EVENTS)?.len()?;
            transaction.open_table(BY_USER)?;
            transaction.open_table(KEYS)?;
            let n_forgotten = transaction.open_table(FORGOTTEN)?.len()?;
            let mut counters = transaction.open_table(COUNTERS)?;
            // Earlier versions did not count.
            for (name, rows) in [(EVENTS.name(), n_events), (FORGOTTEN.name(), n_forgotten)] {
                if counters.get(name)?.is_none() {
                    counters.insert(name, rows)?;
                }
            }
            Ok(())
        })?;
        store.forgotten()?;
        Ok(store)
    }

    /// All are made together, so one that is missing has been lost.
    fn all_tables_or_none(&self) -> Result<()> {
        let found = self.file.view(|transaction| {
            let names = transaction.list_tables()?.map(|table| table.name().to_owned());
            Ok(names.collect::<Vec<String>>())
        })?;
        let missing = TABLES.iter().find(|name| !found.iter().any(|found| found == *name));
        match missing {
            Some(name) if found.iter().any(|found| TABLES.contains(&found.as_str())) => {
                Err(self.file.error(&format!("has lost its table `{name}`; {BACKUP}")))
            }
            _ => Ok(()),
        }
    }

    /// The event of a record. One that is damaged is named and passed over: it must not keep the others from being read.
    fn parse(&self, number: u64, bytes: &[u8]) -> Option<Event> {
        let event = record::read(number, bytes);
        event.inspect_err(|problem| self.passed_over(number, problem)).ok()
    }

    fn passed_over(&self, number: u64, problem: &str) {
        let store = self.file.path().display();
        tracing::error!(%store, event = number, problem, "an event is damaged and passed over");
    }
}

/// Changes the number of rows that a table is known to have.
fn count(
    counters: &mut redb::Table<'_, &str, u64>,
    table: &str,
    change: impl FnOnce(u64) -> u64,
) -> Result<(), redb::Error> {
    let before = counters.get(table)?.map_or(0, |n| n.value());
    counters.insert(table, change(before))?;
    Ok(())
}

impl EventStore for EmbeddedStore {
    fn is_remote(&self) -> bool {
        false
    }

    fn append(&self, events: &[Event]) -> Result<Vec<bool>> {
        let bytes = events.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>();
        let bytes = bytes.map_err(|error| self.file.error(&error))?;
        self.file.write(|transaction| {
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
            let added = new.iter().filter(|new| **new).count() as u64;
            count(&mut counters, EVENTS.name(), |n| n + added)?;
            Ok(new)
        })
    }

    fn check(&self) -> Result<()> {
        self.file.check()
    }

    fn user_states(&self, users: &[&str], newest: usize, until: Instant) -> Result<Vec<UserState>> {
        let found = self.file.view(|transaction| {
            let by_user = transaction.open_table(BY_USER)?;
            let forgotten = transaction.open_table(FORGOTTEN)?;
            let mut found = Vec::with_capacity(users.len());
            for &user in users {
                let numbers = by_user.range((user, 0)..=(user, u64::MAX))?.rev().take(newest);
                let mut numbers =
                    numbers
                        .map(|entry| Ok(entry?.0.value().1))
                        .collect::<Result<Vec<u64>, redb::Error>>()?;
                numbers.reverse();
                let mut events: Vec<(u64, Vec<u8>)> = Vec::with_capacity(numbers.len());
                if !numbers.is_empty() {
                    if Instant::now() > until {
                        return Ok(None);
                    }
                    let table = transaction.open_table(EVENTS)?; // most users have none
                    for number in numbers {
                        let bytes = table.get(number)?;
                        events.extend(bytes.map(|bytes| (number, bytes.value().to_vec())));
                    }
                }
                found.push((events, forgotten.get(user)?.is_some()));
            }
            Ok(Some(found))
        })?;
        let late = || self.file.error(&"the users' events could not be read in time");
        let state = |((events, forgotten), user): ((Records, bool), &&str)| {
            if !events.is_empty() && Instant::now() > until {
                return Err(late());
            }
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
            let items = events.into_iter().map(|event| event.item.0).collect();
            Ok(UserState { items, forgotten })
        };
        found.ok_or_else(late)?.into_iter().zip(users).map(state).collect()
    }

    fn forget(&self, user: &str) -> Result<u64> {
        self.file.write(|transaction| {
            let mut table = transaction.open_table(EVENTS)?;
            let mut by_user = transaction.open_table(BY_USER)?;
            let mut keys = transaction.open_table(KEYS)?;
            let numbers = by_user.range((user, 0)..=(user, u64::MAX))?;
            let numbers = numbers
                .map(|entry| Ok(entry?.0.value().1))
                .collect::<Result<Vec<u64>, redb::Error>>()?;
            let mut removed = 0;
            for &number in &numbers {
                removed += u64::from(table.remove(number)?.is_some());
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
            let new =
                transaction.open_table(FORGOTTEN)?.insert(user, record::mark(user))?.is_none();
            let mut counters = transaction.open_table(COUNTERS)?;
            count(&mut counters, EVENTS.name(), |n| n.saturating_sub(removed))?;
            count(&mut counters, FORGOTTEN.name(), |n| n + u64::from(new))?;
            Ok(numbers.len() as u64)
        })
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>> {
        self.file.view(|transaction| {
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
        self.file.view(audit::damaged)
    }

    fn forgotten(&self) -> Result<Vec<String>> {
        let (marks, expected) = self.file.view(|transaction| {
            let table = transaction.open_table(FORGOTTEN)?;
            let marks = table
                .iter()?
                .map(|entry| entry.map(|(user, mark)| (user.value().to_owned(), mark.value())));
            let marks = marks.collect::<Result<Vec<_>, _>>()?;
            let counters = transaction.open_table(COUNTERS)?;
            let expected = counters.get(FORGOTTEN.name())?.map(|n| n.value());
            Ok((marks, expected))
        })?;
        if let Some(expected) = expected.filter(|&expected| expected != marks.len() as u64) {
            let found = marks.len();
            let problem =
                format!("marks {found} users as forgotten, but {expected} were; {BACKUP}");
            return Err(self.file.error(&problem));
        }
        let user = |(user, mark): (String, u64)| match record::marks(&user, mark) {
            true => Ok(user),
            false => Err(self.file.error(&format!("forgotten user `{user}`: {MARK_DAMAGED}"))),
        };
        marks.into_iter().map(user).collect()
    }

    fn n_events(&self) -> Result<u64> {
        self.file.view(|transaction| Ok(transaction.open_table(EVENTS)?.len()?))
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
