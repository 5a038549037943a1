//! Normalised discounted cumulative gain with binary gains (Jarvelin & Kekalainen, ACM TOIS 2002).

use super::dialect::Dialect;
use super::family::{Cut, Direction, Formula, MetricFamily};

/// nDCG over the whole ranking, or nDCG@n.
pub const NDCG: MetricFamily = MetricFamily {
    name: "ndcg",
    aliases: &["n"],
    about: "targets found, discounted by rank, relative to the best possible order",
    cut: Cut::WholeRanking,
    direction: Direction::Higher,
    definition: |s| {
        let ideal = s.cut.map_or("#targets".into(), |n| format!("min(#targets, {n})"));
        match s.dialect {
            Dialect::Rd => format!(
                "Let k = {ideal}. Sum of 1/log2(rank + 1) over the targets among the first k only, divided by the same \
                 sum over the ranks 1 to k: hits below k do not count."
            ),
            Dialect::Standard | Dialect::HetComp | Dialect::RecBole => format!(
                "Sum of 1/log2(rank + 1) over the targets in {}, divided by the same sum over the ranks 1 to {ideal}.",
                s.span()
            ),
        }
    },
    parameter: None,
    formula: Formula::TargetRanks(|ranks, s| {
        let ideal = ranks.n_targets.min(s.n()) as u32;
        let counted = match s.dialect {
            Dialect::Rd => &ranks.hits[..ranks.hits.partition_point(|&rank| rank <= ideal)],
            Dialect::Standard | Dialect::HetComp | Dialect::RecBole => ranks.hits,
        };
        gains(counted.iter().copied()) / gains(1..=ideal)
    }),
    #[cfg(test)]
    twin: |world, s| {
        world.per_case(|case| {
            let is_target = case.is_target(s);
            let ideal = case.targets.len().min(s.n());
            let seen = match s.dialect {
                Dialect::Rd => ideal.min(is_target.len()),
                Dialect::Standard | Dialect::HetComp | Dialect::RecBole => is_target.len(),
            };
            let gain = |at: usize| 1.0 / (at as f64 + 2.0).log2();
            let found: f64 = (0..seen).filter(|at| is_target[*at]).map(gain).sum();
            found / (0..ideal).map(gain).sum::<f64>()
        })
    },
};

/// The discounted gain of hits at these 1-based ranks.
fn gains(ranks: impl Iterator<Item = u32>) -> f64 {
    ranks.fold(0.0, |sum, rank| sum + 1.0 / (f64::from(rank) + 1.0).log2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::naive::{assert_close, of_ranks};

    #[test]
    fn three_targets_of_which_two_are_at_ranks_2_and_4() {
        let ideal_3 = 1.0 + 1.0 / 3f64.log2() + 1.0 / 2.0;
        let (at_2, at_4) = (1.0 / 3f64.log2(), 1.0 / 5f64.log2());
        for dialect in Dialect::ALL {
            let value = |text| of_ranks(text, dialect, &[2, 4], 3);
            let expected = match dialect {
                Dialect::Rd => at_2 / ideal_3, // rank 4 is below the three targets
                Dialect::Standard | Dialect::HetComp | Dialect::RecBole => (at_2 + at_4) / ideal_3,
            };
            assert_close(value("ndcg@5"), expected);
            assert_close(value("ndcg"), expected);
            assert_close(value("ndcg@2"), at_2 / (1.0 + 1.0 / 3f64.log2()));
        }
    }
}
