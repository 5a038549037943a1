//! Ensembles: their members fused, chosen and weighted by validation data as their settings ask. What was chosen is kept in the
//! ensemble's folder.

use super::measure::Metrics;
use crate::sealed;
use anyhow::{Context as _, Result};
use rankstill::core::atomic_write::{self, create_folders};
use rankstill::core::{Cases, Error, Ranker, Trained};
use rankstill::distill::{Fused, Fusion, Selection};
use std::ops::Deref;
use std::path::Path;

/// The data that an ensemble is made with.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// What its members were fitted on.
    pub trained: &'a Trained,
    /// The validation cases.
    pub valid: &'a Cases,
    /// Among them the metric that members are chosen by.
    pub metrics: &'a Metrics,
}

impl Ground<'_> {
    /// `members` as one ranker. Members are chosen once: `folder` keeps the choice.
    ///
    /// # Errors
    /// When the settings do not fit the members or the data, or the choice cannot be read or written.
    pub fn fused<'r, R>(&self, members: Vec<R>, fusion: &Fusion, folder: &Path) -> Result<Fused<R>>
    where
        R: Deref<Target = dyn Ranker + 'r> + Send + Sync,
    {
        let fused = Fused::new(members, fusion.clone())?;
        let mut fused = fused.with_popularity(self.trained.popularity());
        if fusion.select > 0 {
            let selection = match selection(folder)? {
                Some(kept) => kept,
                None => self.choose(&fused, folder)?,
            };
            fused = fused.with_selection(&selection)?;
        }
        Ok(fused.weighted_on(self.valid)?)
    }

    fn choose<'r, R>(&self, fused: &Fused<R>, folder: &Path) -> Result<Selection>
    where
        R: Deref<Target = dyn Ranker + 'r> + Send + Sync,
    {
        let value = |lists, cases: &_| {
            self.metrics.validation_of_lists(lists, cases).map_err(|error| Error::Ranker {
                name: self.metrics.validate_name(),
                problem: crate::error_line(&error),
            })
        };
        let chosen = fused.select_on(self.valid, self.metrics.validate_depth(), &value)?;
        let chosen = chosen.context("fusion.select: is 0, so there is nothing to choose")?;
        create_folders(folder).with_context(|| folder.display().to_string())?;
        let line = sealed::line(serde_json::to_value(&chosen)?) + "\n";
        atomic_write::write(folder.join(SELECTION), line.as_bytes())?;
        Ok(chosen)
    }
}

/// What was chosen for the ensemble of this folder, if it was.
///
/// # Errors
/// When the file cannot be read.
pub fn selection(folder: &Path) -> Result<Option<Selection>> {
    let path = folder.join(SELECTION);
    if !path.is_file() {
        return Ok(None);
    }
    let kept = sealed::read_file(&path, "remove this file to choose the members again")?;
    let kept = serde_json::from_value(kept);
    kept.map(Some).with_context(|| path.display().to_string())
}

const SELECTION: &str = "selection.json";
