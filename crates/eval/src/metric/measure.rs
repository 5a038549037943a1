//! The value of a metric.

use serde::{Deserialize, Serialize};

/// The value of a metric, per case or for all cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// One value per case, in the outcome's order.
    PerCase(Vec<f64>),
    /// One value for all cases together.
    Whole(f64),
}

impl Measure {
    /// The mean over all cases, summed in their order; 0 without cases.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Self::PerCase(values) => mean(values),
            Self::Whole(value) => *value,
        }
    }

    /// The values by case, if the metric has one per case.
    #[must_use]
    pub fn per_case(&self) -> Option<&[f64]> {
        match self {
            Self::PerCase(values) => Some(values),
            Self::Whole(_) => None,
        }
    }
}

/// The mean, summed from first to last; 0 of no values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().fold(0.0, |sum, value| sum + value) / values.len() as f64
}
