//! An experiment as run: data, teachers, students, measurements, report; each step kept, so that a run that was stopped goes on.

use super::EPOCHS;
use super::fitter::Fitter;
use super::plan::{Plan, PlannedModel, Source};
use super::spec::FitOn;
use super::teacher_lists::Ready;
use super::{data, figure, measure, model, teacher_lists, trajectory};
use crate::progress::{Screen, interrupted};
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::artefact::Artefact;
use rankstill::core::{
    EpochReport, Error, Interactions, Packed, Query, Ranker, TopK, atomic_write,
};
use rankstill::data::dataset::Dataset;
use rankstill::data::{ReadOptions, read_rankings, write_rankings};
use rankstill::distill::{Fused, Recorded};
use rankstill::eval::{
    Budget, Comparing, GroupReport, Machine, ModelReport, Report, Role, Training,
};
use rankstill::eval::{compare, efficiency, significance};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Items a request in the measurement of time.
const LATENCY_K: usize = 10;

/// Runs `plan` into the folder `out`; what is there of an earlier run of the same experiment is gone on with.
///
/// # Errors
/// When `out` holds another experiment, the data or a setting do not fit, somebody interrupts, or the disk is full.
pub fn run(plan: &Plan, out: &Path, screen: &Screen) -> Result<Report> {
    let metrics = measure::Metrics::parse(&plan.spec.evaluate)?; // before the work, not after it
    let figures = figure::check(plan, &metrics)?;
    claim(&plan.resolved()?, out)?;
    let data = data::open(&plan.spec.data, &out.join("data"), screen)?;
    ensure!(!data.split.test.is_empty(), "data.split: leaves no user with a test item");
    let rankings = recordings(plan, &data, screen)?;
    let setting = Setting { out, screen, data: &data, metrics: &metrics, rankings: &rankings };
    let folders = folder_names(&plan.names());
    let folders = folders.iter().map(|name| out.join("models").join(name)).collect();
    let run = Run::new(&setting, plan, folders)?;
    run.announce();
    let all: Vec<usize> = (0..plan.models.len()).collect();
    let mut models: Vec<Measured> = plan.models.iter().map(|_| Measured::default()).collect();
    let mut kept = Kept::default();
    for &seed in &plan.spec.seeds {
        run.one_seed(seed, &all, &mut |at, one| {
            kept.insert((run.identity(at), seed), one.brief(&run, at));
            models[at].add(one);
        })?;
    }
    let mut report = run.report(&models)?;
    report.figures = figure::draw(&run, &figures, &mut kept)?;
    write(&out.join("report.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
    write(&out.join("report.md"), &report.markdown())?;
    if let Some(chart) = metrics.shown.first().and_then(|metric| report.tradeoff(&metric.name())) {
        write(&out.join("tradeoff.svg"), &chart)?;
    }
    Ok(report)
}

/// Writes the resolved experiment into an empty folder; in a folder that holds one already, it must be the same.
pub(super) fn claim(resolved: &str, out: &Path) -> Result<()> {
    let path = out.join("experiment.toml");
    match fs::read_to_string(&path) {
        Ok(found) if found == resolved => Ok(()),
        Ok(found) => {
            let differs = found.lines().zip(resolved.lines()).find(|(a, b)| a != b);
            let (was, is) = differs.unwrap_or(("", "another length"));
            bail!(
                "{} is of another experiment: `{was}` there, `{is}` here; name another --out",
                path.display()
            );
        }
        Err(_) => {
            let strange = fs::read_dir(out).is_ok_and(|mut inside| inside.next().is_some());
            ensure!(!strange, "{}: is not empty and holds no experiment.toml", out.display());
            fs::create_dir_all(out).with_context(|| out.display().to_string())?;
            write(&path, resolved)
        }
    }
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    Ok(atomic_write::write(path, text.as_bytes())?)
}

/// What stays the same whatever is varied for a figure.
pub(super) struct Setting<'a> {
    pub out: &'a Path,
    pub screen: &'a Screen,
    pub data: &'a Dataset,
    pub metrics: &'a measure::Metrics,
    /// Of other systems, by the model's number.
    pub rankings: &'a BTreeMap<usize, Vec<Arc<Recorded>>>,
}

/// What stays the same over all seeds and models.
pub(super) struct Run<'a> {
    pub setting: &'a Setting<'a>,
    pub plan: &'a Plan,
    /// What models are fitted on.
    pub train: Arc<Interactions>,
    pub popularity: Vec<u32>,
    /// Of each model, without the seed.
    pub folders: Vec<PathBuf>,
}

/// What figures need of a fit that was measured, by (what it is, seed).
pub(super) type Kept = BTreeMap<(String, u64), Brief>;

/// What figures need of a fit.
pub(super) struct Brief {
    pub folder: PathBuf,
    pub parameters: usize,
    pub means: BTreeMap<String, f64>,
}

/// What was measured of one model, fitted with one seed.
pub(super) struct One {
    parameters: usize,
    bytes: u64,
    means: Vec<(String, f64)>,
    cases: Vec<(String, Vec<f64>)>,
    /// Seconds and epochs, where it was fitted here.
    training: Option<(f64, f64)>,
    notes: Vec<String>,
    groups: Vec<measure::FoundGroup>,
}

impl One {
    pub(super) fn brief(&self, run: &Run<'_>, at: usize) -> Brief {
        let means = self.means.iter().cloned().collect();
        Brief { folder: run.folders[at].clone(), parameters: self.parameters, means }
    }
}

/// What was measured of one model, a seed after the other.
#[derive(Clone, Default)]
struct Measured {
    parameters: usize,
    bytes: u64,
    values: BTreeMap<String, Vec<f64>>,
    /// By metric and seed, where it has a value a case.
    cases: BTreeMap<String, Vec<Vec<f64>>>,
    seconds: Vec<f64>,
    epochs: Vec<f64>,
    notes: Vec<String>,
    /// A seed after the other.
    groups: Vec<Vec<measure::FoundGroup>>,
}

impl Measured {
    fn add(&mut self, one: One) {
        (self.parameters, self.bytes) = (one.parameters, one.bytes);
        for (name, value) in one.means {
            self.values.entry(name).or_default().push(value);
        }
        for (name, values) in one.cases {
            self.cases.entry(name).or_default().push(values);
        }
        if let Some((seconds, epochs)) = one.training {
            self.seconds.push(seconds);
            self.epochs.push(epochs);
        }
        self.notes.extend(one.notes);
        self.groups.push(one.groups);
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        setting: &'a Setting<'a>,
        plan: &'a Plan,
        folders: Vec<PathBuf>,
    ) -> Result<Self> {
        let split = &setting.data.split;
        let train = match plan.spec.evaluate.fit_on {
            FitOn::Train => split.train.clone(),
            FitOn::TrainValid => split.train_valid(),
        };
        let train = Arc::new(data::sampled(train, &plan.spec.data.sample)?);
        let popularity = train.popularity();
        Ok(Self { setting, plan, train, popularity, folders })
    }

    /// All that a fit depends on besides the data set and the seed.
    pub(super) fn identity(&self, at: usize) -> String {
        let planned = &self.plan.models[at];
        let needs: Vec<String> = planned.needs().iter().map(|&at| self.identity(at)).collect();
        json!([planned.resolved, needs, self.plan.spec.data.sample]).to_string()
    }

    /// What it will need, before it starts.
    fn announce(&self) {
        let (users, items, rows) = (self.train.n_users(), self.train.n_items(), self.train.len());
        let (mut memory, mut disk) = (0, 0);
        for (at, planned) in self.plan.models.iter().enumerate() {
            if let Source::Fit { recipe, distil, .. } = &planned.source {
                let lists = match (distil, recipe.trainable()) {
                    (Some(distil), Some(student)) => {
                        let cases = student.cases(&self.train);
                        teacher_lists::disk(&cases, distil.distiller.requires().lists)
                            * distil.teachers.len() as u64
                    }
                    _ => 0,
                };
                if let Some(k) = self.plan.trajectory_length(at) {
                    disk += trajectory::disk(&self.plan.spec.trajectory, k, &**recipe, users);
                }
                let model = recipe.memory(users, items, rows);
                memory += model / 2 + lists; // models stay for the measurement of time, without what training needs
                disk += model + lists;
            }
            disk +=
                self.setting.data.split.test.len() as u64 * self.setting.metrics.depth() as u64 * 4;
        }
        let largest = self.plan.models.iter().filter_map(|planned| match &planned.source {
            Source::Fit { recipe, .. } => Some(recipe.memory(users, items, rows)),
            _ => None,
        });
        memory += largest.max().unwrap_or(0) + 16 * rows as u64;
        let seeds = self.plan.spec.seeds.len();
        self.setting.screen.say(format!(
            "{users} users, {items} items, {rows} training interactions; {} models x {seeds} seeds; needs about {} of memory and {} of disk",
            self.plan.models.len(),
            size(memory),
            size(disk * seeds as u64),
        ));
    }

    pub(super) fn folder(&self, model: usize, seed: u64) -> PathBuf {
        self.folders[model].join(format!("seed-{seed}"))
    }

    pub(super) fn fitter(&self) -> Fitter<'_> {
        let Setting { data, metrics, screen, .. } = *self.setting;
        let fit_on = self.plan.spec.evaluate.fit_on;
        let early = fit_on == FitOn::Train && !data.split.valid.is_empty();
        Fitter { data, metrics, train: &self.train, early, screen, look: None }
    }

    /// Fits and measures the models `wanted`; their teachers are read where they are not wanted themselves.
    pub(super) fn one_seed(
        &self,
        seed: u64,
        wanted: &[usize],
        seen: &mut dyn FnMut(usize, One),
    ) -> Result<()> {
        let needed = self.needed(wanted);
        let order: Vec<usize> =
            self.plan.order.iter().copied().filter(|at| needed.contains(at)).collect();
        let mut ready: BTreeMap<usize, Ready> = BTreeMap::new();
        let valid = &self.setting.data.split.valid;
        for (done, &at) in order.iter().enumerate() {
            let model = match &self.plan.models[at].source {
                Source::Rankings(_) => Ready::Recorded(self.setting.rankings[&at].clone()),
                Source::Ensemble { members, fusion } => {
                    let members = members.iter().map(|member| &ready[member]);
                    Ready::fused(members, fusion, valid)?
                }
                Source::Fit { .. } => {
                    let ask = |at: usize| ready[&at].teacher(&self.plan.models[at].name);
                    let folder = self.folder(at, seed);
                    let model = self.fitter().fitted(self.plan, at, seed, &folder, &ask)?;
                    Ready::Fitted(model, folder)
                }
            };
            if wanted.contains(&at) {
                seen(at, self.measure(at, seed, &model)?);
            }
            ready.insert(at, model);
            // Only those are kept that are needed still.
            let later = || order[done + 1..].iter().map(|&next| &self.plan.models[next]);
            ready.retain(|at, _| later().any(|next| next.needs().contains(at)));
            if interrupted() {
                return Err(Error::Interrupted.into());
            }
        }
        Ok(())
    }

    /// Those that are `wanted`, and whom they need; of an ensemble that is needed, also its members.
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

    /// A model that was fitted before, from its folder.
    pub(super) fn ready(&self, at: usize, seed: u64) -> Result<Ready> {
        match &self.plan.models[at].source {
            Source::Rankings(_) => Ok(Ready::Recorded(self.setting.rankings[&at].clone())),
            Source::Fit { .. } => {
                let folder = self.folder(at, seed);
                let model = model::read(&folder.join("artefact"))?.model;
                Ok(Ready::Fitted(model.into(), folder))
            }
            Source::Ensemble { members, fusion } => {
                let members = members.iter().map(|&member| self.ready(member, seed));
                let valid = &self.setting.data.split.valid;
                Ready::fused(members.collect::<Result<Vec<_>>>()?.iter(), fusion, valid)
            }
        }
    }

    fn measure(&self, at: usize, seed: u64, model: &Ready) -> Result<One> {
        let folder = self.folder(at, seed);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let Setting { data, metrics, .. } = *self.setting;
        let cases = &data.split.test;
        let teacher = self.plan.models[at].teachers().first().map(|&teacher| {
            let lists = self.folder(teacher, seed).join("rankings.parquet");
            read_rankings(&lists, &data.users, &data.items, &ReadOptions::default())
        });
        let users: Vec<u32> = cases.iter().filter_map(|case| case.query.user).collect();
        let teacher = teacher.transpose()?.map(|lists| lists.aligned(&users));
        let measure = |ranker: &dyn Ranker| {
            metrics.measure(ranker, cases, &self.train, &self.popularity, teacher.as_ref())
        };
        let found = match model {
            Ready::Fitted(model, _) => measure(&Packed::new(&**model))?,
            other => measure(&*other.ranker())?,
        };
        let lists = folder.join("rankings.parquet");
        write_rankings(&lists, &found.rankings, &users, &data.users, &data.items)?;
        measure::write_cases(&folder.join("metrics.parquet"), &found, &users, &data.users)?;
        let mut one = One {
            parameters: 0,
            bytes: 0,
            means: found.means,
            cases: found.cases,
            training: None,
            notes: found.notes,
            groups: found.groups,
        };
        if let Ready::Fitted(model, _) = model {
            one.parameters = model.n_parameters();
            one.bytes = Artefact::bytes(&Artefact::read_manifest(&folder.join("artefact"))?);
            one.training = Some(training(&folder));
        }
        Ok(one)
    }

    fn report(&self, models: &[Measured]) -> Result<Report> {
        let models = &self.with_ensembles(models);
        let mut report = Report {
            title: self.plan.spec.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: toml::from_str(&self.plan.resolved()?)?,
            data: json!({
                "content": self.setting.data.manifest.content,
                "stats": self.setting.data.manifest.stats,
                "counts": self.setting.data.manifest.counts,
            }),
            cases: self.setting.data.split.test.len(),
            seeds: self.plan.spec.seeds.clone(),
            machine: Some(Machine::describe(
                &fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
            )),
            ..Report::default()
        };
        report.define(self.setting.metrics.dialect, &self.setting.metrics.shown);
        for (at, (planned, measured)) in self.plan.models.iter().zip(models).enumerate() {
            report.models.push(self.model_report(at, planned, measured));
            for note in &measured.notes {
                if !report.notes.contains(note) {
                    report.notes.push(note.clone());
                }
            }
        }
        report.groups = self.groups(models);
        for finding in self.setting.data.manifest.audit.doubts() {
            report.notes.push(format!(
                "the split: {} ({:?} of {})",
                finding.about, finding.count, finding.of
            ));
        }
        for at in 0..report.models.len() {
            report.models[at].parameters_ratio = self.parameters_ratio(at, models);
        }
        self.add_latency(&mut report)?;
        report.fill_kept();
        report.comparisons = self.comparisons(models)?;
        Ok(report)
    }

    /// The same groups for all models: they come from the data.
    fn groups(&self, models: &[Measured]) -> Vec<GroupReport> {
        let first = models.iter().find_map(|measured| measured.groups.first());
        let of = |(at, group): (usize, &measure::FoundGroup)| {
            let of_model = |measured: &Measured| -> BTreeMap<String, _> {
                let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
                for (name, value) in measured.groups.iter().flat_map(|groups| &groups[at].means) {
                    values.entry(name.clone()).or_default().push(*value);
                }
                values.iter().map(|(n, values)| (n.clone(), significance::spread(values))).collect()
            };
            let names = self.plan.models.iter().map(|planned| planned.name.clone());
            GroupReport {
                name: group.name.clone(),
                definition: group.definition.clone(),
                cases: group.cases,
                models: names.zip(models.iter().map(of_model)).collect(),
            }
        };
        first.into_iter().flatten().enumerate().map(of).collect()
    }

    /// An ensemble is as large as its members are together.
    fn with_ensembles(&self, measured: &[Measured]) -> Vec<Measured> {
        let mut all = measured.to_vec();
        for &at in &self.plan.order {
            if let Source::Ensemble { members, .. } = &self.plan.models[at].source {
                all[at].parameters = members.iter().map(|&member| all[member].parameters).sum();
                all[at].bytes = members.iter().map(|&member| all[member].bytes).sum();
            }
        }
        all
    }

    fn model_report(&self, at: usize, planned: &PlannedModel, measured: &Measured) -> ModelReport {
        let (kind, distiller) = match &planned.source {
            Source::Fit { kind, distil, .. } => {
                ((*kind).into(), distil.as_ref().map(|d| d.kind.into()))
            }
            Source::Rankings(_) => (super::plan::RANKINGS.into(), None),
            Source::Ensemble { .. } => (super::plan::ENSEMBLE.into(), None),
        };
        let first = self.plan.spec.seeds[0];
        let folder = self.folders[at].strip_prefix(self.setting.out).unwrap_or(&self.folders[at]);
        let within = |name: &str| format!("{}/seed-{first}/{name}", folder.display());
        let fitted = matches!(planned.source, Source::Fit { .. });
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        ModelReport {
            name: planned.name.clone(),
            kind,
            role: self.role(at),
            teachers: planned
                .teachers()
                .iter()
                .map(|&at| self.plan.models[at].name.clone())
                .collect(),
            distiller,
            parameters: measured.parameters as u64,
            bytes: measured.bytes,
            metrics: measured
                .values
                .iter()
                .map(|(name, values)| (name.clone(), significance::spread(values)))
                .collect(),
            optimizer: optimizer(planned),
            training: fitted.then(|| Training {
                seconds: mean(&measured.seconds),
                epochs: mean(&measured.epochs),
            }),
            artefact: fitted.then(|| within("artefact")),
            rankings: Some(within("rankings.parquet")),
            ..ModelReport::default()
        }
    }

    /// Parameters as a share of the largest teacher's; of a student alone, as when it is taught.
    fn parameters_ratio(&self, at: usize, measured: &[Measured]) -> Option<f64> {
        let models = &self.plan.models;
        let taught = models.iter().filter(|other| alone(models, other) == Some(at));
        let asked = taught.chain([&models[at]]).flat_map(PlannedModel::teachers);
        let largest = asked.map(|&teacher| measured[teacher].parameters).max();
        let largest =
            largest.or((self.role(at) == Role::Teacher).then_some(measured[at].parameters));
        let ratio = measured[at].parameters as f64 / largest.filter(|&n| n > 0)? as f64;
        (measured[at].parameters > 0).then_some(ratio)
    }

    fn role(&self, at: usize) -> Role {
        let models = &self.plan.models;
        if !models[at].teachers().is_empty() {
            Role::Distilled
        } else if models.iter().any(|other| other.needs().contains(&at)) {
            Role::Teacher
        } else if models.iter().any(|other| alone(models, other) == Some(at)) {
            Role::Student
        } else {
            Role::Baseline
        }
    }

    /// All models of the first seed, asked in turn.
    fn add_latency(&self, report: &mut Report) -> Result<()> {
        let seconds = self.plan.spec.evaluate.latency_seconds;
        if seconds <= 0.0 {
            return Ok(());
        }
        let fitted = (0..self.plan.models.len())
            .filter(|&at| matches!(self.plan.models[at].source, Source::Fit { .. }));
        let models = fitted
            .map(|at| {
                let folder = self.folder(at, self.plan.spec.seeds[0]).join("artefact");
                Ok((at, model::read(&folder)?.model))
            })
            .collect::<Result<Vec<_>>>()?;
        let packed: Vec<_> = models.iter().map(|(_, model)| Packed::new(&**model)).collect();
        let packed_at = |at: usize| models.iter().position(|(known, _)| *known == at);
        let mut ensembles: Vec<(usize, Fused<&dyn Ranker>)> = Vec::new();
        for (at, planned) in self.plan.models.iter().enumerate() {
            let Source::Ensemble { members, fusion } = &planned.source else { continue };
            // Of a member that is a file there is no time to be measured.
            let members: Option<Vec<usize>> = members.iter().map(|&at| packed_at(at)).collect();
            if let Some(members) = members {
                let members = members.into_iter().map(|at| &packed[at] as &dyn Ranker).collect();
                ensembles.push((at, Fused::new(members, fusion.clone())?));
            }
        }
        let timed = models.iter().map(|(at, _)| *at).chain(ensembles.iter().map(|(at, _)| *at));
        let timed: Vec<usize> = timed.collect();
        let rankers = packed.iter().map(|model| model as &dyn Ranker);
        let rankers: Vec<&dyn Ranker> =
            rankers.chain(ensembles.iter().map(|(_, fused)| fused as &dyn Ranker)).collect();
        let queries: Vec<Query<'_>> = (0..self.train.n_users() as u32)
            .map(|user| Query { user: Some(user), history: self.train.history(user), hidden: &[] })
            .collect();
        let bar = self.setting.screen.bar("measuring time", 1);
        let budget = Budget { seconds, ..Budget::default() };
        let found = efficiency::latency(&rankers, &queries, &TopK::unseen(LATENCY_K), &budget)?;
        drop(bar);
        for (at, latency) in timed.iter().zip(found) {
            report.models[*at].latency = Some(latency);
        }
        Ok(())
    }

    /// Every taught student against the same student alone, seeds pooled, corrected for their number.
    fn comparisons(&self, measured: &[Measured]) -> Result<Vec<compare::Comparison>> {
        let models = &self.plan.models;
        let mut all = Vec::new();
        for (at, planned) in models.iter().enumerate() {
            let Some(alone) = alone(models, planned) else { continue };
            for metric in &self.setting.metrics.shown {
                let name = metric.name();
                let of = |at: usize| measured[at].cases.get(&name).map(|s| significance::pool(s));
                let (Some(taught), Some(itself)) = (of(at), of(alone)) else { continue };
                let (taught, itself) = (taught?, itself?);
                if taught.len() > 1 {
                    let (a, b) = (
                        (planned.name.as_str(), &*taught),
                        (models[alone].name.as_str(), &*itself),
                    );
                    all.push(compare::compare(&name, a, b, &Comparing::default())?);
                }
            }
        }
        compare::adjust(&mut all);
        Ok(all)
    }
}

/// The model with the same settings as `taught` but no teacher; where there is none, one that differs in how it is trained
/// alone: a student taught by other losses often wants other rates.
fn alone(models: &[PlannedModel], taught: &PlannedModel) -> Option<usize> {
    let mut settings = taught.resolved.clone();
    settings.as_object_mut()?.remove("distill")?;
    let untaught = |model: &&PlannedModel| model.resolved.get("distill").is_none();
    let exactly = models.iter().position(|model| model.resolved == settings);
    exactly.or_else(|| {
        let Source::Fit { recipe, .. } = &taught.source else { return None };
        let training_keys = recipe.training_keys();
        let shape = |settings: &Value| {
            let mut settings = settings.clone();
            let table = settings.as_object_mut()?;
            training_keys.iter().for_each(|key| _ = table.shift_remove(*key));
            Some(settings)
        };
        let wanted = shape(&settings);
        let like = |model: &PlannedModel| untaught(&model) && shape(&model.resolved) == wanted;
        models.iter().position(like)
    })
}

/// The optimiser and its mode, as the table states them.
fn optimizer(planned: &PlannedModel) -> Option<String> {
    let optimizer = planned.resolved.get("optimizer")?;
    let words = ["kind", "mode"].map(|key| optimizer.get(key).and_then(|word| word.as_str()));
    Some(words.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// Seconds and epochs of a fit, from what it left.
fn training(folder: &Path) -> (f64, f64) {
    let text = fs::read_to_string(folder.join(EPOCHS)).unwrap_or_default();
    let epochs: Vec<EpochReport> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if epochs.is_empty() {
        let text = fs::read_to_string(folder.join("fit.json")).unwrap_or_default();
        let fit: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        return (fit["seconds"].as_f64().unwrap_or(0.0), 0.0);
    }
    (epochs.iter().map(|epoch| epoch.seconds).sum(), epochs.len() as f64)
}

/// What other systems said, by the number of the model.
pub(super) fn recordings(
    plan: &Plan,
    data: &Dataset,
    screen: &Screen,
) -> Result<BTreeMap<usize, Vec<Arc<Recorded>>>> {
    let mut found = BTreeMap::new();
    for (at, planned) in plan.models.iter().enumerate() {
        if let Source::Rankings(files) = &planned.source {
            let read = |path| Ok(Arc::new(recorded(planned, path, data, screen)?));
            let states = files.iter().map(|path| read(path)).collect::<Result<_>>()?;
            found.insert(at, states);
        }
    }
    Ok(found)
}

fn recorded(
    planned: &PlannedModel,
    path: &Path,
    data: &Dataset,
    screen: &Screen,
) -> Result<Recorded> {
    let file = read_rankings(path, &data.users, &data.items, &ReadOptions::default())?;
    if file.dropped.rows > 0 {
        let lost = &file.dropped;
        screen.say(format!(
            "{}: left out {} rows of {} users and {} items that the data do not have",
            path.display(),
            lost.rows,
            lost.users,
            lost.items
        ));
    }
    ensure!(!file.users.is_empty(), "{}: ranks no user of the data", path.display());
    Ok(Recorded::new(&planned.name, data.items.len(), &file.users, file.rankings)?)
}

/// A folder's name for each model: letters, digits, dots and dashes of its name, made distinct.
pub(super) fn folder_names(names: &[String]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let plain = |c: char| if c.is_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
        let base: String = name.chars().map(plain).collect();
        let base = if base.trim_matches('.').is_empty() { "model".to_owned() } else { base };
        let mut name = base.clone();
        let mut n = 2;
        while taken.contains(&name) {
            name = format!("{base}-{n}");
            n += 1;
        }
        taken.push(name);
    }
    taken
}

/// Bytes for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.0} kB", (bytes as f64 / 1e3).max(1.0)),
        1_000_000..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
