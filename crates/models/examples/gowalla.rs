//! Fits a model on LightGCN's `gowalla` split and prints Recall@20, nDCG@20 and the time in seconds.
//!
//! ```sh
//! cargo run --release -p rankstill-models --example gowalla -- '{"kind": "item_cf"}' [seed] [valid|test] [every]
//! ```
//! With `valid`, it measures on a held-out tenth of the training part, to choose settings with. Every 20th epoch
//! is measured, or as given.
//!
//! The folder with `train.tsv` and `test.tsv` is `$RANKSTILL_DATA/gowalla`, or `../shared/data/gowalla`.

#[path = "../benches/gowalla/mod.rs"]
mod gowalla;

use gowalla::Gowalla;
use rankstill_core::registry::{self, Config};
use rankstill_core::{EpochReport, Error, Fit, Model, Result, Watch};
use rankstill_models::MODELS;
use std::ops::ControlFlow;
use std::time::Instant;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let config = args.next().unwrap_or_else(|| r#"{"kind": "item_cf"}"#.into());
    let value: serde_json::Value = serde_json::from_str(&config)
        .map_err(|error| Error::Config { key: config.clone(), problem: error.to_string() })?;
    let seed = args.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (_, recipe) = registry::parse(MODELS, Config { path: "", value: &value })?;
    println!("{}", recipe.config());
    let mut data = Gowalla::read()?;
    if args.next().as_deref() == Some("valid") {
        data = data.hold_out(0.1)?;
    }
    let every = args.next().and_then(|every| every.parse().ok()).unwrap_or(20);

    let mut watch = Report { data: &data, every, seconds: 0.0 };
    let began = Instant::now();
    let fit = &mut Fit { watch: Some(&mut watch), ..Fit::seeded(seed) };
    let model = recipe.fit(&data.train, fit)?;
    println!("fitted in {:.2} s, measurements included", began.elapsed().as_secs_f64());
    let (recall, ndcg) = data.measure(&*model)?;
    println!("recall@20 {recall:.4}  ndcg@20 {ndcg:.4}");
    Ok(())
}

/// Prints the quality at regular intervals, for information only; the model is that of the last epoch.
struct Report<'a> {
    data: &'a Gowalla,
    every: usize,
    seconds: f64,
}

impl Watch for Report<'_> {
    fn epoch(&mut self, report: &EpochReport, model: &dyn Model) -> Result<ControlFlow<()>> {
        self.seconds += report.seconds;
        let epoch = report.epoch + 1;
        if epoch.is_multiple_of(self.every) {
            let (recall, ndcg) = self.data.measure(model)?;
            let (loss, seconds) = (report.loss, self.seconds);
            println!(
                "epoch {epoch:3}  loss {loss:.5}  {seconds:6.1} s  recall@20 {recall:.4}  ndcg@20 {ndcg:.4}"
            );
        }
        Ok(ControlFlow::Continue(()))
    }
}
