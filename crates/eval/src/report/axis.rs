//! Axes of pictures: from values to positions, round ticks, and short numbers.

/// An axis of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// With its unit.
    pub label: String,
    /// Logarithmic. Values that are not above 0 cannot be shown then, and are left out.
    pub log: bool,
}

impl Axis {
    /// Equal distances are equal differences.
    #[must_use]
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false }
    }

    /// Equal distances are equal ratios.
    #[must_use]
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true }
    }

    pub(super) fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }

    fn coordinate(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }
}

/// The span of values that an axis shows, in its own coordinates: powers of ten if it is logarithmic.
pub(super) struct Scale {
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// Spans the values, with this share of their span as room on both sides.
    pub fn new(axis: &Axis, values: &[f64], room: f64) -> Self {
        let coordinates = || values.iter().map(|value| axis.coordinate(*value));
        let (mut from, mut to) = (
            coordinates().fold(f64::INFINITY, f64::min),
            coordinates().fold(f64::NEG_INFINITY, f64::max),
        );
        if from > to {
            (from, to) = (0.0, 1.0);
        }
        let room = if to > from {
            (to - from) * room
        } else if axis.log {
            0.5
        } else {
            from.abs().max(1e-3) * 0.1
        };
        Self { log: axis.log, from: from - room, to: to + room }
    }

    /// Linear from 0 to `highest`.
    pub fn from_zero(highest: f64) -> Self {
        Self { log: false, from: 0.0, to: if highest > 0.0 { highest } else { 1.0 } }
    }

    /// Position between the two ends, from 0 to 1.
    pub fn share(&self, value: f64) -> f64 {
        let coordinate = if self.log { value.log10() } else { value };
        (coordinate - self.from) / (self.to - self.from)
    }

    /// Three to eight round numbers.
    pub fn ticks(&self) -> Vec<f64> {
        if !self.log || self.to - self.from < 0.4 {
            let (low, high) = (self.value(self.from), self.value(self.to));
            let step = round_step((high - low) / 8.0);
            let first = (low / step).ceil() as i64;
            let last = (high / step).floor() as i64;
            return (first..=last).map(|at| at as f64 * step).collect();
        }
        let decades = self.to - self.from;
        let within: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = (decades / 8.0).ceil() as i32;
        (self.from.floor() as i32..=self.to.ceil() as i32)
            .filter(|decade| decade % every == 0)
            .flat_map(|decade| within.iter().map(move |m| m * 10f64.powi(decade)))
            .filter(|value| (0.0..=1.0).contains(&self.share(*value)))
            .collect()
    }

    fn value(&self, coordinate: f64) -> f64 {
        if self.log { 10f64.powf(coordinate) } else { coordinate }
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|s| *s >= step * 0.999)
        .unwrap_or(step)
}

/// A number, short: 0.15, 1200, 3.4M.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let short = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    match size {
        0.0 => "0".into(),
        _ if !value.is_finite() => value.to_string(),
        _ if size >= 1e9 => format!("{}G", short(value / 1e9, 2)),
        _ if size >= 1e6 => format!("{}M", short(value / 1e6, 2)),
        _ if size >= 1e4 => format!("{}k", short(value / 1e3, 1)),
        _ if size >= 100.0 => short(value, 0),
        _ if size >= 0.001 => short(value, (3 - size.log10().floor() as i32).clamp(0, 6) as usize),
        _ => format!("{value:.2e}").replace(".00e", "e"),
    }
}

/// Numbers with the same number of decimals: 0.08, 0.09, 0.10.
pub(super) fn aligned_numbers(values: &[f64]) -> Vec<String> {
    let texts: Vec<String> = values.iter().map(|value| number(*value)).collect();
    if texts.iter().any(|text| text.contains(|c: char| c.is_alphabetic())) {
        return texts;
    }
    let decimals = |text: &String| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let most = texts.iter().map(decimals).max().unwrap_or(0);
    values.iter().map(|value| format!("{value:.most$}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.15, "0.15"),
            (0.05, "0.05"),
            (2.5, "2.5"),
            (150.0, "150"),
            (1200.0, "1200"),
            (34_000.0, "34k"),
            (3_400_000.0, "3.4M"),
            (0.0002, "2e-4"),
            (-0.1, "-0.1"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn numbers_of_an_axis_have_the_same_number_of_decimals() {
        assert_eq!(aligned_numbers(&[0.08, 0.09, 0.1]), ["0.08", "0.09", "0.10"]);
        assert_eq!(aligned_numbers(&[0.0, 500.0, 1000.0]), ["0", "500", "1000"]);
        assert_eq!(aligned_numbers(&[0.0, 5e5, 1e6]), ["0", "500k", "1M"]);
    }

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        let linear = |values: &[f64]| Scale::new(&Axis::linear("q"), values, 0.1).ticks();
        let ticks = linear(&[0.11, 0.29]);
        assert!((3..=8).contains(&ticks.len()), "{ticks:?}");
        assert!(ticks.iter().all(|t| (0.09..0.31).contains(t)));
        let log = |values: &[f64]| Scale::new(&Axis::log("t"), values, 0.1).ticks();
        assert_eq!(log(&[0.01, 1000.0]), [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]);
        assert!(log(&[3.0, 40.0]).len() >= 3);
        assert!(!log(&[7.0]).is_empty());
        assert!(log(&[]).len() > 1);
    }
}
