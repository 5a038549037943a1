//! Serves fitted models over HTTP.
//!
//! A [`Snapshot`] is a model that has been checked and warmed and no longer changes. An [`App`] holds the
//! models by name, the threads that compute answers, and the [`EventStore`](store::EventStore) with what
//! users did since training. [`run`] serves it on a socket until the process is told to stop.
//!
//! This crate depends on `rankstill-core` alone: its caller loads the models and passes them in.
//!
//! ```
//! # use rankstill_core::artefact::{Artefact, FORMAT, Manifest};
//! # use rankstill_core::{Interactions, Lists, Model, Query, Scorer, Tensors, Vocab};
//! # struct Fixed;
//! # impl Scorer for Fixed {
//! #     fn n_items(&self) -> usize { 3 }
//! #     fn score(&self, _: &[Query<'_>], out: &mut [f32]) {
//! #         out.chunks_mut(3).for_each(|row| row.copy_from_slice(&[3.0, 1.0, 2.0]));
//! #     }
//! # }
//! # impl Model for Fixed {
//! #     fn tensors(&self) -> Tensors { Tensors::default() }
//! #     fn n_parameters(&self) -> usize { 0 }
//! # }
//! use axum::{body::Body, http::Request};
//! use rankstill_serve::{App, ItemTable, Setup, Snapshot, router};
//! use tower::ServiceExt as _;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let manifest = Manifest {
//! #     format: FORMAT, version: "0".into(), name: "toy".into(), kind: "toy".into(), config: Default::default(),
//! #     n_users: 1, n_items: 3, n_parameters: 0, card: Default::default(), files: Default::default(),
//! # };
//! # let history = Interactions::new(3, Lists::from_iter([vec![0u32]]), None, None)?;
//! # let (users, items) = (Vocab::from_ids(["ann"])?, Vocab::from_ids(["a", "b", "c"])?);
//! # let (model, tensors) = (Box::new(Fixed), Tensors::default());
//! # let artefact = Artefact { manifest, tensors, users, items, history };
//! let snapshot = Snapshot::new("toy", artefact, model, ItemTable::default(), None)?;
//! let app = App::new(Setup { models: vec![snapshot], ..Setup::default() })?;
//! let request = Request::get("/v1/users/ann/recommendations?k=1").body(Body::empty())?;
//! let answer = router(app.into()).oneshot(request).await?;
//! assert_eq!(answer.status(), 200);
//! # Ok(())
//! # }
//! ```

mod answer;
mod app;
mod error;
mod http;
mod keys;
mod limits;
mod model;
mod server;
pub mod store;
mod telemetry;
#[cfg(test)]
mod testing;
mod wire;

pub use app::{Admin, App, Load, Setup};
pub use error::{Error, Result};
pub use http::{openapi, router};
pub use keys::Keys;
pub use limits::Limits;
pub use model::{ItemRow, ItemTable, Snapshot};
#[cfg(feature = "tls")]
pub use server::Tls;
pub use server::{Listen, Running, Server, run, start};
#[cfg(feature = "otlp")]
pub use telemetry::SpanExporter;
pub use wire::{
    Basis, BatchAnswer, BatchRequest, Because, ChallengerCard, FallbackRung, FieldProblem,
    GraphCard, Guard, Id, ModelCard, ModelList, OneAnswer, Problem, Recommendations, Recommended,
    Request, Similar, TrialConfig, TrialMode, TrialReport,
};
