//! What quality costs: ensembles that choose their members, models that are compressed after training, students that teach
//! themselves, and the chart of it all.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_same, error, in_folder, lasting, ok, rankstill, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const EXPERIMENT: &str = r#"
[data]
simulate = { interactions = 4000 }
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0.05
[models.POP]
kind = "pop"
[models.ItemCF]
kind = "item_cf"
[models.Ensemble]
kind = "ensemble"
members = ["POP", "ItemCF", "MF"]
fusion = { kind = "reciprocal_rank", select = 6, debias = 0.05 }
[models.MF]
kind = "bpr_mf"
dim = 8
item_bias = false
train = { epochs = 6, batch_size = 64, patience = 0 }
[models."MF/KD"]
like = "MF"
distill = { kind = "margin_mse", teachers = ["Ensemble"] }
[models."MF/self"]
like = "MF"
distill = { kind = "rrd", mode = "direct", teachers = ["self"], self_teaching = { warm_up = 2, every = 2, average = 0.5 } }
[models."MF/int4"]
like = "MF"
compress = { kind = "int", bits = 4 }
[models."MF/KD/int4"]
like = "MF/KD"
compress = { kind = "int", bits = 4 }
[models."MF/pq2"]
like = "MF"
compress = { kind = "pq", parts = 2, centres = 16 }
"#;

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_run_with_compressed_models_has_a_chart_and_repeats_to_the_byte() {
    let (root, file) = in_folder(EXPERIMENT);
    let run = |name: &str, more: &[&str]| {
        let out = root.path().join(name);
        ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]).args(more));
        out
    };
    let (one, two) = (run("one", &["--threads", "1"]), run("two", &["--threads", "3"]));
    let kept = |out: &Path| {
        let mut files = lasting(out);
        files.retain(|name, _| !name.starts_with("frontier"));
        files
    };
    assert_same(&kept(&one), &kept(&two), "threads");

    let report = json_of(&one.join("report.json"));
    let row = |name: &str| -> &Value {
        report["models"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
    };
    for (name, family, role) in [
        ("Ensemble", "ensemble", "teacher"),
        ("MF/KD", "distilled", "distilled"),
        ("MF/self", "distilled", "distilled"),
        ("MF/int4", "int", "compressed"),
        ("MF/KD/int4", "distilled, then int4", "compressed"),
        ("MF/pq2", "pq", "compressed"),
    ] {
        assert_eq!(
            (&row(name)["family"], &row(name)["role"]),
            (&json!(family), &json!(role)),
            "{name}"
        );
    }
    assert_eq!(row("MF/self")["teachers"], json!(["self"]));
    let bytes = |name: &str| row(name)["bytes_per_item"].as_f64().unwrap();
    let (exact, coded) = (bytes("MF"), bytes("MF/int4"));
    assert!((exact - 32.0).abs() < 0.1 && (8.0..10.0).contains(&coded), "{exact} {coded}");
    assert!((row("MF/int4")["bytes_per_user"].as_f64().unwrap() - 32.0).abs() < 0.1);

    let table = fs::read_to_string(one.join("frontier.tsv")).unwrap();
    assert_eq!(table.lines().count(), 1 + report["models"].as_array().unwrap().len());
    assert!(fs::read_to_string(one.join("frontier.svg")).unwrap().contains("bytes an item"));
    assert!(fs::read_to_string(one.join("report.md")).unwrap().contains("frontier.svg"));

    // What was chosen is kept, is at least as good as the best member, and says what each one adds.
    let chosen = json_of(&one.join("models/Ensemble/seed-1/selection.json"));
    let alone = chosen["alone"].as_array().unwrap();
    let best = alone.iter().map(|value| value.as_f64().unwrap()).fold(0.0, f64::max);
    assert!(chosen["value"].as_f64().unwrap() >= best, "{chosen}");
    assert_eq!(chosen["rounds"].as_array().unwrap().len(), 6);
    let asked = ["POP", "ItemCF", "MF"].into_iter().zip(chosen["weights"].as_array().unwrap());
    let asked = asked.filter(|(_, weight)| **weight != 0).map(|(name, _)| bytes(name)).sum::<f64>();
    assert!((bytes("Ensemble") - asked).abs() < 1e-9, "members that are not asked take no memory");
    assert!(fs::read_to_string(one.join("report.md")).unwrap().contains("without it"));

    // A compressed model is a model like any other.
    let lists = root.path().join("lists.tsv");
    let artefact = one.join("models/MF-int4/seed-1/artefact");
    ok(&mut rankstill(&["recommend", text(&artefact), "--all", "--quiet", "--out", text(&lists)]));
    assert!(fs::read_to_string(&lists).unwrap().lines().count() > 100);

    // Fitted on every row in the end, like the others.
    let all = run("all", &["--set", "evaluate.fit_on=all"]);
    for model in ["MF-int4", "MF-KD-int4"] {
        let manifest =
            json_of(&all.join("models").join(model).join("seed-1/artefact/manifest.json"));
        assert_eq!(manifest["card"]["fitted_on"], "all");
    }
}

#[test]
fn what_cannot_be_compressed_or_taught_is_refused_before_any_work() {
    let (root, file) = in_folder("");
    let out = root.path().join("out");
    let refused = |more: &str| {
        fs::write(&file, format!("{EXPERIMENT}{more}")).unwrap();
        let message = error(&["run", text(&file), "--quiet", "--out", text(&out)]);
        assert!(!out.join("models").exists());
        message
    };
    let message = refused("[models.X]\nlike = \"Ensemble\"\ncompress = { kind = \"int\" }\n");
    assert!(message.contains("models.X.like: `Ensemble` is an ensemble"), "{message}");
    let message = refused("[models.X]\nlike = \"MF\"\ndim = 3\ncompress = { kind = \"int\" }\n");
    assert!(message.contains("models.X.dim: a compressed model has `like`"), "{message}");
    let message = refused("[models.X]\nlike = \"MF\"\ncompress = { kind = \"zip\" }\n");
    assert!(
        message.contains("models.X.compress.kind: unknown kind `zip`; one of: int"),
        "{message}"
    );
    let unfit = "[models.X]\nlike = \"ItemCF\"\ncompress = { kind = \"int\" }\n";
    fs::write(&file, format!("{EXPERIMENT}{unfit}")).unwrap();
    let message = error(&["run", text(&file), "--quiet", "--out", text(&root.path().join("fits"))]);
    assert!(
        message.contains("models.X.compress: this model's scores are not products"),
        "{message}"
    );
    let message = refused("[models.X]\nlike = \"MF/int4\"\ncompress = { kind = \"int\" }\n");
    assert!(message.contains("models.X.like: `MF/int4` is compressed already"), "{message}");
    let message =
        refused("[models.X]\nlike = \"MF\"\ndistill = { kind = \"de\", teachers = [\"self\"] }\n");
    assert!(message.contains("a student can teach itself by its rankings only"), "{message}");
    let message =
        refused("[models.X]\nlike = \"MF/KD\"\ndistill = { self_teaching = { warm_up = 1 } }\n");
    assert!(
        message.contains("models.X.distill.self_teaching: is for teachers = [\"self\"]"),
        "{message}"
    );
    let message =
        refused("[models.X]\nkind = \"ensemble\"\nmembers = [\"MF\"]\nfusion = { select = -1 }\n");
    assert!(message.contains("models.X.fusion.select"), "{message}");
}
