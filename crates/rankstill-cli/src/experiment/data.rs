//! The data of an experiment, prepared first unless they already are.

use super::spec::{DataSpec, Keep, Sample};
use crate::progress::Screen;
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::kernel::rng::Rng;
use rankstill::core::{Interactions, Lists};
use rankstill::data::dataset::Dataset;
use rankstill::data::dataset::{MANIFEST, Manifest, Prepared};
use rankstill::data::prepare::{Files, Stage, prepare};
use rankstill::data::read_log;
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
        let found = Manifest::read(folder)?.settings;
        ensure!(
            found == resolved(spec)?,
            "{}: was prepared with other settings; choose another --out",
            folder.display()
        );
        return Ok(Dataset::open(folder)?);
    }
    make(spec, folder, false, screen)?;
    Ok(Dataset::open(folder)?)
}

/// Prepares the log of `spec` in `folder` and returns the manifest.
///
/// # Errors
/// As [`open`].
pub fn make(spec: &DataSpec, folder: &Path, replace: bool, screen: &Screen) -> Result<Manifest> {
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
            Files::One(&log)
        }
        (None, Some(parts)) => {
            train = locate(&parts.train);
            valid = parts.valid.as_deref().map(locate);
            test = locate(&parts.test);
            Files::Parts { train: &train, valid: valid.as_deref(), test: &test }
        }
        (None, None) => bail!("data: is empty; set data.path or data.parts"),
    };
    let bar = screen.bar("reading", 1);
    let read =
        |path: &Path| read_log(path, &spec.read, &mut |done, total| bar.at_of(done, total.max(1)));
    let report = prepare(files, read, &settings, folder, replace, |stage| match stage {
        Stage::Reading(path) => bar.note(path.display().to_string()),
        Stage::Cutting(rows) => bar.note(format!("filtering and splitting {rows} rows")),
        Stage::Writing(folder) => bar.note(format!("writing {}", folder.display())),
    })?;
    Ok(report.0)
}

/// What is left of `train` when models are to be fitted on a part of it.
///
/// # Errors
/// When the share is not above 0 and at most 1.
pub fn sampled(train: Interactions, sample: &Sample) -> Result<Interactions> {
    let Sample { share, keep } = *sample;
    sample.check()?;
    if share == 1.0 {
        return Ok(train);
    }
    let mut rows = Vec::new();
    let mut items = Lists::with_capacity(train.n_users(), train.len());
    for user in 0..train.n_users() {
        let line = train.items().range(user);
        let n = (share * line.len() as f64 - 1e-9).ceil() as usize;
        let kept: Vec<usize> = match keep {
            Keep::Latest => (line.end - n..line.end).collect(),
            Keep::Earliest => (line.start..line.start + n).collect(),
            Keep::Random => {
                let order = Rng::keyed(SAMPLE, [user as u64]).permutation(line.len() as u32);
                let mut kept: Vec<usize> =
                    order[..n].iter().map(|&at| line.start + at as usize).collect();
                kept.sort_unstable();
                kept
            }
        };
        items.push(kept.iter().map(|&row| train.items().values()[row]));
        rows.extend(kept);
    }
    let times = train.times().map(|times| rows.iter().map(|&row| times[row]).collect());
    let weights = train.weights().map(|weights| rows.iter().map(|&row| weights[row]).collect());
    Ok(Interactions::new(train.n_items(), items, times, weights)?)
}

/// Keeps the draws of a sample apart from all others.
const SAMPLE: u64 = 0x5341_4d50;

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
    path.join(MANIFEST).is_file() && Manifest::read(path).is_ok()
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
    let verify = rankstill::data::dataset::Verify::Quick;
    Dataset::open_with(path, verify, protocol.as_ref()).context("data.path")
}

/// The settings with every default of the split filled in, as a manifest keeps them.
fn resolved(spec: &DataSpec) -> Result<rankstill::data::dataset::Settings> {
    let mut settings = spec.settings();
    settings.split = settings.split.resolve()?.1;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_smaller_share_is_part_of_a_larger_one_and_lines_keep_their_order() {
        let lines = [vec![3, 1, 4, 0, 5], vec![], vec![2]];
        let whole =
            Interactions::new(6, Lists::from_iter(lines), Some(vec![1, 2, 3, 4, 5, 6]), None)
                .unwrap();
        let of = |share, keep| sampled(whole.clone(), &Sample { share, keep }).unwrap();
        let latest = of(0.4, Keep::Latest);
        assert_eq!(
            (latest.history(0), latest.history(1), latest.history(2)),
            (&[0, 5][..], &[][..], &[2][..])
        );
        assert_eq!(latest.times(), Some(&[4, 5, 6][..]));
        assert_eq!(of(0.41, Keep::Earliest).history(0), [3, 1, 4]);
        assert_eq!(of(1.0, Keep::Random), whole);
        let mut before: Vec<u32> = Vec::new();
        for share in [0.2, 0.4, 0.6, 0.8, 1.0] {
            let now = of(share, Keep::Random);
            let at = |item: &u32| whole.history(0).iter().position(|other| other == item).unwrap();
            assert!(now.history(0).is_sorted_by_key(at));
            assert!(before.iter().all(|item| now.history(0).contains(item)));
            before = now.history(0).to_vec();
        }
        assert_eq!(before.len(), 5);
        assert!(sampled(whole, &Sample { share: 0.0, keep: Keep::Latest }).is_err());
    }
}
