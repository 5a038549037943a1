//! Flat tables: columns of numbers or text, written as Parquet, TSV, CSV or JSON lines and read back from
//! Parquet. Prepared data sets, rankings, per-case metrics, simulated logs and recommendations are such
//! tables.
//!
//! Equal content gives equal bytes: files hold no time, path or host name.

pub(crate) mod parquet;
mod text;
mod writer;

pub use parquet::read_parquet;
pub use writer::{TableWriter, write_table};

use crate::{Error, Result, error::listed};
use rankstill_core::Vocab;
use std::path::{Path, PathBuf};

/// The type of the values in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Signed 64-bit integers.
    I64,
    /// Unsigned 32-bit integers.
    U32,
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
    /// UTF-8 text.
    Text,
}

/// The file formats that tables are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Parquet, zstd.
    Parquet,
    /// Tab separated, with a header.
    Tsv,
    /// Comma separated, with a header.
    Csv,
    /// JSON lines: one object per row.
    Jsonl,
}

impl TableFormat {
    /// The format of a path's extension.
    ///
    /// # Errors
    /// When the extension is unknown.
    pub fn of_path(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => Ok(Self::Parquet),
            Some("tsv") => Ok(Self::Tsv),
            Some("csv") => Ok(Self::Csv),
            Some("jsonl") => Ok(Self::Jsonl),
            _ => Err(Error::file(
                path,
                "unknown extension, expected `.parquet`, `.tsv`, `.csv` or `.jsonl`",
            )),
        }
    }
}

/// A column in memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Signed 64-bit integers.
    I64(Vec<i64>),
    /// Unsigned 32-bit integers.
    U32(Vec<u32>),
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// UTF-8 text.
    Text(Texts),
}

/// Many short strings in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: String,
    ends: Vec<usize>,
}

/// Named columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnTable {
    /// The file that the table was read from, for messages; empty for a table built in memory.
    path: PathBuf,
    names: Vec<String>,
    columns: Vec<Column>,
}

impl ColumnTable {
    /// Adds a column.
    ///
    /// # Errors
    /// When the name is taken or the length differs from that of the other columns.
    pub fn push(&mut self, name: impl Into<String>, column: impl Into<Column>) -> Result<()> {
        let (name, column) = (name.into(), column.into());
        if self.names.contains(&name) {
            return Err(Error::config(name, "two columns have this name"));
        }
        if !self.columns.is_empty() && column.len() != self.n_rows() {
            let (found, expected) = (column.len(), self.n_rows());
            return Err(Error::config(name, format!("{found} rows, expected {expected}")));
        }
        self.names.push(name);
        self.columns.push(column);
        Ok(())
    }

    /// Adds a column, for building a table in one expression.
    ///
    /// # Errors
    /// As [`ColumnTable::push`].
    pub fn with(mut self, name: impl Into<String>, column: impl Into<Column>) -> Result<Self> {
        self.push(name, column)?;
        Ok(self)
    }

    /// Appends the rows of a table with the same columns, which was read from `path`.
    pub(crate) fn append(&mut self, other: &Self, path: &Path) -> Result<()> {
        let pairs = || self.columns.iter().zip(&other.columns);
        if self.names != other.names || pairs().any(|(own, next)| own.kind() != next.kind()) {
            let (found, expected) = (listed(&other.names), listed(&self.names));
            let problem =
                format!("expected the columns of the file before, {expected}, found {found}");
            return Err(Error::file(path, problem));
        }
        for (own, next) in self.columns.iter_mut().zip(&other.columns) {
            own.extend(next, 0..next.len());
        }
        Ok(())
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.columns.first().map_or(0, Column::len)
    }

    /// The names of the columns, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Column> {
        self.names.iter().position(|known| known == name).map(|at| &self.columns[at])
    }

    /// Removes a column and returns it.
    ///
    /// # Errors
    /// When there is no column of this name; the message lists the columns that exist.
    pub fn take(&mut self, name: &str) -> Result<Column> {
        match self.names.iter().position(|known| known == name) {
            Some(at) => {
                self.names.remove(at);
                Ok(self.columns.remove(at))
            }
            None => Err(Error::NoColumn {
                path: self.path.clone(),
                wanted: format!("column `{name}`"),
                existing: listed(&self.names),
            }),
        }
    }

    /// Removes a column of 32-bit unsigned integers and returns it. Signed ones will do where all fit: many programs have no others.
    ///
    /// # Errors
    /// When there is no column of this name, or its values are of another kind.
    pub fn take_u32(&mut self, name: &str) -> Result<Vec<u32>> {
        match self.take(name)? {
            Column::U32(values) => Ok(values),
            Column::I64(values) if values.iter().all(|&value| u32::try_from(value).is_ok()) => {
                Ok(values.into_iter().map(|value| value as u32).collect())
            }
            other => Err(self.wrong_kind(name, ColumnKind::U32, &other)),
        }
    }

    /// Removes a column of 64-bit integers and returns it.
    ///
    /// # Errors
    /// As [`ColumnTable::take_u32`].
    pub fn take_i64(&mut self, name: &str) -> Result<Vec<i64>> {
        match self.take(name)? {
            Column::I64(values) => Ok(values),
            other => Err(self.wrong_kind(name, ColumnKind::I64, &other)),
        }
    }

    /// Removes a column of 32-bit floats and returns it.
    ///
    /// # Errors
    /// As [`ColumnTable::take_u32`].
    pub fn take_f32(&mut self, name: &str) -> Result<Vec<f32>> {
        match self.take(name)? {
            Column::F32(values) => Ok(values),
            other => Err(self.wrong_kind(name, ColumnKind::F32, &other)),
        }
    }

    /// Removes a column of distinct ids, integers or text, and returns it as a vocabulary.
    ///
    /// # Errors
    /// When there is no column of this name, its values are of another kind, or an id occurs twice.
    pub fn take_vocab(&mut self, name: &str) -> Result<Vocab> {
        match self.take(name)? {
            Column::I64(ids) => Ok(Vocab::from_ints(ids)?),
            Column::Text(ids) => Ok(Vocab::from_ids(ids.iter())?),
            other => Err(self.wrong_kind(name, ColumnKind::Text, &other)),
        }
    }

    fn wrong_kind(&self, name: &str, expected: ColumnKind, found: &Column) -> Error {
        let problem =
            format!("column `{name}`: expected {expected:?} values, found {:?}", found.kind());
        Error::file(&self.path, problem)
    }
}

impl Column {
    /// A column without rows.
    #[must_use]
    pub fn empty(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::I64 => Self::I64(Vec::new()),
            ColumnKind::U32 => Self::U32(Vec::new()),
            ColumnKind::F32 => Self::F32(Vec::new()),
            ColumnKind::F64 => Self::F64(Vec::new()),
            ColumnKind::Text => Self::Text(Texts::default()),
        }
    }

    /// The original ids of a vocabulary, by number: integers if all of them are.
    #[must_use]
    pub fn of_vocab(vocab: &Vocab) -> Self {
        match vocab.as_ints() {
            Some(ids) => Self::I64(ids.to_vec()),
            None => Self::Text(vocab.iter().collect()),
        }
    }

    /// The original ids of these numbers: integers if all ids of the vocabulary are, so that the kind does
    /// not change from one chunk of rows to the next.
    ///
    /// # Panics
    /// When a number is not in the vocabulary.
    #[must_use]
    pub fn of_ids(vocab: &Vocab, numbers: &[u32]) -> Self {
        match vocab.as_ints() {
            Some(ids) => Self::I64(numbers.iter().map(|&number| ids[number as usize]).collect()),
            None => Self::Text(numbers.iter().map(|&number| vocab.id(number)).collect()),
        }
    }

    /// The kind that [`Column::of_ids`] returns for this vocabulary.
    #[must_use]
    pub fn kind_of_ids(vocab: &Vocab) -> ColumnKind {
        if vocab.as_ints().is_some() { ColumnKind::I64 } else { ColumnKind::Text }
    }

    /// The kind of its values.
    #[must_use]
    pub fn kind(&self) -> ColumnKind {
        match self {
            Self::I64(_) => ColumnKind::I64,
            Self::U32(_) => ColumnKind::U32,
            Self::F32(_) => ColumnKind::F32,
            Self::F64(_) => ColumnKind::F64,
            Self::Text(_) => ColumnKind::Text,
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::I64(values) => values.len(),
            Self::U32(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends rows of another column of the same kind; returns `false` and adds nothing when the kinds differ.
    pub(crate) fn extend(&mut self, other: &Self, rows: std::ops::Range<usize>) -> bool {
        match (self, other) {
            (Self::I64(to), Self::I64(from)) => to.extend_from_slice(&from[rows]),
            (Self::U32(to), Self::U32(from)) => to.extend_from_slice(&from[rows]),
            (Self::F32(to), Self::F32(from)) => to.extend_from_slice(&from[rows]),
            (Self::F64(to), Self::F64(from)) => to.extend_from_slice(&from[rows]),
            (Self::Text(to), Self::Text(from)) => rows.for_each(|row| to.push(from.get(row))),
            _ => return false,
        }
        true
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::I64(values) => values.clear(),
            Self::U32(values) => values.clear(),
            Self::F32(values) => values.clear(),
            Self::F64(values) => values.clear(),
            Self::Text(values) => values.clear(),
        }
    }
}

impl Texts {
    /// Appends a string.
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `i`.
    ///
    /// # Panics
    /// When `i` is out of range.
    #[must_use]
    pub fn get(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    /// All strings, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl<S: AsRef<str>> FromIterator<S> for Texts {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let mut out = Self::default();
        texts.into_iter().for_each(|text| out.push(text.as_ref()));
        out
    }
}

impl From<Vec<i64>> for Column {
    fn from(values: Vec<i64>) -> Self {
        Self::I64(values)
    }
}

impl From<Vec<u32>> for Column {
    fn from(values: Vec<u32>) -> Self {
        Self::U32(values)
    }
}

impl From<Vec<f32>> for Column {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl From<Vec<f64>> for Column {
    fn from(values: Vec<f64>) -> Self {
        Self::F64(values)
    }
}

impl From<Texts> for Column {
    fn from(values: Texts) -> Self {
        Self::Text(values)
    }
}
