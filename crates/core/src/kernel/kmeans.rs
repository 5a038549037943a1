//! k-means: centres of a cloud of points, the same on any number of threads.

use super::panels::{PANEL, PanelOrder, Panels, Rows, pack_queries, tile};
use super::rng::Rng;
use super::simd::{LANES, Simd, dispatch};
use rayon::prelude::*;

/// Centres and the points that are nearest to each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clusters {
    /// `k x dim`
    pub centres: Vec<f32>,
    /// The centre of each point; ties go to the first.
    pub of_point: Vec<u32>,
}

/// Lloyd's algorithm from `k` different points drawn at random; at most `rounds` rounds. A centre that loses its last point moves to
/// the point that is then farthest from its own centre. With fewer points than centres the remaining centres are the first
/// point, and have no points. In parallel on rayon's current pool.
#[must_use]
pub fn kmeans(points: Rows<'_>, k: usize, rounds: usize, rng: &mut Rng) -> Clusters {
    let (n, dim) = (points.n(), points.dim());
    if n == 0 {
        return Clusters { centres: vec![0.0; k * dim], of_point: Vec::new() };
    }
    let mut order: Vec<u32> = (0..n as u32).collect();
    rng.shuffle(&mut order);
    order.resize(k.max(n), order[0]);
    order.truncate(k);
    let centres = order.iter().flat_map(|&point| points.row(point as usize)).copied().collect();
    refine(points, centres, rounds)
}

/// The same from given centres.
///
/// # Panics
/// When the centres have another length than the points.
#[must_use]
pub fn refine(points: Rows<'_>, mut centres: Vec<f32>, rounds: usize) -> Clusters {
    let (n, dim) = (points.n(), points.dim());
    assert!(centres.len().is_multiple_of(dim.max(1)));
    let k = centres.len() / dim.max(1);
    if n == 0 || k == 0 || dim == 0 {
        return Clusters { centres, of_point: vec![0; n] };
    }
    let mut near = nearest(points, &centres);
    for _ in 0..rounds {
        let before = centres.clone();
        move_centres(points, &mut near, &mut centres);
        if centres == before {
            break;
        }
        near = nearest(points, &centres);
    }
    Clusters { centres, of_point: near.into_iter().map(|(centre, _)| centre).collect() }
}

/// Every centre becomes the mean of its points.
fn move_centres(points: Rows<'_>, near: &mut [(u32, f32)], centres: &mut [f32]) {
    let dim = points.dim();
    let mut sums = vec![0.0f64; centres.len()];
    let mut counts = vec![0usize; centres.len() / dim];
    for (point, (centre, _)) in near.iter().enumerate() {
        counts[*centre as usize] += 1;
        let sum = &mut sums[*centre as usize * dim..][..dim];
        sum.iter_mut().zip(points.row(point)).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    for (centre, count) in counts.iter().enumerate() {
        let to = &mut centres[centre * dim..][..dim];
        if *count > 0 {
            let sum = &sums[centre * dim..][..dim];
            to.iter_mut().zip(sum).for_each(|(x, sum)| *x = (sum / *count as f64) as f32);
            continue;
        }
        let points_by_distance = near.iter().map(|near| near.1).enumerate();
        let farthest = points_by_distance.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        if let Some((point, distance)) = farthest
            && distance > 0.0
        {
            to.copy_from_slice(points.row(point));
            near[point].1 = 0.0;
        }
    }
}

/// Each point's nearest centre and the squared distance from it, up to rounding.
fn nearest(points: Rows<'_>, centres: &[f32]) -> Vec<(u32, f32)> {
    let dim = points.dim();
    let n_centres = centres.len() / dim;
    // |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2): one more dimension, in which points hold 1.
    let extended: Vec<f32> = centres
        .chunks_exact(dim)
        .flat_map(|centre| {
            let square = centre.iter().fold(0.0, |sum, x| sum + x * x);
            centre.iter().copied().chain([-0.5 * square])
        })
        .collect();
    let panels = Panels::pack(Rows::dense(&extended, n_centres, dim + 1), PanelOrder::Id);
    let mut near = vec![(0, 0.0); points.n()];
    near.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, near)| {
        let rows = (0..near.len()).map(|i| points.row(chunk * CHUNK + i));
        let longer: Vec<f32> =
            rows.clone().flat_map(|row| row.iter().copied().chain([1.0])).collect();
        let longer = Rows::dense(&longer, near.len(), dim + 1);
        let mut packed = Vec::new();
        pack_queries(longer, 0..near.len(), GROUP, &mut packed);
        assign(&panels, &packed, near);
        for (near, row) in near.iter_mut().zip(rows) {
            let square = row.iter().fold(0.0, |sum, x| sum + x * x);
            near.1 = (square - 2.0 * near.1).max(0.0);
        }
    });
    near
}

/// Points of a tile.
const GROUP: usize = 2;

dispatch! {
    /// The centre with the largest product for each of the packed points, and the product; ties go to the first.
    fn assign(centres: &Panels, packed: &[f32], near: &mut [(u32, f32)]) = assign_kernel;
}

#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
fn assign_kernel<S: Simd>(s: S, centres: &Panels, packed: &[f32], near: &mut [(u32, f32)]) {
    const V: usize = PANEL / LANES;
    let dim = centres.dim();
    // Panels are in the order of ids: 32 centres each, but for the last one.
    let whole = centres.n_items() / PANEL;
    for (near, point) in near.chunks_mut(GROUP).zip(packed.chunks_exact(GROUP * dim)) {
        let mut best = [[s.splat(f32::NEG_INFINITY); V]; GROUP];
        let mut of = [[s.zero(); V]; GROUP];
        for p in 0..whole {
            // SAFETY: a group of packed points, and a panel of vectors as long.
            let sums =
                unsafe { tile::<S, GROUP, V>(s, point.as_ptr(), centres.panel(p).as_ptr(), dim) };
            for r in 0..GROUP {
                for v in 0..V {
                    let better = s.gt(sums[r][v], best[r][v]);
                    best[r][v] = s.select(better, sums[r][v], best[r][v]);
                    of[r][v] = s.select(better, s.splat(p as f32), of[r][v]);
                }
            }
        }
        for (r, near) in near.iter_mut().enumerate() {
            let mut found = (u32::MAX, f32::NEG_INFINITY);
            for v in 0..V {
                let (scores, panels) = (s.to_array(best[r][v]), s.to_array(of[r][v]));
                for lane in 0..LANES {
                    let id = panels[lane] as u32 * PANEL as u32 + (v * LANES + lane) as u32;
                    if whole > 0 && (scores[lane], found.0) > (found.1, id) {
                        found = (id, scores[lane]);
                    }
                }
            }
            for id in whole * PANEL..centres.n_items() {
                let panel = centres.panel(whole);
                let mut sum = 0.0f32;
                for k in 0..dim {
                    let (x, c) = (point[k * GROUP + r], panel[k * PANEL + id % PANEL]);
                    sum = if S::FUSED { x.mul_add(c, sum) } else { x * c + sum };
                }
                if sum > found.1 {
                    found = (id as u32, sum);
                }
            }
            *near = (if found.0 == u32::MAX { 0 } else { found.0 }, found.1);
        }
    }
}

/// Points of a task.
const CHUNK: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, with_isa};
    use super::*;

    /// Five heaps around the corners and the middle of a square.
    fn heaps() -> Vec<f32> {
        let mut points = vec![0.0; 2 * 500];
        let corners = [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (10.0, 10.0), (5.0, 5.0)];
        for (i, point) in points.chunks_mut(2).enumerate() {
            let mut rng = Rng::keyed(3, [i as u64]);
            let (x, y) = corners[i % 5];
            point.copy_from_slice(&[x + 0.3 * rng.normal(), y + 0.3 * rng.normal()]);
        }
        points
    }

    #[test]
    fn heaps_are_found_whatever_the_threads_and_the_instruction_set() {
        let points = heaps();
        let mut first: Option<Clusters> = None;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_fused()) {
            for threads in [1, 3] {
                let found = with_isa(isa, threads, || {
                    // From a point of each heap.
                    refine(Rows::dense(&points, 500, 2), points[..10].to_vec(), 50)
                });
                let Some(found) = found else { continue };
                for heap in 0..5 {
                    let own = found.of_point[heap];
                    let same = (0..500).filter(|i| found.of_point[*i] == own).count();
                    assert_eq!(same, 100);
                    let at = &found.centres[own as usize * 2..][..2];
                    let mean = (0..100).fold([0.0; 2], |sum, i| {
                        let point = &points[(i * 5 + heap) * 2..][..2];
                        [sum[0] + point[0] / 100.0, sum[1] + point[1] / 100.0]
                    });
                    assert!((at[0] - mean[0]).abs() + (at[1] - mean[1]).abs() < 1e-4);
                }
                assert!(*first.get_or_insert(found.clone()) == found);
            }
        }
    }

    #[test]
    fn points_go_to_the_centre_that_is_really_nearest() {
        let points = heaps();
        for k in [1, 17, 32, 64, 77] {
            let found = kmeans(Rows::dense(&points, 500, 2), k, 3, &mut Rng::new(9));
            for (point, own) in points.chunks(2).zip(&found.of_point) {
                let distance = |c: usize| {
                    let at = &found.centres[2 * c..][..2];
                    (point[0] - at[0]).powi(2) + (point[1] - at[1]).powi(2)
                };
                let least = (0..k).map(distance).fold(f32::INFINITY, f32::min);
                assert!(distance(*own as usize) <= least + 1e-4, "{k}");
            }
        }
    }

    #[test]
    fn few_points_and_equal_points_are_fine() {
        let points = [1.0, 2.0, 1.0, 2.0, 5.0, 5.0];
        let found = kmeans(Rows::dense(&points, 3, 2), 6, 10, &mut Rng::new(1));
        assert_eq!(found.of_point[0], found.of_point[1]);
        for (point, own) in points.chunks(2).zip(&found.of_point) {
            assert_eq!(&found.centres[*own as usize * 2..][..2], point);
        }
        let none = kmeans(Rows::dense(&[], 0, 2), 3, 10, &mut Rng::new(1));
        assert_eq!((none.centres.len(), none.of_point.len()), (6, 0));
    }
}
