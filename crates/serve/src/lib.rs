//! Serving: models that were fitted and kept, answering over HTTP.
//!
//! [`Snapshot`] is a model as it is served: checked, warmed, immutable. [`App`] holds the models by name, the threads that compute
//! answers, and the [`EventStore`](store::EventStore) with what users did since the models were trained. [`run`] binds them to
//! the network until the process is told to end.
//!
//! This crate knows `core` alone: whoever runs it loads the models and hands them in.

mod answer;
mod app;
mod challenger;
mod error;
mod extract;
#[cfg(feature = "hnsw")]
mod graph;
mod http;
mod items;
mod keys;
mod ladder;
mod limits;
mod metrics;
mod models;
mod nearness;
mod openapi;
mod page;
mod problem;
mod request;
mod scoring;
mod server;
mod snapshot;
pub mod store;
#[cfg(test)]
mod testing;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "otlp")]
mod traces;

pub use app::{Admin, App, Load, Setup};
pub use challenger::{Guard, Mode, Trial, TrialReport};
pub use error::{Error, Result};
pub use http::router;
pub use items::{ItemRow, ItemTable};
pub use keys::Keys;
pub use limits::Limits;
pub use openapi::openapi;
pub use problem::{FieldProblem, Problem};
pub use request::{
    Basis, BatchAnswer, BatchRequest, Because, ChallengerCard, GraphCard, Id, ModelCard, ModelList,
    OneAnswer, Recommendations, Recommended, Request, Rung, Similar,
};
pub use server::{Listen, Server, run};
pub use snapshot::Snapshot;
#[cfg(feature = "tls")]
pub use tls::Tls;
#[cfg(feature = "otlp")]
pub use traces::Traces;
