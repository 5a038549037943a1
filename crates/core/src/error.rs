//! What can go wrong on the ground floor.

use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One enum for the crate; messages are lower case and carry both values, the found and the right one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An item id outside the catalogue.
    #[error("item {item} is not in a catalogue of {n_items} items")]
    UnknownItem {
        /// The id.
        item: usize,
        /// The catalogue's size.
        n_items: usize,
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
    /// A teacher's trace does not answer the cases it is to teach.
    #[error("teacher `{teacher}` answered {found} cases, the student asks {expected}")]
    Misaligned {
        /// Its name.
        teacher: String,
        /// Its answers.
        found: usize,
        /// The student's cases.
        expected: usize,
    },
    /// A configuration that cannot be.
    #[error("{key}: {problem}")]
    Config {
        /// Where, as a dotted path.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A tensor that is missing or has another shape.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A file that cannot be trusted.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Reading or writing failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Training produced a number that is none.
    #[error("training diverged in epoch {epoch}: the loss is {loss}; lower the learning rate")]
    Diverged {
        /// In which epoch.
        epoch: usize,
        /// The loss.
        loss: f64,
    },
    /// A ranker elsewhere failed.
    #[error("ranker `{name}`: {problem}")]
    Ranker {
        /// Its name.
        name: String,
        /// Why.
        problem: String,
    },
    /// The user stopped it; what was done is kept in the checkpoint.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// For `map_err` on I/O.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
