//! Losses that several methods share.

use rankstill_core::kernel::math::{sigmoid, softplus};

/// The negative log-likelihood (Plackett-Luce) that a list comes in its order, above a mass of other items without order, each
/// position weighted: `-sum_k w_k ln(e^s_k / (sum_(j >= k) e^s_j + e^log_others))`. Adds to the slopes.
pub(crate) fn plackett_luce(
    scores: &[f32],
    log_others: f64,
    weight: impl Fn(usize) -> f64,
    slopes: &mut [f32],
    to_others: &mut f64,
) -> f64 {
    let top = scores.iter().fold(log_others, |top, &score| top.max(f64::from(score)));
    if top == f64::NEG_INFINITY {
        return 0.0; // nothing to order
    }
    let mass = |score: f64| (score - top).exp();
    let others = mass(log_others);
    // For each position the mass of its item, of those after it, and of the others.
    let mut remaining = vec![0.0; scores.len()];
    let mut sum = others;
    for (remaining, &score) in remaining.iter_mut().zip(scores).rev() {
        sum += mass(f64::from(score));
        *remaining = sum;
    }
    let (mut loss, mut pull) = (0.0, 0.0);
    for (k, ((&score, slope), remaining)) in scores.iter().zip(slopes).zip(remaining).enumerate() {
        let (own, weight) = (f64::from(score) - top, weight(k));
        // Masses of scores far below the others underflow.
        let remaining = remaining.max(f64::MIN_POSITIVE);
        loss += weight * (remaining.ln() - own);
        pull = (pull + weight / remaining).min(f64::MAX);
        *slope += (pull * own.exp() - weight) as f32;
    }
    *to_others += pull * others;
    loss
}

/// [`plackett_luce`] above others whose scores are given one by one.
pub(crate) fn plackett_luce_above(
    scores: &[f32],
    others: &[f32],
    weight: impl Fn(usize) -> f64,
    slopes: &mut [f32],
    to_others: &mut [f32],
) -> f64 {
    let (log_others, mut slope) = (log_sum_exp(others.iter().copied()), 0.0);
    let loss = plackett_luce(scores, log_others, weight, slopes, &mut slope);
    for (to, &score) in to_others.iter_mut().zip(others) {
        *to += (slope * softmax_share(score, log_others)) as f32;
    }
    loss
}

/// ln of the summed exp; -inf of nothing.
pub(crate) fn log_sum_exp(scores: impl Iterator<Item = f32> + Clone) -> f64 {
    let top = f64::from(scores.clone().fold(f32::NEG_INFINITY, f32::max));
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + scores.fold(0.0, |sum, score| sum + (f64::from(score) - top).exp()).ln()
}

/// The share of a score's exp in a mass.
pub(crate) fn softmax_share(score: f32, log_mass: f64) -> f64 {
    if log_mass == f64::NEG_INFINITY { 0.0 } else { (f64::from(score) - log_mass).exp() }
}

/// The cross-entropy of the softmax of `student / temperature` to that of `teacher / temperature`, weighted. Adds the slopes
/// with respect to the student's scores.
pub(crate) fn cross_entropy(
    student: &[f32],
    teacher: impl Iterator<Item = f32> + Clone,
    temperature: f32,
    slopes: &mut [f32],
    weight: f32,
) -> f32 {
    let logit = |score: f32| f64::from(score) / f64::from(temperature);
    let log_mass = |logits: &mut dyn Iterator<Item = f64>, top: f64| {
        logits.fold(0.0, |sum, logit| sum + (logit - top).exp()).ln() + top
    };
    let top =
        |scores: &mut dyn Iterator<Item = f32>| logit(scores.fold(f32::NEG_INFINITY, f32::max));
    let student_mass =
        log_mass(&mut student.iter().map(|&s| logit(s)), top(&mut student.iter().copied()));
    let teacher_mass = log_mass(&mut teacher.clone().map(logit), top(&mut teacher.clone()));
    let mut loss = 0.0;
    for ((&student, teacher), slope) in student.iter().zip(teacher).zip(slopes) {
        let log_probability = logit(student) - student_mass;
        let target = (logit(teacher) - teacher_mass).exp();
        loss -= target * log_probability;
        *slope += weight * ((log_probability.exp() - target) / f64::from(temperature)) as f32;
    }
    weight * loss as f32
}

/// The binary cross-entropy of a logit whose label is `probability`, and its slope.
pub(crate) fn soft_label(score: f32, probability: f32) -> (f32, f32) {
    let loss = probability * softplus(-score) + (1.0 - probability) * softplus(score);
    (loss, sigmoid(score) - probability)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ours: f32, by_hand: f64) {
        assert!((f64::from(ours) - by_hand).abs() < 1e-6, "{ours} {by_hand}");
    }

    #[test]
    fn two_items_above_others_by_hand() {
        // Masses 2, 1 and the others' 3: -ln(2/6) for the first position, -ln(1/4) for the second.
        let (mut slopes, mut to_mass) = ([0.0; 2], 0.0);
        let loss = plackett_luce(&[2f32.ln(), 0.0], 3f64.ln(), |_| 1.0, &mut slopes, &mut to_mass);
        assert!((loss - (3f64.ln() + 4f64.ln())).abs() < 1e-6);
        close(slopes[0], 2.0 / 6.0 - 1.0);
        close(slopes[1], 1.0 / 6.0 + 1.0 / 4.0 - 1.0);
        assert!((to_mass - (3.0 / 6.0 + 3.0 / 4.0)).abs() < 1e-6);
    }

    #[test]
    fn weighted_positions_above_one_other_item_by_hand() {
        // The same masses; the others are one item.
        let weights = [1.5, 0.5];
        let (scores, others) = ([2f32.ln(), 0.0], [3f32.ln()]);
        let (mut slopes, mut to_others) = ([0.0; 2], [0.0]);
        let loss =
            plackett_luce_above(&scores, &others, |k| weights[k], &mut slopes, &mut to_others);
        assert!((loss - (1.5 * 3f64.ln() + 0.5 * 4f64.ln())).abs() < 1e-6);
        close(slopes[0], 1.5 * (2.0 / 6.0 - 1.0));
        close(slopes[1], 1.5 / 6.0 + 0.5 * (1.0 / 4.0 - 1.0));
        close(to_others[0], 1.5 * 3.0 / 6.0 + 0.5 * 3.0 / 4.0);
    }

    #[test]
    fn the_masses_of_three_others_are_added() {
        let (mut slopes, mut to_others) = ([0.0], [0.0; 3]);
        let loss = plackett_luce_above(&[0.0], &[0.0; 3], |_| 1.0, &mut slopes, &mut to_others);
        assert!((loss - 4f64.ln()).abs() < 1e-6);
        close(slopes[0], -0.75);
        to_others.iter().for_each(|&to| close(to, 0.25));
    }

    #[test]
    fn the_last_item_of_a_list_without_others_has_no_loss() {
        let (mut slopes, mut to_mass) = ([0.0; 2], 0.0);
        let none = f64::NEG_INFINITY;
        let loss = plackett_luce(&[0.0, 0.0], none, |_| 1.0, &mut slopes, &mut to_mass);
        assert!((loss - 2f64.ln()).abs() < 1e-6);
        assert_eq!((slopes, to_mass), ([-0.5, 0.5], 0.0));
        let mut to_none = 0.0;
        for rest in [1.0, none] {
            assert_eq!(plackett_luce(&[], rest, |_| 1.0, &mut [], &mut to_none), 0.0);
        }
        assert_eq!(
            (to_none, log_sum_exp([].into_iter()), softmax_share(1.0, none)),
            (0.0, none, 0.0)
        );
    }

    #[test]
    fn slopes_are_differences_of_losses_and_extreme_scores_stay_finite() {
        let scores = [0.3f32, -1.2, 2.0, 0.7, 0.1];
        let weight = |k: usize| 0.2 + k as f64;
        let of = |scores: &[f32], rest: f64| {
            let (mut slopes, mut to_mass) = (vec![0.0; scores.len()], 0.0);
            let loss = plackett_luce(scores, rest, weight, &mut slopes, &mut to_mass);
            (loss, slopes, to_mass)
        };
        let (_, slopes, to_mass) = of(&scores, 0.4);
        for (k, &slope) in slopes.iter().enumerate() {
            let moved = |by: f32| {
                let mut scores = scores;
                scores[k] += by;
                of(&scores, 0.4).0
            };
            assert!((f64::from(slope) - (moved(0.01) - moved(-0.01)) / 0.02).abs() < 1e-4);
        }
        assert!((to_mass - (of(&scores, 0.41).0 - of(&scores, 0.39).0) / 0.02).abs() < 1e-4);
        let far = [900.0, -900.0, -901.0, -902.0, -903.0, -904.0, -905.0];
        for rest in [100.0, -2000.0, f64::NEG_INFINITY] {
            let (loss, slopes, to_mass) = of(&far, rest);
            assert!(loss.is_finite() && to_mass.is_finite(), "{loss} {to_mass}");
            assert!(slopes.iter().all(|slope| slope.is_finite()), "{slopes:?}");
        }
    }

    #[test]
    fn cross_entropy_of_two_by_hand() {
        // Ours 3/4 and 1/4 at temperature 2, theirs 1/4 and 3/4.
        let two = 2.0 * 3f32.ln();
        let mut slopes = [0.0; 2];
        let loss = cross_entropy(&[two, 0.0], [0.0, two].into_iter(), 2.0, &mut slopes, 0.5);
        let by_hand = -0.25 * 0.75f32.ln() - 0.75 * 0.25f32.ln();
        assert!((loss - 0.5 * by_hand).abs() < 1e-6, "{loss} {by_hand}");
        assert!((slopes[0] - 0.125).abs() < 1e-6 && (slopes[1] + 0.125).abs() < 1e-6, "{slopes:?}");
    }
}
