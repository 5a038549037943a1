//! Compressed sparse rows, their transpose, and their product with a dense matrix.

use rayon::prelude::*;

use super::panels::Rows;
use super::simd::{LANES, Simd, dispatch, prefetch};

/// Why the arrays are not a sparse matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// There must be one more offset than rows.
    #[error("a sparse matrix needs at least one offset")]
    NoOffsets,
    /// The first offset is 0, the last the number of entries, and none is smaller than the one before.
    #[error("offset {at} is {found}, expected between {least} and {most}")]
    Offset {
        /// The index of the offset.
        at: usize,
        /// Its value.
        found: usize,
        /// The smallest valid value.
        least: usize,
        /// The largest valid value.
        most: usize,
    },
    /// A column beyond the matrix.
    #[error("entry {at} is in column {found} of {n_cols}")]
    Column {
        /// The index of the entry.
        at: usize,
        /// Its column.
        found: u32,
        /// Number of columns.
        n_cols: usize,
    },
    /// As many values as entries, or none at all.
    #[error("{found} values for {expected} entries")]
    Values {
        /// Number of values.
        found: usize,
        /// Number of entries.
        expected: usize,
    },
}

/// A sparse matrix by rows. Without values, every entry is 1. Entries of a row may be in any order, and repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Csr {
    n_cols: usize,
    offsets: Vec<usize>,
    indices: Vec<u32>,
    values: Option<Vec<f32>>,
}

impl Csr {
    /// Row `i` has the entries `offsets[i]..offsets[i + 1]`: columns `indices`, and `values`, or 1.
    pub fn new(
        n_cols: usize,
        offsets: Vec<usize>,
        indices: Vec<u32>,
        values: Option<Vec<f32>>,
    ) -> Result<Self, CsrError> {
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return Err(CsrError::NoOffsets);
        };
        let n = indices.len();
        if *first != 0 {
            return Err(CsrError::Offset { at: 0, found: *first, least: 0, most: 0 });
        }
        for (i, pair) in offsets.windows(2).enumerate() {
            if pair[1] < pair[0] || pair[1] > n {
                let (found, least) = (pair[1], pair[0]);
                return Err(CsrError::Offset { at: i + 1, found, least, most: n });
            }
        }
        if *last != n {
            let at = offsets.len() - 1;
            return Err(CsrError::Offset { at, found: *last, least: n, most: n });
        }
        if let Some(at) = indices.iter().position(|i| *i as usize >= n_cols) {
            return Err(CsrError::Column { at, found: indices[at], n_cols });
        }
        if let Some(values) = &values
            && values.len() != n
        {
            return Err(CsrError::Values { found: values.len(), expected: n });
        }
        Ok(Self { n_cols, offsets, indices, values })
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Number of entries.
    pub fn n_entries(&self) -> usize {
        self.indices.len()
    }

    /// Where each row's entries start, and the end of the last.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The columns of all entries.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The values of all entries, if there are any.
    pub fn values(&self) -> Option<&[f32]> {
        self.values.as_deref()
    }

    /// The columns of one row.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.indices[self.offsets[row]..self.offsets[row + 1]]
    }

    /// The values of one row, if there are any.
    pub fn row_values(&self, row: usize) -> Option<&[f32]> {
        self.values.as_ref().map(|values| &values[self.offsets[row]..self.offsets[row + 1]])
    }

    /// The transpose, by counting; within its rows, entries are ordered by original row.
    ///
    /// # Panics
    /// When there are more rows than 32-bit column numbers.
    pub fn transpose(&self) -> Self {
        assert!(self.n_rows() <= u32::MAX as usize, "{} rows", self.n_rows());
        let mut offsets = vec![0; self.n_cols + 1];
        for col in &self.indices {
            offsets[*col as usize + 1] += 1;
        }
        for i in 0..self.n_cols {
            offsets[i + 1] += offsets[i];
        }
        let mut next = offsets.clone();
        let mut indices = vec![0; self.n_entries()];
        let mut values = self.values.as_ref().map(|_| vec![0.0; self.n_entries()]);
        for row in 0..self.n_rows() {
            for at in self.offsets[row]..self.offsets[row + 1] {
                let to = &mut next[self.indices[at] as usize];
                indices[*to] = row as u32;
                if let (Some(values), Some(from)) = (&mut values, &self.values) {
                    values[*to] = from[at];
                }
                *to += 1;
            }
        }
        Self { n_cols: self.n_rows(), offsets, indices, values }
    }

    /// `out = self * dense`, or `out += self * dense`: rows of `out` start `stride` apart, and gaps are not
    /// written. In parallel on rayon's current pool; each row is summed by one thread in the order of its
    /// entries, so that the result does not depend on their number.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn multiply(&self, dense: Rows<'_>, accumulate: bool, out: &mut [f32], stride: usize) {
        let dim = dense.dim();
        assert!(dense.n() == self.n_cols, "{} columns times {} rows", self.n_cols, dense.n());
        assert!(stride >= dim, "rows of {dim} do not fit into a stride of {stride}");
        if self.n_rows() == 0 || dim == 0 {
            return;
        }
        let len = (self.n_rows() - 1) * stride + dim;
        assert!(out.len() >= len, "{} numbers into {} places", len, out.len());
        // Row lengths are very unequal: small tasks, for work stealing.
        const BLOCK: usize = 64;
        out[..len].par_chunks_mut(BLOCK * stride).enumerate().for_each(|(i, out)| {
            multiply_rows(self, i * BLOCK, dense, accumulate, out, stride);
        });
    }
}

dispatch! {
    fn multiply_rows(
        matrix: &Csr,
        first: usize,
        dense: Rows<'_>,
        accumulate: bool,
        out: &mut [f32],
        stride: usize,
    ) = multiply_rows_kernel;
}

/// How many entries ahead rows are prefetched.
const AHEAD: usize = 16;

#[inline(always)]
fn multiply_rows_kernel<S: Simd>(
    s: S,
    matrix: &Csr,
    first: usize,
    dense: Rows<'_>,
    accumulate: bool,
    out: &mut [f32],
    stride: usize,
) {
    let dim = dense.dim();
    for (i, out) in out.chunks_mut(stride).enumerate() {
        let (from, to) = (matrix.offsets[first + i], matrix.offsets[first + i + 1]);
        let mut col = 0;
        // Four vectors of sums at a time stay in registers.
        while col + 4 * LANES <= dim {
            row_part::<S, 4>(
                s,
                matrix,
                from..to,
                dense,
                col,
                accumulate,
                &mut out[col..col + 4 * LANES],
            );
            col += 4 * LANES;
        }
        while col < dim {
            let end = dim.min(col + LANES);
            row_part::<S, 1>(s, matrix, from..to, dense, col, accumulate, &mut out[col..end]);
            col = end;
        }
    }
}

/// Columns `col..col + out.len()` of one row of the product, at most `16 V` of them.
#[inline(always)]
fn row_part<S: Simd, const V: usize>(
    s: S,
    matrix: &Csr,
    entries: std::ops::Range<usize>,
    dense: Rows<'_>,
    col: usize,
    accumulate: bool,
    out: &mut [f32],
) {
    let mut sums = [s.zero(); V];
    if accumulate {
        for (sum, out) in sums.iter_mut().zip(out.chunks(LANES)) {
            *sum = s.load_part(out);
        }
    }
    for at in entries {
        if let Some(ahead) = matrix.indices.get(at + AHEAD) {
            for line in dense.row(*ahead as usize)[col..][..out.len()].chunks(LANES) {
                prefetch(line.as_ptr());
            }
        }
        let row = &dense.row(matrix.indices[at] as usize)[col..][..out.len()];
        let value = matrix.values.as_ref().map(|values| s.splat(values[at]));
        for (sum, x) in sums.iter_mut().zip(row.chunks(LANES)) {
            let x = if V > 1 || x.len() == LANES { s.load(x) } else { s.load_part(x) };
            *sum = match value {
                Some(value) => s.fma(value, x, *sum),
                None => s.add(x, *sum),
            };
        }
    }
    for (sum, out) in sums.iter().zip(out.chunks_mut(LANES)) {
        s.store_part(out, *sum);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simd::{Isa, with_isa};
    use super::*;

    fn matrix() -> impl Strategy<Value = Csr> {
        (0usize..150, 1usize..30, any::<bool>()).prop_flat_map(|(n_rows, n_cols, valued)| {
            let row = proptest::collection::vec((0..n_cols as u32, -2.0f32..2.0), 0..9);
            proptest::collection::vec(row, n_rows).prop_map(move |rows| {
                let mut offsets = vec![0];
                let (mut indices, mut values) = (Vec::new(), Vec::new());
                for row in rows {
                    indices.extend(row.iter().map(|(col, _)| *col));
                    values.extend(row.iter().map(|(_, value)| *value));
                    offsets.push(indices.len());
                }
                Csr::new(n_cols, offsets, indices, valued.then_some(values)).expect("valid")
            })
        })
    }

    fn at(matrix: &Csr, row: usize, entry: usize) -> (u32, f32) {
        (matrix.row(row)[entry], matrix.row_values(row).map_or(1.0, |values| values[entry]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn product_is_the_chain_of_its_entries(
            matrix in matrix(), dim in 0usize..150, accumulate in any::<bool>(), gap in 0usize..3,
        ) {
            let dense: Vec<f32> =
                (0..matrix.n_cols() * (dim + 1)).map(|i| (i as f32 * 0.77).sin()).collect();
            let dense = Rows::new(&dense, matrix.n_cols(), dim, dim + 1);
            let start: Vec<f32> =
                (0..matrix.n_rows() * (dim + gap)).map(|i| (i as f32 * 0.31).cos()).collect();
            let mut expected = start.clone();
            for row in 0..matrix.n_rows() {
                for k in 0..dim {
                    let out = &mut expected[row * (dim + gap) + k];
                    let mut sum = if accumulate { *out } else { 0.0 };
                    for entry in 0..matrix.row(row).len() {
                        let (col, value) = at(&matrix, row, entry);
                        sum = value.mul_add(dense.row(col as usize)[k], sum);
                    }
                    *out = sum;
                }
            }
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                for threads in 1..=3 {
                    let mut found = start.clone();
                    with_isa(isa, threads, || {
                        matrix.multiply(dense, accumulate, &mut found, dim + gap);
                    });
                    for (found, expected) in found.iter().zip(&expected) {
                        let slack = if isa.is_fused() { 0.0 } else { 1e-5 };
                        prop_assert!((found - expected).abs() <= slack);
                    }
                }
            }
        }

        #[test]
        fn transpose_turns_every_entry_and_back(matrix in matrix()) {
            let turned = matrix.transpose();
            let list = |matrix: &Csr, flip: bool| {
                let mut all: Vec<(u32, u32, u32)> = Vec::new();
                for row in 0..matrix.n_rows() {
                    for entry in 0..matrix.row(row).len() {
                        let (col, value) = at(matrix, row, entry);
                        let (a, b) = if flip { (col, row as u32) } else { (row as u32, col) };
                        all.push((a, b, value.to_bits()));
                    }
                }
                all.sort_unstable();
                all
            };
            prop_assert_eq!(list(&matrix, false), list(&turned, true));
            prop_assert_eq!((turned.n_rows(), turned.n_cols()), (matrix.n_cols(), matrix.n_rows()));
            for row in 0..turned.n_rows() {
                prop_assert!(turned.row(row).is_sorted());
            }
        }
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        let new = |offsets: &[usize], indices: &[u32], values: Option<Vec<f32>>| {
            Csr::new(3, offsets.to_vec(), indices.to_vec(), values)
        };
        assert_eq!(new(&[], &[], None), Err(CsrError::NoOffsets));
        let offset = |at, found, least, most| Err(CsrError::Offset { at, found, least, most });
        assert_eq!(new(&[1, 1], &[0], None), offset(0, 1, 0, 0));
        assert_eq!(new(&[0, 2, 1], &[0, 0], None), offset(2, 1, 2, 2));
        assert_eq!(new(&[0, 3], &[0, 0], None), offset(1, 3, 0, 2));
        assert_eq!(new(&[0, 1], &[0, 0], None), offset(1, 1, 2, 2));
        assert_eq!(new(&[0, 1], &[3], None), Err(CsrError::Column { at: 0, found: 3, n_cols: 3 }));
        let values = Err(CsrError::Values { found: 2, expected: 1 });
        assert_eq!(new(&[0, 1], &[2], Some(vec![1.0, 2.0])), values);
        assert!(new(&[0], &[], None).is_ok_and(|matrix| matrix.n_rows() == 0));
    }
}
