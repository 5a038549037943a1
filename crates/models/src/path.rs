//! Rankers without training: an item's score is a weighted number of paths from the query's user over an item of the history
//! and another user who had it to an item of that user. One equation covers several published filters of the user-item
//! graph. With the binary log R (users x items), degrees D_U and D_I, and h the row of the query,
//!
//! ```text
//! P = (D_I^-q  R'  D_U^-r  R  D_I^-t) ^ s           elementwise; of each column the `neighbours` largest
//! scores = D_U^-p ( w h f(P)  +  v h L )
//! L = D_I^-1/2 V V' D_I^1/2                         `low_rank.filter = "ideal"`
//! L = D_I^-1/2 V S^-1 U' R                          `low_rank.filter = "inverse"`
//! ```
//!
//! where U S V' are the largest singular values of D_U^-1/2 R D_I^-1/2, and f (`sharpen`) is P itself, a polynomial of it, or
//! what a differential equation makes of h P. Presets:
//!
//! | `preset` | source | here |
//! | --- | --- | --- |
//! | `gf_cf` | Shen et al., "How powerful is graph convolution for recommendation?", CIKM 2021 | q = t = 1/2, r = 1, and .3 of the ideal filter of rank 256, as in the authors' code |
//! | `turbo_cf` | Park, Shin, Shin, "Turbo-CF", SIGIR 2024 | alpha = .6, s = .7, as for Gowalla: q = t = 1 - alpha, r = 2 alpha |
//! | `link_prop` | Fu et al., "Revisiting neighborhood-based link prediction for collaborative filtering", WWW 2022 | all exponents 1/2; the paper tunes the four for each log. The rounds of LinkProp-Multi are left out |
//! | `bspm_em`, `bspm_lm` | Choi et al., "Blurring-sharpening process models", SIGIR 2023 | as for Gowalla: sharpened for a time of 2.5 in one Runge-Kutta step, .2 of the ideal filter of rank 448, added before (early merge) or after (late merge) |
//! | `svd_ae` | Hong, Choi, Park, "SVD-AE", IJCAI 2024 | the inverse filter alone, of rank 1,194 as for Gowalla: lower it for smaller logs |
//!
//! A setting given beside a preset replaces the preset's. The defaults are none of these: of some fifty settings they
//! are best on the whole on the validation parts of four logs (MovieLens 100K, Amazon Beauty, CiteULike-t, Gowalla). With q = 1/2, `neighbour_degree` = `user_activity` and `target_degree` = 1/2 - `popularity` the path
//! term is ItemCF with the cosine.
//!
//! p changes no ranking, only the scores, which with p = 1/2 are comparable between users. Only the history is used: new users
//! are scored like known ones. The model is the log, with the singular vectors; P is computed again when it is loaded. A P that
//! is sharpened, but neither raised to a power nor cut, is never formed: a product with it is two with the log. Repeats count
//! once; weights and order are ignored.

mod model;
mod presets;
#[cfg(test)]
mod tests;

use crate::item_cf::up_to;
use crate::parts::baskets::{self, baskets, pairs_about};
use crate::parts::settings::{self, Checked};
use model::{LowRankFactors, PathModel};
pub use presets::Preset;
use rankstill_core::kernel::sparse_svd::{self, Effort};
use rankstill_core::registry::{Config, lay_under};
use rankstill_core::{
    Error, Fit, Interactions, Model, ModelConfig, Recipe, Result, Tensors, UnderPath as _,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Paths of three steps in the user-item graph, with optional low-rank and sharpening filters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Path {
    /// The published method from which the other settings take their defaults.
    pub preset: Option<Preset>,
    /// p: a query with n items has its scores multiplied by n^-p. Does not change a ranking.
    pub user_degree: f64,
    /// q: an item of the history with n users counts n^-q.
    pub history_degree: f64,
    /// r: a user with n items who connects two items counts n^-r.
    pub neighbour_degree: f64,
    /// t: an item with n users is scored n^-t; below 0 popular items gain.
    pub target_degree: f64,
    /// s: every entry of P is raised to this power.
    pub power: f64,
    /// Number of the largest entries of P that contribute to an item's score, in addition to its own; 0 = all.
    pub neighbours: usize,
    /// w: the weight of the paths; 0 = the low-rank term alone.
    pub weight: f64,
    /// The low-rank term.
    pub low_rank: LowRank,
    /// What is made of the paths.
    pub sharpen: Sharpen,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            preset: None,
            user_degree: 0.5,
            history_degree: 0.4,
            neighbour_degree: 0.5,
            target_degree: 0.3,
            power: 1.0,
            neighbours: 0,
            weight: 1.0,
            low_rank: LowRank::default(),
            sharpen: Sharpen::None,
        }
    }
}

/// The largest singular values of the normalised log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LowRank {
    /// How many; 0 = no such term.
    pub rank: usize,
    /// v: the weight of the term.
    pub weight: f64,
    /// What the singular vectors are used for.
    pub filter: Filter,
    /// Products with the log and its transpose by which the vectors are approached.
    pub rounds: usize,
}

impl Default for LowRank {
    fn default() -> Self {
        Self { rank: 0, weight: 0.3, filter: Filter::Ideal, rounds: 24 }
    }
}

/// How the singular vectors turn a history into scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The history is projected on them: what is not in their space is cut off.
    Ideal,
    /// The log is reconstructed from the history by the pseudo-inverse.
    Inverse,
}

/// What is made of b = h P.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sharpen {
    /// Nothing.
    None,
    /// c1 b + c2 b P + c3 b P^2 + ..
    Polynomial {
        /// c1, c2, ..
        coefficients: Vec<f64>,
    },
    /// x(time) of dx/dt = -x P, from x(0) = b.
    Ode {
        /// How a step is computed.
        solver: OdeSolver,
        /// The end of the process.
        time: f64,
        /// Number of steps of equal length.
        steps: usize,
        /// The mean over x(0) and the end of each step, instead of the last.
        #[serde(default)]
        mean: bool,
        /// Sharpen the low-rank term too: x(0) = b + v h L (early merge).
        #[serde(default)]
        low_rank: bool,
    },
}

/// A solver of differential equations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OdeSolver {
    /// x - h x P
    Euler,
    /// The method of Runge and Kutta of order 4: for a linear equation, the first five terms of the exponential series.
    Rk4,
}

impl Sharpen {
    /// x is replaced by c0 x + c1 x P + c2 x P^2 + .., this many times.
    pub(self) fn steps(&self) -> (Vec<f64>, usize) {
        match self {
            Self::None => (vec![1.0], 0),
            Self::Polynomial { coefficients } => (coefficients.clone(), 1),
            Self::Ode { solver, time, steps, .. } => {
                let h = time / *steps as f64;
                let mut coefficients = vec![1.0, -h];
                if *solver == OdeSolver::Rk4 {
                    coefficients.extend([h.powi(2) / 2.0, -h.powi(3) / 6.0, h.powi(4) / 24.0]);
                }
                (coefficients, *steps)
            }
        }
    }
}

/// Bounds the numbers of a recipe: above, `f32` would overflow on common logs.
const MAX_EXPONENT: f64 = 3.0;

impl Checked for Path {
    fn check(&self) -> Result<()> {
        let exponents = [
            ("user_degree", self.user_degree),
            ("history_degree", self.history_degree),
            ("neighbour_degree", self.neighbour_degree),
            ("target_degree", self.target_degree),
        ];
        for (key, value) in exponents {
            settings::within(key, value, -MAX_EXPONENT..=MAX_EXPONENT)?;
        }
        settings::must(
            self.power > 0.0 && self.power <= MAX_EXPONENT,
            "power",
            format!("above 0 and at most {MAX_EXPONENT}"),
            self.power,
        )?;
        up_to("weight", self.weight, 1e6)?;
        let LowRank { rank, weight, rounds, .. } = self.low_rank;
        settings::within("low_rank.rank", rank, 0..=MAX_RANK)?;
        up_to("low_rank.weight", weight, 1e6)?;
        settings::within("low_rank.rounds", rounds, 1..=1000)?;
        let scores = self.weight > 0.0 || rank > 0 && weight > 0.0;
        settings::must(scores, "weight", "above 0 where there is no low-rank term", self.weight)?;
        match &self.sharpen {
            Sharpen::None => Ok(()),
            Sharpen::Polynomial { coefficients } => {
                let finite = coefficients.iter().all(|c| c.abs() <= 1e6);
                let some = (1..=32).contains(&coefficients.len()) && finite;
                let bound = "1 to 32 numbers of at most 1e6";
                settings::must(some, "sharpen.coefficients", bound, format!("{coefficients:?}"))
            }
            Sharpen::Ode { time, steps, .. } => {
                up_to("sharpen.time", *time, 100.0)?;
                settings::within("sharpen.steps", *steps, 1..=1000)
            }
        }
    }
}

/// The decomposition takes this number to the third power, and vectors of this length for each item.
const MAX_RANK: usize = 4096;

impl Path {
    /// Reads a recipe over its preset, or over the defaults.
    pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            preset: Option<Preset>,
        }
        let mut value = config.value.clone();
        if let Some(named) = value.as_object_mut() {
            let Named { preset } = config.read()?;
            let base = serde_json::to_value(preset.map_or_else(Self::default, Preset::recipe));
            if let Ok(Value::Object(base)) = base {
                lay_under(named, &base);
            }
        }
        let recipe: Self = Config { path: config.path, value: &value }.read()?;
        recipe.check().under(config.path)?;
        Ok(Box::new(recipe))
    }

    /// The largest singular values of D_U^-1/2 R D_I^-1/2.
    fn factors(&self, log: &model::Log, stop: &dyn Fn() -> bool) -> LowRankFactors {
        let LowRank { rank, rounds, .. } = self.low_rank;
        // A third more vectors than are asked for, in whole registers: the last ones are approached as the extra ones
        // are separated from what lies beyond.
        let extra = (rank + rank / 3 + 16).next_multiple_of(16) - rank;
        let sparse_svd::RightVectors { values, vectors } =
            sparse_svd::right_vectors(&log.normalised(), rank, Effort { extra, rounds }, stop);
        LowRankFactors { values, vectors }
    }
}

impl Recipe for Path {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        let log = model::Log::new(baskets(train));
        let factors = (self.low_rank.rank > 0).then(|| self.factors(&log, &|| fit.stop.asked()));
        fit.stop.check()?;
        Ok(Box::new(PathModel::new(self, log, factors)))
    }
}

impl ModelConfig for Path {
    fn kind(&self) -> &'static str {
        "path"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let bad = |name: &str, problem: String| Error::Tensor { name: name.into(), problem };
        let n_items = baskets::read_n_items(tensors)?;
        let log = model::Log::new(baskets::read(tensors, n_items, false)?);
        let factors = match self.low_rank.rank {
            0 => None,
            _ => {
                let (vectors, rows, columns) = tensors.matrix("vectors")?;
                if rows != n_items {
                    return Err(bad("vectors", format!("expected {n_items} rows, found {rows}")));
                }
                let values = tensors.f32s("singular_values", columns)?;
                for (name, numbers) in [("vectors", vectors), ("singular_values", values)] {
                    if let Some(odd) = numbers.iter().find(|x| !x.is_finite()) {
                        return Err(bad(name, format!("expected finite numbers, found {odd}")));
                    }
                }
                Some(LowRankFactors { values: values.to_vec(), vectors: vectors.to_vec() })
            }
        };
        Ok(Box::new(PathModel::new(self, log, factors)))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let together = pairs_about(n_users, n_items, n_interactions);
        let kept = match self.neighbours {
            0 => together,
            most => together.min((most + 1) as u64 * n_items as u64),
        };
        let paths = if self.forms_paths() { 16 * kept } else { 0 };
        let width = 4 * self.low_rank.rank as u64 / 3 + 32;
        let vectors = match self.low_rank.rank {
            0 => 0,
            _ => 4 * width * (2 * n_items + n_users) as u64 + 16 * width * width,
        };
        paths + vectors + 16 * n_interactions as u64 + 24 * (n_users + n_items) as u64
    }
}
