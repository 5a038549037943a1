//! An experiment as it runs: data, models, measurements, figures, report. Every step is kept on disk, so a run resumes where it
//! stopped.

use super::details::{self, Ground, HEAD};
use super::plan::ExperimentPlan;
use super::report::ModelResults;
use super::run_folder::{adds_seeds, claim, folder_names, write};
use super::session::{KnownFits, Session, Setting};
use super::spec::FitOn;
use super::titles::Titles;
use super::{data, figure, measure, production, recordings};
use crate::progress::Screen;
use anyhow::{Context as _, Result, ensure};
use rankstill::eval::report::{EnsembleReport, FigureReport};
use rankstill::eval::{Report, Role};
use std::path::Path;

/// Runs `plan` in the folder `out`, or resumes an earlier run of the same experiment there, which may have had fewer seeds.
///
/// # Errors
/// If `out` holds another experiment, the data or a setting do not fit, the user interrupts, or writing fails.
pub fn run(plan: &ExperimentPlan, out: &Path, screen: &Screen) -> Result<Report> {
    let metrics = measure::Metrics::parse(&plan.spec.evaluate)?; // before the work, not after it
    figure::check(plan, &metrics)?;
    titles(plan, screen)?;
    let resolved = plan.resolved()?;
    let _lock = claim(&resolved, |found| adds_seeds(&resolved, found), out, screen)?;
    run_claimed(plan, out, screen, Preface::default())
}

/// What a report tells of the search that led to its run.
#[derive(Default)]
pub(super) struct Preface {
    /// They come first among its notes.
    pub notes: Vec<String>,
    /// The members that were chosen then.
    pub ensembles: Vec<EnsembleReport>,
}

/// The same in a folder that this process has taken.
///
/// # Errors
/// As [`run`].
pub(super) fn run_claimed(
    plan: &ExperimentPlan,
    out: &Path,
    screen: &Screen,
    preface: Preface,
) -> Result<Report> {
    let metrics = measure::Metrics::parse(&plan.spec.evaluate)?;
    let figures = figure::check(plan, &metrics)?;
    let titles = titles(plan, screen)?;
    let data = data::open(&plan.spec.data, &out.join("data"), screen)?;
    let unmeasured = data::all_rows_train(&data);
    ensure!(
        unmeasured || !data.split.test.is_empty(),
        "data.split: leaves no user with a test item; to train on every row, choose data.split.kind = \"all\""
    );
    ensure!(
        !unmeasured || figures.is_empty(),
        "figure: every row trains (data.split.kind = \"all\"), so there is nothing to draw"
    );
    if plan.spec.evaluate.fit_on == FitOn::All {
        ensure!(
            !unmeasured,
            "evaluate.fit_on: every row trains already (data.split.kind = \"all\"); leave this key out, or choose a split to measure on"
        );
        ensure!(
            plan.spec.data.sample.is_whole(),
            "data.sample: leaves rows out, and evaluate.fit_on = \"all\" fits on every row; leave one of them out"
        );
    }
    let recordings = recordings::read(plan, &data, &metrics, screen)?;
    let setting = Setting { out, screen, data: &data, metrics: &metrics, recordings: &recordings };
    let folders = folder_names(&plan.names());
    let folders = folders.iter().map(|name| out.join("models").join(name)).collect();
    let session = Session::new(&setting, plan, folders)?;
    session.announce();
    if unmeasured {
        screen.say("every row trains, so nothing is measured and no model stops early");
    }
    for (at, warning) in session.partly_taught()? {
        screen.say(format!("warning: {}: {warning}", plan.models[at].name));
    }
    let (models, mut known) = fit_and_measure(&session)?;
    if let Some(best) = &plan.spec.evaluate.best {
        production::leave_best(&session, plan.at(best), plan.spec.seeds[0])?;
    }
    let mut report = session.report(&models)?;
    report.notes.splice(0..0, preface.notes);
    report.ensembles.splice(0..0, preface.ensembles);
    report.figures = figure::draw(&session, &figures, &mut known)?;
    report.figures.extend(frontier(&report, &metrics, out)?);
    let head = Some(plan.spec.evaluate.groups).filter(|share| *share > 0.0).unwrap_or(HEAD);
    let (train, cases) = (&session.train, session.cases());
    let ground = Ground { data: &data, train, cases, titles: &titles, head };
    let bar = screen.bar("report", 1);
    let found = details::gather(&report, out, Some(&ground));
    drop(bar);
    found.missing.iter().for_each(|missing| screen.say(missing));
    report.details = Some(found);
    write(&out.join("report.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
    write(&out.join("report.md"), &report.markdown())?;
    write(&out.join("report.html"), &report.html())?;
    if let Some(chart) = metrics.shown.first().and_then(|metric| report.tradeoff(&metric.name())) {
        write(&out.join("tradeoff.svg"), &chart)?;
    }
    Ok(report)
}

/// The titles of `data.items`.
fn titles(plan: &ExperimentPlan, screen: &Screen) -> Result<Titles> {
    let items = plan.spec.data.items.as_deref().map(|path| data::locate(path, screen));
    Titles::read(items.as_deref()).context("data.items")
}

/// Fits and measures every model of a session with every seed.
///
/// # Errors
/// As [`run`].
pub(super) fn fit_and_measure(session: &Session<'_>) -> Result<(Vec<ModelResults>, KnownFits)> {
    let plan = session.plan;
    let all: Vec<usize> = (0..plan.models.len()).collect();
    let mut models = vec![ModelResults::default(); plan.models.len()];
    let mut known = KnownFits::new();
    for &seed in &plan.spec.seeds {
        session.one_seed(seed, &all, &mut |at, result| {
            known.insert((session.identity(at), seed), result.summary(&session.folders[at]));
            models[at].add(result);
        })?;
        if plan.spec.evaluate.fit_on == FitOn::All {
            production::fit_on_all(session, seed)?;
        }
    }
    Ok((models, known))
}

/// What quality costs, where models were compressed: the picture and its table, by the first metric.
fn frontier(
    report: &Report,
    metrics: &measure::Metrics,
    out: &Path,
) -> Result<Option<FigureReport>> {
    let compressed = report.models.iter().any(|model| model.role == Role::Compressed);
    let Some(metric) = metrics.shown.first().filter(|_| compressed) else { return Ok(None) };
    let Some((figure, table)) = report.frontier(&metric.name()) else { return Ok(None) };
    let (svg, tsv) = ("frontier.svg".to_owned(), "frontier.tsv".to_owned());
    write(&out.join(&svg), &figure.svg())?;
    write(&out.join(&tsv), &table)?;
    let bars = "95% interval over the seeds".into();
    Ok(Some(FigureReport { name: "frontier".into(), title: figure.title, bars, svg, tsv }))
}
