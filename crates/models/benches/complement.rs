//! Times of a step of matrix factorisation with listwise losses over a whole catalogue: 900 users x 25,181 items
//! (HetComp's on CiteULike), 10 observed and 100 taught items per user against all others, Adam with weight decay
//! on every row. `overall` compares each listed item with the complement, `fine` ranks them (HetComp's methods;
//! the cost of a user's loss differs, the kernels are the same). Slates are drawn beforehand and not timed.
//!
//! ```sh
//! cargo bench -p rankstill-models --bench complement -- [--threads 2] [--steps 60] [--dim 6]
//! ```
//! Lines are `name value` pairs.

use rankstill_core::kernel::math::{exp, exp_slice, ln, sigmoid_slice, softplus_slice};
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Cases, Grad, Interactions, ItemId, Lists, Objective, Row, Scores, Slate, Trainable,
};
use rankstill_models::BprMf;
use std::sync::Arc;
use std::time::Instant;

const USERS: usize = 900;
const ITEMS: usize = 25_181;
const HISTORY: usize = 15;
const OBSERVED: usize = 10;
const TAUGHT: usize = 100;

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
    let steps = number("--steps", 60);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number("--threads", 2)).build();
    pool.expect("a pool of a few threads").install(|| {
        for dim in [6, 20, 64].into_iter().filter(|&dim| [0, dim].contains(&number("--dim", 0))) {
            for (name, overall) in [("overall", true), ("fine", false)] {
                println!("against_d{dim}_{name}_ms {:.3}", step(dim, overall, steps));
            }
        }
    });
}

/// Milliseconds per step: the lower quartile.
fn step(dim: usize, overall: bool, steps: usize) -> f64 {
    let mut rng = Rng::new(1);
    let mut distinct = |n: usize| {
        let mut line: Vec<ItemId> = Vec::new();
        while line.len() < n {
            let item = rng.below(ITEMS as u32);
            if !line.contains(&item) {
                line.push(item);
            }
        }
        line
    };
    let lines: Vec<_> = (0..USERS).map(|_| distinct(HISTORY + TAUGHT)).collect();
    let history = Lists::from_iter(lines.iter().map(|line| line[..HISTORY].to_vec()));
    let taught = Lists::from_iter(lines.iter().map(|line| line[HISTORY - OBSERVED..].to_vec()));
    let train = Interactions::new(ITEMS, history.clone(), None, None).map(Arc::new);
    let train = train.expect("a log in order");
    let adam = Adam { mode: AdamMode::Dense, weight_decay: 1e-5, ..Adam::default() };
    let recipe = BprMf { dim, optimizer: Optimizer::Adam(adam), ..BprMf::default() };
    let mut learner = recipe.init(&train, 1).expect("settings in range");
    let cases = Cases::per_user(&train);
    let rows: Vec<u32> = (0..USERS as u32).collect();
    let objective: Box<dyn Objective> = match overall {
        true => Box::new(Overall(Listed { taught, history })),
        false => Box::new(Fine(Listed { taught, history })),
    };
    let mut laps: Vec<f64> = (0..steps)
        .map(|epoch| {
            let batch = Batch::new(&cases, &rows, epoch, 1);
            let slate = objective.slate(&batch);
            let begin = Instant::now();
            let loss = learner.step(&batch, &slate, &*objective);
            assert!(loss.is_finite());
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    laps.sort_by(f64::total_cmp);
    laps[laps.len() / 4]
}

struct Listed {
    taught: Lists<ItemId>,
    history: Lists<ItemId>,
}

impl Listed {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let rows = || batch.rows.iter().map(|&row| row as usize);
        Slate::with_complement(
            rows().map(|row| self.taught.row(row).to_vec()).collect(),
            rows().map(|row| self.history.row(row).to_vec()).collect(),
        )
    }
}

/// The sum over listed items of -ln(e^s / (e^s + complement)).
struct Overall(Listed);
impl Objective for Overall {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        self.0.slate(batch)
    }

    fn loss(&self, _row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let mut losses: Vec<f32> =
            scores.listed.iter().map(|s| scores.log_complement - s).collect();
        grad.listed.copy_from_slice(&losses);
        softplus_slice(&mut losses);
        sigmoid_slice(grad.listed);
        *grad.log_complement = 0.01 * grad.listed.iter().sum::<f32>();
        grad.listed.iter_mut().for_each(|slope| *slope *= -0.01);
        0.01 * losses.iter().sum::<f32>()
    }
}

/// The Plackett-Luce likelihood of the observed items, of the first 50 taught and, again, of the first 10 of
/// these.
struct Fine(Listed);
impl Objective for Fine {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        self.0.slate(batch)
    }

    fn loss(&self, _row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let most = scores.listed.iter().fold(scores.log_complement, |most, &score| most.max(score));
        let mut masses: Vec<f32> = scores.listed.iter().map(|score| score - most).collect();
        exp_slice(&mut masses);
        let rest = exp(scores.log_complement - most);
        let from = OBSERVED;
        let mut loss = 0.0;
        // (list, weight); each list competes with everything else that is not observed.
        for (list, weight) in [(0..from, 1.0), (from..from + 50, 0.5), (from..from + 10, 0.5f32)] {
            let others = if list.start == 0 { from + 50 } else { list.end }..masses.len();
            let mut behind = rest + masses[others.clone()].iter().sum::<f32>();
            let sums: Vec<f32> = list
                .clone()
                .rev()
                .map(|at| {
                    behind += masses[at];
                    behind
                })
                .collect();
            let mut pull = 0.0;
            for (at, sum) in list.zip(sums.into_iter().rev()) {
                loss += 0.005 * weight * (ln(sum) - (scores.listed[at] - most));
                pull += 0.005 * weight / sum;
                grad.listed[at] += pull * masses[at] - 0.005 * weight;
            }
            others.for_each(|at| grad.listed[at] += pull * masses[at]);
            *grad.log_complement += pull * rest;
        }
        loss
    }
}
