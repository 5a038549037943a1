//! Files that are written in parts, by several processes or machines at a time: which rows a part has, what it is called, and that parts
//! of different contents are never mixed.

use crate::sealed;
use anyhow::{Context as _, Result, ensure};
use rankstill::core::Error;
use rankstill::core::atomic_write::{self, Lock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The most parts of a file.
pub const MOST: usize = 100_000;

/// Part `i` of `of`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    i: usize,
    of: usize,
}

impl Shard {
    /// Part `i` of `of`.
    ///
    /// # Errors
    /// Unless `1 <= i <= of <=` [`MOST`].
    pub fn new(i: usize, of: usize) -> Result<Self> {
        ensure!(
            (1..=of).contains(&i) && of <= MOST,
            "part {i} of {of}: expected I/N with 1 <= I <= N <= {MOST}, such as 3/8"
        );
        Ok(Self { i, of })
    }

    /// All parts.
    ///
    /// # Errors
    /// When there are none, or more than [`MOST`].
    pub fn all(of: usize) -> Result<Vec<Self>> {
        Self::new(1, of)?;
        Ok((1..=of).map(|i| Self { i, of }).collect())
    }

    /// Its number, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        self.i
    }

    /// The number of parts.
    #[must_use]
    pub fn of(self) -> usize {
        self.of
    }

    /// Its rows of `n`. Parts differ by one row at most, and depend on nothing but `n` and their number.
    #[must_use]
    pub fn rows(self, n: usize) -> Range<usize> {
        // n times 100,000 fits into 64 bits, but usize may be smaller.
        let at = |i: usize| (i as u64 * n as u64 / self.of as u64) as usize;
        at(self.i - 1)..at(self.i)
    }

    /// `lists.parquet` becomes `lists-00003-of-00008.parquet`.
    ///
    /// # Errors
    /// When `out` has no file name.
    pub fn path(self, out: &Path) -> Result<PathBuf> {
        let stem = out.file_stem();
        let mut name =
            stem.with_context(|| format!("{}: is not a file name", out.display()))?.to_owned();
        name.push(format!("-{:05}-of-{:05}", self.i, self.of));
        if let Some(ending) = out.extension() {
            name.push(".");
            name.push(ending);
        }
        Ok(out.with_file_name(name))
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}`: expected I/N with 1 <= I <= N, such as 3/8");
        let (i, of) = text.split_once('/').ok_or_else(expected)?;
        let (i, of) = (i.parse().map_err(|_| expected())?, of.parse().map_err(|_| expected())?);
        Self::new(i, of).map_err(|_| expected())
    }
}

/// Keeps `contents`, which all parts of `out` share, in `OUT.parts.json`; if it is there, compares with it. Of two processes that begin at
/// one moment, the second one finds what the first has written.
///
/// # Errors
/// When the parts that are there have other contents, or the disk is full.
pub fn check_contents<T>(out: &Path, contents: &T) -> Result<()>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let path = contents_path(out);
    let _lock = waiting_for(&path)?;
    if !path.exists() {
        let text = sealed::line(serde_json::to_value(contents)?) + "\n";
        return Ok(atomic_write::write(path, text.as_bytes())?);
    }
    let known: T = contents_of(out)?;
    ensure!(
        known == *contents,
        "{}: the parts next to it have another model, other users or other options; {WAY_ON}",
        path.display()
    );
    Ok(())
}

/// What the parts of `out` share, as [`check_contents`] has kept it.
///
/// # Errors
/// When there is no such file, or it is damaged or of something else.
pub fn contents_of<T: DeserializeOwned>(out: &Path) -> Result<T> {
    let path = contents_path(out);
    let known = serde_json::from_value(sealed::read_file(&path, WAY_ON)?);
    known.with_context(|| format!("{}: {WAY_ON}", path.display()))
}

const WAY_ON: &str = "remove it together with the parts next to it, or choose another --out";

fn contents_path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".parts.json");
    PathBuf::from(name)
}

/// The lock on a file that is written in a moment.
fn waiting_for(path: &Path) -> Result<Lock> {
    for _ in 0..100 {
        match Lock::beside(path) {
            Ok(lock) => return Ok(lock),
            Err(Error::File { .. }) => std::thread::sleep(Duration::from_millis(20)),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(Lock::beside(path)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_cover_every_row_once() {
        for (n, of) in [(0, 1), (7, 3), (8, 8), (3, 5), (100_001, 7)] {
            let mut at = 0;
            for shard in Shard::all(of).unwrap() {
                let rows = shard.rows(n);
                assert_eq!(rows.start, at);
                assert!(rows.len().abs_diff(n / of) <= 1);
                at = rows.end;
            }
            assert_eq!(at, n);
        }
    }

    #[test]
    fn a_part_is_written_i_of_n() {
        let shard: Shard = "3/8".parse().unwrap();
        assert_eq!(shard, Shard::new(3, 8).unwrap());
        let path = shard.path(Path::new("out/lists.parquet")).unwrap();
        assert_eq!(path, Path::new("out/lists-00003-of-00008.parquet"));
        for wrong in ["", "3", "0/8", "9/8", "3/x", "1/100001", "-1/2"] {
            let problem = wrong.parse::<Shard>().unwrap_err();
            assert!(problem.contains("expected I/N"), "{problem}");
        }
    }
}
