//! Parquet: columns are found by name and decoded in parallel. The schema says what a column holds: timestamps
//! have a unit, decimals are exact, and a column without meaning for its role is refused by name and type.

use super::fields::FieldPosition;
use super::log_builder::{IdColumn, RawId, WeightColumn, too_many_ids};
use super::roles::Roles;
use super::table::{Kept, layout};
use super::times::{NumberUnit, TimeColumn};
use super::{LogBuilder, OpenFile, ReadOptions};
use crate::columns::parquet::{
    Cells, Meaning, Tick, broken, column_names, guarded, open, type_name, utf8, visit_chunk,
};
use crate::{Error, Result};
use ::parquet::file::reader::{FileReader, Length, RowGroupReader};
use ::parquet::schema::types::SchemaDescriptor;
use rankstill_core::Vocab;
use std::path::Path;

pub(super) fn read_log(
    source: &OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
    keys: &[(String, String)],
) -> Result<()> {
    let path = source.path().to_path_buf();
    guarded(&path, || read(source, options, builder, keys))?;
    builder.end(&path)
}

fn read(
    source: &OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
    keys: &[(String, String)],
) -> Result<()> {
    let path = source.path();
    let reader = open(path, source.input().clone())?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let mut names = column_names(schema);
    let n_columns = names.len();
    names.extend(keys.iter().map(|(key, _)| key.clone()));
    let purpose = builder.aliases.purpose;
    let roles = Roles::find(path, &names, options, builder.aliases)?;
    let kept = Kept::find(path, &names, &roles, options)?;
    builder.note_kinds(&names);
    let done = source.done();
    done.set(0);
    builder.begin(path, std::rc::Rc::clone(&done), layout("parquet", &names, &roles, purpose))?;
    let of_schema = |column: usize| (column < n_columns).then_some(column);
    for (role, column) in [("user", roles.user), ("item", roles.item)] {
        if let Some(column) = of_schema(column) {
            check_id(path, role, schema, column)?;
        }
    }
    if let (Some(column), Some(times)) = (roles.time.and_then(of_schema), builder.times.as_mut())
        && let Meaning::Moment(tick) = Meaning::of(path, &schema.column(column))?
    {
        times.set_type(match tick {
            Tick::Milliseconds => NumberUnit::Milliseconds,
            Tick::Microseconds => NumberUnit::Microseconds,
            Tick::Nanoseconds => NumberUnit::Nanoseconds,
            Tick::Days => NumberUnit::Days,
        });
    }
    let mut first_row = 1;
    // The footer may lie: reserve at most one row per byte of the file.
    let n_rows = reader.metadata().file_metadata().num_rows().max(0) as u64;
    builder.reserve(n_rows.min(source.input().len()) as usize);
    for at in 0..reader.num_row_groups() {
        let group = reader.get_row_group(at).map_err(|error| broken(path, &error))?;
        let mut group =
            RowGroup { path, group: group.as_ref(), names: &names, keys, first_row, keep: None };
        group.keep = group.kept(&kept)?;
        let left_out = group.keep.as_ref().map(|keep| keep.iter().filter(|&&kept| !kept).count());
        builder.left_out += left_out.unwrap_or(0) as u64;
        let (users, items) = (&mut builder.users, &mut builder.items);
        let (times, weights) = (builder.times.as_mut(), builder.weights.as_mut());
        let (users, (items, (times, weights))) = rayon::join(
            || group.ids(roles.user, users),
            || {
                let items = group.ids(roles.item, items);
                let times = roles.time.zip(times);
                let times = times.map_or(Ok(()), |(column, times)| group.times(column, times));
                let weights = roles.weight.zip(weights);
                let weights =
                    weights.map_or(Ok(()), |(column, weights)| group.weights(column, weights));
                (items, (times, weights))
            },
        );
        users.and(items).and(times).and(weights)?;
        first_row += group.group.metadata().num_rows().max(0) as u64;
        done.set(done.get() + group.group.metadata().compressed_size().max(0) as u64);
        builder.report();
    }
    Ok(())
}

/// Refuses moments and truth values as ids.
fn check_id(path: &Path, role: &str, schema: &SchemaDescriptor, column: usize) -> Result<()> {
    let column = schema.column(column);
    match Meaning::of(path, &column)? {
        Meaning::Plain | Meaning::Decimal(_) | Meaning::Uuid => Ok(()),
        Meaning::Moment(_) | Meaning::Truth => {
            let problem = format!(
                "column `{}` ({role}): expected ids as text or integers, found {}",
                column.name(),
                type_name(&column)
            );
            Err(Error::file(path, problem))
        }
    }
}

struct RowGroup<'a> {
    path: &'a Path,
    group: &'a dyn RowGroupReader,
    /// Those of the schema, then the keys.
    names: &'a [String],
    keys: &'a [(String, String)],
    first_row: u64,
    /// Whether each row is kept; all are if `None`.
    keep: Option<Vec<bool>>,
}

/// Kept rows of a batch: their index in it and their position in the file.
type KeptRows<'a, 'p> = &'a mut dyn Iterator<Item = (usize, FieldPosition<'p>)>;

impl RowGroup<'_> {
    fn n_rows(&self) -> usize {
        self.group.metadata().num_rows().max(0) as usize
    }

    /// Visits the kept rows of a column, with the position of each.
    fn visit(
        &self,
        column: usize,
        visit: &mut dyn FnMut(KeptRows<'_, '_>, &Cells) -> Result<()>,
    ) -> Result<()> {
        let name = &self.names[column];
        let mut each = |line: u64, cells: &Cells| {
            let start = (line - self.first_row) as usize;
            let kept = |&i: &usize| {
                self.keep.as_ref().is_none_or(|keep| keep.get(start + i) == Some(&true))
            };
            let position =
                |i: usize| FieldPosition { path: self.path, line: line + i as u64, column: name };
            visit(&mut (0..cells.len()).filter(kept).map(|i| (i, position(i))), cells)
        };
        match column.checked_sub(self.names.len() - self.keys.len()) {
            None => visit_chunk(self.path, self.group, column, self.first_row, &mut each),
            Some(key) => {
                let value = ::parquet::data_type::ByteArray::from(self.keys[key].1.as_str());
                each(self.first_row, &Cells::Text(vec![value; self.n_rows()]))
            }
        }
    }

    fn kept(&self, kept: &Kept) -> Result<Option<Vec<bool>>> {
        if kept.is_empty() {
            return Ok(None);
        }
        let mut keep = vec![true; self.n_rows()];
        for (column, values) in kept.columns() {
            self.visit(column, &mut |rows, cells| {
                for (i, position) in rows {
                    let row = (position.line - self.first_row) as usize;
                    let text = match cells {
                        Cells::Int(cells) => cells[i].to_string(),
                        Cells::Unsigned(cells) => cells[i].to_string(),
                        Cells::F32(cells) => cells[i].to_string(),
                        Cells::F64(cells) => cells[i].to_string(),
                        Cells::Decimal(cells, scale) => decimal_text(cells[i], *scale),
                        Cells::Text(cells) => {
                            let text =
                                utf8(self.path, position.column, position.line, cells[i].data())?;
                            text.trim().to_owned()
                        }
                    };
                    if let Some(keep) = keep.get_mut(row) {
                        *keep &= values.contains(&text);
                    }
                }
                Ok(())
            })?;
        }
        Ok(Some(keep))
    }

    fn ids(&self, column: usize, ids: &mut IdColumn) -> Result<()> {
        self.visit(column, &mut |rows, cells| {
            if ids.ids.len() + cells.len() > Vocab::MAX_LEN
                && let Some((_, position)) = rows.last()
            {
                return Err(too_many_ids(position));
            }
            match cells {
                // Without a look at positions: the usual case.
                Cells::Int(cells) if self.keep.is_none() => ids.push_ints(cells),
                Cells::Int(cells) => rows.for_each(|(i, _)| ids.push_int(cells[i])),
                Cells::Unsigned(cells) => {
                    for (i, position) in rows {
                        ids.push(&RawId { bytes: cells[i].to_string().as_bytes(), position })?;
                    }
                }
                Cells::F32(cells) => {
                    for (i, position) in rows {
                        ids.push_float(position, f64::from(cells[i]))?;
                    }
                }
                Cells::F64(cells) => {
                    for (i, position) in rows {
                        ids.push_float(position, cells[i])?;
                    }
                }
                Cells::Decimal(cells, scale) => {
                    for (i, position) in rows {
                        let whole = cells[i] / 10i128.pow(*scale);
                        if whole * 10i128.pow(*scale) != cells[i] {
                            let found = decimal_text(cells[i], *scale);
                            return Err(position.expected("an id: text or a whole number", found));
                        }
                        ids.push(&RawId { bytes: whole.to_string().as_bytes(), position })?;
                    }
                }
                Cells::Text(cells) => {
                    for (i, position) in rows {
                        ids.push(&RawId { bytes: cells[i].data(), position })?;
                    }
                }
            }
            Ok(())
        })
    }

    fn times(&self, column: usize, times: &mut TimeColumn) -> Result<()> {
        self.visit(column, &mut |rows, cells| {
            // Without a look at positions: the usual case.
            if let (Cells::Int(cells), None) = (cells, &self.keep)
                && times.push_numbers(cells)
            {
                return Ok(());
            }
            for (i, position) in rows {
                match cells {
                    Cells::Int(cells) => times.push_number(position, cells[i])?,
                    Cells::Unsigned(cells) => {
                        let number = i64::try_from(cells[i]);
                        let number = number.map_err(|_| {
                            position.expected("a time within 63 bits", "a larger number")
                        })?;
                        times.push_number(position, number)?;
                    }
                    Cells::F32(cells) => times.push_float(position, f64::from(cells[i]))?,
                    Cells::F64(cells) => times.push_float(position, cells[i])?,
                    Cells::Decimal(cells, scale) => {
                        times.push_text(position, decimal_text(cells[i], *scale).as_bytes())?;
                    }
                    Cells::Text(cells) => {
                        utf8(self.path, position.column, position.line, cells[i].data())?;
                        times.push_text(position, cells[i].data())?;
                    }
                }
            }
            Ok(())
        })
    }

    fn weights(&self, column: usize, weights: &mut WeightColumn) -> Result<()> {
        self.visit(column, &mut |rows, cells| {
            if let (Cells::F32(cells), None) = (cells, &self.keep)
                && weights.push_floats(cells)
            {
                return Ok(());
            }
            for (i, position) in rows {
                match cells {
                    Cells::Int(cells) if weights.has_kinds() => {
                        weights.push_text(position, cells[i].to_string().as_bytes())?;
                    }
                    Cells::Int(cells) => weights.push_int(cells[i]),
                    Cells::Unsigned(cells) => weights.push_float(position, cells[i] as f64)?,
                    Cells::F32(cells) => weights.push_float(position, f64::from(cells[i]))?,
                    Cells::F64(cells) => weights.push_float(position, cells[i])?,
                    Cells::Decimal(cells, scale) => {
                        weights.push_text(position, decimal_text(cells[i], *scale).as_bytes())?;
                    }
                    Cells::Text(cells) => weights.push_text(position, cells[i].data())?,
                }
            }
            Ok(())
        })
    }
}

/// `-10.50`
fn decimal_text(number: i128, scale: u32) -> String {
    let (one, size) = (10u128.pow(scale), number.unsigned_abs());
    let sign = if number < 0 { "-" } else { "" };
    match scale {
        0 => format!("{sign}{size}"),
        _ => format!("{sign}{}.{:0width$}", size / one, size % one, width = scale as usize),
    }
}
