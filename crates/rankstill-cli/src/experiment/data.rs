//! The data of an experiment: opened where they are prepared, else prepared first.

use super::spec::DataSpec;
use crate::progress::Screen;
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::data::dataset::Dataset;
use rankstill::data::dataset::{DatasetManifest, MANIFEST, Prepared};
use rankstill::data::prepare::{LogFiles, PrepareStage, prepare};
use rankstill::data::read_log;
use rankstill::data::simulate::simulate;
use std::path::Path;

/// The data set of `spec`. What is not prepared yet is prepared into `folder`, once: a run that goes on finds it there.
///
/// # Errors
/// When the log cannot be read, or the settings do not fit it.
pub fn open(spec: &DataSpec, folder: &Path, screen: &Screen) -> Result<Dataset> {
    let sources = [spec.path.is_some(), spec.parts.is_some(), spec.simulate.is_some()];
    match sources.into_iter().filter(|&given| given).count() {
        1 => {}
        0 => bail!("data: nothing is given; set data.path, data.parts or data.simulate"),
        _ => bail!("data: path, parts and simulate are given together; keep one"),
    }
    if let Some(path) = spec.path.as_deref().filter(|path| is_prepared(path)) {
        return opened_elsewhere(spec, path);
    }
    if is_prepared(folder) {
        let found = DatasetManifest::read(folder)?.settings;
        ensure!(
            found == resolved(spec)?,
            "{}: was prepared with other settings; name another --out",
            folder.display()
        );
        return Ok(Dataset::open(folder)?);
    }
    make(spec, folder, false, screen)?;
    Ok(Dataset::open(folder)?)
}

/// Prepares the log of `spec` into `folder` and says what came of it.
///
/// # Errors
/// As [`open`].
pub fn make(
    spec: &DataSpec,
    folder: &Path,
    replace: bool,
    screen: &Screen,
) -> Result<DatasetManifest> {
    let settings = spec.settings();
    if let Some(options) = &spec.simulate {
        screen.say(format!("simulating {} interactions", options.interactions));
        let mut prepared = Prepared::from_log(simulate(options)?, None, &settings)?;
        prepared.write(folder, replace)?;
        return Ok(prepared.manifest);
    }
    let files = match (&spec.path, &spec.parts) {
        (Some(path), _) => LogFiles::One(path),
        (None, Some(parts)) => LogFiles::Parts {
            train: &parts.train,
            valid: parts.valid.as_deref(),
            test: &parts.test,
        },
        (None, None) => bail!("data: nothing is given; set data.path or data.parts"),
    };
    let bar = screen.bar("reading", 1);
    let read =
        |path: &Path| read_log(path, &spec.read, &mut |done, total| bar.at_of(done, total.max(1)));
    let report = prepare(files, read, &settings, folder, replace, |stage| match stage {
        PrepareStage::Reading(path) => bar.note(path.display().to_string()),
        PrepareStage::Cutting(rows) => bar.note(format!("filtering and splitting {rows} rows")),
        PrepareStage::Writing(folder) => bar.note(format!("writing {}", folder.display())),
    })?;
    Ok(report.0)
}

/// Whether `path` is a folder that `prepare` made.
#[must_use]
pub fn is_prepared(path: &Path) -> bool {
    path.join(MANIFEST).is_file() && DatasetManifest::read(path).is_ok()
}

/// A prepared folder keeps its own filter and split; what is masked and told can be changed without preparing it again.
fn opened_elsewhere(spec: &DataSpec, path: &Path) -> Result<Dataset> {
    let plain = DataSpec::default();
    for (key, changed) in [
        ("read", spec.read != plain.read),
        ("filter", spec.filter != plain.filter),
        ("split", spec.split != plain.split),
    ] {
        if changed {
            let path = path.display();
            bail!("data.{key}: {path} is prepared already; leave it out, or prepare the log anew");
        }
    }
    let settings = spec.settings();
    let own = (spec.mask, spec.history) == (plain.mask, plain.history);
    let protocol = (!own).then(|| settings.protocol());
    let verify = rankstill::data::dataset::Verify::Quick;
    Dataset::open_with(path, verify, protocol.as_ref()).context("data.path")
}

/// The settings as a manifest keeps them: with every default of the split filled in.
fn resolved(spec: &DataSpec) -> Result<rankstill::data::dataset::PrepareSettings> {
    let mut settings = spec.settings();
    settings.split = settings.split.resolve()?.1;
    Ok(settings)
}
