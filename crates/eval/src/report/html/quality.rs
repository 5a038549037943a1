//! Quality: every metric of every model with its interval, and what differs significantly.

use super::table;
use crate::report::tables::{self, percent};
use crate::report::{Details, MetricDefinition, ModelReport, Picks, Report};
use crate::significance::Interval;
use maud::{Markup, html};

/// `None` if nothing was measured.
pub(super) fn section(report: &Report, details: &Details) -> Option<Markup> {
    if report.models.iter().all(|model| model.metrics.is_empty()) {
        return None;
    }
    let one_seed = report.seeds.len() == 1;
    Some(html! {
        (metrics(report, details))
        p.muted {
            @if one_seed {
                "Under a mean: 95% interval by the bootstrap over the test users (percentiles of resampled means), which says how much another sample of "
                "users could change it, not another seed."
            } @else {
                "Under a mean: 95% interval over the seeds (Student's t)."
            }
            " The best of a column is bold."
            @if report.models.iter().any(|model| !model.kept.is_empty()) {
                " Kept: the share of " (report.reference.as_deref().unwrap_or_default()) "'s value."
            }
        }
        @if let Some(first) = report.comparisons.first() {
            h3 { "Against the same student without a teacher" }
            (table("Differences", &tables::comparisons(&report.comparisons)))
            p.muted {
                "Paired over " (first.cases) " cases. Interval: bootstrap, " (first.interval.resamples) " resamples. Holm: p-values of the t-tests corrected for "
                "all " (report.comparisons.len()) " comparisons. "
                @if first.over_both.is_some() { (super::super::tables::ABOUT_BOTH) " " }
                "Wilcoxon: signed ranks, two-sided. Effect: mean / deviation of the differences."
            }
        }
    })
}

fn metrics(report: &Report, details: &Details) -> Markup {
    let first = Picks::of(report).metric;
    let shown = |one: &&MetricDefinition| {
        report.models.iter().any(|model| model.metrics.contains_key(&one.metric))
    };
    let definitions: Vec<&MetricDefinition> = report.definitions.iter().filter(shown).collect();
    let kept = report.models.iter().any(|model| model.kept.contains_key(first));
    let best: Vec<Vec<usize>> = definitions.iter().map(|one| best_rows(report, one)).collect();
    let scale = Scale::of(report, details, first);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Quality" {
            table {
                thead {
                    tr {
                        th scope="col" { "model" }
                        th scope="col" { "role" }
                        @if !first.is_empty() { th scope="col" { (first) } }
                        @for one in &definitions { th scope="col" { (one.metric) } }
                        @if kept { th scope="col" { (first) " kept" } }
                    }
                }
                tbody {
                    @for (row, model) in report.models.iter().enumerate() {
                        @let intervals = details.intervals.get(&model.name);
                        tr {
                            th scope="row" dir="auto" { (model.name) }
                            td.word { (model.role.name()) }
                            @if !first.is_empty() { td { (scale.bar(model, intervals.and_then(|all| all.get(first)))) } }
                            @for (at, one) in definitions.iter().enumerate() {
                                @let is_best = best[at].contains(&row);
                                td .best[is_best] {
                                    @if let Some(spread) = model.metrics.get(&one.metric) {
                                        (tables::value(spread))
                                        @if let Some(range) = intervals.and_then(|all| all.get(&one.metric)) {
                                            span.range { (range_text(range)) }
                                        }
                                    }
                                }
                            }
                            @if kept { td { @if let Some(share) = model.kept.get(first) { (percent(*share)) } } }
                        }
                    }
                }
            }
        }
    }
}

fn best_rows(report: &Report, one: &MetricDefinition) -> Vec<usize> {
    let means = report.models.iter().map(|model| Some(model.metrics.get(&one.metric)?.mean));
    tables::best(&means.collect::<Vec<_>>(), one.direction)
}

/// As short as its numbers allow.
fn range_text(range: &Interval) -> String {
    let decimals = if range.high.abs() >= 10.0 { 1 } else { 4 };
    format!("{:.decimals$} to {:.decimals$}", range.low, range.high)
}

/// From values to shares of a bar's width.
struct Scale<'r> {
    metric: &'r str,
    low: f64,
    high: f64,
}

impl<'r> Scale<'r> {
    fn of(report: &'r Report, details: &Details, metric: &'r str) -> Self {
        let known = details.intervals.values().filter_map(|all| all.get(metric));
        let means = report.models.iter().filter_map(|model| model.metrics.get(metric));
        let values = known.flat_map(|range| [range.low, range.high]);
        let values =
            values.chain(means.map(|spread| spread.mean)).filter(|value| value.is_finite());
        let (low, high) =
            values.fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        Self { metric, low, high }
    }

    /// Percent of the width.
    fn at(&self, value: f64) -> f64 {
        let wide = self.high - self.low;
        if wide > 0.0 { (100.0 * (value - self.low) / wide).clamp(0.0, 100.0) } else { 0.0 }
    }

    /// A bar from 0 to the mean with its interval: for the eye, the numbers stand beside it.
    fn bar(&self, model: &ModelReport, range: Option<&Interval>) -> Markup {
        let Some(mean) = model.metrics.get(self.metric).map(|spread| spread.mean) else {
            return html! {};
        };
        let (zero, end) = (self.at(0.0), self.at(mean));
        let style = |from: f64, to: f64| {
            format!("left:{:.1}%;width:{:.1}%", from.min(to), (to - from).abs())
        };
        html! {
            span.bar aria-hidden="true" {
                i style=(style(zero, end)) {}
                @if let Some(range) = range { b style=(style(self.at(range.low), self.at(range.high))) {} }
            }
        }
    }
}
