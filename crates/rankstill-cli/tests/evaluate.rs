//! `evaluate` on small files with known values: grades, targets that were seen, ids that differ, options of reading.
#![allow(clippy::unwrap_used)]

mod common;

use common::{error, ok, rankstill};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// The files of one evaluation.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    /// The arguments of a command, where the names of files become paths.
    fn args(&self, args: &[&str]) -> Vec<String> {
        let path = |arg: &&str| {
            let path = self.0.path().join(arg);
            let there = arg.contains('.') && path.exists();
            if there { path.display().to_string() } else { (*arg).to_owned() }
        };
        args.iter().map(path).collect()
    }

    fn evaluate(&self, args: &[&str]) -> Found {
        let args = self.args(&[&["evaluate", "--json"], args].concat());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Found(serde_json::from_str(&ok(&mut rankstill(&args))).unwrap())
    }

    fn error(&self, args: &[&str]) -> String {
        let args = self.args(&[&["evaluate"], args].concat());
        error(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

struct Found(Value);

impl Found {
    fn metric(&self, name: &str) -> f64 {
        self.0["metrics"][name].as_f64().unwrap()
    }

    /// The notes that contain `words`.
    fn notes(&self, words: &str) -> Vec<&str> {
        let notes = self.0["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap());
        notes.filter(|note| note.contains(words)).collect()
    }
}

const GRADED: &[(&str, &str)] = &[
    ("test.csv", "user_id,item_id,rating\n1,a,5\n1,b,0\n1,c,1\n2,b,0\n"),
    ("run.csv", "user_id,item_id,rank\n1,b,1\n1,c,2\n1,a,3\n"),
];

#[test]
fn a_rating_of_0_is_not_relevant_and_a_note_says_which_rule_was_used() {
    let files = Files::new(GRADED);
    let metrics = "p@1,p@3,ndcg_graded@3,ndcg_graded_exp@3";
    let found =
        files.evaluate(&["--test", "test.csv", "--rankings", "run.csv", "--metrics", metrics]);
    assert_eq!((found.metric("precision@1"), found.metric("precision@3")), (0.0, 2.0 / 3.0));
    assert!((found.metric("ndcg_graded@3") - 0.556).abs() < 5e-4, "{}", found.0);
    assert!((found.metric("ndcg_graded_exp@3") - 0.510).abs() < 5e-4, "{}", found.0);
    assert_eq!(found.0["cases"], 1);
    assert_eq!(
        found.notes("grades"),
        [
            "the weights of the test file are grades: a row is relevant if its grade is above 0; 2 rows with a grade of 0 or less are no \
             targets; 1 users have no other row and are not measured"
        ]
    );
    let definition = found.0["definitions"]["ndcg_graded@3"].as_str().unwrap();
    assert!(definition.contains("The gain of a target is the grade"), "{definition}");
}

#[test]
fn metrics_by_grade_need_grades() {
    let files = Files::new(&[
        ("test.csv", "user_id,item_id\n1,a\n"),
        ("zero.csv", "user_id,item_id,rating\n1,a,0\n"),
        GRADED[1],
    ]);
    let metrics = ["--rankings", "run.csv", "--metrics", "ndcg_graded@3"];
    let refused = files.error(&[&["--test", "test.csv"], &metrics[..]].concat());
    assert!(refused.contains("ndcg_graded@3: needs grades, and"), "{refused}");
    let refused = files.error(&[&["--test", "zero.csv"], &metrics[..]].concat());
    assert!(refused.contains("none of its 1 rows is relevant"), "{refused}");
}

#[test]
fn targets_that_were_seen_are_counted() {
    let files = Files::new(&[
        ("test.csv", "user_id,item_id\n1,10\n1,11\n"),
        ("train.csv", "user_id,item_id\n1,10\n1,20\n"),
        ("run.csv", "user_id,item_id,rank\n1,10,1\n1,20,2\n1,11,3\n"),
    ]);
    let args = ["--test", "test.csv", "--rankings", "run.csv", "--metrics", "recall@10"];
    let found = files.evaluate(&[&args[..], &["--seen", "train.csv"]].concat());
    assert_eq!(found.metric("recall@10"), 0.5);
    assert_eq!(
        found.notes("also seen"),
        [
            "1 of 2 targets were also seen: they are removed from the rankings and can never be hit, so recall is at most 0.500"
        ]
    );
    assert_eq!(files.evaluate(&args).metric("recall@10"), 1.0);
}

#[test]
fn ids_that_differ_in_writing_alone_are_named() {
    let files = Files::new(&[
        ("test.csv", "user_id,item_id\nAnn,x1\nBob,x2\n"),
        ("run.csv", "user_id,item_id,rank\nann,x1,1\nbob,x2,1\ncy,x3,1\n"),
        ("items.csv", "user_id,item_id,rank\nAnn,X1,1\nBob,X2,1\n"),
        ("seen.csv", "user_id,item_id\nANN,x3\n"),
    ]);
    let found = files.evaluate(&["--test", "test.csv", "--rankings", "run.csv"]);
    assert_eq!(
        found.notes("no ranking"),
        [
            "2 of 2 users have no ranking; their metrics are 0; 2 users of the test part are in the rankings under ids that differ only by \
             letter case: `Ann` here, `ann` there"
        ]
    );
    let others = "3 of 3 users of the rankings are not in the test part and are not measured";
    assert_eq!(found.notes("not measured"), [others]);
    let seen = ["--test", "test.csv", "--rankings", "run.csv", "--seen", "seen.csv"];
    let seen = files.evaluate(&seen);
    assert!(seen.notes("seen interactions")[0].contains("`Ann` here, `ANN` there"), "{}", seen.0);
    let found = files.evaluate(&["--test", "test.csv", "--rankings", "items.csv"]);
    let note = found.notes("target items")[0];
    assert!(note.starts_with("2 of 2 target items are in no ranking, and 2 of 2 ranked"), "{note}");
    assert!(note.contains("differ only by letter case: `x1` here, `X1` there"), "{note}");
}

#[test]
fn every_file_has_its_own_options_of_reading() {
    let files = Files::new(&[
        ("h.csv", "1,5,3,100\n1,6,4,101\n2,5,3,99\n2,6,2,98\n"),
        ("run.csv", "user_id,item_id,rank\n1,5,1\n1,6,2\n"),
        ("odd.txt", "who|what|place\n1|5|1\n1|6|2\n"),
    ]);
    let args = ["--test", "h.csv", "--rankings", "run.csv"];
    // Without a header user and item are told by what the columns hold; here nothing tells them.
    assert_eq!(
        files.evaluate(&[&args[..], &["--metrics", "recall@10"]].concat()).metric("recall@10"),
        0.5
    );
    let unclear =
        Files::new(&[("h.csv", "a,b\nc,d\n"), ("run.csv", "user_id,item_id,rank\n1,5,1\n")]);
    let refused = unclear.error(&args);
    assert!(refused.contains("--set test.header=false"), "{refused}");
    let more = ["--set", "test.header=false", "--metrics", "recall@10"];
    let found = files.evaluate(&[&args[..], &more].concat());
    assert_eq!(found.metric("recall@10"), 0.5, "{}", found.0);
    let odd = [
        "--test",
        "h.csv",
        "--rankings",
        "odd.txt",
        "--metrics",
        "recall@10",
        "--set",
        "test.header=false",
        "--format",
        "csv",
        "--set",
        "rankings.delimiter=|",
        "--set",
        "rankings.columns.user=who",
        "--set",
        "rankings.columns.item=what",
        "--set",
        "rankings.columns.time=place",
    ];
    assert_eq!(files.evaluate(&odd).metric("recall@10"), 0.5);
    let refused = files.error(&[&args[..], &["--set", "tset.header=false"]].concat());
    assert!(refused.contains("expected one of read.KEY=VALUE, test.KEY=VALUE"), "{refused}");
    let refused = files.error(&[&args[..], &["--set", "seen.header=false"]].concat());
    assert!(refused.contains("there is no --seen file"), "{refused}");
}

#[test]
fn trec_judgements_are_test_files_and_teachers_of_a_run() {
    let run = "1 Q0 5 1 3.0 r\n1 Q0 8 2 2.0 r\n2 Q0 7 1 3.0 r\n3 Q0 4 1 3.0 r\n3 Q0 9 2 2.5 r\n";
    for qrels in [
        "1 0 5 1\n2 0 7 1\n3 0 9 1\n",
        "1\t0\t5\t1\n2\t0\t7\t1\n3\t0\t9\t1\n",
        "1 0 5 1\n1 0 6 0\n2 0 7 1\n3 0 9 1\n",
    ] {
        let files = Files::new(&[("qrels.txt", qrels), ("run.trec", run)]);
        let found = files.evaluate(&[
            "--test",
            "qrels.txt",
            "--rankings",
            "run.trec",
            "--metrics",
            "recall@10,mrr",
        ]);
        assert_eq!(found.metric("recall@10"), 1.0);
        assert!((found.metric("mrr") - 2.5 / 3.0).abs() < 1e-12);
        let formats: Vec<&str> = found.0["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["understood"]["format"].as_str().unwrap())
            .collect();
        assert_eq!(formats, ["trec_qrels", "trec_run"]);
    }
}
