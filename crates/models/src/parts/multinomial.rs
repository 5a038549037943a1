//! The multinomial likelihood of a whole history (Liang et al., "Variational Autoencoders for Collaborative
//! Filtering", WWW 2018, eq. 2): with scores s over the catalogue, a row's loss is minus the sum over its n
//! different items i of ln(e^s_i / sum over all j of e^s_j).
//!
//! Its slate is [`Slate::WithComplement`]: the items of the history one by one, all others as one number. A
//! case's items are the distinct items of its history and targets; a case without any has no loss.

use rankstill_core::kernel::math::{exp, exp_slice, ln};
use rankstill_core::{Batch, Grad, ItemId, Lists, Objective, Row, Scores, Slate};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Multinomial;

impl Objective for Multinomial {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let mut listed = Lists::with_capacity(batch.len(), 0);
        for at in 0..batch.len() {
            let case = batch.case(at);
            let parts = [case.query.history, case.targets];
            listed.push(distinct(parts.into_iter().flatten().copied(), batch.cases.n_items()));
        }
        Slate::with_complement(listed, (0..batch.len()).map(|_| []).collect())
    }

    fn loss(&self, _row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let (listed, to_listed) = (scores.listed, grad.listed);
        let most = listed.iter().fold(scores.log_complement, |most, &score| most.max(score));
        if listed.is_empty() {
            return 0.0;
        }
        for (share, score) in to_listed.iter_mut().zip(listed) {
            *share = score - most;
        }
        exp_slice(to_listed);
        let complement = exp(scores.log_complement - most);
        let mass = to_listed.iter().fold(complement, |sum, share| sum + share);
        let n = listed.len() as f32;
        *grad.log_complement = n * complement / mass;
        to_listed.iter_mut().for_each(|share| *share = n * *share / mass - 1.0);
        let log_mass = ln(mass);
        listed.iter().fold(0.0, |sum, score| sum + (log_mass - (score - most)))
    }
}

/// Items of the catalogue, each once, ascending.
pub(crate) fn distinct(items: impl Iterator<Item = ItemId>, n_items: usize) -> Vec<ItemId> {
    let mut items: Vec<ItemId> = items.filter(|&item| (item as usize) < n_items).collect();
    items.sort_unstable();
    items.dedup();
    items
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;
    use rankstill_core::{Cases, Interactions, Span};
    use std::sync::Arc;

    #[test]
    fn two_items_of_four_by_hand() {
        let log = Interactions::new(4, Lists::from_iter([vec![2, 0, 2]]), None, None).unwrap();
        let cases = Cases::per_user(&log);
        let batch = Batch::new(&cases, &[0], 0, 1);
        let slate = Multinomial.slate(&batch);
        let row = Row { batch: &batch, slate: &slate, at: 0 };
        assert_eq!((row.items(), slate.left_out(0)), (&[0, 2][..], Some(&[][..])));
        // e^s = 2 and 5 for the listed items, 1 for the complement: shares 2/8, 5/8, 1/8.
        let (mut to_listed, mut to_complement) = ([0.0; 2], 0.0);
        let loss = Multinomial.loss(
            row,
            Scores { listed: &[2f32.ln(), 5f32.ln()], probes: &[], log_complement: 0.0 },
            Grad { listed: &mut to_listed, log_complement: &mut to_complement },
        );
        assert!((f64::from(loss) - (4f64.ln() + 1.6f64.ln())).abs() < 1e-6, "{loss}");
        let found = [to_listed[0], to_listed[1], to_complement];
        for (found, by_hand) in found.iter().zip([-0.5, 0.25, 0.25]) {
            assert!((found - by_hand).abs() < 1e-6, "{found} {by_hand}");
        }
    }

    #[test]
    fn the_gradient_is_the_slope() {
        testing::objective_gradient(&Multinomial, &Cases::per_user(&testing::blocks()));
    }

    #[test]
    fn all_of_the_catalogue_and_nothing_of_it_do_no_harm() {
        let span = |history| Span { user: None, history, hidden: 0..0, targets: 0..0 };
        let cases = Cases::new(2, Arc::new(vec![1, 0]), vec![span(0..2), span(0..0)]).unwrap();
        let batch = Batch::new(&cases, &[0, 1], 0, 1);
        let all = [0.5, -1.0];
        for at in 0..2 {
            let slate = Multinomial.slate(&batch);
            let (listed, log_complement) = testing::slate_of(&slate, at, &all);
            let (mut grad, mut to_complement) = (vec![0.0; listed.len()], 0.0);
            let loss = Multinomial.loss(
                Row { batch: &batch, slate: &slate, at },
                Scores { listed: &listed, probes: &[], log_complement },
                Grad { listed: &mut grad, log_complement: &mut to_complement },
            );
            assert!(loss.is_finite() && to_complement == 0.0, "{loss} {to_complement}");
            assert!(grad.iter().sum::<f32>().abs() < 1e-6, "{grad:?}");
        }
    }
}
