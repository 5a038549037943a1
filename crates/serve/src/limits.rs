//! Limits on what a request may ask for, and on the time and memory that it may take.

use crate::wire::{Id, Problem, Request, escaped};
use std::time::Duration;

/// No client can make the server hold or do more than this.
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
    /// Items of the history that explain a recommended item.
    pub explain: usize,
    /// Items, and items that explain them, in all answers to a request: k x (1 + explain) for each request of a
    /// batch.
    pub lines: usize,
    /// Bytes of an answer.
    pub answer: usize,
    /// Bytes of all answers that clients have not read yet.
    pub unread: usize,
    /// Events of a user that are read for an answer, the newest ones.
    pub stored: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Requests that may wait for a scoring thread. More are refused at once.
    pub queue: usize,
    /// Time from a request's arrival to its answer.
    pub deadline: Duration,
    /// Whether a fallback answers if the model cannot do so in time (cached lists, similar items, popular
    /// items). Otherwise the request is refused.
    pub degrade: bool,
    /// Answers that are cached for the fallback.
    pub remembered: usize,
    /// Requests in progress. More are refused, even by the fallback.
    pub in_progress: usize,
    /// Time from a request's first byte to its last.
    pub arrival: Duration,
    /// Time in which a client must have read its answer.
    pub departure: Duration,
    /// Open connections; fewer if the process may not open as many files. More are refused.
    pub connections: usize,
    /// How long a shutdown waits for requests in progress.
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
            lines: 50_000,
            answer: 16 << 20,
            unread: 256 << 20,
            stored: 10_000,
            body: 1 << 20,
            queue: 1024,
            degrade: true,
            remembered: 100_000,
            in_progress: 4096,
            deadline: Duration::from_secs(1),
            arrival: Duration::from_secs(10),
            departure: Duration::from_secs(30),
            connections: 10_000,
            drain: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Items in an answer if the request does not say; fewer if the limit is lower.
    pub const DEFAULT_K: usize = 10;

    /// # Errors
    /// Names a limit that no server can have.
    pub(crate) fn check_possible(&self) -> crate::Result<()> {
        let numbers = [
            ("k", self.k, Self::LARGEST),
            ("queue", self.queue, Self::LARGEST),
            ("connections", self.connections, Self::LARGEST),
            ("deadline in seconds", self.deadline.as_secs() as usize, 86_400),
        ];
        match numbers.into_iter().find(|(_, found, most)| found > most) {
            Some((name, found, most)) => Err(crate::Error::Setting {
                key: name.into(),
                problem: format!("expected at most {most}, found {found}"),
            }),
            None => Ok(()),
        }
    }

    /// The largest value of a limit that memory is reserved for.
    pub const LARGEST: usize = 1_000_000;

    /// What a request asks for: items, and items that explain them.
    pub(crate) fn lines(&self, request: &Request) -> usize {
        let k = request.k.unwrap_or(Self::DEFAULT_K.min(self.k));
        k.saturating_mul(request.explain.saturating_add(1))
    }

    /// Checks what does not depend on the model; returns the number of items to recommend.
    ///
    /// # Errors
    /// Names the field that exceeds its limit.
    pub(crate) fn check(&self, request: &Request) -> Result<usize, Problem> {
        let k = self.k("#/k", request.k)?;
        if request.explain > self.explain {
            let problem = format!("expected at most {}, found {}", self.explain, request.explain);
            return Err(Problem::field("#/explain", problem));
        }
        if let Some(problem) = request.user.as_ref().and_then(Id::problem) {
            return Err(Problem::field("#/user", problem));
        }
        at_most("#/history", request.history.len(), self.history)?;
        at_most("#/deny", request.deny.len(), self.history)?;
        if let Some(allow) = &request.allow {
            at_most("#/allow", allow.len(), self.history)?;
        }
        let allow = request.allow.as_deref().unwrap_or_default();
        let lists = [("history", &request.history[..]), ("deny", &request.deny), ("allow", allow)];
        for (name, ids) in lists {
            let wrong = ids.iter().enumerate().find_map(|(at, id)| Some((at, id.problem()?)));
            if let Some((at, problem)) = wrong {
                return Err(Problem::field(format!("#/{name}/{at}"), problem));
            }
        }
        at_most("#/filter", request.filter.len(), self.filters)?;
        for (name, values) in &request.filter {
            at_most(&format!("#/filter/{}", escaped(name)), values.len(), self.history)?;
        }
        Ok(k)
    }

    pub(crate) fn k(&self, field: &str, k: Option<usize>) -> Result<usize, Problem> {
        let k = k.unwrap_or(Self::DEFAULT_K.min(self.k));
        if k == 0 || k > self.k {
            return Err(Problem::field(field, format!("expected 1 to {}, found {k}", self.k)));
        }
        Ok(k)
    }
}

/// # Errors
/// If a list has more than `limit` entries.
pub(crate) fn at_most(field: &str, found: usize, limit: usize) -> Result<(), Problem> {
    if found > limit {
        let problem = format!("expected at most {limit} entries, found {found}");
        return Err(Problem::field(field, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_field_over_its_limit_is_named() {
        let limits = Limits::default();
        let field = |request: Request| limits.check(&request).unwrap_err().errors[0].field.clone();
        assert!(limits.check(&Request::default()).is_ok());
        assert_eq!(field(Request { k: Some(0), ..Default::default() }), "#/k");
        assert_eq!(field(Request { k: Some(limits.k + 1), ..Default::default() }), "#/k");
        let long = vec![Id("1".into()); limits.history + 1];
        assert_eq!(field(Request { history: long.clone(), ..Default::default() }), "#/history");
        assert_eq!(field(Request { allow: Some(long.clone()), ..Default::default() }), "#/allow");
        assert_eq!(field(Request { deny: long, ..Default::default() }), "#/deny");
        let filter = [("a/b".to_owned(), vec![String::new(); limits.history + 1])].into();
        assert_eq!(field(Request { filter, ..Default::default() }), "#/filter/a~1b");
    }
}
