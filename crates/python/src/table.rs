//! Tables that go out: to Arrow without a copy, and from there to polars, pandas and NumPy.

use crate::error::{DataError, Result};
use crate::ids;
use arrow_array::cast::AsArray as _;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{Float32Type, Float64Type, Int64Type, UInt32Type};
use arrow_array::{
    ArrayRef, Float32Array, Float64Array, Int64Array, LargeStringArray, RecordBatch,
    RecordBatchIterator, RecordBatchReader, UInt32Array,
};
use arrow_schema::{ArrowError, DataType};
use numpy::IntoPyArray as _;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyList};
use rankstill::core::text_table::TextTable;
use rankstill::core::{Rankings as CoreRankings, Vocab};
use rankstill::data::Column;
use std::sync::Arc;

/// A table of named columns, which polars, pandas, pyarrow and DuckDB read without a copy.
///
/// Example:
///     >>> data.table("test").to_polars()  # doctest: +SKIP
#[pyclass(frozen, subclass, module = "rankstill")]
pub struct Table {
    batch: RecordBatch,
}

impl Table {
    /// Of columns of equal length.
    pub fn new(columns: Vec<(&str, Column)>) -> Result<Self> {
        let columns = columns.into_iter().map(|(name, column)| (name, array(column), false));
        let batch = RecordBatch::try_from_iter_with_nullable(columns);
        Ok(Self { batch: batch.map_err(|error| DataError::new_err(error.to_string()))? })
    }

    fn column<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyAny>> {
        let array = self.batch.column(at);
        Ok(match array.data_type() {
            DataType::Int64 => {
                array.as_primitive::<Int64Type>().values().to_vec().into_pyarray(py).into_any()
            }
            DataType::UInt32 => {
                array.as_primitive::<UInt32Type>().values().to_vec().into_pyarray(py).into_any()
            }
            DataType::Float32 => {
                array.as_primitive::<Float32Type>().values().to_vec().into_pyarray(py).into_any()
            }
            DataType::Float64 => {
                array.as_primitive::<Float64Type>().values().to_vec().into_pyarray(py).into_any()
            }
            _ => {
                let texts = PyList::new(py, array.as_string::<i64>().iter().flatten())?;
                let named = PyDict::new(py);
                named.set_item("dtype", "object")?;
                py.import("numpy")?.call_method("array", (texts,), Some(&named))?
            }
        })
    }

    fn text(&self, at: usize, row: usize) -> String {
        let array = self.batch.column(at);
        match array.data_type() {
            DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
            DataType::Float32 => format!("{:.4}", array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => format!("{:.4}", array.as_primitive::<Float64Type>().value(row)),
            _ => array.as_string::<i64>().value(row).to_owned(),
        }
    }

    /// The first rows, for people.
    pub fn shown(&self, rows: usize) -> String {
        let schema = self.batch.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut table = TextTable::new(names.clone());
        for row in 0..rows.min(self.batch.num_rows()) {
            table.push((0..names.len()).map(|at| self.text(at, row)));
        }
        let left = self.batch.num_rows().saturating_sub(rows);
        let more = if left > 0 { format!("\n... and {left} more rows") } else { String::new() };
        format!("{}{more}", table.text().trim_end())
    }
}

fn array(column: Column) -> ArrayRef {
    match column {
        Column::I64(values) => Arc::new(Int64Array::from(values)),
        Column::U32(values) => Arc::new(UInt32Array::from(values)),
        Column::F32(values) => Arc::new(Float32Array::from(values)),
        Column::F64(values) => Arc::new(Float64Array::from(values)),
        Column::Text(values) => Arc::new(LargeStringArray::from_iter_values(values.iter())),
    }
}

#[pymethods]
impl Table {
    /// The names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.batch.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The number of rows.
    #[getter]
    fn n_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Other types than its own may be asked for, but need not be given: who asks casts.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let batches = std::iter::once(Ok::<_, ArrowError>(self.batch.clone()));
        let reader: Box<dyn RecordBatchReader + Send> =
            Box::new(RecordBatchIterator::new(batches, self.batch.schema()));
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
    }

    /// As a `polars.DataFrame`.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("polars")?.call_method1("DataFrame", (slf,))
    }

    /// As a `pandas.DataFrame`.
    fn to_pandas<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let columns = slf.get().to_numpy(slf.py())?;
        slf.py().import("pandas")?.call_method1("DataFrame", (columns,))
    }

    /// As a dictionary of one-dimensional arrays; text is an array of objects.
    fn to_numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns = PyDict::new(py);
        for (at, name) in self.columns().iter().enumerate() {
            columns.set_item(name, self.column(py, at)?)?;
        }
        Ok(columns)
    }

    fn __repr__(&self) -> String {
        self.shown(10)
    }
}

/// Ranked lists: row `i` answers query `i`. As a table it has the columns `user_id` (or `query`, the number of the history), `item_id`,
/// `rank` and `score`.
///
/// Example:
///     >>> small.recommend(["ann"], k=2)[0]  # doctest: +SKIP
///     [('tea', 1.25), ('milk', 0.5)]
#[pyclass(frozen, extends = Table, module = "rankstill")]
pub struct Rankings {
    lists: CoreRankings,
    items: Arc<Vocab>,
    text_items: bool,
}

impl Rankings {
    /// `asked` is the column of queries: its name and a value for each list.
    pub fn init(
        asked: (&str, Column),
        lists: CoreRankings,
        items: &Arc<Vocab>,
        text_items: bool,
    ) -> Result<PyClassInitializer<Self>> {
        let (name, asked) = asked;
        let lengths = || lists.lists().iter().map(<[_]>::len);
        let ranks = lengths().flat_map(|length| 1..=length as u32).collect();
        let queries = lengths().enumerate().flat_map(|(query, n)| std::iter::repeat_n(query, n));
        let table = Table::new(vec![
            (name, taken(&asked, queries)),
            ("item_id", ids::column(items, text_items, lists.lists().values())),
            ("rank", Column::U32(ranks)),
            ("score", Column::F32(lists.all_scores().to_vec())),
        ])?;
        let rankings = Self { lists, items: Arc::clone(items), text_items };
        Ok(PyClassInitializer::from(table).add_subclass(rankings))
    }
}

/// The values at these rows.
pub fn taken(values: &Column, rows: impl Iterator<Item = usize>) -> Column {
    match values {
        Column::I64(values) => Column::I64(rows.map(|row| values[row]).collect()),
        Column::U32(values) => Column::U32(rows.map(|row| values[row]).collect()),
        Column::F32(values) => Column::F32(rows.map(|row| values[row]).collect()),
        Column::F64(values) => Column::F64(rows.map(|row| values[row]).collect()),
        Column::Text(values) => Column::Text(rows.map(|row| values.get(row)).collect()),
    }
}

#[pymethods]
impl Rankings {
    /// The number of lists.
    fn __len__(&self) -> usize {
        self.lists.len()
    }

    /// The items of one list with their scores, best first.
    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        at: isize,
    ) -> PyResult<Vec<(Bound<'py, PyAny>, f32)>> {
        let n = self.lists.len();
        let row = usize::try_from(if at < 0 { at + n as isize } else { at });
        let row = row.ok().filter(|row| *row < n);
        let row = row.ok_or_else(|| PyIndexError::new_err(format!("list {at} of {n}")))?;
        let listed = self.lists.items(row).iter().zip(self.lists.scores(row));
        let id = |item| ids::object(py, &self.items, self.text_items, item);
        listed.map(|(&item, &score)| Ok((id(item)?, score))).collect()
    }
}
