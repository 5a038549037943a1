//! The errors of this crate.

use std::path::PathBuf;

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate. Messages are lower case and name both the value found and the
/// valid ones.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An item id outside the catalogue.
    #[error("item {item} is not in a catalogue of {n_items} items")]
    UnknownItem {
        /// The id.
        item: usize,
        /// The size of the catalogue.
        n_items: usize,
    },
    /// Two lengths that must agree differ.
    #[error("{what}: expected {expected}, found {found}")]
    Length {
        /// What has the wrong length.
        what: String,
        /// The expected length.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A teacher's trace has not one answer per query of the student's cases.
    #[error(
        "teacher `{teacher}` has rankings for {found} queries, the student's cases have {expected}"
    )]
    Misaligned {
        /// The teacher's name.
        teacher: String,
        /// How many queries it answered.
        found: usize,
        /// How many distinct queries the student's cases have.
        expected: usize,
    },
    /// An invalid configuration.
    #[error("{key}: {problem}")]
    Config {
        /// The key, as a dotted path.
        key: String,
        /// What is wrong and what would be valid.
        problem: String,
    },
    /// Data that cannot be trained on.
    #[error("data: {problem}")]
    Data {
        /// What is wrong and what would be valid.
        problem: String,
    },
    /// A checkpoint that does not belong to this run.
    #[error("checkpoint: {problem}")]
    Checkpoint {
        /// What is wrong and what would be valid.
        problem: String,
    },
    /// A tensor that is missing or has the wrong shape.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong and what would be valid.
        problem: String,
    },
    /// A file with invalid content.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be valid.
        problem: String,
    },
    /// Reading or writing failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The loss became NaN or infinite.
    #[error("training diverged in epoch {epoch}: the loss is {loss}; lower the learning rate")]
    Diverged {
        /// The epoch, 0-based.
        epoch: usize,
        /// The loss.
        loss: f64,
    },
    /// An external ranker failed.
    #[error("ranker `{name}`: {problem}")]
    Ranker {
        /// Its name.
        name: String,
        /// The cause.
        problem: String,
    },
    /// The user stopped the run; its state is in the checkpoint.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// For `map_err` on I/O results.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The same error, with the key of a configuration error placed below the dotted `path`; an empty path
    /// changes nothing.
    #[must_use]
    pub fn under(self, path: &str) -> Self {
        match self {
            Self::Config { key, problem } if !path.is_empty() => {
                Self::Config { key: format!("{path}.{key}"), problem }
            }
            other => other,
        }
    }
}

/// [`Error::under`] for results.
///
/// ```
/// use rankstill_core::{Error, Result, UnderPath};
///
/// let checked: Result<()> = Err(Error::Config { key: "k".into(), problem: "must be at least 1".into() });
/// let error = checked.under("distill").under("models.student").unwrap_err();
/// assert_eq!(error.to_string(), "models.student.distill.k: must be at least 1");
/// ```
pub trait UnderPath {
    /// See [`Error::under`].
    #[must_use]
    fn under(self, path: &str) -> Self;
}

impl<T> UnderPath for Result<T> {
    fn under(self, path: &str) -> Self {
        self.map_err(|error| error.under(path))
    }
}
