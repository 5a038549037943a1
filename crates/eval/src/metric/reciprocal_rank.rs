//! Mean reciprocal rank. All dialects agree on it.

use super::family::{Cut, Direction, Formula, MetricFamily};

/// MRR over the whole ranking, or MRR@n.
pub const MRR: MetricFamily = MetricFamily {
    name: "mrr",
    aliases: &["rr"],
    about: "1 / rank of the first target",
    cut: Cut::WholeRanking,
    direction: Direction::Higher,
    definition: |s| format!("1 / rank of the first target in {}; 0 if there is none.", s.span()),
    parameter: None,
    formula: Formula::TargetRanks(|ranks, _| {
        ranks.hits.first().map_or(0.0, |&rank| 1.0 / f64::from(rank))
    }),
    #[cfg(test)]
    twin: |world, s| {
        world.per_case(|case| {
            let first = case.is_target(s).iter().position(|hit| *hit);
            first.map_or(0.0, |at| 1.0 / (at + 1) as f64)
        })
    },
};

#[cfg(test)]
mod tests {
    use crate::metric::Dialect;
    use crate::metric::naive::{assert_close, of_ranks};

    #[test]
    fn the_first_target_is_at_rank_2() {
        assert_close(of_ranks("mrr", Dialect::Standard, &[2, 4], 3), 0.5);
        assert_close(of_ranks("mrr@1", Dialect::Standard, &[2, 4], 3), 0.0);
    }
}
