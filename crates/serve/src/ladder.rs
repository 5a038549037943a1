//! What is answered when a model cannot: it is asked too much, or too late. Rather than fail, go down a ladder: what this user was
//! told last, items like those they know, what is popular. Every rung keeps to the request's lists and filters and leaves out what
//! is seen; an answer says which rung it stands on.

use crate::answer::{Known, Recommend, shown};
use crate::request::{Basis, Recommendations, Rung};
use crate::snapshot::Snapshot;
use crate::store::OfUser;
use rankstill_core::ItemId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Answers that were given lately, to give again.
pub(crate) struct Ladder {
    lately: Mutex<Generations>,
    /// Answers in a generation.
    most: usize,
}

/// Two generations: when the young one is full it becomes the old one, and the old one is forgotten. What was used within the last
/// `most` answers is always there, and nothing has to be moved for it.
#[derive(Default)]
struct Generations {
    young: HashMap<Key, Kept>,
    old: HashMap<Key, Kept>,
}

/// Model and user.
type Key = (Arc<str>, String);

struct Kept {
    /// The numbers mean nothing to another version.
    snapshot: Weak<Snapshot>,
    items: Arc<[(ItemId, f32)]>,
}

/// The last items of a history that are looked at for items like them.
const RECENT: usize = 5;

impl Ladder {
    pub fn new(most: usize) -> Self {
        Self { lately: Mutex::default(), most: most.max(1) }
    }

    /// Remembers what a user was told; longer lists than are asked for by most are not kept whole.
    pub fn keep(&self, snapshot: &Arc<Snapshot>, user: &str, items: &[(ItemId, f32)]) {
        let kept = Kept {
            snapshot: Arc::downgrade(snapshot),
            items: items.iter().copied().take(100).collect(),
        };
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.young.len() >= self.most {
            lately.old = std::mem::take(&mut lately.young);
        }
        lately.young.insert((Arc::clone(&snapshot.label), user.to_owned()), kept);
    }

    fn kept(&self, snapshot: &Arc<Snapshot>, user: &str) -> Option<Arc<[(ItemId, f32)]>> {
        let key = (Arc::clone(&snapshot.label), user.to_owned());
        let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lately.young.get(&key).or_else(|| lately.old.get(&key))?;
        let same = std::ptr::eq(kept.snapshot.as_ptr(), Arc::as_ptr(snapshot));
        same.then(|| Arc::clone(&kept.items))
    }

    /// The best that can be said without computing; always something, unless nothing may be recommended.
    pub fn answer(
        &self,
        snapshot: &Arc<Snapshot>,
        ask: &Recommend,
        stored: &OfUser,
    ) -> Recommendations {
        let known = Known::of(snapshot, ask, stored);
        let seen = if ask.with_seen { &[][..] } else { &known.history[..] };
        let may = |item: ItemId| {
            let allowed = ask.allowed.as_ref().is_none_or(|allowed| allowed.contains(item));
            allowed && !seen.contains(&item) && !ask.hidden.contains(&item)
        };
        let told = ask.user.as_ref().filter(|_| ask.history.is_empty() && !known.forgotten);
        let told = told.and_then(|user| self.kept(snapshot, &user.0));
        let mut rung = Rung::Cached;
        let mut list: Vec<(ItemId, f32)> = told
            .iter()
            .flat_map(|items| items.iter())
            .copied()
            .filter(|&(item, _)| may(item))
            .take(ask.k)
            .collect();
        if list.is_empty() {
            rung = Rung::ItemToItem;
            let mut sums: BTreeMap<ItemId, f32> = BTreeMap::new();
            for &item in known.history.iter().rev().take(RECENT) {
                for &(near, likeness) in snapshot.neighbours(item) {
                    *sums.entry(near).or_default() += likeness;
                }
            }
            list = sums.into_iter().filter(|&(item, _)| may(item)).collect();
            list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            list.truncate(ask.k);
        }
        if list.is_empty() {
            rung = Rung::Popular;
            let masked = [seen, &ask.hidden[..]].concat();
            list = snapshot.most_popular(ask.k, &masked, ask.allowed.as_ref());
        }
        let basis = if rung == Rung::Popular { Basis::Popular } else { known.basis };
        Recommendations {
            user: ask.user.clone(),
            model: snapshot.name.clone(),
            version: snapshot.version.clone(),
            basis,
            items: list.into_iter().map(|(item, score)| shown(snapshot, item, score)).collect(),
            unknown_items: ask.unknown_items.clone(),
            degraded: Some(rung),
        }
    }
}
