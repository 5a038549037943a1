//! Logs and rankings from tables in memory, such as data frames. The caller passes the columns that have a role, batch by batch; ids,
//! times and weights become what they would be if the table were read from a Parquet file.

use super::fields::FieldPosition;
use super::log_builder::{IdColumn, RawId, Rows, WeightColumn, too_many_ids};
use super::roles::{ColumnAliases, LOG_ALIASES, RANKING_ALIASES, Roles};
use super::times::{NumberUnit, TimeColumn};
use super::{Purpose, ReadOptions};
use crate::rankings::{RankingRows, RankingsFile};
use crate::{Column, Error, Log, Result};
use rankstill_core::Vocab;
use std::path::{Path, PathBuf};

/// Reads a table that comes in batches.
///
/// ```
/// use rankstill_data::format::TableReader;
/// use rankstill_data::{Column, ReadOptions};
///
/// let names = ["item_id", "price", "user_id"].map(str::to_owned);
/// let mut reader = TableReader::log("my data frame", &names, &ReadOptions::default())?;
/// assert_eq!(reader.wanted(), [2, 0]); // the user and the item
/// reader.push(&[Column::I64(vec![7, 9]), Column::Text(["tea", "milk"].into_iter().collect())])?;
/// let log = reader.into_log()?;
/// assert_eq!((log.users, log.items), (vec![0, 1], vec![0, 1]));
/// # Ok::<(), rankstill_data::Error>(())
/// ```
pub struct TableReader {
    /// In messages, in place of a file.
    name: PathBuf,
    columns: Vec<String>,
    roles: Roles,
    wanted: Vec<usize>,
    users: IdColumn,
    items: IdColumn,
    times: Option<TimeColumn>,
    weights: Option<WeightColumn>,
}

impl TableReader {
    /// A log with columns of these names. `name` stands for the table in messages. Of the options only those of columns and times
    /// apply.
    ///
    /// # Errors
    /// When a column is missing or named twice.
    pub fn log(name: &str, columns: &[String], options: &ReadOptions) -> Result<Self> {
        Self::new(name, columns, options, &LOG_ALIASES)
    }

    /// Rankings: a user, an item, and a rank or a score or both.
    ///
    /// # Errors
    /// As [`TableReader::log`].
    pub fn rankings(name: &str, columns: &[String], options: &ReadOptions) -> Result<Self> {
        Self::new(name, columns, options, &RANKING_ALIASES)
    }

    fn new(
        name: &str,
        columns: &[String],
        options: &ReadOptions,
        aliases: &ColumnAliases,
    ) -> Result<Self> {
        let roles = Roles::find(Path::new(name), columns, options, aliases)?;
        let ranks = aliases.purpose == Purpose::Rankings;
        let weights = || WeightColumn::new(options, aliases.purpose);
        let optional = [roles.time, roles.weight].into_iter().flatten();
        Ok(Self {
            name: name.into(),
            columns: columns.to_vec(),
            roles,
            wanted: [roles.user, roles.item].into_iter().chain(optional).collect(),
            users: IdColumn::default(),
            items: IdColumn::default(),
            times: roles.time.map(|_| TimeColumn::new(options, ranks)).transpose()?,
            weights: roles.weight.map(|_| weights()),
        })
    }

    /// The positions of the columns that are read, in the order in which [`TableReader::push`] takes them.
    #[must_use]
    pub fn wanted(&self) -> &[usize] {
        &self.wanted
    }

    /// The position of the column of times, if there is one.
    #[must_use]
    pub fn time(&self) -> Option<usize> {
        self.roles.time
    }

    /// The type of that column says which unit its numbers have.
    pub fn set_time_unit(&mut self, unit: NumberUnit) {
        self.times.iter_mut().for_each(|times| times.set_type(unit));
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When there is not one column for each of [`TableReader::wanted`], all equally long, or a value does not fit its role.
    pub fn push(&mut self, columns: &[Column]) -> Result<()> {
        let first_row = self.users.numbers.len() as u64 + 1;
        let fits = |column: &Column| column.len() == columns[0].len();
        if columns.len() != self.wanted.len() || !columns.iter().all(fits) {
            let problem = format!("expected {} columns of equal length", self.wanted.len());
            return Err(Error::file(&self.name, problem));
        }
        let place = |at: usize| Place {
            table: &self.name,
            first_row,
            column: &self.columns[self.wanted[at]],
        };
        let (users, items) = (&mut self.users, &mut self.items);
        let (times, weights) = (self.times.as_mut(), self.weights.as_mut());
        let weight_at = self.wanted.len() - 1;
        let (users, (items, (times, weights))) = rayon::join(
            || push_ids(users, &columns[0], place(0)),
            || {
                let items = push_ids(items, &columns[1], place(1));
                let times = times.map_or(Ok(()), |times| push_times(times, &columns[2], place(2)));
                let weights = weights.map_or(Ok(()), |weights| {
                    push_weights(weights, &columns[weight_at], place(weight_at))
                });
                (items, (times, weights))
            },
        );
        users.and(items).and(times).and(weights)
    }

    /// The log.
    ///
    /// # Errors
    /// When there is no row, or the times are not of one unit.
    pub fn into_log(self) -> Result<Log> {
        let name = self.name.clone();
        let log = self.finish()?.into_log();
        if log.is_empty() {
            return Err(Error::file(name, "holds no interactions"));
        }
        Ok(log)
    }

    /// The rankings in the numbers of these vocabularies; see [`crate::read_rankings`].
    ///
    /// # Errors
    /// As [`crate::read_rankings`].
    pub fn into_rankings(self, user_ids: &Vocab, item_ids: &Vocab) -> Result<RankingsFile> {
        let name = self.name.clone();
        RankingRows::of_rows(name, self.finish()?, None).into_rankings(user_ids, item_ids)
    }

    fn finish(mut self) -> Result<Rows> {
        if let Some(times) = &mut self.times {
            times.finish_file(&self.name)?;
        }
        Ok(Rows::of(self.users, self.items, self.times, self.weights))
    }
}

/// Where the values of a column stand.
#[derive(Clone, Copy)]
struct Place<'a> {
    table: &'a Path,
    first_row: u64,
    column: &'a str,
}

impl<'a> Place<'a> {
    fn of(self, row: usize) -> FieldPosition<'a> {
        let line = self.first_row + row as u64;
        FieldPosition { path: self.table, line, column: self.column }
    }
}

fn push_ids(ids: &mut IdColumn, column: &Column, place: Place<'_>) -> Result<()> {
    if ids.ids.len() + column.len() > Vocab::MAX_LEN {
        return Err(too_many_ids(place.of(0)));
    }
    match column {
        Column::I64(values) => ids.push_ints(values),
        Column::U32(values) => values.iter().for_each(|&id| ids.push_int(id.into())),
        Column::F32(values) => {
            for (row, &id) in values.iter().enumerate() {
                ids.push_float(place.of(row), id.into())?;
            }
        }
        Column::F64(values) => {
            for (row, &id) in values.iter().enumerate() {
                ids.push_float(place.of(row), id)?;
            }
        }
        Column::Text(values) => {
            for (row, id) in values.iter().enumerate() {
                ids.push(&RawId { bytes: id.as_bytes(), position: place.of(row) })?;
            }
        }
    }
    Ok(())
}

fn push_times(times: &mut TimeColumn, column: &Column, place: Place<'_>) -> Result<()> {
    match column {
        Column::I64(values) if times.push_numbers(values) => {}
        Column::I64(values) => {
            for (row, &time) in values.iter().enumerate() {
                times.push_number(place.of(row), time)?;
            }
        }
        Column::U32(values) => {
            for (row, &time) in values.iter().enumerate() {
                times.push_number(place.of(row), time.into())?;
            }
        }
        Column::F32(values) => {
            for (row, &time) in values.iter().enumerate() {
                times.push_float(place.of(row), time.into())?;
            }
        }
        Column::F64(values) => {
            for (row, &time) in values.iter().enumerate() {
                times.push_float(place.of(row), time)?;
            }
        }
        Column::Text(values) => {
            for (row, time) in values.iter().enumerate() {
                times.push_text(place.of(row), time.as_bytes())?;
            }
        }
    }
    Ok(())
}

fn push_weights(weights: &mut WeightColumn, column: &Column, place: Place<'_>) -> Result<()> {
    match column {
        Column::I64(values) => values.iter().for_each(|&weight| weights.push_int(weight)),
        Column::U32(values) => values.iter().for_each(|&weight| weights.push_int(weight.into())),
        Column::F32(values) if weights.push_floats(values) => {}
        Column::F32(values) => {
            for (row, &weight) in values.iter().enumerate() {
                weights.push_float(place.of(row), weight.into())?;
            }
        }
        Column::F64(values) => {
            for (row, &weight) in values.iter().enumerate() {
                weights.push_float(place.of(row), weight)?;
            }
        }
        Column::Text(values) => {
            for (row, weight) in values.iter().enumerate() {
                weights.push_text(place.of(row), weight.as_bytes())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::read_log_bytes;

    fn texts(values: &[&str]) -> Column {
        Column::Text(values.iter().copied().collect())
    }

    #[test]
    fn a_table_gives_the_log_of_the_same_file() {
        let csv =
            "user,item,rating,time\n7,a b,1.5,1600000000\n7,c,2,1600000000.5\n9,a b,3,1500000000\n";
        let file = read_log_bytes("log.csv", csv.as_bytes(), &ReadOptions::default()).unwrap().log;
        let names = ["user", "item", "rating", "time"].map(str::to_owned);
        let mut table = TableReader::log("frame", &names, &ReadOptions::default()).unwrap();
        assert_eq!(table.wanted(), [0, 1, 3, 2]);
        for rows in [0..2, 2..3] {
            let columns = [
                Column::F64([7.0, 7.0, 9.0][rows.clone()].to_vec()),
                texts(&["a b", " c", "a b"][rows.clone()]),
                Column::F64([1.6e9, 1_600_000_000.5, 1.5e9][rows.clone()].to_vec()),
                Column::F32([1.5, 2.0, 3.0][rows].to_vec()),
            ];
            table.push(&columns).unwrap();
        }
        assert_eq!(table.into_log().unwrap(), file);
    }

    #[test]
    fn a_table_of_rankings_is_ordered_by_rank() {
        let names = ["user", "item", "rank"].map(str::to_owned);
        let mut table = TableReader::rankings("frame", &names, &ReadOptions::default()).unwrap();
        let columns =
            [Column::U32(vec![1, 1, 1]), texts(&["x", "y", "?"]), Column::I64(vec![2, 1, 3])];
        table.push(&columns).unwrap();
        let (users, items) =
            (Vocab::from_ints(vec![1]).unwrap(), Vocab::from_ids(["x", "y"]).unwrap());
        let found = table.into_rankings(&users, &items).unwrap();
        assert_eq!((found.rankings.items(0), found.dropped.rows), (&[1, 0][..], 1));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let names = ["user", "item"].map(str::to_owned);
        let error = |columns: &[Column]| {
            let mut table = TableReader::log("frame", &names, &ReadOptions::default()).unwrap();
            table.push(columns).unwrap_err().to_string()
        };
        let numbers = Column::I64(vec![1, 2]);
        assert!(error(std::slice::from_ref(&numbers)).contains("expected 2 columns"));
        assert!(error(&[numbers.clone(), Column::I64(vec![1])]).contains("of equal length"));
        let found = error(&[numbers, Column::F64(vec![1.0, 0.5])]);
        assert!(found.starts_with("frame:2: column `item`: expected an id"), "{found}");
        let none = TableReader::log("frame", &["user".to_owned()], &ReadOptions::default());
        assert!(none.err().unwrap().to_string().contains("item"));
    }
}
