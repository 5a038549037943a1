//! The commands around a run, as a user runs them: `recommend`, `evaluate`, `distill`, `compare`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{error, experiment, in_folder, ok, rankstill, text};
use serde_json::Value;
use std::fs;
use std::path::Path;

#[test]
fn recommend_writes_the_rankings_that_were_evaluated() {
    let (root, file) = experiment();
    let out = root.path().join("run");
    let both = ["--set", "evaluate.fit_on=train+valid"]; // so that exactly the interactions that a model was fitted on are masked
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
fn recommendations_are_written_in_parts_and_missing_parts_are_added() {
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
    fs::write(part(1), "written by another machine\n").unwrap();
    ok(&mut recommend("ItemCF", "lists.tsv", &["--shards", "3"]));
    assert_eq!(
        fs::read(part(1)).unwrap(),
        b"written by another machine\n",
        "an existing part is kept"
    );
    fs::remove_file(part(1)).unwrap();
    ok(&mut recommend("ItemCF", "lists.tsv", &["--shards", "3"]));
    assert_eq!(fs::read(part(2)).unwrap(), second);
    let lines = |path: &Path| -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect()
    };
    let together: Vec<String> = (1..=3).flat_map(|i| lines(&part(i))).collect();
    assert_eq!(together, lines(&root.path().join("whole.tsv")));
    let mut mixed = recommend("POP", "lists.tsv", &["--shards", "3"]);
    let message = String::from_utf8(mixed.output().unwrap().stderr).unwrap();
    assert!(
        message.contains("lists.tsv.parts.json") && message.contains("another model"),
        "{message}"
    );
}

#[test]
fn histories_of_a_log_are_recommended_to_whoever_they_are() {
    let (root, file) = experiment();
    let run = root.path().join("run");
    let only = ["--set", "models={ItemCF={kind=\"item_cf\"}}"];
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&run)]).args(only));
    let folder = run.join("models/ItemCF/seed-1/artefact");
    let known = rankstill::artefact::load(&folder).unwrap().artefact;
    let (log, out) = (root.path().join("log.tsv"), root.path().join("lists.tsv"));
    let mut rows = String::from("user_id\titem_id\n");
    for user in 0..known.users.len() as u32 {
        for &item in known.history.history(user) {
            rows += &format!("somebody like {}\t{}\n", known.users.id(user), known.items.id(item));
        }
    }
    fs::write(&log, rows.clone() + "nobody\tnothing\n").unwrap();
    let recommend = |more: &[&str], out: &Path| {
        let mut command = rankstill(&["recommend", text(&folder), "--out", text(out)]);
        command.args(more).output().unwrap()
    };
    let lines = |path: &Path| fs::read_to_string(path).unwrap();
    let whole = root.path().join("whole.tsv");
    assert!(recommend(&["--all"], &whole).status.success());
    let histories = ["--histories", text(&log)];
    let output = recommend(&histories, &out);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("1 rows are on items that"), "{said}");
    let anonymous = lines(&out).replace("somebody like ", "");
    let (of_nobody, of_others): (Vec<&str>, Vec<&str>) =
        anonymous.lines().partition(|line| line.starts_with("nobody\t"));
    assert_eq!(
        of_others.join("\n"),
        lines(&whole).trim_end(),
        "a history is all that ItemCF reads"
    );
    assert_eq!(of_nobody.len(), 10, "without a history, the most popular items");
    for i in ["1/2", "2/2"] {
        assert!(recommend(&[&histories[..], &["--shard", i]].concat(), &out).status.success());
    }
    let part = |i| lines(&root.path().join(format!("lists-0000{i}-of-00002.tsv")));
    let second = part(2);
    assert_eq!(part(1) + second.split_once('\n').unwrap().1, lines(&out));
    fs::write(&log, rows).unwrap();
    let refused = recommend(&[&histories[..], &["--shard", "1/2"]].concat(), &out);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("other users"), "{said}");
    assert!(!recommend(&histories, &log).status.success(), "would write over the log");
}

#[test]
fn a_student_learns_from_a_file_of_another_system_or_from_an_artefact() {
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
    let lists = root.path().join("lists.tsv");
    let artefact = first.join("models/item_cf/seed-1/artefact");
    ok(&mut rankstill(&[
        "recommend",
        text(&artefact),
        "--all",
        "--k",
        "50",
        "--quiet",
        "--out",
        text(&lists),
    ]));
    let args =
        ["distill", "--student", "bpr_mf", "--teacher", text(&lists), "--out", text(&second)];
    let settings = ["--set", "dim=8", "--set", "train.epochs=3", "--set", "distill.k=5"];
    ok(rankstill(&args).args(common).args(settings));
    let read = |run: &Path| -> Value {
        serde_json::from_str(&fs::read_to_string(run.join("report.json")).unwrap()).unwrap()
    };
    let report = read(&second);
    let student = &report["models"][1];
    assert_eq!(student["distiller"], "rrd", "list-wise where no method is named");
    assert_eq!(student["teachers"][0], "teacher lists");
    assert_eq!(report["settings"]["models"]["bpr_mf distilled"]["distill"]["k"], 5);

    // The artefact teaches through the same rankings.
    let direct = root.path().join("direct");
    let mut command = rankstill(&[&args[..4], &[text(&artefact), "--out", text(&direct)]].concat());
    ok(command.args(common).args(settings));
    let taught = read(&direct);
    assert_eq!(taught["models"][1]["teachers"][0], "teacher item_cf");
    assert_eq!(taught["models"][1]["metrics"], student["metrics"]);

    // Earlier rankings (here the final ones reversed) and the final ones are the states that a student learns from.
    let lines = fs::read_to_string(&lists).unwrap();
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
[models.Lists]
kind = "rankings"
path = [{earlier:?}, {lists:?}]
[models.MF]
kind = "bpr_mf"
dim = 8
train = {{ epochs = 6, patience = 0 }}
distill = {{ kind = "het_comp", teachers = ["Lists"], k = 10, period = 1, cutoff = 10 }}
"#
    ));
    let third = root.path().join("third");
    ok(&mut rankstill(&["run", common::text(&file), "--quiet", "--out", common::text(&third)]));
    let report = read(&third);
    assert_eq!(report["models"][1]["distiller"], "het_comp");
    assert!(report["models"][1]["metrics"]["ndcg@10"]["mean"].as_f64().unwrap() > 0.0);
}

#[test]
fn two_runs_are_compared_model_by_model() {
    let (root, file) = experiment();
    let run = |name: &str, models: &str| {
        let out = root.path().join(name);
        let args = ["run", text(&file), "--quiet", "--out", text(&out), "--set", models];
        ok(&mut rankstill(&args));
        out
    };
    let a = run("a", r#"only=["POP","ItemCF"]"#);
    let b = run("b", r#"only=["ItemCF","POP","SGD"]"#);
    let compared = ok(&mut rankstill(&["compare", text(&a), text(&b), "--json"]));
    let compared: Vec<Value> = serde_json::from_str(&compared).unwrap();
    let ndcg: Vec<&Value> = compared.iter().filter(|one| one["metric"] == "ndcg@10").collect();
    let model = |name: &str| (a.join("models").join(name), b.join("models").join(name));
    for (one, (ours, theirs)) in ndcg.iter().zip([model("ItemCF"), model("POP")]) {
        assert_eq!((&one["a"], &one["b"]), (&text(&ours).into(), &text(&theirs).into()));
        assert_eq!(one["difference"], 0.0);
    }
    assert_eq!(ndcg.len(), 2, "models of one run alone are left out");
    let mixed = error(&["compare", text(&a), text(&model("POP").1)]);
    assert!(mixed.contains("name a model of the run, as RUN/models/NAME: ItemCF, POP"), "{mixed}");
    let c = run("c", r#"only=["SGD"]"#);
    let apart = error(&["compare", text(&a), text(&c)]);
    assert!(apart.contains("the two runs have no model in common"), "{apart}");
}

#[test]
fn a_student_that_was_not_taught_is_not_called_distilled() {
    let (root, file) = in_folder(
        r#"
[data]
simulate = { interactions = 3_000, seed = 3 }
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0
[models.T]
kind = "bpr_mf"
dim = 8
train = { epochs = 3, batch_size = 64 }
[models.S]
kind = "bpr_mf"
dim = 4
train = { epochs = 4, batch_size = 64, validate_every = 1 }
[models."S/0"]
like = "S"
distill = { kind = "score_kd", teachers = ["T"], lambda = 0.0 }
"#,
    );
    let late = error(&[
        "run",
        text(&file),
        "--out",
        text(&root.path().join("late")),
        "--set",
        "models.\"S/0\".distill={kind=\"bd\", teachers=[\"T\"]}",
    ]);
    let expected = "models.S/0.distill: bd first teaches in epoch 51, after its warm-up, and train.epochs is 4";
    assert!(late.contains(expected), "{late}");
    let out = root.path().join("run");
    let printed = ok(&mut rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]));
    let warning =
        "S/0: the weight of what score_kd teaches is 0: it is the student alone, not distilled";
    assert!(printed.contains(&format!("warning: {warning}")), "{printed}");
    assert!(printed.contains("student, not taught") && !printed.contains("kept"), "{printed}");
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("**Warning: S/0:** the weight"), "{page}");
    let report: Value =
        serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    let student = &report["models"][2];
    assert_eq!((&student["role"], &student["kept"]), (&"untaught".into(), &serde_json::json!({})));
    assert!(student["warnings"][0].as_str().unwrap().contains("is 0"), "{student}");
    assert!(report["models"][1].get("warnings").is_none());
}

#[test]
fn a_teacher_that_ranks_few_users_says_so_and_its_file_has_options_of_reading() {
    let root = tempfile::tempdir().unwrap();
    let (log, few) = (root.path().join("log.csv"), root.path().join("few.txt"));
    let rows = (0..30).flat_map(|user| (0..8).map(move |n| (user, (user * 3 + n * n) % 40)));
    let rows: String = rows.map(|(user, item)| format!("{user},{item}\n")).collect();
    fs::write(&log, format!("user_id,item_id\n{rows}")).unwrap();
    fs::write(&few, "who;what;place\n0;39;1\n0;38;2\n1;37;1\n").unwrap();
    let distill = |out: &str, more: &[&str]| {
        let out = root.path().join(out);
        let args = ["distill", "--student", "bpr_mf", "--teacher", text(&few), "--out", text(&out)];
        let mut command = rankstill(&args);
        command.args(["--data", text(&log), "--set", "dim=4", "--set", "train.epochs=2"]);
        command.args(["--set", "evaluate.latency_seconds=0"]).args(more);
        (command, out)
    };
    let options = [
        "--format",
        "csv",
        "--set",
        "read.delimiter=;",
        "--set",
        "read.columns.user=who",
        "--set",
        "read.columns.item=what",
        "--set",
        "read.columns.time=place",
    ];
    let (mut command, out) = distill("taught", &options);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let warning = "`teacher few` ranks items for 2 of the 30 users with training interactions; the other 28 are not taught";
    assert!(said.contains(warning), "{said}");
    let report: Value =
        serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    // So few lists teach nothing: what training began with is the best.
    let warnings = report["models"][1]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].as_str().unwrap().contains("no epoch was better than what training began with")
    );
    assert_eq!(warnings[1], warning);
    assert_eq!(report["settings"]["models"]["teacher few"]["read"]["delimiter"], ";");
    let (mut command, _) = distill("guessed", &["--format", "csv", "--set", "read.delimiter=;"]);
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("models.\"teacher few\".read.columns.user=NAME"), "{said}");
}

#[test]
fn users_that_a_model_does_not_know_are_counted_and_passed_over() {
    let (root, file) = experiment();
    let out = root.path().join("run");
    let only = ["--set", "only=[\"POP\"]"];
    ok(rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]).args(only));
    let artefact = out.join("models/POP/seed-1/artefact");
    let (users, lists) = (root.path().join("users.txt"), root.path().join("lists.csv"));
    let recommend = |more: &[&str]| {
        let args = ["recommend", text(&artefact), "--k", "3", "--out", text(&lists)];
        let output = rankstill(&args).args(more).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let all = ["recommend", text(&artefact), "--k", "1", "--all", "--quiet", "--out", text(&lists)];
    ok(&mut rankstill(&all));
    let known = fs::read_to_string(&lists).unwrap();
    let known = known.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    fs::write(&users, format!("\u{feff}{known}\r\nnobody\n\nno one\n")).unwrap();
    let (done, said) = recommend(&["--users", text(&users)]);
    assert!(done && said.contains("2 of 3 ids are not among the"), "{said}");
    assert!(said.contains("such as `nobody`; they are passed over"), "{said}");
    assert_eq!(fs::read_to_string(&lists).unwrap().lines().count(), 1 + 3);
    fs::write(&users, "nobody\n").unwrap();
    let (done, said) = recommend(&["--users", text(&users)]);
    assert!(!done && said.contains("1 of 1 ids"), "{said}");
    let (done, said) = recommend(&["--user", &known, "--user", "nobody"]);
    assert!(!done && said.contains("user `nobody` is not among its"), "{said}");
}
