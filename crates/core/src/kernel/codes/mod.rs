//! Item tables in codes, scored without being decoded: whole numbers of a few bits, signs, products of codebooks, prefixes
//! of unequal length, inverted lists. Unlike [`narrow`](super::narrow), which finds the exact answer, a table of codes *is* the
//! model: its scores are those of the decoded vectors.
//!
//! Items are stored in blocks of 64, so that each load serves 16 or 64 items: `[block][word][item]`. A query is prepared
//! once, then blocks are scored one after the other, into 64 numbers that stay in registers;
//! those that reach the current k-th best score are kept as in [`topk`](super::topk), with the same order. No query's scores are
//! ever written as a whole, except by [`CodeTable::scores`].
//!
//! Sums over dimensions or sub-codes are of integers, or in one fixed order: results are the same on every instruction
//! set with FMA.

mod hamming;
mod ints;
mod lists;
mod products;
mod ragged;
#[cfg(test)]
mod tests;

pub use hamming::{Hamming, signs};
pub use ints::{BITS, Ints, MOST_DIMENSIONS, Scale, quantise};
pub use lists::InvertedLists;
pub use products::Products;
pub use ragged::Ragged;

use super::bits::ItemSet;
use super::panels::Rows;
use super::simd::{Isa, LANES, Simd, isa};
use super::topk::{Selection, TopLists, key};
use rayon::prelude::*;

/// Items in a block.
pub const BLOCK: usize = 64;

/// Vectors of a block's scores.
const VECTORS: usize = BLOCK / LANES;

/// Items in codes.
pub trait CodeTable: Send + Sync {
    /// Number of items.
    fn n_items(&self) -> usize;

    /// Length of a query, and of a decoded item.
    fn dim(&self) -> usize;

    /// Bytes in memory.
    fn bytes(&self) -> usize;

    /// Number of codes and of other numbers: those that a table of result counts as parameters.
    fn n_numbers(&self) -> usize;

    /// The vector that an item's code stands for.
    ///
    /// # Panics
    /// When there is no such item, or `out` has another length than [`CodeTable::dim`].
    fn decode(&self, item: usize, out: &mut [f32]);

    /// The score of every item, by item. Those that a scan would not look at get minus infinity.
    ///
    /// # Panics
    /// When lengths do not fit.
    fn scores(&self, query: &[f32], out: &mut [f32]);

    /// Offers the items to `found`.
    ///
    /// # Panics
    /// When the query has another length.
    fn scan(&self, query: &[f32], found: &mut Found<'_>);
}

/// The `k` best items of each query, in parallel on rayon's current pool: larger scores first, ties to the smaller id. Query
/// `i` must not get the items `masked[i]` (in any order, repeats allowed, ids beyond the catalogue ignored); if `allowed` is given,
/// only its items are returned.
///
/// # Panics
/// When lengths do not fit, or `allowed` is of a smaller catalogue.
pub fn top_k(
    table: &dyn CodeTable,
    queries: Rows<'_>,
    k: usize,
    masked: &[&[u32]],
    allowed: Option<&ItemSet>,
) -> TopLists {
    let (n, n_items) = (queries.n(), table.n_items());
    assert!(queries.dim() == table.dim() && masked.len() == n);
    if let Some(allowed) = allowed {
        allowed.check_catalogue(n_items);
    }
    let k = k.min(n_items);
    let mut ids = vec![0; n * k];
    let mut scores = vec![0.0; n * k];
    let mut lens = vec![0; n];
    if k > 0 {
        let lists = ids.par_chunks_mut(k).zip(scores.par_chunks_mut(k)).zip(lens.par_iter_mut());
        lists.enumerate().with_min_len(4).for_each_init(
            Selection::default,
            |selection, (i, ((ids, scores), len))| {
                selection.start(1, n_items, k, k.max(SPARE));
                let mut found = Found { selection, k, masked: masked[i], allowed };
                table.scan(queries.row(i), &mut found);
                *len = found.selection.finish(0, masked[i], ids, scores);
            },
        );
    }
    TopLists::close_gaps(ids, scores, &lens, k)
}

/// Candidates collected beyond k, at least. Blocks are scored so quickly that an early threshold matters more than the cost of
/// selecting more often.
const SPARE: usize = 64;

/// The best items of one query so far.
pub struct Found<'a> {
    selection: &'a mut Selection,
    k: usize,
    masked: &'a [u32],
    allowed: Option<&'a ItemSet>,
}

impl Found<'_> {
    /// Whether k items were found that the query may get.
    pub fn is_full(&mut self) -> bool {
        self.selection.settle(0, self.masked) >= self.k
    }
}

/// One query, prepared for a table.
trait Scores: Sync {
    /// The scores of a block's items. `NATIVE`: the processor has the instructions of [`is_native`].
    fn block<S: Simd, const NATIVE: bool>(&self, s: S, block: usize) -> [S::F; VECTORS];
}

/// Which of a table's blocks are scored, and what is at each of their places.
#[derive(Clone, Copy)]
struct Places<'a> {
    n_items: usize,
    /// The item at each place, where that is not its number.
    ids: Option<&'a [u32]>,
    /// All, if not given.
    blocks: Option<&'a [u32]>,
}

impl Places<'_> {
    fn all(n_items: usize) -> Self {
        Self { n_items, ids: None, blocks: None }
    }

    fn n_blocks(&self) -> usize {
        self.blocks.map_or(self.n_items.div_ceil(BLOCK), <[u32]>::len)
    }

    #[inline(always)]
    fn block(&self, at: usize) -> usize {
        self.blocks.map_or(at, |blocks| blocks[at] as usize)
    }

    #[inline(always)]
    fn id(&self, place: usize) -> u32 {
        self.ids.map_or(place as u32, |ids| ids[place])
    }
}

/// Where scores go.
enum To<'a, 'f> {
    All(&'a mut [f32]),
    Found(&'a mut Found<'f>),
}

/// Writes the scores of the items at these places; those of others are left alone.
fn fill(scores: &impl Scores, places: Places<'_>, out: &mut [f32]) {
    assert!(out.len() == places.n_items);
    run(scores, places, To::All(out));
}

/// Offers the items at these places to `found`.
fn scan(scores: &impl Scores, places: Places<'_>, found: &mut Found<'_>) {
    run(scores, places, To::Found(found));
}

/// Whether the processor has an instruction for products of bytes and one that counts bits, with AVX-512.
fn is_native() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vpopcntdq");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `dispatch!` for any kind of [`Scores`], and for the instructions of [`is_native`].
fn run<P: Scores>(scores: &P, places: Places<'_>, to: To<'_, '_>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
        )]
        fn native<P: Scores>(scores: &P, places: Places<'_>, to: To<'_, '_>) {
            // SAFETY: this function has the features.
            let token = unsafe { super::simd::Avx512::new() };
            run_kernel::<_, P, true>(token, scores, places, to);
        }
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
        )]
        fn avx512<P: Scores>(scores: &P, places: Places<'_>, to: To<'_, '_>) {
            // SAFETY: this function has the features.
            let token = unsafe { super::simd::Avx512::new() };
            run_kernel::<_, P, false>(token, scores, places, to);
        }
        #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
        fn avx2<P: Scores>(scores: &P, places: Places<'_>, to: To<'_, '_>) {
            // SAFETY: this function has the features.
            let token = unsafe { super::simd::Avx2::new() };
            run_kernel::<_, P, false>(token, scores, places, to);
        }
        match isa() {
            // SAFETY: `isa` returns only detected instruction sets, and the other two were detected.
            Isa::Avx512 if is_native() => unsafe { native(scores, places, to) },
            // SAFETY: as above.
            Isa::Avx512 => unsafe { avx512(scores, places, to) },
            // SAFETY: as above.
            Isa::Avx2 => unsafe { avx2(scores, places, to) },
            _ => run_kernel::<_, P, false>(super::simd::Portable, scores, places, to),
        }
    }
    #[cfg(target_arch = "aarch64")]
    match isa() {
        Isa::Portable => run_kernel::<_, P, false>(super::simd::Portable, scores, places, to),
        _ => {
            // SAFETY: NEON is part of every aarch64 target.
            let token = unsafe { super::simd::Neon::new() };
            run_kernel::<_, P, false>(token, scores, places, to);
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    run_kernel::<_, P, false>(super::simd::Portable, scores, places, to);
}

#[inline(always)]
fn run_kernel<S: Simd, P: Scores, const NATIVE: bool>(
    s: S,
    scores: &P,
    places: Places<'_>,
    to: To<'_, '_>,
) {
    match to {
        To::All(out) => fill_kernel::<S, P, NATIVE>(s, scores, places, out),
        To::Found(found) => scan_kernel::<S, P, NATIVE>(s, scores, places, found),
    }
}

#[inline(always)]
fn fill_kernel<S: Simd, P: Scores, const NATIVE: bool>(
    s: S,
    scores: &P,
    places: Places<'_>,
    out: &mut [f32],
) {
    let mut block_scores = [0.0; BLOCK];
    for at in 0..places.n_blocks() {
        let block = places.block(at);
        store(s, scores.block::<S, NATIVE>(s, block), &mut block_scores);
        let first = block * BLOCK;
        for (lane, score) in block_scores.iter().take(places.n_items - first).enumerate() {
            out[places.id(first + lane) as usize] = *score;
        }
    }
}

#[inline(always)]
fn scan_kernel<S: Simd, P: Scores, const NATIVE: bool>(
    s: S,
    scores: &P,
    places: Places<'_>,
    found: &mut Found<'_>,
) {
    let Found { selection, masked, allowed, .. } = found;
    let mut block_scores = [0.0; BLOCK];
    for at in 0..places.n_blocks() {
        let block = places.block(at);
        let vectors = scores.block::<S, NATIVE>(s, block);
        // In the order of ids an item cannot displace an earlier one with the same score. Codes of few bits have many
        // equal scores.
        let bar = selection.bars[0];
        let bar = s.splat(if places.ids.is_none() { bar.next_up() } else { bar });
        let largest = s.max(s.max(vectors[0], vectors[1]), s.max(vectors[2], vectors[3]));
        if s.mask_bits(s.not_lt(largest, bar)) == 0 {
            continue;
        }
        store(s, vectors, &mut block_scores);
        let mut hits = 0u64;
        for (v, vector) in vectors.into_iter().enumerate() {
            hits |= u64::from(s.mask_bits(s.not_lt(vector, bar))) << (v * LANES);
        }
        let first = block * BLOCK;
        if places.n_items - first < BLOCK {
            hits &= (1 << (places.n_items - first)) - 1;
        }
        while hits != 0 {
            let lane = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            let id = places.id(first + lane);
            if allowed.is_none_or(|allowed| allowed.contains(id)) {
                selection.push(0, key(block_scores[lane], id), masked);
            }
        }
    }
}

#[inline(always)]
fn store<S: Simd>(s: S, vectors: [S::F; VECTORS], out: &mut [f32; BLOCK]) {
    for (v, vector) in vectors.into_iter().enumerate() {
        s.store(&mut out[v * LANES..], vector);
    }
}
