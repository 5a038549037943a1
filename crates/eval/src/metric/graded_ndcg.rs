//! nDCG by grade (Jarvelin & Kekalainen, ACM TOIS 2002): a target counts as much as it is relevant. The gain of a grade g is g itself,
//! as in the paper and in `trec_eval`, or 2^g - 1 (Burges et al., ICML 2005), which sets the highest grades further apart.

use super::family::{Cut, Direction, Formula, MetricFamily, TargetGrades};
use super::settings::MetricSettings;

/// The gain is the grade.
pub const LINEAR: MetricFamily = MetricFamily {
    name: "ndcg_graded",
    aliases: &["ndcg_linear", "ndcg_grade"],
    about: "as ndcg, where a target counts as much as its grade (the rating or weight of the test row)",
    cut: Cut::WholeRanking,
    direction: Direction::Higher,
    definition: |s| definition("the grade", s),
    parameter: None,
    formula: Formula::TargetGrades(|targets, s| ndcg(targets, s, |grade, _| grade)),
    #[cfg(test)]
    twin: |world, s| naive::ndcg(world, s, |grade| grade),
};

/// The gain is 2^grade - 1.
pub const EXPONENTIAL: MetricFamily = MetricFamily {
    name: "ndcg_graded_exp",
    aliases: &["ndcg_exponential", "ndcg_exp"],
    about: "as ndcg_graded, with the gain 2^grade - 1, which sets high grades further apart",
    cut: Cut::WholeRanking,
    direction: Direction::Higher,
    definition: |s| definition("2^grade - 1", s),
    parameter: None,
    // Divided by 2^(largest grade), which changes no quotient: counts of plays as grades would overflow.
    formula: Formula::TargetGrades(|targets, s| {
        ndcg(targets, s, |grade, largest| {
            -(-grade * std::f64::consts::LN_2).exp_m1() * (grade - largest).exp2()
        })
    }),
    #[cfg(test)]
    twin: |world, s| naive::ndcg(world, s, |grade| grade.exp2() - 1.0),
};

fn definition(gain: &str, s: &MetricSettings) -> String {
    let ideal = s.cut.map_or("#targets".into(), |n| format!("min(#targets, {n})"));
    format!(
        "Sum of gain/log2(rank + 1) over the targets in {}, divided by the same sum with the targets at the ranks 1 to {ideal}, highest \
         grades first. The gain of a target is {gain}, its grade being the weight of its test row; a grade of 0 gains nothing.",
        s.span()
    )
}

/// `gain` maps a grade and the largest grade of the case to the gain.
fn ndcg(targets: &TargetGrades<'_>, s: &MetricSettings, gain: impl Fn(f64, f64) -> f64) -> f64 {
    let mut best: Vec<f64> = targets.grades.iter().copied().map(f64::from).collect();
    best.sort_unstable_by(|a, b| b.total_cmp(a));
    let largest = best.first().copied().unwrap_or(0.0);
    if largest == 0.0 {
        return 0.0; // nothing is relevant
    }
    let discounted =
        |(rank, grade): (u32, f64)| gain(grade, largest) / (f64::from(rank) + 1.0).log2();
    let found = targets.hits.iter().copied().zip(targets.grades.iter().copied().map(f64::from));
    let found = found.map(discounted).fold(0.0, |sum, gain| sum + gain);
    let ideal = (1..).zip(best.iter().copied().take(s.n())).map(discounted);
    found / ideal.fold(0.0, |sum, gain| sum + gain)
}

#[cfg(test)]
mod naive {
    use super::MetricSettings;
    use crate::metric::Measure;
    use crate::metric::naive::World;

    pub(super) fn ndcg(world: &World, s: &MetricSettings, gain: impl Fn(f64) -> f64) -> Measure {
        world.per_case(|case| {
            let discounted = |at: usize, grade: f64| gain(grade) / (at as f64 + 2.0).log2();
            let list = case.first(s);
            let found = (0..list.len()).map(|at| discounted(at, case.grade(list[at]))).sum::<f64>();
            let mut grades: Vec<f64> = case.targets.iter().map(|&item| case.grade(item)).collect();
            grades.sort_by(|a, b| b.total_cmp(a));
            grades.truncate(s.n());
            found / (0..grades.len()).map(|at| discounted(at, grades[at])).sum::<f64>()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::metric::naive::{assert_close, cases, rankings, value};
    use crate::metric::{Dialect, Outcome, parse};
    use rankstill_core::Lists;

    /// Grades 5, 0 and 1 of the items 0, 1 and 2, ranked 1, 2, 0.
    fn graded(metric: &str, grades: [f32; 3]) -> f64 {
        let cases = cases(3, &[&[0, 1, 2]]);
        let outcome = Outcome::of_rankings(&cases, rankings(&[&[1, 2, 0]])).unwrap();
        value(metric, &outcome.with_grades(&Lists::from_iter([grades])).unwrap())
    }

    #[test]
    fn grades_5_0_and_1_ranked_from_the_worst() {
        let (at_2, at_3) = (1.0 / 3f64.log2(), 1.0 / 2.0);
        let linear = (at_2 + 5.0 * at_3) / (5.0 + at_2);
        assert_close(graded("ndcg_graded@3", [5.0, 0.0, 1.0]), linear);
        assert!((linear - 0.556).abs() < 5e-4);
        let exponential = (at_2 + 31.0 * at_3) / (31.0 + at_2);
        assert_close(graded("ndcg_graded_exp@3", [5.0, 0.0, 1.0]), exponential);
        assert_close(graded("ndcg_graded@2", [5.0, 0.0, 1.0]), at_2 / (5.0 + at_2));
    }

    #[test]
    fn equal_grades_are_as_none_and_grades_of_0_are_worth_0() {
        for metric in ["ndcg_graded", "ndcg_graded_exp"] {
            assert_close(graded(metric, [3.0; 3]), 1.0);
            assert_eq!(graded(metric, [0.0; 3]), 0.0);
        }
    }

    #[test]
    fn counts_as_grades_do_not_overflow() {
        let value = graded("ndcg_graded_exp", [1e5, 0.0, 1e5]);
        assert_close(value, (1.0 / 3f64.log2() + 0.5) / (1.0 + 1.0 / 3f64.log2()));
    }

    #[test]
    fn a_target_written_twice_has_its_higher_grade_also_in_a_group() {
        let cases = cases(3, &[&[0, 2, 0], &[1]]);
        let outcome = Outcome::of_rankings(&cases, rankings(&[&[2, 1, 0], &[1]])).unwrap();
        let grades = |rows: &[&[f32]]| rows.iter().map(|row| row.iter().copied()).collect();
        let outcome = outcome.with_grades(&grades(&[&[1.0, 2.0, 4.0], &[1.0]])).unwrap();
        assert_eq!(outcome.grades(0).unwrap(), [2.0, 4.0], "in the order of the hits");
        let group = outcome.with_targets(|item| item != 2);
        assert_eq!((group.hits(0), group.grades(0).unwrap()), (&[3][..], &[4.0][..]));
        let refused = |rows: &[&[f32]]| {
            let outcome = Outcome::of_rankings(&cases, rankings(&[&[2], &[1]])).unwrap();
            outcome.with_grades(&grades(rows)).unwrap_err().to_string()
        };
        assert!(refused(&[&[1.0, 2.0, 4.0]]).contains("expected 2, found 1"));
        assert!(refused(&[&[1.0, 2.0], &[1.0]]).contains("expected 3, found 2"));
        assert!(refused(&[&[1.0, -1.0, 2.0], &[1.0]]).contains("item 2: a grade of -1"));
        assert!(refused(&[&[1.0, f32::NAN, 2.0], &[1.0]]).contains("NaN"));
    }

    #[test]
    fn the_definition_says_which_gain() {
        let definition = |text| parse(text, Dialect::Standard).unwrap().definition();
        assert!(
            definition("ndcg_linear@3").contains("is the grade"),
            "{}",
            definition("ndcg_linear@3")
        );
        assert!(definition("ndcg_exp").contains("is 2^grade - 1"));
    }
}
