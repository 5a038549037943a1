//! Trainable dense parameters: weights, biases, filters. Every element takes every step.

use rayon::prelude::*;

use super::buffer::Buffer;
use super::optimizer::{
    Correction, Optimizer, Schedule, State, adam_step, sgd_step, splat_moments,
};
use super::simd::{LANES, Simd, dispatch};
use super::table::{TableState, WrongLength, check};

/// Elements of one task.
const CHUNK: usize = 16 << 10;

/// A flat vector of parameters with its optimiser. The caller knows its shape.
#[derive(Clone, Debug)]
pub struct DenseParam {
    values: Buffer,
    first: Buffer,
    second: Buffer,
    step: u32,
    optimizer: Optimizer,
    schedule: Schedule,
}

impl DenseParam {
    /// `len` zeros. Adam's mode has no effect here.
    ///
    /// # Panics
    /// If the optimiser's settings do not pass [`Optimizer::check`].
    pub fn new(len: usize, optimizer: Optimizer) -> Self {
        if let Err(problem) = optimizer.check() {
            panic!("{problem}");
        }
        let moments = if optimizer.width() > 1 { len } else { 0 };
        Self {
            values: Buffer::zeros(len),
            first: Buffer::zeros(moments),
            second: Buffer::zeros(moments),
            step: 0,
            schedule: Schedule::new(&optimizer),
            optimizer,
        }
    }

    /// Takes one step with the gradient `scale * gradient`.
    ///
    /// # Panics
    /// If there is not exactly one number per element.
    pub fn update(&mut self, gradient: &[f32], scale: f32) {
        assert_eq!(gradient.len(), self.values.len(), "one gradient an element");
        self.step += 1;
        self.schedule.grow(self.step);
        let schedule = &self.schedule;
        let values = self.values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        if self.optimizer.width() == 1 {
            values.for_each(|(p, g)| sgd(p, g, scale, schedule));
        } else {
            let now = schedule.at(self.step);
            let moments = self.first.par_chunks_mut(CHUNK).zip(self.second.par_chunks_mut(CHUNK));
            values.zip(moments).for_each(|((p, g), (m, v))| adam(p, m, v, g, scale, schedule, now));
        }
    }

    /// The parameters.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The parameters, mutable.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Steps taken.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// Changes the learning rate from the next step on.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    pub fn set_learning_rate(&mut self, rate: f64) {
        assert!(rate >= 0.0 && rate.is_finite(), "`learning_rate` must be at least 0");
        if rate == self.optimizer.learning_rate() {
            return;
        }
        *self.optimizer.learning_rate_mut() = rate;
        self.schedule.set_learning_rate(rate, self.step + 1);
    }

    /// The state for a checkpoint.
    pub fn state(&self) -> TableState {
        TableState {
            step: self.step,
            parameters: self.values.to_vec(),
            first_moments: self.first.to_vec(),
            second_moments: self.second.to_vec(),
            last_step: Vec::new(),
        }
    }

    /// Restores a [`DenseParam::state`] of a parameter with the same length and optimiser.
    ///
    /// # Errors
    /// If a part of the state has the wrong length; nothing is changed then.
    pub fn restore(&mut self, state: &TableState) -> Result<(), WrongLength> {
        check(self.values.len(), state.parameters.len())?;
        check(self.first.len(), state.first_moments.len())?;
        check(self.second.len(), state.second_moments.len())?;
        check(0, state.last_step.len())?;
        self.values.copy_from_slice(&state.parameters);
        self.first.copy_from_slice(&state.first_moments);
        self.second.copy_from_slice(&state.second_moments);
        self.step = state.step;
        Ok(())
    }
}

dispatch! {
    fn sgd(p: &mut [f32], g: &[f32], scale: f32, schedule: &Schedule) = sgd_kernel;
    fn adam(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], scale: f32, schedule: &Schedule, now: Correction) = adam_kernel;
}

#[inline(always)]
fn sgd_kernel<S: Simd>(s: S, p: &mut [f32], g: &[f32], scale: f32, schedule: &Schedule) {
    let (scale, rate) = (s.splat(scale), s.splat(schedule.sgd_rate));
    let weight_decay = s.splat(schedule.weight_decay);
    for (p, g) in p.chunks_mut(LANES).zip(g.chunks(LANES)) {
        let mut values = [s.load_part(p)];
        sgd_step::<S, 1>(s, &mut values, [s.mul(s.load_part(g), scale)], weight_decay, rate);
        s.store_part(p, values[0]);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn adam_kernel<S: Simd>(
    s: S,
    p: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    g: &[f32],
    scale: f32,
    schedule: &Schedule,
    now: Correction,
) {
    let scale = s.splat(scale);
    let weight_decay = s.splat(schedule.weight_decay);
    let moments = splat_moments(s, schedule.moments);
    let state = p.chunks_mut(LANES).zip(m.chunks_mut(LANES)).zip(v.chunks_mut(LANES));
    for (((p, m), v), g) in state.zip(g.chunks(LANES)) {
        let mut state =
            State::<S, 1> { p: [s.load_part(p)], m: [s.load_part(m)], v: [s.load_part(v)] };
        adam_step::<S, 1>(
            s,
            &mut state,
            [s.mul(s.load_part(g), scale)],
            weight_decay,
            moments,
            now,
        );
        s.store_part(p, state.p[0]);
        s.store_part(m, state.m[0]);
        s.store_part(v, state.v[0]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::optimizer::naive::NaiveAdam;
    use super::super::optimizer::{Adam, Sgd};
    use super::super::rng::Rng;
    use super::super::simd::{Isa, with_isa};
    use super::*;

    fn gradient(len: usize, step: u64) -> Vec<f32> {
        let mut g = vec![0.0; len];
        Rng::keyed(5, [step]).fill_normal(&mut g, 0.0, 1.0);
        g
    }

    #[test]
    fn adam_takes_the_naive_steps_to_the_bit_at_any_length() {
        let adam = Adam { learning_rate: 0.01, weight_decay: 0.01, ..Adam::default() };
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_fused()) {
            with_isa(isa, 2, || {
                for len in [1, 16, 37, CHUNK + 5] {
                    let mut param = DenseParam::new(len, Optimizer::Adam(adam.clone()));
                    param.values_mut().copy_from_slice(&gradient(len, 99));
                    let mut naive = NaiveAdam::new(&adam, gradient(len, 99));
                    for step in 0..30 {
                        param.update(&gradient(len, step), 0.5);
                        let half: Vec<f32> = gradient(len, step).iter().map(|g| g * 0.5).collect();
                        naive.step_where(&half, |_| true);
                    }
                    assert_eq!(param.values(), naive.p);
                    assert_eq!(param.state().second_moments, naive.v);
                }
            });
        }
    }

    #[test]
    fn sgd_steps_down_the_gradient() {
        let sgd = Sgd { learning_rate: 0.1, weight_decay: 0.5 };
        let mut param = DenseParam::new(2, Optimizer::Sgd(sgd));
        param.values_mut().copy_from_slice(&[1.0, -2.0]);
        param.update(&[3.0, 1.0], 2.0);
        // 1 - 0.1 * (6 + 0.5), -2 - 0.1 * (2 - 1)
        assert!((param.values()[0] - 0.35).abs() < 1e-6);
        assert!((param.values()[1] + 2.1).abs() < 1e-6);
    }

    #[test]
    fn goes_on_from_a_checkpoint_to_the_same_bits() {
        let mut whole = DenseParam::new(20, Optimizer::default());
        (0..5).for_each(|step| whole.update(&gradient(20, step), 1.0));
        let mut resumed = DenseParam::new(20, Optimizer::default());
        resumed.restore(&whole.state()).unwrap();
        for param in [&mut whole, &mut resumed] {
            param.set_learning_rate(5e-4);
            (5..9).for_each(|step| param.update(&gradient(20, step), 1.0));
        }
        assert_eq!(whole.state(), resumed.state());
        let mut other = DenseParam::new(21, Optimizer::default());
        assert_eq!(other.restore(&whole.state()), Err(WrongLength { expected: 21, found: 20 }));
    }
}
