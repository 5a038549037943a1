//! Rankstill.
