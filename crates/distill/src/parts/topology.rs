//! How much the cosines between a student's vectors differ from those between a teacher's, without computing all pairs.
//!
//! With rows s^ and t^ of length 1 the sum over all pairs of (t^_i t^_j - s^_i s^_j)^2 is |T'T|^2 - 2 |T'S|^2 + |S'S|^2, which needs
//! only products of columns, and its slope is 4 (S S'S - T T'S): n vectors cost n d^2 and not n^2 d. Sums are computed by the
//! kernels of fully connected layers, each in one chain: the same bits on every instruction set with FMA.

use rankstill_core::kernel::affine::{affine, to_weights, transpose};
use rankstill_core::kernel::dense::{axpy, dot, squared_norm};
use rankstill_core::kernel::panels::Rows;

/// Vectors of length 1, each padded to whole SIMD vectors, and their original lengths.
pub(crate) struct UnitVectors {
    dim: usize,
    stride: usize,
    rows: Vec<f32>,
    lengths: Vec<f32>,
}

impl UnitVectors {
    /// Normalises vectors of dimension `dim`, row-major without gaps; a vector of length 0 stays 0.
    pub fn of(dim: usize, parts: &[&[f32]]) -> Self {
        let stride = dim.next_multiple_of(16);
        let n: usize = parts.iter().map(|part| part.len() / dim).sum();
        let (mut rows, mut lengths) = (vec![0.0; n * stride], Vec::with_capacity(n));
        let vectors = parts.iter().flat_map(|part| part.chunks_exact(dim));
        for (row, vector) in rows.chunks_exact_mut(stride).zip(vectors) {
            let length = squared_norm(vector).sqrt();
            let share = if length > 0.0 { 1.0 / length } else { 0.0 };
            row.iter_mut().zip(vector).for_each(|(unit, x)| *unit = x * share);
            lengths.push(length);
        }
        Self { dim, stride, rows, lengths }
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Vector `at`.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.stride..][..self.dim]
    }

    /// The vectors at these positions.
    pub fn only(&self, positions: &[usize]) -> Self {
        let stride = self.stride;
        let rows = positions.iter().flat_map(|&at| &self.rows[at * stride..][..stride]);
        let lengths = positions.iter().map(|&at| self.lengths[at]).collect();
        Self { dim: self.dim, stride, rows: rows.copied().collect(), lengths }
    }

    /// `A B'`, the cosines with the vectors of `other`: `len x other.len()`, each row padded to whole SIMD vectors.
    fn cosines(&self, other: &Self) -> Vec<f32> {
        let (n, width) = (other.len(), other.len().next_multiple_of(16));
        let mut transposed = vec![0.0; self.dim * width];
        transpose(&other.rows, n, self.dim, self.stride, &mut transposed, width);
        let mut out = vec![0.0; self.len() * width];
        affine(self.as_rows(), &transposed, &vec![0.0; width], width, &mut out);
        out
    }

    fn as_rows(&self) -> Rows<'_> {
        Rows::new(&self.rows, self.len(), self.dim, self.stride)
    }

    /// Zeroed slopes of the unit vectors, padded as they are.
    pub fn slopes(&self) -> Vec<f32> {
        vec![0.0; self.rows.len()]
    }

    /// Propagates those slopes, times `weight`, to the gradients `parts` of the original vectors.
    pub fn propagate(&self, slopes: &[f32], weight: f32, parts: [&mut [f32]; 2]) {
        let grads = parts.into_iter().flat_map(|part| part.chunks_exact_mut(self.dim));
        for (at, (slope, grad)) in slopes.chunks_exact(self.stride).zip(grads).enumerate() {
            if self.lengths[at] == 0.0 {
                continue; // no direction
            }
            let (slope, unit, share) =
                (&slope[..self.dim], self.row(at), weight / self.lengths[at]);
            axpy(share, slope, grad);
            axpy(-share * dot(slope, unit), unit, grad);
        }
    }
}

/// The sum over all ordered pairs, including each vector with itself, of the squared difference of their cosines. Adds its slope
/// with respect to the student's unit vectors to the rows `positions` of `slopes`.
pub(crate) fn pairs(
    teacher: &UnitVectors,
    student: &UnitVectors,
    positions: &[usize],
    slopes: &mut [f32],
) -> f64 {
    let product = |a: &UnitVectors, b: &UnitVectors| {
        let mut sums = vec![0.0; a.dim * b.stride];
        to_weights(a.as_rows(), 0..a.dim, &b.rows, b.stride, &mut sums);
        sums
    };
    let across = product(teacher, student);
    let own = product(student, student);
    let squares = |sums: &[f32]| sums.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x));
    let loss = squares(&product(teacher, teacher)) - 2.0 * squares(&across) + squares(&own);
    let times = |rows: Rows<'_>, sums: &[f32]| {
        let mut out = vec![0.0; student.rows.len()];
        affine(rows, sums, &vec![0.0; student.stride], student.stride, &mut out);
        out
    };
    let (towards, away) = (times(teacher.as_rows(), &across), times(student.as_rows(), &own));
    let stride = student.stride;
    for (k, &at) in positions.iter().enumerate() {
        let slope = &mut slopes[at * stride..][..stride];
        axpy(4.0, &away[k * stride..][..stride], slope);
        axpy(-4.0, &towards[k * stride..][..stride], slope);
    }
    loss.max(0.0)
}

/// The sum over all vectors and all landmarks of the squared difference of their cosines. Adds its slope with respect to the
/// student's unit vectors; landmarks have no gradient.
pub(crate) fn to_landmarks(
    teacher: (&UnitVectors, &UnitVectors),
    student: (&UnitVectors, &UnitVectors),
    slopes: &mut [f32],
) -> f64 {
    let (goals, mut differences) = (teacher.0.cosines(teacher.1), student.0.cosines(student.1));
    differences.iter_mut().zip(&goals).for_each(|(difference, goal)| *difference -= goal);
    let loss = differences.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x));
    let (vectors, landmarks) = student;
    let stride = vectors.stride;
    let mut out = vec![0.0; vectors.rows.len()];
    let width = landmarks.len().next_multiple_of(16);
    let differences = Rows::new(&differences, vectors.len(), landmarks.len(), width);
    affine(differences, &landmarks.rows, &vec![0.0; stride], stride, &mut out);
    axpy(2.0, &out, slopes);
    loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use rankstill_core::kernel::rng::Rng;

    fn drawn(key: u64, len: usize) -> Vec<f32> {
        let mut out = vec![0.0; len];
        Rng::new(key).fill_normal(&mut out, 0.0, 1.0);
        out
    }

    fn cosine(vectors: &[f32], dim: usize, others: &[f32], i: usize, j: usize) -> f64 {
        let of = |from: &[f32], at: usize| -> Vec<f64> {
            from[at * dim..][..dim].iter().map(|&x| f64::from(x)).collect()
        };
        let (a, b) = (of(vectors, i), of(others, j));
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
    }

    #[test]
    fn two_vectors_by_hand() {
        // The teacher's are at right angles, the student's at 60 degrees: two pairs of 1/4.
        let teacher = UnitVectors::of(2, &[&[3.0, 0.0], &[0.0, 5.0]]);
        let student = UnitVectors::of(2, &[&[2.0, 0.0, 0.5, 0.75f32.sqrt()]]);
        let mut slopes = vec![0.0; 32];
        assert!((pairs(&teacher, &student, &[0, 1], &mut slopes) - 0.5).abs() < 1e-6);
        let landmarks = (&UnitVectors::of(2, &[&[0.0, 1.0]]), &UnitVectors::of(2, &[&[1.0, 0.0]]));
        let found = to_landmarks((&teacher, landmarks.0), (&student, landmarks.1), &mut slopes);
        assert!((found - (1.0 + 0.25)).abs() < 1e-6, "cosines 0, 1 against 1, 1/2");
    }

    #[test]
    fn losses_are_sums_over_pairs_and_slopes_are_their_differences() {
        let (n, dim, wide) = (7, 5, 19);
        let (student, teacher) = (drawn(1, n * dim), drawn(2, n * wide));
        let (marks, goals) = (drawn(3, 4 * dim), drawn(4, 4 * wide));
        let some = [1, 2, 5];
        let naive = |student: &[f32]| -> f64 {
            let square = |i, j| {
                (cosine(&teacher, wide, &teacher, i, j) - cosine(student, dim, student, i, j))
                    .powi(2)
            };
            let all: f64 = some.iter().flat_map(|&i| some.map(|j| square(i, j))).sum();
            let marked: f64 = (0..n)
                .flat_map(|i| (0..4).map(move |j| (i, j)))
                .map(|(i, j)| {
                    let goal = cosine(&teacher, wide, &goals, i, j);
                    (goal - cosine(student, dim, &marks, i, j)).powi(2)
                })
                .sum();
            all + marked
        };
        let units = UnitVectors::of(dim, &[&student[..2 * dim], &student[2 * dim..]]);
        let theirs = UnitVectors::of(wide, &[&teacher]);
        let mut slopes = vec![0.0; n * 16];
        let loss = pairs(&theirs.only(&some), &units.only(&some), &some, &mut slopes)
            + to_landmarks(
                (&theirs, &UnitVectors::of(wide, &[&goals])),
                (&units, &UnitVectors::of(dim, &[&marks])),
                &mut slopes,
            );
        assert!((loss - naive(&student)).abs() < 1e-4, "{loss} {}", naive(&student));
        let mut found = vec![0.0; n * dim];
        let (first, second) = found.split_at_mut(2 * dim);
        units.propagate(&slopes, 1.0, [first, second]);
        for (k, &slope) in found.iter().enumerate() {
            let moved = |by: f32| {
                let mut student = student.clone();
                student[k] += by;
                naive(&student)
            };
            let differs = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!((differs - f64::from(slope)).abs() < 2e-3, "{k}: {differs} {slope}");
        }
    }

    #[test]
    fn a_vector_of_0_has_no_cosine_and_no_slope() {
        let units = UnitVectors::of(2, &[&[0.0, 0.0, 1.0, 1.0]]);
        let theirs = UnitVectors::of(2, &[&[1.0, 0.0, 1.0, 0.0]]);
        let (mut slopes, mut out) = (vec![0.0; 32], vec![0.0; 4]);
        assert!(pairs(&theirs, &units, &[0, 1], &mut slopes).is_finite());
        units.propagate(&slopes, 1.0, [&mut out, &mut []]);
        assert!(out[..2] == [0.0, 0.0] && out.iter().all(|x| x.is_finite()));
    }
}
