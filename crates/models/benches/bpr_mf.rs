//! Times of training BPR-MF on Gowalla with 64 dimensions: steps of 2,048 samples in the training loop,
//! including sampling and shuffling, for each mode of Adam, and an epoch of fused SGD with its quality after
//! some epochs.
//!
//! ```sh
//! cargo bench -p rankstill-models --bench bpr_mf -- [--threads 2] [--epochs 20] [--rate 0.05] [--decay 0.01]
//! ```
//! The last lines are `name value` pairs for `benches/bpr_peers.py`, which times the peers in the same run.

#[path = "gowalla/mod.rs"]
mod gowalla;

use gowalla::Gowalla;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer, Sgd};
use rankstill_core::{EpochReport, Fit, Learner, Model, Plan, Recipe, Result, Trainable, Watch};
use rankstill_models::BprMf;
use std::ops::ControlFlow;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("timings run under `cargo bench` only");
        return;
    }
    let number = |name: &str, default: f64| -> f64 {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let data = match Gowalla::read() {
        Ok(data) => data,
        Err(error) => return println!("skipped: {error}"),
    };
    let threads = number("--threads", 2.0) as usize;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool of a few threads").install(|| {
        for (name, mode) in
            [("sparse", AdamMode::Sparse), ("exact", AdamMode::Exact), ("dense", AdamMode::Dense)]
        {
            println!("adam_{name}_ms_per_step {:.4}", milliseconds_a_step(&data, mode));
        }
        let sgd =
            Sgd { learning_rate: number("--rate", 0.05), weight_decay: number("--decay", 0.01) };
        sgd_epochs(&data, sgd, number("--epochs", 20.0) as usize);
    });
}

/// Of the fastest of three epochs of the training loop, everything included.
fn milliseconds_a_step(data: &Gowalla, mode: AdamMode) -> f64 {
    let adam = Adam { mode, learning_rate: 2e-3, weight_decay: 3e-5, ..Adam::default() };
    let plan = Plan { epochs: 3, batch_size: 2048, ..Plan::default() };
    let recipe =
        BprMf { optimizer: Optimizer::Adam(adam), train: plan.clone(), ..BprMf::default() };
    let mut watch = Fastest(f64::INFINITY);
    let mut fit = Fit { watch: Some(&mut watch), ..Fit::seeded(1) };
    recipe.fit(&data.train, &mut fit).expect("valid settings");
    watch.0 * 1e3 / data.train.len().div_ceil(plan.batch_size) as f64
}

/// Seconds of the fastest epoch.
struct Fastest(f64);

impl Watch for Fastest {
    fn epoch(&mut self, report: &EpochReport, _: &dyn Model) -> Result<ControlFlow<()>> {
        self.0 = self.0.min(report.seconds);
        Ok(ControlFlow::Continue(()))
    }
}

/// As in `implicit`: an item bias, small initial embeddings, one negative per pair.
fn sgd_epochs(data: &Gowalla, sgd: Sgd, epochs: usize) {
    let recipe = BprMf {
        dim: 63,
        item_bias: true,
        init_std: 0.005,
        optimizer: Optimizer::Sgd(sgd),
        ..BprMf::default()
    };
    let objective = recipe.objective(&data.train);
    let mut learner: Box<dyn Learner> = recipe.init(&data.train, 1).expect("valid settings");
    let mut best = f64::INFINITY;
    let began = Instant::now();
    for epoch in 0..epochs {
        let began = Instant::now();
        learner.epoch(epoch, 1, &*objective).expect("plain BPR by SGD has a fused kernel");
        best = best.min(began.elapsed().as_secs_f64());
    }
    let seconds = began.elapsed().as_secs_f64();
    learner.settle();
    let (recall, ndcg) = data.measure(&*learner).expect("a model in this process answers");
    println!("sgd_best_epoch_seconds {best:.4}");
    println!("sgd_mean_epoch_seconds {:.4}", seconds / epochs as f64);
    println!("sgd_recall {recall:.4}");
    println!("sgd_ndcg {ndcg:.4}");
}
