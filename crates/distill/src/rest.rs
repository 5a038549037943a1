//! Losses side by side that each look at the mass of what they do not list.
//!
//! The kernel's rest is what both count and neither lists. What stands in the slate for one of them alone goes back to the
//! other one's rest, with its share of the slope.

use crate::listwise::{log_sum_exp, portion};
use rankstill_core::{Grad, ItemId, Objective, Row, Scores};
use std::ops::Range;

/// The loss of an own objective whose items are the first `n` of a row that is longer; the slopes are added to what is there.
/// `left_out`: what it leaves out of its rest, where it looks at one.
///
/// An item that stands several times in the slate counts once, and one that is both listed by somebody else and left out by
/// the own objective does not count.
pub(crate) fn own_loss(
    own: &dyn Objective,
    n: usize,
    left_out: Option<&[ItemId]>,
    row: Row<'_>,
    scores: Scores<'_>,
    grad: &mut Grad<'_>,
) -> f32 {
    let rest = match left_out {
        Some(left_out) => Rest::of(&row, scores, 0..n, |item| left_out.contains(&item)),
        None => Rest::none(),
    };
    let mut slope = 0.0;
    let loss = own.loss(
        Row { items: &row.items[..n], ..row },
        Scores { listed: &scores.listed[..n], log_complement: rest.log as f32, ..scores },
        Grad { listed: &mut grad.listed[..n], log_complement: &mut slope },
    );
    rest.give_back(slope, scores, grad);
    loss
}

/// The rest as one loss of a row sees it: the kernel's, and of the listed items those that this loss neither lists nor leaves
/// out.
pub(crate) struct Rest {
    /// ln of its mass.
    pub log: f64,
    back: Vec<usize>,
}

impl Rest {
    /// Of a loss that looks at none.
    pub fn none() -> Self {
        Self { log: f64::NEG_INFINITY, back: Vec::new() }
    }

    /// Of a loss that lists the items `listed` of the row.
    pub fn of(
        row: &Row<'_>,
        scores: Scores<'_>,
        listed: Range<usize>,
        left_out: impl Fn(ItemId) -> bool,
    ) -> Self {
        let items = row.items;
        let back: Vec<usize> = (0..items.len())
            .filter(|at| !listed.contains(at))
            .filter(|&at| !items[listed.clone()].contains(&items[at]) && !left_out(items[at]))
            .filter(|&at| !items[..at].contains(&items[at]))
            .collect();
        let log = match back.is_empty() {
            true => f64::from(scores.log_complement),
            false => {
                log_sum_exp(back.iter().map(|&at| scores.listed[at]).chain([scores.log_complement]))
            }
        };
        Self { log, back }
    }

    /// Takes the slope of [`Rest::log`] to the scores that it was made of.
    pub fn give_back(&self, slope: f32, scores: Scores<'_>, grad: &mut Grad<'_>) {
        if slope == 0.0 {
            return;
        }
        let share = |score: f32| (f64::from(slope) * portion(score, self.log)) as f32;
        for &at in &self.back {
            grad.listed[at] += share(scores.listed[at]);
        }
        *grad.log_complement += share(scores.log_complement);
    }
}
