//! Which members an ensemble has, and how often each counts: greedy selection with replacement on validation data (Caruana et al.,
//! "Ensemble selection from libraries of models", ICML 2004).
//!
//! It begins with the best member alone. Each round adds the member whose list, added to those that are there, gives the best
//! value; a member may be added again, and counts as often as it was. The best of all rounds is kept, so that the chosen ensemble
//! is never worse on the validation data than its best member. What no round wants is no longer asked.

use super::{Fused, Fusion, RankedList, Scale};
use rankstill_core::{Cases, Error, ItemId, Ranker, Rankings, Result, TopK};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Deref;

/// The value of the lists of these cases; larger is better.
pub type Value<'a> = dyn Fn(Rankings, &Cases) -> Result<f64> + 'a;

/// Cases that a choice is made on; more would cost time and change nothing.
const MOST_CASES: usize = 10_000;

/// What was chosen, and what each member adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// How often each member counts, in their order; 0: not at all.
    pub weights: Vec<u32>,
    /// The value of the chosen ensemble.
    pub value: f64,
    /// The value of each member alone.
    pub alone: Vec<f64>,
    /// The value of the chosen ensemble without each member; `None` for one that is not in it, or is all of it.
    pub without: Vec<Option<f64>>,
    /// The member that each round added and the value then, also after the best round.
    pub rounds: Vec<(usize, f64)>,
}

/// A member's items and their worths for each case, ordered by item.
type Worths = Vec<Vec<(ItemId, f32)>>;

impl Fusion {
    /// Chooses among members by their lists of the cases, `lists`, all of which have the same cases. Lists of `k` items are
    /// valued.
    ///
    /// # Errors
    /// When a value cannot be computed.
    fn choose(
        &self,
        lists: &[Rankings],
        discounts: Option<&[f32]>,
        k: usize,
        value: &dyn Fn(Rankings) -> Result<f64>,
    ) -> Result<Selection> {
        let worths: Vec<Worths> =
            (0..).zip(lists).map(|(at, lists)| self.worths(at, lists)).collect();
        let of_counts = |counts: &[u32]| {
            let parts = counts.iter().zip(&worths).filter(|(count, _)| **count > 0);
            let parts: Vec<(f32, &Worths)> = parts.map(|(&n, worths)| (n as f32, worths)).collect();
            value(best(&parts, discounts, k))
        };
        let with = |counts: &[u32], member: usize| {
            let mut counts = counts.to_vec();
            counts[member] += 1;
            counts
        };
        let members = 0..lists.len();
        let nobody = vec![0; lists.len()];
        let mut alone = Vec::new();
        for member in members.clone() {
            alone.push(of_counts(&with(&nobody, member))?);
        }
        let mut rounds = vec![first_best(&alone)];
        let mut counts = with(&nobody, rounds[0].0);
        let mut chosen = (counts.clone(), rounds[0].1);
        for _ in 1..self.select {
            let mut values = Vec::new();
            for member in members.clone() {
                values.push(of_counts(&with(&counts, member))?);
            }
            let (member, value) = first_best(&values);
            rounds.push((member, value));
            counts = with(&counts, member);
            if value > chosen.1 {
                chosen = (counts.clone(), value);
            }
        }
        let (weights, value) = chosen;
        let mut without = Vec::new();
        for member in members {
            let mut others = weights.clone();
            others[member] = 0;
            let counts = weights[member] > 0 && others.iter().any(|&n| n > 0);
            without.push(if counts { Some(of_counts(&others)?) } else { None });
        }
        Ok(Selection { weights, value, alone, without, rounds })
    }

    fn worths(&self, at: usize, lists: &Rankings) -> Worths {
        let weight = self.weights.get(at).copied().unwrap_or(1.0);
        let of = |case: usize| {
            let list = RankedList {
                items: lists.items(case),
                scores: lists.scores(case),
                deviations: &[],
            };
            let scale = Scale::new(list.scores, self.cut);
            let ranked = list.items.iter().take(self.cut).enumerate();
            let mut worths: Vec<(ItemId, f32)> =
                ranked.map(|(r, &item)| (item, weight * self.worth(r, &list, scale))).collect();
            worths.sort_unstable_by_key(|(item, _)| *item);
            worths
        };
        (0..lists.len()).into_par_iter().with_min_len(64).map(of).collect()
    }
}

/// The largest value and where it is; ties go to the earlier.
fn first_best(values: &[f64]) -> (usize, f64) {
    let mut best = (0, values[0]);
    for (at, &value) in values.iter().enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best
}

/// The first `k` items of each case by the weighted sum of their worths.
fn best(parts: &[(f32, &Worths)], discounts: Option<&[f32]>, k: usize) -> Rankings {
    let n = parts.first().map_or(0, |(_, worths)| worths.len());
    let of = |case: usize| {
        let mut all: Vec<(ItemId, f32)> = Vec::new();
        for (weight, worths) in parts {
            all.extend(worths[case].iter().map(|&(item, worth)| (item, weight * worth)));
        }
        super::fused(all, discounts, k)
    };
    let lists: Vec<Vec<(ItemId, f32)>> = (0..n).into_par_iter().with_min_len(16).map(of).collect();
    let mut ranked = Rankings::default();
    lists.into_iter().for_each(|list| ranked.push(list));
    ranked
}

impl<'a, R: Deref<Target = dyn Ranker + 'a> + Send + Sync> Fused<R> {
    /// If the settings ask for it, chooses the members and how often each counts by the value of their lists of `k` items for
    /// the cases `valid`. Only the first cases count where there are more than ten thousand.
    ///
    /// # Errors
    /// When there are no cases, a member does not answer, or a value cannot be computed.
    pub fn select_on(
        &self,
        valid: &Cases,
        k: usize,
        value: &Value<'_>,
    ) -> Result<Option<Selection>> {
        if self.fusion.select == 0 {
            return Ok(None);
        }
        if valid.is_empty() {
            let problem = "needs validation data".to_owned();
            return Err(Error::Config { key: "fusion.select".into(), problem });
        }
        let cases = valid.slice(0..valid.len().min(MOST_CASES));
        let (queries, top) = (cases.queries(), TopK::unseen(self.fusion.cut));
        let lists = self.members.iter().map(|member| member.rank(&queries, &top));
        let lists = lists.collect::<Result<Vec<_>>>()?;
        let value = |lists| value(lists, &cases);
        self.fusion.choose(&lists, self.discounts.as_deref(), k, &value).map(Some)
    }

    /// With the members that were chosen, each counting as often as it was.
    ///
    /// # Errors
    /// When the selection is of another number of members, or of none.
    pub fn with_selection(mut self, selection: &Selection) -> Result<Self> {
        let weights = &selection.weights;
        if weights.len() != self.members.len() || weights.iter().all(|&weight| weight == 0) {
            let (what, expected) = ("a selection of members".to_owned(), self.members.len());
            return Err(Error::Length { what, expected, found: weights.len() });
        }
        let own = |at: usize| self.fusion.weights.get(at).copied().unwrap_or(1.0);
        let counts = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        self.fusion.weights = counts.map(|(at, &weight)| own(at) * weight as f32).collect();
        let mut kept = weights.iter().map(|&weight| weight > 0);
        self.members.retain(|_| kept.next().unwrap_or(false));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fusion::Worth;
    use rankstill_core::{Query, Span};
    use std::sync::Arc;

    /// Lists for two cases.
    fn lists(rows: [&[ItemId]; 2]) -> Rankings {
        let mut ranked = Rankings::default();
        rows.iter().for_each(|row| ranked.push(row.iter().map(|&item| (item, 0.0))));
        ranked
    }

    /// 1 / rank of item 0 in the first case and of item 1 in the second, summed.
    fn value(ranked: Rankings) -> Result<f64> {
        let of = |case: usize| {
            let at = ranked.items(case).iter().position(|&item| item == case as u32);
            at.map_or(0.0, |at| 1.0 / (at + 1) as f64)
        };
        Ok(of(0) + of(1))
    }

    fn fusion(select: usize) -> Fusion {
        Fusion { kind: Worth::Borda, cut: 3, select, ..Fusion::default() }
    }

    #[test]
    fn the_members_that_add_most_are_chosen_and_the_useless_one_is_not() {
        // Alone: 1 + 0, 0 + 1, 0 + 0, 1/2 + 1/3.
        let members = [
            lists([&[0, 5, 6], &[7, 8, 9]]),
            lists([&[5, 7, 6], &[1, 5, 7]]),
            lists([&[6, 9, 7], &[9, 6, 8]]),
            lists([&[5, 0, 7], &[5, 8, 1]]),
        ];
        let found = fusion(4).choose(&members, None, 3, &value).unwrap();
        assert_eq!(found.alone, [1.0, 1.0, 0.0, 1.0 / 2.0 + 1.0 / 3.0]);
        assert_eq!(found.rounds[0], (0, 1.0), "ties go to the earlier");
        assert_eq!(found.rounds[1], (0, 1.0), "no second member is better than the same again");
        // Three times 0 and once 1. First case: 0 and 5 have 3 each, and 0 comes first. Second case: 7 has 3 1/3, 8 has 2, then 1
        // and 9 have 1 each: item 1 is third.
        assert_eq!(found.weights, [3, 1, 0, 0]);
        assert!((found.value - (1.0 + 1.0 / 3.0)).abs() < 1e-12);
        assert_eq!(found.without, [Some(1.0), Some(1.0), None, None]);
    }

    #[test]
    fn a_member_counts_as_often_as_it_is_added_and_its_worth_is_told() {
        // The second puts item 1 first in the second case; the first is right in the first case, by a smaller margin if doubled.
        let members = [lists([&[0, 5, 6], &[7, 1, 9]]), lists([&[5, 0, 6], &[1, 7, 9]])];
        let found = fusion(3).choose(&members, None, 3, &value).unwrap();
        // Together both are tied with another item, and 0 < 5, 1 < 7 decide.
        assert_eq!((&found.weights[..], found.value), (&[1, 1][..], 2.0));
        assert_eq!(found.without, [Some(1.5), Some(1.5)]);
        assert_eq!(found.rounds.len(), 3, "the best round is kept, not the last");
    }

    /// Always the same list.
    struct Fixed(&'static [ItemId]);
    impl Ranker for Fixed {
        fn rank(&self, queries: &[Query<'_>], _top: &TopK<'_>) -> Result<Rankings> {
            let mut ranked = Rankings::default();
            queries.iter().for_each(|_| ranked.push(self.0.iter().map(|&item| (item, 0.0))));
            Ok(ranked)
        }
    }

    #[test]
    fn what_was_not_chosen_is_not_asked() {
        let members: Vec<Arc<dyn Ranker>> =
            vec![Arc::new(Fixed(&[3, 2])), Arc::new(Fixed(&[2, 3]))];
        let span = Span { user: Some(0), history: 0..0, hidden: 0..0, targets: 0..1 };
        let valid = Cases::new(4, Arc::new(vec![2]), vec![span]).unwrap();
        let fused = Fused::new(members, fusion(2)).unwrap();
        let first = |ranked: Rankings, cases: &Cases| {
            Ok(f64::from(u8::from(ranked.items(0)[0] == cases.targets_of(0)[0])))
        };
        let chosen = fused.select_on(&valid, 1, &first).unwrap().unwrap();
        assert_eq!(chosen.weights, [0, 1]);
        let fused = fused.with_selection(&chosen).unwrap();
        assert_eq!((fused.members.len(), &fused.fusion.weights[..]), (1, &[1.0][..]));
        let query = Query { user: Some(0), history: &[], hidden: &[] };
        assert_eq!(fused.rank(&[query], &TopK::unseen(2)).unwrap().items(0), [2, 3]);
        let nobody = Selection { weights: vec![0], ..chosen };
        assert!(fused.with_selection(&nobody).is_err());
    }
}
