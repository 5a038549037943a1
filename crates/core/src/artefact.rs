//! Artefacts: fitted models on disk, each a folder that any process can load and serve. `docs/artefact.md`
//! describes the format.
//!
//! Loading checks everything: sizes and hashes against the manifest, offsets and shapes before an array is
//! built from them, that numbers are finite and ids in the catalogue.

use crate::atomic_write;
use crate::kernel::mapped::MappedFile;
use crate::{Data, Error, Interactions, Lists, Result, Tensors, Vocab};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The version of the format that this code writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const TENSORS: &str = "tensors.safetensors";
const HISTORY: &str = "history.safetensors";
const USERS: &str = "users.vocab";
const ITEMS: &str = "items.vocab";

/// A fitted model with everything needed to rank in original ids.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// Its description.
    pub manifest: Manifest,
    /// What [`crate::ModelConfig::load`] builds the model from.
    pub tensors: Tensors,
    /// The users of the training data.
    pub users: Vocab,
    /// The catalogue.
    pub items: Vocab,
    /// The training history of these users, so that it is not recommended again.
    pub history: Interactions,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// The name of the model in its experiment.
    pub name: String,
    /// The kind of its recipe.
    pub kind: String,
    /// All settings of the recipe.
    pub config: Value,
    /// Number of users in the vocabulary.
    pub n_users: usize,
    /// Number of items in the vocabulary.
    pub n_items: usize,
    /// Number of learnt or counted numbers.
    pub n_parameters: usize,
    /// Further facts for people: data, metrics, teachers. Nothing is computed from them.
    #[serde(default)]
    pub card: Value,
    /// Size and hash of every other file of the folder; filled in on writing.
    #[serde(default)]
    pub files: BTreeMap<String, FileStamp>,
}

/// The expected size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileStamp {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Artefact {
    /// Writes the folder. An existing artefact is replaced; anything else at that path is left alone.
    ///
    /// # Errors
    /// When `folder` is something else, or the disk is full. Nothing half-written remains.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let history = Tensors::from_iter([
            (
                "starts",
                self.history
                    .items()
                    .starts()
                    .iter()
                    .map(|&start| start as u64)
                    .collect::<Vec<_>>()
                    .into(),
            ),
            ("items", Data::U32(self.history.items().values().to_vec())),
        ]);
        let files = [
            (TENSORS, tensors_to_bytes("", &self.tensors)),
            (HISTORY, tensors_to_bytes("", &history)),
            (USERS, self.users.to_bytes()),
            (ITEMS, self.items.to_bytes()),
        ];
        let mut manifest = self.manifest.clone();
        manifest.files = files
            .iter()
            .map(|(name, bytes)| {
                let stamp = FileStamp { bytes: bytes.len() as u64, sha256: sha256(bytes) };
                ((*name).to_owned(), stamp)
            })
            .collect();
        let text = serde_json::to_string_pretty(&manifest).map_err(|error| Error::File {
            path: folder.join(MANIFEST),
            problem: error.to_string(),
        })?;
        atomic_write::folder(folder, MANIFEST, |part| {
            for (name, bytes) in &files {
                atomic_write::write(part.join(name), bytes)?;
            }
            atomic_write::write(part.join(MANIFEST), (text + "\n").as_bytes())
        })
    }

    /// Reads and checks the folder.
    ///
    /// # Errors
    /// When it is not an artefact, has been changed since it was written, or has invalid content.
    pub fn read(folder: &Path) -> Result<Self> {
        Self::read_by(folder, false)
    }

    /// As [`Artefact::read`], checks included, but floats are memory-mapped: memory that a model does not
    /// copy can be reclaimed by the system. The folder must not be changed in place while the model lives
    /// (see [`mapped`](crate::kernel::mapped)). Replacing the folder, as [`Artefact::write`] does, is safe.
    ///
    /// # Errors
    /// As [`Artefact::read`].
    pub fn read_mapped(folder: &Path) -> Result<Self> {
        Self::read_by(folder, true)
    }

    fn read_by(folder: &Path, map: bool) -> Result<Self> {
        let manifest = Self::read_manifest(folder)?;
        let read = |name: &str| read_stamped(folder, name, &manifest);
        let path = folder.join(TENSORS);
        let (_, tensors) = if map {
            let file = map_stamped(folder, TENSORS, &manifest)?;
            tensors_from_bytes(file.bytes(), Some(&file), &path)?
        } else {
            tensors_from_bytes(&read(TENSORS)?, None, &path)?
        };
        let vocab = |name: &str, expected: usize| {
            let path = folder.join(name);
            let bad = |problem: String| Error::File { path: path.clone(), problem };
            let vocab = Vocab::from_bytes(&read(name)?).map_err(|error| bad(error.to_string()))?;
            if vocab.len() != expected {
                return Err(bad(format!("{} ids, the manifest says {expected}", vocab.len())));
            }
            Ok(vocab)
        };
        let users = vocab(USERS, manifest.n_users)?;
        let items = vocab(ITEMS, manifest.n_items)?;
        let path = folder.join(HISTORY);
        let (_, history) = tensors_from_bytes(&read(HISTORY)?, None, &path)?;
        let history = read_history(&history, &manifest)
            .map_err(|error| Error::File { path, problem: error.to_string() })?;
        Ok(Self { manifest, tensors, users, items, history })
    }

    /// Reads only the manifest.
    ///
    /// # Errors
    /// When there is none, or its format is newer.
    pub fn read_manifest(folder: &Path) -> Result<Manifest> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let bad = |problem: String| Error::File { path: path.clone(), problem };
        let value: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format <= u64::from(FORMAT) => {}
            Some(format) => {
                return Err(bad(format!(
                    "format {format} is newer than this program, which reads up to {FORMAT}"
                )));
            }
            None => return Err(bad("is not the manifest of an artefact: no `format`".into())),
        }
        let config = crate::registry::Config { path: "", value: &value };
        config.read().map_err(|error| bad(error.to_string()))
    }

    /// The total size of the files that `manifest` lists, in bytes.
    #[must_use]
    pub fn bytes(manifest: &Manifest) -> u64 {
        manifest.files.values().map(|stamp| stamp.bytes).sum()
    }
}

/// Writes arrays and a line of text to one file, atomically. Before the text stands a checksum of the whole file.
///
/// # Errors
/// When the disk is full.
pub fn write_tensors(path: &Path, text: &str, tensors: &Tensors) -> Result<()> {
    let blank = "0".repeat(64);
    let mut bytes = tensors_to_bytes(&format!("{SUM}{blank} {text}"), tensors);
    if let Some(at) = sum_in(&bytes) {
        let sum = sha256(&bytes);
        bytes[at..at + blank.len()].copy_from_slice(sum.as_bytes());
    }
    atomic_write::write(path, &bytes)
}

/// Reads a file of [`write_tensors`]; `None` if there is no file. Files of earlier versions have no checksum.
///
/// # Errors
/// When the content is invalid, or not what was written.
pub fn read_tensors(path: &Path) -> Result<Option<(String, Tensors)>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let bad = |problem: &str| Error::File { path: path.to_owned(), problem: problem.into() };
    let damaged = || bad("is damaged: does not match its checksum");
    let known = sum_in(&bytes).map(|at| {
        let mut hash = Sha256::new();
        hash.update(&bytes[..at]);
        hash.update([b'0'; 64]);
        hash.update(&bytes[at + 64..]);
        hexadecimal(&hash.finalize()).as_bytes() == &bytes[at..at + 64]
    });
    if known == Some(false) {
        return Err(damaged());
    }
    let (text, tensors) = tensors_from_bytes(&bytes, None, path)?;
    match (known, text.strip_prefix(SUM)) {
        (Some(_), Some(rest)) => Ok(Some((rest.get(65..).unwrap_or_default().to_owned(), tensors))),
        // What earlier versions wrote is JSON.
        (None, None) if is_object(&text) && !names_sum(&bytes) => Ok(Some((text, tensors))),
        _ => Err(damaged()),
    }
}

/// Before the checksum in the text of a file.
const SUM: &str = "sha256 ";

/// Whether the text is a JSON object; damage may turn the first letter of a checksum into a brace.
fn is_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}

/// Whether there is a checksum somewhere in the file, as where damage hides it from [`sum_in`].
fn names_sum(bytes: &[u8]) -> bool {
    bytes.windows(SUM.len()).any(|window| window == SUM.as_bytes())
}

/// Where the checksum stands in the header of a file of [`write_tensors`].
fn sum_in(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk().map(|&length| u64::from_le_bytes(length))?;
    let header = bytes.get(8..8usize.checked_add(usize::try_from(length).ok()?)?)?;
    let before = format!("\"{TEXT}\":\"{SUM}");
    let at = header.windows(before.len()).position(|window| window == before.as_bytes())?;
    let at = 8 + at + before.len();
    (at + 64 <= 8 + header.len()).then_some(at)
}

/// The SHA-256 of `bytes`, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

const TEXT: &str = "rankstill";

fn tensors_to_bytes(text: &str, tensors: &Tensors) -> Vec<u8> {
    let bytes: Vec<(&str, Dtype, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let (dtype, bytes) = match &tensor.data {
                Data::F32(data) => (Dtype::F32, f32_bytes(data)),
                Data::Mapped(data) => (Dtype::F32, f32_bytes(data)),
                Data::U32(data) => {
                    (Dtype::U32, data.iter().flat_map(|number| number.to_le_bytes()).collect())
                }
                Data::U64(data) => {
                    (Dtype::U64, data.iter().flat_map(|number| number.to_le_bytes()).collect())
                }
            };
            (name, dtype, tensor.shape.as_slice(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.to_vec(), bytes);
        (*name, view.expect("a tensor's shape multiplies to its length"))
    });
    let text = (!text.is_empty()).then(|| [(TEXT.to_owned(), text.to_owned())].into());
    safetensors::serialize(views, text).expect("checked arrays serialise")
}

fn f32_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// `file` holds the bytes, if floats are to stay mapped.
fn tensors_from_bytes(
    bytes: &[u8],
    file: Option<&MappedFile>,
    path: &Path,
) -> Result<(String, Tensors)> {
    let bad = |problem: String| Error::File { path: path.to_owned(), problem };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| bad(e.to_string()))?;
    let text = metadata.metadata().as_ref().and_then(|text| text.get(TEXT)).cloned();
    let arrays = SafeTensors::deserialize(bytes).map_err(|error| bad(error.to_string()))?;
    let mut tensors = Tensors::default();
    for (name, view) in arrays.iter() {
        let data: Data = match view.dtype() {
            Dtype::F32 => {
                let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
                let mapped = file.and_then(|file| file.numbers(start..start + view.data().len()));
                let numbers = mapped.map_or_else(
                    || {
                        let (numbers, _) = view.data().as_chunks();
                        Data::F32(numbers.iter().map(|&n| f32::from_le_bytes(n)).collect())
                    },
                    Data::Mapped,
                );
                let floats = numbers.floats().unwrap_or_default();
                if let Some(at) = floats.iter().position(|number| !number.is_finite()) {
                    return Err(bad(format!("tensor `{name}`: {} at {at}", floats[at])));
                }
                numbers
            }
            Dtype::U32 => {
                let (numbers, _) = view.data().as_chunks();
                numbers.iter().map(|&n| u32::from_le_bytes(n)).collect::<Vec<_>>().into()
            }
            Dtype::U64 => {
                let (numbers, _) = view.data().as_chunks();
                numbers.iter().map(|&n| u64::from_le_bytes(n)).collect::<Vec<_>>().into()
            }
            other => {
                let problem = format!("tensor `{name}`: type {other:?}, expected F32, U32 or U64");
                return Err(bad(problem));
            }
        };
        tensors.insert(name, view.shape(), data);
    }
    Ok((text.unwrap_or_default(), tensors))
}

fn read_stamped(folder: &Path, name: &str, manifest: &Manifest) -> Result<Vec<u8>> {
    let path: PathBuf = folder.join(name);
    let found = fs::metadata(&path).map_err(Error::io(&path))?.len();
    let stamp = Stamped::of_length(&path, name, manifest, found)?;
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    stamp.check(&bytes)?;
    Ok(bytes)
}

/// As [`read_stamped`], memory-mapped.
fn map_stamped(folder: &Path, name: &str, manifest: &Manifest) -> Result<MappedFile> {
    let path: PathBuf = folder.join(name);
    let file = fs::File::open(&path).map_err(Error::io(&path))?;
    let found = file.metadata().map_err(Error::io(&path))?.len();
    let stamp = Stamped::of_length(&path, name, manifest, found)?;
    let mapped = MappedFile::open(&file).map_err(Error::io(&path))?;
    stamp.check(mapped.bytes())?;
    Ok(mapped)
}

/// A file whose length agrees with the manifest.
struct Stamped<'a> {
    path: &'a Path,
    stamp: &'a FileStamp,
}

impl<'a> Stamped<'a> {
    fn of_length(path: &'a Path, name: &str, manifest: &'a Manifest, found: u64) -> Result<Self> {
        let bad = |problem: String| Error::File { path: path.to_owned(), problem };
        let stamp = manifest.files.get(name).ok_or_else(|| bad("is not in the manifest".into()))?;
        if found != stamp.bytes {
            return Err(bad(format!("{found} bytes, the manifest says {}", stamp.bytes)));
        }
        Ok(Self { path, stamp })
    }

    fn check(&self, bytes: &[u8]) -> Result<()> {
        let (found, expected) = (sha256(bytes), &self.stamp.sha256);
        if &found != expected {
            let problem = format!("SHA-256 {found}, the manifest says {expected}");
            return Err(Error::File { path: self.path.to_owned(), problem });
        }
        Ok(())
    }
}

fn read_history(tensors: &Tensors, manifest: &Manifest) -> Result<Interactions> {
    let starts = tensors.u64s("starts")?;
    if starts.len() != manifest.n_users + 1 {
        return Err(Error::Length {
            what: "users in the history".into(),
            expected: manifest.n_users,
            found: starts.len().saturating_sub(1),
        });
    }
    let starts = starts.iter().map(|&start| usize::try_from(start).unwrap_or(usize::MAX)).collect();
    let lists = Lists::from_parts(starts, tensors.u32s("items")?.to_vec());
    let lists = lists.ok_or_else(|| Error::Tensor {
        name: "starts".into(),
        problem: "expected offsets from 0 to the number of items that never decrease".into(),
    })?;
    Interactions::new(manifest.n_items, lists, None, None)
}

#[cfg(test)]
mod tests;
