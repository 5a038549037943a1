//! UnKD (Chen et al., "Unbiased Knowledge Distillation for Recommendation", WSDM 2023): pairs out of the teacher's ranking, within
//! groups of items of like popularity, so that what the teacher learnt of popularity alone is not passed on.
//!
//! ```text
//! L   = L_own + lambda L_G
//! L_G = - mean over the query's pairs (i, j) of ln sigmoid(s_i - s_j)
//! ```
//!
//! The items, by falling popularity, are cut into `groups` of equal total popularity. In each group, both items of a pair are drawn
//! out of the teacher's ranking of the group's unlabelled items (its first `window`) with probability proportional to
//! exp(-place / temperature); i is the one that the teacher ranks higher. A query has `pairs` of them, equally many a group, drawn
//! anew in each epoch. Values of the authors' code, where the quota of a group is equal too by default.
//!
//! Differs: a group's ranking is what the teacher's list of `depth` items holds of the group, not a ranking of the whole group, so
//! groups of unpopular items can be short or empty (their quota goes to the others): set `depth` to the number of items for the
//! published form. The popularity of an item is the number of queries that have it labelled. A pair of one item is not drawn.

use crate::beside_own::{Asked, Said, Term, beside_own};
use crate::labelled::Labelled;
use crate::rank_distil::{Scratch, unlabelled_lists};
use crate::settings::{self, above_0, at_least_1, not_negative};
use rankstill_core::kernel::math::{sigmoid, softplus};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::registry::Config;
use rankstill_core::{Cases, Distiller, ItemId, Lists, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Keeps the draws of different purposes apart.
const PAIRS: u64 = 0x554e_4b44;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnKd {
    /// How many groups of like popularity.
    pub groups: usize,
    /// Pairs of a query in an epoch, over all groups.
    pub pairs: usize,
    /// Of a group's ranking: the places that are drawn from.
    pub window: usize,
    /// Larger = deeper into the window.
    pub temperature: f32,
    /// Length of the teacher's list over all groups.
    pub depth: usize,
    /// The distillation loss's weight. At 0 the student learns by its own objective alone.
    pub lambda: f32,
}

impl Default for UnKd {
    fn default() -> Self {
        Self { groups: 4, pairs: 30, window: 1000, temperature: 20.0, depth: 2000, lambda: 1.0 }
    }
}

impl UnKd {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    fn check(&self, path: &str) -> Result<()> {
        let counts = [
            ("groups", self.groups),
            ("pairs", self.pairs),
            ("window", self.window),
            ("depth", self.depth),
        ];
        at_least_1(path, &counts)?;
        above_0(path, "temperature", self.temperature)?;
        not_negative(path, "lambda", self.lambda)
    }
}

impl Distiller for UnKd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.depth)
    }

    /// Learns from one teacher; of a trace with checkpoints it takes the last.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil).
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check("")?;
        beside_own("unkd", self.lambda, own, cases, traces, |trace, labelled| {
            let lists = unlabelled_lists(trace.last(), labelled, self.depth);
            let popularity = popularity(labelled, cases);
            Ok(Pairs::new(self.clone(), &lists, &groups(&popularity, self.groups)))
        })
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// How many distinct queries have each item labelled.
fn popularity(labelled: &Labelled, cases: &Cases) -> Vec<u32> {
    let mut counts = vec![0; cases.n_items()];
    for query in 0..cases.n_queries() {
        labelled.of(query).iter().for_each(|&item| counts[item as usize] += 1);
    }
    counts
}

/// The group of each item: by falling popularity (the smaller number first), each next group begins where the popularity before it
/// reaches its share. Items that nobody has are in the last.
fn groups(popularity: &[u32], n: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..popularity.len()).collect();
    order.sort_by_key(|&item| std::cmp::Reverse(popularity[item])); // stable
    let total: u64 = popularity.iter().map(|&count| u64::from(count)).sum();
    let mut groups = vec![0; popularity.len()];
    let mut before = 0;
    for item in order {
        let group = (before * n as u64).checked_div(total).unwrap_or(0);
        groups[item] = group.min(n as u64 - 1) as u32;
        before += u64::from(popularity[item]);
    }
    groups
}

/// The items of each pair stand one after the other, the higher one first.
struct Pairs {
    config: UnKd,
    /// Row `query * groups + group`: the group's items, best first.
    rankings: Lists<ItemId>,
    /// The summed weights of the places before each one.
    before: Vec<f64>,
}

impl Pairs {
    fn new(config: UnKd, lists: &Lists<ItemId>, group_of: &[u32]) -> Self {
        let mut rankings = Lists::with_capacity(lists.len() * config.groups, lists.values().len());
        for list in lists.iter() {
            for group in 0..config.groups as u32 {
                let own = list.iter().copied().filter(|&item| group_of[item as usize] == group);
                rankings.push(own.take(config.window));
            }
        }
        let longest = config.window.min(config.depth);
        let mut before = vec![0.0];
        let mut sum = 0.0;
        before.extend((0..longest).map(|at| {
            sum += (-(at as f64) / f64::from(config.temperature)).exp();
            sum
        }));
        Self { config, rankings, before }
    }

    /// Two of `n` places, the second one among those that are left, in order.
    fn draw(&self, n: usize, rng: &mut Rng) -> [usize; 2] {
        let before = &self.before[..=n];
        let pick = |at: f64| (before.partition_point(|&sum| sum <= at) - 1).min(n - 1);
        let first = pick(rng.uniform_f64() * before[n]);
        let weight = before[first + 1] - before[first];
        let at = rng.uniform_f64() * (before[n] - weight);
        let mut second = pick(if at < before[first] { at } else { at + weight });
        if second == first {
            // Where weights vanish beside the first one's.
            second = if first + 1 < n { first + 1 } else { first - 1 };
        }
        [first.min(second), first.max(second)]
    }

    /// The rankings that have a pair.
    fn groups(&self, query: usize) -> Vec<&[ItemId]> {
        let rows = query * self.config.groups..(query + 1) * self.config.groups;
        rows.map(|row| self.rankings.row(row)).filter(|ranking| ranking.len() > 1).collect()
    }
}

impl Term for Pairs {
    // The authors' loss is over the batch's interactions, a user's as often as she stands in it.
    fn once(&self) -> bool {
        false
    }

    fn len(&self, asked: Asked) -> usize {
        if self.groups(asked.query).is_empty() { 0 } else { 2 * self.config.pairs }
    }

    fn items(&self, asked: Asked, _scratch: &mut Scratch, out: &mut Vec<ItemId>) {
        let groups = self.groups(asked.query);
        if groups.is_empty() {
            return;
        }
        let mut rng = asked.rng(PAIRS);
        for pair in 0..self.config.pairs {
            let ranking = groups[pair % groups.len()];
            out.extend(self.draw(ranking.len(), &mut rng).map(|at| ranking[at]));
        }
    }

    fn loss(&self, _asked: Asked, said: Said<'_>, slopes: &mut [f32], _to_rest: &mut f64) -> f32 {
        let share = 1.0 / self.config.pairs as f32;
        let mut loss = 0.0;
        for (pair, slopes) in said.scores.chunks_exact(2).zip(slopes.chunks_exact_mut(2)) {
            let below_by = pair[1] - pair[0];
            loss += share * softplus(below_by);
            let slope = share * sigmoid(below_by);
            slopes[0] -= slope;
            slopes[1] += slope;
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{asked, items_of};

    #[test]
    fn groups_have_equal_total_popularity() {
        // Of 12: the first two items make up half, the next three a third, and so on.
        assert_eq!(groups(&[1, 4, 2, 2, 1, 2, 0], 2), [1, 0, 0, 1, 1, 1, 1]);
        assert_eq!(groups(&[3, 3, 3, 3], 4), [0, 1, 2, 3]);
        assert_eq!(groups(&[0, 0], 3), [0, 0]);
    }

    #[test]
    fn pairs_are_of_one_group_and_in_the_teachers_order() {
        let config = UnKd { groups: 3, pairs: 8, temperature: 1.0, ..UnKd::default() };
        let lists = Lists::from_iter([vec![5u32, 0, 4, 1, 3, 2], vec![], vec![0, 5]]);
        // Group 2 has one item: it has no pair.
        let term = Pairs::new(config, &lists, &[0, 0, 1, 1, 1, 2]);
        for epoch in 0..10 {
            let items = items_of(&term, 0, epoch);
            assert_eq!(items.len(), 16);
            for (at, pair) in items.chunks(2).enumerate() {
                let allowed: &[[u32; 2]] =
                    if at % 2 == 0 { &[[0, 1]] } else { &[[4, 3], [4, 2], [3, 2]] };
                assert!(allowed.iter().any(|one| one == pair), "{pair:?}");
            }
        }
        assert!(items_of(&term, 1, 0).is_empty() && items_of(&term, 2, 0).is_empty());
    }

    #[test]
    fn places_come_as_often_as_drawing_one_after_the_other_says() {
        let weights = [1.0, (-1f64).exp(), (-2f64).exp()];
        let config = UnKd { groups: 1, temperature: 1.0, depth: 3, ..UnKd::default() };
        let term = Pairs::new(config, &Lists::from_iter([vec![0u32, 1, 2]]), &[0, 0, 0]);
        let mut counts = [[0.0; 3]; 3];
        for draw in 0..20_000 {
            let [a, b] = term.draw(3, &mut Rng::keyed(7, [draw]));
            counts[a][b] += 1.0 / 20_000.0;
        }
        let sum: f64 = weights.iter().sum();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let one_way = |a: usize, b: usize| weights[a] / sum * weights[b] / (sum - weights[a]);
            let expected = one_way(a, b) + one_way(b, a);
            assert!((counts[a][b] - expected).abs() < 0.016, "{a} {b}: {counts:?}");
        }
        let config = UnKd { groups: 1, temperature: 1e-3, depth: 3, ..UnKd::default() };
        let term = Pairs::new(config, &Lists::from_iter([vec![0u32, 1, 2]]), &[0, 0, 0]);
        let [a, b] = term.draw(3, &mut Rng::new(1));
        assert!(a == 0 && (1..3).contains(&b), "vanishing weights do no harm: {a} {b}");
    }

    #[test]
    fn a_pair_by_hand() {
        let config = UnKd { groups: 1, pairs: 2, ..UnKd::default() };
        let term = Pairs::new(config, &Lists::from_iter([vec![0u32, 1]]), &[0, 0]);
        let (mut slopes, scores) = ([0.0; 4], [3f32.ln(), 0.0, 0.0, 0.0]);
        let said = Said { items: &[0, 1, 0, 1], scores: &scores, log_complement: 0.0 };
        let loss = term.loss(asked(0, 0), said, &mut slopes, &mut 0.0);
        let by_hand = 0.5 * ((4.0f32 / 3.0).ln() + 2f32.ln());
        assert!((loss - by_hand).abs() < 1e-6, "{loss} {by_hand}");
        assert!((slopes[0] + 0.125).abs() < 1e-6 && (slopes[3] - 0.25).abs() < 1e-6);
    }
}
