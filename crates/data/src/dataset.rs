//! The prepared data set: a folder of Parquet files and a manifest that says how they came to be.
//!
//! | file | holds |
//! | --- | --- |
//! | `train.parquet`, `valid.parquet`, `test.parquet` | `user`, `item` (dense numbers), `time` and `weight` where the log had them; user by user, oldest first |
//! | `users.parquet`, `items.parquet` | `id`: row *n* is the own id of number *n* |
//! | `manifest.json` | settings, counts, statistics, the audit, and the size and SHA-256 of every file and of the content |
//!
//! The same log and settings give the same bytes. The folder appears whole or not at all. Opening trusts nothing: sizes, columns,
//! numbers and order are checked always, hashes on request.

use crate::audit::Audit;
use crate::columns::{Column, ColumnKind, ColumnTable, TableWriter, read_parquet, write_table};
use crate::filter::{DenseLog, Filter, FilterReport};
use crate::log::Log;
use crate::split::{History, Mask, Part, Partition, Protocol, Split, SplitConfig, SplitCounts};
use crate::stats::Stats;
use crate::timelines::{LogColumns, Timelines};
use crate::{Error, Result};
use rankstill_core::Vocab;
use rankstill_core::atomic_write;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// How a log becomes a data set: the tables `filter`, `split`, `mask` and `history` of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepareSettings {
    /// What is left out.
    pub filter: Filter,
    /// What trains, validates and tests.
    pub split: SplitConfig,
    /// What is not recommended.
    pub mask: Mask,
    /// What models are told.
    pub history: History,
}

/// What is written beside the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The program and its version.
    pub tool: String,
    /// The files that were read.
    pub sources: Vec<SourceFile>,
    /// With every default filled in.
    pub settings: PrepareSettings,
    /// Whether rows have times.
    pub times: bool,
    /// Whether rows have weights.
    pub weights: bool,
    /// What each filter took out.
    pub filtered: FilterReport,
    /// What the split came to.
    pub counts: SplitCounts,
    /// Table 1 of the RD paper.
    pub stats: Stats,
    /// What the split gives away.
    pub audit: Audit,
    /// SHA-256 of the content, whatever the files' encoding: see [`content_hash`].
    pub content: String,
    /// Each data file's size and SHA-256.
    pub files: BTreeMap<String, Stamp>,
}

/// A file that was read. Only its name is kept, so that moving a log does not change the data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// The last part of its path.
    pub name: String,
    /// Which part it holds, for a log that came ready split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Its size and SHA-256.
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// A file's size and SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

/// By this the manifest is known.
pub const FORMAT: &str = "rankstill data set";
/// The layout of the folder that this version writes and reads.
pub const VERSION: u32 = 1;
/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";

const PARTS: [(&str, Part); 3] =
    [("train.parquet", Part::Train), ("valid.parquet", Part::Valid), ("test.parquet", Part::Test)];
const USERS: &str = "users.parquet";
const ITEMS: &str = "items.parquet";

/// A log that is filtered and cut, but not yet written.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The rows.
    pub partition: Partition,
    /// Own ids of the users.
    pub users: Vocab,
    /// Own ids of the items.
    pub items: Vocab,
    /// All that there is to say about it; `files` is empty until it is written.
    pub manifest: DatasetManifest,
}

/// A data set in memory, ready for training and evaluation.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// How it came to be.
    pub manifest: DatasetManifest,
    /// Own ids of the users.
    pub users: Vocab,
    /// Own ids of the items.
    pub items: Vocab,
    /// What trains, validates and tests.
    pub split: Split,
}

/// How much is checked when a data set is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Sizes, columns, numbers, order.
    #[default]
    Quick,
    /// That, and every hash.
    Full,
}

impl PrepareSettings {
    /// What is hidden and told.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        Protocol { mask: self.mask, history: self.history }
    }
}

impl Prepared {
    /// Filters and cuts a log. `parts` says where each row belongs, for a log that came ready split.
    ///
    /// # Errors
    /// When settings cannot be, need what the log lacks, or leave nothing to train on.
    pub fn from_log(
        log: Log,
        parts: Option<Vec<Part>>,
        settings: &PrepareSettings,
    ) -> Result<Self> {
        let protocol = settings.protocol();
        protocol.check()?;
        let (_, split) = settings.split.resolve()?; // before the work, not after it
        let (n_users, n_items) = (log.n_users(), log.n_items());
        let Log { users, items, times, weights, user_ids, item_ids } = log;
        let columns = LogColumns { items, times, weights, parts };
        let kept = settings.filter.apply(DenseLog { n_users, n_items, users, columns })?;
        let partition = split.cut(kept.lines)?;
        let users = choose(user_ids, &kept.users)?;
        let items = choose(item_ids, &kept.items)?;
        let manifest = DatasetManifest {
            format: FORMAT.into(),
            version: VERSION,
            tool: concat!("rankstill ", env!("CARGO_PKG_VERSION")).into(),
            sources: Vec::new(),
            settings: PrepareSettings { split, ..settings.clone() },
            times: partition.lines.times.is_some(),
            weights: partition.lines.weights.is_some(),
            filtered: kept.report,
            counts: partition.counts,
            stats: Stats::of(&partition),
            audit: Audit::of(&partition, &protocol),
            content: content_hash(&partition, &users, &items),
            files: BTreeMap::new(),
        };
        Ok(Self { partition, users, items, manifest })
    }

    /// For use at once, without a folder.
    ///
    /// # Errors
    /// None that [`Prepared::from_log`] would not have found.
    pub fn into_dataset(self) -> Result<Dataset> {
        let split = Split::new(self.partition, &self.manifest.settings.protocol())?;
        Ok(Dataset { manifest: self.manifest, users: self.users, items: self.items, split })
    }

    /// Writes the folder; its path's parent must exist.
    ///
    /// # Errors
    /// When something stands there (with `replace`: something that is not a data set), or the disk is full.
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
    /// When it is not a data set, of another version, or not as its manifest says.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_with(folder, Verify::Quick, None)
    }

    /// Opens a folder, checking as much as asked, under its own protocol or another.
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
    /// Reads a folder back as it was written: what [`Dataset::open`] builds on, and what `inspect` shows.
    ///
    /// # Errors
    /// When it is not a data set, of another version, or not as its manifest says.
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
        let (parts, (users, items)) = rayon::join(
            || {
                PARTS
                    .par_iter()
                    .map(|(name, _)| PartFile::read(&folder.join(name), &manifest))
                    .collect()
            },
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
        let (lines, owner) = join_parts(users.len(), items.len(), &parts);
        drop(parts);
        let mut partition = Partition::new(lines, owner, false)?;
        partition.counts.valid_dropped = counts.valid_dropped;
        partition.counts.test_dropped = counts.test_dropped;
        if partition.counts != *counts {
            let problem = format!("counts differ: {counts:?}, found {:?}", partition.counts);
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

impl DatasetManifest {
    /// Reads the manifest of a folder, and nothing else.
    ///
    /// # Errors
    /// When there is none, or it is not one of ours.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("not JSON: {error}")))?;
        let format = value.get("format").and_then(serde_json::Value::as_str);
        if format != Some(FORMAT) {
            let found = format.map_or("none".into(), |format| format!("`{format}`"));
            return Err(Error::file(&path, format!("expected format `{FORMAT}`, found {found}")));
        }
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let found = version.map_or("none".into(), |version| version.to_string());
            return Err(Error::file(&path, format!("expected version {VERSION}, found {found}")));
        }
        serde_json::from_value(value).map_err(|error| Error::file(&path, error.to_string()))
    }
}

/// SHA-256 over the content alone: the two vocabularies ([`Vocab::to_bytes`], each after its length), then the flags for times and
/// weights, the row boundaries (starts, ends of train, ends of valid: u64) and the columns, all little-endian.
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
        hash_column(&mut hash, times, |time| time.to_le_bytes());
    }
    if let Some(weights) = &lines.weights {
        hash_column(&mut hash, weights, |weight| weight.to_le_bytes());
    }
    hex(&hash.finalize())
}

/// Size and hash of a file, or of a folder's Parquet files one after the other in the order of their names.
///
/// # Errors
/// When it cannot be read.
pub fn stamp(path: &Path) -> Result<Stamp> {
    let mut files = vec![path.to_path_buf()];
    if path.is_dir() {
        let inside = std::fs::read_dir(path).map_err(Error::io(path))?;
        let inside = inside.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>();
        files = inside.map_err(Error::io(path))?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
        files.sort_unstable();
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    for path in files {
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        loop {
            let n = file.read(&mut buffer).map_err(Error::io(&path))?;
            if n == 0 {
                break;
            }
            bytes += n as u64;
            hash.update(&buffer[..n]);
        }
    }
    Ok(Stamp { bytes, sha256: hex(&hash.finalize()) })
}

/// One part's file: rows by user.
struct PartFile {
    users: Vec<u32>,
    items: Vec<u32>,
    times: Option<Vec<i64>>,
    weights: Option<Vec<f32>>,
}

impl PartFile {
    fn read(path: &Path, manifest: &DatasetManifest) -> Result<Self> {
        let mut table = read_parquet(path)?;
        let part = Self {
            users: table.take_u32("user_number")?,
            items: table.take_u32("item_number")?,
            times: manifest.times.then(|| table.take_i64("time")).transpose()?,
            weights: manifest.weights.then(|| table.take_f32("weight")).transpose()?,
        };
        let problem = |problem: String| Err(Error::file(path, problem));
        for (column, values, n) in [
            ("user_number", &part.users, manifest.counts.users),
            ("item_number", &part.items, manifest.counts.items),
        ] {
            if let Some(row) = values.iter().position(|&value| value as usize >= n) {
                return problem(format!("row {row}: {column} {}, but there are {n}", values[row]));
            }
        }
        if !part.users.is_sorted() {
            return problem("rows are not user by user".into());
        }
        if part.weights.iter().flatten().any(|weight| !weight.is_finite()) {
            return problem("a weight is not finite".into());
        }
        Ok(part)
    }
}

/// Each user's rows of all parts, one part after the other.
fn join_parts(n_users: usize, n_items: usize, parts: &[PartFile]) -> (Timelines, Vec<Part>) {
    let n = parts.iter().map(|part| part.items.len()).sum();
    let mut lines = Timelines {
        n_items,
        starts: Vec::with_capacity(n_users + 1),
        items: Vec::with_capacity(n),
        times: parts[0].times.as_ref().map(|_| Vec::with_capacity(n)),
        weights: parts[0].weights.as_ref().map(|_| Vec::with_capacity(n)),
        parts: None,
    };
    let mut owner = Vec::with_capacity(n);
    let mut at = vec![0; parts.len()];
    lines.starts.push(0);
    for user in 0..n_users as u32 {
        for ((part, at), (_, name)) in parts.iter().zip(&mut at).zip(PARTS) {
            let own = part.users[*at..].iter().take_while(|&&other| other == user).count();
            let rows = *at..*at + own;
            *at += own;
            owner.resize(owner.len() + own, name);
            lines.items.extend_from_slice(&part.items[rows.clone()]);
            if let (Some(to), Some(from)) = (&mut lines.times, &part.times) {
                to.extend_from_slice(&from[rows.clone()]);
            }
            if let (Some(to), Some(from)) = (&mut lines.weights, &part.weights) {
                to.extend_from_slice(&from[rows]);
            }
        }
        lines.starts.push(lines.items.len());
    }
    (lines, owner)
}

fn read_ids(path: &Path) -> Result<Vocab> {
    read_parquet(path)?.take_vocab("id")
}

/// The vocabulary of what is left; untouched where nothing went.
fn choose(vocab: Vocab, kept: &[u32]) -> Result<Vocab> {
    if kept.len() == vocab.len() { Ok(vocab) } else { Ok(vocab.select(kept)?) }
}

pub(crate) fn check_place(folder: &Path, replace: bool) -> Result<()> {
    let empty = folder.read_dir().is_ok_and(|mut inside| inside.next().is_none());
    if !folder.exists() || empty {
        return Ok(());
    }
    if !replace {
        return Err(Error::file(folder, "exists; allow replacing it, or name another folder"));
    }
    // Another version's, or with damaged files: still ours to replace.
    let manifest = std::fs::read(folder.join(MANIFEST)).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
    if manifest.get("format").and_then(serde_json::Value::as_str) == Some(FORMAT) {
        return Ok(());
    }
    Err(Error::file(folder, "exists and is not a prepared data set; name another folder"))
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::simulate::{SimulateOptions, simulate};

    fn log() -> Log {
        let options = SimulateOptions { interactions: 5_000, ratings: true, ..Default::default() };
        simulate(&options).unwrap()
    }

    fn settings(text: &str) -> PrepareSettings {
        serde_json::from_str(text).unwrap()
    }

    fn prepared(text: &str) -> Prepared {
        Prepared::from_log(log(), None, &settings(text)).unwrap()
    }

    const USUAL: &str = r#"{"filter": {"user_core": 5, "item_core": 3}}"#;

    #[test]
    fn a_data_set_opens_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let mut written = prepared(USUAL);
        written.write(&folder, false).unwrap();
        let opened = Prepared::open(&folder, Verify::Full).unwrap();
        assert_eq!(opened.partition, written.partition);
        assert_eq!(opened.manifest.content, written.manifest.content);
        assert_eq!(opened.manifest.files, written.manifest.files);
        assert!(opened.users.iter().eq(written.users.iter()));
        assert!(opened.items.iter().eq(written.items.iter()));
        let here = written.into_dataset().unwrap();
        let there = Dataset::open(&folder).unwrap();
        assert_eq!(here.split.train, there.split.train);
        assert_eq!(here.split.test.targets(), there.split.test.targets());
        assert_eq!(here.split.train_valid(), there.split.train_valid());
    }

    #[test]
    fn own_ids_are_kept_through_the_filters() {
        let log = log();
        let prepared = prepared(r#"{"filter": {"user_core": 8, "item_core": 8}}"#);
        assert!(prepared.users.len() < log.n_users() && prepared.items.len() < log.n_items());
        let mut rows: Vec<_> = (0..log.len())
            .map(|row| {
                (
                    log.user_ids.id(log.users[row]),
                    log.item_ids.id(log.items[row]),
                    log.times.as_ref().unwrap()[row],
                )
            })
            .collect();
        rows.sort_unstable();
        let lines = &prepared.partition.lines;
        for user in 0..lines.n_users() {
            for row in lines.range(user) {
                let found = (
                    prepared.users.id(user as u32),
                    prepared.items.id(lines.items[row]),
                    lines.times.as_ref().unwrap()[row],
                );
                assert!(rows.binary_search(&found).is_ok(), "{found:?}");
            }
        }
    }

    #[test]
    fn the_same_log_and_settings_give_the_same_bytes() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let folder = root.path().join(name);
            pool.install(|| prepared(USUAL).write(&folder, false)).unwrap();
            std::fs::read(folder.join(MANIFEST)).unwrap()
        };
        let one = write("one", 1);
        assert_eq!(one, write("two", 2));
        assert_eq!(one, write("three", 3));
        let mut other = prepared(r#"{"filter": {"user_core": 12, "item_core": 3}}"#);
        other.write(&root.path().join("other"), false).unwrap();
        assert_ne!(
            other.manifest.content,
            DatasetManifest::read(&root.path().join("one")).unwrap().content
        );
    }

    #[test]
    fn only_a_data_set_is_replaced_and_only_when_allowed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        prepared(USUAL).write(&folder, false).unwrap();
        let error = prepared(USUAL).write(&folder, false).unwrap_err().to_string();
        assert!(error.ends_with("exists; allow replacing it, or name another folder"), "{error}");
        prepared(USUAL).write(&folder, true).unwrap();
        assert_eq!(root.path().read_dir().unwrap().count(), 1, "nothing is left beside it");
        let foreign = root.path().join("foreign");
        std::fs::create_dir(&foreign).unwrap();
        prepared(USUAL).write(&foreign, false).unwrap();
        std::fs::write(foreign.join(MANIFEST), r#"{"format": "rankstill artefact"}"#).unwrap();
        let error = prepared(USUAL).write(&foreign, true).unwrap_err().to_string();
        assert!(error.contains("not a prepared data set"), "{error}");
    }

    /// Every data file cut short, emptied, swapped or with a byte flipped is refused; none panics.
    #[test]
    fn damaged_folders_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        prepared(USUAL).write(&folder, false).unwrap();
        for name in file_names() {
            let path = folder.join(name);
            let good = std::fs::read(&path).unwrap();
            for bad in [&good[..good.len() / 2], &[][..]] {
                std::fs::write(&path, bad).unwrap();
                let error = Prepared::open(&folder, Verify::Quick).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
            }
            for at in (0..good.len()).step_by(1 + good.len() / 40) {
                let mut bad = good.clone();
                bad[at] ^= 0x55;
                std::fs::write(&path, bad).unwrap();
                _ = Prepared::open(&folder, Verify::Quick);
                assert!(Prepared::open(&folder, Verify::Full).is_err(), "{name} byte {at}");
            }
            std::fs::remove_file(&path).unwrap();
            assert!(Prepared::open(&folder, Verify::Quick).is_err());
            std::fs::write(&path, good).unwrap();
        }
        Prepared::open(&folder, Verify::Full).unwrap();
        let manifest = std::fs::read_to_string(folder.join(MANIFEST)).unwrap();
        for (from, to) in [
            ("\"version\": 1", "\"version\": 99"),
            ("rankstill data set", "something"),
            ("\"times\": true", "\"times\": 3"),
            ("\"train\": 0.7", "\"trian\": 0.7"),
            ("\"test.parquet\"", "\"tests.parquet\""),
            ("{", ""),
        ] {
            assert!(manifest.contains(from), "{from}");
            std::fs::write(folder.join(MANIFEST), manifest.replacen(from, to, 1)).unwrap();
            assert!(
                Prepared::open(&folder, Verify::Full).is_err() || from.contains("train"),
                "{from}"
            );
        }
    }

    /// Row counts and sizes can be made to fit; the numbers within are checked all the same.
    #[test]
    fn numbers_beyond_the_vocabulary_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let mut data = prepared(USUAL);
        data.write(&folder, false).unwrap();
        let path = folder.join("test.parquet");
        let mut table = read_parquet(&path).unwrap();
        let users = table.take_u32("user_number").unwrap();
        let mut items = table.take_u32("item_number").unwrap();
        items[3] = data.items.len() as u32;
        let table = ColumnTable::default()
            .with("user_number", users)
            .and_then(|t| t.with("item_number", items))
            .and_then(|t| t.with("time", table.take_i64("time")?))
            .and_then(|t| t.with("weight", table.take_f32("weight")?))
            .unwrap();
        write_table(&path, &table).unwrap();
        let mut manifest = DatasetManifest::read(&folder).unwrap();
        manifest.files.insert("test.parquet".into(), stamp(&path).unwrap());
        std::fs::write(folder.join(MANIFEST), serde_json::to_string(&manifest).unwrap()).unwrap();
        let error = Prepared::open(&folder, Verify::Quick).unwrap_err().to_string();
        assert!(error.contains("test.parquet: row 3: item"), "{error}");
    }

    #[test]
    fn settings_that_cannot_be_are_found_before_the_work() {
        for (text, start) in [
            (r#"{"split": {"kind": "chronological", "train": 2.0}}"#, "split.train: must be"),
            (
                r#"{"mask": {"test": "train"}, "history": {"test": "train+valid"}}"#,
                "history.test: ",
            ),
            (r#"{"split": {"kind": "ready_made"}}"#, "split.kind: `ready_made` needs"),
        ] {
            let error = Prepared::from_log(log(), None, &settings(text)).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
        assert!(serde_json::from_str::<PrepareSettings>(r#"{"filters": {}}"#).is_err());
    }
}
