//! The errors of this crate.

use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Messages say what was found and what would be right. A `line` counts from 1, including the header; in
/// Parquet, which has no lines, it is the row, also from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line with too few or too many columns.
    #[error("{path}:{line}: expected {expected} columns, found {found}", path = path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The number of columns that the line should have.
        expected: usize,
        /// The number that it has.
        found: usize,
    },
    /// A field whose value does not fit its column.
    #[error("{path}:{line}: column `{column}`: expected {expected}, found {found}", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The column.
        column: String,
        /// What would be right.
        expected: String,
        /// What was found, in quotes where it is text.
        found: String,
    },
    /// A line with any other problem.
    #[error("{path}:{line}: {problem}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A column that the file lacks.
    #[error("{path}: no {wanted}; the columns are {existing}", path = path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column that was looked for.
        wanted: String,
        /// The columns of the file.
        existing: String,
    },
    /// A file that is wrong as a whole: empty, truncated, of an unknown format.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Reading or writing failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// An invalid setting.
    #[error("{key}: {problem}")]
    Config {
        /// The setting, as a dotted path.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// An error of `core`, such as an inconsistent data shape.
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

    /// An invalid setting.
    pub fn config(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { key: key.into(), problem: problem.into() }
    }
}

/// `` `a`, `b`, `c` ``, for messages that list what is valid.
pub fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<_> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if quoted.is_empty() { "none".into() } else { quoted.join(", ") }
}
