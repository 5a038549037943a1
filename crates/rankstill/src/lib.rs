//! Rankstill distils recommenders: a small, fast student that ranks as its large teachers do.

pub use rankstill_core as core;
#[cfg(feature = "data")]
pub use rankstill_data as data;
pub use rankstill_distill as distill;
#[cfg(feature = "eval")]
pub use rankstill_eval as eval;
pub use rankstill_models as models;
#[cfg(feature = "serve")]
pub use rankstill_serve as serve;
