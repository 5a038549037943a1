//! Times of training steps of the neural models on LightGCN's Gowalla split, for `benches/neural_peers.py`: the
//! lower quartile of single steps, including the drawing of slates.
//!
//! ```sh
//! cargo bench -p rankstill-models --bench neural -- [--threads 2] [--steps 12] [--only NAME]
//! ```
//! Lines are `name value` pairs.

#[allow(dead_code)] // Only time is measured.
mod gowalla;

use gowalla::Gowalla;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Batch, Result, Trainable};
use rankstill_models::{Cml, LightGcn, MultVae, NeuMf, SasRec};
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
    let data = match Gowalla::read() {
        Ok(data) => data,
        Err(error) => return println!("skipped: {error}"),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number("--threads", 2)).build();
    let steps = number("--steps", 12);
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1)).map_or("", String::as_str);
    pool.expect("a pool of a few threads").install(|| {
        for (name, recipe, batch_size, times) in models() {
            if name.starts_with(only) {
                let milliseconds = step(&data, &*recipe, batch_size, times * steps);
                println!("{name}_ms {:.3}", milliseconds.expect("valid settings"));
            }
        }
    });
}

/// What is timed: name, settings, batch size, and a multiplier of the number of steps.
fn models() -> Vec<(&'static str, Box<dyn Trainable>, usize, usize)> {
    let adam = |mode| Optimizer::Adam(Adam { mode, ..Adam::default() });
    let vae = |mode| Box::new(MultVae { optimizer: adam(mode), ..MultVae::default() });
    let neu = |mode| Box::new(NeuMf { optimizer: adam(mode), ..NeuMf::default() });
    let sas = |mode| Box::new(SasRec { optimizer: adam(mode), ..SasRec::default() });
    let cml = |mode| Box::new(Cml { optimizer: adam(mode), ..Cml::default() });
    vec![
        ("mult_vae_exact", vae(AdamMode::Exact), 500, 1),
        ("mult_vae_sparse", vae(AdamMode::Sparse), 500, 1),
        ("neu_mf_exact", neu(AdamMode::Exact), 1024, 10),
        ("neu_mf_sparse", neu(AdamMode::Sparse), 1024, 10),
        ("sas_rec_exact", sas(AdamMode::Exact), 512, 3),
        ("sas_rec_sparse", sas(AdamMode::Sparse), 512, 3),
        // Every row steps at every step, whatever the mode.
        ("light_gcn", Box::new(LightGcn::default()), 2048, 2),
        ("cml_exact", cml(AdamMode::Exact), 2048, 10),
        ("cml_sparse", cml(AdamMode::Sparse), 2048, 10),
    ]
}

/// Milliseconds of a step with this batch size.
fn step(data: &Gowalla, recipe: &dyn Trainable, batch_size: usize, steps: usize) -> Result<f64> {
    let (cases, objective) = (recipe.cases(&data.train), recipe.objective(&data.train));
    let mut learner = recipe.init(&data.train, 1)?;
    let order = Rng::new(1).permutation(cases.len() as u32);
    let mut laps = Vec::new();
    for rows in order.chunks_exact(batch_size).take(steps + 2) {
        let began = Instant::now();
        let batch = Batch::new(&cases, rows, 0, 1);
        let slate = objective.slate(&batch);
        learner.step(&batch, &slate, &*objective);
        laps.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let mut laps = laps.split_off(2);
    laps.sort_by(f64::total_cmp);
    Ok(laps[laps.len() / 4])
}
