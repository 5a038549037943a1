//! Models for production: fitted on every row, for as many epochs as those that were measured.

use super::ensemble::selection;
use super::plan::{ExperimentPlan, Source};
use super::run_folder::folder_names;
use super::session::Session;
use super::spec::FitOn;
use super::teaching::kept_epochs;
use anyhow::{Context as _, Result};
use rankstill::core::{Artefact, atomic_write};
use std::fs;

/// The folder of a run in which the best model and its teachers are fitted on every row.
const PRODUCTION: &str = "production";

/// The folder of a run with the artefact to serve.
pub(super) const BEST: &str = "best";

/// Fits every model of a measured session again, on all rows, with this seed. Teachers are fitted on all rows too, and students are
/// taught by these.
///
/// # Errors
/// As for the first fit.
pub(super) fn fit_on_all(measured: &Session<'_>, seed: u64) -> Result<()> {
    let plan = with_kept_epochs(measured, seed)?;
    let session = Session::on(FitOn::All, measured.setting, &plan, measured.folders.clone())?;
    let all: Vec<usize> = (0..plan.models.len()).filter(|&at| is_fitted(&plan, at)).collect();
    say(&session, seed);
    session.each_ready(seed, &all, &mut |_, _| Ok(()))
}

/// Leaves the model `at`, fitted on all rows with this seed, in the folder `best` of the run.
///
/// # Errors
/// As for the first fit, and when `best` cannot be written.
pub(super) fn leave_best(measured: &Session<'_>, at: usize, seed: u64) -> Result<()> {
    let out = measured.setting.out;
    let fitted = if measured.plan.spec.evaluate.fit_on == FitOn::All {
        measured.folder(at, seed)
    } else {
        let plan = with_kept_epochs(measured, seed)?.with_weights(&chosen(measured, seed)?)?;
        let folders = folder_names(&plan.names());
        let folders = folders.iter().map(|name| out.join(PRODUCTION).join(name)).collect();
        let session = Session::on(FitOn::All, measured.setting, &plan, folders)?;
        say(&session, seed);
        session.each_ready(seed, &with_needs(&plan, at), &mut |_, _| Ok(()))?;
        session.fit_folder(at, seed)
    };
    let artefact = fitted.join("artefact");
    let manifest = Artefact::read_manifest(&artefact)?;
    let best = out.join(BEST);
    if best.join("manifest.json").is_file() && Artefact::read_manifest(&best)? == manifest {
        return Ok(());
    }
    atomic_write::folder(&best, "manifest.json", |folder| -> Result<()> {
        for entry in fs::read_dir(&artefact)? {
            let entry = entry?;
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        Ok(())
    })
    .with_context(|| best.display().to_string())
}

/// A model and all fitted models that it needs, directly or through others.
fn with_needs(plan: &ExperimentPlan, at: usize) -> Vec<usize> {
    let mut needed = vec![at];
    let mut next = 0;
    while let Some(&at) = needed.get(next) {
        let more = plan.models[at].needs().iter().filter(|at| !needed.contains(at));
        needed.extend(more.copied().collect::<Vec<_>>());
        next += 1;
    }
    needed.retain(|&at| is_fitted(plan, at));
    needed
}

/// The weights that each ensemble of a measured session has chosen: members that know the validation part cannot choose by it again.
fn chosen(measured: &Session<'_>, seed: u64) -> Result<Vec<Option<Vec<u32>>>> {
    let of = |at: usize| match measured.plan.models[at].source {
        Source::Ensemble { .. } => selection(&measured.folder(at, seed)),
        _ => Ok(None),
    };
    (0..measured.plan.models.len()).map(|at| Ok(of(at)?.map(|one| one.weights))).collect()
}

fn say(session: &Session<'_>, seed: u64) {
    let rows = session.train.len();
    session.setting.screen.say(format!("seed {seed}: fitting on all {rows} interactions"));
}

fn is_fitted(plan: &ExperimentPlan, at: usize) -> bool {
    matches!(plan.models[at].source, Source::Fit { .. } | Source::Compressed { .. })
}

/// The plan of a measured session, every model with as many epochs as it was trained until it was best.
fn with_kept_epochs(measured: &Session<'_>, seed: u64) -> Result<ExperimentPlan> {
    let epochs =
        measured.plan.models.iter().enumerate().map(|(at, planned)| match &planned.source {
            Source::Fit { recipe, .. }
                if recipe.training_plan().is_some_and(|plan| plan.epochs > 0) =>
            {
                let folder = measured.fit_folder(at, seed);
                let epochs = kept_epochs(&folder)?;
                epochs.map(Some).with_context(|| {
                    format!(
                        "{}: does not say after how many epochs the model was best",
                        folder.display()
                    )
                })
            }
            _ => Ok(None),
        });
    measured.plan.with_epochs(&epochs.collect::<Result<Vec<_>>>()?)
}
