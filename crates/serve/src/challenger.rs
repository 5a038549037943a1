//! A second model beside the one that answers: silently (shadow), or in its place for a share of the requests (canary). Both answer
//! the same requests, so that what differs is seen before everybody gets it: how many items they share, how alike the orders are,
//! which is quicker. A guard ends the comparison when that is not what was promised.

use crate::problem::Problem;
use crate::request::{Id, Recommendations};
use crate::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use utoipa::ToSchema;

/// How a second model is tried.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Whose answer is given.
    pub mode: Mode,
    /// Of how many requests: 0.1 is every tenth. A user is always within it or never.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub share: f64,
    /// When it is ended.
    #[serde(default)]
    pub guard: Guard,
}

/// Whose answer is given.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The first model's; the second one answers silently.
    Shadow,
    /// The second one's.
    Canary,
}

/// Ends a trial by itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// Not before so many comparisons.
    pub after: u64,
    /// When fewer than this share of the items are in both answers, on average.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub min_overlap: f64,
    /// When it takes more than so many times as long, on average.
    pub max_latency_ratio: f64,
    /// When more than this share of its answers failed.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub max_failures: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { after: 100, min_overlap: 0.0, max_latency_ratio: 10.0, max_failures: 0.01 }
    }
}

impl Trial {
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), Problem> {
        let shares = [
            ("#/trial/share", self.share),
            ("#/trial/guard/min_overlap", self.guard.min_overlap),
            ("#/trial/guard/max_failures", self.guard.max_failures),
        ];
        for (field, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(Problem::field(field, format!("expected 0 to 1, found {value}")));
            }
        }
        let ratio = self.guard.max_latency_ratio;
        if ratio.is_nan() || ratio <= 0.0 {
            let problem = format!("expected more than 0, found {ratio}");
            return Err(Problem::field("#/trial/guard/max_latency_ratio", problem));
        }
        Ok(())
    }
}

/// A second model and what is known of it so far.
pub(crate) struct Challenger {
    pub snapshot: Arc<Snapshot>,
    pub trial: Trial,
    sums: Mutex<Sums>,
}

/// What was seen in the comparisons.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    compared: u64,
    failed: u64,
    overlap: f64,
    rbo: f64,
    first_seconds: f64,
    second_seconds: f64,
}

/// How a trial goes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TrialReport {
    /// Requests that both answered.
    pub compared: u64,
    /// Requests that the second one did not answer.
    pub failed: u64,
    /// The share of items that are in both answers, on average.
    pub overlap: f64,
    /// How alike the orders are: rank-biased overlap with p = 0.9, on average.
    pub rbo: f64,
    /// Milliseconds that the first model computed, on average.
    pub first_ms: f64,
    /// Milliseconds that the second one computed.
    pub second_ms: f64,
}

/// What one comparison came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Compared {
    pub overlap: f64,
    pub rbo: f64,
}

impl Challenger {
    pub fn new(snapshot: Snapshot, trial: Trial) -> Self {
        Self { snapshot: Arc::new(snapshot), trial, sums: Mutex::default() }
    }

    /// Whether this request is one of its share: by the user, or by the history where there is none, so that the same question
    /// is answered by the same model.
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
        // The last multiplication leaves the upper bits of like texts alike: stir them once more.
        hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash >> 11) as f64 / (1u64 << 53) as f64) < self.trial.share
    }

    /// Takes a comparison down; says why the trial must end, if it must.
    pub fn compared(
        &self,
        first: &Recommendations,
        second: &Recommendations,
        took: [Duration; 2],
    ) -> (Compared, Option<String>) {
        let compared = compare(first, second);
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.compared += 1;
        sums.overlap += compared.overlap;
        sums.rbo += compared.rbo;
        sums.first_seconds += took[0].as_secs_f64();
        sums.second_seconds += took[1].as_secs_f64();
        (compared, verdict(&sums, &self.trial.guard))
    }

    /// The second model did not answer.
    pub fn failed(&self) -> Option<String> {
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
    let asked = sums.compared + sums.failed;
    if asked < guard.after.max(1) {
        return None;
    }
    let failures = sums.failed as f64 / asked as f64;
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

/// The patience of somebody who reads a list: they go on to the next place with this probability.
const PATIENCE: f64 = 0.9;

/// Overlap and rank-biased overlap (Webber, Moffat & Zobel, ACM TOIS 2010, equation 4) of two answers to the depth of the shorter
/// one, scaled so that equal lists give 1. Two empty lists are equal.
fn compare(first: &Recommendations, second: &Recommendations) -> Compared {
    let depth = first.items.len().min(second.items.len());
    let longer = first.items.len().max(second.items.len());
    if depth == 0 {
        let same = f64::from(u8::from(longer == 0));
        return Compared { overlap: same, rbo: same };
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
        weight *= PATIENCE;
    }
    Compared { overlap: shared as f64 / longer as f64, rbo: sum / weights }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::{Basis, Recommended};
    use crate::testing::{Kind, snapshot};

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
    fn overlap_and_its_rank_biased_cousin_by_hand() {
        let found = compare(&list(&[1, 2, 3]), &list(&[1, 3, 4]));
        // Agreement at depths 1, 2, 3: 1, 1/2, 2/3; weights 1, .9, .81.
        let by_hand = (1.0 + 0.9 * 0.5 + 0.81 * 2.0 / 3.0) / (1.0 + 0.9 + 0.81);
        assert!((found.rbo - by_hand).abs() < 1e-12);
        assert!((found.overlap - 2.0 / 3.0).abs() < 1e-12);
        let of = |a: &[u32], b: &[u32]| compare(&list(a), &list(b));
        assert_eq!(of(&[5, 6], &[5, 6]), Compared { overlap: 1.0, rbo: 1.0 });
        assert_eq!(of(&[5, 6], &[7, 8]), Compared { overlap: 0.0, rbo: 0.0 });
        assert_eq!(of(&[], &[]), Compared { overlap: 1.0, rbo: 1.0 });
        assert_eq!(of(&[], &[1]), Compared { overlap: 0.0, rbo: 0.0 });
        assert!(of(&[5, 6], &[6, 5]).rbo < of(&[5, 6], &[5, 7]).rbo, "the first place counts most");
    }

    fn challenger(share: f64, guard: Guard) -> Challenger {
        Challenger::new(snapshot(Kind::Rows), Trial { mode: Mode::Shadow, share, guard })
    }

    #[test]
    fn a_share_is_a_share_and_the_same_users() {
        for share in [0.0, 0.1, 0.5, 1.0] {
            let one = challenger(share, Guard::default());
            let takes = |user: u32| one.takes(Some(&Id(user.to_string())), &[]);
            let taken = (0..10_000).filter(|&user| takes(user)).count() as f64 / 1e4;
            assert!((taken - share).abs() < 0.015, "{taken} of {share}");
            assert_eq!(takes(7), takes(7));
        }
    }

    #[test]
    fn the_guard_ends_what_was_not_promised_and_nothing_else() {
        let guard =
            Guard { after: 10, min_overlap: 0.5, max_latency_ratio: 2.0, max_failures: 0.1 };
        let ms = Duration::from_millis;
        let run = |second: &[u32], took: u64, fails: usize| {
            let one = challenger(1.0, guard.clone());
            let mut ends = None;
            for at in 0..20 {
                let end = if at < fails {
                    one.failed()
                } else {
                    one.compared(&list(&[1, 2]), &list(second), [ms(10), ms(took)]).1
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
        one.compared(&list(&[1, 2]), &list(&[1, 3]), [ms(10), ms(30)]);
        let report = one.report();
        assert_eq!((report.compared, report.overlap), (1, 0.5));
        assert!((report.second_ms - 30.0).abs() < 1e-9);
    }

    #[test]
    fn a_trial_that_cannot_be_is_refused() {
        let told = |trial: &Trial| trial.check().unwrap_err().errors[0].field.clone();
        let mut trial = Trial { mode: Mode::Canary, share: 1.5, guard: Guard::default() };
        assert_eq!(told(&trial), "#/trial/share");
        trial.share = 1.0;
        assert!(trial.check().is_ok());
        trial.guard.max_latency_ratio = 0.0;
        assert_eq!(told(&trial), "#/trial/guard/max_latency_ratio");
    }
}
