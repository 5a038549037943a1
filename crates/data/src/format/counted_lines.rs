//! One user per line: `count item item ...`, as in CiteULike's `users.dat`. The user is the line number, from
//! 0.

use super::fields::{FieldPosition, shown};
use super::log_builder::{LogRow, RawId};
use super::user_lines::{tokens, tokens_of};
use super::{Format, LogBuilder, OpenFile};
use crate::{Error, Result};

pub(super) const FORMAT: Format = Format {
    name: "counted_lines",
    about: "one user per line: `count item item ...`; the user is the line number, from 0 (CiteULike's users.dat)",
    sniff: |head, _| {
        let mut any = false;
        let counted = tokens_of(head).all(|mut tokens| {
            let count = tokens.next().and_then(count);
            any |= count.is_some_and(|count| count > 0);
            count == Some(tokens.count())
        });
        counted && any
    },
    read: |source, _, builder| read(source, builder),
};

fn read(source: OpenFile, builder: &mut LogBuilder<'_>) -> Result<()> {
    let path = source.path().to_path_buf();
    builder.begin(&path, source.done(), false, false)?;
    let mut lines = source.into_lines();
    let mut blank = None;
    while let Some((line, bytes)) = lines.next_or_blank()? {
        let mut tokens = tokens(bytes);
        let Some(first) = tokens.next() else {
            blank.get_or_insert(line);
            continue;
        };
        // Blank lines at the end are ignored; in the middle they would change the numbers of the users.
        if let Some(line) = blank {
            let problem =
                "blank line, expected `count item item ...` (`0` for a user without items)";
            return Err(Error::Line { path, line, problem: problem.into() });
        }
        let position = |column| FieldPosition { path: &path, line, column };
        let Some(count) = count(first) else {
            return Err(position("count").expected("the number of items on the line", shown(first)));
        };
        let found = tokens.clone().count();
        if found != count {
            let problem =
                format!("expected {count} items (the first number of the line), found {found}");
            return Err(Error::Line { path, line, problem });
        }
        let user = (line - 1).to_string();
        for item in tokens {
            builder.push(&LogRow {
                user: RawId { bytes: user.as_bytes(), position: position("user") },
                item: RawId { bytes: item, position: position("item") },
                time: 0,
                weight: 0.0,
            })?;
        }
    }
    Ok(())
}

fn count(token: &[u8]) -> Option<usize> {
    std::str::from_utf8(token).ok()?.parse().ok()
}
