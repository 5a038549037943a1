//! Figures: the experiment repeated for every value of a setting, or evaluated epoch by epoch, drawn as lines. A model that does
//! not depend on the value is fitted once.

mod picture;

use self::picture::{picture, table, text};
use super::epochs;
use super::fit::{Look, forget_checkpoint};
use super::measure::Metrics;
use super::plan::{ExperimentPlan, Source};
use super::run_folder::{folder_names, write};
use super::session::{KnownFits, Session};
use super::spec::{EvaluateSpec, FigureSpec, FigureX, Scale, Spec};
use super::teacher_lists::Ready;
use super::tree::{key_parts, put};
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::EpochReport;
use rankstill::core::atomic_write::create_folders;
use rankstill::core::{ColdStart, Error, Model, Packed};
use rankstill::eval::report::FigureReport;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A checked figure: one experiment per line and value.
pub(super) struct PlannedFigure {
    spec: FigureSpec,
    scale: Scale,
    /// The number of each line's model, and its experiments.
    lines: Vec<(usize, Vec<ExperimentPlan>)>,
    levels: Vec<usize>,
}

/// One point of one line.
struct LinePoint {
    x: f64,
    parameters: usize,
    interactions: usize,
    /// By `y` and seed.
    values: Vec<Vec<f64>>,
}

/// Checks all figures of an experiment.
///
/// # Errors
/// Names the key that is wrong and what would be right.
pub(super) fn check(plan: &ExperimentPlan, metrics: &Metrics) -> Result<Vec<PlannedFigure>> {
    let mut planned: Vec<PlannedFigure> = Vec::new();
    for spec in &plan.spec.figures {
        if planned.iter().any(|other| other.spec.name == spec.name) {
            bail!("figure.{}: two figures have this name", spec.name);
        }
        planned.push(check_one(plan, metrics, spec.clone())?);
    }
    Ok(planned)
}

/// Fits the models that the figures need, draws the figures and returns their files.
///
/// # Errors
/// If training fails, the user interrupts, or writing fails.
pub(super) fn draw(
    session: &Session<'_>,
    figures: &[PlannedFigure],
    known: &mut KnownFits,
) -> Result<Vec<FigureReport>> {
    let folder = session.setting.out.join("figures");
    let names: Vec<String> = figures.iter().map(|figure| figure.spec.name.clone()).collect();
    let mut reports = Vec::new();
    for (figure, name) in figures.iter().zip(folder_names(&names)) {
        let within = folder.join(&name);
        create_folders(&within).with_context(|| within.display().to_string())?;
        session.setting.screen.say(format!("figure {}", figure.spec.name));
        let lines = figure
            .lines
            .iter()
            .map(|(model, plans)| match figure.spec.x {
                FigureX::Epoch => along_epochs(session, figure, *model, &plans[0], &within, known),
                _ => along_values(session, figure, *model, plans, &within, known),
            })
            .collect::<Result<Vec<_>>>()?;
        let levels = figure
            .levels
            .iter()
            .map(|&at| {
                let point = measured_point(session, figure, at, 0.0, known)?;
                Ok((at, point))
            })
            .collect::<Result<Vec<_>>>()?;
        let (svg, tsv) = (folder.join(format!("{name}.svg")), folder.join(format!("{name}.tsv")));
        write(&svg, &picture(session, figure, &lines, &levels).svg())?;
        write(&tsv, &table(session, figure, &lines, &levels))?;
        let relative = |ending: &str| format!("figures/{name}.{ending}");
        let title = figure.spec.title.clone();
        reports.push(FigureReport {
            name: figure.spec.name.clone(),
            title: if title.is_empty() { figure.spec.name.clone() } else { title },
            bars: "deviation".into(),
            svg: relative("svg"),
            tsv: relative("tsv"),
        });
    }
    Ok(reports)
}

fn check_one(
    plan: &ExperimentPlan,
    metrics: &Metrics,
    mut spec: FigureSpec,
) -> Result<PlannedFigure> {
    let path = format!("figure.{}", spec.name);
    ensure!(!spec.name.trim().is_empty(), "figure.name: is empty");
    ensure!(!spec.models.is_empty(), "{path}.models: is empty; name at least one model");
    let known: Vec<String> = metrics.shown.iter().map(|metric| metric.name()).collect();
    if spec.y.is_empty() {
        spec.y.push(known[0].clone());
    }
    let epochs = spec.x == FigureX::Epoch;
    for y in &spec.y {
        let name = if epochs { y.strip_prefix(VALIDATION).unwrap_or(y) } else { y };
        let there = known.iter().any(|known| known == name) || (epochs && name == LOSS);
        ensure!(
            there,
            "{path}.y: `{y}` is not in evaluate.metrics, which has {}",
            known.join(", ")
        );
    }
    let number = |name: &String| {
        let found = plan.models.iter().position(|model| model.name == *name);
        found.with_context(|| {
            format!("{path}: no model `{name}`; the models are {}", plan.names().join(", "))
        })
    };
    let models = spec.models.iter().map(number).collect::<Result<Vec<_>>>()?;
    let levels = spec.levels.iter().map(number).collect::<Result<Vec<_>>>()?;
    let mut lines = Vec::new();
    if epochs {
        ensure!(spec.epochs > 0, "{path}.epochs: is missing; set the number of epochs to draw");
        ensure!(spec.every > 0, "{path}.every: must be at least 1");
        ensure!(
            spec.vary.is_empty() && spec.values.is_empty(),
            "{path}.vary: cannot be combined with x = \"epoch\""
        );
        for at in models {
            let Source::Fit { recipe, .. } = &plan.models[at].source else {
                bail!("{path}.models: `{}` is a file of rankings", plan.models[at].name)
            };
            ensure!(
                recipe.trainable().is_some(),
                "{path}.models: `{}` is not trained by epochs",
                plan.models[at].name
            );
            let settings = [
                ("train.epochs", json!(spec.epochs)),
                ("train.validate_every", json!(spec.every)),
                ("train.patience", json!(0)),
            ];
            lines.push((at, vec![varied(plan, at, &settings).with_context(|| path.clone())?]));
        }
    } else {
        ensure!(
            !spec.vary.is_empty(),
            "{path}.vary: is empty; name the settings that take the values"
        );
        ensure!(!spec.values.is_empty(), "{path}.values: is empty");
        for at in models {
            let one = |value: &Value| {
                let settings: Vec<(&str, Value)> =
                    spec.vary.iter().map(|key| (key.as_str(), value.clone())).collect();
                varied(plan, at, &settings).with_context(|| format!("{path}: value {value}"))
            };
            lines.push((at, spec.values.iter().map(one).collect::<Result<Vec<_>>>()?));
        }
    }
    let words = spec.x == FigureX::Value && spec.values.iter().any(|value| !value.is_number());
    let scale = spec.scale.unwrap_or(if words { Scale::Even } else { Scale::Linear });
    ensure!(
        !words || scale == Scale::Even,
        "{path}.scale: some values are not numbers; only \"even\" is possible"
    );
    ensure!(
        scale != Scale::Even || spec.x == FigureX::Value,
        "{path}.scale: \"even\" requires x = \"value\""
    );
    Ok(PlannedFigure { spec, scale, lines, levels })
}

/// The experiment with some settings changed. A key belongs to the model `at`, unless it begins with `models.NAME` or
/// `data.sample`.
fn varied(plan: &ExperimentPlan, at: usize, settings: &[(&str, Value)]) -> Result<ExperimentPlan> {
    let mut tree = serde_json::to_value(plan.resolved_spec())?;
    for (key, value) in settings {
        let mut parts = key_parts(key)?;
        match parts[0].as_str() {
            "models" | "data" => {
                let reach =
                    parts[0] == "models" || parts.get(1).is_some_and(|part| part == "sample");
                ensure!(reach, "{key}: only settings of models and of data.sample can be varied");
                let known = parts.get(1).is_some_and(|name| plan.names().contains(name));
                let names = || plan.names().join(", ");
                ensure!(
                    parts[0] == "data" || known,
                    "{key}: no such model; the models are {}",
                    names()
                );
            }
            _ => {
                parts.splice(0..0, ["models".to_owned(), plan.models[at].name.clone()]);
            }
        }
        put(&mut tree, &parts, value.clone()).with_context(|| (*key).to_owned())?;
    }
    ExperimentPlan::new(Spec::of_tree(&tree)?)
}

/// Over epochs: the prefix of a metric that is measured on validation data.
const VALIDATION: &str = "validation ";
/// Over epochs: the mean training loss.
const LOSS: &str = "loss";

fn along_values(
    session: &Session<'_>,
    figure: &PlannedFigure,
    model: usize,
    plans: &[ExperimentPlan],
    within: &Path,
    known: &mut KnownFits,
) -> Result<Vec<LinePoint>> {
    let texts: Vec<String> = figure.spec.values.iter().map(text).collect();
    let values = folder_names(&texts);
    let mut points = Vec::new();
    for (nth, plan) in plans.iter().enumerate() {
        let varied = Session::new(session.setting, plan, Vec::new())?;
        let session = with_folders(varied, &within.join(&values[nth]), known);
        fit_missing(&session, model, known)?;
        let number = figure.spec.values[nth].as_f64().unwrap_or(nth as f64);
        let x = match figure.spec.x {
            _ if figure.scale == Scale::Even => nth as f64,
            FigureX::Interactions => session.train.len() as f64,
            _ => number,
        };
        let mut point = measured_point(&session, figure, model, x, known)?;
        if figure.spec.x == FigureX::Parameters {
            point.x = point.parameters as f64;
        }
        points.push(point);
    }
    Ok(points)
}

/// A known fit keeps its folder; others go below `within`.
fn with_folders<'a>(mut session: Session<'a>, within: &Path, known: &KnownFits) -> Session<'a> {
    let names = folder_names(&session.plan.names());
    let seed = session.plan.spec.seeds[0];
    session.folders = (0..names.len())
        .map(|at| match known.get(&(session.identity(at), seed)) {
            Some(fit) => fit.folder.clone(),
            None => within.join(&names[at]),
        })
        .collect();
    session
}

/// Fits and measures `model` and the teachers that it needs, unless they are known.
fn fit_missing(session: &Session<'_>, model: usize, known: &mut KnownFits) -> Result<()> {
    let mut needed = vec![model];
    let mut next = 0;
    while next < needed.len() {
        for &other in session.plan.models[needed[next]].needs() {
            if !needed.contains(&other) {
                needed.push(other);
            }
        }
        next += 1;
    }
    for &seed in &session.plan.spec.seeds {
        let missing: Vec<usize> = needed
            .iter()
            .copied()
            .filter(|&at| !known.contains_key(&(session.identity(at), seed)))
            .collect();
        session.one_seed(seed, &missing, &mut |at, result| {
            known.insert((session.identity(at), seed), result.summary(&session.folders[at]));
        })?;
    }
    Ok(())
}

/// The measured values of a model over the seeds.
fn measured_point(
    session: &Session<'_>,
    figure: &PlannedFigure,
    at: usize,
    x: f64,
    known: &KnownFits,
) -> Result<LinePoint> {
    let identity = session.identity(at);
    let mut point = LinePoint {
        x,
        parameters: 0,
        interactions: session.train.len(),
        values: vec![Vec::new(); figure.spec.y.len()],
    };
    for &seed in &session.plan.spec.seeds {
        let name = &session.plan.models[at].name;
        let brief = known.get(&(identity.clone(), seed));
        let brief = brief.with_context(|| format!("{name}: was not measured"))?;
        point.parameters = brief.parameters;
        for (values, y) in point.values.iter_mut().zip(&figure.spec.y) {
            let name = y.strip_prefix(VALIDATION).unwrap_or(y);
            // The training loss has no level line, nor has a metric that was not measured for this model.
            values.push(brief.means.get(name).copied().unwrap_or(f64::NAN));
        }
    }
    Ok(point)
}

/// A model that is evaluated while it trains; its teachers are those of the experiment.
fn along_epochs(
    session: &Session<'_>,
    figure: &PlannedFigure,
    model: usize,
    plan: &ExperimentPlan,
    within: &Path,
    known: &mut KnownFits,
) -> Result<Vec<LinePoint>> {
    let spec = &figure.spec;
    let names = spec.y.iter().map(|y| y.strip_prefix(VALIDATION).unwrap_or(y));
    let mut names: Vec<String> = names.filter(|name| *name != LOSS).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    let metrics = match names.is_empty() {
        true => None,
        false => {
            let evaluate = EvaluateSpec { metrics: names, ..plan.spec.evaluate.clone() };
            Some(Metrics::parse(&evaluate)?)
        }
    };
    let split = &session.setting.data.split;
    let look = |report: &EpochReport, model: &dyn Model| {
        let mut seen = Map::new();
        let Some(metrics) = metrics.as_ref().filter(|_| due(report.epoch, spec)) else {
            return Ok(seen);
        };
        let packed = Packed::new(model);
        let grades = session.grades.as_ref();
        for (part, cases, grades) in
            [("validation", &split.valid, None), ("test", &split.test, grades)]
        {
            if cases.is_empty() {
                continue;
            }
            let ranker = ColdStart::new(&packed, Arc::clone(&session.trained));
            let known = (grades, None);
            let found = metrics.measure(&ranker, cases, &session.train, &session.trained, known);
            let found = found.map_err(|error| Error::Ranker {
                name: spec.name.clone(),
                problem: crate::error_line(&error),
            })?;
            let means: Map<String, Value> =
                found.means.into_iter().map(|(name, value)| (name, value.into())).collect();
            seen.insert(part.into(), means.into());
        }
        Ok(seen)
    };
    let varied = with_folders(Session::new(session.setting, plan, Vec::new())?, within, known);
    let mut points: BTreeMap<usize, LinePoint> = BTreeMap::new();
    for &seed in &plan.spec.seeds {
        let folder = within.join(&folder_names(&plan.names())[model]).join(format!("seed-{seed}"));
        trained_with_look(&varied, model, seed, &folder, &look)?;
        for line in epochs::read(&folder)? {
            let epoch = line["epoch"].as_u64().unwrap_or(0) as usize;
            if !due(epoch, spec) {
                continue;
            }
            let point = points.entry(epoch).or_insert_with(|| LinePoint {
                x: epoch as f64 + 1.0,
                parameters: 0,
                interactions: session.train.len(),
                values: vec![Vec::new(); spec.y.len()],
            });
            for (values, y) in point.values.iter_mut().zip(&spec.y) {
                let value = match y.strip_prefix(VALIDATION) {
                    Some(name) => &line["validation"][name],
                    None if y == LOSS => &line[LOSS],
                    None => &line["test"][y],
                };
                values.push(value.as_f64().unwrap_or(f64::NAN));
            }
        }
    }
    Ok(points.into_values().collect())
}

fn due(epoch: usize, spec: &FigureSpec) -> bool {
    (epoch + 1).is_multiple_of(spec.every) || epoch + 1 == spec.epochs
}

/// Trains one model and calls `look` after every epoch, unless that was done before.
fn trained_with_look(
    session: &Session<'_>,
    model: usize,
    seed: u64,
    folder: &Path,
    look: &Look<'_>,
) -> Result<()> {
    if folder.join("artefact/manifest.json").is_file() {
        return forget_checkpoint(folder); // a kill may have come just before
    }
    let mut ready: BTreeMap<usize, Ready> = BTreeMap::new();
    for &teacher in session.plan.models[model].teachers() {
        ready.insert(teacher, session.ready(teacher, seed)?);
    }
    let ask = |at: usize| ready[&at].teacher(&session.plan.models[at].name);
    let mut fitter = session.fitter(session.setting.screen);
    fitter.look = Some(look);
    fitter.fitted(session.plan, model, seed, folder, &ask)?;
    Ok(())
}
