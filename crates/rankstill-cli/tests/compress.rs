//! `rankstill compress`: from a log to the best small ranker.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_same, error, lasting, ok, rankstill, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn log(root: &Path) -> PathBuf {
    let log = root.join("log.tsv");
    ok(&mut rankstill(&["simulate", "--interactions", "6000", "--seed", "3", "--out", text(&log)]));
    log
}

fn report(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap()
}

/// What does not hold times.
fn kept(out: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = lasting(out);
    files.retain(|name, _| !name.starts_with("frontier") && !is_report_of_the_search(name));
    files
}

fn is_report_of_the_search(name: &str) -> bool {
    name.starts_with("search/") && !name.starts_with("search/models/")
}

#[test]
fn a_log_becomes_a_model_to_serve_the_same_on_any_number_of_threads() {
    let root = tempfile::tempdir().unwrap();
    let log = log(root.path());
    let command = |name: &str, threads: &str, seeds: &str| {
        let options =
            ["--effort", "quick", "--quiet", "--threads", threads, "--seeds", seeds, "--out"];
        let mut command = rankstill(&["compress", text(&log)]);
        command.args(options).arg(root.path().join(name));
        command
    };
    let compress = |name: &str, threads: &str, seeds: &str| {
        ok(&mut command(name, threads, seeds));
        root.path().join(name)
    };
    let (one, two) = (compress("one", "1", "1"), compress("two", "2", "1"));
    assert_same(&kept(&one), &kept(&two), "threads");
    let before = kept(&one);
    compress("one", "2", "1");
    assert_same(&before, &kept(&one), "the same command again");

    compress("one", "2", "1,2");
    let was = |name: &str| name.starts_with("search/") || name.contains("/seed-1/");
    let mut seeds = kept(&one);
    seeds.retain(|name, _| was(name));
    let mut first = before;
    first.retain(|name, _| was(name));
    assert_same(&first, &seeds, "another seed leaves the search and the first one");
    let refused = command("one", "2", "2,1").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("a different experiment"));

    let report = report(&one);
    let row = |name: &str| -> &Value {
        report["models"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
    };
    let recommended = report["recommended"].as_str().unwrap();
    assert_eq!(report["ensemble"], "Ensemble");
    assert_eq!(report["seeds"], serde_json::json!([1, 2]));
    let taught = &report["comparisons"][0];
    assert!(taught["over_both"]["p_adjusted"].as_f64() >= taught["over_both"]["p"].as_f64());
    let members = report["ensembles"][0]["members"].as_array().unwrap();
    assert!(members.iter().any(|one| one["weight"].as_u64() > Some(0)), "what each teacher adds");
    assert!(row(recommended)["bytes_per_item"].as_f64().unwrap() > 0.0);
    assert!(
        row("ItemCF")["single"].as_bool().unwrap() && !row("MF-8/KD")["single"].as_bool().unwrap()
    );
    assert!(report["notes"][0].as_str().unwrap().starts_with(recommended), "{}", report["notes"]);
    // Whether a teacher was worth it is said either way.
    let said = report["notes"].to_string();
    let (gained, nothing) =
        (said.contains("Without a teacher, the best"), said.contains("Nothing is gained"));
    assert!(gained != nothing, "{said}");
    // Nobody was told more than another: all are fitted on both parts, and the search saw no test row.
    assert_eq!(report["settings"]["evaluate"]["fit_on"], "train+valid");

    let lists = root.path().join("lists.tsv");
    let best = one.join("best");
    ok(&mut rankstill(&["recommend", text(&best), "--all", "--k", "5", "--out", text(&lists)]));
    assert!(fs::read_to_string(&lists).unwrap().lines().count() > 100);

    let again = root.path().join("again");
    let experiment = one.join("experiment.toml");
    ok(&mut rankstill(&["run", text(&experiment), "--quiet", "--out", text(&again)]));
    let of_run = |out: &Path| {
        let mut files = kept(out);
        files.retain(|name, _| name.starts_with("models/") || name.starts_with("best/"));
        files
    };
    assert!(of_run(&one).len() > 40);
    assert_same(&of_run(&one), &of_run(&again), "experiment.toml repeats the final fits");
}

#[test]
fn a_teacher_from_outside_alone_is_enough_and_budgets_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let log = log(root.path());
    let teacher = root.path().join("teacher");
    ok(rankstill(&[
        "train",
        "--model",
        "ease",
        "--data",
        text(&log),
        "--out",
        text(&teacher),
        "--quiet",
    ])
    .args(["--set", "data.split.kind=all"]));
    let artefact = teacher.join("models/ease/seed-1/artefact");
    let out = root.path().join("out");
    let options = |budget: &'static str, size: &'static str| {
        ["--portfolio", "none", "--effort", "quick", "--quiet", budget, size]
    };
    ok(rankstill(&["compress", text(&log), "--teacher", text(&artefact), "--out", text(&out)])
        .args(options("--max-bytes", "20B/item")));
    let report = report(&out);
    let names: Vec<&str> = report["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert!(!names.contains(&"ItemCF"), "{names:?}");
    let recommended = report["models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == report["recommended"]);
    assert!(recommended.unwrap()["bytes_per_item"].as_f64().unwrap() <= 20.5);

    let other = root.path().join("other");
    let mut command =
        vec!["compress", text(&log), "--teacher", text(&artefact), "--out", text(&other)];
    command.extend(options("--max-bytes", "10B"));
    let problem = error(&command);
    assert!(problem.contains("no model is within the budget"), "{problem}");
    let problem = error(&["compress", text(&log), "--portfolio", "none", "--out", text(&other)]);
    assert!(problem.contains("--portfolio none: leaves no teacher"), "{problem}");
}

#[test]
fn the_quickstart_compresses_a_simulated_log() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("quickstart");
    let sizes = ["interactions=3000", "users=100", "items=150"];
    let mut command = rankstill(&["quickstart", "--seed", "4", "--quiet", "--out", text(&out)]);
    for size in sizes {
        command.args(["--set", &format!("simulate.{size}")]);
    }
    ok(&mut command);
    let report = report(&out);
    assert!(report["recommended"].is_string());
    assert_eq!(report["settings"]["data"]["simulate"]["seed"], 4);
    assert_eq!(report["settings"]["seeds"], serde_json::json!([4]));
    assert!(out.join("report.html").is_file() && out.join("best/manifest.json").is_file());
}
