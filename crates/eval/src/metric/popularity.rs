//! How popular the recommended items are: alone, and against what the users chose themselves.

use super::{Direction, Family, Measure, Metric, Needs, Outcome, Spec, mean};
use crate::{Error, Result};
use rankstill_core::ItemId;

/// Mean popularity@n.
pub const POPULARITY: Family = Family {
    name: "popularity",
    aliases: &["pop", "averagepopularity"],
    about: "how often the recommended items were acted on in training",
    needs_cut: true,
    build: |spec| build(spec, |n| Popularity { n, lift: false }),
};

/// Popularity lift@n.
pub const LIFT: Family = Family {
    name: "lift",
    aliases: &["popularity_lift", "poplift"],
    about: "how much more popular the recommended items are than those of the users' histories",
    needs_cut: true,
    build: |spec| build(spec, |n| Popularity { n, lift: true }),
};

fn build(spec: &Spec, metric: fn(usize) -> Popularity) -> Result<Box<dyn Metric>, String> {
    spec.no_parameter()?;
    Ok(Box::new(metric(spec.cut.ok_or("needs a list length")?)))
}

/// Looks at the training counts of the recommended items.
struct Popularity {
    n: usize,
    lift: bool,
}

impl Metric for Popularity {
    fn name(&self) -> String {
        format!("{}@{}", if self.lift { "lift" } else { "popularity" }, self.n)
    }

    fn definition(&self) -> String {
        let n = self.n;
        if self.lift {
            format!(
                "Mean over the cases of the mean number of training interactions of the first {n} items, divided by the \
                 same of the users' histories, minus 1 (Abdollahpouri et al., RecSys 2020); cases without history are \
                 left out."
            )
        } else {
            format!(
                "Mean number of training interactions of the first {n} items; 0 for an empty list."
            )
        }
    }

    fn needs(&self) -> Needs {
        Needs { depth: self.n, popularity: true, ..Needs::default() }
    }

    fn direction(&self) -> Direction {
        Direction::Neither
    }

    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        let Some(counts) = outcome.popularity() else {
            let needs = "the training interactions, to know how popular items are";
            return Err(Error::Missing { metric: self.name(), needs });
        };
        let of = |items: &[ItemId]| {
            let sum: u64 = items.iter().map(|item| u64::from(counts[*item as usize])).sum();
            sum as f64 / items.len().max(1) as f64
        };
        let recommended = |i: usize| of(&outcome.list(i)[..self.n.min(outcome.list(i).len())]);
        if !self.lift {
            return Ok(Measure::PerCase((0..outcome.len()).map(recommended).collect()));
        }
        let known = (0..outcome.len()).filter(|i| !outcome.history(*i).is_empty());
        let (found, chosen): (Vec<f64>, Vec<f64>) =
            known.map(|i| (recommended(i), of(outcome.history(i)))).unzip();
        let before = mean(&chosen);
        Ok(Measure::Whole(if before == 0.0 { 0.0 } else { mean(&found) / before - 1.0 }))
    }
}
