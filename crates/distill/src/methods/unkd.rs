//! UnKD (Chen et al., "Unbiased Knowledge Distillation for Recommendation", WSDM 2023): pairs from the teacher's ranking within
//! groups of items of similar popularity, so that the teacher's popularity bias is not passed on.
//!
//! ```text
//! L   = L_own + lambda L_G
//! L_G = - mean over the query's pairs (i, j) of ln sigmoid(s_i - s_j)
//! ```
//!
//! The items, in order of decreasing popularity, are divided into `groups` of equal total popularity. Both items of a pair are
//! drawn from the teacher's ranking of a group's unlabelled items (its first `window`) with probability proportional to
//! exp(-position / temperature); i is the one that the teacher ranks higher. A query has `pairs` of them, the same number in each
//! group, drawn anew in each epoch. Values of the authors' code, where groups also have equal quotas by default.
//!
//! Differs: a group's ranking consists of those items of the teacher's list of `depth` items that are in the group. It does not
//! rank the whole group, so groups of unpopular items can be short or empty (their quota goes to the others). Set `depth` to the
//! number of items for the published form. The popularity of an item is the number of queries for which it is labelled. The
//! items of a pair are distinct.

use crate::parts::blend::{Context, ItemScores, Term, blend};
use crate::parts::labelled::Labelled;
use crate::parts::settings::{Settings, above_0, at_least_1, not_negative};
use crate::parts::teacher_lists::unlabelled_lists;
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use crate::parts::weighted_sampling::summed_before;
use rankstill_core::kernel::math::{sigmoid, softplus};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Cases, Distiller, ItemId, Lists, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};

/// Keeps these draws apart from all others.
const PAIRS: u64 = 0x554e_4b44;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnKd {
    /// Number of groups of similar popularity.
    pub groups: usize,
    /// Pairs of a query in an epoch, in all groups together.
    pub pairs: usize,
    /// Number of items of a group's ranking from which pairs are drawn.
    pub window: usize,
    /// Larger = deeper into the window.
    pub temperature: f32,
    /// Length of the teacher's list over all groups.
    pub depth: usize,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
}

impl Default for UnKd {
    fn default() -> Self {
        Self { groups: 4, pairs: 30, window: 1000, temperature: 20.0, depth: 2000, lambda: 1.0 }
    }
}

impl Settings for UnKd {
    fn check(&self) -> Result<()> {
        let counts = [
            ("groups", self.groups),
            ("pairs", self.pairs),
            ("window", self.window),
            ("depth", self.depth),
        ];
        at_least_1(&counts)?;
        above_0("temperature", self.temperature)?;
        not_negative("lambda", self.lambda)
    }
}

impl Distiller for UnKd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.depth)
    }

    /// Learns from one teacher. If a trace has checkpoints, the last is used.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil).
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check()?;
        blend("unkd", self.lambda, own, cases, traces, |trace, labelled| {
            let lists = unlabelled_lists(trace.last(), labelled, self.depth);
            let popularity = popularity(labelled, cases);
            Ok(UnKdTerm::new(self.clone(), &lists, &groups(&popularity, self.groups)))
        })
    }
}

/// For each item, the number of distinct queries for which it is labelled.
fn popularity(labelled: &Labelled, cases: &Cases) -> Vec<u32> {
    let mut counts = vec![0; cases.n_items()];
    for query in 0..cases.n_queries() {
        labelled.of(query).iter().for_each(|&item| counts[item as usize] += 1);
    }
    counts
}

/// The group of each item. In order of decreasing popularity (ties by number), the next group begins where the popularity so far
/// reaches its share. Items that are never labelled are in the last group.
fn groups(popularity: &[u32], n: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..popularity.len()).collect();
    order.sort_by_key(|&item| std::cmp::Reverse(popularity[item])); // stable
    let total: u64 = popularity.iter().map(|&count| u64::from(count)).sum();
    let mut groups = vec![0; popularity.len()];
    let mut so_far = 0;
    for item in order {
        let group = (so_far * n as u64).checked_div(total).unwrap_or(0);
        groups[item] = group.min(n as u64 - 1) as u32;
        so_far += u64::from(popularity[item]);
    }
    groups
}

/// L_G. Lists the items of each pair one after the other, the higher one first.
struct UnKdTerm {
    config: UnKd,
    /// Row `query * groups + group`: the group's items, best first.
    rankings: Lists<ItemId>,
    /// The summed weights of the positions before each one.
    before: Vec<f64>,
}

impl UnKdTerm {
    fn new(config: UnKd, lists: &Lists<ItemId>, group_of: &[u32]) -> Self {
        let mut rankings = Lists::with_capacity(lists.len() * config.groups, lists.values().len());
        for list in lists.iter() {
            for group in 0..config.groups as u32 {
                let own = list.iter().copied().filter(|&item| group_of[item as usize] == group);
                rankings.push(own.take(config.window));
            }
        }
        let longest = config.window.min(config.depth);
        let before = summed_before(longest, config.temperature);
        Self { config, rankings, before }
    }

    /// Two distinct positions of `n`, in order.
    fn draw(&self, n: usize, rng: &mut Rng) -> [usize; 2] {
        let before = &self.before[..=n];
        let pick = |at: f64| (before.partition_point(|&sum| sum <= at) - 1).min(n - 1);
        let first = pick(rng.uniform_f64() * before[n]);
        let weight = before[first + 1] - before[first];
        let at = rng.uniform_f64() * (before[n] - weight);
        let mut second = pick(if at < before[first] { at } else { at + weight });
        if second == first {
            // Where all weights vanish next to that of the first.
            second = if first + 1 < n { first + 1 } else { first - 1 };
        }
        [first.min(second), first.max(second)]
    }

    /// The rankings of at least two items.
    fn groups(&self, query: usize) -> Vec<&[ItemId]> {
        let rows = query * self.config.groups..(query + 1) * self.config.groups;
        rows.map(|row| self.rankings.row(row)).filter(|ranking| ranking.len() > 1).collect()
    }
}

impl Term for UnKdTerm {
    // The authors' loss is a sum over the batch's interactions, not its users.
    fn once_per_query(&self) -> bool {
        false
    }

    fn list_items(
        &self,
        context: Context,
        _sampler: &mut UnlabelledSampler,
        out: &mut Vec<ItemId>,
    ) {
        let groups = self.groups(context.query);
        if groups.is_empty() {
            return;
        }
        let mut rng = context.rng(PAIRS);
        for pair in 0..self.config.pairs {
            let ranking = groups[pair % groups.len()];
            out.extend(self.draw(ranking.len(), &mut rng).map(|at| ranking[at]));
        }
    }

    fn loss(
        &self,
        _context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        _to_complement: &mut f64,
    ) -> f32 {
        let share = 1.0 / self.config.pairs as f32;
        let mut loss = 0.0;
        for (pair, slopes) in scores.scores.chunks_exact(2).zip(slopes.chunks_exact_mut(2)) {
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
    use crate::testing::{context, item_scores, items_of};

    #[test]
    fn groups_have_equal_total_popularity() {
        // The total is 12: the two most popular items are half of it.
        assert_eq!(groups(&[1, 4, 2, 2, 1, 2, 0], 2), [1, 0, 0, 1, 1, 1, 1]);
        assert_eq!(groups(&[3, 3, 3, 3], 4), [0, 1, 2, 3]);
        assert_eq!(groups(&[0, 0], 3), [0, 0]);
    }

    #[test]
    fn pairs_are_of_one_group_and_in_the_teachers_order() {
        let config = UnKd { groups: 3, pairs: 8, temperature: 1.0, ..UnKd::default() };
        let lists = Lists::from_iter([vec![5u32, 0, 4, 1, 3, 2], vec![], vec![0, 5]]);
        // Group 2 has one item, and no pair.
        let term = UnKdTerm::new(config, &lists, &[0, 0, 1, 1, 1, 2]);
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
    fn pairs_of_positions_come_as_often_as_when_drawn_one_after_the_other() {
        let weights = [1.0, (-1f64).exp(), (-2f64).exp()];
        let config = UnKd { groups: 1, temperature: 1.0, depth: 3, ..UnKd::default() };
        let term = UnKdTerm::new(config, &Lists::from_iter([vec![0u32, 1, 2]]), &[0, 0, 0]);
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
        let term = UnKdTerm::new(config, &Lists::from_iter([vec![0u32, 1, 2]]), &[0, 0, 0]);
        let [a, b] = term.draw(3, &mut Rng::new(1));
        assert!(a == 0 && (1..3).contains(&b), "vanishing weights: {a} {b}");
    }

    #[test]
    fn a_pair_by_hand() {
        let config = UnKd { groups: 1, pairs: 2, ..UnKd::default() };
        let term = UnKdTerm::new(config, &Lists::from_iter([vec![0u32, 1]]), &[0, 0]);
        let (mut slopes, scores) = ([0.0; 4], [3f32.ln(), 0.0, 0.0, 0.0]);
        let scores = item_scores(&[0, 1, 0, 1], &scores);
        let loss = term.loss(context(0, 0), scores, &mut slopes, &mut 0.0);
        let by_hand = 0.5 * ((4.0f32 / 3.0).ln() + 2f32.ln());
        assert!((loss - by_hand).abs() < 1e-6, "{loss} {by_hand}");
        assert!((slopes[0] + 0.125).abs() < 1e-6 && (slopes[3] - 0.25).abs() < 1e-6);
    }
}
