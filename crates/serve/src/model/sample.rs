//! Users that a model is checked and measured with.

use rankstill_core::{Interactions, UserId};

/// Up to eight users with histories, spread over the log.
pub(super) fn few_users(history: &Interactions) -> Vec<UserId> {
    users(history, 8).collect()
}

/// Up to `n` users with histories, spread over the log.
pub(super) fn users(history: &Interactions, n: usize) -> impl Iterator<Item = UserId> {
    let n_users = history.n_users();
    let step = (n_users / n).max(1);
    let with_history = (0..n_users as UserId).filter(|&user| history.history(user).len() > 1);
    with_history.step_by(step).take(n)
}
