#![allow(clippy::unwrap_used)]
use super::*;
use crate::kernel::rng::Rng;
use crate::{Factors, Interactions, ItemSet, Span};
use std::sync::Arc;

/// Random vectors; factored or not.
struct Dots {
    users: Vec<f32>,
    items: Vec<f32>,
    dim: usize,
    factored: bool,
}

impl Scorer for Dots {
    fn n_items(&self) -> usize {
        self.items.len() / self.dim
    }
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let mut vectors = vec![0.0; queries.len() * self.dim];
        self.embed(queries, &mut vectors);
        for (vector, row) in vectors.chunks(self.dim).zip(out.chunks_mut(self.n_items())) {
            for (item, score) in self.items.chunks(self.dim).zip(row) {
                *score = crate::kernel::panels::score_one(vector, item);
            }
        }
    }
    fn factored(&self) -> Option<&dyn Factored> {
        self.factored.then_some(self)
    }
}

impl Factored for Dots {
    fn items(&self) -> Factors<'_> {
        let (dim, len) = (self.dim, self.n_items());
        Factors { data: &self.items, len, dim, stride: dim }
    }
    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, out) in queries.iter().zip(out.chunks_mut(self.dim)) {
            let user = query.user.unwrap() as usize;
            out.copy_from_slice(&self.users[user * self.dim..][..self.dim]);
        }
    }
}

fn dots(n_users: usize, n_items: usize, dim: usize, factored: bool) -> Dots {
    let mut rng = Rng::new(3);
    let mut draw = |n: usize| (0..n).map(|_| rng.normal()).collect();
    Dots { users: draw(n_users * dim), items: draw(n_items * dim), dim, factored }
}

/// 40 users of 300 items, each with a history, hidden items and two targets.
fn cases() -> Cases {
    let mut rng = Rng::new(4);
    let timeline: Vec<u32> = (0..40 * 10).map(|_| rng.below(300)).collect();
    let spans = (0..40).map(|user| {
        let start = user * 10;
        let history = start..start + user % 6;
        let hidden = start + 6..start + 6 + user % 3;
        let targets = start + 8..start + 10;
        Span { user: Some(user as u32), history, hidden, targets }
    });
    Cases::new(300, Arc::new(timeline), spans.collect()).unwrap()
}

fn by_sorting(model: &Dots, cases: &Cases, top: &TopK<'_>) -> Vec<Vec<u32>> {
    let rows = cases.iter().map(|case| {
        let mut scores = vec![0.0; 300];
        model.score(&[case.query], &mut scores);
        let mut left: Vec<u32> = (0..300)
            .filter(|item| {
                let seen = case.query.history.contains(item) || case.query.hidden.contains(item);
                !(top.skip_seen && seen) && top.allowed.is_none_or(|set| set.contains(*item))
            })
            .collect();
        left.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
        left
    });
    rows.collect()
}

#[test]
fn lists_and_ranks_are_those_of_sorting_everything() {
    let cases = cases();
    let some = ItemSet::new(300, (0..300).filter(|item| item % 3 != 0)).unwrap();
    for factored in [false, true] {
        let model = dots(40, 300, 7, factored);
        for (skip_seen, allowed) in [(false, None), (true, None), (true, Some(&some))] {
            let top = TopK { k: 20, skip_seen, allowed };
            let sorted = by_sorting(&model, &cases, &top);
            let ranked = model.rank(&cases.queries(), &top).unwrap();
            let ranks = model.target_ranks(&cases, &top).unwrap();
            for precision in Precision::ALL {
                let packed = Packed::with_precision(&model, precision);
                assert_eq!(packed.rank(&cases.queries(), &top).unwrap(), ranked, "{precision}");
                assert_eq!(packed.target_ranks(&cases, &top).unwrap(), ranks, "{precision}");
                let used = packed.precision_use().map(|used| (used.precision, used.queries));
                assert_eq!(used, factored.then_some((precision, 40)));
            }
            for (i, (list, case)) in sorted.iter().zip(cases.iter()).enumerate() {
                assert_eq!(ranked.items(i), &list[..20]);
                for (target, rank) in case.targets.iter().zip(ranks.row(i)) {
                    let found = list.iter().position(|item| item == target);
                    assert_eq!(*rank as usize, found.map_or(0, |at| at + 1));
                }
            }
        }
    }
}

#[test]
fn no_query_and_no_item_is_answered_with_nothing() {
    let model = dots(1, 0, 4, true);
    let query = Query { user: Some(0), ..Query::default() };
    assert!(model.rank(&[query], &TopK::unseen(5)).unwrap().items(0).is_empty());
    assert!(model.rank(&[], &TopK::unseen(5)).unwrap().is_empty());
    let empty = Interactions::new(0, Lists::default(), None, None).unwrap();
    let none = Cases::per_user(&empty);
    assert!(model.target_ranks(&none, &TopK::unseen(5)).unwrap().is_empty());
}

/// Scores items by number, but knows a quicker way to item 3.
struct Shortcut;

impl Scorer for Shortcut {
    fn n_items(&self) -> usize {
        5
    }
    fn score(&self, _: &[Query<'_>], out: &mut [f32]) {
        out.iter_mut().enumerate().for_each(|(at, score)| *score = (at % 5) as f32);
    }
    fn search(&self) -> Option<&dyn crate::Search> {
        Some(self)
    }
}

impl crate::Search for Shortcut {
    fn top_k(
        &self,
        queries: &[Query<'_>],
        k: usize,
        masked: &[&[ItemId]],
        allowed: Option<&ItemSet>,
    ) -> Rankings {
        assert!(k == 2 && allowed.is_none() && masked == [&[1, 4][..], &[][..]]);
        let mut found = Rankings::default();
        queries.iter().for_each(|_| found.push(vec![(3, 9.0)]));
        found
    }
}

#[test]
fn a_search_of_the_scorers_own_gives_lists_and_scores_give_ranks() {
    let queries = [Query { user: None, history: &[1], hidden: &[4] }, Query::default()];
    let packed = Packed::new(&Shortcut);
    let ranked = packed.rank(&queries, &TopK::unseen(2)).unwrap();
    assert_eq!((ranked.items(0), ranked.scores(1)), (&[3][..], &[9.0][..]));
    assert!(packed.precision_use().is_none());
    let span = Span { user: None, history: 0..1, hidden: 1..2, targets: 2..4 };
    let cases = Cases::new(5, Arc::new(vec![1, 4, 3, 0]), vec![span]).unwrap();
    // Without items 1 and 4: 3, 2, 0.
    assert_eq!(packed.target_ranks(&cases, &TopK::unseen(2)).unwrap().row(0), [1, 3]);
}

#[test]
fn rows_of_scores_rank_as_their_scorer() {
    let (model, cases) = (dots(40, 300, 12, false), cases());
    let queries = cases.queries();
    let mut scores = vec![0.0; 40 * 300];
    model.score(&queries, &mut scores);
    let top = TopK::unseen(7);
    assert_eq!(
        rank_rows(&scores, 300, &queries, &top).unwrap(),
        model.rank(&queries, &top).unwrap()
    );
    let ranks = target_ranks_in_rows(&scores, 300, &cases, &top).unwrap();
    assert_eq!(ranks, model.target_ranks(&cases, &top).unwrap());
    let error = rank_rows(&scores[1..], 300, &queries, &top).unwrap_err().to_string();
    assert_eq!(error, "scores: expected 12000, found 11999");
}
