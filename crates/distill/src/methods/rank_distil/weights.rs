//! The weights of the positions of the teacher's list.

use super::{RankDistil, Weighting};
use rankstill_core::kernel::math::tanh_slice;

/// w^a: exp(-r / lambda) for r = 1..=k, divided by their sum.
pub(super) fn position(k: usize, lambda: f32) -> Vec<f32> {
    // exp(-(r - 1) / lambda): the common factor cancels in the division; without it nothing underflows for a small lambda.
    let raw: Vec<f64> = (0..k).map(|r| (-(r as f64) / f64::from(lambda)).exp()).collect();
    let sum = raw.iter().fold(0.0, |sum, w| sum + w);
    raw.into_iter().map(|w| (w / sum) as f32).collect()
}

/// Algorithm 1: the 1-based rank, in a `population`, of an item above which the student ranks `higher` of `drawn` random items.
pub(super) fn estimated_rank(higher: u32, drawn: usize, population: u32) -> u32 {
    debug_assert!(drawn > 0 && higher as usize <= drawn);
    let below = u64::from(higher) * u64::from(population.saturating_sub(1)) / drawn as u64;
    below as u32 + 1
}

/// How many of `scores` are strictly higher than `score`.
pub(super) fn count_higher(scores: &[f32], score: f32) -> u32 {
    scores.iter().fold(0, |count, &other| count + u32::from(other > score))
}

/// Fills `weights` for a list of that length. `rank(at)` is the student's 1-based rank of the item at 0-based position `at`; it
/// is called only where the weighting needs it.
pub(super) fn fill(
    config: &RankDistil,
    position: &[f32],
    warming_up: bool,
    mut rank: impl FnMut(usize) -> u32,
    weights: &mut [f32],
) {
    let position = &position[..weights.len()];
    match config.weighting {
        Weighting::Uniform => return weights.fill(1.0 / config.k as f32),
        Weighting::Position => return weights.copy_from_slice(position),
        _ if warming_up => return weights.copy_from_slice(position),
        Weighting::Discrepancy | Weighting::Hybrid => {}
    }
    for (at, weight) in weights.iter_mut().enumerate() {
        let lower_by = i64::from(rank(at)) - (at as i64 + 1);
        *weight = config.mu * lower_by.max(0) as f32;
    }
    tanh_slice(weights);
    if config.weighting == Weighting::Discrepancy {
        return;
    }
    weights.iter_mut().zip(position).for_each(|(weight, position)| *weight *= position);
    let sum = weights.iter().fold(0.0, |sum, weight| sum + weight);
    // All are 0 where the student agrees with the teacher: there is nothing to teach then.
    if config.renormalise && sum > 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_weights_of_ten_positions_at_lambda_1() {
        // (1 - e^-1) / (1 - e^-10) = 0.632149..., each next one smaller by e.
        let w = position(10, 1.0);
        assert!((w[0] - 0.632_149_3).abs() < 1e-6, "{}", w[0]);
        assert!((w[1] - 0.632_149_3 / std::f32::consts::E).abs() < 1e-6);
        assert!((w.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn position_weights_are_finite_for_any_lambda() {
        assert_eq!(position(3, 1e-30), [1.0, 0.0, 0.0]);
        let flat = position(4, 1e30);
        assert!(flat.iter().all(|w| (w - 0.25).abs() < 1e-6));
    }

    #[test]
    fn algorithm_1_by_hand() {
        // 3 of 100 beat it, 14,001 unlabelled: floor(3 * 14000 / 100) + 1 = 421.
        assert_eq!(estimated_rank(3, 100, 14_001), 421);
        assert_eq!(estimated_rank(0, 100, 14_001), 1);
        assert_eq!(estimated_rank(100, 100, 14_001), 14_001);
        // floor(2 * 9 / 4) + 1.
        assert_eq!(estimated_rank(2, 4, 10), 5);
        assert_eq!(estimated_rank(1, 1, 0), 1);
        // No overflow: 2^31 samples would not fit, the product of the largest does.
        assert_eq!(estimated_rank(4_000_000, 4_000_000, u32::MAX - 1), u32::MAX - 1);
    }

    #[test]
    fn ties_do_not_count_as_higher() {
        assert_eq!(count_higher(&[1.0, 2.0, 2.0, 3.0, f32::NAN], 2.0), 1);
    }

    #[test]
    fn one_higher_sample_of_a_hundred_saturates_the_discrepancy() {
        // With 14,000 items one higher sample is worth 140 ranks, and tanh(0.1 * 139) = 1 to f32.
        let config = RankDistil { weighting: Weighting::Discrepancy, ..RankDistil::paper() };
        let mut weights = [0.0; 3];
        let higher = [0, 1, 0];
        fill(
            &config,
            &position(10, 1.0),
            false,
            |at| estimated_rank(higher[at], 100, 14_000),
            &mut weights,
        );
        assert_eq!(weights, [0.0, 1.0, 0.0]);
    }

    #[test]
    fn every_weighting_by_hand() {
        let with = |weighting, renormalise, warming_up| {
            let config = RankDistil { k: 4, weighting, renormalise, ..RankDistil::paper() };
            let mut weights = [0.0; 3]; // a list shorter than k
            let ranks = [1, 7, 2]; // higher, 5 ranks lower, higher
            fill(&config, &position(4, 1.0), warming_up, |at| ranks[at], &mut weights);
            weights
        };
        let position = position(4, 1.0);
        let b = 0.5f32.tanh();
        let close = |found: [f32; 3], expected: [f32; 3]| {
            found
                .iter()
                .zip(expected)
                .for_each(|(f, e)| assert!((f - e).abs() < 1e-6, "{found:?}"));
        };
        close(with(Weighting::Uniform, true, false), [0.25; 3]);
        close(with(Weighting::Uniform, true, true), [0.25; 3]);
        close(with(Weighting::Position, true, false), [position[0], position[1], position[2]]);
        close(with(Weighting::Discrepancy, true, false), [0.0, b, 0.0]);
        close(with(Weighting::Hybrid, false, false), [0.0, b * position[1], 0.0]);
        close(with(Weighting::Hybrid, true, false), [0.0, 1.0, 0.0]);
        for weighting in [Weighting::Discrepancy, Weighting::Hybrid] {
            close(with(weighting, true, true), [position[0], position[1], position[2]]);
        }
    }

    #[test]
    fn a_student_that_agrees_has_weights_of_0() {
        let mut weights = [7.0; 2];
        fill(&RankDistil::paper(), &position(10, 1.0), false, |at| at as u32 + 1, &mut weights);
        assert_eq!(weights, [0.0; 2]);
    }
}
