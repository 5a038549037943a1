//! Optimisers: their settings, and the arithmetic of one step.
//!
//! Adam is Kingma & Ba's (ICLR 2015, algorithm 1) as PyTorch computes it, with coupled weight decay (the
//! gradient is `g + weight_decay * p`). One algebraic rearrangement saves an operation: PyTorch's `p -= lr /
//! c1 * m / (sqrt(v) / sqrt(c2) + eps)`, with the bias corrections `c1 = 1 - beta1^t` and `c2 = 1 - beta2^t`,
//! is computed as `p -= rate * (m / (sqrt(v) + epsilon))`, `rate = lr * sqrt(c2) / c1`, `epsilon = eps *
//! sqrt(c2)`.
//!
//! `rate` and `epsilon` of every step come from one table, computed in `f64` and rounded once: a step that is
//! replayed later rounds exactly as it would have then.

use super::simd::Simd;
use serde::{Deserialize, Serialize};

/// The optimiser. In a recipe: `{"kind": "adam", "learning_rate": 0.001, ..}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Optimizer {
    /// Plain stochastic gradient descent.
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

impl Optimizer {
    /// Checks the settings.
    ///
    /// # Errors
    /// The name of the setting and the range it must be in.
    pub fn check(&self) -> Result<(), &'static str> {
        let (learning_rate, weight_decay) = match self {
            Self::Sgd(sgd) => (sgd.learning_rate, sgd.weight_decay),
            Self::Adam(adam) => {
                if !(0.0..1.0).contains(&adam.beta1) || !(0.0..1.0).contains(&adam.beta2) {
                    return Err("`beta1` and `beta2` must be at least 0 and below 1");
                }
                if !(adam.epsilon > 0.0 && adam.epsilon.is_finite()) {
                    return Err("`epsilon` must be above 0");
                }
                (adam.learning_rate, adam.weight_decay)
            }
        };
        if !(learning_rate >= 0.0 && learning_rate.is_finite()) {
            return Err("`learning_rate` must be at least 0");
        }
        if !(weight_decay >= 0.0 && weight_decay.is_finite()) {
            return Err("`weight_decay` must be at least 0");
        }
        Ok(())
    }

    /// How many numbers are kept for each parameter, itself included.
    pub fn width(&self) -> usize {
        match self {
            Self::Sgd(_) => 1,
            Self::Adam(_) => 3,
        }
    }

    /// Whether rows without a gradient change too.
    pub(super) fn touches_all(&self) -> bool {
        matches!(self, Self::Adam(adam) if adam.mode != AdamMode::Sparse)
    }

    /// The learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.learning_rate,
            Self::Adam(adam) => adam.learning_rate,
        }
    }

    pub(super) fn learning_rate_mut(&mut self) -> &mut f64 {
        match self {
            Self::Sgd(sgd) => &mut sgd.learning_rate,
            Self::Adam(adam) => &mut adam.learning_rate,
        }
    }
}

/// Plain stochastic gradient descent: `p -= learning_rate * (g + weight_decay * p)`. In a table only rows
/// that occur in the batch move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Step size.
    pub learning_rate: f64,
    /// L2 penalty: adds `weight_decay * p` to the gradient.
    pub weight_decay: f64,
}

impl Default for Sgd {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self { learning_rate: 1e-3, weight_decay: 0.0 }
    }
}

/// Adam with coupled L2 weight decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// How table rows that are not in a batch are treated. This affects the result and not only the speed.
    pub mode: AdamMode,
    /// Step size.
    pub learning_rate: f64,
    /// L2 penalty: adds `weight_decay * p` to the gradient.
    pub weight_decay: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Keeps the division finite.
    pub epsilon: f64,
}

impl Default for Adam {
    /// PyTorch's defaults; rows that are not in a batch stay unchanged.
    fn default() -> Self {
        Self {
            mode: AdamMode::Sparse,
            learning_rate: 1e-3,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        }
    }
}

/// How Adam treats the rows of a table that are not in a batch.
///
/// With weight decay, `Exact` and `Dense` drive rows without other gradients to 0 at full step size, because
/// Adam normalises the gradient; `Sparse` leaves them unchanged. Settings tuned for one mode do not carry
/// over to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdamMode {
    /// They take the step with a zero gradient, as in PyTorch's `Adam` with dense gradients, but each row
    /// catches up only when it is next read. The same bits as `Dense`, in a fraction of the time.
    Exact,
    /// They stay unchanged, moments included (PyTorch's `SparseAdam`). Bias correction uses the global step.
    #[default]
    Sparse,
    /// They take the step with a zero gradient immediately. For small tables.
    Dense,
}

/// The numbers of an optimiser as the kernels use them, and its table of step sizes.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub sgd_rate: f32,
    pub weight_decay: f32,
    pub moments: Moments,
    /// One entry a step, step 1 first.
    corrections: Vec<Correction>,
    learning_rate: f64,
    betas: [f64; 2],
    epsilon: f64,
    /// beta1^t and beta2^t of the last entry.
    powers: [f64; 2],
}

/// Factors of Adam's two running means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    /// 1 - beta1
    pub first: f32,
    /// beta2
    pub second: f32,
    /// 1 - beta2
    pub second_rest: f32,
}

/// What depends on the number of the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Correction {
    pub rate: f32,
    pub epsilon: f32,
}

impl Schedule {
    pub fn new(optimizer: &Optimizer) -> Self {
        let adam = match optimizer {
            Optimizer::Adam(adam) => adam.clone(),
            Optimizer::Sgd(sgd) => Adam {
                learning_rate: sgd.learning_rate,
                weight_decay: sgd.weight_decay,
                ..Adam::default()
            },
        };
        Self {
            sgd_rate: adam.learning_rate as f32,
            weight_decay: adam.weight_decay as f32,
            moments: Moments {
                first: (1.0 - adam.beta1) as f32,
                second: adam.beta2 as f32,
                second_rest: (1.0 - adam.beta2) as f32,
            },
            corrections: Vec::new(),
            learning_rate: adam.learning_rate,
            betas: [adam.beta1, adam.beta2],
            epsilon: adam.epsilon,
            powers: [1.0; 2],
        }
    }

    /// Makes the entries up to and with `step`. Entries that are there stay as they are, whatever the rate is now.
    pub fn grow(&mut self, step: u32) {
        while self.corrections.len() < step as usize {
            for (power, beta) in self.powers.iter_mut().zip(self.betas) {
                *power *= beta;
            }
            let root = (1.0 - self.powers[1]).sqrt();
            self.corrections.push(Correction {
                rate: (self.learning_rate * root / (1.0 - self.powers[0])) as f32,
                epsilon: (self.epsilon * root) as f32,
            });
        }
    }

    /// Changes the rate from entry `step` on.
    pub fn set_learning_rate(&mut self, rate: f64, step: u32) {
        // One that has just been resumed may not have come so far yet.
        self.grow(step - 1);
        self.learning_rate = rate;
        self.sgd_rate = rate as f32;
        let made = self.corrections.len();
        // Powers are products in order, so that they come out the same from a fresh start.
        self.corrections.truncate(step as usize - 1);
        self.powers = [1.0; 2];
        for _ in 1..step {
            for (power, beta) in self.powers.iter_mut().zip(self.betas) {
                *power *= beta;
            }
        }
        self.grow(made as u32);
    }

    /// The entries of the steps after `last` up to and with `step`.
    #[inline(always)]
    pub fn between(&self, last: u32, step: u32) -> &[Correction] {
        &self.corrections[last as usize..step as usize]
    }

    /// The entry of a step, counted from 1.
    #[inline(always)]
    pub fn at(&self, step: u32) -> Correction {
        self.corrections[step as usize - 1]
    }
}

/// `V` vectors of parameters with their moments.
#[derive(Clone, Copy)]
pub(super) struct State<S: Simd, const V: usize> {
    pub p: [S::F; V],
    pub m: [S::F; V],
    pub v: [S::F; V],
}

/// One step of Adam for `V` vectors. The only implementation, so replayed, dense and sparse steps round alike.
#[inline(always)]
pub(super) fn adam_step<S: Simd, const V: usize>(
    s: S,
    state: &mut State<S, V>,
    gradient: [S::F; V],
    weight_decay: S::F,
    moments: [S::F; 3],
    correction: Correction,
) {
    let rate = s.splat(correction.rate);
    let epsilon = s.splat(correction.epsilon);
    for (j, &gradient) in gradient.iter().enumerate() {
        let g = s.fma(weight_decay, state.p[j], gradient);
        state.m[j] = s.fma(moments[0], s.sub(g, state.m[j]), state.m[j]);
        state.v[j] = s.fma(s.mul(moments[2], g), g, s.mul(moments[1], state.v[j]));
        let move_by = s.div(state.m[j], s.add(s.sqrt(state.v[j]), epsilon));
        state.p[j] = s.fnma(rate, move_by, state.p[j]);
    }
}

/// The factors of the running means in every lane, as [`adam_step`] takes them.
#[inline(always)]
pub(super) fn splat_moments<S: Simd>(s: S, moments: Moments) -> [S::F; 3] {
    [s.splat(moments.first), s.splat(moments.second), s.splat(moments.second_rest)]
}

/// One step of SGD for `V` vectors.
#[inline(always)]
pub(super) fn sgd_step<S: Simd, const V: usize>(
    s: S,
    p: &mut [S::F; V],
    gradient: [S::F; V],
    weight_decay: S::F,
    rate: S::F,
) {
    for (p, &gradient) in p.iter_mut().zip(&gradient) {
        *p = s.fnma(rate, s.fma(weight_decay, *p, gradient), *p);
    }
}

/// The scalar twin of the kernels, for tests.
#[cfg(test)]
pub(super) mod naive {
    use super::{Adam, Correction, Optimizer, Schedule};

    /// Adam on a flat vector, every element every step.
    pub struct NaiveAdam {
        pub p: Vec<f32>,
        pub m: Vec<f32>,
        pub v: Vec<f32>,
        schedule: Schedule,
        pub step: u32,
    }

    impl NaiveAdam {
        pub fn new(adam: &Adam, p: Vec<f32>) -> Self {
            let n = p.len();
            let schedule = Schedule::new(&Optimizer::Adam(adam.clone()));
            Self { p, m: vec![0.0; n], v: vec![0.0; n], schedule, step: 0 }
        }

        /// One step for the elements for which `live` says so.
        pub fn step_where(&mut self, gradient: &[f32], live: impl Fn(usize) -> bool) {
            self.step += 1;
            self.schedule.grow(self.step);
            let Correction { rate, epsilon } = self.schedule.at(self.step);
            let moments = self.schedule.moments;
            for i in (0..self.p.len()).filter(|&i| live(i)) {
                let g = self.schedule.weight_decay.mul_add(self.p[i], gradient[i]);
                self.m[i] = moments.first.mul_add(g - self.m[i], self.m[i]);
                self.v[i] = (moments.second_rest * g).mul_add(g, moments.second * self.v[i]);
                self.p[i] = (-rate).mul_add(self.m[i] / (self.v[i].sqrt() + epsilon), self.p[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::naive::NaiveAdam;
    use super::*;

    /// Kingma & Ba's algorithm 1 in PyTorch's order of operations, all in `f64`.
    fn textbook(adam: &Adam, mut p: f64, gradients: &[f64]) -> f64 {
        let (mut m, mut v) = (0.0, 0.0);
        for (t, g) in gradients.iter().enumerate() {
            let t = t as i32 + 1;
            let g = g + adam.weight_decay * p;
            m = adam.beta1 * m + (1.0 - adam.beta1) * g;
            v = adam.beta2 * v + (1.0 - adam.beta2) * g * g;
            let first = m / (1.0 - adam.beta1.powi(t));
            let second = v / (1.0 - adam.beta2.powi(t));
            p -= adam.learning_rate * first / (second.sqrt() + adam.epsilon);
        }
        p
    }

    #[test]
    fn agrees_with_the_textbook() {
        let adam = Adam { learning_rate: 0.01, weight_decay: 1e-3, ..Adam::default() };
        let gradients: Vec<f64> = (0..100).map(|t| (f64::from(t) * 0.7).sin() + 0.2).collect();
        let mut ours = NaiveAdam::new(&adam, vec![0.5]);
        gradients.iter().for_each(|&g| ours.step_where(&[g as f32], |_| true));
        let expected = textbook(&adam, 0.5, &gradients);
        assert!((f64::from(ours.p[0]) - expected).abs() < 2e-6, "{} {expected}", ours.p[0]);
        assert!((expected - 0.5).abs() > 0.05);
    }

    #[test]
    fn the_first_step_moves_by_the_learning_rate() {
        let mut ours = NaiveAdam::new(&Adam::default(), vec![1.0, 1.0]);
        ours.step_where(&[3.0, -1e-3], |_| true);
        assert!((ours.p[0] - (1.0 - 1e-3)).abs() < 1e-7);
        assert!((ours.p[1] - (1.0 + 1e-3)).abs() < 1e-7);
    }

    #[test]
    fn settings_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<Optimizer>(text);
        let adam = read(r#"{"kind": "adam", "mode": "exact", "weight_decay": 0.01}"#).unwrap();
        let expected = Adam { mode: AdamMode::Exact, weight_decay: 0.01, ..Adam::default() };
        assert_eq!(adam, Optimizer::Adam(expected));
        assert_eq!(read(r#"{"kind": "sgd"}"#).unwrap(), Optimizer::Sgd(Sgd::default()));
        let error = read(r#"{"kind": "sgd", "beta1": 0.9}"#).unwrap_err().to_string();
        assert!(error.contains("beta1") && error.contains("weight_decay"), "{error}");
        assert!(read(r#"{"kind": "adagrad"}"#).is_err());
        let back = serde_json::to_string(&adam).unwrap();
        assert_eq!(read(&back).unwrap(), adam);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let adam = |change: fn(&mut Adam)| {
            let mut adam = Adam::default();
            change(&mut adam);
            Optimizer::Adam(adam).check()
        };
        assert!(adam(|_| ()).is_ok());
        assert!(adam(|a| a.beta2 = 1.0).unwrap_err().contains("beta2"));
        assert!(adam(|a| a.epsilon = 0.0).unwrap_err().contains("epsilon"));
        assert!(adam(|a| a.learning_rate = f64::NAN).unwrap_err().contains("learning_rate"));
        let sgd = Optimizer::Sgd(Sgd { weight_decay: -1.0, ..Sgd::default() });
        assert!(sgd.check().unwrap_err().contains("weight_decay"));
    }

    #[test]
    fn a_changed_rate_leaves_the_past_and_the_bias_corrections_alone() {
        let mut changed = Schedule::new(&Optimizer::default());
        changed.grow(10);
        changed.set_learning_rate(5e-4, 8);
        let mut fresh = Schedule::new(&Optimizer::default());
        fresh.grow(10);
        for step in 1..=10 {
            let factor = if step < 8 { 1.0 } else { 0.5 };
            assert_eq!(changed.at(step).rate, fresh.at(step).rate * factor);
            assert_eq!(changed.at(step).epsilon, fresh.at(step).epsilon);
        }
    }
}
