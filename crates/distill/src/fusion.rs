//! One ranking from several: ensembles of rankers whose scores share no scale.
//!
//! An item's fused score is the weighted sum of its worth in each list. r = 0, 1, .. is its rank in a list, below `cut`, and sigma
//! the standard deviation of that rank over the ranker's last states, where it is known:
//!
//! ```text
//! importance       exp(-r / temperature) + exp(-sigma / stability)   Kang et al., "Consensus learning from heterogeneous
//!                                                                     objectives" (ConCF), WWW 2022
//! reciprocal_rank  1 / (constant + r + 1)                             Cormack et al., SIGIR 2009
//! borda            (cut - r) / cut                                    Aslam & Montague, SIGIR 2001
//! comb_sum         the score, scaled to 0..1 within the cut           Fox & Shaw, TREC-2 1993
//! ```
//!
//! HetComp (Kang et al., WWW 2023) sums its teachers' importances. Its formula was not published; ConCF's is by the same authors
//! and has the same constants. The second term is worth up to as much as the first rank for merely being listed: it counts
//! votes. It is omitted where no deviation is known, and with `stability = 0`.
//!
//! With `debias`, an item's fused score is divided by (1 + its training interactions)^debias: `debias` times the logarithm of its
//! popularity is subtracted from the logarithm of the score, whose scale is that of no member.

mod selection;

pub use selection::Selection;

use crate::parts::settings::{above_0, at_least_1, not_negative, wrong};
use rankstill_core::{Cases, Error, ItemId, Query, Ranker, Rankings, Result, TopK, UnderPath};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Deref;

/// How lists are fused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fusion {
    /// The worth of an item in a list.
    pub kind: Worth,
    /// Number of items of each list that count.
    pub cut: usize,
    /// For `importance`: larger = flatter.
    pub temperature: f32,
    /// For `importance`: larger = deviations matter less; 0 omits the term.
    pub stability: f32,
    /// For `reciprocal_rank`: larger = flatter.
    pub constant: f32,
    /// The weight of each ranker, in their order; empty = all equal.
    pub weights: Vec<f32>,
    /// Above 0: the rankers, and how often each counts, are chosen on validation data in this many rounds. See [`Selection`].
    pub select: usize,
    /// Larger: popular items come later. 0: popularity does not matter.
    pub debias: f32,
    /// Above 0: rankers are weighted for each user by how they rank the user's validation items; the mean over all users counts as
    /// this many of the user's items. See [`Fused::weighted_on`].
    pub user_weights: f32,
}

/// The worth of an item in a list, see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worth {
    /// ConCF's and HetComp's.
    Importance,
    /// Reciprocal rank fusion.
    ReciprocalRank,
    /// Borda's count.
    Borda,
    /// The sum of normalised scores.
    CombSum,
}

impl Default for Fusion {
    fn default() -> Self {
        Self {
            kind: Worth::Importance,
            cut: 100,
            temperature: 10.0,
            stability: 100.0,
            constant: 60.0,
            weights: Vec::new(),
            select: 0,
            debias: 0.0,
            user_weights: 0.0,
        }
    }
}

/// A list to be fused.
#[derive(Clone, Copy, Debug)]
pub struct RankedList<'a> {
    /// Best first.
    pub items: &'a [ItemId],
    /// Parallel to the items; empty where there are none.
    pub scores: &'a [f32],
    /// The deviation of each item's rank; empty where not known.
    pub deviations: &'a [f32],
}

impl<'a> RankedList<'a> {
    /// Items without scores or deviations.
    #[must_use]
    pub fn of(items: &'a [ItemId]) -> Self {
        Self { items, scores: &[], deviations: &[] }
    }
}

impl Fusion {
    /// Checks the settings for fusing the lists of this many rankers.
    ///
    /// # Errors
    /// With the setting that is wrong, without the table it stands in.
    pub fn check(&self, rankers: usize) -> Result<()> {
        at_least_1(&[("cut", self.cut)])?;
        above_0("temperature", self.temperature)?;
        not_negative("stability", self.stability)?;
        not_negative("constant", self.constant)?;
        not_negative("debias", self.debias)?;
        not_negative("user_weights", self.user_weights)?;
        if !self.weights.is_empty() && self.weights.len() != rankers {
            let found = self.weights.len();
            return Err(wrong("weights", format!("has {found} numbers for {rankers} rankers")));
        }
        self.weights.iter().try_for_each(|&weight| not_negative("weights", weight))
    }

    /// What the fused score of each item is multiplied by, if popularity matters: its training interactions are `popularity`.
    #[must_use]
    pub fn discounts(&self, popularity: &[u32]) -> Option<Vec<f32>> {
        let of = |&count: &u32| (1.0 + f64::from(count)).powf(-f64::from(self.debias)) as f32;
        (self.debias > 0.0).then(|| popularity.iter().map(of).collect())
    }

    /// The `k` best items by fused score; ties go to the smaller id. `weights`, for this query, multiply those of the settings,
    /// and `discounts` ([`Fusion::discounts`]) the score of each item.
    #[must_use]
    pub fn fuse(
        &self,
        lists: &[RankedList<'_>],
        weights: Option<&[f32]>,
        discounts: Option<&[f32]>,
        k: usize,
    ) -> Vec<(ItemId, f32)> {
        let mut worths = Vec::new();
        for (at, list) in lists.iter().enumerate() {
            let of = |weights: &[f32]| weights.get(at).copied().unwrap_or(1.0);
            let weight = of(&self.weights) * weights.map_or(1.0, of);
            let scale = Scale::new(list.scores, self.cut);
            for (r, &item) in list.items.iter().take(self.cut).enumerate() {
                worths.push((item, weight * self.worth(r, list, scale)));
            }
        }
        fused(worths, discounts, k)
    }

    fn worth(&self, r: usize, list: &RankedList<'_>, scale: Scale) -> f32 {
        let rank = r as f32;
        match self.kind {
            Worth::Importance => {
                let deviation = list.deviations.get(r).filter(|_| self.stability > 0.0);
                let steady = deviation.map_or(0.0, |sigma| (-sigma / self.stability).exp());
                (-rank / self.temperature).exp() + steady
            }
            Worth::ReciprocalRank => 1.0 / (self.constant + rank + 1.0),
            Worth::Borda => 1.0 - rank / self.cut as f32,
            Worth::CombSum => scale.of(list.scores, r),
        }
    }
}

/// The `k` items with the largest sums of worths; an item's worths are added in their order.
fn fused(
    mut worths: Vec<(ItemId, f32)>,
    discounts: Option<&[f32]>,
    k: usize,
) -> Vec<(ItemId, f32)> {
    worths.sort_by_key(|(item, _)| *item); // stable
    let discount = |item: ItemId| {
        discounts.and_then(|discounts| discounts.get(item as usize)).copied().unwrap_or(1.0)
    };
    let mut fused: Vec<(ItemId, f32)> = worths
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| {
            let sum: f32 = same.iter().map(|(_, worth)| worth).sum();
            (same[0].0, discount(same[0].0) * sum)
        })
        .collect();
    let order = |a: &(ItemId, f32), b: &(ItemId, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if k < fused.len() && k > 0 {
        fused.select_nth_unstable_by(k - 1, order);
    }
    fused.truncate(k);
    fused.sort_unstable_by(order);
    fused
}

/// Scales the scores of a list's cut to 0..1.
#[derive(Clone, Copy)]
struct Scale {
    least: f32,
    range: f32,
}

impl Scale {
    fn new(scores: &[f32], cut: usize) -> Self {
        let cut = &scores[..cut.min(scores.len())];
        let (most, least) = (cut.first().copied(), cut.last().copied());
        let least = least.unwrap_or(0.0);
        Self { least, range: most.unwrap_or(0.0) - least }
    }

    /// 1 for every item of a list whose scores are equal, or unknown.
    fn of(self, scores: &[f32], r: usize) -> f32 {
        match scores.get(r) {
            Some(score) if self.range > 0.0 => (score - self.least) / self.range,
            _ => 1.0,
        }
    }
}

/// Several rankers as one: the lists of the `cut` best items of each are fused. Items that no member lists are not ranked, so a
/// list can be shorter than requested.
pub struct Fused<R> {
    members: Vec<R>,
    fusion: Fusion,
    /// For each user, one number for each member.
    weights: Option<Vec<Vec<f32>>>,
    /// For each item, if popularity matters.
    discounts: Option<Vec<f32>>,
}

impl<R> Fused<R> {
    /// # Errors
    /// When the settings do not fit, or there is no member.
    pub fn new(members: Vec<R>, fusion: Fusion) -> Result<Self> {
        fusion.check(members.len()).under("fusion")?;
        if members.is_empty() {
            let problem = "has no members".to_owned();
            return Err(Error::Ranker { name: "ensemble".into(), problem });
        }
        Ok(Self { members, fusion, weights: None, discounts: None })
    }

    /// With the training interactions of each item, which `debias` discounts.
    #[must_use]
    pub fn with_popularity(self, popularity: &[u32]) -> Self {
        Self { discounts: self.fusion.discounts(popularity), ..self }
    }

    /// If the settings ask for it, weights the members for each user by how they rank the user's t targets in `valid`: by (the sum
    /// of 1 / log2(1 + rank) + `user_weights` times its mean over all users' targets) / (t + `user_weights`).
    ///
    /// # Errors
    /// When there is no target, or a member does not answer.
    pub fn weighted_on<'a>(self, valid: &Cases) -> Result<Self>
    where
        R: Deref<Target = dyn Ranker + 'a> + Send + Sync,
    {
        let prior = f64::from(self.fusion.user_weights);
        if prior == 0.0 {
            return Ok(self);
        }
        let targets: usize = valid.iter().map(|case| case.targets.len()).sum();
        if targets == 0 {
            let problem = "needs validation data".to_owned();
            return Err(Error::Config { key: "fusion.user_weights".into(), problem });
        }
        let users: Vec<usize> = valid
            .iter()
            .map(|case| case.query.user.map_or(usize::MAX, |user| user as usize))
            .collect();
        let n_users =
            users.iter().filter(|user| **user != usize::MAX).max().map_or(0, |&most| most + 1);
        let mut weights = vec![vec![0.0; self.members.len()]; n_users];
        for (at, member) in self.members.iter().enumerate() {
            let ranks = member.target_ranks(valid, &TopK::unseen(self.fusion.cut))?;
            let gain = |&rank: &u32| if rank == 0 { 0.0 } else { 1.0 / f64::from(rank + 1).log2() };
            let mean = ranks.values().iter().map(gain).sum::<f64>() / targets as f64;
            let mut own = vec![(0.0, 0.0); n_users];
            for (ranks, &user) in ranks.iter().zip(&users).filter(|(_, user)| **user != usize::MAX)
            {
                own[user].0 += ranks.iter().map(gain).sum::<f64>();
                own[user].1 += ranks.len() as f64;
            }
            for (weights, (sum, n)) in weights.iter_mut().zip(own) {
                weights[at] = ((sum + prior * mean) / (n + prior)) as f32;
            }
        }
        self.with_user_weights(weights)
    }

    /// The weight of each member for each user. Unknown users have the weights of the settings.
    ///
    /// # Errors
    /// When a user does not have one weight for each member.
    pub fn with_user_weights(mut self, weights: Vec<Vec<f32>>) -> Result<Self> {
        if let Some(odd) = weights.iter().find(|weights| weights.len() != self.members.len()) {
            let (what, expected) = ("weights of a user".to_owned(), self.members.len());
            return Err(Error::Length { what, expected, found: odd.len() });
        }
        self.weights = Some(weights);
        Ok(self)
    }
}

impl<'a, R: Deref<Target = dyn Ranker + 'a> + Send + Sync> Ranker for Fused<R> {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        if self.fusion.debias > 0.0 && self.discounts.is_none() {
            let problem = "needs the popularity of items (`Fused::with_popularity`)".to_owned();
            return Err(Error::Config { key: "fusion.debias".into(), problem });
        }
        let each = TopK { k: self.fusion.cut, ..*top };
        let lists = self
            .members
            .iter()
            .map(|member| member.rank(queries, &each))
            .collect::<Result<Vec<_>>>()?;
        let fused: Vec<_> = (0..queries.len())
            .into_par_iter()
            .with_min_len(16)
            .map(|i| {
                let lists = lists.iter().map(|lists| RankedList {
                    items: lists.items(i),
                    scores: lists.scores(i),
                    deviations: &[],
                });
                let of_user = |user: u32| self.weights.as_ref()?.get(user as usize);
                let weights = queries[i].user.and_then(of_user).map(Vec::as_slice);
                let lists: Vec<_> = lists.collect();
                self.fusion.fuse(&lists, weights, self.discounts.as_deref(), top.k)
            })
            .collect();
        let mut ranked = Rankings::default();
        fused.into_iter().for_each(|list| ranked.push(list));
        Ok(ranked)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::{Scorer, Span};
    use std::sync::Arc;

    fn fused(fusion: &Fusion, lists: &[RankedList<'_>]) -> Vec<(ItemId, f32)> {
        fusion.fuse(lists, None, None, 10)
    }

    #[test]
    fn importance_decreases_with_rank_and_deviation() {
        let fusion = Fusion { temperature: 2.0, stability: 4.0, cut: 2, ..Fusion::default() };
        let steady = RankedList { items: &[7, 3, 5], scores: &[], deviations: &[0.0, 4.0, 0.0] };
        let found = fused(&fusion, &[steady, RankedList::of(&[3, 9])]);
        let e = |x: f32| x.exp();
        // 3: second with a deviation in one list, first in the other; 5 is after the cut.
        assert_eq!(found, [(7, 2.0), (3, e(-0.5) + e(-1.0) + 1.0), (9, e(-0.5))]);
    }

    #[test]
    fn the_other_kinds_are_those_of_their_papers() {
        let of = |kind| Fusion { kind, cut: 4, ..Fusion::default() };
        let lists = [RankedList::of(&[1, 2]), RankedList::of(&[2, 8])];
        let found = fused(&of(Worth::ReciprocalRank), &lists);
        assert_eq!(found[0], (2, 1.0 / 62.0 + 1.0 / 61.0));
        let found = fused(&of(Worth::Borda), &lists);
        assert_eq!(found, [(2, 1.75), (1, 1.0), (8, 0.75)]);
        let scored = RankedList { items: &[1, 2, 3], scores: &[9.0, 5.0, 1.0], deviations: &[] };
        let found = fused(&of(Worth::CombSum), &[scored, RankedList::of(&[3])]);
        assert_eq!(found, [(1, 1.0), (3, 1.0), (2, 0.5)], "ties go to the smaller id");
    }

    #[test]
    fn weights_of_settings_and_users_multiply() {
        let fusion =
            Fusion { kind: Worth::Borda, cut: 1, weights: vec![1.0, 3.0], ..Fusion::default() };
        let lists = [RankedList::of(&[1]), RankedList::of(&[2])];
        assert_eq!(fused(&fusion, &lists), [(2, 3.0), (1, 1.0)]);
        let own = fusion.fuse(&lists, Some(&[8.0, 2.0]), None, 1);
        assert_eq!(own, [(1, 8.0)]);
    }

    #[test]
    fn popular_items_are_discounted() {
        let fusion = Fusion { kind: Worth::Borda, cut: 2, debias: 0.5, ..Fusion::default() };
        let discounts = fusion.discounts(&[0, 15, 3]).unwrap();
        assert_eq!(discounts, [1.0, 0.25, 0.5]);
        let lists = [RankedList::of(&[1, 2]), RankedList::of(&[1, 0])];
        let found = fusion.fuse(&lists, None, Some(&discounts), 3);
        assert_eq!(found, [(0, 0.5), (1, 0.5), (2, 0.25)]);
        assert!(Fusion::default().discounts(&[1, 2]).is_none());
    }

    /// Ranks everything from this item on, in order.
    struct From(usize);
    impl Scorer for From {
        fn n_items(&self) -> usize {
            6
        }
        fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
            for row in out.chunks_mut(6).take(queries.len()) {
                row.iter_mut().enumerate().for_each(|(i, x)| *x = -(((i + 6 - self.0) % 6) as f32));
            }
        }
    }

    #[test]
    fn an_ensemble_answers_as_its_lists_fused_and_by_user() {
        let members: Vec<Arc<dyn Ranker>> = vec![Arc::new(From(0)), Arc::new(From(4))];
        let fusion = Fusion { kind: Worth::Borda, cut: 3, ..Fusion::default() };
        let ensemble = Fused::new(members, fusion).unwrap();
        let query = |user| Query { user, history: &[1], hidden: &[] };
        let debiased = Fusion { debias: 0.1, ..ensemble.fusion.clone() };
        let members: Vec<Arc<dyn Ranker>> = vec![Arc::new(From(0))];
        let unknown = Fused::new(members, debiased).unwrap().rank(&[query(None)], &TopK::unseen(4));
        assert!(unknown.unwrap_err().to_string().contains("fusion.debias: needs the popularity"));
        let ranked = ensemble.rank(&[query(None)], &TopK::unseen(4)).unwrap();
        // Lists 0 2 3 and 4 5 0: 0 has 1 + 1/3.
        assert_eq!(ranked.items(0), [0, 4, 2, 5]);
        let ensemble = ensemble.with_user_weights(vec![vec![1.0, 0.0], vec![0.0, 1.0]]).unwrap();
        let queries = [query(Some(0)), query(Some(1)), query(Some(9))];
        let ranked = ensemble.rank(&queries, &TopK::unseen(2)).unwrap();
        assert_eq!(ranked.items(0), [0, 2]);
        assert_eq!(ranked.items(1), [4, 5]);
        assert_eq!(ranked.items(2), [0, 4]);
    }

    #[test]
    fn members_are_weighted_for_each_user_by_the_validation_items() {
        let members: Vec<Arc<dyn Ranker>> = vec![Arc::new(From(0)), Arc::new(From(4))];
        let fusion = Fusion { kind: Worth::Borda, cut: 6, user_weights: 2.0, ..Fusion::default() };
        // Users 0 and 2 have item 1. The target of user 0 is 0, those of user 2 are 5 and 3; user 1 has none.
        let span =
            |user, history, targets| Span { user: Some(user), history, hidden: 0..0, targets };
        let spans = vec![span(0, 0..1, 1..2), span(2, 0..1, 2..4)];
        let valid = Cases::new(6, Arc::new(vec![1, 0, 5, 3]), spans).unwrap();
        // Lists 0 2 3 4 5 and 4 5 0 2 3: ranks of 0, 5, 3.
        let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
        let (first, second) = ([1.0, 5.0, 3.0].map(gain), [3.0, 2.0, 5.0].map(gain));
        let mean = |gains: [f64; 3]| gains.iter().sum::<f64>() / 3.0;

        let ensemble = Fused::new(members, fusion).unwrap().weighted_on(&valid).unwrap();
        let found = ensemble.weights.unwrap();
        let by_hand = [
            [(first[0] + 2.0 * mean(first)) / 3.0, (second[0] + 2.0 * mean(second)) / 3.0],
            [mean(first), mean(second)],
            [
                (first[1] + first[2] + 2.0 * mean(first)) / 4.0,
                (second[1] + second[2] + 2.0 * mean(second)) / 4.0,
            ],
        ];
        for (found, by_hand) in found.iter().flatten().zip(by_hand.iter().flatten()) {
            assert!((f64::from(*found) - by_hand).abs() < 1e-6, "{found} {by_hand}");
        }
    }

    #[test]
    fn invalid_settings_are_named() {
        let wrong = |fusion: Fusion| fusion.check(2).unwrap_err().to_string();
        let default = Fusion::default;
        assert_eq!(wrong(Fusion { cut: 0, ..default() }), "cut: must be at least 1");
        let found = wrong(Fusion { weights: vec![1.0], ..default() });
        assert_eq!(found, "weights: has 1 numbers for 2 rankers");
        let found = wrong(Fusion { temperature: 0.0, ..default() });
        assert_eq!(found, "temperature: is 0, must be above 0");
    }
}
