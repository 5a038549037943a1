//! Activation functions and their derivatives, computed from the output.

use serde::{Deserialize, Serialize};

use super::math::{sigmoid_lanes, tanh_lanes};
use super::simd::{LANES, Simd, dispatch};

/// Activation functions. All are monotonic, so the largest input gives the largest output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`, with derivative 0 at 0.
    Relu,
    /// `x`
    Identity,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

dispatch! {
    /// The activation of every element, in place.
    pub fn activate(activation: Activation, x: &mut [f32]) = activate_kernel;

    /// The chain rule: `grads *= derivative`, where `y` is the output of the activation.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn chain(activation: Activation, y: &[f32], grads: &mut [f32]) = chain_kernel;
}

#[inline(always)]
fn activate_kernel<S: Simd>(s: S, activation: Activation, x: &mut [f32]) {
    for x in x.chunks_mut(LANES) {
        s.store_part(x, activate_lanes(s, activation, s.load_part(x)));
    }
}

#[inline(always)]
fn chain_kernel<S: Simd>(s: S, activation: Activation, y: &[f32], grads: &mut [f32]) {
    assert_eq!(y.len(), grads.len(), "one gradient an output");
    for (y, grads) in y.chunks(LANES).zip(grads.chunks_mut(LANES)) {
        let grad = s.mul(s.load_part(grads), slope_lanes(s, activation, s.load_part(y)));
        s.store_part(grads, grad);
    }
}

/// [`activate`] inside a kernel. NaN stays NaN.
#[inline(always)]
pub(super) fn activate_lanes<S: Simd>(s: S, activation: Activation, x: S::F) -> S::F {
    match activation {
        Activation::Relu => s.max(s.zero(), x),
        Activation::Identity => x,
        Activation::Sigmoid => sigmoid_lanes(s, x),
        Activation::Tanh => tanh_lanes(s, x),
    }
}

/// The derivative where the output is `y`.
#[inline(always)]
pub(super) fn slope_lanes<S: Simd>(s: S, activation: Activation, y: S::F) -> S::F {
    let one = s.splat(1.0);
    match activation {
        Activation::Relu => s.select(s.gt(y, s.zero()), one, s.zero()),
        Activation::Identity => one,
        Activation::Sigmoid => s.fnma(y, y, y),
        Activation::Tanh => s.fnma(y, y, one),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::simd::{Isa, with_isa};
    use super::*;

    fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Relu => x.max(0.0),
            Activation::Identity => x,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        }
    }

    #[test]
    fn values_and_slopes_are_those_of_the_functions() {
        use Activation::{Identity, Relu, Sigmoid, Tanh};
        for activation in [Relu, Identity, Sigmoid, Tanh] {
            for isa in Isa::ALL {
                with_isa(isa, 1, || {
                    let x: Vec<f32> = (0..37).map(|i| i as f32 * 0.31 - 5.0).collect();
                    let (mut y, mut grads) = (x.clone(), vec![2.0; 37]);
                    activate(activation, &mut y);
                    chain(activation, &y, &mut grads);
                    for i in 0..37 {
                        let at = f64::from(x[i]);
                        let slope = exact(activation, at + 1e-6) - exact(activation, at - 1e-6);
                        assert!((f64::from(y[i]) - exact(activation, at)).abs() < 1e-6);
                        assert!((f64::from(grads[i]) - slope / 1e-6).abs() < 1e-5);
                    }
                    let mut nan = [f32::NAN];
                    activate(activation, &mut nan);
                    assert!(nan[0].is_nan(), "{activation:?}");
                });
            }
        }
    }

    #[test]
    fn names_are_lower_case_words() {
        let read = |text: &str| serde_json::from_str::<Activation>(text);
        assert_eq!(read(r#""identity""#).unwrap(), Activation::Identity);
        assert!(read(r#""swish""#).unwrap_err().to_string().contains("sigmoid"));
    }
}
