//! Boosted trees over counts: a ranker without vectors or gradients of its own, as many stand in production. What a query has and
//! an item are described by counts of the log ([`FEATURES`]); gradient-boosted trees say how likely the item comes next. The
//! trees are learnt by the crate `perpetual`, whose one setting is a budget; nothing else of it is kept but their nodes.
//!
//! - Learnt from: of each user, `samples` items of theirs, and for each of these `negatives` items that they do not have. The user
//!   does not count among the others, nor as somebody who has the item that is asked for: as if it were still to come.
//! - A query's `candidates` are what users with a like history have (the largest sums of b b / n). They are scored by the trees,
//!   and what is learnt from is drawn from them: only they are ever ranked by the trees. All other items stand below, by popularity.
//!
//! On HetComp's CiteULike split (Recall@50 / nDCG@50) the defaults reach .276 / .136, with 500 candidates .246 / .118; one of the sums
//! alone, over all users, .275 / .138.
//!
//! No paper's method: the plain form of what is done with LightGBM or XGBoost on hand-made features. Strangers are answered by their
//! history; one without a history gets the popular items.

use crate::baskets::{self, baskets, distinct};
use perpetual::objective::Objective;
use perpetual::{Matrix, PerpetualBooster};
use rankstill_core::kernel::csr::Csr;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::registry::Config;
use rankstill_core::{
    Error, Fit, Interactions, ItemId, Model, Query, Recipe, Result, Scorer, Tensors,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// What is known of a query and an item, in this order. c(i, j) is how many users have both, n(i) how many have one; of another user
/// who has i, b is how many items of the history they have, n how many they have at all.
pub const FEATURES: [&str; 14] = [
    "items in the history",
    "n(i)",
    "items of the history with c(i, j) > 0",
    "sum of c(i, j) over the history",
    "largest c(i, j)",
    "sum of c(i, j) / sqrt(n(i) n(j))",
    "largest c(i, j) / sqrt(n(i) n(j))",
    "c(i, j) of the latest item",
    "c(i, j) / sqrt(n(i) n(j)) of the latest item",
    "sum of b / sqrt(n) over the users who have i",
    "sum of b b / n over the users who have i",
    "the summed cosine as a share of the query's largest",
    "the sum of b / sqrt(n) as a share of the query's largest",
    "the sum of b b / n as a share of the query's largest",
];

/// Of these features, the last three are shares: without them trees, which cut by absolute values, rank worse than one sum alone.
const SHARED: [usize; 3] = [5, 9, 10];

/// Gradient-boosted trees over counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoostedTrees {
    /// How much is learnt: .1 is little, .5 usual, 2 a lot. Each step of .1 takes about a quarter longer.
    pub budget: f32,
    /// So many items are scored a query.
    pub candidates: usize,
    /// Items of a user that are learnt from.
    pub samples: usize,
    /// Items drawn beside each of these.
    pub negatives: usize,
    /// At most so many users are learnt from, spread evenly; 0 = all.
    pub users: usize,
}

impl Default for BoostedTrees {
    fn default() -> Self {
        Self { budget: 0.5, candidates: 200, samples: 2, negatives: 10, users: 20_000 }
    }
}

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: BoostedTrees = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl BoostedTrees {
    fn check(&self) -> Result<()> {
        if !(self.budget > 0.0 && self.budget <= 10.0) {
            let problem = format!("must be above 0 and at most 10, is {}", self.budget);
            return Err(crate::invalid("budget", problem));
        }
        let counts = [
            ("candidates", self.candidates),
            ("samples", self.samples),
            ("negatives", self.negatives),
        ];
        match counts.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(crate::invalid(key, "must be at least 1")),
            None => Ok(()),
        }
    }

    /// Features of items that were asked for and of others, and which is which.
    fn examples(&self, log: &Log, train: &Interactions, seed: u64) -> (Vec<[f32; N]>, Vec<f64>) {
        let step = match self.users {
            0 => 1,
            most => train.n_users().div_ceil(most).max(1),
        };
        let users: Vec<u32> = (0..train.n_users() as u32).step_by(step).collect();
        let taught: Vec<Vec<([f32; N], f64)>> = users
            .par_iter()
            .map_init(
                || Met::new(log),
                |met, &user| {
                    let mut rows = Vec::new();
                    let line = train.history(user);
                    let mut asked = distinct(line);
                    if asked.len() < 2 {
                        return rows;
                    }
                    let mut rng = Rng::keyed(seed, [DRAWS, u64::from(user)]);
                    rng.shuffle(&mut asked);
                    for &target in asked.iter().take(self.samples) {
                        let history: Vec<ItemId> =
                            line.iter().copied().filter(|&item| item != target).collect();
                        let asked_for = Some((user, target));
                        let mut near = log.candidates(&history, asked_for, self.candidates, met);
                        let Some(at) = near.iter().position(|(item, _)| *item == target) else {
                            continue; // it would not be ranked by the trees
                        };
                        rows.push((near.swap_remove(at).1, 1.0));
                        near.retain(|(item, _)| !asked.contains(item));
                        near.sort_unstable_by_key(|(item, _)| *item);
                        for _ in 0..self.negatives.min(near.len()) {
                            let at = rng.below(near.len() as u32) as usize;
                            rows.push((near.swap_remove(at).1, 0.0));
                        }
                    }
                    rows
                },
            )
            .collect();
        taught.into_iter().flatten().unzip()
    }
}

/// Keeps the draws apart from all others.
const DRAWS: u64 = 0x5452_4545;

impl Recipe for BoostedTrees {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        let log = Log::new(baskets(train));
        let (rows, wanted) = self.examples(&log, train, fit.seed);
        let forest = Forest::learn(&rows, &wanted, self.budget, fit.seed)?;
        Ok(Box::new(Boosted { candidates: self.candidates, log, forest }))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let n_items = baskets::read_n_items(tensors)?;
        let log = Log::new(baskets::read(tensors, n_items, false)?);
        Ok(Box::new(Boosted { candidates: self.candidates, log, forest: Forest::read(tensors)? }))
    }

    fn config(&self) -> Value {
        crate::settings(self)
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let users = if self.users == 0 { n_users } else { self.users.min(n_users) };
        let rows = users * self.samples * (1 + self.negatives);
        // Features as drawn and as the trees' columns; the log both ways; what is met of a query.
        let threads = rayon::current_num_threads();
        (12 * N * rows
            + 8 * n_interactions
            + (16 + 8 * N * threads) * n_items
            + 8 * threads * n_users) as u64
    }
}

const N: usize = FEATURES.len();

/// The log, by users and by items.
struct Log {
    baskets: Csr,
    users_of: Csr,
}

impl Log {
    fn new(baskets: Csr) -> Self {
        let users_of = baskets.transpose();
        Self { baskets, users_of }
    }

    fn n_items(&self) -> usize {
        self.users_of.n_rows()
    }

    /// The `most` items that users with a like history have, with their features; items of the history are among them. While
    /// learning, of somebody who has the item that is asked for: neither counts then.
    fn candidates(
        &self,
        history: &[ItemId],
        asked_for: Option<(u32, ItemId)>,
        most: usize,
        met: &mut Met,
    ) -> Vec<(ItemId, [f32; N])> {
        let known = |item: &ItemId| (*item as usize) < self.n_items();
        let latest = history.iter().rev().copied().find(known);
        let mut history = distinct(history);
        history.retain(known);
        let others = |item: ItemId| {
            let users = self.users_of.row(item as usize).iter().copied();
            users.filter(move |&user| asked_for.is_none_or(|(own, _)| own != user))
        };
        let n = |item: ItemId| {
            let less = u32::from(asked_for.is_some_and(|(_, target)| target == item));
            (self.users_of.row(item as usize).len() as u32 - less).max(1) as f32
        };
        // By rising item and user, so that the last bits of a sum do not depend on the order of the history.
        for &own in &history {
            for user in others(own) {
                if met.shared[user as usize] == 0 {
                    met.users.push(user);
                }
                met.shared[user as usize] += 1;
                for &item in self.baskets.row(user as usize) {
                    if met.both[item as usize] == 0 {
                        met.items.push(item);
                    }
                    met.both[item as usize] += 1;
                }
            }
            for item in met.items.drain(..) {
                let both = std::mem::take(&mut met.both[item as usize]) as f32;
                let features = &mut met.features[item as usize];
                if features[2] == 0.0 {
                    met.all.push(item);
                }
                let cosine = both / (n(item) * n(own)).sqrt();
                features[2] += 1.0;
                features[3] += both;
                features[4] = features[4].max(both);
                features[5] += cosine;
                features[6] = features[6].max(cosine);
                if latest == Some(own) {
                    features[7] = both;
                    features[8] = cosine;
                }
            }
        }
        met.users.sort_unstable();
        for user in met.users.drain(..) {
            let basket = self.baskets.row(user as usize);
            let shared = std::mem::take(&mut met.shared[user as usize]) as f32;
            let alike = shared / (basket.len() as f32).sqrt();
            for &item in basket {
                let features = &mut met.features[item as usize];
                features[9] += alike;
                features[10] += alike * alike;
            }
        }
        let mut found: Vec<(ItemId, [f32; N])> = met
            .all
            .drain(..)
            .map(|item| {
                let mut features = std::mem::take(&mut met.features[item as usize]);
                features[0] = history.len() as f32;
                features[1] = n(item);
                (item, features)
            })
            .collect();
        if found.len() > most {
            let nearer = |a: &(ItemId, [f32; N]), b: &(ItemId, [f32; N])| {
                b.1[10].total_cmp(&a.1[10]).then(a.0.cmp(&b.0))
            };
            found.select_nth_unstable_by(most - 1, nearer);
            found.truncate(most);
        }
        for (share, of) in (N - SHARED.len()..).zip(SHARED) {
            let others = found.iter().filter(|(item, _)| history.binary_search(item).is_err());
            let most = others.fold(0.0f32, |most, (_, features)| most.max(features[of]));
            if most > 0.0 {
                found.iter_mut().for_each(|(_, features)| features[share] = features[of] / most);
            }
        }
        found
    }
}

/// What is met around a query; all zero and empty between two.
struct Met {
    /// By item: how many users have it and one item of the history.
    both: Vec<u32>,
    items: Vec<ItemId>,
    /// By user: how many items of the history they have.
    shared: Vec<u32>,
    users: Vec<u32>,
    features: Vec<[f32; N]>,
    all: Vec<ItemId>,
}

impl Met {
    fn new(log: &Log) -> Self {
        let (n_users, n_items) = (log.baskets.n_rows(), log.n_items());
        Self {
            both: vec![0; n_items],
            items: Vec::new(),
            shared: vec![0; n_users],
            users: Vec::new(),
            features: vec![[0.0; N]; n_items],
            all: Vec::new(),
        }
    }
}

/// Trees as parallel arrays of nodes.
#[derive(Debug, Default)]
struct Forest {
    /// Where each tree begins: its root.
    roots: Vec<u32>,
    /// What a node asks for; `N` = it is a leaf.
    features: Vec<u32>,
    /// Below it goes to `left`, else to `right`; of a leaf, what it adds.
    values: Vec<f32>,
    left: Vec<u32>,
    right: Vec<u32>,
}

impl Forest {
    fn learn(rows: &[[f32; N]], wanted: &[f64], budget: f32, seed: u64) -> Result<Self> {
        if !wanted.contains(&1.0) || !wanted.contains(&0.0) {
            return Ok(Self::default()); // nothing to tell apart
        }
        let columns: Vec<f64> = (0..N)
            .flat_map(|feature| rows.iter().map(move |row| f64::from(row[feature])))
            .collect();
        let mut booster = PerpetualBooster::default()
            .set_objective(Objective::LogLoss)
            .set_budget(budget)
            .set_seed(seed)
            .set_num_threads(Some(rayon::current_num_threads()));
        let failed = |problem: String| Error::Ranker { name: "boosted_trees".into(), problem };
        booster
            .fit(&Matrix::new(&columns, rows.len(), N), wanted, None, None)
            .map_err(|error| failed(error.to_string()))?;

        let mut forest = Self::default();
        for tree in booster.get_prediction_trees() {
            let begin = forest.values.len();
            forest.roots.push(begin as u32);
            // Its nodes have numbers from 0 without gaps only where nothing was cut away.
            let mut numbers: Vec<usize> = tree.nodes.keys().copied().collect();
            numbers.sort_unstable();
            let place =
                |number: usize| numbers.binary_search(&number).map_or(0, |at| (begin + at) as u32);
            for number in &numbers {
                let node = &tree.nodes[number];
                let (feature, value) = match node.is_leaf {
                    true => (N, node.weight_value),
                    false => (node.split_feature, node.split_value as f32),
                };
                forest.features.push(feature as u32);
                forest.values.push(value);
                forest.left.push(if node.is_leaf { 0 } else { place(node.left_child) });
                forest.right.push(if node.is_leaf { 0 } else { place(node.right_child) });
            }
        }
        Ok(forest)
    }

    /// The sum of the leaves that a row falls into.
    fn score(&self, row: &[f32; N]) -> f32 {
        let leaf = |&root: &u32| {
            let mut at = root as usize;
            while let Some(&x) = row.get(self.features[at] as usize) {
                at = if x < self.values[at] { self.left[at] } else { self.right[at] } as usize;
            }
            self.values[at]
        };
        self.roots.iter().map(leaf).sum()
    }

    fn insert(&self, tensors: &mut Tensors) {
        tensors.insert("values", &[self.values.len()], self.values.clone());
        for (name, numbers) in self.numbers() {
            tensors.insert(name, &[numbers.len()], numbers.clone());
        }
    }

    fn numbers(&self) -> [(&'static str, &Vec<u32>); 4] {
        let Self { roots, features, left, right, .. } = self;
        [("roots", roots), ("features", features), ("left", left), ("right", right)]
    }

    /// Children stand behind their parent, so that a walk ends.
    fn read(tensors: &Tensors) -> Result<Self> {
        let read = |name: &str| tensors.u32s(name).map(<[u32]>::to_vec);
        let (features, left, right) = (read("features")?, read("left")?, read("right")?);
        let (n, roots) = (features.len(), read("roots")?);
        let values = tensors.f32s("values", n)?.to_vec();
        let wrong = |name: &str, problem: String| Error::Tensor { name: name.into(), problem };
        for (name, found) in [("left", left.len()), ("right", right.len())] {
            if found != n {
                return Err(wrong(name, format!("expected {n} numbers, found {found}")));
            }
        }
        if let Some(root) = roots.iter().find(|&&root| root as usize >= n) {
            return Err(wrong("roots", format!("expected numbers below {n}, found {root}")));
        }
        for at in 0..n {
            if !values[at].is_finite() {
                return Err(wrong(
                    "values",
                    format!("expected finite numbers, found {}", values[at]),
                ));
            }
            let inner = (features[at] as usize) < N;
            for (name, child) in [("left", left[at] as usize), ("right", right[at] as usize)] {
                if inner && (child <= at || child >= n) {
                    let problem = format!("node {at}: expected a later node, found {child}");
                    return Err(wrong(name, problem));
                }
            }
        }
        Ok(Self { roots, features, values, left, right })
    }
}

/// The log and the trees.
struct Boosted {
    candidates: usize,
    log: Log,
    forest: Forest,
}

impl Scorer for Boosted {
    fn n_items(&self) -> usize {
        self.log.n_items()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        // Every candidate is above all others: these are 0 for who has everybody, less the fewer.
        let n_users = self.log.baskets.n_rows().max(1) as f32;
        let popularity: Vec<f32> = (0..self.n_items())
            .map(|item| self.log.users_of.row(item).len() as f32 / n_users - 1.0)
            .collect();
        let mut met = Met::new(&self.log);
        for (query, row) in queries.iter().zip(out.chunks_exact_mut(self.n_items().max(1))) {
            row.copy_from_slice(&popularity);
            let mut near = self.log.candidates(query.history, None, self.candidates, &mut met);
            near.sort_unstable_by_key(|(item, _)| *item);
            let scores: Vec<f32> = near.iter().map(|(_, row)| self.forest.score(row)).collect();
            let least = scores.iter().copied().fold(f32::INFINITY, f32::min);
            for ((item, _), score) in near.iter().zip(scores) {
                row[*item as usize] = 1.0 + (score - least);
            }
        }
    }
}

impl Model for Boosted {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        baskets::insert_n_items(&mut tensors, self.n_items());
        baskets::insert(&mut tensors, &self.log.baskets);
        self.forest.insert(&mut tensors);
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.log.baskets.n_entries() + 4 * self.forest.values.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::Lists;

    fn log() -> Log {
        let lines = [vec![0, 1, 2], vec![0, 1], vec![1, 3], vec![2, 3, 4]];
        let train = Interactions::new(6, Lists::from_iter(lines), None, None).unwrap();
        Log::new(baskets(&train))
    }

    fn features(found: &[(ItemId, [f32; N])], item: ItemId) -> Option<[f32; N]> {
        found.iter().find(|(other, _)| *other == item).map(|(_, features)| *features)
    }

    #[test]
    fn counts_by_hand() {
        let log = log();
        let mut met = Met::new(&log);
        // 1: two users have it with 0, one with 2; it has three users, 0 and 2 have two each. The first has both 0 and 2 and three
        // items, the second 0 and two items.
        let found = log.candidates(&[2, 0], None, 9, &mut met);
        let cosines = [2.0 / 6f32.sqrt(), 1.0 / 6f32.sqrt()];
        let alike = [2.0 / 3f32.sqrt(), 1.0 / 2f32.sqrt()];
        let by_hand = [
            2.0,
            3.0,
            2.0,
            3.0,
            2.0,
            cosines[0] + cosines[1],
            cosines[0],
            2.0,
            cosines[0],
            alike[0] + alike[1],
            4.0 / 3.0 + 0.5,
            1.0,
            1.0,
            1.0,
        ];
        let ours = features(&found, 1).unwrap();
        for (found, by_hand) in ours.iter().zip(by_hand) {
            assert!((found - by_hand).abs() < 1e-6, "{ours:?} {by_hand:?}");
        }
        assert!(features(&found, 5).is_none(), "nobody has it");
        // The same asked again, and with a stranger in the history: nothing was left lying.
        assert_eq!(features(&log.candidates(&[2, 77, 0], None, 9, &mut met), 1), Some(ours));
        assert_eq!(log.candidates(&[2, 0], None, 2, &mut met).len(), 2);
    }

    #[test]
    fn the_one_who_is_asked_about_does_not_count() {
        let log = log();
        let mut met = Met::new(&log);
        // The first user, who has 0, 1 and 2, is asked for 1: one other user has it with 0, nobody with 2.
        let found = log.candidates(&[0, 2], Some((0, 1)), 9, &mut met);
        let ours = features(&found, 1).unwrap();
        assert_eq!((ours[1], ours[2], ours[3]), (2.0, 1.0, 1.0));
        assert!((ours[10] - 0.5).abs() < 1e-6, "{ours:?}");
        assert_eq!(features(&found, 3).unwrap()[3], 1.0, "of the others, all count");
    }

    #[test]
    fn our_walk_through_the_trees_is_theirs() {
        let mut rng = Rng::new(5);
        let rows: Vec<[f32; N]> =
            (0..2000).map(|_| std::array::from_fn(|_| rng.below(40) as f32)).collect();
        let wanted: Vec<f64> =
            rows.iter().map(|row| f64::from(u8::from(row[1] + row[5] > 40.0))).collect();
        let forest = Forest::learn(&rows, &wanted, 0.3, 1).unwrap();
        let columns: Vec<f64> =
            (0..N).flat_map(|at| rows.iter().map(move |row| f64::from(row[at]))).collect();
        let mut theirs = PerpetualBooster::default()
            .set_objective(Objective::LogLoss)
            .set_budget(0.3)
            .set_seed(1);
        let matrix = Matrix::new(&columns, rows.len(), N);
        theirs.fit(&matrix, &wanted, None, None).unwrap();
        let said = theirs.predict(&matrix, false);
        for (row, said) in rows.iter().zip(&said) {
            let ours = f64::from(forest.score(row)) + theirs.base_score;
            assert!((ours - said).abs() < 1e-4, "{ours} {said}");
        }
        let right = rows.iter().zip(&wanted).filter(|(row, wanted)| {
            (f64::from(forest.score(row)) + theirs.base_score > 0.0) == (**wanted == 1.0)
        });
        assert!(right.count() > 1900);
    }

    #[test]
    fn files_that_lie_are_refused() {
        let train = crate::testing::blocks();
        let recipe = BoostedTrees::default();
        let tensors = crate::testing::fit(&recipe, &train, 1).tensors();
        assert!(recipe.load(&tensors).is_ok());
        let n = tensors.u32s("left").unwrap().len();
        let spoil = |name: &str, data: rankstill_core::Data| {
            let mut tensors = tensors.clone();
            let shape = [data.len()];
            tensors.insert(name, &shape, data);
            recipe.load(&tensors).err().map(|error| error.to_string()).unwrap()
        };
        assert!(n > 0 && spoil("left", vec![0u32; n].into()).contains("later node"));
        assert!(spoil("right", vec![0u32; n + 1].into()).contains("expected"));
        assert!(spoil("roots", vec![n as u32].into()).contains("below"));
        assert!(spoil("values", vec![f32::NAN; n].into()).contains("finite"));
    }
}
