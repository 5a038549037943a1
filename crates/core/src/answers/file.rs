//! The file format of recorded rankings.
//!
//! A header of 32 bytes, little-endian: `RANKSAID`, then as u32 the layout of a row (1: items and scores; 2:
//! deviations as well) and the length k of its lists, then as u64 the number of rows and a fingerprint of the
//! queries. A row has k items, k scores and, in layout 2, k deviations, 4 bytes each; short lists are padded
//! with item 2^32 - 1. All rows have the same length, so the length of an unfinished file tells how many rows
//! it has, and a row is found without an index.

use super::Answers;
use crate::kernel::mapped::{Mapped, MappedFile};
use crate::{Error, ItemId, Result, atomic_write};
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 32;
/// Pads short lists.
const PADDING: u32 = u32::MAX;

/// The header of a file of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswersHeader {
    /// Items per row.
    pub length: u32,
    /// Number of rows.
    pub queries: u64,
    /// A fingerprint of the queries and of the requested lists.
    pub questions: u64,
    /// Whether each item has the standard deviation of its rank.
    pub deviations: bool,
}

impl AnswersHeader {
    /// The header as bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(b"RANKSAID");
        bytes[8..12].copy_from_slice(&(1 + u32::from(self.deviations)).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.queries.to_le_bytes());
        bytes[24..].copy_from_slice(&self.questions.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; HEADER_LEN]) -> Result<Self, String> {
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if !bytes.starts_with(b"RANKSAID") {
            return Err("is not a file of rankings: does not begin with RANKSAID".into());
        }
        let layout = u32_at(8);
        if !(1..=2).contains(&layout) {
            return Err(format!("has row layout {layout}, known layouts are 1 and 2"));
        }
        let (length, queries, questions) = (u32_at(12), u64_at(16), u64_at(24));
        if queries > u64::from(u32::MAX) {
            return Err(format!("declares {queries} rows, the maximum is {}", u32::MAX));
        }
        Ok(Self { length, queries, questions, deviations: layout == 2 })
    }

    /// Length of a row in bytes.
    #[must_use]
    pub fn row(&self) -> u64 {
        4 * self.columns() as u64 * u64::from(self.length)
    }

    /// Length of the whole file in bytes.
    #[must_use]
    pub fn file(&self) -> u64 {
        self.queries.saturating_mul(self.row()).saturating_add(HEADER_LEN as u64)
    }

    fn columns(&self) -> usize {
        2 + usize::from(self.deviations)
    }

    /// The number of complete rows in a file that may be unfinished; 0 if it has another header or is no such file.
    #[must_use]
    pub fn rows_in(&self, path: &Path) -> u64 {
        let mut head = [0; HEADER_LEN];
        let Ok(mut file) = File::open(path) else { return 0 };
        let (Ok(()), Ok(about)) = (file.read_exact(&mut head), file.metadata()) else { return 0 };
        if head != self.bytes() {
            return 0;
        }
        let rows = (about.len() - HEADER_LEN as u64).checked_div(self.row());
        rows.unwrap_or(self.queries).min(self.queries)
    }

    /// Writes the rows of some answers, each cut to [`AnswersHeader::length`].
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write_rows(&self, file: &mut impl Write, answers: &Answers) -> io::Result<()> {
        let length = self.length as usize;
        for q in 0..answers.len() {
            let items = answers.items(q);
            for at in 0..length {
                file.write_all(&items.get(at).unwrap_or(&PADDING).to_le_bytes())?;
            }
            for column in [answers.scores(q), answers.deviations(q)].iter().take(self.columns() - 1)
            {
                for at in 0..length {
                    file.write_all(&column.get(at).unwrap_or(&0.0).to_le_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// Writes a whole file, atomically.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&self, path: &Path, answers: &Answers) -> Result<()> {
        let mut file = BufWriter::new(atomic_write::AtomicFile::create(path)?);
        let written =
            file.write_all(&self.bytes()).and_then(|()| self.write_rows(&mut file, answers));
        written.map_err(Error::io(path))?;
        file.into_inner().map_err(|error| Error::io(path)(error.into_error()))?.commit()
    }
}

/// A complete, memory-mapped file of answers. It must not be changed in place meanwhile, see
/// [`crate::kernel::mapped`].
#[derive(Clone, Debug)]
pub struct AnswersFile {
    header: AnswersHeader,
    /// One more than the largest listed item.
    items_to: usize,
    /// All rows, as integers and as floats: columns have either type.
    ids: Mapped<u32>,
    numbers: Mapped<f32>,
}

impl AnswersFile {
    /// Opens a file and checks every item once.
    ///
    /// # Errors
    /// When the file cannot be read, is no such file, has another length than its header declares, or lists an item that is not
    /// in a catalogue of `n_items`.
    pub fn open(path: &Path, n_items: usize) -> Result<Self> {
        let bad = |problem: String| Error::File { path: path.to_owned(), problem };
        let mapped = File::open(path).and_then(|file| MappedFile::open(&file));
        let mapped = mapped.map_err(Error::io(path))?;
        let bytes = mapped.bytes();
        let Some(head) = bytes.first_chunk() else {
            return Err(bad(format!(
                "has {} bytes, the header alone has {HEADER_LEN}",
                bytes.len()
            )));
        };
        let header = AnswersHeader::read(head).map_err(bad)?;
        if bytes.len() as u64 != header.file() {
            let (found, expected) = (bytes.len(), header.file());
            return Err(bad(format!("has {found} bytes, according to its header {expected}")));
        }
        let body = HEADER_LEN..bytes.len();
        let (Some(ids), Some(numbers)) = (mapped.numbers(body.clone()), mapped.numbers(body))
        else {
            return Err(bad("its numbers cannot be memory-mapped on this machine".into()));
        };
        let mut file = Self { header, items_to: 0, ids, numbers };
        file.items_to = file.check(n_items).map_err(bad)?;
        Ok(file)
    }

    /// Checks that all items are in the catalogue and that padding is only at the end of lists. Returns one
    /// more than the largest item.
    fn check(&self, n_items: usize) -> Result<usize, String> {
        let mut items_to = 0;
        let length = self.header.length as usize;
        let rows = self.ids.chunks_exact((self.header.columns() * length).max(1));
        for (row, ids) in rows.map(|row| &row[..length]).enumerate() {
            let end = ids.iter().position(|&id| id == PADDING).unwrap_or(length);
            let (listed, padding) = ids.split_at(end);
            let largest = listed.iter().max().map_or(0, |&item| item as usize + 1);
            if largest > n_items {
                let item = largest - 1;
                return Err(format!(
                    "row {row} lists item {item} of a catalogue of {n_items} items"
                ));
            }
            items_to = items_to.max(largest);
            if let Some(item) = padding.iter().find(|&&id| id != PADDING) {
                return Err(format!("row {row} lists item {item} after the end of its list"));
            }
        }
        Ok(items_to)
    }

    /// One more than the largest listed item.
    #[must_use]
    pub fn items_to(&self) -> usize {
        self.items_to
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &AnswersHeader {
        &self.header
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.queries as usize
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items of a row, best first; empty for rows beyond the end.
    #[must_use]
    pub fn items(&self, row: usize) -> &[ItemId] {
        let ids = &self.ids[self.column(row, 0)];
        match ids.last() {
            Some(&last) if last == PADDING => &ids[..ids.partition_point(|&id| id != PADDING)],
            _ => ids,
        }
    }

    /// Their scores.
    #[must_use]
    pub fn scores(&self, row: usize) -> &[f32] {
        &self.numbers[self.column(row, 1)][..self.items(row).len()]
    }

    /// The standard deviations of their ranks; empty if the file has none.
    #[must_use]
    pub fn deviations(&self, row: usize) -> &[f32] {
        if !self.header.deviations {
            return &[];
        }
        &self.numbers[self.column(row, 2)][..self.items(row).len()]
    }

    fn column(&self, row: usize, column: usize) -> std::ops::Range<usize> {
        let length = self.header.length as usize;
        if row >= self.len() {
            return 0..0;
        }
        let start = (row * self.header.columns() + column) * length;
        start..start + length
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Rankings;
    use std::fs;

    #[test]
    fn broken_files_are_refused_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lists");
        let mut rankings = Rankings::default();
        rankings.push([(3, 0.5), (1, 0.25)]);
        rankings.push([(2, 0.5)]);
        let header = AnswersHeader { length: 3, queries: 2, questions: 5, deviations: false };
        header.write(&path, &rankings.into()).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!((whole.len() as u64, header.rows_in(&path)), (header.file(), 2));
        let other = AnswersHeader { questions: 6, ..header.clone() };
        assert_eq!(other.rows_in(&path), 0, "other questions");
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            AnswersFile::open(&path, 4).unwrap_err().to_string()
        };
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = whole.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        for (bytes, problem) in [
            (vec![], "has 0 bytes, the header alone has 32"),
            (whole[..31].to_vec(), "has 31 bytes"),
            (whole[..79].to_vec(), "has 79 bytes, according to its header 80"),
            (with(0, b"WRANGSAD"), "does not begin with RANKSAID"),
            (with(8, &[3]), "row layout 3, known layouts are 1 and 2"),
            (with(16, &[255; 8]), "declares 18446744073709551615 rows"),
            (with(12, &[9]), "according to its header 176"),
            (with(32, &[4]), "row 0 lists item 4 of a catalogue of 4 items"),
            (with(64, &[1, 0, 0, 0]), "row 1 lists item 1 after the end of its list"),
        ] {
            let found = refused(&bytes);
            assert!(found.contains(problem) && found.contains("a.lists"), "{found}");
        }
        fs::write(&path, &whole[..70]).unwrap();
        assert_eq!(header.rows_in(&path), 1, "a row and a half");
        fs::remove_file(&path).unwrap();
        assert!(matches!(AnswersFile::open(&path, 4), Err(Error::Io { .. })));
    }

    #[test]
    fn lists_of_nothing_are_a_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lists");
        let mut silent = Rankings::default();
        (0..3).for_each(|_| silent.push([]));
        let header = AnswersHeader { length: 0, queries: 3, questions: 5, deviations: true };
        header.write(&path, &silent.clone().into()).unwrap();
        assert_eq!((header.file(), header.rows_in(&path)), (HEADER_LEN as u64, 3));
        assert_eq!(Answers::of_file(AnswersFile::open(&path, 0).unwrap()), silent.into());
    }
}
