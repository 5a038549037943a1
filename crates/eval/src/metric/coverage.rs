//! How the recommendations spread over the catalogue: coverage and the Gini index.
//!
//! RecBole computes the same two, but counts its padding id as an item of the catalogue; here no dialect does.

use super::{Direction, Family, Measure, Metric, Needs, Outcome, Spec};
use crate::Result;

/// Coverage@n.
pub const COVERAGE: Family = Family {
    name: "coverage",
    aliases: &["itemcoverage", "item_coverage"],
    about: "share of the catalogue that is recommended to anyone",
    needs_cut: true,
    build: |spec| build(spec, |n| Spread { n, gini: false }),
};

/// Gini@n.
pub const GINI: Family = Family {
    name: "gini",
    aliases: &["giniindex", "gini_index"],
    about: "how unequally items are recommended: 0 = all alike, 1 = one item to everyone",
    needs_cut: true,
    build: |spec| build(spec, |n| Spread { n, gini: true }),
};

fn build(spec: &Spec, metric: fn(usize) -> Spread) -> Result<Box<dyn Metric>, String> {
    spec.no_parameter()?;
    Ok(Box::new(metric(spec.cut.ok_or("needs a list length")?)))
}

/// Looks at how often each item is recommended.
struct Spread {
    n: usize,
    gini: bool,
}

impl Metric for Spread {
    fn name(&self) -> String {
        format!("{}@{}", if self.gini { "gini" } else { "coverage" }, self.n)
    }

    fn definition(&self) -> String {
        let n = self.n;
        if self.gini {
            format!(
                "Let x(1) <= ... <= x(m) be how often each of the m items of the catalogue is among anyone's first {n}: \
                 sum of (2i - m - 1) x(i), divided by m times the sum of x."
            )
        } else {
            format!(
                "Items that are among the first {n} of at least one case, divided by all items of the catalogue."
            )
        }
    }

    fn needs(&self) -> Needs {
        Needs { depth: self.n, ..Needs::default() }
    }

    fn direction(&self) -> Direction {
        if self.gini { Direction::Lower } else { Direction::Higher }
    }

    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        let mut counts = vec![0u32; outcome.cases().n_items()];
        for i in 0..outcome.len() {
            for &item in outcome.list(i).iter().take(self.n) {
                counts[item as usize] += 1;
            }
        }
        Ok(Measure::Whole(if self.gini { gini(&mut counts) } else { share_of_nonzero(&counts) }))
    }
}

fn share_of_nonzero(counts: &[u32]) -> f64 {
    let some = counts.iter().filter(|count| **count > 0).count();
    some as f64 / counts.len().max(1) as f64
}

/// The Gini index of the counts, which it sorts; 0 where there is nothing to be unequal about.
fn gini(counts: &mut [u32]) -> f64 {
    counts.sort_unstable();
    let m = counts.len() as f64;
    let (mut weighted, mut total) = (0.0, 0.0);
    for (before, &count) in counts.iter().enumerate() {
        weighted += (2.0 * (before as f64 + 1.0) - m - 1.0) * f64::from(count);
        total += f64::from(count);
    }
    if total == 0.0 { 0.0 } else { weighted / (m * total) }
}
