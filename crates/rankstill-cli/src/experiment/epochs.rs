//! The line of JSON that each epoch of a fit leaves in its folder, with a checksum ([`crate::sealed`]).

use crate::sealed;
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::atomic_write::{self, DiskFile};
use rankstill::core::{EpochReport, Error};
use serde_json::{Map, Value};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// The file, in the folder of a fit.
pub const EPOCHS: &str = "epochs.jsonl";

const WAY_ON: &str = "remove this folder to fit the model again";

/// Adds the line of an epoch, with what else was `seen` of it.
///
/// # Errors
/// When the disk is full.
pub(super) fn append(
    folder: &Path,
    report: &EpochReport,
    seen: Map<String, Value>,
) -> rankstill::core::Result<()> {
    let path = folder.join(EPOCHS);
    let failed = |source: io::Error| Error::Io { path: path.clone(), source };
    let mut line = serde_json::to_value(report).map_err(|error| failed(error.into()))?;
    if let Value::Object(line) = &mut line {
        line.extend(seen);
    }
    let line = sealed::line(line) + "\n";
    DiskFile::append(&path).and_then(|mut file| file.write_all(line.as_bytes())).map_err(failed)
}

/// Waits until the lines are on the disk.
///
/// # Errors
/// When they cannot be written.
pub(super) fn sync(folder: &Path) -> rankstill::core::Result<()> {
    let path = folder.join(EPOCHS);
    if !path.exists() {
        return Ok(()); // before the end of the first epoch
    }
    DiskFile::append(&path).and_then(|file| file.sync()).map_err(Error::io(path))
}

/// The lines of a fit that has ended; none where there is no file.
///
/// # Errors
/// Names the line that is damaged.
pub(super) fn read(folder: &Path) -> Result<Vec<Value>> {
    let (lines, torn) = read_begun(folder)?;
    ensure!(!torn, "{}: its last line is incomplete; {WAY_ON}", folder.join(EPOCHS).display());
    Ok(lines)
}

/// The lines of a fit that may have been stopped at any moment, and whether the last one was then only begun.
///
/// # Errors
/// As [`read`].
pub(super) fn read_begun(folder: &Path) -> Result<(Vec<Value>, bool)> {
    let path = folder.join(EPOCHS);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let torn = !bytes.is_empty() && !bytes.ends_with(b"\n");
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let mut lines = Vec::new();
    for line in bytes[..whole].split_inclusive(|&byte| byte == b'\n') {
        let line = std::str::from_utf8(line).map_err(Into::into).and_then(sealed::read);
        match line {
            Ok(line) => lines.push(line),
            Err(error) => {
                bail!("{}: line {}: {error:#}; {WAY_ON}", path.display(), lines.len() + 1)
            }
        }
    }
    Ok((lines, torn))
}

/// As [`read`], the reports only.
///
/// # Errors
/// As [`read`].
pub(super) fn reports(folder: &Path) -> Result<Vec<EpochReport>> {
    let report = |line: Value| {
        serde_json::from_value(line)
            .with_context(|| format!("{}; {WAY_ON}", folder.join(EPOCHS).display()))
    };
    read(folder)?.into_iter().map(report).collect()
}

/// A resumed fit repeats the epochs since its checkpoint: their old lines are removed. The lines before are still needed, so
/// the file is replaced atomically.
///
/// # Errors
/// As [`read`], and when the disk is full.
pub(super) fn keep_before(epoch: usize, folder: &Path) -> Result<()> {
    let (mut lines, torn) = read_begun(folder)?;
    let written = lines.len();
    let number = |line: &Value| line["epoch"].as_u64().unwrap_or(u64::MAX) as usize;
    lines.retain(|line| number(line) < epoch);
    ensure!(
        lines.iter().map(number).eq(0..epoch),
        "{}: has not a line for each of the {epoch} epochs before the checkpoint; {WAY_ON}",
        folder.join(EPOCHS).display()
    );
    if lines.len() == written && !torn {
        return Ok(());
    }
    let kept: String = lines.into_iter().map(|line| sealed::line(line) + "\n").collect();
    Ok(atomic_write::write(folder.join(EPOCHS), kept.as_bytes())?)
}
