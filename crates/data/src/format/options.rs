//! How a log is read, where it is not recognised.

use super::NumberUnit;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How to read a log. What is `None` or empty is recognised by evidence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// The name of one of [`super::FORMATS`].
    pub format: Option<String>,
    /// The columns, by name or by position.
    pub columns: ColumnNames,
    /// What separates columns: an ASCII character, `tab`, `ctrl-a`, `::`, or `blanks` for any number of spaces
    /// and tabs.
    pub delimiter: Option<String>,
    /// Whether the first line names the columns. Without a header the columns are called `1`, `2`, and so on;
    /// by default they are user, item, weight, time, unless the third can only be a time.
    pub header: Option<bool>,
    /// Whether fields may be in double quotes (RFC 4180). `true` by default, `false` in RecBole's files.
    pub quoting: Option<bool>,
    /// Whether lines at the beginning that start with `#` or `%` are comments. `true` by default.
    pub comments: Option<bool>,
    /// The unit of times that are numbers: `s`, `ms`, `us`, `ns`, `minutes`, `hours` or `days` since 1970.
    /// By default the one in which they lie between 1990 and 2100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_unit: Option<NumberUnit>,
    /// The form of times that are text, as for `strptime`: `%d/%m/%Y %H:%M`. By default ISO 8601 and other
    /// forms that have one meaning only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_format: Option<String>,
    /// The time zone of texts that name none, such as `Europe/Berlin`. UTC by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Keeps only rows whose column has one of these values: `equals.event = ["cart", "transaction"]`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub equals: BTreeMap<String, Values>,
    /// Weights of kinds of events: `weights = { view = 1, cart = 3 }`. The weight column is then the one that
    /// holds the kinds; rows of other kinds are left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
}

/// The columns to read: a name, or a position from 1. `None`: found by common names. Empty: not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnNames {
    /// The user column; found as `user_id`, `userId`, `user`, `uid`, `reviewerID`, `visitorid` and the like.
    #[serde(deserialize_with = "name_or_position")]
    pub user: Option<String>,
    /// The item column; found as `item_id`, `movieId`, `item`, `iid`, `asin` and the like.
    #[serde(deserialize_with = "name_or_position")]
    pub item: Option<String>,
    /// The time column; found as `timestamp`, `time`, `ts`, `date`, `event_time` and the like. Of rankings:
    /// the rank (`rank`, `position`).
    #[serde(alias = "rank", deserialize_with = "name_or_position")]
    pub time: Option<String>,
    /// The weight column; found as `rating`, `weight`, `count`, `score`, `overall`, `label` and the like. Of
    /// rankings: the score.
    #[serde(alias = "score", deserialize_with = "name_or_position")]
    pub weight: Option<String>,
}

/// One value or several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Values(pub(crate) Vec<Text>);

/// Text, or a number or truth value as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Text(pub(crate) String);

impl ColumnNames {
    /// Whether no column is named.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a column is named by what a header calls it, not by position.
    pub(crate) fn needs_header(&self) -> bool {
        let all = [&self.user, &self.item, &self.time, &self.weight];
        let is_name = |name: &&String| !name.is_empty() && name.parse::<usize>().is_err();
        all.into_iter().flatten().any(|name| is_name(&name))
    }
}

impl<S: Into<String>> FromIterator<S> for Values {
    fn from_iter<I: IntoIterator<Item = S>>(values: I) -> Self {
        Self(values.into_iter().map(|value| Text(value.into())).collect())
    }
}

impl Values {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Text> {
        self.0.iter()
    }
}

fn name_or_position<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Text>::deserialize(from)?.map(|text| text.0))
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl Visitor<'_> for AnyText {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a whole number")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_bool<E>(self, truth: bool) -> Result<Text, E> {
                Ok(Text(truth.to_string()))
            }
        }
        from.deserialize_any(AnyText)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(from)? {
            serde_json::Value::Array(values) => {
                let texts = values
                    .into_iter()
                    .map(|value| Text::deserialize(value).map_err(D::Error::custom));
                Ok(Self(texts.collect::<Result<_, _>>()?))
            }
            one => Ok(Self(vec![Text::deserialize(one).map_err(D::Error::custom)?])),
        }
    }
}
