//! An experiment: as typed (`spec`), as checked (`plan`), as run (`run`).

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
