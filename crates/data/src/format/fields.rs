//! From text to values: ids and weights; every error names its position.

use crate::{Error, Result};
use std::path::Path;
use std::str::FromStr;

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

    /// The id of a user or item: any text that is not blank. Blanks around it do not belong to it, and a
    /// whole number written as a float (`17.0`, as data frames with missing values write it) is that number.
    pub(crate) fn id<'a>(&self, field: &'a [u8]) -> Result<(&'a str, IdChange)> {
        let id = std::str::from_utf8(field);
        let id =
            id.map_err(|_| self.expected("UTF-8 text", format!("the bytes {}", shown(field))))?;
        let (id, mut change) = match field {
            [first, .., last] if is_plain(*first) && is_plain(*last) => (id, IdChange::None),
            _ => {
                let trimmed = id.trim();
                let same = trimmed.len() == id.len();
                (trimmed, if same { IdChange::None } else { IdChange::Trimmed })
            }
        };
        if id.is_empty() {
            return Err(self.expected("an id", "nothing"));
        }
        if id.as_bytes().contains(&0) {
            return Err(self.expected(
                "an id without NUL bytes (is the file UTF-16 or binary?)",
                shown(field),
            ));
        }
        let mut plain = id;
        if let Some(whole) = id.strip_suffix(".0")
            && is_whole(whole)
        {
            plain = whole;
            change = IdChange::Float;
        }
        Ok((plain, change))
    }

    /// A finite number.
    pub(crate) fn weight<T: FromStr + Copy + Into<f64>>(&self, field: &[u8]) -> Result<T> {
        let number = ascii(field).and_then(|text| text.parse::<T>().ok());
        match number {
            Some(number) if number.into().is_finite() => Ok(number),
            _ => Err(self.expected("a finite number", shown(field))),
        }
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

/// What was changed in an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdChange {
    None,
    /// Blanks around it were removed.
    Trimmed,
    /// A whole number was written as a float.
    Float,
}

/// Not a blank, nor a part of one.
fn is_plain(byte: u8) -> bool {
    (b'!'..=b'~').contains(&byte)
}

/// `-17`: digits without leading zeros, so that no other id means the same number.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

pub(crate) fn ascii(field: &[u8]) -> Option<&str> {
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
    fn ids_lose_what_is_not_theirs() {
        for (field, id, change) in [
            (&b"a"[..], "a", IdChange::None),
            (b" 10 ", "10", IdChange::Trimmed),
            ("\u{feff}é ".as_bytes(), "\u{feff}é", IdChange::Trimmed),
            (b"a b", "a b", IdChange::None),
            (b"17.0", "17", IdChange::Float),
            (b"-17.0", "-17", IdChange::Float),
            (b"0.0", "0", IdChange::Float),
            (b"-0.0", "-0.0", IdChange::None),
            (b"01.0", "01.0", IdChange::None),
            (b"1.50", "1.50", IdChange::None),
            (b"v2.0", "v2.0", IdChange::None),
        ] {
            assert_eq!(POSITION.id(field).unwrap(), (id, change), "{}", shown(field));
        }
        assert!(POSITION.id(b" ").is_err() && POSITION.id(b"\xff").is_err());
    }

    #[test]
    fn weights_are_finite() {
        assert_eq!(POSITION.weight::<f32>(b" 4.5").unwrap(), 4.5);
        for wrong in [&b"nan"[..], b"inf", b"-inf", b"", b"4,5", b"five", b"1e39"] {
            assert!(POSITION.weight::<f32>(wrong).is_err(), "{}", shown(wrong));
        }
    }
}
