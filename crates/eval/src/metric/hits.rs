//! Precision, recall and hit rate: how many targets stand among the first n. All dialects agree on these.

use super::{Family, Measure, Metric, Needs, Outcome, Spec, within};
use crate::Result;

/// Precision@n.
pub const PRECISION: Family = Family {
    name: "precision",
    aliases: &["p", "prec"],
    about: "share of the first n that are targets",
    needs_cut: true,
    build: |spec| build(spec, |n| Hits { n, what: What::Precision }),
};

/// Recall@n.
pub const RECALL: Family = Family {
    name: "recall",
    aliases: &["r"],
    about: "share of the targets that are among the first n",
    needs_cut: true,
    build: |spec| build(spec, |n| Hits { n, what: What::Recall }),
};

/// HitRate@n.
pub const HIT: Family = Family {
    name: "hit",
    aliases: &["hr", "hit_rate", "hitrate"],
    about: "share of the cases with a target among the first n",
    needs_cut: true,
    build: |spec| build(spec, |n| Hits { n, what: What::Hit }),
};

fn build(spec: &Spec, metric: fn(usize) -> Hits) -> Result<Box<dyn Metric>, String> {
    spec.no_parameter()?;
    Ok(Box::new(metric(spec.cut.ok_or("needs a list length")?)))
}

/// Counts the targets among the first `n`.
struct Hits {
    n: usize,
    what: What,
}

enum What {
    Precision,
    Recall,
    Hit,
}

impl Metric for Hits {
    fn name(&self) -> String {
        let name = match self.what {
            What::Precision => "precision",
            What::Recall => "recall",
            What::Hit => "hit",
        };
        format!("{name}@{}", self.n)
    }

    fn definition(&self) -> String {
        let n = self.n;
        match self.what {
            What::Precision => {
                format!(
                    "Targets among the first {n}, divided by {n} (also where fewer are listed)."
                )
            }
            What::Recall => format!("Targets among the first {n}, divided by all targets."),
            What::Hit => format!("1 if a target is among the first {n}, else 0."),
        }
    }

    fn needs(&self) -> Needs {
        Needs::ranks(Some(self.n))
    }

    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        let value = |i: usize| {
            let found = within(outcome.hits(i), Some(self.n)).len();
            match self.what {
                What::Precision => found as f64 / self.n as f64,
                What::Recall => found as f64 / outcome.n_targets(i) as f64,
                What::Hit => f64::from(u8::from(found > 0)),
            }
        };
        Ok(Measure::PerCase((0..outcome.len()).map(value).collect()))
    }
}
