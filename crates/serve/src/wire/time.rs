//! The time of an event, as clients write it: ISO 8601 text, or a number whose unit follows from its size.

use rankstill_core::TimeUnit;
use rankstill_core::time::iso_8601;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

/// Unix time in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime(pub i64);

impl EventTime {
    /// From a number of seconds, milliseconds, microseconds or nanoseconds.
    fn of_number(number: i64) -> Option<Self> {
        TimeUnit::of_number(number).map(|unit| Self(number.div_euclid(unit.per_second())))
    }

    /// From ISO 8601, in UTC unless it has an offset. A fraction is dropped.
    fn of_text(text: &str) -> Option<Self> {
        iso_8601(text).map(|((seconds, _), _)| Self(seconds))
    }
}

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = EventTime;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a time: ISO 8601 text such as 2023-11-14T22:13:20Z, or a number of seconds, milliseconds, microseconds or \
                     nanoseconds since 1970 that lies between 1990 and 2100 in one of these",
                )
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<EventTime, E> {
                EventTime::of_text(text)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<EventTime, E> {
                EventTime::of_number(number)
                    .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<EventTime, E> {
                let known = i64::try_from(number).ok().and_then(EventTime::of_number);
                known.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<EventTime, E> {
                // A cast saturates, and neither limit is a time.
                let known = EventTime::of_number(number.floor() as i64);
                known.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
            }
        }
        deserializer.deserialize_any(TimeVisitor)
    }
}

impl PartialSchema for EventTime {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        let number = ObjectBuilder::new().schema_type(Type::Number);
        let about = "ISO 8601 text (UTC unless it has an offset), or Unix time in seconds, milliseconds, microseconds or nanoseconds: the \
            unit in which the number lies between 1990 and 2100; other numbers are refused. Kept in whole seconds.";
        OneOfBuilder::new().item(text).item(number).description(Some(about)).into()
    }
}

impl ToSchema for EventTime {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(json: &str) -> Result<i64, String> {
        let time = serde_json::from_str::<EventTime>(json);
        time.map(|time| time.0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_moment_in_every_notation_is_the_same_second() {
        for json in [
            "1700000000",
            "1700000000000",
            "1700000000123",
            "1700000000123456",
            "1700000000123456789",
            "1700000000.9",
            "1.7e12",
            "\"2023-11-14T22:13:20Z\"",
            "\"2023-11-14 22:13:20\"",
            "\"2023-11-14T23:13:20.75+01:00\"",
            "\"2023-11-14T20:13:20,5-0200\"",
        ] {
            assert_eq!(read(json), Ok(1_700_000_000), "{json}");
        }
        // `date -u -d ... +%s`
        assert_eq!(read("\"1969-12-31\""), Ok(-86_400));
        assert_eq!(read("\"2000-02-29T12:00\""), Ok(951_825_600));
        assert_eq!(read("\"2016-12-31T23:59:60Z\""), Ok(1_483_228_799));
        assert_eq!(read("\"2100-03-01\""), Ok(4_107_542_400));
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_would_be() {
        for json in [
            "0",
            "5",
            "-1700000000",
            "18446744073709551615",
            "1e300",
            "true",
            "[]",
            "\"\"",
            "\"1700000000\"",
            "\"2023-02-29\"",
            "\"2023-13-01\"",
            "\"2023-11-14T24:00\"",
            "\"2023-11-14T22:13:20.Z\"",
            "\"yesterday\"",
            "\"2023-11-14T22:13:20+2\"",
            "\"14.11.2023\"",
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains("expected a time: ISO 8601 text such as"), "{json}: {error}");
        }
        assert!(read("5").unwrap_err().contains("integer `5`"));
    }
}
