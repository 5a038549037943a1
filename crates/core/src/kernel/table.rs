//! A trainable embedding table: parameters and optimiser state, one record per row.
//!
//! A record is `[p | m | v]` (only `[p]` under SGD), each part padded with zeros to a multiple of 16 numbers,
//! and starts on a cache line: one random access loads everything that a step needs. A training step is
//!
//! ```ignore
//! slots.assign(&ids);                     // the distinct rows of the batch
//! table.fetch(&slots, &mut compact);      // rows brought up to date and copied, one a slot
//! ..                                      // scores, losses, coefficients
//! table.apply(&slots, &terms);            // gradients summed in registers, the optimiser applied at once
//! table.advance();                        // the step is over; once a step, whatever the number of `apply` calls
//! ```
//!
//! and [`Table::settle`] before anything but a step reads the table. Every row belongs to one task, which adds its
//! gradients in the order of the batch: results do not depend on the number of threads.

use std::marker::PhantomData;

use rayon::prelude::*;

use self::kernels::{Gradient, apply_full_rows, apply_rows, fetch_rows, settle_rows, sum_rows};
use self::records::{Records, fill_rows};

use super::buffer::Buffer;
use super::mapped::Mapped;
use super::optimizer::{AdamMode, Optimizer, Schedule, Sgd};
use super::simd::{LANES, prefetch};
use super::slots::Slots;
pub(super) use state::check;
pub use state::{TableState, WrongLength};

/// Slots, or rows, of one task: some tens of microseconds.
const CHUNK: usize = 128;

/// How many rows ahead records are prefetched.
const AHEAD: usize = 4;

/// `n_rows` vectors of `dim` parameters with their optimiser.
#[derive(Clone, Debug)]
pub struct Table {
    n_rows: usize,
    dim: usize,
    data: Buffer,
    /// Rows without gaps in a mapped file, used instead of `data` until the first change.
    fixed: Option<Mapped<f32>>,
    /// The last step that each row has taken; only in modes where rows that are not in a batch take steps too.
    last_step: Vec<u32>,
    /// Completed steps.
    step: u32,
    optimizer: Optimizer,
    schedule: Schedule,
    /// The radius of the ball that rows stay in; infinite if there is none.
    max_norm: f32,
}

/// The gradient of a batch as a sum of scaled vectors: that of a row is
/// `scale * (sum of coef[t] * vectors[source[t]] over the terms t of its occurrences + decay * occurrences * p)`.
///
/// Every occurrence has the same number k of terms: those of occurrence o are `o * k .. (o + 1) * k`, and
/// `coef` and `source` have `k * slots.n_occurrences()` elements. A term with coefficient 0 is skipped,
/// whatever its source says; an occurrence with nothing else does not count. In modes where rows rest, a row
/// without a counted occurrence rests.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The factor of each term.
    pub coef: &'a [f32],
    /// Which of `vectors` it scales.
    pub source: &'a [u32],
    /// Vectors, `stride` apart; such as those that another table's [`Table::fetch`] gave. Padding must be 0.
    pub vectors: &'a [f32],
    /// Distance of vectors; at least the table's [`Table::stride`].
    pub stride: usize,
    /// Scales the whole gradient: 1 for summed losses, 1 / batch for mean ones.
    pub scale: f32,
    /// Strength of an L2 penalty `decay / 2 * |p|^2` for every counted occurrence.
    pub decay: f32,
}

impl Terms<'_> {
    /// The gradient of every slot's row, one after the other, `stride` numbers each: the sums of their
    /// occurrences' terms in the order of the batch, without scale and decay. For vectors that are no
    /// parameters themselves.
    ///
    /// # Panics
    /// If lengths do not fit together (see [`Terms`]), `stride` is not a multiple of 16, or a source lies outside `vectors`.
    pub fn sums(&self, slots: &Slots, out: &mut [f32]) {
        assert_eq!(self.coef.len(), self.source.len(), "as many sources as coefficients");
        assert!(self.stride.is_multiple_of(LANES), "rows of whole vectors");
        assert_eq!(out.len(), slots.len() * self.stride, "room for one row a slot");
        if out.is_empty() {
            return;
        }
        assert_eq!(self.coef.len() % slots.n_occurrences(), 0, "equally many terms an occurrence");
        out.par_chunks_mut(CHUNK * self.stride).enumerate().for_each(|(chunk, out)| {
            sum_rows(self, slots, chunk * CHUNK, out);
        });
    }
}

impl Table {
    /// All parameters 0.
    ///
    /// # Panics
    /// If the optimiser's settings do not pass [`Optimizer::check`].
    pub fn new(n_rows: usize, dim: usize, optimizer: Optimizer) -> Self {
        if let Err(problem) = optimizer.check() {
            panic!("{problem}");
        }
        let record = dim.next_multiple_of(LANES) * optimizer.width();
        let mut schedule = Schedule::new(&optimizer);
        schedule.grow(1);
        Self {
            n_rows,
            dim,
            data: Buffer::zeros(n_rows * record),
            fixed: None,
            last_step: vec![0; if optimizer.touches_all() { n_rows } else { 0 }],
            step: 0,
            optimizer,
            schedule,
            max_norm: f32::INFINITY,
        }
    }

    /// Rows without gaps in a mapped file. They are copied into memory before the first change.
    ///
    /// # Errors
    /// If there are not `n_rows * dim` numbers.
    pub fn over(rows: Mapped<f32>, n_rows: usize, dim: usize) -> Result<Self, WrongLength> {
        let expected = n_rows.saturating_mul(dim);
        check(expected, rows.len())?;
        let empty = Self::new(0, dim, Optimizer::Sgd(Sgd::default()));
        Ok(Self { n_rows, fixed: Some(rows), ..empty })
    }

    /// Copies mapped rows into memory, so that they can be changed.
    fn own(&mut self) {
        if let Some(rows) = self.fixed.take() {
            self.data = Buffer::zeros(self.n_rows * self.record());
            self.set_part(0, &rows);
        }
    }

    /// With rows that stay within a ball: one that a step moved out of it is put back onto its surface, steps
    /// that are replayed included. Rows that stay unchanged, by the mode or because their moments are 0, are
    /// not moved.
    ///
    /// # Panics
    /// If the radius is not above 0.
    pub fn in_ball(self, max_norm: f32) -> Self {
        assert!(max_norm > 0.0, "a ball has a radius above 0, not {max_norm}");
        Self { max_norm, ..self }
    }

    /// Fills the parameters of every row by `fill(row, parameters)`, in parallel.
    pub fn init(&mut self, fill: impl Fn(usize, &mut [f32]) + Sync) {
        self.own();
        let (dim, record) = (self.dim, self.record());
        if record > 0 {
            let rows = self.data.par_chunks_mut(record).enumerate().with_min_len(CHUNK);
            rows.for_each(|(row, record)| fill(row, &mut record[..dim]));
        }
    }

    /// Fills the parameters of the slots' rows by `fill(slot, parameters)`, in parallel.
    ///
    /// # Panics
    /// If the slots are another table's.
    pub fn init_rows(&mut self, slots: &Slots, fill: impl Fn(usize, &mut [f32]) + Sync) {
        let dim = self.dim;
        let rows = self.rows(slots);
        slots.rows().par_chunks(CHUNK).enumerate().for_each(|(chunk, ids)| {
            fill_rows(rows, chunk * CHUNK, ids, dim, &fill);
        });
    }

    /// Brings the slots' rows up to the current step and copies their parameters to `out`, one row of
    /// [`Table::stride`] numbers a slot.
    ///
    /// # Panics
    /// If the slots are another table's, or `out` has not `slots.len() * stride` numbers.
    pub fn fetch(&mut self, slots: &Slots, out: &mut [f32]) {
        assert_eq!(out.len(), slots.len() * self.stride(), "room for one row a slot");
        if out.is_empty() {
            return;
        }
        let stride = self.stride();
        let rows = self.rows(slots);
        let ids = slots.rows();
        let chunks = out.par_chunks_mut(CHUNK * stride).zip(ids.par_chunks(CHUNK));
        chunks.for_each(|(out, ids)| fetch_rows(rows, ids, out));
    }

    /// Brings the slots' rows up to the current step, so that they may be read.
    pub fn catch_up(&mut self, slots: &Slots) {
        if self.optimizer.touches_all() {
            let rows = self.rows(slots);
            slots.rows().par_chunks(CHUNK).for_each(|ids| fetch_rows(rows, ids, &mut []));
        }
    }

    /// Copies the parameters of the slots' rows, as they are, to `out`: see [`Table::fetch`], which brings
    /// them up to date on the way.
    ///
    /// # Panics
    /// As for `fetch`.
    pub fn gather(&self, slots: &Slots, out: &mut [f32]) {
        assert_eq!(out.len(), slots.len() * self.stride(), "room for one row a slot");
        assert_eq!(slots.n_rows(), self.n_rows, "slots of this table");
        let (stride, record) = (self.stride(), self.record());
        if out.is_empty() {
            return;
        }
        if self.fixed.is_some() {
            out.fill(0.0);
            for (out, &id) in out.chunks_exact_mut(stride).zip(slots.rows()) {
                out[..self.dim].copy_from_slice(self.row(id as usize));
            }
            return;
        }
        let chunks = out.par_chunks_mut(CHUNK * stride).zip(slots.rows().par_chunks(CHUNK));
        chunks.for_each(|(out, ids)| {
            for (k, (out, &id)) in out.chunks_exact_mut(stride).zip(ids).enumerate() {
                if let Some(&next) = ids.get(k + AHEAD) {
                    for line in (0..stride).step_by(LANES) {
                        prefetch(&self.data[next as usize * record + line]);
                    }
                }
                out.copy_from_slice(&self.data[id as usize * record..][..stride]);
            }
        });
    }

    /// Takes the current step with the rows of the batch. At most one `apply` a row and step.
    ///
    /// # Panics
    /// If lengths do not fit together (see [`Terms`]), or a source lies outside `vectors`.
    pub fn apply(&mut self, slots: &Slots, terms: &Terms<'_>) {
        assert_eq!(terms.coef.len(), terms.source.len(), "as many sources as coefficients");
        assert!(terms.stride >= self.stride(), "vectors as long as rows");
        if slots.is_empty() {
            return;
        }
        assert_eq!(terms.coef.len() % slots.n_occurrences(), 0, "equally many terms an occurrence");
        self.apply_gradient(slots, Gradient::Terms(terms));
    }

    /// Takes the current step with explicit gradients, one row of [`Table::stride`] numbers a slot, padding
    /// 0; each is multiplied by `scale`.
    ///
    /// # Panics
    /// If `gradients` has not `slots.len() * stride` numbers.
    pub fn apply_dense_rows(&mut self, slots: &Slots, gradients: &[f32], scale: f32) {
        assert_eq!(gradients.len(), slots.len() * self.stride(), "one gradient a slot");
        self.apply_gradient(slots, Gradient::Rows(gradients, scale));
    }

    /// Takes the current step with a gradient for the whole table, `n_rows` rows of [`Table::stride`]
    /// numbers, padding 0; each is multiplied by `scale`.
    ///
    /// # Panics
    /// If `gradients` has not `n_rows * stride` numbers.
    pub fn apply_full(&mut self, gradients: &[f32], scale: f32) {
        assert_eq!(gradients.len(), self.n_rows * self.stride(), "one gradient a row");
        let (n_rows, stride) = (self.n_rows, self.stride());
        let rows = self.all_rows();
        (0..n_rows.div_ceil(CHUNK)).into_par_iter().for_each(|chunk| {
            let ids = chunk * CHUNK..((chunk + 1) * CHUNK).min(n_rows);
            apply_full_rows(
                rows,
                ids.start,
                &gradients[ids.start * stride..ids.end * stride],
                scale,
            );
        });
    }

    /// As [`Table::apply_full`], with gradients that are computed on demand: `fill(first, gradients)` writes those of
    /// the rows from `first` on, as many as fit, padding 0. Called from several threads; the buffer holds
    /// values of other rows on entry.
    pub fn apply_full_by(&mut self, fill: impl Fn(usize, &mut [f32]) + Sync, scale: f32) {
        let (n_rows, stride) = (self.n_rows, self.stride());
        let rows = self.all_rows();
        (0..n_rows.div_ceil(CHUNK)).into_par_iter().for_each_init(
            || vec![0.0; CHUNK * stride],
            |gradients, chunk| {
                let first = chunk * CHUNK;
                let gradients = &mut gradients[..CHUNK.min(n_rows - first) * stride];
                fill(first, gradients);
                apply_full_rows(rows, first, gradients, scale);
            },
        );
    }

    /// Ends a training step.
    pub fn advance(&mut self) {
        self.step += 1;
        self.schedule.grow(self.step + 1);
        if matches!(&self.optimizer, Optimizer::Adam(adam) if adam.mode == AdamMode::Dense) {
            self.settle();
        }
    }

    /// Brings every row up to the current step. Needed before evaluation, export and saving in the mode
    /// [`AdamMode::Exact`]; does nothing in others.
    pub fn settle(&mut self) {
        if self.optimizer.touches_all() {
            let n_rows = self.n_rows;
            let rows = self.all_rows();
            (0..n_rows.div_ceil(CHUNK)).into_par_iter().for_each(|chunk| {
                settle_rows(rows, chunk * CHUNK, ((chunk + 1) * CHUNK).min(n_rows));
            });
        }
    }

    /// Whether every row has taken every step.
    pub fn is_settled(&self) -> bool {
        self.last_step.iter().all(|&last| last >= self.step)
    }

    /// Changes the learning rate from the next step on; settles the table first.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    pub fn set_learning_rate(&mut self, rate: f64) {
        assert!(rate >= 0.0 && rate.is_finite(), "`learning_rate` must be at least 0");
        if rate == self.optimizer.learning_rate() {
            return;
        }
        self.settle();
        *self.optimizer.learning_rate_mut() = rate;
        self.schedule.set_learning_rate(rate, self.step + 1);
    }

    /// The optimiser, with its current learning rate.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Numbers in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// `dim` rounded up to a multiple of 16: the distance of rows in what [`Table::fetch`] gives.
    pub fn stride(&self) -> usize {
        self.dim.next_multiple_of(LANES)
    }

    /// Number of trained parameters.
    pub fn n_parameters(&self) -> usize {
        self.n_rows * self.dim
    }

    /// Completed steps.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// The parameters of a row.
    pub fn row(&self, row: usize) -> &[f32] {
        match &self.fixed {
            None => &self.data[row * self.record()..][..self.dim],
            Some(rows) => &rows[row * self.dim..][..self.dim],
        }
    }

    /// The parameters of a row, to be changed.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        self.own();
        let at = row * self.record();
        &mut self.data[at..][..self.dim]
    }

    /// The parameters in place: row r starts at `r * distance` of the slice, for the (slice, distance) returned.
    pub fn params(&self) -> (&[f32], usize) {
        match &self.fixed {
            None => (&self.data, self.record()),
            Some(rows) => (rows, self.dim),
        }
    }

    /// As [`Table::params`], mutable: for kernels, which respect the padding.
    pub(super) fn params_mut(&mut self) -> (&mut [f32], usize) {
        self.own();
        let record = self.record();
        (&mut self.data, record)
    }

    fn record(&self) -> usize {
        self.stride() * self.optimizer.width()
    }

    fn apply_gradient(&mut self, slots: &Slots, gradient: Gradient<'_>) {
        let rows = self.rows(slots);
        (0..slots.len().div_ceil(CHUNK)).into_par_iter().for_each(|chunk| {
            let end = ((chunk + 1) * CHUNK).min(slots.len());
            apply_rows(rows, slots, chunk * CHUNK, end, gradient);
        });
    }

    /// The records, to be shared among tasks that each own some of the slots.
    fn rows(&mut self, slots: &Slots) -> Records<'_> {
        assert_eq!(slots.n_rows(), self.n_rows, "slots of this table");
        self.all_rows()
    }

    fn all_rows(&mut self) -> Records<'_> {
        self.own();
        Records {
            stride: self.stride(),
            record: self.record(),
            step: self.step,
            n_rows: self.n_rows,
            data: self.data.as_mut_ptr(),
            last_step: (!self.last_step.is_empty()).then_some(self.last_step.as_mut_ptr()),
            schedule: &self.schedule,
            max_norm: self.max_norm,
            sgd: matches!(self.optimizer, Optimizer::Sgd(_)),
            table: PhantomData,
        }
    }
}

mod kernels;
mod records;
mod state;
#[cfg(test)]
mod tests;
