//! Fold-in: vectors for users who were not in training, from their histories.
//!
//! For models whose scores are products of a user's and an item's vector (or of parts of these). A query
//! without a known user and without a history gets the mean user vector. With a history, the item table is
//! fixed, and ridge regression finds the vector w for which the items of the history score 1 above the average
//! item: minimise sum over i of (1 - w (q_i - mean q))^2 + r |w|^2, with r the mean squared norm of q_i - mean
//! q (so that the scale of the table does not matter). Scores of a ranking loss have no unit, so only the
//! direction of w is used: the user is the mean user plus w rescaled to the root mean square distance of
//! trained users from the mean.

use rankstill_core::ItemId;
use rankstill_core::kernel::cholesky::solve;
use rankstill_core::kernel::table::Table;
use std::ops::Range;

/// A table of vectors, whatever they are kept as.
pub(crate) trait VectorTable {
    /// Number of vectors.
    fn n_rows(&self) -> usize;

    /// Writes the columns of a row.
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]);
}

impl VectorTable for Table {
    fn n_rows(&self) -> usize {
        Table::n_rows(self)
    }

    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        out.copy_from_slice(&self.row(row)[columns]);
    }
}

/// What fold-in needs of the tables.
pub(crate) struct FoldIn {
    /// The item table's columns that are multiplied with the user's vector.
    columns: Range<usize>,
    mean_user: Vec<f64>,
    mean_item: Vec<f64>,
    /// Root mean square distance of users from the mean.
    spread: f64,
    /// Mean squared distance of items from the mean.
    ridge: f64,
}

impl FoldIn {
    /// The items' `columns` are multiplied with the users' first columns.
    pub fn new(users: &impl VectorTable, items: &impl VectorTable, columns: Range<usize>) -> Self {
        let (mean_user, squared_spread) = moments(users, 0..columns.len());
        let (mean_item, ridge) = moments(items, columns.clone());
        Self { columns, mean_user, mean_item, spread: squared_spread.sqrt(), ridge }
    }

    /// The item table's columns that are folded in.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// The vector of a user with this history; `items` is the table passed to [`FoldIn::new`]. Items beyond it
    /// are ignored.
    pub fn embed(&self, items: &impl VectorTable, history: &[ItemId], out: &mut [f32]) {
        let dim = out.len();
        let mut chosen: Vec<ItemId> = history.to_vec();
        chosen.retain(|&item| (item as usize) < items.n_rows());
        chosen.sort_unstable();
        chosen.dedup();

        // (sum of q q' + ridge) w = sum of q, all q minus the mean; the lower triangle, row by row.
        let mut normal = vec![0.0f64; dim * dim];
        let mut w = vec![0.0f64; dim];
        let (mut q, mut row) = (vec![0.0f64; dim], vec![0.0f32; dim]);
        for &item in &chosen {
            items.read(item as usize, self.columns.clone(), &mut row);
            for ((q, &value), mean) in q.iter_mut().zip(&row).zip(&self.mean_item) {
                *q = f64::from(value) - mean;
            }
            for i in 0..dim {
                w[i] += q[i];
                for j in 0..=i {
                    normal[i * dim + j] += q[i] * q[j];
                }
            }
        }
        (0..dim).for_each(|i| normal[i * dim + i] += self.ridge);
        solve(&mut normal, &mut w);
        let length = w.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
        let stretch = if length > 0.0 && length.is_finite() { self.spread / length } else { 0.0 };
        for ((out, mean), w) in out.iter_mut().zip(&self.mean_user).zip(&w) {
            *out = (mean + if stretch > 0.0 { stretch * w } else { 0.0 }) as f32;
        }
    }
}

/// The mean of these columns over the rows, and the mean squared distance from it.
fn moments(table: &impl VectorTable, columns: Range<usize>) -> (Vec<f64>, f64) {
    let n = table.n_rows().max(1) as f64;
    let mut mean = vec![0.0f64; columns.len()];
    let mut vector = vec![0.0f32; columns.len()];
    for row in 0..table.n_rows() {
        table.read(row, columns.clone(), &mut vector);
        mean.iter_mut().zip(&vector).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    let mut squares = 0.0;
    for row in 0..table.n_rows() {
        table.read(row, columns.clone(), &mut vector);
        for (mean, &x) in mean.iter().zip(&vector) {
            squares += (f64::from(x) - mean).powi(2);
        }
    }
    (mean, squares / n)
}
