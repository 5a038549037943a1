//! The ground that every other crate stands on: the data shapes, the seams between models, distillers and metrics, the one
//! training loop, the artefact, and the kernels.

pub mod cases;
pub mod error;
pub mod interactions;
pub mod kernel;
pub mod lists;
pub mod rankings;

pub use cases::{Case, Cases, Query, Span};
pub use error::{Error, Result};
pub use interactions::{Interactions, ItemId, UserId};
pub use lists::Lists;
pub use rankings::Rankings;
