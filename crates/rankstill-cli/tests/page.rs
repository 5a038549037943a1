//! The page for people: complete after a run, the same when made again, and made of whatever an older run holds.
#![allow(clippy::unwrap_used)]

mod common;

use common::{error, in_folder, ok, rankstill, text};
use serde_json::Value;
use std::fs;
use std::path::Path;

const EXPERIMENT: &str = r#"
name = "A <page>"
[data]
simulate = { interactions = 4000 }
[evaluate]
metrics = ["ndcg@10", "recall@20", "coverage@10"]
latency_seconds = 0.05
[models.POP]
kind = "pop"
[models.ItemCF]
kind = "item_cf"
[models.Ensemble]
kind = "ensemble"
members = ["POP", "ItemCF"]
fusion = { kind = "reciprocal_rank", select = 4 }
[models."MF<b>"]
kind = "bpr_mf"
dim = 8
item_bias = false
train = { epochs = 6, batch_size = 64, patience = 0 }
[models."MF<b>/KD"]
like = "MF<b>"
distill = { kind = "rrd", mode = "direct", k = 20, teachers = ["Ensemble"] }
[models."MF<b>/KD/int4"]
like = "MF<b>/KD"
compress = { kind = "int", bits = 4 }
"#;

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Titles of the first items of the simulator, one of them hostile.
fn titles(path: &Path) {
    let rows: String = (0..3000).map(|item| format!("{item}\tFilm <i>{item}</i>\n")).collect();
    fs::write(path, format!("item_id\ttitle\n{rows}")).unwrap();
}

#[test]
fn a_run_leaves_a_page_that_is_made_again_byte_for_byte() {
    let (root, file) = in_folder(EXPERIMENT);
    let (out, items) = (root.path().join("run"), root.path().join("films.tsv"));
    titles(&items);
    let named = format!("data.items={}", text(&items));
    let run = ["run", text(&file), "--quiet", "--out", text(&out), "--set", &named];
    ok(&mut rankstill(&run));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for part in [
        "What quality costs",
        "Quality",
        "What each teacher adds",
        "Time and bytes",
        "Who gains and who loses",
        "Agreement of lists",
        "Users side by side",
        "Data and audit",
        "Settings and commands",
        "A &lt;page&gt;",
        "MF&lt;b&gt;/KD",
        "Film &lt;i&gt;",
        "The best student is MF&lt;b&gt;/KD (rrd, taught by Ensemble)",
        "models/MF-b--KD/seed-1/artefact",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert!(!page.contains("<b>/") && !page.contains("<i>") && !page.contains("<script"));

    let details = &json_of(&out.join("report.json"))["details"];
    assert_eq!(details["users"].as_array().unwrap().len(), 10);
    assert_eq!(details["shown"], serde_json::json!(["Ensemble", "MF<b>/KD"]));
    assert_eq!(details["missing"], serde_json::json!([]));
    let interval = &details["intervals"]["POP"]["ndcg@10"];
    let mean = |low: &str| interval[low].as_f64().unwrap();
    assert!(mean("low") < mean("high") && mean("low") >= 0.0, "{interval}");
    assert!(details["intervals"]["POP"].get("coverage@10").is_none(), "it has no value for a user");
    let agreement = details["agreement"].as_array().unwrap();
    let models: Vec<&str> = agreement.iter().map(|one| one["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["MF<b>", "MF<b>/KD", "MF<b>/KD/int4"]);
    let share = |at: usize| agreement[at]["value"]["mean"].as_f64().unwrap();
    assert!(
        share(1) > share(0) && share(1) <= 1.0,
        "who was taught lists more alike: {agreement:?}"
    );
    let groups = details["gains"].as_array().unwrap().iter().map(|one| one["group"].as_str());
    let groups: Vec<&str> = groups.flatten().collect();
    assert!(
        groups.starts_with(&["popular items", "unpopular items", "active users"]),
        "{groups:?}"
    );
    assert_eq!(details["data"]["filters"][0]["filter"], "as read");

    let again = ok(&mut rankstill(&["report", text(&out)]));
    assert!(again.trim_end().ends_with("report.html"), "{again}");
    assert_eq!(fs::read_to_string(out.join("report.html")).unwrap(), page);
    let printed = ok(&mut rankstill(&["report", text(&out), "--json", "--quiet"]));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed, json_of(&out.join("report.json")));
    assert!(!out.join(".rankstill-lock").exists());
}

#[test]
fn a_page_is_made_of_what_an_older_run_still_holds() {
    let (root, file) = in_folder(EXPERIMENT);
    let (out, items) = (root.path().join("run"), root.path().join("films.tsv"));
    ok(&mut rankstill(&["run", text(&file), "--quiet", "--seeds", "1,2", "--out", text(&out)]));
    // As an earlier version left it.
    let report = out.join("report.json");
    let mut old = json_of(&report);
    old.as_object_mut().unwrap().remove("details");
    fs::write(&report, old.to_string()).unwrap();
    fs::remove_file(out.join("report.html")).unwrap();
    titles(&items);
    let elsewhere = root.path().join("page.html");
    let made = ["report", text(&out), "--out", text(&elsewhere), "--items", text(&items)];
    ok(&mut rankstill(&made));
    assert!(!out.join("report.html").exists());
    let page = fs::read_to_string(&elsewhere).unwrap();
    assert!(page.contains("Film &lt;i&gt;") && page.contains("over the seeds"), "{page}");

    fs::remove_dir_all(out.join("data")).unwrap();
    let output = rankstill(&["report", text(&out)]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("what needs the data set"), "{said}");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("Not shown: what needs the data set"), "{page}");
    assert!(page.contains("What quality costs") && !page.contains("side by side"), "{page}");

    fs::remove_dir_all(out.join("models")).unwrap();
    ok(&mut rankstill(&["report", text(&out), "--quiet"]));
    let message = error(&["report", text(root.path())]);
    assert!(message.contains("report.json") && message.contains("a finished run"), "{message}");
}

#[test]
fn a_file_of_titles_that_cannot_be_read_is_refused_before_any_work() {
    let (root, file) = in_folder(EXPERIMENT);
    let (out, items) = (root.path().join("run"), root.path().join("films.tsv"));
    let named = format!("data.items={}", text(&items));
    let message = error(&["run", text(&file), "--quiet", "--out", text(&out), "--set", &named]);
    assert!(message.contains("data.items") && message.contains("films.tsv"), "{message}");
    assert!(!out.exists());
}
