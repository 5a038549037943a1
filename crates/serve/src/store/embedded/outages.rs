//! Files that fill a disk, and files that vanish.
#![allow(clippy::unwrap_used)]

use super::super::contract::{event, items, numbers, soon};
use super::*;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Calls `work` until it succeeds.
fn in_time<T>(what: &str, work: impl Fn() -> Result<T>) -> T {
    let began = Instant::now();
    loop {
        match work() {
            Ok(value) => return value,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_store_whose_file_has_gone_acknowledges_nothing_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("events"), folder.path().join("away"));
    let store = EmbeddedStore::open(&path).unwrap();
    store.append(&[event("a", "x", 1, None)]).unwrap();
    store.forget("b").unwrap();
    std::fs::rename(&path, &away).unwrap();
    let error = store.append(&[event("a", "y", 1, None)]).unwrap_err().to_string();
    assert!(error.contains("was removed or replaced while it was open; put it back"), "{error}");
    assert!(store.check().is_err());
    assert!(!path.exists(), "no new store takes its place");
    assert_eq!(items(&store, "a"), ["x"], "what was stored may still be read");
    std::fs::rename(&away, &path).unwrap();
    in_time("it is back", || store.check());
    store.append(&[event("a", "z", 1, None)]).unwrap();
    assert_eq!(items(&store, "a"), ["x", "z"]);
    // Another file in its place, such as a copy, is opened.
    std::fs::copy(&path, &away).unwrap();
    std::fs::rename(&away, &path).unwrap();
    assert!(store.append(&[event("a", "y", 1, None)]).is_err());
    in_time("the copy is opened", || store.check());
    store.append(&[event("a", "w", 1, None)]).unwrap();
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(items(&store, "a"), ["x", "z", "w"]);
    assert_eq!(store.forgotten().unwrap(), ["b"]);
}

/// A file system of 2 MiB in memory, unmounted when dropped. `None` where mounting is not allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = run(&["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs"], folder.path());
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(&["umount"], self.0.path());
    }
}

fn run(command: &[&str], path: &Path) -> bool {
    let status = Command::new(command[0])
        .args(&command[1..])
        .arg(path)
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn a_store_on_a_full_disk_is_still_read_and_works_again_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: mounting a tmpfs is not allowed");
        return;
    };
    let path = disk.0.path().join("events");
    let store = EmbeddedStore::open(&path).unwrap();
    let long = "x".repeat(500);
    let mut kept = 0;
    let error = loop {
        let events: Vec<_> =
            (0..20).map(|at| event("a", &format!("{long}{at}"), kept + at, None)).collect();
        match store.append(&events) {
            Ok(_) => kept += 20,
            Err(error) => break error.to_string(),
        }
        assert!(kept < 20_000, "the disk is not full");
    };
    println!("{kept} events, then {error}");
    let read = || store.user_state("a", usize::MAX, soon()).map(|state| state.items.len() as i64);
    assert_eq!(in_time("it is read", read), kept);
    assert!(store.check().is_err(), "it says that nothing can be written");
    assert!(run(&["mount", "-o", "remount,size=64m"], disk.0.path()));
    in_time("there is room", || store.check());
    store.append(&[event("a", "last", kept, None)]).unwrap();
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(numbers(&store), (1..=kept as u64 + 1).collect::<Vec<_>>());
}

#[test]
fn a_read_that_comes_too_late_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path().join("events")).unwrap();
    store.append(&[event("a", "x", 1, None)]).unwrap();
    let late = store.user_states(&["a"], 10, Instant::now()).unwrap_err().to_string();
    assert!(late.contains("could not be read in time"), "{late}");
    assert!(store.user_states(&["nobody"], 10, Instant::now()).is_ok());
}
