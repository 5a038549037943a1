//! Ids of users and items.

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The id of a user or an item, as the training log wrote it. A whole number and its text are the same id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Id(pub String);

impl Id {
    /// Maximum length in bytes. A longer id is a client's mistake, and would be stored.
    pub const LONGEST: usize = 512;

    /// What is wrong with an id in a request, if anything: exported logs have a line for each event and a column
    /// for each id.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let wrong = self.0.is_empty()
            || self.0.bytes().any(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0));
        wrong.then_some("expected an id that is not empty and contains no tab, line break or NUL")
    }
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
        both.description(Some("An id as in the training log. Answers always write it as text."))
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
}
