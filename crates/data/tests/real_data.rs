//! The real logs under `../shared/data` (or `RANKSTILL_DATA`) have the counts that their readme states.
#![allow(clippy::unwrap_used)]

use rankstill_data::{Log, ReadOptions, read_log};
use std::path::{Path, PathBuf};

fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("RANKSTILL_DATA").map_or(beside, PathBuf::from);
    if data.is_dir() {
        return Some(data);
    }
    println!("skipped: no data at {}", data.display());
    None
}

fn read(data: &Path, file: &str) -> Log {
    let log = read_log(&data.join(file), &ReadOptions::default(), &mut |_, _| ()).unwrap().log;
    log.check().unwrap();
    log
}

#[test]
fn counts_are_those_of_the_readme() {
    let Some(data) = data() else { return };
    let shape = |file: &str| {
        let log = read(&data, file);
        (log.n_users(), log.n_items(), log.len())
    };
    assert_eq!(shape("ml-100k/ml-100k.inter"), (943, 1_682, 100_000));
    assert_eq!(shape("amazon-beauty/interactions.tsv"), (22_363, 12_101, 198_502));
    assert_eq!(shape("gowalla-rd-tail/interactions.tsv"), (13_149, 13_902, 154_749));
    let (n_users, n_items, n) = shape("gowalla/train.tsv");
    assert_eq!((n_users, n), (29_858, 810_128));
    assert_eq!(n_items, 40_981);
    assert_eq!(shape("gowalla/test.tsv").2, 217_242);
    assert_eq!(shape("citeulike-t/interactions.tsv").0, 7_947);
    assert_eq!(shape("citeulike-t/interactions.tsv").2, 134_860);
    assert_eq!(shape("citeulike-t/train.tsv").2, 78_958);
}

#[test]
fn ratings_and_times_of_ml_100k_are_read() {
    let Some(data) = data() else { return };
    let log = read(&data, "ml-100k/ml-100k.inter");
    assert_eq!(
        (log.user_ids.id(log.users[0]), log.item_ids.id(log.items[0])),
        ("196".into(), "242".into())
    );
    assert_eq!(log.times.as_ref().unwrap()[0], 881_250_949);
    let weights = log.weights.unwrap();
    // The readme of the data set: ratings 1 to 5; their sum is that of the file by awk.
    assert!(weights.iter().all(|weight| [1.0, 2.0, 3.0, 4.0, 5.0].contains(weight)));
    assert_eq!(weights.iter().map(|&weight| f64::from(weight)).sum::<f64>(), 352_986.0);
    assert!(read(&data, "gowalla/train.tsv").times.is_none());
}
