//! An event store in PostgreSQL, which several servers can share.
//!
//! | table | content |
//! | --- | --- |
//! | `rankstill_store` | one row: the format of these tables, and the last event number |
//! | `rankstill_events` | the events by number; an index by user and time contains all that an answer needs |
//! | `rankstill_forgotten` | users, and the last event number when they were forgotten |
//!
//! The tables are created at the first start, in the first schema of the connection's search path.
//!
//! **Order.** A sequence assigns numbers before the transaction commits: a reader that has seen number 8
//! could miss a 7 that commits later. Therefore every writer first locks the row of `rankstill_store` and
//! holds the lock until the commit, so that numbers become visible in order and without gaps. Writers of all
//! servers wait for each other, but each commits all events that have arrived meanwhile at once (`Writer`).
//!
//! **Durability** is what the server's `synchronous_commit` defines; if it is off for the role or the
//! database, it is set to `on`. A server with `fsync = off` loses acknowledged events in a power failure, and
//! this cannot be changed from here.
//!
//! **One round trip** per call: the statements of a transaction are sent without waiting in between.

mod connection;
mod encryption;
#[cfg(test)]
mod tests;

use super::{Event, EventStore, StoredEvent, UserState};
use crate::wire::Id;
use crate::{Error, Result};
use connection::{Pool, Target};
use std::collections::HashSet;
use std::fmt::Display;
use std::time::{Duration, Instant};
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};

/// An event store in a database.
pub struct PostgresStore {
    location: String,
    /// For reads that requests wait for.
    reading: Pool,
    /// For writes: one connection, because two would wait for each other. Separate, so reads cannot block writes.
    writing: Pool,
    /// For exports, which no request waits for.
    exporting: Pool,
    patience: Duration,
}

/// A database, and how long calls may take.
#[derive(Clone)]
pub struct Database {
    /// `postgres://USER@HOST:PORT/DATABASE`, with the parameters of libpq.
    pub url: String,
    /// Used if the URL has no password.
    pub password: Option<String>,
    /// Trusted root certificates (PEM) for encrypted connections (`sslmode=require`). The default is those of
    /// the system.
    pub roots: Option<Vec<u8>>,
    /// Maximum time until a batch of events is acknowledged. Reads have half of it.
    pub patience: Duration,
}

/// Connections for reads. Each call reads the states of many users.
const READERS: usize = 8;

/// Maximum time for an export, and for creating the tables.
const LONG: Duration = Duration::from_secs(60);

/// Format of the tables.
const FORMAT: i32 = 1;

impl PostgresStore {
    /// Creates the tables if they do not exist.
    ///
    /// # Errors
    /// If the database does not respond, refuses, does not use UTF-8, or has tables of another format.
    pub fn open(database: &Database) -> Result<Self> {
        let store = Self::at(database)?;
        // Only if they are missing: the role may be allowed to write them but not to create them.
        if !store.exists()? {
            store.exporting.with(Instant::now() + LONG, |connection, deadline| {
                connection.run(deadline, async |client| client.batch_execute(CREATE).await)
            })?;
        }
        store.check()?;
        Ok(store)
    }

    /// Creates nothing, so a role that can only read is enough.
    ///
    /// # Errors
    /// Those of [`PostgresStore::open`], and if there is no store.
    pub fn existing(database: &Database) -> Result<Self> {
        let store = Self::at(database)?;
        if !store.exists()? {
            return Err(store.wrong("there is no such store"));
        }
        store.check()?;
        Ok(store)
    }

    fn at(database: &Database) -> Result<Self> {
        let wrong = |error: &dyn Display| Error::Setting {
            key: "the database's URL".into(), // not the URL itself, which may contain a password
            problem: error.to_string(),
        };
        let url = database.url.replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = url.parse().map_err(|error| wrong(&chain(&error)))?;
        let encryption = match config.get_ssl_mode() {
            SslMode::Disable | SslMode::Prefer => None,
            _ => Some(encryption::trusting(database.roots.as_deref())),
        };
        let encryption = encryption
            .transpose()
            .map_err(|problem| Error::Setting { key: "root certificates".into(), problem })?;
        if let (None, Some(password)) = (config.get_password(), &database.password) {
            config.password(password);
        }
        config.application_name("rankstill").tcp_user_timeout(database.patience);
        let location = location(&config);
        let target = Target { config, encryption };
        let pool = |max_open, limit| Pool::new(target.clone(), location.clone(), max_open, limit);
        Ok(Self {
            reading: pool(READERS, database.patience / 2),
            writing: pool(1, database.patience),
            exporting: pool(1, LONG),
            location,
            patience: database.patience,
        })
    }

    /// Runs a query that no request waits for.
    fn query(&self, sql: &str) -> Result<Vec<Row>> {
        self.exporting.with(Instant::now() + LONG, |connection, deadline| {
            connection.run(deadline, async |client| client.query_typed(sql, &[]).await)
        })
    }

    fn exists(&self) -> Result<bool> {
        let rows = self.query("SELECT to_regclass('rankstill_store') IS NOT NULL")?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    fn check(&self) -> Result<()> {
        let rows = self.query(
            "SELECT format, current_setting('server_encoding') FROM rankstill_store WHERE only_one",
        )?;
        let Some(row) = rows.first() else { return Err(self.wrong("rankstill_store is empty")) };
        let (format, encoding): (i32, &str) = (row.get(0), row.get(1));
        if format != FORMAT {
            let problem = format!("rankstill_store.format: expected {FORMAT}, found {format}");
            return Err(self.wrong(&problem));
        }
        if encoding != "UTF8" {
            let problem = format!("the database's encoding: expected UTF8, found {encoding}");
            return Err(self.wrong(&problem));
        }
        Ok(())
    }

    fn wrong(&self, problem: &str) -> Error {
        Error::Store { location: self.location.clone(), problem: problem.into() }
    }
}

/// The database's address, without the password.
fn location(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let host = match host {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            #[cfg(unix)]
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        };
        let ports = config.get_ports();
        match ports.get(at).or(ports.first()) {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    });
    let hosts: Vec<String> = hosts.collect();
    let user = config.get_user().map_or_else(String::new, |user| format!("{user}@"));
    let name = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{user}{}/{name}", hosts.join(","))
}

/// An error with its causes, which the client library's messages leave out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// `IF NOT EXISTS` checks before it creates, so two servers that start at the same time could both try. The
/// second waits for the first at an advisory lock, whose number is arbitrary.
const CREATE: &str = "
BEGIN;
SELECT pg_advisory_xact_lock(7021815311447);
CREATE TABLE IF NOT EXISTS rankstill_store (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    format integer NOT NULL,
    last bigint NOT NULL
);
INSERT INTO rankstill_store (format, last) VALUES (1, 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS rankstill_events (
    number bigint PRIMARY KEY,
    user_id text COLLATE \"C\" NOT NULL,
    item_id text COLLATE \"C\" NOT NULL,
    time bigint NOT NULL,
    weight real,
    key text COLLATE \"C\"
);
CREATE INDEX IF NOT EXISTS rankstill_events_of_user ON rankstill_events (user_id, time, number) INCLUDE (item_id);
CREATE UNIQUE INDEX IF NOT EXISTS rankstill_events_by_key ON rankstill_events (user_id, key) WHERE key IS NOT NULL;
CREATE TABLE IF NOT EXISTS rankstill_forgotten (user_id text COLLATE \"C\" PRIMARY KEY, last bigint NOT NULL);
COMMIT;
";

/// The first statement of every write. The next statements see what other writers have committed, because in
/// `read committed` each statement takes a new snapshot.
const LOCK: &str = "SELECT last FROM rankstill_store WHERE only_one FOR UPDATE";

/// Stores the new events and returns their positions in the batch, from 1. `OFFSET 0` forces one index lookup
/// per key; otherwise the planner may read all stored keys for each batch (40 ms at 200,000 events).
const APPEND: &str = "
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::real[], $5::text[])
        WITH ORDINALITY AS given (user_id, item_id, time, weight, key, place)
), new AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY place) AS nth FROM given
    WHERE key IS NULL OR NOT EXISTS (
        SELECT FROM rankstill_events AS kept WHERE kept.user_id = given.user_id AND kept.key = given.key OFFSET 0
    )
), counted AS (
    UPDATE rankstill_store SET last = last + (SELECT count(*) FROM new) WHERE only_one
    RETURNING last - (SELECT count(*) FROM new) AS before
), kept AS (
    INSERT INTO rankstill_events (number, user_id, item_id, time, weight, key)
    SELECT before + nth, user_id, item_id, time, weight, key FROM new, counted
)
SELECT place FROM new";

const USER_STATES: &str = "
SELECT forgotten.user_id IS NOT NULL, ARRAY(
    SELECT item_id FROM (
        SELECT item_id, time, number FROM rankstill_events AS event WHERE event.user_id = asked.user_id
        ORDER BY time DESC, number DESC LIMIT $2
    ) AS newest ORDER BY time, number
)
FROM unnest($1::text[]) WITH ORDINALITY AS asked (user_id, place)
LEFT JOIN rankstill_forgotten AS forgotten USING (user_id)
ORDER BY place";

const DELETE: &str = "DELETE FROM rankstill_events WHERE user_id = $1";
const MARK: &str = "
INSERT INTO rankstill_forgotten (user_id, last) SELECT $1, last FROM rankstill_store WHERE only_one
ON CONFLICT (user_id) DO UPDATE SET last = EXCLUDED.last";

const READ: &str = "
SELECT number, user_id, item_id, time, weight, key FROM rankstill_events WHERE number > $1 ORDER BY number LIMIT $2";

impl EventStore for PostgresStore {
    fn is_remote(&self) -> bool {
        true
    }

    fn append(&self, events: &[Event]) -> Result<Vec<bool>> {
        let mut keys = HashSet::new();
        let first_of_its_key = |event: &Event| {
            event.key.as_ref().is_none_or(|key| keys.insert((event.user.0.clone(), key.0.clone())))
        };
        let mut new: Vec<bool> = events.iter().map(first_of_its_key).collect();
        let positions: Vec<usize> = (0..events.len()).filter(|&at| new[at]).collect();
        let sent = || positions.iter().map(|&at| &events[at]);
        let users: Vec<&str> = sent().map(|event| event.user.0.as_str()).collect();
        let items: Vec<&str> = sent().map(|event| event.item.0.as_str()).collect();
        let times: Vec<i64> = sent().map(|event| event.time.unwrap_or_default()).collect();
        let weights: Vec<Option<f32>> = sent().map(|event| event.weight).collect();
        let keys: Vec<Option<&str>> =
            sent().map(|event| event.key.as_ref().map(|key| key.0.as_str())).collect();
        let kept = self.writing.with(Instant::now() + self.patience, |connection, deadline| {
            let [lock, append] = connection.prepared(deadline, [LOCK, APPEND])?;
            let given: [&(dyn ToSql + Sync); 5] = [&users, &items, &times, &weights, &keys];
            connection.run(deadline, async |client| {
                let (begun, locked, kept, committed) = tokio::join!(
                    biased;
                    client.batch_execute(BEGIN),
                    client.query(&lock, &[]),
                    client.query(&append, &given),
                    client.batch_execute("COMMIT"),
                );
                begun?;
                locked?;
                let kept = kept?;
                committed.map(|()| kept)
            })
        })?;
        new.fill(false);
        for row in kept {
            let nth: i64 = row.get(0);
            if let Some(&at) = positions.get((nth - 1) as usize) {
                new[at] = true;
            }
        }
        Ok(new)
    }

    fn check(&self) -> Result<()> {
        self.writing.with(Instant::now() + self.patience, |connection, deadline| {
            // As a write begins: a database that only reads would refuse.
            connection.run(deadline, async |client| {
                let (begun, locked, ended) = tokio::join!(
                    biased;
                    client.batch_execute(BEGIN),
                    client.batch_execute(LOCK),
                    client.batch_execute("ROLLBACK"),
                );
                begun?;
                locked?;
                ended
            })
        })
    }

    /// "Newest" is by time, as the index has it.
    fn user_states(&self, users: &[&str], newest: usize, until: Instant) -> Result<Vec<UserState>> {
        // PostgreSQL texts cannot contain NUL, and neither do the ids of events.
        let is_valid = |user: &&str| !user.contains('\0');
        let valid: Vec<&str> = users.iter().copied().filter(is_valid).collect();
        let newest = i64::try_from(newest).unwrap_or(i64::MAX);
        let until = until.min(Instant::now() + self.patience / 2);
        let rows = self.reading.with(until, |connection, deadline| {
            let [user_states] = connection.prepared(deadline, [USER_STATES])?;
            let asked: [&(dyn ToSql + Sync); 2] = [&valid, &newest];
            connection.run(deadline, async |client| client.query(&user_states, &asked).await)
        })?;
        let mut found =
            rows.iter().map(|row| UserState { forgotten: row.get(0), items: row.get(1) });
        let state = |user| is_valid(user).then(|| found.next()).flatten().unwrap_or_default();
        Ok(users.iter().map(state).collect())
    }

    fn forget(&self, user: &str) -> Result<u64> {
        self.writing.with(Instant::now() + self.patience, |connection, deadline| {
            let [lock, delete, mark] = connection.prepared(deadline, [LOCK, DELETE, MARK])?;
            let user: [&(dyn ToSql + Sync); 1] = [&user];
            connection.run(deadline, async |client| {
                let (begun, locked, deleted, marked, committed) = tokio::join!(
                    biased;
                    client.batch_execute(BEGIN),
                    client.query(&lock, &[]),
                    client.execute(&delete, &user),
                    client.execute(&mark, &user),
                    client.batch_execute("COMMIT"),
                );
                begun?;
                locked?;
                let deleted = deleted?;
                marked?;
                committed.map(|()| deleted)
            })
        })
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.exporting.with(Instant::now() + LONG, |connection, deadline| {
            let [read] = connection.prepared(deadline, [READ])?;
            connection.run(deadline, async |client| client.query(&read, &[&after, &limit]).await)
        })?;
        let stored = rows.iter().map(|row| StoredEvent {
            number: row.get::<_, i64>(0) as u64,
            event: Event {
                user: Id(row.get(1)),
                item: Id(row.get(2)),
                time: Some(row.get(3)),
                weight: row.get(4),
                key: row.get::<_, Option<String>>(5).map(Id),
            },
        });
        Ok(stored.collect())
    }

    fn forgotten(&self) -> Result<Vec<String>> {
        let rows = self.query("SELECT user_id FROM rankstill_forgotten ORDER BY user_id")?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn n_events(&self) -> Result<u64> {
        let rows = self.query("SELECT count(*) FROM rankstill_events")?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0) as u64))
    }
}

/// Overrides the database's default: a stricter isolation level would take its only snapshot before it has
/// the lock.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
