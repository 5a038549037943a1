//! Fitting one model of an experiment: alone or taught, with progress, checkpoints and a log of its epochs.

use super::epochs;
use super::plan::Distil;
use super::teacher_lists::KeptTeacher;
use crate::progress::{Bar, Screen, interrupted, stop};
use anyhow::{Context as _, Result, bail};
use rankstill::core::artefact::{read_tensors, write_tensors};
use rankstill::core::atomic_write::{create_folders, remove_file};
use rankstill::core::train::train;
use rankstill::core::{
    Cases, Checkpointing, EpochReport, Error, Fit, Interactions, Model, Recipe, Requirements,
    Trace, UnderPath as _, Validate, Watch,
};
use serde_json::{Map, Value};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Gives the teachers' traces for a student's cases.
pub type Traces<'a> = dyn Fn(&Cases, Requirements) -> Result<Vec<Trace>> + 'a;

/// Sees a model after every epoch; the result is added to the epoch's line of JSON.
pub type Look<'a> =
    dyn Fn(&EpochReport, &dyn Model) -> rankstill::core::Result<Map<String, Value>> + 'a;

/// One fit.
pub struct Job<'a> {
    /// Shown with the progress.
    pub name: &'a str,
    /// The model's settings.
    pub recipe: &'a Arc<dyn Recipe>,
    /// The method and the teachers' traces, for a student.
    pub taught: Option<(&'a Distil, &'a Traces<'a>)>,
    /// The training data.
    pub train: &'a Arc<Interactions>,
    /// Same seed, same bytes.
    pub seed: u64,
    /// The validation value, for early stopping.
    pub validate: Option<&'a Validate<'a>>,
    /// Minimum time between two checkpoints.
    pub checkpoint_every: Duration,
    /// Holds the checkpoint and a line of JSON an epoch.
    pub folder: &'a Path,
    /// Called after every epoch.
    pub look: Option<&'a Look<'a>>,
    /// Stop with [`Error::Interrupted`] after this number of epochs, with a checkpoint from which a later fit resumes.
    pub pause_after: Option<usize>,
}

/// Fits a model, resuming from a checkpoint where there is one.
///
/// # Errors
/// When the settings do not suit the data, training diverges, the user interrupts, or the disk is full.
pub fn fit(job: &Job<'_>, screen: &Screen) -> Result<Box<dyn Model>> {
    create_folders(job.folder).with_context(|| job.folder.display().to_string())?;
    let checkpoint = job.folder.join(CHECKPOINT);
    let save = |text: &str, tensors: &_| {
        // A checkpoint that survives the power goes on after epochs whose lines must survive it too.
        epochs::sync(job.folder)?;
        write_tensors(&checkpoint, text, tensors)
    };
    let load = || {
        read_tensors(&checkpoint).map_err(|error| match error {
            Error::File { path, problem } => {
                let problem =
                    format!("{problem}; remove this file to fit the model from its beginning");
                Error::File { path, problem }
            }
            other => other,
        })
    };
    let mut watch = EpochLog::new(job, screen);
    let mut fit = Fit {
        seed: job.seed,
        validate: job.validate,
        watch: Some(&mut watch),
        checkpoints: Some(Checkpointing { save: &save, load: &load, every: job.checkpoint_every }),
        stop: stop().clone(),
    };
    model(job, &mut fit).with_context(|| format!("models.{} (seed {})", job.name, job.seed))
}

fn model(job: &Job<'_>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
    let (Some((distil, traces)), Some(student)) = (&job.taught, job.recipe.trainable()) else {
        return Ok(job.recipe.fit(job.train, fit)?);
    };
    let cases = student.cases(job.train);
    if let Some(settings) = &distil.by_itself {
        let (method, recipe) = (Arc::clone(&distil.distiller), Arc::clone(job.recipe));
        let taught = settings
            .objective(method, recipe, job.train, &cases)
            .under("distill")
            .and_then(|objective| train(student, job.train, &cases, objective, fit));
        return Ok(taught.under(&format!("models.{}", job.name))?);
    }
    let requires = distil.distiller.requires();
    let traces = traces(&cases, requires)?;
    if requires.lists.k > 0 && traces.iter().all(lists_nothing) {
        let names: Vec<&str> = traces.iter().map(Trace::teacher).collect();
        bail!(
            "distill.teachers: {} lists no item to teach for any of the {} training queries; expected rankings of items that these users \
             have not acted on",
            names.join(" and "),
            cases.n_queries()
        );
    }
    let taught = distil
        .distiller
        .teach(student.objective(job.train), &cases, &traces)
        .under("distill")
        .and_then(|objective| train(student, job.train, &cases, objective, fit));
    Ok(taught.under(&format!("models.{}", job.name))?)
}

fn lists_nothing(trace: &Trace) -> bool {
    trace.checkpoints().iter().all(|(_, lists)| lists.iter().all(<[_]>::is_empty))
}

/// Removes the checkpoint of a fit whose model has been kept.
///
/// # Errors
/// When it cannot be removed.
pub fn forget_checkpoint(folder: &Path) -> Result<()> {
    let path = folder.join(CHECKPOINT);
    if !path.exists() {
        return Ok(());
    }
    remove_file(&path).with_context(|| path.display().to_string())
}

const CHECKPOINT: &str = "checkpoint.safetensors";

/// What a distiller requires of `teachers` about the distinct queries of `cases`, computed or read from their folders.
///
/// # Errors
/// When a teacher cannot answer, or the user interrupts.
pub fn record(
    teachers: &[KeptTeacher],
    cases: &Cases,
    requires: Requirements,
    screen: &Screen,
) -> Result<Vec<Trace>> {
    let one = |teacher: &KeptTeacher| {
        let title = match requires.lists.k {
            0 => format!("vectors of {}", teacher.teacher.name()),
            k => format!("top {k} of {}", teacher.teacher.name()),
        };
        let bar = screen.bar(title, cases.n_queries() as u64);
        let mut progress = |done, total| {
            bar.at_of(done as u64, total as u64);
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        teacher.trace(cases, requires, &mut progress)
    };
    teachers.iter().map(one).collect()
}

/// Writes one line of JSON for each epoch to `epochs.jsonl` and shows a progress bar.
struct EpochLog<'a> {
    name: &'a str,
    screen: &'a Screen,
    folder: &'a Path,
    bar: Bar,
    begun: bool,
    /// The best validation value so far and its epoch, from 1.
    best: Option<(f64, usize)>,
    look: Option<&'a Look<'a>>,
    pause_after: Option<usize>,
}

impl<'a> EpochLog<'a> {
    fn new(job: &Job<'a>, screen: &'a Screen) -> Self {
        let epochs = job.recipe.training_plan().map_or(1, |plan| plan.epochs);
        let bar = screen.bar(job.name, 1000 * epochs as u64);
        let Job { name, folder, look, pause_after, .. } = *job;
        Self { name, screen, folder, bar, begun: false, best: None, look, pause_after }
    }
}

impl Watch for EpochLog<'_> {
    fn note(&mut self, note: &str) {
        self.bar.aside(|| self.screen.say(format!("{}: {note}", self.name)));
    }

    fn epoch(
        &mut self,
        report: &EpochReport,
        model: &dyn Model,
    ) -> rankstill::core::Result<ControlFlow<()>> {
        let seen = self.look.map(|look| look(report, model)).transpose()?.unwrap_or_default();
        if !self.begun {
            epochs::keep_before(report.epoch, self.folder)
                .map_err(|error| Error::Checkpoint { problem: crate::error_line(&error) })?;
            // A resumed fit goes on from the best of the epochs before.
            let before = epochs::reports(self.folder).unwrap_or_default();
            let best = before.iter().rfind(|epoch| epoch.best);
            self.best = best.and_then(|epoch| Some((epoch.valid?, epoch.epoch + 1)));
            self.begun = true;
        }
        epochs::append(self.folder, report, seen)?;
        if let Some(valid) = report.valid.filter(|_| report.best) {
            self.best = Some((valid, report.epoch + 1));
        }
        let valid = report.valid.map_or(String::new(), |valid| format!("  valid {valid:.4}"));
        let best = match self.best {
            Some((best, epoch)) if !report.best => format!("  best {best:.4} in epoch {epoch}"),
            Some(_) => "  the best so far".into(),
            None => String::new(),
        };
        self.bar.at_of(1000 * (report.epoch as u64 + 1), 1000 * report.epochs as u64);
        self.bar.note(format!(
            "epoch {}/{}  loss {:.4}{valid}{best}",
            report.epoch + 1,
            report.epochs,
            report.loss,
        ));
        let pause = self.pause_after.is_some_and(|epochs| report.epoch + 1 >= epochs);
        let stop = pause || interrupted();
        Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn step(&mut self, epoch: usize, done: usize, total: usize) -> bool {
        self.bar.at(1000 * epoch as u64 + (1000 * done / total.max(1)) as u64);
        interrupted()
    }
}
