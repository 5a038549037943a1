//! One user per line: `user item item ...` (LightGCN's `train.txt`), or `count item item ...`, where the user
//! is the line number from 0 (CiteULike's `users.dat`).

use super::fields::{FieldPosition, shown};
use super::log_builder::RawId;
use super::understood::Layout;
use super::{LogBuilder, OpenFile};
use crate::{Error, Result};

/// `user item item ...`. Users without items are skipped. `strict`: the format was guessed, because every
/// token of the first lines is a whole number and no user has two lines; what contradicts that is an error.
pub(super) fn read_user_lines(
    source: OpenFile,
    builder: &mut LogBuilder<'_>,
    strict: bool,
) -> Result<()> {
    let path = source.path().to_path_buf();
    let purpose = builder.aliases.purpose;
    let layout = Layout::of_lines("user_lines", "the first", "every other", purpose);
    builder.begin(&path, source.done(), layout)?;
    let mut lines = source.into_lines();
    while let Some((line, bytes)) = lines.next()? {
        let mut tokens = tokens(bytes);
        let id =
            |bytes, column| RawId { bytes, position: FieldPosition { path: &path, line, column } };
        let Some(user) = tokens.next() else { continue };
        if strict {
            if let Some(other) = std::iter::once(user).chain(tokens.clone()).find(|t| !is_whole(t))
            {
                let expected = "a whole number, as in the lines before (`format = \"user_lines\"` accepts any ids)";
                return Err(FieldPosition { path: &path, line, column: "item" }
                    .expected(expected, shown(other)));
            }
            let known =
                std::str::from_utf8(user).is_ok_and(|id| builder.users.ids.get(id).is_some());
            if known {
                let expected = "a user without an earlier line (`format = \"user_lines\"` accepts repeated users)";
                return Err(FieldPosition { path: &path, line, column: "user" }
                    .expected(expected, shown(user)));
            }
        }
        for item in tokens {
            builder.push_ids(&id(user, "user"), &id(item, "item"))?;
        }
    }
    builder.end(&path)
}

/// `count item item ...`.
pub(super) fn read_counted_lines(source: OpenFile, builder: &mut LogBuilder<'_>) -> Result<()> {
    let path = source.path().to_path_buf();
    let purpose = builder.aliases.purpose;
    let layout =
        Layout::of_lines("counted_lines", "the line number", "every but the first", purpose);
    builder.begin(&path, source.done(), layout)?;
    let mut lines = source.into_lines();
    let before = lines.number();
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
        let user = (line - before - 1).to_string();
        for item in tokens {
            builder.push_ids(
                &RawId { bytes: user.as_bytes(), position: position("user") },
                &RawId { bytes: item, position: position("item") },
            )?;
        }
    }
    builder.end(&path)
}

/// Whether the first number of the line counts the others.
pub(super) fn is_counted(line: &[u8]) -> bool {
    let mut tokens = tokens(line);
    let count = tokens.next().and_then(count);
    count == Some(tokens.count())
}

pub(super) fn is_whole(token: &[u8]) -> bool {
    std::str::from_utf8(token).is_ok_and(|text| text.parse::<i64>().is_ok())
}

fn count(token: &[u8]) -> Option<usize> {
    std::str::from_utf8(token).ok()?.parse().ok()
}

/// The fields between spaces and tabs.
pub(super) fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(u8::is_ascii_whitespace).filter(|token| !token.is_empty())
}
