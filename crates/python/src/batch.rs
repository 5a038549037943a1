//! Lists of many users in files, in parts if need be: `rankstill recommend` as a function.

use crate::arrow::Source;
use crate::error::{ConfigError, Result};
use crate::ids;
use crate::work::{heard, stoppable};
use pyo3::prelude::*;
use rankstill::artefact;
use rankstill::data::ReadOptions;
use rankstill_cli::batch::{Asked, Batch};
use rankstill_cli::shards::Shard;
use std::path::PathBuf;

/// Writes the best items of many users to a file, or to parts of it, as `rankstill recommend` does: in bounded memory, and with the same
/// bytes. Parts are for several processes or machines; one that is there is kept, and parts of different models, users or options are
/// refused.
///
/// Args:
///     artefact: The folder of a fitted model, as `save` writes it.
///     out: The file: .parquet, .tsv, .csv or .jsonl.
///     users: Ids; an unknown one is a `KeyError`. Default: all users of the artefact.
///     histories: Instead, a log of anybody, as for `Dataset`: each of its users gets a list by the items that the log has of them,
///         oldest first, and nothing else. Items that the artefact does not know are passed over.
///     k: Items of a list.
///     seen: Also recommend items of the history.
///     shard: `(3, 8)` writes the third of eight parts; `lists.parquet` becomes `lists-00003-of-00008.parquet`.
///     shards: Writes all of so many parts.
///     mapped: Leaves large arrays on the disk; the folder must not be changed in place then.
///     progress: `True` prints what is written; or a function of a share and a line.
///
/// Returns:
///     The paths of the files.
///
/// Example:
///     >>> rk.recommend("artefact", "lists.parquet", k=100, shard=(3, 8))  # doctest: +SKIP
///     [PosixPath('lists-00003-of-00008.parquet')]
#[pyfunction]
#[pyo3(signature = (artefact, out, *, users = None, histories = None, k = 10, seen = false, shard = None, shards = None,
    mapped = false, progress = None))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub fn recommend(
    py: Python<'_>,
    artefact: PathBuf,
    out: PathBuf,
    users: Option<&Bound<'_, PyAny>>,
    histories: Option<&Bound<'_, PyAny>>,
    k: usize,
    seen: bool,
    shard: Option<(usize, usize)>,
    shards: Option<usize>,
    mapped: bool,
    progress: Option<&Bound<'_, PyAny>>,
) -> Result<Vec<PathBuf>> {
    for (one, other, names) in [
        (users.is_some(), histories.is_some(), "users, histories"),
        (shard.is_some(), shards.is_some(), "shard, shards"),
    ] {
        if one && other {
            return Err(ConfigError::new_err(format!("{names}: give the one or the other")).into());
        }
    }
    let wanted = match (shard, shards) {
        (Some(shard), _) => Some(vec![shard_of("shard", shard)?]),
        (_, Some(n)) => Some(
            Shard::all(n).map_err(|error| ConfigError::new_err(format!("shards: {error:#}")))?,
        ),
        _ => None,
    };
    let users = users.map(ids::read).transpose()?;
    let histories = histories.map(Source::of).transpose()?;
    heard(py, progress, &stoppable(), |screen| {
        let loaded = match mapped {
            true => artefact::load_mapped(&artefact)?,
            false => artefact::load(&artefact)?,
        };
        let asked = match (users, histories) {
            (Some(users), _) => Asked::Users(ids::known(&loaded.artefact.users, &users, "user")?),
            (_, Some(log)) => {
                let log = log.into_log("the histories", &ReadOptions::default())?;
                let (asked, unknown) = Asked::histories(log, &loaded.artefact.items);
                if unknown > 0 {
                    screen.say(format!("{unknown} rows are on items that the artefact does not know; they are passed over"));
                }
                asked
            }
            _ => Asked::everyone(&loaded),
        };
        let batch =
            Batch { artefact: &artefact, loaded: &loaded, asked: &asked, k, with_seen: seen };
        match wanted {
            Some(shards) => Ok(batch.write_parts(&shards, &out, screen)?),
            None => {
                batch.write(&out, screen)?;
                Ok(vec![out])
            }
        }
    })
}

/// A part, given as its number and that of all.
pub fn shard_of(key: &str, (i, of): (usize, usize)) -> Result<Shard> {
    Ok(Shard::new(i, of).map_err(|error| ConfigError::new_err(format!("{key}: {error:#}")))?)
}
