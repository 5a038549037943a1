//! Reading the Parquet file of one part of a prepared data set.

use super::PARTS;
use crate::columns::ColumnTable;
use crate::split::Part;
use crate::timelines::Timelines;
use crate::{Error, Result};
use std::path::Path;

/// The rows of one part, user by user.
pub(super) struct PartFile {
    users: Vec<u32>,
    pub(super) items: Vec<u32>,
    times: Option<Vec<i64>>,
    weights: Option<Vec<f32>>,
}

/// What the rows of a part have, and below which numbers.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) times: bool,
    pub(super) weights: bool,
    pub(super) users: usize,
    pub(super) items: usize,
}

impl PartFile {
    /// From the table that was read from `path`.
    pub(super) fn of(path: &Path, mut table: ColumnTable, expected: Expected) -> Result<Self> {
        let part = Self {
            users: table.take_u32("user_number")?,
            items: table.take_u32("item_number")?,
            times: expected.times.then(|| table.take_i64("time")).transpose()?,
            weights: expected.weights.then(|| table.take_f32("weight")).transpose()?,
        };
        let problem = |problem: String| Err(Error::file(path, problem));
        for (column, values, n) in [
            ("user_number", &part.users, expected.users),
            ("item_number", &part.items, expected.items),
        ] {
            if let Some(row) = values.iter().position(|&value| value as usize >= n) {
                return problem(format!(
                    "row {row}: {column} {}, but there are only {n}",
                    values[row]
                ));
            }
        }
        if !part.users.is_sorted() {
            return problem("the rows are not ordered by user".into());
        }
        if part.weights.iter().flatten().any(|weight| !weight.is_finite()) {
            return problem("a weight is not a finite number".into());
        }
        Ok(part)
    }
}

/// Joins each user's rows of all parts, one part after the other.
pub(super) fn join_parts(
    n_users: usize,
    n_items: usize,
    parts: &[PartFile],
) -> (Timelines, Vec<Part>) {
    let n = parts.iter().map(|part| part.items.len()).sum();
    let mut lines = Timelines {
        n_items,
        starts: Vec::with_capacity(n_users + 1),
        items: Vec::with_capacity(n),
        times: parts[0].times.as_ref().map(|_| Vec::with_capacity(n)),
        weights: parts[0].weights.as_ref().map(|_| Vec::with_capacity(n)),
        ..Timelines::default()
    };
    let mut owner = Vec::with_capacity(n);
    let mut at = vec![0; parts.len()];
    lines.starts.push(0);
    for user in 0..n_users as u32 {
        for ((part, at), (_, name)) in parts.iter().zip(&mut at).zip(PARTS) {
            let own = part.users[*at..].iter().take_while(|&&other| other == user).count();
            let rows = *at..*at + own;
            *at += own;
            owner.resize(owner.len() + own, name);
            lines.items.extend_from_slice(&part.items[rows.clone()]);
            if let (Some(to), Some(from)) = (&mut lines.times, &part.times) {
                to.extend_from_slice(&from[rows.clone()]);
            }
            if let (Some(to), Some(from)) = (&mut lines.weights, &part.weights) {
                to.extend_from_slice(&from[rows]);
            }
        }
        lines.starts.push(lines.items.len());
    }
    (lines, owner)
}
