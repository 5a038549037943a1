//! Fitted models: they recommend in the caller's ids, are saved, loaded and pickled.

use crate::dataset::{Dataset, Ground};
use crate::error::{ConfigError, DataError, RankstillError, Result};
use crate::ids::{self, Kinds};
use crate::record::record;
use crate::settings;
use crate::table::Rankings;
use crate::work::{self, Task, stoppable};
use numpy::{IntoPyArray as _, PyArray2, PyArrayMethods as _};
use pyo3::prelude::*;
use rankstill::artefact::{self, About};
use rankstill::core::artefact::FORMAT;
use rankstill::core::{
    Artefact, ColdStart, Factored, ItemId, Manifest, Model as CoreModel, Packed, Query,
    Ranker as _, Rankings as CoreRankings, TeacherRecipe, TopK, UnderPath as _, UserId,
};
use rankstill::data::Column;
use rankstill::distill;
use rankstill_cli::experiment::plan::{COMPRESSED, with_kind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A known user, or nobody known with the history that was given.
type Asked = (Option<UserId>, Vec<ItemId>);

/// Lists computed between two looks at Ctrl-C.
const BLOCK: usize = 8192;

/// Users' queries with the largest answer that is computed without a look at Ctrl-C: these take a few milliseconds.
const FEW: usize = 64;

/// Asked only about users and items that it was trained on; its items are packed once.
pub type Answering = ColdStart<Box<Packed<Arc<dyn CoreModel>>>>;

/// A fitted model, made by `fit`, `distil` or `load`.
///
/// Example:
///     >>> model = rk.ItemCf().fit(data)
///     >>> [item for item, score in model.recommend(["ann"], k=1)[0]]
///     ['milk']
#[pyclass(frozen, module = "rankstill")]
pub struct Model {
    pub name: String,
    pub kind: String,
    pub config: Value,
    pub card: Value,
    pub model: Arc<dyn CoreModel>,
    pub ground: Arc<Ground>,
    /// How it was fitted, where it was fitted here: for methods that train their teacher along.
    pub recipe: Option<TeacherRecipe>,
    /// With the states of its training, if they were recorded.
    pub states: Option<distill::Teacher>,
    answering: OnceLock<Arc<Answering>>,
}

impl Model {
    pub fn new(about: About<'_>, model: Arc<dyn CoreModel>, ground: Arc<Ground>) -> Self {
        let About { name, kind, config, card } = about;
        Self {
            name: name.into(),
            kind: kind.into(),
            config,
            card,
            model,
            ground,
            recipe: None,
            states: None,
            answering: OnceLock::new(),
        }
    }

    pub fn answering(&self) -> Arc<Answering> {
        let pack = || {
            let packed = Box::new(Packed::new(Arc::clone(&self.model)));
            Arc::new(ColdStart::new(packed, Arc::clone(&self.ground.trained)))
        };
        Arc::clone(self.answering.get_or_init(pack))
    }

    /// As it would be read from its folder, for a server: with a model of its own.
    pub fn to_artefact(&self) -> Result<(Artefact, Box<dyn CoreModel>)> {
        let tensors = self.model.tensors();
        let model = settings::recipe_of(&self.kind, &self.config)?.load(&tensors)?;
        let Ground { users, items, train, .. } = &*self.ground;
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            name: self.name.clone(),
            kind: self.kind.clone(),
            config: self.config.clone(),
            n_users: users.len(),
            n_items: items.len(),
            n_parameters: self.model.n_parameters(),
            card: self.card.clone(),
            files: BTreeMap::new(),
        };
        let (users, items, history) = ((**users).clone(), (**items).clone(), (**train).clone());
        Ok((Artefact { manifest, tensors, users, items, history }, model))
    }

    /// Checks that it counts users and items as the data do.
    ///
    /// # Errors
    /// When it was fitted on a log with other users or items.
    pub fn check_numbers(&self, data: &Dataset) -> Result<()> {
        let same = Arc::ptr_eq(&self.ground, &data.ground)
            || (self.ground.users == data.ground.users && self.ground.items == data.ground.items);
        if same {
            return Ok(());
        }
        let problem = format!(
            "`{}` was fitted on other users or items than these data have; hand over its lists instead: \
             rk.Teacher.from_rankings(model.recommend(k=100))",
            self.name
        );
        Err(DataError::new_err(problem).into())
    }

    fn factored(&self) -> Result<&dyn Factored> {
        self.model.factored().ok_or_else(|| {
            RankstillError::new_err(format!(
                "`{}` has no vectors: its score is not a product of two",
                self.name
            ))
            .into()
        })
    }
}

/// Ranks with a look at Ctrl-C after every block.
fn rank(
    ranker: &Answering,
    queries: &[Query<'_>],
    top: &TopK<'_>,
    task: Option<&Task>,
) -> Result<CoreRankings> {
    let Some(task) = task else { return Ok(ranker.rank(queries, top)?) };
    let mut ranked = CoreRankings::default();
    for block in queries.chunks(BLOCK) {
        ranked.append(ranker.rank(block, top)?);
        task.stop().check()?;
        task.at(ranked.len() as f64 / queries.len() as f64, format!("{} users", ranked.len()));
    }
    Ok(ranked)
}

#[pymethods]
impl Model {
    /// Its name in reports.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The kind of its recipe, such as `bpr_mf`.
    #[getter]
    fn kind(&self) -> &str {
        &self.kind
    }

    /// All settings of its recipe.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        settings::object(py, &self.config)
    }

    /// What its manifest says for people: the seed, the data, how it was taught.
    #[getter]
    fn card<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        settings::object(py, &self.card)
    }

    /// The number of learnt or counted numbers.
    #[getter]
    fn n_parameters(&self) -> usize {
        self.model.n_parameters()
    }

    /// Bytes that must be in memory to answer.
    #[getter]
    fn serving_bytes(&self) -> u64 {
        let bytes = self.model.serving_bytes();
        bytes.items + bytes.users
    }

    /// The best `k` items of each user, without those of the user's history.
    ///
    /// Args:
    ///     users: Ids; an unknown one is a `KeyError`. Default: all users.
    ///     k: Items of a list.
    ///     history: Instead of known users, histories of somebody new: a list of items each, oldest first. Unknown items are passed over.
    ///     seen: Also recommend items of the history.
    ///     progress: `True` shows a bar; or a function of the share that is done and a text.
    ///
    /// Example:
    ///     >>> model.recommend(history=[["tea", "jam"]], k=2).columns
    ///     ['query', 'item_id', 'rank', 'score']
    #[pyo3(signature = (users = None, *, k = 10, history = None, seen = false, progress = None))]
    fn recommend(
        &self,
        py: Python<'_>,
        users: Option<&Bound<'_, PyAny>>,
        k: usize,
        history: Option<&Bound<'_, PyAny>>,
        seen: bool,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> Result<Py<Rankings>> {
        let Ground { users: user_ids, items, train, kinds, .. } = &*self.ground;
        let (asked, lists): ((&str, Column), Vec<Asked>);
        match (users, history) {
            (Some(_), Some(_)) => {
                let problem = "users, history: give the one or the other";
                return Err(ConfigError::new_err(problem).into());
            }
            (None, Some(history)) => {
                let mut histories = Vec::new();
                for one in history.try_iter()? {
                    let known = ids::numbers(items, &ids::read(&one?)?)?;
                    histories.push((None, known.into_iter().flatten().collect()));
                }
                asked = ("query", Column::I64((0..histories.len() as i64).collect()));
                lists = histories;
            }
            (given, None) => {
                let (ids, numbers) = match given {
                    Some(given) => {
                        let ids = ids::read(given)?;
                        let numbers = ids::known(user_ids, &ids, "user")?;
                        (ids, numbers)
                    }
                    None => {
                        let all: Vec<u32> = (0..user_ids.len() as u32).collect();
                        (ids::column(user_ids, kinds.text_users, &all), all)
                    }
                };
                asked = ("user_id", ids);
                lists = numbers.into_iter().map(|user| (Some(user), Vec::new())).collect();
            }
        }
        let queries: Vec<Query<'_>> = lists
            .iter()
            .map(|(user, own)| Query {
                user: *user,
                history: user.map_or(own.as_slice(), |user| train.history(user)),
                hidden: &[],
            })
            .collect();
        let top = TopK { k, skip_seen: !seen, allowed: None };
        let ranked = match queries.len() {
            ..=FEW => work::briefly(py, || rank(&self.answering(), &queries, &top, None))??,
            _ => Task::default().run_shown(py, (progress, "recommending"), |task| {
                rank(&self.answering(), &queries, &top, Some(task))
            })?,
        };
        Ok(Py::new(py, Rankings::init(asked, ranked, items, kinds.text_items)?)?)
    }

    /// Whether it knows each of these users.
    ///
    /// Example:
    ///     >>> model.knows(["ann", "zoe"])
    ///     [True, False]
    fn knows(&self, users: &Bound<'_, PyAny>) -> Result<Vec<bool>> {
        let found = ids::numbers(&self.ground.users, &ids::read(users)?)?;
        Ok(found.into_iter().map(|number| number.is_some()).collect())
    }

    /// Records its best items of every user of `data` in a folder, as `Teacher.record` does.
    ///
    /// Example:
    ///     >>> model.record(data, k=100, out="said", shard=(1, 8))  # doctest: +SKIP
    ///     PosixPath('said/said-00001-of-00008.lists')
    #[pyo3(signature = (data, k, out, *, shard = None, seen = false, progress = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn record(
        &self,
        py: Python<'_>,
        data: &Bound<'_, Dataset>,
        k: usize,
        out: PathBuf,
        shard: Option<(usize, usize)>,
        seen: bool,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> Result<PathBuf> {
        let (data, asked) = (data.get(), (k, seen, out, shard));
        self.check_numbers(data)?;
        record(py, (&self.name, &*self.model), data, asked, &stoppable(), progress)
    }

    /// The vector of each item, `n_items x dim`; an item bias is the last number. Their products with `user_vectors` are the scores.
    ///
    /// Example:
    ///     >>> rk.ImplicitAls(dim=4).fit(data).item_vectors().shape[1]
    ///     4
    fn item_vectors<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArray2<f32>>> {
        let table = self.factored()?.items();
        let rows = (0..table.len).flat_map(|item| table.row(item).iter().copied());
        let numbers: Vec<f32> = rows.collect();
        Ok(numbers.into_pyarray(py).reshape([table.len, table.dim])?)
    }

    /// The vector of each user, `n_users x dim`, with a 1 where items have a bias.
    fn user_vectors<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArray2<f32>>> {
        let (factored, train) = (self.factored()?, &self.ground.train);
        let dim = factored.items().dim;
        let numbers = work::briefly(py, || {
            let mut vectors = vec![0.0; train.n_users() * dim];
            let users: Vec<UserId> = (0..train.n_users() as UserId).collect();
            for (users, out) in users.chunks(BLOCK).zip(vectors.chunks_mut((BLOCK * dim).max(1))) {
                let query = |&user: &UserId| Query {
                    user: Some(user),
                    history: train.history(user),
                    hidden: &[],
                };
                factored.embed(&users.iter().map(query).collect::<Vec<_>>(), out);
            }
            vectors
        })?;
        Ok(numbers.into_pyarray(py).reshape([train.n_users(), dim])?)
    }

    /// The same model made smaller: a student that was taught, then coded.
    ///
    /// Args:
    ///     how: A compressor, such as `rk.compressors.Int(bits=4)`, a dictionary with `kind`, or a name.
    ///     seed: For compressors that draw.
    ///     name: Its name in reports. Default: the model's, then the compressor's kind.
    ///
    /// Example:
    ///     >>> model = rk.ImplicitAls(dim=8).fit(data)
    ///     >>> model.compressed(rk.compressors.Int(bits=8)).name
    ///     'implicit_als/int'
    #[pyo3(signature = (how, *, seed = 1, name = None))]
    fn compressed(
        &self,
        py: Python<'_>,
        how: &Bound<'_, PyAny>,
        seed: u64,
        name: Option<&str>,
    ) -> Result<Self> {
        let (compress, compressor) = settings::compressor(&settings::json_of(how)?)?;
        let name =
            name.map_or_else(|| format!("{}/{}", self.name, compressor.kind()), str::to_owned);
        let coded = work::briefly(py, || {
            compressor.compress(&*self.model, &self.ground.train, seed).under(&self.name)
        })??;
        let model = with_kind(&self.kind, self.config.clone());
        let config = json!({"model": model, "compress": compress});
        let mut card = self.card.clone();
        if let Some(card) = card.as_object_mut() {
            card.insert("compressed".into(), json!(self.name));
        }
        let about = About { name: &name, kind: COMPRESSED, config, card };
        Ok(Self::new(about, coded.into(), Arc::clone(&self.ground)))
    }

    /// Writes the model, its ids and its histories to a folder, which appears complete or not at all and replaces an artefact that is
    /// there. `rankstill serve` and `rk.load` read it.
    #[pyo3(signature = (path, *, name = None))]
    fn save(&self, py: Python<'_>, path: PathBuf, name: Option<&str>) -> Result<()> {
        let about = About {
            name: name.unwrap_or(&self.name),
            kind: &self.kind,
            config: self.config.clone(),
            card: self.card.clone(),
        };
        let Ground { users, items, train, .. } = &*self.ground;
        let save = || artefact::save_parts(&path, about, &*self.model, (users, items, train));
        Ok(py.detach(save)?)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let kinds = slf.get().ground.kinds;
        let pickle = slf.py().import("rankstill._pickle")?;
        pickle.call_method1("reduced", (slf, kinds.text_users, kinds.text_items))
    }

    fn __repr__(&self) -> String {
        let (users, items) = (self.ground.users.len(), self.ground.items.len());
        format!(
            "Model({:?}, kind={:?}, users={users}, items={items}, parameters={})",
            self.name,
            self.kind,
            self.model.n_parameters()
        )
    }
}

/// Reads a model from the folder that `save`, `rankstill train`, `distill`, `run` or `compress` wrote, and checks it.
///
/// Args:
///     path: The folder.
///     mapped: Leaves large arrays on the disk; the folder must not be changed in place then (replacing it is fine).
///     text_users: Whether ids of users come back as strings where all of them are integers. Either is understood.
///     text_items: The same for items.
#[pyfunction]
#[pyo3(signature = (path, *, mapped = false, text_users = false, text_items = false))]
pub fn load(
    py: Python<'_>,
    path: PathBuf,
    mapped: bool,
    text_users: bool,
    text_items: bool,
) -> Result<Model> {
    let read = || if mapped { artefact::load_mapped(&path) } else { artefact::load(&path) };
    let loaded = work::briefly(py, read)??;
    let Artefact { manifest, users, items, history, .. } = loaded.artefact;
    let own = Kinds::of(&users, &items);
    let kinds = Kinds {
        text_users: text_users || own.text_users,
        text_items: text_items || own.text_items,
    };
    let Manifest { name, kind, config, card, .. } = manifest;
    let ground = Ground::new(users, items, history, kinds);
    let about = About { name: &name, kind: &kind, config, card };
    Ok(Model::new(about, loaded.model.into(), Arc::new(ground)))
}
