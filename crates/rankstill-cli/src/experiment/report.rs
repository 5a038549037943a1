//! The report of a run: every model's results over the seeds, its size, its time, and tests against the undistilled student.

use super::data::all_rows_train;
use super::ensemble::selection;
use super::latency;
use super::measure::GroupMeasurement;
use super::plan::{COMPRESSED, Distil, ENSEMBLE, PlannedModel, RANKINGS, Source};
use super::session::{ModelResult, Session, VALIDATED};
use super::spec::FitOn;
use anyhow::Result;
use rankstill::core::ServingBytes;
use rankstill::distill::self_taught::SELF;
use rankstill::eval::report::{EnsembleReport, MemberReport, SINGLE};
use rankstill::eval::{
    ComparisonOptions, GroupReport, Machine, ModelReport, Report, Role, TrainingCost,
};
use rankstill::eval::{compare, significance};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// The families of models that were taught, and of what is made of them, begin so.
pub(super) const DISTILLED: &str = "distilled";
/// The family of students without a teacher.
const ALONE: &str = "alone";

/// The results of one model, seed by seed.
#[derive(Clone, Default)]
pub(super) struct ModelResults {
    parameters: usize,
    bytes: u64,
    serving: Option<ServingBytes>,
    values: BTreeMap<String, Vec<f64>>,
    /// By metric and seed, for metrics with one value per case.
    pub(super) cases: BTreeMap<String, Vec<Vec<f64>>>,
    seconds: Vec<f64>,
    epochs: Vec<f64>,
    notes: Vec<String>,
    /// By seed: why the method did not teach, where it did not.
    untaught: Vec<Option<String>>,
    /// By seed.
    cold_start: Vec<Vec<GroupMeasurement>>,
    /// By seed.
    groups: Vec<Vec<GroupMeasurement>>,
}

impl ModelResults {
    pub(super) fn add(&mut self, one: ModelResult) {
        (self.parameters, self.bytes) = (one.parameters, one.bytes);
        self.serving = one.serving;
        for (name, value) in one.measured.means {
            self.values.entry(name).or_default().push(value);
        }
        for (name, values) in one.measured.cases {
            self.cases.entry(name).or_default().push(values);
        }
        if let Some((seconds, epochs)) = one.training {
            self.seconds.push(seconds);
            self.epochs.push(epochs);
        }
        self.notes.extend(one.measured.notes);
        self.untaught.push(one.untaught);
        self.cold_start.push(one.measured.cold_start);
        self.groups.push(one.measured.groups);
    }
}

impl Session<'_> {
    /// The whole report but its figures.
    pub(super) fn report(&self, models: &[ModelResults]) -> Result<Report> {
        let models = &self.with_ensembles(models)?;
        let mut ensembles =
            self.plan.models.iter().filter(|model| matches!(model.source, Source::Ensemble { .. }));
        let mut report = Report {
            title: self.plan.spec.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: toml::from_str(&self.plan.resolved()?)?,
            data: json!({
                "content": self.setting.data.manifest.content,
                "stats": self.setting.data.manifest.stats,
                "counts": self.setting.data.manifest.counts,
            }),
            cases: self.cases().len(),
            seeds: self.plan.spec.seeds.clone(),
            recommended: self.plan.spec.evaluate.best.clone(),
            ensemble: ensembles.next().map(|model| model.name.clone()),
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
        for (at, warning) in self.partly_taught()? {
            report.models[at].warnings.push(warning);
        }
        report.notes.extend(self.fits());
        report.cold_start = self.groups(models, |measured| &measured.cold_start);
        report.groups = self.groups(models, |measured| &measured.groups);
        report.ensembles = self.ensembles()?;
        for finding in self.setting.data.manifest.audit.doubts() {
            report.notes.push(format!(
                "the split: {} ({:?} of {})",
                finding.about, finding.count, finding.of
            ));
        }
        for at in 0..report.models.len() {
            report.models[at].parameters_ratio = self.parameters_ratio(at, models);
        }
        latency::add(self, &mut report)?;
        report.fill_kept();
        report.comparisons = self.comparisons(models)?;
        Ok(report)
    }

    /// Which models the figures belong to, where these are not those of the artefacts, or there are none.
    fn fits(&self) -> Option<String> {
        if all_rows_train(self.setting.data) {
            return Some(
                "Nothing is measured: every row trains (data.split.kind = \"all\"), so no row is left to stop early or to test on."
                    .into(),
            );
        }
        (self.plan.spec.evaluate.fit_on == FitOn::All).then(|| {
            format!(
                "The figures are those of models fitted on the training part, in `{VALIDATED}` of each model's folder. The artefacts are \
                 fitted on every row (training, validation and test part), for as many epochs as the measured model was trained until it was \
                 best."
            )
        })
    }

    /// What was chosen for each ensemble that chooses, with the first seed.
    fn ensembles(&self) -> Result<Vec<EnsembleReport>> {
        let mut all = Vec::new();
        for (at, planned) in self.plan.models.iter().enumerate() {
            let Source::Ensemble { members, .. } = &planned.source else { continue };
            let folder = self.folder(at, self.plan.spec.seeds[0]);
            let Some(chosen) = selection(&folder)? else { continue };
            let of = |(nth, &member): (usize, &usize)| MemberReport {
                name: self.plan.models[member].name.clone(),
                weight: chosen.weights[nth],
                alone: chosen.alone[nth],
                without: chosen.without[nth],
            };
            all.push(EnsembleReport {
                name: planned.name.clone(),
                metric: self.setting.metrics.validate_name(),
                value: chosen.value,
                members: members.iter().enumerate().map(of).collect(),
            });
        }
        Ok(all)
    }

    /// The groups come from the data, so they are the same for all models.
    fn groups(
        &self,
        models: &[ModelResults],
        groups: impl Fn(&ModelResults) -> &Vec<Vec<GroupMeasurement>>,
    ) -> Vec<GroupReport> {
        let first = models.iter().find_map(|measured| groups(measured).first());
        let of = |(at, group): (usize, &GroupMeasurement)| {
            let of_model = |measured: &ModelResults| -> BTreeMap<String, _> {
                let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
                for (name, value) in groups(measured).iter().flat_map(|groups| &groups[at].means) {
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

    /// An ensemble is as large as the members that it asks are together.
    fn with_ensembles(&self, measured: &[ModelResults]) -> Result<Vec<ModelResults>> {
        let mut all = measured.to_vec();
        for &at in &self.plan.order {
            if let Source::Ensemble { members, .. } = &self.plan.models[at].source {
                let chosen = selection(&self.folder(at, self.plan.spec.seeds[0]))?;
                let asked = |nth: usize| chosen.as_ref().is_none_or(|one| one.weights[nth] > 0);
                let members = members.iter().enumerate().filter(|(nth, _)| asked(*nth));
                let members: Vec<usize> = members.map(|(_, &member)| member).collect();
                all[at].parameters = members.iter().map(|&member| all[member].parameters).sum();
                all[at].bytes = members.iter().map(|&member| all[member].bytes).sum();
                let sides = members.iter().map(|&member| all[member].serving);
                all[at].serving = sides.reduce(|a, b| Some(add(a?, b?))).flatten();
            }
        }
        Ok(all)
    }

    fn model_report(
        &self,
        at: usize,
        planned: &PlannedModel,
        measured: &ModelResults,
    ) -> ModelReport {
        let (kind, distiller) = match &planned.source {
            Source::Fit { kind, distil, .. } => {
                ((*kind).into(), distil.as_ref().map(|d| d.kind.into()))
            }
            Source::Rankings { .. } => (RANKINGS.into(), None),
            Source::Compressed { .. } => (COMPRESSED.into(), None),
            Source::Ensemble { .. } => (ENSEMBLE.into(), None),
        };
        let first = self.plan.spec.seeds[0];
        let folder = self.folders[at].strip_prefix(self.setting.out).unwrap_or(&self.folders[at]);
        let within = |name: &str| format!("{}/seed-{first}/{name}", folder.display());
        let fitted = matches!(planned.source, Source::Fit { .. } | Source::Compressed { .. });
        let per = |n: usize| move |bytes: u64| bytes as f64 / n.max(1) as f64;
        let (items, users) = (self.train.n_items(), self.train.n_users());
        let serving = measured.serving;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        ModelReport {
            name: planned.name.clone(),
            kind,
            role: match measured.untaught.iter().all(Option::is_some) {
                true if !measured.untaught.is_empty() => Role::Untaught,
                _ => self.role(at),
            },
            teachers: self.teachers(planned),
            distiller,
            base: match planned.source {
                Source::Compressed { of, .. } => Some(self.plan.models[of].name.clone()),
                _ => None,
            },
            parameters: measured.parameters as u64,
            bytes: measured.bytes,
            single: self.family(at) == SINGLE,
            family: self.family(at),
            bytes_in_memory: serving.map(|bytes| bytes.items + bytes.users),
            bytes_per_item: serving.map(|bytes| bytes.items).map(per(items)),
            bytes_per_user: serving.map(|bytes| bytes.users).map(per(users)),
            metrics: measured
                .values
                .iter()
                .map(|(name, values)| (name.clone(), significance::spread(values)))
                .collect(),
            optimizer: optimizer(planned),
            training: fitted.then(|| TrainingCost {
                seconds: mean(&measured.seconds),
                epochs: mean(&measured.epochs),
            }),
            artefact: fitted.then(|| within("artefact")),
            rankings: (!self.cases().is_empty()).then(|| within("rankings.parquet")),
            warnings: distinct(measured.untaught.iter().flatten()),
            ..ModelReport::default()
        }
    }

    /// Models that differ in their size alone.
    fn family(&self, at: usize) -> String {
        match (&self.plan.models[at].source, self.role(at)) {
            (Source::Compressed { of, compressor }, _) => {
                let kind = compressor.kind();
                let student = match self.role(*of) {
                    Role::Distilled => DISTILLED,
                    Role::Student => ALONE,
                    _ => return kind.into(),
                };
                match compressor.config().get("bits") {
                    Some(bits) => format!("{student}, then {kind}{bits}"),
                    None => format!("{student}, then {kind}"),
                }
            }
            (Source::Ensemble { .. }, _) => "ensemble".into(),
            (Source::Rankings { .. }, _) => "rankings".into(),
            (Source::Fit { recipe, .. }, Role::Distilled) => {
                let bits = recipe.config()["item_bits"].as_u64();
                let codes = if bits > Some(0) { " in codes" } else { "" };
                format!("{DISTILLED}{codes}")
            }
            (Source::Fit { .. }, Role::Student) => ALONE.into(),
            (Source::Fit { .. }, _) => SINGLE.into(),
        }
    }

    /// The names of its teachers.
    fn teachers(&self, planned: &PlannedModel) -> Vec<String> {
        match &planned.source {
            Source::Fit { distil: Some(Distil { by_itself: Some(_), .. }), .. } => {
                vec![SELF.into()]
            }
            _ => planned.teachers().iter().map(|&at| self.plan.models[at].name.clone()).collect(),
        }
    }

    /// Parameters as a share of the largest teacher's. An undistilled student is compared with the teachers of its distilled versions.
    fn parameters_ratio(&self, at: usize, measured: &[ModelResults]) -> Option<f64> {
        let models = &self.plan.models;
        let taught = models.iter().filter(|other| alone(models, other) == Some(at));
        let teachers = taught.chain([&models[at]]).flat_map(PlannedModel::teachers);
        let largest = teachers.map(|&teacher| measured[teacher].parameters).max();
        let largest =
            largest.or((self.role(at) == Role::Teacher).then_some(measured[at].parameters));
        let ratio = measured[at].parameters as f64 / largest.filter(|&n| n > 0)? as f64;
        (measured[at].parameters > 0).then_some(ratio)
    }

    fn role(&self, at: usize) -> Role {
        let models = &self.plan.models;
        let is_compressed =
            |model: &PlannedModel| matches!(model.source, Source::Compressed { .. });
        if is_compressed(&models[at]) {
            Role::Compressed
        } else if matches!(models[at].source, Source::Fit { distil: Some(_), .. }) {
            Role::Distilled
        } else if models.iter().any(|other| !is_compressed(other) && other.needs().contains(&at)) {
            Role::Teacher
        } else if models.iter().any(|other| alone(models, other) == Some(at)) {
            Role::Student
        } else {
            Role::Baseline
        }
    }

    /// Every distilled student against the same student without a teacher, p-values corrected for the number of tests.
    fn comparisons(&self, measured: &[ModelResults]) -> Result<Vec<compare::Comparison>> {
        let models = &self.plan.models;
        let mut all = Vec::new();
        for (at, planned) in models.iter().enumerate() {
            let Some(alone) = alone(models, planned) else { continue };
            for metric in &self.setting.metrics.shown {
                let name = metric.name();
                let of = |at: usize| Some(&**measured[at].cases.get(&name)?);
                let (Some(taught), Some(itself)) = (of(at), of(alone)) else { continue };
                if taught.first().is_some_and(|cases| cases.len() > 1) {
                    let (a, b) =
                        ((planned.name.as_str(), taught), (models[alone].name.as_str(), itself));
                    all.push(compare::compare(&name, a, b, &ComparisonOptions::default())?);
                }
            }
        }
        compare::adjust(&mut all);
        Ok(all)
    }
}

fn add(a: ServingBytes, b: ServingBytes) -> ServingBytes {
    ServingBytes { items: a.items + b.items, users: a.users + b.users }
}

/// In the order of their first occurrence.
fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    texts.for_each(|text| {
        if !all.contains(text) {
            all.push(text.clone());
        }
    });
    all
}

/// The undistilled model that `taught` is compared with.
fn alone(models: &[PlannedModel], taught: &PlannedModel) -> Option<usize> {
    let Source::Fit { recipe, .. } = &taught.source else { return None };
    let training_keys = recipe.training_keys();
    let settings: Vec<&Value> = models.iter().map(|model| &model.resolved).collect();
    compare::baseline_of(&taught.resolved, &settings, |key| training_keys.contains(&key))
}

/// The optimiser and its mode, as shown in the table.
fn optimizer(planned: &PlannedModel) -> Option<String> {
    let optimizer = planned.resolved.get("optimizer")?;
    let words = ["kind", "mode"].map(|key| optimizer.get(key).and_then(|word| word.as_str()));
    Some(words.into_iter().flatten().collect::<Vec<_>>().join(" "))
}
