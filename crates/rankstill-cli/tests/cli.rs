//! The commands as a user gives them, from a simulated log to the table.
#![allow(clippy::unwrap_used)]

mod common;

use common::{error, in_folder, ok, rankstill, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const EXPERIMENT: &str = r#"
name = "small"
[data]
simulate = { interactions = 6_000, seed = 3 }
filter = { user_core = 5 }
[evaluate]
metrics = ["ndcg@10", "map", "recall@20", "coverage@10", "overlap@10"]
latency_seconds = 0.0
groups = 0.5
[trajectory]
every = 1
[models.POP]
kind = "pop"
[models.ItemCF]
kind = "item_cf"
[models.BPR]
kind = "bpr_mf"
dim = 12
optimizer = { kind = "adam", mode = "exact", weight_decay = 1e-5, learning_rate = 0.01 }
train = { epochs = 4, batch_size = 64 }
[models.SGD]
kind = "bpr_mf"
dim = 6
optimizer = { kind = "sgd", learning_rate = 0.05 }
train = { epochs = 3 }
[models.MF-4]
kind = "bpr_mf"
dim = 4
optimizer = { kind = "adam", mode = "sparse", learning_rate = 0.01 }
train = { epochs = 6, batch_size = 64, validate_every = 2, patience = 1 }
[models."MF-4/RD"]
like = "MF-4"
distill = { kind = "rank_distil", teachers = ["BPR"], warm_up = 2, epsilon = 20 }
[models.Fossil]
kind = "fossil"
dim = 6
order = 3
train = { epochs = 4, batch_size = 64 }
[models."Fossil/RD"]
like = "Fossil"
dim = 4
optimizer = { kind = "adam", mode = "exact", learning_rate = 0.01 }
distill = { kind = "rank_distil", teachers = ["ItemCF"], loss = "list_wise", warm_up = 1, epsilon = 20 }
[models."Caser/RD"]
kind = "caser"
dim = 8
length = 3
horizontal_filters = 4
train = { epochs = 3, batch_size = 64 }
distill = { kind = "rank_distil", preset = "authors_code", teachers = ["Fossil"], warm_up = 1, epsilon = 20 }
[models.Ensemble]
kind = "ensemble"
members = ["ItemCF", "BPR", "Fossil"]
[models."MF-4/HetComp"]
like = "MF-4"
train = { epochs = 9 }
distill = { kind = "het_comp", teachers = ["ItemCF", "BPR", "Fossil"], k = 20, cutoff = 10, period = 2 }
"#;

fn experiment() -> (tempfile::TempDir, PathBuf) {
    in_folder(EXPERIMENT)
}

/// Every file of a run that must not depend on time: data, artefacts, rankings, metrics.
fn lasting(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(run).unwrap().to_str().unwrap().to_owned();
            let timed = ["report", "fit.json", "epochs.jsonl", "tradeoff.svg"];
            if !timed.iter().any(|part| name.contains(part)) {
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in a {
        assert!(bytes == &b[name], "{name} differs: {what}");
    }
}

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
    // The one setting that differs.
    a.remove("experiment.toml");
    b.remove("experiment.toml");
    b.retain(|name, _| !name.contains(".part"));
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
            None => assert_eq!(name, "Ensemble", "it is nothing but its members"),
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
    assert!(of(0, "POP") > of(1, "POP"), "what is popular is found among what is popular");
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
fn models_may_differ_by_their_draws_alone() {
    let (root, file) = experiment();
    let out = root.path().join("run");
    let again = r#"models.Again={like="SGD",seed_offset=1}"#;
    let two = ["--set", again, "--set", r#"only=["SGD","Again"]"#, "--seeds", "1,2"];
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]).args(two));
    let of = |name: &str, seed: u64| {
        let artefact = format!("models/{name}/seed-{seed}/artefact/tensors.safetensors");
        fs::read(out.join(artefact)).unwrap()
    };
    assert!(of("Again", 1) == of("SGD", 2), "the second seed's draws");
    assert!(of("Again", 1) != of("SGD", 1), "draws of their own");
}

#[test]
fn recommend_gives_what_was_evaluated() {
    let (root, file) = experiment();
    let out = root.path().join("run");
    let both = ["--set", "evaluate.fit_on=train+valid"]; // so that all a model was fitted on is masked, and no more
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]).args(both));
    for name in ["POP", "ItemCF", "BPR", "MF-4-RD"] {
        let folder = out.join("models").join(name).join("seed-1");
        let (artefact, kept) = (folder.join("artefact"), folder.join("rankings.parquet"));
        let mut figures = Vec::new();
        for ending in ["tsv", "parquet", "jsonl", "csv"] {
            let lists = root.path().join(format!("{name}.{ending}"));
            let args = ["recommend", text(&artefact), "--all", "--k", "100", "--quiet", "--out"];
            ok(rankstill(&args).arg(&lists));
            figures.push(evaluated(&out.join("data"), &lists));
        }
        figures.dedup();
        assert_eq!(figures, [evaluated(&out.join("data"), &kept)], "{name}");
    }
}

fn evaluated(data: &Path, lists: &Path) -> String {
    let args = ["evaluate", "--test", text(data), "--rankings", text(lists), "--json"];
    let found: Value =
        serde_json::from_str(&ok(rankstill(&args).args(["--metrics", "ndcg@10,map@100,mrr"])))
            .unwrap();
    found["metrics"].to_string()
}

#[test]
fn a_student_learns_from_a_file_of_another_system() {
    let root = tempfile::tempdir().unwrap();
    let (log, data) = (root.path().join("log.tsv"), root.path().join("data"));
    ok(&mut rankstill(&["simulate", "--interactions", "5000", "--quiet", "--out", text(&log)]));
    ok(&mut rankstill(&[
        "prepare",
        text(&log),
        "--quiet",
        "--out",
        text(&data),
        "--set",
        "filter.user_core=5",
    ]));
    let (first, second) = (root.path().join("first"), root.path().join("second"));
    let common = ["--quiet", "--data", text(&data), "--set", "evaluate.latency_seconds=0"];
    ok(rankstill(&["train", "--model", "item_cf", "--out", text(&first)]).args(common));
    let said = root.path().join("said.tsv");
    let artefact = first.join("models/item_cf/seed-1/artefact");
    ok(&mut rankstill(&[
        "recommend",
        text(&artefact),
        "--all",
        "--k",
        "50",
        "--quiet",
        "--out",
        text(&said),
    ]));
    let args = ["distill", "--student", "bpr_mf", "--teacher", text(&said), "--out", text(&second)];
    ok(rankstill(&args).args(common).args([
        "--set",
        "dim=8",
        "--set",
        "train.epochs=3",
        "--set",
        "distill.k=5",
    ]));
    let read = |run: &Path| -> Value {
        serde_json::from_str(&fs::read_to_string(run.join("report.json")).unwrap()).unwrap()
    };
    let report = read(&second);
    let student = &report["models"][1];
    assert_eq!(student["distiller"], "rank_distil");
    assert_eq!(student["teachers"][0], "teacher said");
    assert_eq!(report["settings"]["models"]["bpr_mf distilled"]["distill"]["k"], 5);

    // What it said earlier, here backwards, and what it says now are the states that a student goes through.
    let lines = fs::read_to_string(&said).unwrap();
    let (head, rows) = lines.split_once('\n').unwrap();
    let earlier = root.path().join("earlier.tsv");
    let backwards = rows.lines().map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let rank: u32 = cells[2].parse().unwrap();
        format!("{}\t{}\t{}\n", cells[0], cells[1], 51 - rank)
    });
    let columns = head.split('\t').take(3).collect::<Vec<_>>().join("\t");
    fs::write(&earlier, format!("{columns}\n{}", backwards.collect::<String>())).unwrap();
    let (root, file) = in_folder(&format!(
        r#"
[data]
path = {data:?}
[evaluate]
latency_seconds = 0
[models.said]
kind = "rankings"
path = [{earlier:?}, {said:?}]
[models.MF]
kind = "bpr_mf"
dim = 8
train = {{ epochs = 6, patience = 0 }}
distill = {{ kind = "het_comp", teachers = ["said"], k = 10, period = 1, cutoff = 10 }}
"#
    ));
    let third = root.path().join("third");
    ok(&mut rankstill(&["run", common::text(&file), "--quiet", "--out", common::text(&third)]));
    let report = read(&third);
    assert_eq!(report["models"][1]["distiller"], "het_comp");
    assert!(report["models"][1]["metrics"]["ndcg@10"]["mean"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_left() {
    let (root, file) = experiment();
    let out = root.path().join("out");
    let wrong =
        |set: &str| error(&["run", text(&file), "--quiet", "--out", text(&out), "--set", set]);
    for (set, told) in [
        ("models.POP.kind=popp", "models.POP.kind: unknown kind `popp`; one of: pop, item_cf, "),
        ("models.BPR.dimm=3", "models.BPR.dimm: unknown field `dimm`, expected one of `dim`"),
        ("models.BPR.train.epochs=many", "models.BPR.train.epochs: invalid type: string \"many\""),
        (
            r#"models."MF-4/RD".distill.teachers=["BPRR"]"#,
            "no model \"BPRR\"; the models are POP, ItemCF",
        ),
        (r#"models."MF-4/RD".distill.teachers=["MF-4/RD"]"#, "`MF-4/RD` is itself"),
        (
            r#"models.POP.distill={kind="rank_distil",teachers=["BPR"]}"#,
            "`pop` is counted, not trained",
        ),
        (r#"models.MF-4.like="MF-4/RD""#, "leads in a circle"),
        ("evaluate.metrics=[\"ndgc@10\"]", "`ndgc@10`: is unknown"),
        ("evaluate.dialect=mine", "mine"),
        ("data.splitt.kind=random", "data.splitt: unknown field `splitt`"),
        ("data.split.kind=randomly", "`randomly`"),
        ("data.path=nowhere.csv", "data: path, parts and simulate are given together"),
        ("seeds=[]", "seeds: is empty"),
        ("models.BPR.seed_offset=-1", "models.BPR.seed_offset: expected a whole number, found -1"),
    ] {
        let found = wrong(set);
        assert!(found.contains(told), "--set {set}\nexpected {told}\nfound {found}");
        let inside = fs::read_dir(&out).map_or(0, |inside| {
            inside.filter(|entry| entry.as_ref().unwrap().file_name() != "experiment.toml").count()
        });
        assert_eq!(inside, 0, "--set {set} left something in {}", out.display());
        _ = fs::remove_dir_all(&out);
    }
    let bad = root.path().join("bad.csv");
    fs::write(&bad, "user_id,item_id,timestamp\n1,2,3\n1,2\n").unwrap();
    let data = root.path().join("data");
    let told = error(&["prepare", text(&bad), "--quiet", "--out", text(&data)]);
    assert!(told.contains("bad.csv:3: expected 3 columns, found 2"), "{told}");
    assert!(!data.exists());
    assert!(error(&["inspect", text(root.path())]).contains("neither a data set nor an artefact"));
    assert!(error(&["evaluate", "--test", "no.tsv", "--rankings", "no.tsv"]).contains("no.tsv"));
}

#[test]
fn a_folder_of_another_experiment_is_left_alone() {
    let (root, file) = experiment();
    let out = root.path().join("out");
    let only = ["--set", "models={POP={kind=\"pop\"}}"];
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]).args(only));
    let before = lasting(&out);
    assert!(
        error(&["run", text(&file), "--quiet", "--out", text(&out)]).contains("another experiment")
    );
    assert_same(&before, &lasting(&out), "refused");
    fs::write(root.path().join("letter"), "dear").unwrap();
    let told = error(&["run", text(&file), "--quiet", "--out", text(root.path())]);
    assert!(told.contains("is not empty"), "{told}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_in_order_and_the_same_command_goes_on() {
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
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("interrupted"), "{told}");
    assert!(out.join("models/BPR/seed-1/checkpoint.safetensors").is_file());
    ok(rankstill(&args).args(longer));
    assert_same(&lasting(&whole), &lasting(&out), "interrupted and resumed");
}

#[test]
fn recommendations_are_written_in_parts_that_can_be_gone_on_with() {
    let (root, file) = experiment();
    let run = root.path().join("run");
    let only = ["--set", "models={POP={kind=\"pop\"},ItemCF={kind=\"item_cf\"}}"];
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&run)]).args(only));
    let artefact = |name: &str| run.join("models").join(name).join("seed-1/artefact");
    let recommend = |name: &str, out: &str, more: &[&str]| {
        let (folder, out) = (artefact(name), root.path().join(out));
        let mut command =
            rankstill(&["recommend", text(&folder), "--all", "--quiet", "--out", text(&out)]);
        command.args(more);
        command
    };
    ok(&mut recommend("ItemCF", "whole.tsv", &[]));
    ok(&mut recommend("ItemCF", "lists.tsv", &["--shard", "2/3"]));
    let part = |i: usize| root.path().join(format!("lists-0000{i}-of-00003.tsv"));
    let second = fs::read(part(2)).unwrap();
    assert!(!part(1).exists() && !part(3).exists());
    fs::write(part(1), "told by somebody else\n").unwrap();
    ok(&mut recommend("ItemCF", "lists.tsv", &["--shards", "3"]));
    assert_eq!(fs::read(part(1)).unwrap(), b"told by somebody else\n", "what is there is left");
    fs::remove_file(part(1)).unwrap();
    ok(&mut recommend("ItemCF", "lists.tsv", &["--shards", "3"]));
    assert_eq!(fs::read(part(2)).unwrap(), second);
    let lines = |path: &Path| -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect()
    };
    let together: Vec<String> = (1..=3).flat_map(|i| lines(&part(i))).collect();
    assert_eq!(together, lines(&root.path().join("whole.tsv")));
    let mut mixed = recommend("POP", "lists.tsv", &["--shards", "3"]);
    let told = String::from_utf8(mixed.output().unwrap().stderr).unwrap();
    assert!(told.contains("lists.tsv.parts.json") && told.contains("another model"), "{told}");
}
