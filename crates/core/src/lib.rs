//! The ground that every other crate stands on.
pub mod kernel;
