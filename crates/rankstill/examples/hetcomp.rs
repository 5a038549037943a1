//! HetComp: a student learns from two unlike teachers, from the easy rankings of their early training to the final ones, and is
//! compared with the same student alone and with the teachers' ensemble.
//!
//! `cargo run --release -p rankstill --example hetcomp`

use rankstill::core::Recipe;
use rankstill::distill::{Fusion, HetComp, StateSelection};
use rankstill::models::{BprMf, LightGcn};
use rankstill::{Fit, Interactions, Teacher, distil, evaluate};
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let pairs = (0..1000)
        .flat_map(|user| (0..8).map(move |n| (user, user % 10 + 10 * (user * n * n % 31))));
    let (train, test) = Interactions::from_pairs(pairs).interactions.leave_last_out();
    let train = Arc::new(train);
    let metrics = ["recall@10", "ndcg@10"];

    let (states, k) = (StateSelection::default(), 100);
    let mut fit = Fit::seeded(1);
    let teachers = [
        Teacher::fit_with_states("MF", BprMf::default(), &train, &states, k, &mut fit)?,
        Teacher::fit_with_states("GNN", LightGcn::default(), &train, &states, k, &mut fit)?,
    ];
    let ensemble = Teacher::ensemble("ensemble", &teachers, Fusion::default(), None)?;
    println!("ensemble {:?}", evaluate(&**ensemble.ranker(), &test, &metrics)?);

    let small = BprMf { dim: 6, ..BprMf::default() };
    let alone = small.fit(&train, &mut Fit::seeded(1))?;
    println!("alone    {:?}", evaluate(&*alone, &test, &metrics)?);
    let student = distil(&small, &HetComp::default(), &teachers, &train, &mut Fit::seeded(1))?;
    println!("HetComp  {:?}", evaluate(&*student, &test, &metrics)?);
    Ok(())
}
