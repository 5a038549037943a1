//! Whether two rankers differ significantly: paired tests and confidence intervals over the same cases.
//!
//! Several seeds are pooled first ([`pool`]): a case's value is its mean over the seeds. Such a test is over cases: it tells whether
//! these fitted models would differ on another sample of users. Whether other seeds would differ as well is what [`crossed`] tests,
//! which takes both users and seeds for a sample; with few seeds it is the stricter one.
//!
//! ```
//! use rankstill_eval::significance::{Zeros, holm, paired_t, wilcoxon};
//!
//! // nDCG@10 of the same five users with and without distillation: the differences are .1 .2 .1 .3 .1.
//! let taught = [0.5, 0.6, 0.3, 0.8, 0.4];
//! let alone = [0.4, 0.4, 0.2, 0.5, 0.3];
//! let differences: Vec<f64> = taught.iter().zip(alone).map(|(a, b)| a - b).collect();
//!
//! // Mean .16, standard deviation sqrt(.032 / 4): t = .16 / (that / sqrt(5)) = 4, with 4 degrees of freedom.
//! let t_test = paired_t(&differences)?;
//! assert!((t_test.t - 4.0).abs() < 1e-9);
//! assert!((t_test.p - 0.0161).abs() < 1e-4);
//!
//! let signed_rank = wilcoxon(&differences, Zeros::Pratt)?;
//! assert_eq!(signed_rank.statistic, 0.0); // no difference is negative
//! assert_eq!(holm(&[0.01, 0.04]), [0.02, 0.04]); // corrected for two tests
//! # Ok::<(), rankstill_eval::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::metric::mean;
use rankstill_core::kernel::rng::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Student's t-test of whether the mean of the differences is 0, two-sided.
///
/// # Errors
/// When there are fewer than two differences, or one is NaN or infinite.
pub fn paired_t(differences: &[f64]) -> Result<TTest> {
    check("paired t-test", differences)?;
    let n = differences.len();
    let mean = mean(differences);
    let deviation = deviation(differences, mean);
    let freedom = (n - 1) as f64;
    let t = if mean == 0.0 { 0.0 } else { mean / (deviation / (n as f64).sqrt()) };
    let effect = if mean == 0.0 { 0.0 } else { mean / deviation };
    Ok(TTest { n, mean, deviation, t, p: t_two_sided(t, freedom), effect })
}

/// Result of [`paired_t`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TTest {
    /// Number of pairs.
    pub n: usize,
    /// Mean of the differences.
    pub mean: f64,
    /// Sample standard deviation (n - 1) of the differences.
    pub deviation: f64,
    /// The statistic, with n - 1 degrees of freedom; 0 (and p = 1) if all differences are 0.
    #[serde(deserialize_with = "number", serialize_with = "finite")]
    pub t: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// Cohen's d of paired samples: mean / deviation.
    #[serde(deserialize_with = "number", serialize_with = "finite")]
    pub effect: f64,
}

/// Tests whether the mean difference is 0 for other users *and* other seeds, two-sided: a mixed model with crossed random effects of
/// cases and seeds, `difference = mean + case + seed + rest` (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4).
///
/// `differences` has a row per seed and a column per case. With the mean squares of a two-way layout without repetition, the mean's
/// variance is (MS_cases + MS_seeds - MS_rest) / (seeds x cases), with Satterthwaite's degrees of freedom. A component that would be
/// negative counts as 0, which leaves the larger of MS_cases and MS_seeds. Models without randomness get [`paired_t`]'s p.
///
/// # Errors
/// When there are fewer than two seeds or cases, seeds of different lengths, or a difference is NaN or infinite.
pub fn crossed<S: AsRef<[f64]>>(differences: &[S]) -> Result<Crossed> {
    const TEST: &str = "test over cases and seeds";
    if differences.len() < 2 {
        let problem = format!("needs at least 2 seeds, found {}", differences.len());
        return Err(Error::Test { test: TEST, problem });
    }
    let of_cases = pool(differences)?;
    check(TEST, &of_cases)?;
    let of_seeds: Vec<f64> = differences.iter().map(|seed| mean(seed.as_ref())).collect();
    let mean = mean(&of_cases);
    let (n_seeds, n_cases) = (of_seeds.len() as f64, of_cases.len() as f64);
    let about = |values: &[f64]| values.iter().fold(0.0, |sum, v| sum + (v - mean) * (v - mean));
    let rests = differences.iter().zip(&of_seeds).map(|(row, seed)| {
        let rest = |(value, case): (&f64, &f64)| value - case - seed + mean;
        row.as_ref().iter().zip(&of_cases).map(rest).fold(0.0, |sum, rest| sum + rest * rest)
    });
    let (free_cases, free_seeds) = (n_cases - 1.0, n_seeds - 1.0);
    let cases = n_seeds * about(&of_cases) / free_cases;
    let seeds = n_cases * about(&of_seeds) / free_seeds;
    let rest = rests.fold(0.0, |sum, rest| sum + rest) / (free_cases * free_seeds);
    let both = cases + seeds - rest;
    let (square, freedom) = if both > cases && both > seeds {
        let parts = [(cases, free_cases), (seeds, free_seeds), (rest, free_cases * free_seeds)];
        let spread = parts.iter().fold(0.0, |sum, (square, free)| sum + square * square / free);
        (both, both * both / spread)
    } else if cases >= seeds {
        (cases, free_cases)
    } else {
        (seeds, free_seeds)
    };
    let t = if mean == 0.0 { 0.0 } else { mean / (square / (n_seeds * n_cases)).sqrt() };
    Ok(Crossed { seeds: of_seeds.len(), t, freedom, p: t_two_sided(t, freedom), p_adjusted: None })
}

/// Result of [`crossed`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crossed {
    /// Number of seeds.
    pub seeds: usize,
    /// The statistic.
    #[serde(deserialize_with = "number", serialize_with = "finite")]
    pub t: f64,
    /// Its degrees of freedom.
    pub freedom: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// After Holm's correction over all comparisons of a table.
    pub p_adjusted: Option<f64>,
}

/// Wilcoxon's signed-rank test of whether the differences are symmetric about 0, two-sided (Wilcoxon, 1945).
///
/// Ties share their mean rank. With at most 50 differences, none 0 and no ties, p is exact; otherwise it
/// comes from the normal approximation with corrections for ties, zeros and continuity.
///
/// # Errors
/// When there are fewer than two differences, or one is NaN or infinite.
pub fn wilcoxon(differences: &[f64], zeros: Zeros) -> Result<Wilcoxon> {
    check("wilcoxon test", differences)?;
    let mut sorted = differences.to_vec();
    if zeros == Zeros::Drop {
        sorted.retain(|d| *d != 0.0);
    }
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let n = sorted.len();
    let n_zero = sorted.iter().take_while(|d| **d == 0.0).count();

    let (mut plus, mut minus, mut ties) = (0.0, 0.0, 0.0);
    let mut at = n_zero;
    while at < n {
        let size = sorted[at].abs();
        let end = at + sorted[at..].iter().take_while(|d| d.abs() == size).count();
        let rank = (at + 1 + end) as f64 / 2.0;
        for d in &sorted[at..end] {
            *(if *d > 0.0 { &mut plus } else { &mut minus }) += rank;
        }
        let tied = (end - at) as f64;
        ties += tied * (tied * tied - 1.0);
        at = end;
    }
    let statistic = f64::min(plus, minus);
    let exact = n <= 50 && n_zero == 0 && ties == 0.0;
    let p = if n == n_zero {
        1.0
    } else if exact {
        signed_rank_two_sided(n, statistic as usize)
    } else {
        let (n, n_zero) = (n as f64, n_zero as f64);
        let cubes = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0);
        let expected = (n * (n + 1.0) - n_zero * (n_zero + 1.0)) / 4.0;
        let variance = (cubes(n) - cubes(n_zero) - ties / 2.0) / 24.0;
        let away = ((statistic - expected).abs() - 0.5).max(0.0);
        libm::erfc(away / variance.sqrt() / std::f64::consts::SQRT_2)
    };
    let all = plus + minus;
    let effect = if all == 0.0 { 0.0 } else { (plus - minus) / all };
    Ok(Wilcoxon {
        n: n - n_zero,
        zeros: differences.len() - (n - n_zero),
        statistic,
        p,
        exact,
        effect,
    })
}

/// How [`wilcoxon`] treats differences of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zeros {
    /// Rank them with the others, then drop their ranks (Pratt, 1959), so that many ties of two models have
    /// an effect.
    #[default]
    Pratt,
    /// Drop them before ranking, as Wilcoxon did.
    Drop,
}

/// Result of [`wilcoxon`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wilcoxon {
    /// Number of differences that are not 0.
    pub n: usize,
    /// Number of differences that are 0.
    pub zeros: usize,
    /// The smaller of the rank sums of the positive and the negative differences.
    pub statistic: f64,
    /// Two-sided p-value; 1 if all differences are 0.
    pub p: f64,
    /// Whether p is computed from all sign patterns instead of the normal approximation.
    pub exact: bool,
    /// Rank-biserial correlation: (positive - negative) / sum of all ranks, from -1 to 1.
    pub effect: f64,
}

/// The percentile interval of the mean over `resamples` draws with replacement (Efron, 1979). Draw *i*
/// depends only on (seed, i).
///
/// # Errors
/// When there are fewer than two values, one is NaN or infinite, `level` is not between 0 and 1, or
/// `resamples` is 0.
pub fn bootstrap(values: &[f64], level: f64, resamples: usize, seed: u64) -> Result<Interval> {
    const TEST: &str = "bootstrap interval";
    check(TEST, values)?;
    if !(level > 0.0 && level < 1.0) {
        let problem = format!("the level must lie between 0 and 1, found {level}");
        return Err(Error::Test { test: TEST, problem });
    }
    if resamples == 0 {
        return Err(Error::Test {
            test: TEST,
            problem: "needs at least 1 resample, found 0".into(),
        });
    }
    let n = u32::try_from(values.len()).map_err(|_| Error::Test {
        test: TEST,
        problem: format!("takes at most {} values, found {}", u32::MAX, values.len()),
    })?;
    let resample = |i: usize| {
        let mut rng = Rng::keyed(seed, [BOOTSTRAP, i as u64]);
        let sum = (0..n).fold(0.0, |sum, _| sum + values[rng.below(n) as usize]);
        sum / f64::from(n)
    };
    let mut means: Vec<f64> = (0..resamples).into_par_iter().map(resample).collect();
    means.sort_by(f64::total_cmp);
    let outside = (1.0 - level) / 2.0;
    let (low, high) = (quantile(&means, outside), quantile(&means, 1.0 - outside));
    Ok(Interval { low, high, level, resamples })
}

/// The purpose that keys the random draws of the bootstrap.
const BOOTSTRAP: u64 = 0x424f_4f54;

/// A confidence interval of a mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Confidence level, such as 0.95.
    pub level: f64,
    /// Number of resamples.
    pub resamples: usize,
}

/// p-values corrected for multiple testing (Holm, Scandinavian Journal of Statistics 1979), in the given
/// order.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest: f64 = 0.0;
    for (before, at) in order.into_iter().enumerate() {
        largest = largest.max((p.len() - before) as f64 * p[at]).min(1.0);
        adjusted[at] = largest;
    }
    adjusted
}

/// One value per case: the mean over the seeds.
///
/// # Errors
/// When there is no seed, or the seeds have different numbers of cases.
pub fn pool<S: AsRef<[f64]>>(seeds: &[S]) -> Result<Vec<f64>> {
    let Some(first) = seeds.first() else {
        return Err(Error::Test { test: "pooling", problem: "there is no seed to pool".into() });
    };
    let expected = first.as_ref().len();
    if let Some(odd) = seeds.iter().find(|seed| seed.as_ref().len() != expected) {
        let what = "cases of a seed".into();
        return Err(Error::Length { what, expected, found: odd.as_ref().len() });
    }
    let value = |case: usize| {
        seeds.iter().fold(0.0, |sum, seed| sum + seed.as_ref()[case]) / seeds.len() as f64
    };
    Ok((0..expected).map(value).collect())
}

/// The mean and standard deviation of one value per seed.
#[must_use]
pub fn spread(values: &[f64]) -> Spread {
    let mean = mean(values);
    let deviation = (values.len() > 1).then(|| deviation(values, mean));
    Spread { mean, deviation, values: values.to_vec() }
}

/// A number that was measured with several seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean over the seeds.
    pub mean: f64,
    /// Sample standard deviation (n - 1) over the seeds; `None` for one seed.
    pub deviation: Option<f64>,
    /// One value per seed.
    pub values: Vec<f64>,
}

impl Spread {
    /// Half of the confidence interval of the mean by Student's t over the seeds; `None` for one seed. `level`: 0.95 for 95%.
    #[must_use]
    pub fn half_interval(&self, level: f64) -> Option<f64> {
        let n = self.values.len();
        let deviation = self.deviation?;
        let freedom = n.checked_sub(1).filter(|&freedom| freedom > 0)? as f64;
        // The t that is exceeded with probability 1 - level, by bisection: it is needed a few times per report.
        let (mut low, mut high) = (0.0, 1e6);
        for _ in 0..100 {
            let t = (low + high) / 2.0;
            if t_two_sided(t, freedom) > 1.0 - level { low = t } else { high = t }
        }
        Some(high * deviation / (n as f64).sqrt())
    }
}

/// The `q`-quantile of sorted values, interpolated linearly; 0 of no values.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[(at.ceil() as usize).min(last)]);
    low + (high - low) * at.fract()
}

fn check(test: &'static str, values: &[f64]) -> Result<()> {
    if values.len() < 2 {
        let problem = format!("needs at least 2 cases, found {}", values.len());
        return Err(Error::Test { test, problem });
    }
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let problem = format!("the value of case {at} is {}", values[at]);
            Err(Error::Test { test, problem })
        }
    }
}

/// Sample standard deviation: divided by n - 1.
fn deviation(values: &[f64], mean: f64) -> f64 {
    let squares = values.iter().fold(0.0, |sum, value| sum + (value - mean) * (value - mean));
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The probability that Student's t with `freedom` degrees of freedom is at least as far from 0 as `t`.
fn t_two_sided(t: f64, freedom: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    // 1 - x is passed too: near x = 1 it cannot be computed from x.
    let scale = freedom + t * t;
    incomplete_beta(freedom / 2.0, 0.5, freedom / scale, t * t / scale)
}

/// The regularised incomplete beta function of x (`complement` = 1 - x) by its continued fraction, evaluated
/// as in Lentz (1976).
fn incomplete_beta(a: f64, b: f64, x: f64, complement: f64) -> f64 {
    if x <= 0.0 || complement <= 0.0 {
        return f64::from(u8::from(x > 0.0));
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, complement, x); // the fraction converges fast only below that
    }
    let log_front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b)
        + a * log(x, complement)
        + b * log(complement, x);
    let away_from_0 = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_0(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..100_000 {
        let m = f64::from(m);
        for term in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / away_from_0(1.0 + term * d);
            c = away_from_0(1.0 + term / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    log_front.exp() * fraction / a
}

/// ln x, computed from 1 - x where x is near 1.
fn log(x: f64, complement: f64) -> f64 {
    if complement < 0.5 { libm::log1p(-complement) } else { x.ln() }
}

/// Twice the share of the 2^n sign patterns of the ranks 1 to n whose positive ranks sum to at most
/// `statistic`, capped at 1.
fn signed_rank_two_sided(n: usize, statistic: usize) -> f64 {
    // counts[s]: number of patterns whose positive ranks sum to s; exact, because 2^50 fits an f64.
    let mut counts = vec![0.0; n * (n + 1) / 2 + 1];
    counts[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..counts.len()).rev() {
            counts[sum] += counts[sum - rank];
        }
    }
    let below = counts[..=statistic].iter().fold(0.0, |sum, count| sum + count);
    (2.0 * below / 2f64.powi(n as i32)).min(1.0)
}

/// JSON has no infinity: the infinite t of differences that are all equal is written as null.
fn finite<S: serde::Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    value.is_finite().then_some(*value).serialize(to)
}

fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, proptest};
    use serde_json::Value;

    fn golden() -> Value {
        serde_json::from_str(include_str!("../tests/golden/significance.json")).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    fn close(found: f64, expected: &Value, what: &str) {
        let expected = expected.as_f64().unwrap();
        let error = (found - expected).abs() / expected.abs().max(1e-300);
        assert!(error < 1e-9 || found == expected, "{what}: found {found}, scipy {expected}");
    }

    #[test]
    fn tests_and_p_values_are_those_of_scipy() {
        let golden = golden();
        for case in golden["cases"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let d = numbers(&case["differences"]);
            let t = paired_t(&d).unwrap();
            close(t.t, &case["t"], name);
            close(t.p, &case["t_p"], name);
            for (zeros, key) in [(Zeros::Drop, "drop"), (Zeros::Pratt, "pratt")] {
                let found = wilcoxon(&d, zeros).unwrap();
                close(found.statistic, &case[key]["statistic"], name);
                close(found.p, &case[key]["p"], &format!("{name} {key}"));
                assert_eq!(found.exact, case[key]["exact"].as_bool().unwrap(), "{name} {key}");
            }
        }
    }

    #[test]
    fn the_t_distribution_is_that_of_scipy_far_out_too() {
        for row in golden()["t_two_sided"].as_array().unwrap() {
            let [t, freedom] = [&row[0], &row[1]].map(|v| v.as_f64().unwrap());
            close(t_two_sided(t, freedom), &row[2], &format!("t {t}, {freedom} degrees"));
        }
    }

    #[test]
    fn holm_is_as_published_and_by_hand() {
        // 4 * .005, 3 * .01, 2 * .03 and again the .06, which .04 must not fall below.
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, by_hand) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - by_hand).abs() < 1e-15);
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn equal_models_have_p_1_and_a_constant_gain_has_p_0() {
        let zero = [0.0; 5];
        assert_eq!((paired_t(&zero).unwrap().t, paired_t(&zero).unwrap().p), (0.0, 1.0));
        assert_eq!(wilcoxon(&zero, Zeros::Pratt).unwrap().p, 1.0);
        assert_eq!(wilcoxon(&zero, Zeros::Drop).unwrap().zeros, 5);
        let same = paired_t(&[0.5; 4]).unwrap();
        assert_eq!((same.t, same.p), (f64::INFINITY, 0.0));
        let json = serde_json::to_string(&same).unwrap();
        assert_eq!(serde_json::from_str::<TTest>(&json).unwrap(), same);
        let interval = bootstrap(&[0.5; 4], 0.95, 50, 1).unwrap();
        assert_eq!((interval.low, interval.high), (0.5, 0.5));
    }

    #[test]
    fn values_that_no_test_is_defined_for_are_refused() {
        assert!(paired_t(&[1.0]).unwrap_err().to_string().contains("at least 2"));
        assert!(
            wilcoxon(&[1.0, f64::NAN], Zeros::Drop).unwrap_err().to_string().contains("case 1")
        );
        assert!(bootstrap(&[1.0, 2.0], 95.0, 10, 0).unwrap_err().to_string().contains("95"));
        assert!(bootstrap(&[1.0, 2.0], 0.9, 0, 0).is_err());
        assert!(pool(&[vec![1.0], vec![1.0, 2.0]]).is_err());
        assert!(pool::<Vec<f64>>(&[]).is_err());
    }

    #[test]
    fn cases_and_seeds_together_by_hand() {
        // Seeds 0 and 1 with the means 2 and 4 over the cases, cases with the means 1, 3, 5; about the mean 3 and both effects 0, so
        // MS_rest = 0, MS_cases = 2 (4 + 0 + 4) / 2 = 8, MS_seeds = 3 (1 + 1) / 1 = 6: variance 14 / 6, freedom 14^2 / (64/2 + 36/1).
        let found = crossed(&[[0.0, 2.0, 4.0], [2.0, 4.0, 6.0]]).unwrap();
        assert!((found.t - 3.0 / (14.0f64 / 6.0).sqrt()).abs() < 1e-12, "{found:?}");
        assert!((found.freedom - 196.0 / 68.0).abs() < 1e-12);
        assert!((found.p - t_two_sided(found.t, found.freedom)).abs() < 1e-15);
        // Equal seeds add nothing: the test over cases. Equal cases: the test over seeds.
        let one = [0.1, 0.4, 0.2, 0.3];
        let (both, alone) = (crossed(&[one; 3]).unwrap(), paired_t(&one).unwrap());
        assert!((both.t - alone.t).abs() < 1e-9 && (both.p - alone.p).abs() < 1e-12);
        let (both, alone) = (crossed(&one.map(|seed| [seed; 5])).unwrap(), paired_t(&one).unwrap());
        assert!((both.t - alone.t).abs() < 1e-9 && (both.p - alone.p).abs() < 1e-12);
        assert!(crossed(&[one]).unwrap_err().to_string().contains("2 seeds"));
        assert!(crossed(&[vec![1.0, 2.0], vec![1.0]]).is_err());
    }

    #[test]
    fn under_no_difference_cases_and_seeds_reject_as_often_as_they_say() {
        // Effects of cases, of seeds and a rest, mean 0: some 5% of the p-values lie below .05; the test over cases alone says so of many.
        let (mut both, mut cases) = (0, 0);
        for trial in 0..400 {
            let mut rng = Rng::keyed(trial, [3]);
            let users: Vec<f64> = (0..100).map(|_| f64::from(rng.normal())).collect();
            let rows: Vec<Vec<f64>> = (0..5)
                .map(|_| {
                    let seed = 0.3 * f64::from(rng.normal());
                    users.iter().map(|user| user + seed + f64::from(rng.normal())).collect()
                })
                .collect();
            both += usize::from(crossed(&rows).unwrap().p < 0.05);
            cases += usize::from(paired_t(&pool(&rows).unwrap()).unwrap().p < 0.05);
        }
        assert!((8..=36).contains(&both), "{both} of 400");
        assert!(cases > 60, "{cases} of 400");
    }

    #[test]
    fn the_bootstrap_interval_is_that_of_the_normal_for_many_cases() {
        let mut rng = Rng::keyed(7, []);
        let values: Vec<f64> = (0..4000).map(|_| 1.0 + f64::from(rng.normal())).collect();
        let found = bootstrap(&values, 0.95, 2000, 1).unwrap();
        let half = 1.96 / 4000f64.sqrt();
        assert!((found.high - found.low - 2.0 * half).abs() < 0.1 * half, "{found:?}");
        assert_eq!(found, bootstrap(&values, 0.95, 2000, 1).unwrap());
        assert_ne!(found, bootstrap(&values, 0.95, 2000, 2).unwrap());
    }

    #[test]
    fn seeds_are_pooled_case_by_case_and_spread_as_a_sample() {
        assert_eq!(pool(&[[1.0, 0.0], [0.0, 0.5]]).unwrap(), [0.5, 0.25]);
        let found = spread(&[1.0, 2.0, 3.0]);
        assert_eq!((found.mean, found.deviation), (2.0, Some(1.0)));
        assert_eq!(spread(&[4.0]).deviation, None);
    }

    proptest! {
        #[test]
        fn exact_p_is_that_of_all_sign_patterns(n in 2usize..11, signs in any::<u32>()) {
            let d: Vec<f64> = (0..n).map(|i| (i + 1) as f64 * if signs >> i & 1 == 1 { 1.0 } else { -1.0 }).collect();
            let found = wilcoxon(&d, Zeros::Drop).unwrap();
            let sum = |pattern: u32| (0..n).filter(|i| pattern >> i & 1 == 1).map(|i| i + 1).sum::<usize>();
            let at_most = (0..1u32 << n).filter(|p| sum(*p) as f64 <= found.statistic).count();
            let p = (2.0 * at_most as f64 / (1u32 << n) as f64).min(1.0);
            prop_assert!(found.exact);
            prop_assert!((found.p - p).abs() < 1e-12);
        }

        #[test]
        fn holm_never_lowers_nor_reorders(p in prop::collection::vec(0.0f64..1.0, 1..12)) {
            let adjusted = holm(&p);
            for i in 0..p.len() {
                prop_assert!(adjusted[i] >= p[i] && adjusted[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
                }
            }
        }
    }
}
