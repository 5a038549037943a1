//! Trials of a second model: settings and results.

use super::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a second model is tried.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Trial)]
pub struct TrialConfig {
    /// Which model's answer the client gets.
    pub mode: TrialMode,
    /// Share of the requests in the trial; 0.1 is one in ten. A user is either always in it or never.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub share: f64,
    /// When the trial ends by itself.
    #[serde(default)]
    pub guard: Guard,
}

/// Which model's answer the client gets.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Mode)]
pub enum TrialMode {
    /// The current model's; the challenger's answer is only compared.
    Shadow,
    /// The challenger's.
    Canary,
}

/// Ends a trial automatically.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// Minimum number of comparisons before the guard acts.
    pub after: u64,
    /// Minimum share of items that both answers have in common, on average.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub min_overlap: f64,
    /// Maximum ratio of the challenger's mean latency to the current model's.
    pub max_latency_ratio: f64,
    /// Maximum share of the challenger's answers that may fail.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub max_failures: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { after: 100, min_overlap: 0.0, max_latency_ratio: 10.0, max_failures: 0.01 }
    }
}

impl TrialConfig {
    /// # Errors
    /// Names the invalid field.
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

/// The results of a trial so far.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TrialReport {
    /// Requests that both models answered.
    pub compared: u64,
    /// Requests that the challenger did not answer.
    pub failed: u64,
    /// Mean share of items that both answers have in common.
    pub overlap: f64,
    /// Mean rank-biased overlap of both answers, with p = 0.9.
    pub rbo: f64,
    /// Mean latency of the current model, in milliseconds.
    pub first_ms: f64,
    /// Mean latency of the challenger, in milliseconds.
    pub second_ms: f64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_invalid_trial_is_refused() {
        let field = |trial: &TrialConfig| trial.check().unwrap_err().errors[0].field.clone();
        let mut trial =
            TrialConfig { mode: TrialMode::Canary, share: 1.5, guard: Guard::default() };
        assert_eq!(field(&trial), "#/trial/share");
        trial.share = 1.0;
        assert!(trial.check().is_ok());
        trial.guard.max_latency_ratio = 0.0;
        assert_eq!(field(&trial), "#/trial/guard/max_latency_ratio");
    }
}
