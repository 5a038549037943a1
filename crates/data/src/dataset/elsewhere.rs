//! A data set that another program has filtered, split and numbered: a log that outgrows one machine, until it has been cut.
//!
//! It lies in a folder of folders, each of Parquet files that are read in the order of their names: `users` and `items` with the
//! column `id`, row *n* being number *n*; `train`, `valid` and `test` with `user_number`, `item_number` and, where the log has them,
//! `time` and `weight`, by user and then as the log orders them.

use super::part_file::{Expected, PartFile, join_parts};
use super::{PARTS, PrepareSettings, Prepared};
use crate::columns::{ColumnTable, read_parquet};
use crate::filter::{FilterReport, LogSize, Step};
use crate::split::Partition;
use crate::{Error, Result};
use rankstill_core::{TimeUnit, Vocab};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the other program did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elsewhere {
    /// Whether rows have times.
    pub times: bool,
    /// The coarsest unit that holds all times of the log exactly.
    pub time_unit: TimeUnit,
    /// Whether rows have weights.
    pub weights: bool,
    /// How much each filter left, the log as read first.
    pub left: Vec<(Step, LogSize)>,
}

impl Prepared {
    /// The data set in `folder` that was made by these settings. Given the same log, it equals that of [`Prepared::from_log`].
    ///
    /// # Errors
    /// When a file cannot be read, lacks a column, or has rows of unknown numbers or in another order.
    pub fn made_elsewhere(
        folder: &Path,
        made: &Elsewhere,
        settings: &PrepareSettings,
    ) -> Result<Self> {
        settings.protocol().check()?;
        let (_, split) = settings.split.resolve()?;
        let report = FilterReport::of(&settings.filter, &made.left)?;
        let (users, items) =
            rayon::join(|| ids(&folder.join("users")), || ids(&folder.join("items")));
        let (users, items) = (users?, items?);
        let expected = Expected {
            times: made.times,
            weights: made.weights,
            users: users.len(),
            items: items.len(),
        };
        let part = |(name, _): &(&str, _)| {
            let path = folder.join(name.trim_end_matches(".parquet"));
            PartFile::of(&path, table(&path)?, expected)
        };
        let parts: Result<Vec<PartFile>> = PARTS.par_iter().map(part).collect();
        let (mut lines, owner) = join_parts(users.len(), items.len(), &parts?);
        lines.time_unit = made.time_unit;
        let partition = Partition::new(lines, owner, split.drop_unseen_items)?;
        Ok(Self::of(partition, users, items, PrepareSettings { split, ..settings.clone() }, report))
    }
}

fn ids(folder: &Path) -> Result<Vocab> {
    table(folder)?.take_vocab("id")
}

/// The tables of all Parquet files of a folder, one after the other.
fn table(folder: &Path) -> Result<ColumnTable> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let paths: std::io::Result<Vec<PathBuf>> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(Error::io(folder))?;
    paths.retain(|path| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && path.extension().is_some_and(|ending| ending == "parquet")
    });
    paths.sort();
    let mut tables = paths.iter().map(|path| read_parquet(path));
    let first = tables.next();
    let mut all = first.ok_or_else(|| Error::file(folder, "holds no Parquet file"))??;
    for (next, path) in tables.zip(&paths[1..]) {
        all.append(&next?, path)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::columns::{Column, write_table};
    use crate::filter::Filter;
    use crate::split::SplitConfig;
    use crate::testing;

    /// Writes what [`Prepared::from_log`] makes, in two files where there are rows for two.
    fn scatter(prepared: &Prepared, folder: &Path) {
        let lines = &prepared.partition.lines;
        for (name, part) in PARTS {
            let folder = folder.join(name.trim_end_matches(".parquet"));
            std::fs::create_dir(&folder).unwrap();
            let half = prepared.partition.n_users() / 2;
            let halves = [0..half, half..prepared.partition.n_users()];
            for (n, users) in halves.into_iter().enumerate() {
                let rows = || {
                    users
                        .clone()
                        .flat_map(|u| prepared.partition.range(u, part).map(move |r| (u, r)))
                };
                // Other programs have no unsigned integers.
                let mut table = ColumnTable::default()
                    .with("user_number", rows().map(|(user, _)| user as i64).collect::<Vec<_>>())
                    .unwrap();
                let items = rows().map(|(_, row)| i64::from(lines.items[row]));
                table.push("item_number", items.collect::<Vec<_>>()).unwrap();
                let times = lines.times.as_ref().unwrap();
                table.push("time", rows().map(|(_, row)| times[row]).collect::<Vec<_>>()).unwrap();
                write_table(&folder.join(format!("part-{n}.parquet")), &table).unwrap();
            }
        }
        for (name, ids) in [("users", &prepared.users), ("items", &prepared.items)] {
            std::fs::create_dir(folder.join(name)).unwrap();
            let table = ColumnTable::default().with("id", Column::of_vocab(ids)).unwrap();
            write_table(&folder.join(name).join("part-0.parquet"), &table).unwrap();
        }
    }

    fn settings() -> PrepareSettings {
        PrepareSettings {
            filter: Filter { user_core: 2, item_core: 2, ..Filter::default() },
            split: SplitConfig { drop_unseen_items: true, ..SplitConfig::of("chronological") },
            ..PrepareSettings::default()
        }
    }

    #[test]
    fn what_was_cut_elsewhere_is_what_is_cut_here() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings();
        let kept = PrepareSettings {
            split: SplitConfig { drop_unseen_items: false, ..settings.split.clone() },
            ..settings.clone()
        };
        let log = testing::log(60, 200, 3);
        let whole = Prepared::from_log(log.clone(), None, &settings).unwrap();
        let before = Prepared::from_log(log, None, &kept).unwrap();
        scatter(&before, folder.path());
        let steps = [Step::AsRead, Step::Duplicates, Step::Core];
        let sizes = whole.manifest.filtered.steps.iter().map(|step| step.left);
        let made = Elsewhere {
            times: true,
            time_unit: whole.manifest.time_unit,
            weights: false,
            left: steps.into_iter().zip(sizes).collect(),
        };
        let joined = Prepared::made_elsewhere(folder.path(), &made, &settings).unwrap();
        assert!(whole.manifest.counts.test > 0 && whole.manifest.counts.test_dropped > 0);
        assert_eq!(joined.manifest, whole.manifest);
        assert_eq!(joined.partition, whole.partition);

        let other = folder.path().join("train/part-2.parquet");
        let first = read_parquet(&folder.path().join("train/part-0.parquet")).unwrap();
        write_table(&other, &first).unwrap();
        let problem = Prepared::made_elsewhere(folder.path(), &made, &settings).unwrap_err();
        assert!(problem.to_string().contains("not ordered by user"), "{problem}");
        let lacking = ColumnTable::default().with("user_number", vec![0i64]).unwrap();
        write_table(&other, &lacking).unwrap();
        let problem = Prepared::made_elsewhere(folder.path(), &made, &settings).unwrap_err();
        assert!(problem.to_string().contains("part-2.parquet"), "{problem}");
        std::fs::remove_dir_all(folder.path().join("valid")).unwrap();
        assert!(Prepared::made_elsewhere(folder.path(), &made, &settings).is_err());
    }
}
