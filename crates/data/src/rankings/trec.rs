//! TREC runs: `user Q0 item rank score tag`.

use crate::format::{LineReader, OpenFile};
use crate::{Error, Log, ReadOptions, Result};
use rankstill_core::{Rankings, UserId, Vocab};
use std::path::Path;

pub(super) fn write_trec_run(
    path: &Path,
    rankings: &Rankings,
    users: &[UserId],
    user_ids: &Vocab,
    item_ids: &Vocab,
) -> Result<()> {
    use std::io::Write;
    let blank = |id: &str| id.is_empty() || id.contains(|c: char| c.is_ascii_whitespace());
    if let Some(id) = user_ids.iter().chain(item_ids.iter()).find(|id| blank(id)) {
        let problem = format!(
            "a TREC run cannot hold the id `{}`: it is empty or contains spaces",
            id.escape_debug()
        );
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

/// Reads a TREC run, with ranks as times and scores as weights; `None` when the file is not a TREC run or the
/// options name another format.
pub(super) fn trec_run(path: &Path, options: &ReadOptions) -> Result<Option<Log>> {
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
                return Err(wrong("id", &format!("at most {} different ids", Vocab::MAX_LEN), id));
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
