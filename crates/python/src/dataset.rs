//! Data sets: a log that is filtered and split, with the caller's own ids.

use crate::arrow::Source;
use crate::error::{ConfigError, Result};
use crate::ids::{self, Kinds};
use crate::settings;
use crate::table::Table;
use crate::work::Task;
use pyo3::prelude::*;
use pyo3::types::PyList;
use rankstill::core::atomic_write::Lock;
use rankstill::core::{Interactions, Trained, Vocab};
use rankstill::data::dataset::{self, Elsewhere, PrepareSettings, Prepared, Verify};
use rankstill::data::split::{Part, SplitConfig};
use rankstill::data::{Column, ColumnNames, Log, ReadOptions, prepare};
use rankstill_cli::experiment::data::is_prepared;
use std::path::PathBuf;
use std::sync::Arc;

/// What models are fitted on, and in whose ids they answer.
pub struct Ground {
    pub users: Arc<Vocab>,
    pub items: Arc<Vocab>,
    pub train: Arc<Interactions>,
    pub trained: Arc<Trained>,
    pub kinds: Kinds,
}

impl Ground {
    pub fn new(users: Vocab, items: Vocab, train: Interactions, kinds: Kinds) -> Self {
        let trained = Arc::new(Trained::on(&train));
        let (users, items) = (Arc::new(users), Arc::new(items));
        Self { users, items, train: Arc::new(train), trained, kinds }
    }
}

/// A log that is filtered and split into training, validation and test part. Ids stay the caller's own, strings or integers.
///
/// Args:
///     log: A data frame of polars, pandas, pyarrow or DuckDB (anything with `__arrow_c_stream__`), a sparse matrix of SciPy, a
///         dictionary of columns, or the path of a log in any known format or of a folder made by `rankstill prepare`. With `test`, the
///         training part of a ready-made split.
///     user: The column of users. Default: found by its name, such as `user_id`; so for the other columns. `""` reads none.
///     item: The column of items.
///     time: The column of times.
///     weight: The column of weights or ratings.
///     split: How rows are divided. Default: `rk.split.Chronological()`, which takes a log without times in its order.
///     filter: Which rows are kept. Default: the first of each user and item.
///     mask: Items that are no candidates in validation and test.
///     history: The history that models see in the test.
///     valid: The validation part of a ready-made split.
///     test: The test part of a ready-made split.
///     read: Further options of reading files, such as `{"delimiter": "::"}`.
///
/// Example:
///     >>> log = {"user": ["ann", "ann", "ann", "bob", "bob", "bob"], "item": [1, 2, 3, 1, 3, 2], "time": [1, 2, 3, 1, 2, 3]}
///     >>> rk.Dataset(log, split=rk.split.LeaveOneOut(valid=False))
///     Dataset(users=2, items=3, train=4, valid=0, test=2)
#[pyclass(frozen, module = "rankstill")]
pub struct Dataset {
    pub data: dataset::Dataset,
    pub ground: Arc<Ground>,
}

#[pymethods]
impl Dataset {
    #[new]
    #[pyo3(signature = (log, *, user=None, item=None, time=None, weight=None, split=None, filter=None, mask=None, history=None,
        valid=None, test=None, read=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn new(
        py: Python<'_>,
        log: &Bound<'_, PyAny>,
        user: Option<String>,
        item: Option<String>,
        time: Option<String>,
        weight: Option<String>,
        split: Option<&Bound<'_, PyAny>>,
        filter: Option<&Bound<'_, PyAny>>,
        mask: Option<&Bound<'_, PyAny>>,
        history: Option<&Bound<'_, PyAny>>,
        valid: Option<&Bound<'_, PyAny>>,
        test: Option<&Bound<'_, PyAny>>,
        read: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let mut options: ReadOptions = settings::table("read", read)?;
        let named = ColumnNames { user, item, time, weight };
        if !named.is_default() {
            options.columns = named;
        }
        let split = split.map(settings::split).transpose()?;
        let prepare = PrepareSettings {
            filter: settings::table("filter", filter)?,
            split: SplitConfig::default(),
            mask: settings::table("mask", mask)?,
            history: settings::table("history", history)?,
        };
        let log = Source::of(log)?;
        let parts = match (valid, test) {
            (_, Some(test)) => Some((valid.map(Source::of).transpose()?, Source::of(test)?)),
            (Some(_), None) => {
                return Err(ConfigError::new_err(
                    "valid: needs `test`: together with the log they are a ready-made split",
                )
                .into());
            }
            (None, None) => None,
        };
        Ok(Task::default().run(py, |_| read_and_cut(log, parts, &options, split, prepare))?)
    }

    /// The ids of the users, in the order of the model's numbers.
    #[getter]
    fn users<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        ids::list(py, &self.ground.users, self.ground.kinds.text_users)
    }

    /// The ids of the items, in the order of the model's numbers: the columns of a teacher's scores.
    #[getter]
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        ids::list(py, &self.ground.items, self.ground.kinds.text_items)
    }

    /// The number of users.
    #[getter]
    fn n_users(&self) -> usize {
        self.ground.users.len()
    }

    /// The number of items.
    #[getter]
    fn n_items(&self) -> usize {
        self.ground.items.len()
    }

    /// What was read, kept and divided, as `manifest.json` of a prepared folder says it.
    #[getter]
    fn manifest<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        crate::settings::object(py, &serde_json::json!(self.data.manifest))
    }

    /// The interactions of a part, `"train"`, `"valid"` or `"test"`: a user's oldest first. With `numbers`, users and items are positions
    /// in `users` and `items`, as models count them.
    ///
    /// Example:
    ///     >>> data.table("train", numbers=True).columns
    ///     ['user_id', 'item_id']
    #[pyo3(signature = (part = "train", *, numbers = false))]
    fn table(&self, part: &str, numbers: bool) -> Result<Table> {
        let (mut users, mut items) = (Vec::new(), Vec::new());
        match part {
            "train" => {
                for (user, line) in self.ground.train.items().iter().enumerate() {
                    users.resize(users.len() + line.len(), user as u32);
                    items.extend_from_slice(line);
                }
            }
            "valid" | "test" => {
                let split = &self.data.split;
                let cases = if part == "valid" { &split.valid } else { &split.test };
                for case in cases.iter() {
                    users.resize(
                        users.len() + case.targets.len(),
                        case.query.user.unwrap_or(u32::MAX),
                    );
                    items.extend_from_slice(case.targets);
                }
            }
            other => {
                let problem = format!("part: `{other}`: expected train, valid or test");
                return Err(ConfigError::new_err(problem).into());
            }
        }
        let Ground { users: user_ids, items: item_ids, kinds, .. } = &*self.ground;
        Table::new(match numbers {
            true => vec![("user_id", Column::U32(users)), ("item_id", Column::U32(items))],
            false => vec![
                ("user_id", ids::column(user_ids, kinds.text_users, &users)),
                ("item_id", ids::column(item_ids, kinds.text_items, &items)),
            ],
        })
    }

    fn __repr__(&self) -> String {
        let counts = &self.data.manifest.counts;
        format!(
            "Dataset(users={}, items={}, train={}, valid={}, test={})",
            counts.users, counts.items, counts.train, counts.valid, counts.test
        )
    }
}

/// Writes the prepared folder `out` from what another program has filtered, split and numbered in the folder `parts`; `made` says how, as
/// JSON. Returns the manifest as JSON.
#[pyfunction]
#[pyo3(signature = (parts, out, made, *, filter, split, mask, history, replace))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub fn made_elsewhere(
    py: Python<'_>,
    parts: PathBuf,
    out: PathBuf,
    made: &str,
    filter: Option<&Bound<'_, PyAny>>,
    split: &Bound<'_, PyAny>,
    mask: Option<&Bound<'_, PyAny>>,
    history: Option<&Bound<'_, PyAny>>,
    replace: bool,
) -> Result<String> {
    let made: Elsewhere = serde_json::from_str(made)
        .map_err(|error| ConfigError::new_err(format!("made: {error}")))?;
    let settings = PrepareSettings {
        filter: settings::table("filter", filter)?,
        split: settings::split(split)?,
        mask: settings::table("mask", mask)?,
        history: settings::table("history", history)?,
    };
    Ok(Task::default().run(py, |_| {
        let _lock = Lock::beside(&out)?;
        let mut prepared = Prepared::made_elsewhere(&parts, &made, &settings)?;
        prepared.write(&out, replace)?;
        Ok(serde_json::json!(prepared.manifest).to_string())
    })?)
}

/// Of a table in memory, in messages.
const NAME: &str = "the log";

/// The validation and the test part of a ready-made split.
pub type Parts = (Option<Source>, Source);

pub fn read_and_cut(
    log: Source,
    parts: Option<Parts>,
    options: &ReadOptions,
    split: Option<SplitConfig>,
    mut settings: PrepareSettings,
) -> Result<Dataset> {
    if let Source::Path(path) = &log
        && is_prepared(path)
    {
        let plain = PrepareSettings::default();
        let asked = split.is_some() || parts.is_some() || settings.filter != plain.filter;
        if asked || *options != ReadOptions::default() {
            let problem = format!(
                "log: {} is prepared already, with its own columns, filter and split",
                path.display()
            );
            return Err(ConfigError::new_err(problem).into());
        }
        let own = (settings.mask, settings.history) == (plain.mask, plain.history);
        let protocol = (!own).then(|| settings.protocol());
        let data = dataset::Dataset::open_with(path, Verify::Quick, protocol.as_ref())?;
        let kinds = Kinds::of(&data.users, &data.items);
        return Ok(of_data(data, kinds));
    }
    let texts = match &log {
        Source::Path(_) => None,
        table => table.texts(NAME, options)?,
    };
    let mut log = log.into_log(NAME, options)?;
    let owner = match parts {
        None => {
            settings.split = split.unwrap_or_default();
            None
        }
        Some((valid, test)) => {
            settings.split = split.unwrap_or_else(|| SplitConfig::of("ready_made"));
            let mut owner = vec![Part::Train; log.len()];
            let mut add = |source: Source, name: &str, part: Part| -> Result<()> {
                let more = source.into_log(name, options)?;
                prepare::append(&mut log, more, name.as_ref())?;
                owner.resize(log.len(), part);
                Ok(())
            };
            if let Some(valid) = valid {
                add(valid, "the validation part", Part::Valid)?;
            }
            add(test, "the test part", Part::Test)?;
            Some(owner)
        }
    };
    let kinds = kinds_of(&log, texts);
    let data = Prepared::from_log(log, owner, &settings)?.into_dataset()?;
    Ok(of_data(data, kinds))
}

fn kinds_of(log: &Log, texts: Option<(bool, bool)>) -> Kinds {
    match texts {
        Some((text_users, text_items)) => Kinds { text_users, text_items },
        None => Kinds::of(&log.user_ids, &log.item_ids),
    }
}

fn of_data(data: dataset::Dataset, kinds: Kinds) -> Dataset {
    let train = data.split.train.clone();
    let ground = Ground::new(data.users.clone(), data.items.clone(), train, kinds);
    Dataset { data, ground: Arc::new(ground) }
}
