//! The rows that a reader is told about first.

use super::{ModelReport, Report, Role};
use crate::metric::Direction;

/// The kind of an ensemble in a report.
const ENSEMBLE: &str = "ensemble";

/// The rows that the page begins with. Where a run recommends none, they are the best by the first metric of which more is better, on
/// the cases that the report measures: a description of these figures, which flatters what it names a little.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picks<'r> {
    /// The metric; empty if none is better where it is higher.
    pub metric: &'r str,
    /// The best of the models that are neither taught, nor compressed, nor an ensemble.
    pub single: Option<&'r ModelReport>,
    /// The recommended row, or the best taught student.
    pub student: Option<&'r ModelReport>,
    /// The ensemble that taught it, or its first teacher, or the best ensemble.
    pub teacher: Option<&'r ModelReport>,
    /// The same student without a teacher.
    pub alone: Option<&'r ModelReport>,
}

impl<'r> Picks<'r> {
    /// Of this report.
    #[must_use]
    pub fn of(report: &'r Report) -> Self {
        let higher = report.definitions.iter().find(|one| one.direction == Direction::Higher);
        let Some(metric) = higher.map(|one| one.metric.as_str()) else { return Self::default() };
        let row = |name: &str| report.models.iter().find(|model| model.name == name);
        let best = |wanted: &dyn Fn(&ModelReport) -> bool| {
            let measured = report.models.iter().filter(|model| wanted(model));
            let value = |model: &'r ModelReport| Some((model, model.metrics.get(metric)?.mean));
            // The first of equals: `max_by` would take the last.
            measured.filter_map(value).rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|best| best.0)
        };
        let single = best(&|model| {
            matches!(model.role, Role::Baseline | Role::Teacher) && model.kind != ENSEMBLE
        });
        let recommended = report.recommended.as_deref().and_then(row);
        let student = recommended.or_else(|| best(&|model| model.role == Role::Distilled));
        let teacher = report.ensemble.as_deref().and_then(row);
        let teacher = teacher
            .or_else(|| student?.teachers.iter().find_map(|name| row(name)))
            .or_else(|| best(&|model| model.kind == ENSEMBLE));
        let alone = student.and_then(|student| {
            let against = report.comparisons.iter().find(|one| one.a == student.name)?;
            row(&against.b)
        });
        Self { metric, single, student, teacher, alone }
    }

    /// The models whose lists are worth seeing side by side: the teacher's and the student's; without students the best two.
    #[must_use]
    pub fn side_by_side(&self) -> Vec<&'r ModelReport> {
        let all = match (self.teacher, self.student) {
            (Some(teacher), Some(student)) => [Some(teacher), Some(student), None],
            (teacher, student) => [teacher, self.single, student],
        };
        let mut shown: Vec<&ModelReport> = Vec::new();
        for model in all.into_iter().flatten() {
            if !shown.iter().any(|other| other.name == model.name) {
                shown.push(model);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::MetricDefinition;
    use crate::significance::spread;

    fn report() -> Report {
        let row = |name: &str, kind: &str, role, value: f64, teachers: &[&str]| ModelReport {
            name: name.into(),
            kind: kind.into(),
            role,
            teachers: teachers.iter().map(|name| (*name).to_owned()).collect(),
            metrics: [("m".to_owned(), spread(&[value]))].into(),
            ..ModelReport::default()
        };
        let models = vec![
            row("A", "ease", Role::Teacher, 0.3, &[]),
            row("B", "pop", Role::Baseline, 0.3, &[]),
            row("E", ENSEMBLE, Role::Teacher, 0.4, &[]),
            row("S", "bpr_mf", Role::Distilled, 0.35, &["A"]),
            row("S/2", "bpr_mf", Role::Distilled, 0.36, &["E"]),
            row("S/int4", "compressed", Role::Compressed, 0.39, &[]),
        ];
        let direction = Direction::Higher;
        let definition =
            MetricDefinition { metric: "m".into(), definition: String::new(), direction };
        Report { models, definitions: vec![definition], ..Report::default() }
    }

    fn names(picks: &Picks<'_>) -> [String; 3] {
        [picks.single, picks.student, picks.teacher]
            .map(|one| one.map_or(String::new(), |one| one.name.clone()))
    }

    #[test]
    fn without_a_recommendation_the_best_by_the_first_metric_are_named() {
        assert_eq!(names(&Picks::of(&report())), ["A", "S/2", "E"]);
        let shown = report();
        let shown = Picks::of(&shown).side_by_side();
        assert_eq!(shown.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["E", "S/2"]);
    }

    #[test]
    fn what_the_run_recommends_is_named_whatever_its_value() {
        let recommended =
            Report { recommended: Some("S/int4".into()), ensemble: Some("E".into()), ..report() };
        assert_eq!(names(&Picks::of(&recommended)), ["A", "S/int4", "E"]);
        let gone = Report { recommended: Some("?".into()), ..report() };
        assert_eq!(names(&Picks::of(&gone)), ["A", "S/2", "E"]);
        let mut plain = report();
        plain.models.truncate(2);
        assert_eq!(names(&Picks::of(&plain)), ["A", "", ""]);
        assert_eq!(Picks::of(&plain).side_by_side().len(), 1);
        assert_eq!(Picks::of(&Report::default()), Picks::default());
    }
}
