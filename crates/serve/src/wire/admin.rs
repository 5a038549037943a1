//! What administrators send and receive.

use super::trial::{TrialConfig, TrialReport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Another version of a model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SwapRequest {
    /// The artefact's folder on the server.
    pub artefact: String,
}

/// A second model to try.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialRequest {
    /// The artefact's folder on the server.
    pub artefact: String,
    /// The settings of the trial.
    pub trial: TrialConfig,
}

/// The version that answers now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Swapped {
    /// The model's name.
    pub model: String,
    /// The version that answers now.
    pub version: String,
    /// The version that answered before; `rollback` restores it.
    pub previous: String,
    /// Seconds to load, check and warm the new version.
    pub seconds: f64,
}

/// A trial, when it begins or ends.
#[derive(Serialize, ToSchema)]
pub(crate) struct TrialState {
    /// The model's name.
    pub model: String,
    /// The version on trial.
    pub version: String,
    /// The results so far.
    pub report: TrialReport,
}
