//! Parquet through low-level column readers and writers, without Arrow: one batch of one column at a time, so
//! memory does not grow with the row group.

mod input;
mod sink;

pub(crate) use input::{Input, ReadAt};
pub(super) use sink::ParquetSink;

use super::{Column, ColumnKind, ColumnTable};
use crate::{Error, Result};
use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{AsBytes, ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, Length, RowGroupReader, SerializedFileReader};
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use rayon::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Reads a whole table.
///
/// # Errors
/// When the file cannot be read, is not Parquet, or holds a null or a column of a kind that [`ColumnKind`]
/// does not list.
pub fn read_parquet(path: &Path) -> Result<ColumnTable> {
    let reader = open(path, Input::open(path)?)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let mut columns = (0..schema.num_columns())
        .map(|at| Ok(Column::empty(kind_of(path, &schema.column(at))?)))
        .collect::<Result<Vec<_>>>()?;
    let mut first_row = 1;
    for group in 0..reader.num_row_groups() {
        let chunks = guarded(path, || {
            let group = reader.get_row_group(group).map_err(|error| broken(path, &error))?;
            let chunks: Vec<Result<Column>> = (0..columns.len())
                .into_par_iter()
                .map(|column| read_chunk(path, group.as_ref(), column, first_row))
                .collect();
            chunks.into_iter().collect::<Result<Vec<_>>>()
        })?;
        first_row += chunks.first().map_or(0, Column::len) as u64;
        for (column, chunk) in columns.iter_mut().zip(chunks) {
            if column.is_empty() {
                *column = chunk;
            } else {
                let fits = column.extend(&chunk, 0..chunk.len());
                debug_assert!(fits, "one schema for all row groups");
            }
        }
    }
    let mut table = ColumnTable { path: path.to_path_buf(), ..ColumnTable::default() };
    for (name, column) in column_names(schema).into_iter().zip(columns) {
        table.push(name, column)?;
    }
    Ok(table)
}

/// Turns panics of the decoder, whose assertions a crafted file can reach, into errors.
pub(crate) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(Error::file(path, "not a readable Parquet file: inconsistent content"))
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
                    expected: "signed 64-bit integers".into(),
                    found: format!("larger ones in a batch of {}", cells.len()),
                });
            }
        }
        Ok(())
    })?;
    Ok(out)
}

/// Values of a column, without nulls.
pub(crate) enum Cells {
    /// Booleans, and integers of up to 64 bits. INT96 timestamps in nanoseconds.
    Int(Vec<i64>),
    /// Unsigned 64-bit integers, at least one beyond `i64`.
    Unsigned(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Not yet checked for UTF-8.
    Text(Vec<ByteArray>),
    /// Whole numbers over 10^scale.
    Decimal(Vec<i128>, u32),
}

impl Cells {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Unsigned(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Decimal(values, _) => values.len(),
        }
    }
}

/// Values per batch: small enough for the L2 cache, large enough to hide the cost of the calls.
const BATCH: usize = 1 << 14;

/// Visits a column of a row group batch by batch, with the row number of each batch's first value, counted
/// from `first_row`.
pub(crate) fn visit_chunk(
    path: &Path,
    group: &dyn RowGroupReader,
    column: usize,
    first_row: u64,
    visit: &mut dyn FnMut(u64, &Cells) -> Result<()>,
) -> Result<()> {
    let descriptor = group.metadata().schema_descr().column(column);
    let meaning = Meaning::of(path, &descriptor)?;
    let unsigned = is_unsigned(&descriptor);
    let chunk = ColumnChunk {
        path,
        descriptor: &descriptor,
        first_row,
        n_rows: group.metadata().num_rows().max(0) as u64,
    };
    let reader = group.get_column_reader(column).map_err(|error| broken(path, &error))?;
    if let Meaning::Decimal(scale) = meaning {
        let mut visit = |row, values| visit(row, &Cells::Decimal(values, scale));
        return match reader {
            ColumnReader::Int32ColumnReader(reader) => chunk.batches(reader, |row, values| {
                visit(row, values.iter().map(|&value| i128::from(value)).collect())
            }),
            ColumnReader::Int64ColumnReader(reader) => chunk.batches(reader, |row, values| {
                visit(row, values.iter().map(|&value| i128::from(value)).collect())
            }),
            ColumnReader::ByteArrayColumnReader(reader) => chunk.batches(reader, |row, values| {
                visit(row, chunk.decimals(row, values.iter().map(AsBytes::as_bytes))?)
            }),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                chunk.batches(reader, |row, values| {
                    visit(row, chunk.decimals(row, values.iter().map(AsBytes::as_bytes))?)
                })
            }
            _ => Err(unsupported(path, &descriptor)),
        };
    }
    match reader {
        ColumnReader::BoolColumnReader(reader) => chunk.batches(reader, |row, values| {
            visit(row, &Cells::Int(values.iter().map(|&value| i64::from(value)).collect()))
        }),
        ColumnReader::Int32ColumnReader(reader) => chunk.batches(reader, |row, values| {
            let wide = |&value: &i32| {
                if unsigned { i64::from(value as u32) } else { i64::from(value) }
            };
            visit(row, &Cells::Int(values.iter().map(wide).collect()))
        }),
        ColumnReader::Int64ColumnReader(reader) => chunk.batches(reader, |row, values| {
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
        ColumnReader::Int96ColumnReader(reader) => chunk.batches(reader, |row, values| {
            visit(row, &Cells::Int(values.iter().map(|value| value.to_nanos()).collect()))
        }),
        ColumnReader::FloatColumnReader(reader) => {
            chunk.batches(reader, |row, values| visit(row, &Cells::F32(std::mem::take(values))))
        }
        ColumnReader::DoubleColumnReader(reader) => {
            chunk.batches(reader, |row, values| visit(row, &Cells::F64(std::mem::take(values))))
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            chunk.batches(reader, |row, values| visit(row, &Cells::Text(std::mem::take(values))))
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) if meaning == Meaning::Uuid => chunk
            .batches(reader, |row, values| {
                visit(
                    row,
                    &Cells::Text(values.iter().map(|value| uuid(value.as_bytes())).collect()),
                )
            }),
        ColumnReader::FixedLenByteArrayColumnReader(_) => Err(unsupported(path, &descriptor)),
    }
}

/// The usual form of a UUID: 8-4-4-4-12 hexadecimal digits.
fn uuid(bytes: &[u8]) -> ByteArray {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    ByteArray::from(text.into_bytes())
}

/// What the values of a column are, beyond their physical type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Numbers or text.
    Plain,
    /// Truth values.
    Truth,
    /// Moments, counted in this unit.
    Moment(Tick),
    /// Whole numbers over 10^scale.
    Decimal(u32),
    /// 16 bytes.
    Uuid,
}

/// The unit of a column of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Milliseconds,
    Microseconds,
    Nanoseconds,
    Days,
}

impl Meaning {
    /// # Errors
    /// When nothing of this crate can be read from such a column.
    pub(crate) fn of(path: &Path, column: &ColumnDescriptor) -> Result<Self> {
        if column.max_rep_level() > 0 {
            let name = column.name();
            let problem = format!("column `{name}` holds lists, expected one value per row");
            return Err(Error::file(path, problem));
        }
        if is_decimal(column) {
            return match u32::try_from(column.type_scale()) {
                Ok(scale @ 0..=28) => Ok(Self::Decimal(scale)),
                _ => Err(unsupported(path, column)),
            };
        }
        Ok(match (column.logical_type_ref(), column.converted_type()) {
            (Some(LogicalType::Timestamp(stamp)), _) => Self::Moment(match stamp.unit {
                TimeUnit::MILLIS => Tick::Milliseconds,
                TimeUnit::MICROS => Tick::Microseconds,
                TimeUnit::NANOS => Tick::Nanoseconds,
            }),
            (Some(LogicalType::Date), _) | (_, ConvertedType::DATE) => Self::Moment(Tick::Days),
            (_, ConvertedType::TIMESTAMP_MILLIS) => Self::Moment(Tick::Milliseconds),
            (_, ConvertedType::TIMESTAMP_MICROS) => Self::Moment(Tick::Microseconds),
            (Some(LogicalType::Time(_)), _)
            | (
                _,
                ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS | ConvertedType::INTERVAL,
            ) => {
                return Err(unsupported(path, column));
            }
            (Some(LogicalType::Uuid), _) => Self::Uuid,
            _ => match column.physical_type() {
                Physical::INT96 => Self::Moment(Tick::Nanoseconds),
                Physical::BOOLEAN => Self::Truth,
                Physical::FIXED_LEN_BYTE_ARRAY => return Err(unsupported(path, column)),
                _ => Self::Plain,
            },
        })
    }
}

fn is_decimal(column: &ColumnDescriptor) -> bool {
    column.converted_type() == ConvertedType::DECIMAL
        || matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_)))
}

struct ColumnChunk<'a> {
    path: &'a Path,
    descriptor: &'a ColumnDescriptor,
    first_row: u64,
    n_rows: u64,
}

impl ColumnChunk<'_> {
    /// Big-endian two's complement.
    fn decimals<'a>(&self, row: u64, values: impl Iterator<Item = &'a [u8]>) -> Result<Vec<i128>> {
        let number = |(bytes, row): (&[u8], u64)| {
            let sign = if bytes.first().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
            let mut wide = [sign; 16];
            match wide.len().checked_sub(bytes.len()) {
                Some(start) => {
                    wide[start..].copy_from_slice(bytes);
                    Ok(i128::from_be_bytes(wide))
                }
                None => Err(Error::Field {
                    path: self.path.to_path_buf(),
                    line: row,
                    column: self.descriptor.name().to_owned(),
                    expected: "a decimal number of at most 16 bytes".into(),
                    found: format!("{} bytes", bytes.len()),
                }),
            }
        };
        values.zip(row..).map(number).collect()
    }

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

/// Decodes UTF-8; an error names the row.
pub(crate) fn utf8<'a>(path: &Path, column: &str, row: u64, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| Error::Field {
        path: path.to_path_buf(),
        line: row,
        column: column.to_owned(),
        expected: "UTF-8 text".into(),
        found: format!("the bytes `{}`", bytes.escape_ascii()),
    })
}

/// Opens a file and reads its footer.
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

fn kind_of(path: &Path, descriptor: &ColumnDescriptor) -> Result<ColumnKind> {
    let name = descriptor.name();
    if descriptor.max_rep_level() > 0 {
        return Err(Error::file(
            path,
            format!("column `{name}` holds lists, expected one value per row"),
        ));
    }
    match descriptor.physical_type() {
        _ if is_decimal(descriptor) => Err(unsupported(path, descriptor)),
        Physical::INT32 if is_unsigned(descriptor) => Ok(ColumnKind::U32),
        Physical::BOOLEAN | Physical::INT32 | Physical::INT64 | Physical::INT96 => {
            Ok(ColumnKind::I64)
        }
        Physical::FLOAT => Ok(ColumnKind::F32),
        Physical::DOUBLE => Ok(ColumnKind::F64),
        Physical::BYTE_ARRAY => Ok(ColumnKind::Text),
        Physical::FIXED_LEN_BYTE_ARRAY => Err(unsupported(path, descriptor)),
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

fn unsupported(path: &Path, descriptor: &ColumnDescriptor) -> Error {
    let (name, found) = (descriptor.name(), type_name(descriptor));
    let problem = format!("column `{name}`: expected integers, floats or text, found {found}");
    Error::file(path, problem)
}

/// Such as `INT64 (Timestamp ...)`.
pub(crate) fn type_name(descriptor: &ColumnDescriptor) -> String {
    let found = descriptor.physical_type();
    match (descriptor.logical_type_ref(), descriptor.converted_type()) {
        (Some(logical), _) => format!("{found} ({logical:?})"),
        (None, ConvertedType::NONE) => found.to_string(),
        (None, converted) => format!("{found} ({converted})"),
    }
}

pub(crate) fn broken(path: &Path, error: &ParquetError) -> Error {
    Error::file(path, format!("not a readable Parquet file: {error}"))
}

#[cfg(test)]
mod tests;
