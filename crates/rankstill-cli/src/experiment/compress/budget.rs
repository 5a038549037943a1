//! What a student may cost, and which one is chosen.

use anyhow::{Result, bail, ensure};
use rankstill::eval::ModelReport;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is asked of the student.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The share of the ensemble's quality that it must keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Share>,
    /// The memory that it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size>,
    /// The median time of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<Micros>,
}

/// The share that is kept where nothing else is asked.
pub const KEEP: f64 = 0.97;

impl Budget {
    /// Whether a model costs at most what was allowed.
    #[must_use]
    pub fn allows(&self, model: &ModelReport) -> bool {
        let within = |found: Option<f64>, most: f64| found.is_some_and(|found| found <= most);
        let small = match self.max_bytes {
            None => true,
            Some(Size::All(bytes)) => within(model.bytes_in_memory.map(|n| n as f64), bytes as f64),
            Some(Size::PerItem(bytes)) => within(model.bytes_per_item, bytes as f64 + 0.5),
        };
        let micros = model.latency.as_ref().map(|latency| latency.request_ms.median * 1e3);
        small && self.max_latency.is_none_or(|most| within(micros, most.0))
    }

    /// The share to keep; `None`: as much as the budget allows.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let limited = self.max_bytes.is_some() || self.max_latency.is_some();
        self.keep.map(|share| share.0).or((!limited).then_some(KEEP))
    }
}

/// A share of the ensemble's quality, above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
            None => text.parse(),
        };
        match share {
            Ok(share) if share > 0.0 && share <= 1.0 => Ok(Self(share)),
            _ => bail!("expected a share such as 95% or 0.95, found `{text}`"),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// Of everything that must be in memory to answer.
    All(u64),
    /// Of the item side, for each item.
    PerItem(u64),
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            || anyhow::anyhow!("expected a size such as 5MB, 800KiB or 40B/item, found `{text}`");
        let (size, per_item) = match text.trim().strip_suffix("/item") {
            Some(size) => (size, true),
            None => (text.trim(), false),
        };
        let digits = size.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(size.len());
        let number: f64 = size[..digits].parse().map_err(|_| wrong())?;
        let unit = match size[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        let bytes = number * unit;
        ensure!((1.0..1e18).contains(&bytes), wrong());
        Ok(if per_item { Self::PerItem(bytes as u64) } else { Self::All(bytes as u64) })
    }
}

/// A time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Micros(pub f64);

impl FromStr for Micros {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || anyhow::anyhow!("expected a time such as 200us or 1.5ms, found `{text}`");
        let trimmed = text.trim();
        let digits =
            trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let number: f64 = trimmed[..digits].parse().map_err(|_| wrong())?;
        let unit = match trimmed[digits..].trim() {
            "us" | "µs" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => return Err(wrong()),
        };
        ensure!(number > 0.0 && number.is_finite(), wrong());
        Ok(Self(number * unit))
    }
}

/// The mean of a model's values as a share of another's, with its 95% interval: both are means over the same cases, so the variance is
/// that of value - share x other (the delta method for a ratio of paired means).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// The share.
    pub share: f64,
    /// Half the width of the interval.
    pub margin: f64,
}

impl Kept {
    /// Of the values of the same cases.
    #[must_use]
    pub fn of(values: &[f64], others: &[f64]) -> Self {
        let n = values.len().min(others.len()).max(1) as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
        let other = mean(others);
        if other <= 0.0 {
            return Self { share: 1.0, margin: f64::INFINITY };
        }
        let share = mean(values) / other;
        let squares: f64 =
            values.iter().zip(others).map(|(a, b)| (a - share * b).powi(2)).sum::<f64>();
        Self { share, margin: 1.96 * (squares / (n - 1.0).max(1.0) / n).sqrt() / other }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| 100.0 * share;
        let (low, high) = (self.share - self.margin, self.share + self.margin);
        write!(f, "{:.1}% ({:.1} to {:.1})", percent(self.share), percent(low), percent(high))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn budgets_are_read_as_people_write_them() {
        let share = |text: &str| text.parse::<Share>().map(|share| share.0);
        assert_eq!((share("95%").unwrap(), share("0.9").unwrap()), (0.95, 0.9));
        assert!(share("95").is_err() && share("0%").is_err() && share("much").is_err());
        let size = |text: &str| text.parse::<Size>();
        assert_eq!(size("5MB").unwrap(), Size::All(5_000_000));
        assert_eq!(size("1.5 KiB").unwrap(), Size::All(1536));
        assert_eq!(size("40B/item").unwrap(), Size::PerItem(40));
        assert!(size("5 parsecs").is_err() && size("-1").is_err() && size("0").is_err());
        let time = |text: &str| text.parse::<Micros>().map(|time| time.0);
        assert_eq!((time("200us").unwrap(), time("1.5ms").unwrap()), (200.0, 1500.0));
        assert!(time("200").is_err() && time("0us").is_err());
    }

    #[test]
    fn a_share_has_the_interval_of_a_ratio_of_paired_means() {
        // Means .3 and .4: .75. Residuals a - .75 b: .1, -.1, 0: variance .01, error of the mean .0577, over .4: .144.
        let kept = Kept::of(&[0.4, 0.2, 0.3], &[0.4, 0.4, 0.4]);
        assert!((kept.share - 0.75).abs() < 1e-12);
        assert!((kept.margin - 1.96 * (0.01f64 / 3.0).sqrt() / 0.4).abs() < 1e-12);
        let same = Kept::of(&[0.1, 0.9], &[0.1, 0.9]);
        assert_eq!((same.share, same.margin), (1.0, 0.0));
        assert_eq!(Kept::of(&[0.0], &[0.0]).share, 1.0, "nothing to keep");
    }
}
