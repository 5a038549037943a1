//! Successive halving: how many trials are promoted, and how long each of them is trained.

use rankstill::core::Plan;

/// One rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The number of trials trained up to this rung.
    pub trials: usize,
    /// Each is trained for its own number of epochs divided by this.
    pub divisor: usize,
}

/// The rungs, lowest first; the last trains to the end. `epochs`: those of the shortest trial; `None` for models that are not
/// trained by epochs, which have a single rung.
#[must_use]
pub fn ladder(trials: usize, keep: usize, min_epochs: usize, epochs: Option<usize>) -> Vec<Rung> {
    let mut divisors = vec![1usize];
    let fits = |divisor: usize| {
        divisor <= trials && epochs.is_some_and(|epochs| epochs / divisor >= min_epochs.max(1))
    };
    while let Some(next) = divisors[divisors.len() - 1].checked_mul(keep).filter(|&d| fits(d)) {
        divisors.push(next);
    }
    let highest = divisors[divisors.len() - 1];
    divisors
        .iter()
        .rev()
        .map(|&divisor| Rung { trials: (trials * divisor / highest).max(1), divisor })
        .collect()
}

impl Rung {
    /// Epochs of a trial on this rung, rounded up to the next regular validation of its plan, so that a resumed trial is the same as
    /// one that was never paused.
    #[must_use]
    pub fn epochs(&self, plan: &Plan) -> usize {
        let share = plan.epochs.div_ceil(self.divisor);
        let every = if plan.patience > 0 { plan.validate_every.max(1) } else { 1 };
        share.next_multiple_of(every).min(plan.epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_hand(trials: usize, keep: usize, min: usize, epochs: usize) -> Vec<(usize, usize)> {
        let plan = Plan { epochs, validate_every: 1, ..Plan::default() };
        let ladder = ladder(trials, keep, min, Some(epochs));
        ladder.iter().map(|rung| (rung.trials, rung.epochs(&plan))).collect()
    }

    #[test]
    fn a_third_is_promoted_with_three_times_the_epochs() {
        assert_eq!(by_hand(27, 3, 1, 81), [(27, 3), (9, 9), (3, 27), (1, 81)]);
        assert_eq!(by_hand(27, 3, 2, 27), [(27, 3), (9, 9), (3, 27)], "two epochs at least");
        assert_eq!(by_hand(8, 2, 1, 100), [(8, 13), (4, 25), (2, 50), (1, 100)]);
        assert_eq!(by_hand(10, 3, 1, 100), [(10, 12), (3, 34), (1, 100)]);
        assert_eq!(by_hand(1, 3, 1, 100), [(1, 100)]);
        assert_eq!(by_hand(9, 3, 1, 1), [(9, 1)]);
        assert_eq!(ladder(9, 3, 1, None), [Rung { trials: 9, divisor: 1 }]);
    }

    #[test]
    fn a_rung_ends_at_a_validation_of_the_plan() {
        let plan = Plan { epochs: 80, validate_every: 4, patience: 6, ..Plan::default() };
        let at = |divisor| Rung { trials: 1, divisor }.epochs(&plan);
        assert_eq!([at(9), at(3), at(1)], [12, 28, 80]);
    }
}
