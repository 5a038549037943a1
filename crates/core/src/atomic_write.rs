//! Atomic writing: files and folders are written under a temporary name next to their path and then renamed. [`Lock`] keeps
//! other processes away meanwhile.

mod disk;
#[cfg(any(test, feature = "testing"))]
pub mod faults;
mod lock;
mod names;

pub use disk::{DiskFile, create_folders, remove_file, remove_folder, rename};
pub use lock::Lock;

use crate::{Error, Result};
use names::{Kind, temporary};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file being written. Until [`AtomicFile::commit`], its path keeps the old content; dropped without a
/// commit, it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<DiskFile>,
}

impl AtomicFile {
    /// Starts a file at `path`, whose folder must exist. A symbolic link is followed.
    ///
    /// # Errors
    /// When it cannot be created, or `path` is a folder, a device or a pipe.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = behind_link(&path.into())?;
        let bad = |problem: &str| Error::File { path: path.clone(), problem: problem.into() };
        let name = path.file_name().filter(|_| !path.is_dir());
        let name = name.ok_or_else(|| bad("is a folder, expected the name of a file"))?;
        if path.exists() && !path.is_file() {
            return Err(bad("is a device or a pipe, expected the name of a file"));
        }
        let temporary = path.with_file_name(temporary(name, Kind::Part));
        let file = DiskFile::create_new(&temporary).map_err(Error::io(&temporary))?;
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
            let done = file.sync().and_then(|()| rename(&self.temporary, &self.path));
            if let Err(source) = done {
                _ = remove_file(&self.temporary);
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
            _ = remove_file(&self.temporary);
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
/// is empty or has the file `marker`, which identifies folders of this kind. Anything else is left alone. A symbolic link is
/// followed.
///
/// # Errors
/// When `path` exists and is something else, `fill` fails, or the disk is full.
pub fn folder<E: From<Error>>(
    path: &Path,
    marker: &str,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let path = &*behind_link(path)?;
    let problem = |problem: String| Error::File { path: path.to_owned(), problem };
    let exists = path.exists();
    let empty = exists && fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_none());
    if exists && !empty && !path.join(marker).is_file() {
        return Err(
            problem(format!("exists already and has no {marker}; name another folder")).into()
        );
    }
    let name = path.file_name().ok_or_else(|| problem("is not the name of a folder".into()))?;
    let named = |kind: Kind| path.with_file_name(temporary(name, kind));
    let (part, old) = (named(Kind::Part), named(Kind::Old));
    let done = create_folders(&part).map_err(|error| E::from(Error::io(&part)(error)));
    let done = done.and_then(|()| fill(&part)).and_then(|()| {
        let swap = || {
            if exists {
                rename(path, &old)?;
            }
            rename(&part, path)
        };
        swap().map_err(|error| E::from(Error::io(path)(error)))
    });
    if done.is_err() {
        if old.exists() && !path.exists() {
            _ = rename(&old, path);
        }
        _ = remove_folder(&part);
    } else if exists {
        _ = remove_folder(&old);
    }
    done
}

/// Where a symbolic link leads; any other path as it is. Renaming onto a link would put the file in its place.
fn behind_link(path: &Path) -> Result<PathBuf> {
    if !path.is_symlink() {
        return Ok(path.to_owned());
    }
    fs::canonicalize(path).map_err(|error| Error::File {
        path: path.to_owned(),
        problem: format!("is a symbolic link that leads nowhere: {error}"),
    })
}

#[cfg(test)]
mod tests;
