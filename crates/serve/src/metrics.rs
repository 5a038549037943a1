//! What is counted and timed, for Prometheus: in the OpenMetrics text format at `/metrics`.

use crate::challenger::Compared;
use crate::snapshot::Snapshot;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::Ordering;
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
    overlap: Family<TrialLabels, Histogram, fn() -> Histogram>,
    rbo: Family<TrialLabels, Histogram, fn() -> Histogram>,
    slower: Family<TrialLabels, Histogram, fn() -> Histogram>,
    models: Family<ModelLabels, Gauge>,
    searched: Family<TableLabels, Counter>,
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
    /// The rung that answered.
    pub rung: &'static str,
}

#[cfg(feature = "otlp")]
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct SpanLabels {
    /// `sent`, `refused` by the collector (or it was too slow, or not there) or `dropped` because too many waited.
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
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rankstill");
        // 0.1 ms to 3.3 s, each twice the one before.
        let timed: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-4, 2.0, 16));
        let requests = Family::new_with_constructor(timed);
        let help = "From a request's head to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, requests.clone());
        let events = Family::default();
        registry.register("events", "Events that were acknowledged", events.clone());
        let swaps = Family::default();
        registry.register("swaps", "Other versions that were asked for", swaps.clone());
        let degraded = Family::default();
        registry.register("degraded", "Answers that were not the model's", degraded.clone());
        #[cfg(feature = "otlp")]
        let spans = Family::default();
        #[cfg(feature = "otlp")]
        registry.register("spans", "Spans of requests", spans.clone());
        let share: fn() -> Histogram = || Histogram::new((0..=20).map(|i| f64::from(i) / 20.0));
        let overlap = Family::new_with_constructor(share);
        let help = "Share of items that are in both answers of a trial";
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
        let slower = Family::new_with_constructor(difference);
        let help =
            "By how much the tried model computes longer than the one that it is tried against";
        registry.register_with_unit("trial_slower", help, Unit::Seconds, slower.clone());
        let waiting = Gauge::default();
        registry.register("waiting", "Requests that wait to be computed", waiting.clone());
        let models = Family::default();
        registry.register("model", "Models that are served", models.clone());
        let (searched, rescored) = (Family::default(), Family::default());
        let help = "Queries that were answered from the item table, checks included";
        registry.register("table_queries", help, searched.clone());
        let help = "Items of the table's shortlists that were scored from the full vectors";
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
            overlap,
            rbo,
            slower,
            models,
            searched,
            rescored,
        }
    }

    /// One comparison of a trial; `took` by the first model and by the one that is tried.
    pub fn trial(&self, model: &str, compared: Compared, took: [Duration; 2]) {
        let labels = TrialLabels { model: model.into() };
        self.overlap.get_or_create(&labels).observe(compared.overlap);
        self.rbo.get_or_create(&labels).observe(compared.rbo);
        self.slower.get_or_create(&labels).observe(took[1].as_secs_f64() - took[0].as_secs_f64());
    }

    pub fn request(&self, method: &str, route: &str, status: u16, model: &str, took: Duration) {
        let labels = RequestLabels {
            method: method.into(),
            route: route.into(),
            status,
            model: model.into(),
        };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The page that Prometheus reads; `models` are those that are served now.
    pub fn page<'a>(&self, models: impl Iterator<Item = &'a Snapshot>, waiting: usize) -> String {
        self.waiting.set(waiting as i64);
        self.models.clear();
        self.searched.clear();
        self.rescored.clear();
        for one in models {
            let (model, version) = (one.name.clone(), one.version.clone());
            let kind = one.manifest.kind.clone();
            self.models.get_or_create(&ModelLabels { model, version, kind }).set(1);
            if let Some(used) = one.table_use() {
                let (model, version) = (one.name.clone(), one.version.clone());
                let labels = TableLabels { model, version, table: used.precision.name() };
                let set = |family: &Family<TableLabels, Counter>, value: u64| {
                    family.get_or_create(&labels).inner().store(value, Ordering::Relaxed);
                };
                set(&self.searched, used.queries);
                set(&self.rescored, used.rescored);
            }
        }
        let mut page = String::new();
        _ = text::encode(&mut page, &self.registry); // into a string it cannot fail
        page
    }
}

/// A method, if it is one: what a client makes up is not a label, because every label is a series that is kept.
pub(crate) fn known(method: &str) -> &str {
    match method {
        "GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH" => method,
        _ => OTHER,
    }
}

/// Instead of what a client makes up.
pub(crate) const OTHER: &str = "other";
