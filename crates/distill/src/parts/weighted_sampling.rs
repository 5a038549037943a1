//! Positions of a list, drawn by weight.

use rankstill_core::kernel::math::ln_slice;
use rankstill_core::kernel::rng::Rng;

/// `k` positions of `log_weights` (or all, if there are fewer), ascending, drawn without replacement: each next one with
/// probability proportional to e^log_weight among those that are left. Without a generator, the `k` largest weights; ties go to
/// the earlier position. A weight of -inf is taken last.
///
/// Adding Gumbel noise to the logarithms and taking the k largest gives this distribution (Efraimidis & Spirakis, "Weighted
/// random sampling with a reservoir", IPL 2006; Kool et al., ICML 2019), and no weight can underflow.
pub(crate) fn weighted_positions(log_weights: &[f32], k: usize, rng: Option<&mut Rng>) -> Vec<u32> {
    let mut keys = log_weights.to_vec();
    if let Some(rng) = rng {
        let mut noise = vec![0.0; keys.len()];
        fill_gumbel(rng, &mut noise);
        keys.iter_mut().zip(noise).for_each(|(key, noise)| *key += noise);
    }
    let mut positions: Vec<u32> = (0..keys.len() as u32).collect();
    let order = |a: &u32, b: &u32| keys[*b as usize].total_cmp(&keys[*a as usize]).then(a.cmp(b));
    if k < positions.len() {
        if k > 0 {
            positions.select_nth_unstable_by(k - 1, order);
        }
        positions.truncate(k);
    }
    positions.sort_unstable();
    positions
}

/// The summed weights of the positions before each of `n`, and of all: the weight of a position is exp(-position / temperature).
pub(crate) fn summed_before(n: usize, temperature: f32) -> Vec<f64> {
    let weight = |at: usize| (-(at as f64) / f64::from(temperature)).exp();
    let mut sums = vec![0.0];
    sums.extend((0..n).scan(0.0, |sum, at| {
        *sum += weight(at);
        Some(*sum)
    }));
    sums
}

/// Standard Gumbel noise: -ln(-ln u) for u in (0, 1]; +inf for u = 1.
pub(crate) fn fill_gumbel(rng: &mut Rng, out: &mut [f32]) {
    out.iter_mut().for_each(|x| *x = 1.0 - rng.uniform());
    ln_slice(out);
    out.iter_mut().for_each(|x| *x = -*x);
    ln_slice(out);
    out.iter_mut().for_each(|x| *x = -*x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_draws_follow_the_weights() {
        let weights = [1.0f32, 2.0, 5.0, 0.0].map(f32::ln);
        let mut counts = [0u32; 4];
        for draw in 0..20_000 {
            let positions = weighted_positions(&weights, 1, Some(&mut Rng::keyed(3, [draw])));
            counts[positions[0] as usize] += 1;
        }
        for (count, share) in counts.into_iter().zip([0.125, 0.25, 0.625, 0.0]) {
            let expected = 20_000.0 * share;
            assert!((f64::from(count) - expected).abs() <= 4.5 * expected.sqrt(), "{counts:?}");
        }
    }

    #[test]
    fn pairs_come_as_often_as_when_drawn_one_after_the_other() {
        let weights = [1.0f32, 2.0, 5.0].map(f32::ln);
        let mut without = [0u32; 3];
        for draw in 0..20_000 {
            let positions = weighted_positions(&weights, 2, Some(&mut Rng::keyed(4, [draw])));
            assert!(positions.len() == 2 && positions[0] < positions[1]);
            without[(3 - positions[0] - positions[1]) as usize] += 1;
        }
        // P(position 0 is left) = 2/8 * 5/6 + 5/8 * 2/3, and so on.
        let left = [
            2.0 / 8.0 * 5.0 / 6.0 + 5.0 / 8.0 * 2.0 / 3.0,
            1.0 / 8.0 * 5.0 / 7.0 + 5.0 / 8.0 * 1.0 / 3.0,
            1.0 / 8.0 * 2.0 / 7.0 + 2.0 / 8.0 * 1.0 / 6.0,
        ];
        for (count, share) in without.into_iter().zip(left) {
            let expected: f64 = 20_000.0 * share;
            assert!((f64::from(count) - expected).abs() < 4.5 * expected.sqrt(), "{without:?}");
        }
    }

    #[test]
    fn without_a_generator_the_largest_weights_are_taken() {
        assert_eq!(weighted_positions(&[0.5, 2.0, 2.0, 1.0], 2, None), [1, 2]);
        assert_eq!(weighted_positions(&[1.0, 1.0, 1.0], 2, None), [0, 1]);
        assert_eq!(weighted_positions(&[1.0, 3.0], 9, None), [0, 1]);
        assert!(
            weighted_positions(&[1.0], 0, None).is_empty()
                && weighted_positions(&[], 3, None).is_empty()
        );
    }
}
