//! Parquet through the low-level column readers and writers, without Arrow: a batch of one column at a time, so memory does not
//! grow with the row group.

use super::{Column, Kind, Table};
use crate::{Error, Result, error::listed};
use ::parquet::basic::{
    Compression, ConvertedType, LogicalType, Repetition, Type as Physical, ZstdLevel,
};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::reader::{
    ChunkReader, FileReader, Length, RowGroupReader, SerializedFileReader,
};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type};
use bytes::Bytes;
use rankstill_core::atomic_write::AtomicFile;
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads a whole table.
///
/// # Errors
/// When the file cannot be read, is not Parquet, holds a null, or a column of another kind than [`Kind`] lists.
pub fn read_parquet(path: &Path) -> Result<Table> {
    let file = Input::open(path)?;
    let reader = open(path, file)?;
    let names: Vec<_> = column_names(reader.metadata().file_metadata().schema_descr());
    read(path, &reader, &names)
}

/// Reads some columns of a table, in the order of `names`.
///
/// # Errors
/// As [`read_parquet`], or when a column is missing.
pub fn read_parquet_columns(path: &Path, names: &[&str]) -> Result<Table> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    read(path, &open(path, Input::open(path)?)?, &names)
}

/// Hands over some columns of a table, in the order of `names`, a row group at a time.
///
/// # Errors
/// As [`read_parquet_columns`], and what `visit` returns.
pub fn read_batches(
    path: &Path,
    names: &[&str],
    mut visit: impl FnMut(&[Column]) -> Result<()>,
) -> Result<()> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let reader = open(path, Input::open(path)?)?;
    each_group(path, &reader, &names, |columns| visit(&columns))
}

fn read(path: &Path, reader: &SerializedFileReader<Input>, names: &[String]) -> Result<Table> {
    let mut all: Option<Vec<Column>> = None;
    each_group(path, reader, names, |columns| {
        match &mut all {
            None => all = Some(columns),
            Some(all) => all.iter_mut().zip(&columns).for_each(|(all, column)| {
                all.extend(column, 0..column.len());
            }),
        }
        Ok(())
    })?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let mut table = Table { path: path.to_path_buf(), ..Table::default() };
    let columns = match all {
        Some(columns) => columns,
        None => names
            .iter()
            .map(|name| {
                let column = find_column(path, schema, name)?;
                Ok(Column::empty(kind_of(path, &schema.column(column))?))
            })
            .collect::<Result<_>>()?,
    };
    for (name, column) in names.iter().zip(columns) {
        table.push(name, column)?;
    }
    Ok(table)
}

fn each_group(
    path: &Path,
    reader: &SerializedFileReader<Input>,
    names: &[String],
    mut visit: impl FnMut(Vec<Column>) -> Result<()>,
) -> Result<()> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let wanted: Vec<usize> =
        names.iter().map(|name| find_column(path, schema, name)).collect::<Result<_>>()?;
    let mut first_row = 1;
    for group in 0..reader.num_row_groups() {
        let columns = guarded(path, || {
            let group = reader.get_row_group(group).map_err(|error| broken(path, &error))?;
            let columns: Vec<Result<Column>> = wanted
                .par_iter()
                .map(|&column| read_chunk(path, group.as_ref(), column, first_row))
                .collect();
            columns.into_iter().collect::<Result<Vec<_>>>()
        })?;
        first_row += columns.first().map_or(0, Column::len) as u64;
        visit(columns)?;
    }
    Ok(())
}

/// The decoder has assertions that a crafted file can reach; to the user that is one more unreadable file.
pub(crate) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(Error::file(path, "not readable as Parquet: the content contradicts itself"))
    })
}

fn read_chunk(
    path: &Path,
    group: &dyn RowGroupReader,
    column: usize,
    first_row: u64,
) -> Result<Column> {
    let descriptor = group.metadata().schema_descr().column(column);
    let mut out = Column::empty(kind_of(path, &descriptor)?);
    visit_chunk(path, group, column, first_row, &mut |row, cells| {
        match (&mut out, cells) {
            (Column::I64(out), Cells::Int(values)) => out.extend(values),
            (Column::U32(out), Cells::Int(values)) => {
                out.extend(values.iter().map(|&value| value as u32));
            }
            (Column::F32(out), Cells::F32(values)) => out.extend(values),
            (Column::F64(out), Cells::F64(values)) => out.extend(values),
            (Column::Text(out), Cells::Text(values)) => {
                for (value, row) in values.iter().zip(row..) {
                    out.push(utf8(path, descriptor.name(), row, value.data())?);
                }
            }
            (_, cells) => {
                return Err(Error::Field {
                    path: path.to_path_buf(),
                    line: row,
                    column: descriptor.name().to_owned(),
                    expected: "numbers within 64-bit signed integers".into(),
                    found: format!("{} larger ones", cells.len()),
                });
            }
        }
        Ok(())
    })?;
    Ok(out)
}

/// Values of one column, without nulls.
pub(crate) enum Cells {
    /// Booleans, and integers of up to 64 bits. INT96 timestamps in nanoseconds.
    Int(Vec<i64>),
    /// Unsigned 64-bit integers, some of them beyond `i64`.
    Unsigned(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Not yet checked to be UTF-8.
    Text(Vec<ByteArray>),
}

impl Cells {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Unsigned(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }
}

/// Values of a batch: small enough for the second-level cache, large enough that the calls do not show.
const BATCH: usize = 1 << 14;

/// Hands over one column of one row group, a batch at a time, with the number of the batch's first row, counted from
/// `first_row`.
pub(crate) fn visit_chunk(
    path: &Path,
    group: &dyn RowGroupReader,
    column: usize,
    first_row: u64,
    visit: &mut dyn FnMut(u64, &Cells) -> Result<()>,
) -> Result<()> {
    let descriptor = group.metadata().schema_descr().column(column);
    let name = descriptor.name();
    kind_of(path, &descriptor)?;
    let unsigned = is_unsigned(&descriptor);
    let place = Place {
        path,
        descriptor: &descriptor,
        first_row,
        n_rows: group.metadata().num_rows().max(0) as u64,
    };
    let reader = group.get_column_reader(column).map_err(|error| broken(path, &error))?;
    match reader {
        ColumnReader::BoolColumnReader(reader) => place.batches(reader, |row, values| {
            visit(row, &Cells::Int(values.iter().map(|&value| i64::from(value)).collect()))
        }),
        ColumnReader::Int32ColumnReader(reader) => place.batches(reader, |row, values| {
            let wide = |&value: &i32| {
                if unsigned { i64::from(value as u32) } else { i64::from(value) }
            };
            visit(row, &Cells::Int(values.iter().map(wide).collect()))
        }),
        ColumnReader::Int64ColumnReader(reader) => place.batches(reader, |row, values| {
            let cells = if unsigned && values.iter().any(|&value| value < 0) {
                Cells::Unsigned(values.iter().map(|&value| value as u64).collect())
            } else {
                Cells::Int(std::mem::take(values))
            };
            visit(row, &cells)?;
            if let Cells::Int(cells) = cells {
                *values = cells;
            }
            Ok(())
        }),
        ColumnReader::Int96ColumnReader(reader) => place.batches(reader, |row, values| {
            visit(row, &Cells::Int(values.iter().map(|value| value.to_nanos()).collect()))
        }),
        ColumnReader::FloatColumnReader(reader) => {
            place.batches(reader, |row, values| visit(row, &Cells::F32(std::mem::take(values))))
        }
        ColumnReader::DoubleColumnReader(reader) => {
            place.batches(reader, |row, values| visit(row, &Cells::F64(std::mem::take(values))))
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            place.batches(reader, |row, values| visit(row, &Cells::Text(std::mem::take(values))))
        }
        ColumnReader::FixedLenByteArrayColumnReader(_) => Err(unsupported(path, name, &descriptor)),
    }
}

struct Place<'a> {
    path: &'a Path,
    descriptor: &'a ColumnDescriptor,
    first_row: u64,
    n_rows: u64,
}

impl Place<'_> {
    fn batches<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        mut visit: impl FnMut(u64, &mut Vec<T::T>) -> Result<()>,
    ) -> Result<()> {
        let max_level = self.descriptor.max_def_level();
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let mut done = 0u64;
        loop {
            values.clear();
            levels.clear();
            let (rows, present, _) = reader
                .read_records(BATCH, Some(&mut levels), None, &mut values)
                .map_err(|error| broken(self.path, &error))?;
            if rows == 0 {
                break;
            }
            if present < rows {
                let null = levels.iter().position(|&level| level != max_level).unwrap_or(0);
                return Err(Error::Field {
                    path: self.path.to_path_buf(),
                    line: self.first_row + done + null as u64,
                    column: self.descriptor.name().to_owned(),
                    expected: "a value".into(),
                    found: "null".into(),
                });
            }
            visit(self.first_row + done, &mut values)?;
            done += rows as u64;
        }
        if done != self.n_rows {
            let (name, n_rows) = (self.descriptor.name(), self.n_rows);
            let problem = format!("column `{name}`: expected {n_rows} rows, found {done}");
            return Err(Error::file(self.path, problem));
        }
        Ok(())
    }
}

/// The bytes as text, or an error that names the row.
pub(crate) fn utf8<'a>(path: &Path, column: &str, row: u64, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| Error::Field {
        path: path.to_path_buf(),
        line: row,
        column: column.to_owned(),
        expected: "UTF-8 text".into(),
        found: format!("the bytes `{}`", bytes.escape_ascii()),
    })
}

/// Opens a file's footer.
pub(crate) fn open(path: &Path, input: Input) -> Result<SerializedFileReader<Input>> {
    if Length::len(&input) == 0 {
        return Err(Error::file(path, "the file is empty"));
    }
    guarded(path, || SerializedFileReader::new(input).map_err(|error| broken(path, &error)))
}

/// Leaf columns by their dotted path.
pub(crate) fn column_names(schema: &SchemaDescriptor) -> Vec<String> {
    schema.columns().iter().map(|column| column.path().string()).collect()
}

pub(crate) fn find_column(path: &Path, schema: &SchemaDescriptor, name: &str) -> Result<usize> {
    let names = column_names(schema);
    names.iter().position(|known| known == name).ok_or_else(|| Error::NoColumn {
        path: path.to_path_buf(),
        wanted: format!("column `{name}`"),
        existing: listed(&names),
    })
}

fn kind_of(path: &Path, descriptor: &ColumnDescriptor) -> Result<Kind> {
    let name = descriptor.name();
    if descriptor.max_rep_level() > 0 {
        return Err(Error::file(
            path,
            format!("column `{name}` holds lists, expected one value a row"),
        ));
    }
    let decimal = descriptor.converted_type() == ConvertedType::DECIMAL
        || matches!(descriptor.logical_type_ref(), Some(LogicalType::Decimal(_)));
    match descriptor.physical_type() {
        _ if decimal => Err(unsupported(path, name, descriptor)),
        Physical::INT32 if is_unsigned(descriptor) => Ok(Kind::U32),
        Physical::BOOLEAN | Physical::INT32 | Physical::INT64 | Physical::INT96 => Ok(Kind::I64),
        Physical::FLOAT => Ok(Kind::F32),
        Physical::DOUBLE => Ok(Kind::F64),
        Physical::BYTE_ARRAY => Ok(Kind::Text),
        Physical::FIXED_LEN_BYTE_ARRAY => Err(unsupported(path, name, descriptor)),
    }
}

fn is_unsigned(descriptor: &ColumnDescriptor) -> bool {
    let converted = matches!(
        descriptor.converted_type(),
        ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64
    );
    converted
        || matches!(descriptor.logical_type_ref(), Some(LogicalType::Integer(int)) if !int.is_signed)
}

fn unsupported(path: &Path, name: &str, descriptor: &ColumnDescriptor) -> Error {
    let found = descriptor.physical_type();
    let found = match descriptor.logical_type_ref() {
        Some(logical) => format!("{found} ({logical:?})"),
        None => found.to_string(),
    };
    let problem = format!("column `{name}`: expected integers, floats or text, found {found}");
    Error::file(path, problem)
}

pub(crate) fn broken(path: &Path, error: &ParquetError) -> Error {
    Error::file(path, format!("not readable as Parquet: {error}"))
}

/// A file, or bytes in memory, that several columns are read from at once: every read names its own place.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    File { file: Arc<File>, length: u64 },
    Memory(Bytes),
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        Ok(Self::File { file: Arc::new(file), length })
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        match self {
            Self::File { length, .. } => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

impl ChunkReader for Input {
    type T = BufReader<At>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::with_capacity(4096, At { input: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // Checked before any memory is taken: the length comes from the file.
        if start.checked_add(length as u64).is_none_or(|end| end > Length::len(self)) {
            let message = format!("{length} bytes at {start} lie beyond the end of the file");
            return Err(ParquetError::EOF(message));
        }
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(start as usize..start as usize + length)),
            Self::File { .. } => {
                let mut buffer = vec![0; length];
                At { input: self.clone(), at: start }.read_exact(&mut buffer)?;
                Ok(buffer.into())
            }
        }
    }
}

/// Reads on from a place, without moving anybody else's.
pub(crate) struct At {
    input: Input,
    at: u64,
}

impl At {
    pub(crate) fn start(input: &Input) -> Self {
        Self { input: input.clone(), at: 0 }
    }
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = match &self.input {
            Input::File { file, .. } => read_at(file, buffer, self.at)?,
            Input::Memory(bytes) => {
                let rest = usize::try_from(self.at).ok().and_then(|at| bytes.get(at..));
                rest.unwrap_or_default().read(buffer)?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}

pub(super) struct ParquetSink {
    place: PathBuf,
    writer: SerializedFileWriter<BufWriter<AtomicFile>>,
}

impl ParquetSink {
    pub(super) fn new(file: BufWriter<AtomicFile>, columns: &[(&str, Kind)]) -> Result<Self> {
        let place = file.get_ref().path().to_path_buf();
        let begin = || -> ParquetResult<_> {
            let fields = columns.iter().map(|&(name, kind)| field(name, kind));
            let fields = fields.collect::<ParquetResult<Vec<_>>>()?;
            let schema = Type::group_type_builder("table").with_fields(fields).build()?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
                .set_created_by("rankstill".into())
                .set_statistics_enabled(EnabledStatistics::Chunk)
                .build();
            SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
        };
        match begin() {
            Ok(writer) => Ok(Self { place, writer }),
            Err(error) => Err(failed(&place, error)),
        }
    }

    /// Writes a row group.
    pub(super) fn write(&mut self, columns: &[Column]) -> Result<()> {
        let mut write = || -> ParquetResult<()> {
            let mut group = self.writer.next_row_group()?;
            let mut columns = columns.iter();
            while let Some(mut writer) = group.next_column()? {
                if let Some(column) = columns.next() {
                    write_column(writer.untyped(), column)?;
                }
                writer.close()?;
            }
            group.close()?;
            Ok(())
        };
        write().map_err(|error| failed(&self.place, error))
    }

    pub(super) fn into_file(self) -> Result<BufWriter<AtomicFile>> {
        self.writer.into_inner().map_err(|error| failed(&self.place, error))
    }
}

fn field(name: &str, kind: Kind) -> ParquetResult<Arc<Type>> {
    let (physical, logical) = match kind {
        Kind::I64 => (Physical::INT64, None),
        Kind::U32 => (Physical::INT32, Some(LogicalType::integer(32, false))),
        Kind::F32 => (Physical::FLOAT, None),
        Kind::F64 => (Physical::DOUBLE, None),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let builder = Type::primitive_type_builder(name, physical);
    let builder = builder.with_repetition(Repetition::REQUIRED).with_logical_type(logical);
    Ok(Arc::new(builder.build()?))
}

fn write_column(writer: &mut ColumnWriter<'_>, column: &Column) -> ParquetResult<()> {
    match (writer, column) {
        (ColumnWriter::Int64ColumnWriter(writer), Column::I64(values)) => {
            writer.write_batch(values, None, None)?;
        }
        (ColumnWriter::Int32ColumnWriter(writer), Column::U32(values)) => {
            for values in values.chunks(BATCH) {
                let signed: Vec<i32> = values.iter().map(|&value| value as i32).collect();
                writer.write_batch(&signed, None, None)?;
            }
        }
        (ColumnWriter::FloatColumnWriter(writer), Column::F32(values)) => {
            writer.write_batch(values, None, None)?;
        }
        (ColumnWriter::DoubleColumnWriter(writer), Column::F64(values)) => {
            writer.write_batch(values, None, None)?;
        }
        (ColumnWriter::ByteArrayColumnWriter(writer), Column::Text(texts)) => {
            // One copy of the buffer, shared by all values.
            let bytes = ByteArray::from(texts.bytes.as_bytes().to_vec());
            let mut values = Vec::with_capacity(BATCH);
            for first in (0..texts.len()).step_by(BATCH) {
                values.clear();
                values.extend((first..texts.len().min(first + BATCH)).map(|i| {
                    let start = if i == 0 { 0 } else { texts.ends[i - 1] };
                    bytes.slice(start, texts.ends[i] - start)
                }));
                writer.write_batch(&values, None, None)?;
            }
        }
        _ => return Err(ParquetError::General("a column changed its kind".into())),
    }
    Ok(())
}

fn failed(path: &Path, error: ParquetError) -> Error {
    let source = match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other),
    };
    Error::Io { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{TableWriter, write_table};
    use super::*;

    fn table() -> Table {
        let texts =
            ["plain", "", "two words", "🦀\t\"\n"].into_iter().collect::<super::super::Texts>();
        Table::default()
            .with("int", vec![i64::MIN, -1, 0, i64::MAX])
            .and_then(|t| t.with("count", vec![0u32, 1, 1 << 31, u32::MAX]))
            .and_then(|t| t.with("small", vec![0.1f32, -0.0, f32::MAX, f32::INFINITY]))
            .and_then(|t| t.with("large", vec![0.1f64, -0.0, f64::MIN_POSITIVE, f64::NEG_INFINITY]))
            .and_then(|t| t.with("text", texts))
            .unwrap()
    }

    #[test]
    fn a_table_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write_table(&path, &table()).unwrap();
        let mut read = read_parquet(&path).unwrap();
        assert_eq!(read.names(), table().names());
        assert_eq!(read.columns(), table().columns());
        assert_eq!(read.take_u32("count").unwrap()[3], u32::MAX);
        let error = read.take_f32("large").unwrap_err().to_string();
        assert!(error.ends_with("column `large`: expected F32 values, found F64"), "{error}");
        let error = read_parquet_columns(&path, &["text", "txt"]).unwrap_err().to_string();
        assert!(error.contains("no column `txt`") && error.contains("`int`, `count`"), "{error}");
    }

    #[test]
    fn chunks_do_not_decide_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let n = (1 << 20) + 77;
        let column = |range: std::ops::Range<usize>| {
            [Column::I64(
                range.map(|i| (i as i64).wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64)).collect(),
            )]
        };
        let write = |name: &str, chunk: usize| {
            let path = folder.path().join(name);
            let mut writer = TableWriter::create(&path, &[("a", Kind::I64)]).unwrap();
            for start in (0..n).step_by(chunk) {
                writer.write(&column(start..n.min(start + chunk))).unwrap();
            }
            writer.finish().unwrap();
            path
        };
        let (one, many) = (write("one.parquet", n), write("many.parquet", 100_003));
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(many).unwrap());
        let mut groups = Vec::new();
        read_batches(&one, &["a"], |columns| {
            groups.push(columns[0].len());
            Ok(())
        })
        .unwrap();
        assert_eq!(groups, [1 << 20, 77]);
        assert_eq!(read_parquet(&one).unwrap().columns(), column(0..n));
    }

    #[test]
    fn a_table_without_rows_keeps_its_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let columns = [("a", Kind::Text), ("b", Kind::U32)];
        TableWriter::create(&path, &columns).unwrap().finish().unwrap();
        let read = read_parquet(&path).unwrap();
        assert_eq!(read.n_rows(), 0);
        assert_eq!(read.columns(), [Column::empty(Kind::Text), Column::empty(Kind::U32)]);
    }

    #[test]
    fn truncated_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write_table(&path, &table()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            read_parquet(&path).unwrap_err();
        }
    }

    #[test]
    fn a_dropped_writer_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.parquet", "a.tsv", "a.jsonl"] {
            let mut writer =
                TableWriter::create(&folder.path().join(name), &[("a", Kind::I64)]).unwrap();
            writer.write(&[Column::I64(vec![1; 3_000_000])]).unwrap();
            assert!(writer.write(&[Column::U32(vec![1])]).is_err());
            assert!(writer.write(&[]).is_err());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
