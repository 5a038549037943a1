//! A ranker made of recorded rankings: any system's output can be a teacher.

use rankstill_core::{
    Answers, Error, ItemId, ItemSet, Query, Ranker, Rankings, Result, TopK, UserId,
};
use rayon::prelude::*;

/// Queries answered by one task.
const BLOCK: usize = 256;
/// In the table of users: no list.
const NO_ROW: u32 = u32::MAX;

/// Answers the queries of known users with their recorded lists, without items that must not be recommended. All other queries,
/// including those without a user, get an empty list, and are not taught. Lists can be shorter than requested.
#[derive(Clone, Debug)]
pub struct Recorded {
    n_items: usize,
    /// The lists of all rows, one part after the other.
    parts: Vec<Answers>,
    /// The first row of each part, and the number of rows.
    starts: Vec<usize>,
    /// The row of each user; without a table, row *u* is that of user *u*.
    row_of: Option<Vec<u32>>,
}

impl Recorded {
    /// Row `i` of `lists` is the list of `users[i]`. `name` is for messages.
    ///
    /// # Errors
    /// When the numbers of users and lists differ, a user or an item of a list occurs twice, an item is not below `n_items`, or the
    /// scores of a list increase or are NaN.
    pub fn new(name: &str, n_items: usize, users: &[UserId], lists: Rankings) -> Result<Self> {
        let problem = |problem: String| Error::Ranker { name: name.to_owned(), problem };
        if users.len() != lists.len() {
            let (expected, found) = (lists.len(), users.len());
            return Err(Error::Length { what: format!("users of `{name}`"), expected, found });
        }
        if lists.len() >= NO_ROW as usize {
            return Err(problem(format!("{} lists; at most {NO_ROW} can be kept", lists.len())));
        }
        let end = users.iter().max().map_or(0, |&user| user as usize + 1);
        let mut row_of = vec![NO_ROW; end];
        let mut marks = ItemSet::empty(n_items);
        for (row, &user) in users.iter().enumerate() {
            if row_of[user as usize] != NO_ROW {
                return Err(problem(format!("user {user} has more than one list")));
            }
            row_of[user as usize] = row as u32;
            let (items, scores) = (lists.items(row), lists.scores(row));
            if let Some(&item) = items.iter().find(|&&item| item as usize >= n_items) {
                return Err(Error::UnknownItem { item: item as usize, n_items });
            }
            let twice = items.iter().find(|&&item| !marks.insert(item));
            if let Some(item) = twice {
                return Err(problem(format!("item {item} is listed twice for user {user}")));
            }
            items.iter().for_each(|&item| marks.remove(item));
            let ordered = scores.windows(2).all(|pair| pair[0] >= pair[1]);
            if !ordered || scores.iter().any(|score| score.is_nan()) {
                return Err(problem(format!(
                    "the scores for user {user} are not in decreasing order"
                )));
            }
        }
        Ok(Self { row_of: Some(row_of), ..Self::of_parts(n_items, vec![lists.into()])? })
    }

    /// The list of user *u* is row *u* of the parts, one after the other; they can be files that are not loaded into memory. Items of a
    /// list must differ, and scores decrease: as a [`Ranker`] has given them.
    ///
    /// # Errors
    /// When an item is not below `n_items`.
    pub fn of_parts(n_items: usize, parts: Vec<Answers>) -> Result<Self> {
        let mut starts = vec![0];
        for part in &parts {
            part.check_items(n_items)?;
            starts.push(starts[starts.len() - 1] + part.len());
        }
        Ok(Self { n_items, parts, starts, row_of: None })
    }

    /// The number of users with a list.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.starts[self.parts.len()]
    }

    /// The number of items in the catalogue.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// The items and scores of a query's list.
    fn list(&self, query: &Query<'_>) -> Option<(&[ItemId], &[f32])> {
        let user = query.user? as usize;
        let row = match &self.row_of {
            Some(rows) => *rows.get(user).filter(|&&row| row != NO_ROW)? as usize,
            None => user,
        };
        let part = self.starts.partition_point(|&start| start <= row) - 1;
        let (lists, at) = (self.parts.get(part)?, row - self.starts[part]);
        Some((lists.items(at), lists.scores(at)))
    }

    fn answer(&self, query: &Query<'_>, top: &TopK<'_>, marks: &mut ItemSet, out: &mut Rankings) {
        let Some((items, scores)) = self.list(query) else { return out.push([]) };
        let seen = || query.history.iter().chain(query.hidden).filter(|_| top.skip_seen);
        seen().for_each(|&item| {
            marks.insert(item);
        });
        let listed = items.iter().zip(scores);
        let allowed = |item: ItemId| {
            !marks.contains(item) && top.allowed.is_none_or(|allowed| allowed.contains(item))
        };
        out.push(listed.map(|(&i, &s)| (i, s)).filter(|(item, _)| allowed(*item)).take(top.k));
        seen().for_each(|&item| marks.remove(item));
    }
}

impl Ranker for Recorded {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        let blocks: Vec<Rankings> = queries
            .par_chunks(BLOCK)
            .map_init(
                || ItemSet::empty(self.n_items),
                |marks, block| {
                    let mut out = Rankings::default();
                    block.iter().for_each(|query| self.answer(query, top, marks, &mut out));
                    out
                },
            )
            .collect();
        let mut all = Rankings::default();
        blocks.into_iter().for_each(|block| all.append(block));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::Lists;

    fn lists(rows: &[&[(ItemId, f32)]]) -> Rankings {
        let mut lists = Rankings::default();
        rows.iter().for_each(|row| lists.push(row.iter().copied()));
        lists
    }

    fn recorded() -> Recorded {
        let rows = lists(&[&[(3, 0.9), (0, 0.8), (4, 0.8), (1, 0.1)], &[(2, 5.0)]]);
        Recorded::new("file", 5, &[7, 2], rows).unwrap()
    }

    fn ask(
        user: Option<UserId>,
        history: &[ItemId],
        hidden: &[ItemId],
        top: &TopK<'_>,
    ) -> Vec<ItemId> {
        let ranked = recorded().rank(&[Query { user, history, hidden }], top).unwrap();
        assert_eq!(ranked.len(), 1);
        ranked.items(0).to_vec()
    }

    #[test]
    fn a_known_user_gets_the_recorded_list_without_seen_items() {
        let top = TopK::unseen(3);
        assert_eq!(ask(Some(7), &[], &[], &top), [3, 0, 4]);
        assert_eq!(ask(Some(7), &[3], &[4, 4], &top), [0, 1]);
        assert_eq!(ask(Some(7), &[3], &[4], &TopK { skip_seen: false, ..top }), [3, 0, 4]);
        let allowed = ItemSet::new(5, [1, 4]).unwrap();
        assert_eq!(ask(Some(7), &[], &[], &TopK { allowed: Some(&allowed), ..top }), [4, 1]);
    }

    #[test]
    fn other_users_get_an_empty_list() {
        let top = TopK::unseen(3);
        assert!(ask(None, &[1], &[], &top).is_empty());
        assert!(ask(Some(0), &[], &[], &top).is_empty());
        assert!(ask(Some(9999), &[], &[], &top).is_empty());
    }

    #[test]
    fn parts_are_one_after_the_other_user_by_user() {
        let rows: [&[(ItemId, f32)]; 4] = [&[(3, 0.9), (0, 0.8)], &[], &[(2, 5.0)], &[(4, 1.0)]];
        let of = |cuts: &[usize]| {
            let part = |pair: &[usize]| lists(&rows[pair[0]..pair[1]]).into();
            Recorded::of_parts(5, cuts.windows(2).map(part).collect()).unwrap()
        };
        let users = [Some(2), Some(0), Some(1), Some(3), Some(4), None];
        let queries = users.map(|user| Query { user, history: &[3], hidden: &[] });
        for parts in [&[0, 4][..], &[0, 1, 4], &[0, 2, 2, 3, 4]] {
            let ranked = of(parts).rank(&queries, &TopK::unseen(9)).unwrap();
            let items: Vec<&[u32]> = ranked.lists().iter().collect();
            assert_eq!(items, [&[2][..], &[0], &[], &[4], &[], &[]], "{parts:?}");
        }
        assert_eq!(of(&[0, 1, 4]).n_users(), 4);
        assert!(Recorded::of_parts(4, vec![lists(&rows).into()]).is_err());
    }

    #[test]
    fn scores_are_kept_and_blocks_keep_the_order() {
        let file = recorded();
        let user = |i: usize| Some([7, 2, 0][i % 3]);
        let queries: Vec<_> =
            (0..3 * BLOCK).map(|i| Query { user: user(i), ..Query::default() }).collect();
        let ranked = file.rank(&queries, &TopK::unseen(2)).unwrap();
        assert_eq!(ranked.len(), queries.len());
        for i in 0..ranked.len() {
            let expected: &[f32] = [&[0.9, 0.8][..], &[5.0], &[]][i % 3];
            assert_eq!(ranked.scores(i), expected);
        }
        assert_eq!((file.n_users(), file.n_items()), (2, 5));
    }

    #[test]
    fn invalid_lists_are_refused_by_name() {
        let one: &[(ItemId, f32)] = &[(1, 0.5)];
        let refuse = |users: &[UserId], rows: &[&[(ItemId, f32)]]| {
            Recorded::new("file", 5, users, lists(rows)).unwrap_err().to_string()
        };
        assert_eq!(refuse(&[1, 2], &[one]), "users of `file`: expected 1, found 2");
        assert_eq!(refuse(&[1, 1], &[one, one]), "ranker `file`: user 1 has more than one list");
        assert_eq!(refuse(&[1], &[&[(5, 1.0)]]), "item 5 is not in a catalogue of 5 items");
        assert_eq!(
            refuse(&[4], &[&[(2, 1.0), (2, 0.5)]]),
            "ranker `file`: item 2 is listed twice for user 4"
        );
        for scores in [[0.1, 0.2], [f32::NAN, 0.2], [0.2, f32::NAN]] {
            assert!(
                refuse(&[4], &[&[(2, scores[0]), (3, scores[1])]]).contains("decreasing order")
            );
        }
        let alone = Rankings::new(Lists::from_iter([vec![3]]), vec![f32::NAN]).unwrap();
        assert!(Recorded::new("file", 5, &[0], alone).is_err());
    }
}
