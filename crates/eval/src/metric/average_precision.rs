//! Mean average precision.

use super::dialect::Dialect;
use super::family::{Cut, Direction, Formula, MetricFamily};
use super::settings::MetricSettings;

/// MAP over the whole ranking, or MAP@n.
pub const MAP: MetricFamily = MetricFamily {
    name: "map",
    aliases: &["ap"],
    about: "mean over the targets of the precision at the rank of each",
    cut: Cut::WholeRanking,
    direction: Direction::Higher,
    definition: |s| {
        let divisor = match s.cut {
            Some(n) if divides_by_reachable(s) => format!("min(#targets, {n})"),
            _ => "all targets".into(),
        };
        format!(
            "At every target in {}: the share of targets among the items down to it; their sum divided by {divisor}.",
            s.span()
        )
    },
    parameter: None,
    formula: Formula::TargetRanks(|ranks, s| {
        let precision = |(before, &rank): (usize, &u32)| (before + 1) as f64 / f64::from(rank);
        let sum = ranks.hits.iter().enumerate().map(precision).fold(0.0, |sum, value| sum + value);
        let reachable = ranks.n_targets.min(s.n());
        sum / if divides_by_reachable(s) { reachable } else { ranks.n_targets } as f64
    }),
    #[cfg(test)]
    twin: |world, s| {
        world.per_case(|case| {
            let is_target = case.is_target(s);
            let mut sum = 0.0;
            for at in 0..is_target.len() {
                if is_target[at] {
                    let so_far = is_target[..=at].iter().filter(|hit| **hit).count();
                    sum += so_far as f64 / (at + 1) as f64;
                }
            }
            let n_targets = case.targets.len();
            let divisor = match s.dialect {
                Dialect::Standard | Dialect::HetComp => n_targets,
                Dialect::Rd | Dialect::RecBole => n_targets.min(s.n()),
            };
            sum / divisor as f64
        })
    },
};

/// Whether the sum is divided by the number of targets that fit into the first n. trec_eval's map_cut divides
/// by all targets; the code of RD (Caser's `_compute_apk`) and RecBole divide by those that fit.
fn divides_by_reachable(s: &MetricSettings) -> bool {
    match s.dialect {
        Dialect::Standard | Dialect::HetComp => false,
        Dialect::Rd | Dialect::RecBole => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::naive::{assert_close, of_ranks};

    #[test]
    fn three_targets_of_which_two_are_at_ranks_2_and_4() {
        for dialect in Dialect::ALL {
            let value = |text| of_ranks(text, dialect, &[2, 4], 3);
            assert_close(value("map"), (1.0 / 2.0 + 2.0 / 4.0) / 3.0);
            assert_close(value("map@4"), (1.0 / 2.0 + 2.0 / 4.0) / 3.0);
            let divisor = match dialect {
                Dialect::Standard | Dialect::HetComp => 3.0,
                Dialect::Rd | Dialect::RecBole => 2.0,
            };
            assert_close(value("map@2"), 0.5 / divisor);
        }
    }
}
