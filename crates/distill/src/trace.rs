//! Recording a teacher's lists for the distinct queries of the student's cases, block by block.

use rankstill_core::{
    Candidates, Cases, Error, ItemId, ListRequest, Lists, Query, Ranker, Rankings, Result, Span,
    TopK, Trace,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Queries in a block, which is also how often progress is reported. Enough for a ranker to use all its threads.
pub const BLOCK: usize = 4096;

/// Records the `request.k` best items of `teacher`, among the candidates of the request, for every distinct query of `cases`. The
/// trace has one checkpoint, epoch 0. `progress` receives (queries done, all queries) after every block; `Break` ends the
/// recording with [`Error::Interrupted`].
///
/// # Errors
/// When the teacher fails, answers another number of queries, or returns a list that is longer than requested or holds an item
/// that is not in the catalogue.
pub fn record(
    name: &str,
    teacher: &dyn Ranker,
    cases: &Cases,
    request: ListRequest,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Trace> {
    let mut rankings = Rankings::default();
    let mut keep = |block: Rankings| {
        rankings.append(block);
        Ok(())
    };
    record_from(0, name, teacher, cases, request, &mut keep, progress)?;
    Trace::new(name, vec![(0, rankings)])
}

/// The same from distinct query `first` on, passing each block to `keep`: for lists that are written as they come, and to resume
/// a recording.
///
/// # Errors
/// As [`record`], and when `keep` fails.
pub fn record_from(
    first: usize,
    name: &str,
    teacher: &dyn Ranker,
    cases: &Cases,
    request: ListRequest,
    keep: &mut dyn FnMut(Rankings) -> Result<()>,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<()> {
    let queries = cases.distinct_queries();
    let top = question(cases, request);
    let mut done = first.min(queries.len());
    for block in queries[done..].chunks(BLOCK) {
        let answers = teacher.rank(block, &top)?;
        check(name, &answers, block, top.k, cases.n_items())?;
        keep(answers)?;
        done += block.len();
        if progress(done, queries.len()).is_break() {
            return Err(Error::Interrupted);
        }
    }
    Ok(())
}

/// The teacher's ranks of the labelled items of each distinct query of `cases`, its history and then its hidden items, in the
/// ranking of the whole catalogue: 1-based, 0 = not ranked.
///
/// # Errors
/// When the teacher fails.
pub fn labelled_ranks(teacher: &dyn Ranker, cases: &Cases) -> Result<Lists<u32>> {
    let everything = TopK { k: cases.n_items(), skip_seen: false, allowed: None };
    let mut ranks = Lists::default();
    for block in cases.distinct_queries().chunks(BLOCK) {
        let mut timeline = Vec::new();
        let mut spans = Vec::with_capacity(block.len());
        for query in block {
            let from = timeline.len();
            timeline.extend(query.history.iter().chain(query.hidden));
            let (history, end) = (from..from + query.history.len(), timeline.len());
            let hidden = history.end..end;
            spans.push(Span { user: query.user, history, hidden, targets: from..end });
        }
        let targets = Cases::new(cases.n_items(), Arc::new(timeline), spans)?;
        teacher
            .target_ranks(&targets, &everything)?
            .iter()
            .for_each(|row| ranks.push(row.iter().copied()));
    }
    Ok(ranks)
}

/// The maximum length of the lists of a request for these cases.
#[must_use]
pub fn length(cases: &Cases, request: ListRequest) -> usize {
    question(cases, request).k
}

/// The parameters with which a teacher is queried.
#[must_use]
pub fn question(cases: &Cases, request: ListRequest) -> TopK<'static> {
    match request.candidates {
        Candidates::Unlabelled => TopK::unseen(request.k),
        Candidates::Everything => {
            let targets = cases.iter().map(|case| case.targets.len()).max().unwrap_or(0);
            TopK { k: request.k + targets, skip_seen: false, allowed: None }
        }
    }
}

/// About how many bytes [`record`] holds for this many distinct queries, without those of the teacher itself: the queries, and an
/// item and a score for each position of each list.
#[must_use]
pub fn memory(n_queries: usize, request: ListRequest) -> u64 {
    let query = size_of::<Query<'_>>() + size_of::<usize>();
    let position = size_of::<ItemId>() + size_of::<f32>();
    n_queries as u64 * (query as u64 + request.k as u64 * position as u64)
}

/// Checks that `answers` are lists for these queries, of at most `k` items of the catalogue.
///
/// # Errors
/// Says what they are instead.
pub fn check(
    name: &str,
    answers: &Rankings,
    queries: &[Query<'_>],
    k: usize,
    n_items: usize,
) -> Result<()> {
    if answers.len() != queries.len() {
        let (found, expected) = (answers.len(), queries.len());
        return Err(Error::Misaligned { teacher: name.to_owned(), found, expected });
    }
    if let Some(long) = answers.lists().iter().find(|list| list.len() > k) {
        let problem = format!("was asked for {k} items and returned {}", long.len());
        return Err(Error::Ranker { name: name.to_owned(), problem });
    }
    match answers.lists().values().iter().find(|&&item| item as usize >= n_items) {
        Some(&item) => Err(Error::UnknownItem { item: item as usize, n_items }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::{Interactions, Scorer};

    /// The score of item `i` of `n` is `i` for all users.
    struct Ascending(usize);
    impl Scorer for Ascending {
        fn n_items(&self) -> usize {
            self.0
        }
        fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
            for row in out.chunks_mut(self.0).take(queries.len()) {
                row.iter_mut().zip(0u16..).for_each(|(score, i)| *score = f32::from(i));
            }
        }
    }

    fn cases(lines: Vec<Vec<ItemId>>) -> Cases {
        Cases::each_interaction(&Interactions::new(6, Lists::from_iter(lines), None, None).unwrap())
    }

    fn unlabelled(k: usize) -> ListRequest {
        ListRequest { k, candidates: Candidates::Unlabelled }
    }

    #[test]
    fn lists_of_everything_are_longer_by_the_targets() {
        let cases = cases(vec![vec![5, 1], vec![], vec![3, 4, 5, 0]]);
        let request = ListRequest { k: 3, candidates: Candidates::Everything };
        let trace = record("up", &Ascending(6), &cases, request, &mut go_on).unwrap();
        assert_eq!(trace.last().items(0), [5, 4, 3, 2]);
    }

    #[test]
    fn labelled_items_are_ranked_in_the_whole_catalogue() {
        let cases = cases(vec![vec![5, 1], vec![], vec![3, 4, 5, 0]]);
        let ranks = labelled_ranks(&Ascending(6), &cases).unwrap();
        assert_eq!(ranks.iter().collect::<Vec<_>>(), [&[1, 5][..], &[], &[3, 2, 1, 6]]);
    }

    fn go_on(_: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn every_distinct_query_has_one_list_of_unlabelled_items() {
        let cases = cases(vec![vec![5, 1], vec![], vec![3, 4, 5, 0]]);
        let mut reported = Vec::new();
        let mut progress = |done, all| {
            reported.push((done, all));
            ControlFlow::Continue(())
        };
        let trace = record("up", &Ascending(6), &cases, unlabelled(3), &mut progress).unwrap();
        assert_eq!(reported, [(3, 3)]);
        assert_eq!(trace.teacher(), "up");
        assert_eq!(trace.last().items(0), [4, 3, 2]);
        assert_eq!(trace.last().items(1), [5, 4, 3]);
        assert_eq!(trace.last().items(2), [2, 1], "only two unlabelled items are left");
        trace.answers(&cases).unwrap();
    }

    #[test]
    fn blocks_have_the_lists_of_a_single_call() {
        let cases = cases((0..BLOCK as u32 + 700).map(|u| vec![u % 6]).collect());
        let trace = record("up", &Ascending(6), &cases, unlabelled(2), &mut go_on).unwrap();
        let whole = Ascending(6).rank(&cases.distinct_queries(), &TopK::unseen(2)).unwrap();
        assert_eq!(*trace.last(), whole.into());
    }

    #[test]
    fn a_recording_can_be_resumed() {
        let cases = cases((0..BLOCK as u32 + 700).map(|u| vec![u % 6]).collect());
        let (up, request) = (Ascending(6), unlabelled(2));
        let whole = record("up", &up, &cases, request, &mut go_on).unwrap();
        for stopped_after in [0, 1, BLOCK, cases.n_queries()] {
            let mut lists =
                whole.last().iter().take(stopped_after).map(<[_]>::to_vec).collect::<Vec<_>>();
            let mut keep = |answers: Rankings| {
                lists.extend(answers.lists().iter().map(<[_]>::to_vec));
                Ok(())
            };
            record_from(stopped_after, "up", &up, &cases, request, &mut keep, &mut go_on).unwrap();
            assert_eq!(lists, whole.last().iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_recording_can_be_stopped() {
        let cases = cases(vec![vec![1]]);
        let mut stop = |_, _| ControlFlow::Break(());
        let stopped = record("up", &Ascending(6), &cases, unlabelled(1), &mut stop);
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }

    /// Returns the same rankings to every call.
    struct Parrot(Rankings);
    impl Ranker for Parrot {
        fn rank(&self, _: &[Query<'_>], _: &TopK<'_>) -> Result<Rankings> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn a_teacher_that_answers_wrongly_is_named() {
        let cases = cases(vec![vec![1], vec![2]]);
        let wrong = |lists: Vec<Vec<ItemId>>| {
            let mut rankings = Rankings::default();
            lists
                .into_iter()
                .for_each(|list| rankings.push(list.into_iter().map(|item| (item, 0.0))));
            record("polly", &Parrot(rankings), &cases, unlabelled(2), &mut go_on).unwrap_err()
        };
        assert_eq!(
            wrong(vec![vec![0]]).to_string(),
            "teacher `polly` has rankings for 1 queries, the student's cases have 2"
        );
        assert_eq!(
            wrong(vec![vec![0], vec![3, 4, 5]]).to_string(),
            "ranker `polly`: was asked for 2 items and returned 3"
        );
        assert!(wrong(vec![vec![6], vec![]]).to_string().contains("item 6 is not in a catalogue"));
    }

    #[test]
    fn the_memory_grows_with_queries_and_positions() {
        let (one, long) = (memory(1000, unlabelled(10)), memory(1000, unlabelled(100)));
        assert_eq!(long - one, 1000 * 90 * 8);
        assert_eq!(memory(2000, unlabelled(10)), 2 * one);
    }
}
