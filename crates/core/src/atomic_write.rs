//! Atomic writing: files and folders are written under a temporary name next to their path and then renamed.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file being written. Until [`AtomicFile::commit`], its path keeps the old content; dropped without a
/// commit, it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
}

impl AtomicFile {
    /// Starts a file at `path`, whose folder must exist.
    ///
    /// # Errors
    /// When it cannot be created, or `path` is a folder.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let name = path.file_name().filter(|_| !path.is_dir());
        let name = name.ok_or_else(|| Error::File {
            path: path.clone(),
            problem: "is a folder, expected the name of a file".into(),
        })?;
        let mut part = name.to_os_string();
        part.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(part);
        let file = File::create(&temporary).map_err(Error::io(&temporary))?;
        Ok(Self { path, temporary, file: Some(file) })
    }

    /// Its final path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the content to disk and renames the file to its final path.
    ///
    /// # Errors
    /// When the disk is full, or the file cannot be renamed.
    pub fn commit(mut self) -> Result<()> {
        if let Some(file) = self.file.take() {
            let done = file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path));
            if let Err(source) = done {
                _ = fs::remove_file(&self.temporary);
                return Err(Error::Io { path: self.path.clone(), source });
            }
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `bytes` to `path`, atomically.
///
/// # Errors
/// As [`AtomicFile`].
pub fn write(path: impl Into<PathBuf>, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::io(file.path()))?;
    file.commit()
}

/// Writes the folder `path` atomically: `fill` writes a temporary one. An existing folder is replaced if it
/// is empty or has the file `marker`, which identifies folders of this kind. Anything else is left alone.
///
/// # Errors
/// When `path` exists and is something else, `fill` fails, or the disk is full.
pub fn folder<E: From<Error>>(
    path: &Path,
    marker: &str,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let problem = |problem: String| Error::File { path: path.to_owned(), problem };
    let exists = path.exists();
    let empty = exists && fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_none());
    if exists && !empty && !path.join(marker).is_file() {
        return Err(
            problem(format!("exists already and has no {marker}; name another folder")).into()
        );
    }
    let name = path.file_name().ok_or_else(|| problem("is not the name of a folder".into()))?;
    let named = |suffix: &str| {
        let mut name = name.to_os_string();
        name.push(format!(".{}.{suffix}", std::process::id()));
        path.with_file_name(name)
    };
    let (part, old) = (named("part"), named("old"));
    let done = fs::create_dir_all(&part).map_err(|error| E::from(Error::io(&part)(error)));
    let done = done.and_then(|()| fill(&part)).and_then(|()| {
        let swap = || {
            if exists {
                fs::rename(path, &old)?;
            }
            fs::rename(&part, path)
        };
        swap().map_err(|error| E::from(Error::io(path)(error)))
    });
    if done.is_err() {
        if old.exists() && !path.exists() {
            _ = fs::rename(&old, path);
        }
        _ = fs::remove_dir_all(&part);
    } else if exists {
        _ = fs::remove_dir_all(&old);
    }
    done
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.txt");
        write(&place, b"first").unwrap();
        let mut second = AtomicFile::create(&place).unwrap();
        second.write_all(b"half of the sec").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"first");
        drop(second);
        assert_eq!(fs::read(&place).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        write(&place, b"second").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"second");
        assert!(AtomicFile::create(folder.path()).is_err());
        assert!(AtomicFile::create(folder.path().join("none/a")).is_err());
    }

    #[test]
    fn a_folder_is_replaced_only_where_it_is_of_the_same_kind() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("made");
        let fill = |text: &'static str| {
            move |part: &Path| -> Result<()> { write(part.join("mark"), text.as_bytes()) }
        };
        folder(&place, "mark", fill("one")).unwrap();
        folder(&place, "mark", fill("two")).unwrap();
        assert_eq!(fs::read(place.join("mark")).unwrap(), b"two");
        let failed: Result<()> = folder(&place, "mark", |part| {
            write(part.join("mark"), b"three")?;
            Err(Error::Interrupted)
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(place.join("mark")).unwrap(), b"two");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no temporary file is left");
        fs::write(root.path().join("letter"), "dear").unwrap();
        let foreign: Result<()> = folder(root.path(), "mark", fill("no"));
        assert!(foreign.unwrap_err().to_string().contains("has no mark"));
    }
}
