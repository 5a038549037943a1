//! Reading interaction logs: the formats, how the format is recognised, and the options that override it.
//!
//! All readers stream. Text may be compressed with gzip, zstd or bzip2, recognised by its first bytes. It must
//! be UTF-8, with or without a byte order mark; lines may end in LF, CRLF or CR. Lines at the beginning that
//! start with `#` or `%` are comments.
//!
//! Nothing is guessed silently: a format is accepted if no other one fits, and what was understood comes with
//! the log ([`Understood`]).

mod date_time;
mod fields;
mod guess;
mod items;
mod json;
mod lines;
mod log_builder;
mod log_source;
mod memory;
mod options;
mod parquet;
mod records;
mod roles;
mod separator;
mod source;
mod table;
mod times;
mod understood;

pub(crate) use date_time::shown_time;
pub use items::{ItemText, read_items};
pub(crate) use log_builder::{LogBuilder, Numbers, Rows};
pub use log_source::LogSource;
pub use memory::TableReader;
pub use options::{ColumnNames, ReadOptions};
pub(crate) use roles::{ColumnAliases, GRADED_ALIASES, PAIR_ALIASES, RANKING_ALIASES};
pub(crate) use source::OpenFile;
pub use times::NumberUnit;
pub use understood::{FirstRow, Layout, Purpose, TimeSpan, Understood, UsedColumns};

use crate::{Error, Log, Result, error::listed};
use guess::{Evidence, Reading, qrels_table, run_table};
use log_source::LogPart;
use roles::LOG_ALIASES;
use separator::Separator;
use std::path::Path;
use table::{Columns, Header, Table};

/// A file format of interaction logs.
pub struct Format {
    /// The name in [`ReadOptions::format`].
    pub name: &'static str,
    /// A one-line description.
    pub about: &'static str,
    /// How a file that is said to have this format is read.
    reading: fn(&Evidence<'_>, &ReadOptions) -> Reading,
}

/// All formats.
pub static FORMATS: &[Format] = &[
    Format {
        name: "parquet",
        about: "Parquet; timestamps in any unit, dates, decimals",
        reading: |_, _| Reading::Parquet,
    },
    Format {
        name: "jsonl",
        about: "JSON lines: one object per line, with keys such as `user_id`, `item_id`, `timestamp`, `rating`",
        reading: |_, _| Reading::JsonLines,
    },
    Format {
        name: "json",
        about: "JSON: an array of objects, or objects over several lines",
        reading: |_, _| Reading::Json,
    },
    Format {
        name: "recbole",
        about: "RecBole atomic files: a header of `name:type`, columns separated by tabs",
        reading: |evidence, options| {
            Reading::Table(evidence.typed().unwrap_or(Table {
                format: "recbole",
                separator: Separator::Byte(b'\t'),
                quoting: options.quoting.unwrap_or(false),
                header: Header::Typed,
                columns: Columns::ByContent,
            }))
        },
    },
    Format {
        name: "movielens",
        about: "MovieLens: `u.data`, `ratings.dat` (`user::item::rating::time`) and `ratings.csv`",
        reading: |evidence, _| Reading::Table(movielens(evidence)),
    },
    Format {
        name: "tsv",
        about: "columns separated by tabs, with or without a header",
        reading: |evidence, options| {
            let tab = Separator::Byte(b'\t');
            let table = evidence.table_as_named(tab);
            let separator = if options.delimiter.is_some() { table.separator } else { tab };
            Reading::Table(Table { format: "tsv", separator, ..table })
        },
    },
    Format {
        name: "csv",
        about: "columns separated by commas, semicolons, vertical bars, blanks, Ctrl-A or `::`, with or without a header",
        reading: |evidence, _| {
            let table = evidence.table_as_named(Separator::Byte(b','));
            Reading::Table(Table { format: "csv", ..table })
        },
    },
    Format {
        name: "triples",
        about: "`user item [rating [time]]` separated by blanks, without a header (the RD authors' files)",
        reading: |_, options| {
            Reading::Table(Table {
                format: "triples",
                separator: Separator::Blanks,
                quoting: options.quoting.unwrap_or(false),
                header: Header::None,
                columns: Columns::ByPosition,
            })
        },
    },
    Format {
        name: "counted_lines",
        about: "one user per line: `count item item ...`; the user is the line number, from 0 (CiteULike's users.dat)",
        reading: |_, _| Reading::CountedLines,
    },
    Format {
        name: "user_lines",
        about: "one user per line: `user item item ...` (LightGCN's train.txt)",
        reading: |_, _| Reading::UserLines { strict: false },
    },
    Format {
        name: "trec_qrels",
        about: "TREC judgements: `query 0 item grade`, separated by blanks",
        reading: |_, _| Reading::Table(qrels_table()),
    },
    Format {
        name: "trec_run",
        about: "TREC run: `query Q0 item rank score tag`, separated by blanks",
        reading: |_, _| Reading::Table(run_table()),
    },
];

/// MovieLens' files have no header, or one of known names.
fn movielens(evidence: &Evidence<'_>) -> Table {
    let table = evidence.table_as_named(Separator::Byte(b'\t'));
    let header = if evidence.named().is_some() { Header::Plain } else { Header::None };
    Table { format: "movielens", header, columns: Columns::ByPosition, ..table }
}

/// A log, and how its files were understood.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFile {
    /// The interactions.
    pub log: Log,
    /// Format, columns, times and notes. `None` if all files are empty.
    pub understood: Option<Understood>,
}

/// Reads a log: what [`LogSource`] finds at the path, in any of [`FORMATS`]. `progress` receives the bytes
/// read so far and the total, both as stored on disk.
///
/// # Errors
/// For any problem with a file, with path and line; also when there are no interactions.
pub fn read_log(
    path: &Path,
    options: &ReadOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<LogFile> {
    read_source(&LogSource::open(path)?, options, progress)
}

/// Reads a log from files that have been found.
///
/// # Errors
/// As [`read_log`].
pub fn read_source(
    source: &LogSource,
    options: &ReadOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<LogFile> {
    let (rows, understood) = read_rows(source, options, &LOG_ALIASES, progress)?;
    let log = rows.into_log();
    if log.is_empty() {
        return Err(Error::file(source.path(), "the file holds no interactions"));
    }
    Ok(LogFile { log, understood })
}

/// Reads a log from bytes in memory; messages use `name` as the path.
///
/// # Errors
/// As [`read_log`].
pub fn read_log_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<LogFile> {
    read_source(&LogSource::memory(name, bytes), options, &mut |_, _| ())
}

/// Reads rows, of which there may be none, finding columns by the given names.
pub(crate) fn read_rows(
    source: &LogSource,
    options: &ReadOptions,
    aliases: &'static ColumnAliases,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Rows, Option<Understood>)> {
    let mut builder = LogBuilder::new(aliases, options, source.total_bytes(), progress);
    let several = source.parts().len() > 1;
    let mut empty = 0;
    for part in source.parts() {
        let file = part.open_file()?;
        // Sinks leave empty parts.
        if several && file.head().bytes.is_empty() {
            empty += 1;
            continue;
        }
        read_part(part, file, options, &mut builder)?;
    }
    if empty > 0 {
        builder.note(format!("{empty} empty files were passed over"));
    }
    if let Some(other) = source.passed_over().first() {
        let n = source.passed_over().len();
        builder.note(format!("{n} files were passed over, such as {}", other.display()));
    }
    Ok(builder.finish())
}

fn read_part(
    part: &LogPart,
    mut source: OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
) -> Result<()> {
    if source.head().bytes.is_empty() {
        return Err(Error::file(source.path(), "the file is empty"));
    }
    if options.comments.unwrap_or(true) {
        source.skip_comments()?;
        if let Some(first) = source.comments().first() {
            let n = source.comments().len();
            let lines = if n == 1 { "line was" } else { "lines were" };
            builder.note(format!("{n} comment {lines} passed over, the first: {first}"));
        }
    }
    let purpose = builder.aliases.purpose;
    let reading = match &options.format {
        Some(name) => {
            let format = named(name)?;
            let head = source.head();
            (format.reading)(&Evidence::new(&head, options, purpose)?, options)
        }
        None => Reading::guess(&source, options, purpose)?,
    };
    let path = part.path();
    match reading {
        Reading::Parquet => parquet::read_log(&source, options, builder, &part.keys),
        Reading::JsonLines => json::read_lines(source, options, builder, &part.keys),
        Reading::Json => json::read_values(source, options, builder, &part.keys),
        Reading::Table(table) => table.read(source, options, builder, &part.keys),
        Reading::UserLines { .. } | Reading::CountedLines if !options.equals.is_empty() => {
            Err(Error::file(path, "`equals` needs columns; lines of users have none"))
        }
        Reading::UserLines { strict } => lines::read_user_lines(source, builder, strict),
        Reading::CountedLines => lines::read_counted_lines(source, builder),
    }
}

fn named(name: &str) -> Result<&'static Format> {
    // `trec` is either of both.
    let name = if name == "trec" { "trec_run" } else { name };
    FORMATS.iter().find(|format| format.name == name).ok_or_else(|| {
        let names = listed(FORMATS.iter().map(|format| format.name));
        Error::config("format", format!("unknown format `{name}`, expected one of {names}"))
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
