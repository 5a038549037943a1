//! Models for production: fitted on every row, after their quality was measured on a split, or without any.
#![allow(clippy::unwrap_used)]

mod common;

use common::{error, in_folder, ok, rankstill, text};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The SHA-256 of every file of an artefact.
fn files(artefact: &Path) -> Value {
    json(&artefact.join("manifest.json"))["files"].clone()
}

const MODELS: &str = r#"
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0
[models.ItemCF]
kind = "item_cf"
[models.MF]
kind = "bpr_mf"
dim = 8
train = { epochs = 6, batch_size = 64, validate_every = 1, patience = 1 }
[models."MF/RD"]
like = "MF"
dim = 4
distill = { kind = "rank_distil", teachers = ["MF"], loss = "pair_wise", weighting = "position", lambda = 10.0 }
"#;

#[test]
fn a_measured_model_is_fitted_on_every_row_for_as_many_epochs() {
    let (root, file) = in_folder("");
    let log = root.path().join("log.tsv");
    ok(&mut rankstill(&["simulate", "--interactions", "3000", "--quiet", "--out", text(&log)]));
    fs::write(&file, format!("[data]\npath = {log:?}\n{MODELS}")).unwrap();
    let (out, plain) = (root.path().join("all"), root.path().join("plain"));
    let run = |out: &Path, more: &[&str]| {
        ok(rankstill(&["run", text(&file), "--quiet", "--out", text(out)]).args(more))
    };
    run(&out, &["--set", "evaluate.fit_on=all"]);
    run(&plain, &[]);
    let (report, without) = (json(&out.join("report.json")), json(&plain.join("report.json")));
    let metrics = |report: &Value| -> Vec<Value> {
        report["models"].as_array().unwrap().iter().map(|model| model["metrics"].clone()).collect()
    };
    assert_eq!(
        metrics(&report),
        metrics(&without),
        "the figures are those of the validated models"
    );
    let notes = report["notes"].to_string();
    assert!(notes.contains("fitted on every row"), "{notes}");
    for name in ["ItemCF", "MF", "MF-RD"] {
        let (model, before) = (
            out.join("models").join(name).join("seed-1"),
            plain.join("models").join(name).join("seed-1"),
        );
        assert_eq!(
            files(&model.join("validated/artefact")),
            files(&before.join("artefact")),
            "{name}"
        );
        let card = |artefact: &str| {
            json(&model.join(artefact).join("manifest.json"))["card"]["fitted_on"].clone()
        };
        assert_eq!((card("artefact"), card("validated/artefact")), ("all".into(), "train".into()));
        assert_ne!(files(&model.join("artefact")), files(&before.join("artefact")), "{name}");
    }

    // The same model as one that is fitted on a log without a split, for that number of epochs.
    let lines = fs::read_to_string(out.join("models/MF/seed-1/validated/epochs.jsonl")).unwrap();
    let mut best = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let best = best.rfind(|line| line["best"] == true).unwrap();
    let epochs = best["epoch"].as_u64().unwrap() + 1;
    assert!(epochs < 6, "stops early, or the test says little");
    let (data, alone) = (root.path().join("data"), root.path().join("alone"));
    ok(&mut rankstill(&["prepare", text(&log), "--all", "--quiet", "--out", text(&data)]));
    let args =
        ["train", "--model", "bpr_mf", "--data", text(&data), "--out", text(&alone), "--quiet"];
    let settings = [
        "dim=8",
        "train.batch_size=64",
        &format!("train.epochs={epochs}"),
        "evaluate.latency_seconds=0",
    ];
    ok(rankstill(&args).args(settings.iter().flat_map(|one| ["--set", *one])));
    let trained = alone.join("models/bpr_mf/seed-1/artefact");
    assert_eq!(files(&trained), files(&out.join("models/MF/seed-1/artefact")));

    // A run that is resumed has the same files.
    let artefact = out.join("models/MF-RD/seed-1/artefact");
    let made = files(&artefact);
    fs::remove_dir_all(&artefact).unwrap();
    run(&out, &["--set", "evaluate.fit_on=all"]);
    assert_eq!(files(&artefact), made);
    assert_eq!(metrics(&json(&out.join("report.json"))), metrics(&without));
}

#[test]
fn where_every_row_trains_nothing_is_measured_and_the_report_says_so() {
    let rows = (0..11).map(|item| format!("u{},i{item},{item}\n", item % 2 + 1));
    let (root, file) = in_folder("");
    let (log, data) = (root.path().join("log.csv"), root.path().join("data"));
    fs::write(&log, format!("user_id,item_id,timestamp\n{}", rows.collect::<String>())).unwrap();
    ok(&mut rankstill(&["prepare", text(&log), "--all", "--quiet", "--out", text(&data)]));
    let counts = json(&data.join("manifest.json"))["counts"].clone();
    assert_eq!((&counts["train"], &counts["test"]), (&11.into(), &0.into()));
    let out = root.path().join("run");
    let args = ["train", "--model", "pop", "--data", text(&data), "--out", text(&out), "--quiet"];
    ok(&mut rankstill(&args));
    let report = json(&out.join("report.json"));
    assert_eq!(report["cases"], 0);
    assert!(report["notes"].to_string().contains("Nothing is measured"), "{report}");
    assert_eq!(report["models"][0]["metrics"], Value::Object(serde_json::Map::new()));
    assert!(out.join("models/pop/seed-1/artefact/manifest.json").is_file());

    let both = ["prepare", text(&log), "--all", "--set", "split.kind=random", "--out", "x"];
    assert!(error(&both).contains("with --all there is no split"), "{}", error(&both));
    fs::write(
        &file,
        format!(
            "[data]\npath = {data:?}\n[evaluate]\nfit_on = \"all\"\n[models.P]\nkind = \"pop\"\n"
        ),
    )
    .unwrap();
    let refused = error(&["run", text(&file), "--out", text(&root.path().join("second"))]);
    assert!(refused.contains("evaluate.fit_on: every row trains already"), "{refused}");
}
