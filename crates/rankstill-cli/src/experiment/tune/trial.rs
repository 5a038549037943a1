//! Training the trials of one model, each as far as it is asked to, and reading off what they came to.

use super::ladder::Rung;
use super::{Teachers, write};
use crate::experiment::EPOCHS;
use crate::experiment::fit::{self, Job, Look};
use crate::experiment::fitter::{Fitter, checkpoint_every};
use crate::experiment::plan::{Plan, Source};
use crate::experiment::teacher_lists::KeptTeacher;
use crate::progress::interrupted;
use anyhow::{Context as _, Result};
use rankstill::core::{Cases, EpochReport, Error, Model, Recipe, Requirements, Trace};
use rankstill::distill::trace::question;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the trials of one model are trained.
pub struct Bench<'a> {
    name: &'a str,
    plans: &'a [Plan],
    fitter: &'a Fitter<'a>,
    teachers: &'a Teachers,
    folder: PathBuf,
    seed: u64,
    /// The longest lists that any trial asks for.
    k: usize,
    /// What the teachers said, by what they were asked: the trials of a model mostly ask the same.
    said: RefCell<Vec<(Asked, Vec<Trace>)>>,
}

/// Who was asked, the fingerprint of the questions, and among what was to be said.
type Asked = (Vec<String>, u64, Requirements);

/// Where a trial is.
pub enum Standing {
    /// It has this to show.
    At(Seen),
    /// It cannot be trained: its loss left the numbers.
    Failed(String),
}

/// What a trial came to, so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// On validation data, larger is better.
    pub value: f64,
    /// Epochs trained.
    pub epochs: usize,
    /// Epochs after which it was so good.
    pub best_epoch: usize,
}

/// What is read of a line of JSON.
#[derive(Deserialize)]
struct Line {
    epoch: usize,
    /// Where the plan itself looks.
    valid: Option<f64>,
    /// Where it does not.
    paused: Option<f64>,
}

impl<'a> Bench<'a> {
    pub fn new(
        name: &'a str,
        plans: &'a [Plan],
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
        Self { name, plans, fitter, teachers, folder, seed, k, said: RefCell::default() }
    }

    /// Epochs of the shortest trial; none where models are not trained by epochs.
    pub fn shortest(&self) -> Option<usize> {
        let epochs = |at: usize| self.recipe(at).trainable().map(|model| model.plan().epochs);
        (0..self.plans.len()).map(epochs).min().flatten()
    }

    /// Trains a trial as far as `rung` says; what is there already is not done again.
    pub fn train(&self, at: usize, rung: &Rung) -> Result<Standing> {
        let folder = self.trial_folder(at);
        let Some(plan) = self.recipe(at).trainable().map(|model| model.plan().clone()) else {
            return self.counted(at, &folder);
        };
        let (failed, goal) = (folder.join("failed.txt"), rung.epochs(&plan));
        if let Ok(problem) = fs::read_to_string(&failed) {
            return Ok(Standing::Failed(problem));
        }
        if let Some(seen) = standing(&folder, &plan, goal) {
            return Ok(Standing::At(seen));
        }
        match self.fit(at, &folder, Some((goal, &plan))) {
            Err(error) if is(&error, |error| matches!(error, Error::Diverged { .. })) => {
                let problem = format!("{:#}", error.root_cause());
                write(&failed, &problem)?;
                self.drop_state(at);
                return Ok(Standing::Failed(problem));
            }
            Err(error) if interrupted() || !is(&error, |e| matches!(e, Error::Interrupted)) => {
                return Err(error);
            }
            _ => {}
        }
        standing(&folder, &plan, goal)
            .map(Standing::At)
            .with_context(|| format!("{}: ends before epoch {goal}", folder.join(EPOCHS).display()))
    }

    /// A model that is not trained by epochs.
    fn counted(&self, at: usize, folder: &Path) -> Result<Standing> {
        let kept = folder.join("value.json");
        if !kept.is_file() {
            let model = self.fit(at, folder, None)?;
            let value = self.fitter.validation(self.name, &*model)?;
            write(&kept, &format!("{}\n", json!({"value": value})))?;
        }
        let text = fs::read_to_string(&kept).with_context(|| kept.display().to_string())?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| kept.display().to_string())?;
        let value = value["value"].as_f64().with_context(|| kept.display().to_string())?;
        Ok(Standing::At(Seen { value, epochs: 0, best_epoch: 0 }))
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
        // A plan without early stopping does not look itself.
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

    /// What the teachers say, asked once for the longest lists.
    fn traces(
        &self,
        teachers: &[KeptTeacher],
        cases: &Cases,
        wants: Requirements,
    ) -> Result<Vec<Trace>> {
        let names = teachers.iter().map(|teacher| teacher.teacher.name().to_owned()).collect();
        let longest = wants.with_k(self.k);
        let asked: Asked = (names, cases.fingerprint(), longest);
        let known = self.said.borrow().iter().position(|(key, _)| *key == asked);
        let at = match known {
            Some(at) => at,
            None => {
                let said = fit::record(teachers, cases, longest, self.fitter.screen)?;
                self.said.borrow_mut().push((asked, said));
                self.said.borrow().len() - 1
            }
        };
        let length = question(cases, wants.lists).k;
        Ok(self.said.borrow()[at].1.iter().map(|trace| trace.truncated(length)).collect())
    }

    /// Forgets the state of a trial that does not go on.
    pub fn drop_state(&self, at: usize) {
        fit::forget_checkpoint(&self.trial_folder(at));
    }

    fn recipe(&self, at: usize) -> &dyn Recipe {
        let plan = &self.plans[at];
        match &plan.models[plan.at(self.name)].source {
            Source::Fit { recipe, .. } => &**recipe,
            _ => unreachable!("checked before the work"),
        }
    }

    fn trial_folder(&self, at: usize) -> PathBuf {
        self.folder.join(format!("{:04}", at + 1))
    }
}

/// What the first `goal` epochs came to; nothing while they are not all done.
fn standing(folder: &Path, plan: &rankstill::core::Plan, goal: usize) -> Option<Seen> {
    let text = fs::read_to_string(folder.join(EPOCHS)).ok()?;
    let (mut best, mut stale): (Option<(f64, usize)>, usize) = (None, 0);
    for (at, line) in text.lines().enumerate() {
        let line: Line = serde_json::from_str(line).ok()?; // half a line: it was being written
        let epochs = at + 1;
        if line.epoch != at {
            return None;
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
            let (value, best_epoch) =
                if plan.patience > 0 { best? } else { (line.paused?, epochs) };
            return Some(Seen { value, epochs, best_epoch });
        }
    }
    None
}

fn is(error: &anyhow::Error, what: fn(&Error) -> bool) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<Error>().is_some_and(what))
}
