//! Sampling of items that a user has not seen.
//!
//! [`Positives`] holds every user's history, sorted, behind a Bloom filter over (user, item) pairs whose bits
//! for a pair all lie in one 64-bit word (a "blocked" filter; Putze, Sanders & Singler, "Cache-, hash- and
//! space-efficient Bloom filters", WEA 2007). A sampled item is nearly always unseen, and then one cache line
//! proves it; other items go to an exact binary search, so the distribution is exactly uniform over the
//! unseen items.
//!
//! Rejection is used only for users who have seen at most half of the catalogue. For the others the rank
//! among the unseen items is drawn and looked up, so no history, however long, makes a loop long. A user who
//! has seen everything has no negative: that is `None`, or [`NO_ITEM`] in batches.

use super::rng::{Rng, mix};
use super::simd::prefetch;

/// In a batch: "this user has seen the whole catalogue".
pub const NO_ITEM: u32 = u32::MAX;

/// Rows that are in flight together: drawn, prefetched, then tested.
const BLOCK: usize = 128;

/// Every user's distinct items, ascending, with a filter for fast membership tests.
#[derive(Clone, Debug)]
pub struct Positives {
    n_items: u32,
    starts: Vec<usize>,
    items: Vec<u32>,
    filter: Vec<u64>,
}

impl Positives {
    /// From one list of items a user, in any order, repeats allowed.
    ///
    /// # Panics
    /// If an item is not below `n_items`, or `n_items` is 2^32 - 1.
    pub fn new<'a>(histories: impl IntoIterator<Item = &'a [u32]>, n_items: u32) -> Self {
        assert!(n_items != NO_ITEM, "the largest id is kept free for NO_ITEM");
        let mut starts = vec![0];
        let mut items: Vec<u32> = Vec::new();
        for history in histories {
            let start = items.len();
            items.extend_from_slice(history);
            items[start..].sort_unstable();
            let mut end = start;
            for at in start..items.len() {
                if at == start || items[at] != items[end - 1] {
                    items[end] = items[at];
                    end += 1;
                }
            }
            items.truncate(end);
            assert!(
                items.last().is_none_or(|&item| end == start || item < n_items),
                "an item beyond n_items"
            );
            starts.push(end);
        }
        // About 16-32 bits a pair, four of them set: around 0.2% false positives in 2 MB for a million pairs.
        let mut filter = vec![0; (items.len() / 4 + 1).next_power_of_two()];
        for user in 0..starts.len() - 1 {
            for &item in &items[starts[user]..starts[user + 1]] {
                let (word, bits) = place(user as u32, item, filter.len());
                filter[word] |= bits;
            }
        }
        Self { n_items, starts, items, filter }
    }

    /// Number of users.
    pub fn n_users(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of items in the catalogue.
    pub fn n_items(&self) -> u32 {
        self.n_items
    }

    /// Number of distinct (user, item) pairs.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What a user has seen: distinct, ascending.
    pub fn of(&self, user: u32) -> &[u32] {
        &self.items[self.starts[user as usize]..self.starts[user as usize + 1]]
    }

    /// Whether the user has seen the item.
    #[inline(always)]
    pub fn contains(&self, user: u32, item: u32) -> bool {
        let (word, bits) = place(user, item, self.filter.len());
        self.filter[word] & bits == bits && self.contains_exactly(user, item)
    }

    /// One item that the user has not seen, each equally likely; `None` if there is none.
    pub fn negative(&self, user: u32, rng: &mut Rng) -> Option<u32> {
        let seen = self.of(user);
        if self.rejects(user) {
            loop {
                let item = rng.below(self.n_items);
                if !self.contains(user, item) {
                    return Some(item);
                }
            }
        }
        let unseen = self.n_items - seen.len() as u32;
        (unseen > 0).then(|| nth_outside(seen, rng.below(unseen)))
    }

    /// What `n` calls of [`Positives::negative`] give, appended to `out`, for `n` that is not small: what the
    /// user has seen is then looked up in a set of theirs alone, in a core's innermost cache, instead of the
    /// filter of all. `seen` is scratch space.
    pub fn many_negatives(
        &self,
        user: u32,
        n: usize,
        rng: &mut Rng,
        seen: &mut Vec<u64>,
        out: &mut Vec<u32>,
    ) {
        if !self.rejects(user) {
            return out.extend((0..n).map_while(|_| self.negative(user, rng)));
        }
        let place = |item: u32| (item as usize / 64, 1 << (item % 64));
        seen.resize(self.n_items.div_ceil(64) as usize, 0);
        for (word, bit) in self.of(user).iter().map(|&item| place(item)) {
            seen[word] |= bit;
        }
        let end = out.len() + n;
        while out.len() < end {
            let item = rng.below(self.n_items);
            let (word, bit) = place(item);
            if seen[word] & bit == 0 {
                out.push(item);
            }
        }
        self.of(user).iter().for_each(|&item| seen[place(item).0] = 0);
    }

    /// Prefetches what the next `n` calls of [`Positives::negative`] with this stream will read, if none is
    /// rejected. A filter is larger than a core's own caches: prefetched some users ahead, draws need not
    /// wait for it.
    #[inline]
    pub fn foresee(&self, user: u32, n: usize, mut rng: Rng) {
        prefetch(self.starts.as_ptr().wrapping_add(user as usize));
        for _ in 0..n {
            self.prefetch(user, rng.below(self.n_items));
        }
    }

    /// For each user of a batch `per_user` unseen items, drawn uniformly with replacement; `out` is
    /// `users.len()` rows of `per_user`. Row `r` uses the stream `Rng::keyed(seed, [epoch, first_row + r])`
    /// and gets what successive calls of [`Positives::negative`] with it would give, wherever a batch or a
    /// thread's share begins. Rows of users without unseen items hold [`NO_ITEM`]; returns how many such rows
    /// there are.
    ///
    /// # Panics
    /// If `out` is not `users.len() * per_user` long.
    pub fn negatives(
        &self,
        seed: u64,
        epoch: u64,
        first_row: u64,
        users: &[u32],
        per_user: usize,
        out: &mut [u32],
    ) -> usize {
        assert_eq!(out.len(), users.len() * per_user, "room for `per_user` items a user");
        if per_user == 0 {
            return 0;
        }
        let mut without = 0;
        let rows_at_once = (BLOCK / per_user).max(1);
        let mut streams: Vec<Rng> = Vec::with_capacity(rows_at_once);
        for (b, (users, out)) in
            users.chunks(rows_at_once).zip(out.chunks_mut(rows_at_once * per_user)).enumerate()
        {
            let first = first_row + (b * rows_at_once) as u64;
            streams.clear();
            // Draw what each row would be given if nothing had to be rejected, and fetch the filter words ...
            for (r, (&user, out)) in users.iter().zip(out.chunks_mut(per_user)).enumerate() {
                let mut rng = Rng::keyed(seed, [epoch, first + r as u64]);
                streams.push(rng.clone());
                for item in out {
                    *item = rng.below(self.n_items);
                    self.prefetch(user, *item);
                }
            }
            // ... then redo from its start the rare row in which something was.
            for ((&user, out), rng) in users.iter().zip(out.chunks_mut(per_user)).zip(&mut streams)
            {
                let clean =
                    self.rejects(user) && !out.iter().any(|&item| self.contains(user, item));
                if !clean {
                    for item in out.iter_mut() {
                        *item = self.negative(user, rng).unwrap_or(NO_ITEM);
                    }
                    without += usize::from(out[0] == NO_ITEM);
                }
            }
        }
        without
    }

    /// Number of pairs of the users before this one.
    pub(super) fn start(&self, user: usize) -> usize {
        self.starts[user]
    }

    /// The first user before whom there are at least this many pairs.
    pub(super) fn first_user_at(&self, pairs: usize) -> usize {
        self.starts.partition_point(|&start| start < pairs)
    }

    /// Prefetches what [`Positives::contains`] will read first.
    #[inline(always)]
    pub(super) fn prefetch(&self, user: u32, item: u32) {
        prefetch(&self.filter[place(user, item, self.filter.len()).0]);
    }

    /// Whether drawing until an unseen item comes is the way for this user; if not, the catalogue may be exhausted.
    #[inline(always)]
    fn rejects(&self, user: u32) -> bool {
        self.of(user).len() * 2 <= self.n_items as usize && self.n_items > 0
    }

    #[cold]
    #[inline(never)]
    fn contains_exactly(&self, user: u32, item: u32) -> bool {
        self.of(user).binary_search(&item).is_ok()
    }
}

/// Draws items without replacement. Holds the scratch space for it, so that a draw allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Distinct {
    excluded: Vec<u32>,
    taken: Vec<u64>,
}

impl Distinct {
    /// `k` distinct items of `0..n_items` that are in none of the `excluded` lists, every set and every order
    /// of it equally likely, appended to `out`; all there are, in random order, if those are fewer. Excluded
    /// lists may come in any order, overlap, repeat, and name items beyond the catalogue. Costs O(k + e log
    /// e) for e excluded items.
    ///
    /// Algorithm F of Bentley & Floyd ("A sample of brilliance", CACM 1987) over the ranks of the items that remain.
    pub fn draw(
        &mut self,
        n_items: u32,
        excluded: &[&[u32]],
        k: usize,
        rng: &mut Rng,
        out: &mut Vec<u32>,
    ) {
        self.excluded.clear();
        for list in excluded {
            self.excluded.extend(list.iter().filter(|&&item| item < n_items));
        }
        if !self.excluded.is_sorted() {
            self.excluded.sort_unstable();
        }
        self.excluded.dedup();
        let left = n_items - self.excluded.len() as u32;
        let k = left.min(u32::try_from(k).unwrap_or(u32::MAX));
        let words = left.div_ceil(64) as usize;
        if self.taken.len() < words {
            self.taken.resize(words, 0);
        }
        let start = out.len();
        for last in left - k..left {
            let drawn = rng.below(last + 1);
            let rank = if self.bit(drawn) { last } else { drawn };
            self.taken[rank as usize / 64] |= 1 << (rank % 64);
            out.push(rank);
        }
        for rank in &mut out[start..] {
            self.taken[*rank as usize / 64] = 0;
            *rank = nth_outside(&self.excluded, *rank);
        }
        rng.shuffle(&mut out[start..]); // Floyd's set is uniform, its order is not
    }

    fn bit(&self, rank: u32) -> bool {
        self.taken[rank as usize / 64] >> (rank % 64) & 1 == 1
    }
}

/// The number with `rank` smaller ones among the numbers that are not in `sorted` (distinct, ascending).
fn nth_outside(sorted: &[u32], rank: u32) -> u32 {
    // `sorted[j] - j` numbers outside lie below `sorted[j]`; all the j for which that is at most `rank` are
    // passed over.
    let (mut low, mut high) = (0, sorted.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if sorted[middle] - middle as u32 <= rank {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    rank + low as u32
}

/// The filter word of a pair (of a power of two of words) and its four bits there.
#[inline(always)]
fn place(user: u32, item: u32, words: usize) -> (usize, u64) {
    let hash = mix(u64::from(user) << 32 | u64::from(item));
    let bits =
        1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63) | 1 << (hash >> 18 & 63);
    ((hash >> 24) as usize & (words - 1), bits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 200 users over 60 items: user u has seen u % 61 of them, so the last ones have seen all.
    fn histories() -> Vec<Vec<u32>> {
        (0..200).map(|u| Rng::keyed(3, [u]).permutation(60)[..u as usize % 61].to_vec()).collect()
    }

    fn positives(histories: &[Vec<u32>]) -> Positives {
        Positives::new(histories.iter().map(Vec::as_slice), 60)
    }

    #[test]
    fn membership_agrees_with_a_search() {
        let histories = histories();
        let positives = positives(&histories);
        assert_eq!(positives.n_users(), 200);
        assert_eq!(positives.len(), histories.iter().map(Vec::len).sum::<usize>());
        for (user, history) in histories.iter().enumerate() {
            for item in 0..60 {
                assert_eq!(positives.contains(user as u32, item), history.contains(&item));
            }
            assert!(positives.of(user as u32).is_sorted());
        }
    }

    #[test]
    fn repeats_and_disorder_in_a_history_do_not_matter() {
        let positives = Positives::new([&[5, 1, 5, 1][..], &[], &[1]], 6);
        assert_eq!(positives.of(0), [1, 5]);
        assert!(positives.of(1).is_empty());
        assert_eq!(positives.of(2), [1]);
        assert!(!positives.is_empty());
    }

    #[test]
    fn many_negatives_are_those_that_come_one_by_one() {
        let histories = histories();
        let positives = positives(&histories);
        let mut seen = Vec::new();
        for user in 0..200 {
            let (mut one_by_one, mut at_once) = (Rng::keyed(5, [1]), Rng::keyed(5, [1]));
            let expected: Vec<u32> =
                (0..90).map_while(|_| positives.negative(user, &mut one_by_one)).collect();
            let mut found = vec![7];
            positives.many_negatives(user, 90, &mut at_once, &mut seen, &mut found);
            assert_eq!(found[1..], expected, "user {user}");
            assert_eq!(one_by_one.next_u32(), at_once.next_u32());
        }
    }

    #[test]
    fn the_filter_lets_few_pairs_through() {
        let histories: Vec<Vec<u32>> =
            (0..2000).map(|u| Rng::keyed(1, [u]).permutation(5000)[..50].to_vec()).collect();
        let positives = Positives::new(histories.iter().map(Vec::as_slice), 5000);
        let mut rng = Rng::new(4);
        let mut wrong = 0;
        for _ in 0..200_000 {
            let (user, item) = (rng.below(2000), rng.below(5000));
            let (word, bits) = place(user, item, positives.filter.len());
            wrong += u32::from(
                positives.filter[word] & bits == bits && !positives.contains_exactly(user, item),
            );
        }
        assert!(wrong < 200_000 / 100, "{wrong} false positives in 200,000");
    }

    #[test]
    fn negatives_are_unseen_and_uniform_for_short_and_for_long_histories() {
        let histories = histories();
        let positives = positives(&histories);
        for user in [0u32, 5, 30, 31, 55, 59] {
            let mut counts = [0u32; 60];
            let mut rng = Rng::keyed(8, [u64::from(user)]);
            for _ in 0..60_000 {
                counts[positives.negative(user, &mut rng).unwrap() as usize] += 1;
            }
            let unseen = 60 - histories[user as usize].len();
            for (item, &count) in counts.iter().enumerate() {
                if histories[user as usize].contains(&(item as u32)) {
                    assert_eq!(count, 0);
                } else {
                    let expected = 60_000.0 / unseen as f64;
                    assert!((f64::from(count) - expected).abs() < 4.5 * expected.sqrt().max(1.0));
                }
            }
        }
        assert_eq!(positives.negative(60, &mut Rng::new(1)), None);
        let nothing = Positives::new([&[][..]], 0);
        assert_eq!(nothing.negative(0, &mut Rng::new(1)), None);
        let mut out = [0; 2];
        assert_eq!(nothing.negatives(1, 1, 0, &[0, 0], 1, &mut out), 2);
        assert_eq!(out, [NO_ITEM; 2]);
    }

    #[test]
    fn a_batch_gives_what_single_draws_give_wherever_it_is_cut() {
        let histories = histories();
        let positives = positives(&histories);
        let mut rng = Rng::new(2);
        let users: Vec<u32> = (0..1000).map(|_| rng.below(200)).collect();
        for per_user in [1, 3, 200] {
            let mut whole = vec![0; 1000 * per_user];
            let without = positives.negatives(7, 2, 40, &users, per_user, &mut whole);
            assert_eq!(
                without,
                users.iter().filter(|&&u| histories[u as usize].len() == 60).count()
            );
            for (r, (&user, row)) in users.iter().zip(whole.chunks(per_user)).enumerate() {
                let mut rng = Rng::keyed(7, [2, 40 + r as u64]);
                for &item in row {
                    assert_eq!(item, positives.negative(user, &mut rng).unwrap_or(NO_ITEM));
                }
            }
            let mut part = vec![0; 300 * per_user];
            positives.negatives(7, 2, 140, &users[100..400], per_user, &mut part);
            assert_eq!(part, whole[100 * per_user..400 * per_user]);
        }
    }

    #[test]
    fn every_ordered_sample_without_replacement_is_equally_likely() {
        // 2 of {0, 2, 4, 5}: 12 ordered samples.
        let mut counts = [0u32; 36];
        let mut distinct = Distinct::default();
        let mut out = Vec::new();
        for row in 0..120_000 {
            out.clear();
            distinct.draw(6, &[&[3], &[9, 1, 3]], 2, &mut Rng::keyed(1, [row]), &mut out);
            counts[(out[0] * 6 + out[1]) as usize] += 1;
        }
        let seen: Vec<f64> = counts.iter().filter(|&&c| c > 0).map(|&c| f64::from(c)).collect();
        assert_eq!(seen.len(), 12);
        assert!(seen.iter().all(|c| (c - 10_000.0).abs() < 450.0), "{seen:?}");
    }

    #[test]
    fn samples_without_replacement_are_distinct_and_exhaust_what_is_left() {
        let mut distinct = Distinct::default();
        let mut rng = Rng::new(6);
        for n_items in [1u32, 64, 65, 300] {
            let excluded = rng.permutation(n_items)[..n_items as usize / 3].to_vec();
            for k in [0, 1, 40, 1000] {
                let mut out = vec![77];
                distinct.draw(n_items, &[&excluded], k, &mut rng, &mut out);
                assert_eq!(out.remove(0), 77);
                assert_eq!(out.len(), k.min(n_items as usize - excluded.len()));
                assert!(out.iter().all(|item| *item < n_items && !excluded.contains(item)));
                out.sort_unstable();
                assert!(out.windows(2).all(|w| w[0] < w[1]));
            }
        }
    }
}
