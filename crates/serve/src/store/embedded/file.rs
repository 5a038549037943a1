//! The file of an event store, which is opened again after it failed.
//!
//! After an error of the disk, `redb` refuses everything until the database is opened again, also when the
//! cause is gone. And a file that was removed or replaced takes writes as before, which nobody will ever
//! find again.

use crate::{Error, Result};
use redb::{Database, ReadTransaction, ReadableDatabase as _, TableDefinition, WriteTransaction};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Bytes of pages cached in memory.
const CACHE: usize = 64 << 20;

const OPEN_ELSEWHERE: &str = "is open in another process, such as a running server; stop that process, or read a copy of the file";
const EMPTY: &str = "is an empty file, which a store never is: put the store back, or remove the file to begin a new one";
const GONE: &str = "was removed or replaced while it was open; put it back, or restart to begin with what is there now";

/// Pauses between attempts to open or write a file that failed: doubled from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// A trial of whether anything can be written: more than the room that a full disk may have left.
const PROBE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("probe");
const PROBE_BYTES: usize = 64 << 10;

pub(super) struct StoreFile {
    path: PathBuf,
    open: RwLock<Option<Open>>,
    failure: Mutex<Option<Failure>>,
}

struct Open {
    database: Database,
    file: FileId,
}

/// What tells a file from another one at the same path.
type FileId = (u64, u64);

#[derive(Clone, Copy)]
struct Failure {
    /// Whether the database refuses everything until it is opened again.
    latched: bool,
    try_at: Instant,
    pause: Duration,
}

impl StoreFile {
    /// Opens the file or creates it. Repairs a file that a killed process left behind.
    pub fn open(path: PathBuf) -> Result<Self> {
        let open = open(&path, true)?;
        Ok(Self { path, open: RwLock::new(Some(open)), failure: Mutex::default() })
    }

    /// A database that is not in the file at `path`, which only has to be there.
    #[cfg(test)]
    pub fn over(path: PathBuf, database: Database) -> Result<Self> {
        let wrong = |error: std::io::Error| Error::Store {
            location: path.display().to_string(),
            problem: error.to_string(),
        };
        let open = Open { database, file: identity(&path).map_err(wrong)? };
        Ok(Self { path, open: RwLock::new(Some(open)), failure: Mutex::default() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn error(&self, problem: &dyn Display) -> Error {
        let location = self.path.display().to_string();
        Error::Store { location, problem: problem.to_string() }
    }

    /// Runs one transaction. When this returns, it is durable and in the file that has the store's name.
    pub fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        self.recover()?;
        self.transact(change)
    }

    pub fn view<T>(
        &self,
        query: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        self.reopen_if_latched()?;
        let run = |open: &Open| query(&open.database.begin_read()?);
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(|| self.error(&"cannot be opened"))?;
        run(open).map_err(|error: redb::Error| self.failed(error))
    }

    /// Whether it can be written. What had failed is tried again.
    pub fn check(&self) -> Result<()> {
        self.recover()?;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(|| self.error(&"cannot be opened"))?;
        self.still_there(open)
    }

    fn transact<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(|| self.error(&"cannot be opened"))?;
        self.still_there(open)?;
        let run = || {
            let transaction = open.database.begin_write()?;
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        let result = run().map_err(|error: redb::Error| self.failed(error))?;
        self.still_there(open)?; // it may have gone meanwhile
        Ok(result)
    }

    /// Whether the open file still is the one that has the store's name.
    fn still_there(&self, open: &Open) -> Result<()> {
        match identity(&self.path) {
            Ok(found) if found == open.file => Ok(()),
            _ => {
                self.note(false);
                Err(self.error(&GONE))
            }
        }
    }

    /// After a failure: opens the file again if need be, and tries to write.
    fn recover(&self) -> Result<()> {
        let Some(failure) = *self.lock() else { return Ok(()) };
        if Instant::now() < failure.try_at {
            return Err(self.error(&"has failed, and is tried again soon"));
        }
        let replaced = || {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let found = identity(&self.path);
            found.is_ok_and(|found| open.as_ref().is_none_or(|open| open.file != found))
        };
        if failure.latched || replaced() {
            self.reopen()?;
        }
        let bytes = vec![0; PROBE_BYTES];
        self.transact(|transaction| {
            transaction.open_table(PROBE)?.insert(0, bytes.as_slice())?;
            Ok(())
        })?;
        self.transact(|transaction| {
            transaction.delete_table(PROBE)?;
            Ok(())
        })?;
        *self.lock() = None;
        Ok(())
    }

    /// Reading goes on while nothing can be written.
    fn reopen_if_latched(&self) -> Result<()> {
        match *self.lock() {
            Some(Failure { latched: true, .. }) => {}
            _ => return Ok(()),
        }
        self.reopen()
    }

    fn reopen(&self) -> Result<()> {
        let mut current = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first.
        if current.is_some() && !self.lock().is_some_and(|failure| failure.latched) {
            let found = identity(&self.path);
            if found.is_ok_and(|found| current.as_ref().is_some_and(|open| open.file == found)) {
                return Ok(());
            }
        }
        if identity(&self.path).is_err() {
            self.note(false);
            return Err(self.error(&GONE)); // what is open may still be read
        }
        *current = None; // only one may be open
        *current = Some(open(&self.path, false).inspect_err(|_| self.note(true))?);
        if let Some(failure) = &mut *self.lock() {
            failure.latched = false;
        }
        Ok(())
    }

    fn failed(&self, error: redb::Error) -> Error {
        self.note(true);
        self.error(&error)
    }

    /// Notes a failure. The next attempt comes later each time.
    fn note(&self, latched: bool) {
        let mut failure = self.lock();
        if let Some(known) = failure.as_mut().filter(|known| Instant::now() < known.try_at) {
            known.latched |= latched;
            return;
        }
        let [first, last] = PAUSES;
        let pause = failure.map_or(first, |before| (before.pause * 2).min(last));
        let latched = latched || failure.is_some_and(|before| before.latched);
        *failure = Some(Failure { latched, try_at: Instant::now() + pause, pause });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only the first time may make a file: where there was one, an empty one would bring back who was forgotten.
fn open(path: &Path, create: bool) -> Result<Open> {
    let wrong = |problem: String| Error::Store { location: path.display().to_string(), problem };
    // A new store would be begun in it, and forgotten users would come back.
    if path.metadata().is_ok_and(|found| found.is_file() && found.len() == 0) {
        return Err(wrong(EMPTY.into()));
    }
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    let database = if create { builder.create(path) } else { builder.open(path) };
    let database = database.map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => wrong(OPEN_ELSEWHERE.into()),
        other => wrong(other.to_string()),
    })?;
    let file = identity(path).map_err(|error| wrong(error.to_string()))?;
    Ok(Open { database, file })
}

fn identity(path: &Path) -> std::io::Result<FileId> {
    let found = std::fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Ok((found.dev(), found.ino()))
    }
    #[cfg(not(unix))]
    Ok((u64::from(found.is_file()), 0)) // that it is there
}
