//! Reading interaction logs: the formats, how the format is guessed, and the options that override every guess.
//!
//! All readers stream. Text may be compressed with gzip or zstd, recognised by its first bytes. It must be
//! UTF-8, with or without a byte order mark; lines may end in LF, CRLF or CR.

mod counted_lines;
mod date_time;
mod delimited;
mod fields;
mod items;
mod jsonl;
mod log_builder;
mod movielens;
mod parquet;
mod recbole;
mod source;
mod triples;
mod user_lines;

pub(crate) use fields::{ColumnAliases, PAIR_ALIASES, RANKING_ALIASES};
pub use items::{ItemText, read_items};
pub(crate) use log_builder::LogBuilder;
pub(crate) use source::{LineReader, OpenFile};

use crate::{Error, Log, Result, error::listed};
use bytes::Bytes;
use fields::LOG_ALIASES;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A file format of interaction logs.
pub struct Format {
    /// The name in [`ReadOptions::format`].
    pub name: &'static str,
    /// A one-line description.
    pub about: &'static str,
    /// Whether the beginning of a file looks like this format.
    sniff: fn(&Head<'_>, &ReadOptions) -> bool,
    /// Reads the whole file.
    read: fn(OpenFile, &ReadOptions, &mut LogBuilder<'_>) -> Result<()>,
}

/// All formats; the first whose `sniff` matches is the guess.
pub static FORMATS: &[Format] = &[
    parquet::FORMAT,
    jsonl::FORMAT,
    recbole::FORMAT,
    movielens::FORMAT,
    delimited::TSV,
    delimited::CSV,
    counted_lines::FORMAT,
    triples::FORMAT,
    user_lines::FORMAT,
];

/// How to read a log. A value of `None` is guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// The name of one of [`FORMATS`].
    pub format: Option<String>,
    /// The names of the columns.
    pub columns: ColumnNames,
    /// The column separator of `csv`, `tsv` and `recbole`; an ASCII character.
    pub delimiter: Option<char>,
    /// Whether the first line of `csv` and `tsv` names the columns. Without a header the columns are called
    /// `1`, `2`, and so on; by default they are user, item, weight, time.
    pub header: Option<bool>,
    /// Whether fields of `csv` and `tsv` may be in double quotes (RFC 4180). `true` by default.
    pub quoting: Option<bool>,
    /// Times are multiplied by this before they are stored as whole numbers; 1000 keeps milliseconds. 1 by
    /// default.
    pub time_scale: Option<u32>,
}

/// The names of the columns to read. `None`: guessed from common names. Empty: the column is not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnNames {
    /// The user column; guessed from `user_id`, `userId`, `user`, `uid` and the like.
    pub user: Option<String>,
    /// The item column; guessed from `item_id`, `movieId`, `item`, `iid`, `asin` and the like.
    pub item: Option<String>,
    /// The time column; guessed from `timestamp`, `time`, `ts`, `date` and the like. Whole numbers are kept
    /// as they are, whatever their unit; ISO 8601 dates and times (`2012-07-14T12:33:01Z`) become Unix
    /// seconds, in UTC unless an offset is given.
    pub time: Option<String>,
    /// The weight column; guessed from `rating`, `weight`, `count`, `score` and the like.
    pub weight: Option<String>,
}

/// Reads a log: a file in any of [`FORMATS`], or a folder of Parquet files in the order of their names.
/// `progress` receives the bytes read so far and the total, both as stored on disk.
///
/// # Errors
/// For any problem with the file, with path and line; also when it holds no interactions.
pub fn read_log(
    path: &Path,
    options: &ReadOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Log> {
    let log = read_with(path, options, &LOG_ALIASES, progress)?;
    if log.is_empty() {
        return Err(Error::file(path, "the file holds no interactions"));
    }
    Ok(log)
}

/// Reads a log from bytes in memory; messages use `name` as the path.
///
/// # Errors
/// As [`read_log`].
pub fn read_log_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Log> {
    let mut progress = |_, _| ();
    let mut builder = LogBuilder::new(&LOG_ALIASES, bytes.len() as u64, &mut progress);
    let source = OpenFile::memory(name, Bytes::copy_from_slice(bytes))?;
    read_source(source, options, &mut builder)?;
    let log = builder.into_log();
    if log.is_empty() {
        return Err(Error::file(name, "the file holds no interactions"));
    }
    Ok(log)
}

/// Reads a log that may be empty, guessing columns from the given names.
pub(crate) fn read_with(
    path: &Path,
    options: &ReadOptions,
    names: &'static ColumnAliases,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Log> {
    let files = parts(path)?;
    let total = files.iter().map(|file| file.metadata().map_or(0, |data| data.len())).sum();
    let mut builder = LogBuilder::new(names, total, progress);
    for file in &files {
        read_source(OpenFile::open(file)?, options, &mut builder)?;
    }
    Ok(builder.into_log())
}

/// The file itself, or the Parquet files of a folder.
fn parts(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
        let file = entry.map_err(Error::io(path))?.path();
        if file.is_file() && file.extension().is_some_and(|extension| extension == "parquet") {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Error::file(
            path,
            "the folder holds no `.parquet` files, expected a file or a folder of Parquet files",
        ));
    }
    files.sort();
    Ok(files)
}

fn read_source(
    source: OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
) -> Result<()> {
    if source.head().bytes.is_empty() {
        return Err(Error::file(source.path(), "the file is empty"));
    }
    let format = match &options.format {
        Some(name) => named(name)?,
        None => guess(&source, options)?,
    };
    (format.read)(source, options, builder)
}

fn named(name: &str) -> Result<&'static Format> {
    FORMATS.iter().find(|format| format.name == name).ok_or_else(|| {
        let names = listed(FORMATS.iter().map(|format| format.name));
        Error::config("format", format!("unknown format `{name}`, expected one of {names}"))
    })
}

fn guess(source: &OpenFile, options: &ReadOptions) -> Result<&'static Format> {
    let sample = source.head();
    FORMATS.iter().find(|format| (format.sniff)(&sample, options)).ok_or_else(|| {
        let names = listed(FORMATS.iter().map(|format| format.name));
        Error::file(
            source.path(),
            format!("cannot guess the format; set `format` to one of {names}"),
        )
    })
}

/// The beginning of a file, decompressed.
pub(crate) struct Head<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether this is the whole file.
    pub(crate) whole: bool,
}

impl<'a> Head<'a> {
    /// Complete lines that are not blank.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes: &'a [u8] = self.bytes;
        let end = if self.whole {
            bytes.len()
        } else {
            bytes.iter().rposition(|&byte| byte == b'\n' || byte == b'\r').unwrap_or(bytes.len())
        };
        bytes[..end]
            .split(|&byte| byte == b'\n' || byte == b'\r')
            .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
    }

    /// The first line, or an empty one.
    pub(crate) fn first_line(&self) -> &'a [u8] {
        self.lines().next().unwrap_or_default()
    }
}
