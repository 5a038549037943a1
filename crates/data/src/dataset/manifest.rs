//! The manifest of a prepared data set.

use super::PrepareSettings;
use crate::audit::Audit;
use crate::filter::FilterReport;
use crate::format::{LogSource, Understood};
use crate::split::{Part, SplitCounts};
use crate::stats::Stats;
use crate::{Error, Result};
use rankstill_core::TimeUnit;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// How a data set was made, and its sizes and hashes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The program and its version.
    pub tool: String,
    /// The source files.
    pub sources: Vec<SourceFile>,
    /// With every default filled in.
    pub settings: PrepareSettings,
    /// Whether rows have times.
    pub times: bool,
    /// The unit of the times.
    #[serde(default)]
    pub time_unit: TimeUnit,
    /// Whether rows have weights.
    pub weights: bool,
    /// What each filter removed.
    pub filtered: FilterReport,
    /// The sizes of the split.
    pub counts: SplitCounts,
    /// Table 1 of the RD paper.
    pub stats: Stats,
    /// The leakage audit.
    pub audit: Audit,
    /// SHA-256 of the content, independent of the file encoding: see [`super::content_hash`].
    pub content: String,
    /// Size and SHA-256 of each data file.
    pub files: BTreeMap<String, Stamp>,
}

/// A source file. Only its name is recorded, so that moving a log does not change the data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The file name, without the folder.
    pub name: String,
    /// The part that it holds, for a ready-made split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// How it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub understood: Option<Understood>,
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

/// Identifies the manifest.
pub const FORMAT: &str = "rankstill data set";
/// The version of the folder layout.
pub const VERSION: u32 = 1;
/// The file name of the manifest.
pub const MANIFEST: &str = "manifest.json";

impl DatasetManifest {
    /// Reads only the manifest of a folder.
    ///
    /// # Errors
    /// When there is none, or it is not that of a data set of this version.
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

/// Size and hash of a file, or of the data files of a folder, one after the other in the order of their
/// paths.
///
/// # Errors
/// When it cannot be read.
pub fn stamp(path: &Path) -> Result<Stamp> {
    LogSource::open(path)?.stamp()
}

/// Size and hash of several readers, one after the other.
pub(crate) fn stamp_of<'a>(
    files: impl Iterator<Item = (&'a Path, Result<Box<dyn Read>>)>,
) -> Result<Stamp> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    for (path, file) in files {
        let mut file = file?;
        loop {
            let n = file.read(&mut buffer).map_err(Error::io(path))?;
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
