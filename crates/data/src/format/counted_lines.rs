//! One user a line: `count item item ...`, as CiteULike's `users.dat`. The user is the line's number, from 0.

use super::fields::{Place, shown};
use super::rows::{Id, Row};
use super::user_lines::{tokens, tokens_of};
use super::{Format, Rows, Source};
use crate::{Error, Result};

pub(super) const FORMAT: Format = Format {
    name: "counted_lines",
    about: "one user a line: `count item item ...`, the user is the line's number from 0 (CiteULike's users.dat)",
    sniff: |sample, _| {
        let mut any = false;
        let counted = tokens_of(sample).all(|mut tokens| {
            let count = tokens.next().and_then(count);
            any |= count.is_some_and(|count| count > 0);
            count == Some(tokens.count())
        });
        counted && any
    },
    read: |source, _, rows| read(source, rows),
};

fn read(source: Source, rows: &mut Rows<'_>) -> Result<()> {
    let path = source.path().to_path_buf();
    rows.begin(&path, source.done(), false, false)?;
    let mut lines = source.into_lines();
    let mut blank = None;
    while let Some((line, bytes)) = lines.next_or_blank()? {
        let mut tokens = tokens(bytes);
        let Some(first) = tokens.next() else {
            blank.get_or_insert(line);
            continue;
        };
        // At the end of the file blank lines mean nothing; in the middle they would number the users differently.
        if let Some(line) = blank {
            let problem =
                "a blank line, expected `count item item ...` (`0` for a user without items)";
            return Err(Error::Line { path, line, problem: problem.into() });
        }
        let place = |column| Place { path: &path, line, column };
        let Some(count) = count(first) else {
            return Err(place("count").expected("how many items follow", shown(first)));
        };
        let found = tokens.clone().count();
        if found != count {
            let problem =
                format!("expected {count} items as the line's first number says, found {found}");
            return Err(Error::Line { path, line, problem });
        }
        let user = (line - 1).to_string();
        for item in tokens {
            rows.push(&Row {
                user: Id { bytes: user.as_bytes(), place: place("user") },
                item: Id { bytes: item, place: place("item") },
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
