//! Items in codes of a few bits while they are trained.
//!
//! The table that is trained keeps its full precision; scores, and so every loss, see what its codes stand for. The gradient of a
//! decoded vector is applied to the full one as it is ("straight-through", Bengio, Leonard & Courville, arXiv 1308.3432), but for numbers
//! outside the range of the codes, which moving would not change. Scales are refitted with every code and have no gradient of their
//! own. With one bit this is the binary layer of XNOR-Net (Rastegari et al., ECCV 2016): signs times the mean of |v|.

use crate::parts::coded::{CompressedModel, Users};
use rankstill_core::kernel::codes::{Ints, Scale, quantise};
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Table;
use rayon::prelude::*;
use std::sync::OnceLock;

/// What the items' codes stand for.
pub(super) struct CodedItems {
    bits: u32,
    /// Decoded vectors. Takes no steps; recomputed from items about to be read.
    pub decoded: Table,
    /// The model as it is saved, made at first use.
    compressed: OnceLock<CompressedModel>,
}

impl CodedItems {
    pub fn new(bits: u32, n_items: usize, dim: usize) -> Self {
        let decoded = Table::new(n_items, dim, Optimizer::Sgd(Sgd::default()));
        Self { bits, decoded, compressed: OnceLock::new() }
    }

    /// Brings all items up to date, and codes them.
    pub fn code_all(&mut self, items: &mut Table) {
        items.settle();
        let bits = self.bits;
        self.decoded.init(|item, out| {
            out.copy_from_slice(items.row(item));
            quantise(out, bits, Scale::Nearest, |_, _| ());
        });
    }

    /// The same for some items.
    pub fn code_rows(&mut self, items: &mut Table, slots: &Slots, rows: &mut Vec<f32>) {
        let (dim, stride, bits) = (items.dim(), items.stride(), self.bits);
        rows.resize(slots.len() * stride, 0.0);
        items.fetch(slots, rows);
        self.decoded.init_rows(slots, |slot, out| {
            out.copy_from_slice(&rows[slot * stride..][..dim]);
            quantise(out, bits, Scale::Nearest, |_, _| ());
        });
    }

    /// Stops the gradients of numbers outside the range of their codes. Row i of `gradients`, `stride` apart, is that of item
    /// `item(i)`.
    pub fn stop_outside(
        &self,
        items: &Table,
        item: impl Fn(usize) -> usize + Sync,
        gradients: &mut [f32],
    ) {
        let rows = gradients.par_chunks_exact_mut(items.stride()).with_min_len(64);
        rows.enumerate().for_each_init(
            || vec![0.0; items.dim()],
            |vector, (i, gradient)| {
                vector.copy_from_slice(items.row(item(i)));
                quantise(vector, self.bits, Scale::Nearest, |k, inside| {
                    gradient[k] *= f32::from(u8::from(inside));
                });
            },
        );
    }

    /// Drops what was made from the tables.
    pub fn changed(&mut self) {
        self.compressed = OnceLock::new();
    }

    /// The model as it is saved and served.
    pub fn compressed(&self, users: &Table, items: &Table) -> &CompressedModel {
        self.compressed.get_or_init(|| {
            let (n_items, dim) = (items.n_rows(), items.dim());
            let rows = items.export();
            let pack = |rows: &[f32]| {
                Ints::pack(Rows::dense(rows, n_items, dim), self.bits, Scale::Nearest)
            };
            // Training that diverged is an error of the loop; what it left has no codes.
            let codes = pack(&rows).or_else(|| pack(&vec![0.0; rows.len()]));
            let codes = codes.expect("zeros of a checked dimension");
            CompressedModel::new(dim, Users::Exact(users.export()), None, Box::new(codes))
        })
    }
}
