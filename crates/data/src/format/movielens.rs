//! MovieLens: `u.data` (tabs, no header), `ratings.dat` (`::`, no header), `ratings.csv` (with a header); all
//! user, item, rating, time.

use super::delimited::{self, Dialect, HeaderStyle};
use super::fields::{FieldPosition, Roles};
use super::log_builder::{LogRow, RawId};
use super::{Format, LogBuilder, OpenFile, ReadOptions};
use crate::{Error, Result};

pub(super) const FORMAT: Format = Format {
    name: "movielens",
    about: "MovieLens: `u.data`, `ratings.dat` (`user::item::rating::time`) and `ratings.csv`",
    sniff: |head, options| {
        let line = head.first_line();
        let plain = options.delimiter.is_none() && options.header.is_none();
        plain && (is_double_colon(line) || is_u_data(line) || line.starts_with(CSV_HEADER))
    },
    read: |source, options, builder| {
        let line = source.head().first_line().to_vec();
        if is_double_colon(&line) {
            return read_double_colon(source, options, builder);
        }
        let dialect = if line.starts_with(CSV_HEADER) {
            Dialect { delimiter: b',', quoting: true, header: HeaderStyle::Plain }
        } else {
            Dialect { delimiter: b'\t', quoting: false, header: HeaderStyle::None }
        };
        delimited::read(source, options, builder, &dialect)
    },
};

const CSV_HEADER: &[u8] = b"userId,movieId,rating";

fn is_double_colon(line: &[u8]) -> bool {
    line.windows(2).filter(|pair| pair == b"::").count() >= 2
}

/// Three or four columns of numbers, separated by tabs.
fn is_u_data(line: &[u8]) -> bool {
    let mut fields = line.split(|&byte| byte == b'\t').map(<[u8]>::trim_ascii);
    let is_number = |field: &[u8]| {
        !field.is_empty() && field.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
    };
    let n = fields.clone().count();
    (3..=4).contains(&n) && fields.all(is_number)
}

fn read_double_colon(
    source: OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
) -> Result<()> {
    let path = source.path().to_path_buf();
    let done = source.done();
    let mut lines = source.into_lines();
    let scale = options.time_scale.unwrap_or(1);
    let mut shape: Option<(usize, Roles, Vec<String>)> = None;
    while let Some((line, bytes)) = lines.next()? {
        let fields: Vec<&[u8]> = split(bytes);
        let (n_columns, roles, names) = match &mut shape {
            Some(shape) => shape,
            none => {
                let n = fields.len();
                let roles = Roles::by_position(&path, n, options)?;
                builder.begin(
                    &path,
                    std::rc::Rc::clone(&done),
                    roles.time.is_some(),
                    roles.weight.is_some(),
                )?;
                none.insert((n, roles, (1..=n).map(|column| column.to_string()).collect()))
            }
        };
        if fields.len() != *n_columns {
            return Err(Error::Columns { path, line, expected: *n_columns, found: fields.len() });
        }
        let position = |column: usize| FieldPosition { path: &path, line, column: &names[column] };
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

/// Splits a line at `::`.
fn split(line: &[u8]) -> Vec<&[u8]> {
    let (mut fields, mut start, mut at) = (Vec::with_capacity(4), 0, 0);
    while at + 1 < line.len() {
        if &line[at..at + 2] == b"::" {
            fields.push(&line[start..at]);
            at += 2;
            start = at;
        } else {
            at += 1;
        }
    }
    fields.push(&line[start..]);
    fields
}
