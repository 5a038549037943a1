//! The cases of an epoch and their order.

use crate::kernel::rng::Rng;
use crate::{Cases, Lists, Sampling};

/// Draws the order of each epoch.
pub(super) struct EpochOrder {
    n_cases: u32,
    /// The cases of each user with at least one; only for sampling by user.
    lines: Option<Lists<u32>>,
}

impl EpochOrder {
    /// `cases` are at most `u32::MAX`.
    pub fn new(cases: &Cases, sampling: Sampling) -> Self {
        let lines = match sampling {
            Sampling::Cases => None,
            Sampling::Users => Some(lines(cases)),
        };
        Self { n_cases: cases.len() as u32, lines }
    }

    /// The rows of one epoch, as many as there are cases.
    pub fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut rng = Rng::keyed(seed, [SHUFFLE, epoch as u64, 0]);
        let Some(lines) = &self.lines else { return rng.permutation(self.n_cases) };
        let n_lines = lines.len() as u32;
        let draw = |_| {
            let line = lines.row(rng.below(n_lines) as usize);
            line[rng.below(line.len() as u32) as usize]
        };
        (0..self.n_cases).map(draw).collect()
    }

    /// The seed for the draws of the batch that starts at row `from` of an epoch. A case that occurs more
    /// than once per epoch must not draw the same negatives each time, so batches have different seeds then.
    /// (Within *one* batch, repeats of a case still draw the same.)
    pub fn batch_seed(&self, seed: u64, from: usize) -> u64 {
        match self.lines {
            None => seed,
            Some(_) => Rng::keyed(seed, [AGAIN, from as u64]).next_u64(),
        }
    }

    /// Whether every case is visited exactly once: a precondition of [`Learner::epoch`](crate::Learner::epoch).
    pub fn visits_each_once(&self) -> bool {
        self.lines.is_none()
    }
}

/// The purpose of the draws of an epoch's order.
const SHUFFLE: u64 = 0x5348_5546;

/// The purpose of the draws of batch seeds.
const AGAIN: u64 = 0x4147_4149;

/// The cases by user; every case without a user counts as a separate user.
fn lines(cases: &Cases) -> Lists<u32> {
    let mut by_user: Vec<_> =
        cases.iter().zip(0u32..).map(|(case, i)| (case.query.user, i)).collect();
    by_user.sort_unstable();
    by_user
        .chunk_by(|(user, _), (next, _)| user.is_some() && user == next)
        .map(|line| line.iter().map(|&(_, i)| i))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Interactions, Span};
    use std::sync::Arc;

    /// User 0 has one item, user 1 none, user 2 three, user 3 eight.
    fn log() -> Interactions {
        let items = [vec![9], vec![], vec![3, 4, 5], (0..8).collect()];
        Interactions::new(10, Lists::from_iter(items), None, None).unwrap()
    }

    #[test]
    fn by_cases_each_is_visited_once_in_an_order_of_its_own() {
        let order = EpochOrder::new(&Cases::each_interaction(&log()), Sampling::Cases);
        let first = order.epoch(1, 0);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12).collect::<Vec<_>>());
        assert_ne!(order.epoch(1, 1), first);
        assert_ne!(order.epoch(2, 0), first);
        assert_eq!(order.batch_seed(7, 100), 7);
        assert!(order.visits_each_once());
    }

    #[test]
    fn by_users_each_with_a_case_comes_equally_often_and_so_does_each_of_theirs() {
        let order = EpochOrder::new(&Cases::each_interaction(&log()), Sampling::Users);
        assert!(!order.visits_each_once());
        let mut visits = [0.0; 12];
        let epochs = 20_000;
        for epoch in 0..epochs {
            let rows = order.epoch(1, epoch);
            assert_eq!(rows.len(), 12, "an epoch is as long as there are cases");
            rows.iter().for_each(|&row| visits[row as usize] += 1.0 / epochs as f64);
        }
        // Twelve draws among three users: four each, shared by one, three and eight cases.
        let by_hand = [4.0].into_iter().chain([4.0 / 3.0; 3]).chain([0.5; 8]);
        for (case, (ours, by_hand)) in visits.into_iter().zip(by_hand).enumerate() {
            // Five standard deviations of a binomial count, and no more.
            let most = 5.0 * (by_hand / epochs as f64).sqrt();
            assert!((ours - by_hand).abs() < most, "case {case}: {ours} and {by_hand}");
        }
    }

    #[test]
    fn epochs_and_batches_that_differ_draw_afresh_and_equal_ones_alike() {
        let order = EpochOrder::new(&Cases::each_interaction(&log()), Sampling::Users);
        assert_eq!(order.epoch(1, 4), order.epoch(1, 4));
        assert_ne!(order.epoch(1, 4), order.epoch(1, 5));
        assert_ne!(order.epoch(1, 4), order.epoch(2, 4));
        let seeds = [order.batch_seed(1, 0), order.batch_seed(1, 8), order.batch_seed(2, 0)];
        assert!(seeds[0] != seeds[1] && seeds[0] != seeds[2] && seeds[1] != seeds[2]);
        assert_eq!(order.batch_seed(1, 8), seeds[1]);
    }

    #[test]
    fn strangers_are_users_of_their_own() {
        let span = |user| Span { user, history: 0..1, hidden: 0..0, targets: 1..2 };
        let spans = [Some(7), None, Some(2), None, Some(7)].map(span).to_vec();
        let cases = Cases::new(3, Arc::new(vec![1, 2]), spans).unwrap();
        let lines = lines(&cases);
        let lines: Vec<_> = lines.iter().collect();
        assert_eq!(lines, [&[1][..], &[3], &[2], &[0, 4]]);
    }
}
