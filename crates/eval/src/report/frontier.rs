//! The frontier: quality against the time of a request and against the bytes of an item, a curve a family, and what is best for its
//! price.

use super::axis::{Axis, number};
use super::figure::{Curve, Figure, Panel, Point};
use super::{ModelReport, Report};
use std::fmt::Write as _;

/// The family of models that differ in more than their size.
pub const SINGLE: &str = "single models";

/// Confidence of the bars.
const LEVEL: f64 = 0.95;

/// The share of the best value from which on models are drawn.
const LEAST: f64 = 0.5;

/// What a model is paid with.
struct Price {
    label: &'static str,
    unit: &'static str,
    of: fn(&ModelReport) -> Option<f64>,
}

const TIME: Price = Price {
    label: "median time of a request, microseconds",
    unit: "µs",
    of: |model| Some(model.latency.as_ref()?.request_ms.median * 1e3),
};
const BYTES: Price = Price {
    label: "bytes an item in memory",
    unit: "bytes an item",
    of: |model| model.bytes_per_item,
};

/// Both panels; `None` unless at least three models have the metric and a price.
pub(super) fn figure(report: &Report, metric: &str) -> Option<Figure> {
    let panels: Vec<Panel> =
        [TIME, BYTES].iter().filter_map(|price| panel(report, metric, price)).collect();
    let of_both = |price: &Price| points(report, metric, price);
    let all = [TIME, BYTES].iter().any(|price| drawn(of_both(price)).len() < of_both(price).len());
    let rest = if all { "; models below half of the best are in the table only" } else { "" };
    let title = format!("{metric}: what it costs{rest}");
    (!panels.is_empty()).then_some(Figure { title, panels })
}

fn panel(report: &Report, metric: &str, price: &Price) -> Option<Panel> {
    let shown = drawn(points(report, metric, price));
    if shown.len() < 3 {
        return None;
    }
    let point = |(model, x, y): &(&ModelReport, f64, f64)| Point {
        x: *x,
        y: *y,
        deviation: model.metrics[metric].half_interval(LEVEL),
        bar: 0.0,
    };
    let mut curves: Vec<Curve> = Vec::new();
    for (family, kind) in lines(report) {
        let is_own = |model: &ModelReport| model.family == family && made_of(report, model) == kind;
        let mut own: Vec<_> = shown.iter().filter(|(model, ..)| is_own(model)).collect();
        if own.is_empty() {
            continue;
        }
        own.sort_by(|a, b| a.1.total_cmp(&b.1));
        let label = |(model, x, y): &&(&ModelReport, f64, f64)| {
            format!("{}: {metric} {y:.4}, {} {}", model.name, number(*x), price.unit)
        };
        let labels = own.iter().map(label).collect();
        let points = own.into_iter().map(point).collect();
        let (name, scattered) = (family.to_owned(), family == SINGLE);
        curves.push(Curve { name, points, labels, scattered, ..Curve::default() });
    }
    let best = hull(&shown);
    let labels = best.iter().map(|&at| shown[at].0.name.clone()).collect();
    let points = best.iter().map(|&at| Point { deviation: None, ..point(&shown[at]) }).collect();
    let name = "frontier".into();
    curves.push(Curve { name, points, labels, outline: true, ..Curve::default() });
    let (x, y) = (Axis::log(price.label), Axis::linear(metric));
    Some(Panel { x, names: None, y, curves, bars: None })
}

/// Models with the metric and the price, and both.
fn points<'r>(report: &'r Report, metric: &str, price: &Price) -> Vec<(&'r ModelReport, f64, f64)> {
    let known = |model: &'r ModelReport| {
        let (x, y) = ((price.of)(model)?, model.metrics.get(metric)?.mean);
        (x > 0.0 && x.is_finite() && y.is_finite()).then_some((model, x, y))
    };
    report.models.iter().filter_map(known).collect()
}

/// The price in time of a request, in microseconds.
pub(super) fn request_us(model: &ModelReport) -> Option<f64> {
    (TIME.of)(model)
}

/// Without models that are far below all others and would squeeze these together.
fn drawn(mut all: Vec<(&ModelReport, f64, f64)>) -> Vec<(&ModelReport, f64, f64)> {
    let best = all.iter().map(|(.., y)| *y).fold(0.0, f64::max);
    all.retain(|(.., y)| *y >= LEAST * best);
    all
}

/// The families and, as only models of one kind differ in their size alone, the kinds in them, in the order of the models.
fn lines(report: &Report) -> Vec<(&str, &str)> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for model in &report.models {
        let line = (&*model.family, made_of(report, model));
        if !all.contains(&line) {
            all.push(line);
        }
    }
    all
}

/// The kind of a model; of a compressed one that of its base.
fn made_of<'r>(report: &'r Report, model: &'r ModelReport) -> &'r str {
    let of = |base: &String| report.models.iter().find(|other| other.name == *base);
    &model.base.as_ref().and_then(of).unwrap_or(model).kind
}

/// The models on the upper convex hull over the logarithm of the price, from the cheapest to the best: no mixture of two others is
/// as good for as little.
fn hull(shown: &[(&ModelReport, f64, f64)]) -> Vec<usize> {
    let at = |i: usize| (shown[i].1.ln(), shown[i].2);
    let mut order: Vec<usize> = (0..shown.len()).collect();
    order.sort_by(|&a, &b| at(a).0.total_cmp(&at(b).0).then(at(b).1.total_cmp(&at(a).1)));
    let mut hull: Vec<usize> = Vec::new();
    for next in order {
        if hull.last().is_some_and(|&last| at(next).1 <= at(last).1) {
            continue; // dearer and not better
        }
        while let [.., a, b] = hull[..] {
            let ((ax, ay), (bx, by), (cx, cy)) = (at(a), at(b), at(next));
            if (by - ay) * (cx - ax) > (cy - ay) * (bx - ax) {
                break;
            }
            hull.pop();
        }
        hull.push(next);
    }
    hull
}

/// The models on the frontier by time and on that by bytes, from the cheapest to the best.
pub(super) fn best_for_price<'r>(report: &'r Report, metric: &str) -> [Vec<&'r ModelReport>; 2] {
    [TIME, BYTES].map(|price| {
        let shown = points(report, metric, &price);
        hull(&shown).into_iter().map(|at| shown[at].0).collect()
    })
}

/// A row a model: its family, prices, the metric with its interval, and on which frontier it is.
pub(super) fn table(report: &Report, metric: &str) -> String {
    let [by_time, by_bytes] = best_for_price(report, metric);
    let on = |frontier: &[&ModelReport], model: &ModelReport| {
        u8::from(frontier.iter().any(|one| one.name == model.name))
    };
    let mut out = format!(
        "model\tfamily\tbytes_per_item\tbytes_per_user\trequest_us\t{metric}\thalf_interval\tfrontier_by_time\tfrontier_by_bytes\n"
    );
    let fixed = |value: Option<f64>, digits: usize| {
        value.map_or(String::new(), |value| format!("{value:.digits$}"))
    };
    for model in &report.models {
        let measured = model.metrics.get(metric);
        let _ = writeln!(
            out,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            model.name,
            model.family,
            fixed(model.bytes_per_item, 1),
            fixed(model.bytes_per_user, 1),
            fixed((TIME.of)(model), 1),
            fixed(measured.map(|value| value.mean), 6),
            fixed(measured.and_then(|value| value.half_interval(LEVEL)), 6),
            on(&by_time, model),
            on(&by_bytes, model),
        ); // writing to a string cannot fail
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::significance::spread;
    use std::collections::BTreeMap;

    fn model(name: &str, family: &str, bytes: f64, quality: f64) -> ModelReport {
        let metrics = BTreeMap::from([("m".to_owned(), spread(&[quality]))]);
        let (name, family, bytes_per_item) = (name.into(), family.into(), Some(bytes));
        ModelReport { name, family, bytes_per_item, metrics, ..ModelReport::default() }
    }

    #[test]
    fn the_frontier_is_the_upper_hull_over_the_logarithm_of_the_price() {
        let models = vec![
            model("out", "x", 0.5, 0.05),
            model("a", "x", 1.0, 0.25),
            model("b", "x", 10.0, 0.40),
            model("under", "y", 100.0, 0.35), // below the line from b to d
            model("worse", "y", 20.0, 0.29),
            model("d", "y", 1000.0, 0.48),
            model("dear", "y", 2000.0, 0.48),
        ];
        let report = Report { models, ..Report::default() };
        let shown = points(&report, "m", &BYTES);
        let best: Vec<&str> = hull(&shown).into_iter().map(|at| &*shown[at].0.name).collect();
        assert_eq!(best, ["out", "a", "b", "d"]);
        let Some(figure) = figure(&report, "m") else { panic!("six models") };
        assert_eq!(figure.panels.len(), 1, "nobody has a time");
        let names: Vec<&str> = figure.panels[0].curves.iter().map(|curve| &*curve.name).collect();
        assert_eq!(names, ["x", "y", "frontier"]);
        let svg = figure.svg();
        assert!(svg.contains(">d</text>") && !svg.contains(">under</text>"), "{svg}");
        assert!(svg.contains("<title>under"), "{svg}");
        assert!(!svg.contains("<title>out") && svg.contains("in the table only"), "{svg}");
        let table = table(&report, "m");
        assert!(table.contains("d\ty\t1000.0\t\t\t0.480000\t\t0\t1\n"), "{table}");
    }

    #[test]
    fn a_line_joins_models_of_one_kind() {
        let of = |name: &str, family: &str, kind: &str, base: Option<&str>, bytes: f64| {
            let base = base.map(str::to_owned);
            ModelReport { kind: kind.into(), base, ..model(name, family, bytes, 0.4) }
        };
        let models = vec![
            of("MF-8", "alone", "bpr_mf", None, 32.0),
            of("MF-16", "alone", "bpr_mf", None, 64.0),
            of("FISM-16", "alone", "fism", None, 48.0),
            of("a", "int", "compressed", Some("MF-8"), 4.0),
            of("b", "int", "compressed", Some("MF-16"), 8.0),
            of("c", "int", "compressed", Some("FISM-16"), 8.0),
        ];
        let report = Report { models, ..Report::default() };
        let Some(figure) = figure(&report, "m") else { panic!("six models") };
        let curves = figure.panels[0].curves.iter().map(|curve| (&*curve.name, curve.points.len()));
        let curves: Vec<(&str, usize)> = curves.filter(|(name, _)| *name != "frontier").collect();
        assert_eq!(curves, [("alone", 2), ("alone", 1), ("int", 2), ("int", 1)]);
    }

    #[test]
    fn two_models_are_no_frontier() {
        let models = vec![model("a", "x", 1.0, 0.1), model("b", "x", 2.0, 0.2)];
        assert!(figure(&Report { models, ..Report::default() }, "m").is_none());
    }
}
