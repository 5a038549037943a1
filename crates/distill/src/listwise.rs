//! Losses of lists that several methods share.

/// Plackett and Luce's likelihood that a list comes in its order, above a rest in no order, each place weighed:
/// `-sum_k w_k ln(e^s_k / (sum_(j >= k) e^s_j + e^log_complement))`. Adds the slopes to what is there.
pub(crate) fn plackett_luce(
    scores: &[f32],
    log_complement: f64,
    weight: impl Fn(usize) -> f64,
    slopes: &mut [f32],
    to_rest: &mut f64,
) -> f64 {
    let top = scores.iter().fold(log_complement, |top, &score| top.max(f64::from(score)));
    if top == f64::NEG_INFINITY {
        return 0.0; // nothing to order
    }
    let mass = |score: f64| (score - top).exp();
    let rest = mass(log_complement);
    // Behind each place: its own mass, those after it, the rest's.
    let mut behind = vec![0.0; scores.len()];
    let mut sum = rest;
    for (behind, &score) in behind.iter_mut().zip(scores).rev() {
        sum += mass(f64::from(score));
        *behind = sum;
    }
    let (mut loss, mut pull) = (0.0, 0.0);
    for (k, ((&score, slope), behind)) in scores.iter().zip(slopes).zip(behind).enumerate() {
        let (own, weight) = (f64::from(score) - top, weight(k));
        // Of a score so far below the others that its mass is nothing, what is behind it is nothing, too.
        let behind = behind.max(f64::MIN_POSITIVE);
        loss += weight * (behind.ln() - own);
        pull = (pull + weight / behind).min(f64::MAX);
        *slope += (pull * own.exp() - weight) as f32;
    }
    *to_rest += pull * rest;
    loss
}

/// The same above others in no order, whose scores are given one by one.
pub(crate) fn above(
    scores: &[f32],
    others: &[f32],
    weight: impl Fn(usize) -> f64,
    slopes: &mut [f32],
    to_others: &mut [f32],
) -> f64 {
    let (log_complement, mut to_rest) = (log_sum_exp(others.iter().copied()), 0.0);
    let loss = plackett_luce(scores, log_complement, weight, slopes, &mut to_rest);
    for (to, &score) in to_others.iter_mut().zip(others) {
        *to += (to_rest * portion(score, log_complement)) as f32;
    }
    loss
}

/// ln of the summed exp; -inf of nothing.
pub(crate) fn log_sum_exp(scores: impl Iterator<Item = f32> + Clone) -> f64 {
    let most = f64::from(scores.clone().fold(f32::NEG_INFINITY, f32::max));
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + scores.fold(0.0, |sum, score| sum + (f64::from(score) - most).exp()).ln()
}

/// What part of a mass is due to a score.
pub(crate) fn portion(score: f32, log_mass: f64) -> f64 {
    if log_mass == f64::NEG_INFINITY { 0.0 } else { (f64::from(score) - log_mass).exp() }
}

/// The cross-entropy of the softmax of `said / temperature` to that of `taught / temperature`. Adds the slopes with respect to
/// `said` to what is there.
pub(crate) fn cross_entropy(
    said: &[f32],
    taught: impl Iterator<Item = f32> + Clone,
    temperature: f32,
    slopes: &mut [f32],
    weight: f32,
) -> f32 {
    let cooled = |score: f32| f64::from(score) / f64::from(temperature);
    let log_mass = |scores: &mut dyn Iterator<Item = f64>, top: f64| {
        scores.fold(0.0, |sum, score| sum + (score - top).exp()).ln() + top
    };
    let most =
        |scores: &mut dyn Iterator<Item = f32>| cooled(scores.fold(f32::NEG_INFINITY, f32::max));
    let ours = log_mass(&mut said.iter().map(|&s| cooled(s)), most(&mut said.iter().copied()));
    let theirs = log_mass(&mut taught.clone().map(cooled), most(&mut taught.clone()));
    let mut loss = 0.0;
    for ((&said, taught), slope) in said.iter().zip(taught).zip(slopes) {
        let (log_ours, wanted) = (cooled(said) - ours, (cooled(taught) - theirs).exp());
        loss -= wanted * log_ours;
        *slope += weight * ((log_ours.exp() - wanted) / f64::from(temperature)) as f32;
    }
    weight * loss as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ours: f32, by_hand: f64) {
        assert!((f64::from(ours) - by_hand).abs() < 1e-6, "{ours} {by_hand}");
    }

    #[test]
    fn two_items_above_a_rest_by_hand() {
        // Masses 2, 1 and the rest's 3: -ln(2/6) for the first place, -ln(1/4) for the second.
        let (mut slopes, mut to_rest) = ([0.0; 2], 0.0);
        let loss = plackett_luce(&[2f32.ln(), 0.0], 3f64.ln(), |_| 1.0, &mut slopes, &mut to_rest);
        assert!((loss - (3f64.ln() + 4f64.ln())).abs() < 1e-6);
        close(slopes[0], 2.0 / 6.0 - 1.0);
        close(slopes[1], 1.0 / 6.0 + 1.0 / 4.0 - 1.0);
        assert!((to_rest - (3.0 / 6.0 + 3.0 / 4.0)).abs() < 1e-6);
    }

    #[test]
    fn places_of_unlike_weight_above_a_rival_by_hand() {
        // The same masses, the rest's as that of one item.
        let weights = [1.5, 0.5];
        let (scores, others) = ([2f32.ln(), 0.0], [3f32.ln()]);
        let (mut slopes, mut to_others) = ([0.0; 2], [0.0]);
        let loss = above(&scores, &others, |k| weights[k], &mut slopes, &mut to_others);
        assert!((loss - (1.5 * 3f64.ln() + 0.5 * 4f64.ln())).abs() < 1e-6);
        close(slopes[0], 1.5 * (2.0 / 6.0 - 1.0));
        close(slopes[1], 1.5 / 6.0 + 0.5 * (1.0 / 4.0 - 1.0));
        close(to_others[0], 1.5 * 3.0 / 6.0 + 0.5 * 3.0 / 4.0);
    }

    #[test]
    fn three_others_are_one_mass() {
        let (mut slopes, mut to_others) = ([0.0], [0.0; 3]);
        let loss = above(&[0.0], &[0.0; 3], |_| 1.0, &mut slopes, &mut to_others);
        assert!((loss - 4f64.ln()).abs() < 1e-6);
        close(slopes[0], -0.75);
        to_others.iter().for_each(|&to| close(to, 0.25));
    }

    #[test]
    fn a_list_without_a_rest_ends_with_nothing_to_say() {
        let (mut slopes, mut to_rest) = ([0.0; 2], 0.0);
        let none = f64::NEG_INFINITY;
        let loss = plackett_luce(&[0.0, 0.0], none, |_| 1.0, &mut slopes, &mut to_rest);
        assert!((loss - 2f64.ln()).abs() < 1e-6);
        assert_eq!((slopes, to_rest), ([-0.5, 0.5], 0.0));
        let mut to_none = 0.0;
        for rest in [1.0, none] {
            assert_eq!(plackett_luce(&[], rest, |_| 1.0, &mut [], &mut to_none), 0.0);
        }
        assert_eq!((to_none, log_sum_exp([].into_iter()), portion(1.0, none)), (0.0, none, 0.0));
    }

    #[test]
    fn slopes_are_differences_of_losses_and_far_scores_stay_numbers() {
        let scores = [0.3f32, -1.2, 2.0, 0.7, 0.1];
        let weight = |k: usize| 0.2 + k as f64;
        let of = |scores: &[f32], rest: f64| {
            let (mut slopes, mut to_rest) = (vec![0.0; scores.len()], 0.0);
            let loss = plackett_luce(scores, rest, weight, &mut slopes, &mut to_rest);
            (loss, slopes, to_rest)
        };
        let (_, slopes, to_rest) = of(&scores, 0.4);
        for (k, &slope) in slopes.iter().enumerate() {
            let moved = |by: f32| {
                let mut scores = scores;
                scores[k] += by;
                of(&scores, 0.4).0
            };
            assert!((f64::from(slope) - (moved(0.01) - moved(-0.01)) / 0.02).abs() < 1e-4);
        }
        assert!((to_rest - (of(&scores, 0.41).0 - of(&scores, 0.39).0) / 0.02).abs() < 1e-4);
        let far = [900.0, -900.0, -901.0, -902.0, -903.0, -904.0, -905.0];
        for rest in [100.0, -2000.0, f64::NEG_INFINITY] {
            let (loss, slopes, to_rest) = of(&far, rest);
            assert!(loss.is_finite() && to_rest.is_finite(), "{loss} {to_rest}");
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
