//! How closely a student's recommendations match its teacher's: overlap, and rank-biased overlap (Webber,
//! Moffat & Zobel, "A similarity measure for indefinite rankings", ACM TOIS 2010).

use super::family::{Cut, Direction, Formula, MetricFamily};
use super::settings::MetricSettings;
use rankstill_core::ItemId;

/// Overlap@n with the teacher.
pub const OVERLAP: MetricFamily = MetricFamily {
    name: "overlap",
    aliases: &[],
    about: "share of the teacher's first n that are among the student's first n",
    cut: Cut::Required,
    direction: Direction::Higher,
    definition: |s| {
        format!(
            "Items that are among the first {n} of both the model and its teacher, divided by {n} (by the length of the \
             teacher's list where that is shorter).",
            n = s.n()
        )
    },
    parameter: None,
    formula: Formula::TeacherList(|student, teacher, _| {
        shared_depths(student, teacher).len() as f64 / teacher.len().max(1) as f64
    }),
    #[cfg(test)]
    twin: |world, s| {
        world.per_case(|case| {
            let (student, teacher) = (case.first(s), case.teacher_first(s.n()));
            let common = student.iter().filter(|item| teacher.contains(item)).count();
            common as f64 / teacher.len().max(1) as f64
        })
    },
};

/// Rank-biased overlap with the teacher.
pub const RBO: MetricFamily = MetricFamily {
    name: "rbo",
    aliases: &[],
    about: "rank-biased overlap with the teacher, extrapolated; rbo:0.98@50 sets p and the depth",
    cut: Cut::Default(DEFAULT_DEPTH),
    direction: Direction::Higher,
    definition: |s| {
        format!(
            "Rank-biased overlap of the model's and its teacher's first {} items with p = {}, extrapolated (Webber et al. \
             2010, eq. 32): 1 for equal lists, 0 for lists without a common item.",
            s.cut.unwrap_or(DEFAULT_DEPTH),
            persistence(s)
        )
    },
    parameter: Some(|p| {
        if p > 0.0 && p < 1.0 {
            return Ok(());
        }
        Err(format!("p must lie between 0 and 1, found {p}; write rbo:0.9"))
    }),
    formula: Formula::TeacherList(|student, teacher, s| rbo(student, teacher, persistence(s))),
    #[cfg(test)]
    twin: |world, s| {
        world.per_case(|case| {
            let n = s.cut.unwrap_or(DEFAULT_DEPTH);
            naive_rbo(&case.first(s), &case.teacher_first(n), persistence(s))
        })
    },
};

/// Probability that a reader goes on to the next rank: the first ten ranks weigh 86%.
const DEFAULT_P: f64 = 0.9;
/// With p = 0.9 the ranks below the hundredth weigh less than 0.003%.
const DEFAULT_DEPTH: usize = 100;

fn persistence(s: &MetricSettings) -> f64 {
    s.parameter.unwrap_or(DEFAULT_P)
}

/// Equation 32 of the paper, for lists of different lengths; for equal lengths it is equation 30. 1 for two
/// empty lists.
fn rbo(a: &[ItemId], b: &[ItemId], p: f64) -> f64 {
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    if short == 0 {
        return if long == 0 { 1.0 } else { 0.0 };
    }
    let mut depths = shared_depths(a, b);
    depths.sort_unstable();
    let mut depths = depths.into_iter().peekable();
    let (mut sum, mut weight) = (0.0, 1.0);
    let (mut common, mut common_short) = (0.0, 0.0);
    for depth in 1..=long {
        while depths.next_if(|at| *at <= depth).is_some() {
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

/// The larger of the two 1-based ranks of every common item: the depth from which on both lists hold it.
fn shared_depths(a: &[ItemId], b: &[ItemId]) -> Vec<usize> {
    let by_item = |list: &[ItemId]| {
        let mut ranks: Vec<(ItemId, usize)> = list.iter().copied().zip(1..).collect();
        ranks.sort_unstable();
        ranks
    };
    let (a, b) = (by_item(a), by_item(b));
    let mut at = 0;
    let common = a.iter().filter_map(|&(item, rank)| {
        while at < b.len() && b[at].0 < item {
            at += 1;
        }
        let &(other, other_rank) = b.get(at)?;
        (other == item).then_some(rank.max(other_rank))
    });
    common.collect()
}

/// Equation 32 set by set.
#[cfg(test)]
fn naive_rbo(a: &[ItemId], b: &[ItemId], p: f64) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let (s, l) = (short.len(), long.len());
    if s == 0 {
        return f64::from(l == 0);
    }
    let common = |depth: usize| {
        let upper = &short[..depth.min(s)];
        long[..depth.min(l)].iter().filter(|item| upper.contains(item)).count() as f64
    };
    let (s_, l_) = (s as f64, l as f64);
    let first: f64 = (1..=l).map(|d| common(d) / d as f64 * p.powi(d as i32)).sum();
    let second: f64 =
        (s + 1..=l).map(|d| common(s) * (d as f64 - s_) / (s_ * d as f64) * p.powi(d as i32)).sum();
    let tail = (common(l) - common(s)) / l_ + common(s) / s_;
    (1.0 - p) / p * (first + second) + tail * p.powi(l as i32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metric::Outcome;
    use crate::metric::naive::{assert_close, cases, rankings, value};

    #[test]
    fn agreement_by_hand() {
        let cases = cases(9, &[&[0]]);
        let teacher = rankings(&[&[0, 1, 2]]);
        let agreement = |text: &str, list: &[ItemId]| {
            let outcome = Outcome::of_rankings(&cases, rankings(&[list])).unwrap();
            value(text, &outcome.with_teacher(&teacher).unwrap())
        };
        assert_close(agreement("overlap@2", &[1, 2, 0]), 0.5);
        assert_close(agreement("overlap@3", &[1, 2, 0]), 1.0);
        assert_close(agreement("overlap@10", &[5, 0]), 1.0 / 3.0); // the teacher lists three
        // Agreement at depths 1, 2, 3 is 0, 1/2, 1. By equation 30 with p = 1/2:
        // (0.5 / 0.5) * (0 + 1/2 * 1/4 + 1 * 1/8) + 1 * 1/8.
        assert_close(agreement("rbo:0.5", &[1, 2, 0]), 0.125 + 0.125 + 0.125);
        assert_close(agreement("rbo", &[0, 1, 2]), 1.0);
        assert_close(agreement("rbo", &[3, 4, 5]), 0.0);
        // A prefix agrees wholly, and is extrapolated: equation 32 gives 1.
        assert_close(agreement("rbo", &[0]), 1.0);
        // S = [1, 0], L = [0, 1, 2], p = 1/2: X = 0, 2, 2. The sum: 2/2 * 1/4 + (2 + 2 * 1/2) / 3 * 1/8; the
        // tail 1 * 1/8.
        assert_close(agreement("rbo:0.5", &[1, 0]), 0.25 + 0.125 + 0.125);
    }
}
