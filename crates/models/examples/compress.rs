//! What compression costs: fits one factored model, compresses it in every way, and prints recall, nDCG and bytes next to those of the
//! model itself.
//!
//! ```sh
//! cargo run --release -p rankstill-models --example compress -- citeulike-t '{"kind": "implicit_als"}' [seed] [kind]
//! ```
//! The folder below `$RANKSTILL_DATA` or `../shared/data` has `train.tsv`, `valid.tsv` and `test.tsv` with a user and an item a line. Lists
//! of 50 for the test part; items of the other two parts are not recommended.

use rankstill_core::registry::{self, Config};
use rankstill_core::{Error, Fit, Interactions, ItemId, Model, Query, Result, TopK};
use rankstill_models::{COMPRESSORS, MODELS};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let folder = args.next().unwrap_or_else(|| "citeulike-t".into());
    let base = args.next().unwrap_or_else(|| r#"{"kind": "implicit_als"}"#.into());
    let seed = args.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let value: Value = serde_json::from_str(&base)
        .map_err(|error| Error::Config { key: base.clone(), problem: error.to_string() })?;
    let only = args.next();
    let data = Data::read(&folder)?;
    let (_, recipe) = registry::parse(MODELS, Config { path: "", value: &value })?;
    println!("{}", recipe.config());
    let began = Instant::now();
    let model = recipe.fit(&data.train, &mut Fit::seeded(seed))?;
    println!("fitted in {:.1} s", began.elapsed().as_secs_f64());
    let exact = data.line("exact", &*model, None)?;
    for compress in
        ways().into_iter().filter(|way| only.as_ref().is_none_or(|only| way["kind"] == *only))
    {
        let (_, compressor) =
            registry::parse(COMPRESSORS, Config { path: "compress", value: &compress })?;
        let began = Instant::now();
        match compressor.compress(&*model, &data.train, seed) {
            Ok(compressed) => {
                let seconds = began.elapsed().as_secs_f64();
                let name = format!("{compress} {seconds:.1} s");
                data.line(&name, &*compressed, Some(exact))?;
            }
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}

fn ways() -> Vec<Value> {
    let mut ways: Vec<Value> =
        [8, 6, 4, 3, 2, 1].map(|bits| json!({"kind": "int", "bits": bits})).into();
    ways.extend([3, 2].map(|bits| json!({"kind": "int", "bits": bits, "rotate": true})));
    ways.extend([6, 8, 16, 20, 32].map(|dim| json!({"kind": "truncate", "dim": dim})));
    ways.extend([
        json!({"kind": "sign"}),
        json!({"kind": "sign", "users": "signs", "length": false}),
    ]);
    ways.push(json!({"kind": "sign", "planes": 256, "users": "signs"}));
    ways.extend([
        json!({"kind": "itq"}),
        json!({"kind": "itq", "users": "signs", "length": false}),
    ]);
    ways.extend([4, 8, 16, 32].map(|parts| json!({"kind": "pq", "parts": parts})));
    ways.extend([16, 32].map(|parts| json!({"kind": "pq", "parts": parts, "centres": 16})));
    ways.extend([8, 16].map(|parts| json!({"kind": "opq", "parts": parts})));
    ways.extend([16, 32].map(|parts| json!({"kind": "opq", "parts": parts, "centres": 16})));
    ways.extend([0.5, 0.25, 0.125].map(|keep| json!({"kind": "prune", "keep": keep})));
    ways.push(json!({"kind": "ivf"}));
    ways.extend([json!({"kind": "dmf"}), json!({"kind": "dmf", "users": "exact"})]);
    ways
}

struct Data {
    train: Arc<Interactions>,
    /// By user: items that must not be recommended besides those of the training part, and those to find.
    hidden: Vec<Vec<ItemId>>,
    targets: Vec<Vec<ItemId>>,
}

impl Data {
    fn read(folder: &str) -> Result<Self> {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        let root = std::env::var_os("RANKSTILL_DATA").map_or_else(default, PathBuf::from);
        let (mut users, mut items) = (HashMap::new(), HashMap::new());
        let mut parts = ["train", "valid", "test"].map(|part| {
            pairs(&root.join(folder).join(format!("{part}.tsv"))).map(|pairs| {
                let mut lines: Vec<Vec<ItemId>> = Vec::new();
                for (user, item) in pairs {
                    let (next_user, next_item) = (users.len(), items.len() as u32);
                    let user = *users.entry(user).or_insert(next_user);
                    lines.resize(lines.len().max(user + 1), Vec::new());
                    lines[user].push(*items.entry(item).or_insert(next_item));
                }
                lines
            })
        });
        let mut take = |part: usize| std::mem::replace(&mut parts[part], Ok(Vec::new()));
        let [mut train, mut hidden, mut targets] = [take(0)?, take(1)?, take(2)?];
        for lines in [&mut train, &mut hidden, &mut targets] {
            lines.resize(users.len(), Vec::new());
        }
        let train = Interactions::new(items.len(), train.into_iter().collect(), None, None)?;
        Ok(Self { train: Arc::new(train), hidden, targets })
    }

    /// Prints a line of the table; the recall.
    fn line(&self, name: &str, model: &dyn Model, exact: Option<f64>) -> Result<f64> {
        let (recall, ndcg) = self.measure(model)?;
        let bytes = model.serving_bytes();
        println!(
            "R@50 {recall:.4} N@50 {ndcg:.4} {:6.1}% {:7.1} B/item {:6.1} B/user  {name}",
            100.0 * recall / exact.unwrap_or(recall),
            bytes.items as f64 / model.n_items() as f64,
            bytes.users as f64 / self.train.n_users() as f64,
        );
        Ok(recall)
    }

    fn measure(&self, model: &dyn Model) -> Result<(f64, f64)> {
        let users: Vec<u32> = (0..self.train.n_users() as u32)
            .filter(|&user| !self.targets[user as usize].is_empty())
            .collect();
        let query = |&user: &u32| Query {
            user: Some(user),
            history: self.train.history(user),
            hidden: &self.hidden[user as usize],
        };
        let queries: Vec<Query<'_>> = users.iter().map(query).collect();
        let ranked = model.rank(&queries, &TopK::unseen(50))?;
        let gain = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
        let (mut recall, mut ndcg) = (0.0, 0.0);
        for (i, &user) in users.iter().enumerate() {
            let targets = &self.targets[user as usize];
            let found = ranked.items(i).iter().enumerate();
            let found =
                found.filter(|(_, item)| targets.contains(item)).map(|(rank, _)| gain(rank));
            let (hits, sum) = found.fold((0.0, 0.0), |(n, sum), gain| (n + 1.0, sum + gain));
            recall += hits / targets.len() as f64;
            ndcg += sum / (0..targets.len().min(50)).fold(0.0, |sum, rank| sum + gain(rank));
        }
        Ok((recall / users.len() as f64, ndcg / users.len() as f64))
    }
}

/// The lines of a file, without its header.
fn pairs(path: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let pair = |line: &str| line.split_once('\t').map(|(u, i)| (u.to_owned(), i.to_owned()));
    Ok(text.lines().skip(1).filter_map(pair).collect())
}
