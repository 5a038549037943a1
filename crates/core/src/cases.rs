//! Queries and their targets. Rows are ranges into shared timelines, so nothing is copied.

use crate::kernel::simd::prefetch;
use crate::{Error, Interactions, ItemId, Lists, Result, UserId};
use std::ops::Range;
use std::sync::Arc;

/// A user and their history. A model uses the parts it understands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// A user of the training log; `None` for a new user.
    pub user: Option<UserId>,
    /// Oldest first.
    pub history: &'a [ItemId],
    /// Items besides the history that must not be recommended, such as those of a validation set.
    pub hidden: &'a [ItemId],
}

/// A query and its targets.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The query.
    pub query: Query<'a>,
    /// The relevant items; never empty in evaluation.
    pub targets: &'a [ItemId],
}

/// Cases over shared timelines.
#[derive(Clone, Debug)]
pub struct Cases {
    n_items: usize,
    timeline: Arc<Vec<ItemId>>,
    rows: Rows,
}

#[derive(Clone, Debug)]
enum Rows {
    /// Row *i* is interaction *i* of the timeline: the history is the user's whole line, the target is one
    /// item of it. Stored as one number per row, because most models train on this.
    Each {
        starts: Vec<usize>,
        user_of: Vec<UserId>,
    },
    Spans(Vec<Span>),
}

/// One case as ranges into the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The user of the query.
    pub user: Option<UserId>,
    /// The history.
    pub history: Range<usize>,
    /// The hidden items.
    pub hidden: Range<usize>,
    /// The targets.
    pub targets: Range<usize>,
}

impl Interactions {
    /// Holds out the last item of every user who has at least two: the other interactions, to train on, and a case for each held-out
    /// item, to test with. The numbers of users and items stay the same. For protocols with validation data, by time or by
    /// share, see the crate `rankstill-data`.
    ///
    /// ```
    /// let log = rankstill_core::Interactions::from_pairs([(1, 7), (1, 8), (1, 9), (2, 7)]).interactions;
    /// let (train, test) = log.leave_last_out();
    /// assert_eq!((train.len(), test.len()), (3, 1));
    /// let case = test.case(0);
    /// assert_eq!((case.query.history, case.targets), (&[0, 1][..], &[2][..]));
    /// ```
    #[must_use]
    pub fn leave_last_out(&self) -> (Interactions, Cases) {
        let (items, mut kept) = (self.items(), Vec::with_capacity(self.len()));
        let (mut lines, mut spans) = (Lists::default(), Vec::new());
        for user in 0..self.n_users() {
            let line = items.range(user);
            let end = if line.len() < 2 { line.end } else { line.end - 1 };
            lines.push(items.values()[line.start..end].iter().copied());
            kept.extend(line.start..end);
            if end < line.end {
                let (history, targets) = (line.start..end, end..line.end);
                spans.push(Span { user: Some(user as UserId), history, hidden: end..end, targets });
            }
        }
        let times = self.times().map(|times| kept.iter().map(|&at| times[at]).collect());
        let weights = self.weights().map(|weights| kept.iter().map(|&at| weights[at]).collect());
        let train = Interactions::new(self.n_items(), lines, times, weights)
            .expect("a part of a valid log is valid")
            .with_time_unit(self.time_unit());
        let timeline = Arc::new(items.values().to_vec());
        (train, Cases { n_items: self.n_items(), timeline, rows: Rows::Spans(spans) })
    }
}

impl Cases {
    /// From ranges into a timeline.
    ///
    /// # Errors
    /// When a range is not within the timeline, or an item not in the catalogue.
    pub fn new(n_items: usize, timeline: Arc<Vec<ItemId>>, spans: Vec<Span>) -> Result<Self> {
        if let Some(&item) = timeline.iter().find(|&&item| item as usize >= n_items) {
            return Err(Error::UnknownItem { item: item as usize, n_items });
        }
        let end = timeline.len();
        let ranges = spans.iter().flat_map(|span| [&span.history, &span.hidden, &span.targets]);
        if let Some(range) = ranges.into_iter().find(|r| r.start > r.end || r.end > end) {
            return Err(Error::Length {
                what: "a case's range".into(),
                expected: end,
                found: range.end,
            });
        }
        Ok(Self { n_items, timeline, rows: Rows::Spans(spans) })
    }

    /// One case per interaction: the target is its item, the history is the user's whole line. The training
    /// cases of models that ignore order.
    #[must_use]
    pub fn each_interaction(log: &Interactions) -> Self {
        let items = log.items();
        let mut user_of = Vec::with_capacity(log.len());
        for (user, line) in items.iter().enumerate() {
            user_of.resize(user_of.len() + line.len(), user as UserId);
        }
        Self {
            n_items: log.n_items(),
            timeline: Arc::new(items.values().to_vec()),
            rows: Rows::Each { starts: items.starts().to_vec(), user_of },
        }
    }

    /// One case per user: the history is the whole line, without targets. The training cases of autoencoders,
    /// and the queries of a service.
    #[must_use]
    pub fn per_user(log: &Interactions) -> Self {
        let items = log.items();
        let spans = (0..log.n_users()).map(|user| {
            let line = items.range(user);
            Span {
                user: Some(user as UserId),
                history: line.clone(),
                hidden: line.end..line.end,
                targets: line.end..line.end,
            }
        });
        let spans = spans.collect();
        Self {
            n_items: log.n_items(),
            timeline: Arc::new(items.values().to_vec()),
            rows: Rows::Spans(spans),
        }
    }

    /// Sliding windows (Caser, A.5 of the RD paper's code): for every position with at least `length` items
    /// before it, these are the history (a model uses the last `length`) and the next `n_targets` items are
    /// the targets. A user with fewer than `length + n_targets` items, but more than `n_targets`, has one
    /// case with a shorter history. The remaining items of the user are hidden: they are labelled, and no
    /// teacher may recommend them.
    #[must_use]
    pub fn windows(log: &Interactions, length: usize, n_targets: usize) -> Self {
        let mut spans = Vec::new();
        for user in 0..log.n_users() {
            let line = log.items().range(user);
            if line.len() <= n_targets || n_targets == 0 {
                continue;
            }
            let first = (line.start + length).min(line.end - n_targets);
            for at in first..=line.end - n_targets {
                spans.push(Span {
                    user: Some(user as UserId),
                    history: line.start..at,
                    hidden: at..line.end,
                    targets: at..at + n_targets,
                });
            }
        }
        Self {
            n_items: log.n_items(),
            timeline: Arc::new(log.items().values().to_vec()),
            rows: Rows::Spans(spans),
        }
    }

    /// The number of cases.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Each { user_of, .. } => user_of.len(),
            Rows::Spans(spans) => spans.len(),
        }
    }

    /// Whether there are no cases.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the catalogue.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Case `i`; panics if there is none.
    #[must_use]
    pub fn case(&self, i: usize) -> Case<'_> {
        match &self.rows {
            Rows::Each { starts, user_of } => {
                let user = user_of[i];
                let line = starts[user as usize]..starts[user as usize + 1];
                let query = Query { user: Some(user), history: &self.timeline[line], hidden: &[] };
                Case { query, targets: &self.timeline[i..=i] }
            }
            Rows::Spans(spans) => {
                let Span { user, history, hidden, targets } = &spans[i];
                let query = Query {
                    user: *user,
                    history: &self.timeline[history.clone()],
                    hidden: &self.timeline[hidden.clone()],
                };
                Case { query, targets: &self.timeline[targets.clone()] }
            }
        }
    }

    /// The user of case `i`: faster than the whole case. Panics if there is none.
    #[must_use]
    pub fn user(&self, i: usize) -> Option<UserId> {
        match &self.rows {
            Rows::Each { user_of, .. } => Some(user_of[i]),
            Rows::Spans(spans) => spans[i].user,
        }
    }

    /// The targets of case `i`: faster than the whole case. Panics if there is none.
    #[must_use]
    pub fn targets_of(&self, i: usize) -> &[ItemId] {
        match &self.rows {
            Rows::Each { .. } => &self.timeline[i..=i],
            Rows::Spans(spans) => &self.timeline[spans[i].targets.clone()],
        }
    }

    /// Prefetches the user and the targets of case `i`, if it exists, because the cases of a batch are spread
    /// over the whole log.
    pub fn prefetch(&self, i: usize) {
        match &self.rows {
            Rows::Each { user_of, .. } => {
                prefetch(user_of.as_ptr().wrapping_add(i));
                prefetch(self.timeline.as_ptr().wrapping_add(i));
            }
            Rows::Spans(spans) => prefetch(spans.as_ptr().wrapping_add(i)),
        }
    }

    /// The cases `range`, over the same timeline; panics if there are fewer.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let spans = match &self.rows {
            Rows::Each { starts, user_of } => {
                let span = |i: usize| {
                    let user = user_of[i];
                    let line = starts[user as usize]..starts[user as usize + 1];
                    let hidden = line.end..line.end;
                    Span { user: Some(user), history: line, hidden, targets: i..i + 1 }
                };
                range.map(span).collect()
            }
            Rows::Spans(spans) => spans[range].to_vec(),
        };
        Self {
            n_items: self.n_items,
            timeline: Arc::clone(&self.timeline),
            rows: Rows::Spans(spans),
        }
    }

    /// Query `i`; panics if there is none.
    #[must_use]
    pub fn query(&self, i: usize) -> Query<'_> {
        self.case(i).query
    }

    /// All cases, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Case<'_>> + '_ {
        (0..self.len()).map(|i| self.case(i))
    }

    /// All queries, in order.
    #[must_use]
    pub fn queries(&self) -> Vec<Query<'_>> {
        self.iter().map(|case| case.query).collect()
    }

    /// The number of distinct queries: a teacher ranks once for each of them.
    #[must_use]
    pub fn n_queries(&self) -> usize {
        match &self.rows {
            Rows::Each { starts, .. } => starts.len() - 1,
            Rows::Spans(spans) => spans.len(),
        }
    }

    /// The index of the query of case `i` among the distinct queries.
    #[must_use]
    pub fn query_of(&self, i: usize) -> usize {
        match &self.rows {
            Rows::Each { user_of, .. } => user_of[i] as usize,
            Rows::Spans(_) => i,
        }
    }

    /// The distinct queries, in the order of [`Cases::query_of`].
    #[must_use]
    pub fn distinct_queries(&self) -> Vec<Query<'_>> {
        match &self.rows {
            Rows::Each { starts, .. } => {
                let line = |(user, pair): (usize, &[usize])| Query {
                    user: Some(user as UserId),
                    history: &self.timeline[pair[0]..pair[1]],
                    hidden: &[],
                };
                starts.windows(2).enumerate().map(line).collect()
            }
            Rows::Spans(_) => self.queries(),
        }
    }

    /// A hash of the cases and their order: tells whether recorded answers belong to these queries.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = self.n_items as u64;
        let mut add = |number: u64| {
            hash = (hash.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        };
        add(self.timeline.len() as u64);
        self.timeline.iter().for_each(|&item| add(u64::from(item)));
        match &self.rows {
            Rows::Each { starts, .. } => starts.iter().for_each(|&start| add(start as u64)),
            Rows::Spans(spans) => {
                for Span { user, history, hidden, targets } in spans {
                    add(user.map_or(u64::MAX, u64::from));
                    for range in [history, hidden, targets] {
                        add(range.start as u64);
                        add(range.end as u64);
                    }
                }
            }
        }
        hash
    }

    /// All targets, in order.
    #[must_use]
    pub fn targets(&self) -> Lists<ItemId> {
        self.iter().map(|case| case.targets.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn log() -> Interactions {
        Interactions::new(9, Lists::from_iter([vec![4, 2, 7, 1], vec![], vec![5]]), None, None)
            .unwrap()
    }

    #[test]
    fn each_interaction_asks_with_the_whole_line() {
        let cases = Cases::each_interaction(&log());
        assert_eq!(cases.len(), 5);
        assert_eq!(cases.case(2).targets, [7]);
        assert_eq!(cases.case(2).query.history, [4, 2, 7, 1]);
        assert_eq!(cases.case(4).query.user, Some(2));
        assert_eq!((cases.n_queries(), cases.query_of(4)), (3, 2));
        assert!(cases.distinct_queries()[1].history.is_empty());
    }

    #[test]
    fn a_slice_holds_the_same_cases() {
        for cases in [Cases::each_interaction(&log()), Cases::windows(&log(), 1, 1)] {
            let part = cases.slice(1..3);
            assert_eq!(part.len(), 2);
            for (a, b) in [(0, 1), (1, 2)] {
                let (part, whole) = (part.case(a), cases.case(b));
                assert_eq!(part.query.user, whole.query.user);
                assert_eq!(part.query.history, whole.query.history);
                assert_eq!(part.query.hidden, whole.query.hidden);
                assert_eq!(part.targets, whole.targets);
            }
        }
    }

    #[test]
    fn users_and_targets_alone_are_those_of_the_case() {
        let each = Cases::each_interaction(&log());
        for cases in [each.slice(0..5), each, Cases::windows(&log(), 1, 1)] {
            for (i, case) in cases.iter().enumerate() {
                cases.prefetch(i);
                assert_eq!(cases.user(i), case.query.user);
                assert_eq!(cases.targets_of(i), case.targets);
            }
            cases.prefetch(usize::MAX); // Nothing is there, and nothing happens.
        }
    }

    #[test]
    fn windows_slide_by_one_and_a_short_line_gives_one() {
        let cases = Cases::windows(&log(), 2, 1);
        let seen: Vec<_> = cases.iter().map(|c| (c.query.history.to_vec(), c.targets[0])).collect();
        assert_eq!(seen, [(vec![4, 2], 7), (vec![4, 2, 7], 1)]);
        let cases = Cases::windows(&log(), 5, 1);
        assert_eq!(
            cases.len(),
            1,
            "four items are fewer than 5 + 1: one window with what there is"
        );
        assert_eq!(cases.case(0).targets, [1]);
    }

    /// Users with `lengths` items each.
    fn of_lengths(lengths: impl IntoIterator<Item = usize>) -> Interactions {
        let lines = lengths.into_iter().map(|n| (0..n as u32).map(|at| at % 9).collect::<Vec<_>>());
        Interactions::new(9, Lists::from_iter(lines), None, None).unwrap()
    }

    #[test]
    fn windows_are_as_many_as_the_rule_of_ranking_distillation_says() {
        // L = 5: n - L - T + 1 windows of users with at least L + T items, 1 of those with fewer, none of
        // those without a history to speak of.
        for (n_targets, by_hand) in [(1, [0, 0, 1, 1, 1, 2, 7]), (3, [0, 0, 0, 1, 1, 1, 5])] {
            let log = of_lengths([0, 1, 2, 5, 6, 7, 12]);
            let cases = Cases::windows(&log, 5, n_targets);
            let mut counts = [0; 7];
            cases.iter().for_each(|case| counts[case.query.user.unwrap() as usize] += 1);
            assert_eq!(counts, by_hand, "T = {n_targets}");
            for case in cases.iter() {
                let line = log.history(case.query.user.unwrap());
                let at = case.query.history.len();
                assert_eq!(case.query.history, &line[..at]);
                assert_eq!(case.targets, &line[at..at + n_targets]);
                assert_eq!(case.query.hidden, &line[at..]);
            }
        }
    }

    #[test]
    fn gowalla_of_ranking_distillation_has_367_611_windows() {
        // 13,149 users with 433,356 actions for training and validation, at least 12 each (four fifths of
        // 15): sum of n - 5.
        let (users, actions) = (13_149, 433_356);
        let spare = actions - 12 * users;
        let lengths = (0..users).map(|user| 12 + spare / users + usize::from(user < spare % users));
        let log = of_lengths(lengths);
        assert_eq!(log.len(), actions);
        assert_eq!(Cases::windows(&log, 5, 1).len(), 367_611);
    }

    #[test]
    fn other_cases_have_another_fingerprint() {
        let all = [
            Cases::each_interaction(&log()),
            Cases::each_interaction(&log()).slice(0..4),
            Cases::windows(&log(), 1, 1),
            Cases::windows(&log(), 2, 1),
            Cases::per_user(&log()),
        ];
        for (i, a) in all.iter().enumerate() {
            assert_eq!(a.fingerprint(), a.clone().fingerprint());
            assert!(all[..i].iter().all(|b| a.fingerprint() != b.fingerprint()), "{i}");
        }
    }

    #[test]
    fn ranges_outside_the_timeline_are_refused() {
        let span = Span { user: None, history: 0..3, hidden: 0..0, targets: 0..1 };
        assert!(Cases::new(9, Arc::new(vec![1, 2]), vec![span]).is_err());
    }
}
