//! Fits three models on a log in memory and compares them on each user's last item.
//!
//! `cargo run --release -p rankstill --example fit`

use rankstill::core::Recipe;
use rankstill::models::{BprMf, Ease, Pop};
use rankstill::{Fit, Interactions, evaluate};
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    // Users in ten groups, each with items of its own; any ids will do.
    let pairs = (0..1000).flat_map(|user| {
        (0..8).map(move |n| {
            (format!("user {user}"), format!("item {}", user % 10 + 10 * (user * n * n % 31)))
        })
    });
    let log = Interactions::from_pairs(pairs);
    let (train, test) = log.interactions.leave_last_out();
    let train = Arc::new(train);

    let recipes: [(&str, Box<dyn Recipe>); 3] = [
        ("POP", Box::new(Pop::default())),
        ("EASE", Box::new(Ease::default())),
        ("BPR-MF", Box::new(BprMf { dim: 16, ..BprMf::default() })),
    ];
    for (name, recipe) in recipes {
        let model = recipe.fit(&train, &mut Fit::seeded(1))?;
        println!("{name:8} {:?}", evaluate(&*model, &test, &["recall@10", "ndcg@10"])?);
    }
    Ok(())
}
