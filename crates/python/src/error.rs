//! Errors of all crates as exceptions of Python.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyKeyError, PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;
use rankstill::{core, data, eval, serve};
use std::error::Error;
use std::io;

create_exception!(
    rankstill,
    ConfigError,
    PyValueError,
    "A setting that is unknown or out of range; the message begins with its key."
);
create_exception!(
    rankstill,
    DataError,
    PyValueError,
    "Data that cannot be used; the message names the file or table, and the line or row."
);
create_exception!(
    rankstill,
    RankstillError,
    PyException,
    "What went wrong although settings and data are right: training diverged, a ranker failed."
);

/// Any error on its way to Python.
pub struct Failure(PyErr);

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<core::Error> for Failure {
    fn from(error: core::Error) -> Self {
        Self(of_core(&error, error.to_string()))
    }
}

impl From<data::Error> for Failure {
    fn from(error: data::Error) -> Self {
        Self(of_data(&error, error.to_string()))
    }
}

impl From<eval::Error> for Failure {
    fn from(error: eval::Error) -> Self {
        Self(of_eval(&error, error.to_string()))
    }
}

impl From<serve::Error> for Failure {
    fn from(error: serve::Error) -> Self {
        let message = error.to_string();
        Self(match &error {
            serve::Error::Setting { .. } => ConfigError::new_err(message),
            serve::Error::Network { source, .. } => of_io(source, message),
            serve::Error::Core(core) => of_core(core, message),
            _ => RankstillError::new_err(message),
        })
    }
}

/// Of the command line's library: the first cause of a known type decides, the message is whole.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let message = rankstill_cli::error_line(&error);
        let known = |cause: &(dyn Error + 'static)| {
            let message = message.clone();
            if let Some(error) = cause.downcast_ref() {
                Some(of_core(error, message))
            } else if let Some(error) = cause.downcast_ref() {
                Some(of_data(error, message))
            } else if let Some(error) = cause.downcast_ref() {
                Some(of_eval(error, message))
            } else {
                cause.downcast_ref().map(|error| of_io(error, message))
            }
        };
        let found = error.chain().find_map(known);
        Self(found.unwrap_or_else(|| RankstillError::new_err(message)))
    }
}

fn of_core(error: &core::Error, message: String) -> PyErr {
    use core::Error as E;
    match error {
        E::Config { .. } => ConfigError::new_err(message),
        E::Io { source, .. } => of_io(source, message),
        E::Diverged { .. } | E::Ranker { .. } => RankstillError::new_err(message),
        E::Interrupted => PyKeyboardInterrupt::new_err(()),
        _ => DataError::new_err(message),
    }
}

fn of_data(error: &data::Error, message: String) -> PyErr {
    use data::Error as E;
    match error {
        E::Config { .. } => ConfigError::new_err(message),
        E::NoColumn { .. } => PyKeyError::new_err(message),
        E::Io { source, .. } => of_io(source, message),
        E::Core(core) => of_core(core, message),
        _ => DataError::new_err(message),
    }
}

fn of_eval(error: &eval::Error, message: String) -> PyErr {
    use eval::Error as E;
    match error {
        E::Metric { .. } | E::Dialect { .. } => ConfigError::new_err(message),
        E::Core(core) => of_core(core, message),
        _ => DataError::new_err(message),
    }
}

/// `FileNotFoundError`, `PermissionError` and so on.
fn of_io(error: &io::Error, message: String) -> PyErr {
    io::Error::new(error.kind(), message).into()
}
