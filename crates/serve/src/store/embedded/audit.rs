//! What in a store is not what was written: records against their checksums, tables against each other.

use super::super::record;
use super::{BY_USER, COUNTERS, EVENTS, FORGOTTEN, KEYS, LAST};
use redb::{ReadTransaction, ReadableTable as _, TableHandle as _};

/// A line for each finding.
pub(super) fn damaged(transaction: &ReadTransaction) -> Result<Vec<String>, redb::Error> {
    let (events, by_user) = (transaction.open_table(EVENTS)?, transaction.open_table(BY_USER)?);
    let (keys, forgotten) = (transaction.open_table(KEYS)?, transaction.open_table(FORGOTTEN)?);
    let mut found = Vec::new();
    let (mut largest, mut seen) = (0, 0);
    for entry in events.iter()? {
        let (number, bytes) = entry?;
        let number = number.value();
        largest = largest.max(number);
        seen += 1;
        let event = match record::read(number, bytes.value()) {
            Ok(event) => event,
            Err(problem) => {
                found.push(format!("event {number}: {problem}"));
                continue;
            }
        };
        let user = event.user.0.as_str();
        if by_user.get((user, number))?.is_none() {
            found.push(format!("event {number}: is not listed among those of its user `{user}`"));
        }
        if let Some(key) = &event.key
            && keys.get((user, key.0.as_str()))?.is_none()
        {
            found.push(format!("event {number}: its key `{}` is missing", key.0));
        }
    }
    for entry in by_user.iter()? {
        let (entry, _) = entry?;
        let (user, number) = entry.value();
        let event = events.get(number)?;
        let event = event.map(|bytes| record::read(number, bytes.value()));
        let other = match &event {
            None => true,
            Some(Ok(event)) => event.user.0 != user,
            Some(Err(_)) => false, // named above
        };
        if other {
            found.push(format!("user `{user}`: event {number}, listed there, is not the user's"));
        }
    }
    for entry in forgotten.iter()? {
        let (user, mark) = entry?;
        if !record::marks(user.value(), mark.value()) {
            found.push(format!("forgotten user `{}`: {}", user.value(), super::MARK_DAMAGED));
        }
    }
    let counters = transaction.open_table(COUNTERS)?;
    let expected = counters.get(EVENTS.name())?.map(|n| n.value());
    if let Some(expected) = expected.filter(|&expected| expected != seen) {
        found.push(format!("events: {seen} are there of {expected}"));
    }
    let last = counters.get(LAST)?.map_or(0, |last| last.value());
    if last < largest {
        found.push(format!("last event number: is {last}, but there is an event {largest}"));
    }
    Ok(found)
}
