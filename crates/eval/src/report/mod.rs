//! What a run found, for machines (`report.json`), for people (`report.md`) and for the terminal.

pub mod chart;
pub mod figure;
mod markdown;
mod table;

pub use table::Table;

use crate::compare::Comparison;
use crate::efficiency::{Latency, Machine};
use crate::metric::{Dialect, Direction, Metric};
use crate::significance::Spread;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that a run found. As JSON it is `report.json`; fields may be added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Of the page.
    pub title: String,
    /// Of the program that made it.
    pub version: String,
    /// The fully resolved settings.
    pub settings: Value,
    /// What it was measured on: statistics, hashes.
    pub data: Value,
    /// Cases measured.
    pub cases: usize,
    /// One a repetition.
    pub seeds: Vec<u64>,
    /// Whose metrics.
    pub dialect: Dialect,
    /// What exactly each metric is, in the order of the tables.
    pub definitions: Vec<Definition>,
    /// Where the times were taken.
    pub machine: Option<Machine>,
    /// What else a reader must know.
    pub notes: Vec<String>,
    /// In the order of the tables.
    pub models: Vec<ModelReport>,
    /// Paired tests over the cases.
    pub comparisons: Vec<Comparison>,
    /// The same metrics on parts of the cases.
    pub groups: Vec<GroupReport>,
    /// What was drawn besides the table.
    pub figures: Vec<FigureReport>,
}

/// A figure of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FigureReport {
    /// As in the experiment.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// Where it lies, within the run's folder.
    pub svg: String,
    /// Where its numbers lie.
    pub tsv: String,
}

/// What exactly a metric is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name.
    pub metric: String,
    /// As a sentence.
    pub definition: String,
    /// Which way is better.
    pub direction: Direction,
}

/// One model of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelReport {
    /// As in the experiment.
    pub name: String,
    /// As in the registry: `bpr_mf`.
    pub kind: String,
    /// What it is there for.
    pub role: Role,
    /// Who taught it.
    pub teachers: Vec<String>,
    /// By what: `rd`.
    pub distiller: Option<String>,
    /// Numbers that were learnt or counted.
    pub parameters: u64,
    /// Those as a share of its (largest) teacher's; of a student alone, of the teacher of the same student when it is taught.
    pub parameters_ratio: Option<f64>,
    /// Of the artefact on disk.
    pub bytes: u64,
    /// Held when it serves, where that is known.
    pub bytes_in_memory: Option<u64>,
    /// By name.
    pub metrics: BTreeMap<String, Spread>,
    /// Each metric's mean as a share of the teacher's (of the best, where there are several).
    pub kept: BTreeMap<String, f64>,
    /// What it costs to ask, where it was measured.
    pub latency: Option<Latency>,
    /// The optimiser and its mode: they give different models.
    pub optimizer: Option<String>,
    /// What it cost to train, per seed the same plan.
    pub training: Option<Training>,
    /// Where it lies, within the run's folder.
    pub artefact: Option<String>,
    /// Where its rankings lie, within the run's folder.
    pub rankings: Option<String>,
}

/// What a model is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To compare with.
    #[default]
    Baseline,
    /// Teaches.
    Teacher,
    /// Small, and learns alone.
    Student,
    /// Small, and is taught.
    Distilled,
}

impl Role {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Teacher => "teacher",
            Self::Student => "student alone",
            Self::Distilled => "distilled student",
        }
    }
}

/// What training took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Of the clock, mean over the seeds.
    pub seconds: f64,
    /// Epochs that were run, mean over the seeds.
    pub epochs: f64,
}

/// The metrics of all models on a part of the cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Such as `unpopular items`.
    pub name: String,
    /// What it holds.
    pub definition: String,
    /// Cases.
    pub cases: usize,
    /// By model and metric.
    pub models: BTreeMap<String, BTreeMap<String, Spread>>,
}

impl Report {
    /// What exactly the metrics are.
    pub fn define(&mut self, dialect: Dialect, metrics: &[Box<dyn Metric>]) {
        self.dialect = dialect;
        let definition = |metric: &dyn Metric| Definition {
            metric: metric.name(),
            definition: metric.definition(),
            direction: metric.direction(),
        };
        self.definitions = metrics.iter().map(|metric| definition(&**metric)).collect();
    }

    /// Fills in what each taught model kept of its teachers' quality: for every metric of which more is better, its mean over
    /// the best teacher's mean.
    pub fn fill_kept(&mut self) {
        let mut all: Vec<BTreeMap<String, f64>> = Vec::new();
        for model in &self.models {
            let teachers = || self.models.iter().filter(|m| model.teachers.contains(&m.name));
            let higher = self.definitions.iter().filter(|d| d.direction == Direction::Higher);
            let kept = higher.filter_map(|definition| {
                let of = |m: &ModelReport| m.metrics.get(&definition.metric).map(|s| s.mean);
                let best = teachers().filter_map(of).max_by(f64::total_cmp)?;
                (best > 0.0).then_some((definition.metric.clone(), of(model)? / best))
            });
            all.push(kept.collect());
        }
        for (model, kept) in self.models.iter_mut().zip(all) {
            model.kept = kept;
        }
    }

    /// For the end of a run, on the terminal.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut out = self.quality().text();
        out.push('\n');
        out.push_str(&self.cost().text());
        if !self.comparisons.is_empty() {
            out.push('\n');
            out.push_str(&comparisons(&self.comparisons).text());
        }
        out
    }

    /// For people: `report.md`.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::page(self)
    }

    /// Quality against time against size, as SVG; nothing unless two models at least have the metric and a latency.
    #[must_use]
    pub fn tradeoff(&self, metric: &str) -> Option<String> {
        let bubble = |model: &ModelReport| {
            let x = model.latency.as_ref()?.all_users_seconds;
            let y = model.metrics.get(metric)?.mean;
            let (size, group) = (model.parameters as f64, model.role.name().to_owned());
            Some(chart::Bubble { label: model.name.clone(), x, y, size, group })
        };
        let bubbles: Vec<_> = self.models.iter().filter_map(bubble).collect();
        if bubbles.len() < 2 {
            return None;
        }
        let k = self.models.iter().find_map(|m| m.latency.as_ref()).map_or(0, |l| l.k);
        let x = chart::Axis::log(format!("seconds to recommend {k} items to all users"));
        let y = chart::Axis::linear(metric);
        Some(chart::tradeoff("Quality, time and size", &x, &y, "parameters", &bubbles))
    }

    /// Models by metrics, mean and deviation, with what was kept of the first metric.
    fn quality(&self) -> Table {
        let metrics: Vec<&Definition> = self.definitions.iter().collect();
        let first = metrics.iter().find(|d| d.direction == Direction::Higher);
        let kept =
            first.filter(|first| self.models.iter().any(|m| m.kept.contains_key(&first.metric)));
        let mut head = vec!["model".to_owned()];
        head.extend(metrics.iter().map(|d| d.metric.clone()));
        head.extend(kept.map(|d| format!("{} kept", d.metric)));
        let mut table = Table::new(head);
        for model in &self.models {
            let mut row = vec![model.name.clone()];
            row.extend(
                metrics.iter().map(|d| model.metrics.get(&d.metric).map_or(String::new(), value)),
            );
            row.extend(
                kept.map(|d| model.kept.get(&d.metric).map_or(String::new(), |k| percent(*k))),
            );
            table.push(row);
        }
        for (at, d) in metrics.iter().enumerate() {
            let of = |m: &ModelReport| m.metrics.get(&d.metric).map(|spread| spread.mean);
            table.mark_best(at + 1, &self.models.iter().map(of).collect::<Vec<_>>(), d.direction);
        }
        table
    }

    /// Models by size and time.
    fn cost(&self) -> Table {
        let k = self.models.iter().find_map(|m| m.latency.as_ref()).map(|l| l.k);
        let mut head: Vec<String> =
            ["model", "role", "parameters", "of teacher", "on disk"].map(str::to_owned).to_vec();
        let ratio = self.models.iter().any(|m| m.parameters_ratio.is_some());
        if !ratio {
            head.remove(3);
        }
        let trained = self.models.iter().any(|m| m.training.is_some());
        if trained {
            head.extend(["training", "epochs"].map(str::to_owned));
        }
        if let Some(k) = k {
            head.push(format!("top-{k} for all"));
            head.push("request median".into());
            head.push("request p99".into());
        }
        let mut table = Table::new(head);
        for model in &self.models {
            let mut row =
                vec![model.name.clone(), model.role.name().to_owned(), thousands(model.parameters)];
            if ratio {
                row.push(model.parameters_ratio.map_or(String::new(), percent));
            }
            row.push(bytes(model.bytes));
            if trained {
                row.extend(match &model.training {
                    None => [String::new(), String::new()],
                    Some(t) => [seconds(t.seconds), chart::number(t.epochs)],
                });
            }
            if k.is_some() {
                row.extend(match &model.latency {
                    None => [String::new(), String::new(), String::new()],
                    Some(l) => [
                        seconds(l.all_users_seconds),
                        seconds(l.request_ms.median / 1e3),
                        seconds(l.request_ms.p99 / 1e3),
                    ],
                });
            }
            table.push(row);
        }
        table
    }
}

/// Pairs of models by difference and p-values.
#[must_use]
pub fn comparisons(all: &[Comparison]) -> Table {
    let level = all.first().map_or(0.95, |one| one.interval.level) * 100.0;
    let mut table = Table::new([
        "metric".into(),
        "model".into(),
        "against".into(),
        "mean".into(),
        "mean of other".into(),
        "difference".into(),
        format!("{level}% interval"),
        "t-test p".into(),
        "Holm".into(),
        "Wilcoxon p".into(),
        "effect d".into(),
    ]);
    for one in all {
        table.push([
            one.metric.clone(),
            one.a.clone(),
            one.b.clone(),
            format!("{:.4}", one.mean_a),
            format!("{:.4}", one.mean_b),
            format!("{:+.4}", one.difference),
            format!("{:+.4} to {:+.4}", one.interval.low, one.interval.high),
            p_value(one.t_test.p),
            one.p_adjusted.map_or(String::new(), p_value),
            p_value(one.wilcoxon.p),
            format!("{:+.3}", one.t_test.effect),
        ]);
    }
    table
}

/// `0.1234` or `0.1234 ± 0.0012`; large numbers (popularity) with fewer places.
fn value(spread: &Spread) -> String {
    let places = if spread.mean.abs() >= 10.0 { 1 } else { 4 };
    match spread.deviation {
        None => format!("{:.places$}", spread.mean),
        Some(deviation) => format!("{:.places$} ± {deviation:.places$}", spread.mean),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn p_value(p: f64) -> String {
    match p {
        // Below the smallest double it is 0, and nothing is certain.
        ..1e-300 => "< 1e-300".into(),
        ..1e-4 => format!("{p:.0e}"),
        _ => format!("{p:.4}"),
    }
}

/// `1,234,567`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (n.max(1).ilog2() / 10).min(4);
    if unit == 0 {
        return format!("{n} B");
    }
    format!("{:.1} {}", n as f64 / 1024f64.powi(unit as i32), UNITS[unit as usize])
}

fn seconds(s: f64) -> String {
    match s {
        _ if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        _ if s < 1.0 => format!("{:.2} ms", s * 1e3),
        _ if s < 600.0 => format!("{s:.2} s"),
        _ => format!("{:.1} min", s / 60.0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::compare::{Comparing, adjust, compare};
    use crate::metric::parse_all;
    use crate::significance::spread;

    #[test]
    fn p_values_are_never_certain() {
        let told = [0.0, 3.2e-80, 0.00012, 1.0].map(p_value);
        assert_eq!(told, ["< 1e-300", "3e-80", "0.0001", "1.0000"]);
    }

    fn report() -> Report {
        let metrics = parse_all(&["ndcg@10", "map", "gini@10"], Dialect::Rd).unwrap();
        let mut report =
            Report { title: "A <run>".into(), cases: 4, seeds: vec![1, 2], ..Report::default() };
        report.define(Dialect::Rd, &metrics);
        let model = |name: &str, role, values: [f64; 2], teachers: &[&str], seconds| ModelReport {
            name: name.into(),
            kind: "bpr_mf".into(),
            role,
            teachers: teachers.iter().map(|t| (*t).to_owned()).collect(),
            parameters: 1_234_567,
            bytes: 5_000_000,
            metrics: [("ndcg@10", values), ("map", values), ("gini@10", [0.5, 0.7])]
                .map(|(name, values)| (name.to_owned(), spread(&values)))
                .into(),
            latency: Some(Latency { k: 10, all_users_seconds: seconds, ..Latency::default() }),
            ..ModelReport::default()
        };
        report.models = vec![
            model("teacher", Role::Teacher, [0.2, 0.2], &[], 2.0),
            model("alone", Role::Student, [0.1, 0.12], &[], 0.5),
            model("taught", Role::Distilled, [0.15, 0.17], &["teacher"], 0.5),
        ];
        report.fill_kept();
        let (a, b) = ([0.2, 0.3, 0.1, 0.2], [0.1, 0.25, 0.1, 0.05]);
        report.comparisons =
            vec![compare("ndcg@10", ("taught", &a), ("alone", &b), &Comparing::default()).unwrap()];
        adjust(&mut report.comparisons);
        report
    }

    #[test]
    fn the_report_comes_back_from_json_as_it_went_in() {
        let report = report();
        let json = serde_json::to_string_pretty(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        let value: Value = serde_json::from_str(&json).unwrap();
        let taught = &value["models"][2];
        assert_eq!(taught["name"], "taught");
        assert_eq!(taught["metrics"]["ndcg@10"]["values"].as_array().unwrap().len(), 2);
        assert!((taught["metrics"]["ndcg@10"]["mean"].as_f64().unwrap() - 0.16).abs() < 1e-12);
        assert!((taught["kept"]["ndcg@10"].as_f64().unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(taught["parameters"], 1_234_567);
        assert!(taught["kept"].get("gini@10").is_none());
    }

    #[test]
    fn the_page_says_what_its_numbers_are() {
        let page = report().markdown();
        assert!(page.starts_with("# A <run>\n") || page.starts_with("# A &lt;run&gt;\n"));
        for expected in
            ["**0.2000 ± 0.0000**", "80.0%", "`ndcg@10`", "first k only", "1,234,567", "4.8 MiB"]
        {
            assert!(page.contains(expected), "{expected} is not in\n{page}");
        }
    }

    #[test]
    fn the_terminal_shows_models_metrics_and_tests() {
        let text = report().terminal();
        for expected in ["taught", "0.1600 ± 0.0141", "ndcg@10 kept", "Holm", "500.00 ms"] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn a_trade_off_needs_two_models() {
        let mut report = report();
        assert!(report.tradeoff("ndcg@10").unwrap().contains(">taught</text>"));
        assert!(report.tradeoff("recall@1").is_none());
        report.models.truncate(1);
        assert!(report.tradeoff("ndcg@10").is_none());
    }

    #[test]
    fn sizes_and_times_are_read_at_a_glance() {
        assert_eq!((thousands(999), thousands(1000)), ("999".into(), "1,000".into()));
        assert_eq!((bytes(512), bytes(1536)), ("512 B".into(), "1.5 KiB".into()));
        assert_eq!((seconds(0.00005), seconds(2.0)), ("50.0 µs".into(), "2.00 s".into()));
    }
}
