//! The trees: training with `perpetual`, scoring, and their nodes on disk.

use super::candidates::N;
use perpetual::objective::Objective;
use perpetual::{Matrix, PerpetualBooster};
use rankstill_core::{Error, Result, Stop, Tensors};
use std::thread;
use std::time::Duration;

/// Trees as parallel arrays of nodes.
#[derive(Debug, Default)]
pub(super) struct Forest {
    /// The root of each tree.
    roots: Vec<u32>,
    /// The feature that a node splits on; `N` = it is a leaf.
    features: Vec<u32>,
    /// Smaller values of the feature go to `left`, others to `right`; for a leaf, its contribution to the score.
    pub values: Vec<f32>,
    left: Vec<u32>,
    right: Vec<u32>,
}

impl Forest {
    pub fn learn(
        rows: &[[f32; N]],
        labels: Vec<f64>,
        budget: f32,
        seed: u64,
        stop: &Stop,
    ) -> Result<Self> {
        if !labels.contains(&1.0) || !labels.contains(&0.0) {
            return Ok(Self::default()); // nothing to separate
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
        // The booster cannot be asked to stop: it learns on a thread of its own, which is left to itself then.
        let n_rows = rows.len();
        let learner = thread::spawn(move || {
            let learnt = booster.fit(&Matrix::new(&columns, n_rows, N), &labels, None, None);
            learnt.map(|()| booster).map_err(|error| error.to_string())
        });
        while !learner.is_finished() {
            stop.check()?;
            thread::sleep(Duration::from_millis(5));
        }
        let booster = learner.join().unwrap_or_else(|_| Err("panicked".into())).map_err(failed)?;

        let mut forest = Self::default();
        for tree in booster.get_prediction_trees() {
            let begin = forest.values.len();
            forest.roots.push(begin as u32);
            // Pruning leaves gaps in the numbers of its nodes.
            let mut numbers: Vec<usize> = tree.nodes.keys().copied().collect();
            numbers.sort_unstable();
            let index =
                |number: usize| numbers.binary_search(&number).map_or(0, |at| (begin + at) as u32);
            for number in &numbers {
                let node = &tree.nodes[number];
                let (feature, value) = match node.is_leaf {
                    true => (N, node.weight_value),
                    false => (node.split_feature, node.split_value as f32),
                };
                forest.features.push(feature as u32);
                forest.values.push(value);
                forest.left.push(if node.is_leaf { 0 } else { index(node.left_child) });
                forest.right.push(if node.is_leaf { 0 } else { index(node.right_child) });
            }
        }
        Ok(forest)
    }

    /// The sum of the leaves that a row falls into.
    pub fn score(&self, row: &[f32; N]) -> f32 {
        let leaf = |&root: &u32| {
            let mut at = root as usize;
            while let Some(&x) = row.get(self.features[at] as usize) {
                at = if x < self.values[at] { self.left[at] } else { self.right[at] } as usize;
            }
            self.values[at]
        };
        self.roots.iter().map(leaf).sum()
    }

    pub fn insert(&self, tensors: &mut Tensors) {
        tensors.insert("values", &[self.values.len()], self.values.clone());
        for (name, numbers) in self.numbers() {
            tensors.insert(name, &[numbers.len()], numbers.clone());
        }
    }

    fn numbers(&self) -> [(&'static str, &Vec<u32>); 4] {
        let Self { roots, features, left, right, .. } = self;
        [("roots", roots), ("features", features), ("left", left), ("right", right)]
    }

    /// Refuses children that do not follow their parent, so that every walk ends.
    pub fn read(tensors: &Tensors) -> Result<Self> {
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
