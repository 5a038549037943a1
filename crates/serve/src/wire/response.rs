//! Answers: recommendations, similar items and search results.

use super::id::Id;
use super::problem::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Recommended items.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Recommendations {
    /// The user of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Id>,
    /// The model that answered.
    pub model: String,
    /// Its version. The same version gives the same answer to the same request.
    pub version: String,
    /// What the answer is based on.
    pub basis: Basis,
    /// Best first.
    pub items: Vec<Recommended>,
    /// Items of the request's history that the model does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_items: Vec<Id>,
    /// Set if the model could not answer in time: which fallback answered instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<FallbackRung>,
}

/// Fallbacks for a model that cannot answer, best first.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Rung)]
pub enum FallbackRung {
    /// The user's previous recommendations.
    Cached,
    /// Items similar to the last ones in the history.
    ItemToItem,
    /// The most popular items.
    Popular,
}

impl FallbackRung {
    /// The name in JSON, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::ItemToItem => "item_to_item",
            Self::Popular => "popular",
        }
    }
}

/// What an answer is based on.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What the model learnt about the user in training.
    User,
    /// What the model learnt about the user, and the user's history.
    UserAndHistory,
    /// The history alone: the user's representation is computed from it.
    History,
    /// Nothing is known about the user: the most popular items, scored by their number of interactions in training.
    Popular,
}

/// A recommended item.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Recommended {
    /// The item's id.
    pub item: Id,
    /// Larger is better. Scores can be compared only within one answer.
    pub score: f32,
    /// The item's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The item's attributes and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Vec<String>>,
    /// The items of the history that are most similar to this one, most similar first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Because>,
}

/// An item of the history that is similar to a recommended item.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Because {
    /// The item's id.
    pub item: Id,
    /// The similarity, as `similar` scores it.
    pub likeness: f32,
    /// The item's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Answers to a batch, in the order of its requests.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// Entry *i* answers request *i*.
    pub answers: Vec<OneAnswer>,
}

/// Recommendations, or the problem with the request.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneAnswer {
    /// The request was answered.
    Recommendations(Recommendations),
    /// The request could not be answered.
    Problem(Problem),
}

/// The items most similar to one item.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Similar {
    /// The item of the request.
    pub item: Id,
    /// The model that answered.
    pub model: String,
    /// Its version.
    pub version: String,
    /// What the scores measure.
    pub likeness: String,
    /// Most similar first.
    pub items: Vec<Recommended>,
}

/// Items found by their titles.
#[derive(Serialize, ToSchema)]
#[schema(as = Found)]
pub(crate) struct SearchResult {
    /// Titles that begin with the search text first; within both groups, popular items first.
    pub items: Vec<FoundItem>,
}

/// An item with a title.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundItem {
    /// The item's id.
    pub item: Id,
    /// The item's title.
    pub title: String,
}
