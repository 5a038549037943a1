//! `rankstill tune` as a user runs it: the settings it picks, the data it uses, and how it resumes.
#![allow(clippy::unwrap_used)]

mod common;

use common::{in_folder, ok, rankstill, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EXPERIMENT: &str = r#"
name = "small"
checkpoint_seconds = 0
[data]
simulate = { interactions = 6_000, seed = 3 }
filter = { user_core = 5 }
[evaluate]
metrics = ["ndcg@10", "map"]
validate = "ndcg@10"
latency_seconds = 0.0
[models.ItemCF]
kind = "item_cf"
[models.BPR]
kind = "bpr_mf"
dim = 12
optimizer = { kind = "adam", learning_rate = 0.01 }
train = { epochs = 4, batch_size = 64, patience = 0 }
[models.MF-4]
kind = "bpr_mf"
dim = 4
optimizer = { kind = "adam", learning_rate = 0.001 }
train = { epochs = 8, batch_size = 64, validate_every = 2, patience = 2 }
[models."MF-4/RD"]
like = "MF-4"
distill = { kind = "rank_distil", teachers = ["BPR"], warm_up = 1, epsilon = 20 }
[tune]
trials = 6
keep = 2
[tune.models."MF-4/RD"]
"distill.k" = { int = [5, 30] }
distill.lambda = { uniform = [0.5, 10.0] }
[tune.models.MF-4]
"optimizer.learning_rate" = { log = [1e-3, 1e-1] }
dim = { choice = [4, 6] }
[tune.models.BPR]
"optimizer.weight_decay" = { log = [1e-8, 1e-3] }
[tune.models.ItemCF]
neighbours = { log_int = [2, 200] }
"#;

fn experiment() -> (tempfile::TempDir, PathBuf) {
    in_folder(EXPERIMENT)
}

/// The results of a search.
fn found(out: &Path) -> BTreeMap<&'static str, String> {
    ["trials.tsv", "best.toml", "tuned.toml", "tune.json", "experiment.toml"]
        .into_iter()
        .map(|name| (name, fs::read_to_string(out.join(name)).unwrap()))
        .collect()
}

/// The rows of `trials.tsv` as column -> text.
fn rows(out: &Path) -> Vec<BTreeMap<String, String>> {
    let table = fs::read_to_string(out.join("trials.tsv")).unwrap();
    let mut lines =
        table.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let head = lines.next().unwrap();
    lines
        .map(|line| {
            assert_eq!(line.len(), head.len());
            head.iter().cloned().zip(line).collect()
        })
        .collect()
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

#[test]
fn the_best_by_validation_is_picked_and_a_run_with_it_gets_there() {
    let (root, file) = experiment();
    let out = root.path().join("found");
    let args = ["tune", text(&file), "--out", text(&out), "--quiet"];
    let shown = ok(&mut rankstill(&args));
    assert!(shown.contains("(picked)") && shown.contains("[models.MF-4"), "{shown}");
    let rows = rows(&out);
    assert_eq!(rows.len(), 24);
    let names: Vec<&str> = rows.iter().step_by(6).map(|row| row["model"].as_str()).collect();
    assert_eq!(names, ["BPR", "MF-4", "MF-4/RD", "ItemCF"], "teachers before students");
    let tuned: Value =
        toml::from_str(&fs::read_to_string(out.join("tuned.toml")).unwrap()).unwrap();
    assert!(tuned.get("tune").is_none());
    for of_model in rows.chunks(6) {
        let name = &of_model[0]["model"];
        let picked: Vec<_> = of_model.iter().filter(|row| row["state"] == "picked").collect();
        assert_eq!(picked.len(), 1, "{name}");
        // What goes on only gets better, so the picked one is the best of all, whoever else was dropped.
        if name != "BPR" {
            let best = of_model.iter().map(|row| number(row, "value")).fold(0.0, f64::max);
            assert_eq!(number(picked[0], "value"), best, "{name}");
        }
        assert!(number(picked[0], "value") > 0.0);
        let ends = |state: &str| of_model.iter().filter(|row| row["state"] == state).count();
        let dropped = if name == "ItemCF" { 0 } else { 5 };
        assert_eq!((ends("dropped"), ends("finished")), (dropped, 5 - dropped), "{name}");
    }
    let mf = rows.iter().find(|row| row["model"] == "MF-4" && row["state"] == "picked").unwrap();
    let rate = tuned["models"]["MF-4"]["optimizer"]["learning_rate"].as_f64().unwrap();
    assert_eq!(rate, number(mf, "optimizer.learning_rate"));
    assert_eq!(number(&rows[6], "optimizer.learning_rate"), 0.001, "first as in the file");

    // The same experiment run as a whole: the same seed gives the model that was measured here.
    let run = root.path().join("run");
    ok(&mut rankstill(&["run", text(&out.join("tuned.toml")), "--out", text(&run), "--quiet"]));
    for (model, folder) in [("MF-4", "MF-4"), ("MF-4/RD", "MF-4-RD")] {
        let picked = rows.iter().find(|row| row["model"] == model && row["state"] == "picked");
        let log =
            fs::read_to_string(run.join(format!("models/{folder}/seed-1/epochs.jsonl"))).unwrap();
        let valid = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["valid"].as_f64());
        let (best, picked) = (valid.fold(0.0, f64::max), picked.unwrap());
        assert_eq!(best, number(picked, "value"), "{model}");
    }
}

#[test]
fn threads_and_repetition_change_nothing_and_the_seed_does() {
    let (root, file) = experiment();
    let tune = |name: &str, args: &[&str]| {
        let out = root.path().join(name);
        ok(rankstill(&["tune", text(&file), "--quiet", "--out", text(&out)]).args(args));
        (found(&out), out)
    };
    let (one, out) = tune("one", &["--threads", "1"]);
    assert_eq!(one, tune("two", &["--threads", "2"]).0);
    assert_eq!(one, tune("three", &["--threads", "3"]).0);
    let again =
        ok(&mut rankstill(&["tune", text(&file), "--quiet", "--json", "--out", text(&out)]));
    assert_eq!(one, found(&out), "given again");
    let printed: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(printed["models"][0]["trials"].as_array().unwrap().len(), 6);
    let other = tune("other", &["--seed", "2", "--model", "MF-4"]).1;
    let settings = |out: &Path| -> Vec<String> {
        let rows = rows(out);
        let rows = rows.iter().filter(|row| row["model"] == "MF-4" && row["trial"] != "1");
        rows.map(|row| row["optimizer.learning_rate"].clone()).collect()
    };
    assert_eq!(settings(&other).len(), 5);
    assert_ne!(settings(&out), settings(&other));
}

#[test]
fn a_search_that_is_killed_again_and_again_ends_in_the_same_bytes() {
    let (root, file) = experiment();
    let whole = root.path().join("whole");
    ok(&mut rankstill(&["tune", text(&file), "--quiet", "--out", text(&whole)]));
    let killed = root.path().join("killed");
    let args = ["tune", text(&file), "--quiet", "--out", text(&killed)];
    let mut kills = 0;
    loop {
        let mut child = rankstill(&args).stdout(std::process::Stdio::null()).spawn().unwrap();
        // A machine that is slow or busy would be killed for ever.
        let patience = match kills {
            0..25 => Duration::from_millis(60 + 45 * kills),
            _ => Duration::MAX,
        };
        let began = Instant::now();
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if began.elapsed() > patience => break None,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0, "the search ended before it could be killed");
    assert_eq!(found(&whole), found(&killed));
    let states = |folder: &Path| {
        let log = |at: usize| {
            fs::read_to_string(folder.join(format!("trials/MF-4/{at:04}/epochs.jsonl")))
        };
        (1..=6).map(|at| log(at).unwrap().lines().count()).collect::<Vec<_>>()
    };
    assert_eq!(states(&whole), states(&killed), "epochs of each trial");
    assert!(!killed.join("trials/MF-4/0001/checkpoint.safetensors").exists());
}

/// With another test part of a ready-made split, not a byte of the result may change.
#[test]
fn the_test_part_is_not_used() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let rows: Vec<(u32, u32)> =
        (0..60).flat_map(|user| (0..12).map(move |at| (user, (user * 7 + at * at) % 50))).collect();
    let part = |name: &str, keep: &dyn Fn(u32) -> bool, shift: u32| {
        let rows = rows.iter().enumerate().filter(|(at, _)| keep(*at as u32 % 12));
        let rows = rows.map(|(_, (user, item))| format!("{user}\t{}\n", (item + shift) % 50));
        fs::write(path(name), format!("user_id\titem_id\n{}", rows.collect::<String>())).unwrap();
    };
    part("train.tsv", &|at| at < 8, 0);
    part("valid.tsv", &|at| at == 8 || at == 9, 0);
    part("test.tsv", &|at| at > 9, 0);
    part("other.tsv", &|at| at > 9, 11);
    let file = path("split.toml");
    let models = &EXPERIMENT[EXPERIMENT.find("[evaluate]").unwrap()..];
    let tune = |test: &str| {
        let parts = ["train.tsv", "valid.tsv", test].map(|name| text(&path(name)).to_owned());
        let [train, valid, test_path] = parts;
        let data = format!(
            "[data]\nparts = {{ train = {train:?}, valid = {valid:?}, test = {test_path:?} }}\nsplit = {{ kind = \"ready_made\" }}\n"
        );
        fs::write(&file, data + models).unwrap();
        let out = path(&format!("out of {test}"));
        let only = ["--model", "MF-4/RD", "--model", "MF-4"];
        ok(rankstill(&["tune", text(&file), "--quiet", "--out", text(&out)]).args(only));
        ["trials.tsv", "best.toml"].map(|name| fs::read_to_string(out.join(name)).unwrap())
    };
    assert_eq!(tune("test.tsv"), tune("other.tsv"));
}

#[test]
fn errors_are_reported_before_any_work() {
    let (root, file) = experiment();
    let out = root.path().join("out");
    for (args, expected) in [
        (
            &["--set", "tune.trails=3"][..],
            "tune.trails: unknown field `trails`, expected one of `method`, `trials`",
        ),
        (
            &["--set", "tune.method=grid"],
            "tune.method: unknown variant `grid`, expected `random` or `halving`",
        ),
        (&["--set", "tune.trials=0"], "tune.trials: must be at least 1, is 0"),
        (&["--set", "tune.keep=1"], "tune.keep: must be at least 2, is 1"),
        (&["--set", "tune.metric=ndgc@10"], "`ndgc@10`: is unknown"),
        (
            &["--set", "tune.models.MF-5.dim={int=[1,2]}"],
            "tune.models.MF-5: no model of this name; the models are ItemCF, BPR, MF-4",
        ),
        (
            &["--set", "tune.models.MF-4.dim={int=[9,2]}"],
            "tune.models.MF-4.dim: int: expected two whole numbers, low < high, found [9, 2]",
        ),
        (
            &["--set", "tune.models.MF-4.dimm={int=[1,2]}"],
            "models.MF-4.dimm: unknown field `dimm`, expected one of `dim`",
        ),
        (&["--set", "tune.models.MF-4.dim={int=[-5,-2]}"], "trial 2"),
        (
            &[
                "--set",
                "models.MF-4={kind=\"rankings\",path=\"x\"}",
                "--set",
                "models.\"MF-4/RD\"={kind=\"pop\"}",
                "--model",
                "MF-4",
            ],
            "tune.models.MF-4: is a file of rankings",
        ),
        (
            &["--model", "POP"],
            "--model POP: has no ranges; tune.models has MF-4/RD, MF-4, BPR, ItemCF",
        ),
        (
            &["--set", "data.split={kind=\"chronological\",valid=0.0}"],
            "leaves no user with a validation item",
        ),
    ] {
        let output = rankstill(&["tune", text(&file), "--quiet", "--out", text(&out)])
            .args(args)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?} should have failed");
        assert!(
            error.contains(expected) && !error.contains("panicked"),
            "{args:?}\nexpected {expected}\nfound {error}"
        );
        assert!(!out.join("trials").exists(), "{args:?} trained something");
        _ = fs::remove_dir_all(&out);
    }
    fs::write(&file, EXPERIMENT.split("[tune]").next().unwrap()).unwrap();
    let output = rankstill(&["tune", text(&file), "--out", text(&out)]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("tune: is missing; add [tune.models.NAME]")
    );
}

#[test]
fn a_diverging_trial_is_reported_and_the_others_continue() {
    let (root, file) = experiment();
    let out = root.path().join("out");
    let args = ["tune", text(&file), "--quiet", "--out", text(&out), "--model", "MF-4", "--set"];
    let set = "tune.models.MF-4={\"optimizer\"={choice=[{kind=\"sgd\",learning_rate=1e30},{kind=\"sgd\",learning_rate=0.05}]}}";
    ok(rankstill(&args).arg(set));
    let rows = rows(&out);
    let of = |state: &str| rows.iter().filter(|row| row["state"] == state).collect::<Vec<_>>();
    assert_eq!((rows.len(), of("failed").len(), of("picked").len()), (3, 1, 1), "{rows:#?}");
    assert!(of("failed")[0]["problem"].contains("loss"), "{rows:#?}");
}

#[test]
fn a_model_fitted_on_both_parts_gets_the_best_number_of_epochs() {
    let (root, file) = experiment();
    let out = root.path().join("out");
    let args = ["tune", text(&file), "--quiet", "--out", text(&out), "--model", "MF-4"];
    ok(rankstill(&args).args([
        "--set",
        "evaluate.fit_on=train+valid",
        "--set",
        "tune.method=random",
    ]));
    let rows = rows(&out);
    let picked = rows.iter().find(|row| row["state"] == "picked").unwrap();
    let tuned: Value =
        toml::from_str(&fs::read_to_string(out.join("tuned.toml")).unwrap()).unwrap();
    assert_eq!(tuned["evaluate"]["fit_on"], "train+valid");
    assert_eq!(
        tuned["models"]["MF-4"]["train"]["epochs"].as_f64(),
        Some(number(picked, "best_epoch"))
    );
    assert!(rows.iter().all(|row| row["state"] != "dropped"));
}
