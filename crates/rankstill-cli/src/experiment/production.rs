//! Models for production: fitted on every row, for as many epochs as those that were measured.

use super::plan::Source;
use super::session::Session;
use super::spec::FitOn;
use super::teaching::kept_epochs;
use anyhow::{Context as _, Result};

/// Fits every model of a measured session again, on all rows, with this seed. Teachers are fitted on all rows too, and students are
/// taught by these.
///
/// # Errors
/// As for the first fit.
pub(super) fn fit_on_all(measured: &Session<'_>, seed: u64) -> Result<()> {
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
    let plan = measured.plan.with_epochs(&epochs.collect::<Result<Vec<_>>>()?)?;
    let session = Session::on(FitOn::All, measured.setting, &plan, measured.folders.clone())?;
    let rows = session.train.len();
    measured.setting.screen.say(format!("seed {seed}: fitting on all {rows} interactions"));
    let fitted = |&at: &usize| {
        matches!(plan.models[at].source, Source::Fit { .. } | Source::Compressed { .. })
    };
    let all: Vec<usize> = (0..plan.models.len()).filter(fitted).collect();
    session.each_ready(seed, &all, &mut |_, _| Ok(()))
}
