//! Dates and times as text.
//!
//! ISO 8601 is parsed here, because logs hold forms that a strict parser refuses: a leap second, fractions of
//! any length, offsets without a colon, `UTC` after a blank. All other forms are parsed by the crate `jiff`,
//! as are time zones.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

/// Seconds since 1970-01-01 00:00:00 UTC, and the nanoseconds after them.
pub(crate) type UnixTime = (i64, u32);

/// Forms besides ISO 8601 that have one meaning only. `01/02/2024` has two and must be named.
const FORMS: [&str; 14] = [
    "%a %b %d %H:%M:%S %z %Y", // Mon Jan 04 07:00:09 +0000 2021 (Twitter, Foursquare)
    "%a %b %d %H:%M:%S UTC %Y", // date -u
    "%a, %d %b %Y %H:%M:%S %z", // RFC 2822
    "%a, %d %b %Y %H:%M:%S GMT", // HTTP
    "%d/%b/%Y:%H:%M:%S %z",    // web servers
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y",
    "%d %b %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%m %d, %Y", // 09 13, 2009 (Amazon reviews)
];

/// Reads the texts of one column, which all have the same form.
#[derive(Clone, Debug)]
pub(crate) struct DateReader {
    form: Option<Form>,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Iso,
    Known(&'static str),
    Given(String),
}

impl DateReader {
    /// `form`: a format of `strptime`; guessed if `None`. `zone`: that of texts without one; UTC if `None`.
    ///
    /// # Errors
    /// When there is no such time zone.
    pub(crate) fn new(form: Option<&str>, zone: Option<&str>) -> Result<Self, String> {
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                format!("unknown time zone `{name}`, expected a name like `UTC` or `Europe/Berlin`")
            })?,
        };
        Ok(Self { form: form.map(|form| Form::Given(form.to_owned())), zone })
    }

    /// Any form that needs no naming, in UTC.
    pub(crate) fn iso_or_known() -> Self {
        Self { form: None, zone: TimeZone::UTC }
    }

    /// The form, once a text has been read: `ISO 8601` or a format of `strptime`.
    pub(crate) fn form(&self) -> Option<&str> {
        Some(match self.form.as_ref()? {
            Form::Iso => "ISO 8601",
            Form::Known(form) => form,
            Form::Given(form) => form,
        })
    }

    /// What a text should have looked like.
    pub(crate) fn expected(&self) -> String {
        match self.form() {
            Some("ISO 8601") => "a date and time like 2012-07-14T12:33:01Z".into(),
            Some(form) => format!("a date and time in the form `{form}`"),
            None => {
                "a number, or a date and time like 2012-07-14T12:33:01Z (another form is named with `time_format`, such as `%d/%m/%Y`)".into()
            }
        }
    }

    /// The moment that a text means; the first text decides the form.
    pub(crate) fn read(&mut self, text: &str) -> Option<UnixTime> {
        match &self.form {
            Some(Form::Iso) => self.iso(text),
            Some(Form::Known(form)) => self.formatted(form, text),
            Some(Form::Given(form)) => self.formatted(form, text),
            None => {
                let (form, time) = self.iso(text).map(|time| (Form::Iso, time)).or_else(|| {
                    let read = |&form| Some((Form::Known(form), self.formatted(form, text)?));
                    FORMS.iter().find_map(read)
                })?;
                self.form = Some(form);
                Some(time)
            }
        }
    }

    fn iso(&self, text: &str) -> Option<UnixTime> {
        let (moment, offset) = iso(text)?;
        match offset {
            Some(offset) => {
                let (seconds, nanoseconds) = utc(moment);
                Some((seconds - offset, nanoseconds))
            }
            None => self.in_zone(moment),
        }
    }

    fn formatted(&self, form: &str, text: &str) -> Option<UnixTime> {
        let parts = BrokenDownTime::parse(form, text).ok()?;
        if let Ok(time) = parts.to_timestamp() {
            return Some(unix(time));
        }
        let moment = parts.to_datetime().or_else(|_| parts.to_date().map(DateTime::from)).ok()?;
        self.in_zone(moment)
    }

    fn in_zone(&self, moment: DateTime) -> Option<UnixTime> {
        // The calendar's days reach a little further than its timestamps.
        if self.zone == TimeZone::UTC {
            return Some(utc(moment));
        }
        self.zone.to_timestamp(moment).ok().map(unix)
    }
}

/// ISO 8601 in UTC unless the text has an offset: for settings and single values.
pub(crate) fn unix_time(text: &str) -> Option<UnixTime> {
    DateReader { form: Some(Form::Iso), zone: TimeZone::UTC }.iso(text)
}

/// `2012-07-14 12:33:01 UTC`, or the number if the calendar does not reach that far.
pub(crate) fn shown_time((seconds, nanoseconds): UnixTime) -> String {
    match jiff::Timestamp::new(seconds, nanoseconds as i32) {
        Ok(time) => {
            let text = time.strftime("%Y-%m-%d %H:%M:%S%.f UTC").to_string();
            text.replace(" 00:00:00 UTC", " UTC")
        }
        Err(_) => format!("{seconds} s"),
    }
}

fn utc(moment: DateTime) -> UnixTime {
    floored(moment.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)))
}

fn unix(time: jiff::Timestamp) -> UnixTime {
    floored(time.as_duration())
}

/// The second before, and the nanoseconds after it.
fn floored(since: SignedDuration) -> UnixTime {
    let nanoseconds = since.subsec_nanos();
    (since.as_secs() - i64::from(nanoseconds < 0), nanoseconds.rem_euclid(1_000_000_000) as u32)
}

/// `YYYY-MM-DD`, optionally followed by `T` or a blank and `HH:MM`, then optionally `:SS`, a fraction, and `Z`,
/// `UTC`, `GMT` or an offset such as `+02:00`, `+0200` or `+02`, with or without a blank before it. The second
/// value is the offset in seconds.
fn iso(text: &str) -> Option<(DateTime, Option<i64>)> {
    let (date, rest) = text.as_bytes().split_at_checked(10)?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let date = Date::new(year as i16, month as i8, day as i8).ok()?;
    let (time, offset) = match rest {
        [] => (Time::midnight(), None),
        [b'T' | b't' | b' ', clock @ ..] => time_and_offset(clock)?,
        _ => return None,
    };
    Some((date.to_datetime(time), offset))
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        unix_time(text).map(|time| time.0)
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
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        assert_eq!(unix_time("2012-07-14T12:33:01.7509Z"), Some((1_342_269_181, 750_900_000)));
        assert_eq!(unix_time("1969-12-31T23:59:59,9999999999Z"), Some((-1, 999_999_999)));
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
            "",
            "é012-07-14",
        ] {
            assert_eq!(unix_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn common_forms_are_known_and_the_first_text_decides() {
        let read = |text: &str| {
            let mut reader = DateReader::new(None, None).unwrap();
            reader.read(text).map(|time| time.0)
        };
        for (text, expected) in [
            ("Mon Jan 04 07:00:09 +0000 2021", 1_609_743_609),
            ("Mon, 04 Jan 2021 08:00:09 +0100", 1_609_743_609),
            ("04/Jan/2021:07:00:09 +0000", 1_609_743_609),
            ("2021/01/04 07:00:09", 1_609_743_609),
            ("04.01.2021 07:00:09", 1_609_743_609),
            ("01 4, 2021", 1_609_718_400),
            ("Jan 4, 2021", 1_609_718_400),
            ("January 4, 2021", 1_609_718_400),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        assert_eq!(read("01/02/2024"), None, "day or month first: it must be said");
        let mut reader = DateReader::new(None, None).unwrap();
        assert!(reader.read("2021-01-04").is_some() && reader.read("Jan 4, 2021").is_none());
    }

    #[test]
    fn a_form_and_a_zone_can_be_given() {
        let mut reader = DateReader::new(Some("%d/%m/%Y"), None).unwrap();
        assert_eq!(reader.read("04/01/2021"), Some((1_609_718_400, 0)));
        assert_eq!(reader.read("2021-01-04"), None);
        let mut reader = DateReader::new(None, Some("Europe/Berlin")).unwrap();
        assert_eq!(reader.read("2021-07-04 02:00"), Some((1_625_356_800, 0)), "two hours ahead");
        assert_eq!(reader.read("2021-07-04 02:00Z"), Some((1_625_364_000, 0)));
        assert!(DateReader::new(None, Some("Berlin")).unwrap_err().contains("`Berlin`"));
    }

    #[test]
    fn moments_are_shown_as_dates() {
        assert_eq!(shown_time((1_609_743_609, 0)), "2021-01-04 07:00:09 UTC");
        assert_eq!(shown_time((1_609_743_609, 250_000_000)), "2021-01-04 07:00:09.25 UTC");
        assert_eq!(shown_time((1_609_718_400, 0)), "2021-01-04 UTC");
        assert_eq!(shown_time((i64::MAX, 0)), "9223372036854775807 s");
    }
}
