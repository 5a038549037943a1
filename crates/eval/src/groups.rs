//! The same metrics on popular and unpopular items, and on active and inactive users.
//!
//! Distillation can help the head and hurt the tail (UnKD, WSDM 2023), which an overall mean does not show.

use crate::error::Result;
use crate::metric::Outcome;
use rankstill_core::{AnsweredBy, Interactions, Trained};

/// A part of an outcome.
#[derive(Debug)]
pub struct Group<'a> {
    /// Such as `unpopular items`.
    pub name: String,
    /// Its definition, as a sentence.
    pub definition: String,
    /// Its cases and targets.
    pub outcome: Outcome<'a>,
}

/// Splits the outcome by item and by user. The head is the smallest set of items (or users) with at least
/// `share` of the training interactions; ties go to the smaller id. A group without cases is left out.
///
/// In a group of items, only its own targets count, within the ranking of the whole catalogue. Metrics of the
/// lists without the targets, such as coverage, mean little there.
///
/// # Errors
/// When `share` is not within 0 and 1.
pub fn head_and_tail<'a>(
    outcome: &Outcome<'a>,
    train: &Interactions,
    share: f64,
) -> Result<Vec<Group<'a>>> {
    if !(0.0..=1.0).contains(&share) {
        let problem = format!("must lie between 0 and 1, found {share}");
        return Err(rankstill_core::Error::Config { key: "groups.share".into(), problem }.into());
    }
    let percent = share * 100.0;
    let items = head(&train.popularity(), share);
    let actions: Vec<u32> = train.items().iter().map(|line| line.len() as u32).collect();
    let users = head(&actions, share);
    let is_popular = |item: u32| items.get(item as usize).copied().unwrap_or(false);
    let is_active = |row: usize| {
        let user = outcome.cases().query(row).user;
        user.is_some_and(|user| users.get(user as usize).copied().unwrap_or(false))
    };
    let of = |heads: &[bool], is: bool| heads.iter().filter(|head| **head == is).count();
    let groups = [
        Group {
            name: "popular items".into(),
            definition: format!(
                "Targets among the {} items with the most training interactions, which make up {percent}% of these.",
                of(&items, true)
            ),
            outcome: outcome.with_targets(is_popular),
        },
        Group {
            name: "unpopular items".into(),
            definition: format!("Targets among the other {} items.", of(&items, false)),
            outcome: outcome.with_targets(|item| !is_popular(item)),
        },
        Group {
            name: "active users".into(),
            definition: format!(
                "Cases of the {} users with the most training interactions, which make up {percent}% of these.",
                of(&users, true)
            ),
            outcome: outcome.select(is_active),
        },
        Group {
            name: "inactive users".into(),
            definition: format!("Cases of the other {} users and of new ones.", of(&users, false)),
            outcome: outcome.select(|row| !is_active(row)),
        },
    ];
    Ok(groups.into_iter().filter(|group| !group.outcome.is_empty()).collect())
}

/// Splits the outcome by what an answer rests on: users that the models were trained on, and cold-start users, who are answered by
/// their history or by popularity. Without any cold-start user there are no groups.
#[must_use]
pub fn trained_and_cold<'a>(outcome: &Outcome<'a>, trained: &Trained) -> Vec<Group<'a>> {
    let by: Vec<AnsweredBy> =
        outcome.cases().iter().map(|case| trained.answered_by(&case.query)).collect();
    if by.iter().all(|by| *by == AnsweredBy::User) {
        return Vec::new();
    }
    let group = |name: &str, definition: &str, kind: AnsweredBy| Group {
        name: name.into(),
        definition: definition.into(),
        outcome: outcome.select(|row| by[row] == kind),
    };
    let groups = [
        group("trained users", "Cases of users with training interactions.", AnsweredBy::User),
        group(
            "cold-start users with a history",
            "Cases of users without training interactions, answered by their history.",
            AnsweredBy::History,
        ),
        group(
            "cold-start users without a history",
            "Cases of users without training interactions and with no trained item in their history, answered by popularity.",
            AnsweredBy::Popularity,
        ),
    ];
    let cold = groups[1..].iter().any(|group| !group.outcome.is_empty());
    groups.into_iter().filter(|group| cold && !group.outcome.is_empty()).collect()
}

/// Whether each index belongs to the smallest set, largest counts first, that makes up `share` of the sum of
/// counts.
fn head(counts: &[u32], share: f64) -> Vec<bool> {
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(counts[at]), at));
    let mut head = vec![false; counts.len()];
    let mut sum = 0u64;
    for at in order {
        if sum as f64 >= share * total as f64 {
            break;
        }
        sum += u64::from(counts[at]);
        head[at] = true;
    }
    head
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metric::{Dialect, parse};
    use rankstill_core::{Cases, Lists, Rankings, Span};
    use std::sync::Arc;

    #[test]
    fn the_head_is_the_smallest_set_that_makes_up_the_share() {
        assert_eq!(head(&[1, 5, 2, 2], 0.5), [false, true, false, false]);
        assert_eq!(head(&[1, 5, 2, 2], 0.6), [false, true, true, false]);
        assert_eq!(head(&[1, 5, 2, 2], 0.0), [false; 4]);
        assert_eq!(head(&[1, 5, 2, 2], 1.0), [true; 4]);
    }

    #[test]
    fn recall_of_each_group_by_hand() {
        // Item 0 has three of five interactions: it alone is popular at a share of 0.6. User 0 has three of
        // five as well.
        let lines = Lists::from_iter([vec![0, 0, 1], vec![0], vec![2]]);
        let train = Interactions::new(5, lines, None, None).unwrap();
        // Timeline: the targets of users 0, 1, 2.
        let spans = [(0, 0..2), (1, 2..4), (2, 4..5)].map(|(user, targets)| Span {
            user: Some(user),
            history: 0..0,
            hidden: 0..0,
            targets,
        });
        let cases = Cases::new(5, Arc::new(vec![0, 3, 0, 4, 1]), spans.to_vec()).unwrap();
        let mut ranked = Rankings::default();
        ranked.push([(0, 2.0), (1, 1.0)]); // finds item 0
        ranked.push([(4, 2.0), (3, 1.0)]); // finds item 4
        ranked.push([(1, 2.0), (3, 1.0)]); // finds item 1
        let outcome = Outcome::of_rankings(&cases, ranked).unwrap();
        let recall = parse("recall@2", Dialect::Standard).unwrap();
        let found: Vec<_> = head_and_tail(&outcome, &train, 0.6)
            .unwrap()
            .iter()
            .map(|g| (g.name.clone(), g.outcome.len(), recall.measure(&g.outcome).unwrap().mean()))
            .collect();
        let expected = [
            ("popular items", 2, 0.5),         // user 0: 1 of 1, user 1: 0 of 1
            ("unpopular items", 3, 2.0 / 3.0), // user 0: 0 of 1, users 1 and 2: 1 of 1
            ("active users", 1, 0.5),          // user 0: 1 of 2
            ("inactive users", 2, 0.75),       // user 1: 1 of 2, user 2: 1 of 1
        ];
        for ((name, n, value), (name_, n_, value_)) in found.iter().zip(expected) {
            assert_eq!((name.as_str(), *n), (name_, n_));
            assert!((value - value_).abs() < 1e-12, "{name}: {value}");
        }
        assert_eq!(found.len(), 4);
        assert!(head_and_tail(&outcome, &train, 1.5).is_err());
    }

    #[test]
    fn cold_start_users_are_measured_apart() {
        let train =
            Interactions::new(3, Lists::from_iter([vec![0, 1], vec![]]), None, None).unwrap();
        // Timeline: a history item that was trained, one that was not, and the target.
        let span = |user, history| Span { user: Some(user), history, hidden: 0..0, targets: 2..3 };
        let outcome_of = |spans: Vec<Span>, names: &[(&str, usize, f64)]| {
            let cases = Cases::new(3, Arc::new(vec![0, 2, 1]), spans).unwrap();
            let mut ranked = Rankings::default();
            (0..cases.len()).for_each(|row| ranked.push([(row as u32, 1.0)])); // only row 1 is right
            let outcome = Outcome::of_rankings(&cases, ranked).unwrap();
            let recall = parse("recall@1", Dialect::Standard).unwrap();
            let found: Vec<_> = trained_and_cold(&outcome, &Trained::on(&train))
                .iter()
                .map(|g| {
                    (g.name.clone(), g.outcome.len(), recall.measure(&g.outcome).unwrap().mean())
                })
                .collect();
            let expected = names.iter().map(|&(name, n, mean)| (name.to_owned(), n, mean));
            assert_eq!(found, expected.collect::<Vec<_>>());
        };
        outcome_of(
            vec![span(0, 0..1), span(1, 0..1), span(1, 1..2)],
            &[
                ("trained users", 1, 0.0),
                ("cold-start users with a history", 1, 1.0),
                ("cold-start users without a history", 1, 0.0),
            ],
        );
        outcome_of(vec![span(0, 0..1), span(0, 0..0)], &[]);
    }
}
