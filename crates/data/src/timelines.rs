//! A log grouped by user, each user's rows in order of time: what filters and splits work on.

use rankstill_core::{ItemId, TimeUnit};
use rayon::prelude::*;
use std::ops::Range;

use crate::part::Part;

/// The rows of user `u` are `starts[u]..starts[u + 1]` of every column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timelines {
    /// Size of the catalogue.
    pub n_items: usize,
    /// Where each user's rows begin; one entry more than there are users.
    pub starts: Vec<usize>,
    /// Items, oldest first; ties and logs without times in file order.
    pub items: Vec<ItemId>,
    /// Parallel to `items`.
    pub times: Option<Vec<i64>>,
    /// The unit of the times.
    pub time_unit: TimeUnit,
    /// Parallel to `items`.
    pub weights: Option<Vec<f32>>,
    /// Parallel to `items`: the part of each row, for a log with a ready-made split.
    pub parts: Option<Vec<Part>>,
}

impl Timelines {
    /// Groups a log in file order by user and sorts each user's rows by time; ties keep the file order.
    ///
    /// `users` and `items` hold dense ids below `n_users` and `n_items`; all columns are equally long.
    #[must_use]
    pub fn group(n_users: usize, n_items: usize, users: Vec<u32>, columns: LogColumns) -> Self {
        debug_assert!(users.iter().all(|&user| (user as usize) < n_users));
        let mut starts = vec![0; n_users + 1];
        for &user in &users {
            starts[user as usize + 1] += 1;
        }
        for user in 0..n_users {
            starts[user + 1] += starts[user];
        }
        // Dense ids count first appearances, so a file written user by user is sorted already: nothing to move.
        let columns = if users.is_sorted() { columns } else { scatter(&starts, &users, columns) };
        drop(users);
        let LogColumns { items, times, time_unit, weights, parts } = columns;
        let mut lines = Self { n_items, starts, items, times, time_unit, weights, parts };
        if lines.times.is_some() {
            lines.for_each_shard(|shard| shard.sort_by_time());
        }
        lines
    }

    /// Users, with or without rows.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The rows of a user.
    #[must_use]
    pub fn range(&self, user: usize) -> Range<usize> {
        self.starts[user]..self.starts[user + 1]
    }

    /// Runs `f` on disjoint ranges of users in parallel. What `f` does to a user must not depend on the range.
    pub(crate) fn for_each_shard<R: Send>(
        &mut self,
        f: impl Fn(Shard<'_>) -> R + Send + Sync,
    ) -> Vec<R> {
        let ranges = shards(&self.starts, rayon::current_num_threads());
        let mut rest = Shard {
            users: 0..0,
            starts: &self.starts,
            items: &mut self.items,
            times: self.times.as_deref_mut(),
            weights: self.weights.as_deref_mut(),
            parts: self.parts.as_deref_mut(),
        };
        let mut cut = Vec::with_capacity(ranges.len());
        for users in ranges {
            let rows = self.starts[users.end] - self.starts[users.start];
            let (first, tail) = rest.split_at(users, rows);
            cut.push(first);
            rest = tail;
        }
        cut.into_par_iter().map(f).collect()
    }

    /// Keeps the rows for which `keep(user, row)` holds, in order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize, usize) -> bool) {
        let mut end = 0;
        let mut start = 0;
        for user in 0..self.n_users() {
            let rows = start..self.starts[user + 1];
            start = rows.end;
            self.starts[user] = end;
            for row in rows {
                if keep(user, row) {
                    if end < row {
                        self.items[end] = self.items[row];
                        if let Some(times) = &mut self.times {
                            times[end] = times[row];
                        }
                        if let Some(weights) = &mut self.weights {
                            weights[end] = weights[row];
                        }
                        if let Some(parts) = &mut self.parts {
                            parts[end] = parts[row];
                        }
                    }
                    end += 1;
                }
            }
        }
        if let Some(last) = self.starts.last_mut() {
            *last = end;
        }
        self.items.truncate(end);
        if let Some(times) = &mut self.times {
            times.truncate(end);
        }
        if let Some(weights) = &mut self.weights {
            weights.truncate(end);
        }
        if let Some(parts) = &mut self.parts {
            parts.truncate(end);
        }
    }

    /// Drops users and items without rows and renumbers the others in the same order. Returns the old ids of
    /// both.
    pub(crate) fn renumber(&mut self) -> (Vec<u32>, Vec<u32>) {
        let users: Vec<u32> = (0..self.n_users() as u32)
            .filter(|&user| !self.range(user as usize).is_empty())
            .collect();
        let mut starts: Vec<usize> = users.iter().map(|&user| self.starts[user as usize]).collect();
        starts.push(self.items.len());
        self.starts = starts;

        let mut new_of = vec![0u32; self.n_items];
        for &item in &self.items {
            new_of[item as usize] = 1;
        }
        let items: Vec<u32> =
            (0..self.n_items as u32).filter(|&item| new_of[item as usize] == 1).collect();
        for (new, &old) in items.iter().enumerate() {
            new_of[old as usize] = new as u32;
        }
        self.items.par_chunks_mut(1 << 16).for_each(|chunk| {
            for item in chunk {
                *item = new_of[*item as usize];
            }
        });
        self.n_items = items.len();
        (users, items)
    }
}

/// The columns of a log except its users, equally long.
#[derive(Clone, Debug, Default)]
pub struct LogColumns {
    /// Dense ids.
    pub items: Vec<ItemId>,
    /// Unix time, in `time_unit`.
    pub times: Option<Vec<i64>>,
    /// The unit of the times.
    pub time_unit: TimeUnit,
    /// Ratings or counts.
    pub weights: Option<Vec<f32>>,
    /// The part of each row, for a log with a ready-made split.
    pub parts: Option<Vec<Part>>,
}

/// The columns of a range of users; `starts` is that of the whole log.
pub(crate) struct Shard<'a> {
    pub users: Range<usize>,
    pub starts: &'a [usize],
    pub items: &'a mut [ItemId],
    pub times: Option<&'a mut [i64]>,
    pub weights: Option<&'a mut [f32]>,
    pub parts: Option<&'a mut [Part]>,
}

impl<'a> Shard<'a> {
    /// Splits off the first `rows` rows as the shard of `users`.
    fn split_at(self, users: Range<usize>, rows: usize) -> (Self, Self) {
        fn cut<T>(column: Option<&mut [T]>, at: usize) -> (Option<&mut [T]>, Option<&mut [T]>) {
            column.map(|c| c.split_at_mut(at)).unzip()
        }
        let starts = self.starts;
        let (items, items_rest) = self.items.split_at_mut(rows);
        let (times, times_rest) = cut(self.times, rows);
        let (weights, weights_rest) = cut(self.weights, rows);
        let (parts, parts_rest) = cut(self.parts, rows);
        let rest = Self {
            users: users.end..users.end,
            starts,
            items: items_rest,
            times: times_rest,
            weights: weights_rest,
            parts: parts_rest,
        };
        (Self { users, starts, items, times, weights, parts }, rest)
    }

    /// The user's rows within this shard's columns.
    pub fn range(&self, user: usize) -> Range<usize> {
        let base = self.starts[self.users.start];
        self.starts[user] - base..self.starts[user + 1] - base
    }

    fn sort_by_time(mut self) {
        let mut order = Vec::new();
        for user in self.users.clone() {
            let range = self.range(user);
            let Some(times) = &self.times else { return };
            if times[range.clone()].is_sorted() {
                continue;
            }
            order.clear();
            order.extend(times[range.clone()].iter().copied().zip(0u32..));
            order.sort_unstable(); // by time, then by position in the file
            self.permute(range, order.iter().map(|&(_, at)| at as usize));
        }
    }

    /// Reorders the rows of `range`: new row `k` is old row `order[k]`, counted from the start of the range.
    pub fn permute(&mut self, range: Range<usize>, order: impl Iterator<Item = usize> + Clone) {
        fn apply<T: Copy>(column: &mut [T], order: impl Iterator<Item = usize>) {
            let old = column.to_vec();
            for (new, at) in column.iter_mut().zip(order) {
                *new = old[at];
            }
        }
        apply(&mut self.items[range.clone()], order.clone());
        if let Some(times) = &mut self.times {
            apply(&mut times[range.clone()], order.clone());
        }
        if let Some(weights) = &mut self.weights {
            apply(&mut weights[range.clone()], order.clone());
        }
        if let Some(parts) = &mut self.parts {
            apply(&mut parts[range], order);
        }
    }
}

/// Cuts the users into at most `n` ranges with about equally many rows.
pub(crate) fn shards(starts: &[usize], n: usize) -> Vec<Range<usize>> {
    let n_users = starts.len() - 1;
    let rows = starts[n_users];
    let mut ranges = Vec::with_capacity(n);
    let mut first = 0;
    for k in 1..=n {
        let end = if k == n {
            n_users
        } else {
            starts.partition_point(|&start| start < rows * k / n).min(n_users)
        };
        if end > first {
            ranges.push(first..end);
            first = end;
        }
    }
    ranges
}

/// Every shard of users reads the whole user column and copies its own rows: no two threads write to the same
/// row, and the rows of a user keep the file order.
fn scatter(starts: &[usize], users: &[u32], columns: LogColumns) -> LogColumns {
    let n = users.len();
    let mut lines = Timelines {
        n_items: 0,
        starts: starts.to_vec(),
        items: vec![0; n],
        times: columns.times.as_ref().map(|_| vec![0; n]),
        time_unit: columns.time_unit,
        weights: columns.weights.as_ref().map(|_| vec![0.0; n]),
        parts: columns.parts.as_ref().map(|_| vec![Part::Train; n]),
    };
    lines.for_each_shard(|shard| {
        let Shard { users: own, starts, items, mut times, mut weights, mut parts } = shard;
        let base = starts[own.start];
        let mut next: Vec<usize> = starts[own.clone()].iter().map(|start| start - base).collect();
        let own = own.start as u32..own.end as u32;
        for (row, user) in users.iter().enumerate() {
            if !own.contains(user) {
                continue;
            }
            let next = &mut next[(user - own.start) as usize];
            let to = *next;
            *next += 1;
            items[to] = columns.items[row];
            if let (Some(to_times), Some(from)) = (&mut times, &columns.times) {
                to_times[to] = from[row];
            }
            if let (Some(to_weights), Some(from)) = (&mut weights, &columns.weights) {
                to_weights[to] = from[row];
            }
            if let (Some(to_parts), Some(from)) = (&mut parts, &columns.parts) {
                to_parts[to] = from[row];
            }
        }
    });
    let Timelines { items, times, time_unit, weights, parts, .. } = lines;
    LogColumns { items, times, time_unit, weights, parts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_go_by_user_then_time_then_place_in_the_file() {
        let columns = LogColumns {
            items: vec![5, 6, 7, 8, 9],
            times: Some(vec![30, 1, 10, 10, 5]),
            weights: Some(vec![0.5, 0.6, 0.7, 0.8, 0.9]),
            ..LogColumns::default()
        };
        let lines = Timelines::group(3, 10, vec![0, 2, 0, 0, 2], columns);
        assert_eq!(lines.starts, [0, 3, 3, 5]);
        assert_eq!(lines.items, [7, 8, 5, 6, 9], "7 and 8 tie at time 10: the file's order");
        assert_eq!(lines.weights, Some(vec![0.7, 0.8, 0.5, 0.6, 0.9]));
        assert_eq!(lines.times, Some(vec![10, 10, 30, 1, 5]));
    }

    #[test]
    fn shards_cover_every_user_once() {
        let starts = [0, 0, 100, 101, 102, 102, 110];
        for n in 1..9 {
            let ranges = shards(&starts, n);
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, 6);
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
        assert!(shards(&[0], 3).is_empty());
    }

    proptest! {
        #[test]
        fn grouping_is_a_stable_sort(rows in prop::collection::vec((0u32..6, 0u32..9, 0i64..5), 0..60)) {
            let columns = LogColumns {
                items: rows.iter().map(|row| row.1).collect(),
                times: Some(rows.iter().map(|row| row.2).collect()),
                ..LogColumns::default()
            };
            let lines = Timelines::group(6, 9, rows.iter().map(|row| row.0).collect(), columns);
            let mut sorted = rows;
            sorted.sort_by_key(|row| (row.0, row.2));
            prop_assert_eq!(&lines.items, &sorted.iter().map(|row| row.1).collect::<Vec<_>>());
            prop_assert_eq!(lines.times.clone(), Some(sorted.iter().map(|row| row.2).collect::<Vec<_>>()));
            for user in 0..6 {
                let n = sorted.iter().filter(|row| row.0 == user as u32).count();
                prop_assert_eq!(lines.range(user).len(), n);
            }
        }
    }
}
