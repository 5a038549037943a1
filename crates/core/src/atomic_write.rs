//! Files and folders that appear whole or not at all: written beside their place and renamed into it.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file being written. Until [`AtomicFile::commit`] its place keeps what it held; dropped uncommitted, it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    place: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
}

impl AtomicFile {
    /// Begins a file that is to stand at `place`, whose folder must exist.
    ///
    /// # Errors
    /// When it cannot be created, or `place` is a folder.
    pub fn create(place: impl Into<PathBuf>) -> Result<Self> {
        let place = place.into();
        let name = place.file_name().filter(|_| !place.is_dir());
        let name = name.ok_or_else(|| Error::File {
            path: place.clone(),
            problem: "is a folder, expected a file's name".into(),
        })?;
        let mut beside = name.to_os_string();
        beside.push(format!(".{}.part", std::process::id()));
        let temporary = place.with_file_name(beside);
        let file = File::create(&temporary).map_err(Error::io(&temporary))?;
        Ok(Self { place, temporary, file: Some(file) })
    }

    /// Where it will stand.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Forces the content to the disk and puts the file into its place.
    ///
    /// # Errors
    /// When the disk is full, or the file cannot be renamed.
    pub fn commit(mut self) -> Result<()> {
        if let Some(file) = self.file.take() {
            let done = file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.place));
            if let Err(source) = done {
                _ = fs::remove_file(&self.temporary);
                return Err(Error::Io { path: self.place.clone(), source });
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

/// Writes `bytes` to `place`, whole or not at all.
///
/// # Errors
/// As [`AtomicFile`].
pub fn write(place: impl Into<PathBuf>, bytes: &[u8]) -> Result<()> {
    let mut beside = AtomicFile::create(place)?;
    beside.write_all(bytes).map_err(Error::io(beside.place()))?;
    beside.commit()
}

/// Fills a folder that is to stand at `place`, whole or not at all. What stands there is replaced when it holds `marker`, the
/// file by which such a folder is known; an empty folder too. Anything else is somebody's and left alone.
///
/// # Errors
/// When something else stands there, `fill` fails, or the disk is full.
pub fn folder<E: From<Error>>(
    place: &Path,
    marker: &str,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let problem = |problem: String| Error::File { path: place.to_owned(), problem };
    let stands = place.exists();
    let empty = stands && fs::read_dir(place).is_ok_and(|mut inside| inside.next().is_none());
    if stands && !empty && !place.join(marker).is_file() {
        return Err(problem(format!(
            "stands there already and holds no {marker}; name another folder"
        ))
        .into());
    }
    let name = place.file_name().ok_or_else(|| problem("is not a folder's name".into()))?;
    let named = |suffix: &str| {
        let mut beside = name.to_os_string();
        beside.push(format!(".{}.{suffix}", std::process::id()));
        place.with_file_name(beside)
    };
    let (part, old) = (named("part"), named("old"));
    let done = fs::create_dir_all(&part).map_err(|error| E::from(Error::io(&part)(error)));
    let done = done.and_then(|()| fill(&part)).and_then(|()| {
        let swap = || {
            if stands {
                fs::rename(place, &old)?;
            }
            fs::rename(&part, place)
        };
        swap().map_err(|error| E::from(Error::io(place)(error)))
    });
    if done.is_err() {
        if old.exists() && !place.exists() {
            _ = fs::rename(&old, place);
        }
        _ = fs::remove_dir_all(&part);
    } else if stands {
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
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
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
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::write(root.path().join("letter"), "dear").unwrap();
        let foreign: Result<()> = folder(root.path(), "mark", fill("no"));
        assert!(foreign.unwrap_err().to_string().contains("holds no mark"));
    }
}
