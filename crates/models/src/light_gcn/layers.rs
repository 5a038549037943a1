//! The graph, and the forward and backward pass through its layers.
//!
//! With S = D^-1/2 A D^-1/2, A the adjacency matrix of the user-item graph and D its degrees, the final
//! embeddings are (I + S + .. + S^L) e(0) / (L + 1), by Horner's rule (see
//! [`rankstill_core::kernel::propagate`]). S is symmetric, so the backward pass is the same sum. Of the 2 L
//! products of a step, the last one forward is computed for the batch's rows only, and the first one backward
//! starts from them only.

use rankstill_core::Interactions;
use rankstill_core::kernel::buffer::Buffer;
use rankstill_core::kernel::csr::Csr;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::propagate::{NeighbourSum, NodeVectors};
use rankstill_core::kernel::table::Table;
use rayon::prelude::*;

/// Users are the first nodes, followed by the items. Rows are a table's stride long.
pub(super) struct Layers {
    graph: Csr,
    n_layers: usize,
    stride: usize,
    /// For every node: d^-1/2 and 1 / d, both 0 without neighbours; d^-1/2 / (L + 1); 1 / (L + 1); and 1.
    root: Vec<f32>,
    inverse: Vec<f32>,
    root_mean: Vec<f32>,
    mean: Vec<f32>,
    one: Vec<f32>,
    /// All products but the last, times d^-1/2: of the forward pass after [`Layers::forward`], of the backward
    /// pass after [`Layers::backward`].
    sums: Buffer,
    spare: Buffer,
    /// The rows of the incoming gradient, times d^-1/2.
    scaled: Vec<f32>,
}

/// The gradient of the final embeddings, mostly 0.
#[derive(Clone, Copy)]
pub(super) struct SparseGradient<'a> {
    /// The nodes with a gradient.
    pub nodes: &'a [u32],
    /// Their gradients, `stride` numbers each.
    pub rows: &'a [f32],
    /// The row of each node; [`rankstill_core::kernel::propagate::NONE`] if it has none.
    pub position: &'a [u32],
}

impl Layers {
    pub fn new(train: &Interactions, n_layers: usize, stride: usize) -> Self {
        let graph = graph(train);
        let n = graph.n_rows();
        let degree = |node: usize| graph.row(node).len() as f64;
        let share = 1.0 / (n_layers + 1) as f64;
        let each = |f: &dyn Fn(f64) -> f64| -> Vec<f32> {
            let of = |d: f64| if d > 0.0 { f(d) as f32 } else { 0.0 };
            (0..n).map(|node| of(degree(node))).collect()
        };
        Self {
            root: each(&|d| d.sqrt().recip()),
            inverse: each(&f64::recip),
            root_mean: each(&|d| share / d.sqrt()),
            mean: vec![share as f32; n],
            one: vec![1.0; n],
            sums: Buffer::zeros(n * stride),
            spare: Buffer::zeros(n * stride),
            scaled: Vec::new(),
            graph,
            n_layers,
            stride,
        }
    }

    /// Number of nodes.
    pub fn n(&self) -> usize {
        self.graph.n_rows()
    }

    /// Number of neighbours of a node.
    pub fn degree(&self, node: usize) -> u32 {
        self.graph.row(node).len() as u32
    }

    /// All products but the last, from the layer-0 embeddings.
    pub fn forward(&mut self, first: &Table) {
        let (data, record) = first.params();
        let rows = self.sums.par_chunks_mut(self.stride).zip(data.par_chunks(record));
        rows.zip(&self.root).with_min_len(256).for_each(|((to, from), root)| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = root * from);
        });
        for _ in 1..self.n_layers {
            let mut next = std::mem::take(&mut self.spare);
            let mix = NeighbourSum {
                graph: &self.graph,
                own: self.vectors(first),
                own_scale: &self.root,
                near: self.all_sums(),
                scale: &self.inverse,
            };
            mix.all(&mut next);
            self.spare = std::mem::replace(&mut self.sums, next);
        }
    }

    /// The final embeddings of some nodes, after [`Layers::forward`].
    pub fn mixed(&self, first: &Table, nodes: &[u32], out: &mut [f32]) {
        let mix = NeighbourSum {
            graph: &self.graph,
            own: self.vectors(first),
            own_scale: &self.mean,
            near: self.all_sums(),
            scale: &self.root_mean,
        };
        mix.some(nodes, out);
    }

    /// All products but the last, from the gradient of the final embeddings. Overwrites the results of
    /// [`Layers::forward`].
    pub fn backward(&mut self, gradient: SparseGradient<'_>) {
        self.scaled.resize(gradient.rows.len(), 0.0);
        let rows = self.scaled.chunks_exact_mut(self.stride).zip(gradient.rows.chunks(self.stride));
        for ((to, from), &node) in rows.zip(gradient.nodes) {
            let root = self.root[node as usize];
            to.iter_mut().zip(from).for_each(|(to, from)| *to = root * from);
        }
        for product in 1..self.n_layers {
            let mut next = std::mem::take(&mut self.spare);
            let mix = NeighbourSum {
                graph: &self.graph,
                own: self.start(gradient),
                own_scale: &self.one,
                near: if product == 1 { self.start(gradient) } else { self.all_sums() },
                scale: &self.inverse,
            };
            mix.all(&mut next);
            self.spare = std::mem::replace(&mut self.sums, next);
        }
    }

    /// The gradient of the layer-0 embeddings, for as many nodes from `from` on as fit; after [`Layers::backward`].
    pub fn gradient(&self, gradient: SparseGradient<'_>, from: usize, out: &mut [f32]) {
        let n = gradient.nodes.len();
        let mix = NeighbourSum {
            graph: &self.graph,
            own: NodeVectors::Some(Rows::dense(gradient.rows, n, self.stride), gradient.position),
            own_scale: &self.mean,
            near: if self.n_layers == 1 { self.start(gradient) } else { self.all_sums() },
            scale: &self.root_mean,
        };
        mix.from(from, out);
    }

    fn vectors<'a>(&self, first: &'a Table) -> NodeVectors<'a> {
        let (data, record) = first.params();
        NodeVectors::All(Rows::new(data, self.n(), self.stride, record))
    }

    fn all_sums(&self) -> NodeVectors<'_> {
        NodeVectors::All(Rows::dense(&self.sums, self.n(), self.stride))
    }

    /// The incoming gradient times d^-1/2.
    fn start<'a>(&'a self, gradient: SparseGradient<'a>) -> NodeVectors<'a> {
        NodeVectors::Some(
            Rows::dense(&self.scaled, gradient.nodes.len(), self.stride),
            gradient.position,
        )
    }
}

/// Both directions of every distinct interaction.
fn graph(train: &Interactions) -> Csr {
    let (n_users, n_items) = (train.n_users(), train.n_items());
    let (mut starts, mut columns) = (vec![0], Vec::new());
    for items in train.items().iter() {
        let mut items = items.to_vec();
        items.sort_unstable();
        items.dedup();
        columns.extend(items);
        starts.push(columns.len());
    }
    let of_users = Csr::new(n_items, starts, columns, None).expect("items of the catalogue");
    let of_items = of_users.transpose();
    let n = of_users.n_entries();
    let mut offsets = of_users.offsets().to_vec();
    offsets.extend(of_items.offsets()[1..].iter().map(|end| n + end));
    let mut indices: Vec<u32> = of_users.indices().iter().map(|&i| n_users as u32 + i).collect();
    indices.extend_from_slice(of_items.indices());
    Csr::new(n_users + n_items, offsets, indices, None).expect("two halves of a graph")
}
