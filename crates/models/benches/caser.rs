//! Times of training Caser on Amazon Beauty, in batches of 512 with three negatives: steps in the training
//! loop, including sampling, shuffling and dropout, for two sizes and each mode of Adam; and of ranking for all
//! training windows.
//!
//! ```sh
//! cargo bench -p rankstill-models --bench caser -- [--threads 2] [--epochs 3]
//! ```
//! Lines are `name value` pairs.

use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::{
    EpochReport, Error, Fit, Interactions, Lists, Model, Plan, Recipe, Result, TopK, Trainable,
    Watch,
};
use rankstill_models::Caser;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("timings run under `cargo bench` only");
        return;
    }
    let number = |name: &str, default: usize| -> usize {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("RANKSTILL_DATA").map_or_else(beside, PathBuf::from);
    let train = match read(&root.join("amazon-beauty/interactions.tsv")) {
        Ok(train) => train,
        Err(error) => return println!("skipped: {error}"),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number("--threads", 2)).build();
    pool.expect("a pool of a few threads").install(|| {
        for dim in [100, 50] {
            let mut model = None;
            for (name, mode) in [("sparse", AdamMode::Sparse), ("exact", AdamMode::Exact)] {
                let (milliseconds, fitted) = step(&train, dim, mode, number("--epochs", 3));
                let [mean, tenth] = milliseconds;
                println!("caser_d{dim}_{name}_ms_per_step {mean:.4}");
                println!("caser_d{dim}_{name}_ms_of_the_fastest_tenth {tenth:.4}");
                model = Some(fitted);
            }
            if let Some(model) = model {
                let (seconds, cases) = answer(&train, &*model);
                println!("caser_d{dim}_top10_seconds {seconds:.4} of {cases} windows");
            }
        }
    });
}

/// Milliseconds per step, everything included: the mean of the fastest epoch, and the 10th percentile of all
/// steps, which is robust on a busy machine; and the model.
fn step(
    train: &Arc<Interactions>,
    dim: usize,
    mode: AdamMode,
    epochs: usize,
) -> ([f64; 2], Box<dyn Model>) {
    let adam = Adam { mode, weight_decay: 1e-6, ..Adam::default() };
    let plan = Plan { epochs, batch_size: 512, ..Plan::default() };
    let recipe =
        Caser { dim, optimizer: Optimizer::Adam(adam), train: plan.clone(), ..Caser::default() };
    let mut watch = Times { epoch: f64::INFINITY, steps: Vec::new(), last: Instant::now() };
    let mut fit = Fit { watch: Some(&mut watch), ..Fit::seeded(1) };
    let model = recipe.fit(train, &mut fit).expect("valid settings");
    let steps = recipe.cases(train).len().div_ceil(plan.batch_size);
    watch.steps.sort_by(f64::total_cmp);
    let tenth = watch.steps[watch.steps.len() / 10];
    ([watch.epoch * 1e3 / steps as f64, tenth * 1e3], model)
}

/// Seconds of the fastest epoch, and of every step.
struct Times {
    epoch: f64,
    steps: Vec<f64>,
    last: Instant,
}

impl Watch for Times {
    fn epoch(&mut self, report: &EpochReport, _: &dyn Model) -> Result<ControlFlow<()>> {
        self.epoch = self.epoch.min(report.seconds);
        Ok(ControlFlow::Continue(()))
    }

    fn step(&mut self, _epoch: usize, _done: usize, _total: usize) -> bool {
        let now = Instant::now();
        self.steps.push((now - self.last).as_secs_f64());
        self.last = now;
        false
    }
}

/// Seconds to rank the ten best items for every training window, as a teacher does; and the number of windows.
fn answer(train: &Interactions, model: &dyn Model) -> (f64, usize) {
    let cases = Caser::default().cases(train);
    let queries = cases.distinct_queries();
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let began = Instant::now();
        let ranked = model.rank(&queries, &TopK::unseen(10)).expect("a model in this process");
        best = best.min(began.elapsed().as_secs_f64());
        assert_eq!(ranked.len(), queries.len());
    }
    (best, queries.len())
}

/// Users' items in the order of the file, whose ids are arbitrary text.
fn read(path: &Path) -> Result<Arc<Interactions>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let (mut users, mut items) = (HashMap::new(), HashMap::new());
    let mut lines: Vec<Vec<u32>> = Vec::new();
    for line in text.lines().skip(1) {
        let mut words = line.split('\t');
        let (Some(user), Some(item)) = (words.next(), words.next()) else {
            let problem = format!("expected two words, found `{line}`");
            return Err(Error::File { path: path.into(), problem });
        };
        let user = number(&mut users, user);
        let item = number(&mut items, item);
        lines.resize(lines.len().max(user + 1), Vec::new());
        lines[user].push(item as u32);
    }
    Ok(Arc::new(Interactions::new(items.len(), Lists::from_iter(lines), None, None)?))
}

/// The number of a word, in order of appearance.
fn number<'a>(words: &mut HashMap<&'a str, usize>, word: &'a str) -> usize {
    let next = words.len();
    *words.entry(word).or_insert(next)
}
