//! A search for settings on validation data: trials drawn from ranges, trained fully (random search) or in rungs (successive
//! halving); the best settings are written as an experiment. The test part is never used.
//!
//! A trial's folder holds a line of JSON per epoch and, while training may continue, its checkpoint. The progress of a search is
//! read from those lines, so a killed search resumes where it stopped and ends in the same bytes.

mod ladder;
pub mod result;
mod space;
mod trial;

use self::result::{State, Trial, Tuned, TunedModel};
use self::space::{Range, Settings};
use self::trial::{Progress, Trainer};
use super::ensemble::Ground;
use super::fitter::Fitter;
use super::plan::{ExperimentPlan, Source};
use super::recordings::{self, Recordings};
use super::run_folder::{claim, folder_names};
use super::spec::{FitOn, Method, Spec, TuneSpec};
use super::teacher_lists::{KeptTeacher, Ready};
use super::tree::{key_parts, put, without_nulls};
use super::{data, measure};
use crate::progress::Screen;
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::atomic_write::create_folders;
use rankstill::core::{Error, Trained};
use rankstill::data::split::MaskValid;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Runs the search of the experiment file `tree` in the folder `out`. `only`: the models to tune; empty = all with ranges.
///
/// # Errors
/// If a range or a setting is wrong, `out` holds another search, the data have no validation part, the user interrupts, or
/// writing fails.
pub fn tune(mut tree: Value, only: &[String], out: &Path, screen: &Screen) -> Result<Tuned> {
    let search = Search::new(&mut tree, only)?;
    let metrics = measure::Metrics::parse(&search.spec.evaluate)?;
    let first = search.plan_all(&tree)?; // reports every wrong setting before any work
    let mut resolved: Value = toml::from_str(&first.resolved()?)?;
    resolved["tune"] = without_nulls(serde_json::to_value(&search.tune)?);
    let _lock = claim(&toml::to_string_pretty(&resolved)?, |_| false, out, screen)?;
    let data = data::open(&search.spec.data, &out.join("data"), screen)?;
    ensure!(
        !data.split.valid.is_empty(),
        "data.split: leaves no user with a validation item, and settings are picked on validation data only"
    );
    if data.manifest.settings.mask.valid == MaskValid::TrainTest {
        screen.say("note: data.mask.valid = \"train+test\" excludes the test items from the candidates of validation");
    }
    let train = Arc::new(search.spec.data.sample.apply(data.split.train.clone())?);
    screen.say(format!(
        "{} users, {} items, {} training interactions; tuning {} by {} on {} validation cases; the test part is not used",
        train.n_users(),
        train.n_items(),
        train.len(),
        search.models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", "),
        search.spec.evaluate.validate,
        data.split.valid.len(),
    ));
    let fitter = Fitter {
        data: &data,
        metrics: &metrics,
        train: &train,
        fitted_on: FitOn::Train,
        trained: &Arc::new(Trained::on(&train)),
        early: true,
        screen,
        look: None,
    };
    let recordings = recordings::read(&first, &data, &metrics, screen)?;
    let mut found = Vec::new();
    for model in &search.models {
        let teachers = Teachers::new(&search, &tree, model, &fitter, &recordings, out)?;
        let trials = search.one(&tree, model, &teachers, &fitter, out, &mut |trials| {
            result::write_trials(out, &found, Some(&search.found(model, trials)))
        })?;
        let done = search.found(model, &trials);
        search.settle(&mut tree, &done)?;
        found.push(done);
        result::write_trials(out, &found, None)?;
    }
    let tuned = Tuned {
        metric: metrics.validate_name(),
        seed: search.tune.seed,
        models: found,
        lower_is_better: search.lower,
    };
    tuned.write(out, tree, search.fits_on_both)?;
    Ok(tuned)
}

/// A checked search.
struct Search {
    spec: Spec,
    tune: TuneSpec,
    models: Vec<Tunable>,
    /// Whether the experiment fits on training and validation part, hence for a fixed number of epochs.
    fits_on_both: bool,
    /// Whether a lower value of the metric is better.
    lower: bool,
}

/// A model and its trials.
struct Tunable {
    name: String,
    trials: Vec<Settings>,
    /// Whether the first trial is the model as it is in the file.
    own: bool,
}

impl Search {
    /// Removes `[tune]` from the experiment.
    fn new(tree: &mut Value, only: &[String]) -> Result<Self> {
        let mut spec = Spec::of_tree(tree)?;
        let Some(mut tune) = spec.tune.take() else {
            bail!(
                "tune: is missing; add [tune.models.NAME] with ranges, for example dim = {{ choice = [8, 16] }}"
            );
        };
        if let Some(tree) = tree.as_object_mut() {
            tree.shift_remove("tune");
        }
        for (key, value, least) in
            [("trials", tune.trials, 1), ("keep", tune.keep, 2), ("min_epochs", tune.min_epochs, 1)]
        {
            ensure!(value >= least, "tune.{key}: must be at least {least}, is {value}");
        }
        let names = |map: &Map<String, Value>| {
            map.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        ensure!(
            !tune.models.is_empty(),
            "tune.models: is empty; add [tune.models.NAME] with ranges"
        );
        for name in tune.models.keys() {
            let known = spec.models.contains_key(name);
            ensure!(
                known,
                "tune.models.{name}: no model of this name; the models are {}",
                names(&spec.models)
            );
        }
        for name in only {
            let known = tune.models.contains_key(name);
            ensure!(
                known,
                "--model {name}: has no ranges; tune.models has {}",
                names(&tune.models)
            );
        }
        if !spec.only.is_empty() {
            tune.models.retain(|name, _| spec.only.contains(name));
        }
        if !only.is_empty() {
            tune.models.retain(|name, _| only.contains(name));
        }
        let fits_on_both = spec.evaluate.fit_on == FitOn::TrainValid;
        spec.evaluate.fit_on = FitOn::Train;
        if let Some(metric) = &tune.metric {
            spec.evaluate.validate.clone_from(metric);
        }
        let lower = measure::Metrics::parse(&spec.evaluate)?.validate_lower();
        let order = order(&spec, &tune.models)?;
        let mut search = Self { spec, tune, models: Vec::new(), fits_on_both, lower };
        for name in order {
            let model = search.tunable(tree, name)?;
            search.models.push(model);
        }
        Ok(search)
    }

    fn tunable(&self, tree: &Value, name: String) -> Result<Tunable> {
        let ranges: Vec<(String, Range)> = space::ranges(&name, &self.tune.models[&name])?;
        let own = self.tune.own;
        let mut trials = Vec::new();
        if own {
            let plan = self.plan(tree, &name, &Vec::new())?;
            let at = plan.at(&name);
            let value = |key: &String| -> Result<Value> {
                let parts = key_parts(key)?;
                let found =
                    parts.iter().try_fold(&plan.models[at].resolved, |at, part| at.get(part));
                Ok(found.cloned().map(as_typed).unwrap_or_default())
            };
            let settings = ranges.iter().map(|(key, _)| Ok((key.clone(), value(key)?)));
            trials.push(settings.collect::<Result<Settings>>()?);
        }
        let left = self.tune.trials - trials.len();
        let drawn = space::draw(&name, &ranges, left, self.tune.seed, &trials);
        trials.extend(drawn);
        Ok(Tunable { name, trials, own })
    }

    /// The experiment with `settings` laid over model `name`.
    fn plan(&self, tree: &Value, name: &str, settings: &Settings) -> Result<ExperimentPlan> {
        let mut tree = tree.clone();
        lay(&mut tree, name, settings)?;
        let models = Spec::of_tree(&tree)?.models;
        ExperimentPlan::new(Spec { models, ..self.spec.clone() })
    }

    /// Checks every trial; returns the experiment as it is in the file.
    fn plan_all(&self, tree: &Value) -> Result<ExperimentPlan> {
        for model in &self.models {
            for at in 0..model.trials.len() {
                self.plan(tree, &model.name, model.laid(at)).with_context(|| {
                    format!(
                        "tune.models.{}: trial {} ({})",
                        model.name,
                        at + 1,
                        display(&model.trials[at])
                    )
                })?;
            }
        }
        self.plan(tree, "", &Vec::new())
    }

    /// Runs all trials of one model; `report` gets them after every step.
    fn one(
        &self,
        tree: &Value,
        model: &Tunable,
        teachers: &Teachers,
        fitter: &Fitter<'_>,
        out: &Path,
        report: &mut dyn FnMut(&[Trial]) -> Result<()>,
    ) -> Result<Vec<Trial>> {
        let plans = (0..model.trials.len())
            .map(|at| self.plan(tree, &model.name, model.laid(at)))
            .collect::<Result<Vec<_>>>()?;
        let folder = out.join("trials").join(&folder_names(std::slice::from_ref(&model.name))[0]);
        let trainer = Trainer::new(&model.name, &plans, fitter, teachers, folder, self.tune.seed);
        let rungs = match self.tune.method {
            Method::Random => ladder::ladder(plans.len(), 2, 1, None),
            Method::Halving => {
                let (keep, least) = (self.tune.keep, self.tune.min_epochs);
                ladder::ladder(plans.len(), keep, least, trainer.shortest())
            }
        };
        let mut trials: Vec<Trial> =
            model.trials.iter().enumerate().map(|(at, s)| Trial::new(at + 1, s.clone())).collect();
        let mut alive: Vec<usize> = (0..trials.len()).collect();
        let steps: usize = rungs.iter().map(|rung| rung.trials).sum();
        let bar = fitter.screen.bar(format!("tuning {}", model.name), steps as u64);
        let mut done = 0;
        for (level, rung) in rungs.iter().enumerate() {
            for dropped in alive.split_off(rung.trials.min(alive.len())) {
                trainer.drop_state(dropped)?;
            }
            alive.sort_unstable();
            for &at in &alive {
                let best = trials.iter().filter_map(|trial| trial.value).max_by(f64::total_cmp);
                let best = best.map_or(String::new(), |best| format!(", best so far {best:.4}"));
                let (trial, rung_at) = (at + 1, level + 1);
                bar.note(format!("trial {trial} on rung {rung_at} of {}{best}", rungs.len()));
                match trainer.train(at, rung)? {
                    Progress::Failed(problem) => trials[at].fail(problem),
                    Progress::At(seen) => {
                        let over = level + 1 == rungs.len();
                        let state = if over { State::Finished } else { State::Dropped };
                        trials[at].reach(state, seen);
                    }
                }
                done += 1;
                bar.at(done);
                report(&trials)?;
            }
            let value = |at: usize| trials[at].value.unwrap_or(f64::NEG_INFINITY);
            alive.sort_by(|&a, &b| value(b).total_cmp(&value(a)).then(a.cmp(&b)));
            alive.retain(|&at| trials[at].state != State::Failed);
            if alive.is_empty() {
                let problem = trials[0].problem.clone().unwrap_or_default();
                bail!("tune.models.{}: every trial failed; the first: {problem}", model.name);
            }
        }
        let picked = alive[0];
        trials[picked].state = State::Picked;
        (0..trials.len()).try_for_each(|at| trainer.drop_state(at))?;
        Ok(trials)
    }

    fn found(&self, model: &Tunable, trials: &[Trial]) -> TunedModel {
        let sign = |value: f64| if self.lower { -value } else { value };
        let mut trials = trials.to_vec();
        trials.iter_mut().for_each(|trial| trial.value = trial.value.map(sign));
        TunedModel { name: model.name.clone(), own: model.own, trials }
    }

    /// Lays the picked settings over the experiment, for the models tuned later and for `tuned.toml`.
    fn settle(&self, tree: &mut Value, found: &TunedModel) -> Result<()> {
        let picked = found.picked();
        if !(found.own && picked.trial == 1) {
            lay(tree, &found.name, &picked.settings)?;
        }
        Ok(())
    }
}

impl Tunable {
    /// The settings of a trial that are laid over the file; none for the trial of the model as it is.
    fn laid(&self, trial: usize) -> &Settings {
        static NOTHING: Settings = Vec::new();
        if self.own && trial == 0 { &NOTHING } else { &self.trials[trial] }
    }
}

fn lay(tree: &mut Value, name: &str, settings: &Settings) -> Result<()> {
    for (key, value) in settings {
        let mut parts = vec!["models".to_owned(), name.to_owned()];
        parts.extend(key_parts(key)?);
        put(tree, &parts, value.clone()).with_context(|| format!("tune.models.{name}.{key}"))?;
    }
    Ok(())
}

/// A single-precision setting as a person writes it: 0.1, not 0.10000000149.
fn as_typed(value: Value) -> Value {
    let single = value.as_f64().filter(|wide| value.is_f64() && f64::from(*wide as f32) == *wide);
    let short = single.and_then(|wide| (wide as f32).to_string().parse::<f64>().ok());
    short.map_or(value, Value::from)
}

/// `dim = 8, optimizer.learning_rate = 0.003`.
fn display(settings: &Settings) -> String {
    settings.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}

/// The models in the order of the file, but teachers before their students, and a model before those that are `like` it.
fn order(spec: &Spec, tuned: &Map<String, Value>) -> Result<Vec<String>> {
    let plan = ExperimentPlan::new(Spec { tune: None, ..spec.clone() })?;
    fn visit(name: &str, plan: &ExperimentPlan, order: &mut Vec<String>) {
        if order.iter().any(|other| other == name) {
            return;
        }
        let like = plan.spec.models[name].get("like").and_then(Value::as_str);
        if !plan.names().iter().any(|known| known == name) {
            return; // it only serves as a base for `like`
        }
        let needs = plan.models[plan.at(name)].needs().iter();
        // The plan is checked, so neither leads in a circle by itself. But a model can be `like` its own student.
        let before = needs.map(|&at| plan.models[at].name.as_str()).chain(like);
        for other in before.collect::<Vec<_>>() {
            visit(other, plan, order);
        }
        if !order.iter().any(|other| other == name) {
            order.push(name.to_owned());
        }
    }
    let mut all = Vec::new();
    for name in tuned.keys() {
        match plan.models[plan.at(name)].source {
            Source::Fit { .. } => {}
            Source::Rankings { .. } => {
                bail!("tune.models.{name}: is a file of rankings, which cannot be tuned")
            }
            Source::Ensemble { .. } => bail!("tune.models.{name}: ensembles cannot be tuned"),
            Source::Compressed { .. } => {
                bail!("tune.models.{name}: is another model compressed; tune that one")
            }
        }
        visit(name, &plan, &mut all);
    }
    all.retain(|name| tuned.contains_key(name));
    Ok(all)
}

/// The teachers of one model's trials, fitted once, with the settings that were picked for them before.
struct Teachers(BTreeMap<usize, Ready>);

impl Teachers {
    fn new(
        search: &Search,
        tree: &Value,
        student: &Tunable,
        fitter: &Fitter<'_>,
        recordings: &Recordings,
        out: &Path,
    ) -> Result<Self> {
        let plan = search.plan(tree, "", &Vec::new())?;
        let mut needed = Vec::new();
        for trial in 0..student.trials.len() {
            // The choice of teachers may itself be tuned.
            let plan = search.plan(tree, &student.name, student.laid(trial))?;
            needs(&plan, plan.at(&student.name), &mut needed);
        }
        let folders = folder_names(&plan.names());
        let mut ready: BTreeMap<usize, Ready> = BTreeMap::new();
        for &at in plan.order.iter().filter(|at| needed.contains(at)) {
            let model = match &plan.models[at].source {
                Source::Rankings { .. } => Ready::Recorded(recordings[&at].clone()),
                Source::Ensemble { members, fusion } => {
                    let members = members.iter().map(|member| ready[member].ranker()).collect();
                    let (valid, metrics) = (&fitter.data.split.valid, fitter.metrics);
                    let ground = Ground { trained: fitter.trained, valid, metrics };
                    let folder = out.join("teachers").join(&folders[at]);
                    Ready::Fused(Arc::new(ground.fused(members, fusion, &folder)?), folder)
                }
                Source::Compressed { of, .. } => bail!(
                    "tune.models: the teacher `{}` is `{}` compressed; name that one",
                    plan.models[at].name,
                    plan.models[*of].name
                ),
                Source::Fit { .. } => {
                    let folder = out.join("teachers").join(&folders[at]);
                    create_folders(&folder).with_context(|| folder.display().to_string())?;
                    let ask = |at: usize| ready[&at].teacher(&plan.models[at].name);
                    let model = fitter.fitted(&plan, at, search.tune.seed, &folder, &ask)?;
                    Ready::Fitted(model, folder)
                }
            };
            ready.insert(at, model);
            if crate::progress::interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
        Ok(Self(ready))
    }

    fn teacher(&self, at: usize, name: &str) -> Result<KeptTeacher> {
        self.0[&at].teacher(name)
    }
}

/// The teachers of a model, their teachers, and so on.
fn needs(plan: &ExperimentPlan, at: usize, found: &mut Vec<usize>) {
    for &other in plan.models[at].needs() {
        if !found.contains(&other) {
            found.push(other);
            needs(plan, other, found);
        }
    }
}
