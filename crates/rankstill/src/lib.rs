//! Rankstill distils recommenders. This crate is the front door: it re-exports the library and holds what the command line
//! runs.

pub mod experiment;
pub mod progress;

pub use rankstill_core as core;
pub use rankstill_data as data;
pub use rankstill_distill as distill;
pub use rankstill_eval as eval;
pub use rankstill_models as models;
#[cfg(feature = "serve")]
pub use rankstill_serve as serve;
