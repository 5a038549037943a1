//! A moment in a setting, such as `filter.from`.

use crate::format::shown_time;
use rankstill_core::TimeUnit;
use rankstill_core::time::{UnixTime, iso_8601};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A date (`2020-10-18`), a date and time (ISO 8601, in UTC unless it has an offset), or a number: Unix
/// seconds, or milli-, micro- or nanoseconds if it lies between 1990 and 2100 in that unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    seconds: i64,
    nanoseconds: u32,
}

impl Instant {
    /// This many seconds after 1970-01-01 00:00:00 UTC.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// The first tick of `unit` that is not before this moment.
    #[must_use]
    pub fn ticks(self, unit: TimeUnit) -> i64 {
        let per_second = i128::from(unit.per_second());
        let rest = (i128::from(self.nanoseconds) * per_second + 999_999_999) / 1_000_000_000;
        let ticks = i128::from(self.seconds) * per_second + rest;
        ticks.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
}

impl From<UnixTime> for Instant {
    fn from((seconds, nanoseconds): UnixTime) -> Self {
        Self { seconds, nanoseconds }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown_time((self.seconds, self.nanoseconds)))
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.nanoseconds {
            0 => serializer.serialize_i64(self.seconds),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Moment;
        impl Visitor<'_> for Moment {
            type Value = Instant;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date like 2020-10-18, a date and time like 2020-10-18T08:00:00Z, or Unix seconds")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Instant, E> {
                let per_second = TimeUnit::of_number(number).unwrap_or_default().per_second();
                let nanoseconds = number.rem_euclid(per_second) * (1_000_000_000 / per_second);
                Ok(Instant {
                    seconds: number.div_euclid(per_second),
                    nanoseconds: nanoseconds as u32,
                })
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Instant, E> {
                let number = i64::try_from(number).map_err(|_| {
                    E::invalid_value(serde::de::Unexpected::Unsigned(number), &self)
                })?;
                self.visit_i64(number)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Instant, E> {
                let text = text.trim();
                if let Ok(number) = text.parse() {
                    return self.visit_i64(number);
                }
                let time = iso_8601(text).map(|(time, _)| time);
                time.map(Instant::from)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Moment).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(text: &str) -> Instant {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn dates_and_numbers_name_the_same_moment() {
        let noon = Instant::from_seconds(1_603_022_400);
        for text in [
            "\"2020-10-18T12:00:00Z\"",
            "\"2020-10-18 14:00:00+02:00\"",
            "1603022400",
            "\"1603022400\"",
            "1603022400000",
            "1603022400000000000",
        ] {
            assert_eq!(of(text), noon, "{text}");
        }
        assert_eq!(of("\"2020-10-18\"").to_string(), "2020-10-18 UTC");
        assert_eq!(of("50"), Instant::from_seconds(50));
        let wrong = serde_json::from_str::<Instant>("\"18.10.2020\"").unwrap_err().to_string();
        assert!(wrong.contains("expected a date like 2020-10-18"), "{wrong}");
    }

    #[test]
    fn ticks_are_the_first_that_are_not_before() {
        let at = of("\"2020-10-18T12:00:00.0015Z\"");
        assert_eq!(at.ticks(TimeUnit::Seconds), 1_603_022_401);
        assert_eq!(at.ticks(TimeUnit::Milliseconds), 1_603_022_400_002);
        assert_eq!(at.ticks(TimeUnit::Microseconds), 1_603_022_400_001_500);
        assert_eq!(of("\"9999-12-31\"").ticks(TimeUnit::Nanoseconds), i64::MAX);
        for instant in [at, Instant::from_seconds(-7)] {
            assert_eq!(of(&serde_json::to_string(&instant).unwrap()), instant);
        }
    }
}
