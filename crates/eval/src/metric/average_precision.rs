//! Mean average precision.

use super::{Dialect, Family, Measure, Metric, Needs, Outcome, span, with_cut, within};
use crate::Result;

/// MAP over the whole ranking, or MAP@n.
pub const MAP: Family = Family {
    name: "map",
    aliases: &["ap"],
    about: "mean over the targets of the precision at the place of each",
    needs_cut: false,
    build: |spec| {
        spec.no_parameter()?;
        Ok(Box::new(Map { cut: spec.cut, dialect: spec.dialect }))
    },
};

/// See [`MAP`].
struct Map {
    cut: Option<usize>,
    dialect: Dialect,
}

impl Map {
    /// What the sum is divided by. trec_eval's map_cut divides by all targets; the code of RD (Caser's `_compute_apk`) and
    /// RecBole by as many as can be among the first n.
    fn divisor(&self, n_targets: usize) -> usize {
        match (self.dialect, self.cut) {
            (Dialect::Rd | Dialect::RecBole, Some(n)) => n_targets.min(n),
            _ => n_targets,
        }
    }
}

impl Metric for Map {
    fn name(&self) -> String {
        with_cut("map", self.cut)
    }

    fn definition(&self) -> String {
        let divisor = match (self.dialect, self.cut) {
            (Dialect::Rd | Dialect::RecBole, Some(n)) => format!("min(#targets, {n})"),
            _ => "all targets".into(),
        };
        format!(
            "At every target in {}: the share of targets among the items down to it; their sum divided by {divisor}.",
            span(self.cut)
        )
    }

    fn needs(&self) -> Needs {
        Needs::ranks(self.cut)
    }

    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        let value = |i: usize| {
            let precision = |(before, &rank): (usize, &u32)| (before + 1) as f64 / f64::from(rank);
            let found = within(outcome.hits(i), self.cut).iter().enumerate();
            let sum = found.map(precision).fold(0.0, |sum, value| sum + value);
            sum / self.divisor(outcome.n_targets(i)) as f64
        };
        Ok(Measure::PerCase((0..outcome.len()).map(value).collect()))
    }
}
