//! The file format of recorded rankings.
//!
//! A header of 32 bytes, little-endian: `RANKSAID`, then as u32 the layout of a row (3: items and scores; 4:
//! deviations as well) and the length k of its lists, then as u64 the number of rows and a fingerprint of the
//! queries. A row has k items, k scores and, in layout 4, k deviations, 4 bytes each, and a checksum of these, of the row's number
//! and of the header, of 8 bytes; short lists are padded with item 2^32 - 1. All rows have the same length, so the length of
//! an unfinished file tells how many rows it has, and a row is found without an index. Layouts 1 and 2 of earlier versions are as 3
//! and 4, without checksums.

use super::Answers;
use crate::kernel::mapped::{Mapped, MappedFile};
use crate::{Error, ItemId, Result, atomic_write};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::path::Path;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 32;
/// Pads short lists.
const PADDING: u32 = u32::MAX;
/// Length of a row's checksum in numbers of 4 bytes.
const SUM: usize = 2;

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
        bytes[8..12].copy_from_slice(&(3 + u32::from(self.deviations)).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.queries.to_le_bytes());
        bytes[24..].copy_from_slice(&self.questions.to_le_bytes());
        bytes
    }

    /// And the numbers of a row that are its checksum.
    fn read(bytes: &[u8; HEADER_LEN]) -> Result<(Self, usize), String> {
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if !bytes.starts_with(b"RANKSAID") {
            return Err("is not a file of rankings: does not begin with RANKSAID".into());
        }
        let layout = u32_at(8);
        if !(1..=4).contains(&layout) {
            return Err(format!("has row layout {layout}, known layouts are 1 to 4"));
        }
        let (length, queries, questions) = (u32_at(12), u64_at(16), u64_at(24));
        if queries > u64::from(u32::MAX) {
            return Err(format!("declares {queries} rows, the maximum is {}", u32::MAX));
        }
        let sum = if layout > 2 { SUM } else { 0 };
        Ok((Self { length, queries, questions, deviations: layout % 2 == 0 }, sum))
    }

    /// Length of a row in bytes.
    #[must_use]
    pub fn row(&self) -> u64 {
        self.row_with(SUM)
    }

    fn row_with(&self, sum: usize) -> u64 {
        4 * (self.columns() as u64 * u64::from(self.length) + sum as u64)
    }

    /// Length of the whole file in bytes.
    #[must_use]
    pub fn file(&self) -> u64 {
        self.file_with(SUM)
    }

    fn file_with(&self, sum: usize) -> u64 {
        self.queries.saturating_mul(self.row_with(sum)).saturating_add(HEADER_LEN as u64)
    }

    /// The checksum of the numbers of row `row`. A step is a bijection of what came before, so that one changed number always
    /// changes it.
    fn sum(&self, row: u64, numbers: impl Iterator<Item = u32>) -> u64 {
        let start = self.questions ^ row ^ (u64::from(self.length) << 32);
        numbers.chain([u32::from(self.deviations)]).fold(start, |sum, number| {
            let mixed = (sum ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 29)
        })
    }

    fn columns(&self) -> usize {
        2 + usize::from(self.deviations)
    }

    /// The number of complete rows in a file that may be unfinished, by its length; 0 if it has another header or is no such file.
    #[must_use]
    pub fn rows_in(&self, path: &Path) -> u64 {
        let mut head = [0; HEADER_LEN];
        let Ok(mut file) = File::open(path) else { return 0 };
        let (Ok(()), Ok(about)) = (file.read_exact(&mut head), file.metadata()) else { return 0 };
        if head != self.bytes() {
            return 0;
        }
        let rows = about.len().saturating_sub(HEADER_LEN as u64) / self.row();
        rows.min(self.queries)
    }

    /// The number of rows of [`AnswersHeader::rows_in`] up to the first whose checksum is wrong.
    #[must_use]
    pub fn sound_rows_in(&self, path: &Path) -> u64 {
        let rows = self.rows_in(path);
        let Ok(file) = File::open(path) else { return 0 };
        let mut file = BufReader::new(file);
        let mut row = vec![0; self.row() as usize];
        if rows == 0 || file.read_exact(&mut [0; HEADER_LEN]).is_err() {
            return 0;
        }
        let sound = |at: &u64| {
            let read = file.read_exact(&mut row).is_ok();
            let (numbers, _) = row.as_chunks();
            let numbers: Vec<u32> = numbers.iter().map(|&n| u32::from_le_bytes(n)).collect();
            read && self.is_sound(*at, &numbers)
        };
        (0..rows).take_while(sound).count() as u64
    }

    /// Whether a row of [`AnswersHeader::row`] bytes has the right checksum.
    fn is_sound(&self, row: u64, numbers: &[u32]) -> bool {
        let (numbers, sum) = numbers.split_at(numbers.len() - SUM);
        let found = u64::from(sum[0]) | u64::from(sum[1]) << 32;
        found == self.sum(row, numbers.iter().copied())
    }

    /// Writes the rows of some answers, each cut to [`AnswersHeader::length`]; the first is row `first` of the file.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write_rows(
        &self,
        file: &mut impl Write,
        first: u64,
        answers: &Answers,
    ) -> io::Result<()> {
        let length = self.length as usize;
        let mut row = Vec::with_capacity(self.columns() * length);
        for (q, number) in (0..answers.len()).zip(first..) {
            row.clear();
            let items = answers.items(q);
            row.extend((0..length).map(|at| *items.get(at).unwrap_or(&PADDING)));
            for column in [answers.scores(q), answers.deviations(q)].iter().take(self.columns() - 1)
            {
                row.extend((0..length).map(|at| column.get(at).unwrap_or(&0.0).to_bits()));
            }
            let sum = self.sum(number, row.iter().copied());
            row.iter().try_for_each(|number| file.write_all(&number.to_le_bytes()))?;
            file.write_all(&sum.to_le_bytes())?;
        }
        Ok(())
    }

    /// Writes a whole file, atomically.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&self, path: &Path, answers: &Answers) -> Result<()> {
        self.write_part(path, 0, |write| write(answers))
    }

    /// Writes a file of the rows from `first` on of a larger one ([`AnswersFile::open_part`]), atomically. `fill` gives the rows, some at
    /// a time.
    ///
    /// # Errors
    /// Those of `fill`; when the disk is full.
    pub fn write_part(
        &self,
        path: &Path,
        first: u64,
        fill: impl FnOnce(&mut dyn FnMut(&Answers) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let mut file = BufWriter::new(atomic_write::AtomicFile::create(path)?);
        file.write_all(&self.bytes()).map_err(Error::io(path))?;
        let mut row = first;
        fill(&mut |answers| {
            self.write_rows(&mut file, row, answers).map_err(Error::io(path))?;
            row += answers.len() as u64;
            Ok(())
        })?;
        debug_assert_eq!(row - first, self.queries, "as many rows as the header says");
        file.into_inner().map_err(|error| Error::io(path)(error.into_error()))?.commit()
    }
}

/// A complete, memory-mapped file of answers. It must not be changed in place meanwhile, see
/// [`crate::kernel::mapped`].
#[derive(Clone, Debug)]
pub struct AnswersFile {
    header: AnswersHeader,
    /// Numbers of a row that are its checksum: none in files of earlier versions.
    sum: usize,
    /// One more than the largest listed item.
    items_to: usize,
    /// All rows, as integers and as floats: columns have either type.
    ids: Mapped<u32>,
    numbers: Mapped<f32>,
}

impl AnswersFile {
    /// Opens a file and checks every row once.
    ///
    /// # Errors
    /// When the file cannot be read, is no such file, has another length than its header declares, has a row that does not match its
    /// checksum, or lists an item that is not in a catalogue of `n_items`.
    pub fn open(path: &Path, n_items: usize) -> Result<Self> {
        Self::open_part(path, 0, n_items)
    }

    /// Opens a file whose rows are those of a larger one from row `first` on, so that the rows of all parts one after the other, behind
    /// a header with their number, are that file.
    ///
    /// # Errors
    /// As [`AnswersFile::open`]; the rows of another part do not match their checksums.
    pub fn open_part(path: &Path, first: u64, n_items: usize) -> Result<Self> {
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
        let (header, sum) = AnswersHeader::read(head).map_err(bad)?;
        let expected = header.file_with(sum);
        if bytes.len() as u64 != expected {
            let found = bytes.len();
            return Err(bad(format!("has {found} bytes, according to its header {expected}")));
        }
        let body = HEADER_LEN..bytes.len();
        let (Some(ids), Some(numbers)) = (mapped.numbers(body.clone()), mapped.numbers(body))
        else {
            return Err(bad("its numbers cannot be memory-mapped on this machine".into()));
        };
        let mut file = Self { header, sum, items_to: 0, ids, numbers };
        file.items_to = file.check(first, n_items).map_err(bad)?;
        Ok(file)
    }

    /// Checks the checksums, that all items are in the catalogue and that padding is only at the end of lists. Returns one
    /// more than the largest item.
    fn check(&self, first: u64, n_items: usize) -> Result<usize, String> {
        let mut items_to = 0;
        let length = self.header.length as usize;
        for (row, whole) in self.ids.chunks_exact(self.stride().max(1)).enumerate() {
            if self.sum > 0 && !self.header.is_sound(first + row as u64, whole) {
                return Err(format!("row {row} does not match its checksum"));
            }
            let ids = &whole[..length];
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
        let start = row * self.stride() + column * length;
        start..start + length
    }

    /// Numbers of a row.
    fn stride(&self) -> usize {
        self.header.columns() * self.header.length as usize + self.sum
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
        // As versions before checksums wrote it.
        let earlier = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.drain(88..96);
            bytes.drain(56..64);
            bytes[8] = 1;
            bytes
        };
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = whole.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        for (bytes, problem) in [
            (vec![], "has 0 bytes, the header alone has 32"),
            (whole[..31].to_vec(), "has 31 bytes"),
            (whole[..95].to_vec(), "has 95 bytes, according to its header 96"),
            (with(0, b"WRANGSAD"), "does not begin with RANKSAID"),
            (with(8, &[5]), "row layout 5, known layouts are 1 to 4"),
            (with(16, &[255; 8]), "declares 18446744073709551615 rows"),
            (with(12, &[9]), "according to its header 192"),
            (with(32, &[2]), "row 0 does not match its checksum"),
            (with(24, &[6]), "row 0 does not match its checksum"),
            (earlier(&with(32, &[4])), "row 0 lists item 4 of a catalogue of 4 items"),
            (earlier(&with(72, &[1, 0, 0, 0])), "row 1 lists item 1 after the end of its list"),
        ] {
            let found = refused(&bytes);
            assert!(found.contains(problem) && found.contains("a.lists"), "{found}");
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(&flipped);
            assert!(header.sound_rows_in(&path) < 2, "bit {bit}");
        }
        fs::write(&path, &whole[..80]).unwrap();
        assert_eq!(header.rows_in(&path), 1, "a row and a half");
        assert_eq!(header.sound_rows_in(&path), 1);
        fs::write(&path, earlier(&whole)).unwrap();
        let file = AnswersFile::open(&path, 4).unwrap();
        assert_eq!(
            (file.items(0), file.items(1), file.scores(1)),
            (&[3, 1][..], &[2][..], &[0.5][..])
        );
        fs::remove_file(&path).unwrap();
        assert!(matches!(AnswersFile::open(&path, 4), Err(Error::Io { .. })));
    }

    #[test]
    fn parts_one_after_the_other_are_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let rankings = |rows: std::ops::Range<u32>| {
            let mut rankings = Rankings::default();
            rows.for_each(|row| rankings.push([(row, 0.5), (row + 1, 0.25)]));
            Answers::from(rankings)
        };
        let header =
            |queries| AnswersHeader { length: 2, queries, questions: 5, deviations: false };
        header(7).write(&path("whole"), &rankings(0..7)).unwrap();
        let mut joined = header(7).bytes().to_vec();
        for (name, rows) in [("a", 0..3), ("b", 3..7)] {
            let (first, n) = (u64::from(rows.start), u64::from(rows.end - rows.start));
            let each = |write: &mut dyn FnMut(&Answers) -> Result<()>| {
                rows.clone().try_for_each(|row| write(&rankings(row..row + 1)))
            };
            header(n).write_part(&path(name), first, each).unwrap();
            joined.extend_from_slice(&fs::read(path(name)).unwrap()[HEADER_LEN..]);
            let part = AnswersFile::open_part(&path(name), first, 9).unwrap();
            assert_eq!(Answers::of_file(part), rankings(rows));
            let other = AnswersFile::open_part(&path(name), first + 1, 9).unwrap_err();
            assert!(other.to_string().contains("row 0 does not match its checksum"), "{other}");
        }
        assert_eq!(joined, fs::read(path("whole")).unwrap());
        let full = |_: &mut dyn FnMut(&Answers) -> Result<()>| Err(Error::Interrupted);
        assert!(header(1).write_part(&path("c"), 0, full).is_err() && !path("c").exists());
    }

    #[test]
    fn lists_of_nothing_are_a_header_and_checksums() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lists");
        let mut silent = Rankings::default();
        (0..3).for_each(|_| silent.push([]));
        let header = AnswersHeader { length: 0, queries: 3, questions: 5, deviations: true };
        header.write(&path, &silent.clone().into()).unwrap();
        assert_eq!((header.file(), header.rows_in(&path)), (HEADER_LEN as u64 + 3 * 8, 3));
        assert_eq!(Answers::of_file(AnswersFile::open(&path, 0).unwrap()), silent.into());
    }
}
