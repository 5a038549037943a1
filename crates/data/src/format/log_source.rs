//! The files of a log: one file, a folder of parts as Spark, Hive, pandas and Kafka sinks leave them, a
//! pattern, standard input or a pipe.

use super::OpenFile;
use crate::columns::parquet::Input;
use crate::dataset::{Stamp, stamp_of};
use crate::{Error, Result};
use bytes::Bytes;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Files that are found, but not read yet.
///
/// - A folder stands for the files in it and in its sub-folders, in the order of their paths. Names that begin
///   with `.` or `_` (markers, checksums, temporary files) are passed over, as are files whose names end
///   unlike data. A sub-folder called `key=value`, as Hive writes them, gives its rows a column `key`.
/// - A path with `*`, `?` or `[` that does not exist is a pattern.
/// - `-` is standard input. It, and pipes, are read into memory at once.
#[derive(Clone, Debug)]
pub struct LogSource {
    path: PathBuf,
    parts: Vec<LogPart>,
    passed_over: Vec<PathBuf>,
}

/// A file, and the columns that the folders above it give to its rows.
#[derive(Clone, Debug)]
pub(crate) struct LogPart {
    path: PathBuf,
    memory: Option<Bytes>,
    pub(crate) keys: Vec<(String, String)>,
}

/// How names of data files end, before `.gz`, `.zst` or `.bz2`.
const ENDINGS: [&str; 14] = [
    "parquet", "csv", "tsv", "txt", "dat", "data", "json", "jsonl", "ndjson", "inter", "log",
    "tab", "psv", "edges",
];

impl LogSource {
    /// Finds the files.
    ///
    /// # Errors
    /// When there are none, or a folder or standard input cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let mut source =
            Self { path: path.to_path_buf(), parts: Vec::new(), passed_over: Vec::new() };
        if path.as_os_str() == "-" {
            source.path = "standard input".into();
            let bytes = read_all(&mut std::io::stdin().lock(), &source.path)?;
            source.parts.push(LogPart::memory(source.path.clone(), bytes));
        } else if path.is_dir() {
            source.add_folder(path, &[])?;
            source.parts.sort_by(|a, b| a.path.cmp(&b.path));
            if source.parts.is_empty() {
                let problem = match source.passed_over.first() {
                    Some(other) => format!(
                        "the folder holds no data files; `{}` and the like are passed over",
                        other.strip_prefix(path).unwrap_or(other).display()
                    ),
                    None => "the folder holds no data files".into(),
                };
                return Err(Error::file(path, problem));
            }
        } else if let (false, Some(pattern)) = (path.exists(), pattern(path)) {
            source.add_matches(pattern)?;
        } else {
            source.parts.push(LogPart::open(path.to_path_buf(), Vec::new())?);
        }
        Ok(source)
    }

    /// Bytes in memory; messages use `name` as the path.
    #[must_use]
    pub fn memory(name: &str, bytes: &[u8]) -> Self {
        let part = LogPart::memory(name.into(), Bytes::copy_from_slice(bytes));
        Self { path: name.into(), parts: vec![part], passed_over: Vec::new() }
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Files of a folder that are not read, because their names end unlike data.
    #[must_use]
    pub fn passed_over(&self) -> &[PathBuf] {
        &self.passed_over
    }

    pub(crate) fn parts(&self) -> &[LogPart] {
        &self.parts
    }

    /// The size of all files as they are stored.
    pub(crate) fn total_bytes(&self) -> u64 {
        let size = |part: &LogPart| match &part.memory {
            Some(bytes) => bytes.len() as u64,
            None => part.path.metadata().map_or(0, |data| data.len()),
        };
        self.parts.iter().map(size).sum()
    }

    /// Size and hash of all files, one after the other.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn stamp(&self) -> Result<Stamp> {
        stamp_of(self.parts.iter().map(|part| {
            let open = || -> Result<Box<dyn Read>> {
                Ok(match &part.memory {
                    Some(bytes) => Box::new(std::io::Cursor::new(bytes.clone())),
                    None => {
                        Box::new(std::fs::File::open(&part.path).map_err(Error::io(&part.path))?)
                    }
                })
            };
            (part.path.as_path(), open())
        }))
    }

    fn add_folder(&mut self, folder: &Path, keys: &[(String, String)]) -> Result<()> {
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
            let entry = entry.map_err(Error::io(folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if name.starts_with(['.', '_']) {
                continue;
            }
            if path.is_dir() {
                let mut keys = keys.to_vec();
                keys.extend(
                    name.split_once('=').map(|(key, value)| (key.into(), unescaped(value))),
                );
                self.add_folder(&path, &keys)?;
            } else if is_data(&name) {
                self.parts.push(LogPart::open(path, keys.to_vec())?);
            } else {
                self.passed_over.push(path);
            }
        }
        Ok(())
    }

    fn add_matches(&mut self, pattern: &str) -> Result<()> {
        let path = self.path.clone();
        let wrong =
            |error: &dyn std::fmt::Display| Error::file(&path, format!("not a pattern: {error}"));
        let matches = glob::glob(pattern).map_err(|error| wrong(&error))?;
        for found in matches {
            let found = found.map_err(|error| wrong(&error))?;
            let hidden = found
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']));
            match () {
                () if hidden => {}
                () if found.is_dir() => self.add_folder(&found, &[])?,
                () => self.parts.push(LogPart::open(found, Vec::new())?),
            }
        }
        if self.parts.is_empty() {
            return Err(Error::file(&path, "no file matches this pattern"));
        }
        self.parts.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }
}

impl LogPart {
    fn open(path: PathBuf, keys: Vec<(String, String)>) -> Result<Self> {
        let kind = std::fs::metadata(&path).map_err(Error::io(&path))?.file_type();
        let memory = match kind.is_file() {
            true => None,
            // A pipe can be read only once, and only from front to back.
            false => {
                let mut file = std::fs::File::open(&path).map_err(Error::io(&path))?;
                Some(read_all(&mut file, &path)?)
            }
        };
        Ok(Self { path, memory, keys })
    }

    fn memory(path: PathBuf, bytes: Bytes) -> Self {
        Self { path, memory: Some(bytes), keys: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn open_file(&self) -> Result<OpenFile> {
        match &self.memory {
            Some(bytes) => OpenFile::new(self.path.clone(), Input::Memory(bytes.clone())),
            None => OpenFile::open(&self.path),
        }
    }
}

fn read_all(from: &mut impl Read, path: &Path) -> Result<Bytes> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(Error::io(path))?;
    Ok(bytes.into())
}

fn pattern(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains(['*', '?', '[']))
}

/// Whether a name ends like that of a data file. Parts without an ending, as of Hadoop, are data.
fn is_data(name: &str) -> bool {
    let name = name.to_lowercase();
    let name = [".gz", ".zst", ".bz2", ".snappy"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(&name);
    match name.rsplit_once('.') {
        Some((_, ending)) => ENDINGS.contains(&ending),
        None => {
            name.starts_with("part-")
                || name.starts_with("part_")
                || name.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        }
    }
}

/// Hive writes special characters of values as `%3A`.
fn unescaped(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| value.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_gives_its_data_files_in_order_with_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        for name in [
            "part-1.csv",
            "_SUCCESS",
            ".part-1.csv.crc",
            "part-0.csv.gz",
            "readme.md",
            "_temporary/0/part-9.csv",
            "day=2%3A0/part-00000",
        ] {
            put(name);
        }
        let source = LogSource::open(folder.path()).unwrap();
        let names: Vec<_> = source
            .parts()
            .iter()
            .map(|part| part.path.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["day=2%3A0/part-00000", "part-0.csv.gz", "part-1.csv"]);
        assert_eq!(source.parts()[0].keys, [("day".into(), "2:0".into())]);
        assert_eq!(source.passed_over(), [folder.path().join("readme.md")]);
        assert_eq!(source.stamp().unwrap().bytes, 3);
        let pattern = LogSource::open(&folder.path().join("part-*.csv*")).unwrap();
        assert_eq!(pattern.parts().len(), 2);
        let error = LogSource::open(&folder.path().join("x*")).unwrap_err().to_string();
        assert!(error.ends_with("no file matches this pattern"), "{error}");
    }
}
