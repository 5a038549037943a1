//! Small logs for this crate's tests.

use crate::Log;
use crate::timelines::{LogColumns, Timelines};
use rankstill_core::Vocab;
use rankstill_core::kernel::rng::Rng;

/// One user with `n` rows, at times 0, 1, ...
pub fn one_user(n: usize) -> Timelines {
    Timelines {
        n_items: n,
        starts: vec![0, n],
        items: (0..n as u32).collect(),
        times: Some((0..n as i64).collect()),
        ..Timelines::default()
    }
}

/// Users with 1 to `longest` rows at random.
pub fn lines(n_users: usize, longest: u32, seed: u64) -> Timelines {
    let mut rng = Rng::new(seed);
    let (mut users, mut items, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for user in 0..n_users {
        for _ in 0..=rng.below(longest) {
            users.push(user as u32);
            items.push(rng.below(30));
            times.push(i64::from(rng.below(1000)));
        }
    }
    let columns = LogColumns { items, times: Some(times), ..LogColumns::default() };
    Timelines::group(n_users, 30, users, columns)
}

/// The rows of users with 1 to 20 rows at random, with times, in the order of the users.
pub fn log(n_users: u32, n_items: u32, seed: u64) -> Log {
    let mut rng = Rng::new(seed);
    let (mut log, mut times) = (Log::default(), Vec::new());
    for user in 0..n_users {
        for _ in 0..=rng.below(20) {
            log.users.push(user);
            log.items.push(log.item_ids.intern_int(i64::from(rng.below(n_items)) + 1000));
            times.push(i64::from(rng.below(1000)));
        }
    }
    log.user_ids = (0..n_users).fold(Vocab::new(), |mut ids, user| {
        ids.intern(&format!("user {user}"));
        ids
    });
    Log { times: Some(times), ..log }
}
