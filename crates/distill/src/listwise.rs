//! Losses of lists that several methods share.

/// Plackett and Luce's likelihood that a list comes in its order, above a rest in no order:
/// `-sum_k ln(e^s_k / (sum_(j >= k) e^s_j + e^log_rest))`. Adds the slopes to what is there.
pub(crate) fn plackett_luce(
    scores: &[f32],
    log_rest: f32,
    slopes: &mut [f32],
    to_rest: &mut f32,
) -> f32 {
    let top = scores.iter().fold(log_rest, |top, &score| top.max(score));
    let mass = |score: f32| f64::from(score - top).exp();
    let rest = if log_rest == f32::NEG_INFINITY { 0.0 } else { mass(log_rest) };
    // Behind each place: its own mass, those after it, the rest's.
    let mut behind = vec![0.0; scores.len()];
    let mut sum = rest;
    for (behind, &score) in behind.iter_mut().zip(scores).rev() {
        sum += mass(score);
        *behind = sum;
    }
    let (mut loss, mut pull) = (0.0, 0.0);
    for ((&score, slope), behind) in scores.iter().zip(slopes).zip(behind) {
        loss += behind.ln() - f64::from(score - top);
        pull += 1.0 / behind;
        *slope += (pull * mass(score) - 1.0) as f32;
    }
    *to_rest += (pull * rest) as f32;
    loss as f32
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

    #[test]
    fn two_items_above_a_rest_by_hand() {
        // Masses 2, 1 and the rest's 3: -ln(2/6) for the first place, -ln(1/4) for the second.
        let (mut slopes, mut to_rest) = ([0.0; 2], 0.0);
        let loss = plackett_luce(&[2f32.ln(), 0.0], 3f32.ln(), &mut slopes, &mut to_rest);
        assert!((f64::from(loss) - (3f64.ln() + 4f64.ln())).abs() < 1e-6);
        let close = |ours: f32, by_hand: f64| assert!((f64::from(ours) - by_hand).abs() < 1e-6);
        close(slopes[0], 2.0 / 6.0 - 1.0);
        close(slopes[1], 1.0 / 6.0 + 1.0 / 4.0 - 1.0);
        close(to_rest, 3.0 / 6.0 + 3.0 / 4.0);
    }

    #[test]
    fn a_list_without_a_rest_ends_with_nothing_to_say() {
        let (mut slopes, mut to_rest) = ([0.0; 2], 0.0);
        let loss = plackett_luce(&[0.0, 0.0], f32::NEG_INFINITY, &mut slopes, &mut to_rest);
        assert!((loss - 2f32.ln()).abs() < 1e-6);
        assert_eq!((slopes, to_rest), ([-0.5, 0.5], 0.0));
        let mut none = 0.0;
        assert_eq!(plackett_luce(&[], 1.0, &mut [], &mut none), 0.0);
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
