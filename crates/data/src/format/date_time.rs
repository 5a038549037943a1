//! Dates and times as text: ISO 8601, forms that have one meaning only, and a given form.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use rankstill_core::time::{UnixTime, iso_8601};

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

    /// Forgets a form that was guessed: another file may have another.
    pub(crate) fn begin_file(&mut self) {
        if !matches!(self.form, Some(Form::Given(_))) {
            self.form = None;
        }
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
        let (time, in_utc) = iso_8601(text)?;
        if in_utc || self.zone == TimeZone::UTC {
            return Some(time);
        }
        let as_utc = Timestamp::new(time.0, time.1 as i32).ok()?;
        self.in_zone(TimeZone::UTC.to_datetime(as_utc))
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
        self.zone.to_timestamp(moment).ok().map(unix)
    }
}

/// `2012-07-14 12:33:01 UTC`, or the number if the calendar does not reach that far.
pub(crate) fn shown_time((seconds, nanoseconds): UnixTime) -> String {
    match Timestamp::new(seconds, nanoseconds as i32) {
        Ok(time) => {
            let text = time.strftime("%Y-%m-%d %H:%M:%S%.f UTC").to_string();
            text.replace(" 00:00:00 UTC", " UTC")
        }
        Err(_) => format!("{seconds} s"),
    }
}

fn unix(time: Timestamp) -> UnixTime {
    let since = time.as_duration();
    let nanoseconds = since.subsec_nanos();
    (since.as_secs() - i64::from(nanoseconds < 0), nanoseconds.rem_euclid(1_000_000_000) as u32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
