//! The names of what is being written. They are random: process ids are not, for containers that share a disk count from 1 each.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::hash::BuildHasher as _;

/// What a temporary file or folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Being written.
    Part,
    /// A folder that is being replaced, under another name meanwhile.
    Old,
}

impl Kind {
    fn ending(self) -> &'static str {
        match self {
            Self::Part => "part",
            Self::Old => "old",
        }
    }
}

/// `NAME.0123456789abcdef.part`, with 64 random bits.
pub(super) fn temporary(name: &OsStr, kind: Kind) -> OsString {
    let mut text = name.to_owned();
    let random = RandomState::new().hash_one(name);
    text.push(format!(".{random:016x}.{}", kind.ending()));
    text
}

/// The name that a temporary file or folder was to get, and what it is; `None` for any other name.
pub(super) fn of_temporary(name: &OsStr) -> Option<(&str, Kind)> {
    let (base, token, kind) = parts(name)?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (token.len() == 16 && token.bytes().all(hex)).then_some((base, kind))
}

/// As [`of_temporary`], also for the names that versions before this one gave: `NAME.4242.part`, with the id of the process.
pub(super) fn of_any_temporary(name: &OsStr) -> Option<(&str, Kind)> {
    let (base, token, kind) = parts(name)?;
    let process = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    of_temporary(name).or((process && token.len() <= 10).then_some((base, kind)))
}

fn parts(name: &OsStr) -> Option<(&str, &str, Kind)> {
    let (rest, ending) = name.to_str()?.rsplit_once('.')?;
    let kind = [Kind::Part, Kind::Old].into_iter().find(|kind| kind.ending() == ending)?;
    let (base, token) = rest.rsplit_once('.')?;
    (!base.is_empty()).then_some((base, token, kind))
}
