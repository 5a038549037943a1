//! The folder of a run or a search: the experiment that it belongs to, the names of the folders inside, atomic writes.

use crate::progress::Screen;
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::atomic_write::{self, Lock, create_folders};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Takes the folder for this process and writes the resolved experiment into it. A folder that already holds one must hold the same
/// one, or one that this one `continues`. What killed processes left there goes.
///
/// # Errors
/// If another process writes there, `out` holds something else, or writing fails.
pub(super) fn claim(
    resolved: &str,
    continues: impl Fn(&str) -> bool,
    out: &Path,
    screen: &Screen,
) -> Result<Lock> {
    claim_as(EXPERIMENT, resolved, continues, out, screen)
}

/// Whether two files of settings differ in their `seeds` only, the later one having those of the earlier one and more.
pub(super) fn adds_seeds(later: &str, earlier: &str) -> bool {
    let split = |text: &str| -> Option<(toml::Table, Vec<toml::Value>)> {
        let mut settings: toml::Table = text.parse().ok()?;
        let seeds = settings.remove("seeds")?.as_array()?.clone();
        Some((settings, seeds))
    };
    let (Some((later, more)), Some((earlier, seeds))) = (split(later), split(earlier)) else {
        return false;
    };
    later == earlier && more.starts_with(&seeds)
}

/// The same with `text` in a file of this name, which takes the place of another text that it `continues`.
///
/// # Errors
/// As [`claim`].
pub(super) fn claim_as(
    file: &str,
    text: &str,
    continues: impl Fn(&str) -> bool,
    out: &Path,
    screen: &Screen,
) -> Result<Lock> {
    let path = out.join(file);
    let fresh = || -> Result<()> {
        ensure!(
            Lock::is_fresh(out, file)?,
            "{}: is not empty and holds no {file}; choose another --out",
            out.display()
        );
        Ok(())
    };
    if out.exists() && !path.exists() {
        fresh()?; // no lock in a folder of something else
    }
    create_folders(out).with_context(|| out.display().to_string())?;
    let lock = Lock::folder(out)?;
    if lock.is_missing() {
        screen.say(format!(
            "note: the file system of {} has no locks; nothing keeps a second process from writing there",
            out.display()
        ));
    }
    match fs::read_to_string(&path) {
        Ok(found) if found == text => {}
        Ok(found) if continues(&found) => write(&path, text)?,
        Ok(found) => {
            let differs = found.lines().zip(text.lines()).find(|(a, b)| a != b);
            let (was, is) = differs.unwrap_or(("", "a different length"));
            bail!(
                "{} belongs to a different experiment: `{was}` there, `{is}` here; choose another --out",
                path.display()
            );
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fresh()?;
            write(&path, text)?;
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    lock.remove_leftovers()?;
    Ok(lock)
}

const EXPERIMENT: &str = "experiment.toml";

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    Ok(atomic_write::write(path, text.as_bytes())?)
}

/// A distinct folder name for each model: every character but letters, digits, dots and underscores becomes a dash.
pub(super) fn folder_names(names: &[String]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let plain = |c: char| if c.is_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
        let base: String = name.chars().map(plain).collect();
        let base = if base.trim_matches('.').is_empty() { "model".to_owned() } else { base };
        let mut name = base.clone();
        let mut n = 2;
        while taken.contains(&name) {
            name = format!("{base}-{n}");
            n += 1;
        }
        taken.push(name);
    }
    taken
}

/// A number of bytes in kB, MB or GB.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.0} kB", (bytes as f64 / 1e3).max(1.0)),
        1_000_000..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
