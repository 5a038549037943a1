//! From text to values: which column is which, whole numbers, times, weights, each with an error that says where it stands.

use super::ReadOptions;
use crate::{Error, Result, error::listed};
use std::path::Path;

/// Common names of columns, compared without case, `_`, `-` and blanks; the first that exists is taken.
pub(crate) struct Names {
    pub(crate) user: &'static [&'static str],
    pub(crate) item: &'static [&'static str],
    pub(crate) time: &'static [&'static str],
    pub(crate) weight: &'static [&'static str],
}

const USER: &[&str] = &[
    "userid",
    "user",
    "uid",
    "useridx",
    "userindex",
    "reviewerid",
    "customerid",
    "customer",
    "visitorid",
    "memberid",
    "sessionid",
];
pub(super) const ITEM: &[&str] = &[
    "itemid",
    "item",
    "iid",
    "itemidx",
    "itemindex",
    "movieid",
    "movie",
    "productid",
    "parentasin",
    "asin",
    "trackid",
    "songid",
    "artistid",
    "bookid",
    "isbn",
    "articleid",
    "newsid",
    "businessid",
    "locationid",
    "poiid",
    "venueid",
    "videoid",
];

/// Of interaction logs.
pub(crate) static LOG_NAMES: Names = Names {
    user: USER,
    item: ITEM,
    time: &[
        "timestamp",
        "time",
        "ts",
        "datetime",
        "date",
        "unixtime",
        "unixtimestamp",
        "unixreviewtime",
        "eventtime",
        "createdat",
    ],
    weight: &[
        "rating",
        "weight",
        "count",
        "score",
        "value",
        "stars",
        "overall",
        "plays",
        "playcount",
        "frequency",
    ],
};

/// Of rankings: the rank is read as a time, the score as a weight.
pub(crate) static RANKING_NAMES: Names =
    Names { user: USER, item: ITEM, time: &["rank", "position"], weight: &["score", "prediction"] };

/// Of pairs of users and items, where nothing else matters.
pub(crate) static PAIR_NAMES: Names = Names { user: USER, item: ITEM, time: &[], weight: &[] };

/// Where the columns stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    pub(crate) user: usize,
    pub(crate) item: usize,
    pub(crate) time: Option<usize>,
    pub(crate) weight: Option<usize>,
}

impl Roles {
    /// Finds the columns, by the names that the options give or by common ones.
    pub(crate) fn find<S: AsRef<str>>(
        path: &Path,
        header: &[S],
        options: &ReadOptions,
        names: &Names,
    ) -> Result<Self> {
        let header: Vec<&str> = header.iter().map(AsRef::as_ref).collect();
        let find = |role: &str, wanted: &Option<String>, common: &[&str]| match wanted.as_deref() {
            Some("") => Ok(None),
            Some(wanted) => match header.iter().position(|&name| name == wanted) {
                None => Err(Error::NoColumn {
                    path: path.to_path_buf(),
                    wanted: format!("column `{wanted}` ({role})"),
                    existing: listed(&header),
                }),
                at => Ok(at),
            },
            None => {
                let plain: Vec<_> = header.iter().map(|name| normal(name)).collect();
                Ok(common.iter().find_map(|name| plain.iter().position(|known| known == name)))
            }
        };
        let needed = |role: &str, at: Option<usize>| {
            at.ok_or_else(|| Error::NoColumn {
                path: path.to_path_buf(),
                wanted: format!(
                    "column for the {role} by a common name (say which with `columns.{role}`, or `header = false`)"
                ),
                existing: listed(&header),
            })
        };
        let wanted = &options.columns;
        let roles = Self {
            user: needed("user", find("user", &wanted.user, names.user)?)?,
            item: needed("item", find("item", &wanted.item, names.item)?)?,
            time: find("time", &wanted.time, names.time)?,
            weight: find("weight", &wanted.weight, names.weight)?,
        };
        // Only a column that is used must be unambiguous.
        let used = [Some(roles.user), Some(roles.item), roles.time, roles.weight];
        for name in used.into_iter().flatten().map(|at| header[at]) {
            if header.iter().filter(|&&other| other == name).count() > 1 {
                let problem =
                    format!("two columns are called `{name}`; the columns are {}", listed(&header));
                return Err(Error::Line { path: path.to_path_buf(), line: 1, problem });
            }
        }
        Ok(roles)
    }

    /// Without a header: what the options say by number, else user, item, weight, time.
    pub(crate) fn by_position(
        path: &Path,
        n_columns: usize,
        options: &ReadOptions,
    ) -> Result<Self> {
        let names: Vec<String> = (1..=n_columns).map(|column| column.to_string()).collect();
        static POSITIONS: Names =
            Names { user: &["1"], item: &["2"], weight: &["3"], time: &["4"] };
        Self::find(path, &names, options, &POSITIONS)
    }
}

/// Whether a header with these names has a user's and an item's column.
pub(crate) fn is_header<'a>(
    names: impl Iterator<Item = &'a [u8]> + Clone,
    options: &ReadOptions,
) -> bool {
    let has = |wanted: &Option<String>, common: &[&str]| {
        names.clone().any(|name| match wanted {
            Some(wanted) => name == wanted.as_bytes(),
            None => {
                std::str::from_utf8(name).is_ok_and(|name| common.contains(&normal(name).as_str()))
            }
        })
    };
    has(&options.columns.user, USER) && has(&options.columns.item, ITEM)
}

pub(super) fn normal(name: &str) -> String {
    let significant = name.chars().filter(|c| !matches!(c, '_' | '-') && !c.is_whitespace());
    significant.flat_map(char::to_lowercase).collect()
}

/// Where a field stands, for errors.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a Path,
    pub(crate) line: u64,
    pub(crate) column: &'a str,
}

impl Place<'_> {
    pub(crate) fn expected(&self, expected: &str, found: impl Into<String>) -> Error {
        Error::Field {
            path: self.path.to_path_buf(),
            line: self.line,
            column: self.column.to_owned(),
            expected: expected.to_owned(),
            found: found.into(),
        }
    }

    /// A user's or item's id: any text but none at all.
    pub(crate) fn id<'a>(&self, field: &'a [u8]) -> Result<&'a str> {
        let id = std::str::from_utf8(field);
        let id =
            id.map_err(|_| self.expected("UTF-8 text", format!("the bytes {}", shown(field))))?;
        if id.is_empty() {
            return Err(self.expected("an id", "nothing"));
        }
        if id.contains('\0') {
            return Err(self.expected(
                "an id without NUL bytes (is the file UTF-16 or binary?)",
                shown(field),
            ));
        }
        Ok(id)
    }

    /// A finite number.
    pub(crate) fn weight(&self, field: &[u8]) -> Result<f32> {
        let number = ascii(field).and_then(|text| text.parse::<f32>().ok());
        match number {
            Some(number) if number.is_finite() => Ok(number),
            _ => Err(self.expected("a finite number", shown(field))),
        }
    }

    pub(crate) fn weight_of_f64(&self, number: f64) -> Result<f32> {
        let weight = number as f32;
        if weight.is_finite() {
            Ok(weight)
        } else {
            Err(self.expected("a finite number", format!("{number:?}")))
        }
    }

    /// A whole number or an ISO 8601 date and time, times `scale`.
    pub(crate) fn time(&self, field: &[u8], scale: u32) -> Result<i64> {
        let text = ascii(field).unwrap_or_default();
        if let Ok(time) = text.parse::<i64>() {
            return self.time_of_i64(time, scale);
        }
        // Only what begins like a number: `inf` and `nan` are floats to the standard library.
        let numeric =
            text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        if let (true, Ok(time)) = (numeric, text.parse::<f64>()) {
            return self.time_of_f64(time, scale);
        }
        match iso_8601(text, scale) {
            Some(time) => Ok(time),
            None => Err(self.expected(
                "a whole number or a date and time like 2012-07-14T12:33:01Z",
                shown(field),
            )),
        }
    }

    pub(crate) fn time_of_i64(&self, time: i64, scale: u32) -> Result<i64> {
        time.checked_mul(i64::from(scale))
            .ok_or_else(|| self.expected("a time within 64 bits", format!("{time} times {scale}")))
    }

    pub(crate) fn time_of_f64(&self, time: f64, scale: u32) -> Result<i64> {
        let scaled = time * f64::from(scale);
        // Beyond 2^53 a float no longer tells neighbouring whole numbers apart.
        if scaled.abs() > (1i64 << 53) as f64 || !scaled.is_finite() {
            return Err(self.expected("a time within 53 bits", format!("{time:?}")));
        }
        // To the precision of the product: 1.001 * 1000 is not quite 1001.
        let whole = scaled.round();
        if (scaled - whole).abs() > 1e-15 * scaled.abs() {
            let found = format!("{time:?} (`time_scale = 1000` keeps milliseconds)");
            return Err(self.expected("a whole number", found));
        }
        Ok(whole as i64)
    }

    /// An integer id that came as a float, as data frames with gaps write them.
    pub(crate) fn id_of_f64(&self, id: f64) -> Result<i64> {
        let exact = id.fract() == 0.0 && id.abs() <= (1i64 << 53) as f64;
        if exact {
            Ok(id as i64)
        } else {
            Err(self.expected("an id: text or a whole number", format!("{id:?}")))
        }
    }
}

fn ascii(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field.trim_ascii()).ok()
}

/// In quotes, control characters escaped, not longer than a line.
pub(crate) fn shown(field: &[u8]) -> String {
    let text = match std::str::from_utf8(field) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => field.escape_ascii().to_string(),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// Unix seconds times `scale`, rounded down. `YYYY-MM-DD`, then perhaps `T` or a blank and `HH:MM`, `:SS`, a fraction, and `Z` or
/// an offset such as `+02:00`.
fn iso_8601(text: &str, scale: u32) -> Option<i64> {
    let bytes = text.as_bytes();
    let date = bytes.get(..10)?;
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&date[..4])?, digits(&date[5..7])?, digits(&date[8..])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return None;
    }
    let mut seconds = days_since_1970(year, month, day) * 86_400;
    let mut fraction = 0i64;
    let mut rest = &bytes[10..];
    if let [b'T' | b't' | b' ', clock @ ..] = rest {
        let (hour, minute) = (digits(clock.get(..2)?)?, digits(clock.get(3..5)?)?);
        if clock[2] != b':' || hour > 23 || minute > 59 {
            return None;
        }
        seconds += hour * 3600 + minute * 60;
        rest = &clock[5..];
        if let [b':', tail @ ..] = rest {
            let second = digits(tail.get(..2)?)?;
            // 60 is a leap second, which Unix time does not count.
            if second > 60 {
                return None;
            }
            seconds += second.min(59);
            rest = &tail[2..];
            if let [b'.' | b',', tail @ ..] = rest {
                let length = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let nano = tail[..length.min(9)]
                    .iter()
                    .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
                let nano = nano * 10i64.pow(9 - length.min(9) as u32);
                fraction = (i128::from(nano) * i128::from(scale) / 1_000_000_000) as i64;
                if length == 0 {
                    return None;
                }
                rest = &tail[length..];
            }
        }
        match rest {
            [] | [b'Z' | b'z'] => rest = &[],
            [b'+' | b'-', offset @ ..] => {
                let (hours, minutes) = match offset {
                    [_, _] => (digits(offset)?, 0),
                    [_, _, b':', _, _] => (digits(&offset[..2])?, digits(&offset[3..])?),
                    [_, _, _, _] => (digits(&offset[..2])?, digits(&offset[2..])?),
                    _ => return None,
                };
                let ahead = (hours * 60 + minutes) * 60;
                seconds += if rest[0] == b'+' { -ahead } else { ahead };
                rest = &[];
            }
            _ => return None,
        }
    }
    if !rest.is_empty() {
        return None;
    }
    seconds.checked_mul(i64::from(scale))?.checked_add(fraction)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Years that begin in March put the leap day last (Hinnant, "chrono-compatible low-level date algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    static PLACE: std::sync::LazyLock<Place<'static>> =
        std::sync::LazyLock::new(|| Place { path: Path::new("log.csv"), line: 3, column: "ts" });

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
        ] {
            assert_eq!(iso_8601(text, 1), Some(seconds), "{text}");
        }
        assert_eq!(iso_8601("2012-07-14T12:33:01.7509Z", 1000), Some(1_342_269_181_750));
        for wrong in [
            "2013-02-29",
            "2012-13-01",
            "2012-07-14T25:00",
            "2012-07-14T12:33:01 Z",
            "2012-07-14X",
            "2012-7-14",
            "é012-07-1",
        ] {
            assert_eq!(iso_8601(wrong, 1), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = days_since_1970(1900, 1, 1);
        assert_eq!(expected, -25_567);
        for year in 1900..2301 {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    assert_eq!(days_since_1970(year, month, day), expected);
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn times_are_whole_or_refused() {
        assert_eq!(PLACE.time(b" 881250949.0 ", 1).unwrap(), 881_250_949);
        assert_eq!(PLACE.time(b"1.001", 1000).unwrap(), 1001);
        assert_eq!(PLACE.time(b"1342269181.123", 1000).unwrap(), 1_342_269_181_123);
        assert_eq!(PLACE.time(b"-5", 10).unwrap(), -50);
        for wrong in
            [&b"1.5"[..], b"nan", b"inf", b"", b"9223372036854775808", b"1e300", b"x", b"\xff"]
        {
            assert!(PLACE.time(wrong, 1).is_err(), "{}", shown(wrong));
        }
        let error = PLACE.time(b"9223372036854775807", 1000).unwrap_err().to_string();
        assert!(error.contains("within 64 bits"), "{error}");
    }

    #[test]
    fn weights_are_finite() {
        assert_eq!(PLACE.weight(b" 4.5").unwrap(), 4.5);
        for wrong in [&b"nan"[..], b"inf", b"-inf", b"1e39", b"", b"4,5", b"five"] {
            assert!(PLACE.weight(wrong).is_err(), "{}", shown(wrong));
        }
    }
}
