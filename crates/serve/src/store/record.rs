//! An event as a store keeps it: JSON with a checksum of itself and of the event's number.

use super::Event;
use rankstill_core::artefact::sha256;

/// Before the checksum. Records of earlier versions begin with the `{` of their JSON.
const TAG: u8 = b'1';
/// Hexadecimal digits of the checksum: 64 bits.
const DIGITS: usize = 16;

/// The record of an event, from its JSON.
pub(super) fn sealed(number: u64, json: &[u8]) -> Vec<u8> {
    [&[TAG], &digits(number, json)[..], json].concat()
}

/// The event of a record.
///
/// # Errors
/// If the record is not what was written.
pub(super) fn read(number: u64, record: &[u8]) -> Result<Event, String> {
    let json = match record.split_first() {
        Some((&TAG, rest)) if rest.len() >= DIGITS => {
            let (known, json) = rest.split_at(DIGITS);
            if known != &digits(number, json)[..] {
                return Err("does not match its checksum".into());
            }
            json
        }
        Some((b'{', _)) => record,
        _ => return Err("is not a record of an event".into()),
    };
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

fn digits(number: u64, json: &[u8]) -> [u8; DIGITS] {
    let hash = sha256(&[&number.to_le_bytes()[..], json].concat());
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The mark of a forgotten user: a checksum of the id. Those of earlier versions are numbers of events, which are smaller.
pub(super) fn mark(user: &str) -> u64 {
    let hash = sha256(user.as_bytes());
    u64::from_str_radix(&hash[..DIGITS], 16).unwrap_or_default() | MARKED
}

/// Whether a mark belongs to this user.
pub(super) fn marks(user: &str, found: u64) -> bool {
    found & MARKED == 0 || found == mark(user)
}

const MARKED: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::contract::event;
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let made = event("anna", "x", 5, Some("k"));
        let json = serde_json::to_vec(&made).unwrap();
        let record = sealed(7, &json);
        assert_eq!(read(7, &record).unwrap(), made);
        assert!(read(8, &record).unwrap_err().contains("checksum"), "under another number");
        for bit in 0..8 * record.len() {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(7, &flipped).is_err(), "bit {bit}");
        }
        assert_eq!(read(7, &json).unwrap(), made, "of an earlier version");
        assert!(read(7, b"").is_err() && read(7, b"1abc").is_err());
    }

    #[test]
    fn a_mark_is_of_one_user() {
        assert!(marks("anna", mark("anna")) && !marks("annb", mark("anna")));
        assert!(marks("anna", 3), "of an earlier version");
    }
}
