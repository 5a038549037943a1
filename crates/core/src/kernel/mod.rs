//! The numeric kernels: slices in, slices out, nothing of the project imported, and the only place for `unsafe`.
#![allow(unsafe_code)]
