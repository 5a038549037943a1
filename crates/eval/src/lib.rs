//! Evaluation of rankers: how well they rank, how certain a difference is, how fast they answer, and reports
//! of all that.
//!
//! Nothing here opens a file: models, cases and texts come in; numbers, tables and texts go out.

pub mod compare;
pub mod efficiency;
pub mod error;
pub mod groups;
pub mod metric;
pub mod report;
pub mod significance;

pub use compare::{Comparison, ComparisonOptions};
pub use efficiency::{Latency, LatencyBudget, Machine};
pub use error::{Error, Result};
pub use metric::{Dialect, Direction, METRICS, Measure, Metric, Needs, Outcome};
pub use report::{GroupReport, ModelReport, Report, Role, TrainingCost};
pub use significance::{Spread, spread};
