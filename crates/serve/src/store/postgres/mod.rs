//! The store in PostgreSQL, for several servers that share it.
//!
//! | table | what it holds |
//! | --- | --- |
//! | `rankstill_store` | one row: the form of these tables, and the last number that was given |
//! | `rankstill_events` | the events by number; an index by user and time holds all that an answer asks for |
//! | `rankstill_forgotten` | users, and the number of events that had ever arrived when they were forgotten |
//!
//! The tables are made at the first start, in the first schema of the connection's search path.
//!
//! **Order.** Numbers from a sequence are given before a transaction commits: a reader that has seen number 8 could miss a 7 that
//! commits after it. Whoever writes here locks the row of `rankstill_store` first and holds it until the commit, so numbers become
//! visible in their order and without gaps. Writers of all instances thereby wait for each other; each of them commits all that it was
//! told meanwhile at once (`Writer`).
//!
//! **Durable** means what the server's `synchronous_commit` says; where it is off for the role or the database it is set to `on`. A
//! server that runs with `fsync = off` loses what it acknowledged when the power goes, and cannot be told otherwise from here.
//!
//! **One round trip** for each call: the statements of a transaction are sent without waiting in between.

mod connection;
mod encryption;
#[cfg(test)]
mod tests;

use super::{Event, EventStore, OfUser, Stored};
use crate::request::Id;
use crate::{Error, Result};
use connection::{Pool, Way};
use std::collections::HashSet;
use std::fmt::Display;
use std::time::{Duration, Instant};
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};

/// Events in a database.
pub struct Postgres {
    place: String,
    /// For what answers wait for.
    reading: Pool,
    /// One connection: two would wait for each other. Its own, so that events are written while answers want all others.
    writing: Pool,
    /// For what nobody's answer waits for.
    exporting: Pool,
    patience: Duration,
}

/// Which database, and how long it may take.
#[derive(Clone)]
pub struct Database {
    /// `postgres://USER@HOST:PORT/DATABASE`, with parameters as libpq has them.
    pub url: String,
    /// Where the URL has none.
    pub password: Option<String>,
    /// Who vouches for the database where the URL asks for encryption (`sslmode=require`): roots as PEM, or else the system's.
    pub roots: Option<Vec<u8>>,
    /// For a batch of events until it is acknowledged; what an answer asks for has half as long.
    pub patience: Duration,
}

/// Connections for reading; each answers many questions at a time.
const READERS: usize = 8;

/// How long an export may take, and the making of the tables.
const LONG: Duration = Duration::from_secs(60);

/// The form of the tables.
const FORMAT: i32 = 1;

impl Postgres {
    /// Makes the tables where they are not there.
    ///
    /// # Errors
    /// When the database does not answer, refuses, does not keep all of Unicode, or has tables of another form.
    pub fn open(database: &Database) -> Result<Self> {
        let store = Self::at(database)?;
        // Not made where they are: who may write them need not be somebody who may make them.
        if !store.is_there()? {
            store.exporting.with(Instant::now() + LONG, |connection, until| {
                connection.run(until, async |client| client.batch_execute(MAKE).await)
            })?;
        }
        store.check()?;
        Ok(store)
    }

    /// Makes nothing: for who may only read.
    ///
    /// # Errors
    /// As [`Postgres::open`], and when there is no store.
    pub fn existing(database: &Database) -> Result<Self> {
        let store = Self::at(database)?;
        if !store.is_there()? {
            return Err(store.wrong("there is no such store"));
        }
        store.check()?;
        Ok(store)
    }

    fn at(database: &Database) -> Result<Self> {
        let wrong = |error: &dyn Display| Error::Setting {
            key: "the database's URL".into(), // it may hold a password: it is not repeated
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
            .map_err(|problem| Error::Setting { key: "roots to trust".into(), problem })?;
        if let (None, Some(password)) = (config.get_password(), &database.password) {
            config.password(password);
        }
        config.application_name("rankstill").tcp_user_timeout(database.patience);
        let place = place(&config);
        let way = Way { config, encryption };
        let pool = |most, limit| Pool::new(way.clone(), place.clone(), most, limit);
        Ok(Self {
            reading: pool(READERS, database.patience / 2),
            writing: pool(1, database.patience),
            exporting: pool(1, LONG),
            place,
            patience: database.patience,
        })
    }

    /// Rows of what nobody's answer waits for.
    fn ask(&self, question: &str) -> Result<Vec<Row>> {
        self.exporting.with(Instant::now() + LONG, |connection, until| {
            connection.run(until, async |client| client.query_typed(question, &[]).await)
        })
    }

    fn is_there(&self) -> Result<bool> {
        let rows = self.ask("SELECT to_regclass('rankstill_store') IS NOT NULL")?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    fn check(&self) -> Result<()> {
        let rows = self.ask(
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
        Error::Store { place: self.place.clone(), problem: problem.into() }
    }
}

/// Where it is, without the password.
fn place(config: &Config) -> String {
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

/// An error with its causes, which this library's errors leave out.
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

/// Two that start at once would both make them, as `IF NOT EXISTS` looks before it makes: the second waits for the first at a lock of
/// the database, which can be any number that nobody else takes.
const MAKE: &str = "
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

/// First of all statements that write. What comes behind it sees what those before it committed: each statement of `read committed`
/// looks anew.
const LOCK: &str = "SELECT last FROM rankstill_store WHERE only_one FOR UPDATE";

/// Keeps those that are not there; says which, by their places from 1. `OFFSET 0` has each key looked up by itself: the planner may
/// think it quicker to read all keys that there are, for each batch (40 ms at 200,000 events).
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

const OF_USERS: &str = "
SELECT forgotten.user_id IS NOT NULL, ARRAY(
    SELECT item_id FROM rankstill_events AS event WHERE event.user_id = asked.user_id ORDER BY time, number
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

impl EventStore for Postgres {
    fn is_remote(&self) -> bool {
        true
    }

    fn append(&self, events: &[Event]) -> Result<Vec<bool>> {
        let mut keys = HashSet::new();
        let first_of_its_key = |event: &Event| {
            event.key.as_ref().is_none_or(|key| keys.insert((event.user.0.clone(), key.0.clone())))
        };
        let mut new: Vec<bool> = events.iter().map(first_of_its_key).collect();
        let places: Vec<usize> = (0..events.len()).filter(|&place| new[place]).collect();
        let sent = || places.iter().map(|&place| &events[place]);
        let users: Vec<&str> = sent().map(|event| event.user.0.as_str()).collect();
        let items: Vec<&str> = sent().map(|event| event.item.0.as_str()).collect();
        let times: Vec<i64> = sent().map(|event| event.time.unwrap_or_default()).collect();
        let weights: Vec<Option<f32>> = sent().map(|event| event.weight).collect();
        let keys: Vec<Option<&str>> =
            sent().map(|event| event.key.as_ref().map(|key| key.0.as_str())).collect();
        let kept = self.writing.with(Instant::now() + self.patience, |connection, until| {
            let [lock, append] = connection.prepared(until, [LOCK, APPEND])?;
            let given: [&(dyn ToSql + Sync); 5] = [&users, &items, &times, &weights, &keys];
            connection.run(until, async |client| {
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
            if let Some(&place) = places.get((nth - 1) as usize) {
                new[place] = true;
            }
        }
        Ok(new)
    }

    fn of_users(&self, users: &[&str]) -> Result<Vec<OfUser>> {
        // No event has a NUL in its ids, and no text of this database.
        let can_be = |user: &&str| !user.contains('\0');
        let asked: Vec<&str> = users.iter().copied().filter(can_be).collect();
        let rows = self.reading.with(Instant::now() + self.patience / 2, |connection, until| {
            let [of_users] = connection.prepared(until, [OF_USERS])?;
            connection.run(until, async |client| client.query(&of_users, &[&asked]).await)
        })?;
        let mut found = rows.iter().map(|row| OfUser { forgotten: row.get(0), items: row.get(1) });
        let of_user = |user| can_be(user).then(|| found.next()).flatten().unwrap_or_default();
        Ok(users.iter().map(of_user).collect())
    }

    fn forget(&self, user: &str) -> Result<u64> {
        self.writing.with(Instant::now() + self.patience, |connection, until| {
            let [lock, delete, mark] = connection.prepared(until, [LOCK, DELETE, MARK])?;
            let user: [&(dyn ToSql + Sync); 1] = [&user];
            connection.run(until, async |client| {
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

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Stored>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.exporting.with(Instant::now() + LONG, |connection, until| {
            let [read] = connection.prepared(until, [READ])?;
            connection.run(until, async |client| client.query(&read, &[&after, &limit]).await)
        })?;
        let stored = rows.iter().map(|row| Stored {
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
        let rows = self.ask("SELECT user_id FROM rankstill_forgotten ORDER BY user_id")?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn n_events(&self) -> Result<u64> {
        let rows = self.ask("SELECT count(*) FROM rankstill_events")?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0) as u64))
    }
}

/// Whatever is the default of the database: a stricter one would look once, before the lock is there.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
