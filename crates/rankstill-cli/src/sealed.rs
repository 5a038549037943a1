//! Lines of JSON that carry a checksum of themselves, under the last key: what is read back later must be what was written. A line
//! without one is from an earlier version, and is taken as it is.

use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::artefact::sha256;
use serde_json::Value;
use std::path::Path;

const KEY: &str = "sha256";
/// Characters of the hash that are kept: 64 bits.
const LENGTH: usize = 16;

/// `value`, an object, as one line with its checksum, without the line's end.
#[must_use]
pub fn line(mut value: Value) -> String {
    if let Value::Object(table) = &mut value {
        table.shift_remove(KEY);
        let sum = sum(&Value::Object(table.clone()));
        table.insert(KEY.into(), sum.into());
    }
    value.to_string()
}

/// Reads a line of [`line()`], or the same over several lines; the checksum is not among its keys.
///
/// # Errors
/// When it is not JSON, or not what was written.
pub fn read(text: &str) -> Result<Value> {
    let mut value: Value = serde_json::from_str(text)?;
    if let Some(known) = value.as_object_mut().and_then(|table| table.shift_remove(KEY)) {
        ensure!(known == sum(&value), "is damaged: does not match its checksum");
    }
    Ok(value)
}

/// Reads a file that holds one such object. `way_on` says what to do about a damaged one.
///
/// # Errors
/// As [`read`], and when there is no file.
pub fn read_file(path: &Path, way_on: &str) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    match read(&text) {
        Ok(value) => Ok(value),
        Err(error) => bail!("{}: {error:#}; {way_on}", path.display()),
    }
}

/// Over the text, in which numbers and the order of keys are as they were written.
fn sum(value: &Value) -> String {
    let mut sum = sha256(value.to_string().as_bytes());
    sum.truncate(LENGTH);
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn every_flipped_bit_is_found() {
        let value =
            json!({"epoch": 3, "loss": 0.1f32, "valid": null, "b": {"z": 1e-9, "a": [1, 2.5]}});
        let whole = line(value.clone());
        assert_eq!(read(&whole).unwrap(), value);
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = String::from_utf8(bytes).ok().and_then(|text| read(&text).ok());
            // A flip in the name of the checksum's key leaves another key behind, and every value as it was.
            let known =
                |(key, kept): (&String, &Value)| found.as_ref().is_none_or(|f| &f[key] == kept);
            assert!(value.as_object().unwrap().iter().all(known), "bit {bit}: {found:?}");
        }
        assert_eq!(
            read(r#"{"seconds": 2}"#).unwrap(),
            json!({"seconds": 2}),
            "an earlier version's"
        );
    }
}
