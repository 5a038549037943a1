//! Users and items that no model was trained on, as `global_time` leaves them: in the table, in lists on disk, over HTTP.
#![allow(clippy::unwrap_used)]

mod common;
#[cfg(feature = "serve")]
#[path = "common/server.rs"]
mod server;

use common::{ok, rankstill, text};
use rankstill::core::Vocab;
use rankstill::core::registry::Entry;
use rankstill::data::{ReadOptions, read_rankings};
use rankstill::models::MODELS;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The first time of validation and of test.
const FROM: [i64; 2] = [1_000, 2_000];

/// 4 blocks of 12 users and 10 items, of which every user takes all but one, and that one in validation. Then strangers, two of each
/// kind for each block: those with `late` in their name take three items of a block in validation and three others in test; those
/// with `new` come in test alone. Item `fresh` is first seen in validation, item `fresher` in test.
fn log() -> String {
    let mut log = "user_id,item_id,timestamp\n".to_owned();
    let mut time = 0;
    let mut add = |user: &str, item: &str, from: i64| {
        time += 1;
        writeln!(log, "{user},{item},{}", from + time % 1_000).unwrap();
    };
    for user in 0..48 {
        let (block, own) = (user / 12, user % 12 % 10);
        for item in (0..10).map(|i| (i + user) % 10).filter(|item| *item != own) {
            add(&format!("old{user}"), &format!("i{}", 10 * block + item), 0);
        }
    }
    for user in 0..48 {
        let item = 10 * (user / 12) + user % 12 % 10;
        add(&format!("old{user}"), &format!("i{item}"), FROM[0]);
    }
    for block in 0..8 {
        let item = |item: u32| format!("i{}", 10 * (block % 4) + (item + block) % 10);
        let late = format!("late{block}");
        (0..3).for_each(|i| add(&late, &item(i), FROM[0]));
        add(&late, "fresh", FROM[0]);
        (3..6).for_each(|i| add(&late, &item(i), FROM[1]));
        (0..3).for_each(|i| add(&format!("new{block}"), &item(i), FROM[1]));
        add(&late, "fresher", FROM[1]);
    }
    add("old5", "i40", FROM[1]);
    add("old5", "fresh", FROM[1]);
    log
}

const WITH_HISTORY: &str = "cold-start users with a history";
const WITHOUT_HISTORY: &str = "cold-start users without a history";

/// Runs all these models in `root`, POP, and ensembles of them; returns the run's folder.
fn run<'a>(
    root: &Path,
    entries: impl Iterator<Item = &'a Entry<dyn rankstill::core::Recipe>>,
) -> PathBuf {
    let path = root.join("log.csv");
    fs::write(&path, log()).unwrap();
    let mut models: BTreeMap<&str, Value> = BTreeMap::new();
    for entry in entries {
        let mut settings: Value = serde_json::from_str(entry.small).unwrap();
        settings["kind"] = entry.name.into();
        models.insert(entry.name, settings);
    }
    models.insert("both", json!({"kind": "ensemble", "members": ["ease", "bpr_mf"]}));
    models.insert("nested", json!({"kind": "ensemble", "members": ["item_cf", "both"]}));
    let experiment = json!({
        "name": "strangers",
        "data": {
            "path": path,
            "split": {"kind": "global_time", "valid_from": FROM[0], "test_from": FROM[1]},
        },
        "evaluate": {
            "metrics": ["ndcg@10", "recall@10", "map", "mrr"],
            "latency_seconds": 0.0,
            "keep": 100,
        },
        "models": models,
    });
    let file = root.join("experiment.toml");
    fs::write(&file, toml::to_string(&experiment).unwrap()).unwrap();
    let out = root.join("run");
    let table = ok(&mut rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]));
    assert!(table.contains("cold-start users without a history: 8 of 17 cases"), "{table}");
    out
}

/// A group of the report, by its name: the number of its cases, and the metrics of each model.
fn group(report: &Value, name: &str) -> (u64, BTreeMap<String, BTreeMap<String, f64>>) {
    let groups = report["cold_start"].as_array().unwrap();
    let group = groups.iter().find(|group| group["name"] == name).unwrap();
    let means = |metrics: &Value| {
        let of =
            |(name, spread): (&String, &Value)| (name.clone(), spread["mean"].as_f64().unwrap());
        metrics.as_object().unwrap().iter().map(of).collect()
    };
    let models = group["models"].as_object().unwrap();
    let models = models.iter().map(|(model, metrics)| (model.clone(), means(metrics))).collect();
    (group["cases"].as_u64().unwrap(), models)
}

#[test]
fn no_model_answers_strangers_worse_than_popularity() {
    let root = tempfile::tempdir().unwrap();
    let out = run(root.path(), MODELS.iter());
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["cases"], 17);
    let trained = group(&report, "trained users");
    assert_eq!((trained.0, trained.1.len()), (1, MODELS.len() + 2));
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    for (name, exact) in [(WITH_HISTORY, false), (WITHOUT_HISTORY, true)] {
        let (cases, models) = group(&report, name);
        assert_eq!((cases, models.len()), (8, MODELS.len() + 2));
        assert!(page.contains(&format!("## Group: {name}")));
        let pop = &models["pop"];
        assert!(pop["ndcg@10"] > 0.0);
        for (model, metrics) in &models {
            for (metric, value) in metrics {
                let message = format!("{name}, {model}, {metric}: {value}, POP {}", pop[metric]);
                assert!(*value >= pop[metric], "{message}");
                assert!(!exact || *value == pop[metric], "{message}");
            }
        }
    }
    // The lists themselves.
    let ids = |of: fn(&str) -> &str| {
        let mut ids: Vec<String> = log().lines().skip(1).map(|row| of(row).to_owned()).collect();
        ids.sort_unstable();
        ids.dedup();
        Vocab::from_ids(ids).unwrap()
    };
    let (users, items) =
        (ids(|row| row.split(',').next().unwrap()), ids(|row| row.split(',').nth(1).unwrap()));
    let lists = |model: &str| {
        let path = out.join("models").join(model).join("seed-1/rankings.parquet");
        let found = read_rankings(&path, &users, &items, &ReadOptions::default()).unwrap();
        let list = |(row, &user): (usize, &u32)| {
            let list = found.rankings.items(row).iter().map(|&item| items.id(item).into_owned());
            (users.id(user).into_owned(), list.collect::<Vec<_>>())
        };
        found.users.iter().enumerate().map(list).collect::<BTreeMap<_, _>>()
    };
    let pop = lists("pop");
    assert_eq!(pop["new0"].len(), 40, "the whole catalogue but what nobody trained on");
    for model in MODELS.iter().map(|entry| entry.name).chain(["both", "nested"]) {
        for (user, list) in lists(model) {
            assert!(!list.iter().any(|item| item.starts_with("fresh") || item == "i40"), "{model}");
            assert!(!user.starts_with("new") || list == pop[&user], "{model} {user}: {list:?}");
        }
    }
}

#[test]
fn recommend_answers_strangers_by_popularity() {
    let root = tempfile::tempdir().unwrap();
    let few = ["pop", "bpr_mf", "ease", "item_cf"];
    let out = run(root.path(), MODELS.iter().filter(|entry| few.contains(&entry.name)));
    let lists = |model: &str| {
        let file = root.path().join("lists.jsonl");
        let artefact = out.join("models").join(model).join("seed-1/artefact");
        let args = ["--all", "--k", "100", "--quiet", "--out", text(&file)];
        ok(rankstill(&["recommend", text(&artefact)]).args(args));
        let mut lists: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in fs::read_to_string(&file).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let list = lists.entry(row["user_id"].as_str().unwrap().to_owned()).or_default();
            list.push(json!([row["item_id"], row["score"]]));
        }
        // The library answers the same.
        let loaded = rankstill::artefact::load(&artefact).unwrap();
        for user in ["new3", "late2", "old7"] {
            let found = loaded.recommend(user, 100).unwrap();
            let found: Vec<Value> = found.iter().map(|(item, x)| json!([item, x])).collect();
            let numbers = |list: &[Value]| {
                let pair = |row: &Value| (row[0].clone(), row[1].as_f64().unwrap() as f32);
                list.iter().map(pair).collect::<Vec<_>>()
            };
            assert_eq!(numbers(&found), numbers(&lists[user]), "{model} {user}");
        }
        lists
    };
    let (pop, bpr) = (lists("pop"), lists("bpr_mf"));
    assert_eq!(pop.len(), 48 + 16);
    for (user, list) in &bpr {
        let stranger = !user.starts_with("old");
        assert_eq!(list.len(), if stranger { 40 } else { 31 }, "{user}");
        assert_eq!(list == &pop[user], stranger, "{user}");
    }
}

#[cfg(feature = "serve")]
#[test]
fn over_http_strangers_are_popular_until_they_have_a_history() {
    use server::{Server, artefact, list};
    let root = tempfile::tempdir().unwrap();
    let few = ["pop", "bpr_mf", "implicit_als", "ease", "item_cf"];
    let out = run(root.path(), MODELS.iter().filter(|entry| few.contains(&entry.name)));
    let given = few.map(|name| format!("{name}={}", artefact(&out, name).display()));
    let server = Server::start(&given.each_ref().map(String::as_str));
    let mut connection = server.connect();
    let mut ask = |body: Value| {
        let (status, answer) = connection.post("/v1/recommendations", &body);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let pop = list(&ask(json!({"user": "nobody", "model": "pop", "k": 100})));
    assert_eq!(pop.len(), 40);
    for model in few {
        for user in ["new1", "late1"] {
            let answer = ask(json!({"user": user, "model": model, "k": 100}));
            assert_eq!(answer["basis"], "popular", "{model} {user}");
            assert_eq!(list(&answer), pop, "{model} {user}");
            // What nobody trained on says nothing about a user.
            let body = json!({"user": user, "history": ["fresh"], "model": model, "k": 100});
            let fresh = ask(body);
            assert_eq!((&fresh["basis"], list(&fresh)), (&json!("popular"), pop.clone()));
            // Block 1 is items 10 to 19.
            let history = json!(["i11", "fresh", "i12", "i13"]);
            let answer = ask(json!({"user": user, "history": history, "model": model, "k": 37}));
            assert_eq!(answer["basis"], "history", "{model} {user}");
            let named = ask(json!({"history": ["i11", "i12", "i13"], "model": model, "k": 37}));
            assert_eq!(list(&answer), list(&named), "{model} {user}");
            assert!(list(&answer).iter().all(|(item, _)| !item.starts_with("fresh")));
            let own = list(&answer)
                .iter()
                .take(7)
                .filter(|(item, _)| item.len() == 3 && item.starts_with("i1"))
                .count();
            assert!(model == "pop" || own == 7, "{model} {user}: {own} of block 1");
        }
        let answer = ask(json!({"user": "old3", "model": model, "k": 100}));
        assert_eq!((&answer["basis"], list(&answer).len()), (&json!("user"), 31));
    }
    let (_, similar) = connection.get("/v1/items/i12/similar?k=100&model=bpr_mf");
    assert_eq!(list(&similar).len(), 39, "all other items that were trained");
    let (status, similar) = connection.get("/v1/items/fresh/similar?model=bpr_mf");
    assert_eq!((status, list(&similar).len()), (200, 0));
}
