//! What a server reports about itself: metrics, and spans of requests.

mod metrics;
#[cfg(feature = "otlp")]
mod traces;

pub(crate) use metrics::{
    DegradedLabels, EventLabels, Metrics, OTHER, SwapLabels, label, method_label,
};
#[cfg(feature = "otlp")]
pub use traces::SpanExporter;
#[cfg(feature = "otlp")]
pub(crate) use traces::{RequestSpan, SpanEnd};
