//! The exact ranks of given items in the whole catalogue, without storing all scores.
//!
//! For metrics over the full ranking (MAP, MRR, mean rank): the same tiles and the same order as
//! [`topk`](super::topk), but each score is compared with the scores of the query's targets, and those above
//! are counted. Panels are ordered by id here, so ties need no second comparison: an equal score ranks above
//! the target in all panels before the target's own, and below it in all later ones.

use rayon::prelude::*;

use super::bits::ItemSet;
use super::panels::{PANEL, PanelOrder, Panels, Rows, pack_queries, score_panel, tile};
use super::simd::{Isa, LANES, Simd, dispatch, isa};
use super::topk::{block_size, group_of, key};

/// Ranks of targets: query `i` owns `offsets[i]..offsets[i + 1]`, in the order of its targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranks {
    /// One more than there are queries.
    pub offsets: Vec<usize>,
    /// 1 is the best; 0 for a target that is masked, not allowed or not in the catalogue.
    pub ranks: Vec<u32>,
}

impl Ranks {
    /// The ranks of one query's targets.
    pub fn of(&self, query: usize) -> &[u32] {
        &self.ranks[self.offsets[query]..self.offsets[query + 1]]
    }
}

/// For each query, the 1-based rank of each of its targets among all items that are neither masked nor disallowed, in
/// the order of [`topk`](super::topk), in parallel on rayon's current pool.
///
/// `targets(i)`, `masked(i)`: items in any order, repeats allowed. A target that is itself masked, disallowed
/// or beyond the catalogue gets rank 0. Panels in [`PanelOrder::Norm`] are packed anew.
///
/// # Panics
/// When queries and items differ in dimension, or `allowed` is of a smaller catalogue.
pub fn target_ranks<'m>(
    queries: Rows<'_>,
    panels: &Panels,
    targets: impl Fn(usize) -> &'m [u32] + Sync,
    masked: impl Fn(usize) -> &'m [u32] + Sync,
    allowed: Option<&ItemSet>,
) -> Ranks {
    assert!(
        queries.dim() == panels.dim(),
        "queries of {}, items of {}",
        queries.dim(),
        panels.dim()
    );
    let repacked;
    let panels = if panels.order() == PanelOrder::Id {
        panels
    } else {
        repacked = panels.reordered(PanelOrder::Id);
        &repacked
    };
    let n = queries.n();
    let mut offsets = Vec::with_capacity(n + 1);
    offsets.push(0);
    let mut end = 0;
    offsets.extend((0..n).map(|i| {
        end += targets(i).len();
        end
    }));
    let live = panels.live_lanes(allowed);
    let group = group_of(isa());
    let block = block_size(n, group);
    let blocks: Vec<Vec<u32>> = (0..n.div_ceil(block))
        .into_par_iter()
        .map_init(
            || (Vec::new(), ItemSet::empty(panels.n_items())),
            |(packed, marked), b| {
                let range = b * block..n.min((b + 1) * block);
                pack_queries(queries, range.clone(), group, packed);
                let mut counts = Counts::default();
                for i in range.clone() {
                    counts.add_query(
                        i,
                        queries,
                        panels,
                        targets(i),
                        masked(i),
                        allowed,
                        &live,
                        marked,
                    );
                }
                counts.start();
                count_block(panels, &live, packed, &mut counts);
                for (row, i) in range.enumerate() {
                    counts.take_masked_out(row, queries.row(i), panels, masked(i), &live, marked);
                }
                counts.ranks()
            },
        )
        .collect();
    Ranks { offsets, ranks: blocks.concat() }
}

/// The targets of a block of queries.
#[derive(Default)]
struct Counts {
    /// First target of each query, and the end.
    starts: Vec<usize>,
    /// The score that ranks above the target must exceed this, in the current panel.
    bars: Vec<f32>,
    scores: Vec<f32>,
    ids: Vec<u32>,
    /// Items above the target so far.
    above: Vec<u32>,
    /// The rank, if known without counting: 0, or from the row of scores.
    known: Vec<Option<u32>>,
    /// (panel, target): where the target's bar turns from "as good" to "better".
    turns: Vec<(u32, u32)>,
}

impl Counts {
    #[allow(clippy::too_many_arguments)]
    fn add_query(
        &mut self,
        query: usize,
        queries: Rows<'_>,
        panels: &Panels,
        targets: &[u32],
        masked: &[u32],
        allowed: Option<&ItemSet>,
        live: &[u32],
        marked: &mut ItemSet,
    ) {
        self.starts.push(self.ids.len());
        if targets.is_empty() {
            return;
        }
        marked.insert_all(masked);
        for id in targets {
            let mut target = Target { known: Some(0), score: 0.0, above: 0 };
            if (*id as usize) < panels.n_items() && !marked.contains(*id) {
                let (panel, lane) = panels.place_of(*id);
                if live[panel] >> lane & 1 == 1 {
                    let scores = score_panel(queries.row(query), panels.panel(panel));
                    target.score = scores[lane];
                    target.known = None;
                    let before = scores[..lane].iter().enumerate();
                    let ties =
                        before.filter(|(l, s)| **s == scores[lane] && live[panel] >> l & 1 == 1);
                    target.above = ties.count() as u32;
                    if !target.score.is_finite() {
                        // No next smaller number to compare with: rare, so the plain way.
                        let mut row = vec![0.0; panels.n_items()];
                        panels.score_row(queries.row(query), &mut row);
                        target.known = Some(rank_in_row(&row, &[*id], masked, allowed)[0]);
                    }
                    self.turns.push((panel as u32, self.ids.len() as u32));
                }
            }
            self.ids.push(*id);
            self.scores.push(target.score);
            self.above.push(target.above);
            self.bars.push(if target.known.is_some() {
                f32::INFINITY
            } else {
                target.score.next_down()
            });
            self.known.push(target.known);
        }
        marked.remove_all(masked);
    }

    fn start(&mut self) {
        self.starts.push(self.ids.len());
        self.turns.sort_unstable();
    }

    /// Subtracts the masked items that were counted.
    fn take_masked_out(
        &mut self,
        row: usize,
        query: &[f32],
        panels: &Panels,
        masked: &[u32],
        live: &[u32],
        marked: &mut ItemSet,
    ) {
        let range = self.starts[row]..self.starts[row + 1];
        if range.is_empty() {
            return;
        }
        marked.insert_all(masked);
        for id in masked {
            // Unmarked at once: repeats count once.
            if !marked.contains(*id) {
                continue;
            }
            marked.remove(*id);
            let (panel, lane) = panels.place_of(*id);
            if live[panel] >> lane & 1 == 0 {
                continue;
            }
            let this = key(score_panel(query, panels.panel(panel))[lane], *id);
            for t in range.clone() {
                if self.known[t].is_none() && this > key(self.scores[t], self.ids[t]) {
                    self.above[t] -= 1;
                }
            }
        }
    }

    fn ranks(self) -> Vec<u32> {
        self.known
            .iter()
            .zip(&self.above)
            .map(|(known, above)| known.unwrap_or(above + 1))
            .collect()
    }
}

struct Target {
    known: Option<u32>,
    score: f32,
    above: u32,
}

dispatch! {
    fn count_block(panels: &Panels, live: &[u32], packed: &[f32], counts: &mut Counts)
        = count_block_kernel;
}

#[inline(always)]
fn count_block_kernel<S: Simd>(
    s: S,
    panels: &Panels,
    live: &[u32],
    packed: &[f32],
    counts: &mut Counts,
) {
    match S::ISA {
        Isa::Avx512 => count_tiles::<S, 12, 2>(s, panels, live, packed, counts),
        Isa::Avx2 | Isa::Neon => count_tiles::<S, 6, 1>(s, panels, live, packed, counts),
        Isa::Portable => count_tiles::<S, 2, 1>(s, panels, live, packed, counts),
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn count_tiles<S: Simd, const R: usize, const V: usize>(
    s: S,
    panels: &Panels,
    live: &[u32],
    packed: &[f32],
    counts: &mut Counts,
) {
    let dim = panels.dim();
    let n_rows = counts.starts.len() - 1;
    let n_groups = n_rows.div_ceil(R);
    assert!(packed.len() == n_groups * R * dim);
    let Counts { starts, bars, scores, above, known, turns, .. } = counts;
    let mut turns = turns.iter().peekable();
    let mut tile_scores = [0.0f32; 12 * PANEL];
    for p in 0..panels.n_panels() {
        while let Some((_, t)) = turns.next_if(|(panel, _)| *panel as usize == p) {
            if known[*t as usize].is_none() {
                bars[*t as usize] = scores[*t as usize];
            }
        }
        if live[p] == 0 {
            continue;
        }
        let items = panels.panel(p).as_ptr();
        for g in 0..n_groups {
            let rows = g * R..((g + 1) * R).min(n_rows);
            if starts[rows.start] == starts[rows.end] {
                continue;
            }
            let queries = packed[g * R * dim..].as_ptr();
            for half in 0..PANEL / (V * LANES) {
                let first = half * V * LANES;
                // SAFETY: the lengths of `packed` and of the panel were checked.
                let mut sums = unsafe { tile::<S, R, V>(s, queries, items.add(first), dim) };
                if live[p] != u32::MAX {
                    // NaN is above nothing.
                    for v in 0..V {
                        let lanes = s.mask_from_bits((live[p] >> (first + v * LANES)) as u16);
                        for row in &mut sums {
                            row[v] = s.select(lanes, row[v], s.splat(f32::NAN));
                        }
                    }
                }
                for r in 0..R {
                    for v in 0..V {
                        s.store(&mut tile_scores[r * PANEL + first + v * LANES..], sums[r][v]);
                    }
                }
            }
            for (r, row) in rows.enumerate() {
                let low = s.load(&tile_scores[r * PANEL..]);
                let high = s.load(&tile_scores[r * PANEL + LANES..]);
                let targets = starts[row]..starts[row + 1];
                for (bar, above) in bars[targets.clone()].iter().zip(&mut above[targets]) {
                    let bar = s.splat(*bar);
                    let hits = u32::from(s.mask_bits(s.gt(low, bar)))
                        | u32::from(s.mask_bits(s.gt(high, bar))) << LANES;
                    *above += hits.count_ones();
                }
            }
        }
    }
}

/// The ranks of `targets` in one row of scores, by item id: the same order, masks and
/// zeros as [`target_ranks`].
///
/// # Panics
/// When `allowed` is of a smaller catalogue.
pub fn rank_in_row(
    scores: &[f32],
    targets: &[u32],
    masked: &[u32],
    allowed: Option<&ItemSet>,
) -> Vec<u32> {
    let mut open = match allowed {
        Some(allowed) => {
            allowed.check_catalogue(scores.len());
            allowed.clone()
        }
        None => ItemSet::all(scores.len()),
    };
    open.remove_all(masked);
    let rank = |id: &u32| {
        if (*id as usize) < scores.len() && open.contains(*id) {
            1 + count_above(scores, open.words(), *id as usize)
        } else {
            0
        }
    };
    targets.iter().map(rank).collect()
}

dispatch! {
    fn count_above(scores: &[f32], open: &[u64], target: usize) -> u32 = count_above_kernel;
}

/// Open items that rank above `target`.
#[inline(always)]
fn count_above_kernel<S: Simd>(s: S, scores: &[f32], open: &[u64], target: usize) -> u32 {
    let bar = s.splat(scores[target]);
    let nan = scores[target].is_nan();
    let mut above = 0;
    for (chunk, scores) in scores.chunks(LANES).enumerate() {
        let x = s.load_part(scores);
        // Lanes of items before the target: there, as good ranks above.
        let before = match target.saturating_sub(chunk * LANES) {
            n if n >= LANES => u16::MAX,
            n => (1 << n) - 1,
        };
        let number = s.mask_bits(s.eq(x, x));
        let better = if nan {
            number | before
        } else {
            let equal = s.mask_bits(s.eq(x, bar));
            s.mask_bits(s.gt(x, bar)) | (equal & before)
        };
        let open = (open[chunk / 4] >> (chunk % 4 * LANES)) as u16;
        let present = (0xffff_u32 >> (LANES - scores.len())) as u16;
        above += (better & open & present).count_ones();
    }
    above
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simd::with_isa;
    use super::super::topk::tests::{Problem, large, problem};
    use super::super::topk::top_k;
    use super::*;

    /// By looking each target up in the full list.
    fn check(problem: &Problem, targets: &[Vec<u32>]) {
        let (queries, items) = (problem.queries(), problem.items());
        let masked = |q: usize| &problem.masks[q][..];
        let allowed = problem.allowed.as_ref();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            with_isa(isa, 1, || {
                let panels = Panels::pack(items, PanelOrder::Id);
                let by_norm = Panels::pack(items, PanelOrder::Norm);
                let full = top_k(queries, &panels, items.n(), masked, allowed);
                let found = target_ranks(queries, &panels, |q| &targets[q], masked, allowed);
                let again = target_ranks(queries, &by_norm, |q| &targets[q], masked, allowed);
                assert_eq!(found, again);
                for (q, targets) in targets.iter().enumerate() {
                    let list = full.list(q).0;
                    let place =
                        |t: &u32| list.iter().position(|id| id == t).map_or(0, |p| p as u32 + 1);
                    let expected: Vec<u32> = targets.iter().map(place).collect();
                    assert_eq!(found.of(q), expected, "{} query {q}", isa.name());
                    let row = problem.scores(q);
                    assert_eq!(rank_in_row(&row, targets, masked(q), allowed), expected);
                }
            });
        }
    }

    fn with_targets(wild: bool) -> impl Strategy<Value = (Problem, Vec<Vec<u32>>)> {
        problem(wild).prop_flat_map(|problem| {
            let one = proptest::collection::vec(0..problem.n_items as u32 + 3, 0..12);
            let n = problem.n_queries;
            (Just(problem), proptest::collection::vec(one, n))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn equals_the_place_in_the_full_list((problem, targets) in with_targets(false)) {
            check(&problem, &targets);
        }

        #[test]
        fn equals_it_with_nan_and_infinity_too((problem, targets) in with_targets(true)) {
            check(&problem, &targets);
        }
    }

    #[test]
    fn large_catalogues_agree_on_every_number_of_threads() {
        for problem in [large(1, 130, 3_000, 20, 50, 0.0), large(2, 37, 3_001, 3, 100, 5.0)] {
            let targets: Vec<Vec<u32>> = (0..problem.n_queries as u32)
                .map(|q| (0..q % 20).map(|j| (q * 37 + j * 101) % 3_000).collect())
                .collect();
            check(&problem, &targets);
            let run = |threads| {
                with_isa(isa(), threads, || {
                    let panels = Panels::pack(problem.items(), PanelOrder::Id);
                    target_ranks(
                        problem.queries(),
                        &panels,
                        |q| &targets[q],
                        |q| &problem.masks[q],
                        None,
                    )
                })
            };
            assert!(run(1) == run(2) && run(1) == run(3));
        }
    }

    #[test]
    fn worked_by_hand() {
        // Scores 3, 5, 5, NaN, 1, -inf; item 0 is masked.
        let scores = [3.0, 5.0, 5.0, f32::NAN, 1.0, f32::NEG_INFINITY];
        let ranks = rank_in_row(&scores, &[2, 1, 0, 4, 5, 3, 9], &[0, 0], None);
        assert_eq!(ranks, [2, 1, 0, 3, 4, 5, 0]);
        let mut allowed = ItemSet::empty(6);
        allowed.insert_all(&[0, 4, 5]);
        assert_eq!(rank_in_row(&scores, &[4, 1], &[], Some(&allowed)), [2, 0]);
    }
}
