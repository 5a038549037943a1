//! exp, ln, sigmoid and their kin on 16 lanes, with bounded error and the same bits on every instruction set
//! with FMA.
//!
//! Each function comes three ways, which agree bit for bit: on a slice in place (`exp_slice`), on one number (`exp`),
//! and on a vector inside a kernel (`exp_lanes`). The standard library's functions call the system's libm, whose last
//! digits differ between systems, and do not vectorise.
//!
//! | function | largest relative error | at -inf, +inf | NaN |
//! | --- | --- | --- | --- |
//! | exp | 1.0e-7 (subnormal results: to the last place) | 0, inf; inf above 88.72284, 0 below -103.98 | NaN |
//! | ln | 1.0e-7 | NaN below 0, -inf at 0; inf | NaN |
//! | sigmoid | 2.0e-7 | 0, 1 | NaN |
//! | log_sigmoid | 1.5e-7 | -inf, 0 | NaN |
//! | softplus | 1.5e-7 | 0, inf | NaN |
//! | tanh | 1.6e-7 | -1, 1 | NaN |
//!
//! The errors are measured by the tests against f64 over the whole range; results that would be subnormal are
//! exact to an absolute 2^-149. The portable path without FMA is held to the same bounds.
//!
//! Sources: range reduction after Cody and Waite; the polynomials are those of Cephes (Moshier: `expf`,
//! `logf`, `tanhf`).

use super::simd::{Isa, LANES, Simd, dispatch};

macro_rules! functions {
    ($($(#[$meta:meta])* $scalar:ident, $slice:ident, $slice_kernel:ident, $lanes:ident;)+) => {$(
        $(#[$meta])*
        pub fn $scalar(x: f32) -> f32 {
            let mut all = [x; LANES];
            $slice(&mut all);
            all[0]
        }

        dispatch! {
            #[doc = concat!("[`", stringify!($scalar), "`] of every element, in place.")]
            pub fn $slice(x: &mut [f32]) = $slice_kernel;
        }

        #[inline(always)]
        fn $slice_kernel<S: Simd>(s: S, x: &mut [f32]) {
            let mut chunks = x.chunks_exact_mut(LANES);
            for chunk in &mut chunks {
                s.store(chunk, $lanes(s, s.load(chunk)));
            }
            let rest = chunks.into_remainder();
            if !rest.is_empty() {
                s.store_part(rest, $lanes(s, s.load_part(rest)));
            }
        }
    )+};
}

functions! {
    /// e^x.
    exp, exp_slice, exp_kernel, exp_lanes;
    /// The natural logarithm.
    ln, ln_slice, ln_kernel, ln_lanes;
    /// 1 / (1 + e^-x).
    sigmoid, sigmoid_slice, sigmoid_kernel, sigmoid_lanes;
    /// ln(sigmoid(x)) = -softplus(-x), accurate where sigmoid underflows or is next to 1.
    log_sigmoid, log_sigmoid_slice, log_sigmoid_kernel, log_sigmoid_lanes;
    /// ln(1 + e^x), accurate at both ends.
    softplus, softplus_slice, softplus_kernel, softplus_lanes;
    /// The hyperbolic tangent.
    tanh, tanh_slice, tanh_kernel, tanh_lanes;
}

/// ln 2 in two parts; the first has few enough digits for its product with an exponent to be exact.
const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512
const LN2_LOW: f32 = -2.121_944_4e-4;

/// e^x.
#[inline(always)]
pub fn exp_lanes<S: Simd>(s: S, x: S::F) -> S::F {
    // The order of operands lets a NaN in x pass through both.
    let x = s.min(s.splat(89.0), s.max(s.splat(-105.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fnma(n, s.splat(LN2_HIGH), x);
    let r = s.fnma(n, s.splat(LN2_LOW), r);
    let mut p = s.splat(1.987_569_1e-4);
    p = s.fma(p, r, s.splat(1.398_2e-3));
    p = s.fma(p, r, s.splat(8.333_452e-3));
    p = s.fma(p, r, s.splat(4.166_579_6e-2));
    p = s.fma(p, r, s.splat(1.666_666_5e-1));
    p = s.fma(p, r, s.splat(0.5));
    let p = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    s.scale2(p, n)
}

/// 2^x for |x| <= 125, to 1.0e-7 (2.5e-7 without FMA); beyond that it is nonsense, but NaN stays NaN. For
/// kernels that have bounded x and fold log2(e) into something else: half the cost of [`exp_lanes`]. The
/// polynomial is the minimax one (Remez) of degree 6.
#[inline(always)]
pub fn exp2_bounded_lanes<S: Simd>(s: S, x: S::F) -> S::F {
    let n = s.round(x);
    let r = s.sub(x, n);
    let mut p = s.splat(1.534_581_2e-4);
    p = s.fma(p, r, s.splat(1.339_993_1e-3));
    p = s.fma(p, r, s.splat(9.618_489e-3));
    p = s.fma(p, r, s.splat(5.550_328_8e-2));
    p = s.fma(p, r, s.splat(2.402_264_7e-1));
    p = s.fma(p, r, s.splat(6.931_472e-1));
    p = s.fma(p, r, s.splat(1.0));
    if S::ISA == Isa::Avx512 {
        return s.scale2(p, n);
    }
    // p is near 1 and n small: the exponent can be added to as it stands, which gives the same bits. NaN
    // becomes an integer of which nothing is left after the shift, so it stays what it is.
    let exponent = s.shl(s.to_int(n), 23);
    s.float_from_bits(s.add_int(s.bits(p), exponent))
}

/// The natural logarithm.
#[inline(always)]
pub fn ln_lanes<S: Simd>(s: S, x: S::F) -> S::F {
    // Subnormals are brought up by 2^23 and their exponent down by 23.
    let tiny = s.gt(s.splat(f32::MIN_POSITIVE), x);
    let scaled = s.select(tiny, s.mul(x, s.splat(8_388_608.0)), x);
    let shift = s.select(tiny, s.splat(-23.0), s.zero());
    // x = 2^e * m with m in [sqrt(1/2), sqrt(2)): the bits of sqrt(1/2) are taken off, so that the exponent
    // steps there.
    let bits = s.sub_int(s.bits(scaled), s.splat_int(SQRT_HALF_BITS));
    let e = s.add(s.to_float(s.sra(bits, 23)), shift);
    let m = s.add_int(s.and_int(bits, s.splat_int(0x007f_ffff)), s.splat_int(SQRT_HALF_BITS));
    let y = ln_of_parts(s, s.sub(s.float_from_bits(m), s.splat(1.0)), e);
    let y = s.select(s.eq(x, s.splat(f32::INFINITY)), x, y);
    let y = s.select(s.eq(x, s.zero()), s.splat(f32::NEG_INFINITY), y);
    // Neither x >= 0 nor NaN may pass: both negative numbers and NaN answer NaN.
    s.select(s.ge(x, s.zero()), y, s.splat(f32::NAN))
}

const SQRT_HALF_BITS: i32 = 0x3f35_04f3;

/// ln(2^e * (1 + f)) for f in [sqrt(1/2) - 1, sqrt(2) - 1).
#[inline(always)]
fn ln_of_parts<S: Simd>(s: S, f: S::F, e: S::F) -> S::F {
    let square = s.mul(f, f);
    let mut p = s.splat(7.037_683_6e-2);
    p = s.fma(p, f, s.splat(-1.151_461e-1));
    p = s.fma(p, f, s.splat(1.167_699_9e-1));
    p = s.fma(p, f, s.splat(-1.242_014_1e-1));
    p = s.fma(p, f, s.splat(1.424_932_3e-1));
    p = s.fma(p, f, s.splat(-1.666_805_7e-1));
    p = s.fma(p, f, s.splat(2.000_071_5e-1));
    p = s.fma(p, f, s.splat(-2.499_999_4e-1));
    p = s.fma(p, f, s.splat(3.333_333e-1));
    let y = s.mul(s.mul(p, f), square);
    let y = s.fma(e, s.splat(LN2_LOW), y);
    let y = s.fnma(s.splat(0.5), square, y);
    s.fma(e, s.splat(LN2_HIGH), s.add(f, y))
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid_lanes<S: Simd>(s: S, x: S::F) -> S::F {
    // e^-|x| cannot overflow; sigmoid(-x) = e^-x / (1 + e^-x).
    let small = exp_lanes(s, s.neg(s.abs(x)));
    let top = s.select(s.ge(x, s.zero()), s.splat(1.0), small);
    s.div(top, s.add(s.splat(1.0), small))
}

/// ln(sigmoid(x)).
#[inline(always)]
pub fn log_sigmoid_lanes<S: Simd>(s: S, x: S::F) -> S::F {
    s.sub(s.min(x, s.zero()), ln_1p_of_exp_minus_abs(s, x))
}

/// ln(1 + e^x).
#[inline(always)]
pub fn softplus_lanes<S: Simd>(s: S, x: S::F) -> S::F {
    s.add(s.max(x, s.zero()), ln_1p_of_exp_minus_abs(s, x))
}

/// ln(1 + e^-|x|), which carries a NaN on.
#[inline(always)]
fn ln_1p_of_exp_minus_abs<S: Simd>(s: S, x: S::F) -> S::F {
    let small = exp_lanes(s, s.neg(s.abs(x)));
    // 1 + small lies in [1, 2]. Above sqrt(2) it is halved; either way its distance from 1 is had from
    // `small` itself, without the rounding of 1 + small.
    let above = s.gt(small, s.splat(std::f32::consts::SQRT_2 - 1.0));
    let halved = s.mul(s.sub(small, s.splat(1.0)), s.splat(0.5));
    let f = s.select(above, halved, small);
    ln_of_parts(s, f, s.select(above, s.splat(1.0), s.zero()))
}

/// The hyperbolic tangent.
#[inline(always)]
pub fn tanh_lanes<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let square = s.mul(x, x);
    let mut p = s.splat(-5.704_988e-3);
    p = s.fma(p, square, s.splat(2.063_909e-2));
    p = s.fma(p, square, s.splat(-5.373_971_5e-2));
    p = s.fma(p, square, s.splat(1.333_144_2e-1));
    p = s.fma(p, square, s.splat(-3.333_328e-1));
    let near = s.fma(s.mul(p, square), x, x);
    let grown = exp_lanes(s, s.add(a, a));
    let far = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(grown, s.splat(1.0))));
    let far = s.select(s.ge(x, s.zero()), far, s.neg(far));
    s.select(s.gt(s.splat(0.625), a), near, far)
}

#[cfg(test)]
mod tests {
    use super::super::simd::with_isa;
    use super::*;

    type Case = (&'static str, fn(&mut [f32]), fn(f32) -> f32, fn(f64) -> f64, f64);

    const ALL: [Case; 6] = [
        ("exp", exp_slice, exp, f64::exp, 1.0e-7),
        ("ln", ln_slice, ln, f64::ln, 1.0e-7),
        ("sigmoid", sigmoid_slice, sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 2.0e-7),
        ("log_sigmoid", log_sigmoid_slice, log_sigmoid, |x| -softplus_f64(-x), 1.5e-7),
        ("softplus", softplus_slice, softplus, softplus_f64, 1.5e-7),
        ("tanh", tanh_slice, tanh, f64::tanh, 1.6e-7),
    ];

    fn softplus_f64(x: f64) -> f64 {
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    }

    /// Every 4,001st f32 that is finite, and dense samples where the functions turn.
    fn samples() -> Vec<f32> {
        let mut all: Vec<f32> =
            (0..=u32::MAX).step_by(4_001).map(f32::from_bits).filter(|x| x.is_finite()).collect();
        all.extend((-440_000..=440_000).map(|i| i as f32 * 2.5e-4));
        all.extend((-20_000..=20_000).map(|i| i as f32 * 1e-4 / 7.0));
        all
    }

    #[test]
    fn errors_stay_within_the_documented_bounds() {
        let samples = samples();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for (name, slice, _, exact, bound) in ALL {
                let mut found = samples.clone();
                with_isa(isa, 1, || slice(&mut found));
                let mut worst = (0.0, 0.0);
                for (x, y) in samples.iter().zip(&found) {
                    let exact = exact(f64::from(*x));
                    if exact.is_nan() || exact.abs() > f64::from(f32::MAX) {
                        assert!(exact.is_nan() == y.is_nan(), "{name}({x}) = {y}");
                        continue;
                    }
                    let slack = 2f64.powi(-149);
                    let error = ((f64::from(*y) - exact).abs() - slack).max(0.0) / exact.abs();
                    let error = if exact == 0.0 { f64::from(y.abs()) } else { error };
                    if error > worst.0 {
                        worst = (error, *x);
                    }
                }
                println!("{} {name}: {:.3e} at {}", isa.name(), worst.0, worst.1);
                assert!(worst.0 <= bound, "{} {name}: {:e} at {}", isa.name(), worst.0, worst.1);
            }
        }
    }

    #[test]
    fn bits_are_equal_on_every_instruction_set_with_fma() {
        let samples = samples();
        for (name, slice, ..) in ALL {
            let mut first: Option<Vec<u32>> = None;
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available() && isa.is_fused()) {
                let mut found = samples.clone();
                with_isa(isa, 1, || slice(&mut found));
                let bits: Vec<u32> =
                    found.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect();
                let first = first.get_or_insert_with(|| bits.clone());
                let differ = first.iter().zip(&bits).position(|(a, b)| a != b);
                assert_eq!(differ.map(|i| samples[i]), None, "{name} {}", isa.name());
            }
        }
    }

    dispatch! {
        fn exp2_bounded(x: &mut [f32]) = exp2_bounded_kernel;
    }

    #[inline(always)]
    fn exp2_bounded_kernel<S: Simd>(s: S, x: &mut [f32]) {
        for chunk in x.chunks_exact_mut(LANES) {
            s.store(chunk, exp2_bounded_lanes(s, s.load(chunk)));
        }
    }

    #[test]
    fn powers_of_two_are_accurate_within_their_bounds() {
        let samples: Vec<f32> = (-4_000_000..=4_000_000).map(|i| i as f32 * 3.125e-5).collect();
        let samples = &samples[..samples.len() / LANES * LANES];
        let mut first: Option<Vec<u32>> = None;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            with_isa(isa, 1, || {
                let mut found = samples.to_vec();
                exp2_bounded(&mut found);
                for (x, y) in samples.iter().zip(&found) {
                    let exact = f64::from(*x).exp2();
                    let bound = if isa.is_fused() { 1.0e-7 } else { 2.5e-7 };
                    assert!((f64::from(*y) / exact - 1.0).abs() < bound, "{} 2^{x}", isa.name());
                }
                let mut none = [f32::NAN; LANES];
                exp2_bounded(&mut none);
                assert!(none.iter().all(|x| x.is_nan()), "{}", isa.name());
                found
            })
            .filter(|_| isa.is_fused())
            .into_iter()
            .for_each(|found| {
                let bits: Vec<u32> = found.iter().map(|x| x.to_bits()).collect();
                assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "{}", isa.name());
            });
        }
    }

    #[test]
    fn one_number_gives_the_bits_of_a_lane_at_every_length() {
        for (name, slice, scalar, ..) in ALL {
            for n in 0..40 {
                let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.37 - 5.0).collect();
                let mut y = x.clone();
                slice(&mut y);
                for (x, y) in x.iter().zip(&y) {
                    assert!(scalar(*x).to_bits() == y.to_bits() || y.is_nan(), "{name}({x})");
                }
            }
        }
    }

    #[test]
    fn ends_and_nan_are_as_documented() {
        let inf = f32::INFINITY;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            with_isa(isa, 1, || {
                assert_eq!((exp(-inf), exp(inf), exp(89.0), exp(-104.5)), (0.0, inf, inf, 0.0));
                assert_eq!((exp(0.0), exp(88.7), ln(1.0)), (1.0, exp(88.7).min(f32::MAX), 0.0));
                assert_eq!((ln(0.0), ln(-0.0), ln(inf)), (-inf, -inf, inf));
                assert!(ln(-1.0).is_nan() && ln(-inf).is_nan() && ln(-1e-40).is_nan());
                assert_eq!((sigmoid(-inf), sigmoid(inf), sigmoid(0.0)), (0.0, 1.0, 0.5));
                assert_eq!((log_sigmoid(-inf), log_sigmoid(inf)), (-inf, 0.0));
                assert_eq!((softplus(-inf), softplus(inf)), (0.0, inf));
                assert_eq!((tanh(-inf), tanh(inf), tanh(0.0)), (-1.0, 1.0, 0.0));
                for (name, _, scalar, ..) in ALL {
                    assert!(scalar(f32::NAN).is_nan(), "{name} {}", isa.name());
                }
            });
        }
    }
}
