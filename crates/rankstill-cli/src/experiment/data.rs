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

/// How much more the items' shares of the test part vary than those of a part that is drawn at random from all rows: 1 if it may be
/// such a part. Pearson's dispersion over the items with at least five rows.
#[must_use]
pub fn test_dispersion(data: &Dataset) -> f64 {
    let mut test = vec![0_u32; data.split.train.n_items()];
    let targets = data.split.test.iter().flat_map(|case| case.targets);
    targets.for_each(|&item| test[item as usize] += 1);
    let mut rows = data.split.train.popularity();
    let others = data.split.valid.iter().flat_map(|case| case.targets);
    others.for_each(|&item| rows[item as usize] += 1);
    let total: u32 = rows.iter().zip(&test).map(|(other, test)| other + test).sum();
    let share = f64::from(test.iter().sum::<u32>()) / f64::from(total.max(1));
    let squares = rows.iter().zip(&test).filter(|(other, test)| *other + *test >= 5);
    let squares = squares.map(|(other, test)| {
        let rows = f64::from(other + test);
        (f64::from(*test) - share * rows).powi(2) / (rows * share * (1.0 - share))
    });
    let (sum, items) = squares.fold((0.0, 0.0), |(sum, items), square| (sum + square, items + 1.0));
    if items == 0.0 { 1.0 } else { sum / items }
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
