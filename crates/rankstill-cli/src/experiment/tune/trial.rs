//! Training the trials of one model, each up to a rung, and reading their validation values.

use super::Teachers;
use super::ladder::Rung;
use crate::experiment::epochs::{self, EPOCHS};
use crate::experiment::fit::{self, Job, Look};
use crate::experiment::fitter::{Fitter, checkpoint_every};
use crate::experiment::plan::{ExperimentPlan, Source};
use crate::experiment::run_folder::write;
use crate::experiment::teacher_lists::KeptTeacher;
use crate::progress::interrupted;
use crate::sealed;
use anyhow::{Context as _, Result, bail};
use rankstill::core::{Cases, EpochReport, Error, Model, Recipe, Requirements, Trace, keeps_start};
use rankstill::distill::trace::question;
use serde::Deserialize;
use serde_json::{Map, json};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Trains the trials of one model.
pub struct Trainer<'a> {
    name: &'a str,
    plans: &'a [ExperimentPlan],
    fitter: &'a Fitter<'a>,
    teachers: &'a Teachers,
    folder: PathBuf,
    seed: u64,
    /// The length of the longest lists that any trial requests.
    k: usize,
    /// The teachers' traces by request: most trials of a model make the same request.
    traces: RefCell<Vec<(TraceKey, Vec<Trace>)>>,
}

/// The teachers, the fingerprint of the queries, and the requirements.
type TraceKey = (Vec<String>, u64, Requirements);

/// How far a trial got.
pub enum Progress {
    /// It reached its rung.
    At(Validated),
    /// It cannot be trained: its loss became NaN or infinite.
    Failed(String),
}

/// The best validation value of a trial so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// The validation value, larger is better.
    pub value: f64,
    /// Epochs trained.
    pub epochs: usize,
    /// The number of epochs at this value.
    pub best_epoch: usize,
}

/// The fields read from a line of JSON.
#[derive(Deserialize)]
struct Line {
    epoch: usize,
    /// At a regular validation of the plan.
    valid: Option<f64>,
    /// Of what training began with.
    start: Option<f64>,
    /// At the end of a rung, if the plan has no validation there.
    paused: Option<f64>,
}

impl<'a> Trainer<'a> {
    pub fn new(
        name: &'a str,
        plans: &'a [ExperimentPlan],
        fitter: &'a Fitter<'a>,
        teachers: &'a Teachers,
        folder: PathBuf,
        seed: u64,
    ) -> Self {
        let k = plans.iter().map(|plan| match &plan.models[plan.at(name)].source {
            Source::Fit { distil: Some(distil), .. } => distil.distiller.requires().lists.k,
            _ => 0,
        });
        let k = k.max().unwrap_or(0);
        Self { name, plans, fitter, teachers, folder, seed, k, traces: RefCell::default() }
    }

    /// Epochs of the shortest trial; `None` for models that are not trained by epochs.
    pub fn shortest(&self) -> Option<usize> {
        let epochs = |at: usize| self.recipe(at).trainable().map(|model| model.plan().epochs);
        (0..self.plans.len()).map(epochs).min().flatten()
    }

    /// Trains a trial up to `rung`, resuming from earlier rungs.
    pub fn train(&self, at: usize, rung: &Rung) -> Result<Progress> {
        let folder = self.trial_folder(at);
        let Some(plan) = self.recipe(at).trainable().map(|model| model.plan().clone()) else {
            return self.fit_without_epochs(at, &folder);
        };
        let (failed, goal) = (folder.join("failed.txt"), rung.epochs(&plan));
        if let Ok(problem) = fs::read_to_string(&failed) {
            return Ok(Progress::Failed(problem));
        }
        if let Some(validated) = validated(&folder, &plan, goal)? {
            return Ok(Progress::At(validated));
        }
        for attempt in 0..2 {
            match self.fit(at, &folder, Some((goal, &plan))) {
                Err(error) if is(&error, |error| matches!(error, Error::Diverged { .. })) => {
                    let problem = format!("{:#}", error.root_cause());
                    write(&failed, &problem)?;
                    self.drop_state(at)?;
                    return Ok(Progress::Failed(problem));
                }
                Err(error) if interrupted() || !is(&error, |e| matches!(e, Error::Interrupted)) => {
                    return Err(error);
                }
                _ => {}
            }
            if let Some(validated) = validated(&folder, &plan, goal)? {
                return Ok(Progress::At(validated));
            }
            // A search that was killed in a later rung may have repeated the epochs of this one without measuring
            // their end: once more, from the beginning.
            if attempt == 0 {
                self.drop_state(at)?;
            }
        }
        bail!("{}: ends before epoch {goal}", folder.join(EPOCHS).display())
    }

    /// A model that is not trained by epochs.
    fn fit_without_epochs(&self, at: usize, folder: &Path) -> Result<Progress> {
        let kept = folder.join("value.json");
        if !kept.is_file() {
            let model = self.fit(at, folder, None)?;
            let value = self.fitter.validation(self.name, &*model)?;
            write(&kept, &(sealed::line(json!({"value": value})) + "\n"))?;
        }
        let value = sealed::read_file(&kept, "remove this file to measure the trial again")?;
        let value = value["value"].as_f64().with_context(|| kept.display().to_string())?;
        Ok(Progress::At(Validated { value, epochs: 0, best_epoch: 0 }))
    }

    fn fit(
        &self,
        at: usize,
        folder: &Path,
        goal: Option<(usize, &rankstill::core::Plan)>,
    ) -> Result<Box<dyn Model>> {
        let plan = &self.plans[at];
        let planned = &plan.models[plan.at(self.name)];
        let Source::Fit { distil, .. } = &planned.source else {
            anyhow::bail!("tune.models.{}: is a file of rankings", self.name)
        };
        let valid = |model: &dyn Model| self.fitter.validation(self.name, model);
        let traces = |cases: &Cases, wants: Requirements| -> Result<Vec<Trace>> {
            let teachers = distil.iter().flat_map(|distil| &distil.teachers);
            let teacher = |at: usize| {
                let planned = &plan.models[at];
                let recipe = planned.teacher_recipe(self.fitter.train, self.seed);
                Ok(self.teachers.teacher(at, &planned.name)?.with_recipe(recipe))
            };
            let teachers = teachers.map(|&at| teacher(at)).collect::<Result<Vec<_>>>()?;
            self.traces(&teachers, cases, wants)
        };
        // A plan without early stopping does not validate.
        let look = |report: &EpochReport, model: &dyn Model| {
            let mut seen = Map::new();
            if goal.is_some_and(|(goal, plan)| plan.patience == 0 && report.epoch + 1 == goal) {
                seen.insert("paused".into(), json!(valid(model)?));
            }
            Ok(seen)
        };
        let job = Job {
            name: &format!("{} trial {}", self.name, at + 1),
            recipe: self.recipe(at),
            taught: distil.as_ref().map(|distil| (distil, &traces as _)),
            train: self.fitter.train,
            seed: planned.seed(self.seed),
            validate: Some(&valid),
            checkpoint_every: checkpoint_every(plan),
            folder,
            look: Some(&look as &Look<'_>),
            pause_after: goal.map(|(goal, _)| goal),
        };
        fit::fit(&job, self.fitter.screen)
    }

    /// The teachers' traces, recorded once with the longest lists.
    fn traces(
        &self,
        teachers: &[KeptTeacher],
        cases: &Cases,
        wants: Requirements,
    ) -> Result<Vec<Trace>> {
        let names = teachers.iter().map(|teacher| teacher.teacher.name().to_owned()).collect();
        let longest = wants.with_k(self.k);
        let request: TraceKey = (names, cases.fingerprint(), longest);
        let known = self.traces.borrow().iter().position(|(key, _)| *key == request);
        let at = match known {
            Some(at) => at,
            None => {
                let traces = fit::record(teachers, cases, longest, self.fitter.screen)?;
                self.traces.borrow_mut().push((request, traces));
                self.traces.borrow().len() - 1
            }
        };
        let length = question(cases, wants.lists).k;
        Ok(self.traces.borrow()[at].1.iter().map(|trace| trace.truncated(length)).collect())
    }

    /// Removes the checkpoint of a trial that is not trained further.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn drop_state(&self, at: usize) -> Result<()> {
        fit::forget_checkpoint(&self.trial_folder(at))
    }

    fn recipe(&self, at: usize) -> &Arc<dyn Recipe> {
        let plan = &self.plans[at];
        match &plan.models[plan.at(self.name)].source {
            Source::Fit { recipe, .. } => recipe,
            _ => unreachable!("checked before the work"),
        }
    }

    fn trial_folder(&self, at: usize) -> PathBuf {
        self.folder.join(format!("{:04}", at + 1))
    }
}

/// The best value of the first `goal` epochs; `None` until all of them are done.
///
/// # Errors
/// When the lines are damaged.
fn validated(
    folder: &Path,
    plan: &rankstill::core::Plan,
    goal: usize,
) -> Result<Option<Validated>> {
    let (mut best, mut stale): (Option<(f64, usize)>, usize) = (None, 0);
    // Without a last line that was being written.
    for (at, line) in epochs::read_begun(folder)?.0.into_iter().enumerate() {
        let line: Line = serde_json::from_value(line)?;
        let epochs = at + 1;
        if line.epoch != at {
            return Ok(None);
        }
        if let Some(value) = line.valid {
            let better = best.is_none_or(|(best, _)| value > best);
            stale = if better { 0 } else { stale + 1 };
            if better {
                best = Some((value, epochs));
            }
        }
        let stopped = plan.patience > 0 && stale >= plan.patience;
        if epochs == goal || stopped {
            let found = if plan.patience == 0 {
                line.paused.map(|value| (value, epochs))
            } else if keeps_start(line.start, best.map(|(value, _)| value)) {
                line.start.map(|value| (value, 0))
            } else {
                best
            };
            return Ok(found.map(|(value, best_epoch)| Validated { value, epochs, best_epoch }));
        }
    }
    Ok(None)
}

fn is(error: &anyhow::Error, what: fn(&Error) -> bool) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<Error>().is_some_and(what))
}
