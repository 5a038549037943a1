//! The store in a single file, through `redb`: copy-on-write B-trees, so that a crash at any moment leaves the last commit.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `events` | number (u64) | the event as JSON |
//! | `by_user` | user, number | nothing |
//! | `keys` | user, key of an event | its number |
//! | `forgotten` | user | the number of events that had ever arrived then |
//! | `counters` | `last` | the last number that was given |
//!
//! A key belongs to its user: forgetting the user forgets it, and nobody can take another one's.

use super::{Event, EventStore, OfUser, Stored};
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

/// Pages held in memory.
const CACHE: usize = 64 << 20;

/// Events in a file of this machine.
pub struct Embedded {
    path: PathBuf,
    database: Database,
}

impl Embedded {
    /// Opens the file, or makes it. A file that a killed process left is put in order.
    ///
    /// # Errors
    /// When another process has it open, it cannot be written, or is no store.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let database = Database::builder().set_cache_size(CACHE).create(&path);
        let database = database.map_err(|error| at(&path)(&error))?;
        let store = Self { path, database };
        store.write(|transaction| {
            // So that readers find every table.
            transaction.open_table(EVENTS)?;
            transaction.open_table(BY_USER)?;
            transaction.open_table(KEYS)?;
            transaction.open_table(FORGOTTEN)?;
            transaction.open_table(COUNTERS)?;
            Ok(())
        })?;
        Ok(store)
    }

    /// One transaction, on the disk when this returns.
    fn write<T>(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let run = || {
            let transaction = self.database.begin_write()?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|error: redb::Error| at(&self.path)(&error))
    }

    fn see<T>(
        &self,
        look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let run = || look(&self.database.begin_read()?);
        run().map_err(|error: redb::Error| at(&self.path)(&error))
    }

    fn parse(&self, number: u64, bytes: &[u8]) -> Result<Event> {
        let broken = |error: serde_json::Error| at(&self.path)(&format!("event {number}: {error}"));
        serde_json::from_slice(bytes).map_err(broken)
    }
}

fn at(path: &Path) -> impl Fn(&dyn Display) -> Error {
    |problem| Error::Store { path: path.to_owned(), problem: problem.to_string() }
}

impl EventStore for Embedded {
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
                table.insert(last, bytes.as_slice())?;
                by_user.insert((user, last), ())?;
                new.push(true);
            }
            counters.insert(LAST, last)?;
            Ok(new)
        })
    }

    fn of_user(&self, user: &str) -> Result<OfUser> {
        let (forgotten, events) = self.see(|transaction| {
            let by_user = transaction.open_table(BY_USER)?;
            let mut events: Vec<(u64, Vec<u8>)> = Vec::new();
            let mut table = None;
            for entry in by_user.range((user, 0)..=(user, u64::MAX))? {
                let number = entry?.0.value().1;
                let table = match &table {
                    Some(table) => table,
                    none => {
                        _ = none;
                        table.insert(transaction.open_table(EVENTS)?)
                    }
                };
                if let Some(bytes) = table.get(number)? {
                    events.push((number, bytes.value().to_vec()));
                }
            }
            let forgotten = transaction.open_table(FORGOTTEN)?.get(user)?.is_some();
            Ok((forgotten, events))
        })?;
        let parsed = events.iter().map(|(number, bytes)| self.parse(*number, bytes));
        let mut events = parsed.collect::<Result<Vec<_>>>()?;
        events.sort_by_key(|event| event.time); // stable: by arrival where times are the same
        Ok(OfUser { items: events.into_iter().map(|event| event.item.0).collect(), forgotten })
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
            let last = transaction.open_table(COUNTERS)?.get(LAST)?.map_or(0, |last| last.value());
            transaction.open_table(FORGOTTEN)?.insert(user, last)?;
            Ok(numbers.len() as u64)
        })
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Stored>> {
        let rows = self.see(|transaction| {
            let table = transaction.open_table(EVENTS)?;
            let rows = table.range(after.saturating_add(1)..)?.take(limit);
            let copied = rows
                .map(|entry| entry.map(|(number, bytes)| (number.value(), bytes.value().to_vec())));
            Ok(copied.collect::<Result<Vec<_>, _>>()?)
        })?;
        let stored = rows
            .into_iter()
            .map(|(number, bytes)| Ok(Stored { number, event: self.parse(number, &bytes)? }));
        stored.collect()
    }

    fn forgotten(&self) -> Result<Vec<String>> {
        self.see(|transaction| {
            let table = transaction.open_table(FORGOTTEN)?;
            let users = table.iter()?.map(|entry| entry.map(|(user, _)| user.value().to_owned()));
            Ok(users.collect::<Result<Vec<_>, _>>()?)
        })
    }

    fn n_events(&self) -> Result<u64> {
        self.see(|transaction| Ok(transaction.open_table(EVENTS)?.len()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::Id;

    fn event(user: &str, item: &str, time: i64, key: Option<&str>) -> Event {
        let id = |text: &str| Id(text.to_owned());
        Event { user: id(user), item: id(item), time: Some(time), weight: None, key: key.map(id) }
    }

    fn items(store: &Embedded, user: &str) -> Vec<String> {
        store.of_user(user).unwrap().items
    }

    #[test]
    fn what_was_appended_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.redb");
        {
            let store = Embedded::open(&path).unwrap();
            let batch =
                [event("a", "x", 5, None), event("b", "y", 1, None), event("a", "z", 2, None)];
            assert_eq!(store.append(&batch).unwrap(), [true, true, true]);
            assert!(Embedded::open(&path).is_err(), "one process at a time");
        }
        let store = Embedded::open(&path).unwrap();
        assert_eq!(items(&store, "a"), ["z", "x"], "by time");
        assert_eq!(items(&store, "ab"), [""; 0]);
        let all = store.read(0, 10).unwrap();
        assert_eq!(all.iter().map(|stored| stored.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(all[1].event, event("b", "y", 1, None));
        assert_eq!(store.read(1, 1).unwrap()[0].number, 2);
        assert_eq!(store.n_events().unwrap(), 3);
    }

    #[test]
    fn a_key_counts_once_for_its_user() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path().join("events")).unwrap();
        let first = event("a", "x", 1, Some("k"));
        let other = event("b", "x", 1, Some("k"));
        let batch = [first.clone(), first.clone(), other.clone()];
        assert_eq!(store.append(&batch).unwrap(), [true, false, true]);
        assert_eq!(store.append(&[first, event("a", "y", 1, None)]).unwrap(), [false, true]);
        assert_eq!(items(&store, "a"), ["x", "y"]);
        assert_eq!(store.n_events().unwrap(), 3);
    }

    #[test]
    fn a_forgotten_user_leaves_nothing_but_the_mark() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path().join("events")).unwrap();
        let of_a = event("a", "x", 1, Some("k"));
        store
            .append(&[of_a.clone(), event("ab", "y", 1, Some("k")), event("a", "z", 1, None)])
            .unwrap();
        assert_eq!(store.forget("a").unwrap(), 2);
        assert_eq!(store.of_user("a").unwrap(), OfUser { items: vec![], forgotten: true });
        assert_eq!(items(&store, "ab"), ["y"], "somebody else");
        assert_eq!(store.forgotten().unwrap(), ["a"]);
        assert_eq!(store.append(&[of_a, event("ab", "y", 1, Some("k"))]).unwrap(), [true, false]);
        let numbers: Vec<u64> =
            store.read(0, 10).unwrap().iter().map(|stored| stored.number).collect();
        assert_eq!(numbers, [2, 4], "numbers are not used twice");
        assert_eq!(items(&store, "a"), ["x"], "what they do afterwards counts");
        assert_eq!(store.forget("nobody").unwrap(), 0);
    }

    #[test]
    fn a_file_that_is_no_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter");
        std::fs::write(&path, "dear ".repeat(2000)).unwrap();
        assert!(Embedded::open(&path).err().unwrap().to_string().contains("letter"));
    }
}
