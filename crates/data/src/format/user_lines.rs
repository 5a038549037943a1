//! One user a line: `user item item ...`, as LightGCN's `train.txt`. A user without items is passed over.

use super::fields::Place;
use super::rows::{Id, Row};
use super::{Format, Rows, Sample, Source};
use crate::Result;
use std::collections::HashSet;

pub(super) const FORMAT: Format = Format {
    name: "user_lines",
    about: "one user a line: `user item item ...` (LightGCN's train.txt)",
    sniff: |sample, _| {
        let mut users = HashSet::new();
        let mut firsts = tokens_of(sample).filter_map(|mut tokens| tokens.next());
        firsts.all(|user| users.insert(user)) && tokens_of(sample).any(|tokens| tokens.count() > 1)
    },
    read: |source, _, rows| read(source, rows),
};

fn read(source: Source, rows: &mut Rows<'_>) -> Result<()> {
    let path = source.path().to_path_buf();
    rows.begin(&path, source.done(), false, false)?;
    let mut lines = source.into_lines();
    while let Some((line, bytes)) = lines.next()? {
        let mut tokens = tokens(bytes);
        let id = |bytes, column| Id { bytes, place: Place { path: &path, line, column } };
        let Some(user) = tokens.next() else { continue };
        for item in tokens {
            rows.push(&Row {
                user: id(user, "user"),
                item: id(item, "item"),
                time: 0,
                weight: 0.0,
            })?;
        }
    }
    Ok(())
}

/// What stands between blanks and tabs.
pub(super) fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(u8::is_ascii_whitespace).filter(|token| !token.is_empty())
}

/// The tokens of each complete line of a sample.
pub(super) fn tokens_of<'a>(
    sample: &Sample<'a>,
) -> impl Iterator<Item = impl Iterator<Item = &'a [u8]> + Clone + use<'a>> + use<'a> {
    sample.lines().map(tokens)
}
