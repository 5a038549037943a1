//! Errors of evaluation.

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// All errors of this crate. Messages are lower case and state both the invalid value and what is valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text does not name a metric.
    #[error("metric `{text}`: {problem}")]
    Metric {
        /// As written.
        text: String,
        /// What is wrong, and what is valid.
        problem: String,
    },
    /// The text does not name a dialect.
    #[error("unknown dialect `{text}`; one of: {valid}")]
    Dialect {
        /// As written.
        text: String,
        /// The valid names.
        valid: String,
    },
    /// The outcome lacks something that the metric needs.
    #[error("metric `{metric}` needs {needs}")]
    Missing {
        /// Name of the metric.
        metric: String,
        /// What is missing.
        needs: &'static str,
    },
    /// The case has no target, so no ranking of it is right or wrong.
    #[error("case {row} has no target; leave such cases out before measuring")]
    NoTarget {
        /// The case, 0-based.
        row: usize,
    },
    /// The list recommends the same item twice.
    #[error("ranking {row} lists item {item} twice")]
    Twice {
        /// The ranking, 0-based.
        row: usize,
        /// The item's dense id.
        item: u32,
    },
    /// No grade of a target.
    #[error(
        "case {row}, item {item}: a grade of {grade}, expected a finite number that is not negative"
    )]
    Grade {
        /// The case, 0-based.
        row: usize,
        /// The item's dense id.
        item: u32,
        /// The grade found.
        grade: f32,
    },
    /// Two lengths that must be equal are not.
    #[error("{what}: expected {expected}, found {found}")]
    Length {
        /// Of what.
        what: String,
        /// The valid length.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A statistical test is not defined for these numbers.
    #[error("{test}: {problem}")]
    Test {
        /// Name of the test or interval.
        test: &'static str,
        /// What is wrong, and what is valid.
        problem: String,
    },
    /// A ranker failed, or an item is not in the catalogue.
    #[error(transparent)]
    Core(#[from] rankstill_core::Error),
}
