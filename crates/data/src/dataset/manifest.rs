//! The manifest of a prepared data set.

use super::PrepareSettings;
use crate::audit::Audit;
use crate::filter::FilterReport;
use crate::split::{Part, SplitCounts};
use crate::stats::Stats;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What is written beside the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The program and its version.
    pub tool: String,
    /// The files that were read.
    pub sources: Vec<SourceFile>,
    /// With every default filled in.
    pub settings: PrepareSettings,
    /// Whether rows have times.
    pub times: bool,
    /// Whether rows have weights.
    pub weights: bool,
    /// What each filter took out.
    pub filtered: FilterReport,
    /// What the split came to.
    pub counts: SplitCounts,
    /// Table 1 of the RD paper.
    pub stats: Stats,
    /// What the split gives away.
    pub audit: Audit,
    /// SHA-256 of the content, whatever the files' encoding: see [`content_hash`].
    pub content: String,
    /// Each data file's size and SHA-256.
    pub files: BTreeMap<String, Stamp>,
}

/// A file that was read. Only its name is kept, so that moving a log does not change the data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// The last part of its path.
    pub name: String,
    /// Which part it holds, for a log that came ready split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Its size and SHA-256.
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// A file's size and SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

/// By this the manifest is known.
pub const FORMAT: &str = "rankstill data set";
/// The layout of the folder that this version writes and reads.
pub const VERSION: u32 = 1;
/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";

impl DatasetManifest {
    /// Reads the manifest of a folder, and nothing else.
    ///
    /// # Errors
    /// When there is none, or it is not one of ours.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("not JSON: {error}")))?;
        let format = value.get("format").and_then(serde_json::Value::as_str);
        if format != Some(FORMAT) {
            let found = format.map_or("none".into(), |format| format!("`{format}`"));
            return Err(Error::file(&path, format!("expected format `{FORMAT}`, found {found}")));
        }
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let found = version.map_or("none".into(), |version| version.to_string());
            return Err(Error::file(&path, format!("expected version {VERSION}, found {found}")));
        }
        serde_json::from_value(value).map_err(|error| Error::file(&path, error.to_string()))
    }
}

/// Size and hash of a file, or of a folder's Parquet files one after the other in the order of their names.
///
/// # Errors
/// When it cannot be read.
pub fn stamp(path: &Path) -> Result<Stamp> {
    let mut files = vec![path.to_path_buf()];
    if path.is_dir() {
        let inside = std::fs::read_dir(path).map_err(Error::io(path))?;
        let inside = inside.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>();
        files = inside.map_err(Error::io(path))?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
        files.sort_unstable();
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    for path in files {
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        loop {
            let n = file.read(&mut buffer).map_err(Error::io(&path))?;
            if n == 0 {
                break;
            }
            bytes += n as u64;
            hash.update(&buffer[..n]);
        }
    }
    Ok(Stamp { bytes, sha256: hex(&hash.finalize()) })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
