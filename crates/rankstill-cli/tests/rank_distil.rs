//! Every distiller, from a black box's lists to a matrix-factorisation student.
#![allow(clippy::unwrap_used)]

mod common;

use rankstill::core::kernel::rng::Rng;
use rankstill::core::registry::{self, Config};
use rankstill::core::train::train;
use rankstill::core::{
    Cases, Checkpointing, Distiller, Embedded, Factored, Factors, Fit, Interactions, ItemId, Lists,
    Model, Objective, Plan, Query, Ranker, Rankings, Result, TeacherRecipe, Tensors, TopK, Trace,
    Trainable, Watch,
};
use rankstill::distill::rank_distil::{ListLoss, StudentRanks, Weighting};
use rankstill::distill::{DISTILLERS, RankDistil, Recorded, trace};
use rankstill::models::BprMf;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

const USERS: usize = 120;
const ITEMS: usize = 150;

/// Tastes of four dimensions.
struct Tastes {
    users: Vec<f32>,
    items: Vec<f32>,
}

impl Tastes {
    fn drawn() -> Self {
        let vectors = |n: usize, purpose: u64| {
            let mut all = vec![0.0f32; n * 4];
            Rng::keyed(3, [purpose]).fill_normal(&mut all, 0.0, 1.0);
            all
        };
        Self { users: vectors(USERS, 1), items: vectors(ITEMS, 2) }
    }
}

impl Factored for Tastes {
    fn items(&self) -> Factors<'_> {
        Factors { data: &self.items, len: ITEMS, dim: 4, stride: 4 }
    }
    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, out) in queries.iter().zip(out.chunks_mut(4)) {
            out.copy_from_slice(&self.users[4 * query.user.unwrap() as usize..][..4]);
        }
    }
}

/// What every user thinks of every item.
fn tastes() -> Vec<Vec<(ItemId, f32)>> {
    let Tastes { users, items } = Tastes::drawn();
    let order = |user: &[f32]| {
        let dot = |item: &[f32]| user.iter().zip(item).map(|(a, b)| a * b).sum::<f32>();
        let mut scored: Vec<(ItemId, f32)> = (0..).zip(items.chunks(4).map(dot)).collect();
        scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        scored
    };
    users.chunks(4).map(order).collect()
}

/// A user has acted on six of the thirty items that she likes best.
fn log() -> Arc<Interactions> {
    let line = |(user, liked): (usize, Vec<(ItemId, f32)>)| {
        let places = Rng::keyed(4, [user as u64]).permutation(30);
        places[..6].iter().map(|&place| liked[place as usize].0).collect::<Vec<_>>()
    };
    let lines: Lists<ItemId> = tastes().into_iter().enumerate().map(line).collect();
    Arc::new(Interactions::new(ITEMS, lines, None, None).unwrap())
}

/// A system that knows the tastes, of which only its recorded lists are at hand.
fn teacher() -> Recorded {
    let mut lists = Rankings::default();
    tastes().into_iter().for_each(|liked| lists.push(liked.into_iter().take(60)));
    let users: Vec<u32> = (0..USERS as u32).collect();
    Recorded::new("oracle", ITEMS, &users, lists).unwrap()
}

fn student() -> BprMf {
    let train =
        Plan { epochs: 30, batch_size: 128, validate_every: 5, patience: 0, ..Plan::default() };
    BprMf { dim: 8, train, ..BprMf::default() }
}

fn recorded(cases: &Cases, distil: &dyn Distiller) -> Trace {
    let mut go_on = |_, _| ControlFlow::Continue(());
    let trace =
        trace::record("oracle", &teacher(), cases, distil.requires().lists, &mut go_on).unwrap();
    let ranks = trace::labelled_ranks(&teacher(), cases).unwrap();
    let trace = trace.with_labelled_ranks(ranks).unwrap();
    // A teacher that is trained together with the student is a larger student, not the oracle.
    let recipe = Arc::new(BprMf { dim: 16, ..student() });
    let trace = match distil.requires().recipe {
        false => trace,
        true => trace.with_recipe(TeacherRecipe { recipe, train: log(), seed: 5 }),
    };
    match distil.requires().vectors {
        false => trace,
        true => {
            let vectors = Embedded::new("oracle", &Tastes::drawn(), &cases.distinct_queries());
            trace.with_embedded(vectors.unwrap()).unwrap()
        }
    }
}

fn objective(
    distil: Option<&dyn Distiller>,
    log: &Interactions,
    cases: &Cases,
) -> Box<dyn Objective> {
    let own = student().objective(log);
    match distil {
        None => own,
        Some(distil) => distil.teach(own, cases, &[recorded(cases, distil)]).unwrap(),
    }
}

fn fit(distil: Option<&dyn Distiller>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
    let log = log();
    let recipe = student();
    let cases = recipe.cases(&log);
    let objective = objective(distil, &log, &cases);
    train(&recipe, &log, &cases, objective, fit)
}

fn fitted(distil: Option<&dyn Distiller>, seed: u64) -> Box<dyn Model> {
    fit(distil, &mut Fit::seeded(seed)).unwrap()
}

/// Mean share of the teacher's ten best unseen items that are among the student's.
fn overlap_at_10(model: &dyn Model) -> f64 {
    let log = log();
    let cases = Cases::per_user(&log);
    let top = TopK::unseen(10);
    let (ours, theirs) = (
        model.rank(&cases.queries(), &top).unwrap(),
        teacher().rank(&cases.queries(), &top).unwrap(),
    );
    let shared = |user: usize| {
        let list = theirs.items(user);
        ours.items(user).iter().filter(|item| list.contains(item)).count()
    };
    (0..USERS).map(shared).sum::<usize>() as f64 / (10 * USERS) as f64
}

#[test]
fn a_student_taught_by_a_black_box_agrees_with_it_more_than_one_that_is_not() {
    let alone = overlap_at_10(&*fitted(None, 1));
    for (loss, weighting, discrepancy) in [
        (ListLoss::PointWise, Weighting::Hybrid, StudentRanks::Sampled),
        (ListLoss::PairWise, Weighting::Hybrid, StudentRanks::Sampled),
        (ListLoss::PairWise, Weighting::Hybrid, StudentRanks::Exact),
        (ListLoss::PairWise, Weighting::Position, StudentRanks::Sampled),
    ] {
        let distil = RankDistil {
            loss,
            weighting,
            discrepancy,
            lambda: 10.0,
            warm_up: 5,
            epsilon: 20,
            ..RankDistil::paper()
        };
        let taught = overlap_at_10(&*fitted(Some(&distil), 1));
        println!("{loss:?} {weighting:?} {discrepancy:?}: {taught:.3}, alone {alone:.3}");
        assert!(taught > alone + 0.05, "{distil:?}: {taught:.3}, alone {alone:.3}");
    }
}

#[test]
fn so_does_one_that_any_other_method_teaches() {
    let alone = overlap_at_10(&*fitted(None, 1));
    for distil in other_methods() {
        let taught = overlap_at_10(&*fitted(Some(&*distil), 1));
        println!("{}: {taught:.3}, alone {alone:.3}", distil.config());
        assert!(taught > alone + 0.03, "{}: {taught:.3}, alone {alone:.3}", distil.config());
    }
}

/// With settings that suit this data.
fn other_methods() -> Vec<Box<dyn Distiller>> {
    let settings = [
        json!({"kind": "rrd", "k": 20, "l": 20, "window": 60, "lambda": 0.05}),
        json!({"kind": "rrd", "mode": "direct", "k": 20, "lambda": 0.05}),
        json!({"kind": "dcd", "k": 20, "l": 20, "window": 60, "corrected": 20, "lambda": 0.05, "refresh_every": 2}),
        json!({"kind": "unkd", "groups": 2, "depth": 60, "lambda": 1.0}),
        json!({"kind": "cd", "sampling": "exponential", "window": 60, "samples": 10, "lambda": 2.0, "refresh_every": 2}),
        json!({"kind": "rce_kd", "k": 20, "l": 20, "m": 2, "window": 60, "lambda": 5.0, "refresh_every": 2}),
        json!({"kind": "score_kd", "k": 30, "loss": "squares"}),
        json!({"kind": "ir_rrd", "k": 20, "l": 20, "window": 60, "lambda": 0.05, "item_lambda": 0.02}),
        json!({"kind": "dcd", "k": 20, "l": 20, "window": 60, "corrected": 20, "lambda": 0.05, "item_correction": 0.5}),
        // It teaches what vectors hold, not how items are ordered, so only a large weight shows here.
        json!({"kind": "de", "experts": 4, "lambda": 3.0, "anneal_epochs": 3, "optimizer": {"kind": "adam", "learning_rate": 0.03}}),
        json!({"kind": "ftd", "lambda": 0.01}),
        json!({"kind": "htd", "groups": 4, "lambda": 0.05, "anneal_epochs": 30}),
        json!({"kind": "several", "of": [
            {"kind": "de", "experts": 4, "lambda": 0.1, "anneal_epochs": 30},
            {"kind": "rrd", "k": 20, "l": 20, "window": 60, "lambda": 0.05},
        ]}),
    ];
    let parse = |value| registry::parse(DISTILLERS, Config { path: "distill", value }).unwrap().1;
    settings.iter().map(parse).collect()
}

/// Every method with the small settings of its entry, and further forms of some.
fn all_methods() -> Vec<Box<dyn Distiller>> {
    let form = |kind: &str, over: Value| {
        let entry = DISTILLERS.iter().find(|entry| entry.name == kind).unwrap();
        let mut settings: Value = serde_json::from_str(entry.small).unwrap();
        settings.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        (entry.parse)(Config { path: "distill", value: &settings }).unwrap()
    };
    let mut all: Vec<_> = DISTILLERS.iter().map(|entry| form(entry.name, json!({}))).collect();
    all.push(form("rank_distil", json!({"shared_samples": true})));
    all.push(form("rank_distil", json!({"discrepancy": "exact", "refresh_every": 2})));
    all.push(form("htd", json!({"gamma": 0.4})));
    all
}

/// Stops the training after this many steps.
struct StopAfter(usize);
impl Watch for StopAfter {
    fn step(&mut self, _: usize, _: usize, _: usize) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

#[test]
fn a_student_without_vectors_is_refused_by_methods_that_compare_them() {
    let log = log();
    let recipe = rankstill::models::NeuMf::default();
    let cases = recipe.cases(&log);
    let de = rankstill::distill::De::default();
    let objective = de.teach(recipe.objective(&log), &cases, &[recorded(&cases, &de)]).unwrap();
    let error =
        train(&recipe, &log, &cases, objective, &mut Fit::seeded(1)).err().unwrap().to_string();
    assert!(error.starts_with("distill: compares vectors, but this student's score"), "{error}");
}

#[test]
fn a_run_that_is_stopped_and_resumed_gives_the_same_bytes() {
    for distil in all_methods() {
        let whole = fitted(Some(&*distil), 7).tensors();
        let kept: RefCell<Option<(String, Tensors)>> = RefCell::new(None);
        let save = |position: &str, state: &Tensors| {
            *kept.borrow_mut() = Some((position.to_owned(), state.clone()));
            Ok(())
        };
        let load = || Ok(kept.borrow().clone());
        // Six steps an epoch: within epochs 1 and 3, and at the end of an epoch.
        for stop in [9, 12, 3] {
            let checkpoints =
                Some(Checkpointing { save: &save, load: &load, every: Duration::from_secs(3600) });
            let mut watch = StopAfter(stop);
            let stopped = fit(
                Some(&*distil),
                &mut Fit { watch: Some(&mut watch), checkpoints, ..Fit::seeded(7) },
            );
            assert!(matches!(stopped, Err(rankstill::core::Error::Interrupted)));
        }
        let checkpoints =
            Some(Checkpointing { save: &save, load: &load, every: Duration::from_secs(3600) });
        let resumed = fit(Some(&*distil), &mut Fit { checkpoints, ..Fit::seeded(7) });
        assert_eq!(resumed.unwrap().tensors(), whole, "{}", distil.config());
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for distil in all_methods() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fitted(Some(&*distil), 7).tensors())
        };
        let one = on(1);
        assert_eq!(one, on(2));
        assert_eq!(one, on(3));
        assert_ne!(one, fitted(None, 7).tensors(), "{} makes a difference", distil.config());
    }
}

/// An inline TOML value.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        number_or_text => number_or_text.to_string(),
    }
}

#[test]
fn every_instruction_set_with_fma_gives_the_same_bytes() {
    let mut experiment = r#"
name = "every method"
[data]
simulate = { interactions = 3_000, seed = 3 }
filter = { user_core = 5 }
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0.0
[trajectory]
every = 1
[models.T]
kind = "bpr_mf"
dim = 12
train = { epochs = 2, batch_size = 64 }
[models.S]
kind = "bpr_mf"
dim = 4
train = { epochs = 3, batch_size = 64 }
"#
    .to_owned();
    for entry in DISTILLERS {
        let mut settings: Value = serde_json::from_str(entry.small).unwrap();
        settings["kind"] = entry.name.into();
        settings["teachers"] = json!(["T"]);
        let (name, distill) = (entry.name, toml(&settings));
        experiment += &format!("[models.\"S/{name}\"]\nlike = \"S\"\ndistill = {distill}\n");
    }
    let (root, file) = common::in_folder(&experiment);
    let students = |isa: &str| {
        let out = root.path().join(isa);
        let args = ["run", common::text(&file), "--quiet", "--out", common::text(&out)];
        common::ok(common::rankstill(&args).env("RANKSTILL_ISA", isa));
        let mut folders: Vec<_> = std::fs::read_dir(out.join("models"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        folders.sort();
        let tensors = |folder: &std::path::PathBuf| {
            std::fs::read(folder.join("seed-1/artefact/tensors.safetensors")).unwrap()
        };
        folders.iter().map(tensors).collect::<Vec<_>>()
    };
    let first = students("portable");
    assert_eq!(first.len(), 2 + DISTILLERS.len());
    // Without FMA sums are rounded twice: other bytes.
    #[cfg(target_arch = "x86_64")]
    {
        if !is_x86_feature_detected!("avx512f") {
            return println!("skipped: this machine has no avx512");
        }
        let (avx2, avx512) = (students("avx2"), students("avx512"));
        assert!(avx2.iter().zip(&avx512).all(|(a, b)| a == b));
    }
}
