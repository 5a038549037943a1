//! From log files to a prepared data set in one call.

use crate::dataset::{DatasetManifest, PrepareSettings, Prepared, SourceFile};
use crate::format::{LogFile, LogSource};
use crate::log::Log;
use crate::split::Part;
use crate::{Error, Result, dataset};
use std::fmt;
use std::path::Path;

/// The files of a log.
#[derive(Clone, Copy, Debug)]
pub enum LogFiles<'a> {
    /// One file, which is split.
    One(&'a Path),
    /// The files of a ready-made split; requires `split.kind = "ready_made"`.
    Parts {
        /// The training part.
        train: &'a Path,
        /// The validation part, if there is one.
        valid: Option<&'a Path>,
        /// The test part.
        test: &'a Path,
    },
}

/// The current stage, for progress bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepareStage<'a> {
    /// A file is being read.
    Reading(&'a Path),
    /// This many rows are being filtered and split.
    Cutting(usize),
    /// The folder is being written.
    Writing(&'a Path),
}

/// The result; displays as tables for the terminal.
#[derive(Clone, Debug)]
pub struct PrepareReport(pub DatasetManifest);

/// Reads with `read`, filters, splits and writes `folder`.
///
/// # Errors
/// As `read`, [`Prepared::from_log`] and [`Prepared::write`]. No half-written folder is left behind.
pub fn prepare(
    files: LogFiles<'_>,
    read: impl Fn(&LogSource) -> Result<LogFile> + Sync,
    settings: &PrepareSettings,
    folder: &Path,
    replace: bool,
    mut progress: impl FnMut(PrepareStage<'_>),
) -> Result<PrepareReport> {
    dataset::check_place(folder, replace)?;
    settings.protocol().check()?;
    settings.split.resolve()?;
    let (log, parts, sources) = read_files(files, read, &mut progress)?;
    progress(PrepareStage::Cutting(log.len()));
    let mut prepared = Prepared::from_log(log, parts, settings)?;
    prepared.manifest.sources = sources;
    progress(PrepareStage::Writing(folder));
    prepared.write(folder, replace)?;
    Ok(PrepareReport(prepared.manifest))
}

/// Returns the log, the part of each row if it came in parts, and the files that were read.
///
/// # Errors
/// As `read`, and when the files of a split do not have the same columns.
pub fn read_files(
    files: LogFiles<'_>,
    read: impl Fn(&LogSource) -> Result<LogFile> + Sync,
    progress: &mut impl FnMut(PrepareStage<'_>),
) -> Result<(Log, Option<Vec<Part>>, Vec<SourceFile>)> {
    let mut sources = Vec::new();
    let mut one = |path: &Path, part: Option<Part>| -> Result<Log> {
        progress(PrepareStage::Reading(path));
        let source = LogSource::open(path)?;
        let (file, stamp) = rayon::join(|| read(&source), || source.stamp());
        let name = source.path().file_name().map(|name| name.to_string_lossy().into_owned());
        let (LogFile { log, understood }, name) = (file?, name.unwrap_or_default());
        sources.push(SourceFile { name, part, understood, stamp: stamp? });
        Ok(log)
    };
    match files {
        LogFiles::One(path) => {
            let log = one(path, None)?;
            Ok((log, None, sources))
        }
        LogFiles::Parts { train, valid, test } => {
            let mut log = one(train, Some(Part::Train))?;
            let mut parts = vec![Part::Train; log.len()];
            for (path, part) in
                valid.map(|path| (path, Part::Valid)).into_iter().chain([(test, Part::Test)])
            {
                append(&mut log, one(path, Some(part))?, path)?;
                parts.resize(log.len(), part);
            }
            Ok((log, Some(parts), sources))
        }
    }
}

/// Brings both logs to the finer of their units.
fn in_unit_of(log: &mut Log, mut other: Log, path: &Path) -> Result<Log> {
    let unit = log.time_unit.max(other.time_unit);
    for log in [log, &mut other] {
        let factor = unit.per_second() / log.time_unit.per_second();
        for time in log.times.iter_mut().flatten().filter(|_| factor > 1) {
            *time = time.checked_mul(factor).ok_or_else(|| {
                Error::file(path, "a time does not fit into 64 bits in the unit of the other parts")
            })?;
        }
        log.time_unit = unit;
    }
    Ok(other)
}

/// Appends the rows of another log; new ids get the next numbers. `path` stands for the other log in messages.
///
/// # Errors
/// When only one of them has times or weights.
pub fn append(log: &mut Log, other: Log, path: &Path) -> Result<()> {
    for (name, here, there) in [
        ("times", log.times.is_some(), other.times.is_some()),
        ("weights", log.weights.is_some(), other.weights.is_some()),
    ] {
        if here != there {
            let has = |has: bool| if has { "has" } else { "has no" };
            let problem =
                format!("{} {name}, but the training file {} {name}", has(there), has(here));
            return Err(Error::file(path, problem));
        }
    }
    let users: Vec<u32> = other.user_ids.iter().map(|id| log.user_ids.intern(&id)).collect();
    let items: Vec<u32> = other.item_ids.iter().map(|id| log.item_ids.intern(&id)).collect();
    let other = in_unit_of(log, other, path)?;
    log.users.extend(other.users.iter().map(|&user| users[user as usize]));
    log.items.extend(other.items.iter().map(|&item| items[item as usize]));
    if let (Some(to), Some(from)) = (&mut log.times, other.times) {
        to.extend(from);
    }
    if let (Some(to), Some(from)) = (&mut log.weights, other.weights) {
        to.extend(from);
    }
    Ok(())
}

impl fmt::Display for PrepareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DatasetManifest { sources, filtered, stats, counts, audit, settings, times, .. } =
            &self.0;
        for SourceFile { name, part, understood, .. } in sources {
            let part = part.map(|part| format!(" ({part:?})").to_lowercase()).unwrap_or_default();
            writeln!(f, "read     {name}{part}")?;
            if let Some(understood) = understood {
                writeln!(f, "{understood}\n")?;
            }
        }
        writeln!(f, "{filtered}")?;
        writeln!(f, "{stats}")?;
        let order =
            if *times { "by time" } else { "in the order of the file: the log has no times" };
        writeln!(f, "split {}, rows {order}", settings.split.kind)?;
        writeln!(f, "{counts}")?;
        write!(f, "{audit}")
    }
}
