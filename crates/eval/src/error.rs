//! What can go wrong when measuring.

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One enum for the crate; messages are lower case and carry both values, the found and the right one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that names no metric.
    #[error("metric `{text}`: {problem}")]
    Metric {
        /// As it was written.
        text: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A text that names no dialect.
    #[error("unknown dialect `{text}`; one of: {valid}")]
    Dialect {
        /// As it was written.
        text: String,
        /// The names there are.
        valid: String,
    },
    /// A metric was asked of an outcome that lacks what it looks at.
    #[error("metric `{metric}` needs {needs}")]
    Missing {
        /// Its name.
        metric: String,
        /// What there would have to be.
        needs: &'static str,
    },
    /// A case that cannot be right or wrong.
    #[error("case {row} has no target; leave such cases out before measuring")]
    NoTarget {
        /// Which, 0-based.
        row: usize,
    },
    /// A list that recommends the same item twice.
    #[error("ranking {row} lists item {item} twice")]
    Twice {
        /// Which, 0-based.
        row: usize,
        /// The item's dense id.
        item: u32,
    },
    /// Two things that must be equally long are not.
    #[error("{what}: expected {expected}, found {found}")]
    Length {
        /// Of what.
        what: String,
        /// The right length.
        expected: usize,
        /// The found one.
        found: usize,
    },
    /// Numbers that no test can be made of.
    #[error("{test}: {problem}")]
    Test {
        /// Which test or interval.
        test: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A ranker did not answer, or an item is not in the catalogue.
    #[error(transparent)]
    Core(#[from] rankstill_core::Error),
}
