//! Access to the records of a table by tasks that each own some of its rows.

use std::marker::PhantomData;

use super::super::optimizer::{Correction, Schedule, State};
use super::super::simd::{LANES, Simd, prefetch};
use super::{AHEAD, Table};

/// The records of a mutably borrowed table. Tasks that hold copies of it must touch different rows: all users
/// in this file give each task its own slots, which name distinct rows, or its own range of rows.
#[derive(Clone, Copy)]
pub(super) struct Records<'a> {
    pub(super) data: *mut f32,
    pub(super) last_step: Option<*mut u32>,
    pub(super) n_rows: usize,
    pub(super) stride: usize,
    pub(super) record: usize,
    pub(super) step: u32,
    pub(super) sgd: bool,
    pub(super) schedule: &'a Schedule,
    pub(super) max_norm: f32,
    pub(super) table: PhantomData<&'a mut Table>,
}

// SAFETY: represents a `&mut Table` of which each task uses its own rows, see above.
unsafe impl Send for Records<'_> {}
// SAFETY: as above.
unsafe impl Sync for Records<'_> {}

impl<'a> Records<'a> {
    /// The start of a row's record.
    #[inline(always)]
    pub(super) fn at(&self, row: usize) -> *mut f32 {
        debug_assert!(row < self.n_rows);
        // SAFETY: slots of this table and ranges up to `n_rows` name rows of it only.
        unsafe { self.data.add(row * self.record) }
    }

    /// The steps that the row has missed; marks all steps up to `up_to` as taken.
    #[inline(always)]
    pub(super) fn take_missed(&self, row: usize, up_to: u32) -> &'a [Correction] {
        let Some(last_step) = self.last_step else { return &[] };
        // SAFETY: `last_step` has `n_rows` elements; the row is this task's own.
        let last = unsafe { &mut *last_step.add(row) };
        let missed = self.schedule.between((*last).min(self.step), self.step);
        *last = up_to;
        missed
    }

    /// Whether rows stay in a ball.
    #[inline(always)]
    pub(super) fn bounded(&self) -> bool {
        self.max_norm < f32::INFINITY
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, row: usize, numbers: usize) {
        for line in (0..numbers).step_by(LANES) {
            prefetch(self.at(row).wrapping_add(line));
        }
    }
}

/// Fills the parameters of the rows of some slots; `ids` are those from slot `first` on.
pub(super) fn fill_rows(
    rows: Records<'_>,
    first: usize,
    ids: &[u32],
    dim: usize,
    fill: impl Fn(usize, &mut [f32]),
) {
    for (k, &id) in ids.iter().enumerate() {
        if let Some(&next) = ids.get(k + AHEAD) {
            rows.prefetch(next as usize, rows.stride);
        }
        // SAFETY: a row of this task's own, whose record begins with `dim` parameters.
        fill(first + k, unsafe { std::slice::from_raw_parts_mut(rows.at(id as usize), dim) });
    }
}

/// # Safety
/// `at` is valid for `V` vectors, and so are the places `stride` and `2 * stride` after it.
#[inline(always)]
pub(super) unsafe fn load<S: Simd, const V: usize>(
    s: S,
    at: *const f32,
    stride: usize,
) -> State<S, V> {
    let mut state = State { p: [s.zero(); V], m: [s.zero(); V], v: [s.zero(); V] };
    for j in 0..V {
        // SAFETY: the caller's promise.
        unsafe {
            state.p[j] = s.load_ptr(at.add(j * LANES));
            state.m[j] = s.load_ptr(at.add(stride + j * LANES));
            state.v[j] = s.load_ptr(at.add(2 * stride + j * LANES));
        }
    }
    state
}

/// # Safety
/// As for [`load`], for writing.
#[inline(always)]
pub(super) unsafe fn store<S: Simd, const V: usize>(
    s: S,
    at: *mut f32,
    stride: usize,
    state: &State<S, V>,
) {
    for j in 0..V {
        // SAFETY: the caller's promise.
        unsafe {
            s.store_ptr(at.add(j * LANES), state.p[j]);
            s.store_ptr(at.add(stride + j * LANES), state.m[j]);
            s.store_ptr(at.add(2 * stride + j * LANES), state.v[j]);
        }
    }
}
