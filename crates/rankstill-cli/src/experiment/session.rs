//! All models of a plan, fitted and measured one after the other, with one seed at a time.

use super::ensemble::Ground;
use super::fitter::{Base, FIT, Fitter};
use super::measure::Measurement;
use super::plan::{ExperimentPlan, Source};
use super::recordings::Recordings;
use super::run_folder::human_size;
use super::spec::FitOn;
use super::steps::Steps;
use super::teacher_lists::Ready;
use super::{epochs, measure, teacher_lists, teaching, trajectory};
use crate::progress::{Screen, interrupted};
use crate::sealed;
use anyhow::{Context as _, Result};
use rankstill::core::artefact::Artefact;
use rankstill::core::atomic_write::create_folders;
use rankstill::core::{
    Cases, ColdStart, Error, Interactions, Lists, Packed, Ranker, ServingBytes, Trained,
};
use rankstill::data::dataset::Dataset;
use rankstill::data::split::{Split, TrainSample};
use rankstill::data::{ReadOptions, read_rankings, write_rankings};
use rankstill::distill::{Fused, Fusion};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// In the folder of a model that is fitted on every row in the end: the one that was measured.
pub(super) const VALIDATED: &str = "validated";

/// What stays the same while a figure varies a setting.
pub(super) struct Setting<'a> {
    pub out: &'a Path,
    pub screen: &'a Screen,
    pub data: &'a Dataset,
    pub metrics: &'a measure::Metrics,
    pub recordings: &'a Recordings,
}

/// A plan in progress: what stays the same over all seeds and models.
pub(super) struct Session<'a> {
    pub setting: &'a Setting<'a>,
    pub plan: &'a ExperimentPlan,
    /// The interactions that models are fitted on.
    pub train: Arc<Interactions>,
    /// Which part these are.
    fitted_on: FitOn,
    /// Who and what they are about.
    pub trained: Arc<Trained>,
    /// The grades of the targets of the test cases, if a metric needs them.
    pub grades: Option<Lists<f32>>,
    /// The folder of each model, without the seed.
    pub folders: Vec<PathBuf>,
    steps: Steps,
}

/// What a run takes, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// At once.
    pub memory: u64,
    /// In the end.
    pub disk: u64,
}

/// Fits that were measured, by identity and seed: a figure does not repeat them.
pub(super) type KnownFits = BTreeMap<(String, u64), FitSummary>;

/// The part of a fit that figures need.
pub(super) struct FitSummary {
    pub folder: PathBuf,
    pub parameters: usize,
    pub means: BTreeMap<String, f64>,
}

/// One model, fitted with one seed and measured.
pub(super) struct ModelResult {
    pub parameters: usize,
    pub bytes: u64,
    /// What must be in memory to answer, if it was fitted here.
    pub serving: Option<ServingBytes>,
    pub measured: Measurement,
    /// Seconds and epochs, if it was fitted here.
    pub training: Option<(f64, f64)>,
    /// Why it was not taught, if it was to be and was not.
    pub untaught: Option<String>,
}

impl ModelResult {
    pub(super) fn summary(&self, folder: &Path) -> FitSummary {
        let means = self.measured.means.iter().cloned().collect();
        FitSummary { folder: folder.to_owned(), parameters: self.parameters, means }
    }
}

/// Models that are fitted or recorded, by number.
pub(super) type ReadyModels = BTreeMap<usize, Ready>;

impl<'a> Session<'a> {
    pub(super) fn new(
        setting: &'a Setting<'a>,
        plan: &'a ExperimentPlan,
        folders: Vec<PathBuf>,
    ) -> Result<Self> {
        Self::on(plan.spec.evaluate.fit_on.measured(), setting, plan, folders)
    }

    /// Models fitted on this part.
    pub(super) fn on(
        fitted_on: FitOn,
        setting: &'a Setting<'a>,
        plan: &'a ExperimentPlan,
        folders: Vec<PathBuf>,
    ) -> Result<Self> {
        let split = &setting.data.split;
        let train = Arc::new(trained_on(fitted_on, split, &plan.spec.data.sample)?);
        let trained = Arc::new(Trained::on(&train));
        let measured = plan.spec.evaluate.part.of(split);
        let grades = if measured.is_empty() { None } else { setting.metrics.grades(split)? };
        let steps = Steps::new(&plan.spec.seeds);
        Ok(Self { setting, plan, train, fitted_on, trained, grades, folders, steps })
    }

    /// The cases that models are measured on.
    pub(super) fn cases(&self) -> &Cases {
        self.plan.spec.evaluate.part.of(&self.setting.data.split)
    }

    /// Everything that a fit depends on apart from the data set and the seed.
    pub(super) fn identity(&self, at: usize) -> String {
        let planned = &self.plan.models[at];
        let needs: Vec<String> = planned.needs().iter().map(|&at| self.identity(at)).collect();
        json!([planned.resolved, needs, self.plan.spec.data.sample]).to_string()
    }

    /// Prints the size of the data and what the run needs.
    pub(super) fn announce(&self) {
        let (users, items, rows) = (self.train.n_users(), self.train.n_items(), self.train.len());
        let Needs { memory, disk } = self.needs();
        self.setting.screen.say(format!(
            "{users} users, {items} items, {rows} training interactions; {} models x {} seeds; needs about {} of memory and {} of disk",
            self.plan.models.len(),
            self.plan.spec.seeds.len(),
            human_size(memory),
            human_size(disk),
        ));
    }

    /// An estimate of memory and disk.
    pub(super) fn needs(&self) -> Needs {
        let (users, items, rows) = (self.train.n_users(), self.train.n_items(), self.train.len());
        let (mut memory, mut disk) = (0, 0);
        let mut recorded = BTreeSet::new(); // students that request the same share it
        for (at, planned) in self.plan.models.iter().enumerate() {
            if let Source::Fit { recipe, distil, .. } = &planned.source {
                let lists = match (distil, recipe.trainable()) {
                    (Some(distil), Some(student)) => {
                        let cases = student.cases(&self.train);
                        let each = teacher_lists::disk(&cases, distil.distiller.requires().lists);
                        let new = |&&teacher: &&usize| recorded.insert((teacher, each));
                        each * distil.teachers.iter().filter(new).count() as u64
                    }
                    _ => 0,
                };
                if let Some(k) = self.plan.trajectory_length(at) {
                    disk += trajectory::disk(&self.plan.spec.trajectory, k, &**recipe, users);
                }
                let model = recipe.memory(users, items, rows);
                // Latency is measured with all models in memory. Without what only a fit needs, the state of the optimiser above all,
                // they take about a quarter there, and a fifth on disk.
                memory += model / 4 + lists;
                disk += model / 5 + lists;
            }
            disk += self.cases().len() as u64 * self.setting.metrics.depth() as u64 * 4;
        }
        let largest = self.plan.models.iter().filter_map(|planned| match &planned.source {
            Source::Fit { recipe, .. } => Some(recipe.memory(users, items, rows)),
            _ => None,
        });
        memory += largest.max().unwrap_or(0) + 16 * rows as u64;
        if self.plan.spec.evaluate.fit_on == FitOn::All {
            disk *= 2; // each is fitted twice
        }
        Needs { memory, disk: disk * self.plan.spec.seeds.len() as u64 }
    }

    pub(super) fn folder(&self, model: usize, seed: u64) -> PathBuf {
        self.folders[model].join(format!("seed-{seed}"))
    }

    /// Where a model is fitted and kept. Where another is fitted on every row in the end, that one has the folder itself.
    pub(super) fn fit_folder(&self, model: usize, seed: u64) -> PathBuf {
        let folder = self.folder(model, seed);
        let again = self.plan.spec.evaluate.fit_on == FitOn::All && self.fitted_on != FitOn::All;
        if again { folder.join(VALIDATED) } else { folder }
    }

    pub(super) fn fitter<'s>(&'s self, screen: &'s Screen) -> Fitter<'s> {
        let Setting { data, metrics, .. } = *self.setting;
        let fitted_on = self.fitted_on;
        let early = fitted_on == FitOn::Train && !data.split.valid.is_empty();
        let (train, trained) = (&self.train, &self.trained);
        Fitter { data, metrics, train, fitted_on, trained, early, screen, look: None }
    }

    /// Fits and measures the models `wanted`. Teachers that are not among them are read from their folders.
    pub(super) fn one_seed(
        &self,
        seed: u64,
        wanted: &[usize],
        report: &mut dyn FnMut(usize, ModelResult),
    ) -> Result<()> {
        self.each_ready(seed, wanted, &mut |at, ready| {
            report(at, self.measure(at, seed, ready)?);
            Ok(())
        })
    }

    /// Fits the models `wanted` and passes each on when it is ready, together with those that it needs.
    pub(super) fn each_ready(
        &self,
        seed: u64,
        wanted: &[usize],
        take: &mut dyn FnMut(usize, &ReadyModels) -> Result<()>,
    ) -> Result<()> {
        let needed = self.needed(wanted);
        let order: Vec<usize> =
            self.plan.order.iter().copied().filter(|at| needed.contains(at)).collect();
        let mut ready: ReadyModels = BTreeMap::new();
        for (done, &at) in order.iter().enumerate() {
            let stage = self.steps.stage(seed, &order, done);
            let screen = self.setting.screen.at(stage);
            let fitter = self.fitter(&screen);
            let (began, folder) = (Instant::now(), self.fit_folder(at, seed));
            let kept = folder.join("artefact").is_dir();
            let model = match &self.plan.models[at].source {
                Source::Rankings { .. } => Ready::Recorded(self.setting.recordings[&at].clone()),
                Source::Ensemble { members, fusion } => {
                    let members = members.iter().map(|member| ready[member].ranker()).collect();
                    let title = format!("members of {}", self.plan.models[at].name);
                    let _bar = screen.bar(title, 1);
                    Ready::Fused(Arc::new(self.fused(at, seed, members, fusion)?), folder.clone())
                }
                Source::Compressed { of, compressor } => {
                    let Ready::Fitted(base, _) = &ready[of] else {
                        unreachable!("checked in the plan")
                    };
                    let base = Base { model: &**base, planned: &self.plan.models[*of] };
                    let model =
                        fitter.compressed(self.plan, at, seed, &folder, base, &**compressor)?;
                    Ready::Fitted(model, folder.clone())
                }
                Source::Fit { .. } => {
                    let ask = |at: usize| ready[&at].teacher(&self.plan.models[at].name);
                    let model = fitter.fitted(self.plan, at, seed, &folder, &ask)?;
                    Ready::Fitted(model, folder.clone())
                }
            };
            ready.insert(at, model);
            if wanted.contains(&at) {
                let name = &self.plan.models[at].name;
                let bar = screen.bar(format!("measuring {name}"), 1);
                take(at, &ready)?;
                drop(bar);
            }
            if !kept {
                let (name, took) = (self.plan.models[at].name.as_str(), began.elapsed());
                let found = (folder.as_path(), self.setting.metrics);
                self.steps.done((at, name), stage, took, found, self.setting.screen);
            }
            // Models that no later model needs leave memory.
            let later = self.needed(&order[done + 1..]);
            ready.retain(|at, _| later.contains(at));
            if interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
        Ok(())
    }

    /// The models `wanted` and those that they need; an ensemble that is needed brings its members along.
    fn needed(&self, wanted: &[usize]) -> Vec<usize> {
        let mut needed = wanted.to_vec();
        let mut next = 0;
        while let Some(&at) = needed.get(next) {
            let planned = &self.plan.models[at];
            let whole = wanted.contains(&at) || matches!(planned.source, Source::Ensemble { .. });
            for &other in planned.needs().iter().filter(|_| whole) {
                if !needed.contains(&other) {
                    needed.push(other);
                }
            }
            next += 1;
        }
        needed
    }

    /// Reads a model that was fitted before from its folder.
    pub(super) fn ready(&self, at: usize, seed: u64) -> Result<Ready> {
        match &self.plan.models[at].source {
            Source::Rankings { .. } => Ok(Ready::Recorded(self.setting.recordings[&at].clone())),
            Source::Fit { .. } | Source::Compressed { .. } => {
                let folder = self.fit_folder(at, seed);
                let fitter = self.fitter(self.setting.screen);
                let model = fitter.kept(self.plan, at, seed, &folder.join("artefact"))?;
                Ok(Ready::Fitted(model, folder))
            }
            Source::Ensemble { members, fusion } => {
                let members = members.iter().map(|&member| Ok(self.ready(member, seed)?.ranker()));
                let fused = self.fused(at, seed, members.collect::<Result<_>>()?, fusion)?;
                Ok(Ready::Fused(Arc::new(fused), self.fit_folder(at, seed)))
            }
        }
    }

    /// The ensemble `at` of these members.
    pub(super) fn fused<'r, R>(
        &self,
        at: usize,
        seed: u64,
        members: Vec<R>,
        fusion: &Fusion,
    ) -> Result<Fused<R>>
    where
        R: Deref<Target = dyn Ranker + 'r> + Send + Sync,
    {
        let Setting { data, metrics, .. } = *self.setting;
        let ground = Ground { trained: &self.trained, valid: &data.split.valid, metrics };
        let fused = ground.fused(members, fusion, &self.folder(at, seed));
        fused.with_context(|| format!("models.{}", self.plan.models[at].name))
    }

    /// The ranker that model `at` is measured as: what was fitted here is asked only about what it was trained on, which holds for
    /// each member of an ensemble; rankings from elsewhere are as they are.
    fn measured(&self, at: usize, seed: u64, ready: &ReadyModels) -> Result<Arc<dyn Ranker>> {
        Ok(match (&self.plan.models[at].source, &ready[&at]) {
            (Source::Ensemble { members, fusion }, _) => {
                let members = members.iter().map(|&member| self.measured(member, seed, ready));
                Arc::new(self.fused(at, seed, members.collect::<Result<_>>()?, fusion)?)
            }
            (_, Ready::Fitted(model, _)) => {
                let packed = Box::new(Packed::new(Arc::clone(model)));
                Arc::new(ColdStart::new(packed, Arc::clone(&self.trained)))
            }
            (_, other) => other.ranker(),
        })
    }

    fn measure(&self, at: usize, seed: u64, ready: &ReadyModels) -> Result<ModelResult> {
        let folder = self.folder(at, seed);
        create_folders(&folder).with_context(|| folder.display().to_string())?;
        let Setting { data, metrics, .. } = *self.setting;
        let cases = self.cases();
        if cases.is_empty() {
            return self.with_cost(at, seed, &ready[&at], Measurement::none());
        }
        let teacher = self.plan.models[at].teachers().first().map(|&teacher| {
            let lists = self.folder(teacher, seed).join("rankings.parquet");
            read_rankings(&lists, &data.users, &data.items, &ReadOptions::default())
        });
        let users: Vec<u32> = cases.iter().filter_map(|case| case.query.user).collect();
        let teacher = teacher.transpose()?.map(|lists| lists.aligned(&users));
        let ranker = self.measured(at, seed, ready)?;
        let known = (self.grades.as_ref(), teacher.as_ref());
        let measured = metrics.measure(&*ranker, cases, &self.train, &self.trained, known)?;
        drop(ranker); // with its packed table
        let lists = folder.join("rankings.parquet");
        write_rankings(&lists, &measured.rankings, &users, &data.users, &data.items)?;
        measure::write_cases(&folder.join("metrics.parquet"), &measured, &users, &data.users)?;
        self.with_cost(at, seed, &ready[&at], measured)
    }

    fn with_cost(
        &self,
        at: usize,
        seed: u64,
        model: &Ready,
        measured: Measurement,
    ) -> Result<ModelResult> {
        let (untaught, training) = (None, None);
        let mut result =
            ModelResult { parameters: 0, bytes: 0, serving: None, measured, training, untaught };
        if let Ready::Fitted(model, folder) = model {
            result.parameters = model.n_parameters();
            result.serving = Some(model.serving_bytes());
            result.bytes = Artefact::bytes(&Artefact::read_manifest(&folder.join("artefact"))?);
            result.training = Some(training_cost(folder)?);
            result.untaught = teaching::untaught(&self.plan.models[at], seed, folder)?;
        }
        Ok(result)
    }
}

/// The interactions of a part, or those of them that the sample keeps.
///
/// # Errors
/// If the sample's settings are invalid.
pub(super) fn trained_on(part: FitOn, split: &Split, sample: &TrainSample) -> Result<Interactions> {
    let rows = match part {
        FitOn::Train => split.train.clone(),
        FitOn::TrainValid => split.train_valid(),
        FitOn::All => split.all(),
    };
    Ok(sample.apply(rows)?)
}

/// Seconds and epochs of a fit, read from the files that it left.
fn training_cost(folder: &Path) -> Result<(f64, f64)> {
    let epochs = epochs::reports(folder)?;
    if epochs.is_empty() {
        let fit =
            sealed::read_file(&folder.join(FIT), "remove this folder to fit the model again")?;
        return Ok((fit["seconds"].as_f64().unwrap_or(0.0), 0.0));
    }
    Ok((epochs.iter().map(|epoch| epoch.seconds).sum(), epochs.len() as f64))
}
