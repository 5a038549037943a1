//! Recorded rankings, in memory or in a memory-mapped file, whose pages are loaded when they are read and can
//! be evicted.

mod file;

pub use file::{AnswersFile, AnswersHeader, HEADER_LEN};

use crate::{Error, ItemId, Lists, Rankings, Result};
use std::sync::Arc;

/// A ranked list for each query: items best first, each with its score and, if known, the standard deviation
/// of its rank. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Answers {
    storage: Storage,
    /// Maximum length of a list.
    k: usize,
}

#[derive(Clone, Debug)]
enum Storage {
    Memory {
        rankings: Arc<Rankings>,
        deviations: Option<Arc<Lists<f32>>>,
    },
    File {
        file: AnswersFile,
        /// The row of each query, or none; without a table, row q belongs to query q.
        rows: Option<Arc<[Option<u32>]>>,
    },
}

impl Answers {
    /// Row *q* of the file belongs to query *q*.
    #[must_use]
    pub fn of_file(file: AnswersFile) -> Self {
        Self { storage: Storage::File { file, rows: None }, k: usize::MAX }
    }

    /// Row `rows[q]` of the file belongs to query *q*. The list is empty for `None` and for rows beyond the
    /// end of the file.
    #[must_use]
    pub fn of_rows(file: AnswersFile, rows: Arc<[Option<u32>]>) -> Self {
        Self { storage: Storage::File { file, rows: Some(rows) }, k: usize::MAX }
    }

    /// Rankings with, for each item, the standard deviation of its rank over several states of the ranker.
    ///
    /// # Errors
    /// When the deviations are not parallel to the lists.
    pub fn with_deviations(rankings: Rankings, deviations: Lists<f32>) -> Result<Self> {
        if deviations.starts() != rankings.lists().starts() {
            let (what, expected) = ("deviations of ranks".into(), rankings.all_scores().len());
            return Err(Error::Length { what, expected, found: deviations.values().len() });
        }
        let (rankings, deviations) = (Arc::new(rankings), Some(Arc::new(deviations)));
        Ok(Self { storage: Storage::Memory { rankings, deviations }, k: usize::MAX })
    }

    /// The number of queries.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.storage {
            Storage::Memory { rankings, .. } => rankings.len(),
            Storage::File { file, rows } => rows.as_ref().map_or(file.len(), |rows| rows.len()),
        }
    }

    /// Whether there are no queries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items for query `q` < [`Answers::len`], best first.
    #[must_use]
    pub fn items(&self, q: usize) -> &[ItemId] {
        self.first(match &self.storage {
            Storage::Memory { rankings, .. } => rankings.items(q),
            Storage::File { file, rows } => row(rows, q).map_or(&[], |row| file.items(row)),
        })
    }

    /// Their scores, highest first.
    #[must_use]
    pub fn scores(&self, q: usize) -> &[f32] {
        self.first(match &self.storage {
            Storage::Memory { rankings, .. } => rankings.scores(q),
            Storage::File { file, rows } => row(rows, q).map_or(&[], |row| file.scores(row)),
        })
    }

    /// The standard deviations of their ranks, parallel to the items; empty if they are not known.
    #[must_use]
    pub fn deviations(&self, q: usize) -> &[f32] {
        self.first(match &self.storage {
            Storage::Memory { deviations, .. } => {
                deviations.as_ref().map_or(&[], |deviations| deviations.row(q))
            }
            Storage::File { file, rows } => row(rows, q).map_or(&[], |row| file.deviations(row)),
        })
    }

    /// The items of all lists, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[ItemId]> + '_ {
        (0..self.len()).map(|q| self.items(q))
    }

    /// The first `k` items of every list.
    #[must_use]
    pub fn truncated(&self, k: usize) -> Self {
        Self { storage: self.storage.clone(), k: k.min(self.k) }
    }

    /// Checks that all listed items are in a catalogue of `n_items`.
    ///
    /// # Errors
    /// When one is not.
    pub fn check_items(&self, n_items: usize) -> Result<()> {
        let items_to = match &self.storage {
            Storage::Memory { rankings, .. } => {
                rankings.lists().values().iter().max().map_or(0, |&item| item as usize + 1)
            }
            Storage::File { file, .. } => file.items_to(), // found when the file was opened
        };
        if items_to > n_items {
            return Err(Error::UnknownItem { item: items_to - 1, n_items });
        }
        Ok(())
    }

    fn first<'a, T>(&self, of: &'a [T]) -> &'a [T] {
        &of[..of.len().min(self.k)]
    }
}

/// The row of a file for query `q`.
fn row(rows: &Option<Arc<[Option<u32>]>>, q: usize) -> Option<usize> {
    match rows {
        Some(rows) => rows[q].map(|row| row as usize),
        None => Some(q),
    }
}

impl From<Rankings> for Answers {
    fn from(rankings: Rankings) -> Self {
        Self {
            storage: Storage::Memory { rankings: Arc::new(rankings), deviations: None },
            k: usize::MAX,
        }
    }
}

impl PartialEq for Answers {
    /// Lists in memory and in a file compare equal.
    fn eq(&self, other: &Self) -> bool {
        let same = |q| {
            self.items(q) == other.items(q)
                && self.scores(q) == other.scores(q)
                && self.deviations(q) == other.deviations(q)
        };
        self.len() == other.len() && (0..self.len()).all(same)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rankings() -> Rankings {
        let mut rankings = Rankings::default();
        rankings.push([(3, 0.5), (1, 0.25), (7, -2.0)]);
        rankings.push([]);
        rankings.push([(9, 4.0)]);
        rankings
    }

    fn deviations() -> Lists<f32> {
        [vec![1.5, 0.0, 2.0], vec![], vec![0.5]].into_iter().collect()
    }

    #[test]
    fn answers_from_a_file_are_those_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lists");
        let plain = Answers::from(rankings());
        let known = Answers::with_deviations(rankings(), deviations()).unwrap();
        for (answers, deviations) in [(&plain, false), (&known, true)] {
            let header = AnswersHeader { length: 3, queries: 3, questions: 77, deviations };
            header.write(&path, answers).unwrap();
            let file = AnswersFile::open(&path, 10).unwrap();
            assert_eq!((file.header(), file.items_to()), (&header, 10));
            let found = Answers::of_file(file.clone());
            assert_eq!(found, *answers);
            assert_eq!(found.truncated(2), answers.truncated(2));
            assert_eq!(found.truncated(2).truncated(9).items(0), [3, 1]);
            assert_eq!(found.truncated(1).deviations(0).len(), usize::from(deviations));
            // By query: the third row, none, a row that does not exist, the first row.
            let by_row = Answers::of_rows(file, [Some(2), None, Some(3), Some(0)].into());
            let items: Vec<&[u32]> = by_row.iter().collect();
            assert_eq!(items, [&[9][..], &[], &[], &[3, 1, 7]]);
            assert_eq!((by_row.scores(0), by_row.scores(2)), (&[4.0][..], &[][..]));
        }
        assert_ne!(plain, known);
        assert_ne!(plain, plain.truncated(2));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let short = [vec![1.5, 0.0], vec![2.0], vec![0.5]].into_iter().collect();
        let error = Answers::with_deviations(rankings(), short).unwrap_err();
        assert!(error.to_string().contains("deviations of ranks"), "{error}");
        let answers = Answers::from(rankings());
        answers.check_items(10).unwrap();
        let error = answers.check_items(9).unwrap_err().to_string();
        assert!(error.contains("item 9 is not in a catalogue of 9 items"), "{error}");
    }
}
