//! Timings of the sequential rankers and of Ranking Distillation with them, as `name value` lines for
//! `benches/sequence_peers.py`, which times the peers in the same run:
//! - the lower quartile of the training steps of Caser (100 and 50 dimensions) and of Fossil (50) on Amazon Beauty: 512 windows,
//!   three negatives each, sampling included, for each mode of Adam;
//! - an epoch of a student under Ranking Distillation (K = 10, 100 samples a rank, hybrid weights) as a multiple of its epoch
//!   alone;
//! - a teacher's ten best unlabelled items for every training window of MovieLens 100k.
//!
//! ```sh
//! cargo bench -p rankstill-cli --bench sequences -- [--threads 2]
//! ```
//! The data is in $RANKSTILL_DATA or ../shared/data.

use rankstill::core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill::core::train::train;
use rankstill::core::{
    Cases, Distiller, EpochReport, Fit, Interactions, Lists, Model, Plan, Ranker, Recipe, Result,
    Trace, Trainable, Watch,
};
use rankstill::distill::{RankDistil, trace};
use rankstill::models::{BprMf, Caser, Fossil, ItemCf};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("timings run under `cargo bench` only");
        return;
    }
    let at = arguments.iter().position(|argument| argument == "--threads");
    let threads = at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool of a few threads").install(|| {
        match read("amazon-beauty/interactions.tsv") {
            Ok(log) => {
                steps(&log);
                distilled_epochs(&log);
            }
            Err(error) => println!("skipped: {error}"),
        }
        match read("ml-100k/ml-100k.inter") {
            Ok(log) => lists(&log),
            Err(error) => println!("skipped: {error}"),
        }
    });
}

fn adam(mode: AdamMode) -> Optimizer {
    Optimizer::Adam(Adam { mode, weight_decay: 1e-6, ..Adam::default() })
}

fn plan(epochs: usize) -> Plan {
    Plan { epochs, batch_size: 512, patience: 0, ..Plan::default() }
}

fn steps(log: &Arc<Interactions>) {
    for (mode, optimizer) in [("exact", adam(AdamMode::Exact)), ("sparse", adam(AdamMode::Sparse))]
    {
        for dim in [100, 50] {
            let recipe =
                Caser { dim, optimizer: optimizer.clone(), train: plan(3), ..Caser::default() };
            println!("caser_{dim}_{mode}_ms {:.4}", milliseconds_a_step(&recipe, log));
        }
        let recipe =
            Fossil { dim: 50, optimizer: optimizer.clone(), train: plan(3), ..Fossil::default() };
        println!("fossil_50_{mode}_ms {:.4}", milliseconds_a_step(&recipe, log));
    }
}

/// The lower quartile of the steps of the training loop, everything included, as for the peers.
fn milliseconds_a_step(recipe: &impl Trainable, log: &Arc<Interactions>) -> f64 {
    let mut watch = Steps { last: None, laps: Vec::new() };
    let mut fit = Fit { watch: Some(&mut watch), ..Fit::seeded(1) };
    Recipe::fit(recipe, log, &mut fit).expect("settings that can be");
    watch.laps.sort_by(f64::total_cmp);
    watch.laps[watch.laps.len() / 4] * 1e3
}

/// Seconds from one step's end to the next one's.
struct Steps {
    last: Option<Instant>,
    laps: Vec<f64>,
}

impl Watch for Steps {
    fn step(&mut self, _epoch: usize, done: usize, total: usize) -> bool {
        let now = Instant::now();
        self.laps.extend(self.last.map(|last| (now - last).as_secs_f64()));
        // The time between two epochs is not a step.
        self.last = (done < total).then_some(now);
        false
    }
}

fn fastest_epoch(
    recipe: &impl Trainable,
    log: &Arc<Interactions>,
    cases: &Cases,
    taught: Option<(&RankDistil, &Trace)>,
) -> f64 {
    let own = recipe.objective(log);
    let objective = match taught {
        None => own,
        Some((distil, trace)) => {
            distil.teach(own, cases, std::slice::from_ref(trace)).expect("a trace of these cases")
        }
    };
    let mut watch = Fastest(f64::INFINITY);
    let mut fit = Fit { watch: Some(&mut watch), ..Fit::seeded(1) };
    train(recipe, log, cases, objective, &mut fit).expect("settings that can be");
    watch.0
}

/// Seconds of the fastest epoch.
struct Fastest(f64);

impl Watch for Fastest {
    fn epoch(&mut self, report: &EpochReport, _: &dyn Model) -> Result<ControlFlow<()>> {
        self.0 = self.0.min(report.seconds);
        Ok(ControlFlow::Continue(()))
    }
}

/// Alone and taught in turn, hybrid weights from the first epoch on.
fn distilled_epochs(log: &Arc<Interactions>) {
    let own = RankDistil { warm_up: 0, ..RankDistil::paper() };
    let shared = RankDistil { shared_samples: true, ..own.clone() };
    let optimizer = || adam(AdamMode::Sparse);
    let mf = BprMf { dim: 16, optimizer: optimizer(), train: plan(3), ..BprMf::default() };
    let fossil = Fossil { dim: 20, optimizer: optimizer(), train: plan(3), ..Fossil::default() };
    let caser = Caser { dim: 50, train: plan(3), ..Caser::default() };
    ratio("caser_50", &caser, log, &own);
    ratio("fossil_20", &fossil, log, &own);
    ratio("mf_16", &mf, log, &own);
    ratio("mf_16_shared_samples", &mf, log, &shared);
}

fn ratio(name: &str, student: &impl Trainable, log: &Arc<Interactions>, distil: &RankDistil) {
    let cases = student.cases(log);
    let teacher = fit(&ItemCf::default(), log);
    let trace = record(&*teacher, &cases, distil);
    let (mut alone, mut taught) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        alone = alone.min(fastest_epoch(student, log, &cases, None));
        taught = taught.min(fastest_epoch(student, log, &cases, Some((distil, &trace))));
    }
    println!("rd_epoch_ratio_{name} {:.4}", taught / alone);
}

/// With a Caser of 100 dimensions; training does not change the time of a ranking.
fn lists(log: &Arc<Interactions>) {
    let recipe = Caser { train: plan(1), ..Caser::default() };
    let teacher = fit(&recipe, log);
    // As the authors train: on the first 80% of each user's interactions.
    let first = |line: &[u32]| line[..(0.8 * line.len() as f64).ceil() as usize].to_vec();
    let lines: Lists<u32> = log.items().iter().map(first).collect();
    let part = Interactions::new(log.n_items(), lines, None, None).expect("items of the log");
    let cases = Trainable::cases(&recipe, &part);
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let began = Instant::now();
        let trace = record(&*teacher, &cases, &RankDistil::paper());
        best = best.min(began.elapsed().as_secs_f64());
        assert_eq!(trace.last().len(), cases.len());
    }
    println!("teacher_lists_windows {}", cases.len());
    println!("teacher_lists_seconds {best:.4}");
}

fn fit(recipe: &dyn Recipe, log: &Arc<Interactions>) -> Box<dyn Model> {
    let mut watch = Fastest(f64::INFINITY);
    let mut fit = Fit { watch: Some(&mut watch), ..Fit::seeded(1) };
    recipe.fit(log, &mut fit).expect("settings that can be")
}

fn record(teacher: &dyn Ranker, cases: &Cases, distil: &RankDistil) -> Trace {
    let mut go_on = |_, _| ControlFlow::Continue(());
    trace::record("teacher", teacher, cases, distil.requires().lists, &mut go_on)
        .expect("it answers")
}

/// Reads a file with a header line and the columns user, item, optionally rating, and time. Users and items are numbered in the
/// order of the file; each user's items are sorted by time.
fn read(name: &str) -> std::result::Result<Arc<Interactions>, String> {
    let root = std::env::var_os("RANKSTILL_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = root.join(name);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let (mut users, mut items) = (HashMap::new(), HashMap::new());
    let mut lines: Vec<Vec<(i64, u32)>> = Vec::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let time = fields.last().and_then(|time| time.parse::<f64>().ok());
        let (Some(time), true) = (time, fields.len() >= 3) else {
            return Err(format!("{}: {line}", path.display()));
        };
        let next = users.len();
        let user = *users.entry(fields[0].to_owned()).or_insert(next);
        let next = items.len() as u32;
        let item = *items.entry(fields[1].to_owned()).or_insert(next);
        if user == lines.len() {
            lines.push(Vec::new());
        }
        lines[user].push((time as i64, item));
    }
    lines.iter_mut().for_each(|line| line.sort_by_key(|(time, _)| *time));
    let lines = lines.iter().map(|line| line.iter().map(|(_, item)| *item)).collect();
    let log = Interactions::new(items.len(), lines, None, None).map_err(|e| e.to_string())?;
    Ok(Arc::new(log))
}
