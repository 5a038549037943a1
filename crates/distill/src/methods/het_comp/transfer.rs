//! Adaptive knowledge transfer: the two losses of one user, with their gradients, in logarithms throughout.

use crate::parts::losses::{log_sum_exp, plackett_luce, softmax_share};

/// The scores of one user: of the own items P, of the target T, and ln of the summed exp of the complement.
#[derive(Clone, Copy)]
pub(super) struct UserScores<'a> {
    pub own: &'a [f32],
    pub target: &'a [f32],
    pub log_complement: f32,
}

/// d loss / d [`UserScores`].
pub(super) struct UserSlopes<'a> {
    pub own: &'a mut [f32],
    pub target: &'a mut [f32],
    pub log_complement: &'a mut f32,
}

/// Every item above the complement, each by itself. The loss and the slopes are multiplied by `weight`.
pub(super) fn overall(scores: UserScores<'_>, weight: f64, slopes: UserSlopes<'_>) -> f64 {
    let complement = f64::from(scores.log_complement);
    let (mut loss, mut to_complement) = (0.0, 0.0);
    let mut each = |items: &[f32], to_items: &mut [f32]| {
        for (&score, slope) in items.iter().zip(to_items) {
            let margin = complement - f64::from(score);
            // ln(1 + e^margin), and its slope. An empty complement (-inf) has no loss.
            let e = (-margin.abs()).exp();
            loss += margin.max(0.0) + e.ln_1p();
            let pull = if margin > 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
            *slope -= (weight * pull) as f32;
            to_complement += pull;
        }
    };
    each(scores.own, slopes.own);
    each(scores.target, slopes.target);
    *slopes.log_complement += (weight * to_complement) as f32;
    weight * loss
}

/// The own items in order above the complement; half of the target in order; a tenth of it once more. The loss and the slopes
/// are multiplied by `weight`.
pub(super) fn fine(scores: UserScores<'_>, weight: f64, slopes: UserSlopes<'_>) -> f64 {
    let UserScores { own, target, log_complement } = scores;
    let UserSlopes { own: to_own, target: to_target, log_complement: to_complement } = slopes;
    let half = target.len().div_ceil(2);
    let tenth = target.len().div_ceil(10);
    let after_half = Unordered::new(&target[half..], log_complement);
    let after_tenth = Unordered::new(&target[tenth..], log_complement);

    let (mut to_half, mut to_tenth) = (0.0, 0.0);
    let each = |weight: f64| move |_| weight;
    let mut loss = plackett_luce(own, after_half.log, each(weight), to_own, &mut to_half);
    let (first, _) = to_target.split_at_mut(half);
    let weight = each(0.5 * weight);
    loss += plackett_luce(&target[..half], after_half.log, weight, first, &mut to_half);
    let (first, _) = to_target.split_at_mut(tenth);
    loss += plackett_luce(&target[..tenth], after_tenth.log, weight, first, &mut to_tenth);
    after_half.spread(
        &target[half..],
        log_complement,
        to_half,
        &mut to_target[half..],
        to_complement,
    );
    after_tenth.spread(
        &target[tenth..],
        log_complement,
        to_tenth,
        &mut to_target[tenth..],
        to_complement,
    );
    loss
}

/// The complement, and the targets that are not ordered, as one mass.
struct Unordered {
    log: f64,
}

impl Unordered {
    fn new(scores: &[f32], log_complement: f32) -> Self {
        Self { log: log_sum_exp(scores.iter().copied().chain([log_complement])) }
    }

    /// Propagates the slope of the mass to its parts.
    fn spread(
        &self,
        scores: &[f32],
        log_complement: f32,
        slope: f64,
        to_scores: &mut [f32],
        to_complement: &mut f32,
    ) {
        let share = |score: f32| (slope * softmax_share(score, self.log)) as f32;
        for (&score, to) in scores.iter().zip(to_scores) {
            *to += share(score);
        }
        *to_complement += share(log_complement);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Loss = fn(UserScores<'_>, f64, UserSlopes<'_>) -> f64;

    fn slopes_of(loss: Loss, own: &[f32], target: &[f32], log_complement: f32) -> (f64, Vec<f32>) {
        let (mut to_own, mut to_target) = (vec![0.0; own.len()], vec![0.0; target.len()]);
        let mut to_complement = 0.0;
        let slopes = UserSlopes {
            own: &mut to_own,
            target: &mut to_target,
            log_complement: &mut to_complement,
        };
        let found = loss(UserScores { own, target, log_complement }, 0.7, slopes);
        to_own.extend(to_target);
        to_own.push(to_complement);
        (found, to_own)
    }

    /// The equations of the module, term by term.
    fn naive(own: &[f32], target: &[f32], log_complement: f32) -> (f64, f64) {
        let e = |s: &f32| f64::from(*s).exp();
        let complement = e(&log_complement);
        let overall =
            own.iter().chain(target).map(|s| -(e(s) / (e(s) + complement)).ln()).sum::<f64>();
        let pl = |list: &[f32], rest: f64| -> f64 {
            (0..list.len())
                .map(|k| -(e(&list[k]) / (list[k..].iter().map(e).sum::<f64>() + rest)).ln())
                .sum()
        };
        let (half, tenth) = (target.len().div_ceil(2), target.len().div_ceil(10));
        let after = |from: usize| complement + target[from..].iter().map(e).sum::<f64>();
        let fine = pl(own, after(half))
            + 0.5 * (pl(&target[..half], after(half)) + pl(&target[..tenth], after(tenth)));
        (0.7 * overall, 0.7 * fine)
    }

    #[test]
    fn losses_are_those_of_the_equations_and_slopes_are_their_differences() {
        let own = [0.3, -1.2, 2.0];
        let target: Vec<f32> = (0..20).map(|i| (i as f32 * 1.7).sin() * 2.0).collect();
        let (a, b) = naive(&own, &target, 3.1);
        for (loss, by_hand) in [(overall as Loss, a), (fine as Loss, b)] {
            let (found, slopes) = slopes_of(loss, &own, &target, 3.1);
            assert!((found - by_hand).abs() < 1e-9, "{found} {by_hand}");
            let at = |moved: usize, by: f32| {
                let (mut own, mut target, mut rest) = (own.to_vec(), target.clone(), 3.1);
                match moved {
                    0..3 => own[moved] += by,
                    3..23 => target[moved - 3] += by,
                    _ => rest += by,
                }
                slopes_of(loss, &own, &target, rest).0
            };
            for (moved, slope) in slopes.iter().enumerate() {
                let step = 1e-2;
                let differs = (at(moved, step) - at(moved, -step)) / (2.0 * f64::from(step));
                assert!((differs - f64::from(*slope)).abs() < 1e-4, "{moved}: {differs} {slope}");
            }
        }
    }

    #[test]
    fn extreme_scores_and_missing_parts_stay_finite() {
        for loss in [overall as Loss, fine as Loss] {
            for (own, target, rest) in [
                (&[900.0, -900.0][..], &[-500.0, 500.0, 0.0][..], 100.0),
                (&[], &[], 5.0),
                (&[1.0], &[2.0], f32::NEG_INFINITY),
                (&[], &[-800.0], 800.0),
            ] {
                let (found, slopes) = slopes_of(loss, own, target, rest);
                assert!(found.is_finite() && found >= 0.0, "{found}");
                assert!(slopes.iter().all(|slope| slope.is_finite()), "{slopes:?}");
            }
        }
    }
}
