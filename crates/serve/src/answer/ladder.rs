//! Fallbacks for a model that cannot answer in time. Rather than fail, the server goes down a ladder: the
//! user's previous list, items similar to recent ones, popular items. Every rung respects the lists and
//! filters of the request and leaves out seen items, and the answer names its rung.

use super::context::UserContext;
use super::query::ResolvedQuery;
use super::recommend::recommended;
use crate::model::Snapshot;
use crate::store::UserState;
use crate::wire::{Basis, FallbackRung, Recommendations};
use rankstill_core::ItemId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The fallback ladder, with a cache of recent lists.
pub(crate) struct Ladder {
    cache: Mutex<Cache>,
    /// Lists per generation.
    capacity: usize,
}

/// Two generations: when the young one is full it becomes the old one, and the old one is dropped. The last
/// `capacity` lists are always there, and no list has to be moved.
#[derive(Default)]
struct Cache {
    young: HashMap<CacheKey, CachedList>,
    old: HashMap<CacheKey, CachedList>,
}

/// Model and user.
type CacheKey = (Arc<str>, String);

struct CachedList {
    /// Item numbers have no meaning for another version.
    snapshot: Weak<Snapshot>,
    items: Arc<[(ItemId, f32)]>,
}

/// Number of recent history items whose neighbours are candidates.
const RECENT: usize = 5;

/// Maximum length of a cached list.
const CACHED_ITEMS: usize = 100;

impl Ladder {
    pub fn new(capacity: usize) -> Self {
        Self { cache: Mutex::default(), capacity: capacity.max(1) }
    }

    /// Caches a user's list, up to its first hundred items.
    pub fn remember(&self, snapshot: &Arc<Snapshot>, user: &str, items: &[(ItemId, f32)]) {
        let list = CachedList {
            snapshot: Arc::downgrade(snapshot),
            items: items.iter().copied().take(CACHED_ITEMS).collect(),
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.young.len() >= self.capacity {
            cache.old = std::mem::take(&mut cache.young);
        }
        cache.young.insert((Arc::clone(&snapshot.label), user.to_owned()), list);
    }

    fn cached(&self, snapshot: &Arc<Snapshot>, user: &str) -> Option<Arc<[(ItemId, f32)]>> {
        let key = (Arc::clone(&snapshot.label), user.to_owned());
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let list = cache.young.get(&key).or_else(|| cache.old.get(&key))?;
        let same_version = std::ptr::eq(list.snapshot.as_ptr(), Arc::as_ptr(snapshot));
        same_version.then(|| Arc::clone(&list.items))
    }

    /// The best answer without the model. Empty only if no item may be recommended.
    pub fn answer(
        &self,
        snapshot: &Arc<Snapshot>,
        query: &ResolvedQuery,
        state: &UserState,
    ) -> Recommendations {
        let context = UserContext::new(snapshot, query, state);
        let seen = if query.with_seen { &[][..] } else { &context.history[..] };
        let eligible = |item: ItemId| {
            let allowed = query.allowed.as_ref().is_none_or(|allowed| allowed.contains(item));
            allowed && !seen.contains(&item) && !query.hidden.contains(&item)
        };
        let user = query.user.as_ref().filter(|_| query.history.is_empty() && !context.forgotten);
        let cached = user.and_then(|user| self.cached(snapshot, &user.0));
        let mut rung = FallbackRung::Cached;
        let mut list: Vec<(ItemId, f32)> = cached
            .iter()
            .flat_map(|items| items.iter())
            .copied()
            .filter(|&(item, _)| eligible(item))
            .take(query.k)
            .collect();
        if list.is_empty() {
            rung = FallbackRung::ItemToItem;
            let mut sums: BTreeMap<ItemId, f32> = BTreeMap::new();
            for &item in context.history.iter().rev().take(RECENT) {
                for &(neighbour, similarity) in snapshot.neighbours(item) {
                    *sums.entry(neighbour).or_default() += similarity;
                }
            }
            list = sums.into_iter().filter(|&(item, _)| eligible(item)).collect();
            list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            list.truncate(query.k);
        }
        if list.is_empty() {
            rung = FallbackRung::Popular;
            let masked = [seen, &query.hidden[..]].concat();
            list = snapshot.most_popular(query.k, &masked, query.allowed.as_ref());
        }
        let basis = if rung == FallbackRung::Popular { Basis::Popular } else { context.basis };
        let items = list.into_iter().map(|(item, score)| recommended(snapshot, item, score));
        Recommendations {
            user: query.user.clone(),
            model: snapshot.name.clone(),
            version: snapshot.version.clone(),
            basis,
            items: items.collect(),
            unknown_items: query.unknown_items.clone(),
            degraded: Some(rung),
        }
    }
}
