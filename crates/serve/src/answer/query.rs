//! Requests in the model's own item numbers.

use crate::limits::Limits;
use crate::model::Snapshot;
use crate::wire::{Id, Problem, Request, escaped};
use rankstill_core::{ItemId, ItemSet};

/// A request with its ids looked up and its filters turned into sets.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedQuery {
    pub user: Option<Id>,
    /// The history in the request, without unknown items.
    pub history: Vec<ItemId>,
    pub unknown_items: Vec<Id>,
    pub k: usize,
    pub with_seen: bool,
    /// Items that must not be recommended. Empty if `with_seen` is set, because then `allowed` excludes them.
    pub hidden: Vec<ItemId>,
    pub allowed: Option<ItemSet>,
    pub explain: usize,
}

impl ResolvedQuery {
    /// # Errors
    /// Names the invalid field.
    pub fn new(request: Request, snapshot: &Snapshot, limits: &Limits) -> Result<Self, Problem> {
        let k = limits.check(&request)?;
        let n_items = snapshot.items.len();
        let known = |ids: &[Id]| -> Vec<ItemId> {
            ids.iter().filter_map(|id| snapshot.items.get(&id.0)).collect()
        };
        let set = |items: Vec<ItemId>| ItemSet::new(n_items, items).map_err(internal);
        let mut allowed = request.allow.as_deref().map(|allow| set(known(allow))).transpose()?;
        for (name, values) in &request.filter {
            let Some(having) = snapshot.table.having(name, values).map_err(internal)? else {
                let field = format!("#/filter/{}", escaped(name));
                let names: Vec<&str> = snapshot.table.attributes().collect();
                let expected = match names[..] {
                    [] => "the items have no attributes".to_owned(),
                    _ => format!("expected one of: {}", names.join(", ")),
                };
                return Err(Problem::field(field, format!("no such attribute; {expected}")));
            };
            match &mut allowed {
                Some(allowed) => allowed.intersect(&having),
                None => allowed = Some(having),
            }
        }
        let mut hidden = known(&request.deny);
        if request.with_seen && !hidden.is_empty() {
            let allowed = allowed.get_or_insert_with(|| ItemSet::all(n_items));
            hidden.drain(..).for_each(|item| allowed.remove(item));
        }
        let (mut history, mut unknown_items) = (Vec::new(), Vec::new());
        for id in request.history {
            match snapshot.items.get(&id.0) {
                Some(item) => history.push(item),
                None => unknown_items.push(id),
            }
        }
        let Request { user, with_seen, explain, .. } = request;
        Ok(Self { user, history, unknown_items, k, with_seen, hidden, allowed, explain })
    }

    /// Whether the answer is the user's list without any conditions, which is worth caching for the fallback.
    pub fn is_plain(&self) -> bool {
        let conditions = self.allowed.is_some() || !self.hidden.is_empty() || self.with_seen;
        self.user.is_some() && self.history.is_empty() && !conditions
    }

    /// Whether one pass over the items can answer both queries.
    pub fn batches_with(&self, other: &Self) -> bool {
        let plain = self.allowed.is_none() && other.allowed.is_none();
        plain && self.k == other.k && self.with_seen == other.with_seen
    }
}

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::internal(error.to_string())
}
