//! Files of rankings, made by any system, with one row per user and item; and files of user-item pairs.
//!
//! ```
//! use rankstill_core::{Rankings, Vocab};
//! use rankstill_data::{ReadOptions, read_rankings, write_rankings};
//!
//! let users = Vocab::from_ids(["ann", "bob"])?;
//! let items = Vocab::from_ids(["x", "y", "z"])?;
//! let mut rankings = Rankings::default();
//! rankings.push([(2, 0.9), (0, 0.4)]); // for ann: z, x
//! rankings.push([(1, 0.7)]); // for bob: y
//!
//! let path = std::env::temp_dir().join(format!("rankings-{}.tsv", std::process::id()));
//! write_rankings(&path, &rankings, &[0, 1], &users, &items)?;
//! let file = read_rankings(&path, &users, &items, &ReadOptions::default())?;
//! assert_eq!(file.rankings, rankings);
//! assert_eq!(file.aligned(&[1, 0]).items(1), [2, 0]);
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod trec;

use crate::columns::{Column, ColumnKind, TableWriter};
use crate::format::{
    ColumnAliases, GRADED_ALIASES, LogFile, LogSource, Numbers, PAIR_ALIASES, RANKING_ALIASES,
    Rows, Understood, read_rows,
};
use crate::{Error, ReadOptions, Result};
use rankstill_core::{ItemId, Lists, Rankings, UserId, Vocab};
use std::path::{Path, PathBuf};
use trec::write_trec_run;

/// Rankings from a file, in the numbers of given vocabularies.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingsFile {
    /// Row *i* is the ranking of `users[i]`.
    pub rankings: Rankings,
    /// Ascending; users with at least one known item.
    pub users: Vec<UserId>,
    /// Rows that were dropped.
    pub dropped: Dropped,
    /// How the file was read.
    pub understood: Option<Understood>,
}

/// Users, items and rows of a file that were dropped because the vocabularies lack them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Unknown users.
    pub users: usize,
    /// Unknown items.
    pub items: usize,
    /// Rows with an unknown user or an unknown item.
    pub rows: usize,
}

impl RankingsFile {
    /// The row of the ranking of `user`, if there is one.
    #[must_use]
    pub fn row_of(&self, user: UserId) -> Option<usize> {
        self.users.binary_search(&user).ok()
    }

    /// The rankings of exactly these users, in this order; empty for users that the file lacks.
    #[must_use]
    pub fn aligned(&self, users: &[UserId]) -> Rankings {
        let mut out = Rankings::default();
        for &user in users {
            match self.row_of(user) {
                Some(row) => {
                    let items = self.rankings.items(row).iter().copied();
                    out.push(items.zip(self.rankings.scores(row).iter().copied()));
                }
                None => out.push([]),
            }
        }
        out
    }
}

/// Reads rankings: what [`LogSource`] finds at the path, in any of [`crate::FORMATS`] with columns for a user,
/// an item, and a rank or a score or both. Rows may be in any order.
///
/// Ranks decide if there are any, smallest first. They may start at any number and have gaps, but each may
/// occur only once per user, and scores must not rise from one rank to the next. Without ranks, and in a TREC
/// run (as in `trec_eval`), scores decide, highest first; ties keep the file order (in a TREC run, the rank).
/// Scores are compared as 64-bit floats and kept as 32-bit floats. Without scores, the item at position *p*
/// from 0 gets the score *-p*.
///
/// # Errors
/// For any problem with the file, with path and line; for an item or a rank that occurs twice for a user; for
/// scores that contradict the ranks.
pub fn read_rankings(
    path: &Path,
    user_ids: &Vocab,
    item_ids: &Vocab,
    options: &ReadOptions,
) -> Result<RankingsFile> {
    RankingRows::read(path, options)?.into_rankings(user_ids, item_ids)
}

/// The rows of a file of rankings, with the ids of the file.
#[derive(Clone, Debug)]
pub struct RankingRows {
    path: PathBuf,
    users: Vec<u32>,
    items: Vec<u32>,
    ranks: Option<Vec<i64>>,
    scores: Option<Vec<f64>>,
    /// The users of the file.
    pub user_ids: Vocab,
    /// The items of the file.
    pub item_ids: Vocab,
    /// How the file was read.
    pub understood: Option<Understood>,
}

impl RankingRows {
    /// Reads the file; see [`read_rankings`].
    ///
    /// # Errors
    /// For any problem with the file, with path and line.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self> {
        let (rows, understood) = rows(path, options, &RANKING_ALIASES)?;
        Ok(Self::of_rows(path.to_path_buf(), rows, understood))
    }

    /// `path` stands for the rows in messages.
    pub(crate) fn of_rows(path: PathBuf, rows: Rows, understood: Option<Understood>) -> Self {
        Self {
            path,
            users: rows.users,
            items: rows.items,
            ranks: rows.times,
            scores: rows.weights.map(Numbers::into_f64),
            user_ids: rows.user_ids,
            item_ids: rows.item_ids,
            understood,
        }
    }

    /// The rankings in the numbers of these vocabularies.
    ///
    /// # Errors
    /// As [`read_rankings`].
    pub fn into_rankings(self, user_ids: &Vocab, item_ids: &Vocab) -> Result<RankingsFile> {
        let path = &self.path;
        let is_run =
            self.understood.as_ref().is_some_and(|found| found.layout.format == "trec_run");
        let by = match (&self.ranks, &self.scores) {
            _ if is_run => RankingOrder::ScoreThenRank,
            (Some(_), _) => RankingOrder::Rank,
            (None, Some(_)) => RankingOrder::Score,
            (None, None) => {
                let problem = "no rank or score column, expected `rank` or `score` (name it with `columns.rank` or `columns.score`)";
                return Err(Error::file(path, problem));
            }
        };
        let log = &self;
        let users = renumber(&log.user_ids, user_ids);
        let items = renumber(&log.item_ids, item_ids);
        let dropped = dropped((&log.users, &users), (&log.items, &items));
        let kept = |&row: &usize| {
            users[log.users[row] as usize].is_some() && items[log.items[row] as usize].is_some()
        };
        let mut rows: Vec<usize> = (0..log.users.len()).filter(kept).collect();
        let rank = |row: usize| log.ranks.as_ref().map_or(0, |ranks| ranks[row]);
        let score = |row: usize| log.scores.as_ref().map_or(0.0, |scores| scores[row]);
        // A stable sort, so that ties keep the file order.
        rows.sort_by(|&a, &b| {
            let by_user = users[log.users[a] as usize].cmp(&users[log.users[b] as usize]);
            let by_score = || score(b).total_cmp(&score(a));
            let by_rank = || rank(a).cmp(&rank(b));
            by_user.then_with(|| match by {
                RankingOrder::Rank => by_rank(),
                RankingOrder::Score => by_score(),
                RankingOrder::ScoreThenRank => by_score().then_with(by_rank),
            })
        });
        let mut out = RankingsFile {
            rankings: Rankings::default(),
            users: Vec::new(),
            dropped,
            understood: None,
        };
        let mut last_seen = vec![UserId::MAX; item_ids.len()];
        for rows in rows.chunk_by(|&a, &b| log.users[a] == log.users[b]) {
            let Some(user) = users[log.users[rows[0]] as usize] else { continue };
            let wrong = |problem: String| {
                Error::file(path, format!("user `{}`: {problem}", user_ids.id(user)))
            };
            for pair in rows.windows(2) {
                let (before, after) = (pair[0], pair[1]);
                if matches!(by, RankingOrder::Rank) && rank(before) == rank(after) {
                    let rows = both(before, after);
                    return Err(wrong(format!("rank {} occurs twice, in {rows}", rank(after))));
                }
                if score(after) > score(before) {
                    let (rows, before, after) = (both(before, after), score(before), score(after));
                    return Err(wrong(format!(
                        "the score rises from {before} to {after} at the next rank, in {rows}"
                    )));
                }
            }
            let mut ranked = Vec::with_capacity(rows.len());
            for (position, &row) in rows.iter().enumerate() {
                let Some(item) = items[log.items[row] as usize] else { continue };
                if std::mem::replace(&mut last_seen[item as usize], user) == user {
                    let first =
                        rows.iter().find(|&&other| items[log.items[other] as usize] == Some(item));
                    let rows = both(*first.unwrap_or(&row), row);
                    return Err(wrong(format!(
                        "item `{}` occurs twice, in {rows}",
                        item_ids.id(item)
                    )));
                }
                let score =
                    if log.scores.is_some() { score(row) as f32 } else { -(position as f32) };
                ranked.push((item, score));
            }
            out.users.push(user);
            out.rankings.push(ranked);
        }
        out.understood = self.understood;
        Ok(out)
    }
}

/// Two rows for a message: counted from 1, without the header and blank lines.
fn both(a: usize, b: usize) -> String {
    format!("rows {} and {}", a.min(b) + 1, a.max(b) + 1)
}

#[derive(Clone, Copy)]
enum RankingOrder {
    Rank,
    Score,
    ScoreThenRank,
}

/// User-item pairs (items already seen, or targets) as one list per user of `user_ids`: row *u* holds the
/// known items of user *u* in file order. Repeated pairs are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct UserItemPairs {
    /// One row per user of the vocabulary.
    pub items: Lists<ItemId>,
    /// Rows that were dropped.
    pub dropped: Dropped,
    /// How the file was read.
    pub understood: Option<Understood>,
}

/// Reads pairs from a file in any of [`crate::FORMATS`]; it may consist of a header only.
///
/// # Errors
/// For any problem with the file, with path and line.
pub fn read_pairs(
    path: &Path,
    user_ids: &Vocab,
    item_ids: &Vocab,
    options: &ReadOptions,
) -> Result<UserItemPairs> {
    let LogFile { log, understood } = read_pair_log(path, options)?;
    let users = renumber(&log.user_ids, user_ids);
    let items = renumber(&log.item_ids, item_ids);
    let mut starts = vec![0; user_ids.len() + 1];
    let known = || {
        let rows = log.users.iter().zip(&log.items);
        rows.filter_map(|(&user, &item)| users[user as usize].zip(items[item as usize]))
    };
    for (user, _) in known() {
        starts[user as usize + 1] += 1;
    }
    for user in 0..user_ids.len() {
        starts[user + 1] += starts[user];
    }
    let mut next = starts.clone();
    let mut values = vec![0; starts[user_ids.len()]];
    for (user, item) in known() {
        let at = &mut next[user as usize];
        values[*at] = item;
        *at += 1;
    }
    let dropped = dropped((&log.users, &users), (&log.items, &items));
    let items = Lists::from_parts(starts, values)
        .ok_or_else(|| Error::file(path, "the rows cannot be grouped by user"))?;
    Ok(UserItemPairs { items, dropped, understood })
}

/// Reads pairs with their own vocabularies, for evaluation from files alone. Times and weights are not read;
/// the log may be empty.
///
/// # Errors
/// For any problem with the file, with path and line.
pub fn read_pair_log(path: &Path, options: &ReadOptions) -> Result<LogFile> {
    let (rows, understood) = rows(path, options, &PAIR_ALIASES)?;
    Ok(LogFile { log: rows.into_log(), understood })
}

fn rows(
    path: &Path,
    options: &ReadOptions,
    aliases: &'static ColumnAliases,
) -> Result<(Rows, Option<Understood>)> {
    read_rows(&LogSource::open(path)?, options, aliases, &mut |_, _| ())
}

/// Reads test interactions with their grades: as [`read_pair_log`], with the weight column (rating, grade,
/// count, ...) if there is one.
///
/// # Errors
/// For any problem with the file, with path and line.
pub fn read_graded_log(path: &Path, options: &ReadOptions) -> Result<LogFile> {
    let (rows, understood) = rows(path, options, &GRADED_ALIASES)?;
    Ok(LogFile { log: rows.into_log(), understood })
}

/// Writes rankings, row *i* for `users[i]`: `user_id item_id rank score` as Parquet, TSV, CSV or JSON lines
/// by the extension, ranks from 1; or, with the extension `.trec` or `.run`, a TREC run, whose ids must not
/// contain spaces.
///
/// # Errors
/// When there is not one user per row, a number is not in its vocabulary, or the file cannot be written.
pub fn write_rankings(
    path: &Path,
    rankings: &Rankings,
    users: &[UserId],
    user_ids: &Vocab,
    item_ids: &Vocab,
) -> Result<()> {
    if users.len() != rankings.len() {
        let problem =
            format!("expected {} users, one per ranking, found {}", rankings.len(), users.len());
        return Err(Error::config("users", problem));
    }
    for (name, numbers, ids) in
        [("users", users, user_ids), ("items", rankings.lists().values(), item_ids)]
    {
        if let Some(number) = numbers.iter().find(|&&number| number as usize >= ids.len()) {
            return Err(Error::config(
                name,
                format!("id number {number}, but there are only {} ids", ids.len()),
            ));
        }
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    if matches!(extension, Some("trec" | "run")) {
        return write_trec_run(path, rankings, users, user_ids, item_ids);
    }
    let columns = [
        ("user_id", Column::kind_of_ids(user_ids)),
        ("item_id", Column::kind_of_ids(item_ids)),
        ("rank", ColumnKind::U32),
        ("score", ColumnKind::F32),
    ];
    let mut writer = TableWriter::create(path, &columns)?;
    // Rows per chunk, to bound memory.
    const CHUNK: usize = 1 << 16;
    let mut row = 0;
    while row < rankings.len() {
        let (mut of, mut ranks) = (Vec::new(), Vec::new());
        let first = rankings.lists().range(row).start;
        while row < rankings.len() && of.len() < CHUNK {
            let length = rankings.items(row).len();
            of.extend(std::iter::repeat_n(users[row], length));
            ranks.extend(1..=length as u32);
            row += 1;
        }
        let values = first..first + of.len();
        writer.write(&[
            Column::of_ids(user_ids, &of),
            Column::of_ids(item_ids, &rankings.lists().values()[values.clone()]),
            Column::U32(ranks),
            Column::F32(rankings.all_scores()[values].to_vec()),
        ])?;
    }
    writer.finish()
}

/// For each number in `from`, the number of the same id in `to`.
fn renumber(from: &Vocab, to: &Vocab) -> Vec<Option<u32>> {
    match from.as_ints() {
        Some(ids) => ids.iter().map(|&id| to.get_int(id)).collect(),
        None => from.iter().map(|id| to.get(&id)).collect(),
    }
}

/// Counts what is unknown; each side is the numbers of the rows, and what each of these is in the vocabulary.
fn dropped(
    (row_users, users): (&[u32], &[Option<u32>]),
    (row_items, items): (&[u32], &[Option<u32>]),
) -> Dropped {
    let unknown = |ids: &[Option<u32>]| ids.iter().filter(|id| id.is_none()).count();
    let rows = row_users.iter().zip(row_items);
    let lost = rows
        .filter(|&(&user, &item)| users[user as usize].is_none() || items[item as usize].is_none());
    Dropped { users: unknown(users), items: unknown(items), rows: lost.count() }
}

#[cfg(test)]
mod tests;
