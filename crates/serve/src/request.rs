//! What is asked and what is answered, as it stands on the wire. The OpenAPI document is made from these types.

use crate::challenger::{Trial, TrialReport};
use crate::limits::Limits;
use crate::problem::Problem;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// The id of a user or an item, as the training log wrote it. A whole number and its text are the same id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Id(pub String);

/// Recommendations are asked for: for a user, for a history, or for both. Fields that are left out have their defaults.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// For whom.
    pub user: Option<Id>,
    /// What they did, oldest first, beyond what the server knows of the user: this session, say. Items that the model does not
    /// know are left out and told in `unknown_items`.
    pub history: Vec<Id>,
    /// At most so many items; 10, or as many as there can be, where it is left out.
    #[schema(minimum = 1)]
    pub k: Option<usize>,
    /// Recommend what they know already, too.
    pub with_seen: bool,
    /// Nothing but these.
    pub allow: Option<Vec<Id>>,
    /// None of these.
    pub deny: Vec<Id>,
    /// Only items that have, for each attribute named here, one of the values.
    pub filter: BTreeMap<String, Vec<String>>,
    /// Say with each item so many items of the history that are most like it.
    pub explain: usize,
    /// Which model; the first one where it is left out.
    pub model: Option<String>,
}

/// Many requests at once.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// Each answered by itself.
    #[serde(deserialize_with = "objects")]
    pub requests: Vec<Request>,
}

/// Parameters of `GET /v1/users/{id}/recommendations`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserParams {
    /// At most so many items; 10, or as many as there can be, where it is left out.
    #[param(minimum = 1)]
    pub k: Option<usize>,
    /// Recommend what they know already, too.
    pub with_seen: Option<bool>,
    /// Say with each item so many items of the history that are most like it.
    pub explain: Option<usize>,
    /// Which model; the first one where it is left out.
    pub model: Option<String>,
}

/// Parameters of `GET /v1/items/{id}/similar`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SimilarParams {
    /// At most so many items; 10, or as many as there can be, where it is left out.
    #[param(minimum = 1)]
    pub k: Option<usize>,
    /// Which model; the first one where it is left out.
    pub model: Option<String>,
}

/// Parameters of `GET /v1/items`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchParams {
    /// What the title holds, whatever the case.
    #[param(required = true)]
    pub search: String,
    /// At most so many items; 10, or as many as there can be, where it is left out.
    #[param(minimum = 1)]
    pub k: Option<usize>,
    /// Of which model's catalogue; of the first one's where it is left out.
    pub model: Option<String>,
}

/// Items by their titles.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Found {
    /// Titles that begin with what was searched first, popular ones before others.
    pub items: Vec<FoundItem>,
}

/// An item with a title.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct FoundItem {
    /// Its id.
    pub item: Id,
    /// What people call it.
    pub title: String,
}

/// What is recommended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Recommendations {
    /// For whom it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Id>,
    /// Which model answered.
    pub model: String,
    /// Which version of it: the same version gives the same answer.
    pub version: String,
    /// What the answer rests on.
    pub basis: Basis,
    /// Best first.
    pub items: Vec<Recommended>,
    /// Items of the request's history that the model does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_items: Vec<Id>,
    /// Set where the model could not answer in time: what was answered instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Rung>,
}

/// What is answered when the model cannot, best first.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// What this user was told last.
    Cached,
    /// Items like those that they acted on last.
    ItemToItem,
    /// The most popular items.
    Popular,
}

impl Rung {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::ItemToItem => "item_to_item",
            Self::Popular => "popular",
        }
    }
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What the model learnt of the user.
    User,
    /// What the model learnt of the user, and what they did since.
    UserAndHistory,
    /// What they did: the user's vector is computed from the history.
    History,
    /// Nothing is known of them: the most popular items, scored by the number of users who have them.
    Popular,
}

/// A recommended item.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Recommended {
    /// Its id.
    pub item: Id,
    /// Larger is better; comparable within one answer only.
    pub score: f32,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its attributes and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Vec<String>>,
    /// The items of the history that are most like it, most alike first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Because>,
}

/// An item of the history that is like what is recommended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Because {
    /// Its id.
    pub item: Id,
    /// How like: as `similar` scores it.
    pub likeness: f32,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Answers to a batch, in the order of its requests.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// Row *i* answers request *i*.
    pub answers: Vec<OneAnswer>,
}

/// Recommendations, or what kept the server from giving them.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneAnswer {
    /// It went well.
    Recommendations(Recommendations),
    /// It did not.
    Problem(Problem),
}

/// The items most like one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Similar {
    /// Like which.
    pub item: Id,
    /// Which model answered.
    pub model: String,
    /// Which version of it.
    pub version: String,
    /// What the scores are.
    pub likeness: String,
    /// Most alike first.
    pub items: Vec<Recommended>,
}

/// A model that is served.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ModelCard {
    /// What requests call it.
    pub name: String,
    /// The version that answers.
    pub version: String,
    /// Which recipe.
    pub kind: String,
    /// Users that it was trained on.
    pub users: usize,
    /// Items of its catalogue.
    pub items: usize,
    /// Numbers that were learnt or counted.
    pub parameters: usize,
    /// Its files' size.
    pub bytes: u64,
    /// Whether an answer is one pass over an item table.
    pub factored: bool,
    /// What the item table is kept in while it is searched: `f32`, `f16` or `int8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Bytes of that table in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_bytes: Option<usize>,
    /// The graph that finds most of the best items where not all are looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphCard>,
    /// Items with a title.
    pub titles: usize,
    /// Attributes to filter by.
    pub attributes: Vec<String>,
    /// What its experiment wrote down: the data, the metrics, the teachers.
    #[schema(value_type = Object)]
    pub card: serde_json::Value,
    /// The version that `rollback` would bring back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// A second model that is tried beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<ChallengerCard>,
}

/// A graph (HNSW) that items are searched in approximately.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct GraphCard {
    /// Share of the exact answers to a few hundred users that it finds.
    pub recall: f64,
    /// Items in those answers.
    pub recall_at: usize,
    /// Items that a search keeps in view.
    pub reach: usize,
    /// In memory.
    pub bytes: usize,
    /// Seconds that building it took.
    pub built_in_seconds: f64,
}

/// A model that is tried beside another.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ChallengerCard {
    /// Its version.
    pub version: String,
    /// Which recipe.
    pub kind: String,
    /// How it is tried.
    pub trial: Trial,
    /// How it goes.
    pub report: TrialReport,
}

/// The models that are served.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ModelList {
    /// The first answers where a request names none.
    pub models: Vec<ModelCard>,
}

impl Request {
    /// How many items it asks for.
    ///
    /// # Errors
    /// What is wrong with it whatever the model: names the field that is too long.
    pub fn check(&self, limits: &Limits) -> Result<usize, Problem> {
        let k = limits.k("#/k", self.k)?;
        limits.at_most("#/explain", self.explain, limits.explain)?;
        limits.at_most_items("#/history", self.history.len(), limits.history)?;
        limits.at_most_items("#/deny", self.deny.len(), limits.history)?;
        if let Some(allow) = &self.allow {
            limits.at_most_items("#/allow", allow.len(), limits.history)?;
        }
        limits.at_most_items("#/filter", self.filter.len(), limits.filters)?;
        for (name, values) in &self.filter {
            let field = format!("#/filter/{}", crate::extract::escaped(name));
            limits.at_most_items(&field, values.len(), limits.history)?;
        }
        Ok(k)
    }
}

/// A struct from a JSON object. Serde would take an array of the fields as well, which is nowhere promised.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Object<T: DeserializeOwned>(#[serde(deserialize_with = "object")] pub T);

/// See [`Object`].
pub(crate) fn objects<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|object| object.0).collect())
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct ObjectVisitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

impl Id {
    /// A longer id is somebody's mistake, and would be stored.
    pub const LONGEST: usize = 512;
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an id: text of at most {} bytes, or a whole number", Id::LONGEST)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id, E> {
                if text.len() > Id::LONGEST {
                    let problem = format!("{} bytes", text.len());
                    return Err(E::invalid_value(Unexpected::Other(&problem), &self));
                }
                Ok(Id(text.to_owned()))
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Id, E> {
                Ok(Id(number.to_string()))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Id, E> {
                Ok(Id(number.to_string()))
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Id, E> {
                Err(E::invalid_type(Unexpected::Float(number), &self))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(Self::LONGEST));
        let number = ObjectBuilder::new().schema_type(Type::Integer);
        let both = OneOfBuilder::new().item(text).item(number);
        both.description(Some("An id as the training log wrote it; answers give it as text."))
            .into()
    }
}

impl ToSchema for Id {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_is_text_or_a_whole_number() {
        let read = |text: &str| serde_json::from_str::<Id>(text).map_err(|e| e.to_string());
        assert_eq!(read("\"a b\"").unwrap().0, "a b");
        assert_eq!(read("-7").unwrap().0, "-7");
        assert_eq!(read("18446744073709551615").unwrap().0, "18446744073709551615");
        assert!(read("1.5").unwrap_err().contains("expected an id"));
        assert!(read("null").unwrap_err().contains("expected an id"));
        assert!(read(&format!("\"{}\"", "x".repeat(513))).unwrap_err().contains("513 bytes"));
    }

    #[test]
    fn what_is_too_long_is_named() {
        let limits = Limits::default();
        let told = |request: Request| request.check(&limits).unwrap_err().errors[0].field.clone();
        assert!(Request::default().check(&limits).is_ok());
        assert_eq!(told(Request { k: Some(0), ..Default::default() }), "#/k");
        assert_eq!(told(Request { k: Some(limits.k + 1), ..Default::default() }), "#/k");
        let long = vec![Id("1".into()); limits.history + 1];
        assert_eq!(told(Request { history: long.clone(), ..Default::default() }), "#/history");
        assert_eq!(told(Request { allow: Some(long.clone()), ..Default::default() }), "#/allow");
        assert_eq!(told(Request { deny: long, ..Default::default() }), "#/deny");
        let filter = [("a/b".to_owned(), vec![String::new(); limits.history + 1])].into();
        assert_eq!(told(Request { filter, ..Default::default() }), "#/filter/a~1b");
    }
}
