//! Connections to a database that may be gone: kept while they work, replaced when they do not, and never waited for longer than was
//! said.
//!
//! A connection brings a small runtime of its own, which runs on the thread that asks: no other thread has to be woken. That is why
//! it must not be asked on a thread of the network's runtime.

use super::chain;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How a database is come to.
#[derive(Clone)]
pub(super) struct Way {
    pub config: Config,
    /// None: what is said to it can be read on the way.
    pub encryption: Option<MakeRustlsConnect>,
}

/// Some connections to one database.
pub(super) struct Pool {
    way: Way,
    place: String,
    most: usize,
    /// For a statement.
    limit: Duration,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    open: usize,
    /// The database did not even say no: nobody waits for it again before then.
    silent_until: Option<Instant>,
}

/// Why a call failed.
pub(super) enum Failure {
    /// The server said so.
    Told(tokio_postgres::Error),
    /// The time is over.
    Silent,
    /// The runtime cannot be had.
    System(std::io::Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Told(error)
    }
}

impl Pool {
    pub fn new(way: Way, place: String, most: usize, limit: Duration) -> Self {
        Self { way, place, most, limit, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Lets `work` have a connection, `until` then. A connection that failed is not used again.
    ///
    /// # Errors
    /// When there is none in time, or the work failed.
    pub fn with<T>(
        &self,
        until: Instant,
        mut work: impl FnMut(&mut Connection, Instant) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut place = self.take(until)?;
        let idle = place.connection.take().filter(Connection::lives);
        let connected = match idle {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.way, self.limit, until),
        };
        let done = connected.and_then(|mut connection| {
            let done = work(&mut connection, until)?;
            place.connection = Some(connection);
            Ok(done)
        });
        done.map_err(|failure| self.told(failure))
    }

    fn take(&self, until: Instant) -> Result<Place<'_>> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.silent_until.is_some_and(|silent| now < silent) {
                return Err(self.error("does not answer; it is asked again in a moment"));
            }
            if let Some(connection) = state.idle.pop() {
                return Ok(Place { pool: self, connection: Some(connection) });
            }
            if state.open < self.most {
                state.open += 1;
                return Ok(Place { pool: self, connection: None });
            }
            let Some(left) = until.checked_duration_since(now).filter(|left| !left.is_zero())
            else {
                return Err(self.error("all connections are in use"));
            };
            state = self
                .freed
                .wait_timeout(state, left)
                .map_or_else(|error| error.into_inner().0, |(state, _)| state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, failure: Failure) -> Error {
        match failure {
            Failure::Told(error) => self.error(&chain(&error)),
            Failure::System(error) => self.error(&format!("starting a runtime: {error}")),
            Failure::Silent => {
                self.lock().silent_until = Some(Instant::now() + self.limit.min(SILENT));
                self.error("did not answer in time")
            }
        }
    }

    fn error(&self, problem: &str) -> Error {
        Error::Store { place: self.place.clone(), problem: problem.into() }
    }
}

/// How long a connection may take to be there.
const CONNECTING: Duration = Duration::from_secs(5);

/// How long a silent database is left alone at most.
const SILENT: Duration = Duration::from_secs(1);

/// A connection's place in the pool, which is given back whatever happens.
struct Place<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.connection.take() {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}

/// One connection.
pub(super) struct Connection {
    /// Always there, but while it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    prepared: HashMap<&'static str, Statement>,
}

impl Connection {
    pub fn open(way: &Way, limit: Duration, until: Instant) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::System)?;
        let connect = async {
            // What the connection says, calls are told too.
            let client = match &way.encryption {
                Some(tls) => {
                    let (client, connection) = way.config.connect(tls.clone()).await?;
                    tokio::spawn(connection);
                    client
                }
                None => {
                    let (client, connection) = way.config.connect(NoTls).await?;
                    tokio::spawn(connection);
                    client
                }
            };
            // The server ends what nobody would wait for any more, and has time to say so: then it is not silent.
            let most = (limit * 3 / 4).as_millis().max(1);
            let set = format!("SET statement_timeout = {most}; {SESSION}");
            client.batch_execute(&set).await?;
            Ok(client)
        };
        let until = until.min(Instant::now() + CONNECTING);
        let client = runtime.block_on(in_time(until, connect));
        match client {
            Ok(client) => Ok(Self { runtime: Some(runtime), client, prepared: HashMap::new() }),
            Err(failure) => {
                runtime.shutdown_background();
                Err(failure)
            }
        }
    }

    /// Whether it is still open, as far as this machine has heard: nothing is sent.
    fn lives(&self) -> bool {
        if let Some(runtime) = &self.runtime {
            // The first look hears that something arrived, the next one reads it.
            runtime.block_on(async {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            });
        }
        !self.client.is_closed()
    }

    /// # Errors
    /// When the server refuses, is gone, or is not there in time.
    pub fn run<T>(
        &self,
        until: Instant,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let Some(runtime) = &self.runtime else { return Err(Failure::Silent) };
        runtime.block_on(in_time(until, work(&self.client)))
    }

    /// Statements that the server has read already, or reads now.
    ///
    /// # Errors
    /// As [`Connection::run`].
    pub fn prepared<const N: usize>(
        &mut self,
        until: Instant,
        texts: [&'static str; N],
    ) -> Result<[Statement; N], Failure> {
        for text in texts {
            if !self.prepared.contains_key(text) {
                let statement = self.run(until, async |client| client.prepare(text).await)?;
                self.prepared.insert(text, statement);
            }
        }
        Ok(texts.map(|text| self.prepared[text].clone()))
    }
}

impl Drop for Connection {
    /// Without waiting: it may be dropped on a thread that must not.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What holds for all that a connection does. A transaction whose client fell silent is ended: others wait for its lock. All that is
/// asked is found by an index, whatever the planner thinks: a plan is kept with its statement, and one that was made while the tables were
/// small reads them whole when they have grown.
const SESSION: &str = "
SET idle_in_transaction_session_timeout = '10s';
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

async fn in_time<T>(
    until: Instant,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout_at(until.into(), work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Failure::Silent),
    }
}
