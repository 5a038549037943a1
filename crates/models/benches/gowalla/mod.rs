//! LightGCN's Gowalla split and its metrics, for the example and the benchmarks.

use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Error, Interactions, ItemId, Lists, Model, Query, Result, TopK};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct Gowalla {
    pub train: Arc<Interactions>,
    pub test: Lists<ItemId>,
}

impl Gowalla {
    /// From `train.tsv` and `test.tsv` in `$RANKSTILL_DATA/gowalla`, or in `shared/data/gowalla` next to the
    /// workspace.
    pub fn read() -> Result<Self> {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        let root = std::env::var_os("RANKSTILL_DATA").map_or_else(default, PathBuf::from);
        let (train, test) =
            (read(&root.join("gowalla/train.tsv"))?, read(&root.join("gowalla/test.tsv"))?);
        let largest = train.iter().chain(&test).flatten().max().copied().unwrap_or(0);
        let train = train.into_iter().collect();
        let train = Interactions::new(1 + largest as usize, train, None, None)?;
        Ok(Self { train: Arc::new(train), test: test.into_iter().collect() })
    }

    /// Replaces the test part by ceil(`share` n) of each user's n training items, but never all, to choose settings
    /// with. The same rule as `split.valid_from_train`.
    #[allow(dead_code)] // The benchmarks choose no settings.
    pub fn hold_out(self, share: f64) -> Result<Self> {
        let (mut train, mut held) = (Vec::new(), Vec::new());
        for (user, line) in self.train.items().iter().enumerate() {
            let mut line = line.to_vec();
            Rng::keyed(0, [user as u64]).shuffle(&mut line);
            let n = ((share * line.len() as f64).ceil() as usize).min(line.len().saturating_sub(1));
            train.push(line.split_off(n));
            held.push(line);
        }
        let n_items = self.train.n_items();
        let train = Interactions::new(n_items, train.into_iter().collect(), None, None)?;
        Ok(Self { train: Arc::new(train), test: held.into_iter().collect() })
    }

    /// Recall@20 and nDCG@20 (ideal over min(targets, 20)), the mean over the users with targets; seen items
    /// are masked.
    pub fn measure(&self, model: &dyn Model) -> Result<(f64, f64)> {
        let gain = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
        let users: Vec<usize> =
            (0..self.test.len()).filter(|&u| !self.test.row(u).is_empty()).collect();
        let query = |&user: &usize| {
            let history = self.train.history(user as u32);
            Query { user: Some(user as u32), history, hidden: &[] }
        };
        let queries: Vec<Query<'_>> = users.iter().map(query).collect();
        let ranked = model.rank(&queries, &TopK::unseen(20))?;
        let (mut recall, mut ndcg) = (0.0, 0.0);
        for (i, &user) in users.iter().enumerate() {
            let targets = self.test.row(user);
            let gains = ranked.items(i).iter().enumerate();
            let gains =
                gains.filter(|(_, item)| targets.contains(item)).map(|(rank, _)| gain(rank));
            let (hits, sum) = gains.fold((0.0, 0.0), |(n, sum), gain| (n + 1.0, sum + gain));
            recall += hits / targets.len() as f64;
            ndcg += sum / (0..targets.len().min(20)).fold(0.0, |sum, rank| sum + gain(rank));
        }
        Ok((recall / users.len() as f64, ndcg / users.len() as f64))
    }
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
