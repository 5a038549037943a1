//! The candidates of a query, with the features of each.

use crate::parts::baskets::distinct;
use rankstill_core::ItemId;
use rankstill_core::kernel::csr::Csr;

/// The features of a query and an item i, in this order. c(i, j) is the number of users who have both items,
/// n(i) of users who have i; for another user who has i, b is the number of items shared with the history and n
/// the number of all their items.
pub const FEATURES: [&str; 14] = [
    "items in the history",
    "n(i)",
    "items of the history with c(i, j) > 0",
    "sum of c(i, j) over the history",
    "largest c(i, j)",
    "sum of c(i, j) / sqrt(n(i) n(j))",
    "largest c(i, j) / sqrt(n(i) n(j))",
    "c(i, j) of the latest item",
    "c(i, j) / sqrt(n(i) n(j)) of the latest item",
    "sum of b / sqrt(n) over the users who have i",
    "sum of b b / n over the users who have i",
    "the summed cosine as a share of the query's largest",
    "the sum of b / sqrt(n) as a share of the query's largest",
    "the sum of b b / n as a share of the query's largest",
];

/// The features that the last three are shares of. Without shares, trees, which split on absolute values, rank
/// worse than one sum alone.
const SHARED: [usize; 3] = [5, 9, 10];

/// Number of features.
pub(super) const N: usize = FEATURES.len();

/// The log, by users and by items.
pub(super) struct CandidateIndex {
    pub baskets: Csr,
    pub users_of: Csr,
}

impl CandidateIndex {
    pub fn new(baskets: Csr) -> Self {
        let users_of = baskets.transpose();
        Self { baskets, users_of }
    }

    pub fn n_items(&self) -> usize {
        self.users_of.n_rows()
    }

    /// The `most` best candidates of a history, with their features; items of the history are among them. In
    /// training the user and the target are known, `positive`: the counts then leave out both.
    pub fn candidates(
        &self,
        history: &[ItemId],
        positive: Option<(u32, ItemId)>,
        most: usize,
        scratch: &mut CandidateScratch,
    ) -> Vec<(ItemId, [f32; N])> {
        let known = |item: &ItemId| (*item as usize) < self.n_items();
        let latest = history.iter().rev().copied().find(known);
        let mut history = distinct(history);
        history.retain(known);
        let others = |item: ItemId| {
            let users = self.users_of.row(item as usize).iter().copied();
            users.filter(move |&user| positive.is_none_or(|(own, _)| own != user))
        };
        let n = |item: ItemId| {
            let less = u32::from(positive.is_some_and(|(_, target)| target == item));
            (self.users_of.row(item as usize).len() as u32 - less).max(1) as f32
        };
        // By ascending item and user, so that the last bits of a sum do not depend on the order of the history.
        for &own in &history {
            for user in others(own) {
                if scratch.shared[user as usize] == 0 {
                    scratch.users.push(user);
                }
                scratch.shared[user as usize] += 1;
                for &item in self.baskets.row(user as usize) {
                    if scratch.both[item as usize] == 0 {
                        scratch.items.push(item);
                    }
                    scratch.both[item as usize] += 1;
                }
            }
            for item in scratch.items.drain(..) {
                let both = std::mem::take(&mut scratch.both[item as usize]) as f32;
                let features = &mut scratch.features[item as usize];
                if features[2] == 0.0 {
                    scratch.all.push(item);
                }
                let cosine = both / (n(item) * n(own)).sqrt();
                features[2] += 1.0;
                features[3] += both;
                features[4] = features[4].max(both);
                features[5] += cosine;
                features[6] = features[6].max(cosine);
                if latest == Some(own) {
                    features[7] = both;
                    features[8] = cosine;
                }
            }
        }
        scratch.users.sort_unstable();
        for user in scratch.users.drain(..) {
            let basket = self.baskets.row(user as usize);
            let shared = std::mem::take(&mut scratch.shared[user as usize]) as f32;
            let similarity = shared / (basket.len() as f32).sqrt();
            for &item in basket {
                let features = &mut scratch.features[item as usize];
                features[9] += similarity;
                features[10] += similarity * similarity;
            }
        }
        let mut found: Vec<(ItemId, [f32; N])> = scratch
            .all
            .drain(..)
            .map(|item| {
                let mut features = std::mem::take(&mut scratch.features[item as usize]);
                features[0] = history.len() as f32;
                features[1] = n(item);
                (item, features)
            })
            .collect();
        if found.len() > most {
            let by_similarity = |a: &(ItemId, [f32; N]), b: &(ItemId, [f32; N])| {
                b.1[10].total_cmp(&a.1[10]).then(a.0.cmp(&b.0))
            };
            found.select_nth_unstable_by(most - 1, by_similarity);
            found.truncate(most);
        }
        for (share, of) in (N - SHARED.len()..).zip(SHARED) {
            let others = found.iter().filter(|(item, _)| history.binary_search(item).is_err());
            let most = others.fold(0.0f32, |most, (_, features)| most.max(features[of]));
            if most > 0.0 {
                found.iter_mut().for_each(|(_, features)| features[share] = features[of] / most);
            }
        }
        found
    }
}

/// Counts around a query; all zero and empty between two queries.
pub(super) struct CandidateScratch {
    /// By item: the number of users who have it and the current item of the history.
    both: Vec<u32>,
    items: Vec<ItemId>,
    /// By user: the number of items shared with the history.
    shared: Vec<u32>,
    users: Vec<u32>,
    features: Vec<[f32; N]>,
    all: Vec<ItemId>,
}

impl CandidateScratch {
    pub fn new(log: &CandidateIndex) -> Self {
        let (n_users, n_items) = (log.baskets.n_rows(), log.n_items());
        Self {
            both: vec![0; n_items],
            items: Vec::new(),
            shared: vec![0; n_users],
            users: Vec::new(),
            features: vec![[0.0; N]; n_items],
            all: Vec::new(),
        }
    }
}
