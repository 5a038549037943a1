//! One pass over some rows of a table: catch up, copy, sum gradients, step.

use std::marker::PhantomData;

use super::super::optimizer::{Correction, Schedule, State, adam_step, sgd_step, splat_moments};
use super::super::simd::{Isa, LANES, Simd, dispatch, prefetch};
use super::super::slots::Slots;
use super::{AHEAD, Table, Terms};

/// The records of a mutably borrowed table. Tasks that hold copies of it must touch different rows: all users in this file
/// give each task its own slots, which name distinct rows, or its own range of rows.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub data: *mut f32,
    pub last_step: Option<*mut u32>,
    pub n_rows: usize,
    pub stride: usize,
    pub record: usize,
    pub step: u32,
    pub sgd: bool,
    pub schedule: &'a Schedule,
    pub max_norm: f32,
    pub table: PhantomData<&'a mut Table>,
}

// SAFETY: stands for a `&mut Table` of which each task uses rows of its own, as said above.
unsafe impl Send for Rows<'_> {}
// SAFETY: as above.
unsafe impl Sync for Rows<'_> {}

impl<'a> Rows<'a> {
    /// The start of a row's record.
    #[inline(always)]
    fn at(&self, row: usize) -> *mut f32 {
        debug_assert!(row < self.n_rows);
        // SAFETY: slots of this table and ranges up to `n_rows` name rows of it only.
        unsafe { self.data.add(row * self.record) }
    }

    /// The steps that the row has missed, of which it is then held to have taken all up to `up_to`.
    #[inline(always)]
    fn take_missed(&self, row: usize, up_to: u32) -> &'a [Correction] {
        let Some(last_step) = self.last_step else { return &[] };
        // SAFETY: `last_step` has `n_rows` elements; the row is this task's own.
        let last = unsafe { &mut *last_step.add(row) };
        let missed = self.schedule.between((*last).min(self.step), self.step);
        *last = up_to;
        missed
    }

    /// Whether rows stay in a ball.
    #[inline(always)]
    fn bounded(&self) -> bool {
        self.max_norm < f32::INFINITY
    }

    #[inline(always)]
    fn prefetch(&self, row: usize, numbers: usize) {
        for line in (0..numbers).step_by(LANES) {
            prefetch(self.at(row).wrapping_add(line));
        }
    }
}

/// Has the parameters of the rows of some slots filled, `ids` being those from slot `first` on.
pub(super) fn fill_rows(
    rows: Rows<'_>,
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

/// Where a step's gradients come from.
#[derive(Clone, Copy)]
pub(super) enum Gradient<'a> {
    Terms(&'a Terms<'a>),
    Rows(&'a [f32], f32),
}

dispatch! {
    pub(super) fn fetch_rows(rows: Rows<'_>, ids: &[u32], out: &mut [f32]) = fetch_kernel;
    pub(super) fn apply_rows(rows: Rows<'_>, slots: &Slots, first: usize, end: usize, gradient: Gradient<'_>) = apply_kernel;
    pub(super) fn apply_full_rows(rows: Rows<'_>, first: usize, gradients: &[f32], scale: f32) = apply_full_kernel;
    pub(super) fn sum_rows(terms: &Terms<'_>, slots: &Slots, first: usize, out: &mut [f32]) = sum_kernel;
    pub(super) fn settle_rows(rows: Rows<'_>, first: usize, end: usize) = settle_kernel;
}

/// Runs `$body` for every column tile of a row, with `$width` vectors at `$column`: as many vectors at a time as the
/// registers hold with their moments. Elementwise work gives the same bits in tiles of any width.
macro_rules! for_tiles {
    ($s:ty, $stride:expr, |$column:ident, $width:ident| $body:expr) => {{
        let mut at = 0;
        if <$s>::ISA == Isa::Avx512 {
            while at + 4 * LANES <= $stride {
                const $width: usize = 4;
                let $column = at;
                $body;
                at += 4 * LANES;
            }
        }
        while at + 2 * LANES <= $stride {
            const $width: usize = 2;
            let $column = at;
            $body;
            at += 2 * LANES;
        }
        while at < $stride {
            const $width: usize = 1;
            let $column = at;
            $body;
            at += LANES;
        }
    }};
}

/// Catches up the rows `ids`, and copies their parameters to `out` unless that is empty.
#[inline(always)]
fn fetch_kernel<S: Simd>(s: S, rows: Rows<'_>, ids: &[u32], out: &mut [f32]) {
    let lazy = rows.last_step.is_some();
    for (k, &id) in ids.iter().enumerate() {
        if let Some(&next) = ids.get(k + AHEAD) {
            rows.prefetch(next as usize, if lazy { rows.record } else { rows.stride });
        }
        catch_up_row(s, rows, id as usize);
        if !out.is_empty() {
            let from = rows.at(id as usize);
            for (j, out) in
                out[k * rows.stride..][..rows.stride].chunks_exact_mut(LANES).enumerate()
            {
                // SAFETY: the record has `stride` parameters, a multiple of 16.
                s.store(out, unsafe { s.load_ptr(from.add(j * LANES)) });
            }
        }
    }
}

#[inline(always)]
fn settle_kernel<S: Simd>(s: S, rows: Rows<'_>, first: usize, end: usize) {
    for row in first..end {
        catch_up_row(s, rows, row);
    }
}

#[inline(always)]
fn catch_up_row<S: Simd>(s: S, rows: Rows<'_>, row: usize) {
    // A row that has already taken the running step (by `apply`) missed nothing and must not be set back.
    let Some(last_step) = rows.last_step else { return };
    // SAFETY: as in `take_missed`.
    if unsafe { *last_step.add(row) } >= rows.step {
        return;
    }
    let missed = rows.take_missed(row, rows.step);
    let at = rows.at(row);
    // All in registers, but in a ball, which follows every single step.
    let at_once = if rows.bounded() { 1 } else { missed.len().max(1) };
    for missed in missed.chunks(at_once) {
        let mut rests = rows.schedule.weight_decay == 0.0;
        for_tiles!(S, rows.stride, |column, V| {
            // SAFETY: columns up to `stride` of this task's own record.
            let mut state = unsafe { load::<S, V>(s, at.add(column), rows.stride) };
            rests &= !replay::<S, V>(s, &mut state, missed, rows.schedule);
            // SAFETY: as above.
            unsafe { store::<S, V>(s, at.add(column), rows.stride, &state) };
        });
        if rests {
            break;
        }
        put_back(s, rows, row);
    }
}

/// The steps that the row has missed, for [`update`] to take before this one; in a ball they are taken now.
#[inline(always)]
fn missed_by<'a, S: Simd>(s: S, rows: Rows<'a>, row: usize) -> &'a [Correction] {
    if rows.bounded() {
        catch_up_row(s, rows, row);
    }
    rows.take_missed(row, rows.step + 1)
}

/// A row that has left the ball goes to its surface.
#[inline(always)]
fn put_back<S: Simd>(s: S, rows: Rows<'_>, row: usize) {
    if !rows.bounded() {
        return;
    }
    let at = rows.at(row);
    let mut squares = s.zero();
    // SAFETY of all pointers: columns up to `stride` of this task's own record.
    for column in (0..rows.stride).step_by(LANES) {
        let p = unsafe { s.load_ptr(at.add(column)) };
        squares = s.fma(p, p, squares);
    }
    let squared = s.hsum(squares);
    if squared > rows.max_norm * rows.max_norm {
        let back = s.splat(rows.max_norm / squared.sqrt());
        for column in (0..rows.stride).step_by(LANES) {
            unsafe { s.store_ptr(at.add(column), s.mul(s.load_ptr(at.add(column)), back)) };
        }
    }
}

/// The steps of `missed`, with a gradient of 0. Whether anything can have moved.
#[inline(always)]
fn replay<S: Simd, const V: usize>(
    s: S,
    state: &mut State<S, V>,
    missed: &[Correction],
    schedule: &Schedule,
) -> bool {
    // Without decay a row that has never had a gradient moves by 0 / epsilon: not at all.
    if schedule.weight_decay == 0.0 {
        let mut rests = true;
        for j in 0..V {
            let zero = s.and_mask(s.eq(state.m[j], s.zero()), s.eq(state.v[j], s.zero()));
            rests &= s.mask_bits(zero) == u16::MAX;
        }
        if rests {
            return false;
        }
    }
    let weight_decay = s.splat(schedule.weight_decay);
    let moments = splat_moments(s, schedule.moments);
    for &correction in missed {
        adam_step::<S, V>(s, state, [s.zero(); V], weight_decay, moments, correction);
    }
    true
}

#[inline(always)]
fn apply_kernel<S: Simd>(
    s: S,
    rows: Rows<'_>,
    slots: &Slots,
    first: usize,
    end: usize,
    gradient: Gradient<'_>,
) {
    let ids = slots.rows();
    for slot in first..end {
        if slot + AHEAD < end {
            rows.prefetch(ids[slot + AHEAD] as usize, rows.record);
        }
        let row = ids[slot] as usize;
        match gradient {
            Gradient::Terms(terms) => {
                let per = terms.coef.len() / slots.n_occurrences();
                let occurrences = slots.occurrences(slot);
                let counted = count(occurrences, terms.coef, per);
                if counted == 0 {
                    continue; // It rests, or takes this step when it catches up.
                }
                let missed = missed_by(s, rows, row);
                let decay = s.splat(terms.decay * counted as f32);
                let scale = s.splat(terms.scale);
                let at = rows.at(row);
                for_tiles!(S, rows.stride, |column, V| {
                    // SAFETY: columns up to `stride` of this task's own record.
                    let at = unsafe { at.add(column) };
                    let mut sum = sum_terms::<S, V>(s, occurrences, terms, per, column);
                    for sum in &mut sum {
                        *sum = s.mul(*sum, scale);
                    }
                    // SAFETY: as above.
                    unsafe { update::<S, V>(s, rows, at, sum, s.mul(decay, scale), missed) };
                });
                put_back(s, rows, row);
            }
            Gradient::Rows(gradients, scale) => {
                let gradient = &gradients[slot * rows.stride..][..rows.stride];
                apply_row(s, rows, row, gradient, scale);
            }
        }
    }
}

#[inline(always)]
fn apply_full_kernel<S: Simd>(s: S, rows: Rows<'_>, first: usize, gradients: &[f32], scale: f32) {
    for (k, gradient) in gradients.chunks_exact(rows.stride.max(1)).enumerate() {
        apply_row(s, rows, first + k, gradient, scale);
    }
}

#[inline(always)]
fn apply_row<S: Simd>(s: S, rows: Rows<'_>, row: usize, gradient: &[f32], scale: f32) {
    let missed = missed_by(s, rows, row);
    let scale = s.splat(scale);
    let at = rows.at(row);
    for_tiles!(S, rows.stride, |column, V| {
        let mut g = [s.zero(); V];
        for j in 0..V {
            g[j] = s.mul(s.load(&gradient[column + j * LANES..]), scale);
        }
        // SAFETY: columns up to `stride` of this task's own record.
        unsafe { update::<S, V>(s, rows, at.add(column), g, s.zero(), missed) };
    });
    put_back(s, rows, row);
}

/// The sums of the terms of the slots from `first` on.
#[inline(always)]
fn sum_kernel<S: Simd>(s: S, terms: &Terms<'_>, slots: &Slots, first: usize, out: &mut [f32]) {
    let per = terms.coef.len() / slots.n_occurrences();
    for (k, out) in out.chunks_exact_mut(terms.stride).enumerate() {
        let occurrences = slots.occurrences(first + k);
        for_tiles!(S, terms.stride, |column, V| {
            let sum = sum_terms::<S, V>(s, occurrences, terms, per, column);
            for (j, &sum) in sum.iter().enumerate() {
                s.store(&mut out[column + j * LANES..], sum);
            }
        });
    }
}

/// How many occurrences have a term.
#[inline(always)]
fn count(occurrences: &[u32], coef: &[f32], per: usize) -> usize {
    let mut counted = 0;
    for &o in occurrences {
        let terms = &coef[o as usize * per..][..per];
        counted += usize::from(terms.iter().any(|&c| c != 0.0));
    }
    counted
}

/// The sum of the occurrences' terms in `V` vectors from `column` on, in the order of the batch.
#[inline(always)]
fn sum_terms<S: Simd, const V: usize>(
    s: S,
    occurrences: &[u32],
    terms: &Terms<'_>,
    per: usize,
    column: usize,
) -> [S::F; V] {
    let mut sum = [s.zero(); V];
    for &o in occurrences {
        let of = o as usize * per;
        for (&coef, &source) in terms.coef[of..][..per].iter().zip(&terms.source[of..][..per]) {
            if coef == 0.0 {
                continue;
            }
            let vector = &terms.vectors[source as usize * terms.stride + column..][..V * LANES];
            let coef = s.splat(coef);
            for j in 0..V {
                sum[j] = s.fma(coef, s.load(&vector[j * LANES..]), sum[j]);
            }
        }
    }
    sum
}

/// The step itself: what was missed, then the step with this gradient and `penalty * p`.
///
/// # Safety
/// `at` is a column with `V` vectors to come, of a record that is this task's own.
#[inline(always)]
unsafe fn update<S: Simd, const V: usize>(
    s: S,
    rows: Rows<'_>,
    at: *mut f32,
    mut gradient: [S::F; V],
    penalty: S::F,
    missed: &[Correction],
) {
    let weight_decay = s.splat(rows.schedule.weight_decay);
    if rows.sgd {
        let rate = s.splat(rows.schedule.sgd_rate);
        let mut p = [s.zero(); V];
        for (j, (p, g)) in p.iter_mut().zip(&mut gradient).enumerate() {
            // SAFETY: the caller's promise.
            *p = unsafe { s.load_ptr(at.add(j * LANES)) };
            *g = s.fma(penalty, *p, *g);
        }
        sgd_step::<S, V>(s, &mut p, gradient, weight_decay, rate);
        for (j, &p) in p.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { s.store_ptr(at.add(j * LANES), p) };
        }
        return;
    }
    // SAFETY: the caller's promise.
    let mut state = unsafe { load::<S, V>(s, at, rows.stride) };
    if !missed.is_empty() {
        replay::<S, V>(s, &mut state, missed, rows.schedule);
    }
    // The penalty is on the parameters as they are read at this step: after what was missed.
    for (g, &p) in gradient.iter_mut().zip(&state.p) {
        *g = s.fma(penalty, p, *g);
    }
    let now = rows.schedule.at(rows.step + 1);
    let moments = splat_moments(s, rows.schedule.moments);
    adam_step::<S, V>(s, &mut state, gradient, weight_decay, moments, now);
    // SAFETY: the caller's promise.
    unsafe { store::<S, V>(s, at, rows.stride, &state) };
}

/// # Safety
/// `at` is valid for `V` vectors, and so are the places `stride` and `2 * stride` after it.
#[inline(always)]
unsafe fn load<S: Simd, const V: usize>(s: S, at: *const f32, stride: usize) -> State<S, V> {
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
unsafe fn store<S: Simd, const V: usize>(s: S, at: *mut f32, stride: usize, state: &State<S, V>) {
    for j in 0..V {
        // SAFETY: the caller's promise.
        unsafe {
            s.store_ptr(at.add(j * LANES), state.p[j]);
            s.store_ptr(at.add(stride + j * LANES), state.m[j]);
            s.store_ptr(at.add(2 * stride + j * LANES), state.v[j]);
        }
    }
}
