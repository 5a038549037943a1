#![allow(clippy::unwrap_used)]
use super::*;
use crate::simulate::{SimulateOptions, simulate};

fn log() -> Log {
    let options = SimulateOptions { interactions: 5_000, ratings: true, ..Default::default() };
    simulate(&options).unwrap()
}

fn settings(text: &str) -> PrepareSettings {
    serde_json::from_str(text).unwrap()
}

fn prepared(text: &str) -> Prepared {
    Prepared::from_log(log(), None, &settings(text)).unwrap()
}

const USUAL: &str = r#"{"filter": {"user_core": 5, "item_core": 3}}"#;

#[test]
fn a_data_set_opens_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    let mut written = prepared(USUAL);
    written.write(&folder, false).unwrap();
    let opened = Prepared::open(&folder, Verify::Full).unwrap();
    assert_eq!(opened.partition, written.partition);
    assert_eq!(opened.manifest.content, written.manifest.content);
    assert_eq!(opened.manifest.files, written.manifest.files);
    assert!(opened.users.iter().eq(written.users.iter()));
    assert!(opened.items.iter().eq(written.items.iter()));
    let here = written.into_dataset().unwrap();
    let there = Dataset::open(&folder).unwrap();
    assert_eq!(here.split.train, there.split.train);
    assert_eq!(here.split.test.targets(), there.split.test.targets());
    assert_eq!(here.split.train_valid(), there.split.train_valid());
}

#[test]
fn own_ids_are_kept_through_the_filters() {
    let log = log();
    let prepared = prepared(r#"{"filter": {"user_core": 8, "item_core": 8}}"#);
    assert!(prepared.users.len() < log.n_users() && prepared.items.len() < log.n_items());
    let mut rows: Vec<_> = (0..log.len())
        .map(|row| {
            (
                log.user_ids.id(log.users[row]),
                log.item_ids.id(log.items[row]),
                log.times.as_ref().unwrap()[row],
            )
        })
        .collect();
    rows.sort_unstable();
    let lines = &prepared.partition.lines;
    for user in 0..lines.n_users() {
        for row in lines.range(user) {
            let found = (
                prepared.users.id(user as u32),
                prepared.items.id(lines.items[row]),
                lines.times.as_ref().unwrap()[row],
            );
            assert!(rows.binary_search(&found).is_ok(), "{found:?}");
        }
    }
}

#[test]
fn the_same_log_and_settings_give_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let folder = root.path().join(name);
        pool.install(|| prepared(USUAL).write(&folder, false)).unwrap();
        std::fs::read(folder.join(MANIFEST)).unwrap()
    };
    let one = write("one", 1);
    assert_eq!(one, write("two", 2));
    assert_eq!(one, write("three", 3));
    let mut other = prepared(r#"{"filter": {"user_core": 12, "item_core": 3}}"#);
    other.write(&root.path().join("other"), false).unwrap();
    assert_ne!(
        other.manifest.content,
        DatasetManifest::read(&root.path().join("one")).unwrap().content
    );
}

#[test]
fn only_a_data_set_is_replaced_and_only_when_allowed() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    prepared(USUAL).write(&folder, false).unwrap();
    let error = prepared(USUAL).write(&folder, false).unwrap_err().to_string();
    assert!(error.ends_with("exists; allow replacing it, or choose another folder"), "{error}");
    prepared(USUAL).write(&folder, true).unwrap();
    assert_eq!(root.path().read_dir().unwrap().count(), 1, "no other file is left");
    let foreign = root.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    prepared(USUAL).write(&foreign, false).unwrap();
    std::fs::write(foreign.join(MANIFEST), r#"{"format": "rankstill artefact"}"#).unwrap();
    let error = prepared(USUAL).write(&foreign, true).unwrap_err().to_string();
    assert!(error.contains("not a prepared data set"), "{error}");
}

/// Every truncated, empty or swapped data file, or one with a flipped byte, is refused without a panic.
#[test]
fn damaged_folders_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    prepared(USUAL).write(&folder, false).unwrap();
    for name in file_names() {
        let path = folder.join(name);
        let good = std::fs::read(&path).unwrap();
        for bad in [&good[..good.len() / 2], &[][..]] {
            std::fs::write(&path, bad).unwrap();
            let error = Prepared::open(&folder, Verify::Quick).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        for at in (0..good.len()).step_by(1 + good.len() / 40) {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            std::fs::write(&path, bad).unwrap();
            _ = Prepared::open(&folder, Verify::Quick);
            assert!(Prepared::open(&folder, Verify::Full).is_err(), "{name} byte {at}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Prepared::open(&folder, Verify::Quick).is_err());
        std::fs::write(&path, good).unwrap();
    }
    Prepared::open(&folder, Verify::Full).unwrap();
    let manifest = std::fs::read_to_string(folder.join(MANIFEST)).unwrap();
    for (from, to) in [
        ("\"version\": 1", "\"version\": 99"),
        ("rankstill data set", "something"),
        ("\"times\": true", "\"times\": 3"),
        ("\"train\": 0.7", "\"trian\": 0.7"),
        ("\"test.parquet\"", "\"tests.parquet\""),
        ("{", ""),
    ] {
        assert!(manifest.contains(from), "{from}");
        std::fs::write(folder.join(MANIFEST), manifest.replacen(from, to, 1)).unwrap();
        assert!(Prepared::open(&folder, Verify::Full).is_err() || from.contains("train"), "{from}");
    }
}

/// Numbers are checked even if row counts and sizes match.
#[test]
fn numbers_beyond_the_vocabulary_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    let mut data = prepared(USUAL);
    data.write(&folder, false).unwrap();
    let path = folder.join("test.parquet");
    let mut table = read_parquet(&path).unwrap();
    let users = table.take_u32("user_number").unwrap();
    let mut items = table.take_u32("item_number").unwrap();
    items[3] = data.items.len() as u32;
    let table = ColumnTable::default()
        .with("user_number", users)
        .and_then(|t| t.with("item_number", items))
        .and_then(|t| t.with("time", table.take_i64("time")?))
        .and_then(|t| t.with("weight", table.take_f32("weight")?))
        .unwrap();
    write_table(&path, &table).unwrap();
    let mut manifest = DatasetManifest::read(&folder).unwrap();
    manifest.files.insert("test.parquet".into(), stamp(&path).unwrap());
    std::fs::write(folder.join(MANIFEST), serde_json::to_string(&manifest).unwrap()).unwrap();
    let error = Prepared::open(&folder, Verify::Quick).unwrap_err().to_string();
    assert!(error.contains("test.parquet: row 3: item"), "{error}");
}

#[test]
fn settings_that_cannot_be_are_found_before_the_work() {
    for (text, start) in [
        (r#"{"split": {"kind": "chronological", "train": 2.0}}"#, "split.train: must be"),
        (r#"{"mask": {"test": "train"}, "history": {"test": "train+valid"}}"#, "history.test: "),
        (r#"{"split": {"kind": "ready_made"}}"#, "split.kind: `ready_made` needs"),
    ] {
        let error = Prepared::from_log(log(), None, &settings(text)).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
    assert!(serde_json::from_str::<PrepareSettings>(r#"{"filters": {}}"#).is_err());
}
