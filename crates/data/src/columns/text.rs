//! Tables as TSV, CSV (both quoted as in RFC 4180, where needed) and JSON lines.

use super::{Column, ColumnKind, TableFormat};
use crate::{Error, Result};
use rankstill_core::atomic_write::AtomicFile;
use std::io::{self, BufWriter, Write};

pub(super) struct TextSink {
    file: BufWriter<AtomicFile>,
    /// `None` for JSON lines.
    delimiter: Option<u8>,
    /// For JSON lines: `{"name":` and `,"name":`.
    keys: Vec<String>,
}

impl TextSink {
    pub(super) fn new(
        file: BufWriter<AtomicFile>,
        format: TableFormat,
        columns: &[(&str, ColumnKind)],
    ) -> Result<Self> {
        let delimiter = match format {
            TableFormat::Tsv => Some(b'\t'),
            TableFormat::Csv => Some(b','),
            TableFormat::Jsonl | TableFormat::Parquet => None,
        };
        let keys = columns.iter().enumerate().map(|(i, (name, _))| {
            let open = if i == 0 { '{' } else { ',' };
            format!("{open}{}:", serde_json::Value::from(*name))
        });
        let mut sink = Self { file, delimiter, keys: keys.collect() };
        if let Some(delimiter) = delimiter {
            let header = columns.iter().enumerate().try_for_each(|(i, (name, _))| {
                separate(&mut sink.file, delimiter, i)?;
                quoted(&mut sink.file, delimiter, name)
            });
            header.and_then(|()| sink.file.write_all(b"\n")).map_err(|e| sink.failed(e))?;
        }
        Ok(sink)
    }

    pub(super) fn write(&mut self, chunk: &[Column], n_rows: usize) -> Result<()> {
        let Self { file, delimiter, keys } = self;
        let done = (0..n_rows).try_for_each(|row| match *delimiter {
            Some(delimiter) => {
                for (i, column) in chunk.iter().enumerate() {
                    separate(file, delimiter, i)?;
                    delimited_cell(file, delimiter, column, row)?;
                }
                file.write_all(b"\n")
            }
            None => {
                for (key, column) in keys.iter().zip(chunk) {
                    file.write_all(key.as_bytes())?;
                    json_cell(file, column, row)?;
                }
                file.write_all(b"}\n")
            }
        });
        done.map_err(|error| self.failed(error))
    }

    pub(super) fn into_file(self) -> BufWriter<AtomicFile> {
        self.file
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { path: self.file.get_ref().path().to_path_buf(), source }
    }
}

fn separate(out: &mut impl Write, delimiter: u8, i: usize) -> io::Result<()> {
    if i == 0 { Ok(()) } else { out.write_all(&[delimiter]) }
}

/// Floats are written in the shortest form that reads back as the same float.
fn delimited_cell(
    out: &mut impl Write,
    delimiter: u8,
    column: &Column,
    row: usize,
) -> io::Result<()> {
    match column {
        Column::I64(values) => write!(out, "{}", values[row]),
        Column::U32(values) => write!(out, "{}", values[row]),
        Column::F32(values) => write!(out, "{}", values[row]),
        Column::F64(values) => write!(out, "{}", values[row]),
        Column::Text(values) => quoted(out, delimiter, values.get(row)),
    }
}

fn quoted(out: &mut impl Write, delimiter: u8, text: &str) -> io::Result<()> {
    let special = |&byte: &u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    // Quoted, an empty text is not a blank line, and a byte order mark is part of the text.
    if text.is_empty() || text.starts_with('\u{feff}') || text.as_bytes().iter().any(special) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_all(text.as_bytes())
    }
}

/// JSON has no NaN or infinity: they become `null`.
fn json_cell(out: &mut impl Write, column: &Column, row: usize) -> io::Result<()> {
    match column {
        Column::F32(values) if !values[row].is_finite() => out.write_all(b"null"),
        Column::F64(values) if !values[row].is_finite() => out.write_all(b"null"),
        Column::Text(values) => Ok(serde_json::to_writer(out, values.get(row))?),
        number => delimited_cell(out, b',', number, row),
    }
}
