//! The data of an experiment, prepared first unless they already are.

use super::spec::DataSpec;
use crate::progress::Screen;
use crate::reading::hinted;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rankstill::data::LogSource;
use rankstill::data::dataset::Dataset;
use rankstill::data::dataset::{DatasetManifest, MANIFEST, Prepared, Verify};
use rankstill::data::format::read_source;
use rankstill::data::prepare::{LogFiles, PrepareStage, prepare};
use rankstill::data::simulate::simulate;
use std::borrow::Cow;
use std::path::Path;

/// The data set of `spec`. Unless it is prepared already, it is prepared in `folder` once; a resumed run finds it there.
///
/// # Errors
/// If the log cannot be read, or the settings do not fit it.
pub fn open(spec: &DataSpec, folder: &Path, screen: &Screen) -> Result<Dataset> {
    let sources = [spec.path.is_some(), spec.parts.is_some(), spec.simulate.is_some()];
    match sources.into_iter().filter(|&given| given).count() {
        1 => {}
        0 => bail!("data: is empty; set data.path, data.parts or data.simulate"),
        _ => bail!("data: path, parts and simulate exclude each other; keep one"),
    }
    let path = spec.path.as_deref().map(|path| locate(path, screen));
    if let Some(path) = path.filter(|path| is_prepared(path)) {
        return open_prepared(spec, &path);
    }
    if is_prepared(folder) {
        let found = DatasetManifest::read(folder)?.settings;
        ensure!(
            found == resolved(spec)?,
            "{}: was prepared with other settings; choose another --out",
            folder.display()
        );
        // It may be months old: every hash is checked, for a flipped bit would give other figures.
        return Dataset::open_with(folder, Verify::Full, None).map_err(|error| {
            anyhow!("{error}; remove {} to prepare the data again", folder.display())
        });
    }
    let made = make(spec, folder, false, "data.read.", screen)?;
    for source in &made.sources {
        if let Some(understood) = &source.understood {
            screen.say(format!("read {}\n{understood}", source.name));
        }
    }
    Ok(Dataset::open(folder)?)
}

/// The data set of a finished run: that of `folder`, or the prepared one that the run was given.
///
/// # Errors
/// If it is not there, or cannot be read.
pub fn reopen(spec: &DataSpec, folder: &Path, screen: &Screen) -> Result<Dataset> {
    let path = spec.path.as_deref().map(|path| locate(path, screen));
    match path.filter(|path| is_prepared(path)) {
        Some(path) => open_prepared(spec, &path),
        None => Ok(Dataset::open(folder)?),
    }
}

/// Prepares the log of `spec` in `folder` and returns the manifest. `options` stands before the names of reading options in errors.
///
/// # Errors
/// As [`open`].
pub fn make(
    spec: &DataSpec,
    folder: &Path,
    replace: bool,
    options: &str,
    screen: &Screen,
) -> Result<DatasetManifest> {
    let settings = spec.settings();
    if let Some(options) = &spec.simulate {
        screen.say(format!("simulating {} interactions", options.interactions));
        let mut prepared = Prepared::from_log(simulate(options)?, None, &settings)?;
        prepared.write(folder, replace)?;
        return Ok(prepared.manifest);
    }
    let locate = |path| locate(path, screen);
    let (log, train, valid, test);
    let files = match (&spec.path, &spec.parts) {
        (Some(path), _) => {
            log = locate(path);
            LogFiles::One(&log)
        }
        (None, Some(parts)) => {
            train = locate(&parts.train);
            valid = parts.valid.as_deref().map(locate);
            test = locate(&parts.test);
            LogFiles::Parts { train: &train, valid: valid.as_deref(), test: &test }
        }
        (None, None) => bail!("data: is empty; set data.path or data.parts"),
    };
    let bar = screen.bar("reading", 1);
    let read = |source: &LogSource| {
        read_source(source, &spec.read, &mut |done, total| bar.at_of(done, total.max(1)))
    };
    let report = prepare(files, read, &settings, folder, replace, |stage| match stage {
        PrepareStage::Reading(path) => bar.note(path.display().to_string()),
        PrepareStage::Cutting(rows) => bar.note(format!("filtering and splitting {rows} rows")),
        PrepareStage::Writing(folder) => bar.note(format!("writing {}", folder.display())),
    });
    Ok(hinted(report, options)?.0)
}

/// Whether the log of `spec` has times.
///
/// # Errors
/// If it cannot be read.
pub fn has_times(spec: &DataSpec, screen: &Screen) -> Result<bool> {
    let Some(path) = &spec.path else { return Ok(false) };
    let bar = screen.bar("looking for times", 1);
    let read = LogSource::open(&locate(path, screen)).and_then(|source| {
        read_source(&source, &spec.read, &mut |done, total| bar.at_of(done, total.max(1)))
    });
    Ok(hinted(read, "--set read.")?.log.times.is_some())
}

/// The dispersion of the test part: how much more the items' shares of it vary than those of a part drawn at random, about 1 if it is one.
#[must_use]
pub fn test_dispersion(data: &Dataset) -> f64 {
    let (mut test, mut others) =
        (vec![0; data.split.train.n_items()], data.split.train.popularity());
    for (cases, counts) in [(&data.split.test, &mut test), (&data.split.valid, &mut others)] {
        let targets = cases.iter().flat_map(|case| case.targets);
        targets.for_each(|&item| counts[item as usize] += 1);
    }
    dispersion(&test, &others)
}

/// How much more the items' shares of a part vary than those of a part that is drawn at random from all rows: about 1 if it is such a
/// part. Pearson's dispersion over the items with at least five rows; the numbers are those of each item's rows, in the part and outside.
fn dispersion(part: &[u32], others: &[u32]) -> f64 {
    let all = |counts: &[u32]| counts.iter().map(|&count| f64::from(count)).sum::<f64>();
    let share = all(part) / (all(part) + all(others));
    let items: Vec<f64> = part
        .iter()
        .zip(others)
        .map(|(&part, &other)| (f64::from(part), f64::from(part) + f64::from(other)))
        .filter(|(_, rows)| *rows >= 5.0)
        .map(|(part, rows)| (part - share * rows).powi(2) / (rows * share * (1.0 - share)))
        .collect();
    if items.is_empty() { 1.0 } else { items.iter().sum::<f64>() / items.len() as f64 }
}

/// Whether every row trains by intent, so that there is nothing to measure.
#[must_use]
pub fn all_rows_train(data: &Dataset) -> bool {
    data.manifest.settings.split.kind == ALL_ROWS
}

/// The kind of split by which every row trains.
pub const ALL_ROWS: &str = "all";

/// `path` itself, or, if it begins with `../shared/data` and does not exist, the same file below the folder that the environment
/// variable `RANKSTILL_DATA` names.
pub(super) fn locate<'a>(path: &'a Path, screen: &Screen) -> Cow<'a, Path> {
    let root = std::env::var_os("RANKSTILL_DATA");
    let (Some(root), Ok(rest), false) = (root, path.strip_prefix("../shared/data"), path.exists())
    else {
        return path.into();
    };
    let found = Path::new(&root).join(rest);
    screen.say(format!("RANKSTILL_DATA: {} is read from {}", path.display(), found.display()));
    found.into()
}

/// Whether `path` is a folder that `prepare` made.
#[must_use]
pub fn is_prepared(path: &Path) -> bool {
    path.join(MANIFEST).is_file() && DatasetManifest::read(path).is_ok()
}

/// A prepared folder keeps its own filter and split; masks and histories can change without preparing it again.
fn open_prepared(spec: &DataSpec, path: &Path) -> Result<Dataset> {
    let plain = DataSpec::default();
    for (key, changed) in [
        ("read", spec.read != plain.read),
        ("filter", spec.filter != plain.filter),
        ("split", spec.split != plain.split),
    ] {
        if changed {
            let path = path.display();
            bail!(
                "data.{key}: {path} is prepared already; remove this key, or prepare the log again"
            );
        }
    }
    let settings = spec.settings();
    let own = (spec.mask, spec.history) == (plain.mask, plain.history);
    let protocol = (!own).then(|| settings.protocol());
    Dataset::open_with(path, Verify::Quick, protocol.as_ref()).context("data.path")
}

/// The settings with every default of the split filled in, as a manifest keeps them.
fn resolved(spec: &DataSpec) -> Result<rankstill::data::dataset::PrepareSettings> {
    let mut settings = spec.settings();
    settings.split = settings.split.resolve()?.1;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_dispersed_as_its_items_shares_vary() {
        // A quarter of each item's rows.
        assert!(dispersion(&[5, 10, 1], &[15, 30, 3]).abs() < 1e-12);
        // Half of 40 rows: 10 expected of each item, whose variance is 20 / 4; the third has too few rows.
        let by_hand = (4.0 * 4.0 + 4.0 * 4.0) / 5.0 / 2.0;
        assert!((dispersion(&[14, 6, 2], &[6, 14, 2]) - by_hand).abs() < 1e-12);
        assert!((dispersion(&[1], &[1]) - 1.0).abs() < 1e-12, "no item tells");
    }
}
