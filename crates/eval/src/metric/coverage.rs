//! How the recommendations are spread over the catalogue: coverage and the Gini index.
//!
//! RecBole computes the same two, but counts its padding id as an item of the catalogue; here no dialect
//! does.

use super::family::{Cut, Direction, Formula, MetricFamily};

/// Coverage@n.
pub const COVERAGE: MetricFamily = MetricFamily {
    name: "coverage",
    aliases: &["itemcoverage", "item_coverage"],
    about: "share of the catalogue that is recommended to any user",
    cut: Cut::Required,
    direction: Direction::Higher,
    definition: |s| {
        format!(
            "Items that are among the first {} of at least one case, divided by all items of the catalogue.",
            s.n()
        )
    },
    parameter: None,
    formula: Formula::Exposure(|counts| {
        let recommended = counts.iter().filter(|count| **count > 0).count();
        recommended as f64 / counts.len().max(1) as f64
    }),
    #[cfg(test)]
    twin: |world, s| {
        let covered = world.exposure(s).iter().filter(|count| **count > 0.0).count();
        super::Measure::Whole(covered as f64 / world.n_items as f64)
    },
};

/// Gini@n.
pub const GINI: MetricFamily = MetricFamily {
    name: "gini",
    aliases: &["giniindex", "gini_index"],
    about: "how unequally items are recommended: 0 = all alike, 1 = one item to everyone",
    cut: Cut::Required,
    direction: Direction::Lower,
    definition: |s| {
        format!(
            "Let x(1) <= ... <= x(m) be how often each of the m items of the catalogue is among anyone's first {}: \
             sum of (2i - m - 1) x(i), divided by m times the sum of x.",
            s.n()
        )
    },
    parameter: None,
    formula: Formula::Exposure(gini),
    #[cfg(test)]
    twin: |world, s| {
        // Half the mean absolute difference, relative to the mean.
        let counts = world.exposure(s);
        let difference = |a: &f64| counts.iter().map(|b| (a - b).abs()).sum::<f64>();
        let (m, total) = (counts.len() as f64, counts.iter().sum::<f64>());
        let differences: f64 = counts.iter().map(difference).sum();
        super::Measure::Whole(if total == 0.0 { 0.0 } else { differences / (2.0 * m * total) })
    },
};

/// The Gini index of the counts; 0 where all are 0.
fn gini(mut counts: Vec<u32>) -> f64 {
    counts.sort_unstable();
    let m = counts.len() as f64;
    let (mut weighted, mut total) = (0.0, 0.0);
    for (before, &count) in counts.iter().enumerate() {
        weighted += (2.0 * (before as f64 + 1.0) - m - 1.0) * f64::from(count);
        total += f64::from(count);
    }
    if total == 0.0 { 0.0 } else { weighted / (m * total) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::metric::Outcome;
    use crate::metric::naive::{assert_close, cases, rankings, value};

    #[test]
    fn coverage_and_gini_by_hand() {
        let cases = cases(4, &[&[0], &[0]]);
        let outcome = Outcome::of_rankings(&cases, rankings(&[&[1, 2, 0], &[1, 3, 0]])).unwrap();
        assert_close(value("coverage@1", &outcome), 1.0 / 4.0);
        assert_close(value("coverage@2", &outcome), 3.0 / 4.0);
        // Counts 0 1 1 2: (2*2 - 5) * 1 + (2*3 - 5) * 1 + (2*4 - 5) * 2 = -1 + 1 + 6, over 4 * 4.
        assert_close(value("gini@2", &outcome), 6.0 / 16.0);
        // Counts 0 0 0 2: (2*4 - 5) * 2 over 4 * 2.
        assert_close(value("gini@1", &outcome), 6.0 / 8.0);
    }
}
