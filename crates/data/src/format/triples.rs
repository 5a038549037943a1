//! `user item rating` separated by spaces, without a header, as in the files of the RD authors. The rating is
//! optional; a time may follow it.

use super::fields::{FieldPosition, Roles};
use super::log_builder::{LogRow, RawId};
use super::user_lines::{tokens, tokens_of};
use super::{Format, LogBuilder, OpenFile, ReadOptions};
use crate::{Error, Result};
use std::rc::Rc;

pub(super) const FORMAT: Format = Format {
    name: "triples",
    about: "`user item [rating [time]]` separated by spaces, without a header (the RD authors' files)",
    sniff: |head, _| {
        // Three columns in every line, the third a number. Two columns look like `user_lines`, which reads
        // them the same way as long as no user has two lines.
        let mut lines = tokens_of(head).map(|tokens| tokens.collect::<Vec<_>>());
        let mut any = false;
        lines.all(|tokens| {
            any = true;
            let number = |token: &[u8]| {
                std::str::from_utf8(token).is_ok_and(|text| text.parse::<f32>().is_ok())
            };
            tokens.len() == 3 && number(tokens[2])
        }) && any
    },
    read,
};

const NAMES: [&str; 4] = ["user", "item", "rating", "time"];

fn read(source: OpenFile, options: &ReadOptions, builder: &mut LogBuilder<'_>) -> Result<()> {
    let path = source.path().to_path_buf();
    let done = source.done();
    let mut lines = source.into_lines();
    let scale = options.time_scale.unwrap_or(1);
    let mut shape: Option<(usize, Roles)> = None;
    while let Some((line, bytes)) = lines.next()? {
        let fields: Vec<&[u8]> = tokens(bytes).take(NAMES.len() + 1).collect();
        let found = fields.len();
        let (expected, roles) = match shape {
            Some(shape) => shape,
            None => {
                if !(2..=NAMES.len()).contains(&found) {
                    return Err(Error::Columns { path, line, expected: 3, found });
                }
                let roles = Roles::by_position(&path, found, options)?;
                builder.begin(
                    &path,
                    Rc::clone(&done),
                    roles.time.is_some(),
                    roles.weight.is_some(),
                )?;
                *shape.insert((found, roles))
            }
        };
        if found != expected {
            return Err(Error::Columns { path, line, expected, found });
        }
        let position = |column: usize| FieldPosition { path: &path, line, column: NAMES[column] };
        let id = |column: usize| RawId { bytes: fields[column], position: position(column) };
        let time = roles.time.map(|column| position(column).time(fields[column], scale));
        let weight = roles.weight.map(|column| position(column).weight(fields[column]));
        builder.push(&LogRow {
            user: id(roles.user),
            item: id(roles.item),
            time: time.transpose()?.unwrap_or_default(),
            weight: weight.transpose()?.unwrap_or_default(),
        })?;
    }
    Ok(())
}
