//! The foundation of all other crates: data types, the interfaces between models, distillers and metrics, the
//! training loop, saved models (artefacts), and the numeric kernels.

pub mod answers;
pub mod artefact;
pub mod atomic_write;
pub mod batch;
pub mod cases;
pub mod cold_start;
pub mod distil;
pub mod error;
pub mod interactions;
pub mod kernel;
pub mod learn;
pub mod lists;
pub mod model;
mod packed;
pub mod plan;
pub mod rank;
pub mod rankings;
pub mod recipe;
pub mod registry;
pub mod state;
pub mod tensors;
pub mod text_table;
pub mod train;
pub mod vectors;
pub mod vocab;

pub use answers::Answers;
pub use artefact::{Artefact, Manifest};
pub use batch::{Batch, Blended, Slate};
pub use cases::{Case, Cases, Query, Span};
pub use cold_start::{AnsweredBy, ColdStart, Trained};
pub use distil::{Candidates, Distiller, ListRequest, Requirements, TeacherRecipe, Trace};
pub use error::{Error, Result, UnderPath};
pub use interactions::{IndexedLog, Interactions, ItemId, UserId};
pub use learn::{Grad, Learner, Objective, Row, Scores};
pub use lists::Lists;
pub use model::Model;
pub use packed::{Packed, Precision, PrecisionUse};
pub use plan::{Checkpointing, EpochReport, Fit, Plan, Sampling, Validate, Watch};
pub use rank::{Factored, Factors, ItemSet, Ranker, Scorer, TopK};
pub use rankings::Rankings;
pub use recipe::{Configured, ModelConfig, Recipe, Trainable};
pub use tensors::{Data, Tensor, Tensors};
pub use vectors::{Embedded, VectorGrads, VectorObjective, Vectors};
pub use vocab::Vocab;
