//! Mean reciprocal rank. All dialects agree on it.

use super::{Family, Measure, Metric, Needs, Outcome, span, with_cut, within};
use crate::Result;

/// MRR over the whole ranking, or MRR@n.
pub const MRR: Family = Family {
    name: "mrr",
    aliases: &["rr"],
    about: "1 / rank of the first target",
    needs_cut: false,
    build: |spec| {
        spec.no_parameter()?;
        Ok(Box::new(Mrr { cut: spec.cut }))
    },
};

/// See [`MRR`].
struct Mrr {
    cut: Option<usize>,
}

impl Metric for Mrr {
    fn name(&self) -> String {
        with_cut("mrr", self.cut)
    }

    fn definition(&self) -> String {
        format!("1 / rank of the first target in {}; 0 if there is none.", span(self.cut))
    }

    fn needs(&self) -> Needs {
        Needs::ranks(self.cut)
    }

    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        let first = |i: usize| within(outcome.hits(i), self.cut).first().copied();
        let value = |i: usize| first(i).map_or(0.0, |rank| 1.0 / f64::from(rank));
        Ok(Measure::PerCase((0..outcome.len()).map(value).collect()))
    }
}
