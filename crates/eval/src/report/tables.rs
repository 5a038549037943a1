//! The tables of a report, for the terminal and the page.

use super::axis::number;
use super::frontier;
use super::{
    Agreement, AuditRow, EnsembleReport, FilterRow, Gain, GroupReport, MetricDefinition,
    ModelReport, PartRow, Report,
};
use crate::compare::Comparison;
use crate::metric::Direction;
use crate::significance::Spread;
use rankstill_core::text_table::{TextTable, thousands};
use std::collections::BTreeMap;

/// Models by metrics: mean and deviation, and the share of the teacher's value of the first metric that was
/// kept.
pub(super) fn quality(report: &Report) -> TextTable {
    let metrics: Vec<&MetricDefinition> = report.definitions.iter().collect();
    let models: Vec<_> = report.models.iter().map(|m| (m.name.as_str(), &m.metrics)).collect();
    let first = metrics.iter().find(|d| d.direction == Direction::Higher);
    let kept = first.filter(|d| report.models.iter().any(|m| m.kept.contains_key(&d.metric)));
    let kept = kept.map(|d| {
        let share = |m: &ModelReport| m.kept.get(&d.metric).map_or(String::new(), |k| percent(*k));
        (format!("{} kept", d.metric), report.models.iter().map(share).collect())
    });
    metric_table(&metrics, &models, kept)
}

/// Models by the metrics that are known for a group.
pub(super) fn group(report: &Report, group: &GroupReport) -> TextTable {
    let known = |d: &&MetricDefinition| {
        group.models.values().any(|metrics| metrics.contains_key(&d.metric))
    };
    let metrics: Vec<&MetricDefinition> = report.definitions.iter().filter(known).collect();
    let models = report.models.iter();
    let models = models.filter_map(|m| Some((m.name.as_str(), group.models.get(&m.name)?)));
    metric_table(&metrics, &models.collect::<Vec<_>>(), None)
}

/// A row per model and a column per metric, with the best value marked, and perhaps one more column.
fn metric_table(
    metrics: &[&MetricDefinition],
    models: &[(&str, &BTreeMap<String, Spread>)],
    last: Option<(String, Vec<String>)>,
) -> TextTable {
    let mut header = vec!["model".to_owned()];
    header.extend(metrics.iter().map(|d| d.metric.clone()));
    header.extend(last.iter().map(|(name, _)| name.clone()));
    let mut table = TextTable::new(header);
    for (row, (name, values)) in models.iter().enumerate() {
        let mut cells = vec![(*name).to_owned()];
        cells.extend(metrics.iter().map(|d| values.get(&d.metric).map_or(String::new(), value)));
        cells.extend(last.iter().map(|(_, texts)| texts[row].clone()));
        table.push(cells);
    }
    for (at, d) in metrics.iter().enumerate() {
        let mean = |(_, values): &(_, &BTreeMap<String, Spread>)| Some(values.get(&d.metric)?.mean);
        let means: Vec<Option<f64>> = models.iter().map(mean).collect();
        best(&means, d.direction).into_iter().for_each(|row| table.mark_best(row, at + 1));
    }
    table
}

/// Rows with the best value, several if they are equal; none if there are fewer than two finite values.
pub(super) fn best(values: &[Option<f64>], direction: Direction) -> Vec<usize> {
    let finite = || values.iter().flatten().copied().filter(|value| value.is_finite());
    let best = match direction {
        Direction::Higher => finite().max_by(f64::total_cmp),
        Direction::Lower => finite().min_by(f64::total_cmp),
        Direction::Neither => None,
    };
    let is_best = |row: &usize| values[*row].is_some() && values[*row] == best;
    if finite().count() < 2 { Vec::new() } else { (0..values.len()).filter(is_best).collect() }
}

/// The heading of [`members`].
pub(super) fn title_of(one: &EnsembleReport) -> String {
    format!("{}: members chosen on validation data, {} {:.4}", one.name, one.metric, one.value)
}

/// The candidates of an ensemble: how often each counts, its value alone, and the ensemble's without it.
pub(super) fn members(one: &EnsembleReport) -> TextTable {
    let mut table = TextTable::new(["member", "counts", "alone", "ensemble without it", "it adds"]);
    for member in &one.members {
        let without = |of: &dyn Fn(f64) -> String| member.without.map_or(String::new(), of);
        table.push([
            member.name.clone(),
            member.weight.to_string(),
            format!("{:.4}", member.alone),
            without(&|value| format!("{value:.4}")),
            without(&|value| format!("{:+.4}", one.value - value)),
        ]);
    }
    table
}

/// Models by size and time.
pub(super) fn cost(report: &Report) -> TextTable {
    let models = &report.models;
    let mut columns: Vec<(String, Vec<String>)> = Vec::new();
    let mut column = |name: &str, cell: &dyn Fn(&ModelReport) -> Option<String>| {
        let cells = models.iter().map(|model| cell(model).unwrap_or_default());
        columns.push((name.to_owned(), cells.collect()));
    };
    column("model", &|m| Some(m.name.clone()));
    column("role", &|m| Some(m.role.name().to_owned()));
    column("parameters", &|m| Some(thousands(m.parameters as usize)));
    if models.iter().any(|m| m.parameters_ratio.is_some()) {
        column("of teacher", &|m| m.parameters_ratio.map(percent));
    }
    if models.iter().any(|m| m.bytes_per_item.is_some()) {
        column("bytes/item", &|m| m.bytes_per_item.map(number));
        column("bytes/user", &|m| m.bytes_per_user.map(number));
    }
    column("on disk", &|m| Some(bytes(m.bytes)));
    if models.iter().any(|m| m.training.is_some()) {
        column("training", &|m| Some(seconds(m.training.as_ref()?.seconds)));
        column("epochs", &|m| Some(number(m.training.as_ref()?.epochs)));
    }
    if let Some(k) = models.iter().find_map(|m| m.latency.as_ref()).map(|l| l.k) {
        column(&format!("top-{k} for all"), &|m| {
            Some(seconds(m.latency.as_ref()?.all_users_seconds))
        });
        column("request median", &|m| Some(seconds(m.latency.as_ref()?.request_ms.median / 1e3)));
        column("request p99", &|m| Some(seconds(m.latency.as_ref()?.request_ms.p99 / 1e3)));
    }
    let mut table = TextTable::new(columns.iter().map(|(name, _)| name.clone()));
    for row in 0..models.len() {
        table.push(columns.iter().map(|(_, cells)| cells[row].clone()));
    }
    table
}

/// Models by quality and price, and which of them nothing beats for less.
pub(super) fn for_price(report: &Report, metric: &str) -> TextTable {
    let [by_time, by_bytes] = frontier::best_for_price(report, metric);
    let mut table = TextTable::new([
        "model",
        "family",
        metric,
        "request, µs",
        "bytes/item",
        "best for its time",
        "best for its bytes",
    ]);
    for model in &report.models {
        let on = |frontier: &[&ModelReport]| {
            let there = frontier.iter().any(|one| one.name == model.name);
            if there { "yes" } else { "" }.to_owned()
        };
        table.push([
            model.name.clone(),
            model.family.clone(),
            model.metrics.get(metric).map_or(String::new(), value),
            frontier::request_us(model).map_or(String::new(), number),
            model.bytes_per_item.map_or(String::new(), number),
            on(&by_time),
            on(&by_bytes),
        ]);
    }
    table
}

/// Whose lists are like whose.
pub(super) fn agreement(all: &[Agreement]) -> TextTable {
    let mut table = TextTable::new(["model", "lists like", "metric", "share in common"]);
    for one in all {
        let share = match one.value.deviation {
            None => percent(one.value.mean),
            Some(deviation) => format!("{} ± {}", percent(one.value.mean), percent(deviation)),
        };
        table.push([one.model.clone(), one.with.clone(), one.metric.clone(), share]);
    }
    table
}

/// The student against others, group by group.
pub(super) fn gains(all: &[Gain]) -> TextTable {
    let level = all.first().map_or(0.95, |one| one.comparison.interval.level) * 100.0;
    let mut table = TextTable::new([
        "group",
        "cases",
        "against",
        "mean",
        "mean of other",
        "difference",
        &format!("{level}% interval"),
        "in short",
    ]);
    for Gain { group, comparison: one, .. } in all {
        let verdict = match (one.interval.low, one.interval.high) {
            (low, _) if low > 0.0 => "gains",
            (_, high) if high < 0.0 => "loses",
            _ => "cannot be told",
        };
        table.push([
            group.clone(),
            thousands(one.cases),
            one.b.clone(),
            format!("{:.4}", one.mean_a),
            format!("{:.4}", one.mean_b),
            format!("{:+.4}", one.difference),
            format!("{:+.4} to {:+.4}", one.interval.low, one.interval.high),
            verdict.to_owned(),
        ]);
    }
    table
}

/// What each filter removed.
pub(super) fn filters(all: &[FilterRow]) -> TextTable {
    let mut table = TextTable::new(["filter", "removed", "rows", "users", "items"]);
    for one in all {
        let counts = [one.removed, one.rows, one.users, one.items].map(thousands);
        table.push(std::iter::once(one.filter.clone()).chain(counts));
    }
    table
}

/// The parts of the split.
pub(super) fn parts(all: &[PartRow]) -> TextTable {
    let mut table = TextTable::new(["part", "rows", "users"]);
    all.iter().for_each(|one| {
        table.push([one.part.clone(), thousands(one.rows), thousands(one.users)]);
    });
    table
}

/// The leakage audit.
pub(super) fn audit(all: &[AuditRow]) -> TextTable {
    let mut table = TextTable::new(["check", "count", "of", "share", "in doubt"]);
    for one in all {
        let count = one.count.map_or("no times".to_owned(), thousands);
        let found = one.count.filter(|&count| count > 0);
        let share = found.map(|count| percent(count as f64 / one.of.max(1) as f64));
        let doubt = if one.doubtful && found.is_some() { "yes" } else { "" };
        let (about, of) = (one.about.clone(), thousands(one.of));
        table.push([about, count, of, share.unwrap_or_default(), doubt.to_owned()]);
    }
    table
}

/// What the columns "users and seeds" are.
pub(super) const ABOUT_BOTH: &str = "Users and seeds: the same difference, tested as if both the users and the seeds were a sample (crossed random effects).";

/// Pairs of models with their difference and p-values.
#[must_use]
pub fn comparisons(all: &[Comparison]) -> TextTable {
    let level = all.first().map_or(0.95, |one| one.interval.level) * 100.0;
    let interval = format!("{level}% interval");
    let seeds = all.iter().any(|one| one.over_both.is_some());
    let mut header = vec!["metric", "model", "against", "mean", "mean of other", "difference"];
    header.extend([&interval, "t-test p", "Holm"]);
    if seeds {
        header.extend(["users and seeds p", "Holm"]);
    }
    header.extend(["Wilcoxon p", "effect d"]);
    let mut table = TextTable::new(header);
    for one in all {
        let mut row = vec![
            one.metric.clone(),
            one.a.clone(),
            one.b.clone(),
            format!("{:.4}", one.mean_a),
            format!("{:.4}", one.mean_b),
            format!("{:+.4}", one.difference),
            format!("{:+.4} to {:+.4}", one.interval.low, one.interval.high),
            p_value(one.t_test.p),
            one.p_adjusted.map_or(String::new(), p_value),
        ];
        if seeds {
            row.push(one.over_both.map_or(String::new(), |both| p_value(both.p)));
            let adjusted = one.over_both.and_then(|both| both.p_adjusted);
            row.push(adjusted.map_or(String::new(), p_value));
        }
        row.extend([p_value(one.wilcoxon.p), format!("{:+.3}", one.t_test.effect)]);
        table.push(row);
    }
    table
}

/// `0.1234` or `0.1234 ± 0.0012`; large numbers (popularity) with fewer decimals.
pub(super) fn value(spread: &Spread) -> String {
    let decimals = if spread.mean.abs() >= 10.0 { 1 } else { 4 };
    match spread.deviation {
        None => format!("{:.decimals$}", spread.mean),
        Some(deviation) => format!("{:.decimals$} ± {deviation:.decimals$}", spread.mean),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

pub(super) fn p_value(p: f64) -> String {
    match p {
        ..1e-300 => "< 1e-300".into(), // it may have been rounded to 0
        ..1e-4 => format!("{p:.0e}"),
        _ => format!("{p:.4}"),
    }
}

pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (n.max(1).ilog2() / 10).min(4);
    if unit == 0 {
        return format!("{n} B");
    }
    format!("{:.1} {}", n as f64 / 1024f64.powi(unit as i32), UNITS[unit as usize])
}

pub(super) fn seconds(s: f64) -> String {
    match s {
        _ if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        _ if s < 1.0 => format!("{:.2} ms", s * 1e3),
        _ if s < 600.0 => format!("{s:.2} s"),
        _ => format!("{:.1} min", s / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_never_zero() {
        let texts = [0.0, 3.2e-80, 0.00012, 1.0].map(p_value);
        assert_eq!(texts, ["< 1e-300", "3e-80", "0.0001", "1.0000"]);
    }

    #[test]
    fn sizes_and_times_have_short_units() {
        assert_eq!((thousands(999), thousands(1000)), ("999".into(), "1,000".into()));
        assert_eq!((bytes(512), bytes(1536)), ("512 B".into(), "1.5 KiB".into()));
        assert_eq!((seconds(0.00005), seconds(2.0)), ("50.0 µs".into(), "2.00 s".into()));
    }

    #[test]
    fn equal_values_are_all_best_and_a_single_value_is_not() {
        let values = [Some(0.2), None, Some(0.1), Some(0.2), Some(f64::NAN)];
        assert_eq!(best(&values, Direction::Higher), [0, 3]);
        assert_eq!(best(&values, Direction::Lower), [2]);
        assert!(best(&values, Direction::Neither).is_empty());
        assert!(best(&[Some(0.2), None], Direction::Higher).is_empty());
    }
}
