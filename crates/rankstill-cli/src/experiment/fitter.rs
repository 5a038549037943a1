//! A model of an experiment: read from its folder, or fitted and kept there.

use super::fit::{self, Job, Look};
use super::plan::{Plan, Source};
use super::teacher_lists::KeptTeacher;
use super::trajectory::Recorder;
use super::{measure, model};
use crate::progress::Screen;
use anyhow::{Context as _, Result};
use rankstill::core::{
    Cases, EpochReport, Error, Interactions, Model, Packed, Requirements, Trace, atomic_write,
};
use rankstill::data::dataset::Dataset;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all fits of an experiment have in common.
pub struct Fitter<'a> {
    /// Its vocabularies and validation cases.
    pub data: &'a Dataset,
    /// Says how good a model is on validation data.
    pub metrics: &'a measure::Metrics,
    /// What models are fitted on.
    pub train: &'a Arc<Interactions>,
    /// Whether training may stop early.
    pub early: bool,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Looks on after every epoch.
    pub look: Option<&'a Look<'a>>,
}

impl Fitter<'_> {
    /// Model `at` of `plan` in a run with this seed, from `folder` where it was kept. `teacher` gives a teacher by its number in the plan.
    ///
    /// # Errors
    /// When the settings cannot work on these data, training diverges, somebody interrupts, or the disk is full.
    pub fn fitted(
        &self,
        plan: &Plan,
        at: usize,
        seed: u64,
        folder: &Path,
        teacher: &dyn Fn(usize) -> Result<KeptTeacher>,
    ) -> Result<Arc<dyn Model>> {
        let artefact = folder.join("artefact");
        if artefact.join("manifest.json").is_file() {
            return Ok(model::read(&artefact)?.model.into());
        }
        let planned = &plan.models[at];
        let Source::Fit { kind, recipe, distil, .. } = &planned.source else {
            anyhow::bail!("models.{}: is a file of rankings, there is nothing to fit", planned.name)
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
            .map(|k| Recorder::new(&plan.spec.trajectory, k, &**recipe, self.train, folder))
            .transpose()?;
        // Early stopping, the trajectory and a figure may each want to look on.
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
            recipe: &**recipe,
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
        let seconds = json!({"seconds": began.elapsed().as_secs_f64()});
        atomic_write::write(folder.join("fit.json"), format!("{seconds}\n").as_bytes())?;
        let card = json!({
            "experiment": plan.spec.name,
            "seed": planned.seed(seed),
            "data": self.data.manifest.content,
            "fitted_on": plan.spec.evaluate.fit_on,
            "distilled": planned.resolved.get("distill"),
        });
        let about = model::About { name: &planned.name, kind, config: recipe.config(), card };
        let Dataset { users, items, .. } = self.data;
        model::write(&artefact, about, &*fitted, users, items, self.train)
            .with_context(|| format!("models.{}", planned.name))?;
        fit::forget_checkpoint(folder);
        Ok(fitted)
    }

    /// The figure of early stopping, larger is better.
    ///
    /// # Errors
    /// When the model cannot be measured by it.
    pub fn validation(&self, name: &str, model: &dyn Model) -> rankstill::core::Result<f64> {
        self.metrics
            .validation(&Packed::new(model), &self.data.split.valid)
            .map_err(|error| Error::Ranker { name: name.to_owned(), problem: crate::told(&error) })
    }
}

/// As the experiment says, within reason.
#[must_use]
pub fn checkpoint_every(plan: &Plan) -> Duration {
    Duration::from_secs_f64(plan.spec.checkpoint_seconds.clamp(0.0, 1e9))
}
