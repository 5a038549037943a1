//! Parquet: columns are found by name and decoded in parallel.
//!
//! Timestamps keep the unit of their column (milliseconds, microseconds, nanoseconds; INT96 is nanoseconds;
//! dates are days), since times are only compared. Unsigned 64-bit ids beyond the signed range become text.

use super::fields::{FieldPosition, Roles};
use super::log_builder::check_room;
use super::{Format, LogBuilder, OpenFile, ReadOptions};
use crate::Result;
use crate::columns::parquet::{Cells, broken, column_names, guarded, open, utf8, visit_chunk};
use ::parquet::file::reader::{FileReader, Length, RowGroupReader};
use rankstill_core::Vocab;
use std::path::Path;

pub(super) const FORMAT: Format = Format {
    name: "parquet",
    about: "Parquet: a file or a folder of files; timestamps keep the unit of their column",
    sniff: |head, _| head.bytes.starts_with(b"PAR1"),
    read: |source, options, builder| {
        let path = source.path().to_path_buf();
        guarded(&path, || read(&source, options, builder))
    },
};

fn read(source: &OpenFile, options: &ReadOptions, builder: &mut LogBuilder<'_>) -> Result<()> {
    let path = source.path();
    let reader = open(path, source.input().clone())?;
    let names = column_names(reader.metadata().file_metadata().schema_descr());
    let roles = Roles::find(path, &names, options, builder.aliases)?;
    let done = source.done();
    done.set(0);
    builder.begin(path, std::rc::Rc::clone(&done), roles.time.is_some(), roles.weight.is_some())?;
    let scale = options.time_scale.unwrap_or(1);
    let mut first_row = 1;
    // The footer may lie: reserve at most one row per byte of the file.
    let n_rows = reader.metadata().file_metadata().num_rows().max(0) as u64;
    builder.reserve(n_rows.min(source.input().len()) as usize);
    for at in 0..reader.num_row_groups() {
        let group = reader.get_row_group(at).map_err(|error| broken(path, &error))?;
        let group = RowGroup { path, group: group.as_ref(), names: &names, first_row };
        let columns = builder.columns();
        let (users, (items, (times, weights))) = rayon::join(
            || group.ids(roles.user, columns.users),
            || {
                let items = group.ids(roles.item, columns.items);
                let rest = || {
                    let times = roles.time.zip(columns.times);
                    let times =
                        times.map_or(Ok(()), |(column, times)| group.times(column, scale, times));
                    let weights = roles.weight.zip(columns.weights);
                    (
                        times,
                        weights.map_or(Ok(()), |(column, weights)| group.weights(column, weights)),
                    )
                };
                (items, rest())
            },
        );
        users.and(items).and(times).and(weights)?;
        first_row += group.group.metadata().num_rows().max(0) as u64;
        done.set(done.get() + group.group.metadata().compressed_size().max(0) as u64);
        builder.report();
    }
    Ok(())
}

struct RowGroup<'a> {
    path: &'a Path,
    group: &'a dyn RowGroupReader,
    names: &'a [String],
    first_row: u64,
}

impl RowGroup<'_> {
    fn visit(
        &self,
        column: usize,
        visit: &mut dyn FnMut(FieldPosition<'_>, &Cells) -> Result<()>,
    ) -> Result<()> {
        visit_chunk(self.path, self.group, column, self.first_row, &mut |line, cells| {
            visit(FieldPosition { path: self.path, line, column: &self.names[column] }, cells)
        })
    }

    fn ids(&self, column: usize, (numbers, vocab): (&mut Vec<u32>, &mut Vocab)) -> Result<()> {
        self.visit(column, &mut |position, cells| {
            if vocab.len() + cells.len() > Vocab::MAX_LEN {
                check_room(
                    vocab,
                    FieldPosition { line: position.line + cells.len() as u64, ..position },
                )?;
            }
            let at = |i: usize| FieldPosition { line: position.line + i as u64, ..position };
            match cells {
                Cells::Int(ids) => numbers.extend(ids.iter().map(|&id| vocab.intern_int(id))),
                Cells::Unsigned(ids) => {
                    numbers.extend(ids.iter().map(|&id| vocab.intern(&id.to_string())));
                }
                Cells::F32(ids) => {
                    for (i, &id) in ids.iter().enumerate() {
                        numbers.push(vocab.intern_int(at(i).id_of_f64(f64::from(id))?));
                    }
                }
                Cells::F64(ids) => {
                    for (i, &id) in ids.iter().enumerate() {
                        numbers.push(vocab.intern_int(at(i).id_of_f64(id)?));
                    }
                }
                Cells::Text(ids) => {
                    for (i, id) in ids.iter().enumerate() {
                        numbers.push(vocab.intern(at(i).id(id.data())?));
                    }
                }
            }
            Ok(())
        })
    }

    fn times(&self, column: usize, scale: u32, times: &mut Vec<i64>) -> Result<()> {
        self.visit(column, &mut |position, cells| {
            let at = |i: usize| FieldPosition { line: position.line + i as u64, ..position };
            match cells {
                Cells::Int(values) if scale == 1 => times.extend_from_slice(values),
                Cells::Int(values) => {
                    for (i, &value) in values.iter().enumerate() {
                        times.push(at(i).time_of_i64(value, scale)?);
                    }
                }
                Cells::Unsigned(values) => {
                    for (i, &value) in values.iter().enumerate() {
                        let value = i64::try_from(value);
                        let value = value.map_err(|_| {
                            at(i).expected("a time within 63 bits", "a larger number")
                        })?;
                        times.push(at(i).time_of_i64(value, scale)?);
                    }
                }
                Cells::F32(values) => {
                    for (i, &value) in values.iter().enumerate() {
                        times.push(at(i).time_of_f64(f64::from(value), scale)?);
                    }
                }
                Cells::F64(values) => {
                    for (i, &value) in values.iter().enumerate() {
                        times.push(at(i).time_of_f64(value, scale)?);
                    }
                }
                Cells::Text(values) => {
                    for (i, value) in values.iter().enumerate() {
                        utf8(position.path, position.column, at(i).line, value.data())?;
                        times.push(at(i).time(value.data(), scale)?);
                    }
                }
            }
            Ok(())
        })
    }

    fn weights(&self, column: usize, weights: &mut Vec<f32>) -> Result<()> {
        self.visit(column, &mut |position, cells| {
            let at = |i: usize| FieldPosition { line: position.line + i as u64, ..position };
            match cells {
                Cells::Int(values) => weights.extend(values.iter().map(|&value| value as f32)),
                Cells::Unsigned(values) => weights.extend(values.iter().map(|&value| value as f32)),
                Cells::F32(values) => {
                    for (i, &value) in values.iter().enumerate() {
                        weights.push(at(i).weight_of_f64(f64::from(value))?);
                    }
                }
                Cells::F64(values) => {
                    for (i, &value) in values.iter().enumerate() {
                        weights.push(at(i).weight_of_f64(value)?);
                    }
                }
                Cells::Text(values) => {
                    for (i, value) in values.iter().enumerate() {
                        weights.push(at(i).weight(value.data())?);
                    }
                }
            }
            Ok(())
        })
    }
}
