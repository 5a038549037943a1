//! A teacher's lists of unlabelled items, and the student's ranks of these.

use super::labelled::Labelled;
use rankstill_core::{
    Answers, Cases, Error, ItemId, Lists, Query, Ranker, Result, Span, Tensors, TopK, Trace,
};
use std::sync::Arc;

/// The one trace that a method learns from.
///
/// # Errors
/// When there is not exactly one, it answers other cases, or it lists an item that is not in the catalogue.
pub(crate) fn one_teacher<'a>(name: &str, cases: &Cases, traces: &'a [Trace]) -> Result<&'a Trace> {
    let [trace] = traces else {
        let problem = format!(
            "{name} learns from one teacher, not {}; fuse several into one ranking first",
            traces.len()
        );
        return Err(Error::Config { key: "teachers".into(), problem });
    };
    trace.answers(cases)?;
    Ok(trace)
}

/// The first `k` unlabelled items of each of the teacher's lists.
pub(crate) fn unlabelled_lists(answers: &Answers, labelled: &Labelled, k: usize) -> Lists<ItemId> {
    let mut lists = Lists::with_capacity(answers.len(), 0);
    for (query, list) in answers.iter().enumerate() {
        lists.push(list.iter().copied().filter(|&item| !labelled.contains(query, item)).take(k));
    }
    lists
}

/// The first `k` unlabelled items of each of the teacher's lists, and their scores, parallel to the lists' values.
///
/// # Errors
/// When a score is NaN or infinite.
pub(crate) fn scored_lists(
    trace: &Trace,
    labelled: &Labelled,
    k: usize,
) -> Result<(Lists<ItemId>, Vec<f32>)> {
    let answers = trace.last();
    let (mut lists, mut scores) = (Lists::with_capacity(answers.len(), 0), Vec::new());
    for query in 0..answers.len() {
        let scored = answers.items(query).iter().zip(answers.scores(query));
        let kept = scored.filter(|(item, _)| !labelled.contains(query, **item)).take(k);
        lists.push(kept.map(|(&item, &score)| {
            scores.push(score);
            item
        }));
    }
    if scores.iter().any(|score| !score.is_finite()) {
        let problem = "some of its scores are not finite".into();
        return Err(Error::Ranker { name: trace.teacher().to_owned(), problem });
    }
    Ok((lists, scores))
}

/// The student's rank of each item of each distinct query's list, among the unlabelled items: 1-based, parallel to the lists'
/// values. Items that the student does not rank come last.
///
/// # Errors
/// When the student cannot be queried.
pub(crate) fn unlabelled_ranks(
    student: &dyn Ranker,
    cases: &Cases,
    lists: &Lists<ItemId>,
) -> Result<Vec<u32>> {
    ranks(student, cases.n_items(), &cases.distinct_queries(), lists, true)
}

/// The student's rank of each item of each query's list, among the items that the user has not seen (`skip_seen`) or among
/// all items: 1-based, parallel to the lists' values. Items that the student does not rank come last.
///
/// # Errors
/// When the student cannot be queried.
pub(crate) fn ranks(
    student: &dyn Ranker,
    n_items: usize,
    queries: &[Query<'_>],
    lists: &Lists<ItemId>,
    skip_seen: bool,
) -> Result<Vec<u32>> {
    let top = TopK { skip_seen, ..TopK::unseen(n_items) };
    // A ranker that can only list the whole catalogue holds this many items at a time: 8 million are 64 MB.
    let block_size = ((1 << 23) / n_items.max(1)).clamp(16, 1024);
    let mut ranks = Vec::with_capacity(lists.values().len());
    for (b, block) in queries.chunks(block_size).enumerate() {
        let mut timeline = Vec::new();
        let mut put = |items: &[ItemId]| {
            timeline.extend_from_slice(items);
            timeline.len() - items.len()..timeline.len()
        };
        let mut spans = Vec::with_capacity(block.len());
        for (i, query) in block.iter().enumerate() {
            let (history, hidden) = (put(query.history), put(query.hidden));
            let targets = put(lists.row(b * block_size + i));
            spans.push(Span { user: query.user, history, hidden, targets });
        }
        let targets = Cases::new(n_items, Arc::new(timeline), spans)?;
        let found = student.target_ranks(&targets, &top)?;
        let last = n_items as u32;
        ranks.extend(found.values().iter().map(|&rank| if rank == 0 { last } else { rank }));
    }
    if ranks.len() != lists.values().len() {
        return Err(Error::Length {
            what: "the student's ranks".into(),
            expected: lists.values().len(),
            found: ranks.len(),
        });
    }
    Ok(ranks)
}

/// A checkpoint of numbers that are parallel to the teacher's lists; nothing where there are none yet.
pub(crate) fn per_item_state(name: &str, numbers: &[u32]) -> Tensors {
    let mut state = Tensors::default();
    if !numbers.is_empty() {
        state.insert(name, &[numbers.len()], numbers.to_vec());
    }
    state
}

/// The numbers of [`per_item_state`].
///
/// # Errors
/// When they are not as many as the lists have items.
pub(crate) fn restore_per_item(
    name: &str,
    state: &Tensors,
    lists: &Lists<ItemId>,
) -> Result<Vec<u32>> {
    let numbers = match state.get(name) {
        None => Vec::new(),
        Some(_) => state.u32s(name)?.to_vec(),
    };
    let (found, expected) = (numbers.len(), lists.values().len());
    if found != 0 && found != expected {
        let problem = format!("holds {found} numbers, the teacher's lists {expected} items");
        return Err(Error::Tensor { name: name.to_owned(), problem });
    }
    Ok(numbers)
}
