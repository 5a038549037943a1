//! One model of an experiment: read from its folder, or fitted and kept there.

use super::fit::{self, Job, Look};
use super::measure;
use super::plan::{COMPRESSED, ExperimentPlan, PlannedModel, Source};
use super::spec::FitOn;
use super::teacher_lists::KeptTeacher;
use super::trajectory::TrajectoryWriter;
use crate::progress::Screen;
use crate::sealed;
use anyhow::{Context as _, Result, ensure};
use rankstill::artefact;
use rankstill::core::EpochReport;
use rankstill::core::{
    Cases, ColdStart, Error, Interactions, Model, Packed, Requirements, Trace, Trained,
    UnderPath as _, atomic_write,
};
use rankstill::data::dataset::Dataset;
use rankstill::models::compressed::Compressor;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The file in the folder of a fit with the seconds that it took.
pub(super) const FIT: &str = "fit.json";

/// A fitted model that is to be compressed.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// The model.
    pub model: &'a dyn Model,
    /// How it was planned.
    pub planned: &'a PlannedModel,
}

/// The context that all fits of an experiment share.
pub struct Fitter<'a> {
    /// Its vocabularies and validation cases.
    pub data: &'a Dataset,
    /// The metrics, among them that of early stopping.
    pub metrics: &'a measure::Metrics,
    /// The interactions that models are fitted on.
    pub train: &'a Arc<Interactions>,
    /// Which part these are.
    pub fitted_on: FitOn,
    /// Who and what they are about.
    pub trained: &'a Arc<Trained>,
    /// Whether training may stop early.
    pub early: bool,
    /// Shows the progress.
    pub screen: &'a Screen,
    /// Called after every epoch.
    pub look: Option<&'a Look<'a>>,
}

impl Fitter<'_> {
    /// Model `at` of `plan` in a run with this seed: read from `folder` if it is there, else fitted and written there. `teacher`
    /// returns a teacher by its index in the plan.
    ///
    /// # Errors
    /// If the settings do not suit the data, training diverges, the user interrupts, or writing fails.
    pub fn fitted(
        &self,
        plan: &ExperimentPlan,
        at: usize,
        seed: u64,
        folder: &Path,
        teacher: &dyn Fn(usize) -> Result<KeptTeacher>,
    ) -> Result<Arc<dyn Model>> {
        let artefact = folder.join("artefact");
        if artefact.join("manifest.json").is_file() {
            let model = self.kept(plan, at, seed, &artefact)?;
            fit::forget_checkpoint(folder)?; // a kill may have come just before
            return Ok(model);
        }
        let planned = &plan.models[at];
        let Source::Fit { kind, recipe, distil, .. } = &planned.source else {
            anyhow::bail!("models.{}: comes from outside and cannot be fitted", planned.name)
        };
        let traces = |cases: &Cases, requires: Requirements| -> Result<Vec<Trace>> {
            let teachers = distil.iter().flat_map(|distil| &distil.teachers);
            let recipe_of = |at: usize| plan.models[at].teacher_recipe(self.train, seed);
            let teachers = teachers.map(|&at| Ok(teacher(at)?.with_recipe(recipe_of(at))));
            fit::record(&teachers.collect::<Result<Vec<_>>>()?, cases, requires, self.screen)
        };
        let valid = |model: &dyn Model| self.validation(&planned.name, model);
        let recorder = plan
            .trajectory_length(at)
            .map(|k| TrajectoryWriter::new(&plan.spec.trajectory, k, &**recipe, self.train, folder))
            .transpose()?;
        // Called for the trajectory and for a figure.
        let look = |report: &EpochReport, model: &dyn Model| {
            let mut seen = self.look.map(|look| look(report, model)).transpose()?;
            if let Some(recorder) = &recorder {
                let states = recorder.after_epoch(report, model, &valid)?;
                seen.get_or_insert_default().extend(states);
            }
            Ok(seen.unwrap_or_default())
        };
        let began = Instant::now();
        let job = Job {
            name: &planned.name,
            recipe,
            taught: distil.as_ref().map(|distil| (distil, &traces as _)),
            train: self.train,
            seed: planned.seed(seed),
            validate: self.early.then_some(&valid),
            checkpoint_every: checkpoint_every(plan),
            folder,
            look: Some(&look),
            pause_after: None,
        };
        let fitted: Arc<dyn Model> = fit::fit(&job, self.screen)?.into();
        if let Some(recorder) = recorder {
            recorder.finish(&*fitted).with_context(|| format!("models.{}", planned.name))?;
        }
        self.time(folder, began)?;
        let mut card = self.card(plan, planned.seed(seed));
        card["distilled"] = json!(planned.resolved.get("distill"));
        let about = artefact::About { name: &planned.name, kind, config: recipe.config(), card };
        let Dataset { users, items, .. } = self.data;
        artefact::save_parts(&artefact, about, &*fitted, (users, items, self.train))
            .with_context(|| format!("models.{}", planned.name))?;
        fit::forget_checkpoint(folder)?;
        Ok(fitted)
    }

    /// Model `at` of `plan`, which is another model compressed: read from `folder` if it is there, else made of `base` and written
    /// there.
    ///
    /// # Errors
    /// If the model cannot be compressed so, or writing fails.
    pub fn compressed(
        &self,
        plan: &ExperimentPlan,
        at: usize,
        seed: u64,
        folder: &Path,
        base: Base<'_>,
        compressor: &dyn Compressor,
    ) -> Result<Arc<dyn Model>> {
        let (planned, artefact) = (&plan.models[at], folder.join("artefact"));
        if artefact.join("manifest.json").is_file() {
            return self.kept(plan, at, seed, &artefact);
        }
        atomic_write::create_folders(folder).with_context(|| folder.display().to_string())?;
        let began = Instant::now();
        let _bar = self.screen.bar(&planned.name, 1);
        let seed = planned.seed(seed);
        let compressed = compressor.compress(base.model, self.train, seed);
        let compressed = compressed.under(&format!("models.{}", planned.name))?;
        self.time(folder, began)?;
        let mut config = base.planned.resolved.clone();
        if let Some(settings) = config.as_object_mut() {
            settings.retain(|key, _| key != "distill" && key != "seed_offset");
        }
        let config = json!({"model": config, "compress": planned.resolved["compress"]});
        let mut card = self.card(plan, seed);
        card["compressed"] = json!(base.planned.name);
        let about = artefact::About { name: &planned.name, kind: COMPRESSED, config, card };
        let Dataset { users, items, .. } = self.data;
        artefact::save_parts(&artefact, about, &*compressed, (users, items, self.train))
            .with_context(|| format!("models.{}", planned.name))?;
        Ok(compressed.into())
    }

    /// Keeps the seconds of a fit.
    fn time(&self, folder: &Path, began: Instant) -> Result<()> {
        let seconds = sealed::line(json!({"seconds": began.elapsed().as_secs_f64()}));
        Ok(atomic_write::write(folder.join(FIT), (seconds + "\n").as_bytes())?)
    }

    /// What the manifest of a model says about its origin.
    fn card(&self, plan: &ExperimentPlan, seed: u64) -> Value {
        json!({
            "experiment": plan.spec.name,
            "seed": seed,
            "data": self.data.manifest.content,
            "fitted_on": self.fitted_on,
        })
    }

    /// A model that was fitted before, if it is the one that this fit would give.
    ///
    /// # Errors
    /// When it cannot be read, or was fitted otherwise.
    pub fn kept(
        &self,
        plan: &ExperimentPlan,
        at: usize,
        seed: u64,
        artefact: &Path,
    ) -> Result<Arc<dyn Model>> {
        let loaded = artefact::load(artefact)?;
        let planned = &plan.models[at];
        let found = &loaded.artefact.manifest;
        let kind = match &planned.source {
            Source::Fit { kind, .. } => json!(kind),
            Source::Compressed { .. } => json!(COMPRESSED),
            _ => json!(found.kind),
        };
        for (key, expected, found) in [
            ("kind", kind, json!(found.kind)),
            ("seed", json!(planned.seed(seed)), found.card["seed"].clone()),
            ("data", json!(self.data.manifest.content), found.card["data"].clone()),
            ("fitted_on", json!(self.fitted_on), found.card["fitted_on"].clone()),
        ] {
            ensure!(
                found == expected || found.is_null(),
                "{}: is not the model of this run: its {key} is {found}, here it is {expected}; remove {} to fit it again",
                artefact.display(),
                artefact.parent().unwrap_or(artefact).display()
            );
        }
        Ok(loaded.model.into())
    }

    /// The validation value of early stopping, larger is better.
    ///
    /// # Errors
    /// If the metric cannot be computed for this model.
    pub fn validation(&self, name: &str, model: &dyn Model) -> rankstill::core::Result<f64> {
        let packed = Packed::new(model);
        let ranker = ColdStart::new(&packed, Arc::clone(self.trained));
        self.metrics.validation(&ranker, &self.data.split.valid).map_err(|error| Error::Ranker {
            name: name.to_owned(),
            problem: crate::error_line(&error),
        })
    }
}

/// `checkpoint_seconds` of the experiment, clamped to what a duration can hold.
#[must_use]
pub fn checkpoint_every(plan: &ExperimentPlan) -> Duration {
    Duration::from_secs_f64(plan.spec.checkpoint_seconds.clamp(0.0, 1e9))
}
