//! Writing tables chunk by chunk, in bounded memory.

use super::{Column, ColumnKind, ColumnTable, TableFormat, parquet::ParquetSink, text::TextSink};
use crate::{Error, Result};
use rankstill_core::atomic_write::AtomicFile;
use std::io::BufWriter;
use std::path::Path;

/// Writes a table that need not fit into memory. The file appears under its name at [`TableWriter::finish`];
/// a writer that is dropped before leaves no file.
pub struct TableWriter {
    kinds: Vec<ColumnKind>,
    names: Vec<String>,
    /// Rows that do not fill a row group yet, so that the bytes of the file do not depend on the chunks.
    pending: Vec<Column>,
    sink: Sink,
}

enum Sink {
    Parquet(ParquetSink),
    Text(TextSink),
}

/// Rows of a Parquet row group: 8 MiB per column of 64-bit numbers.
const ROW_GROUP: usize = 1 << 20;

impl TableWriter {
    /// Starts a file in the format of its extension.
    ///
    /// # Errors
    /// When the extension is unknown or the file cannot be created.
    pub fn create(path: &Path, columns: &[(&str, ColumnKind)]) -> Result<Self> {
        let format = TableFormat::of_path(path)?;
        let file = BufWriter::with_capacity(1 << 16, AtomicFile::create(path)?);
        let sink = match format {
            TableFormat::Parquet => Sink::Parquet(ParquetSink::new(file, columns)?),
            text => Sink::Text(TextSink::new(file, text, columns)?),
        };
        Ok(Self {
            kinds: columns.iter().map(|&(_, kind)| kind).collect(),
            names: columns.iter().map(|&(name, _)| name.to_owned()).collect(),
            pending: columns.iter().map(|&(_, kind)| Column::empty(kind)).collect(),
            sink,
        })
    }

    /// Adds rows: one column for each column of the table, in order.
    ///
    /// # Errors
    /// When kinds or lengths do not match, or writing fails.
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

    /// Writes pending rows and moves the file to its path.
    ///
    /// # Errors
    /// When writing fails.
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

/// Writes a whole table in the format of the extension.
///
/// # Errors
/// As [`TableWriter`].
pub fn write_table(path: &Path, table: &ColumnTable) -> Result<()> {
    let kinds = table.columns().iter().map(Column::kind);
    let columns: Vec<_> = table.names().iter().map(String::as_str).zip(kinds).collect();
    let mut writer = TableWriter::create(path, &columns)?;
    writer.write(table.columns())?;
    writer.finish()
}
