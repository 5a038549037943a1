//! Precision, recall and hit rate: how many targets are among the first n. All dialects agree on these.

use super::family::{Cut, Direction, Formula, MetricFamily};

/// Precision@n.
pub const PRECISION: MetricFamily = MetricFamily {
    name: "precision",
    aliases: &["p", "prec"],
    about: "share of the first n that are targets",
    cut: Cut::Required,
    direction: Direction::Higher,
    definition: |s| {
        format!(
            "Targets among the first {n}, divided by {n} (also where fewer are listed).",
            n = s.n()
        )
    },
    parameter: None,
    formula: Formula::TargetRanks(|ranks, s| ranks.hits.len() as f64 / s.n() as f64),
    #[cfg(test)]
    twin: |world, s| world.per_case(|case| case.found(s) / s.n() as f64),
};

/// Recall@n.
pub const RECALL: MetricFamily = MetricFamily {
    name: "recall",
    aliases: &["r"],
    about: "share of the targets that are among the first n",
    cut: Cut::Required,
    direction: Direction::Higher,
    definition: |s| format!("Targets among the first {}, divided by all targets.", s.n()),
    parameter: None,
    formula: Formula::TargetRanks(|ranks, _| ranks.hits.len() as f64 / ranks.n_targets as f64),
    #[cfg(test)]
    twin: |world, s| world.per_case(|case| case.found(s) / case.targets.len() as f64),
};

/// HitRate@n.
pub const HIT: MetricFamily = MetricFamily {
    name: "hit",
    aliases: &["hr", "hit_rate", "hitrate"],
    about: "share of the cases with a target among the first n",
    cut: Cut::Required,
    direction: Direction::Higher,
    definition: |s| format!("1 if a target is among the first {}, else 0.", s.n()),
    parameter: None,
    formula: Formula::TargetRanks(|ranks, _| if ranks.hits.is_empty() { 0.0 } else { 1.0 }),
    #[cfg(test)]
    twin: |world, s| world.per_case(|case| f64::from(case.found(s) > 0.0)),
};

#[cfg(test)]
mod tests {
    use crate::metric::Dialect;
    use crate::metric::naive::{assert_close, of_ranks};

    #[test]
    fn three_targets_of_which_two_are_at_ranks_2_and_4() {
        let value = |text| of_ranks(text, Dialect::Standard, &[2, 4], 3);
        assert_close(value("precision@3"), 1.0 / 3.0);
        assert_close(value("precision@10"), 2.0 / 10.0);
        assert_close(value("recall@3"), 1.0 / 3.0);
        assert_close(value("recall@4"), 2.0 / 3.0);
        assert_close(value("hit@1"), 0.0);
        assert_close(value("hit@2"), 1.0);
    }
}
