//! The prepared data set: a folder of Parquet files and a manifest that records how they were made.
//!
//! | file | content |
//! | --- | --- |
//! | `train.parquet`, `valid.parquet`, `test.parquet` | `user_number`, `item_number`, and `time` (Unix time in the manifest's `time_unit`) and `weight` if the log has them; user by user, oldest first |
//! | `users.parquet`, `items.parquet` | `id`: row *n* is the original id of number *n* |
//! | `manifest.json` | settings, counts, statistics, the audit, and the size and SHA-256 of every file and of the content |
//!
//! The same log and settings give the same bytes. The folder appears complete or not at all. Opening always
//! checks sizes, columns, numbers and order, and hashes on request.

mod elsewhere;
mod manifest;
mod part_file;

pub use elsewhere::Elsewhere;

pub(crate) use manifest::stamp_of;
pub use manifest::{DatasetManifest, FORMAT, MANIFEST, SourceFile, Stamp, VERSION, stamp};

use crate::audit::Audit;
use crate::columns::{Column, ColumnKind, ColumnTable, TableWriter, read_parquet, write_table};
use crate::filter::{DenseLog, Filter, FilterReport};
use crate::log::Log;
use crate::split::{History, Mask, Part, Partition, Protocol, Split, SplitConfig};
use crate::stats::Stats;
use crate::timelines::LogColumns;
use crate::{Error, Result};
use manifest::hex;
use part_file::{Expected, PartFile, join_parts};
use rankstill_core::atomic_write;
use rankstill_core::{TimeUnit, Vocab};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// How a log becomes a data set: the tables `filter`, `split`, `mask` and `history` of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepareSettings {
    /// Rows to leave out.
    pub filter: Filter,
    /// Training, validation and test parts.
    pub split: SplitConfig,
    /// Items that must not be recommended.
    pub mask: Mask,
    /// The history that models get.
    pub history: History,
}

const PARTS: [(&str, Part); 3] =
    [("train.parquet", Part::Train), ("valid.parquet", Part::Valid), ("test.parquet", Part::Test)];
const USERS: &str = "users.parquet";
const ITEMS: &str = "items.parquet";

/// A log that is filtered and split.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The rows.
    pub partition: Partition,
    /// Original user ids.
    pub users: Vocab,
    /// Original item ids.
    pub items: Vocab,
    /// The manifest; `files` is empty until the folder is written.
    pub manifest: DatasetManifest,
}

/// A data set in memory, ready for training and evaluation.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// How it was made.
    pub manifest: DatasetManifest,
    /// Original user ids.
    pub users: Vocab,
    /// Original item ids.
    pub items: Vocab,
    /// Training, validation and test parts.
    pub split: Split,
}

/// The checks when a data set is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Sizes, columns, numbers, order.
    #[default]
    Quick,
    /// All of these, and every hash.
    Full,
}

impl PrepareSettings {
    /// The evaluation protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        Protocol { mask: self.mask, history: self.history }
    }
}

impl Prepared {
    /// Filters and splits a log. `parts` holds the part of each row, for a ready-made split.
    ///
    /// # Errors
    /// When settings are invalid, need columns that the log lacks, or leave no training rows.
    pub fn from_log(
        log: Log,
        parts: Option<Vec<Part>>,
        settings: &PrepareSettings,
    ) -> Result<Self> {
        settings.protocol().check()?;
        let (_, split) = settings.split.resolve()?; // errors in settings come before the work
        let (n_users, n_items) = (log.n_users(), log.n_items());
        let Log { users, items, times, time_unit, weights, user_ids, item_ids } = log;
        let columns = LogColumns { items, times, time_unit, weights, parts };
        let kept = settings.filter.apply(DenseLog { n_users, n_items, users, columns })?;
        let partition = split.cut(kept.lines)?;
        let users = choose(user_ids, &kept.users)?;
        let items = choose(item_ids, &kept.items)?;
        let settings = PrepareSettings { split, ..settings.clone() };
        Ok(Self::of(partition, users, items, settings, kept.report))
    }

    /// With its manifest; `settings` have every default filled in.
    fn of(
        partition: Partition,
        users: Vocab,
        items: Vocab,
        settings: PrepareSettings,
        filtered: FilterReport,
    ) -> Self {
        let manifest = DatasetManifest {
            format: FORMAT.into(),
            version: VERSION,
            tool: concat!("rankstill ", env!("CARGO_PKG_VERSION")).into(),
            sources: Vec::new(),
            times: partition.lines.times.is_some(),
            time_unit: partition.lines.time_unit,
            weights: partition.lines.weights.is_some(),
            filtered,
            counts: partition.counts,
            stats: Stats::of(&partition),
            audit: Audit::of(&partition, &settings.protocol()),
            content: content_hash(&partition, &users, &items),
            files: BTreeMap::new(),
            settings,
        };
        Self { partition, users, items, manifest }
    }

    /// The data set in memory, without writing a folder.
    ///
    /// # Errors
    /// None for the result of [`Prepared::from_log`], which has checked the settings.
    pub fn into_dataset(self) -> Result<Dataset> {
        let split = Split::new(self.partition, &self.manifest.settings.protocol())?;
        Ok(Dataset { manifest: self.manifest, users: self.users, items: self.items, split })
    }

    /// Writes the folder; its parent must exist.
    ///
    /// # Errors
    /// When the path exists (with `replace`: and is not a data set), or writing fails.
    pub fn write(&mut self, folder: &Path, replace: bool) -> Result<()> {
        check_place(folder, replace)?;
        let mut manifest = self.manifest.clone();
        atomic_write::folder(folder, MANIFEST, |part| -> Result<()> {
            manifest.files = self.write_files(part)?;
            let mut text = serde_json::to_string_pretty(&manifest)
                .map_err(|error| Error::file(part.join(MANIFEST), error.to_string()))?;
            text.push('\n');
            Ok(atomic_write::write(part.join(MANIFEST), text.as_bytes())?)
        })?;
        self.manifest = manifest;
        Ok(())
    }

    fn write_files(&self, folder: &Path) -> Result<BTreeMap<String, Stamp>> {
        let write = |name: &str| -> Result<(String, Stamp)> {
            let path = folder.join(name);
            match PARTS.iter().find(|part| part.0 == name) {
                Some(&(_, part)) => self.write_part(&path, part)?,
                None => {
                    let ids = if name == USERS { &self.users } else { &self.items };
                    write_table(&path, &ColumnTable::default().with("id", Column::of_vocab(ids))?)?;
                }
            }
            Ok((name.to_owned(), stamp(&path)?))
        };
        file_names().into_par_iter().map(write).collect()
    }

    fn write_part(&self, path: &Path, part: Part) -> Result<()> {
        const CHUNK: usize = 1 << 17;
        let lines = &self.partition.lines;
        let mut columns = vec![("user_number", ColumnKind::U32), ("item_number", ColumnKind::U32)];
        if lines.times.is_some() {
            columns.push(("time", ColumnKind::I64));
        }
        if lines.weights.is_some() {
            columns.push(("weight", ColumnKind::F32));
        }
        let mut writer = TableWriter::create(path, &columns)?;
        let mut users = 0..self.partition.n_users();
        while !users.is_empty() {
            let (mut user, mut item) = (Vec::new(), Vec::new());
            let (mut time, mut weight) = (Vec::new(), Vec::new());
            while item.len() < CHUNK
                && let Some(next) = users.next()
            {
                let rows = self.partition.range(next, part);
                user.resize(user.len() + rows.len(), next as u32);
                item.extend_from_slice(&lines.items[rows.clone()]);
                if let Some(times) = &lines.times {
                    time.extend_from_slice(&times[rows.clone()]);
                }
                if let Some(weights) = &lines.weights {
                    weight.extend_from_slice(&weights[rows]);
                }
            }
            let mut chunk = vec![Column::U32(user), Column::U32(item)];
            if lines.times.is_some() {
                chunk.push(Column::I64(time));
            }
            if lines.weights.is_some() {
                chunk.push(Column::F32(weight));
            }
            writer.write(&chunk)?;
        }
        writer.finish()
    }
}

impl Dataset {
    /// Opens a folder.
    ///
    /// # Errors
    /// When it is not a data set, has another version, or does not match its manifest.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_with(folder, Verify::Quick, None)
    }

    /// Opens a folder with the given checks, under its own protocol or another.
    ///
    /// # Errors
    /// As [`Dataset::open`], and when the protocol contradicts itself.
    pub fn open_with(folder: &Path, verify: Verify, protocol: Option<&Protocol>) -> Result<Self> {
        let Prepared { partition, users, items, mut manifest } = Prepared::open(folder, verify)?;
        if let Some(protocol) = protocol {
            manifest.audit = Audit::of(&partition, protocol);
            manifest.settings.mask = protocol.mask;
            manifest.settings.history = protocol.history;
        }
        let split = Split::new(partition, &manifest.settings.protocol())?;
        Ok(Self { manifest, users, items, split })
    }
}

impl Prepared {
    /// Reads a folder back as it was written.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open(folder: &Path, verify: Verify) -> Result<Self> {
        let manifest = DatasetManifest::read(folder)?;
        for name in file_names() {
            let path = folder.join(name);
            let Some(expected) = manifest.files.get(name) else {
                return Err(Error::file(folder.join(MANIFEST), format!("does not list `{name}`")));
            };
            let found = std::fs::metadata(&path).map_err(Error::io(&path))?.len();
            if found != expected.bytes {
                let problem = format!("expected {} bytes, found {found}", expected.bytes);
                return Err(Error::file(path, problem));
            }
            if verify == Verify::Full {
                let found = stamp(&path)?.sha256;
                if found != expected.sha256 {
                    let problem = format!("expected SHA-256 {}, found {found}", expected.sha256);
                    return Err(Error::file(path, problem));
                }
            }
        }
        let expected = Expected {
            times: manifest.times,
            weights: manifest.weights,
            users: manifest.counts.users,
            items: manifest.counts.items,
        };
        let read = |(name, _): &(&str, Part)| {
            let path = folder.join(name);
            PartFile::of(&path, read_parquet(&path)?, expected)
        };
        let (parts, (users, items)) = rayon::join(
            || PARTS.par_iter().map(read).collect(),
            || rayon::join(|| read_ids(&folder.join(USERS)), || read_ids(&folder.join(ITEMS))),
        );
        let parts: Result<Vec<PartFile>> = parts;
        let (parts, users, items) = (parts?, users?, items?);
        let counts = &manifest.counts;
        for (name, expected, found) in [
            (USERS, counts.users, users.len()),
            (ITEMS, counts.items, items.len()),
            (PARTS[0].0, counts.train, parts[0].items.len()),
            (PARTS[1].0, counts.valid, parts[1].items.len()),
            (PARTS[2].0, counts.test, parts[2].items.len()),
        ] {
            if expected != found {
                let problem = format!("expected {expected} rows, found {found}");
                return Err(Error::file(folder.join(name), problem));
            }
        }
        let (mut lines, owner) = join_parts(users.len(), items.len(), &parts);
        lines.time_unit = manifest.time_unit;
        drop(parts);
        let mut partition = Partition::new(lines, owner, false)?;
        partition.counts.valid_dropped = counts.valid_dropped;
        partition.counts.test_dropped = counts.test_dropped;
        if partition.counts != *counts {
            let problem = format!("expected counts {counts:?}, found {:?}", partition.counts);
            return Err(Error::file(folder.join(MANIFEST), problem));
        }
        if verify == Verify::Full {
            let found = content_hash(&partition, &users, &items);
            if found != manifest.content {
                let problem = format!("expected content {}, found {found}", manifest.content);
                return Err(Error::file(folder.join(MANIFEST), problem));
            }
        }
        Ok(Self { partition, users, items, manifest })
    }
}

/// SHA-256 of the content, independent of the file encoding: the two vocabularies ([`Vocab::to_bytes`], each
/// after its length), the flags for times and weights, the row boundaries (starts, ends of train, ends of
/// valid: u64) and the columns, all little-endian; before times in another unit than seconds, how many of it
/// are a second (i64).
#[must_use]
pub fn content_hash(partition: &Partition, users: &Vocab, items: &Vocab) -> String {
    let lines = &partition.lines;
    let mut hash = Sha256::new();
    for vocab in [users, items] {
        let bytes = vocab.to_bytes();
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    hash.update([u8::from(lines.times.is_some()), u8::from(lines.weights.is_some())]);
    let word = |&value: &usize| (value as u64).to_le_bytes();
    hash_column(&mut hash, &lines.starts, word);
    hash_column(&mut hash, &partition.train_ends, word);
    hash_column(&mut hash, &partition.valid_ends, word);
    hash_column(&mut hash, &lines.items, |item| item.to_le_bytes());
    if let Some(times) = &lines.times {
        if lines.time_unit != TimeUnit::Seconds {
            hash.update(lines.time_unit.per_second().to_le_bytes());
        }
        hash_column(&mut hash, times, |time| time.to_le_bytes());
    }
    if let Some(weights) = &lines.weights {
        hash_column(&mut hash, weights, |weight| weight.to_le_bytes());
    }
    hex(&hash.finalize())
}

fn read_ids(path: &Path) -> Result<Vocab> {
    read_parquet(path)?.take_vocab("id")
}

/// The vocabulary of the kept ids; unchanged if all are kept.
fn choose(vocab: Vocab, kept: &[u32]) -> Result<Vocab> {
    if kept.len() == vocab.len() { Ok(vocab) } else { Ok(vocab.select(kept)?) }
}

pub(crate) fn check_place(folder: &Path, replace: bool) -> Result<()> {
    let empty = folder.read_dir().is_ok_and(|mut inside| inside.next().is_none());
    if !folder.exists() || empty {
        return Ok(());
    }
    if !replace {
        return Err(Error::file(folder, "exists; allow replacing it, or choose another folder"));
    }
    // A data set of another version or with damaged files may be replaced too.
    let manifest = std::fs::read(folder.join(MANIFEST)).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
    if manifest.get("format").and_then(serde_json::Value::as_str) == Some(FORMAT) {
        return Ok(());
    }
    Err(Error::file(folder, "exists and is not a prepared data set; choose another folder"))
}

fn file_names() -> [&'static str; 5] {
    [PARTS[0].0, PARTS[1].0, PARTS[2].0, USERS, ITEMS]
}

fn hash_column<T, const N: usize>(hash: &mut Sha256, values: &[T], bytes: impl Fn(&T) -> [u8; N]) {
    let mut buffer = Vec::with_capacity(N << 12);
    for chunk in values.chunks(1 << 12) {
        buffer.clear();
        chunk.iter().for_each(|value| buffer.extend_from_slice(&bytes(value)));
        hash.update(&buffer);
    }
}

#[cfg(test)]
mod tests;
