//! Normalised discounted cumulative gain with binary gains (Jarvelin & Kekalainen, ACM TOIS 2002).

use super::{Dialect, Family, Measure, Metric, Needs, Outcome, span, with_cut, within};
use crate::Result;

/// nDCG, over the whole ranking or @n.
pub const NDCG: Family = Family {
    name: "ndcg",
    aliases: &["n"],
    about: "targets found, worth less the lower they stand, relative to the best possible order",
    needs_cut: false,
    build: |spec| {
        spec.no_parameter()?;
        Ok(Box::new(Ndcg { cut: spec.cut, dialect: spec.dialect }))
    },
};

/// See [`NDCG`].
struct Ndcg {
    cut: Option<usize>,
    dialect: Dialect,
}

impl Metric for Ndcg {
    fn name(&self) -> String {
        with_cut("ndcg", self.cut)
    }

    fn definition(&self) -> String {
        let places = self.cut.map_or("#targets".into(), |n| format!("min(#targets, {n})"));
        match self.dialect {
            Dialect::Rd => format!(
                "Let k = {places}. Sum of 1/log2(rank + 1) over the targets among the first k only, divided by the same \
                 sum over the ranks 1 to k: hits below k do not count."
            ),
            _ => format!(
                "Sum of 1/log2(rank + 1) over the targets in {}, divided by the same sum over the ranks 1 to {places}.",
                span(self.cut)
            ),
        }
    }

    fn needs(&self) -> Needs {
        Needs::ranks(self.cut)
    }

    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        let cut = self.cut.unwrap_or(usize::MAX);
        let most = (0..outcome.len()).map(|i| outcome.n_targets(i)).max().unwrap_or(0).min(cut);
        // ideal[k]: the gain of targets at the ranks 1 to k.
        let mut ideal = vec![0.0; most + 1];
        for k in 1..=most {
            ideal[k] = ideal[k - 1] + gain(k as u32);
        }
        let value = |i: usize| {
            let places = outcome.n_targets(i).min(cut);
            let seen = if self.dialect == Dialect::Rd { Some(places) } else { self.cut };
            let found =
                within(outcome.hits(i), seen).iter().fold(0.0, |sum, &rank| sum + gain(rank));
            found / ideal[places]
        };
        Ok(Measure::PerCase((0..outcome.len()).map(value).collect()))
    }
}

/// What a hit at this 1-based rank is worth.
fn gain(rank: u32) -> f64 {
    1.0 / (f64::from(rank) + 1.0).log2()
}
