//! What a log is like, next to others: sizes, popularity, activity, repeats, order, and the strength of taste.
//!
//! `cargo run --release -p rankstill --features data --example log_profile -- LOG...`
//!
//! A log is a file or pattern in any known format, or settings of the simulator, such as `'{"interactions": 200000}'`. The strength of
//! taste is nDCG@10 of ALS with 64 factors as a multiple of that of popularity, where a fifth of each user's rows, drawn at random, is to
//! be found.

use rankstill::data::dataset::{Dataset, PrepareSettings, Prepared};
use rankstill::data::profile::Profile;
use rankstill::data::simulate::simulate;
use rankstill::data::{Log, ReadOptions, read_log};
use rankstill::models::{ImplicitAls, Pop};
use rankstill::{Fit, evaluate};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut columns = Vec::new();
    for name in &names {
        let log = log(name)?;
        let profile = Profile::of(&log);
        columns.push(lines(&profile, taste(log)?));
    }
    let Some(first) = columns.first() else { return Err("no log is named".into()) };
    println!("| | {} |", names.join(" | "));
    println!("| --- |{}", " ---: |".repeat(names.len()));
    for (row, (label, _)) in first.iter().enumerate() {
        let values: Vec<&str> = columns.iter().map(|column| column[row].1.as_str()).collect();
        println!("| {label} | {} |", values.join(" | "));
    }
    Ok(())
}

fn log(name: &str) -> Result<Log, Box<dyn Error>> {
    if name.starts_with('{') {
        return Ok(simulate(&serde_json::from_str(name)?)?);
    }
    Ok(read_log(Path::new(name), &ReadOptions::default(), &mut |_, _| ())?.log)
}

/// nDCG@10 of popularity, and of ALS.
fn taste(log: Log) -> Result<[f64; 2], Box<dyn Error>> {
    let split = r#"{"split": {"kind": "random", "train": 0.8, "valid": 0.0}}"#;
    let settings: PrepareSettings = serde_json::from_str(split)?;
    let Dataset { split, .. } = Prepared::from_log(log, None, &settings)?.into_dataset()?;
    let train = Arc::new(split.train);
    let als = ImplicitAls { dim: 64, l2: 0.03, ..ImplicitAls::default() };
    let recipes: [&dyn rankstill::core::Recipe; 2] = [&Pop {}, &als];
    let mut found = [0.0; 2];
    for (recipe, found) in recipes.into_iter().zip(&mut found) {
        let model = recipe.fit(&train, &mut Fit::seeded(1))?;
        *found = evaluate(&*model, &split.test, &["ndcg@10"])?[0].1;
    }
    Ok(found)
}

fn lines(profile: &Profile, [popular, als]: [f64; 2]) -> Vec<(&'static str, String)> {
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    let next = &profile.next;
    vec![
        ("users", profile.users.to_string()),
        ("items", profile.items.to_string()),
        ("rows", profile.rows.to_string()),
        ("density", format!("{:.3}%", 100.0 * profile.density)),
        ("Gini coefficient of the items' rows", format!("{:.2}", profile.gini)),
        ("rows on the top 1% of the items", percent(profile.top_1)),
        ("rows on the top 10%", percent(profile.top_10)),
        ("items with one row", percent(profile.single)),
        ("rows of a user: median", profile.median.to_string()),
        ("mean", format!("{:.1}", profile.mean)),
        ("90%", profile.p90.to_string()),
        ("99%", profile.p99.to_string()),
        ("largest", profile.most.to_string()),
        ("rows that repeat an item", percent(profile.repeats)),
        ("the next item among ten: popularity", percent(next.popularity)),
        ("chain, shuffled histories", percent(next.shuffled)),
        ("chain, histories in order", next.in_order.map_or("-".into(), percent)),
        ("what the order tells", next.order().map_or("-".into(), |times| format!("x {times:.2}"))),
        ("nDCG@10 of popularity", format!("{popular:.4}")),
        ("nDCG@10 of ALS", format!("{als:.4}")),
        ("strength of taste", format!("x {:.2}", als / popular)),
    ]
}
