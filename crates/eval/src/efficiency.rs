//! Latency: the time to answer all users and single requests, measured in turn for all models of a run, so
//! that a machine that slows down affects them alike.

use crate::error::Result;
use crate::significance::quantile;
use rankstill_core::kernel::simd;
use rankstill_core::{Query, Ranker, TopK};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Limits of a measurement of [`latency`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyBudget {
    /// Approximate time for all models together. Where one round for all users would take longer than half of it, rounds are for as
    /// many users as fit, spread over all.
    pub seconds: f64,
    /// Maximum number of rounds for all users.
    pub repeats: usize,
    /// Maximum number of single requests per model.
    pub requests: usize,
}

impl Default for LatencyBudget {
    fn default() -> Self {
        Self { seconds: 20.0, repeats: 7, requests: 2000 }
    }
}

/// How fast a model answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Length of the lists.
    pub k: usize,
    /// Number of queries per round: all of them, unless that would have taken too long.
    pub users: usize,
    /// Number of threads of a round; how many a single request uses is up to the ranker.
    pub threads: usize,
    /// Median time of a round: the `k` best items for all users; scaled up to all, where a round was for a part of them.
    pub all_users_seconds: f64,
    /// Time of the fastest round.
    pub all_users_fastest: f64,
    /// Number of rounds.
    pub repeats: usize,
    /// Milliseconds of a request: one query at a time.
    pub request_ms: Quantiles,
    /// Number of requests measured.
    pub requests: usize,
}

/// Quantiles of the times of single requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// 50% take at most this long.
    pub median: f64,
    /// 99% take at most this long.
    pub p99: f64,
}

/// Measures all `rankers` in turn: rounds of all `queries`, then single queries. Every ranker is warmed up
/// first. Returns one entry per ranker, in their order.
///
/// # Errors
/// When a ranker fails.
pub fn latency(
    rankers: &[&dyn Ranker],
    queries: &[Query<'_>],
    top: &TopK<'_>,
    budget: &LatencyBudget,
) -> Result<Vec<Latency>> {
    let began = Instant::now();
    let warm_up = &queries[..queries.len().min(WARM_UP)];
    for ranker in rankers {
        ranker.rank(warm_up, top)?;
    }
    let limit = Duration::from_secs_f64(budget.seconds.clamp(0.0, 86_400.0));
    let whole = began.elapsed().as_secs_f64() * queries.len() as f64 / warm_up.len().max(1) as f64;
    let affordable = (limit.as_secs_f64() / 2.0 / whole).min(1.0) * queries.len() as f64;
    let n = (affordable as usize).max(warm_up.len());
    let asked: Vec<Query<'_>> = (0..n).map(|at| queries[at * queries.len() / n]).collect();
    let scale = queries.len() as f64 / n.max(1) as f64;

    let mut rounds = vec![Vec::new(); rankers.len()];
    for _ in 0..budget.repeats.max(1) {
        let round = Instant::now();
        for (ranker, times) in rankers.iter().zip(&mut rounds) {
            times.push(time(|| ranker.rank(&asked, top))?);
        }
        // Half of the time is for the requests; no round starts that would overrun.
        if began.elapsed() + round.elapsed() > limit / 2 {
            break;
        }
    }

    let mut singles = vec![Vec::new(); rankers.len()];
    let requests = if queries.is_empty() { 0 } else { budget.requests };
    let began = Instant::now();
    for request in 0..requests {
        // Spread over the users; after one pass they repeat.
        let at = request * queries.len() / requests.min(queries.len()).max(1) % queries.len();
        for (ranker, times) in rankers.iter().zip(&mut singles) {
            times.push(time(|| ranker.rank(&queries[at..=at], top))? * 1e3);
        }
        if request >= 20 && began.elapsed() > limit / 2 {
            break;
        }
    }

    let entry = |(rounds, singles): (&mut Vec<f64>, &mut Vec<f64>)| {
        rounds.sort_by(f64::total_cmp);
        singles.sort_by(f64::total_cmp);
        Latency {
            k: top.k,
            users: n,
            threads: rayon::current_num_threads(),
            all_users_seconds: scale * quantile(rounds, 0.5),
            all_users_fastest: scale * quantile(rounds, 0.0),
            repeats: rounds.len(),
            request_ms: Quantiles { median: quantile(singles, 0.5), p99: quantile(singles, 0.99) },
            requests: singles.len(),
        }
    };
    Ok(rounds.iter_mut().zip(&mut singles).map(entry).collect())
}

/// Queries that every ranker is warmed up with, and the least of a round.
const WARM_UP: usize = 256;

/// Seconds that one call takes.
fn time<T>(call: impl FnOnce() -> rankstill_core::Result<T>) -> Result<f64> {
    let began = Instant::now();
    let answer = call()?;
    let seconds = began.elapsed().as_secs_f64();
    std::hint::black_box(answer);
    Ok(seconds)
}

/// The machine on which times were measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor, if the system reports it.
    pub cpu: String,
    /// Number of logical cores that this process may use.
    pub cores: usize,
    /// Number of threads of the run.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Operating system and architecture.
    pub platform: String,
}

impl Machine {
    /// This machine. `cpuinfo`: the text of Linux's `/proc/cpuinfo`; empty on other systems.
    #[must_use]
    pub fn describe(cpuinfo: &str) -> Self {
        let field = |key: &str| {
            let line =
                cpuinfo.lines().find(|line| line.split(':').next().map(str::trim) == Some(key));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let cpu =
            field("model name").or_else(|| field("Model")).unwrap_or_else(|| "unknown".into());
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads: rayon::current_num_threads(),
            isa: simd::isa().name().to_owned(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }

    /// A description in one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{}, {} logical cores, {} threads, {} kernels, {}",
            self.cpu, self.cores, self.threads, self.isa, self.platform
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::{Rankings, Result};
    use std::sync::Mutex;

    /// Takes this many milliseconds per call, and logs them with the number of queries.
    struct Slow<'a>(u64, &'a Mutex<Vec<(u64, usize)>>);

    impl Ranker for Slow<'_> {
        fn rank(&self, queries: &[Query<'_>], _: &TopK<'_>) -> Result<Rankings> {
            std::thread::sleep(Duration::from_millis(self.0));
            self.1.lock().unwrap().push((self.0, queries.len()));
            Ok(Rankings::default())
        }
    }

    #[test]
    fn models_are_queried_in_turn_and_the_slow_one_is_slower() {
        let log = Mutex::new(Vec::new());
        let (fast, slow) = (Slow(1, &log), Slow(8, &log));
        let queries = vec![Query::default(); 5];
        let budget = LatencyBudget { seconds: 5.0, repeats: 2, requests: 3 };
        let found = latency(&[&fast, &slow], &queries, &TopK::unseen(10), &budget).unwrap();
        assert!(found[0].all_users_seconds < found[1].all_users_seconds);
        assert!(found[1].request_ms.median >= 8.0 && found[1].request_ms.p99 >= 8.0);
        assert_eq!((found[0].repeats, found[0].requests, found[0].users), (2, 3, 5));
        let calls: Vec<_> = log.lock().unwrap().clone();
        let turns = [(1, 5), (8, 5), (1, 5), (8, 5), (1, 5), (8, 5)]; // warm-up and two rounds
        assert_eq!(calls[..6], turns);
        assert_eq!(calls[6..], [(1, 1), (8, 1), (1, 1), (8, 1), (1, 1), (8, 1)]);
    }

    #[test]
    fn where_all_users_take_too_long_a_part_of_them_is_asked() {
        let log = Mutex::new(Vec::new());
        let queries = vec![Query::default(); 40 * WARM_UP];
        // The warm-up takes at least 20 ms, all at this rate at least 800: more than half of the budget.
        let budget = LatencyBudget { seconds: 0.4, repeats: 1, requests: 1 };
        let found = latency(&[&Slow(20, &log)], &queries, &TopK::unseen(1), &budget).unwrap();
        assert!((WARM_UP..=10 * WARM_UP).contains(&found[0].users), "{}", found[0].users);
        let calls: Vec<_> = log.lock().unwrap().clone();
        assert_eq!(calls, [(20, WARM_UP), (20, found[0].users), (20, 1)]);
        let scale = queries.len() as f64 / found[0].users as f64;
        assert!(found[0].all_users_seconds >= scale * 0.02);
    }

    #[test]
    fn without_queries_or_rankers_nothing_is_measured() {
        let log = Mutex::new(Vec::new());
        let found =
            latency(&[&Slow(0, &log)], &[], &TopK::unseen(1), &LatencyBudget::default()).unwrap();
        assert_eq!((found[0].requests, found[0].request_ms.median), (0, 0.0));
        assert!(latency(&[], &[], &TopK::unseen(1), &LatencyBudget::default()).unwrap().is_empty());
    }

    #[test]
    fn the_processor_is_read_from_cpuinfo() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags : avx2\n";
        assert_eq!(Machine::describe(text).cpu, "AMD EPYC 9R14");
        assert_eq!(Machine::describe("").cpu, "unknown");
        assert!(Machine::describe("").line().contains("threads"));
    }
}
