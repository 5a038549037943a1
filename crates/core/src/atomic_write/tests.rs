//! Tests of atomic writing and of locks.
#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("a.txt");
    write(&place, b"first").unwrap();
    let mut second = AtomicFile::create(&place).unwrap();
    second.write_all(b"half of the sec").unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"first");
    drop(second);
    assert_eq!(fs::read(&place).unwrap(), b"first");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    write(&place, b"second").unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"second");
    assert!(AtomicFile::create(folder.path()).is_err());
    assert!(AtomicFile::create(folder.path().join("none/a")).is_err());
}

#[test]
fn a_folder_is_replaced_only_where_it_is_of_the_same_kind() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("made");
    let fill = |text: &'static str| {
        move |part: &Path| -> Result<()> { write(part.join("mark"), text.as_bytes()) }
    };
    folder(&place, "mark", fill("one")).unwrap();
    folder(&place, "mark", fill("two")).unwrap();
    assert_eq!(fs::read(place.join("mark")).unwrap(), b"two");
    let failed: Result<()> = folder(&place, "mark", |part| {
        write(part.join("mark"), b"three")?;
        Err(Error::Interrupted)
    });
    assert!(failed.is_err());
    assert_eq!(fs::read(place.join("mark")).unwrap(), b"two");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no temporary file is left");
    fs::write(root.path().join("letter"), "dear").unwrap();
    let foreign: Result<()> = folder(root.path(), "mark", fill("no"));
    assert!(foreign.unwrap_err().to_string().contains("has no mark"));
}

#[test]
fn two_writers_of_one_file_do_not_share_a_temporary_one() {
    // As two containers whose processes have the same id.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("a.txt");
    let mut one = AtomicFile::create(&place).unwrap();
    let mut two = AtomicFile::create(&place).unwrap();
    one.write_all(b"one").unwrap();
    two.write_all(b"two").unwrap();
    one.commit().unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"one");
    two.commit().unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"two");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn one_lock_at_a_time_which_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let held = Lock::folder(root.path()).unwrap();
    let refused = Lock::folder(root.path()).unwrap_err().to_string();
    assert!(refused.contains("another process is writing it"), "{refused}");
    assert!(refused.contains(root.path().to_str().unwrap()), "{refused}");
    drop(held);
    drop(Lock::folder(root.path()).unwrap());
    let file = root.path().join("lists.tsv");
    let held = Lock::beside(&file).unwrap();
    assert!(Lock::beside(&file).is_err());
    drop(Lock::beside(&root.path().join("other.tsv")).unwrap());
    drop(held);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "no lock is left");
}

#[test]
fn one_of_many_threads_has_the_lock() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let root = tempfile::tempdir().unwrap();
    let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    if let Ok(lock) = Lock::folder(root.path()) {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                }
            });
        }
    });
    assert!(taken.into_inner() > 0);
}

#[test]
fn leftovers_of_killed_processes_are_known_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("model/artefact.0123456789abcdef.part")).unwrap();
    fs::create_dir_all(at("data.4242.old")).unwrap();
    fs::write(at("data.4242.old/mark"), "x").unwrap();
    for name in
        ["a.txt.4242.part", "model/b.json.00ff00ff00ff00ff.part", "model/said.part", "log.2024.txt"]
    {
        fs::write(at(name), "x").unwrap();
    }
    let lock = Lock::folder(root.path()).unwrap();
    lock.remove_leftovers().unwrap();
    drop(lock);
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(root.path()), ["data", "log.2024.txt", "model"], "data came back");
    assert_eq!(names(&at("model")), ["said.part"]);
    assert!(at("data/mark").is_file());
    // Beside a file: only what was left of that file, under a name that nobody else gives.
    for name in ["l.tsv.0123456789abcdef.part", "l.tsv.2024.part", "k.tsv.0123456789abcdef.part"] {
        fs::write(at(name), "x").unwrap();
    }
    drop(Lock::beside(&at("l.tsv")).unwrap());
    assert_eq!(
        names(root.path()),
        ["data", "k.tsv.0123456789abcdef.part", "l.tsv.2024.part", "log.2024.txt", "model"]
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_are_left_alone() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/mark"), "one").unwrap();
    symlink(at("real"), at("link")).unwrap();
    folder(&at("link"), "mark", |part| write(part.join("mark"), b"two")).unwrap();
    assert!(at("link").is_symlink());
    assert_eq!(fs::read(at("real/mark")).unwrap(), b"two");
    symlink(at("real/mark"), at("mark")).unwrap();
    write(at("mark"), b"three").unwrap();
    assert!(at("mark").is_symlink());
    assert_eq!(fs::read(at("real/mark")).unwrap(), b"three");
    let held = Lock::beside(&at("link")).unwrap();
    assert!(Lock::beside(&at("real")).is_err(), "one folder, two names");
    drop(held);
    symlink(at("none"), at("dangling")).unwrap();
    let refused = write(at("dangling"), b"x").unwrap_err().to_string();
    assert!(refused.contains("leads nowhere"), "{refused}");
    let refused = write("/dev/null", b"x").unwrap_err().to_string();
    assert!(refused.contains("device"), "{refused}");
}

/// A file, then a folder that is replaced, stopped and failed at every change of the disk.
#[test]
fn whatever_fails_the_old_or_the_new_is_there() {
    let mut points = 0;
    for (name, fault) in faults::KINDS {
        for at in 1.. {
            let root = tempfile::tempdir().unwrap();
            let (file, made) = (root.path().join("a.txt"), root.path().join("made"));
            let fill = |text: &'static str| {
                let (file, made) = (file.clone(), made.clone());
                move || -> Result<()> {
                    let locks = (Lock::beside(&file)?, Lock::beside(&made)?);
                    write(&file, text.as_bytes())?;
                    folder(&made, "mark", |part| write(part.join("mark"), text.as_bytes()))?;
                    drop(locks);
                    Ok(())
                }
            };
            fill("old")().unwrap();
            let (result, struck) = faults::with(at, fault, fill("new"));
            if !struck {
                result.unwrap();
                break;
            }
            points += 1;
            let read = |path: &Path| fs::read_to_string(path).unwrap();
            assert!(["old", "new"].contains(&read(&file).as_str()), "{name} {at}");
            let mark = made.join("mark");
            if fault == faults::Fault::Kill && !made.exists() {
                drop(Lock::beside(&made).unwrap()); // brings it back
            }
            assert!(["old", "new"].contains(&read(&mark).as_str()), "{name} {at}");
            if let (false, Err(error)) = (fault == faults::Fault::Kill, result) {
                let text = error.to_string();
                assert!(text.contains(root.path().to_str().unwrap()), "{text}");
            }
            fill("new")().unwrap();
            assert_eq!((read(&file).as_str(), read(&mark).as_str()), ("new", "new"));
            assert_eq!(
                fs::read_dir(root.path()).unwrap().count(),
                2,
                "{name} {at}: nothing is left"
            );
        }
    }
    assert_eq!(points, 4 * 14, "changes of the disk");
}
