//! Recommendations in the users' own ids.

use crate::core::{IndexedLog, Interactions, Query, Ranker, Result, TopK, Vocab};

/// The `k` best items for the user `id`, with scores, without those in the user's history. An unknown user gets what the model
/// recommends to a user without a history.
///
/// # Errors
/// When the model cannot answer.
pub fn recommend(
    model: &(impl Ranker + ?Sized),
    log: &IndexedLog,
    id: &str,
    k: usize,
) -> Result<Vec<(String, f32)>> {
    to_user(model, (&log.users, &log.items, &log.interactions), id, k)
}

pub(crate) fn to_user(
    model: &(impl Ranker + ?Sized),
    (users, items, history): (&Vocab, &Vocab, &Interactions),
    id: &str,
    k: usize,
) -> Result<Vec<(String, f32)>> {
    let user = users.get(id);
    let history = user.map_or(&[][..], |user| history.history(user));
    let rankings = model.rank(&[Query { user, history, hidden: &[] }], &TopK::unseen(k))?;
    let scored = rankings.items(0).iter().zip(rankings.scores(0));
    Ok(scored.map(|(&item, &score)| (items.id(item).into_owned(), score)).collect())
}
