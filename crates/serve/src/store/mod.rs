//! Stores what users did since the model was trained. Events are durable before they are acknowledged, the
//! next answer takes them into account, and they can be exported for the next training.

#[cfg(test)]
mod contract;
mod embedded;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
#[cfg(test)]
pub(crate) mod worked_example;
mod writer;

pub use crate::wire::Event;
pub use embedded::EmbeddedStore;
#[cfg(feature = "postgres")]
pub use postgres::{Database, PostgresStore};
pub(crate) use writer::{Writer, Written};

use crate::Result;
use std::time::Instant;

/// An event with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Position in the order of arrival, from 1. Never reused.
    pub number: u64,
    /// The event. Its time is set.
    pub event: Event,
}

/// What the store knows about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserState {
    /// The items of the user's events, by time, then by arrival.
    pub items: Vec<String>,
    /// Whether the user asked to be forgotten. Then what a model learnt about the user must not be used.
    pub forgotten: bool,
}

/// Stores events. Calls block until they are done, so they must come from threads that may wait.
pub trait EventStore: Send + Sync {
    /// Whether reading waits for another process. Then no network thread may read, because it would keep
    /// other requests waiting.
    fn is_remote(&self) -> bool;

    /// Stores all of `events` or none. They survive a power failure from the time this returns. Their times
    /// must be set, and their ids must not contain NUL. Returns for each event whether it is new.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn append(&self, events: &[Event]) -> Result<Vec<bool>>;

    /// Whether events can be stored now. Called every second while the store is idle; one that has failed tries
    /// to come back.
    ///
    /// # Errors
    /// Why they cannot.
    fn check(&self) -> Result<()>;

    /// The state of each user, in the order of `users`, from the user's `newest` events. Forgotten events are
    /// not included.
    ///
    /// # Errors
    /// If the store cannot be read, or not until that time.
    fn user_states(&self, users: &[&str], newest: usize, until: Instant) -> Result<Vec<UserState>>;

    /// The state of one user.
    ///
    /// # Errors
    /// Those of [`EventStore::user_states`].
    fn user_state(&self, user: &str, newest: usize, until: Instant) -> Result<UserState> {
        Ok(self.user_states(&[user], newest, until)?.pop().unwrap_or_default())
    }

    /// Forgets a user, durably: deletes the events, and sets a mark so that what a model learnt about the
    /// user is no longer used. Returns the number of deleted events.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn forget(&self, user: &str) -> Result<u64>;

    /// Up to `limit` events that arrived after number `after`, in the order of arrival.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn read(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>>;

    /// What the store holds that is not what was written, a line each. Events among it are passed over everywhere else. Reads
    /// everything.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn damaged(&self) -> Result<Vec<String>> {
        Ok(Vec::new()) // a database checks its pages itself
    }

    /// All forgotten users, ordered by id.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn forgotten(&self) -> Result<Vec<String>>;

    /// The number of events.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn n_events(&self) -> Result<u64>;
}
