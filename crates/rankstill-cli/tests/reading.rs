//! Logs as the field writes them, from the command line: what was understood is told first; times have a unit.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ok, rankstill};
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// Days of each row: `u1` had A 45 days before C; `p` had A and X, `q` C and Y, `r` Y and Z.
const ROWS: [(&str, &str, i64); 8] = [
    ("u1", "A", 0),
    ("u1", "C", 45),
    ("p", "A", 1),
    ("p", "X", 2),
    ("q", "C", 3),
    ("q", "Y", 4),
    ("r", "Y", 5),
    ("r", "Z", 6),
];

/// What SAR recommends to `u1` with a half-life of 30 days.
fn recommended(log: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (log, out) = (log.display().to_string(), folder.path().join("run").display().to_string());
    let table = folder.path().join("u1.tsv");
    ok(&mut rankstill(&[
        "train",
        "--quiet",
        "--model",
        "sar",
        "--data",
        &log,
        "--out",
        &out,
        "--set",
        "data.split.kind=all",
    ]));
    let artefact = format!("{out}/models/sar/seed-1/artefact");
    let table_arg = table.display().to_string();
    ok(&mut rankstill(&[
        "recommend",
        &artefact,
        "--user",
        "u1",
        "--k",
        "2",
        "--out",
        &table_arg,
        "--quiet",
    ]));
    fs::read_to_string(table).unwrap()
}

#[test]
fn a_half_life_of_days_is_one_of_days_in_every_unit() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, time: &dyn Fn(i64) -> String| {
        let path = folder.path().join(name);
        let row = |(user, item, day): &(&str, &str, i64)| {
            format!("{user},{item},{}\n", time(1_600_000_000 + day * 86_400))
        };
        let rows: String = ROWS.iter().map(row).collect();
        fs::write(&path, format!("user_id,item_id,timestamp\n{rows}")).unwrap();
        path
    };
    let seconds = recommended(&write("s.csv", &|time| time.to_string()));
    // Y: 1 of the 3 users of C and Y had both, and C is recent. X: 1 of the 2 users of A and X, and A is 45 days
    // older, 1.5 half-lives.
    let scores: Vec<f32> = seconds
        .lines()
        .skip(1)
        .map(|line| line.rsplit('\t').next().unwrap().parse().unwrap())
        .collect();
    let expected = [1.0f32 / 3.0, 0.5 * (-1.5f32).exp2()];
    assert!(scores.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{seconds}");
    for (name, factor) in [("ms.csv", "000"), ("us.csv", "000000"), ("ns.csv", "000000000")] {
        assert_eq!(recommended(&write(name, &|time| format!("{time}{factor}"))), seconds, "{name}");
    }
}

#[test]
fn what_was_understood_comes_first_and_standard_input_is_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let text = "71,2021-03-02T08:00:01.125Z,9001,0\n71,2021-03-02T08:02:09.500Z,9002,0\n72,2021-03-02T09:11:00.250Z,9003,S\n";
    let columns = ["read.columns.user=1", "read.columns.time=2", "read.columns.item=3"];
    let out = folder.path().join("data").display().to_string();
    let mut args = vec!["prepare", "-", "--out", &out, "--set", "read.header=false"];
    columns.iter().for_each(|column| args.extend(["--set", column]));
    let mut child = rankstill(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let printed = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let first: Vec<&str> = printed.lines().take(5).collect();
    assert_eq!(
        first,
        [
            "read     standard input",
            "format   csv, columns separated by `,`, without a header",
            "columns  user = column 1, item = column 3, time = column 2, no weight; not read: column 4",
            "times    dates and times (ISO 8601): 2021-03-02 08:00:01.125 UTC to 2021-03-02 09:11:00.25 UTC",
            "first    user 71, item 9001, time 2021-03-02 08:00:01.125 UTC",
        ]
    );
    let manifest = fs::read_to_string(folder.path().join("data/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["time_unit"], "milliseconds");
    assert_eq!(manifest["sources"][0]["understood"]["columns"]["unused"][0], "4");
    // The same from a pattern of files.
    for (name, lines) in [("part-0.csv", 0..1), ("part-1.csv", 1..3)] {
        let rows: Vec<&str> = text.lines().collect();
        fs::write(folder.path().join(name), rows[lines].join("\n")).unwrap();
    }
    let pattern = folder.path().join("part-*.csv").display().to_string();
    let again = folder.path().join("again").display().to_string();
    args[1] = &pattern;
    args[3] = &again;
    ok(&mut rankstill(&args));
    let again = fs::read_to_string(folder.path().join("again/manifest.json")).unwrap();
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["content"], manifest["content"]);
}

#[test]
fn windows_of_time_take_dates() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.csv");
    let rows: String = ROWS
        .iter()
        .map(|(user, item, day)| {
            format!("{user},{item},{}\n", 1_600_000_000_000 + day * 86_400_000)
        })
        .collect();
    fs::write(&log, format!("user,item,ts\n{rows}")).unwrap();
    let (log, out) = (log.display().to_string(), folder.path().join("data").display().to_string());
    // 1,600,000,000 is 2020-09-13 12:26:40 UTC.
    let printed = ok(&mut rankstill(&[
        "prepare",
        &log,
        "--out",
        &out,
        "--set",
        "filter.from=2020-09-15",
        "--set",
        "filter.to=2020-10-01T00:00:00Z",
        "--set",
        "split.kind=global_time",
        "--set",
        "split.test_from=2020-09-18",
    ]));
    assert!(printed.contains("from 2020-09-15 UTC, to 2020-10-01 UTC"), "{printed}");
    let manifest: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(folder.path().join("data/manifest.json")).unwrap(),
    )
    .unwrap();
    assert_eq!((&manifest["counts"]["train"], &manifest["counts"]["test"]), (&3.into(), &2.into()));
}
