#![allow(clippy::unwrap_used)]
use super::*;
use crate::kernel::rng::Rng;
use crate::{Packed, Scorer};
use std::cmp::Reverse;

const N_ITEMS: usize = 40;

/// Random scores for each user; for others, the sum of those of their history.
struct Random;

impl Scorer for Random {
    fn n_items(&self) -> usize {
        N_ITEMS
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, row) in queries.iter().zip(out.chunks_exact_mut(N_ITEMS)) {
            let mut add = |key: [u64; 2]| {
                let mut scores = [0.0; N_ITEMS];
                Rng::keyed(3, key).fill_normal(&mut scores, 0.0, 1.0);
                row.iter_mut().zip(scores).for_each(|(sum, x)| *sum += x);
            };
            match query.user {
                Some(user) => add([0, u64::from(user)]),
                None => query.history.iter().for_each(|&item| add([1, u64::from(item)])),
            }
        }
    }
}

/// Users 3, 7, 11, ... and items 0, 5, 10, ... have no interactions.
fn train() -> Interactions {
    let lines = (0..24u64).map(|user| {
        let mut rng = Rng::keyed(1, [user]);
        let mut items: Vec<u32> = (0..N_ITEMS as u32).filter(|item| item % 5 > 0).collect();
        rng.shuffle(&mut items);
        items.truncate(if user % 4 == 3 { 0 } else { 3 + user as usize % 5 });
        items.extend([1, 2, 38].iter().filter(|_| user == 1));
        items
    });
    Interactions::new(N_ITEMS, Lists::from_iter(lines), None, None).unwrap()
}

/// All users of [`train`], one beyond it and one without a name, with a history, hidden items and targets that know no rule.
fn cases() -> Cases {
    let mut rng = Rng::keyed(2, [0]);
    let any =
        |rng: &mut Rng, n: usize| (0..n).map(|_| rng.below(N_ITEMS as u32)).collect::<Vec<u32>>();
    let rows: Vec<_> = (0..75u32)
        .map(|row| {
            let user = (row % 25 != 24).then_some(row % 26);
            let history = any(&mut rng, [0, 1, 6][row as usize % 3]);
            (user, history, any(&mut rng, row as usize % 4), any(&mut rng, 5))
        })
        .collect();
    let rows = rows.iter().map(|(user, history, hidden, targets)| {
        (Query { user: *user, history, hidden }, targets.as_slice())
    });
    copied(N_ITEMS, rows).unwrap()
}

#[test]
fn cold_users_are_answered_by_their_history_and_else_by_popularity() {
    let (train, cases) = (train(), cases());
    let ranker = ColdStart::new(&Random, Arc::new(Trained::on(&train)));
    let mut kinds = [0; 3];
    for (k, skip_seen) in [(7, true), (N_ITEMS, true), (7, false)] {
        let top = TopK { k, skip_seen, allowed: None };
        let ranked = ranker.rank(&cases.queries(), &top).unwrap();
        for (row, query) in cases.queries().into_iter().enumerate() {
            // By hand: from all scores, sorted.
            let known = |item: &u32| train.popularity()[*item as usize] > 0;
            let history: Vec<u32> = query.history.iter().copied().filter(known).collect();
            let user = query.user.filter(|&user| !train.history(user).is_empty());
            let mut scores = vec![0.0; N_ITEMS];
            if user.is_none() && history.is_empty() {
                scores = train.popularity().iter().map(|&count| count as f32).collect();
                kinds[0] += 1;
            } else {
                kinds[1 + usize::from(user.is_some())] += 1;
                Random.score(&[Query { user, history: &history, hidden: &[] }], &mut scores);
            }
            let seen = |item: &u32| query.history.contains(item) || query.hidden.contains(item);
            let mut expected: Vec<u32> = (0..N_ITEMS as u32).filter(known).collect();
            expected.retain(|item| !skip_seen || !seen(item));
            let score = |item: u32| scores[item as usize];
            expected.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
            expected.truncate(k);
            assert_eq!(ranked.items(row), expected, "{query:?}");
            let expected: Vec<f32> = expected.into_iter().map(score).collect();
            assert_eq!(ranked.scores(row), expected, "{query:?}");
        }
    }
    assert!(kinds.iter().all(|&n| n > 9), "all kinds of users occur: {kinds:?}");
}

#[test]
fn target_ranks_are_those_in_the_whole_list() {
    let (cases, trained) = (cases(), Arc::new(Trained::on(&train())));
    let ranker = ColdStart::new(&Random, trained);
    let some = ItemSet::new(N_ITEMS, (0..N_ITEMS as u32).filter(|item| item % 3 > 0)).unwrap();
    for (skip_seen, allowed) in [(true, None), (false, None), (true, Some(&some))] {
        let top = TopK { k: N_ITEMS, skip_seen, allowed };
        let lists = ranker.rank(&cases.queries(), &top).unwrap();
        let expected = crate::rank::ranks_in_lists(lists.lists(), &cases);
        assert_eq!(ranker.target_ranks(&cases, &top).unwrap(), expected);
    }
}

#[test]
fn only_trained_and_allowed_items_are_listed() {
    let trained = Arc::new(Trained::on(&train()));
    let ranker = ColdStart::new(&Random, Arc::clone(&trained));
    for n_items in [N_ITEMS, N_ITEMS + 60] {
        let allowed = ItemSet::new(n_items, [0, 1, 2, 5, 38]).unwrap();
        let top = TopK { k: N_ITEMS, skip_seen: true, allowed: Some(&allowed) };
        let users = [Some(0), Some(3)];
        let queries = users.map(|user| Query { user, history: &[2], hidden: &[] });
        let ranked = ranker.rank(&queries, &top).unwrap();
        let nobody = copied(N_ITEMS, [(Query::default(), &[38, 0][..])].into_iter()).unwrap();
        assert_eq!(ranker.rank(&nobody.queries(), &top).unwrap().items(0).len(), 3);
        let mut popular = [1, 2, 38];
        popular.sort_by_key(|&item| (Reverse(trained.popularity()[item]), item));
        let rank = popular.iter().position(|&item| item == 38).unwrap() as u32 + 1;
        assert_eq!(ranker.target_ranks(&nobody, &top).unwrap().row(0), [rank, 0]);
        for row in 0..2 {
            let mut items = ranked.items(row).to_vec();
            items.sort_unstable();
            assert_eq!(items, [1, 38]);
        }
    }
}

#[test]
fn where_everything_was_trained_nothing_changes() {
    let lines = (0..30u32).map(|user| [user, user + 10, (user + 7) % 40]);
    let train = Interactions::new(N_ITEMS, Lists::from_iter(lines), None, None).unwrap();
    let trained = Trained::on(&train);
    assert!(trained.items().is_none() && trained.n_items() == N_ITEMS);
    let (packed, cases) = (Packed::new(&Random), Cases::per_user(&train));
    assert!(cases.queries().iter().all(|query| trained.has_all_of(query)));
    let ranker = ColdStart::new(&Random, Arc::new(trained));
    let top = TopK::unseen(9);
    let queries = cases.queries();
    assert_eq!(ranker.rank(&queries, &top).unwrap(), packed.rank(&queries, &top).unwrap());
    let found = ranker.target_ranks(&cases, &top).unwrap();
    assert_eq!(found, packed.target_ranks(&cases, &top).unwrap());
}

#[test]
fn what_an_answer_rests_on() {
    let trained = Trained::on(&train());
    let of = |user, history: &[u32]| trained.answered_by(&Query { user, history, hidden: &[] });
    assert_eq!(of(Some(0), &[]), AnsweredBy::User);
    assert_eq!(of(Some(3), &[5, 6]), AnsweredBy::History);
    assert_eq!(of(None, &[6]), AnsweredBy::History);
    assert_eq!(of(Some(3), &[5, 4000]), AnsweredBy::Popularity, "no item of it was trained");
    assert_eq!(of(Some(4000), &[]), AnsweredBy::Popularity);
}
