//! The pass over a narrow table.

use super::query::Queries;
use super::shortlist::{Exact, Shortlists};
use super::{Narrow, Width};
use crate::kernel::bits::ItemSet;
use crate::kernel::panels::{PANEL, Rows, score_one};
use crate::kernel::simd::{Isa, LANES, Simd, dispatch, isa};
use crate::kernel::topk::{TopLists, block_size, group_of, select_row};
use rayon::prelude::*;

/// The result of [`search`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NarrowLists {
    /// The best items of each query, equal to [`top_k`](crate::kernel::topk::top_k) to the last bit.
    pub lists: TopLists,
    /// Number of items that were rescored, over all queries. Depends on the instruction set and on the number
    /// of threads; the lists do not.
    pub rescored: u64,
}

/// The `k` best items of each query, in parallel on rayon's current pool. `items` are the vectors that
/// `table` was packed from.
///
/// `masked(i)` lists the items that query `i` must not get (in any order, repeats allowed, ids beyond the catalogue
/// ignored); if `allowed` is given, only its items are returned.
///
/// Queries without an error bound (zero, not finite, extremely long or short) are scored with `items` alone.
///
/// # Panics
/// When queries, items and table differ in shape, or `allowed` is of a smaller catalogue.
pub fn search<'m>(
    queries: Rows<'_>,
    items: Rows<'_>,
    table: &Narrow,
    k: usize,
    masked: impl Fn(usize) -> &'m [u32] + Sync,
    allowed: Option<&ItemSet>,
) -> NarrowLists {
    assert!(queries.dim() == table.dim && items.dim() == table.dim && items.n() == table.n_items);
    if let Some(allowed) = allowed {
        allowed.check_catalogue(table.n_items);
    }
    let (n, k) = (queries.n(), k.min(table.n_items));
    let mut ids = vec![0; n * k];
    let mut scores = vec![0.0; n * k];
    let mut lens = vec![0; n];
    let mut rescored = 0;
    if n > 0 && k > 0 {
        // Few queries: one at a time, rather than tiles that are mostly empty.
        let group = if n < 3 { 1 } else { group_of_tile(table.width, isa()) };
        let block = block_size(n, group);
        let blocks = ids.par_chunks_mut(block * k).zip(scores.par_chunks_mut(block * k));
        let blocks = blocks.zip(lens.par_chunks_mut(block)).enumerate();
        rescored = blocks
            .map_init(
                || (Queries::default(), Shortlists::default()),
                |(packed, lists), (b, ((ids, scores), lens))| {
                    let first = b * block;
                    let range = first..first + lens.len();
                    packed.pack(queries, range.clone(), group, table);
                    let masks = range.clone().map(&masked).collect::<Vec<_>>();
                    lists.start(masks.iter().copied(), packed.constants.len(), k);
                    let wild = |row: &usize| !packed.constants[*row].is_tame;
                    (0..lens.len()).filter(wild).for_each(|row| lists.close(row));
                    let exact = Exact { queries, first, items, allowed };
                    scan(Job { table, queries: packed, lists, exact });
                    for (row, len) in lens.iter_mut().enumerate() {
                        let (ids, scores) = (&mut ids[row * k..][..k], &mut scores[row * k..][..k]);
                        *len = if packed.constants[row].is_tame {
                            lists.finish(row, &exact, ids, scores)
                        } else {
                            lists.rescored += items.n() as u64;
                            from_items(&exact, row, masks[row], ids, scores)
                        };
                    }
                    lists.rescored
                },
            )
            .sum();
    }
    NarrowLists { lists: TopLists::close_gaps(ids, scores, &lens, k), rescored }
}

/// A list without the table.
fn from_items(
    exact: &Exact<'_>,
    row: usize,
    masked: &[u32],
    ids: &mut [u32],
    scores: &mut [f32],
) -> usize {
    let query = exact.queries.row(exact.first + row);
    let all: Vec<f32> =
        (0..exact.items.n()).map(|i| score_one(query, exact.items.row(i))).collect();
    let best = select_row(&all, masked, exact.allowed, ids.len());
    for ((id, score), best) in ids.iter_mut().zip(scores).zip(&best) {
        (*id, *score) = *best;
    }
    best.len()
}

/// Queries in a tile: as many as the registers hold sums for.
fn group_of_tile(width: Width, isa: Isa) -> usize {
    match (width, isa) {
        // Products of bytes need registers on their way.
        (Width::Byte, Isa::Avx2 | Isa::Neon) => 4,
        _ => group_of(isa),
    }
}

/// A block of queries against all panels.
struct Job<'a> {
    table: &'a Narrow,
    queries: &'a Queries,
    lists: &'a mut Shortlists,
    exact: Exact<'a>,
}

fn scan(job: Job<'_>) {
    let alone = job.queries.group == 1;
    match job.table.width {
        Width::Half if alone => scan_halves_alone(job),
        Width::Half => scan_halves(job),
        #[cfg(target_arch = "x86_64")]
        Width::Byte if isa() == Isa::Avx512 && is_x86_feature_detected!("avx512vnni") => {
            // SAFETY: `isa` returns only detected instruction sets, and VNNI was detected too.
            unsafe { scan_bytes_vnni(job) }
        }
        Width::Byte if alone => scan_bytes_alone(job),
        Width::Byte => scan_bytes(job),
    }
}

dispatch! {
    fn scan_halves(job: Job<'_>) = scan_halves_kernel;
    fn scan_halves_alone(job: Job<'_>) = scan_halves_alone_kernel;
    fn scan_bytes(job: Job<'_>) = scan_bytes_kernel;
    fn scan_bytes_alone(job: Job<'_>) = scan_bytes_alone_kernel;
}

/// The features of `dispatch!`, and the instruction for products of bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
)]
fn scan_bytes_vnni(job: Job<'_>) {
    // SAFETY: this function has the features.
    let token = unsafe { crate::kernel::simd::Avx512::new() };
    if job.queries.group == 1 {
        scan_tiles::<_, BYTES_VNNI, 1, 2>(token, job);
    } else {
        scan_tiles::<_, BYTES_VNNI, 12, 2>(token, job);
    }
}

#[inline(always)]
fn scan_halves_kernel<S: Simd>(s: S, job: Job<'_>) {
    match S::ISA {
        Isa::Avx512 => scan_tiles::<S, HALVES, 12, 2>(s, job),
        Isa::Avx2 | Isa::Neon => scan_tiles::<S, HALVES, 6, 1>(s, job),
        Isa::Portable => scan_tiles::<S, HALVES, 2, 1>(s, job),
    }
}

#[inline(always)]
fn scan_halves_alone_kernel<S: Simd>(s: S, job: Job<'_>) {
    scan_tiles::<S, HALVES, 1, 2>(s, job);
}

#[inline(always)]
fn scan_bytes_kernel<S: Simd>(s: S, job: Job<'_>) {
    match S::ISA {
        Isa::Avx512 => scan_tiles::<S, BYTES, 12, 2>(s, job),
        Isa::Avx2 | Isa::Neon => scan_tiles::<S, BYTES, 4, 1>(s, job),
        Isa::Portable => scan_tiles::<S, BYTES, 2, 1>(s, job),
    }
}

#[inline(always)]
fn scan_bytes_alone_kernel<S: Simd>(s: S, job: Job<'_>) {
    scan_tiles::<S, BYTES, 1, 2>(s, job);
}

/// What a tile reads.
const HALVES: u8 = 0;
const BYTES: u8 = 1;
const BYTES_VNNI: u8 = 2;

#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
fn scan_tiles<S: Simd, const WHAT: u8, const R: usize, const V: usize>(s: S, job: Job<'_>) {
    let Job { table, queries, lists, exact } = job;
    let n_groups = queries.constants.len() / R;
    let n_words = queries.n_words;
    assert!(queries.group == R && queries.words.len() == n_groups * R * n_words);
    assert!(lists.bars.len() == n_groups * R && queries.offsets.len() == n_groups * R);
    // As in `top_k`: a computed score exceeds |query| |item| by roundings at most.
    let slack = 1.0 + (2 * table.dim + 64) as f64 * 2f64.powi(-24);
    let mut reach = vec![f64::NEG_INFINITY; n_groups];
    // Of each query of a group, for 16 panels: what its sums begin with (bytes) or must reach (halves).
    let mut starts = [[0i32; LANES]; R];
    for first in (0..table.n_panels()).step_by(LANES) {
        let panels = first..(first + LANES).min(table.n_panels());
        let mut all_done = true;
        for g in 0..n_groups {
            let words = queries.words[g * R * n_words..].as_ptr();
            let mut fresh = false;
            for p in panels.clone() {
                // No item of this panel can reach the bar of any query of the group, nor can those of later ones.
                if f64::from(table.bounds.norm[p]) * slack < reach[g] {
                    break;
                }
                all_done = false;
                if !fresh {
                    set_starts::<S, WHAT, R>(s, table, queries, lists, g, first, &mut starts);
                    fresh = true;
                }
                let items = table.panel(p).as_ptr();
                for half in 0..PANEL / (V * LANES) {
                    let lane = half * V * LANES;
                    // SAFETY: the lengths of the words and of the panel were checked.
                    let misses = unsafe {
                        tile::<S, WHAT, R, V>(s, words, items, lane, n_words, &starts, p - first)
                    };
                    let mut all = misses[0][0];
                    for r in 0..R {
                        for v in 0..V {
                            all = s.and_int(all, misses[r][v]);
                        }
                    }
                    if s.sign_bits(all) == u16::MAX {
                        continue;
                    }
                    let mut hits = [[0u16; V]; R];
                    for r in 0..R {
                        for v in 0..V {
                            hits[r][v] = !s.sign_bits(misses[r][v]);
                        }
                    }
                    let ids = &table.panel_ids(p)[lane..];
                    if take::<R, V>(lists, g * R, &hits, ids, &exact) {
                        fresh = false;
                        let rows = (g * R..(g + 1) * R).map(|row| {
                            let constants = &queries.constants[row];
                            // Padding queries do not count.
                            let norm = if constants.is_tame { constants.norm } else { 1.0 };
                            f64::from(lists.bars[row]) / norm
                        });
                        reach[g] = rows.fold(f64::INFINITY, |least, bar| {
                            if bar.is_nan() { f64::NEG_INFINITY } else { least.min(bar) }
                        });
                    }
                }
            }
        }
        if all_done {
            break;
        }
    }
}

/// The current bars, for the 16 panels from `first`.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn set_starts<S: Simd, const WHAT: u8, const R: usize>(
    s: S,
    table: &Narrow,
    queries: &Queries,
    lists: &Shortlists,
    g: usize,
    first: usize,
    starts: &mut [[i32; LANES]; R],
) {
    for r in 0..R {
        let (row, constants) = (g * R + r, &queries.constants[g * R + r]);
        let bar = lists.bars[row];
        let starts_of_row = if bar == f32::INFINITY {
            // Padding, or a query without bounds.
            s.splat(f32::INFINITY)
        } else {
            constants.thresholds(s, bar, &table.bounds, first)
        };
        // `max` lets everything pass where there is no bar yet.
        let words = if WHAT == HALVES {
            s.bits(s.min(s.max(starts_of_row, s.splat(-1e37)), s.splat(1e37)))
        } else {
            let most = (1u32 << 30) as f32;
            let whole = s.to_int(s.min(s.max(starts_of_row, s.splat(-most)), s.splat(most)));
            s.sub_int(s.splat_int(-queries.offsets[row]), whole)
        };
        // SAFETY: 16 places.
        unsafe { s.store_int_ptr(starts[r].as_mut_ptr(), words) };
    }
}

/// `R` queries x `16 V` items: a lane is negative where the item cannot reach the query's bar.
///
/// # Safety
/// `queries` is `[n_words][R]`; `items` is a panel, of which `16 V` items from `lane` on are read; VNNI if `WHAT` needs it.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn tile<S: Simd, const WHAT: u8, const R: usize, const V: usize>(
    s: S,
    queries: *const i32,
    items: *const u8,
    lane: usize,
    n_words: usize,
    starts: &[[i32; LANES]; R],
    panel: usize,
) -> [[S::I; V]; R] {
    if WHAT == HALVES {
        let mut sums = [[s.zero(); V]; R];
        for k in 0..n_words {
            let mut item = [s.zero(); V];
            // SAFETY: k < n_words, and the caller's promise.
            unsafe {
                for v in 0..V {
                    item[v] =
                        s.load_half_ptr(items.cast::<u16>().add(k * PANEL + lane + v * LANES));
                }
                for r in 0..R {
                    let query = s.splat(*queries.add(k * R + r).cast::<f32>());
                    for v in 0..V {
                        sums[r][v] = s.fma(query, item[v], sums[r][v]);
                    }
                }
            }
        }
        let mut misses = [[s.splat_int(0); V]; R];
        for r in 0..R {
            let bar = s.splat(f32::from_bits(starts[r][panel] as u32));
            for v in 0..V {
                misses[r][v] = s.bits(s.sub(sums[r][v], bar));
            }
        }
        return misses;
    }
    let mut sums = [[s.splat_int(0); V]; R];
    for r in 0..R {
        sums[r] = [s.splat_int(starts[r][panel]); V];
    }
    for k in 0..n_words {
        let mut item = [s.splat_int(0); V];
        // SAFETY: k < n_words, and the caller's promise.
        unsafe {
            for v in 0..V {
                item[v] = s.load_int_ptr(items.cast::<i32>().add(k * PANEL + lane + v * LANES));
            }
            for r in 0..R {
                let query = s.splat_int(*queries.add(k * R + r));
                for v in 0..V {
                    sums[r][v] = if WHAT == BYTES_VNNI {
                        s.dot4_vnni(sums[r][v], item[v], query)
                    } else {
                        s.dot4(sums[r][v], item[v], query)
                    };
                }
            }
        }
    }
    sums
}

/// Adds the hits of a tile; returns whether a bar rose.
#[inline(never)]
fn take<const R: usize, const V: usize>(
    lists: &mut Shortlists,
    row: usize,
    hits: &[[u16; V]; R],
    ids: &[u32],
    exact: &Exact<'_>,
) -> bool {
    let mut rose = false;
    for (r, hits) in hits.iter().enumerate() {
        for (v, hits) in hits.iter().enumerate() {
            let mut left = *hits;
            while left != 0 {
                let id = ids[v * LANES + left.trailing_zeros() as usize];
                left &= left - 1;
                // Padding of the last panel.
                if id != u32::MAX {
                    rose |= lists.take(row + r, id, exact);
                }
            }
        }
    }
    rose
}
