//! Experiments as a user runs them, from a simulated log to the table: the same bytes always, resumed, refused, reported.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_same, error, experiment, lasting, ok, rankstill, text};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_run_gives_the_same_bytes_on_any_threads_and_instruction_set() {
    let (root, file) = experiment();
    let run = |name: &str, threads: &str, isa: Option<&str>| {
        let out = root.path().join(name);
        let mut command =
            rankstill(&["run", text(&file), "--quiet", "--threads", threads, "--out", text(&out)]);
        if let Some(isa) = isa {
            command.env("RANKSTILL_ISA", isa);
        }
        ok(&mut command);
        lasting(&out)
    };
    let one = run("one", "1", None);
    assert!(one.len() > 30, "{} files", one.len());
    assert_same(&one, &run("two", "2", None), "two threads");
    assert_same(&one, &run("three", "3", None), "three threads");
    #[cfg(target_arch = "x86_64")]
    for isa in ["avx2", "avx512"] {
        let there = match isa {
            "avx2" => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            _ => is_x86_feature_detected!("avx512f"),
        };
        if there {
            assert_same(&one, &run(isa, "2", Some(isa)), isa);
        } else {
            println!("skipped: this machine has no {isa}");
        }
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_in_the_same_bytes() {
    let (root, file) = experiment();
    let whole = root.path().join("whole");
    ok(&mut rankstill(&["run", text(&file), "--quiet", "--out", text(&whole)]));
    let killed = root.path().join("killed");
    let args =
        ["run", text(&file), "--quiet", "--out", text(&killed), "--set", "checkpoint_seconds=0"];
    let mut kills = 0;
    for round in 0u64.. {
        let mut child = rankstill(&args).spawn().unwrap();
        let patience = Duration::from_millis(60 + 45 * (round % 40));
        let began = Instant::now();
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if began.elapsed() > patience => break None,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => {
                child.kill().unwrap(); // SIGKILL
                child.wait().unwrap();
                kills += 1;
            }
        }
        assert!(round < 400, "never ends");
    }
    assert!(kills > 0, "the run ended before it could be killed");
    let (mut a, mut b) = (lasting(&whole), lasting(&killed));
    // The only setting that differs.
    a.remove("experiment.toml");
    b.remove("experiment.toml");
    assert_same(&a, &b, "killed and resumed");
}

#[test]
fn the_report_holds_what_it_promises_and_evaluate_agrees_with_it() {
    let (root, file) = experiment();
    let out = root.path().join("run");
    let seeds = ["--seeds", "1,2", "--set", "evaluate.latency_seconds=0.2"];
    let args = ["run", text(&file), "--out", text(&out), "--json", "--quiet"];
    let printed: Value = serde_json::from_str(&ok(rankstill(&args).args(seeds))).unwrap();
    let kept: Value =
        serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(printed, kept);
    let models = kept["models"].as_array().unwrap();
    assert_eq!(models.len(), 11);
    for model in models {
        let name = model["name"].as_str().unwrap();
        assert!(model["parameters"].as_u64().unwrap() > 0, "{name}");
        assert!(model["bytes"].as_u64().unwrap() > 0, "{name}");
        assert!(model["latency"]["request_ms"]["p99"].as_f64().unwrap() > 0.0, "{name}");
        match model["artefact"].as_str() {
            Some(artefact) => assert!(out.join(artefact).join("manifest.json").is_file()),
            None => assert_eq!(name, "Ensemble", "an ensemble has no artefact of its own"),
        }
        let ndcg = &model["metrics"]["ndcg@10"];
        assert_eq!(ndcg["values"].as_array().unwrap().len(), 2, "{name}");
        let (data, lists) = (out.join("data"), out.join(model["rankings"].as_str().unwrap()));
        let args = ["evaluate", "--test", text(&data), "--rankings", text(&lists), "--json"];
        let metrics = ["--metrics", "ndcg@10,recall@20"];
        let found: Value = serde_json::from_str(&ok(rankstill(&args).args(metrics))).unwrap();
        for metric in ["ndcg@10", "recall@20"] {
            let (a, b) = (&found["metrics"][metric], &model["metrics"][metric]["values"][0]);
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() < 1e-12, "{name} {metric}: {a} evaluated, {b} reported");
        }
    }
    let groups = kept["groups"].as_array().unwrap();
    let names: Vec<&str> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["popular items", "unpopular items", "active users", "inactive users"]);
    let of = |group: usize, name: &str| groups[group]["models"][name]["ndcg@10"]["mean"].as_f64();
    assert!(of(0, "POP") > of(1, "POP"), "popular items are found by popularity");
    let users: u64 = groups[2..].iter().map(|group| group["cases"].as_u64().unwrap()).sum();
    assert_eq!(users, kept["cases"].as_u64().unwrap());
    let parameters = |at: usize| models[at]["parameters"].as_u64().unwrap();
    assert_eq!(parameters(9), parameters(1) + parameters(2) + parameters(6));
    let taught = &models[5];
    assert_eq!(taught["teachers"][0], "BPR");
    assert!(taught["kept"]["ndcg@10"].as_f64().unwrap() > 0.0);
    assert!(kept["comparisons"].as_array().unwrap().iter().all(|one| one["b"] == "MF-4"));
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("MF-4/RD") && page.contains("ndcg@10"));
    for path in [&out, &out.join("data"), &out.join("models/MF-4-RD/seed-2/artefact")] {
        assert!(!ok(&mut rankstill(&["inspect", text(path)])).is_empty());
        let json = ok(&mut rankstill(&["inspect", text(path), "--json"]));
        assert!(serde_json::from_str::<Value>(&json).is_ok());
    }
    let (a, b) = (out.join("models/MF-4-RD"), out.join("models/MF-4"));
    let compared = ok(&mut rankstill(&["compare", text(&a), text(&b), "--json"]));
    let compared: Value = serde_json::from_str(&compared).unwrap();
    let ndcg = compared.as_array().unwrap().iter().find(|one| one["metric"] == "ndcg@10").unwrap();
    let reported =
        kept["comparisons"].as_array().unwrap().iter().find(|one| one["metric"] == "ndcg@10");
    assert_eq!(ndcg["difference"], reported.unwrap()["difference"]);
}

#[test]
fn shared_data_is_found_from_any_folder() {
    let root = tempfile::tempdir().unwrap();
    let (shared, work) = (root.path().join("elsewhere"), root.path().join("a/b"));
    fs::create_dir_all(shared.join("small")).unwrap();
    fs::create_dir_all(&work).unwrap();
    let log = shared.join("small/log.tsv");
    ok(&mut rankstill(&["simulate", "--interactions", "2000", "--quiet", "--out", text(&log)]));
    let experiment = r#"
[data]
path = "../shared/data/small/log.tsv"
[evaluate]
latency_seconds = 0
[models.POP]
kind = "pop"
"#;
    fs::write(work.join("x.toml"), experiment).unwrap();
    let run = || {
        let mut command = rankstill(&["run", "x.toml", "--out", "run"]);
        command.current_dir(&work).env_remove("RANKSTILL_DATA");
        command
    };
    assert!(!run().output().unwrap().status.success());
    let output = run().env("RANKSTILL_DATA", &shared).output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{messages}");
    assert!(messages.contains("RANKSTILL_DATA: ../shared/data/small/log.tsv is read from"));
    let kept = fs::read_to_string(work.join("run/experiment.toml")).unwrap();
    assert!(kept.contains(r#"path = "../shared/data/small/log.tsv""#), "{kept}");
}

#[test]
fn models_can_differ_in_their_random_draws_only() {
    let (root, file) = experiment();
    let out = root.path().join("run");
    let again = r#"models.Again={like="SGD",seed_offset=1}"#;
    let two = ["--set", again, "--set", r#"only=["SGD","Again"]"#, "--seeds", "1,2"];
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]).args(two));
    let of = |name: &str, seed: u64| {
        let artefact = format!("models/{name}/seed-{seed}/artefact/tensors.safetensors");
        fs::read(out.join(artefact)).unwrap()
    };
    assert!(of("Again", 1) == of("SGD", 2), "the draws of the second seed");
    assert!(of("Again", 1) != of("SGD", 1), "not the draws of the first seed");
}

#[test]
fn errors_name_the_problem_and_leave_no_files() {
    let (root, file) = experiment();
    let out = root.path().join("out");
    let wrong =
        |set: &str| error(&["run", text(&file), "--quiet", "--out", text(&out), "--set", set]);
    for (set, expected) in [
        ("models.POP.kind=popp", "models.POP.kind: unknown kind `popp`; one of: pop, item_cf, "),
        ("models.BPR.dimm=3", "models.BPR.dimm: unknown field `dimm`, expected one of `dim`"),
        ("models.BPR.train.epochs=many", "models.BPR.train.epochs: invalid type: string \"many\""),
        (
            r#"models."MF-4/RD".distill.teachers=["BPRR"]"#,
            "no model \"BPRR\"; the models are POP, ItemCF",
        ),
        (r#"models."MF-4/RD".distill.teachers=["MF-4/RD"]"#, "`MF-4/RD` names itself"),
        (
            r#"models.POP.distill={kind="rank_distil",teachers=["BPR"]}"#,
            "`pop` is not trained by gradient",
        ),
        (r#"models.MF-4.like="MF-4/RD""#, "leads in a circle"),
        ("evaluate.metrics=[\"ndgc@10\"]", "`ndgc@10`: is unknown"),
        ("evaluate.dialect=mine", "mine"),
        ("data.splitt.kind=random", "data.splitt: unknown field `splitt`"),
        ("data.split.kind=randomly", "`randomly`"),
        ("data.path=nowhere.csv", "data: path, parts and simulate exclude each other"),
        ("seeds=[]", "seeds: is empty"),
        ("models.BPR.seed_offset=-1", "models.BPR.seed_offset: expected a whole number, found -1"),
    ] {
        let found = wrong(set);
        assert!(found.contains(expected), "--set {set}\nexpected {expected}\nfound {found}");
        let inside = fs::read_dir(&out).map_or(0, |inside| {
            inside.filter(|entry| entry.as_ref().unwrap().file_name() != "experiment.toml").count()
        });
        assert_eq!(inside, 0, "--set {set} left something in {}", out.display());
        _ = fs::remove_dir_all(&out);
    }
    let bad = root.path().join("bad.csv");
    fs::write(&bad, "user_id,item_id,timestamp\n1,2,3\n1,2\n").unwrap();
    let data = root.path().join("data");
    let message = error(&["prepare", text(&bad), "--quiet", "--out", text(&data)]);
    assert!(message.contains("bad.csv:3: expected 3 columns, found 2"), "{message}");
    assert!(!data.exists());
    assert!(
        error(&["inspect", text(root.path())]).contains("is not a data set, an artefact or a run")
    );
    assert!(error(&["evaluate", "--test", "no.tsv", "--rankings", "no.tsv"]).contains("no.tsv"));
}

#[test]
fn a_folder_of_another_experiment_is_not_touched() {
    let (root, file) = experiment();
    let out = root.path().join("out");
    let only = ["--set", "models={POP={kind=\"pop\"}}"];
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]).args(only));
    let before = lasting(&out);
    assert!(
        error(&["run", text(&file), "--quiet", "--out", text(&out)])
            .contains("a different experiment")
    );
    assert_same(&before, &lasting(&out), "refused");
    fs::write(root.path().join("letter"), "x").unwrap();
    let message = error(&["run", text(&file), "--quiet", "--out", text(root.path())]);
    assert!(message.contains("is not empty"), "{message}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_run_and_the_same_command_resumes_it() {
    let (root, file) = experiment();
    let whole = root.path().join("whole");
    let longer = ["--set", "models.BPR.train.epochs=40"];
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&whole)]).args(longer));
    let out = root.path().join("out");
    let args = ["run", text(&file), "--quiet", "--out", text(&out)];
    let child = rankstill(&args).args(longer).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while !out.join("models/BPR/seed-1/epochs.jsonl").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "training never began");
        std::thread::sleep(Duration::from_millis(1));
    }
    ok(Command::new("kill").args(["-INT", &child.id().to_string()]));
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("interrupted"), "{message}");
    assert!(out.join("models/BPR/seed-1/checkpoint.safetensors").is_file());
    ok(rankstill(&args).args(longer));
    assert_same(&lasting(&whole), &lasting(&out), "interrupted and resumed");
}
