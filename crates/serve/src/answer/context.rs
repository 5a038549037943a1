//! What is known about the user of a query, from the model, the event store and the request.

use super::query::ResolvedQuery;
use crate::model::Snapshot;
use crate::store::UserState;
use crate::wire::Basis;
use rankstill_core::{ItemId, UserId};
use std::borrow::Cow;
use std::collections::HashSet;

pub(super) struct UserContext<'a> {
    /// The user that the model is queried for; `None` for a user whom it was not trained on.
    pub user: Option<UserId>,
    pub history: Cow<'a, [ItemId]>,
    pub basis: Basis,
    /// The user asked to be forgotten.
    pub forgotten: bool,
}

impl<'a> UserContext<'a> {
    pub fn new(snapshot: &'a Snapshot, query: &ResolvedQuery, state: &UserState) -> Self {
        let forgotten = state.forgotten;
        let mut user = query.user.as_ref().and_then(|id| snapshot.user(&id.0));
        // A user whom the model knows by name alone is as new to it as any other.
        user = user.filter(|&user| !forgotten && snapshot.trained().has_user(user));
        let trained = user.map_or(&[][..], |user| snapshot.history(user));
        // Events that the model was trained on may be in the store as well; they are not new.
        let stored = state.items.iter().filter_map(|item| snapshot.items.get(item));
        // One by one for most users; a set where both are long.
        let many = trained.len() * state.items.len() > MANY;
        let set: HashSet<ItemId> = trained.iter().copied().filter(|_| many).collect();
        let is_trained =
            |item: &ItemId| if many { set.contains(item) } else { trained.contains(item) };
        let mut new: Vec<ItemId> = stored.filter(|item| !is_trained(item)).collect();
        new.extend(&query.history);
        new.retain(|&item| snapshot.trained().has_item(item));
        let basis = match (user, new.is_empty(), trained.is_empty()) {
            (Some(_), true, _) => Basis::User,
            (Some(_), false, _) if snapshot.reads_history => Basis::UserAndHistory,
            (_, true, true) => Basis::Popular,
            _ => Basis::History,
        };
        if new.is_empty() {
            return Self { user, history: Cow::Borrowed(trained), basis, forgotten };
        }
        if basis == Basis::History {
            user = None;
        }
        let history = if trained.is_empty() { new } else { [trained, &new].concat() };
        Self { user, history: Cow::Owned(history), basis, forgotten }
    }
}

/// Comparisons of items that cost more than making a set.
const MANY: usize = 4096;
