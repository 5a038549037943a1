//! Figures: the experiment again for every value of a setting, or watched epoch by epoch, drawn as lines. What does not depend on
//! the value is fitted once and used again.

use super::EPOCHS;
use super::fit::Look;
use super::measure::Metrics;
use super::plan::{Plan, Source};
use super::run::{Kept, Run, folder_names, write};
use super::spec::{EvaluateSpec, FigureSpec, FigureX, Scale, Spec, parts_of, put};
use super::teacher_lists::Ready;
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::{EpochReport, Error, Model, Packed};
use rankstill::eval::report::FigureReport;
use rankstill::eval::report::chart::Axis;
use rankstill::eval::report::figure::{Curve, Figure, Panel, Point};
use rankstill::eval::spread;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A figure, checked: one experiment a line and value.
pub(super) struct Planned {
    spec: FigureSpec,
    scale: Scale,
    /// Numbers of the models.
    lines: Vec<(usize, Vec<Plan>)>,
    levels: Vec<usize>,
}

/// One place of one line: what is drawn there, a seed after the other.
struct Place {
    x: f64,
    parameters: usize,
    interactions: usize,
    /// In the order of `y`.
    values: Vec<Vec<f64>>,
}

/// Checks all figures of an experiment.
///
/// # Errors
/// With the key that is wrong and what would be right.
pub(super) fn check(plan: &Plan, metrics: &Metrics) -> Result<Vec<Planned>> {
    let mut planned: Vec<Planned> = Vec::new();
    for spec in &plan.spec.figures {
        if planned.iter().any(|other| other.spec.name == spec.name) {
            bail!("figure.{}: two figures have this name", spec.name);
        }
        planned.push(check_one(plan, metrics, spec.clone())?);
    }
    Ok(planned)
}

/// Fits what the figures need, draws them, and says where they are.
///
/// # Errors
/// When training fails, somebody interrupts, or the disk is full.
pub(super) fn draw(
    run: &Run<'_>,
    figures: &[Planned],
    kept: &mut Kept,
) -> Result<Vec<FigureReport>> {
    let folder = run.setting.out.join("figures");
    let names: Vec<String> = figures.iter().map(|figure| figure.spec.name.clone()).collect();
    let mut reports = Vec::new();
    for (figure, name) in figures.iter().zip(folder_names(&names)) {
        let within = folder.join(&name);
        fs::create_dir_all(&within).with_context(|| within.display().to_string())?;
        run.setting.screen.say(format!("figure {}", figure.spec.name));
        let lines = figure
            .lines
            .iter()
            .map(|(model, plans)| match figure.spec.x {
                FigureX::Epoch => along_epochs(run, figure, *model, &plans[0], &within, kept),
                _ => along_values(run, figure, *model, plans, &within, kept),
            })
            .collect::<Result<Vec<_>>>()?;
        let levels = figure
            .levels
            .iter()
            .map(|&at| {
                let place = place(run, figure, at, 0.0, kept)?;
                Ok((at, place))
            })
            .collect::<Result<Vec<_>>>()?;
        let (svg, tsv) = (folder.join(format!("{name}.svg")), folder.join(format!("{name}.tsv")));
        write(&svg, &picture(run, figure, &lines, &levels).svg())?;
        write(&tsv, &table(run, figure, &lines, &levels))?;
        let relative = |ending: &str| format!("figures/{name}.{ending}");
        let title = figure.spec.title.clone();
        reports.push(FigureReport {
            name: figure.spec.name.clone(),
            title: if title.is_empty() { figure.spec.name.clone() } else { title },
            svg: relative("svg"),
            tsv: relative("tsv"),
        });
    }
    Ok(reports)
}

fn check_one(plan: &Plan, metrics: &Metrics, mut spec: FigureSpec) -> Result<Planned> {
    let path = format!("figure.{}", spec.name);
    ensure!(!spec.name.trim().is_empty(), "figure.name: is empty");
    ensure!(!spec.models.is_empty(), "{path}.models: is empty; name at least one: a line each");
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
        ensure!(spec.epochs > 0, "{path}.epochs: is missing; say how many epochs are watched");
        ensure!(spec.every > 0, "{path}.every: must be at least 1");
        ensure!(
            spec.vary.is_empty() && spec.values.is_empty(),
            "{path}.vary: goes not with x = \"epoch\""
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
        "{path}.scale: the values are not all numbers; only \"even\" can be"
    );
    ensure!(
        scale != Scale::Even || spec.x == FigureX::Value,
        "{path}.scale: \"even\" goes with x = \"value\" alone"
    );
    Ok(Planned { spec, scale, lines, levels })
}

/// The experiment with some settings changed: of the model `at`, of a model named in full, or of `data.sample`.
fn varied(plan: &Plan, at: usize, settings: &[(&str, Value)]) -> Result<Plan> {
    let mut tree = serde_json::to_value(plan.resolved_spec())?;
    for (key, value) in settings {
        let mut parts = parts_of(key)?;
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
    Plan::new(Spec::of_tree(&tree)?)
}

/// Over epochs: what stands before a metric that is measured on validation data.
const VALIDATION: &str = "validation ";
/// Over epochs: the mean training loss.
const LOSS: &str = "loss";

fn along_values(
    run: &Run<'_>,
    figure: &Planned,
    model: usize,
    plans: &[Plan],
    within: &Path,
    kept: &mut Kept,
) -> Result<Vec<Place>> {
    let texts: Vec<String> = figure.spec.values.iter().map(text).collect();
    let values = folder_names(&texts);
    let mut places = Vec::new();
    for (nth, plan) in plans.iter().enumerate() {
        let varied = Run::new(run.setting, plan, Vec::new())?;
        let run = with_folders(varied, &within.join(&values[nth]), kept);
        fit_missing(&run, model, kept)?;
        let number = figure.spec.values[nth].as_f64().unwrap_or(nth as f64);
        let x = match figure.spec.x {
            _ if figure.scale == Scale::Even => nth as f64,
            FigureX::Interactions => run.train.len() as f64,
            _ => number,
        };
        let mut place = place(&run, figure, model, x, kept)?;
        if figure.spec.x == FigureX::Parameters {
            place.x = place.parameters as f64;
        }
        places.push(place);
    }
    Ok(places)
}

/// A fit that is known already stays where it is; others go into `within`.
fn with_folders<'a>(mut run: Run<'a>, within: &Path, kept: &Kept) -> Run<'a> {
    let names = folder_names(&run.plan.names());
    let seed = run.plan.spec.seeds[0];
    run.folders = (0..names.len())
        .map(|at| match kept.get(&(run.identity(at), seed)) {
            Some(known) => known.folder.clone(),
            None => within.join(&names[at]),
        })
        .collect();
    run
}

/// Fits and measures `model` and the teachers that it needs, where that was not done yet.
fn fit_missing(run: &Run<'_>, model: usize, kept: &mut Kept) -> Result<()> {
    let mut needed = vec![model];
    let mut next = 0;
    while next < needed.len() {
        for &other in run.plan.models[needed[next]].needs() {
            if !needed.contains(&other) {
                needed.push(other);
            }
        }
        next += 1;
    }
    for &seed in &run.plan.spec.seeds {
        let missing: Vec<usize> = needed
            .iter()
            .copied()
            .filter(|&at| !kept.contains_key(&(run.identity(at), seed)))
            .collect();
        run.one_seed(seed, &missing, &mut |at, one| {
            kept.insert((run.identity(at), seed), one.brief(run, at));
        })?;
    }
    Ok(())
}

/// What was measured of a model, over the seeds.
fn place(run: &Run<'_>, figure: &Planned, at: usize, x: f64, kept: &Kept) -> Result<Place> {
    let identity = run.identity(at);
    let mut place = Place {
        x,
        parameters: 0,
        interactions: run.train.len(),
        values: vec![Vec::new(); figure.spec.y.len()],
    };
    for &seed in &run.plan.spec.seeds {
        let name = &run.plan.models[at].name;
        let brief = kept.get(&(identity.clone(), seed));
        let brief = brief.with_context(|| format!("{name}: was not measured"))?;
        place.parameters = brief.parameters;
        for (values, y) in place.values.iter_mut().zip(&figure.spec.y) {
            let name = y.strip_prefix(VALIDATION).unwrap_or(y);
            // The training loss, or a metric that this model does not have, has no level line.
            values.push(brief.means.get(name).copied().unwrap_or(f64::NAN));
        }
    }
    Ok(place)
}

/// A model that is watched while it trains, taught by teachers as they are in the experiment.
fn along_epochs(
    run: &Run<'_>,
    figure: &Planned,
    model: usize,
    plan: &Plan,
    within: &Path,
    kept: &mut Kept,
) -> Result<Vec<Place>> {
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
    let split = &run.setting.data.split;
    let popularity = &run.popularity;
    let look = |report: &EpochReport, model: &dyn Model| {
        let mut seen = Map::new();
        let Some(metrics) = metrics.as_ref().filter(|_| due(report.epoch, spec)) else {
            return Ok(seen);
        };
        for (part, cases) in [("validation", &split.valid), ("test", &split.test)] {
            if cases.is_empty() {
                continue;
            }
            let found = metrics.measure(&Packed::new(model), cases, &run.train, popularity, None);
            let found = found.map_err(|error| Error::Ranker {
                name: spec.name.clone(),
                problem: crate::told(&error),
            })?;
            let means: Map<String, Value> =
                found.means.into_iter().map(|(name, value)| (name, value.into())).collect();
            seen.insert(part.into(), means.into());
        }
        Ok(seen)
    };
    let varied = with_folders(Run::new(run.setting, plan, Vec::new())?, within, kept);
    let mut places: BTreeMap<usize, Place> = BTreeMap::new();
    for &seed in &plan.spec.seeds {
        let folder = within.join(&folder_names(&plan.names())[model]).join(format!("seed-{seed}"));
        watched(&varied, model, seed, &folder, &look)?;
        let path = folder.join(EPOCHS);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for line in text.lines() {
            let line: Value =
                serde_json::from_str(line).with_context(|| path.display().to_string())?;
            let epoch = line["epoch"].as_u64().unwrap_or(0) as usize;
            if !due(epoch, spec) {
                continue;
            }
            let place = places.entry(epoch).or_insert_with(|| Place {
                x: epoch as f64 + 1.0,
                parameters: 0,
                interactions: run.train.len(),
                values: vec![Vec::new(); spec.y.len()],
            });
            for (values, y) in place.values.iter_mut().zip(&spec.y) {
                let value = match y.strip_prefix(VALIDATION) {
                    Some(name) => &line["validation"][name],
                    None if y == LOSS => &line[LOSS],
                    None => &line["test"][y],
                };
                values.push(value.as_f64().unwrap_or(f64::NAN));
            }
        }
    }
    Ok(places.into_values().collect())
}

fn due(epoch: usize, spec: &FigureSpec) -> bool {
    (epoch + 1).is_multiple_of(spec.every) || epoch + 1 == spec.epochs
}

/// Trains one model under a look, unless that was done.
fn watched(run: &Run<'_>, model: usize, seed: u64, folder: &Path, look: &Look<'_>) -> Result<()> {
    if folder.join("artefact/manifest.json").is_file() {
        return Ok(());
    }
    let mut ready: BTreeMap<usize, Ready> = BTreeMap::new();
    for &teacher in run.plan.models[model].teachers() {
        ready.insert(teacher, run.ready(teacher, seed)?);
    }
    let ask = |at: usize| ready[&at].teacher(&run.plan.models[at].name);
    let mut fitter = run.fitter();
    fitter.look = Some(look);
    fitter.fitted(run.plan, model, seed, folder, &ask)?;
    Ok(())
}

type Line = Vec<Place>;

fn picture(run: &Run<'_>, figure: &Planned, lines: &[Line], levels: &[(usize, Place)]) -> Figure {
    let spec = &figure.spec;
    let label = spec.label.clone().unwrap_or_else(|| match spec.x {
        FigureX::Value => spec.vary[0].clone(),
        FigureX::Parameters => "parameters".into(),
        FigureX::Interactions => "training interactions".into(),
        FigureX::Epoch => "epoch".into(),
    });
    let x = if figure.scale == Scale::Log { Axis::log(label) } else { Axis::linear(label) };
    let names = (figure.scale == Scale::Even).then(|| spec.values.iter().map(text).collect());
    let name = |at: usize| run.plan.models[at].name.clone();
    let panels = spec.y.iter().enumerate().map(|(y, metric)| {
        let point = |place: &Place| {
            let seen = spread(&place.values[y]);
            let bar = if spec.bars { place.parameters as f64 } else { 0.0 };
            Point { x: place.x, y: seen.mean, deviation: seen.deviation, bar }
        };
        let moving = lines.iter().zip(&figure.lines).map(|(places, (at, _))| Curve {
            name: name(*at),
            points: places.iter().map(point).collect(),
            level: false,
        });
        let level = levels.iter().map(|(at, place)| Curve {
            name: name(*at),
            points: vec![point(place)],
            level: true,
        });
        Panel {
            x: x.clone(),
            names: names.clone(),
            y: Axis::linear(named(metric)),
            curves: moving.chain(level).collect(),
            bars: spec.bars.then(|| "parameters".into()),
        }
    });
    Figure { title: spec.title.clone(), panels: panels.collect() }
}

/// A row a model and place, mean and deviation of each `y`.
fn table(run: &Run<'_>, figure: &Planned, lines: &[Line], levels: &[(usize, Place)]) -> String {
    let spec = &figure.spec;
    let epochs = spec.x == FigureX::Epoch;
    let mut out = String::from(if epochs { "model\tepoch" } else { "model\tvalue\tparameters" });
    out.push_str("\tinteractions\tseeds");
    for y in &spec.y {
        _ = write!(out, "\t{y}\t{y} deviation");
    }
    out.push('\n');
    let mut row = |at: usize, value: &str, place: &Place| {
        let name = run.plan.models[at].name.replace(['\t', '\n'], " ");
        _ = write!(out, "{name}\t{value}");
        if !epochs {
            _ = write!(out, "\t{}", place.parameters);
        }
        _ = write!(out, "\t{}\t{}", place.interactions, place.values[0].len());
        for values in &place.values {
            let seen = spread(values);
            let number = |value: Option<f64>| {
                value.filter(|value| value.is_finite()).map_or(String::new(), |v| v.to_string())
            };
            _ = write!(out, "\t{}\t{}", number(Some(seen.mean)), number(seen.deviation));
        }
        out.push('\n');
    };
    for (places, (at, _)) in lines.iter().zip(&figure.lines) {
        for (nth, place) in places.iter().enumerate() {
            let value = match epochs {
                true => place.x.to_string(),
                false => text(&spec.values[nth]),
            };
            row(*at, &value, place);
        }
    }
    for (at, place) in levels {
        row(*at, "", place);
    }
    out
}

/// As papers write it.
fn named(y: &str) -> String {
    if y == LOSS {
        return "training loss".into();
    }
    ["map", "mrr", "ndcg"]
        .iter()
        .zip(["MAP", "MRR", "nDCG"])
        .fold(y.to_owned(), |y, (from, to)| y.replace(from, to))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(['\t', '\n'], " "),
        other => other.to_string(),
    }
}
