//! SAR, "Smart Adaptive Recommendations", as the Recommenders library and its "SAR single node" notebook define
//! it (Graham, Min, Wu, "Microsoft Recommenders: Tools to Accelerate Developing Recommender Systems", RecSys
//! 2019): an item's score is the sum, over the history, of the user's affinity to the history item times the
//! similarity of the two items.
//!
//! - Similarity, from the co-occurrence counts C of users who had both items (the diagonal: who had one), with
//!   pairs below `threshold` set to 0: `jaccard` c_ij / (c_ii + c_jj - c_ij), `lift` c_ij / (c_ii c_jj),
//!   `counts` c_ij. Items are similar to themselves too.
//! - Affinity: the sum over a user's actions on an item of their weight (1 where the log has none) times
//!   2^-(age / half-life). Without times, or with `half_life_days = 0`, it is the weight of the last action
//!   alone.
//!
//! One difference: ages are relative to the user's own last action, not to that of the log. This scales all
//! scores of a user by one factor, changes no ranking, and keeps users who left long ago from underflowing to
//! 0.
//!
//! A query carries no times: a known user's items have the affinity of the log. An item that the log does not
//! have for the user, like every item of a new user, has affinity 1, that of an action just now.

use crate::parts::baskets::{self, baskets, distinct};
use crate::parts::settings::{self, Checked};
use rankstill_core::kernel::csr::Csr;
use rankstill_core::{
    Error, Fit, Interactions, ItemId, Model, ModelConfig, Query, Recipe, Result, Scorer, Stop,
    Tensors,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Affinity times similarity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sar {
    /// How the similarity of two items is computed.
    pub similarity: Cooccurrence,
    /// Pairs of items with fewer common users have similarity 0.
    pub threshold: u32,
    /// Number of days after which an action has half its weight; 0 = actions do not age.
    pub half_life_days: f64,
}

impl Default for Sar {
    fn default() -> Self {
        Self { similarity: Cooccurrence::Jaccard, threshold: 1, half_life_days: 30.0 }
    }
}

/// The similarity of two items with `a` and `b` users, `both` of whom had both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cooccurrence {
    /// both / (a + b - both): in between the other two.
    Jaccard,
    /// both / (a b): favours rare items.
    Lift,
    /// both: favours popular items.
    Counts,
}

impl Cooccurrence {
    fn of(self, both: u32, a: usize, b: usize) -> f32 {
        let (both, a, b) = (f64::from(both), a as f64, b as f64);
        let similarity = match self {
            Self::Jaccard => both / (a + b - both),
            Self::Lift => both / (a * b),
            Self::Counts => both,
        };
        similarity as f32
    }
}

const SECONDS_A_DAY: f64 = 86_400.0;

/// Items per task.
const CHUNK: usize = 64;

impl Checked for Sar {
    fn check(&self) -> Result<()> {
        if self.threshold == 0 {
            return Err(settings::invalid("threshold", "must be at least 1"));
        }
        let days = self.half_life_days;
        settings::must(
            (0.0..=1e9).contains(&days),
            "half_life_days",
            "a number from 0 to 1e9",
            days,
        )
    }
}

impl Sar {
    /// Users x items: the affinities.
    fn affinities(&self, train: &Interactions) -> Result<Csr> {
        let (mut offsets, mut items, mut values) = (vec![0], Vec::new(), Vec::new());
        let times = train.times().filter(|_| self.half_life_days > 0.0);
        let ticks_a_day = SECONDS_A_DAY * train.time_unit().per_second() as f64;
        for user in 0..train.n_users() {
            let (line, range) = (train.items().row(user), train.items().range(user));
            let first = items.len();
            items.extend(distinct(line));
            let mut sums = vec![0.0f64; items.len() - first];
            let last = times.and_then(|times| times[range.clone()].iter().max());
            for (&item, at) in line.iter().zip(range) {
                let weight = train.weights().map_or(1.0, |weights| f64::from(weights[at]));
                if !weight.is_finite() {
                    let problem = format!("user {user} has item {item} with weight {weight}");
                    return Err(Error::Data { problem });
                }
                let sum = &mut sums[items[first..].binary_search(&item).unwrap_or_default()];
                match (times, last) {
                    (Some(times), Some(last)) => {
                        let days = last.wrapping_sub(times[at]) as u64 as f64 / ticks_a_day;
                        *sum += weight * (-days / self.half_life_days).exp2();
                    }
                    _ => *sum = weight,
                }
            }
            values.extend(sums.iter().map(|&sum| sum as f32));
            offsets.push(items.len());
        }
        Ok(Csr::new(train.n_items(), offsets, items, Some(values)).expect("items of the catalogue"))
    }

    /// Items x items: the similarities, each row by ascending item.
    fn similarities(&self, baskets: &Csr, stop: &Stop) -> Result<Csr> {
        let users_of = baskets.transpose();
        let n_items = users_of.n_rows();
        // Chunks are fixed and counts are whole numbers, so threads cannot change a bit.
        let chunks: Vec<_> = (0..n_items.div_ceil(CHUNK))
            .into_par_iter()
            .map_init(
                || vec![0u32; n_items],
                |both, chunk| {
                    let (mut lengths, mut ids, mut values) = (Vec::new(), Vec::new(), Vec::new());
                    for item in chunk * CHUNK..((chunk + 1) * CHUNK).min(n_items) {
                        if stop.asked() {
                            break;
                        }
                        let mut touched = Vec::new();
                        for &user in users_of.row(item) {
                            for &other in baskets.row(user as usize) {
                                if both[other as usize] == 0 {
                                    touched.push(other);
                                }
                                both[other as usize] += 1;
                            }
                        }
                        touched.sort_unstable();
                        let before = ids.len();
                        for other in touched {
                            let both = std::mem::take(&mut both[other as usize]);
                            if both >= self.threshold {
                                let n_users = |item| users_of.row(item).len();
                                let (a, b) = (n_users(item), n_users(other as usize));
                                ids.push(other);
                                values.push(self.similarity.of(both, a, b));
                            }
                        }
                        lengths.push(ids.len() - before);
                    }
                    (lengths, ids, values)
                },
            )
            .collect();
        stop.check()?;
        let (mut offsets, mut ids, mut values) = (vec![0], Vec::new(), Vec::new());
        for (lengths, more_ids, more_values) in chunks {
            for length in lengths {
                offsets.push(offsets[offsets.len() - 1] + length);
            }
            ids.extend(more_ids);
            values.extend(more_values);
        }
        Ok(Csr::new(n_items, offsets, ids, Some(values)).expect("items of the catalogue"))
    }
}

impl Recipe for Sar {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        let affinities = self.affinities(train)?;
        let similarities = self.similarities(&baskets(train), &fit.stop)?;
        Ok(Box::new(Affinities { similarities, affinities }))
    }
}

impl ModelConfig for Sar {
    fn kind(&self) -> &'static str {
        "sar"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let similarities = tensors.with_prefix(SIMILARITY);
        let n_items = similarities.u64s("starts")?.len().saturating_sub(1);
        let similarities = baskets::read(&similarities, n_items, true)?;
        let affinities = baskets::read(&tensors.with_prefix(AFFINITY), n_items, true)?;
        Ok(Box::new(Affinities { similarities, affinities }))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let n = n_interactions as u64;
        // How many pairs of items co-occur is unknown. If all users were alike, at most the log times a user's
        // items; some users have many more items, so four times that.
        let pairs = (4 * n * n.div_ceil(n_users.max(1) as u64)).min((n_items as u64).pow(2));
        // Once in chunks, once as a whole.
        16 * pairs + 16 * n + 24 * n_users as u64 + 16 * n_items as u64
    }
}

/// Prefixes of the tensors' names.
const SIMILARITY: &str = "similarity.";
const AFFINITY: &str = "affinity.";

/// A fitted SAR.
struct Affinities {
    similarities: Csr,
    affinities: Csr,
}

impl Affinities {
    /// The query's items, ascending, with their affinities.
    fn of(&self, query: &Query<'_>) -> Vec<(ItemId, f32)> {
        let user = query.user.map(|user| user as usize).filter(|&u| u < self.affinities.n_rows());
        let known = user.map_or(&[][..], |user| self.affinities.row(user));
        let values = user.and_then(|user| self.affinities.row_values(user)).unwrap_or_default();
        let affinity = |item: ItemId| known.binary_search(&item).map_or(1.0, |at| values[at]);
        let mut items = distinct(query.history);
        items.retain(|&item| (item as usize) < self.n_items());
        items.into_iter().map(|item| (item, affinity(item))).collect()
    }
}

impl Scorer for Affinities {
    fn n_items(&self) -> usize {
        self.similarities.n_rows()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        out.fill(0.0);
        for (query, row) in queries.iter().zip(out.chunks_exact_mut(self.n_items().max(1))) {
            for (item, affinity) in self.of(query) {
                let similarities = self.similarities.row_values(item as usize).unwrap_or_default();
                let others = self.similarities.row(item as usize);
                for (&other, similarity) in others.iter().zip(similarities) {
                    row[other as usize] += affinity * similarity;
                }
            }
        }
    }
}

impl Model for Affinities {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (prefix, matrix) in [(SIMILARITY, &self.similarities), (AFFINITY, &self.affinities)] {
            let mut part = Tensors::default();
            baskets::insert(&mut part, matrix);
            tensors.insert_all(prefix, part);
        }
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.similarities.n_entries() + self.affinities.n_entries()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;
    use rankstill_core::Lists;

    /// Items 0, 1, 2 have 3, 2, 1 users; 0 and 1 two in common, 2 one with each. Times in days.
    fn log(days: Option<[i64; 6]>, weights: Option<[f32; 6]>) -> Arc<Interactions> {
        let items = Lists::from_iter([vec![0, 1], vec![2, 1, 0], vec![0]]);
        let times = days.map(|days| days.map(|day| day * 86_400).to_vec());
        Arc::new(Interactions::new(4, items, times, weights.map(|w| w.to_vec())).unwrap())
    }

    fn scores(recipe: &Sar, train: &Arc<Interactions>, query: Query<'_>) -> Vec<f32> {
        let model = testing::fit(recipe, train, 1);
        let mut out = vec![f32::NAN; train.n_items()];
        model.score(&[query], &mut out);
        out
    }

    fn close(found: &[f32], by_hand: &[f32]) {
        let apart = found.iter().zip(by_hand).map(|(x, y)| (x - y).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-6, "{found:?}, by hand {by_hand:?}");
    }

    #[test]
    fn three_similarities_by_hand() {
        for (similarity, of_0, of_1) in [
            (Cooccurrence::Jaccard, [1.0, 2.0 / 3.0, 1.0 / 3.0], [2.0 / 3.0, 1.0, 0.5]),
            (Cooccurrence::Lift, [1.0 / 3.0; 3], [1.0 / 3.0, 0.5, 0.5]),
            (Cooccurrence::Counts, [3.0, 2.0, 1.0], [2.0, 2.0, 1.0]),
        ] {
            let recipe = Sar { similarity, ..Sar::default() };
            let query = |history| Query { user: None, history, hidden: &[] };
            let train = log(None, None);
            close(&scores(&recipe, &train, query(&[0])), &of_0);
            let sum: Vec<f32> = of_0.iter().zip(of_1).map(|(x, y)| x + y).collect();
            close(&scores(&recipe, &train, query(&[1, 0, 99, 1])), &sum);
            assert_eq!(scores(&recipe, &train, query(&[3])), [0.0; 4], "no user has it");
        }
    }

    #[test]
    fn pairs_below_the_threshold_are_not_alike() {
        let recipe = Sar { threshold: 2, ..Sar::default() };
        let query = Query { user: None, history: &[0, 2], hidden: &[] };
        close(&scores(&recipe, &log(None, None), query), &[1.0, 2.0 / 3.0, 0.0, 0.0]);
    }

    #[test]
    fn affinity_halves_with_every_half_life() {
        // User 0 had item 0 on day 0 and item 1 on day 30: affinities 1/2 and 1, whatever others did later.
        let train = log(Some([0, 30, 0, 900, 999, 5]), None);
        let recipe = Sar::default();
        let known = Query { user: Some(0), history: &[0, 1], hidden: &[] };
        let by_hand = [0.5 + 2.0 / 3.0, 0.5 * 2.0 / 3.0 + 1.0, 0.5 / 3.0 + 0.5];
        close(&scores(&recipe, &train, known), &by_hand);
        // With item 2 in the query as well, it counts as of now, as all items of a new user do.
        let more = Query { history: &[0, 1, 2], ..known };
        let of_2 = [1.0 / 3.0, 0.5, 1.0];
        let sum: Vec<f32> = by_hand.iter().zip(of_2).map(|(x, y)| x + y).collect();
        close(&scores(&recipe, &train, more), &sum);
        let new_user = Query { user: None, ..known };
        let plain = [5.0 / 3.0, 5.0 / 3.0, 1.0 / 3.0 + 0.5];
        close(&scores(&recipe, &train, new_user), &plain);
        let ageless = Sar { half_life_days: 0.0, ..recipe };
        close(&scores(&ageless, &train, known), &plain);
    }

    #[test]
    fn repeats_add_up_where_they_age_and_the_last_counts_where_they_do_not() {
        let items = Lists::from_iter([vec![0, 0, 1], vec![1]]);
        let days = vec![0, 30 * 86_400, 60 * 86_400, 0];
        let weights = Some(vec![4.0, 2.0, 3.0, 1.0]);
        let train = Interactions::new(2, items, Some(days), weights).unwrap();
        let affinities =
            |recipe: Sar| recipe.affinities(&train).unwrap().values().unwrap().to_vec();
        // 4 / 4 + 2 / 2, and 3.
        assert_eq!(affinities(Sar::default()), [2.0, 3.0, 1.0]);
        assert_eq!(affinities(Sar { half_life_days: 0.0, ..Sar::default() }), [2.0, 3.0, 1.0]);
        assert_eq!(affinities(Sar { half_life_days: 60.0, ..Sar::default() })[1..], [3.0, 1.0]);
        let first = affinities(Sar { half_life_days: 60.0, ..Sar::default() })[0];
        assert!((first - (4.0 * 0.5 + 2.0 * 0.5f32.sqrt())).abs() < 1e-6, "{first}");
    }

    #[test]
    fn corrupt_files_are_refused() {
        let recipe = Sar::default();
        let tensors = testing::fit(&recipe, &log(None, None), 1).tensors();
        let spoil = |name: &str, data: rankstill_core::Data| {
            let mut tensors = tensors.clone();
            let shape = [data.len()];
            tensors.insert(name, &shape, data);
            recipe.load(&tensors).err().map(|error| error.to_string())
        };
        assert!(spoil("affinity.items", vec![9u32; 6].into()).unwrap().contains("column 9 of 4"));
        assert!(spoil("affinity.values", vec![f32::INFINITY; 6].into()).unwrap().contains("inf"));
        assert!(spoil("similarity.starts", vec![0u64, 9].into()).is_some());
        assert!(spoil("similarity.values", vec![0.5f32; 2].into()).is_some());
    }
}
