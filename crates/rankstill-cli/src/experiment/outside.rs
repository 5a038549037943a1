//! Teachers from outside, named on the command line.

use crate::reading::Reading;
use anyhow::{Context as _, Result, ensure};
use rankstill::core::Artefact;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Artefacts and files of rankings as models of an experiment, by name.
///
/// # Errors
/// If an artefact cannot be read, a path names no file, or there are options of reading and no file.
pub fn teachers(paths: &[PathBuf], reading: &Reading) -> Result<Map<String, Value>> {
    let mut files = 0;
    let mut models = Map::new();
    for path in paths {
        let mut teacher = json!({"kind": "rankings", "path": path});
        let mut name = if path.join("manifest.json").is_file() {
            format!("teacher {}", Artefact::read_manifest(path)?.name)
        } else {
            let stem = path.file_stem().context("--teacher: expected an artefact or a file")?;
            files += 1;
            if let Some(read) = reading.all() {
                teacher["read"] = read.clone();
            }
            format!("teacher {}", stem.to_string_lossy())
        };
        while models.contains_key(&name) {
            name.push('\'');
        }
        models.insert(name, teacher);
    }
    ensure!(
        reading.all().is_none() || files > 0,
        "--format, --set read: the teachers are artefacts, which are read as they are"
    );
    Ok(models)
}
