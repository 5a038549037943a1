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

/// An error and its causes on one line; a cause that the error tells already is not told again.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
