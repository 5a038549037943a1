//! A second model on trial, for a share of the requests. In a shadow trial the current model's answer is
//! returned, in a canary trial the challenger's. Both models answer the same requests, so their overlap,
//! order and latency can be compared before the challenger serves everyone. A guard ends a trial that misses
//! its targets.

use super::snapshot::Snapshot;
use crate::wire::{Guard, Id, Recommendations, TrialConfig, TrialReport};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A second model and its results so far.
pub(crate) struct Challenger {
    pub snapshot: Arc<Snapshot>,
    pub trial: TrialConfig,
    sums: Mutex<Sums>,
}

/// Sums over the comparisons.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    compared: u64,
    failed: u64,
    overlap: f64,
    rbo: f64,
    first_seconds: f64,
    second_seconds: f64,
}

/// Two answers to the same request, compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Agreement {
    pub overlap: f64,
    pub rbo: f64,
}

impl Challenger {
    pub fn new(snapshot: Snapshot, trial: TrialConfig) -> Self {
        Self { snapshot: Arc::new(snapshot), trial, sums: Mutex::default() }
    }

    /// Whether this request is in the trial. It depends on a hash of the user, or of the history if there is
    /// no user, so the same model always answers the same request.
    pub fn takes(&self, user: Option<&Id>, history: &[Id]) -> bool {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a
        let mut add = |text: &str| {
            for byte in text.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        match user {
            Some(user) => add(&user.0),
            None => history.iter().for_each(|item| add(&item.0)),
        }
        // FNV leaves the upper bits of similar texts similar: mix them once more.
        hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash >> 11) as f64 / (1u64 << 53) as f64) < self.trial.share
    }

    /// Adds a comparison. If the trial must end, also returns the reason.
    pub fn add_comparison(
        &self,
        first: &Recommendations,
        second: &Recommendations,
        took: [Duration; 2],
    ) -> (Agreement, Option<String>) {
        let compared = compare(first, second);
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.compared += 1;
        sums.overlap += compared.overlap;
        sums.rbo += compared.rbo;
        sums.first_seconds += took[0].as_secs_f64();
        sums.second_seconds += took[1].as_secs_f64();
        (compared, verdict(&sums, &self.trial.guard))
    }

    /// Counts a request that the challenger did not answer. Returns the reason if the trial must end.
    pub fn add_failure(&self) -> Option<String> {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.failed += 1;
        verdict(&sums, &self.trial.guard)
    }

    pub fn report(&self) -> TrialReport {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mean = |sum: f64| if sums.compared == 0 { 0.0 } else { sum / sums.compared as f64 };
        TrialReport {
            compared: sums.compared,
            failed: sums.failed,
            overlap: mean(sums.overlap),
            rbo: mean(sums.rbo),
            first_ms: mean(sums.first_seconds) * 1e3,
            second_ms: mean(sums.second_seconds) * 1e3,
        }
    }
}

fn verdict(sums: &Sums, guard: &Guard) -> Option<String> {
    let total = sums.compared + sums.failed;
    if total < guard.after.max(1) {
        return None;
    }
    let failures = sums.failed as f64 / total as f64;
    if failures > guard.max_failures {
        return Some(format!("{:.1}% of its answers failed", failures * 100.0));
    }
    let overlap = sums.overlap / sums.compared.max(1) as f64;
    if sums.compared > 0 && overlap < guard.min_overlap {
        return Some(format!(
            "it shares {overlap:.3} of the items, expected {}",
            guard.min_overlap
        ));
    }
    let ratio = sums.second_seconds / sums.first_seconds.max(1e-9);
    if ratio > guard.max_latency_ratio {
        return Some(format!(
            "it takes {ratio:.1} times as long, expected at most {}",
            guard.max_latency_ratio
        ));
    }
    None
}

/// The parameter p of rank-biased overlap: the probability that a user who has read one rank goes on to the next.
const PERSISTENCE: f64 = 0.9;

/// Overlap and rank-biased overlap (Webber, Moffat & Zobel, ACM TOIS 2010, equation 4) of two answers, to the
/// depth of the shorter one and scaled so that equal lists give 1. Two empty lists are equal.
fn compare(first: &Recommendations, second: &Recommendations) -> Agreement {
    let depth = first.items.len().min(second.items.len());
    let longer = first.items.len().max(second.items.len());
    if depth == 0 {
        let same = f64::from(u8::from(longer == 0));
        return Agreement { overlap: same, rbo: same };
    }
    let (mut a, mut b) = (BTreeSet::new(), BTreeSet::new());
    let (mut shared, mut sum, mut weight, mut weights) = (0usize, 0.0, 1.0, 0.0);
    for (at, (x, y)) in first.items.iter().zip(&second.items).enumerate() {
        let (x, y) = (&x.item, &y.item);
        if x == y {
            shared += 1;
        } else {
            shared += usize::from(b.contains(x)) + usize::from(a.contains(y));
        }
        a.insert(x);
        b.insert(y);
        sum += weight * shared as f64 / (at + 1) as f64;
        weights += weight;
        weight *= PERSISTENCE;
    }
    Agreement { overlap: shared as f64 / longer as f64, rbo: sum / weights }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{Kind, snapshot};
    use crate::wire::{Basis, Recommended, TrialMode};

    fn list(items: &[u32]) -> Recommendations {
        let item = |item: &u32| Recommended {
            item: Id(item.to_string()),
            score: 0.0,
            title: None,
            attributes: [].into(),
            because: vec![],
        };
        Recommendations {
            user: None,
            model: String::new(),
            version: String::new(),
            basis: Basis::User,
            items: items.iter().map(item).collect(),
            unknown_items: vec![],
            degraded: None,
        }
    }

    #[test]
    fn overlap_and_rank_biased_overlap_by_hand() {
        let found = compare(&list(&[1, 2, 3]), &list(&[1, 3, 4]));
        // Agreement at depths 1, 2, 3: 1, 1/2, 2/3; weights 1, .9, .81.
        let by_hand = (1.0 + 0.9 * 0.5 + 0.81 * 2.0 / 3.0) / (1.0 + 0.9 + 0.81);
        assert!((found.rbo - by_hand).abs() < 1e-12);
        assert!((found.overlap - 2.0 / 3.0).abs() < 1e-12);
        let of = |a: &[u32], b: &[u32]| compare(&list(a), &list(b));
        assert_eq!(of(&[5, 6], &[5, 6]), Agreement { overlap: 1.0, rbo: 1.0 });
        assert_eq!(of(&[5, 6], &[7, 8]), Agreement { overlap: 0.0, rbo: 0.0 });
        assert_eq!(of(&[], &[]), Agreement { overlap: 1.0, rbo: 1.0 });
        assert_eq!(of(&[], &[1]), Agreement { overlap: 0.0, rbo: 0.0 });
        assert!(of(&[5, 6], &[6, 5]).rbo < of(&[5, 6], &[5, 7]).rbo, "the first rank counts most");
    }

    fn challenger(share: f64, guard: Guard) -> Challenger {
        Challenger::new(
            snapshot(Kind::Unfactored),
            TrialConfig { mode: TrialMode::Shadow, share, guard },
        )
    }

    #[test]
    fn a_trial_takes_its_share_and_always_the_same_users() {
        for share in [0.0, 0.1, 0.5, 1.0] {
            let one = challenger(share, Guard::default());
            let takes = |user: u32| one.takes(Some(&Id(user.to_string())), &[]);
            let taken = (0..10_000).filter(|&user| takes(user)).count() as f64 / 1e4;
            assert!((taken - share).abs() < 0.015, "{taken} of {share}");
            assert_eq!(takes(7), takes(7));
        }
    }

    #[test]
    fn the_guard_ends_a_trial_only_if_it_misses_a_target() {
        let guard =
            Guard { after: 10, min_overlap: 0.5, max_latency_ratio: 2.0, max_failures: 0.1 };
        let ms = Duration::from_millis;
        let run = |second: &[u32], took: u64, fails: usize| {
            let one = challenger(1.0, guard.clone());
            let mut ends = None;
            for at in 0..20 {
                let end = if at < fails {
                    one.add_failure()
                } else {
                    one.add_comparison(&list(&[1, 2]), &list(second), [ms(10), ms(took)]).1
                };
                if let Some(why) = end {
                    ends = Some((at + 1, why));
                    break;
                }
            }
            ends
        };
        assert_eq!(run(&[2, 1], 19, 0), None);
        let (at, why) = run(&[3, 4], 10, 0).unwrap();
        assert!(at == 10 && why.contains("shares 0.000"), "{why}");
        assert!(run(&[1, 2], 21, 0).unwrap().1.contains("2.1 times"));
        assert!(run(&[1, 2], 10, 2).unwrap().1.contains("20.0% of its answers failed"));
        assert_eq!(run(&[1, 2], 10, 1), None);
        let one = challenger(1.0, guard);
        one.add_comparison(&list(&[1, 2]), &list(&[1, 3]), [ms(10), ms(30)]);
        let report = one.report();
        assert_eq!((report.compared, report.overlap), (1, 0.5));
        assert!((report.second_ms - 30.0).abs() < 1e-9);
    }
}
