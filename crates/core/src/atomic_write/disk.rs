//! The one place where files are changed: every write that must survive a crash goes through these functions, so that the tests
//! can stop or fail each of them (`faults`).

#[cfg(any(test, feature = "testing"))]
use super::faults;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::Path;

/// A file that is written.
#[derive(Debug)]
pub struct DiskFile(File);

impl DiskFile {
    /// Makes a file that must not exist yet.
    ///
    /// # Errors
    /// If it exists or cannot be created.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        step("create", path)?;
        File::options().write(true).create_new(true).open(path).map(Self)
    }

    /// Opens a file to write at its end, or makes it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn append(path: &Path) -> io::Result<Self> {
        step("open", path)?;
        File::options().append(true).create(true).open(path).map(Self)
    }

    /// Opens a file to go on after its first `length` bytes, or makes it.
    ///
    /// # Errors
    /// If it cannot be opened or cut.
    pub fn resume(path: &Path, length: u64) -> io::Result<Self> {
        step("open", path)?;
        let mut file =
            File::options().create(true).truncate(false).write(true).read(true).open(path)?;
        step("cut", path)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self(file))
    }

    /// Opens a file only to lock it, or makes it.
    pub(super) fn to_lock(path: &Path) -> io::Result<File> {
        step("open", path)?;
        File::options().create(true).truncate(false).write(true).open(path)
    }

    /// Waits until the content is on the disk.
    ///
    /// # Errors
    /// If it could not be written.
    pub fn sync(&self) -> io::Result<()> {
        step("sync", Path::new(""))?;
        self.0.sync_data()
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(any(test, feature = "testing"))]
        if faults::strikes_next() {
            // A disk that is full, or a kill, leaves half of what was to be written.
            _ = self.0.write(&bytes[..bytes.len() / 2]);
        }
        step("write", Path::new(""))?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Renames a file or folder.
///
/// # Errors
/// As [`fs::rename`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step("rename", to)?;
    fs::rename(from, to)
}

/// Makes a folder and those above it, as far as they are missing.
///
/// # Errors
/// As [`fs::create_dir_all`].
pub fn create_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    step("create", path)?;
    fs::create_dir_all(path)
}

/// Removes a file; one that is not there is removed already.
///
/// # Errors
/// As [`fs::remove_file`].
pub fn remove_file(path: &Path) -> io::Result<()> {
    step("remove", path)?;
    gone(fs::remove_file(path))
}

/// Removes a folder and everything in it; one that is not there is removed already.
///
/// # Errors
/// As [`fs::remove_dir_all`].
pub fn remove_folder(path: &Path) -> io::Result<()> {
    step("remove", path)?;
    gone(fs::remove_dir_all(path))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Announces a change of the disk; in tests it may fail here.
#[cfg(any(test, feature = "testing"))]
fn step(change: &str, path: &Path) -> io::Result<()> {
    faults::step(change, path)
}

#[cfg(not(any(test, feature = "testing")))]
#[expect(clippy::unnecessary_wraps, reason = "as the one of the tests")]
fn step(_: &str, _: &Path) -> io::Result<()> {
    Ok(())
}
