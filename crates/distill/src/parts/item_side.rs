//! Rankings of users for an item, as the methods rank items for a user: users in the teacher's order, above other users.
//!
//! The teacher's order of an item's users is derived from its lists: first the users whose list holds the item, by its position
//! there or by the teacher's score ([`UserOrder`]), then all others. A step has only the vectors of the batch's users, so these
//! stand for all users, in their order among themselves.

use super::labelled::Labelled;
use super::losses::plackett_luce_above;
use super::vector_blend::{BatchVectors, VectorTerm};
use super::weighted_sampling::weighted_positions;
use rankstill_core::kernel::dense::{axpy, dot};
use rankstill_core::kernel::math::{ln_slice, tanh_slice};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::sample::Distinct;
use rankstill_core::{Lists, Trace};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Keep the draws of different purposes apart.
const ITEMS: u64 = 0x4953_4954;
const USERS: u64 = 0x4953_5553;

/// Items of one task.
const CHUNK: usize = 32;

/// How the users whose list holds an item are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserOrder {
    /// By the item's position in their lists: for teachers whose scores are not comparable between users.
    Places,
    /// By the teacher's score.
    Scores,
}

/// Which users of an item are ranked above which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum UserSelection {
    /// `k` users of the order, drawn with probability proportional to exp(-position / temperature), above `l` users that are not in
    /// it.
    Interesting { k: usize, l: usize, temperature: f32 },
    /// At most `n` users that the student ranks too low, above at most `n` that it ranks too high. `draws`: with probability
    /// proportional to tanh(difference of ranks / divisor); otherwise those with the largest differences.
    Corrected { n: usize, divisor: f32, draws: bool },
}

/// The loss, for the items that a batch lists.
pub(crate) struct ItemSide {
    selection: UserSelection,
    /// Maximum number of items of a batch; 0 = all.
    items: usize,
    /// For each item, the queries whose list holds it, best first.
    order: Lists<u32>,
    /// For each item, the queries for which it is labelled.
    owners: Lists<u32>,
    n_queries: usize,
}

impl ItemSide {
    /// `window`: maximum length of an item's order. `items`: see the field.
    pub fn new(
        selection: UserSelection,
        trace: &Trace,
        labelled: &Labelled,
        n_items: usize,
        (by, window, items): (UserOrder, usize, usize),
    ) -> Self {
        let answers = trace.last();
        let mut order: Vec<Vec<(u32, f32, u32)>> = vec![Vec::new(); n_items];
        let mut owners: Vec<Vec<u32>> = vec![Vec::new(); n_items];
        for query in 0..answers.len() {
            let scored = answers.items(query).iter().zip(answers.scores(query));
            let unlabelled = scored.filter(|(item, _)| !labelled.contains(query, **item));
            for ((&item, &score), position) in unlabelled.zip(0..) {
                order[item as usize].push((position, score, query as u32));
            }
            for &item in labelled.of(query) {
                owners[item as usize].push(query as u32);
            }
        }
        let sorted = |mut users: Vec<(u32, f32, u32)>| {
            users.sort_by(|a, b| {
                let by_score = match by {
                    UserOrder::Places => std::cmp::Ordering::Equal,
                    UserOrder::Scores => b.1.total_cmp(&a.1),
                };
                by_score.then(a.0.cmp(&b.0)).then(a.2.cmp(&b.2))
            });
            users.into_iter().take(window).map(|(.., query)| query).collect::<Vec<_>>()
        };
        Self {
            selection,
            items,
            order: order.into_iter().map(sorted).collect(),
            owners: owners.into_iter().collect(),
            n_queries: answers.len(),
        }
    }

    /// The loss of the batch's item `at`; `None` where it has no order. `in_batch`: the number of each query in the batch.
    fn item_loss(
        &self,
        batch: &BatchVectors<'_>,
        in_batch: &[u32],
        at: usize,
        distinct: &mut Distinct,
    ) -> Option<ItemLoss> {
        let (dim, item) = (batch.dim, batch.sides[1].ids[at]);
        let vector = &batch.sides[1].vectors[at * dim..][..dim];
        let of_batch = |users: &[u32]| -> Vec<u32> {
            users.iter().map(|&user| in_batch[user as usize]).filter(|&at| at != ABSENT).collect()
        };
        let order = of_batch(self.order.row(item as usize));
        if order.is_empty() {
            return None;
        }
        let owners = of_batch(self.owners.row(item as usize));
        let mut rng = batch.rng(USERS, item);
        let score =
            |user: &u32| dot(&batch.sides[0].vectors[*user as usize * dim..][..dim], vector);
        let (mut users, n) = match self.selection {
            UserSelection::Interesting { k, l, temperature } => {
                let weights: Vec<f32> =
                    (0..order.len()).map(|at| -(at as f32) / temperature).collect();
                let positions = weighted_positions(&weights, k, Some(&mut rng));
                let mut users: Vec<u32> = positions.iter().map(|&at| order[at as usize]).collect();
                let (n, all) = (users.len(), batch.sides[0].ids.len() as u32);
                distinct.draw(all, &[&order, &owners], l, &mut rng, &mut users);
                (users, n)
            }
            UserSelection::Corrected { n, divisor, draws } => {
                let (low, high) = misjudged(batch, &order, &owners, score);
                let mut pick = |lower_by: Vec<f32>| -> Vec<u32> {
                    let live: Vec<u32> =
                        (0..order.len() as u32).filter(|&at| lower_by[at as usize] > 0.0).collect();
                    let mut weights: Vec<f32> =
                        live.iter().map(|&at| lower_by[at as usize] / divisor).collect();
                    tanh_slice(&mut weights);
                    ln_slice(&mut weights);
                    let positions = weighted_positions(&weights, n, draws.then_some(&mut rng));
                    positions.iter().map(|&at| order[live[at as usize] as usize]).collect()
                };
                let (mut users, others) = (pick(low), pick(high));
                let n = users.len();
                users.extend(others);
                (users, n)
            }
        };
        if n == 0 || users.len() < 2 {
            return None;
        }
        let scores: Vec<f32> = users.iter().map(score).collect();
        let mut slopes = vec![0.0; users.len()];
        let ((list, others), (to_list, to_others)) = (scores.split_at(n), slopes.split_at_mut(n));
        let loss = plackett_luce_above(list, others, |_| 1.0, to_list, to_others);
        let mut gradient = vec![0.0; dim];
        for (user, &slope) in users.iter().zip(&slopes) {
            axpy(slope, &batch.sides[0].vectors[*user as usize * dim..][..dim], &mut gradient);
        }
        Some(ItemLoss { at, loss, gradient, slopes: users.drain(..).zip(slopes).collect() })
    }
}

/// By how much the student ranks each user of the teacher's order too low, and by how much too high, among the batch's users that
/// do not have the item.
fn misjudged(
    batch: &BatchVectors<'_>,
    order: &[u32],
    owners: &[u32],
    score: impl Fn(&u32) -> f32,
) -> (Vec<f32>, Vec<f32>) {
    let mut scores: Vec<f32> =
        (0..batch.sides[0].ids.len() as u32).map(|user| score(&user)).collect();
    let own: Vec<f32> = order.iter().map(|&user| scores[user as usize]).collect();
    owners.iter().for_each(|&user| scores[user as usize] = f32::NEG_INFINITY);
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    let lower_by = own
        .iter()
        .zip(0..)
        .map(|(own, teacher)| scores.partition_point(|score| score > own) as f32 - teacher as f32);
    let lower_by: Vec<f32> = lower_by.collect();
    (lower_by.clone(), lower_by.into_iter().map(|by| -by).collect())
}

struct ItemLoss {
    at: usize,
    loss: f64,
    gradient: Vec<f32>,
    slopes: Vec<(u32, f32)>,
}

/// The number of a query that is not in the batch.
const ABSENT: u32 = u32::MAX;

impl VectorTerm for ItemSide {
    fn all_listed(&self) -> bool {
        true
    }

    fn loss(
        &self,
        batch: &BatchVectors<'_>,
        _scale: f32,
        [to_queries, to_items]: [&mut [f32]; 2],
    ) -> f64 {
        let mut in_batch = vec![ABSENT; self.n_queries];
        for (&query, at) in batch.sides[0].ids.iter().zip(0..) {
            in_batch[query as usize] = at;
        }
        let n = batch.sides[1].ids.len();
        let mut chosen: Vec<u32> = (0..n as u32).collect();
        if self.items > 0 && n > self.items {
            chosen.clear();
            let mut rng: Rng = batch.rng(ITEMS, 0);
            Distinct::default().draw(n as u32, &[], self.items, &mut rng, &mut chosen);
            chosen.sort_unstable();
        }
        let learnt: Vec<Option<ItemLoss>> = chosen
            .par_iter()
            .with_min_len(CHUNK)
            .map_init(Distinct::default, |distinct, &at| {
                self.item_loss(batch, &in_batch, at as usize, distinct)
            })
            .collect();
        let (dim, mut loss) = (batch.dim, 0.0);
        for ItemLoss { at, loss: own, gradient, slopes } in learnt.into_iter().flatten() {
            loss += own;
            axpy(1.0, &gradient, &mut to_items[at * dim..][..dim]);
            let vector = &batch.sides[1].vectors[at * dim..][..dim];
            for (user, slope) in slopes {
                axpy(slope, vector, &mut to_queries[user as usize * dim..][..dim]);
            }
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::{Cases, Interactions, Rankings};

    /// Three users that have item 3, and lists of items 0 to 2.
    fn side(selection: UserSelection, by: UserOrder) -> ItemSide {
        let log = Interactions::new(4, Lists::from_iter(vec![vec![3u32]; 3]), None, None).unwrap();
        let cases = Cases::each_interaction(&log);
        let mut rankings = Rankings::default();
        rankings.push([(0, 5.0), (1, 4.0)]);
        rankings.push([(1, 9.0), (0, 8.0)]);
        rankings.push([(2, 1.0), (1, 0.5)]);
        let trace = Trace::new("t", vec![(0, rankings)]).unwrap();
        ItemSide::new(selection, &trace, &Labelled::new(&cases).unwrap(), 4, (by, 2, 0))
    }

    const SELECTION: UserSelection = UserSelection::Interesting { k: 2, l: 5, temperature: 1.0 };

    #[test]
    fn orders_of_users_are_derived_from_lists() {
        let order = |by| side(SELECTION, by).order.iter().map(<[_]>::to_vec).collect::<Vec<_>>();
        // Item 1 is first for user 1 and second for users 0 and 2; at most two users count.
        assert_eq!(order(UserOrder::Places), [vec![0, 1], vec![1, 0], vec![2], vec![]]);
        assert_eq!(order(UserOrder::Scores), [vec![1, 0], vec![1, 0], vec![2], vec![]]);
        assert_eq!(side(SELECTION, UserOrder::Places).owners.row(3), [0, 1, 2]);
    }

    fn vectors<'a>(
        queries: &'a [u32],
        items: &'a [u32],
        vectors: [&'a [f32]; 2],
    ) -> BatchVectors<'a> {
        let [q, v] = vectors;
        BatchVectors::for_test(1, [(queries, q), (items, v)])
    }

    #[test]
    fn users_in_order_above_one_without_the_item_in_its_list_by_hand() {
        // Item 0, of vector 1: users 0 and 1 with masses 2 and 1, user 2 with 3.
        let (q, v) = ([2f32.ln(), 0.0, 3f32.ln()], [1.0]);
        let batch = vectors(&[0, 1, 2], &[0], [&q, &v]);
        let (mut to_q, mut to_v) = ([0.0; 3], [0.0]);
        let loss = side(SELECTION, UserOrder::Places).loss(&batch, 0.0, [&mut to_q, &mut to_v]);
        assert!((loss - (3f64.ln() + 4f64.ln())).abs() < 1e-6, "{loss}");
        let by_hand = [2.0 / 6.0 - 1.0, 1.0 / 6.0 + 1.0 / 4.0 - 1.0, 3.0 / 6.0 + 3.0 / 4.0];
        assert!(to_q.iter().zip(by_hand).all(|(a, b)| (a - b).abs() < 1e-6), "{to_q:?}");
        let to_item: f32 = by_hand.iter().zip(q).map(|(slope, q)| slope * q).sum();
        assert!((to_v[0] - to_item).abs() < 1e-6);
    }

    #[test]
    fn only_the_batchs_users_and_items_with_an_order_are_taught() {
        let (q, v) = ([1.0], [1.0, 1.0]);
        let batch = vectors(&[2], &[0, 3], [&q, &v]);
        let (mut to_q, mut to_v) = ([0.0], [0.0; 2]);
        assert_eq!(
            side(SELECTION, UserOrder::Places).loss(&batch, 0.0, [&mut to_q, &mut to_v]),
            0.0
        );
        assert_eq!((to_q, to_v), ([0.0], [0.0; 2]));
    }

    #[test]
    fn users_ranked_too_low_are_taught_above_users_ranked_too_high() {
        // Item 1: the teacher orders user 1 before user 0, the student 0, 2, 1: user 1 is two ranks too low, user 0 one too
        // high.
        let (q, v) = ([2.0, 0.0, 1.0], [1.0]);
        let batch = vectors(&[0, 1, 2], &[1], [&q, &v]);
        let (mut to_q, mut to_v) = ([0.0; 3], [0.0]);
        let selection = UserSelection::Corrected { n: 3, divisor: 1.0, draws: false };
        let loss = side(selection, UserOrder::Places).loss(&batch, 0.0, [&mut to_q, &mut to_v]);
        assert!((loss - (1.0 + 2f64.exp()).ln()).abs() < 1e-6, "{loss}");
        let too_high = 2f32.exp() / (1.0 + 2f32.exp());
        assert!((to_q[1] + too_high).abs() < 1e-6 && (to_q[0] - too_high).abs() < 1e-6, "{to_q:?}");
        assert_eq!(to_q[2], 0.0);
    }
}
