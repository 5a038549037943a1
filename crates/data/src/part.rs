//! The parts that a log is split into.

use serde::{Deserialize, Serialize};

/// The part of a split that an interaction belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Models are fitted on it.
    #[default]
    Train,
    /// Hyper-parameters and the number of epochs are chosen on it.
    Valid,
    /// Results are reported on it.
    Test,
    /// In none of the parts: dropped.
    Out,
}
