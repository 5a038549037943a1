//! The time of an event, as clients write it: ISO 8601 text, or a number whose unit follows from its size.

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

/// 1990-01-01 and 2100-01-01 in Unix seconds. A number is a time between them in at most one of the units, because these are a
/// thousand apart and the years less than seven times.
const YEARS: std::ops::Range<i64> = 631_152_000..4_102_444_800;

/// Units of a second: seconds, milliseconds, microseconds, nanoseconds.
const UNITS: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

impl EventTime {
    /// From a number of seconds, milliseconds, microseconds or nanoseconds.
    fn of_number(number: i64) -> Option<Self> {
        UNITS
            .into_iter()
            .map(|unit| number.div_euclid(unit))
            .find(|at| YEARS.contains(at))
            .map(Self)
    }

    /// From `YYYY-MM-DD`, optionally followed by `T` or a blank and `HH:MM`, then optionally `:SS`, a fraction, and `Z` or an offset
    /// such as `+02:00` or `+0200`. Without an offset the time is UTC. A fraction is dropped.
    fn of_text(text: &str) -> Option<Self> {
        let (date, rest) = text.as_bytes().split_at_checked(10)?;
        let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return None };
        let (year, month, day) =
            (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
        let days = days(year, month, day)?;
        let (seconds, offset) = match rest {
            [] => (0, 0),
            [b'T' | b't' | b' ', clock @ ..] => clock_and_offset(clock)?,
            _ => return None,
        };
        Some(Self(days * 86_400 + seconds - offset))
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if year == 0 || !(1..=length).contains(&day) {
        return None;
    }
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let of_year: i64 = lengths[..(month - 1) as usize].iter().sum();
    const TO_1970: i64 = 719_162; // days from 0001-01-01 to 1970-01-01
    Some(before * 365 + leap_days + of_year + day - 1 - TO_1970)
}

/// The seconds of the day, and those by which its clock is ahead of UTC.
fn clock_and_offset(clock: &[u8]) -> Option<(i64, i64)> {
    let &[h1, h2, b':', m1, m2, ref rest @ ..] = clock else { return None };
    let (mut second, mut rest) = (0, rest);
    if let &[b':', s1, s2, ref tail @ ..] = rest {
        second = number(&[s1, s2])?;
        second -= i64::from(second == 60); // Unix time has no leap seconds
        rest = tail;
        if let [b'.' | b',', tail @ ..] = rest {
            let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest = (digits > 0).then(|| &tail[digits..])?;
        }
    }
    let offset = match *rest {
        [] | [b'Z' | b'z'] => 0,
        [b'+', ref offset @ ..] => offset_seconds(offset)?,
        [b'-', ref offset @ ..] => -offset_seconds(offset)?,
        _ => return None,
    };
    let (hour, minute) = (number(&[h1, h2])?, number(&[m1, m2])?);
    (hour < 24 && minute < 60 && second < 60)
        .then_some((hour * 3600 + minute * 60 + second, offset))
}

fn offset_seconds(offset: &[u8]) -> Option<i64> {
    let (hours, minutes) = match *offset {
        [h1, h2] => ([h1, h2], [b'0', b'0']),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => ([h1, h2], [m1, m2]),
        _ => return None,
    };
    let (hours, minutes) = (number(&hours)?, number(&minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

/// The value of a few decimal digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
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
    fn the_years_are_1990_to_2100_in_every_unit() {
        for unit in UNITS {
            assert_eq!(read(&(YEARS.start * unit).to_string()), Ok(YEARS.start));
            assert_eq!(read(&(YEARS.end * unit - 1).to_string()), Ok(YEARS.end - 1));
            assert!(read(&(YEARS.start * unit - 1).to_string()).is_err());
            assert!(read(&(YEARS.end * unit).to_string()).is_err());
        }
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
