//! Dense matrix products, by the `gemm` crate.
//!
//! The crate picks its own instruction set and blocking, so equal bits across instruction sets are *not*
//! guaranteed here, unlike in our own kernels; on one machine, the same call gives the same bits.
//! [`parallel`] and [`parallel_columns`] split the result into fixed blocks, so they do not depend on the
//! number of threads.

use rayon::prelude::*;

/// A matrix that is read: `rows x cols`, row `i` at `i * stride`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a> Mat<'a> {
    /// Row-major, rows `stride` apart.
    ///
    /// # Panics
    /// When `data` is too short for the shape or rows overlap.
    pub fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        Self { data, rows, cols, row_step: stride, col_step: 1 }
    }

    /// Row-major without gaps.
    pub fn dense(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }

    /// The transpose; nothing is copied.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_step: self.col_step,
            col_step: self.row_step,
            ..self
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows `from..from + n`.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn row_range(self, from: usize, n: usize) -> Self {
        assert!(from + n <= self.rows, "rows {from} and {n} more of {}", self.rows);
        let start = (from * self.row_step).min(self.data.len());
        Self { data: &self.data[start..], rows: n, ..self }
    }

    /// Columns `from..from + n`.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn col_range(self, from: usize, n: usize) -> Self {
        self.t().row_range(from, n).t()
    }
}

/// A row-major matrix that is written.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> MatMut<'a> {
    /// Rows `stride` apart; what lies between is left alone.
    ///
    /// # Panics
    /// When `data` is too short for the shape or rows overlap.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        Self { data, rows, cols, stride }
    }

    /// Without gaps.
    pub fn dense(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }
}

fn check(len: usize, rows: usize, cols: usize, stride: usize) {
    assert!(stride >= cols, "rows of {cols} do not fit into a stride of {stride}");
    let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols };
    assert!(len >= needed, "{rows} x {cols} needs {needed} numbers, found {len}");
}

/// `c = alpha * a * b + beta * c`, on the calling thread. With `beta` 0, `c` is not read: NaN in it does no harm.
///
/// # Panics
/// When the shapes do not fit.
pub fn gemm(alpha: f32, a: Mat<'_>, b: Mat<'_>, beta: f32, c: &mut MatMut<'_>) {
    assert!(
        a.cols == b.rows && a.rows == c.rows && b.cols == c.cols,
        "{} x {} times {} x {} into {} x {}",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        c.rows,
        c.cols
    );
    if c.rows == 0 || c.cols == 0 {
        return;
    }
    // SAFETY: the constructors checked that each shape lies within its slice; `c` is borrowed mutably, so it overlaps
    // neither of the others.
    unsafe { product(alpha, a, b, beta, c.data.as_mut_ptr(), c.stride) }
}

/// `a.rows x b.cols` numbers at `c`, rows `stride` apart.
///
/// # Safety
/// They may be written, and no other code uses them meanwhile; the shapes of `a` and `b` fit.
unsafe fn product(alpha: f32, a: Mat<'_>, b: Mat<'_>, beta: f32, c: *mut f32, stride: usize) {
    // SAFETY: the constructors checked that `a` and `b` lie within their slices; `c` is the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            c,
            1,
            stride as isize,
            beta != 0.0,
            a.data.as_ptr(),
            a.col_step as isize,
            a.row_step as isize,
            b.data.as_ptr(),
            b.col_step as isize,
            b.row_step as isize,
            beta,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Rows of `c` in a task of [`parallel`].
const BLOCK: usize = 256;

/// [`gemm()`] on rayon's current pool, in blocks of 256 rows of `c`.
///
/// # Panics
/// When the shapes do not fit.
pub fn parallel(alpha: f32, a: Mat<'_>, b: Mat<'_>, beta: f32, c: &mut MatMut<'_>) {
    assert!(a.rows == c.rows, "{} rows into {}", a.rows, c.rows);
    let (cols, stride) = (c.cols, c.stride);
    if c.rows == 0 || cols == 0 {
        return;
    }
    let len = (c.rows - 1) * stride + cols;
    c.data[..len].par_chunks_mut(BLOCK * stride).enumerate().for_each(|(i, data)| {
        let rows = BLOCK.min(a.rows - i * BLOCK);
        let mut c = MatMut::new(data, rows, cols, stride);
        gemm(alpha, a.row_range(i * BLOCK, rows), b, beta, &mut c);
    });
}

/// Columns of `c` in a task of [`parallel_columns`].
const COLUMNS: usize = 512;

/// [`gemm()`] on rayon's current pool, in blocks of 512 columns of `c`: for wide results of few rows, where
/// every block of `b` is then read once, and not once for every block of rows.
///
/// # Panics
/// When the shapes do not fit.
pub fn parallel_columns(alpha: f32, a: Mat<'_>, b: Mat<'_>, beta: f32, c: &mut MatMut<'_>) {
    /// A destination that several threads write to, each to separate columns.
    #[derive(Clone, Copy)]
    struct Shared(*mut f32);
    // SAFETY: only pointers to disjoint columns are made of it.
    unsafe impl Send for Shared {}
    // SAFETY: as above.
    unsafe impl Sync for Shared {}
    impl Shared {
        fn column(self, column: usize) -> *mut f32 {
            self.0.wrapping_add(column)
        }
    }

    assert!(
        a.cols == b.rows && a.rows == c.rows && b.cols == c.cols,
        "{} x {} times {} x {} into {} x {}",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        c.rows,
        c.cols
    );
    let (rows, cols, stride) = (c.rows, c.cols, c.stride);
    let to = Shared(c.data.as_mut_ptr());
    if rows > 0 {
        (0..cols.div_ceil(COLUMNS)).into_par_iter().for_each(|block| {
            let first = block * COLUMNS;
            let b = b.col_range(first, COLUMNS.min(cols - first));
            // SAFETY: the columns of this block lie within `c`, which was checked by its constructor and is
            // borrowed mutably; no other task has them.
            unsafe { product(alpha, a, b, beta, to.column(first), stride) }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    #[test]
    fn agrees_with_the_triple_loop_for_every_transpose_stride_and_factor() {
        type Way = fn(f32, Mat<'_>, Mat<'_>, f32, &mut MatMut<'_>);
        let shapes = [
            (1, 1, 1),
            (3, 5, 7),
            (17, 33, 9),
            (300, 20, 16),
            (513, 3, 2),
            (4, 1030, 3),
            (4, 4, 0),
        ];
        for (m, n, k) in shapes {
            for gap in [0, 3] {
                for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                    for (alpha, beta) in [(1.0f32, 0.0f32), (0.5, 1.0), (-2.0, 0.25)] {
                        let (ar, ac) = if ta { (k, m) } else { (m, k) };
                        let (br, bc) = if tb { (n, k) } else { (k, n) };
                        let (sa, sb, sc) = (ac + gap, bc + gap, n + gap);
                        let (a, b) = (numbers(ar * sa, 1), numbers(br * sb, 2));
                        let start = numbers(m * sc, 3);
                        let mut expected = start.clone();
                        for i in 0..m {
                            for j in 0..n {
                                let mut sum = 0.0f64;
                                for l in 0..k {
                                    let x = if ta { a[l * sa + i] } else { a[i * sa + l] };
                                    let y = if tb { b[j * sb + l] } else { b[l * sb + j] };
                                    sum += f64::from(x) * f64::from(y);
                                }
                                let c = &mut expected[i * sc + j];
                                *c = (f64::from(alpha) * sum + f64::from(beta * *c)) as f32;
                            }
                        }
                        let a = Mat::new(&a, ar, ac, sa);
                        let b = Mat::new(&b, br, bc, sb);
                        let a = if ta { a.t() } else { a };
                        let b = if tb { b.t() } else { b };
                        let run = |parallel: Option<(usize, Way)>| {
                            let mut c = start.clone();
                            if beta == 0.0 {
                                c.iter_mut().enumerate().for_each(|(i, c)| {
                                    if i % sc < n {
                                        *c = f32::NAN;
                                    }
                                });
                            }
                            let mut to = MatMut::new(&mut c, m, n, sc);
                            match parallel {
                                None => gemm(alpha, a, b, beta, &mut to),
                                Some((threads, way)) => {
                                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                                    let pool = pool.build().expect("a pool");
                                    pool.install(|| way(alpha, a, b, beta, &mut to));
                                }
                            }
                            c
                        };
                        let single = run(None);
                        for (c, expected) in single.iter().zip(&expected) {
                            assert!((c - expected).abs() <= 1e-4, "{m} {n} {k}: {c} {expected}");
                        }
                        for way in [parallel, parallel_columns] {
                            let run = |threads| run(Some((threads, way)));
                            assert!(run(1) == run(2) && run(1) == run(3));
                            for (c, expected) in run(2).iter().zip(&expected) {
                                let right = (c - expected).abs() <= 1e-4;
                                assert!(right, "{m} {n} {k}: {c} {expected}");
                            }
                        }
                    }
                }
            }
        }
    }
}
