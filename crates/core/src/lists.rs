//! Ragged arrays: many short lists in two flat vectors.

use serde::{Deserialize, Serialize};

/// Row `i` is `values[starts[i]..starts[i + 1]]`; `starts` has one entry more than there are rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lists<T> {
    starts: Vec<usize>,
    values: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { starts: vec![0], values: Vec::new() }
    }
}

impl<T> Lists<T> {
    /// No rows, with capacity for `rows` rows of `values` entries in total.
    #[must_use]
    pub fn with_capacity(rows: usize, values: usize) -> Self {
        let mut starts = Vec::with_capacity(rows + 1);
        starts.push(0);
        Self { starts, values: Vec::with_capacity(values) }
    }

    /// From the flat parts; `None` unless `starts` begins at 0, never decreases, and ends at `values.len()`.
    #[must_use]
    pub fn from_parts(starts: Vec<usize>, values: Vec<T>) -> Option<Self> {
        let sound = starts.first() == Some(&0)
            && starts.last() == Some(&values.len())
            && starts.is_sorted();
        sound.then_some(Self { starts, values })
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: impl IntoIterator<Item = T>) {
        self.values.extend(row);
        self.starts.push(self.values.len());
    }

    /// Adds all rows of `other` at the end.
    pub fn append(&mut self, other: Self) {
        let base = self.values.len();
        self.starts.extend(other.starts[1..].iter().map(|start| base + start));
        self.values.extend(other.values);
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `i`; panics if there is none.
    #[must_use]
    pub fn row(&self, i: usize) -> &[T] {
        &self.values[self.starts[i]..self.starts[i + 1]]
    }

    /// Row `i`, mutable; panics if there is none.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.values[self.starts[i]..self.starts[i + 1]]
    }

    /// The range of row `i` in [`Lists::values`].
    #[must_use]
    pub fn range(&self, i: usize) -> std::ops::Range<usize> {
        self.starts[i]..self.starts[i + 1]
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[T]> + '_ {
        self.starts.windows(2).map(|pair| &self.values[pair[0]..pair[1]])
    }

    /// The row boundaries, one more than rows.
    #[must_use]
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// All values, row after row.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All values, row after row, mutable.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The same rows with every value mapped.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Lists<U> {
        Lists { starts: self.starts.clone(), values: self.values.iter().map(f).collect() }
    }
}

impl<T, R: IntoIterator<Item = T>> FromIterator<R> for Lists<T> {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        let mut lists = Self::default();
        for row in rows {
            lists.push(row);
        }
        lists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went_in() {
        let mut lists: Lists<u32> = [vec![3, 1], vec![], vec![2]].into_iter().collect();
        lists.append([vec![9], vec![]].into_iter().collect());
        let rows: Vec<&[u32]> = lists.iter().collect();
        assert_eq!(rows, [&[3, 1][..], &[], &[2], &[9], &[]]);
        assert_eq!(lists.range(3), 3..4);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        assert!(Lists::from_parts(vec![0, 2], vec![1, 2]).is_some());
        assert!(Lists::from_parts(vec![0, 3], vec![1, 2]).is_none());
        assert!(Lists::from_parts(vec![0, 2, 1, 2], vec![1, 2]).is_none());
        assert!(Lists::<u32>::from_parts(vec![], vec![]).is_none());
    }
}
