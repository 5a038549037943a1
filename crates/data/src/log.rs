//! An interaction log in memory: parallel columns in file order, dense ids, and the vocabularies of the
//! original ids.

use crate::{Error, Result};
use rankstill_core::{ItemId, TimeUnit, UserId, Vocab};

/// Row *i*: `users[i]` interacted with `items[i]` at `times[i]` with weight `weights[i]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Below `user_ids.len()`.
    pub users: Vec<UserId>,
    /// Below `item_ids.len()`.
    pub items: Vec<ItemId>,
    /// Unix time, in `time_unit`; larger is later.
    pub times: Option<Vec<i64>>,
    /// The coarsest unit that holds all times exactly.
    pub time_unit: TimeUnit,
    /// Ratings or counts, always finite.
    pub weights: Option<Vec<f32>>,
    /// Original user ids, numbered by first appearance.
    pub user_ids: Vocab,
    /// Original item ids, numbered by first appearance.
    pub item_ids: Vocab,
}

impl Log {
    /// Number of interactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are no interactions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Users in the vocabulary, with or without interactions.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.user_ids.len()
    }

    /// Items in the vocabulary, with or without interactions.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.item_ids.len()
    }

    /// Checks that the columns are equally long, all ids within the vocabularies, and all weights finite: for
    /// logs that were built by other code.
    ///
    /// # Errors
    /// Names the column that is not.
    pub fn check(&self) -> Result<()> {
        let n = self.len();
        for (name, found) in [
            ("items", self.items.len()),
            ("times", self.times.as_ref().map_or(n, Vec::len)),
            ("weights", self.weights.as_ref().map_or(n, Vec::len)),
        ] {
            if found != n {
                return Err(Error::config(name, format!("{found} rows, expected {n}")));
            }
        }
        for (name, column, vocab) in
            [("users", &self.users, &self.user_ids), ("items", &self.items, &self.item_ids)]
        {
            if let Some(row) = column.iter().position(|&number| number as usize >= vocab.len()) {
                let (number, known) = (column[row], vocab.len());
                let problem =
                    format!("row {row}: id number {number}, but there are only {known} ids");
                return Err(Error::config(name, problem));
            }
        }
        match self.weights.iter().flatten().position(|weight| !weight.is_finite()) {
            Some(row) => Err(Error::config("weights", format!("row {row}: not a finite number"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn log() -> Log {
        Log {
            users: vec![0, 1, 0],
            items: vec![0, 1, 2],
            times: Some(vec![5, 6, 7]),
            time_unit: TimeUnit::Seconds,
            weights: None,
            user_ids: Vocab::from_ids(["ann", "bob"]).unwrap(),
            item_ids: Vocab::from_ints(vec![10, 20, 30]).unwrap(),
        }
    }

    #[test]
    fn check_names_what_is_wrong() {
        let broken = |change: fn(&mut Log)| {
            let mut log = log();
            change(&mut log);
            log.check().unwrap_err().to_string()
        };
        assert_eq!(
            broken(|log| log.items[1] = 9),
            "items: row 1: id number 9, but there are only 3 ids"
        );
        assert_eq!(broken(|log| log.times = Some(vec![])), "times: 0 rows, expected 3");
        assert!(broken(|log| log.weights = Some(vec![1.0, 2.0, f32::NAN])).contains("row 2"));
    }
}
