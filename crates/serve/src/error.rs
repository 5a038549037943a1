//! What can go wrong while a server is set up; what goes wrong with a request is a [`Problem`](crate::problem::Problem).

use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One enum for the crate; messages are lower case and name what they are about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model that failed a check is not served.
    #[error("model `{model}`: {problem}")]
    Refused {
        /// Its name.
        model: String,
        /// What is wrong.
        problem: String,
    },
    /// A setting that cannot be.
    #[error("{key}: {problem}")]
    Setting {
        /// Which.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The network refused.
    #[error("{what}: {source}")]
    Network {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The event store cannot be opened, read or written.
    #[error("{place}: {problem}")]
    Store {
        /// The file, or the database without its password.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A certificate or its key cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    Tls {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// From the ground floor.
    #[error(transparent)]
    Core(#[from] rankstill_core::Error),
}
