//! What users did since the model was trained: kept before it is acknowledged, seen by the very next answer, read back for the
//! next training.

mod embedded;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(test)]
mod promises;
mod writer;

pub use embedded::Embedded;
#[cfg(feature = "postgres")]
pub use postgres::{Database, Postgres};
pub(crate) use writer::{Done, Writer};

use crate::Result;
use crate::request::Id;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A user acted on an item.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Who.
    pub user: Id,
    /// On what. An item that no model knows is kept as well: the next one may.
    pub item: Id,
    /// When, in Unix seconds; when it arrives, where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// How much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
    /// A second event with the same key is the same event: it is acknowledged again and not kept twice. An event without a key
    /// is always a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Id>,
}

/// An event in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its place in the order of arrival, from 1; never used twice.
    pub number: u64,
    /// The event; its time is set.
    pub event: Event,
}

/// What the store knows of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfUser {
    /// The items that they acted on, by time, then by arrival.
    pub items: Vec<String>,
    /// They asked to be forgotten: what a model learnt of them is not to be used.
    pub forgotten: bool,
}

/// Keeps events. Calls block until what they promise is done; they come from threads that may wait.
pub trait EventStore: Send + Sync {
    /// Whether reading waits for another process. Then it is never asked on a thread that reads the network, which answers others
    /// meanwhile.
    fn is_remote(&self) -> bool;

    /// Keeps all of `events` (with their times set, and no NUL in their ids) or none, durably: when this returns they survive the loss
    /// of power. Says for each whether it is new.
    ///
    /// # Errors
    /// When it cannot be written.
    fn append(&self, events: &[Event]) -> Result<Vec<bool>>;

    /// What each of `users` did, if it was not forgotten; in their order.
    ///
    /// # Errors
    /// When it cannot be read.
    fn of_users(&self, users: &[&str]) -> Result<Vec<OfUser>>;

    /// The same for one.
    ///
    /// # Errors
    /// When it cannot be read.
    fn of_user(&self, user: &str) -> Result<OfUser> {
        Ok(self.of_users(&[user])?.pop().unwrap_or_default())
    }

    /// Forgets a user, durably: their events, and by a mark what a model learnt of them. Says how many events there were.
    ///
    /// # Errors
    /// When it cannot be written.
    fn forget(&self, user: &str) -> Result<u64>;

    /// Up to `limit` events that arrived after number `after`, in that order.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Stored>>;

    /// Everybody who asked to be forgotten, in the order of their ids.
    ///
    /// # Errors
    /// When it cannot be read.
    fn forgotten(&self) -> Result<Vec<String>>;

    /// How many events there are.
    ///
    /// # Errors
    /// When it cannot be read.
    fn n_events(&self) -> Result<u64>;
}
