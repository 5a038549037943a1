//! Teaches a small student by several methods of Ranking Distillation's family, all from the same teacher.
//!
//! `cargo run --release -p rankstill --example distil`

use rankstill::core::Distiller;
use rankstill::distill::{RankDistil, RceKd, Rrd};
use rankstill::models::{BprMf, Ease};
use rankstill::{Fit, Interactions, Teacher, distil, evaluate};
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let pairs = (0..1000)
        .flat_map(|user| (0..8).map(move |n| (user, user % 10 + 10 * (user * n * n % 31))));
    let (train, test) = Interactions::from_pairs(pairs).interactions.leave_last_out();
    let train = Arc::new(train);
    let teacher = Teacher::fit("EASE", Ease::default(), &train, &mut Fit::seeded(1))?;
    let student = BprMf { dim: 8, ..BprMf::default() };

    let methods: [(&str, Box<dyn Distiller>); 3] = [
        ("RD", Box::new(RankDistil::default())),
        ("RRD", Box::new(Rrd { lambda: 1.0, ..Rrd::default() })),
        ("RCE-KD", Box::new(RceKd::default())),
    ];
    for (name, method) in methods {
        let model = distil(
            &student,
            &*method,
            std::slice::from_ref(&teacher),
            &train,
            &mut Fit::seeded(1),
        )?;
        println!("{name:8} {:?}", evaluate(&*model, &test, &["recall@10", "ndcg@10"])?);
    }
    Ok(())
}
