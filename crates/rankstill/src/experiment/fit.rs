//! Fitting one model of an experiment: alone or taught, watched, checkpointed, and kept as an artefact.

use super::plan::Distil;
use crate::progress::{Bar, Screen, interrupted};
use anyhow::{Context as _, Result};
use rankstill_core::artefact::{read_tensors, write_tensors};
use rankstill_core::recipe::Validate;
use rankstill_core::train::{Checkpointing, EpochReport, Watch, train};
use rankstill_core::{Error, Fit, Interactions, Model, Ranker, Recipe, Trace, Trainable};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A teacher's name, and whom to ask.
pub type Teacher<'a> = (&'a str, &'a dyn Ranker);

/// One fit.
pub struct Job<'a> {
    /// For the progress line.
    pub name: &'a str,
    /// What is fitted.
    pub recipe: &'a dyn Recipe,
    /// How it is taught, and by whom.
    pub taught: Option<(&'a Distil, Vec<Teacher<'a>>)>,
    /// What it is fitted on.
    pub train: &'a Arc<Interactions>,
    /// Same seed, same bytes.
    pub seed: u64,
    /// The validation value, for early stopping.
    pub validate: Option<&'a Validate<'a>>,
    /// At least so long between two checkpoints.
    pub checkpoint_every: Duration,
    /// Holds the checkpoint and a line of JSON an epoch.
    pub folder: &'a Path,
}

/// Fits, going on from a checkpoint where there is one.
///
/// # Errors
/// When the settings cannot work on these data, training diverges, somebody interrupts, or the disk is full.
pub fn fit(job: &Job<'_>, screen: &Screen) -> Result<Box<dyn Model>> {
    fs::create_dir_all(job.folder).with_context(|| job.folder.display().to_string())?;
    let checkpoint = job.folder.join("checkpoint.safetensors");
    let save = |text: &str, tensors: &_| write_tensors(&checkpoint, text, tensors);
    let load = || read_tensors(&checkpoint);
    let mut watch = EpochLog::new(job, screen);
    let mut fit = Fit {
        seed: job.seed,
        validate: job.validate,
        watch: &mut watch,
        checkpoints: Some(Checkpointing { save: &save, load: &load, every: job.checkpoint_every }),
    };
    let model = match (&job.taught, job.recipe.trainable()) {
        (Some((distil, teachers)), Some(student)) => {
            taught(job, student, distil, teachers, &mut fit, screen)
        }
        _ => job.recipe.fit(job.train, &mut fit).map_err(Into::into),
    };
    model.with_context(|| format!("models.{} (seed {})", job.name, job.seed))
}

/// Forgets the checkpoint of a fit whose model is kept.
pub fn forget_checkpoint(folder: &Path) {
    _ = fs::remove_file(folder.join("checkpoint.safetensors"));
}

fn taught(
    job: &Job<'_>,
    student: &dyn Trainable,
    distil: &Distil,
    teachers: &[Teacher<'_>],
    fit: &mut Fit<'_>,
    screen: &Screen,
) -> Result<Box<dyn Model>> {
    let cases = student.cases(job.train);
    let lesson = distil.distiller.lesson();
    let lessons = teachers
        .iter()
        .map(|(name, teacher)| {
            let bar =
                screen.bar(format!("{name} says its top {}", lesson.k), cases.n_queries() as u64);
            let trace = rankstill_distill::trace::record(
                name,
                *teacher,
                &cases,
                lesson,
                &mut |done, total| {
                    bar.at_of(done as u64, total as u64);
                    if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            )?;
            Ok(trace)
        })
        .collect::<Result<Vec<Trace>>>()?;
    let objective = distil.distiller.teach(student.objective(job.train), &cases, &lessons)?;
    Ok(train(student, job.train, &cases, objective, fit)?)
}

/// A line of JSON an epoch in `epochs.jsonl`, and a bar on the terminal.
struct EpochLog {
    path: PathBuf,
    bar: Bar,
    begun: bool,
}

impl EpochLog {
    fn new(job: &Job<'_>, screen: &Screen) -> Self {
        let epochs = job.recipe.trainable().map_or(1, |trainable| trainable.plan().epochs);
        let bar = screen.bar(job.name, 1000 * epochs as u64);
        Self { path: job.folder.join("epochs.jsonl"), bar, begun: false }
    }

    /// A resumed run repeats the epochs since its checkpoint; their old lines go.
    fn drop_lines_from(&self, epoch: usize) -> std::io::Result<()> {
        let Ok(file) = File::open(&self.path) else { return Ok(()) };
        let before = |line: &String| {
            serde_json::from_str::<EpochReport>(line).is_ok_and(|report| report.epoch < epoch)
        };
        let kept: Vec<String> =
            BufReader::new(file).lines().map_while(|line| line.ok()).take_while(before).collect();
        fs::write(&self.path, kept.iter().flat_map(|line| [line, "\n"]).collect::<String>())
    }

    fn append(&mut self, report: &EpochReport) -> std::io::Result<()> {
        if !self.begun {
            self.drop_lines_from(report.epoch)?;
            self.begun = true;
        }
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        writeln!(file, "{}", serde_json::to_string(report)?)
    }
}

impl Watch for EpochLog {
    fn epoch(
        &mut self,
        report: &EpochReport,
        _: &dyn Model,
    ) -> rankstill_core::Result<ControlFlow<()>> {
        self.append(report).map_err(Error::io(&self.path))?;
        let valid = report.valid.map_or(String::new(), |valid| format!("  valid {valid:.4}"));
        self.bar.at_of(1000 * (report.epoch as u64 + 1), 1000 * report.epochs as u64);
        self.bar.note(format!(
            "epoch {}/{}  loss {:.4}{valid}{}",
            report.epoch + 1,
            report.epochs,
            report.loss,
            if report.best { " *" } else { "" }
        ));
        Ok(if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn step(&mut self, epoch: usize, done: usize, total: usize) -> bool {
        self.bar.at(1000 * epoch as u64 + (1000 * done / total.max(1)) as u64);
        interrupted()
    }
}
