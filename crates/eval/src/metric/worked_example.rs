//! R-precision: precision at as many ranks as there are targets (Manning, Raghavan & Schütze, "Introduction to Information
//! Retrieval", 2008, section 8.4). The worked example of `CONTRIBUTING.md`; it is compiled and tested, but not registered.

use super::family::{Cut, Direction, Formula, MetricFamily};

/// R-precision.
pub const R_PRECISION: MetricFamily = MetricFamily {
    name: "r_precision",
    aliases: &["rprec"],
    about: "share of the first R that are targets, R being the number of targets",
    cut: Cut::WholeRanking,
    direction: Direction::Higher,
    definition: |s| format!("Of R targets those among the first R of {}, divided by R.", s.span()),
    parameter: None,
    formula: Formula::TargetRanks(|ranks, _| {
        let found = ranks.hits.iter().filter(|&&rank| rank as usize <= ranks.n_targets);
        found.count() as f64 / ranks.n_targets as f64
    }),
    #[cfg(test)]
    twin: |world, s| {
        world.per_case(|case| {
            let first = case.first(s).into_iter().take(case.targets.len());
            first.filter(|item| case.targets.contains(item)).count() as f64
                / case.targets.len() as f64
        })
    },
};

#[cfg(test)]
mod tests {
    use super::super::family::{Formula, TargetRanks};
    use super::super::{MetricSettings, naive::assert_close};
    use super::R_PRECISION;

    #[test]
    fn of_three_targets_one_is_among_the_first_three() {
        let Formula::TargetRanks(value) = R_PRECISION.formula else { panic!("of target ranks") };
        let ranks = TargetRanks { hits: &[2, 4], n_targets: 3 };
        assert_close(value(&ranks, &MetricSettings::default()), 1.0 / 3.0);
    }
}
