//! The report of a finished run, read again, with what the run's folder still holds.

use super::details::{self, Ground, HEAD};
use super::spec::{DataSpec, EvaluateSpec};
use super::titles::Titles;
use super::{data, session};
use crate::progress::Screen;
use anyhow::{Context as _, Result, ensure};
use rankstill::core::Interactions;
use rankstill::core::registry::Config;
use rankstill::data::dataset::Dataset;
use rankstill::eval::Report;
use std::path::Path;

/// The report in the folder `out`, with its details gathered again. `items`: a file of titles, instead of that of the experiment.
///
/// # Errors
/// If there is no report, or the file of titles cannot be read. What else is missing is left out and named in the report.
pub fn read(out: &Path, items: Option<&Path>, screen: &Screen) -> Result<Report> {
    let file = out.join("report.json");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{}: a finished run has this file", file.display()))?;
    let mut report: Report =
        serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    let settings = of_report(&report);
    let own = settings.as_ref().ok().and_then(|(data, _)| data.items.as_deref());
    let own = own.map(|path| data::locate(path, screen));
    let titles = Titles::read(items.or(own.as_deref()))?;
    let opened = settings.and_then(|settings| {
        let (data, train) = opened(&report, &settings, out, screen)?;
        Ok((data, train, settings.1))
    });
    let details = match &opened {
        Ok((data, train, evaluate)) => {
            let head = Some(evaluate.groups).filter(|share| *share > 0.0).unwrap_or(HEAD);
            let cases = evaluate.part.of(&data.split);
            let ground = Ground { data, train, cases, titles: &titles, head };
            details::gather(&report, out, Some(&ground))
        }
        Err(error) => {
            let mut found = details::gather(&report, out, None);
            let error = crate::error_line(error);
            found.missing.push(format!("Not shown: what needs the data set ({error})."));
            found
        }
    };
    report.details = Some(details);
    Ok(report)
}

/// The tables of the experiment that say what was measured on what.
fn of_report(report: &Report) -> Result<(DataSpec, EvaluateSpec)> {
    let table = |path: &'static str| Config { path, value: &report.settings[path] };
    Ok((table("data").read()?, table("evaluate").read()?))
}

fn opened(
    report: &Report,
    (spec, evaluate): &(DataSpec, EvaluateSpec),
    out: &Path,
    screen: &Screen,
) -> Result<(Dataset, Interactions)> {
    let data = data::reopen(spec, &out.join("data"), screen)?;
    let (expected, found) = (report.data["content"].as_str(), data.manifest.content.as_str());
    ensure!(
        expected.is_none_or(|expected| expected == found),
        "the data set is not the one that was measured on"
    );
    let train = session::trained_on(evaluate.fit_on.measured(), &data.split, &spec.sample)?;
    Ok((data, train))
}
