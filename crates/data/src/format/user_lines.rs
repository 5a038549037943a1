//! One user per line: `user item item ...`, as in LightGCN's `train.txt`. Users without items are skipped.

use super::fields::FieldPosition;
use super::log_builder::{LogRow, RawId};
use super::{Format, Head, LogBuilder, OpenFile};
use crate::Result;
use std::collections::HashSet;

pub(super) const FORMAT: Format = Format {
    name: "user_lines",
    about: "one user per line: `user item item ...` (LightGCN's train.txt)",
    sniff: |head, _| {
        let mut users = HashSet::new();
        let mut firsts = tokens_of(head).filter_map(|mut tokens| tokens.next());
        firsts.all(|user| users.insert(user)) && tokens_of(head).any(|tokens| tokens.count() > 1)
    },
    read: |source, _, builder| read(source, builder),
};

fn read(source: OpenFile, builder: &mut LogBuilder<'_>) -> Result<()> {
    let path = source.path().to_path_buf();
    builder.begin(&path, source.done(), false, false)?;
    let mut lines = source.into_lines();
    while let Some((line, bytes)) = lines.next()? {
        let mut tokens = tokens(bytes);
        let id =
            |bytes, column| RawId { bytes, position: FieldPosition { path: &path, line, column } };
        let Some(user) = tokens.next() else { continue };
        for item in tokens {
            builder.push(&LogRow {
                user: id(user, "user"),
                item: id(item, "item"),
                time: 0,
                weight: 0.0,
            })?;
        }
    }
    Ok(())
}

/// The fields between spaces and tabs.
pub(super) fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(u8::is_ascii_whitespace).filter(|token| !token.is_empty())
}

/// The fields of each complete line.
pub(super) fn tokens_of<'a>(
    head: &Head<'a>,
) -> impl Iterator<Item = impl Iterator<Item = &'a [u8]> + Clone + use<'a>> + use<'a> {
    head.lines().map(tokens)
}
