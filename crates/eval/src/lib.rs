//! How well a ranker ranks, how sure one can be of a difference, what it costs to ask, and how to show it.
//!
//! Nothing here opens a file: models, cases and texts come in, numbers, tables and texts go out.

pub mod compare;
pub mod efficiency;
pub mod error;
pub mod groups;
pub mod metric;
pub mod report;
pub mod significance;

pub use compare::{Comparing, Comparison};
pub use efficiency::{Budget, Latency, Machine};
pub use error::{Error, Result};
pub use metric::{Dialect, Direction, METRICS, Measure, Metric, Needs, Outcome};
pub use report::{GroupReport, ModelReport, Report, Role, Training};
pub use significance::{Spread, spread};
