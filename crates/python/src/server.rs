//! A model served over HTTP from within Python.

use crate::error::Result;
use crate::model::Model;
use pyo3::prelude::*;
use rankstill::serve::{App, ItemTable, Listen, Running, Setup, Snapshot, start};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

/// A running server; a context manager that stops it.
///
/// Example:
///     >>> with rk.serve(model, port=0) as server:
///     ...     server.url.startswith("http://127.0.0.1:")
///     True
#[pyclass(frozen, module = "rankstill")]
pub struct Server {
    running: Mutex<Option<Running>>,
    address: SocketAddr,
}

#[pymethods]
impl Server {
    /// Where it answers, such as `http://127.0.0.1:8080`.
    #[getter]
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port that it listens on.
    #[getter]
    fn port(&self) -> u16 {
        self.address.port()
    }

    /// Stops it, once the requests in progress are answered. Returns whether all of them were.
    fn stop(&self, py: Python<'_>) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| running.is_none_or(|mut running| running.stop()))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.stop(py);
    }

    fn __repr__(&self) -> String {
        format!("Server({})", self.url())
    }
}

/// Serves a model over HTTP in the background, as `rankstill serve` does, until it is stopped or the interpreter ends.
///
/// Args:
///     model: The model.
///     port: 0 takes any free port.
///     host: The address to listen on.
#[pyfunction]
#[pyo3(signature = (model, *, port = 8080, host = "127.0.0.1"))]
pub fn serve(py: Python<'_>, model: &Model, port: u16, host: &str) -> Result<Server> {
    let host: IpAddr = host.parse().map_err(|_| {
        crate::error::ConfigError::new_err(format!("host: `{host}` is not an address"))
    })?;
    let running = py.detach(|| -> Result<Running> {
        let (artefact, own) = model.to_artefact()?;
        let snapshot = Snapshot::new(&model.name, artefact, own, ItemTable::default(), None)?;
        let app = App::new(Setup { models: vec![snapshot], ..Setup::default() })?;
        let listen =
            Listen { address: (host, port).into(), hosts: Vec::new(), threads: 0, tls: None };
        Ok(start(app, listen)?)
    })?;
    let address = running.address();
    Ok(Server { running: Mutex::new(Some(running)), address })
}
