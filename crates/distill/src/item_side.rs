//! The item's side of a ranking: for an item, users in the teacher's order above others, as for a user items.
//!
//! The teacher's order of the users of an item is that of its lists turned round: those who have the item in their list, by their
//! place of it or by the teacher's score ([`By`]); who does not list it comes behind all who do. Users are those of the batch,
//! whose vectors the student has at hand: they stand for all, at their order among themselves.

use crate::beside_vectors::{Met, VectorTerm};
use crate::labelled::Labelled;
use crate::listwise::above;
use crate::places::weighted_places;
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

/// By what the teacher's word of an item orders those who list it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// By its place in their lists: for teachers whose scores mean nothing from one user to another.
    Places,
    /// By the teacher's score.
    Scores,
}

/// Which users of an item are taught above which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// `k` drawn out of the order, with probability proportional to exp(-place / temperature), above `l` of those who are not in
    /// it.
    Interesting { k: usize, l: usize, temperature: f32 },
    /// At most `n` that the student ranks too low, above at most `n` that it ranks too high; drawn with probability proportional
    /// to tanh(difference of ranks / divisor), or the largest ones.
    Corrected { n: usize, divisor: f32, draws: bool },
}

/// The term.
pub(crate) struct ItemSide {
    form: Form,
    /// At most so many items of a batch; 0 = all.
    items: usize,
    /// Of each item, the queries that list it, best first.
    order: Lists<u32>,
    /// Of each item, the queries that have it labelled.
    owners: Lists<u32>,
    n_queries: usize,
}

impl ItemSide {
    /// `window`: so many of the teacher's users of an item count as its order.
    pub fn new(
        form: Form,
        trace: &Trace,
        labelled: &Labelled,
        n_items: usize,
        (by, window, items): (By, usize, usize),
    ) -> Self {
        let said = trace.last();
        let mut order: Vec<Vec<(u32, f32, u32)>> = vec![Vec::new(); n_items];
        let mut owners: Vec<Vec<u32>> = vec![Vec::new(); n_items];
        for query in 0..said.len() {
            let scored = said.items(query).iter().zip(said.scores(query));
            let unlabelled = scored.filter(|(item, _)| !labelled.contains(query, **item));
            for ((&item, &score), place) in unlabelled.zip(0..) {
                order[item as usize].push((place, score, query as u32));
            }
            for &item in labelled.of(query) {
                owners[item as usize].push(query as u32);
            }
        }
        let sorted = |mut users: Vec<(u32, f32, u32)>| {
            users.sort_by(|a, b| {
                let by_score = match by {
                    By::Places => std::cmp::Ordering::Equal,
                    By::Scores => b.1.total_cmp(&a.1),
                };
                by_score.then(a.0.cmp(&b.0)).then(a.2.cmp(&b.2))
            });
            users.into_iter().take(window).map(|(.., query)| query).collect::<Vec<_>>()
        };
        Self {
            form,
            items,
            order: order.into_iter().map(sorted).collect(),
            owners: owners.into_iter().collect(),
            n_queries: said.len(),
        }
    }

    /// The loss of one item, its gradient, and the slopes of its scores by the number of the query in the batch.
    fn learn(
        &self,
        met: &Met<'_>,
        in_batch: &[u32],
        at: usize,
        distinct: &mut Distinct,
    ) -> Option<Learnt> {
        let (dim, item) = (met.dim, met.sides[1].ids[at]);
        let vector = &met.sides[1].vectors[at * dim..][..dim];
        let of_batch = |users: &[u32]| -> Vec<u32> {
            users.iter().map(|&user| in_batch[user as usize]).filter(|&at| at != NOWHERE).collect()
        };
        let order = of_batch(self.order.row(item as usize));
        if order.is_empty() {
            return None;
        }
        let owners = of_batch(self.owners.row(item as usize));
        let mut rng = met.rng(USERS, item);
        let score = |user: &u32| dot(&met.sides[0].vectors[*user as usize * dim..][..dim], vector);
        let (mut users, n) = match self.form {
            Form::Interesting { k, l, temperature } => {
                let weights: Vec<f32> =
                    (0..order.len()).map(|place| -(place as f32) / temperature).collect();
                let places = weighted_places(&weights, k, Some(&mut rng));
                let mut users: Vec<u32> = places.iter().map(|&at| order[at as usize]).collect();
                let (n, all) = (users.len(), met.sides[0].ids.len() as u32);
                distinct.draw(all, &[&order, &owners], l, &mut rng, &mut users);
                (users, n)
            }
            Form::Corrected { n, divisor, draws } => {
                let (low, high) = misjudged(met, &order, &owners, score);
                let mut pick = |lower_by: Vec<f32>| -> Vec<u32> {
                    let live: Vec<u32> =
                        (0..order.len() as u32).filter(|&at| lower_by[at as usize] > 0.0).collect();
                    let mut weights: Vec<f32> =
                        live.iter().map(|&at| lower_by[at as usize] / divisor).collect();
                    tanh_slice(&mut weights);
                    ln_slice(&mut weights);
                    let places = weighted_places(&weights, n, draws.then_some(&mut rng));
                    places.iter().map(|&at| order[live[at as usize] as usize]).collect()
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
        let loss = above(list, others, |_| 1.0, to_list, to_others);
        let mut gradient = vec![0.0; dim];
        for (user, &slope) in users.iter().zip(&slopes) {
            axpy(slope, &met.sides[0].vectors[*user as usize * dim..][..dim], &mut gradient);
        }
        Some(Learnt { at, loss, gradient, slopes: users.drain(..).zip(slopes).collect() })
    }
}

/// How much lower, and how much higher than the teacher the student ranks each of the users that the teacher orders, among the
/// batch's that do not have the item.
fn misjudged(
    met: &Met<'_>,
    order: &[u32],
    owners: &[u32],
    score: impl Fn(&u32) -> f32,
) -> (Vec<f32>, Vec<f32>) {
    let mut scores: Vec<f32> =
        (0..met.sides[0].ids.len() as u32).map(|user| score(&user)).collect();
    let own: Vec<f32> = order.iter().map(|&user| scores[user as usize]).collect();
    owners.iter().for_each(|&user| scores[user as usize] = f32::NEG_INFINITY);
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    let lower_by = own
        .iter()
        .zip(0..)
        .map(|(own, place)| scores.partition_point(|score| score > own) as f32 - place as f32);
    let lower_by: Vec<f32> = lower_by.collect();
    (lower_by.clone(), lower_by.into_iter().map(|by| -by).collect())
}

struct Learnt {
    at: usize,
    loss: f64,
    gradient: Vec<f32>,
    slopes: Vec<(u32, f32)>,
}

/// Of a query that is not in the batch.
const NOWHERE: u32 = u32::MAX;

impl VectorTerm for ItemSide {
    fn all_listed(&self) -> bool {
        true
    }

    fn loss(&self, met: &Met<'_>, _scale: f32, [to_queries, to_items]: [&mut [f32]; 2]) -> f64 {
        let mut in_batch = vec![NOWHERE; self.n_queries];
        for (&query, at) in met.sides[0].ids.iter().zip(0..) {
            in_batch[query as usize] = at;
        }
        let n = met.sides[1].ids.len();
        let mut chosen: Vec<u32> = (0..n as u32).collect();
        if self.items > 0 && n > self.items {
            chosen.clear();
            let mut rng: Rng = met.rng(ITEMS, 0);
            Distinct::default().draw(n as u32, &[], self.items, &mut rng, &mut chosen);
            chosen.sort_unstable();
        }
        let learnt: Vec<Option<Learnt>> = chosen
            .par_iter()
            .with_min_len(CHUNK)
            .map_init(Distinct::default, |distinct, &at| {
                self.learn(met, &in_batch, at as usize, distinct)
            })
            .collect();
        let (dim, mut loss) = (met.dim, 0.0);
        for Learnt { at, loss: own, gradient, slopes } in learnt.into_iter().flatten() {
            loss += own;
            axpy(1.0, &gradient, &mut to_items[at * dim..][..dim]);
            let vector = &met.sides[1].vectors[at * dim..][..dim];
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

    /// Three users who have item 3, and of items 0 to 2 what the lists say.
    fn side(form: Form, by: By) -> ItemSide {
        let log = Interactions::new(4, Lists::from_iter(vec![vec![3u32]; 3]), None, None).unwrap();
        let cases = Cases::each_interaction(&log);
        let mut said = Rankings::default();
        said.push([(0, 5.0), (1, 4.0)]);
        said.push([(1, 9.0), (0, 8.0)]);
        said.push([(2, 1.0), (1, 0.5)]);
        let trace = Trace::new("t", vec![(0, said)]).unwrap();
        ItemSide::new(form, &trace, &Labelled::new(&cases).unwrap(), 4, (by, 2, 0))
    }

    const FORM: Form = Form::Interesting { k: 2, l: 5, temperature: 1.0 };

    #[test]
    fn lists_turned_round_are_the_orders_of_users() {
        let order = |by| side(FORM, by).order.iter().map(<[_]>::to_vec).collect::<Vec<_>>();
        // Item 1 is first for user 1 and second for users 0 and 2; two users count at most.
        assert_eq!(order(By::Places), [vec![0, 1], vec![1, 0], vec![2], vec![]]);
        assert_eq!(order(By::Scores), [vec![1, 0], vec![1, 0], vec![2], vec![]]);
        assert_eq!(side(FORM, By::Places).owners.row(3), [0, 1, 2]);
    }

    fn met<'a>(queries: &'a [u32], items: &'a [u32], vectors: [&'a [f32]; 2]) -> Met<'a> {
        let [q, v] = vectors;
        Met::for_test(1, [(queries, q), (items, v)])
    }

    #[test]
    fn users_in_order_above_one_who_does_not_list_it_by_hand() {
        // Item 0, of vector 1: users 0 and 1 with masses 2 and 1, user 2 with 3.
        let (q, v) = ([2f32.ln(), 0.0, 3f32.ln()], [1.0]);
        let met = met(&[0, 1, 2], &[0], [&q, &v]);
        let (mut to_q, mut to_v) = ([0.0; 3], [0.0]);
        let loss = side(FORM, By::Places).loss(&met, 0.0, [&mut to_q, &mut to_v]);
        assert!((loss - (3f64.ln() + 4f64.ln())).abs() < 1e-6, "{loss}");
        let by_hand = [2.0 / 6.0 - 1.0, 1.0 / 6.0 + 1.0 / 4.0 - 1.0, 3.0 / 6.0 + 3.0 / 4.0];
        assert!(to_q.iter().zip(by_hand).all(|(a, b)| (a - b).abs() < 1e-6), "{to_q:?}");
        let to_item: f32 = by_hand.iter().zip(q).map(|(slope, q)| slope * q).sum();
        assert!((to_v[0] - to_item).abs() < 1e-6);
    }

    #[test]
    fn only_the_batchs_users_and_what_has_an_order_are_taught() {
        let (q, v) = ([1.0], [1.0, 1.0]);
        let met = met(&[2], &[0, 3], [&q, &v]);
        let (mut to_q, mut to_v) = ([0.0], [0.0; 2]);
        assert_eq!(side(FORM, By::Places).loss(&met, 0.0, [&mut to_q, &mut to_v]), 0.0);
        assert_eq!((to_q, to_v), ([0.0], [0.0; 2]));
    }

    #[test]
    fn who_is_ranked_too_low_stands_above_who_is_ranked_too_high() {
        // Item 1: the teacher has user 1 before user 0; the student has 0, 2, 1: user 1 is two places too low, user 0 one too
        // high.
        let (q, v) = ([2.0, 0.0, 1.0], [1.0]);
        let met = met(&[0, 1, 2], &[1], [&q, &v]);
        let (mut to_q, mut to_v) = ([0.0; 3], [0.0]);
        let form = Form::Corrected { n: 3, divisor: 1.0, draws: false };
        let loss = side(form, By::Places).loss(&met, 0.0, [&mut to_q, &mut to_v]);
        assert!((loss - (1.0 + 2f64.exp()).ln()).abs() < 1e-6, "{loss}");
        let too_high = 2f32.exp() / (1.0 + 2f32.exp());
        assert!((to_q[1] + too_high).abs() < 1e-6 && (to_q[0] - too_high).abs() < 1e-6, "{to_q:?}");
        assert_eq!(to_q[2], 0.0);
    }
}
