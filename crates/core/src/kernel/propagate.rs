//! Propagation over a graph: every node's vector becomes a weighted sum of its own vector and those of its
//! neighbours.
//!
//! The symmetrically normalised product D^-1/2 A D^-1/2 x, with A the graph and D its degrees, is D^-1/2 (A
//! y) with y = D^-1/2 x: between products, vectors are kept as y, and each neighbour costs additions alone. A
//! power series (I + S + S^2 + .. + S^L) x with S = D^-1/2 A D^-1/2 is x + S (x + S (x + ..)) (Horner), so
//! that no sum of layers is kept besides; the last product may be taken for a few rows only, and the first
//! from a matrix of which most rows are 0.
//!
//! It is bound by gathering rows, 256 bytes per neighbour at 64 dimensions, so these are prefetched.

use rayon::prelude::*;

use super::csr::Csr;
use super::panels::Rows;
use super::simd::{LANES, Simd, dispatch, prefetch};

/// In [`NodeVectors::Some`]: this row is 0.
pub const NONE: u32 = u32::MAX;

/// One vector a node, of whole SIMD vectors (a multiple of 16 numbers).
#[derive(Clone, Copy, Debug)]
pub enum NodeVectors<'a> {
    /// Node `i` has row `i`.
    All(Rows<'a>),
    /// Node `i` has row `place[i]` of these, or 0 where that is [`NONE`].
    Some(Rows<'a>, &'a [u32]),
}

impl<'a> NodeVectors<'a> {
    fn rows(&self) -> Rows<'a> {
        match *self {
            Self::All(rows) | Self::Some(rows, _) => rows,
        }
    }

    fn check(&self, n: usize) {
        let found = match self {
            Self::All(rows) => rows.n(),
            Self::Some(_, place) => place.len(),
        };
        assert!(found == n, "{found} vectors for {n} nodes");
        assert!(self.rows().dim().is_multiple_of(LANES), "rows of whole vectors");
    }
}

/// For each node `i`: `own_scale[i] * own[i] + scale[i] * sum over its neighbours j of near[j]`.
#[derive(Clone, Copy, Debug)]
pub struct NeighbourSum<'a> {
    /// Square, without values.
    pub graph: &'a Csr,
    /// Each node's own vector.
    pub own: NodeVectors<'a>,
    /// Its factor.
    pub own_scale: &'a [f32],
    /// The vectors that neighbours give.
    pub near: NodeVectors<'a>,
    /// The factor of their sum.
    pub scale: &'a [f32],
}

/// Nodes of one task. Degrees are very unequal: small tasks, for work stealing.
const BLOCK: usize = 64;

impl NeighbourSum<'_> {
    /// Every node's mix, one after the other without gaps, on rayon's current pool. One task sums a row, in
    /// the order of its entries: any number of threads gives the same bits.
    ///
    /// # Panics
    /// When shapes do not fit together.
    pub fn all(&self, out: &mut [f32]) {
        self.check(self.graph.n_rows(), out);
        let width = self.width();
        out.par_chunks_mut(BLOCK * width).enumerate().for_each(|(i, out)| {
            mix(self, Nodes::From(i * BLOCK), out);
        });
    }

    /// The mix of some nodes, likewise.
    ///
    /// # Panics
    /// As [`NeighbourSum::all`]; or when a node is beyond the graph.
    pub fn some(&self, nodes: &[u32], out: &mut [f32]) {
        self.check(nodes.len(), out);
        let width = self.width();
        out.par_chunks_mut(BLOCK * width).zip(nodes.par_chunks(BLOCK)).for_each(|(out, nodes)| {
            mix(self, Nodes::List(nodes), out);
        });
    }

    /// The mix of the nodes from `first` on, as many as fit into `out`, on the calling thread.
    ///
    /// # Panics
    /// As [`NeighbourSum::some`].
    pub fn from(&self, first: usize, out: &mut [f32]) {
        self.check(out.len() / self.width().max(1), out);
        mix(self, Nodes::From(first), out);
    }

    fn width(&self) -> usize {
        self.own.rows().dim()
    }

    fn check(&self, n: usize, out: &[f32]) {
        let nodes = self.graph.n_rows();
        assert!(self.graph.n_cols() == nodes, "a square graph");
        assert!(self.graph.values().is_none(), "a graph without values");
        self.own.check(nodes);
        self.near.check(nodes);
        assert!(self.near.rows().dim() == self.width(), "vectors of one length");
        assert!(self.own_scale.len() == nodes && self.scale.len() == nodes, "a factor a node");
        assert!(self.width() > 0 && out.len() == n * self.width(), "room for {n} vectors");
    }
}

/// Which nodes a task mixes.
#[derive(Clone, Copy)]
enum Nodes<'a> {
    From(usize),
    List(&'a [u32]),
}

dispatch! {
    fn mix(mix: &NeighbourSum<'_>, nodes: Nodes<'_>, out: &mut [f32]) = mix_kernel;
}

/// How many neighbours ahead vectors are prefetched.
const AHEAD: usize = 16;

#[inline(always)]
fn mix_kernel<S: Simd>(s: S, mix: &NeighbourSum<'_>, nodes: Nodes<'_>, out: &mut [f32]) {
    let (offsets, indices) = (mix.graph.offsets(), mix.graph.indices());
    let width = mix.width();
    let mut kept = Vec::new();
    for (k, out) in out.chunks_exact_mut(width).enumerate() {
        let node = match nodes {
            Nodes::From(first) => first + k,
            Nodes::List(list) => list[k] as usize,
        };
        let (from, to) = (offsets[node], offsets[node + 1]);
        // `ahead` runs on into the next node's neighbours, where the next node is the one that comes next.
        let (near, ahead) = match mix.near {
            NodeVectors::All(_) => {
                let end = match nodes {
                    Nodes::From(_) => indices.len().min(to + AHEAD),
                    Nodes::List(_) => to,
                };
                (&indices[from..to], &indices[from..end])
            }
            NodeVectors::Some(_, place) => {
                keep(&indices[from..to], place, &mut kept);
                (&kept[..], &kept[..])
            }
        };
        let rows = mix.near.rows();
        let own = match mix.own {
            NodeVectors::All(rows) => Some(rows.row(node)),
            NodeVectors::Some(rows, place) => {
                (place[node] != NONE).then(|| rows.row(place[node] as usize))
            }
        };
        let (own_scale, scale) = (mix.own_scale[node], mix.scale[node]);
        let mut column = 0;
        while column + 4 * LANES <= width {
            let out = &mut out[column..column + 4 * LANES];
            columns::<S, 4>(s, near, ahead, rows, own, [own_scale, scale], column, out);
            column += 4 * LANES;
        }
        while column < width {
            let out = &mut out[column..column + LANES];
            columns::<S, 1>(s, near, ahead, rows, own, [own_scale, scale], column, out);
            column += LANES;
        }
    }
}

/// The places of those neighbours that have one. Without a branch: half of them have.
#[inline(always)]
fn keep(neighbours: &[u32], place: &[u32], kept: &mut Vec<u32>) {
    kept.clear();
    kept.resize(neighbours.len(), 0);
    let mut n = 0;
    for &neighbour in neighbours {
        let at = place[neighbour as usize];
        kept[n] = at;
        n += usize::from(at != NONE);
    }
    kept.truncate(n);
}

/// `16 V` columns of one node's mix.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn columns<S: Simd, const V: usize>(
    s: S,
    near: &[u32],
    ahead: &[u32],
    rows: Rows<'_>,
    own: Option<&[f32]>,
    [own_scale, scale]: [f32; 2],
    column: usize,
    out: &mut [f32],
) {
    let start = rows.data().as_ptr();
    let mut sums = [s.zero(); V];
    for (k, &j) in near.iter().enumerate() {
        if let Some(&next) = ahead.get(k + AHEAD) {
            let line = start.wrapping_add(next as usize * rows.stride() + column);
            for v in 0..V {
                prefetch(line.wrapping_add(v * LANES));
            }
        }
        let row = &rows.row(j as usize)[column..][..V * LANES];
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = s.add(*sum, s.load(&row[v * LANES..]));
        }
    }
    let (own_scale, scale) = (s.splat(own_scale), s.splat(scale));
    for (v, (sum, out)) in sums.iter().zip(out.chunks_exact_mut(LANES)).enumerate() {
        let mixed = s.mul(scale, *sum);
        let mixed = match own {
            Some(own) => s.fma(own_scale, s.load(&own[column + v * LANES..]), mixed),
            None => mixed,
        };
        s.store(out, mixed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::super::simd::{Isa, with_isa};
    use super::*;

    fn graph(n: usize, rng: &mut Rng) -> Csr {
        let (mut offsets, mut indices) = (vec![0], Vec::new());
        for node in 0..n {
            // One node is everybody's neighbour, some have none.
            let degree = if node == 3 { n as u32 } else { rng.below(9) };
            indices.extend((0..degree).map(|_| rng.below(n as u32)));
            offsets.push(indices.len());
        }
        Csr::new(n, offsets, indices, None).expect("valid")
    }

    fn numbers(n: usize, rng: &mut Rng) -> Vec<f32> {
        let mut numbers = vec![0.0; n];
        rng.fill_normal(&mut numbers, 0.0, 1.0);
        numbers
    }

    /// In `f64`, one number at a time.
    fn naive(mix: &NeighbourSum<'_>, node: usize, column: usize) -> f64 {
        let at = |source: NodeVectors<'_>, node: usize| match source {
            NodeVectors::All(rows) => f64::from(rows.row(node)[column]),
            NodeVectors::Some(_, place) if place[node] == NONE => 0.0,
            NodeVectors::Some(rows, place) => f64::from(rows.row(place[node] as usize)[column]),
        };
        let near = mix.graph.row(node).iter().fold(0.0, |sum, &j| sum + at(mix.near, j as usize));
        f64::from(mix.own_scale[node]) * at(mix.own, node) + f64::from(mix.scale[node]) * near
    }

    #[test]
    fn every_way_agrees_with_the_sum_over_neighbours() {
        let n = 150;
        for width in [16, 48, 64, 80, 192] {
            let rng = &mut Rng::new(width as u64);
            let graph = graph(n, rng);
            let (dense, few) = (numbers(n * (width + 16), rng), numbers(40 * width, rng));
            let place: Vec<u32> =
                (0..n).map(|i| if i % 3 == 0 && i < 120 { i as u32 / 3 } else { NONE }).collect();
            let (own_scale, scale) = (numbers(n, rng), numbers(n, rng));
            let dense = NodeVectors::All(Rows::new(&dense, n, width, width + 16));
            let few = NodeVectors::Some(Rows::dense(&few, 40, width), &place);
            let list: Vec<u32> = (0..100).map(|_| rng.below(n as u32)).collect();
            for (own, near) in [(dense, dense), (dense, few), (few, dense), (few, few)] {
                let mix =
                    NeighbourSum { graph: &graph, own, own_scale: &own_scale, near, scale: &scale };
                let mut first: Option<Vec<f32>> = None;
                for isa in Isa::ALL {
                    for threads in 1..=3 {
                        let ours = with_isa(isa, threads, || {
                            let mut out = vec![f32::NAN; n * width];
                            mix.all(&mut out);
                            let mut some = vec![f32::NAN; list.len() * width];
                            mix.some(&list, &mut some);
                            for (&node, some) in list.iter().zip(some.chunks(width)) {
                                assert_eq!(&out[node as usize * width..][..width], some);
                            }
                            let mut part = vec![f32::NAN; 5 * width];
                            mix.from(2, &mut part);
                            assert_eq!(part, out[2 * width..7 * width]);
                            out
                        });
                        let Some(ours) = ours else { continue };
                        for (at, &x) in ours.iter().enumerate() {
                            let by_hand = naive(&mix, at / width, at % width);
                            assert!((f64::from(x) - by_hand).abs() < 1e-4, "{x} {by_hand}");
                        }
                        if isa.is_fused() {
                            assert_eq!(first.get_or_insert_with(|| ours.clone()), &ours);
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "10 vectors for 9 nodes")]
    fn vectors_of_another_graph_are_refused() {
        let graph = graph(9, &mut Rng::new(1));
        let (rows, scale) = (vec![0.0; 160], vec![1.0; 9]);
        let own = NodeVectors::All(Rows::dense(&rows, 10, 16));
        let mix = NeighbourSum { graph: &graph, own, own_scale: &scale, near: own, scale: &scale };
        mix.all(&mut [0.0; 144]);
    }
}
