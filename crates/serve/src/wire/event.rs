//! Events: what users did.

use super::id::Id;
use super::json::objects;
use super::time::EventTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A user acted on an item: an event as it is kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The user.
    pub user: Id,
    /// The item. Items that no model knows are stored too: the next model may know them.
    pub item: Id,
    /// Unix time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// The weight of the interaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
    /// Identifies the event among the user's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Id>,
}

/// A user acted on an item.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event)]
pub(crate) struct NewEvent {
    /// The user.
    user: Id,
    /// The item. Items that no model knows are stored too: the next model may know them.
    item: Id,
    /// The time. The default is the time of arrival.
    time: Option<EventTime>,
    /// The weight of the interaction.
    weight: Option<f32>,
    /// Identifies the event among the user's events: a repeated key is acknowledged again but not stored
    /// twice. An event without a key is always new.
    key: Option<Id>,
}

impl From<NewEvent> for Event {
    fn from(NewEvent { user, item, time, weight, key }: NewEvent) -> Self {
        Self { user, item, time: time.map(|time| time.0), weight, key }
    }
}

/// Events, in the order in which they happened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBatch {
    /// Either all are stored or none.
    #[serde(deserialize_with = "objects")]
    pub events: Vec<NewEvent>,
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
