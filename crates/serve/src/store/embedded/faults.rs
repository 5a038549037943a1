//! Every operation on the file of a store is stopped and failed in turn, and its bits are flipped.

#![allow(clippy::unwrap_used)]

use super::super::contract::event;
use super::*;
use redb::{Database, StorageBackend};
use std::io;
use std::sync::{Arc, LazyLock, Mutex};

/// What happens at an operation on the file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The process ends: later operations change nothing.
    Kill,
    /// The power goes: of what was not synced, every second write is lost.
    Power,
    /// Fails once.
    Once(i32),
    /// Fails from then on.
    Full,
}

/// A file in memory.
#[derive(Debug)]
struct Disk {
    bytes: Vec<u8>,
    /// As it is after the power has gone.
    durable: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
    done: usize,
    fault: Option<(usize, Fault)>,
}

#[derive(Clone, Debug)]
struct Backend(Arc<Mutex<Disk>>);

impl Backend {
    fn new(bytes: Vec<u8>, fault: Option<(usize, Fault)>) -> Self {
        let durable = bytes.clone();
        Self(Arc::new(Mutex::new(Disk { bytes, durable, unsynced: Vec::new(), done: 0, fault })))
    }

    fn change(&self, grows: bool, change: impl FnOnce(&mut Disk, bool)) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.done += 1;
        let (done, fault) = (disk.done, disk.fault);
        let failed = match fault {
            Some((at, Fault::Kill | Fault::Power)) if done >= at => Some(libc_eio()),
            Some((at, Fault::Once(code))) if done == at => Some(io::Error::from_raw_os_error(code)),
            Some((at, Fault::Full)) if done >= at && grows => {
                Some(io::Error::from_raw_os_error(28))
            }
            _ => None,
        };
        let Some(error) = failed else {
            change(&mut disk, true);
            return Ok(());
        };
        if fault.is_some_and(|(at, _)| at == done) {
            change(&mut disk, false);
        }
        Err(error)
    }

    fn struck(&self) -> bool {
        let disk = self.0.lock().unwrap();
        disk.fault.is_some_and(|(at, _)| disk.done >= at)
    }

    /// The file as the next process finds it.
    fn left(&self) -> Vec<u8> {
        let mut disk = self.0.lock().unwrap();
        if disk.fault.is_none_or(|(_, fault)| fault != Fault::Power) {
            return disk.bytes.clone();
        }
        let unsynced = std::mem::take(&mut disk.unsynced);
        let mut bytes = disk.durable.clone();
        for (at, written) in unsynced.into_iter().step_by(2) {
            if bytes.len() < at + written.len() {
                bytes.resize(at + written.len(), 0);
            }
            bytes[at..at + written.len()].copy_from_slice(&written);
        }
        bytes
    }
}

fn libc_eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let found = disk.bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(true, |disk, whole| {
            if whole {
                disk.bytes.resize(len as usize, 0);
                disk.durable.resize(len as usize, 0);
            }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(false, |disk, whole| {
            if whole {
                disk.unsynced.clear();
                disk.durable = disk.bytes.clone();
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(true, |disk, whole| {
            let data = if whole { data } else { &data[..data.len() / 2] };
            let at = offset as usize;
            disk.bytes[at..at + data.len()].copy_from_slice(data);
            disk.unsynced.push((at, data.to_vec()));
        })
    }
}

/// Where the file would be: a store looks whether it is still there.
static PLACE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("events.redb"), "").unwrap();
    place
});

fn open(backend: &Backend) -> Result<EmbeddedStore> {
    let path = PLACE.path().join("events.redb");
    let database = Database::builder().create_with_backend(backend.clone());
    let database = database.map_err(|error| crate::Error::Store {
        location: path.display().to_string(),
        problem: error.to_string(),
    })?;
    EmbeddedStore::with(StoreFile::over(path, database)?)
}

type Step = fn(&EmbeddedStore) -> Result<()>;

/// Each may be repeated.
const STEPS: [Step; 5] = [
    |store| {
        let batch = [event("a", "x", 1, Some("1")), event("b", "y", 2, Some("1"))];
        store.append(&batch).map(drop)
    },
    |store| store.append(&[event("a", "z", 3, Some("2"))]).map(drop),
    |store| store.forget("b").map(drop),
    |store| {
        let keyed = |at: usize| event("c", &format!("i{at}"), 4, Some(&at.to_string()));
        store.append(&(0..50).map(keyed).collect::<Vec<_>>()).map(drop)
    },
    |store| store.forget("a").map(drop),
];

/// All that a store holds.
type Content = (Vec<StoredEvent>, Vec<String>);

fn content(store: &EmbeddedStore) -> Content {
    assert_eq!(store.damaged().unwrap(), [""; 0]);
    (store.read(0, usize::MAX).unwrap(), store.forgotten().unwrap())
}

/// The content after 0, 1, .. steps, and the file after all.
fn undisturbed() -> (Vec<Content>, Vec<u8>) {
    let backend = Backend::new(Vec::new(), None);
    let store = open(&backend).unwrap();
    let mut contents = vec![content(&store)];
    for step in STEPS {
        step(&store).unwrap();
        contents.push(content(&store));
    }
    drop(store);
    (contents, backend.left())
}

#[test]
fn what_was_acknowledged_survives_every_fault() {
    let (contents, _) = undisturbed();
    let mut points = 0;
    for fault in [Fault::Kill, Fault::Power, Fault::Once(5), Fault::Once(13), Fault::Full] {
        for at in 1.. {
            let backend = Backend::new(Vec::new(), Some((at, fault)));
            let mut acknowledged = 0;
            let opened = open(&backend);
            if let Ok(store) = &opened {
                acknowledged = STEPS.iter().take_while(|step| step(store).is_ok()).count();
            }
            drop(opened);
            if !backend.struck() {
                assert_eq!(acknowledged, STEPS.len());
                break;
            }
            points += 1;
            let next = Backend::new(backend.left(), None);
            let store = match open(&next) {
                Ok(store) => store,
                Err(error) => {
                    // Killed before the file was a store; nothing was in it.
                    assert_eq!(acknowledged, 0, "{fault:?} {at}: {error}");
                    assert!(error.to_string().contains("events.redb"), "{error}");
                    continue;
                }
            };
            let found = content(&store);
            let may = &contents[acknowledged..=(acknowledged + 1).min(STEPS.len())];
            assert!(may.contains(&found), "{fault:?} {at}: {acknowledged} steps were acknowledged");
            for step in &STEPS[acknowledged..] {
                step(&store).unwrap();
            }
            assert_eq!(content(&store), contents[STEPS.len()], "{fault:?} {at}");
        }
    }
    println!("{points} faults");
    assert!(points > 100, "{points}");
}

#[test]
fn a_flipped_bit_never_gives_another_event() {
    let backend = Backend::new(Vec::new(), None);
    let store = open(&backend).unwrap();
    let made: Vec<Event> =
        (0..40).map(|at| event(&format!("u{}", at % 7), &format!("i{at}"), at, None)).collect();
    store.append(&made).unwrap();
    store.forget("gone").unwrap();
    let whole = content(&store);
    drop(store);
    let file = backend.left();
    let mut named = 0;
    for at in 0..file.len() {
        // Most of the file is empty.
        if file[at] == 0 && at % 1009 > 0 {
            continue;
        }
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        let read = || -> Result<(Vec<StoredEvent>, Vec<String>, Vec<String>)> {
            let store = open(&Backend::new(flipped, None))?;
            Ok((store.read(0, usize::MAX)?, store.forgotten()?, store.damaged()?))
        };
        // `redb` may stop a thread over a page that it cannot read.
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
        let Ok(Ok((events, forgotten, damaged))) = found else {
            named += 1;
            continue;
        };
        assert!(events.iter().all(|event| whole.0.contains(event)), "byte {at}");
        assert_eq!(forgotten, whole.1, "byte {at}");
        if events.len() < whole.0.len() {
            assert!(
                !damaged.is_empty(),
                "byte {at}: {} events are missing",
                whole.0.len() - events.len()
            );
            named += 1;
        }
    }
    println!("{named} flips were named");
    assert!(named > 0);
}
