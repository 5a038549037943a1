//! Settings that are part of a metric's name, as in `rbo:0.95@50`.

use super::dialect::Dialect;

/// The settings of one metric, read from its name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MetricSettings {
    /// Number of ranks to look at, the `10` of `ndcg@10`; `None` where none is given.
    pub cut: Option<usize>,
    /// The number after `:`.
    pub parameter: Option<f64>,
    /// Whose definition.
    pub dialect: Dialect,
}

impl MetricSettings {
    /// The cut, or the largest number where there is none.
    #[must_use]
    pub fn n(&self) -> usize {
        self.cut.unwrap_or(usize::MAX)
    }

    /// For definitions: "the whole ranking" or "the first n".
    #[must_use]
    pub fn span(&self) -> String {
        match self.cut {
            None => "the whole ranking".to_owned(),
            Some(n) => format!("the first {n}"),
        }
    }
}
