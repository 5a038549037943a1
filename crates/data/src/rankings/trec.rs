//! Writing TREC runs: `user Q0 item rank score tag`.

use crate::{Error, Result};
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
