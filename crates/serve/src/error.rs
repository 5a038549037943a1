//! Errors while a server is set up. An invalid request is a [`Problem`](crate::Problem) instead.

use std::path::PathBuf;

/// Result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of this crate. Messages are in lower case and name their subject.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model failed a check and is not served.
    #[error("model `{model}`: {problem}")]
    Refused {
        /// The model's name.
        model: String,
        /// What is wrong.
        problem: String,
    },
    /// An invalid setting.
    #[error("{key}: {problem}")]
    Setting {
        /// The name of the setting.
        key: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A failure of the network or the operating system.
    #[error("{what}: {source}")]
    Network {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The event store cannot be opened, read or written.
    #[error("{location}: {problem}")]
    Store {
        /// The file, or the database without its password.
        location: String,
        /// What is wrong.
        problem: String,
    },
    /// A certificate or its key cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// An error of `rankstill-core`.
    #[error(transparent)]
    Core(#[from] rankstill_core::Error),
}
