//! Recommendations in the users' own ids.

use crate::core::{
    ColdStart, IndexedLog, ItemId, Query, Ranker, Result, TopK, Trained, UserId, Vocab,
};
use std::sync::Arc;

/// The `k` best items for the user `id`, with scores, without those in the user's history. Only items with interactions in `log` are
/// recommended; a user without any, and one that `log` does not know, gets the most popular of them, whose scores are their numbers
/// of interactions. See [`ColdStart`], which also ranks for many users at once.
///
/// # Errors
/// When the model cannot answer.
pub fn recommend(
    model: &(impl Ranker + ?Sized),
    log: &IndexedLog,
    id: &str,
    k: usize,
) -> Result<Vec<(String, f32)>> {
    let trained = Arc::new(Trained::on(&log.interactions));
    let history = |user| log.interactions.history(user);
    to_user(model, trained, (&log.users, &log.items), history, id, k)
}

pub(crate) fn to_user<'a>(
    model: &(impl Ranker + ?Sized),
    trained: Arc<Trained>,
    (users, items): (&Vocab, &Vocab),
    history: impl Fn(UserId) -> &'a [ItemId],
    id: &str,
    k: usize,
) -> Result<Vec<(String, f32)>> {
    let user = users.get(id);
    let query = Query { user, history: user.map_or(&[], history), hidden: &[] };
    let rankings = ColdStart::new(model, trained).rank(&[query], &TopK::unseen(k))?;
    let scored = rankings.items(0).iter().zip(rankings.scores(0));
    Ok(scored.map(|(&item, &score)| (items.id(item).into_owned(), score)).collect())
}
