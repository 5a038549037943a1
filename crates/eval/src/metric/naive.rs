//! Every metric a second time, written from its definition on whole sorted lists, and numbers worked out by hand.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use rankstill_core::{Cases, Interactions, ItemId, Lists, Query, Rankings, Scorer, Span, TopK};
use std::collections::BTreeSet;
use std::sync::Arc;

fn value(text: &str, dialect: Dialect, outcome: &Outcome<'_>) -> f64 {
    parse(text, dialect).unwrap().measure(outcome).unwrap().mean()
}

fn close(found: f64, by_hand: f64) {
    assert!((found - by_hand).abs() < 1e-12, "found {found}, by hand {by_hand}");
}

/// Cases with these targets, and nothing before.
fn cases(n_items: usize, targets: &[&[ItemId]]) -> Cases {
    with_histories(n_items, &targets.iter().map(|t| (vec![], t.to_vec())).collect::<Vec<_>>())
}

fn with_histories(n_items: usize, rows: &[(Vec<ItemId>, Vec<ItemId>)]) -> Cases {
    let (mut timeline, mut spans) = (Vec::new(), Vec::new());
    for (user, (history, targets)) in (0..).zip(rows) {
        let start = timeline.len();
        timeline.extend(history.iter().chain(targets));
        let middle = start + history.len();
        spans.push(Span {
            user: Some(user),
            history: start..middle,
            hidden: middle..middle,
            targets: middle..timeline.len(),
        });
    }
    Cases::new(n_items, Arc::new(timeline), spans).unwrap()
}

fn rankings(lists: &[&[ItemId]]) -> Rankings {
    let items: Lists<ItemId> = lists.iter().map(|list| list.iter().copied()).collect();
    let scores = lists.iter().flat_map(|list| (0..list.len()).map(|at| -(at as f32))).collect();
    Rankings::new(items, scores).unwrap()
}

const STANDARD: Dialect = Dialect::Standard;

/// Three targets of which those at ranks 2 and 4 are found.
fn hits_at_2_and_4_of_3(check: impl Fn(&Outcome<'_>)) {
    let cases = cases(9, &[&[1, 3, 8, 3]]); // 3 is written twice and counts once
    check(&Outcome::of_rankings(&cases, rankings(&[&[0, 1, 2, 3, 4]])).unwrap());
}

#[test]
fn precision_recall_hit_and_mrr_by_hand() {
    hits_at_2_and_4_of_3(|outcome| {
        for dialect in Dialect::ALL {
            close(value("precision@3", dialect, outcome), 1.0 / 3.0);
            close(value("precision@10", dialect, outcome), 2.0 / 10.0);
            close(value("recall@3", dialect, outcome), 1.0 / 3.0);
            close(value("recall@4", dialect, outcome), 2.0 / 3.0);
            close(value("hit@1", dialect, outcome), 0.0);
            close(value("hit@2", dialect, outcome), 1.0);
            close(value("mrr", dialect, outcome), 0.5);
            close(value("mrr@1", dialect, outcome), 0.0);
        }
    });
}

#[test]
fn ndcg_by_hand_in_every_dialect() {
    let ideal_3 = 1.0 + 1.0 / 3f64.log2() + 1.0 / 2.0;
    let (at_2, at_4) = (1.0 / 3f64.log2(), 1.0 / 5f64.log2());
    hits_at_2_and_4_of_3(|outcome| {
        for dialect in [STANDARD, Dialect::HetComp, Dialect::RecBole] {
            close(value("ndcg@5", dialect, outcome), (at_2 + at_4) / ideal_3);
            close(value("ndcg", dialect, outcome), (at_2 + at_4) / ideal_3);
        }
        close(value("ndcg@5", Dialect::Rd, outcome), at_2 / ideal_3); // rank 4 is below the three targets
        for dialect in Dialect::ALL {
            close(value("ndcg@2", dialect, outcome), at_2 / (1.0 + 1.0 / 3f64.log2()));
        }
    });
}

#[test]
fn average_precision_by_hand_in_every_dialect() {
    hits_at_2_and_4_of_3(|outcome| {
        for dialect in Dialect::ALL {
            close(value("map", dialect, outcome), (1.0 / 2.0 + 2.0 / 4.0) / 3.0);
            close(value("map@4", dialect, outcome), (1.0 / 2.0 + 2.0 / 4.0) / 3.0);
        }
        for (dialect, divisor) in
            [(STANDARD, 3.0), (Dialect::HetComp, 3.0), (Dialect::Rd, 2.0), (Dialect::RecBole, 2.0)]
        {
            close(value("map@2", dialect, outcome), 0.5 / divisor);
        }
    });
}

#[test]
fn coverage_and_gini_by_hand() {
    let cases = cases(4, &[&[0], &[0]]);
    let outcome = Outcome::of_rankings(&cases, rankings(&[&[1, 2, 0], &[1, 3, 0]])).unwrap();
    close(value("coverage@1", STANDARD, &outcome), 1.0 / 4.0);
    close(value("coverage@2", STANDARD, &outcome), 3.0 / 4.0);
    // Counts 0 1 1 2: (2*2 - 5) * 1 + (2*3 - 5) * 1 + (2*4 - 5) * 2 = -1 + 1 + 6, over 4 * 4.
    close(value("gini@2", STANDARD, &outcome), 6.0 / 16.0);
    // Counts 0 0 0 2: (2*4 - 5) * 2 over 4 * 2.
    close(value("gini@1", STANDARD, &outcome), 6.0 / 8.0);
}

#[test]
fn popularity_and_its_lift_by_hand() {
    let cases = with_histories(4, &[(vec![0, 1], vec![3]), (vec![], vec![3]), (vec![2], vec![3])]);
    let counts = [1, 3, 6, 8];
    let ranked = rankings(&[&[2, 3], &[3, 0], &[0, 1]]);
    let outcome = Outcome::of_rankings(&cases, ranked).unwrap();
    assert!(parse("popularity@2", STANDARD).unwrap().measure(&outcome).is_err());
    let outcome = outcome.with_popularity(&counts).unwrap();
    close(value("popularity@2", STANDARD, &outcome), (7.0 + 4.5 + 2.0) / 3.0);
    // The second has no history. Histories: (1 + 3) / 2 and 6.
    close(value("lift@2", STANDARD, &outcome), ((7.0 + 2.0) / 2.0) / ((2.0 + 6.0) / 2.0) - 1.0);
}

#[test]
fn agreement_by_hand() {
    let cases = cases(9, &[&[0]]);
    let teacher = rankings(&[&[0, 1, 2]]);
    let agreement = |text: &str, list: &[ItemId]| {
        let outcome = Outcome::of_rankings(&cases, rankings(&[list])).unwrap();
        value(text, STANDARD, &outcome.with_teacher(&teacher).unwrap())
    };
    close(agreement("overlap@2", &[1, 2, 0]), 0.5);
    close(agreement("overlap@3", &[1, 2, 0]), 1.0);
    close(agreement("overlap@10", &[5, 0]), 1.0 / 3.0); // the teacher lists three
    // Agreement at depths 1, 2, 3 is 0, 1/2, 1. By equation 30 with p = 1/2:
    // (0.5 / 0.5) * (0 + 1/2 * 1/4 + 1 * 1/8) + 1 * 1/8.
    close(agreement("rbo:0.5", &[1, 2, 0]), 0.125 + 0.125 + 0.125);
    close(agreement("rbo", &[0, 1, 2]), 1.0);
    close(agreement("rbo", &[3, 4, 5]), 0.0);
    // A prefix of one agrees wholly, and so is extrapolated: equation 32 gives 1.
    close(agreement("rbo", &[0]), 1.0);
    // S = [1, 0], L = [0, 1, 2], p = 1/2: X = 0, 2, 2. The sum: 2/2 * 1/4 + (2 + 2 * 1/2) / 3 * 1/8; the tail 1 * 1/8.
    close(agreement("rbo:0.5", &[1, 0]), 0.25 + 0.125 + 0.125);
    let alone = Outcome::of_rankings(&cases, rankings(&[&[0]])).unwrap();
    assert!(parse("rbo", STANDARD).unwrap().measure(&alone).is_err());
}

#[test]
fn what_cannot_be_measured_is_refused() {
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
    let needs = |text| parse(text, STANDARD).unwrap().needs();
    assert_eq!(outcome.notes(needs("recall@1")), [""; 0]);
    assert!(outcome.notes(needs("map"))[0].contains("at most 1 items"));
    assert!(outcome.notes(needs("recall@2"))[0].contains("up to 2"));
}

/// A model whose scores are a table.
#[derive(Debug)]
struct Table {
    n_items: usize,
    scores: Vec<f32>,
}

impl Scorer for Table {
    fn n_items(&self) -> usize {
        self.n_items
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, row) in queries.iter().zip(out.chunks_mut(self.n_items)) {
            let user = query.user.unwrap() as usize;
            row.copy_from_slice(&self.scores[user * self.n_items..][..self.n_items]);
        }
    }
}

impl Table {
    /// The user's whole ranking, sorted by score and then id, without `seen`.
    fn sorted(&self, user: usize, seen: &[ItemId]) -> Vec<ItemId> {
        let scores = &self.scores[user * self.n_items..][..self.n_items];
        let mut items: Vec<ItemId> =
            (0..self.n_items as ItemId).filter(|item| !seen.contains(item)).collect();
        items.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
        items
    }
}

/// The accuracy metrics as one would write them down, position by position.
fn naive(family: &str, cut: Option<usize>, dialect: Dialect, list: &[ItemId], t: &[ItemId]) -> f64 {
    let targets: BTreeSet<ItemId> = t.iter().copied().collect();
    let cut_or_all = cut.unwrap_or(list.len());
    let top: Vec<bool> = list.iter().take(cut_or_all).map(|item| targets.contains(item)).collect();
    let found = top.iter().filter(|hit| **hit).count() as f64;
    let places = targets.len().min(cut.unwrap_or(usize::MAX));
    let gain = |at: usize| 1.0 / (at as f64 + 2.0).log2();
    match family {
        "precision" => found / cut.unwrap() as f64,
        "recall" => found / targets.len() as f64,
        "hit" => f64::from(found > 0.0),
        "mrr" => top.iter().position(|hit| *hit).map_or(0.0, |at| 1.0 / (at + 1) as f64),
        "map" => {
            let mut sum = 0.0;
            for at in 0..top.len() {
                if top[at] {
                    let so_far = top[..=at].iter().filter(|hit| **hit).count();
                    sum += so_far as f64 / (at + 1) as f64;
                }
            }
            let by_cut = matches!(dialect, Dialect::Rd | Dialect::RecBole);
            sum / (if by_cut { places } else { targets.len() }) as f64
        }
        "ndcg" => {
            let seen = if dialect == Dialect::Rd { places } else { top.len() };
            let dcg: f64 = (0..seen.min(top.len())).filter(|at| top[*at]).map(gain).sum();
            dcg / (0..places).map(gain).sum::<f64>()
        }
        other => panic!("no twin of {other}"),
    }
}

/// Rank-biased overlap as in equation 32, set by set.
fn naive_rbo(a: &[ItemId], b: &[ItemId], p: f64) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let (s, l) = (short.len(), long.len());
    if s == 0 {
        return f64::from(l == 0);
    }
    let common = |depth: usize| {
        let upper: BTreeSet<_> = short[..depth.min(s)].iter().collect();
        long[..depth.min(l)].iter().filter(|item| upper.contains(item)).count() as f64
    };
    let (s_, l_) = (s as f64, l as f64);
    let first: f64 = (1..=l).map(|d| common(d) / d as f64 * p.powi(d as i32)).sum();
    let second: f64 =
        (s + 1..=l).map(|d| common(s) * (d as f64 - s_) / (s_ * d as f64) * p.powi(d as i32)).sum();
    let rest = (common(l) - common(s)) / l_ + common(s) / s_;
    (1.0 - p) / p * (first + second) + rest * p.powi(l as i32)
}

const N_ITEMS: usize = 23;

type HistoryAndTargets = (Vec<ItemId>, Vec<ItemId>);

/// Scores with many ties, histories, and targets that are written twice or were seen before.
fn worlds() -> impl Strategy<Value = (Table, Vec<HistoryAndTargets>)> {
    let item = 0..N_ITEMS as ItemId;
    let row = (prop::collection::vec(item.clone(), 0..9), prop::collection::vec(item, 1..12));
    prop::collection::vec((row, prop::collection::vec(-3i8..4, N_ITEMS)), 1..6).prop_map(|users| {
        let scores =
            users.iter().flat_map(|(_, scores)| scores.iter().map(|s| f32::from(*s))).collect();
        (Table { n_items: N_ITEMS, scores }, users.into_iter().map(|(row, _)| row).collect())
    })
}

proptest! {
    #[test]
    fn every_accuracy_metric_equals_its_twin(
        (table, rows) in worlds(), cut in 1usize..30, depth in 0usize..30
    ) {
        let cases = with_histories(N_ITEMS, &rows);
        let top = TopK::unseen(depth);
        for dialect in Dialect::ALL {
            for family in ["precision", "recall", "hit", "ndcg", "map", "mrr"] {
                for cut in [Some(cut), None] {
                    let Ok(metric) = parse(&with_cut(family, cut), dialect) else { continue };
                    let outcome = Outcome::ask(&table, &cases, &top, metric.needs()).unwrap();
                    let measured = metric.measure(&outcome).unwrap();
                    for (user, found) in measured.per_case().unwrap().iter().enumerate() {
                        let (seen, targets) = &rows[user];
                        let list = table.sorted(user, seen);
                        let twin = naive(family, cut, dialect, &list, targets);
                        prop_assert!((found - twin).abs() < 1e-12, "{}: {found} {twin}", metric.name());
                    }
                }
            }
        }
    }

    #[test]
    fn asking_for_whole_ranks_or_for_long_lists_is_the_same((table, rows) in worlds(), cut in 1usize..30) {
        let cases = with_histories(N_ITEMS, &rows);
        let whole = Needs { depth: cut, whole: true, ..Needs::default() };
        let lists = Needs { depth: N_ITEMS, ..Needs::default() };
        let a = Outcome::ask(&table, &cases, &TopK::unseen(0), whole).unwrap();
        let b = Outcome::ask(&table, &cases, &TopK::unseen(0), lists).unwrap();
        for i in 0..cases.len() {
            prop_assert_eq!(a.hits(i), b.hits(i));
            prop_assert_eq!(a.list(i), &b.list(i)[..a.list(i).len()]);
        }
    }

    #[test]
    fn agreement_and_spread_equal_their_twins(
        (student, rows) in worlds(), (teacher, _) in worlds(), cut in 1usize..30, p in 0.05f64..0.99
    ) {
        let n = rows.len().min(teacher.scores.len() / N_ITEMS);
        let cases = with_histories(N_ITEMS, &rows[..n]);
        let top = TopK::unseen(N_ITEMS);
        let by_teacher = Outcome::ask(&teacher, &cases, &TopK { skip_seen: false, ..top }, Needs::default()).unwrap();
        let outcome = Outcome::ask(&student, &cases, &top, Needs::default()).unwrap();
        let outcome = outcome.with_teacher(by_teacher.rankings()).unwrap();
        let rbo = parse(&format!("rbo:{p}@{cut}"), STANDARD).unwrap().measure(&outcome).unwrap();
        let overlap = parse(&format!("overlap@{cut}"), STANDARD).unwrap().measure(&outcome).unwrap();
        let mut counts = [0.0; N_ITEMS];
        for (user, (seen, _)) in rows[..n].iter().enumerate() {
            let mut a = student.sorted(user, seen);
            let mut b = teacher.sorted(user, &[]);
            a.truncate(cut);
            b.truncate(cut);
            a.iter().for_each(|item| counts[*item as usize] += 1.0);
            let common = a.iter().filter(|item| b.contains(item)).count();
            prop_assert!((overlap.per_case().unwrap()[user] - common as f64 / b.len() as f64).abs() < 1e-12);
            prop_assert!((rbo.per_case().unwrap()[user] - naive_rbo(&a, &b, p)).abs() < 1e-9);
        }
        let covered = counts.iter().filter(|count| **count > 0.0).count() as f64 / N_ITEMS as f64;
        prop_assert_eq!(value(&format!("coverage@{cut}"), STANDARD, &outcome), covered);
        // Gini as half the mean absolute difference relative to the mean.
        let (m, total) = (N_ITEMS as f64, counts.iter().sum::<f64>());
        let differences: f64 = counts.iter().flat_map(|a| counts.iter().map(move |b| (a - b).abs())).sum();
        let gini = if total == 0.0 { 0.0 } else { differences / (2.0 * m * total) };
        let found = value(&format!("gini@{cut}"), STANDARD, &outcome);
        prop_assert!((found - gini).abs() < 1e-12);
    }
}

#[test]
fn a_group_measures_what_the_group_alone_would() {
    let train = Interactions::new(9, Lists::from_iter([vec![0]]), None, None).unwrap();
    let cases = cases(9, &[&[1, 3], &[4, 8], &[7]]);
    let outcome = Outcome::of_rankings(&cases, rankings(&[&[1, 3], &[8, 2], &[7, 0]])).unwrap();
    assert_eq!(outcome.cases().n_items(), train.n_items());
    let odd = outcome.with_targets(|item| item % 2 == 1);
    assert_eq!(odd.rows(), [0, 2]);
    assert_eq!((odd.n_targets(0), odd.hits(0)), (2, &[1, 2][..]));
    let second = outcome.select(|row| row == 1);
    assert_eq!((second.hits(0), second.list(0)), (&[1][..], &[8, 2][..]));
    close(value("recall@2", STANDARD, &second), 0.5);
    let even = outcome.with_targets(|item| item % 2 == 0);
    assert_eq!(even.rows(), [1]);
    assert_eq!((even.n_targets(0), even.hits(0)), (2, &[1][..]));
    assert!(outcome.select(|_| false).is_empty());
}
