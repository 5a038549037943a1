//! An experiment: as written (`spec`, `tree`), as checked (`plan`), as run (`run`), as tuned (`tune`).

pub mod again;
pub mod compress;
mod coverage;
pub mod data;
pub mod details;
mod ensemble;
pub mod epochs;
mod figure;
pub mod fit;
pub mod fitter;
mod latency;
pub mod measure;
pub mod outside;
pub mod plan;
mod production;
mod recordings;
mod report;
pub mod run;
pub mod run_folder;
mod session;
pub mod spec;
mod steps;
pub mod teacher_lists;
mod teaching;
pub mod titles;
pub mod trajectory;
pub mod tree;
pub mod tune;

pub use epochs::EPOCHS;
