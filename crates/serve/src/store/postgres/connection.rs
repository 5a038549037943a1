//! Connections to a database that may be down: reused while they work, replaced when they break, and every
//! call has a deadline.
//!
//! Each connection has a small runtime of its own, which runs on the calling thread, so no other thread has
//! to be woken. Therefore it must not be called on a thread of the network's runtime.

use super::chain;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How to connect to a database.
#[derive(Clone)]
pub(super) struct Target {
    pub config: Config,
    /// `None` means an unencrypted connection.
    pub encryption: Option<MakeRustlsConnect>,
}

/// Connections to one database.
pub(super) struct Pool {
    target: Target,
    location: String,
    max_open: usize,
    /// Maximum time for a statement.
    limit: Duration,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    open: usize,
    /// Set after the database did not respond: it is not tried again before this time.
    silent_until: Option<Instant>,
}

/// Why a call failed.
pub(super) enum Failure {
    /// The server or the connection reported an error.
    Reported(tokio_postgres::Error),
    /// The deadline passed.
    Timeout,
    /// The runtime cannot be started.
    System(std::io::Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Reported(error)
    }
}

impl Pool {
    pub fn new(target: Target, location: String, max_open: usize, limit: Duration) -> Self {
        Self { target, location, max_open, limit, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Calls `work` with a connection and the deadline. A connection that failed is not used again.
    ///
    /// # Errors
    /// If there is no connection in time, or the work failed.
    pub fn with<T>(
        &self,
        deadline: Instant,
        mut work: impl FnMut(&mut Connection, Instant) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut lease = self.take(deadline)?;
        let idle = lease.connection.take().filter(Connection::is_open);
        let connected = match idle {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.target, self.limit, deadline),
        };
        let result = connected.and_then(|mut connection| {
            let value = work(&mut connection, deadline)?;
            lease.connection = Some(connection);
            Ok(value)
        });
        result.map_err(|failure| self.failed(failure))
    }

    fn take(&self, deadline: Instant) -> Result<Lease<'_>> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.silent_until.is_some_and(|silent| now < silent) {
                return Err(self.error("does not respond; the next attempt is in a moment"));
            }
            if let Some(connection) = state.idle.pop() {
                return Ok(Lease { pool: self, connection: Some(connection) });
            }
            if state.open < self.max_open {
                state.open += 1;
                return Ok(Lease { pool: self, connection: None });
            }
            let Some(left) = deadline.checked_duration_since(now).filter(|left| !left.is_zero())
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

    fn failed(&self, failure: Failure) -> Error {
        match failure {
            Failure::Reported(error) => self.error(&chain(&error)),
            Failure::System(error) => self.error(&format!("starting a runtime: {error}")),
            Failure::Timeout => {
                self.lock().silent_until = Some(Instant::now() + self.limit.min(PAUSE));
                self.error("did not respond in time")
            }
        }
    }

    fn error(&self, problem: &str) -> Error {
        Error::Store { location: self.location.clone(), problem: problem.into() }
    }
}

/// Maximum time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Maximum pause after a database did not respond.
const PAUSE: Duration = Duration::from_secs(1);

/// A slot of the pool, with or without a connection. It is returned when dropped.
struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Drop for Lease<'_> {
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
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    prepared: HashMap<&'static str, Statement>,
}

impl Connection {
    pub fn open(target: &Target, limit: Duration, deadline: Instant) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::System)?;
        let connect = async {
            // The task's errors also reach the calls.
            let client = match &target.encryption {
                Some(tls) => {
                    let (client, connection) = target.config.connect(tls.clone()).await?;
                    tokio::spawn(connection);
                    client
                }
                None => {
                    let (client, connection) = target.config.connect(NoTls).await?;
                    tokio::spawn(connection);
                    client
                }
            };
            // The server cancels statements early enough to report it, so a slow statement does not look like
            // a dead server.
            let timeout = (limit * 3 / 4).as_millis().max(1);
            let set = format!("SET statement_timeout = {timeout}; {SESSION}");
            client.batch_execute(&set).await?;
            Ok(client)
        };
        let deadline = deadline.min(Instant::now() + CONNECT);
        let client = runtime.block_on(in_time(deadline, connect));
        match client {
            Ok(client) => Ok(Self { runtime: Some(runtime), client, prepared: HashMap::new() }),
            Err(failure) => {
                runtime.shutdown_background();
                Err(failure)
            }
        }
    }

    /// Whether it is still open, as far as this process knows. Nothing is sent.
    fn is_open(&self) -> bool {
        if let Some(runtime) = &self.runtime {
            // The first poll notices that data arrived, the next one reads it.
            runtime.block_on(async {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            });
        }
        !self.client.is_closed()
    }

    /// # Errors
    /// If the server reports an error, is down, or does not respond in time.
    pub fn run<T>(
        &self,
        deadline: Instant,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let Some(runtime) = &self.runtime else { return Err(Failure::Timeout) };
        runtime.block_on(in_time(deadline, work(&self.client)))
    }

    /// Prepares statements that are not prepared yet.
    ///
    /// # Errors
    /// As [`Connection::run`].
    pub fn prepared<const N: usize>(
        &mut self,
        deadline: Instant,
        texts: [&'static str; N],
    ) -> Result<[Statement; N], Failure> {
        for text in texts {
            if !self.prepared.contains_key(text) {
                let statement = self.run(deadline, async |client| client.prepare(text).await)?;
                self.prepared.insert(text, statement);
            }
        }
        Ok(texts.map(|text| self.prepared[text].clone()))
    }
}

impl Drop for Connection {
    /// Does not wait: it may be dropped on a thread that must not block.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Settings of every session. A transaction whose client stops responding is aborted, because others wait for
/// its lock.
///
/// All statements look rows up by an index, so sequential scans and the joins that need them are turned off.
/// PostgreSQL keeps the plan of a prepared statement: one that was made while the tables were small would
/// scan them even after they have grown, and a table that was never analysed looks small. JIT compilation
/// would take longer than these statements do.
const SESSION: &str = "
SET idle_in_transaction_session_timeout = '10s';
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::Timeout),
    }
}
