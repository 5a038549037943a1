//! Requests for recommendations, similar items and titles.

use super::id::Id;
use super::json::objects;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A request for recommendations: for a user, for a history, or for both. All fields are optional.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The user to recommend to.
    pub user: Option<Id>,
    /// What the user did beyond what the server already knows, oldest first; for example, the current
    /// session. Items that the model does not know are ignored and listed in `unknown_items`.
    pub history: Vec<Id>,
    /// Maximum number of items. The default is 10, or the server's limit if that is smaller.
    #[schema(minimum = 1)]
    pub k: Option<usize>,
    /// Also recommend items that the user has already seen.
    pub with_seen: bool,
    /// Recommend only these items.
    pub allow: Option<Vec<Id>>,
    /// Never recommend these items.
    pub deny: Vec<Id>,
    /// Recommend only items that have, for every attribute named here, one of its listed values.
    pub filter: BTreeMap<String, Vec<String>>,
    /// With each item, return up to this many items of the history that are most similar to it.
    pub explain: usize,
    /// The model to use. The default is the first one.
    pub model: Option<String>,
}

/// Several requests at once.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// Each is answered on its own.
    #[serde(deserialize_with = "objects")]
    pub requests: Vec<Request>,
}

/// Parameters of `GET /v1/users/{id}/recommendations`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UserParams {
    /// Maximum number of items. The default is 10, or the server's limit if that is smaller.
    #[param(minimum = 1)]
    pub k: Option<usize>,
    /// Also recommend items that the user has already seen.
    pub with_seen: Option<bool>,
    /// With each item, return up to this many items of the history that are most similar to it.
    pub explain: Option<usize>,
    /// The model to use. The default is the first one.
    pub model: Option<String>,
}

/// Parameters of `GET /v1/items/{id}/similar`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SimilarParams {
    /// Maximum number of items. The default is 10, or the server's limit if that is smaller.
    #[param(minimum = 1)]
    pub k: Option<usize>,
    /// The model to use. The default is the first one.
    pub model: Option<String>,
}

/// Parameters of `GET /v1/items`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// Text that the title contains; upper and lower case are the same.
    #[param(required = true)]
    pub search: String,
    /// Maximum number of items. The default is 10, or the server's limit if that is smaller.
    #[param(minimum = 1)]
    pub k: Option<usize>,
    /// The model whose catalogue is searched. The default is the first one.
    pub model: Option<String>,
}
