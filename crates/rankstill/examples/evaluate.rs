//! Measures two models case by case and tests whether their difference is due to chance.
//!
//! `cargo run --release -p rankstill --example evaluate`

use rankstill::core::{Recipe, TopK};
use rankstill::eval::metric::parse;
use rankstill::eval::{ComparisonOptions, Dialect, Measure, Outcome, compare};
use rankstill::models::{BprMf, ItemCf};
use rankstill::{Fit, Interactions};
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let pairs = (0..1000)
        .flat_map(|user| (0..8).map(move |n| (user, user % 10 + 10 * (user * n * n % 31))));
    let (train, test) = Interactions::from_pairs(pairs).interactions.leave_last_out();
    let train = Arc::new(train);
    let metric = parse("ndcg@10", Dialect::Standard)?;

    let by_case = |recipe: &dyn Recipe| -> Result<Vec<f64>, Box<dyn Error>> {
        let model = recipe.fit(&train, &mut Fit::seeded(1))?;
        let needs = metric.needs();
        let outcome = Outcome::of_ranker(&*model, &test, &TopK::unseen(needs.depth), needs)?;
        match metric.measure(&outcome)? {
            Measure::PerCase(values) => Ok(values),
            Measure::Whole(_) => Err("this metric has no value for each case".into()),
        }
    };
    let (item_cf, mf) = (by_case(&ItemCf::default())?, by_case(&BprMf::default())?);
    let test = compare::compare(
        &metric.name(),
        ("ItemCF", &[item_cf]),
        ("BPR-MF", &[mf]),
        &ComparisonOptions::default(),
    )?;
    println!("{test:#?}");
    Ok(())
}
