//! Filters on a log, and a report of what each removed.
//!
//! Filters run in this order, each on the result of the one before:
//! 1. `from`, `to`: the time window;
//! 2. rows of weight 0, which are no interactions (unless `zero_weights = "keep"`), and `min_rating`;
//! 3. `duplicates`: one row per user and item (and part, for a ready-made split: the leakage audit must
//!    report a pair that occurs in two parts, so the filter does not hide it);
//! 4. `min_user_count`, `min_item_count`: applied once, both counted on the same rows;
//! 5. `user_core`, `item_core`: applied repeatedly until every remaining user and item has that many rows.
//!    The result does not depend on the order of removal (Batagelj & Zaversnik 2003, generalised to a
//!    bipartite graph with two bounds).
//!
//! Between 2 and 3 the log is grouped by user and sorted by time, so "first" and "last" mean the earliest and
//! the latest row. Ties and logs without times keep the file order.

use crate::timelines::{LogColumns, Timelines};
use crate::{Error, Instant, Result};
use rankstill_core::text_table::{TextTable, thousands};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use rayon::prelude::*;

/// Which rows of a log are kept. The default only drops duplicates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Keeps rows at this time or later: a date, a date and time, or Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// Keeps rows before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Instant>,
    /// What to do with rows whose rating (weight) is 0.
    #[serde(skip_serializing_if = "ZeroWeights::is_default")]
    pub zero_weights: ZeroWeights,
    /// Keeps rows with this rating (weight) or a higher one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rating: Option<f32>,
    /// What to do when a user interacted with an item more than once.
    pub duplicates: Duplicates,
    /// Drops users with fewer rows, once.
    pub min_user_count: u32,
    /// Drops items with fewer rows, once.
    pub min_item_count: u32,
    /// Drops users until each has this many rows.
    pub user_core: u32,
    /// Drops items until each has this many rows.
    pub item_core: u32,
}

/// What rows of weight 0 are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroWeights {
    /// No interactions: a `label` of 0 says that the user did not choose the item.
    #[default]
    Drop,
    /// Interactions like any other.
    Keep,
}

impl ZeroWeights {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which of several rows of the same user and item is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// The earliest.
    #[default]
    First,
    /// The latest.
    Last,
    /// All of them.
    All,
}

/// What each filter removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterReport {
    /// In order of execution; the first entry is the log as read.
    pub steps: Vec<FilterStep>,
}

/// The effect of one filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterStep {
    /// The filter and its setting, such as `user_core 10, item_core 10`.
    pub filter: String,
    /// What it removed.
    pub removed: LogSize,
    /// What remained.
    pub left: LogSize,
}

/// A filter, as [`Filter::apply`] runs them, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// None yet.
    AsRead,
    /// `from` and `to`.
    Window,
    /// `zero_weights`.
    ZeroWeights,
    /// `min_rating`.
    MinRating,
    /// `duplicates`.
    Duplicates,
    /// `min_user_count` and `min_item_count`.
    MinCount,
    /// `user_core` and `item_core`.
    Core,
}

/// The size of a log; only users and items with rows are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSize {
    /// Interactions.
    pub rows: usize,
    /// Users with at least one interaction.
    pub users: usize,
    /// Items with at least one interaction.
    pub items: usize,
}

/// A log in file order with dense ids, without the original ids.
#[derive(Clone, Debug, Default)]
pub struct DenseLog {
    /// Users, with or without rows.
    pub n_users: usize,
    /// Items, with or without rows.
    pub n_items: usize,
    /// Dense ids below `n_users`, one per row.
    pub users: Vec<u32>,
    /// The other columns, as long as `users`.
    pub columns: LogColumns,
}

/// The filtered log, in new dense ids.
#[derive(Clone, Debug)]
pub struct FilteredLog {
    /// Grouped by user and sorted by time; without users and items that have no rows.
    pub lines: Timelines,
    /// For each new user, the id before filtering.
    pub users: Vec<u32>,
    /// For each new item, the id before filtering.
    pub items: Vec<u32>,
    /// What each filter removed.
    pub report: FilterReport,
}

impl Filter {
    /// Runs all filters. New ids are in the order of the old ones.
    ///
    /// # Errors
    /// When a filter needs times or ratings that the log lacks, or nothing remains.
    pub fn apply(&self, mut rows: DenseLog) -> Result<FilteredLog> {
        self.check(&rows)?;
        let mut report = FilterReport::default();
        report.push(self, Step::AsRead, rows.counts());
        if self.from.is_some() || self.to.is_some() {
            let unit = rows.columns.time_unit;
            let from = self.from.map_or(i64::MIN, |from| from.ticks(unit));
            let to = self.to.map_or(i64::MAX, |to| to.ticks(unit));
            // `to` is exclusive; without it even `i64::MAX` is kept.
            let open = self.to.is_none();
            rows.retain(|c, row| {
                let time = c.times.as_ref().map_or(0, |times| times[row]);
                time >= from && (open || time < to)
            });
            report.push(self, Step::Window, rows.counts());
        }
        let has_zeros = || rows.columns.weights.iter().flatten().any(|&weight| weight == 0.0);
        if self.zero_weights == ZeroWeights::Drop && has_zeros() {
            rows.retain(|c, row| c.weights.as_ref().is_none_or(|weights| weights[row] != 0.0));
            report.push(self, Step::ZeroWeights, rows.counts());
        }
        if let Some(least) = self.min_rating {
            rows.retain(|c, row| c.weights.as_ref().is_some_and(|weights| weights[row] >= least));
            report.push(self, Step::MinRating, rows.counts());
        }
        let DenseLog { n_users, n_items, users, columns } = rows;
        let mut lines = Timelines::group(n_users, n_items, users, columns);
        if self.duplicates != Duplicates::All {
            drop_duplicates(&mut lines, self.duplicates);
            report.push(self, Step::Duplicates, counts(&lines));
        }
        if self.min_user_count > 1 || self.min_item_count > 1 {
            drop_rare(&mut lines, self.min_user_count, self.min_item_count);
            report.push(self, Step::MinCount, counts(&lines));
        }
        if self.user_core > 1 || self.item_core > 1 {
            k_core(&mut lines, self.user_core, self.item_core);
            report.push(self, Step::Core, counts(&lines));
        }
        report.check()?;
        let (users, items) = lines.renumber();
        Ok(FilteredLog { lines, users, items, report })
    }

    /// The filter and its setting, as in [`FilterStep::filter`].
    fn name_of(&self, step: Step) -> String {
        match step {
            Step::AsRead => AS_READ.into(),
            Step::Window => window_name(self.from, self.to),
            Step::ZeroWeights => "weight 0".into(),
            Step::MinRating => format!("min_rating {}", self.min_rating.unwrap_or(f32::NAN)),
            Step::Duplicates if self.duplicates == Duplicates::First => "duplicates first".into(),
            Step::Duplicates => "duplicates last".into(),
            Step::MinCount => pair_name(
                ("min_user_count", self.min_user_count),
                ("min_item_count", self.min_item_count),
            ),
            Step::Core => pair_name(("user_core", self.user_core), ("item_core", self.item_core)),
        }
    }

    fn check(&self, rows: &DenseLog) -> Result<()> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(Error::config(
                "filter.to",
                format!("must be greater than filter.from = {from}, found {to}"),
            ));
        }
        let columns = &rows.columns;
        if (self.from.is_some() || self.to.is_some()) && columns.times.is_none() {
            let key = if self.from.is_some() { "filter.from" } else { "filter.to" };
            return Err(Error::config(key, "the log has no times"));
        }
        match self.min_rating {
            Some(least) if least.is_nan() => {
                Err(Error::config("filter.min_rating", "must be a number, found NaN"))
            }
            Some(_) if columns.weights.is_none() => {
                Err(Error::config("filter.min_rating", "the log has no ratings"))
            }
            _ => Ok(()),
        }
    }
}

impl DenseLog {
    fn counts(&self) -> LogSize {
        let mut seen = vec![false; self.n_users];
        for &user in &self.users {
            seen[user as usize] = true;
        }
        LogSize {
            rows: self.users.len(),
            users: seen.into_iter().filter(|&seen| seen).count(),
            items: distinct(&self.columns.items, self.n_items),
        }
    }

    /// Keeps the rows for which `keep` holds, in order.
    fn retain(&mut self, keep: impl Fn(&LogColumns, usize) -> bool + Sync) {
        let columns = &self.columns;
        let keep: Vec<bool> =
            (0..self.users.len()).into_par_iter().map(|row| keep(columns, row)).collect();
        fn compact<T>(column: &mut Vec<T>, keep: &[bool]) {
            let mut keep = keep.iter();
            column.retain(|_| keep.next() == Some(&true));
        }
        compact(&mut self.users, &keep);
        compact(&mut self.columns.items, &keep);
        if let Some(times) = &mut self.columns.times {
            compact(times, &keep);
        }
        if let Some(weights) = &mut self.columns.weights {
            compact(weights, &keep);
        }
        if let Some(parts) = &mut self.columns.parts {
            compact(parts, &keep);
        }
    }
}

impl FilterReport {
    /// Of a log that another program has filtered by these settings: how much each filter left.
    ///
    /// # Errors
    /// When nothing remains.
    pub fn of(filter: &Filter, left: &[(Step, LogSize)]) -> Result<Self> {
        let mut report = Self::default();
        left.iter().for_each(|&(step, left)| report.push(filter, step, left));
        report.check()?;
        Ok(report)
    }

    fn push(&mut self, filter: &Filter, step: Step, left: LogSize) {
        let before = self.steps.last().map_or(left, |step| step.left);
        let removed = LogSize {
            rows: before.rows.saturating_sub(left.rows),
            users: before.users.saturating_sub(left.users),
            items: before.items.saturating_sub(left.items),
        };
        self.steps.push(FilterStep { filter: filter.name_of(step), removed, left });
    }

    fn check(&self) -> Result<()> {
        match self.steps.iter().find(|step| step.left.rows == 0) {
            None => Ok(()),
            Some(step) if step.filter == AS_READ => {
                Err(Error::config("filter", "the log has no interactions"))
            }
            Some(step) => Err(Error::config(
                "filter",
                format!("`{}` removed all {} interactions", step.filter, step.removed.rows),
            )),
        }
    }
}

impl fmt::Display for FilterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = TextTable::new([
            "filter",
            "rows removed",
            "users removed",
            "items removed",
            "rows",
            "users",
            "items",
        ]);
        for FilterStep { filter, removed, left } in &self.steps {
            let numbers =
                [removed.rows, removed.users, removed.items, left.rows, left.users, left.items];
            table.push(std::iter::once(filter.clone()).chain(numbers.map(thousands)));
        }
        table.fmt(f)
    }
}

/// The first entry of a report.
const AS_READ: &str = "as read";
/// Marks rows to be dropped. No item has this id: vocabularies are smaller.
const GONE: u32 = u32::MAX;

fn drop_duplicates(lines: &mut Timelines, keep: Duplicates) {
    let n_items = lines.n_items;
    let found = lines.for_each_shard(|shard| {
        // For each item the last user and part that had it, as a mark that grows, so nothing needs clearing.
        let n_parts = if shard.parts.is_some() { 4 } else { 1 };
        let mut seen_by = vec![0u64; n_items];
        let mut found = false;
        for user in shard.users.clone() {
            let range = shard.range(user);
            for part in 0..n_parts {
                let mark = user as u64 * 4 + part + 1;
                let mut visit = |row: usize| {
                    if n_parts > 1 && shard.parts.as_ref().is_some_and(|p| p[row] as u64 != part) {
                        return;
                    }
                    let seen = &mut seen_by[shard.items[row] as usize];
                    if *seen == mark {
                        shard.items[row] = GONE;
                        found = true;
                    }
                    *seen = mark;
                };
                if keep == Duplicates::First {
                    range.clone().for_each(&mut visit);
                } else {
                    range.clone().rev().for_each(&mut visit);
                }
            }
        }
        found
    });
    if found.contains(&true) {
        drop_gone(lines);
    }
}

fn drop_gone(lines: &mut Timelines) {
    let keep: Vec<bool> = lines.items.par_iter().map(|&item| item != GONE).collect();
    lines.retain(|_, row| keep[row]);
}

fn drop_rare(lines: &mut Timelines, min_user: u32, min_item: u32) {
    let counts = popularity(&lines.items, lines.n_items);
    let starts = lines.starts.clone();
    let keep: Vec<bool> =
        lines.items.par_iter().map(|&item| counts[item as usize] >= min_item).collect();
    lines.retain(|user, row| keep[row] && starts[user + 1] - starts[user] >= min_user as usize);
}

/// Removes users and items alternately, in passes over all users. An item is gone as soon as its count falls
/// below the bound, so only users are marked. Threads may differ in *when* they see a count fall; the result
/// is the same.
fn k_core(lines: &mut Timelines, user_core: u32, item_core: u32) {
    let counts: Vec<AtomicU32> =
        popularity(&lines.items, lines.n_items).into_iter().map(AtomicU32::new).collect();
    let user_core = user_core.max(1) as usize;
    let stays = |item: &u32| counts[*item as usize].load(Relaxed) >= item_core;
    let mut live: Vec<u32> = (0..lines.n_users() as u32)
        .filter(|&user| !lines.range(user as usize).is_empty())
        .collect();
    loop {
        let removed = AtomicUsize::new(0);
        live.par_chunks_mut(1 << 10).for_each(|users| {
            for user in users {
                let items = &lines.items[lines.range(*user as usize)];
                if items.iter().filter(|item| stays(item)).count() < user_core {
                    for &item in items {
                        counts[item as usize].fetch_sub(1, Relaxed);
                    }
                    *user = GONE;
                    removed.fetch_add(1, Relaxed);
                }
            }
        });
        if removed.into_inner() == 0 {
            break;
        }
        live.retain(|&user| user != GONE);
    }
    let mut user_stays = vec![false; lines.n_users()];
    for user in live {
        user_stays[user as usize] = true;
    }
    let keep: Vec<bool> = lines.items.par_iter().map(stays).collect();
    lines.retain(|user, row| user_stays[user] && keep[row]);
}

fn popularity(items: &[u32], n_items: usize) -> Vec<u32> {
    let mut counts = vec![0; n_items];
    for &item in items {
        counts[item as usize] += 1;
    }
    counts
}

fn distinct(items: &[u32], n_items: usize) -> usize {
    let mut seen = vec![false; n_items];
    for &item in items {
        seen[item as usize] = true;
    }
    seen.into_iter().filter(|&seen| seen).count()
}

pub(crate) fn counts(lines: &Timelines) -> LogSize {
    LogSize {
        rows: lines.len(),
        users: lines.starts.windows(2).filter(|pair| pair[0] < pair[1]).count(),
        items: distinct(&lines.items, lines.n_items),
    }
}

fn window_name(from: Option<Instant>, to: Option<Instant>) -> String {
    let side = |name: &str, at: Option<Instant>| at.map(|at| format!("{name} {at}"));
    [side("from", from), side("to", to)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn pair_name(user: (&str, u32), item: (&str, u32)) -> String {
    let bounds = [user, item].into_iter().filter(|(_, bound)| *bound > 1);
    bounds.map(|(name, bound)| format!("{name} {bound}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
