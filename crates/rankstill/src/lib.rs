//! Rankstill.

