//! ISO 8601 dates and times as Unix time.
//!
//! The calendar is that of the crate `time`. The grammar is written out here because logs hold forms that a
//! strict parser refuses: a leap second, fractions of any length, offsets without a colon.

use time::{Date, Month, PrimitiveDateTime, Time};

/// Unix seconds times `scale`, rounded down. Accepts `YYYY-MM-DD`, optionally followed by `T` or a blank and
/// `HH:MM`, then optionally `:SS`, a fraction, and `Z` or an offset such as `+02:00`, `+0200` or `+02`.
/// Without an offset the time is UTC.
pub(super) fn unix_time(text: &str, scale: u32) -> Option<i64> {
    let (date, rest) = text.as_bytes().split_at_checked(10)?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let month = Month::try_from(month as u8).ok()?;
    let date = Date::from_calendar_date(year as i32, month, day as u8).ok()?;
    let (time, offset) = match rest {
        [] => (Time::MIDNIGHT, 0),
        [b'T' | b't' | b' ', clock @ ..] => time_and_offset(clock)?,
        _ => return None,
    };
    let seconds = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp() - offset;
    let fraction = u64::from(time.nanosecond()) * u64::from(scale) / 1_000_000_000;
    seconds.checked_mul(i64::from(scale))?.checked_add(fraction as i64)
}

/// The time of day and the seconds by which it is ahead of UTC.
fn time_and_offset(clock: &[u8]) -> Option<(Time, i64)> {
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
    let offset = match *rest {
        [] | [b'Z' | b'z'] => 0,
        [b'+', ref offset @ ..] => offset_seconds(offset)?,
        [b'-', ref offset @ ..] => -offset_seconds(offset)?,
        _ => return None,
    };
    let (hour, minute) = (number(&[h1, h2])?, number(&[m1, m2])?);
    let time = Time::from_hms_nano(hour as u8, minute as u8, second as u8, nanosecond).ok()?;
    Some((time, offset))
}

fn offset_seconds(offset: &[u8]) -> Option<i64> {
    let (hours, minutes) = match *offset {
        [h1, h2] => ([h1, h2], [b'0', b'0']),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => ([h1, h2], [m1, m2]),
        _ => return None,
    };
    Some(i64::from(number(&hours)? * 60 + number(&minutes)?) * 60)
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
    fn dates_and_times_become_unix_seconds() {
        // `date -u -d ... +%s`
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2012-07-14T12:33:01Z", 1_342_269_181),
            ("2012-07-14 12:33:01", 1_342_269_181),
            ("2012-07-14T14:33:01.75+02:00", 1_342_269_181),
            ("2000-02-29T23:59", 951_868_740),
            ("1969-12-31T23:59:59-0000", -1),
            ("2038-01-19T03:14:08z", 2_147_483_648),
            ("2016-12-31T23:59:60Z", 1_483_228_799),
            ("0000-01-01", -62_167_219_200),
            ("9999-12-31T23:59:59", 253_402_300_799),
            ("1900-03-01t00:00", -2_203_891_200),
        ] {
            assert_eq!(unix_time(text, 1), Some(seconds), "{text}");
        }
        assert_eq!(unix_time("2012-07-14T12:33:01.7509Z", 1000), Some(1_342_269_181_750));
        assert_eq!(unix_time("1969-12-31T23:59:59,9999999999Z", 1000), Some(-1));
        assert_eq!(unix_time("9999-12-31", u32::MAX), None, "beyond 64 bits");
        for wrong in [
            "2013-02-29",
            "2012-13-01",
            "2012-07-00",
            "2012-07-14T25:00",
            "2012-07-14T12:60",
            "2012-07-14T12:33:61",
            "2012-07-14T12:33:01.",
            "2012-07-14T12:33:01 Z",
            "2012-07-14T12:33:01+2",
            "2012-07-14T12",
            "2012-07-14T12:33:",
            "2012-07-14Z",
            "2012-07-14X",
            "2012-7-14",
            "é012-07-1",
        ] {
            assert_eq!(unix_time(wrong, 1), None, "{wrong}");
        }
    }

    /// Every day that four digits can write, each 86,400 seconds after the one before.
    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = -62_167_219_200;
        for year in 0..10_000 {
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let months = [31, 28 + i32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, days) in (1..).zip(months) {
                for day in 1..=days {
                    let text = format!("{year:04}-{month:02}-{day:02}");
                    assert_eq!(unix_time(&text, 1), Some(expected), "{text}");
                    expected += 86_400;
                }
                let next = format!("{year:04}-{month:02}-{:02}", days + 1);
                assert_eq!(unix_time(&next, 1), None, "{next}");
            }
        }
    }

    #[test]
    fn every_offset_is_subtracted() {
        for (clock, utc) in [
            ("1970-01-01T00:00", 0),
            ("1969-12-31T23:59:59.5", -1),
            ("2012-07-14T12:33:01", 1_342_269_181),
            ("2024-02-29 23:30:00", 1_709_249_400),
        ] {
            for hours in 0..=14 {
                for minutes in [0, 30, 45] {
                    let offset = (hours * 60 + minutes) * 60;
                    for (zone, expected) in [
                        (format!("+{hours:02}:{minutes:02}"), utc - offset),
                        (format!("-{hours:02}:{minutes:02}"), utc + offset),
                        (format!("+{hours:02}{minutes:02}"), utc - offset),
                        (format!("-{hours:02}"), utc + hours * 3600),
                    ] {
                        let text = format!("{clock}{zone}");
                        assert_eq!(unix_time(&text, 1), Some(expected), "{text}");
                    }
                }
            }
        }
    }
}
