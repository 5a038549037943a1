//! Recent popularity: an item's interactions, each counting half as much after every half-life. The baseline of Ji, Sun, Zhang &
//! Li, "A re-visit of the popularity baseline in recommender systems" (SIGIR 2020), with a continuous decay instead of a window.
//! The worked example of `CONTRIBUTING.md`; it is compiled and tested, but not registered.

use crate::parts::settings::{Checked, positive};
use rankstill_core::{
    Fit, Interactions, Model, ModelConfig, Query, Recipe, Result, Scorer, Tensors,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Ranks by recent interactions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecentPop {
    /// Days after which an interaction counts half. In a log without times all count the same.
    pub half_life_days: f64,
}

impl Default for RecentPop {
    fn default() -> Self {
        Self { half_life_days: 30.0 }
    }
}

impl Checked for RecentPop {
    fn check(&self) -> Result<()> {
        positive("half_life_days", self.half_life_days)
    }
}

impl Recipe for RecentPop {
    fn fit(&self, train: &Arc<Interactions>, _fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        let latest = train.times().into_iter().flatten().max().copied().unwrap_or(0);
        let mut scores = vec![0.0f64; train.n_items()];
        for (_, item, time) in train.iter() {
            let days = time.map_or(0.0, |time| latest.abs_diff(time) as f64 / 86_400.0);
            scores[item as usize] += (-days / self.half_life_days).exp2();
        }
        Ok(Box::new(Scores(scores.into_iter().map(|score| score as f32).collect())))
    }
}

impl ModelConfig for RecentPop {
    fn kind(&self) -> &'static str {
        "recent_pop"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let (scores, _, _) = tensors.matrix("scores")?;
        Ok(Box::new(Scores(scores.to_vec())))
    }

    fn memory(&self, _n_users: usize, n_items: usize, _n_interactions: usize) -> u64 {
        12 * n_items as u64
    }
}

/// The score of each item.
struct Scores(Vec<f32>);

impl Scorer for Scores {
    fn n_items(&self) -> usize {
        self.0.len()
    }

    fn score(&self, _queries: &[Query<'_>], out: &mut [f32]) {
        out.chunks_exact_mut(self.0.len().max(1)).for_each(|row| row.copy_from_slice(&self.0));
    }
}

impl Model for Scores {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert("scores", &[1, self.0.len()], self.0.clone());
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::parts::settings::parse;
    use crate::testing;
    use rankstill_core::Lists;
    use rankstill_core::registry::Entry;
    use serde_json::json;

    const ENTRY: Entry<dyn Recipe> = Entry {
        name: "recent_pop",
        about: "the most popular items of late, the same for every user",
        small: r#"{"half_life_days": 7.0}"#,
        parse: parse::<RecentPop>,
    };

    #[test]
    fn it_conforms() {
        let settings = json!({"half_life_days": 7.0});
        testing::settings_round_trip(&ENTRY, &settings);
        testing::save_and_load(&ENTRY, &settings);
        testing::ranks_for_every_query(&ENTRY, &settings);
        testing::same_bytes_on_any_threads(&ENTRY, &settings);
    }

    #[test]
    fn an_old_interaction_counts_less_than_a_new_one() {
        let (day, items) = (86_400, Lists::from_iter([vec![0, 1], vec![0]]));
        let log = Interactions::new(2, items, Some(vec![0, 10 * day, 0]), None).unwrap();
        let recipe = RecentPop { half_life_days: 5.0 };
        let model = recipe.fit(&Arc::new(log), &mut Fit::seeded(1)).unwrap();
        let mut scores = [0.0; 2];
        model.score(&[Query::default()], &mut scores);
        assert_eq!(scores, [0.25 + 0.25, 1.0]);
    }
}
