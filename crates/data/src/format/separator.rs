//! What separates the columns of a text table.

use super::ReadOptions;
use super::lines::tokens;
use crate::{Error, Result};
use std::borrow::Cow;

/// What separates the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Byte(u8),
    /// `::`
    DoubleColon,
    /// Any number of spaces and tabs.
    Blanks,
}

impl Separator {
    /// From most to least telling: blanks fit many files.
    pub(super) const ALL: [Self; 7] = [
        Self::DoubleColon,
        Self::Byte(b'\t'),
        Self::Byte(b','),
        Self::Byte(b';'),
        Self::Byte(b'|'),
        Self::Byte(1),
        Self::Blanks,
    ];

    /// The separator in the options.
    ///
    /// # Errors
    /// When it cannot separate columns.
    pub(super) fn option(options: &ReadOptions) -> Result<Option<Self>> {
        let Some(text) = options.delimiter.as_deref() else { return Ok(None) };
        let found = match text {
            "::" => Self::DoubleColon,
            "blanks" | " " => Self::Blanks,
            "tab" | "\\t" => Self::Byte(b'\t'),
            "ctrl-a" | "\\x01" | "\\u0001" | "^A" => Self::Byte(1),
            _ => match *text.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | b'"' | 0) => {
                    Self::Byte(byte)
                }
                _ => {
                    let problem = format!(
                        "expected an ASCII character other than a quote or a line end, `::`, `tab`, `ctrl-a` or `blanks`, found `{}`",
                        text.escape_debug()
                    );
                    return Err(Error::config("delimiter", problem));
                }
            },
        };
        Ok(Some(found))
    }

    /// In words.
    pub(super) fn shown(self) -> String {
        match self {
            Self::Byte(b'\t') => "tabs".into(),
            Self::Byte(1) => "Ctrl-A".into(),
            Self::Byte(byte) => format!("`{}`", byte as char),
            Self::DoubleColon => "`::`".into(),
            Self::Blanks => "blanks".into(),
        }
    }

    /// As an option.
    pub(super) fn option_text(self) -> String {
        match self {
            Self::Byte(b'\t') => "tab".into(),
            Self::Byte(1) => "ctrl-a".into(),
            Self::Byte(byte) => (byte as char).into(),
            Self::DoubleColon => "::".into(),
            Self::Blanks => "blanks".into(),
        }
    }

    /// The fields of one line. Quotes are read as in RFC 4180, but a quoted field cannot hold a line end here.
    pub(super) fn split(self, line: &[u8], quoting: bool) -> Vec<Cow<'_, [u8]>> {
        match self {
            Self::Blanks => tokens(line).map(Cow::Borrowed).collect(),
            Self::DoubleColon => split_double_colon(line).map(Cow::Borrowed).collect(),
            Self::Byte(byte) if quoting && line.contains(&b'"') => {
                let mut reader = csv_core::ReaderBuilder::new().delimiter(byte).build();
                let (mut bytes, mut ends) = (vec![0; line.len() + 1], vec![0; line.len() + 1]);
                let (_, n_in, n_out, n_ends) = reader.read_record(line, &mut bytes, &mut ends);
                let (_, _, more, more_ends) =
                    reader.read_record(&line[n_in..], &mut bytes[n_out..], &mut ends[n_ends..]);
                let n_ends = n_ends + more_ends;
                bytes.truncate(n_out + more);
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let ranges = starts.zip(&ends[..n_ends]);
                ranges.map(|(start, &end)| Cow::Owned(bytes[start..end].to_vec())).collect()
            }
            Self::Byte(byte) => line.split(|&b| b == byte).map(Cow::Borrowed).collect(),
        }
    }
}

/// The fields between `::`.
pub(super) fn split_double_colon(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        match line.windows(2).position(|pair| pair == b"::") {
            Some(at) => {
                rest = Some(&line[at + 2..]);
                Some(&line[..at])
            }
            None => rest.take(),
        }
    })
}
