//! Numeric kernels: slices in, slices out, without imports from the rest of the project. The only code with `unsafe`.
#![allow(unsafe_code)]

pub mod activation;
pub mod affine;
pub mod als;
pub mod bits;
pub mod bpr;
pub mod buffer;
pub mod cholesky;
pub mod codes;
pub mod complement;
pub mod conv;
pub mod csr;
pub mod dense;
pub mod distances;
pub mod dropout;
pub mod eigen;
pub mod gemm;
pub mod kmeans;
pub mod mapped;
pub mod math;
pub mod narrow;
pub mod optimizer;
pub mod pairs;
pub mod panels;
pub mod param;
pub mod propagate;
pub mod ranks;
pub mod rng;
pub mod sample;
pub mod simd;
pub mod slots;
pub mod sparse_svd;
pub mod svd;
pub mod table;
pub mod topk;
