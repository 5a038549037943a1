//! Tests that run on every metric of the registry, and tests of outcomes.
#![allow(clippy::unwrap_used)]

use super::naive::{
    World, WorldCase, assert_close, cases, cases_with_histories, of_ranks, rankings, value,
};
use super::*;
use proptest::prelude::*;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Cases, ItemId, Lists, Query, Rankings, Scorer, TopK};

/// A model whose scores are given, item by item and user by user.
#[derive(Debug)]
struct ScoreTable {
    n_items: usize,
    scores: Vec<f32>,
}

impl Scorer for ScoreTable {
    fn n_items(&self) -> usize {
        self.n_items
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, row) in queries.iter().zip(out.chunks_mut(self.n_items)) {
            row.copy_from_slice(self.of_user(query.user.unwrap() as usize));
        }
    }
}

impl ScoreTable {
    fn of_user(&self, user: usize) -> &[f32] {
        &self.scores[user * self.n_items..][..self.n_items]
    }

    /// The user's whole ranking without `masked`, by score and then id.
    fn sorted(&self, user: usize, masked: &[ItemId]) -> Vec<ItemId> {
        let scores = self.of_user(user);
        let mut items: Vec<ItemId> =
            (0..self.n_items as ItemId).filter(|item| !masked.contains(item)).collect();
        items.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
        items
    }
}

/// A student, its teacher, and cases of both.
#[derive(Debug)]
struct Setup {
    student: ScoreTable,
    teacher: ScoreTable,
    /// Histories and targets.
    rows: Vec<(Vec<ItemId>, Vec<ItemId>)>,
    popularity: Vec<u32>,
}

const N_ITEMS: usize = 23;

/// The grade of a user's target: from .5 to 2.5.
fn grade(user: usize, item: ItemId) -> f32 {
    ((user as u32 * 7 + item * 3) % 5 + 1) as f32 / 2.0
}

impl Setup {
    fn cases(&self) -> Cases {
        cases_with_histories(N_ITEMS, &self.rows)
    }

    fn world(&self) -> World {
        let case = |(user, (history, targets)): (usize, &(Vec<ItemId>, Vec<ItemId>))| {
            let mut targets = targets.clone();
            targets.sort_unstable();
            targets.dedup();
            WorldCase {
                ranking: self.student.sorted(user, history),
                grades: targets.iter().map(|&item| grade(user, item)).collect(),
                targets,
                history: history.clone(),
                teacher: self.teacher.sorted(user, &[]),
            }
        };
        World {
            n_items: N_ITEMS,
            popularity: self.popularity.clone(),
            cases: self.rows.iter().enumerate().map(case).collect(),
        }
    }

    /// Measures `metric` on lists of at least `depth` items.
    fn measure(&self, metric: &Metric, depth: usize) -> Measure {
        let (cases, top) = (self.cases(), TopK::unseen(depth));
        let unmasked = TopK { skip_seen: false, ..TopK::unseen(N_ITEMS) };
        let teacher = Outcome::of_ranker(&self.teacher, &cases, &unmasked, Needs::default());
        let teacher = teacher.unwrap().rankings().clone();
        let outcome = Outcome::of_ranker(&self.student, &cases, &top, metric.needs()).unwrap();
        let grades = self.rows.iter().enumerate();
        let grades =
            grades.map(|(user, (_, targets))| targets.iter().map(move |&item| grade(user, item)));
        let outcome = outcome.with_grades(&grades.collect()).unwrap();
        let outcome = outcome.with_popularity(&self.popularity).unwrap();
        metric.measure(&outcome.with_teacher(&teacher).unwrap()).unwrap()
    }
}

/// Scores with many ties, histories, and targets that are duplicated or in the history.
fn setups() -> impl Strategy<Value = Setup> {
    let item = 0..N_ITEMS as ItemId;
    let scores = || prop::collection::vec((-3i8..4).prop_map(f32::from), N_ITEMS);
    let row = (prop::collection::vec(item.clone(), 0..9), prop::collection::vec(item, 1..12));
    let users = prop::collection::vec((row, scores(), scores()), 1..6);
    (users, prop::collection::vec(0u32..50, N_ITEMS)).prop_map(|(users, popularity)| {
        let of = |scores: Vec<&Vec<f32>>| ScoreTable {
            n_items: N_ITEMS,
            scores: scores.into_iter().flatten().copied().collect(),
        };
        Setup {
            student: of(users.iter().map(|(_, student, _)| student).collect()),
            teacher: of(users.iter().map(|(_, _, teacher)| teacher).collect()),
            rows: users.iter().map(|(row, _, _)| row.clone()).collect(),
            popularity,
        }
    })
}

/// The registry, and the worked example of `CONTRIBUTING.md`.
fn families() -> impl Iterator<Item = &'static MetricFamily> {
    METRICS.iter().chain([&worked_example::R_PRECISION])
}

/// A family's metrics: with and without the cut and the parameter, where it takes them, in every dialect.
fn variants(family: &'static MetricFamily, cut: usize, parameter: f64) -> Vec<Metric> {
    let parameters = &[None, Some(parameter)][..if family.parameter.is_some() { 2 } else { 1 }];
    let cuts = &[Some(cut), None][..if family.cut == Cut::Required { 1 } else { 2 }];
    let mut all = Vec::new();
    for (&parameter, &cut) in parameters.iter().flat_map(|p| cuts.iter().map(move |cut| (p, cut))) {
        let settings = |dialect| MetricSettings { cut, parameter, dialect };
        all.extend(Dialect::ALL.map(|dialect| Metric { family, settings: settings(dialect) }));
    }
    all
}

proptest! {
    #[test]
    fn every_metric_equals_its_twin(
        setup in setups(), cut in 1usize..30, depth in 0usize..30, parameter in 0.05f64..0.99
    ) {
        let world = setup.world();
        for metric in families().flat_map(|family| variants(family, cut, parameter)) {
            let found = setup.measure(&metric, depth);
            let twin = (metric.family.twin)(&world, &metric.settings);
            let numbers = |measure: &Measure| match measure {
                Measure::PerCase(values) => values.clone(),
                Measure::Whole(value) => vec![*value],
            };
            prop_assert_eq!(found.per_case().is_some(), twin.per_case().is_some());
            let (found, twin) = (numbers(&found), numbers(&twin));
            prop_assert_eq!(found.len(), twin.len());
            for (found, twin) in found.iter().zip(twin) {
                let close = (found - twin).abs() < 1e-12 * twin.abs().max(1.0);
                prop_assert!(close, "{}: {found}, its twin {twin}", metric.name());
            }
        }
    }

    #[test]
    fn a_target_that_moves_up_one_rank_makes_no_accuracy_metric_worse(
        hits in prop::collection::btree_set(1u32..30, 1..9), missed in 0u32..4, cut in 1usize..30
    ) {
        let ranks: Vec<u32> = hits.iter().copied().collect();
        let n_targets = ranks.len() as u32 + missed;
        let accuracy = |f: &&MetricFamily| matches!(f.formula, Formula::TargetRanks(_));
        for metric in METRICS.iter().filter(accuracy).flat_map(|f| variants(f, cut, 0.5)) {
            let of = |ranks: &[u32]| of_ranks(&metric.name(), metric.settings.dialect, ranks, n_targets);
            for at in (0..ranks.len()).filter(|at| ranks[*at] > 1 && !hits.contains(&(ranks[*at] - 1))) {
                let mut better = ranks.clone();
                better[at] -= 1;
                let gain = of(&better) - of(&ranks);
                match metric.direction() {
                    Direction::Higher => prop_assert!(gain > -1e-12, "{}: {ranks:?}", metric.name()),
                    Direction::Lower => prop_assert!(gain < 1e-12, "{}: {ranks:?}", metric.name()),
                    Direction::Neither => {}
                }
            }
        }
    }

    #[test]
    fn whole_ranks_and_long_lists_find_the_same_hits(setup in setups(), cut in 1usize..30) {
        let cases = setup.cases();
        let whole = Needs { depth: cut, whole_ranking: true, ..Needs::default() };
        let lists = Needs { depth: N_ITEMS, ..Needs::default() };
        let a = Outcome::of_ranker(&setup.student, &cases, &TopK::unseen(0), whole).unwrap();
        let b = Outcome::of_ranker(&setup.student, &cases, &TopK::unseen(0), lists).unwrap();
        for i in 0..cases.len() {
            prop_assert_eq!(a.hits(i), b.hits(i));
            prop_assert_eq!(a.list(i), &b.list(i)[..a.list(i).len()]);
        }
    }
}

/// Many cases with random scores and targets.
fn fixed_setup() -> Setup {
    let mut rng = Rng::keyed(5, []);
    let n_users = 40;
    let mut scores = || {
        let scores = (0..n_users * N_ITEMS).map(|_| rng.normal()).collect();
        ScoreTable { n_items: N_ITEMS, scores }
    };
    let (student, teacher) = (scores(), scores());
    let mut items = |n: u32| (0..n).map(|_| rng.below(N_ITEMS as u32)).collect::<Vec<_>>();
    let rows = (0..n_users as u32).map(|user| (items(user % 5), items(1 + user % 9))).collect();
    Setup { student, teacher, rows, popularity: (0..N_ITEMS as u32).collect() }
}

#[test]
fn dialects_measure_alike_exactly_where_their_definitions_are_alike() {
    let setup = fixed_setup();
    for family in families() {
        for of_dialects in variants(family, 3, 0.5).chunks(Dialect::ALL.len()) {
            for (a, b) in of_dialects.iter().flat_map(|a| of_dialects.iter().map(move |b| (a, b))) {
                let alike = a.definition() == b.definition();
                let measured_alike = setup.measure(a, 3) == setup.measure(b, 3);
                let dialects = (a.settings.dialect, b.settings.dialect);
                assert_eq!(measured_alike, alike, "{} in {dialects:?}", a.name());
            }
        }
    }
}

#[test]
fn a_metric_measures_exactly_the_outcomes_that_hold_what_it_needs() {
    let cases = cases(4, &[&[0]]);
    let popularity = [1, 2, 3, 4];
    let teacher = rankings(&[&[1, 0]]);
    for metric in METRICS.iter().flat_map(|family| variants(family, 2, 0.5)) {
        let outcome = || Outcome::of_rankings(&cases, rankings(&[&[0, 1]])).unwrap();
        let graded = || outcome().with_grades(&Lists::from_iter([[2.0]])).unwrap();
        let without_popularity = graded().with_teacher(&teacher).unwrap();
        let without_teacher = graded().with_popularity(&popularity).unwrap();
        let without_grades = outcome().with_teacher(&teacher).unwrap();
        let without_grades = without_grades.with_popularity(&popularity).unwrap();
        let Needs { popularity, teacher, grades, .. } = metric.needs();
        assert_eq!(metric.measure(&without_popularity).is_err(), popularity, "{}", metric.name());
        assert_eq!(metric.measure(&without_teacher).is_err(), teacher, "{}", metric.name());
        assert_eq!(metric.measure(&without_grades).is_err(), grades, "{}", metric.name());
    }
}

#[test]
fn every_family_has_unique_names_that_parse_and_print_and_a_definition_in_every_dialect() {
    let mut names: Vec<&str> = Vec::new();
    for family in METRICS {
        names.extend([family.name].iter().chain(family.aliases));
        for metric in variants(family, 7, 0.5) {
            let again =
                parse(&format!(" {} ", metric.name().to_uppercase()), metric.settings.dialect);
            assert_eq!(again.unwrap().settings, metric.settings);
            assert!(metric.definition().ends_with('.'), "{}", metric.definition());
        }
        for alias in family.aliases {
            let metric = parse(&format!("{alias}@7"), Dialect::Rd).unwrap();
            assert_eq!(metric.name(), format!("{}@7", family.name));
        }
        assert_eq!(parse(&family.example(), Dialect::Rd).unwrap().name(), family.example());
        assert!(!family.about.is_empty());
    }
    let n = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n);
}

#[test]
fn a_text_that_names_no_metric_is_refused_with_what_is_valid() {
    let problem = |text| parse(text, Dialect::Standard).err().unwrap().to_string();
    assert!(problem("ndgc@10").contains("ndcg"), "{}", problem("ndgc@10"));
    assert!(problem("recall").contains("recall@10"));
    assert!(problem("recall@0").contains("`0`"));
    assert!(problem("recall@").contains("not a list length"));
    assert!(problem("recall@99999999999999999999").contains("not a list length"));
    assert!(problem("ndcg:3@5").contains("no parameter"));
    assert!(problem("rbo:1").contains("between 0 and 1"));
    assert!(problem("rbo:nan").contains("between 0 and 1"));
    assert!("trec".parse::<Dialect>().unwrap_err().to_string().contains("hetcomp"));
}

#[test]
fn duplicated_targets_count_once() {
    let cases = cases(9, &[&[1, 3, 8, 3]]);
    let outcome = Outcome::of_rankings(&cases, rankings(&[&[0, 1, 2, 3, 4]])).unwrap();
    assert_eq!((outcome.n_targets(0), outcome.hits(0)), (3, &[2, 4][..]));
}

#[test]
fn an_outcome_that_cannot_be_measured_is_refused() {
    let two = cases(3, &[&[0], &[1]]);
    let problem = |cases: &Cases, lists: &[&[ItemId]]| {
        Outcome::of_rankings(cases, rankings(lists)).err().unwrap().to_string()
    };
    assert_eq!(problem(&two, &[&[0]]), "rankings to evaluate: expected 2, found 1");
    assert_eq!(problem(&two, &[&[0], &[1, 2, 1]]), "ranking 1 lists item 1 twice");
    assert_eq!(problem(&two, &[&[0], &[3]]), "item 3 is not in a catalogue of 3 items");
    assert!(problem(&cases(3, &[&[]]), &[&[0]]).contains("case 0 has no target"));
    let outcome = Outcome::of_rankings(&two, rankings(&[&[0], &[]])).unwrap();
    assert!(outcome.clone().with_popularity(&[1, 2]).is_err());
    assert!(outcome.clone().with_teacher(&Rankings::default()).is_err());
    let needs = |text| parse(text, Dialect::Standard).unwrap().needs();
    assert_eq!(outcome.notes(needs("recall@1")), [""; 0]);
    assert!(outcome.notes(needs("map"))[0].contains("at most 1 items"));
    assert!(outcome.notes(needs("recall@2"))[0].contains("up to 2"));
}

#[test]
fn a_group_measures_what_the_group_alone_would() {
    let cases = cases(9, &[&[1, 3], &[4, 8], &[7]]);
    let outcome = Outcome::of_rankings(&cases, rankings(&[&[1, 3], &[8, 2], &[7, 0]])).unwrap();
    let odd = outcome.with_targets(|item| item % 2 == 1);
    assert_eq!(odd.rows(), [0, 2]);
    assert_eq!((odd.n_targets(0), odd.hits(0)), (2, &[1, 2][..]));
    let second = outcome.select(|row| row == 1);
    assert_eq!((second.hits(0), second.list(0)), (&[1][..], &[8, 2][..]));
    assert_close(value("recall@2", &second), 0.5);
    let even = outcome.with_targets(|item| item % 2 == 0);
    assert_eq!(even.rows(), [1]);
    assert_eq!((even.n_targets(0), even.hits(0)), (2, &[1][..]));
    assert!(outcome.select(|_| false).is_empty());
}

#[test]
fn the_mean_of_no_values_is_zero() {
    assert_eq!(Measure::PerCase(vec![]).mean().to_bits(), 0.0f64.to_bits());
    assert_eq!(Measure::PerCase(vec![1.0, 2.0]).mean(), 1.5);
}
