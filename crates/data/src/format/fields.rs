//! From text to values: the roles of the columns, ids, times and weights; every error names its position.

use super::ReadOptions;
use super::date_time::unix_time;
use crate::{Error, Result, error::listed};
use std::path::Path;

/// Common names of columns, compared without case, `_`, `-` and spaces. The first name that exists is used.
pub(crate) struct ColumnAliases {
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

/// For interaction logs.
pub(crate) static LOG_ALIASES: ColumnAliases = ColumnAliases {
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

/// For rankings: the rank is read as a time, the score as a weight.
pub(crate) static RANKING_ALIASES: ColumnAliases = ColumnAliases {
    user: USER,
    item: ITEM,
    time: &["rank", "position"],
    weight: &["score", "prediction"],
};

/// For pairs of users and items, which have no other columns.
pub(crate) static PAIR_ALIASES: ColumnAliases =
    ColumnAliases { user: USER, item: ITEM, time: &[], weight: &[] };

/// The indices of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    pub(crate) user: usize,
    pub(crate) item: usize,
    pub(crate) time: Option<usize>,
    pub(crate) weight: Option<usize>,
}

impl Roles {
    /// Finds the columns by the names in the options, otherwise by common names.
    pub(crate) fn find<S: AsRef<str>>(
        path: &Path,
        header: &[S],
        options: &ReadOptions,
        names: &ColumnAliases,
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
                    "column with a common name for the {role} (name it with `columns.{role}`, or set `header = false`)"
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
        // Only the columns that are used must be unambiguous.
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

    /// Without a header: the column numbers in the options, by default user, item, weight, time.
    pub(crate) fn by_position(
        path: &Path,
        n_columns: usize,
        options: &ReadOptions,
    ) -> Result<Self> {
        let names: Vec<String> = (1..=n_columns).map(|column| column.to_string()).collect();
        static BY_NUMBER: ColumnAliases =
            ColumnAliases { user: &["1"], item: &["2"], weight: &["3"], time: &["4"] };
        Self::find(path, &names, options, &BY_NUMBER)
    }
}

/// Whether a header with these names has a user and an item column.
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

/// The position of a field, for errors.
#[derive(Clone, Copy)]
pub(crate) struct FieldPosition<'a> {
    pub(crate) path: &'a Path,
    pub(crate) line: u64,
    pub(crate) column: &'a str,
}

impl FieldPosition<'_> {
    pub(crate) fn expected(&self, expected: &str, found: impl Into<String>) -> Error {
        Error::Field {
            path: self.path.to_path_buf(),
            line: self.line,
            column: self.column.to_owned(),
            expected: expected.to_owned(),
            found: found.into(),
        }
    }

    /// The id of a user or item: any text that is not empty.
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
        // Only text that begins like a number: the standard library also parses `inf` and `nan` as floats.
        let numeric =
            text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        if let (true, Ok(time)) = (numeric, text.parse::<f64>()) {
            return self.time_of_f64(time, scale);
        }
        match unix_time(text, scale) {
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
        // Up to the precision of the product: 1.001 * 1000 is not exactly 1001.
        let whole = scaled.round();
        if (scaled - whole).abs() > 1e-15 * scaled.abs() {
            let found = format!("{time:?} (`time_scale = 1000` keeps milliseconds)");
            return Err(self.expected("a whole number", found));
        }
        Ok(whole as i64)
    }

    /// An integer id written as a float, as data frames with missing values do.
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

/// The field in quotes, with control characters escaped, shortened to 60 characters.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    static POSITION: std::sync::LazyLock<FieldPosition<'static>> = std::sync::LazyLock::new(|| {
        FieldPosition { path: Path::new("log.csv"), line: 3, column: "ts" }
    });

    #[test]
    fn times_are_whole_or_refused() {
        assert_eq!(POSITION.time(b" 881250949.0 ", 1).unwrap(), 881_250_949);
        assert_eq!(POSITION.time(b"1.001", 1000).unwrap(), 1001);
        assert_eq!(POSITION.time(b"1342269181.123", 1000).unwrap(), 1_342_269_181_123);
        assert_eq!(POSITION.time(b"-5", 10).unwrap(), -50);
        for wrong in
            [&b"1.5"[..], b"nan", b"inf", b"", b"9223372036854775808", b"1e300", b"x", b"\xff"]
        {
            assert!(POSITION.time(wrong, 1).is_err(), "{}", shown(wrong));
        }
        let error = POSITION.time(b"9223372036854775807", 1000).unwrap_err().to_string();
        assert!(error.contains("within 64 bits"), "{error}");
    }

    #[test]
    fn weights_are_finite() {
        assert_eq!(POSITION.weight(b" 4.5").unwrap(), 4.5);
        for wrong in [&b"nan"[..], b"inf", b"-inf", b"1e39", b"", b"4,5", b"five"] {
            assert!(POSITION.weight(wrong).is_err(), "{}", shown(wrong));
        }
    }
}
