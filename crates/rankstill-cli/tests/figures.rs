//! Figures of an experiment, as files.
#![allow(clippy::unwrap_used)]

mod common;

use common::{in_folder, ok, rankstill, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const EXPERIMENT: &str = r#"
name = "small"
seeds = [1, 2]
[data]
simulate = { interactions = 6_000, seed = 3 }
filter = { user_core = 5 }
[evaluate]
metrics = ["ndcg@10", "map", "overlap@10"]
latency_seconds = 0.0
[models.T]
kind = "bpr_mf"
dim = 12
optimizer = { kind = "adam", learning_rate = 0.01 }
train = { epochs = 4, batch_size = 64 }
[models.S]
like = "T"
dim = 4
[models.RD]
like = "S"
distill = { kind = "rank_distil", teachers = ["T"], weighting = "position" }

[[figure]]
name = "alpha"
models = ["RD"]
levels = ["S", "T"]
vary = ["distill.alpha"]
values = [0.0, 0.5, 1.0]
y = ["map", "ndcg@10"]

[[figure]]
name = "size"
models = ["S", "RD"]
vary = ["dim"]
values = [2, 4]
scale = "even"
bars = true

[[figure]]
name = "teacher"
models = ["RD"]
vary = ["models.T.dim"]
values = [6, 12]
x = "value"

[[figure]]
name = "data"
models = ["T"]
vary = ["data.sample.share"]
values = [0.5, 1.0]
x = "interactions"

[[figure]]
name = "weights"
models = ["RD"]
vary = ["distill.weighting"]
values = ["uniform", "position"]

[[figure]]
name = "epochs"
models = ["S", "RD"]
x = "epoch"
epochs = 5
every = 2
y = ["map", "validation map", "loss"]
"#;

fn experiment() -> (tempfile::TempDir, PathBuf) {
    in_folder(EXPERIMENT)
}

type Row = BTreeMap<String, String>;

fn rows(out: &Path, figure: &str) -> Vec<Row> {
    let table = fs::read_to_string(out.join(format!("figures/{figure}.tsv"))).unwrap();
    let mut lines = table.lines().map(|line| line.split('\t').map(str::to_owned));
    let head: Vec<String> = lines.next().unwrap().collect();
    lines.map(|line| head.iter().cloned().zip(line).collect()).collect()
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

fn figures(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(out.join("figures")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file());
    files
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect()
}

#[test]
fn figures_hold_the_values_of_separate_runs() {
    let (root, file) = experiment();
    let out = root.path().join("run");
    ok(&mut rankstill(&["run", text(&file), "--out", text(&out), "--quiet"]));
    let report: Value =
        serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    let mean = |report: &Value, model: usize, metric: &str| {
        report["models"][model]["metrics"][metric]["mean"].as_f64().unwrap()
    };
    assert_eq!(report["figures"].as_array().unwrap().len(), 6);
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("![alpha](figures/alpha.svg)") && page.contains("of teacher"), "{page}");
    let ratio = |model: usize| report["models"][model]["parameters_ratio"].as_f64().unwrap();
    assert_eq!((ratio(0), ratio(1), ratio(2)), (1.0, 1.0 / 3.0, 1.0 / 3.0));

    let alpha = rows(&out, "alpha");
    assert_eq!(alpha.len(), 3 + 2);
    // At 0 the student is not distilled, down to the last bit. At 0.5 it is the experiment's own.
    assert_eq!(number(&alpha[0], "map"), mean(&report, 1, "map"));
    assert_eq!(number(&alpha[1], "map"), mean(&report, 2, "map"));
    assert_eq!(number(&alpha[1], "ndcg@10"), mean(&report, 2, "ndcg@10"));
    assert_eq!(
        (number(&alpha[3], "map"), number(&alpha[4], "map")),
        (mean(&report, 1, "map"), mean(&report, 0, "map"))
    );
    assert!(number(&alpha[2], "map deviation") > 0.0 && alpha[2]["seeds"] == "2");

    // A separate run with this setting has the same value.
    let other = root.path().join("other");
    let set = [
        "--set",
        "figure=[]",
        "--set",
        "models.RD.distill.alpha=1.0",
        "--set",
        "models.T.dim=6",
        "--set",
        "data.sample.share=0.5",
    ];
    ok(rankstill(&["run", text(&file), "--out", text(&other), "--quiet"]).args(&set[..4]));
    let read = |out: &Path| -> Value {
        serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap()
    };
    assert_eq!(number(&alpha[2], "map"), mean(&read(&other), 2, "map"));
    let third = root.path().join("third");
    ok(rankstill(&["run", text(&file), "--out", text(&third), "--quiet"])
        .args(&set[..2])
        .args(&set[4..6]));
    let teacher = rows(&out, "teacher");
    assert_eq!(
        number(&teacher[0], "ndcg@10"),
        mean(&read(&third), 2, "ndcg@10"),
        "another teacher"
    );
    assert_eq!(number(&teacher[1], "ndcg@10"), mean(&report, 2, "ndcg@10"));
    let half = root.path().join("half");
    ok(rankstill(&["run", text(&file), "--out", text(&half), "--quiet"])
        .args(&set[..2])
        .args(&set[6..]));
    let data = rows(&out, "data");
    assert_eq!(number(&data[0], "ndcg@10"), mean(&read(&half), 0, "ndcg@10"));
    assert_eq!(number(&data[1], "ndcg@10"), mean(&report, 0, "ndcg@10"));
    assert!(number(&data[0], "interactions") < 0.6 * number(&data[1], "interactions"));

    let size = rows(&out, "size");
    assert_eq!(2.0 * number(&size[0], "parameters"), number(&size[1], "parameters"));
    assert_eq!(number(&size[3], "ndcg@10"), mean(&report, 2, "ndcg@10"));
    let svg = fs::read_to_string(out.join("figures/size.svg")).unwrap();
    assert_eq!(svg.matches("<rect").count(), 1 + 4, "one bar per point");
    assert_eq!(number(&rows(&out, "weights")[1], "ndcg@10"), mean(&report, 2, "ndcg@10"));

    let epochs = rows(&out, "epochs");
    let at: Vec<&str> = epochs.iter().map(|row| row["epoch"].as_str()).collect();
    assert_eq!(at, ["2", "4", "5", "2", "4", "5"]);
    assert!(
        epochs.iter().all(|row| number(row, "loss") > 0.0 && number(row, "validation map") > 0.0)
    );
    // The values after 4 epochs are those of a run of 4 epochs without early stopping.
    let last = root.path().join("last");
    let four = ["--set", "models.S.train={epochs=4,batch_size=64,patience=0}"];
    ok(rankstill(&["run", text(&file), "--out", text(&last), "--quiet"])
        .args(&set[..2])
        .args(four));
    assert_eq!(number(&epochs[1], "map"), mean(&read(&last), 1, "map"));
    assert_eq!(number(&epochs[4], "map"), mean(&read(&last), 2, "map"));

    // A model that does not depend on the value is not fitted again.
    let fitted = |path: &str| out.join("figures").join(path).exists();
    assert!(
        fitted("alpha/0.0/RD/seed-2/artefact") && !fitted("alpha/0.5/RD") && !fitted("alpha/0.0/T")
    );
    assert!(fitted("teacher/6/T/seed-1/artefact") && !fitted("teacher/12/T"));

    // The same bytes when repeated, and on other threads.
    let before = figures(&out);
    assert_eq!(before.len(), 12);
    ok(&mut rankstill(&["run", text(&file), "--out", text(&out), "--quiet"]));
    assert_eq!(before, figures(&out));
    let threads = root.path().join("threads");
    ok(&mut rankstill(&["run", text(&file), "--out", text(&threads), "--quiet", "--threads", "3"]));
    assert_eq!(before, figures(&threads));
}

#[test]
fn errors_in_a_figure_are_reported_before_any_work() {
    let (root, file) = experiment();
    let out = root.path().join("out");
    let figure = |body: &str| format!("figure=[{{name=\"f\",models=[\"RD\"],{body}}}]");
    for (set, expected) in [
        (figure("vary=[\"distill.alpha\"],values=[0.1],xx=1"), "figure[0].xx: unknown field `xx`"),
        (
            figure("vary=[\"distill.alpha\"],values=[1.5]"),
            "figure.f: value 1.5: models.RD.distill.alpha: is 1.5, must be between 0 and 1",
        ),
        (figure("vary=[\"distill.alfa\"],values=[0.1]"), "unknown field `alfa`, expected one of"),
        (figure("vary=[\"distill.alpha\"],values=[]"), "figure.f.values: is empty"),
        (figure("values=[1]"), "figure.f.vary: is empty"),
        (
            figure("vary=[\"dim\"],values=[1],y=[\"mrr\"]"),
            "figure.f.y: `mrr` is not in evaluate.metrics, which has ndcg@10, map",
        ),
        (
            figure("vary=[\"dim\"],values=[1],levels=[\"X\"]"),
            "figure.f: no model `X`; the models are T, S, RD",
        ),
        (
            figure("vary=[\"data.split.train\"],values=[0.5]"),
            "only settings of models and of data.sample can be varied",
        ),
        (
            figure("vary=[\"data.sample.share\"],values=[0.5, 0.0]"),
            "data.sample.share: must be above 0 and at most 1, is 0",
        ),
        (
            figure("vary=[\"distill.weighting\"],values=[\"uniform\"],scale=\"log\""),
            "figure.f.scale: some values are not numbers",
        ),
        (figure("x=\"epoch\""), "figure.f.epochs: is missing"),
    ] {
        let args = ["run", text(&file), "--quiet", "--out", text(&out), "--set", &set];
        let output = rankstill(&args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{set} should have failed");
        assert!(
            error.contains(expected) && !error.contains("panicked"),
            "{set}\nexpected {expected}\nfound {error}"
        );
        assert!(!out.join("models").exists(), "{set} trained something");
        _ = fs::remove_dir_all(&out);
    }
}

#[test]
fn an_experiment_builds_on_another() {
    let (root, file) = experiment();
    let over = root.path().join("over.toml");
    let own = "base = \"small.toml\"\nonly = [\"RD b\", \"T\", \"S\"]\nfigure = []\nseeds = [1]\n\
               [models.\"RD b\"]\nlike = \"RD\"\ndistill = { weighting = \"uniform\" }\n";
    fs::write(&over, own).unwrap();
    let out = root.path().join("out");
    ok(&mut rankstill(&[
        "run",
        text(&over),
        "--quiet",
        "--out",
        text(&out),
        "--set",
        "models.T.dim=6",
    ]));
    let resolved: Value =
        toml::from_str(&fs::read_to_string(out.join("experiment.toml")).unwrap()).unwrap();
    let models: Vec<&String> = resolved["models"].as_object().unwrap().keys().collect();
    assert_eq!(models, ["RD b", "T", "S"]);
    assert_eq!(
        (&resolved["models"]["T"]["dim"], &resolved["models"]["T"]["train"]["epochs"]),
        (&6.into(), &4.into())
    );
    assert_eq!(resolved["data"]["filter"]["user_core"], 5);
    fs::write(&over, "base = \"over.toml\"\n").unwrap();
    let output = rankstill(&["run", text(&over), "--quiet", "--out", text(&out)]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("base: leads in a circle"));
    _ = file;
}
