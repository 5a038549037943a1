//! Counters and timings for Prometheus, in the OpenMetrics text format at `/metrics`.

use crate::model::{Agreement, Snapshot};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    pub events: Family<EventLabels, Counter>,
    pub swaps: Family<SwapLabels, Counter>,
    pub degraded: Family<DegradedLabels, Counter>,
    #[cfg(feature = "otlp")]
    pub spans: Family<SpanLabels, Counter>,
    waiting: Gauge,
    dropped: (Arc<AtomicU64>, Counter),
    overlap: Family<TrialLabels, Histogram, fn() -> Histogram>,
    rbo: Family<TrialLabels, Histogram, fn() -> Histogram>,
    latency_gap: Family<TrialLabels, Histogram, fn() -> Histogram>,
    models: Family<ModelLabels, Gauge>,
    queries: Family<TableLabels, Counter>,
    rescored: Family<TableLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct EventLabels {
    /// `kept` or `repeated`.
    pub outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct SwapLabels {
    pub model: String,
    /// `swapped`, `refused`, `rolled_back` or `ended_by_guard`.
    pub outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct DegradedLabels {
    pub model: String,
    /// The rung of the fallback ladder.
    pub rung: &'static str,
}

#[cfg(feature = "otlp")]
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct SpanLabels {
    /// `sent`, `refused` (the collector refused it, was too slow or was down) or `dropped` (the queue was full).
    pub outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TrialLabels {
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TableLabels {
    model: String,
    version: String,
    table: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
    version: String,
    kind: String,
}

impl Metrics {
    /// `dropped` counts lines of the log.
    pub fn new(dropped: Arc<AtomicU64>) -> Self {
        let mut registry = Registry::with_prefix("rankstill");
        // 0.1 ms to 3.3 s, doubling.
        let timed: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-4, 2.0, 16));
        let requests = Family::new_with_constructor(timed);
        let help = "Time from the head of a request to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, requests.clone());
        let events = Family::default();
        registry.register("events", "Acknowledged events", events.clone());
        let swaps = Family::default();
        registry.register("swaps", "Swaps and rollbacks of models", swaps.clone());
        let degraded = Family::default();
        registry.register(
            "degraded",
            "Answers by a fallback instead of the model",
            degraded.clone(),
        );
        #[cfg(feature = "otlp")]
        let spans = Family::default();
        #[cfg(feature = "otlp")]
        registry.register("spans", "Spans of requests, by what became of them", spans.clone());
        let share: fn() -> Histogram = || Histogram::new((0..=20).map(|i| f64::from(i) / 20.0));
        let overlap = Family::new_with_constructor(share);
        let help = "Share of items that both answers of a trial have in common";
        registry.register("trial_overlap", help, overlap.clone());
        let rbo = Family::new_with_constructor(share);
        registry.register(
            "trial_rbo",
            "Rank-biased overlap (p = 0.9) of both answers of a trial",
            rbo.clone(),
        );
        let difference: fn() -> Histogram = || {
            let steps = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0];
            Histogram::new(steps.iter().rev().map(|x| -x).chain([0.0]).chain(steps.iter().copied()))
        };
        let latency_gap = Family::new_with_constructor(difference);
        let help = "Latency of the challenger minus latency of the current model";
        registry.register_with_unit("trial_slower", help, Unit::Seconds, latency_gap.clone());
        let waiting = Gauge::default();
        registry.register("waiting", "Requests that wait for a scoring thread", waiting.clone());
        let dropped = (dropped, Counter::default());
        let help = "Lines of the log that nobody took in time";
        registry.register("log_lines_dropped", help, dropped.1.clone());
        let models = Family::default();
        registry.register("model", "Models that are served", models.clone());
        let (queries, rescored) = (Family::default(), Family::default());
        let help = "Queries answered from the item table, including checks";
        registry.register("table_queries", help, queries.clone());
        let help = "Items from the table's shortlists that were rescored from the full vectors";
        registry.register("table_rescored", help, rescored.clone());
        Self {
            registry,
            requests,
            events,
            swaps,
            degraded,
            #[cfg(feature = "otlp")]
            spans,
            waiting,
            dropped,
            overlap,
            rbo,
            latency_gap,
            models,
            queries,
            rescored,
        }
    }

    /// Records a comparison of a trial; `took` is the latency of the current model and of the challenger.
    pub fn trial(&self, model: &str, agreement: Agreement, took: [Duration; 2]) {
        let labels = TrialLabels { model: label(model) };
        self.overlap.get_or_create(&labels).observe(agreement.overlap);
        self.rbo.get_or_create(&labels).observe(agreement.rbo);
        self.latency_gap
            .get_or_create(&labels)
            .observe(took[1].as_secs_f64() - took[0].as_secs_f64());
    }

    pub fn request(&self, method: &str, route: &str, status: u16, model: &str, took: Duration) {
        let labels = RequestLabels {
            method: method.into(),
            route: route.into(),
            status,
            model: label(model),
        };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The page that Prometheus scrapes; `models` are those that are served now.
    pub fn page<'a>(&self, models: impl Iterator<Item = &'a Snapshot>, waiting: usize) -> String {
        self.waiting.set(waiting as i64);
        let (dropped, shown) = &self.dropped;
        shown.inner().store(dropped.load(Ordering::Relaxed), Ordering::Relaxed);
        self.models.clear();
        self.queries.clear();
        self.rescored.clear();
        for one in models {
            let (model, version) = (label(&one.name), one.version.clone());
            let kind = label(&one.manifest.kind);
            self.models.get_or_create(&ModelLabels { model, version, kind }).set(1);
            if let Some(used) = one.precision_use() {
                let (model, version) = (label(&one.name), one.version.clone());
                let labels = TableLabels { model, version, table: used.precision.name() };
                let set = |family: &Family<TableLabels, Counter>, value: u64| {
                    family.get_or_create(&labels).inner().store(value, Ordering::Relaxed);
                };
                set(&self.queries, used.queries);
                set(&self.rescored, used.rescored);
            }
        }
        let mut page = String::new();
        _ = text::encode(&mut page, &self.registry); // cannot fail for a string
        page
    }
}

/// The value of a label. The library does not escape it, and `"` would end it.
pub(crate) fn label(text: &str) -> String {
    if !text.contains(['"', '\\', '\n']) {
        return text.into();
    }
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The label of a method. Names that a client invents get no label of their own, because every label is a
/// series in memory.
pub(crate) fn method_label(method: &str) -> &str {
    match method {
        "GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH" => method,
        _ => OTHER,
    }
}

/// The label of all other methods and paths.
pub(crate) const OTHER: &str = "other";
