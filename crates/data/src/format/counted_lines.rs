//! One user a line: `count item item ...`, as CiteULike's `users.dat`. The user is the line's number, from 0.

use super::fields::{FieldPosition, shown};
use super::log_builder::{LogRow, RawId};
use super::user_lines::{tokens, tokens_of};
use super::{Format, LogBuilder, OpenFile};
use crate::{Error, Result};

pub(super) const FORMAT: Format = Format {
    name: "counted_lines",
    about: "one user a line: `count item item ...`, the user is the line's number from 0 (CiteULike's users.dat)",
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
        // ReadAt the end of the file blank lines mean nothing; in the middle they would number the users differently.
        if let Some(line) = blank {
            let problem =
                "a blank line, expected `count item item ...` (`0` for a user without items)";
            return Err(Error::Line { path, line, problem: problem.into() });
        }
        let position = |column| FieldPosition { path: &path, line, column };
        let Some(count) = count(first) else {
            return Err(position("count").expected("how many items follow", shown(first)));
        };
        let found = tokens.clone().count();
        if found != count {
            let problem =
                format!("expected {count} items as the line's first number says, found {found}");
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
