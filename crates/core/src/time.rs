//! Time in logs, events and settings: its unit, and its usual form as text.

use jiff::civil::{Date, DateTime, Time};
use serde::{Deserialize, Serialize};

/// Times are whole numbers of this unit since 1970-01-01 00:00:00 UTC, without leap seconds (Unix time).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
    /// Billionths of a second.
    Nanoseconds,
}

impl TimeUnit {
    /// All units, the coarsest first.
    pub const ALL: [Self; 4] =
        [Self::Seconds, Self::Milliseconds, Self::Microseconds, Self::Nanoseconds];

    /// How many of this unit are a second.
    #[must_use]
    pub fn per_second(self) -> i64 {
        10i64.pow(self.decimals())
    }

    /// The unit in which a number lies between 1990 and 2100. At most one: units are a thousand apart, the years
    /// less than seven times.
    #[must_use]
    pub fn of_number(number: i64) -> Option<Self> {
        let inside = |unit: &Self| YEARS.contains(&number.div_euclid(unit.per_second()));
        Self::ALL.into_iter().find(inside)
    }

    /// The number of decimal places of a second that this unit counts: 0, 3, 6 or 9.
    #[must_use]
    pub fn decimals(self) -> u32 {
        3 * self as u32
    }
}

/// 1990-01-01 to 2100-01-01, in Unix seconds: a number is taken for a time if it lies in these years.
pub const YEARS: std::ops::Range<i64> = 631_152_000..4_102_444_800;

/// Seconds since 1970-01-01 00:00:00 UTC, and the nanoseconds after them.
pub type UnixTime = (i64, u32);

/// `YYYY-MM-DD`, optionally followed by `T` or a blank and `HH:MM`, then optionally `:SS`, a fraction, and `Z`,
/// `UTC`, `GMT` or an offset such as `+02:00`, `+0200` or `+02`, with or without a blank before it: forms that
/// logs hold and a strict parser refuses. Returns the time, and whether the text says how far it is from UTC;
/// if not, it was read as UTC.
///
/// ```
/// use rankstill_core::time::iso_8601;
///
/// assert_eq!(iso_8601("2012-07-14 14:33:01.5 +0200"), Some(((1_342_269_181, 500_000_000), true)));
/// assert_eq!(iso_8601("2012-07-14"), Some(((1_342_224_000, 0), false)));
/// assert_eq!(iso_8601("14/07/2012"), None);
/// ```
#[must_use]
pub fn iso_8601(text: &str) -> Option<(UnixTime, bool)> {
    let (date, rest) = text.as_bytes().split_at_checked(10)?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let date = Date::new(year as i16, month as i8, day as i8).ok()?;
    let (time, offset) = match rest {
        [] => (Time::midnight(), None),
        [b'T' | b't' | b' ', clock @ ..] => time_and_offset(clock)?,
        _ => return None,
    };
    let since = date.to_datetime(time).duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let nanoseconds = since.subsec_nanos();
    // The second before, and the nanoseconds after it.
    let seconds = since.as_secs() - i64::from(nanoseconds < 0) - offset.unwrap_or(0);
    Some(((seconds, nanoseconds.rem_euclid(1_000_000_000) as u32), offset.is_some()))
}

/// The time of day and the seconds by which it is ahead of UTC.
fn time_and_offset(clock: &[u8]) -> Option<(Time, Option<i64>)> {
    let &[h1, h2, b':', m1, m2, ref rest @ ..] = clock else { return None };
    let (mut second, mut nanosecond, mut rest) = (0, 0, rest);
    if let &[b':', s1, s2, ref tail @ ..] = rest {
        // Unix time does not count leap seconds: 60 reads as 59.
        second = number(&[s1, s2])?;
        second -= u32::from(second == 60);
        rest = tail;
        if let [b'.' | b',', tail @ ..] = rest {
            let length = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, tail) = tail.split_at(length);
            let digits = &digits[..length.min(9)];
            if digits.is_empty() {
                return None;
            }
            nanosecond = number(digits)? * 10u32.pow(9 - digits.len() as u32);
            rest = tail;
        }
    }
    let offset = match rest.strip_prefix(b" ").unwrap_or(rest) {
        [] => None,
        b"Z" | b"z" | b"UTC" | b"GMT" => Some(0),
        [b'+', offset @ ..] => Some(offset_seconds(offset)?),
        [b'-', offset @ ..] => Some(-offset_seconds(offset)?),
        _ => return None,
    };
    let (hour, minute) = (number(&[h1, h2])?, number(&[m1, m2])?);
    let time = Time::new(hour as i8, minute as i8, second as i8, nanosecond as i32).ok()?;
    Some((time, offset))
}

fn offset_seconds(offset: &[u8]) -> Option<i64> {
    let (hours, minutes) = match *offset {
        [h1, h2] => ([h1, h2], [b'0', b'0']),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => ([h1, h2], [m1, m2]),
        _ => return None,
    };
    let (hours, minutes) = (number(&hours)?, number(&minutes)?);
    (hours < 24 && minutes < 60).then(|| i64::from(hours * 60 + minutes) * 60)
}

/// The value of at most nine decimal digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_a_thousand_apart() {
        assert_eq!(TimeUnit::ALL.map(TimeUnit::per_second), [1, 1_000, 1_000_000, 1_000_000_000]);
    }

    #[test]
    fn a_number_is_a_time_in_one_unit_or_none() {
        for unit in TimeUnit::ALL {
            let per_second = unit.per_second();
            for (number, found) in [
                (YEARS.start * per_second, Some(unit)),
                (YEARS.end * per_second - 1, Some(unit)),
                (YEARS.start * per_second - 1, None),
                (YEARS.end * per_second, None),
            ] {
                assert_eq!(TimeUnit::of_number(number), found, "{number}");
            }
        }
        assert_eq!([0, 5, -1_700_000_000, i64::MAX].map(TimeUnit::of_number), [None; 4]);
    }

    #[test]
    fn dates_and_times_become_unix_time() {
        // `date -u -d ... +%s`
        for (text, expected) in [
            ("1970-01-01", 0),
            ("2012-07-14T12:33:01Z", 1_342_269_181),
            ("2012-07-14 12:33:01", 1_342_269_181),
            ("2012-07-14 12:33:01 UTC", 1_342_269_181),
            ("2012-07-14 13:33:01 +0100", 1_342_269_181),
            ("2012-07-14T14:33:01.75+02:00", 1_342_269_181),
            ("2000-02-29T23:59", 951_868_740),
            ("1969-12-31T23:59:59-0000", -1),
            ("2038-01-19T03:14:08z", 2_147_483_648),
            ("2016-12-31T23:59:60Z", 1_483_228_799),
            ("0000-01-01", -62_167_219_200),
            ("9999-12-31T23:59:59", 253_402_300_799),
            ("1900-03-01t00:00", -2_203_891_200),
        ] {
            assert_eq!(iso_8601(text).map(|(time, _)| time.0), Some(expected), "{text}");
        }
        assert_eq!(
            iso_8601("2012-07-14T12:33:01.7509Z"),
            Some(((1_342_269_181, 750_900_000), true))
        );
        assert_eq!(iso_8601("1969-12-31T23:59:59,9999999999"), Some(((-1, 999_999_999), false)));
        for wrong in [
            "2013-02-29",
            "2012-13-01",
            "2012-07-00",
            "2012-07-14T25:00",
            "2012-07-14T12:60",
            "2012-07-14T12:33:61",
            "2012-07-14T12:33:01.",
            "2012-07-14x",
            "12-07-14",
            "2012-07-14T12:33+99:00",
            "",
            "é012-07-14",
        ] {
            assert_eq!(iso_8601(wrong), None, "{wrong}");
        }
    }
}
