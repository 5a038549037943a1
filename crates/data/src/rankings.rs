//! Rankings files: what any system answered, a row per user and item; and plain pairs of users and items.

use crate::columns::{Column, ColumnKind, TableFormat, TableWriter};
use crate::format::{LineReader, OpenFile, PAIR_ALIASES, RANKING_ALIASES, read_with};
use crate::{Error, Log, ReadOptions, Result};
use rankstill_core::{ItemId, Lists, Rankings, UserId, Vocab};
use std::path::Path;

/// Rankings from a file, in the numbers of given vocabularies.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingsFile {
    /// Row *i* is the answer for `users[i]`.
    pub rankings: Rankings,
    /// Ascending; only users with at least one known item.
    pub users: Vec<UserId>,
    /// What was left out.
    pub dropped: Dropped,
}

/// What a file holds that the vocabularies do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Users that are unknown.
    pub users: usize,
    /// Items that are unknown.
    pub items: usize,
    /// Rows with an unknown user or an unknown item.
    pub rows: usize,
}

impl RankingsFile {
    /// The answer's row for `user`, if there is one.
    #[must_use]
    pub fn row_of(&self, user: UserId) -> Option<usize> {
        self.users.binary_search(&user).ok()
    }

    /// Answers for exactly these users, in this order; nothing for those the file does not have.
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

/// Reads rankings: a table (any of [`crate::FORMATS`] with named columns) with a user, an item, and a rank or a score or both;
/// or a TREC run (`user Q0 item rank score tag`; by guess, or with the format `trec`). Rows may stand in any order.
///
/// Where there are ranks they decide, smallest first; they need not begin at any number nor be without gaps, but no user may have
/// one twice, and scores must not rise from one rank to the next. Without ranks, and in a TREC run as `trec_eval` has it, scores
/// decide, highest first; what is equal keeps the order of the file (in a TREC run, of the rank). Scores are compared as 32-bit
/// floats. Without scores, the item at position *p* from 0 gets the score *-p*.
///
/// # Errors
/// Whatever is wrong with the file, with path and line; an item that stands twice for one user; a rank that does; scores that
/// contradict ranks.
pub fn read_rankings(
    path: &Path,
    user_ids: &Vocab,
    item_ids: &Vocab,
    options: &ReadOptions,
) -> Result<RankingsFile> {
    let (log, by) = match trec_run(path, options)? {
        Some(log) => (log, RankingOrder::ScoreThenRank),
        None => {
            let log = read_with(path, options, &RANKING_ALIASES, &mut |_, _| ())?;
            let by = match (&log.times, &log.weights) {
                (Some(_), _) => RankingOrder::Rank,
                (None, Some(_)) => RankingOrder::Score,
                (None, None) => {
                    let problem = "no column for the rank or the score, expected `rank` or `score`";
                    return Err(Error::file(path, problem));
                }
            };
            (log, by)
        }
    };
    let users = renumber(&log.user_ids, user_ids);
    let items = renumber(&log.item_ids, item_ids);
    let dropped = dropped(&log, &users, &items);
    let kept = |&row: &usize| {
        users[log.users[row] as usize].is_some() && items[log.items[row] as usize].is_some()
    };
    let mut rows: Vec<usize> = (0..log.len()).filter(kept).collect();
    let rank = |row: usize| log.times.as_ref().map_or(0, |ranks| ranks[row]);
    let score = |row: usize| log.weights.as_ref().map_or(0.0, |scores| scores[row]);
    // Stable, so that what is equal keeps the order of the file.
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
    let mut out = RankingsFile { rankings: Rankings::default(), users: Vec::new(), dropped };
    let mut last_seen = vec![UserId::MAX; item_ids.len()];
    for rows in rows.chunk_by(|&a, &b| log.users[a] == log.users[b]) {
        let Some(user) = users[log.users[rows[0]] as usize] else { continue };
        let wrong =
            |problem: String| Error::file(path, format!("user `{}`: {problem}", user_ids.id(user)));
        for pair in rows.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if matches!(by, RankingOrder::Rank) && rank(before) == rank(after) {
                let rows = both(before, after);
                return Err(wrong(format!("rank {} stands twice, in {rows}", rank(after))));
            }
            if score(after) > score(before) {
                let (rows, before, after) = (both(before, after), score(before), score(after));
                return Err(wrong(format!(
                    "the score rises with the rank, from {before} to {after}, in {rows}"
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
                return Err(wrong(format!("item `{}` stands twice, in {rows}", item_ids.id(item))));
            }
            let score = if log.weights.is_some() { score(row) } else { -(position as f32) };
            ranked.push((item, score));
        }
        out.users.push(user);
        out.rankings.push(ranked);
    }
    Ok(out)
}

/// Two rows as a reader of the file finds them: counted from 1, without header and empty lines.
fn both(a: usize, b: usize) -> String {
    format!("its rows {} and {}", a.min(b) + 1, a.max(b) + 1)
}

#[derive(Clone, Copy)]
enum RankingOrder {
    Rank,
    Score,
    ScoreThenRank,
}

/// UserItemPairs of users and items (what a user has seen, what is to be found), as lists per user of `user_ids`: row *u* holds the known
/// items of user *u*, in the order of the file. Repeated pairs stay.
#[derive(Clone, Debug, PartialEq)]
pub struct UserItemPairs {
    /// One row per user of the vocabulary.
    pub items: Lists<ItemId>,
    /// What was left out.
    pub dropped: Dropped,
}

/// Reads pairs from a file of any of [`crate::FORMATS`]; it may hold a header only.
///
/// # Errors
/// Whatever is wrong with the file, with path and line.
pub fn read_pairs(
    path: &Path,
    user_ids: &Vocab,
    item_ids: &Vocab,
    options: &ReadOptions,
) -> Result<UserItemPairs> {
    let log = read_pair_log(path, options)?;
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
    let dropped = dropped(&log, &users, &items);
    let items = Lists::from_parts(starts, values)
        .ok_or_else(|| Error::file(path, "the rows could not be grouped by user"))?;
    Ok(UserItemPairs { items, dropped })
}

/// Reads pairs with their own vocabularies: for an evaluation that knows no more than its files. Times and weights are not read;
/// the log may be empty.
///
/// # Errors
/// Whatever is wrong with the file, with path and line.
pub fn read_pair_log(path: &Path, options: &ReadOptions) -> Result<Log> {
    read_with(path, options, &PAIR_ALIASES, &mut |_, _| ())
}

/// Reads rankings with vocabularies that grow by what the file names: for an evaluation that knows no more than its files.
///
/// # Errors
/// As [`read_rankings`].
pub fn ids_of_rankings(path: &Path, options: &ReadOptions) -> Result<(Vocab, Vocab)> {
    let log = match trec_run(path, options)? {
        Some(log) => log,
        None => read_with(path, options, &RANKING_ALIASES, &mut |_, _| ())?,
    };
    Ok((log.user_ids, log.item_ids))
}

/// Writes rankings, row *i* for `users[i]`: `user_id item_id rank score` as Parquet, TSV, CSV or JSON lines by the extension, ranks
/// from 1; or, with the extension `.trec` or `.run`, a TREC run, whose ids must hold no blanks.
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
            format!("{} users, expected {} as there are rankings", users.len(), rankings.len());
        return Err(Error::config("users", problem));
    }
    for (name, numbers, ids) in
        [("users", users, user_ids), ("items", rankings.lists().values(), item_ids)]
    {
        if let Some(number) = numbers.iter().find(|&&number| number as usize >= ids.len()) {
            return Err(Error::config(
                name,
                format!("number {number}, but there are {} ids", ids.len()),
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
    let mut writer = TableWriter::create_as(path, TableFormat::of_path(path)?, &columns)?;
    // Chunks of about this many rows bound the memory that the written form takes.
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

fn write_trec_run(
    path: &Path,
    rankings: &Rankings,
    users: &[UserId],
    user_ids: &Vocab,
    item_ids: &Vocab,
) -> Result<()> {
    use std::io::Write;
    let blank = |id: &str| id.is_empty() || id.contains(|c: char| c.is_ascii_whitespace());
    if let Some(id) = user_ids.iter().chain(item_ids.iter()).find(|id| blank(id)) {
        let problem =
            format!("the id `{}` holds blanks, which a TREC run cannot", id.escape_debug());
        return Err(Error::file(path, problem));
    }
    let mut out = std::io::BufWriter::new(rankstill_core::atomic_write::AtomicFile::create(path)?);
    for (row, &user) in users.iter().enumerate() {
        let user = user_ids.id(user);
        let ranked = rankings.items(row).iter().zip(rankings.scores(row));
        for (position, (&item, score)) in ranked.enumerate() {
            let (item, rank) = (item_ids.id(item), position + 1);
            writeln!(out, "{user} Q0 {item} {rank} {score} rankstill").map_err(Error::io(path))?;
        }
    }
    let file = out.into_inner().map_err(|error| Error::io(path)(error.into_error()))?;
    Ok(file.commit()?)
}

/// The rows of a TREC run, ranks as times and scores as weights; `None` when the file is none or another format is wanted.
fn trec_run(path: &Path, options: &ReadOptions) -> Result<Option<Log>> {
    let wanted = match options.format.as_deref() {
        Some("trec") => true,
        Some(_) => return Ok(None),
        None => false,
    };
    if path.is_dir() {
        return Ok(None);
    }
    let source = OpenFile::open(path)?;
    let line = source.head().first_line().to_vec();
    let tokens = fields(&line);
    let looks = tokens.len() == 6
        && tokens[1].eq_ignore_ascii_case("q0")
        && tokens[4].parse::<f32>().is_ok();
    if !wanted && !looks {
        return Ok(None);
    }
    let mut log = Log { times: Some(Vec::new()), weights: Some(Vec::new()), ..Log::default() };
    let mut lines: LineReader = source.into_lines();
    while let Some((line, bytes)) = lines.next()? {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::Line {
            path: path.to_path_buf(),
            line,
            problem: "expected UTF-8 text".into(),
        })?;
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        if fields.len() != 6 {
            return Err(Error::Columns {
                path: path.to_path_buf(),
                line,
                expected: 6,
                found: fields.len(),
            });
        }
        let wrong = |column: &str, expected: &str, found: &str| Error::Field {
            path: path.to_path_buf(),
            line,
            column: column.into(),
            expected: expected.into(),
            found: format!("`{}`", found.escape_debug()),
        };
        let rank = fields[3].parse::<i64>();
        let rank = rank.map_err(|_| wrong("rank", "a whole number", fields[3]))?;
        let score = fields[4].parse::<f32>().ok().filter(|score| score.is_finite());
        let score = score.ok_or_else(|| wrong("score", "a finite number", fields[4]))?;
        for (ids, numbers, id) in [
            (&mut log.user_ids, &mut log.users, fields[0]),
            (&mut log.item_ids, &mut log.items, fields[2]),
        ] {
            if ids.len() == Vocab::MAX_LEN {
                return Err(wrong("id", "fewer different ids", id));
            }
            numbers.push(ids.intern(id));
        }
        log.times.iter_mut().for_each(|ranks| ranks.push(rank));
        log.weights.iter_mut().for_each(|scores| scores.push(score));
    }
    Ok(Some(log))
}

fn fields(line: &[u8]) -> Vec<&str> {
    std::str::from_utf8(line)
        .map_or_else(|_| Vec::new(), |line| line.split_ascii_whitespace().collect())
}

/// For each number in `from`, the number of the same id in `to`.
fn renumber(from: &Vocab, to: &Vocab) -> Vec<Option<u32>> {
    match from.as_ints() {
        Some(ids) => ids.iter().map(|&id| to.get_int(id)).collect(),
        None => from.iter().map(|id| to.get(&id)).collect(),
    }
}

fn dropped(log: &Log, users: &[Option<u32>], items: &[Option<u32>]) -> Dropped {
    let unknown = |ids: &[Option<u32>]| ids.iter().filter(|id| id.is_none()).count();
    let rows = log.users.iter().zip(&log.items);
    let lost = rows
        .filter(|&(&user, &item)| users[user as usize].is_none() || items[item as usize].is_none());
    Dropped { users: unknown(users), items: unknown(items), rows: lost.count() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vocabs() -> (Vocab, Vocab) {
        (
            Vocab::from_ids(["ann", "bob", "cy"]).unwrap(),
            Vocab::from_ints(vec![10, 20, 30]).unwrap(),
        )
    }

    fn read(name: &str, content: &str) -> Result<RankingsFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let (users, items) = vocabs();
        read_rankings(&path, &users, &items, &ReadOptions::default())
    }

    #[test]
    fn ranks_decide_and_unknown_ids_are_counted() {
        let content = "user_id\titem_id\trank\nbob\t20\t3\nann\t30\t2\nann\t10\t1\nbob\t99\t1\nzoe\t10\t1\nbob\t10\t7\n";
        let file = read("r.tsv", content).unwrap();
        assert_eq!(file.users, [0, 1]);
        assert_eq!(file.rankings.items(0), [0, 2]);
        assert_eq!(file.rankings.items(1), [1, 0]);
        assert_eq!(file.rankings.scores(1), [0.0, -1.0]);
        assert_eq!(file.dropped, Dropped { users: 1, items: 1, rows: 2 });
        let aligned = file.aligned(&[2, 1]);
        assert_eq!((aligned.items(0).len(), aligned.items(1)), (0, &[1, 0][..]));
    }

    #[test]
    fn scores_decide_where_there_are_no_ranks_and_ties_keep_the_order_of_the_file() {
        let file = read("r.csv", "user,item,score\nann,10,0.5\nann,30,0.5\nann,20,2\n").unwrap();
        assert_eq!(file.rankings.items(0), [1, 0, 2]);
        assert_eq!(file.rankings.scores(0), [2.0, 0.5, 0.5]);
    }

    #[test]
    fn a_trec_run_goes_by_score_then_rank() {
        let file =
            read("r.txt", "ann Q0 10 1 0.5 x\nann Q0 20 3 0.7 x\nann Q0 30 2 0.7 x\n").unwrap();
        assert_eq!(file.rankings.items(0), [2, 1, 0]);
        let error = read("r.txt", "ann Q0 10 1 0.5 x\nann Q0 20 2 x\n").unwrap_err().to_string();
        assert!(error.ends_with("r.txt:2: expected 6 columns, found 5"), "{error}");
        let error = read("r.txt", "ann Q0 10 1 0.5 x\nann Q0 20 b 1 x\n").unwrap_err().to_string();
        assert!(
            error.ends_with(":2: column `rank`: expected a whole number, found `b`"),
            "{error}"
        );
    }

    #[test]
    fn contradictions_are_named() {
        let error = |rows: &str| {
            read("r.csv", &format!("user_id,item_id,rank,score\n{rows}")).unwrap_err().to_string()
        };
        assert!(
            error("ann,10,1,2\nann,10,2,1\n")
                .ends_with("user `ann`: item `10` stands twice, in its rows 1 and 2")
        );
        assert!(
            error("ann,10,1,2\nann,20,1,1\n")
                .ends_with("user `ann`: rank 1 stands twice, in its rows 1 and 2")
        );
        assert!(
            error("ann,10,1,1\nann,20,2,2\n")
                .ends_with("rises with the rank, from 1 to 2, in its rows 1 and 2")
        );
        assert!(error("ann,10,x,1\n").contains(":2: column `rank`: expected a whole number"));
        assert!(error("ann,10,1,nan\n").contains(":2: column `score`: expected a finite number"));
        let error = read("r.csv", "user_id,item_id\nann,10\n").unwrap_err().to_string();
        assert!(error.ends_with("expected `rank` or `score`"), "{error}");
    }

    #[test]
    fn what_is_written_is_read() {
        let (users, items) = vocabs();
        let mut rankings = Rankings::default();
        rankings.push([(2, 0.1), (0, -1e-30)]);
        rankings.push([]);
        rankings.push([(1, f32::MAX), (2, 1.0), (0, 1.0)]);
        let folder = tempfile::tempdir().unwrap();
        for name in ["r.parquet", "r.tsv", "r.csv", "r.jsonl", "r.trec"] {
            let path = folder.path().join(name);
            write_rankings(&path, &rankings, &[2, 1, 0], &users, &items).unwrap();
            let file = read_rankings(&path, &users, &items, &ReadOptions::default()).unwrap();
            assert_eq!(file.aligned(&[2, 1, 0]), rankings, "{name}");
            assert_eq!(file.dropped, Dropped::default());
        }
        let path = folder.path().join("r.xml");
        assert!(write_rankings(&path, &rankings, &[2, 1, 0], &users, &items).is_err());
        let path = folder.path().join("r.tsv");
        assert!(write_rankings(&path, &rankings, &[2, 1], &users, &items).is_err());
        assert!(write_rankings(&path, &rankings, &[2, 1, 3], &users, &items).is_err());
    }

    #[test]
    fn pairs_become_lists_per_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.tsv");
        std::fs::write(&path, "user_id\titem_id\nbob\t30\nann\t20\nbob\t10\nbob\t11\nzoe\t10\n")
            .unwrap();
        let (users, items) = vocabs();
        let pairs = read_pairs(&path, &users, &items, &ReadOptions::default()).unwrap();
        assert_eq!(pairs.items, Lists::from_iter([vec![1], vec![2, 0], vec![]]));
        assert_eq!(pairs.dropped, Dropped { users: 1, items: 1, rows: 2 });
        std::fs::write(&path, "user_id\titem_id\n").unwrap();
        let pairs = read_pairs(&path, &users, &items, &ReadOptions::default()).unwrap();
        assert!(pairs.items.values().is_empty());
    }
}
