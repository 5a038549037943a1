//! Tables of Python as columns: whatever has `__arrow_c_stream__`, and plain columns by name.

use crate::error::{DataError, Result};
use crate::table::taken;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, RecordBatchReader};
use arrow_schema::{DataType, TimeUnit};
use numpy::{PyArrayMethods as _, PyReadonlyArray1};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;
use rankstill::core::Vocab;
use rankstill::data::format::{NumberUnit, TableReader};
use rankstill::data::rankings::RankingsFile;
use rankstill::data::{Column, Log, ReadOptions};
use std::path::PathBuf;

/// Where rows come from.
pub enum Source {
    /// A file or folder in any known format.
    Path(PathBuf),
    /// Batches of Arrow.
    Stream(Box<dyn RecordBatchReader + Send>),
    /// Columns by name, each with the unit of its times if its type has one.
    Columns(Vec<(String, Column, Option<NumberUnit>)>),
}

impl Source {
    /// A path, a data frame, a table of Arrow, a sparse matrix, or a dictionary of columns.
    pub fn of(given: &Bound<'_, PyAny>) -> Result<Self> {
        if let Ok(path) = given.extract::<PathBuf>() {
            return Ok(Self::Path(path));
        }
        if given.hasattr("__arrow_c_stream__")? || given.hasattr("__arrow_c_array__")? {
            match given.extract::<AnyRecordBatch>() {
                Ok(batches) => return Ok(Self::Stream(batches.into_reader()?)),
                // pandas makes Arrow with the help of pyarrow, which may not be there.
                Err(error) if error.is_instance_of::<PyImportError>(given.py()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let columns = given.py().import("rankstill._columns")?.call_method1("of", (given,))?;
        let mut found = Vec::new();
        for column in columns.try_iter()? {
            let (name, values, unit): (String, Bound<'_, PyAny>, Option<String>) =
                column?.extract()?;
            found.push((name, plain_column(&values)?, unit.as_deref().and_then(unit_named)));
        }
        Ok(Self::Columns(found))
    }

    /// As an interaction log. `name` stands for the table in messages.
    pub fn into_log(self, name: &str, options: &ReadOptions) -> Result<Log> {
        match self {
            Self::Path(path) => Ok(rankstill::data::read_log(&path, options, &mut |_, _| ())?.log),
            other => Ok(other.read(name, options, TableReader::log)?.into_log()?),
        }
    }

    /// As rankings in the numbers of these vocabularies.
    pub fn into_rankings(self, name: &str, users: &Vocab, items: &Vocab) -> Result<RankingsFile> {
        let options = ReadOptions::default();
        match self {
            Self::Path(path) => Ok(rankstill::data::read_rankings(&path, users, items, &options)?),
            other => {
                let reader = other.read(name, &options, TableReader::rankings)?;
                Ok(reader.into_rankings(users, items)?)
            }
        }
    }

    /// Whether a column of ids holds text: of users, and of items.
    pub fn texts(&self, name: &str, options: &ReadOptions) -> Result<Option<(bool, bool)>> {
        let names = self.names();
        let reader = TableReader::log(name, &names, options)?;
        let (user, item) = (reader.wanted()[0], reader.wanted()[1]);
        Ok(match self {
            Self::Path(_) => None,
            Self::Stream(batches) => {
                let schema = batches.schema();
                let text = |at: usize| is_text(schema.field(at).data_type());
                Some((text(user), text(item)))
            }
            Self::Columns(columns) => {
                let text = |at: usize| matches!(columns[at].1, Column::Text(_));
                Some((text(user), text(item)))
            }
        })
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Path(_) => Vec::new(),
            Self::Stream(batches) => {
                batches.schema().fields().iter().map(|field| field.name().clone()).collect()
            }
            Self::Columns(columns) => columns.iter().map(|column| column.0.clone()).collect(),
        }
    }

    fn read(
        self,
        name: &str,
        options: &ReadOptions,
        reader: fn(&str, &[String], &ReadOptions) -> rankstill::data::Result<TableReader>,
    ) -> Result<TableReader> {
        let names = self.names();
        let mut reader = reader(name, &names, options)?;
        match self {
            Self::Path(_) => {}
            Self::Stream(batches) => {
                let schema = batches.schema();
                if let Some(unit) =
                    reader.time().and_then(|at| unit_of(schema.field(at).data_type()))
                {
                    reader.set_time_unit(unit);
                }
                let mut rows = 0;
                for batch in batches {
                    let batch = batch.map_err(|error| DataError::new_err(error.to_string()))?;
                    let wanted = reader.wanted().iter();
                    let columns = wanted.map(|&at| of_array(batch.column(at), &names[at], rows));
                    let columns = columns.collect::<Result<Vec<_>>>()?;
                    rows += batch.num_rows();
                    reader.push(&columns)?;
                }
            }
            Self::Columns(mut columns) => {
                if let Some(unit) = reader.time().and_then(|at| columns[at].2) {
                    reader.set_time_unit(unit);
                }
                let take =
                    |&at: &usize| std::mem::replace(&mut columns[at].1, Column::I64(Vec::new()));
                let wanted: Vec<Column> = reader.wanted().iter().map(take).collect();
                reader.push(&wanted)?;
            }
        }
        Ok(reader)
    }
}

/// A column that `rankstill._columns` has made plain: an array of 64 bits, or a list of strings.
fn plain_column(values: &Bound<'_, PyAny>) -> Result<Column> {
    if let Ok(ints) = values.extract::<PyReadonlyArray1<'_, i64>>() {
        return Ok(Column::I64(
            ints.to_vec().map_err(|error| DataError::new_err(error.to_string()))?,
        ));
    }
    if let Ok(floats) = values.extract::<PyReadonlyArray1<'_, f64>>() {
        return Ok(Column::F64(
            floats.to_vec().map_err(|error| DataError::new_err(error.to_string()))?,
        ));
    }
    let texts: Vec<String> = values.extract()?;
    Ok(Column::Text(texts.into_iter().collect()))
}

/// A column of a batch that begins at this row, from 0.
fn of_array(array: &ArrayRef, name: &str, first_row: usize) -> Result<Column> {
    if let Some(nulls) = array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        let row = nulls.iter().position(|valid| !valid).unwrap_or(0) + first_row + 1;
        let problem = format!("row {row}: column `{name}`: expected a value, found none");
        return Err(DataError::new_err(problem).into());
    }
    values(array, name)
}

/// An array in which no row is null. Each type is read here, not cast by `arrow-cast`: with its tables of pairs of types, of time zones and of
/// formats the package would be a tenth larger.
fn values(array: &ArrayRef, name: &str) -> Result<Column> {
    Ok(match array.data_type() {
        DataType::Int8 => ints::<Int8Type>(array),
        DataType::Int16 => ints::<Int16Type>(array),
        DataType::Int32 => ints::<Int32Type>(array),
        DataType::Int64 => ints::<Int64Type>(array),
        DataType::UInt8 => ints::<UInt8Type>(array),
        DataType::UInt16 => ints::<UInt16Type>(array),
        DataType::UInt32 => ints::<UInt32Type>(array),
        DataType::UInt64 => {
            let values = array.as_primitive::<UInt64Type>().values();
            match values.iter().map(|&value| i64::try_from(value)).collect() {
                Ok(values) => Column::I64(values),
                // Beyond 63 bits an id is a text like any other.
                Err(_) => Column::Text(values.iter().map(u64::to_string).collect()),
            }
        }
        DataType::Boolean => {
            Column::I64(array.as_boolean().values().iter().map(i64::from).collect())
        }
        DataType::Float16 => {
            let values = array.as_primitive::<Float16Type>().values();
            Column::F64(values.iter().map(|value| value.to_f64()).collect())
        }
        DataType::Float32 => Column::F32(array.as_primitive::<Float32Type>().values().to_vec()),
        DataType::Float64 => Column::F64(array.as_primitive::<Float64Type>().values().to_vec()),
        DataType::Decimal128(_, scale) => {
            let one = 10f64.powi((*scale).into());
            let values = array.as_primitive::<Decimal128Type>().values();
            Column::F64(values.iter().map(|&value| value as f64 / one).collect())
        }
        DataType::Decimal256(..) => {
            let values = array.as_primitive::<Decimal256Type>();
            let number = |row| values.value_as_string(row).parse().unwrap_or(f64::NAN);
            Column::F64((0..values.len()).map(number).collect())
        }
        DataType::Date32 => ints::<Date32Type>(array),
        DataType::Date64 => ints::<Date64Type>(array),
        DataType::Timestamp(TimeUnit::Second, _) => ints::<TimestampSecondType>(array),
        DataType::Timestamp(TimeUnit::Millisecond, _) => ints::<TimestampMillisecondType>(array),
        DataType::Timestamp(TimeUnit::Microsecond, _) => ints::<TimestampMicrosecondType>(array),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => ints::<TimestampNanosecondType>(array),
        DataType::Utf8 => texts(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => texts(array.as_string::<i64>().iter()),
        DataType::Utf8View => texts(array.as_string_view().iter()),
        DataType::Dictionary(..) => {
            let array = array.as_any_dictionary();
            let keys = match array.values().is_empty() {
                true => Vec::new(),
                false => array.normalized_keys(),
            };
            taken(&values(array.values(), name)?, keys.into_iter())
        }
        other => {
            let problem = format!(
                "column `{name}`: cannot be read as ids, times or weights: its type is {other}"
            );
            return Err(DataError::new_err(problem).into());
        }
    })
}

fn ints<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &ArrayRef) -> Column {
    Column::I64(array.as_primitive::<T>().values().iter().map(|&value| value.into()).collect())
}

/// Only the entries of a dictionary that no row has can be nulls here.
fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Column {
    Column::Text(values.map(Option::unwrap_or_default).collect())
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn unit_of(kind: &DataType) -> Option<NumberUnit> {
    match kind {
        DataType::Timestamp(TimeUnit::Second, _) => Some(NumberUnit::Seconds),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => {
            Some(NumberUnit::Milliseconds)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(NumberUnit::Microseconds),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(NumberUnit::Nanoseconds),
        DataType::Date32 => Some(NumberUnit::Days),
        _ => None,
    }
}

fn unit_named(name: &str) -> Option<NumberUnit> {
    match name {
        "s" => Some(NumberUnit::Seconds),
        "ms" => Some(NumberUnit::Milliseconds),
        "us" => Some(NumberUnit::Microseconds),
        "ns" => Some(NumberUnit::Nanoseconds),
        _ => None,
    }
}
