//! Locks: only one process at a time writes into a folder, or the same file.
//!
//! A lock is one of the operating system on a file of its own, so it ends with its process, however that ends. For a folder that
//! is written into, the file is inside: often nothing else can be written there, as where a container has one volume. For a file, and
//! for a folder that is replaced as a whole, it is beside it.

use super::disk::{self, DiskFile};
use super::names::{self, Kind};
use crate::{Error, Result};
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const INSIDE: &str = ".rankstill-lock";

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    /// The file or folder that may be written.
    target: PathBuf,
    place: PathBuf,
    /// `None` where the file system has no locks.
    file: Option<File>,
}

impl Lock {
    /// Locks a folder that is written into; it must exist.
    ///
    /// # Errors
    /// If another process holds it, or the lock's file cannot be made.
    pub fn folder(folder: &Path) -> Result<Self> {
        Self::take(folder.to_owned(), folder.join(INSIDE))
    }

    /// Locks a file, or a folder that is replaced as a whole, and removes what killed processes left of it. A symbolic link is
    /// followed, so that a file has one lock whatever name it is given by.
    ///
    /// # Errors
    /// As [`Lock::folder`], and if a leftover cannot be removed.
    pub fn beside(target: &Path) -> Result<Self> {
        let target = super::behind_link(target)?;
        let name = target.file_name().ok_or_else(|| Error::File {
            path: target.clone(),
            problem: "is not the name of a file or folder".into(),
        })?;
        let mut place = std::ffi::OsString::from(".");
        place.push(name);
        place.push(INSIDE);
        let lock = Self::take(target.clone(), target.with_file_name(place))?;
        let above = target.parent().filter(|above| !above.as_os_str().is_empty());
        clear(above.unwrap_or(Path::new(".")), &mut |found| {
            names::of_temporary(found).filter(|(base, _)| OsStr::new(base) == name)
        })?;
        Ok(lock)
    }

    fn take(target: PathBuf, place: PathBuf) -> Result<Self> {
        loop {
            let file = DiskFile::to_lock(&place).map_err(Error::io(&place))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &place) => {
                    return Ok(Self { target, place, file: Some(file) });
                }
                Ok(()) => {} // its last holder has just removed it
                Err(TryLockError::WouldBlock) => {
                    let problem = "another process is writing it; wait until that has ended, or name another place";
                    return Err(Error::File { path: target, problem: problem.into() });
                }
                // Some network file systems have no locks. Then it is as it would be without this module.
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                    return Ok(Self { target, place, file: None });
                }
                Err(TryLockError::Error(error)) => return Err(Error::io(&place)(error)),
            }
        }
    }

    /// Whether the file system has no locks, so that nothing keeps a second process away.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.file.is_none()
    }

    /// Removes what killed processes left in the locked folder and below. A folder that was being replaced comes back if its
    /// successor is not there.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove_leftovers(&self) -> Result<()> {
        below(&self.target)
    }

    /// Whether nothing is in `folder` but what a process leaves that was killed before it had written its first file, `first`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_fresh(folder: &Path, first: &str) -> Result<bool> {
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let name = entry.map_err(Error::io(folder))?.file_name();
            let left = names::of_any_temporary(&name).is_some_and(|(base, _)| base == first);
            if name != INSIDE && !left {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for Lock {
    /// The file goes while it is locked: who has opened it meanwhile sees that it is gone (`is_at`).
    fn drop(&mut self) {
        if self.file.is_some() && cfg!(unix) {
            _ = fs::remove_file(&self.place);
        }
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    let codes = [libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOLCK];
    error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Whether the open file is still the one with this name.
#[cfg(unix)]
fn is_at(file: &File, place: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(place)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true // never removed
}

fn below(folder: &Path) -> Result<()> {
    clear(folder, &mut names::of_any_temporary)?;
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes the entries of `folder` that `known` names as left over.
fn clear(
    folder: &Path,
    known: &mut dyn for<'n> FnMut(&'n OsStr) -> Option<(&'n str, Kind)>,
) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let name = entry.file_name();
        let Some((base, kind)) = known(&name) else { continue };
        let (path, successor) = (entry.path(), folder.join(base));
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let done = match kind {
            Kind::Old if !successor.exists() => disk::rename(&path, &successor),
            _ if is_folder => disk::remove_folder(&path),
            _ => disk::remove_file(&path),
        };
        done.map_err(Error::io(path))?;
    }
    Ok(())
}
