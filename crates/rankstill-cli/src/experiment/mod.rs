//! An experiment: as written in its file (`spec`), as checked (`plan`), as run (`run`).

pub mod data;
pub mod figure;
pub mod fit;
pub mod fitter;
pub mod measure;
pub mod model;
pub mod plan;
pub mod run;
pub mod spec;
pub mod teacher_lists;
pub mod trajectory;
pub mod tune;

/// The file in a model's folder with one line of JSON for each epoch.
pub const EPOCHS: &str = "epochs.jsonl";
