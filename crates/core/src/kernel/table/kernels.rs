//! One pass over some rows of a table: catch up, copy, sum gradients, step.

use super::super::optimizer::{Correction, Schedule, State, adam_step, sgd_step, splat_moments};
use super::super::simd::{Isa, LANES, Simd, dispatch, prefetch};
use super::super::slots::Slots;
use super::records::{Records, load, store};
use super::{AHEAD, CHUNK, Terms};

/// How many rows ahead the first part of a row is prefetched.
const FAR: usize = 3 * AHEAD;

/// The source of a step's gradients.
#[derive(Clone, Copy)]
pub(super) enum Gradient<'a> {
    Terms(&'a Terms<'a>),
    Rows(&'a [f32], f32),
}

dispatch! {
    pub(super) fn fetch_rows(rows: Records<'_>, ids: &[u32], out: &mut [f32]) = fetch_kernel;
    pub(super) fn apply_rows(rows: Records<'_>, slots: &Slots, first: usize, end: usize, gradient: Gradient<'_>) = apply_kernel;
    pub(super) fn apply_full_rows(rows: Records<'_>, first: usize, gradients: &[f32], scale: f32) = apply_full_kernel;
    pub(super) fn sum_rows(terms: &Terms<'_>, slots: &Slots, first: usize, out: &mut [f32]) = sum_kernel;
    pub(super) fn settle_rows(rows: Records<'_>, first: usize, end: usize) = settle_kernel;
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

/// Brings the rows `ids` up to date, and copies their parameters to `out` unless that is empty.
#[inline(always)]
fn fetch_kernel<S: Simd>(s: S, rows: Records<'_>, ids: &[u32], out: &mut [f32]) {
    let lazy = rows.last_step.is_some();
    // Rows that are only copied take little time.
    let (ahead, numbers) = if lazy { (AHEAD, rows.record) } else { (FAR, rows.stride) };
    for (k, &id) in ids.iter().enumerate() {
        if let (Some(last_step), Some(&next)) = (rows.last_step, ids.get(k + FAR)) {
            prefetch(last_step.wrapping_add(next as usize));
        }
        if let Some(&next) = ids.get(k + ahead) {
            rows.prefetch(next as usize, numbers);
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
fn settle_kernel<S: Simd>(s: S, rows: Records<'_>, first: usize, end: usize) {
    for row in first..end {
        catch_up_row(s, rows, row);
    }
}

#[inline(always)]
fn catch_up_row<S: Simd>(s: S, rows: Records<'_>, row: usize) {
    // A row that has already taken the running step (by `apply`) has missed nothing and must not be set back.
    let Some(last_step) = rows.last_step else { return };
    // SAFETY: as in `take_missed`.
    if unsafe { *last_step.add(row) } >= rows.step {
        return;
    }
    let missed = rows.take_missed(row, rows.step);
    let at = rows.at(row);
    if !rows.bounded() {
        replay_row(s, rows, at, missed);
        return;
    }
    // SAFETY of all: this task's own record, with this many vectors per part.
    match (S::ISA, rows.stride / LANES) {
        (_, 1) => unsafe { replay_in_ball::<S, 1>(s, rows, at, missed) },
        (_, 2) => unsafe { replay_in_ball::<S, 2>(s, rows, at, missed) },
        (Isa::Avx512, 4) => unsafe { replay_in_ball::<S, 4>(s, rows, at, missed) },
        _ => {
            for missed in missed.chunks(1) {
                if !replay_row(s, rows, at, missed) {
                    break;
                }
                put_back(s, rows, row);
            }
        }
    }
}

/// Replays the steps that a row has missed, tile by tile. Returns whether anything can have moved.
#[inline(always)]
fn replay_row<S: Simd>(s: S, rows: Records<'_>, at: *mut f32, missed: &[Correction]) -> bool {
    let mut moved = false;
    for_tiles!(S, rows.stride, |column, V| {
        // SAFETY: columns up to `stride` of this task's own record.
        let mut state = unsafe { load::<S, V>(s, at.add(column), rows.stride) };
        if replay::<S, V>(s, &mut state, missed, rows.schedule) {
            moved = true;
            // SAFETY: as above.
            unsafe { store::<S, V>(s, at.add(column), rows.stride, &state) };
        }
    });
    moved
}

/// Replays the steps that a row of `V` vectors has missed, projected into the ball after every step: all in registers.
///
/// # Safety
/// `at` is a record of this task's own, `V` vectors per part.
#[inline(always)]
unsafe fn replay_in_ball<S: Simd, const V: usize>(
    s: S,
    rows: Records<'_>,
    at: *mut f32,
    missed: &[Correction],
) {
    // SAFETY: the caller's promise.
    let mut state = unsafe { load::<S, V>(s, at, V * LANES) };
    if missed.is_empty() || rests(s, &state, rows.schedule) {
        return;
    }
    let weight_decay = s.splat(rows.schedule.weight_decay);
    let moments = splat_moments(s, rows.schedule.moments);
    for &correction in missed {
        adam_step::<S, V>(s, &mut state, [s.zero(); V], weight_decay, moments, correction);
        let mut squares = s.zero();
        for p in state.p {
            squares = s.fma(p, p, squares);
        }
        if let Some(back) = way_back(s, rows.max_norm, squares) {
            for p in &mut state.p {
                *p = s.mul(*p, back);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store::<S, V>(s, at, V * LANES, &state) };
}

/// The steps that the row has missed, for [`update`] to take before this one; in a ball they are taken now.
#[inline(always)]
fn missed_by<'a, S: Simd>(s: S, rows: Records<'a>, row: usize) -> &'a [Correction] {
    if rows.bounded() {
        catch_up_row(s, rows, row);
    }
    rows.take_missed(row, rows.step + 1)
}

/// Projects a row that has left the ball onto its surface.
#[inline(always)]
fn put_back<S: Simd>(s: S, rows: Records<'_>, row: usize) {
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
    if let Some(back) = way_back(s, rows.max_norm, squares) {
        for column in (0..rows.stride).step_by(LANES) {
            unsafe { s.store_ptr(at.add(column), s.mul(s.load_ptr(at.add(column)), back)) };
        }
    }
}

/// The factor that moves a point with these squares onto the surface of the ball, if it lies outside.
#[inline(always)]
fn way_back<S: Simd>(s: S, max_norm: f32, squares: S::F) -> Option<S::F> {
    let squared = s.hsum(squares);
    if squared > max_norm * max_norm { Some(s.splat(max_norm / squared.sqrt())) } else { None }
}

/// Without decay a row that has never had a gradient moves by 0 / epsilon: not at all.
#[inline(always)]
fn rests<S: Simd, const V: usize>(s: S, state: &State<S, V>, schedule: &Schedule) -> bool {
    let mut rests = schedule.weight_decay == 0.0;
    for j in 0..V {
        let zero = s.and_mask(s.eq(state.m[j], s.zero()), s.eq(state.v[j], s.zero()));
        rests &= s.mask_bits(zero) == u16::MAX;
    }
    rests
}

/// Takes the steps of `missed`, with a gradient of 0. Returns whether anything can have moved.
#[inline(always)]
fn replay<S: Simd, const V: usize>(
    s: S,
    state: &mut State<S, V>,
    missed: &[Correction],
    schedule: &Schedule,
) -> bool {
    if rests(s, state, schedule) {
        return false;
    }
    let weight_decay = s.splat(schedule.weight_decay);
    let moments = splat_moments(s, schedule.moments);
    for &correction in missed {
        adam_step::<S, V>(s, state, [s.zero(); V], weight_decay, moments, correction);
    }
    true
}

/// Up to `CHUNK` slots.
#[inline(always)]
fn apply_kernel<S: Simd>(
    s: S,
    rows: Records<'_>,
    slots: &Slots,
    first: usize,
    end: usize,
    gradient: Gradient<'_>,
) {
    let ids = slots.rows();
    match gradient {
        Gradient::Rows(gradients, scale) => {
            for slot in first..end {
                if slot + AHEAD < end {
                    rows.prefetch(ids[slot + AHEAD] as usize, rows.record);
                }
                let gradient = &gradients[slot * rows.stride..][..rows.stride];
                apply_row(s, rows, ids[slot] as usize, gradient, scale);
            }
        }
        Gradient::Terms(terms) => {
            // Rows without a gradient are found first and not fetched from memory: they stay unchanged, or take this
            // step when they catch up.
            let per = terms.coef.len() / slots.n_occurrences();
            let mut moving = [(0, 0); CHUNK];
            let mut n = 0;
            for slot in first..end {
                let counted = count(slots.occurrences(slot), terms.coef, per);
                moving[n] = (slot, counted);
                n += usize::from(counted > 0);
            }
            for k in 0..n {
                if k + AHEAD < n {
                    let slot = moving[k + AHEAD].0;
                    rows.prefetch(ids[slot] as usize, rows.record);
                    prefetch_terms(rows, slots.occurrences(slot), terms, per);
                }
                let (slot, counted) = moving[k];
                let (row, occurrences) = (ids[slot] as usize, slots.occurrences(slot));
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
        }
    }
}

#[inline(always)]
fn apply_full_kernel<S: Simd>(
    s: S,
    rows: Records<'_>,
    first: usize,
    gradients: &[f32],
    scale: f32,
) {
    for (k, gradient) in gradients.chunks_exact(rows.stride.max(1)).enumerate() {
        apply_row(s, rows, first + k, gradient, scale);
    }
}

#[inline(always)]
fn apply_row<S: Simd>(s: S, rows: Records<'_>, row: usize, gradient: &[f32], scale: f32) {
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

/// Prefetches the vectors of the first occurrence's terms: most rows have no second one.
#[inline(always)]
fn prefetch_terms(rows: Records<'_>, occurrences: &[u32], terms: &Terms<'_>, per: usize) {
    let Some(&first) = occurrences.first() else { return };
    let of = first as usize * per;
    for (&coef, &source) in terms.coef[of..][..per].iter().zip(&terms.source[of..][..per]) {
        if coef != 0.0 {
            for line in (0..rows.stride).step_by(LANES) {
                let at = source as usize * terms.stride + line;
                prefetch(terms.vectors.as_ptr().wrapping_add(at));
            }
        }
    }
}

/// The number of occurrences with a term.
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

/// The step itself: the missed steps, then the step with this gradient and `penalty * p`.
///
/// # Safety
/// `at` is a column followed by `V` vectors, in this task's own record.
#[inline(always)]
unsafe fn update<S: Simd, const V: usize>(
    s: S,
    rows: Records<'_>,
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
    // The penalty applies to the parameters after the missed steps.
    for (g, &p) in gradient.iter_mut().zip(&state.p) {
        *g = s.fma(penalty, p, *g);
    }
    let now = rows.schedule.at(rows.step + 1);
    let moments = splat_moments(s, rows.schedule.moments);
    adam_step::<S, V>(s, &mut state, gradient, weight_decay, moments, now);
    // SAFETY: the caller's promise.
    unsafe { store::<S, V>(s, at, rows.stride, &state) };
}
