//! Events: what users did.

use super::id::Id;
use super::json::objects;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A user acted on an item.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The user.
    pub user: Id,
    /// The item. Items that no model knows are stored too: the next model may know them.
    pub item: Id,
    /// Unix time in seconds. The default is the time of arrival.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// The weight of the interaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
    /// Identifies the event among the user's events: a repeated key is acknowledged again but not stored
    /// twice. An event without a key is always new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Id>,
}

/// Events, in the order in which they happened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBatch {
    /// Either all are stored or none.
    #[serde(deserialize_with = "objects")]
    pub events: Vec<Event>,
}

/// The events are stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct Appended {
    /// Number of new events.
    pub kept: usize,
    /// Number of events that were stored before: same user, same key.
    pub repeated: usize,
}

/// The user is forgotten.
#[derive(Serialize, ToSchema)]
pub(crate) struct Forgotten {
    /// The user.
    pub user: Id,
    /// Number of events that were deleted.
    pub events: u64,
}

/// Parameters of `GET /admin/events`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportParams {
    /// Return events that arrived after this number.
    pub after: u64,
    /// Maximum number of events. The default is 65,536.
    #[param(minimum = 1, maximum = 65536)]
    pub limit: Option<usize>,
}
