//! A teacher's lists about every user, recorded in parts.

use crate::batch::shard_of;
use crate::dataset::Dataset;
use crate::error::{ConfigError, Result};
use crate::work::{Task, heard};
use pyo3::prelude::*;
use rankstill::core::Ranker;
use rankstill_cli::recorded_lists::{self, Said};
use std::path::PathBuf;

/// What is asked for: the number of items, whether those of the training part are listed too, where, and which part.
pub type Asked = (usize, bool, PathBuf, Option<(usize, usize)>);

/// Records the lists of the teacher `name`, in the numbers of `data`, and returns the path of the part. `task` is a
/// [`crate::work::stoppable`] one.
pub fn record(
    py: Python<'_>,
    (name, ranker): (&str, &dyn Ranker),
    data: &Dataset,
    (k, seen, out, shard): Asked,
    task: &Task,
    progress: Option<&Bound<'_, PyAny>>,
) -> Result<PathBuf> {
    let shard = shard_of("shard", shard.unwrap_or((1, 1)))?;
    if k == 0 {
        return Err(ConfigError::new_err("k: must be at least 1").into());
    }
    let said = Said {
        teacher: name.to_owned(),
        data: data.data.manifest.content.clone(),
        users: data.ground.users.len(),
        k: k.min(data.ground.items.len()),
        with_seen: seen,
        parts: shard.of(),
    };
    let train = &data.ground.train;
    heard(py, progress, task, |screen| {
        Ok(recorded_lists::record(&said, ranker, train, &out, shard, screen)?)
    })
}
