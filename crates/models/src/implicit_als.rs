//! ALS for implicit feedback: user and item vectors whose products are near 1 where there was an interaction
//! and near 0 elsewhere, over all pairs, with more confidence in those of the log (Hu, Koren, Volinsky, ICDM
//! 2008): minimise sum over all (u, i) of c (p - x_u y_i)^2 + sum of l2_u |x_u|^2 + sum of l2_i |y_i|^2. A pair
//! of the log has p = 1 and c = 1 + alpha r, with r the sum of its weights, or how often it occurs; any other
//! pair has p = 0 and c = 1. An iteration solves for all items and then for all users, each with the other side
//! fixed.
//!
//! A row's penalty is l2 times a power of the row's summed confidence, the 1 of every pair included: l2_u = l2
//! (n_items + alpha times the summed r of u)^l2_exponent, and alike for items. The default exponent of 1 is the
//! frequency regularisation of iALS (Rendle, Krichene, Zhang, Koren, "Revisiting the performance of iALS on item
//! recommendation benchmarks", RecSys 2022): its unobserved weight is 1 / alpha, its lambda is l2, and its lambda
//! (|I_u| + alpha_0 |I|)^nu is ours for nu = 1. It is undivided, and so the same per unit of confidence on both
//! sides. An exponent of 0 is the first paper's, the same penalty for all rows.
//!
//! Two solvers: `conjugate_gradient` takes `steps` steps from a row's current vector (Takacs, Pilaszy, Tikk,
//! RecSys 2011; three, as in the library `implicit`), `cholesky` solves exactly. Solving exactly for a block of
//! dimensions after the other (iALS++: Rendle et al., 2021, arXiv 2110.14044) was tried and left out: on HetComp's
//! CiteULike split it was not better than three steps and at least four times as slow, with 64 and with 256
//! dimensions. `alpha` here is the library's minus 1: its confidence of a pair is alpha r, ours 1 + alpha r.
//!
//! The paper starts an iteration with the users. Here they come last, so that known and new users are treated
//! alike: a new user's vector is the exact solution for the history (each item once, r = 1) given the final
//! items. A known user keeps the trained vector, whatever the history.
//!
//! On HetComp's CiteULike split (Recall@50 / nDCG@50, means of three seeds) the defaults reach .316 / .155 with 64
//! dimensions and .330 / .163 with 128 (`patience = 0`). l2 = .03 is best or nearly so on the validation parts of that
//! log, of MovieLens 100K and of Amazon Beauty, if 1 / alpha is a few times the share of all pairs that the log has:
//! hence `alpha = 0`. On Gowalla alpha = 100 and l2 = .003 are better by 4%.

mod model;
mod progress;

use crate::parts::baskets::{baskets, distinct};
use crate::parts::settings::{self, Checked};
use model::AlsModel;
use progress::Fitting;
use rankstill_core::kernel::als::{self, HalfPass};
use rankstill_core::kernel::csr::Csr;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::{Error, Fit, Interactions, Model, ModelConfig, Recipe, Result, Stop, Tensors};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Matrix factorisation by alternating least squares on confidences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImplicitAls {
    /// Number of dimensions of the vectors.
    pub dim: usize,
    /// Penalty on the squared norm of a row's vector, per unit of the row's summed confidence to the power
    /// `l2_exponent`.
    pub l2: f64,
    /// How a row's penalty grows with its summed confidence; 0 = the same for all rows, 1 = in proportion.
    pub l2_exponent: f64,
    /// Confidence that each interaction adds to the 1 of every pair; 0 = so much that those of the log add a third of
    /// what all pairs have.
    pub alpha: f64,
    /// Treats every pair of the log as one interaction, whatever its weights and repeats.
    pub binary: bool,
    /// How a row's least-squares problem is solved.
    pub solver: Solver,
    /// Maximum number of iterations.
    pub iterations: usize,
    /// Number of iterations between validations.
    pub validate_every: usize,
    /// Stop after this many validations without improvement and keep the best model; 0 = run all iterations and
    /// keep the last.
    pub patience: usize,
    /// Expected norm of the initial vectors, which are normally distributed.
    pub init_length: f64,
}

impl Default for ImplicitAls {
    fn default() -> Self {
        Self {
            dim: 64,
            l2: 0.03,
            l2_exponent: 1.0,
            alpha: 0.0,
            binary: false,
            solver: Solver::ConjugateGradient { steps: 3 },
            iterations: 15,
            validate_every: 3,
            patience: 2,
            init_length: 0.1,
        }
    }
}

/// How a row's least-squares problem is solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Solver {
    /// Approximately, starting from the row's last vector.
    ConjugateGradient {
        /// Number of steps.
        steps: usize,
    },
    /// Exactly.
    Cholesky,
}

/// A row's solution costs the square of it, in memory too.
const MAX_DIM: usize = 2048;

const MAX_ALPHA: f64 = 1e6;

/// With `alpha` = 0, the confidence of all pairs divided by what the log adds.
const SHARE: f64 = 3.0;

/// Rows per task: few, so that the active ones do not all fall into one task.
const CHUNK: usize = 32;

impl Checked for ImplicitAls {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=MAX_DIM)?;
        let numbers = [
            ("l2", self.l2, 1e9),
            ("l2_exponent", self.l2_exponent, 2.0),
            ("alpha", self.alpha, MAX_ALPHA),
            ("init_length", self.init_length, 1e3),
        ];
        for (key, value, max) in numbers {
            // Without a penalty the vector of a user without interactions would be undetermined.
            let min = if key == "l2" || key == "init_length" { f64::MIN_POSITIVE } else { 0.0 };
            let bound = if min > 0.0 { "above" } else { "at least" };
            let bound = format!("{bound} 0 and at most {max:e}");
            settings::must((min..=max).contains(&value), key, bound, value)?;
        }
        let steps = match self.solver {
            Solver::ConjugateGradient { steps } => steps,
            Solver::Cholesky => 1,
        };
        let counts = [
            ("iterations", self.iterations),
            ("validate_every", self.validate_every),
            ("solver.steps", steps),
        ];
        match counts.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(settings::invalid(key, "must be at least 1")),
            None => Ok(()),
        }
    }
}

impl ImplicitAls {
    /// What an interaction adds to the confidence of its pair in this log.
    fn alpha_for(&self, train: &Interactions) -> f64 {
        if self.alpha > 0.0 {
            return self.alpha;
        }
        let total = match train.weights() {
            _ if self.binary => baskets(train).n_entries() as f64,
            None => train.len() as f64,
            Some(weights) => weights.iter().fold(0.0, |sum, &weight| sum + f64::from(weight)),
        };
        let pairs = train.n_users() as f64 * train.n_items() as f64;
        // As it is saved, in `f32`.
        f64::from((pairs / (SHARE * total)).clamp(1e-3, MAX_ALPHA) as f32)
    }

    /// Users x items: alpha r of every pair of the log.
    fn confidences(&self, train: &Interactions, alpha: f64) -> Result<Csr> {
        let (mut offsets, mut items, mut values) = (vec![0], Vec::new(), Vec::new());
        for user in 0..train.n_users() {
            let line = train.items().row(user);
            let first = items.len();
            items.extend(distinct(line));
            values.resize(items.len(), 0.0f64);
            for (&item, at) in line.iter().zip(train.items().range(user)) {
                let value = match train.weights() {
                    Some(weights) if !self.binary => f64::from(weights[at]),
                    _ => 1.0,
                };
                if !(value >= 0.0 && value.is_finite()) {
                    let problem = format!(
                        "user {user} has item {item} with weight {value}; confidences must not be negative: filter such \
                         rows, or set binary = true"
                    );
                    return Err(settings::invalid("alpha", problem));
                }
                let position = items[first..].binary_search(&item).unwrap_or_default();
                values[first + position] += value;
            }
            offsets.push(items.len());
        }
        let extra = |r: &f64| (alpha * if self.binary { 1.0 } else { *r }) as f32;
        let values = values.iter().map(extra).collect();
        Ok(Csr::new(train.n_items(), offsets, items, Some(values)).expect("items of the catalogue"))
    }

    /// Each row's penalty.
    fn penalties(&self, extra: &Csr) -> Vec<f32> {
        let n_columns = extra.n_cols() as f64;
        let penalty = |row| {
            let extra = extra.row_values(row).unwrap_or_default().iter();
            let of_entries = extra.fold(0.0, |sum, &x| sum + f64::from(x));
            // The 1 of each entry's confidence is among that of the columns.
            self.penalty(n_columns + of_entries) as f32
        };
        (0..extra.n_rows()).map(penalty).collect()
    }

    /// The penalty of a row with this summed confidence.
    fn penalty(&self, confidence: f64) -> f64 {
        self.l2 * confidence.powf(self.l2_exponent)
    }

    /// Solves for all vectors of one side.
    fn solve(&self, half: HalfPass<'_>, vectors: &mut [f32], stop: &Stop) {
        let dim = half.others.dim();
        vectors.par_chunks_mut(CHUNK * dim).enumerate().for_each(|(chunk, vectors)| {
            let first = chunk * CHUNK;
            let rows = first..first + vectors.len() / dim;
            if stop.asked() {
                return;
            }
            match self.solver {
                Solver::ConjugateGradient { steps } => {
                    als::conjugate_gradient(half, steps, rows, vectors);
                }
                Solver::Cholesky => als::exact(half, rows, vectors),
            }
        });
    }

    /// One iteration; returns the loss over all pairs, penalties included. Asked to stop, it leaves half an iteration behind.
    fn iterate(&self, model: &mut AlsModel, of_users: &Side, of_items: &Side, stop: &Stop) -> f64 {
        let stride = model.stride;
        fn rows(data: &[f32], n: usize) -> Rows<'_> {
            Rows::dense(data, n, data.len() / n.max(1))
        }
        let (n_users, n_items) = (of_users.extra.n_rows(), of_items.extra.n_rows());

        let users = rows(&model.users, n_users);
        let gram = als::gram(users, &model.users);
        self.solve(of_items.half(users, &gram), &mut model.items, stop);

        if stop.asked() {
            return 0.0;
        }
        let items = rows(&model.items, n_items);
        let gram_of_items = als::gram(items, &model.items);
        let half = of_users.half(items, &gram_of_items);
        self.solve(half, &mut model.users, stop);

        if stop.asked() {
            return 0.0;
        }
        // |X Y'|^2 is the sum over X'X times Y'Y; the entries of the log differ from that.
        let gram_of_users = als::gram(rows(&model.users, n_users), &model.users);
        let product = |sum, (x, y): (&f32, &f32)| sum + f64::from(*x) * f64::from(*y);
        let all = gram_of_users.iter().zip(&gram_of_items).fold(0.0, product);
        let users = model.users.par_chunks(CHUNK * stride).enumerate();
        let entries: Vec<f64> = users
            .map(|(chunk, vectors)| {
                let first = chunk * CHUNK;
                als::loss_of_entries(half, first..first + vectors.len() / stride, vectors)
            })
            .collect();
        let penalties = [(&model.users, of_users), (&model.items, of_items)].map(|(data, side)| {
            let length = |row: &[f32]| row.iter().zip(row).fold(0.0, product);
            let pairs = data.chunks_exact(stride).zip(&side.l2);
            pairs.fold(0.0, |sum, (row, l2)| sum + f64::from(*l2) * length(row))
        });
        model.changed();
        entries.iter().chain(&penalties).fold(all, |sum, x| sum + x)
    }
}

/// The log and the penalties, by the rows of one side.
struct Side {
    extra: Csr,
    l2: Vec<f32>,
}

impl Side {
    fn half<'a>(&'a self, others: Rows<'a>, gram: &'a [f32]) -> HalfPass<'a> {
        HalfPass { extra: &self.extra, others, gram, l2: &self.l2 }
    }
}

impl Recipe for ImplicitAls {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        if train.is_empty() {
            let problem = "no training interaction is left; loosen the filters or the split";
            return Err(Error::Data { problem: problem.into() });
        }
        let of_users = self.confidences(train, self.alpha_for(train))?;
        let of_items = of_users.transpose();
        let of_users = Side { l2: self.penalties(&of_users), extra: of_users };
        let of_items = Side { l2: self.penalties(&of_items), extra: of_items };

        let mut fitting = Fitting::begin(self, train, fit)?;
        while !fitting.is_over() {
            let began = Instant::now();
            let loss = self.iterate(&mut fitting.model, &of_users, &of_items, &fit.stop);
            fit.stop.check()?; // half an iteration is no model, and not checkpointed
            let loss = loss / of_users.extra.n_entries() as f64;
            if !loss.is_finite() {
                return Err(Error::Diverged { epoch: fitting.progress.iteration, loss });
            }
            fitting.finish_iteration(loss, began.elapsed().as_secs_f64(), fit)?;
        }
        fitting.end()
    }
}

impl ModelConfig for ImplicitAls {
    fn kind(&self) -> &'static str {
        "implicit_als"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(AlsModel::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let (rows, n) = ((n_users + n_items) as u64, n_interactions as u64);
        // Vectors and the best ones; packed items; the log by users and by items; Gram matrices.
        4 * rows * (2 * self.dim.next_multiple_of(16) as u64 + 8)
            + 4 * n_items as u64 * self.dim as u64
            + 16 * n
            + 32 * (self.dim * self.dim) as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;
    use rankstill_core::{Lists, Query};

    fn log(weights: Option<Vec<f32>>) -> Arc<Interactions> {
        let lines = [vec![0, 1, 0], vec![2], vec![1, 2], vec![]];
        Arc::new(Interactions::new(4, Lists::from_iter(lines), None, weights).unwrap())
    }

    fn fitted(recipe: &ImplicitAls, train: &Arc<Interactions>) -> Result<Box<dyn Model>> {
        recipe.fit(train, &mut Fit::seeded(3))
    }

    #[test]
    fn confidences_sum_repeats_and_weights() {
        let recipe = ImplicitAls::default();
        let values = |recipe: &ImplicitAls, weights| {
            recipe.confidences(&log(weights), 2.0).unwrap().values().unwrap().to_vec()
        };
        assert_eq!(values(&recipe, None), [4.0, 2.0, 2.0, 2.0, 2.0]);
        let weights = Some(vec![1.0, 0.5, 3.0, 4.0, 0.0, 2.0]);
        assert_eq!(values(&recipe, weights.clone()), [8.0, 1.0, 8.0, 0.0, 4.0]);
        let binary = ImplicitAls { binary: true, ..recipe.clone() };
        assert_eq!(values(&binary, weights), [2.0; 5]);
        let negative = Some(vec![1.0, 1.0, 1.0, -2.0, 1.0, 1.0]);
        let error = recipe.confidences(&log(negative), 2.0).unwrap_err();
        assert!(error.to_string().contains("user 1 has item 2 with weight -2"), "{error}");
    }

    #[test]
    fn penalties_follow_the_summed_confidence() {
        // User 0 has item 0 twice, alpha is 2: the entries add 4 + 2; then 2, 2 + 2, and nothing to the four
        // columns.
        let recipe =
            ImplicitAls { alpha: 2.0, l2: 0.5, l2_exponent: 1.0, ..ImplicitAls::default() };
        let extra = recipe.confidences(&log(None), recipe.alpha).unwrap();
        assert_eq!(recipe.penalties(&extra), [5.0, 3.0, 4.0, 2.0]);
        // Items 0, 1, 2 have 4, 2 + 2, 2 + 2 of four users.
        let of_items = extra.transpose();
        assert_eq!(recipe.penalties(&of_items), [4.0, 4.0, 4.0, 2.0]);
        let plain = ImplicitAls { l2_exponent: 0.0, ..recipe };
        assert_eq!(plain.penalties(&extra), [0.5; 4]);
    }

    #[test]
    fn alpha_unset_makes_the_log_weigh_a_third_of_all_pairs() {
        // 16 pairs; six interactions of five pairs, or of the weight 10.
        let of = |recipe: &ImplicitAls, weights| recipe.alpha_for(&log(weights));
        let recipe = ImplicitAls::default();
        let weights = Some(vec![1.0, 0.5, 3.0, 3.5, 0.0, 2.0]);
        for (found, third) in [
            (of(&recipe, None), 16.0 / 18.0),
            (of(&recipe, weights.clone()), 16.0 / 30.0),
            (of(&ImplicitAls { binary: true, ..recipe.clone() }, weights), 16.0 / 15.0),
            (of(&ImplicitAls { alpha: 7.0, ..recipe }, None), 7.0),
        ] {
            assert!((found - third).abs() < 1e-6, "{found} {third}");
        }
    }

    #[test]
    fn one_user_and_one_item_by_hand() {
        // Both sides of (1 + a)(1 - xy)^2 + l (x^2 + y^2) fit when x = y and (1 + a)(1 - x^2) = l: x^2 = 1 - l
        // / (1 + a).
        let train =
            Arc::new(Interactions::new(1, Lists::from_iter([vec![0]]), None, None).unwrap());
        for solver in [Solver::Cholesky, Solver::ConjugateGradient { steps: 2 }] {
            let recipe = ImplicitAls {
                dim: 1,
                l2: 1.0,
                l2_exponent: 0.0,
                alpha: 3.0,
                iterations: 60,
                init_length: 1.0,
                solver,
                ..ImplicitAls::default()
            };
            let model = fitted(&recipe, &train).unwrap();
            let mut out = [0.0];
            for user in [Some(0), None] {
                model.score(&[Query { user, history: &[0], hidden: &[] }], &mut out);
                assert!((out[0] - 0.75).abs() < 1e-4, "{solver:?}, {user:?}: {out:?}");
            }
        }
    }

    #[test]
    fn every_iteration_lowers_the_loss_which_is_that_of_the_definition() {
        struct Losses(Vec<f64>, f64);
        impl rankstill_core::Watch for Losses {
            fn epoch(
                &mut self,
                report: &rankstill_core::EpochReport,
                model: &dyn Model,
            ) -> Result<std::ops::ControlFlow<()>> {
                self.0.push(report.loss);
                // By definition, from the scores and the vectors.
                let train = testing::blocks();
                let (mut sum, tensors) = (0.0, model.tensors());
                for user in 0..48 {
                    let history = train.history(user);
                    let mut scores = vec![0.0; 40];
                    model.score(&[Query { user: Some(user), history, hidden: &[] }], &mut scores);
                    for (item, &score) in scores.iter().enumerate() {
                        let hit = history.contains(&(item as u32));
                        let (p, c) = if hit { (1.0, 6.0) } else { (0.0, 1.0) };
                        sum += c * (p - f64::from(score)).powi(2);
                    }
                }
                for name in ["users", "items"] {
                    let (data, ..) = tensors.matrix(name)?;
                    sum += data.iter().fold(0.0, |sum, &x| sum + 0.5 * f64::from(x).powi(2));
                }
                self.1 = sum / train.len() as f64;
                assert!((report.loss - self.1).abs() < 1e-4 * self.1, "{report:?}: {}", self.1);
                Ok(std::ops::ControlFlow::Continue(()))
            }
        }
        for solver in [Solver::Cholesky, Solver::ConjugateGradient { steps: 3 }] {
            let recipe = ImplicitAls {
                dim: 20,
                l2: 0.5,
                l2_exponent: 0.0,
                alpha: 5.0,
                solver,
                iterations: 8,
                ..Default::default()
            };
            let mut watch = Losses(Vec::new(), 0.0);
            let fit = &mut Fit { watch: Some(&mut watch), ..Fit::seeded(1) };
            recipe.fit(&testing::blocks(), fit).unwrap();
            assert_eq!(watch.0.len(), 8);
            let falls = watch.0.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-6));
            assert!(falls, "{solver:?}: {:?}", watch.0);
        }
    }

    #[test]
    fn a_new_user_with_a_users_history_gets_nearly_the_users_vector() {
        let train = testing::blocks();
        let recipe = ImplicitAls { dim: 8, solver: Solver::Cholesky, ..ImplicitAls::default() };
        let model = fitted(&recipe, &train).unwrap();
        for user in [0, 17, 47] {
            let scores = |user| {
                let mut out = vec![0.0; 40];
                let history = train.history(17);
                model.score(&[Query { user, history, hidden: &[] }], &mut out);
                out
            };
            let (known, new) = (scores(Some(17)), scores(None));
            let differences = known.iter().zip(&new).map(|(x, y)| (x - y).abs());
            assert!(differences.fold(0.0, f32::max) < 1e-4, "{user}: {known:?} {new:?}");
        }
    }
}
