//! The picture of a figure, and its values as a table.

use super::{LOSS, LinePoint, PlannedFigure};
use crate::experiment::session::Session;
use crate::experiment::spec::{FigureX, Scale};

use rankstill::eval::report::figure::{Axis, Curve, Figure, Panel, Point};
use rankstill::eval::spread;
use serde_json::Value;
use std::fmt::Write as _;

/// The figure to draw.
pub(super) fn picture(
    session: &Session<'_>,
    figure: &PlannedFigure,
    lines: &[Vec<LinePoint>],
    levels: &[(usize, LinePoint)],
) -> Figure {
    let spec = &figure.spec;
    let label = spec.label.clone().unwrap_or_else(|| match spec.x {
        FigureX::Value => spec.vary[0].clone(),
        FigureX::Parameters => "parameters".into(),
        FigureX::Interactions => "training interactions".into(),
        FigureX::Epoch => "epoch".into(),
    });
    let x = if figure.scale == Scale::Log { Axis::log(label) } else { Axis::linear(label) };
    let names = (figure.scale == Scale::Even).then(|| spec.values.iter().map(text).collect());
    let name = |at: usize| session.plan.models[at].name.clone();
    let panels = spec.y.iter().enumerate().map(|(y, metric)| {
        let drawn = |point: &LinePoint| {
            let summary = spread(&point.values[y]);
            let bar = if spec.bars { point.parameters as f64 } else { 0.0 };
            Point { x: point.x, y: summary.mean, deviation: summary.deviation, bar }
        };
        let moving = lines.iter().zip(&figure.lines).map(|(points, (at, _))| Curve {
            name: name(*at),
            points: points.iter().map(drawn).collect(),
            ..Curve::default()
        });
        let level = levels.iter().map(|(at, point)| Curve {
            name: name(*at),
            points: vec![drawn(point)],
            level: true,
            ..Curve::default()
        });
        Panel {
            x: x.clone(),
            names: names.clone(),
            y: Axis::linear(display_name(metric)),
            curves: moving.chain(level).collect(),
            bars: spec.bars.then(|| "parameters".into()),
        }
    });
    Figure { title: spec.title.clone(), panels: panels.collect() }
}

/// A row per model and point, with mean and deviation of each `y`.
pub(super) fn table(
    session: &Session<'_>,
    figure: &PlannedFigure,
    lines: &[Vec<LinePoint>],
    levels: &[(usize, LinePoint)],
) -> String {
    let spec = &figure.spec;
    let epochs = spec.x == FigureX::Epoch;
    let mut out = String::from(if epochs { "model\tepoch" } else { "model\tvalue\tparameters" });
    out.push_str("\tinteractions\tseeds");
    for y in &spec.y {
        _ = write!(out, "\t{y}\t{y} deviation");
    }
    out.push('\n');
    let mut row = |at: usize, value: &str, point: &LinePoint| {
        let name = session.plan.models[at].name.replace(['\t', '\n'], " ");
        _ = write!(out, "{name}\t{value}");
        if !epochs {
            _ = write!(out, "\t{}", point.parameters);
        }
        _ = write!(out, "\t{}\t{}", point.interactions, point.values[0].len());
        for values in &point.values {
            let summary = spread(values);
            let number = |value: Option<f64>| {
                value.filter(|value| value.is_finite()).map_or(String::new(), |v| v.to_string())
            };
            _ = write!(out, "\t{}\t{}", number(Some(summary.mean)), number(summary.deviation));
        }
        out.push('\n');
    };
    for (points, (at, _)) in lines.iter().zip(&figure.lines) {
        for (nth, point) in points.iter().enumerate() {
            let value = match epochs {
                true => point.x.to_string(),
                false => text(&spec.values[nth]),
            };
            row(*at, &value, point);
        }
    }
    for (at, point) in levels {
        row(*at, "", point);
    }
    out
}

/// The metric's name as papers write it.
fn display_name(y: &str) -> String {
    if y == LOSS {
        return "training loss".into();
    }
    ["map", "mrr", "ndcg"]
        .iter()
        .zip(["MAP", "MRR", "nDCG"])
        .fold(y.to_owned(), |y, (from, to)| y.replace(from, to))
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(['\t', '\n'], " "),
        other => other.to_string(),
    }
}
