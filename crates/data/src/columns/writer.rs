//! Writing tables, a chunk of rows at a time, in bounded memory.

use super::{Column, Kind, Table, parquet::ParquetSink, text::TextSink};
use crate::{Error, Result};
use rankstill_core::atomic_write::AtomicFile;
use std::io::BufWriter;
use std::path::Path;

/// The file formats that tables are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFile {
    /// Parquet, zstd.
    Parquet,
    /// Tab separated, with a header.
    Tsv,
    /// Comma separated, with a header.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

impl TableFile {
    /// By the extension.
    ///
    /// # Errors
    /// When it is none of the known ones.
    pub fn of_path(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => Ok(Self::Parquet),
            Some("tsv") => Ok(Self::Tsv),
            Some("csv") => Ok(Self::Csv),
            Some("jsonl") => Ok(Self::Jsonl),
            _ => Err(Error::file(
                path,
                "the extension says no format; `.parquet`, `.tsv`, `.csv`, `.jsonl` are known",
            )),
        }
    }
}

/// Writes a table that need not fit into memory. The file appears in its place at [`TableWriter::finish`]; dropped before, the
/// writer leaves no trace.
pub struct TableWriter {
    kinds: Vec<Kind>,
    names: Vec<String>,
    /// Rows that do not yet fill a row group: these, not the caller's chunks, decide the file's bytes.
    pending: Vec<Column>,
    sink: Sink,
}

enum Sink {
    Parquet(ParquetSink),
    Text(TextSink),
}

/// Rows of a Parquet row group: 8 MiB a column of 64-bit numbers.
const ROW_GROUP: usize = 1 << 20;

impl TableWriter {
    /// Begins a file, in the format that its extension says.
    ///
    /// # Errors
    /// When the extension is unknown or the file cannot be created.
    pub fn create(path: &Path, columns: &[(&str, Kind)]) -> Result<Self> {
        Self::create_as(path, TableFile::of_path(path)?, columns)
    }

    /// Begins a file in a given format.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create_as(path: &Path, format: TableFile, columns: &[(&str, Kind)]) -> Result<Self> {
        let file = BufWriter::with_capacity(1 << 16, AtomicFile::create(path)?);
        let sink = match format {
            TableFile::Parquet => Sink::Parquet(ParquetSink::new(file, columns)?),
            text => Sink::Text(TextSink::new(file, text, columns)?),
        };
        Ok(Self {
            kinds: columns.iter().map(|&(_, kind)| kind).collect(),
            names: columns.iter().map(|&(name, _)| name.to_owned()).collect(),
            pending: columns.iter().map(|&(_, kind)| Column::empty(kind)).collect(),
            sink,
        })
    }

    /// Adds rows: one column for each of the table's, in its order.
    ///
    /// # Errors
    /// When kinds or lengths do not fit, or the disk is full.
    pub fn write(&mut self, chunk: &[Column]) -> Result<()> {
        let n_rows = chunk.first().map_or(0, Column::len);
        let (expected, found) = (self.kinds.len(), chunk.len());
        if found != expected {
            return Err(Error::config("chunk", format!("{found} columns, expected {expected}")));
        }
        for ((column, &kind), name) in chunk.iter().zip(&self.kinds).zip(&self.names) {
            if column.kind() != kind || column.len() != n_rows {
                let found = format!("{} rows of {:?}", column.len(), column.kind());
                return Err(Error::config(name, format!("{found}, expected {n_rows} of {kind:?}")));
            }
        }
        match &mut self.sink {
            Sink::Text(sink) => sink.write(chunk, n_rows),
            Sink::Parquet(sink) => {
                let mut start = 0;
                while start < n_rows {
                    let held = self.pending.first().map_or(0, Column::len);
                    let end = n_rows.min(start + ROW_GROUP - held);
                    for (pending, column) in self.pending.iter_mut().zip(chunk) {
                        let fits = pending.extend(column, start..end);
                        debug_assert!(fits, "kinds were compared above");
                    }
                    if held + (end - start) == ROW_GROUP {
                        sink.write(&self.pending)?;
                        self.pending.iter_mut().for_each(Column::clear);
                    }
                    start = end;
                }
                Ok(())
            }
        }
    }

    /// Writes what is pending and puts the file into its place.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(self) -> Result<()> {
        let file = match self.sink {
            Sink::Text(sink) => sink.into_file(),
            Sink::Parquet(mut sink) => {
                if self.pending.first().is_some_and(|column| !column.is_empty()) {
                    sink.write(&self.pending)?;
                }
                sink.into_file()?
            }
        };
        let place = file.get_ref().path().to_path_buf();
        let file = file.into_inner().map_err(|error| Error::io(place)(error.into_error()))?;
        Ok(file.commit()?)
    }
}

/// Writes a whole table, in the format that the extension says.
///
/// # Errors
/// As [`TableWriter`].
pub fn write_table(path: &Path, table: &Table) -> Result<()> {
    let kinds = table.columns().iter().map(Column::kind);
    let columns: Vec<_> = table.names().iter().map(String::as_str).zip(kinds).collect();
    let mut writer = TableWriter::create(path, &columns)?;
    writer.write(table.columns())?;
    writer.finish()
}
