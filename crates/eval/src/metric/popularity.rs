//! How popular the recommended items are, absolutely and relative to the items in the users' histories.

use super::family::{Cut, Direction, Formula, MetricFamily};
use super::measure::{Measure, mean};
use rankstill_core::ItemId;

/// Mean popularity@n.
pub const POPULARITY: MetricFamily = MetricFamily {
    name: "popularity",
    aliases: &["pop", "averagepopularity"],
    about: "number of training interactions of the recommended items",
    cut: Cut::Required,
    direction: Direction::Neither,
    definition: |s| {
        format!(
            "Mean number of training interactions of the first {} items; 0 for an empty list.",
            s.n()
        )
    },
    parameter: None,
    formula: Formula::Popularity(|outcome, popularity, s| {
        let value = |i: usize| mean_popularity(outcome.first(i, s.n()), popularity);
        Measure::PerCase((0..outcome.len()).map(value).collect())
    }),
    #[cfg(test)]
    twin: |world, s| world.per_case(|case| world.mean_popularity(&case.first(s))),
};

/// Popularity lift@n.
pub const LIFT: MetricFamily = MetricFamily {
    name: "lift",
    aliases: &["popularity_lift", "poplift"],
    about: "how much more popular the recommended items are than those of the users' histories",
    cut: Cut::Required,
    direction: Direction::Neither,
    definition: |s| {
        format!(
            "Mean over the cases of the mean number of training interactions of the first {} items, divided by the \
             same of the users' histories, minus 1 (Abdollahpouri et al., RecSys 2020); cases without history are \
             left out.",
            s.n()
        )
    },
    parameter: None,
    formula: Formula::Popularity(|outcome, popularity, s| {
        let with_history = (0..outcome.len()).filter(|i| !outcome.history(*i).is_empty());
        let pair = |i: usize| {
            let recommended = mean_popularity(outcome.first(i, s.n()), popularity);
            (recommended, mean_popularity(outcome.history(i), popularity))
        };
        let (recommended, chosen): (Vec<f64>, Vec<f64>) = with_history.map(pair).unzip();
        let before = mean(&chosen);
        Measure::Whole(if before == 0.0 { 0.0 } else { mean(&recommended) / before - 1.0 })
    }),
    #[cfg(test)]
    twin: |world, s| {
        let (mut recommended, mut chosen) = (0.0, 0.0);
        for case in world.cases.iter().filter(|case| !case.history.is_empty()) {
            recommended += world.mean_popularity(&case.first(s));
            chosen += world.mean_popularity(&case.history);
        }
        Measure::Whole(if chosen == 0.0 { 0.0 } else { (recommended - chosen) / chosen })
    },
};

fn mean_popularity(items: &[ItemId], popularity: &[u32]) -> f64 {
    let sum: u64 = items.iter().map(|item| u64::from(popularity[*item as usize])).sum();
    sum as f64 / items.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::metric::Outcome;
    use crate::metric::naive::{assert_close, cases_with_histories, rankings, value};

    #[test]
    fn popularity_and_its_lift_by_hand() {
        let rows = [(vec![0, 1], vec![3]), (vec![], vec![3]), (vec![2], vec![3])];
        let cases = cases_with_histories(4, &rows);
        let counts = [1, 3, 6, 8];
        let outcome = Outcome::of_rankings(&cases, rankings(&[&[2, 3], &[3, 0], &[0, 1]])).unwrap();
        let outcome = outcome.with_popularity(&counts).unwrap();
        assert_close(value("popularity@2", &outcome), (7.0 + 4.5 + 2.0) / 3.0);
        // The second has no history. Histories: (1 + 3) / 2 and 6.
        let by_hand = ((7.0 + 2.0) / 2.0) / ((2.0 + 6.0) / 2.0) - 1.0;
        assert_close(value("lift@2", &outcome), by_hand);
    }
}
