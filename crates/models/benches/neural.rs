//! Times of training steps of the neural models on LightGCN's Gowalla split, for `benches/neural_peers.py`: the lower
//! quartile of single steps, the drawing of slates included.
//!
//! ```sh
//! cargo bench -p rankstill-models --bench neural -- [--threads 2] [--steps 12]
//! ```
//! Lines are `name value` pairs.

#[allow(dead_code)] // Nothing is measured but time.
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
    pool.expect("a pool of a few threads").install(|| {
        for (name, mode) in [("exact", AdamMode::Exact), ("sparse", AdamMode::Sparse)] {
            let optimizer = || Optimizer::Adam(Adam { mode, ..Adam::default() });
            let vae = MultVae { optimizer: optimizer(), ..MultVae::default() };
            let milliseconds = step(&data, &vae, 500, steps).expect("settings that can be");
            println!("mult_vae_{name}_ms {milliseconds:.3}");
            let neu = NeuMf { optimizer: optimizer(), ..NeuMf::default() };
            let milliseconds = step(&data, &neu, 1024, 10 * steps).expect("settings that can be");
            println!("neu_mf_{name}_ms {milliseconds:.3}");
            let sas = SasRec { optimizer: optimizer(), ..SasRec::default() };
            let milliseconds = step(&data, &sas, 512, 3 * steps).expect("settings that can be");
            println!("sas_rec_{name}_ms {milliseconds:.3}");
        }
        // Every row steps at every step, whatever the mode.
        let milliseconds = step(&data, &LightGcn::default(), 2048, 2 * steps);
        println!("light_gcn_ms {:.3}", milliseconds.expect("settings that can be"));
        for (name, mode) in [("dense", AdamMode::Dense), ("sparse", AdamMode::Sparse)] {
            let optimizer = Optimizer::Adam(Adam { mode, ..Adam::default() });
            let milliseconds = step(&data, &Cml { optimizer, ..Cml::default() }, 2048, 4 * steps);
            println!("cml_{name}_ms {:.3}", milliseconds.expect("settings that can be"));
        }
    });
}

/// Milliseconds of a step on so many cases.
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
