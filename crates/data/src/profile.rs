//! What a log is like: how popularity and activity are spread, how often users come back to an item, and how much the order of their
//! rows tells. With these numbers the simulator is compared with real logs.

use crate::log::Log;
use crate::timelines::{LogColumns, Timelines};
use rankstill_core::ItemId;
use rankstill_core::kernel::rng::Rng;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Properties of a log as it was read, before any filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Users with a row.
    pub users: usize,
    /// Items with a row.
    pub items: usize,
    /// Rows.
    pub rows: usize,
    /// The share of pairs of a user and an item that occur.
    pub density: f64,
    /// How unequal the items' numbers of rows are: 0 if all are equal, near 1 if one item has nearly all.
    pub gini: f64,
    /// The share of rows that the most popular hundredth of the items has.
    pub top_1: f64,
    /// The share of rows that the most popular tenth of the items has.
    pub top_10: f64,
    /// The share of items with a single row.
    pub single: f64,
    /// Rows of a user: half of the users have at most this many.
    pub median: usize,
    /// Rows of a user: the mean.
    pub mean: f64,
    /// Rows of a user: nine in ten have at most this many.
    pub p90: usize,
    /// Rows of a user: 99 in a hundred have at most this many.
    pub p99: usize,
    /// Rows of the most active user.
    pub most: usize,
    /// The share of rows whose item the user had before.
    pub repeats: f64,
    /// How well the next item is told.
    pub next: NextItem,
}

/// For each user with at least three items, the last one is to be found among those that the user did not have. The values are shares of
/// these users for whom it is among the first ten. Repeated rows are left out. Where the log has no times, the last item is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NextItem {
    /// Items in the order of their popularity.
    pub popularity: f64,
    /// A chain of first order on histories in random order: items in the order of how often they come right after the last one, then
    /// of their popularity. What it finds, it finds by which items are had together.
    pub shuffled: f64,
    /// The same on histories in their own order; `None` where the log has no times.
    pub in_order: Option<f64>,
}

impl NextItem {
    /// What the order tells: the rate of the chain in order, as a multiple of that without.
    #[must_use]
    pub fn order(&self) -> Option<f64> {
        self.in_order.filter(|_| self.shuffled > 0.0).map(|in_order| in_order / self.shuffled)
    }
}

/// Length of the lists in which the next item is looked for.
const DEPTH: usize = 10;

impl Profile {
    /// The properties of a log.
    #[must_use]
    pub fn of(log: &Log) -> Self {
        let columns = LogColumns {
            items: log.items.clone(),
            times: log.times.clone(),
            ..LogColumns::default()
        };
        let lines = Timelines::group(log.n_users(), log.n_items(), log.users.clone(), columns);
        let mut counts = vec![0usize; log.n_items()];
        log.items.iter().for_each(|&item| counts[item as usize] += 1);
        counts.retain(|&count| count > 0);
        counts.sort_unstable();
        let mut lengths: Vec<usize> =
            (0..lines.n_users()).map(|user| lines.range(user).len()).filter(|&n| n > 0).collect();
        lengths.sort_unstable();
        let mut histories: Vec<Vec<ItemId>> =
            (0..lines.n_users()).map(|user| distinct(&lines.items[lines.range(user)])).collect();
        if log.times.is_none() {
            // The order of the file may tell what nobody knows in time.
            histories.iter_mut().zip(0..).for_each(|(history, user)| shuffle(history, user, FILE));
        }
        let (users, items, rows) = (lengths.len(), counts.len(), log.len());
        let pairs: usize = histories.iter().map(Vec::len).sum();
        let share = |part: f64, whole: usize| part / whole.max(1) as f64;
        let top = |part: usize| {
            let n = items.div_ceil(part);
            share(counts.iter().rev().take(n).sum::<usize>() as f64, rows)
        };
        let at_most = |percent: usize| {
            let at = (users * percent).div_ceil(100).saturating_sub(1);
            lengths.get(at).copied().unwrap_or(0)
        };
        Self {
            users,
            items,
            rows,
            density: share(pairs as f64, users * items),
            gini: gini(&counts),
            top_1: top(100),
            top_10: top(10),
            single: share(counts.iter().filter(|&&count| count == 1).count() as f64, items),
            median: at_most(50),
            mean: share(rows as f64, users),
            p90: at_most(90),
            p99: at_most(99),
            most: lengths.last().copied().unwrap_or(0),
            repeats: share((rows - pairs) as f64, rows),
            next: next_item(&histories, log.n_items(), log.times.is_some()),
        }
    }
}

/// First occurrences, in order.
fn distinct(items: &[ItemId]) -> Vec<ItemId> {
    let mut seen = HashSet::new();
    items.iter().copied().filter(|&item| seen.insert(item)).collect()
}

/// Puts a user's items in random order. `purpose` keeps two such orders apart.
fn shuffle(items: &mut [ItemId], user: u64, purpose: u64) {
    Rng::keyed(0, [purpose, user]).shuffle(items);
}

const FILE: u64 = 1;
const CHAIN: u64 = 2;

/// The Gini coefficient of ascending counts.
fn gini(counts: &[usize]) -> f64 {
    let n = counts.len() as f64;
    let total: usize = counts.iter().sum();
    let by_rank = |(at, &count): (usize, &usize)| (2.0 * at as f64 + 1.0 - n) * count as f64;
    counts.iter().enumerate().map(by_rank).fold(0.0, |sum, x| sum + x) / (n * total as f64).max(1.0)
}

fn next_item(histories: &[Vec<ItemId>], n_items: usize, ordered: bool) -> NextItem {
    let tested: Vec<(u64, &ItemId, &[ItemId])> = (0u64..)
        .zip(histories)
        .filter(|(_, history)| history.len() >= 3)
        .filter_map(|(user, history)| history.split_last().map(|(last, known)| (user, last, known)))
        .collect();
    let mut counts = vec![0u32; n_items];
    for &item in tested.iter().flat_map(|(_, _, known)| *known) {
        counts[item as usize] += 1;
    }
    let mut popular: Vec<ItemId> = (0..n_items as ItemId).collect();
    popular.sort_by_key(|&item| Reverse(counts[item as usize]));
    // Whether the target is among the first items of `next`, and then of the popular ones, that the user did not have.
    let is_found = |target: &ItemId, known: &[ItemId], next: &[ItemId]| {
        let rest = popular.iter().filter(|item| !next.contains(item));
        let unseen = next.iter().chain(rest).filter(|item| !known.contains(item));
        unseen.take(DEPTH).any(|item| item == target)
    };
    let rate = |is_hit: &dyn Fn(usize) -> bool| {
        (0..tested.len()).filter(|&at| is_hit(at)).count() as f64 / tested.len().max(1) as f64
    };
    let chain = |shuffled: bool| {
        let mut orders: Vec<Vec<ItemId>> =
            tested.iter().map(|(_, _, known)| known.to_vec()).collect();
        if shuffled {
            for (order, &(user, ..)) in orders.iter_mut().zip(&tested) {
                shuffle(order, user, CHAIN);
            }
        }
        let mut after: HashMap<ItemId, BTreeMap<ItemId, u32>> = HashMap::new();
        for pair in orders.iter().flat_map(|order| order.windows(2)) {
            *after.entry(pair[0]).or_default().entry(pair[1]).or_default() += 1;
        }
        let most_frequent = |last: Option<&ItemId>| -> Vec<ItemId> {
            let next = last.and_then(|last| after.get(last)).into_iter().flatten();
            let mut next: Vec<(ItemId, u32)> = next.map(|(&item, &n)| (item, n)).collect();
            next.sort_by_key(|&(item, n)| Reverse((n, counts[item as usize])));
            next.into_iter().map(|(item, _)| item).collect()
        };
        rate(&|at| {
            let (_, target, known) = tested[at];
            is_found(target, known, &most_frequent(orders[at].last()))
        })
    };
    NextItem {
        popularity: rate(&|at| is_found(tested[at].1, tested[at].2, &[])),
        shuffled: chain(true),
        in_order: ordered.then(|| chain(false)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{ReadOptions, read_log_bytes};

    fn profile(rows: &[(&str, &str)]) -> Profile {
        let rows =
            rows.iter().enumerate().map(|(time, (user, item))| format!("{user},{item},{time}\n"));
        let text = format!("user_id,item_id,timestamp\n{}", rows.collect::<String>());
        Profile::of(
            &read_log_bytes("log.csv", text.as_bytes(), &ReadOptions::default()).unwrap().log,
        )
    }

    #[test]
    fn counts_by_hand() {
        // x has 3 rows, y 2, z 1; ann has x twice.
        let rows =
            [("ann", "x"), ("ann", "y"), ("ann", "x"), ("bob", "x"), ("bob", "y"), ("cy", "z")];
        let found = profile(&rows);
        assert_eq!((found.users, found.items, found.rows), (3, 3, 6));
        assert_eq!((found.median, found.p90, found.p99, found.most), (2, 3, 3, 3));
        let close = |found: f64, by_hand: f64| assert!((found - by_hand).abs() < 1e-12, "{found}");
        close(found.mean, 2.0);
        close(found.density, 5.0 / 9.0);
        close(found.repeats, 1.0 / 6.0);
        close(found.single, 1.0 / 3.0);
        close(found.gini, (-2.0 * 1.0 + 0.0 * 2.0 + 2.0 * 3.0) / (3.0 * 6.0));
        close(found.top_1, 0.5);
        close(found.top_10, 0.5);
    }

    /// Each user walks a ring of 40 items from another place on: the chain knows the way, popularity cannot.
    #[test]
    fn a_ring_is_told_by_its_order_alone() {
        let names: Vec<String> = (0..40).map(|item| format!("i{item}")).collect();
        let rows: Vec<(&str, &str)> = (0..40)
            .flat_map(|user| (0..9).map(move |step| (user, (user + step) % 40)))
            .map(|(user, item)| (names[user].as_str(), names[item].as_str()))
            .collect();
        let NextItem { popularity, shuffled, in_order } = profile(&rows).next;
        assert_eq!(in_order, Some(1.0));
        assert!(popularity < 0.6 && shuffled < 1.0, "{popularity} {shuffled}");
    }

    #[test]
    fn an_empty_log_has_a_profile() {
        let found = Profile::of(&Log { times: Some(Vec::new()), ..Log::default() });
        assert_eq!((found.users, found.rows, found.gini), (0, 0, 0.0));
        assert_eq!(found.next.order(), None);
    }
}
