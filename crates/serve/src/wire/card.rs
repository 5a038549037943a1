//! Descriptions of the models that are served.

use super::trial::{TrialConfig, TrialReport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The models that are served.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ModelList {
    /// The first one answers requests that name no model.
    pub models: Vec<ModelCard>,
}

/// A model that is served.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ModelCard {
    /// The name that requests use.
    pub name: String,
    /// The version that answers now.
    pub version: String,
    /// The kind of model, for example `bpr_mf`.
    pub kind: String,
    /// Number of users in the training data.
    pub users: usize,
    /// Number of items in the catalogue.
    pub items: usize,
    /// Number of parameters, learnt or counted.
    pub parameters: usize,
    /// Total size of its files.
    pub bytes: u64,
    /// Whether an answer is one pass over an item table.
    pub factored: bool,
    /// Number format of the item table during search: `f32`, `f16` or `int8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Bytes of that table in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_bytes: Option<usize>,
    /// The graph for approximate search, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphCard>,
    /// Number of items with a title.
    pub titles: usize,
    /// Attributes that requests can filter by.
    pub attributes: Vec<String>,
    /// What its experiment recorded: data, metrics, teachers.
    #[schema(value_type = Object)]
    pub card: serde_json::Value,
    /// The version that `rollback` would restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// A second model on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<ChallengerCard>,
}

/// A graph (HNSW) for approximate search.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct GraphCard {
    /// Recall against exact search, measured on a few hundred users.
    pub recall: f64,
    /// Length of the lists that were compared.
    pub recall_at: usize,
    /// Number of candidates that a search keeps (HNSW's `ef`).
    pub reach: usize,
    /// Size in memory.
    pub bytes: usize,
    /// Seconds to build it.
    pub built_in_seconds: f64,
}

/// A model on trial.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ChallengerCard {
    /// Its version.
    pub version: String,
    /// The kind of model.
    pub kind: String,
    /// The settings of the trial.
    pub trial: TrialConfig,
    /// The results so far.
    pub report: TrialReport,
}
