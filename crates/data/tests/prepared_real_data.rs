//! Counts of real data sets, if they are available: in `../shared/data` next to the workspace, or in
//! RANKSTILL_DATA.
#![allow(clippy::unwrap_used)]

use rankstill_data::dataset::{Dataset, PrepareSettings, Prepared, Verify};
use rankstill_data::format::read_source;
use rankstill_data::prepare::{LogFiles, prepare, read_files};
use rankstill_data::{LogFile, LogSource, ReadOptions, Result};
use std::path::{Path, PathBuf};

/// A data file; prints a note if it is absent.
fn data(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("RANKSTILL_DATA").map_or(beside, PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no {}", path.display());
    None
}

fn read(source: &LogSource) -> Result<LogFile> {
    read_source(source, &ReadOptions::default(), &mut |_, _| ())
}

fn settings(text: &str) -> PrepareSettings {
    serde_json::from_str(text).unwrap()
}

fn from_file(path: &Path, text: &str) -> Prepared {
    Prepared::from_log(read(&LogSource::open(path).unwrap()).unwrap().log, None, &settings(text))
        .unwrap()
}

/// `train`, `valid` (where there is one) and `test` files of a folder, taken as they are.
fn parts(folder: &Path, valid: bool) -> Prepared {
    let [train, valid_file, test] =
        ["train.tsv", "valid.tsv", "test.tsv"].map(|name| folder.join(name));
    let files = LogFiles::Parts { train: &train, valid: valid.then_some(&valid_file), test: &test };
    let (log, parts, sources) = read_files(files, read, &mut |_| ()).unwrap();
    assert_eq!(sources.len(), if valid { 3 } else { 2 });
    Prepared::from_log(log, parts, &settings(r#"{"split": {"kind": "ready_made"}}"#)).unwrap()
}

#[test]
fn movielens_100k() {
    let Some(path) = data("ml-100k/ml-100k.inter") else { return };
    let data = from_file(&path, "{}");
    let stats = &data.manifest.stats;
    assert_eq!((stats.users, stats.items, stats.actions), (943, 1682, 100_000));
    assert_eq!((stats.min_user, stats.max_user, stats.max_item), (20, 737, 583));
    // The RD rule computed differently: ceil(7 n / 10) in integers.
    let lines = &data.partition.lines;
    let train: usize = (0..943).map(|user| (lines.range(user).len() * 7).div_ceil(10)).sum();
    assert_eq!(data.manifest.counts.train, train);
    assert_eq!(data.manifest.audit.doubts().count(), 0);
    let rated = from_file(&path, r#"{"filter": {"min_rating": 4}}"#);
    assert_eq!(rated.manifest.stats.actions, 55_375, "ratings of 4 and 5");
}

#[test]
fn users_of_the_rd_papers_gowalla_tail() {
    let Some(path) = data("gowalla-rd-tail/interactions.tsv") else { return };
    let all = from_file(&path, "{}");
    let stats = &all.manifest.stats;
    assert_eq!((stats.users, stats.items, stats.actions), (13_149, 13_902, 154_749));
    let active = from_file(&path, r#"{"filter": {"min_user_count": 10}}"#);
    assert_eq!((active.manifest.stats.users, active.manifest.stats.actions), (4_879, 104_727));
}

#[test]
fn amazon_beauty_is_a_5_core() {
    let Some(path) = data("amazon-beauty/interactions.tsv") else { return };
    let data = from_file(&path, r#"{"filter": {"user_core": 5, "item_core": 5}}"#);
    let stats = &data.manifest.stats;
    assert_eq!((stats.users, stats.items, stats.actions), (22_363, 12_101, 198_502));
}

#[test]
fn the_hetcomp_papers_citeulike_split() {
    let Some(path) = data("citeulike-t") else { return };
    let data = parts(&path, true);
    let counts = &data.manifest.counts;
    assert_eq!((counts.train, counts.valid, counts.test), (78_958, 20_823, 20_823));
    assert_eq!((counts.users, counts.train_items), (5_219, 22_392));
    assert_eq!((counts.valid_users, counts.test_users), (4_719, 4_719));
    assert_eq!((counts.valid_unseen, counts.test_unseen), (0, 0), "its code dropped those");
    let all = from_file(&path.join("interactions.tsv"), r#"{"filter": {"min_user_count": 5}}"#);
    let stats = &all.manifest.stats;
    assert_eq!((stats.users, stats.items, stats.actions), (5_219, 25_181, 125_580));
}

#[test]
fn the_lightgcn_papers_gowalla_split() {
    let Some(path) = data("gowalla") else { return };
    let (train, test) = (path.join("train.tsv"), path.join("test.tsv"));
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("gowalla");
    let files = LogFiles::Parts { train: &train, valid: None, test: &test };
    let settings = settings(r#"{"split": {"kind": "ready_made"}}"#);
    let report = prepare(files, read, &settings, &folder, false, |_| ()).unwrap();
    let counts = &report.0.counts;
    assert_eq!((counts.users, counts.items), (29_858, 40_981));
    assert_eq!((counts.train, counts.valid, counts.test), (810_128, 0, 217_242));
    assert_eq!(report.0.audit.get("test_in_train").unwrap().count, Some(0));
    println!("{report}");

    let begin = std::time::Instant::now();
    let data = Dataset::open(&folder).unwrap();
    println!("opened in {:.3} s", begin.elapsed().as_secs_f64());
    assert_eq!(data.split.train.len(), 810_128);
    assert_eq!(data.split.test.len(), counts.test_users);
    Dataset::open_with(&folder, Verify::Full, None).unwrap();
    let user = data.users.get("0").unwrap();
    let first: Vec<_> =
        data.split.train.history(user)[..2].iter().map(|&item| data.items.id(item)).collect();
    assert_eq!(first, ["0", "1"]);
}
