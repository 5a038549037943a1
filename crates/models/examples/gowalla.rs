//! Fits a model on LightGCN's `gowalla` split and prints Recall@20, nDCG@20 and the seconds.
//!
//! ```sh
//! cargo run --release -p rankstill-models --example gowalla -- '{"kind": "item_cf"}' [seed]
//! ```
//! The folder with `train.tsv` and `test.tsv` is `$RANKSTILL_DATA/gowalla`, or `../shared/data/gowalla`.

use rankstill_core::registry::{self, Config};
use rankstill_core::train::{EpochReport, Watch};
use rankstill_core::{Error, Fit, Interactions, ItemId, Lists, Model, Query, Result};
use rankstill_models::MODELS;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let config = args.next().unwrap_or_else(|| r#"{"kind": "item_cf"}"#.into());
    let value: serde_json::Value = serde_json::from_str(&config)
        .map_err(|error| Error::Config { key: config.clone(), problem: error.to_string() })?;
    let seed = args.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let root = std::env::var_os("RANKSTILL_DATA").unwrap_or_else(|| "../shared/data".into());
    let folder = PathBuf::from(root).join("gowalla");
    let (train, test) = (read(&folder.join("train.tsv"))?, read(&folder.join("test.tsv"))?);
    let n_items = 1 + train.iter().chain(&test).flatten().max().copied().unwrap_or(0) as usize;
    let train = Arc::new(Interactions::new(n_items, train.into_iter().collect(), None, None)?);
    let test: Lists<ItemId> = test.into_iter().collect();

    let (_, recipe) = registry::parse(MODELS, Config { path: "", value: &value })?;
    println!("{}", recipe.config());
    let mut watch = Report { train: &train, test: &test, every: 10, seconds: 0.0 };
    let began = Instant::now();
    let fit = &mut Fit { seed, validate: None, watch: &mut watch, checkpoints: None };
    let model = recipe.fit(&train, fit)?;
    println!("fitted in {:.2} s", began.elapsed().as_secs_f64());
    let (recall, ndcg) = measure(&*model, &train, &test);
    println!("recall@20 {recall:.4}  ndcg@20 {ndcg:.4}");
    Ok(())
}

/// Prints every epoch, and every tenth with its quality on the test part (to look at, nothing is chosen by it).
struct Report<'a> {
    train: &'a Interactions,
    test: &'a Lists<ItemId>,
    every: usize,
    seconds: f64,
}

impl Watch for Report<'_> {
    fn epoch(&mut self, report: &EpochReport, model: &dyn Model) -> Result<ControlFlow<()>> {
        self.seconds += report.seconds;
        if (report.epoch + 1).is_multiple_of(self.every) {
            let (recall, ndcg) = measure(model, self.train, self.test);
            println!(
                "epoch {:3}  loss {:.5}  {:6.1} s  recall@20 {recall:.4}  ndcg@20 {ndcg:.4}",
                report.epoch + 1,
                report.loss,
                self.seconds
            );
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Recall@20 and nDCG@20 (ideal over min(targets, 20)), the mean over the users with targets; what they had is masked.
fn measure(model: &dyn Model, train: &Interactions, test: &Lists<ItemId>) -> (f64, f64) {
    let users: Vec<u32> =
        (0..test.len() as u32).filter(|&u| !test.row(u as usize).is_empty()).collect();
    let gain = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
    let of_block = |users: &[u32]| {
        let ask = |&user| Query { user: Some(user), history: train.history(user), hidden: &[] };
        let queries: Vec<Query<'_>> = users.iter().map(ask).collect();
        let mut scores = vec![0.0; users.len() * train.n_items()];
        model.score(&queries, &mut scores);
        let (mut recall, mut ndcg) = (0.0, 0.0);
        for (&user, scores) in users.iter().zip(scores.chunks_exact_mut(train.n_items())) {
            train.history(user).iter().for_each(|&item| scores[item as usize] = f32::NEG_INFINITY);
            let targets = test.row(user as usize);
            let hits = top(scores, 20);
            let hits: Vec<f64> =
                (0..hits.len()).filter(|&rank| targets.contains(&hits[rank])).map(gain).collect();
            recall += hits.len() as f64 / targets.len() as f64;
            ndcg += hits.iter().sum::<f64>() / (0..targets.len().min(20)).map(gain).sum::<f64>();
        }
        (recall, ndcg)
    };
    let blocks: Vec<(f64, f64)> = users.par_chunks(16).map(of_block).collect();
    let sum = blocks.iter().fold((0.0, 0.0), |sum, block| (sum.0 + block.0, sum.1 + block.1));
    (sum.0 / users.len() as f64, sum.1 / users.len() as f64)
}

fn top(scores: &[f32], k: usize) -> Vec<ItemId> {
    let mut best: Vec<(f32, ItemId)> = Vec::with_capacity(k + 1);
    for (item, &score) in scores.iter().enumerate() {
        if best.len() == k && best[k - 1].0 >= score {
            continue;
        }
        let at = best.partition_point(|b| b.0 >= score);
        best.insert(at, (score, item as ItemId));
        best.truncate(k);
    }
    best.into_iter().map(|b| b.1).collect()
}

/// Each user's items, from a tab-separated file with a header; ids are small numbers.
fn read(path: &Path) -> Result<Vec<Vec<ItemId>>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let mut lines: Vec<Vec<ItemId>> = Vec::new();
    for line in text.lines().skip(1) {
        let pair =
            line.split_once('\t').and_then(|(u, i)| Some((u.parse().ok()?, i.parse().ok()?)));
        let Some((user, item)): Option<(usize, ItemId)> = pair else {
            let problem = format!("expected two numbers, found `{line}`");
            return Err(Error::File { path: path.into(), problem });
        };
        lines.resize(lines.len().max(user + 1), Vec::new());
        lines[user].push(item);
    }
    Ok(lines)
}
