//! How much a request may ask for, and how long it may take.

use crate::problem::Problem;
use std::time::Duration;

/// Nothing that a client sends makes the server hold or do more than this.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Items in an answer.
    pub k: usize,
    /// Items in a history, an allow list or a deny list.
    pub history: usize,
    /// Requests in a batch.
    pub batch: usize,
    /// Events in a request.
    pub events: usize,
    /// Attributes in a filter.
    pub filters: usize,
    /// Items of the history to a recommended one.
    pub explain: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Requests that wait to be computed; beyond it they are refused at once.
    pub queue: usize,
    /// From a request's arrival to its answer.
    pub deadline: Duration,
    /// Answer from the ladder (what a user was told last, items like theirs, what is popular) where a model cannot answer in time,
    /// instead of refusing.
    pub degrade: bool,
    /// Answers that are remembered for it.
    pub remembered: usize,
    /// Requests in progress beyond which even that is refused.
    pub in_progress: usize,
    /// From a request's first byte to its last.
    pub arrival: Duration,
    /// Connections at a time; more wait until one ends.
    pub connections: usize,
    /// How long a shutdown waits for the answers that are owed.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            k: 1000,
            history: 10_000,
            batch: 256,
            events: 1000,
            filters: 16,
            explain: 10,
            body: 1 << 20,
            queue: 1024,
            degrade: true,
            remembered: 100_000,
            in_progress: 4096,
            deadline: Duration::from_secs(1),
            arrival: Duration::from_secs(10),
            connections: 10_000,
            drain: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Items in an answer where a request does not say; fewer where there cannot be so many.
    pub const DEFAULT_K: usize = 10;

    pub(crate) fn k(&self, field: &str, k: Option<usize>) -> Result<usize, Problem> {
        let k = k.unwrap_or(Self::DEFAULT_K.min(self.k));
        if k == 0 || k > self.k {
            return Err(Problem::field(field, format!("expected 1 to {}, found {k}", self.k)));
        }
        Ok(k)
    }

    pub(crate) fn at_most(&self, field: &str, found: usize, most: usize) -> Result<(), Problem> {
        if found > most {
            return Err(Problem::field(field, format!("expected at most {most}, found {found}")));
        }
        Ok(())
    }

    pub(crate) fn at_most_items(
        &self,
        field: &str,
        found: usize,
        most: usize,
    ) -> Result<(), Problem> {
        if found > most {
            return Err(Problem::field(
                field,
                format!("expected at most {most} entries, found {found}"),
            ));
        }
        Ok(())
    }
}
