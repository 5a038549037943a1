//! What can go wrong with data.

use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One enum for the crate; messages are lower case and carry what was found and what would be right. A `line` counts from 1,
/// the header included; in Parquet, which has no lines, it is the row, also from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line with too few or too many columns.
    #[error("{path}:{line}: expected {expected} columns, found {found}", path = path.display())]
    Columns {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: u64,
        /// The right number.
        expected: usize,
        /// The found one.
        found: usize,
    },
    /// A field that is not what its column holds.
    #[error("{path}:{line}: column `{column}`: expected {expected}, found {found}", path = path.display())]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: u64,
        /// Which column.
        column: String,
        /// What would be right.
        expected: String,
        /// What was found, in quotes where it is text.
        found: String,
    },
    /// A line that is wrong in another way.
    #[error("{path}:{line}: {problem}", path = path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A column that the file does not have.
    #[error("{path}: no {wanted}; the columns are {existing}", path = path.display())]
    NoColumn {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What there is.
        existing: String,
    },
    /// A file that is wrong as a whole: empty, truncated, of an unknown format.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Reading or writing failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A setting that cannot be.
    #[error("{key}: {problem}")]
    Config {
        /// Which, as a dotted path.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A data shape refused what it was given.
    #[error(transparent)]
    Core(#[from] rankstill_core::Error),
}

impl Error {
    /// For `map_err` on I/O.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// A file that is wrong as a whole.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// A setting that cannot be.
    pub fn config(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { key: key.into(), problem: problem.into() }
    }
}

/// `` `a`, `b`, `c` ``, for messages that list what is valid.
pub fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<_> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if quoted.is_empty() { "none".into() } else { quoted.join(", ") }
}
