//! How far a student recommends what its teacher recommends: overlap, and rank-biased overlap (Webber, Moffat & Zobel,
//! "A similarity measure for indefinite rankings", ACM TOIS 2010).

use super::{Family, Measure, Metric, Needs, Outcome, with_cut};
use crate::{Error, Result};
use rankstill_core::ItemId;
use rayon::prelude::*;

/// Overlap@n with the teacher.
pub const OVERLAP: Family = Family {
    name: "overlap",
    aliases: &[],
    about: "share of the teacher's first n that are among the student's first n",
    needs_cut: true,
    build: |spec| {
        spec.no_parameter()?;
        Ok(Box::new(Overlap { n: spec.cut.ok_or("needs a list length")? }))
    },
};

/// Rank-biased overlap with the teacher.
pub const RBO: Family = Family {
    name: "rbo",
    aliases: &[],
    about: "rank-biased overlap with the teacher, extrapolated; rbo:0.98@50 sets p and the depth",
    needs_cut: false,
    build: |spec| match spec.parameter {
        Some(p) if !(p > 0.0 && p < 1.0) => {
            Err(format!("p must lie between 0 and 1, found {p}; write rbo:0.9"))
        }
        p => Ok(Box::new(Rbo { p, cut: spec.cut })),
    },
};

/// See [`OVERLAP`].
struct Overlap {
    n: usize,
}

impl Metric for Overlap {
    fn name(&self) -> String {
        format!("overlap@{}", self.n)
    }

    fn definition(&self) -> String {
        format!(
            "Items that are among the first {n} of both the model and its teacher, divided by {n} (by the length of the \
             teacher's list where that is shorter).",
            n = self.n
        )
    }

    fn needs(&self) -> Needs {
        Needs { depth: self.n, teacher: true, ..Needs::default() }
    }

    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        per_pair(self, outcome, self.n, |student, teacher| {
            let shared = shared(student, teacher);
            shared.len() as f64 / teacher.len().max(1) as f64
        })
    }
}

/// See [`RBO`].
struct Rbo {
    p: Option<f64>,
    cut: Option<usize>,
}

/// How much one believes in going on to the next place; the first ten places weigh 86%.
const DEFAULT_P: f64 = 0.9;
/// With p = 0.9 the places below the hundredth weigh less than 0.003%.
const DEFAULT_DEPTH: usize = 100;

impl Rbo {
    fn depth(&self) -> usize {
        self.cut.unwrap_or(DEFAULT_DEPTH)
    }
}

impl Metric for Rbo {
    fn name(&self) -> String {
        with_cut(&self.p.map_or("rbo".into(), |p| format!("rbo:{p}")), self.cut)
    }

    fn definition(&self) -> String {
        format!(
            "Rank-biased overlap of the model's and its teacher's first {} items with p = {}, extrapolated (Webber et al. \
             2010, eq. 32): 1 for equal lists, 0 for lists without a common item.",
            self.depth(),
            self.p.unwrap_or(DEFAULT_P)
        )
    }

    fn needs(&self) -> Needs {
        Needs { depth: self.depth(), teacher: true, ..Needs::default() }
    }

    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        let p = self.p.unwrap_or(DEFAULT_P);
        per_pair(self, outcome, self.depth(), |student, teacher| rbo(student, teacher, p))
    }
}

/// The value of every case's pair of lists, each cut to `n`; in parallel, in order.
fn per_pair(
    metric: &dyn Metric,
    outcome: &Outcome<'_>,
    n: usize,
    value: impl Fn(&[ItemId], &[ItemId]) -> f64 + Sync,
) -> Result<Measure> {
    let values: Option<Vec<f64>> = (0..outcome.len())
        .into_par_iter()
        .map(|i| {
            let (student, teacher) = (outcome.list(i), outcome.teacher(i)?);
            Some(value(&student[..n.min(student.len())], &teacher[..n.min(teacher.len())]))
        })
        .collect();
    let needs = "a teacher's rankings to compare with";
    Ok(Measure::PerCase(values.ok_or_else(|| Error::Missing { metric: metric.name(), needs })?))
}

/// Equation 32 of the paper, for lists of different lengths; for equal lengths it is equation 30. 1 for two empty lists.
fn rbo(a: &[ItemId], b: &[ItemId], p: f64) -> f64 {
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    if short == 0 {
        return if long == 0 { 1.0 } else { 0.0 };
    }
    let mut deeper = shared(a, b); // the depth from which on each common item is in both
    deeper.sort_unstable();
    let mut deeper = deeper.into_iter().peekable();
    let (mut sum, mut weight) = (0.0, 1.0);
    let (mut common, mut common_short) = (0.0, 0.0);
    for depth in 1..=long {
        while deeper.next_if(|at| *at <= depth).is_some() {
            common += 1.0;
        }
        if depth == short {
            common_short = common;
        }
        weight *= p;
        let beyond = depth.saturating_sub(short) as f64;
        sum += (common + common_short * beyond / short as f64) / depth as f64 * weight;
    }
    let tail = (common - common_short) / long as f64 + common_short / short as f64;
    (1.0 - p) / p * sum + tail * weight
}

/// For every common item the larger of its two 1-based places, by item.
fn shared(a: &[ItemId], b: &[ItemId]) -> Vec<usize> {
    let by_item = |list: &[ItemId]| {
        let mut places: Vec<(ItemId, usize)> = list.iter().copied().zip(1..).collect();
        places.sort_unstable();
        places
    };
    let (a, b) = (by_item(a), by_item(b));
    let mut at = 0;
    let common = a.iter().filter_map(|&(item, place)| {
        while at < b.len() && b[at].0 < item {
            at += 1;
        }
        let &(other, other_place) = b.get(at)?;
        (other == item).then_some(place.max(other_place))
    });
    common.collect()
}
