//! Teachers: fitted models, functions that score, vectors, rankings, and ensembles of these.

use crate::arrow::Source;
use crate::dataset::{Dataset, Ground};
use crate::error::{ConfigError, DataError, Failure, Result};
use crate::ids;
use crate::model::Model;
use crate::record::record;
use crate::settings;
use crate::table::Table;
use crate::work::{Task, stoppable};
use numpy::{
    IntoPyArray as _, PyArray1, PyArrayMethods as _, PyReadonlyArray2, PyUntypedArrayMethods as _,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use rankstill::core::{
    Cases, Error, Lists, ModelConfig as _, Query, Ranker, Rankings, Tensors, TopK, rank_rows,
    target_ranks_in_rows,
};
use rankstill::distill::{self, Fusion, Recorded};
use rankstill::models::BprMf;
use rankstill_cli::recorded_lists;
use std::path::PathBuf;
use std::sync::Arc;

/// What teaches a student: scores, lists or vectors of any system, or an ensemble. Fitted models are teachers as they are.
///
/// Example:
///     >>> import numpy as np
///     >>> popular = lambda batch: np.ones((len(batch.users), data.n_items), np.float32)
///     >>> rk.Teacher.from_scores(popular, name="all alike")
///     Teacher('all alike')
#[pyclass(frozen, module = "rankstill")]
pub struct Teacher {
    name: String,
    source: Of,
}

/// What a teacher knows.
enum Of {
    Scores {
        function: Py<PyAny>,
        batch: usize,
    },
    /// One table for each state of its training, the last as it is now.
    Tables(Vec<Py<PyAny>>),
    Vectors {
        users: Matrix,
        items: Matrix,
        user_ids: Option<Py<PyAny>>,
        item_ids: Option<Py<PyAny>>,
    },
    Members {
        members: Vec<Py<PyAny>>,
        fusion: Fusion,
    },
    /// A folder of lists.
    Recorded(PathBuf),
}

/// Row-major.
struct Matrix {
    numbers: Vec<f32>,
    rows: usize,
    dim: usize,
}

#[pymethods]
impl Teacher {
    /// A function that scores: it gets a `Batch` and returns a `float32` array of `len(batch)` rows with the score of every item, in the
    /// order of `data.items`. Its exceptions keep their type.
    ///
    /// Example:
    ///     >>> rk.Teacher.from_scores(lambda batch: batch.numbers[:, None] * [[0.0]], name="nothing")
    ///     Teacher('nothing')
    #[staticmethod]
    #[pyo3(signature = (function, *, name = "scores", batch = 1024))]
    fn from_scores(function: Bound<'_, PyAny>, name: &str, batch: usize) -> Result<Self> {
        if !function.is_callable() {
            return Err(PyTypeError::new_err("function: expected a function of a batch").into());
        }
        if batch == 0 {
            return Err(ConfigError::new_err("batch: must be at least 1").into());
        }
        let source = Of::Scores { function: function.unbind(), batch };
        Ok(Self { name: name.into(), source })
    }

    /// Vectors whose products are the scores, as `implicit` gives them. Row `i` of `users` belongs to `user_ids[i]`, by default to
    /// `data.users[i]`; likewise for items. Methods that compare vectors can learn from it.
    ///
    /// Example:
    ///     >>> U, V = np.ones((data.n_users, 4)), np.ones((data.n_items, 4))
    ///     >>> rk.Teacher.from_vectors(users=U, items=V, name="implicit")
    ///     Teacher('implicit')
    #[staticmethod]
    #[pyo3(signature = (*, users, items, user_ids = None, item_ids = None, name = "vectors"))]
    fn from_vectors(
        users: &Bound<'_, PyAny>,
        items: &Bound<'_, PyAny>,
        user_ids: Option<Py<PyAny>>,
        item_ids: Option<Py<PyAny>>,
        name: &str,
    ) -> Result<Self> {
        let (users, items) = (matrix(users, "users")?, matrix(items, "items")?);
        if users.dim != items.dim {
            let problem =
                format!("items: expected vectors of {}, found vectors of {}", users.dim, items.dim);
            return Err(PyValueError::new_err(problem).into());
        }
        let source = Of::Vectors { users, items, user_ids, item_ids };
        Ok(Self { name: name.into(), source })
    }

    /// Rankings: a table or a file with a user, an item, and a rank or a score. A list of them are the states of a training, the last as
    /// it is now. Users and items that the data lack are left out.
    ///
    /// Example:
    ///     >>> lists = {"user_id": ["ann"], "item_id": ["milk"], "rank": [1]}
    ///     >>> rk.Teacher.from_rankings(lists, name="shop")
    ///     Teacher('shop')
    #[staticmethod]
    #[pyo3(signature = (rankings, *, name = "rankings"))]
    fn from_rankings(rankings: &Bound<'_, PyAny>, name: &str) -> Result<Self> {
        let tables = match rankings.cast::<PyList>() {
            Ok(states) => states.iter().map(Bound::unbind).collect(),
            Err(_) => vec![rankings.clone().unbind()],
        };
        if tables.is_empty() {
            return Err(PyValueError::new_err("rankings: the list is empty").into());
        }
        Ok(Self { name: name.into(), source: Of::Tables(tables) })
    }

    /// The best items of each user, as an array of ids with a row for each of `users`, best first, and perhaps their scores.
    ///
    /// Example:
    ///     >>> rk.Teacher.from_topk([["milk", "jam"]], users=["ann"], name="lists")
    ///     Teacher('lists')
    #[staticmethod]
    #[pyo3(signature = (items, *, users, scores = None, name = "lists"))]
    fn from_topk(
        items: &Bound<'_, PyAny>,
        users: &Bound<'_, PyAny>,
        scores: Option<&Bound<'_, PyAny>>,
        name: &str,
    ) -> Result<Self> {
        let helper = items.py().import("rankstill._columns")?;
        let table = helper.call_method1("of_topk", (items, users, scores))?;
        Ok(Self { name: name.into(), source: Of::Tables(vec![table.unbind()]) })
    }

    /// Several teachers as one: models of this package, teachers, and ensembles.
    ///
    /// Example:
    ///     >>> rk.Teacher.ensemble([rk.Pop().fit(data), rk.ItemCf().fit(data)], fusion={"kind": "borda"}, name="both")
    ///     Teacher('both')
    #[staticmethod]
    #[pyo3(signature = (members, *, fusion = None, name = "ensemble"))]
    fn ensemble(
        members: Vec<Py<PyAny>>,
        fusion: Option<&Bound<'_, PyAny>>,
        name: &str,
    ) -> Result<Self> {
        let source = Of::Members { members, fusion: settings::fusion(fusion)? };
        Ok(Self { name: name.into(), source })
    }

    /// What `record` has left in a folder, about the same data. The lists are read where they are, not into memory.
    ///
    /// Example:
    ///     >>> rk.Teacher.from_recorded("said")  # doctest: +SKIP
    ///     Teacher('net')
    #[staticmethod]
    #[pyo3(signature = (folder, *, name = None))]
    fn from_recorded(folder: PathBuf, name: Option<&str>) -> Result<Self> {
        let said = recorded_lists::about(&folder).map_err(unusable)?;
        Ok(Self { name: name.map_or(said.teacher, str::to_owned), source: Of::Recorded(folder) })
    }

    /// Records its best items of every user of `data` in a folder, so that it has to be asked once; `Teacher.from_recorded` reads them back.
    ///
    /// Args:
    ///     data: The data that students will be taught on; items of a user's training part are not listed.
    ///     k: Items of a list: as many as a method asks for.
    ///     out: The folder.
    ///     shard: `(3, 8)` records the third of eight parts, so that several processes or machines can record at a time. A part that is
    ///         there is kept, and an interrupted one is begun again.
    ///     seen: Also list items of the training part, for methods that ask for them.
    ///     progress: `True` prints what is recorded; or a function of a share and a line.
    ///
    /// Returns:
    ///     The path of the part.
    ///
    /// Example:
    ///     >>> teacher = rk.Teacher.from_scores(lambda batch: net(batch.numbers), name="net")
    ///     >>> teacher.record(data, k=100, out="said", shard=(1, 8))  # doctest: +SKIP
    ///     PosixPath('said/said-00001-of-00008.lists')
    #[pyo3(signature = (data, k, out, *, shard = None, seen = false, progress = None))]
    fn record(
        slf: &Bound<'_, Self>,
        data: &Bound<'_, Dataset>,
        k: usize,
        out: PathBuf,
        shard: Option<(usize, usize)>,
        seen: bool,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> Result<PathBuf> {
        let (data, task) = (data.get(), stoppable());
        let teacher = bound(slf.as_any(), data, &task)?;
        let named = (teacher.name(), &**teacher.ranker() as &dyn Ranker);
        record(slf.py(), named, data, (k, seen, out, shard), &task, progress)
    }

    /// Its name in messages and reports.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    fn __repr__(&self) -> String {
        format!("Teacher('{}')", self.name)
    }
}

/// A teacher, or a fitted model, in the numbers of `data`. What its functions raise is noted by `task`.
pub fn bound(given: &Bound<'_, PyAny>, data: &Dataset, task: &Task) -> Result<distill::Teacher> {
    if let Ok(model) = given.cast::<Model>() {
        return of_model(model.get(), data);
    }
    if given.is_instance_of::<Table>() {
        return rankings(
            given.py(),
            "rankings",
            std::slice::from_ref(&given.clone().unbind()),
            data,
        );
    }
    let Ok(teacher) = given.cast::<Teacher>() else {
        let problem = format!("expected a Model or a Teacher, found {}", given.get_type().name()?);
        return Err(PyTypeError::new_err(problem).into());
    };
    let (py, Teacher { name, source }) = (given.py(), teacher.get());
    match source {
        Of::Tables(states) => rankings(py, name, states, data),
        Of::Scores { function, batch } => {
            let scores = Scores {
                name: name.clone(),
                function: function.clone_ref(py),
                batch: *batch,
                ground: Arc::clone(&data.ground),
                task: task.clone(),
            };
            Ok(distill::Teacher::of_ranker(name, Arc::new(scores)))
        }
        Of::Vectors { users, items, user_ids, item_ids } => {
            let Ground { users: known_users, items: known_items, .. } = &*data.ground;
            let of = |ids: &Option<Py<PyAny>>| {
                ids.as_ref().map(|ids| ids::read(ids.bind(py))).transpose()
            };
            let users = users.aligned(known_users, of(user_ids)?.as_ref(), "users")?;
            let items = items.aligned(known_items, of(item_ids)?.as_ref(), "items")?;
            let mut tensors = Tensors::default();
            let dim = users.dim;
            tensors.insert("users", &[users.rows, dim], users.numbers);
            tensors.insert("items", &[items.rows, dim], items.numbers);
            let model = BprMf { dim, ..BprMf::default() }.load(&tensors)?;
            Ok(distill::Teacher::of_model(name, model))
        }
        Of::Recorded(folder) => {
            let Ground { users, items, .. } = &*data.ground;
            let content = &data.data.manifest.content;
            let read = recorded_lists::read(folder, content, users.len(), items.len());
            let (_, lists) = read.map_err(unusable)?;
            Ok(distill::Teacher::of_rankings(name, vec![Arc::new(lists)])?)
        }
        Of::Members { members, fusion } => {
            let members = members.iter().map(|one| bound(one.bind(py), data, task));
            let members = members.collect::<Result<Vec<_>>>()?;
            let valid = Some(&data.data.split.valid).filter(|valid| !valid.is_empty());
            Ok(distill::Teacher::ensemble(name, &members, fusion.clone(), valid)?)
        }
    }
}

/// A folder of lists that cannot be read is an error of the system's, any other one of the data.
fn unusable(error: anyhow::Error) -> Failure {
    match error.chain().any(|cause| cause.is::<std::io::Error>()) {
        true => error.into(),
        false => DataError::new_err(rankstill_cli::error_line(&error)).into(),
    }
}

fn of_model(model: &Model, data: &Dataset) -> Result<distill::Teacher> {
    model.check_numbers(data)?;
    if let Some(teacher) = &model.states {
        return Ok(match &model.recipe {
            Some(recipe) => teacher.clone().with_recipe(recipe.clone()),
            None => teacher.clone(),
        });
    }
    let teacher = distill::Teacher::of_model(&model.name, Arc::clone(&model.model));
    Ok(match &model.recipe {
        Some(recipe) => teacher.with_recipe(recipe.clone()),
        None => teacher,
    })
}

fn rankings(
    py: Python<'_>,
    name: &str,
    states: &[Py<PyAny>],
    data: &Dataset,
) -> Result<distill::Teacher> {
    let Ground { users, items, .. } = &*data.ground;
    let recorded = states.iter().map(|table| {
        let found = Source::of(table.bind(py))?.into_rankings(name, users, items)?;
        if found.users.is_empty() {
            return Err(DataError::new_err(format!("`{name}` ranks no user of the data")).into());
        }
        Ok(Arc::new(Recorded::new(name, items.len(), &found.users, found.rankings)?))
    });
    Ok(distill::Teacher::of_rankings(name, recorded.collect::<Result<_>>()?)?)
}

impl Matrix {
    /// The rows of all ids of a vocabulary, in its order; 0 for what has no row.
    fn aligned(
        &self,
        known: &rankstill::core::Vocab,
        ids: Option<&rankstill::data::Column>,
        what: &str,
    ) -> Result<Self> {
        let (expected, dim) = (ids.map_or(known.len(), rankstill::data::Column::len), self.dim);
        if self.rows != expected {
            let problem = format!("{what}: expected {expected} vectors, found {}", self.rows);
            return Err(PyValueError::new_err(problem).into());
        }
        let Some(ids) = ids else {
            return Ok(Self { numbers: self.numbers.clone(), rows: self.rows, dim });
        };
        let mut numbers = vec![0.0; known.len() * dim];
        for (row, number) in ids::numbers(known, ids)?.into_iter().enumerate() {
            if let Some(number) = number {
                numbers[number as usize * dim..][..dim]
                    .copy_from_slice(&self.numbers[row * dim..][..dim]);
            }
        }
        Ok(Self { numbers, rows: known.len(), dim })
    }
}

fn matrix(given: &Bound<'_, PyAny>, what: &str) -> Result<Matrix> {
    let array = as_float32(given)?;
    let Ok(array) = array.extract::<PyReadonlyArray2<'_, f32>>() else {
        let problem = format!("{what}: expected a matrix of a vector a row");
        return Err(PyValueError::new_err(problem).into());
    };
    let shape = array.shape();
    let numbers = array.to_vec().map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(Matrix { numbers, rows: shape[0], dim: shape[1] })
}

/// Any array as one of `float32` in C's order.
fn as_float32<'py>(given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let numpy = given.py().import("numpy")?;
    numpy.call_method1("ascontiguousarray", (given, "float32"))
}

/// The users that a function is asked to score.
#[pyclass(frozen, module = "rankstill")]
pub struct Batch {
    /// Positions in `data.users`.
    numbers: Vec<u32>,
    /// By user: positions in `data.items`.
    histories: Lists<u32>,
    ground: Arc<Ground>,
}

#[pymethods]
impl Batch {
    /// The ids of the users.
    #[getter]
    fn users<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let Ground { users, kinds, .. } = &*self.ground;
        let ids = self.numbers.iter().map(|&user| ids::object(py, users, kinds.text_users, user));
        PyList::new(py, ids.collect::<PyResult<Vec<_>>>()?)
    }

    /// Their positions in `data.users`, an array.
    #[getter]
    fn numbers<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        let numbers: Vec<i64> = self.numbers.iter().map(|&user| user.into()).collect();
        numbers.into_pyarray(py)
    }

    /// The items of each user's history, oldest first: positions in `data.items`.
    #[getter]
    fn histories<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyArray1<i64>>> {
        let row = |row: &[u32]| row.iter().map(|&item| i64::from(item)).collect::<Vec<_>>();
        self.histories.iter().map(|items| row(items).into_pyarray(py)).collect()
    }

    fn __len__(&self) -> usize {
        self.numbers.len()
    }
}

/// Ranks by a function of Python, which is asked in batches, by one thread at a time.
struct Scores {
    name: String,
    function: Py<PyAny>,
    batch: usize,
    ground: Arc<Ground>,
    task: Task,
}

impl Scores {
    /// The scores of all items for these queries.
    fn of(&self, queries: &[Query<'_>]) -> rankstill::core::Result<Vec<f32>> {
        self.task.stop().check()?;
        Python::attach(|py| self.ask(py, queries)).map_err(|error| {
            let problem = error.to_string();
            self.task.raise(error);
            Error::Ranker { name: self.name.clone(), problem }
        })
    }

    fn ask(&self, py: Python<'_>, queries: &[Query<'_>]) -> PyResult<Vec<f32>> {
        let users = queries.iter().map(|query| query.user.unwrap_or(u32::MAX));
        let batch = Batch {
            numbers: users.collect(),
            histories: queries.iter().map(|query| query.history.to_vec()).collect(),
            ground: Arc::clone(&self.ground),
        };
        let answer = self.function.call1(py, (batch,))?;
        let array = as_float32(answer.bind(py))?;
        let expected = (queries.len(), self.ground.items.len());
        let found: Vec<usize> = array.getattr("shape")?.extract()?;
        if found != [expected.0, expected.1] {
            let problem = format!(
                "teacher `{}`: expected scores of shape {expected:?}, users x items, found {found:?}",
                self.name
            );
            return Err(PyValueError::new_err(problem));
        }
        let array = array.extract::<PyReadonlyArray2<'_, f32>>()?;
        array.to_vec().map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

impl Ranker for Scores {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> rankstill::core::Result<Rankings> {
        let mut ranked = Rankings::default();
        for block in queries.chunks(self.batch) {
            ranked.append(rank_rows(&self.of(block)?, self.ground.items.len(), block, top)?);
        }
        Ok(ranked)
    }

    fn target_ranks(&self, cases: &Cases, top: &TopK<'_>) -> rankstill::core::Result<Lists<u32>> {
        let mut ranks = Lists::default();
        for from in (0..cases.len()).step_by(self.batch) {
            let block = cases.slice(from..(from + self.batch).min(cases.len()));
            let scores = self.of(&block.queries())?;
            ranks.append(target_ranks_in_rows(&scores, self.ground.items.len(), &block, top)?);
        }
        Ok(ranks)
    }
}
