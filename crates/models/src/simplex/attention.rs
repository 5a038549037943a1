//! The weights of the items of a user's history: the paper's user attention.

use rankstill_core::kernel::gemm::{Mat, MatMut, gemm, parallel};
use rankstill_core::kernel::math::{exp, exp_slice, tanh_slice};
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::pairs::{pair_dots, weighted_sums};
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::{Table, Terms};
use rankstill_core::{ItemId, UserId};

/// An item of user u's history, with embedding s, has the weight exp(k . e_u) / m with k = tanh(K s + b); m
/// sums exp(k . e_u) over the history, and 1 for each position that the history leaves empty.
pub(super) struct Attention {
    /// K, row-major, and b.
    pub weights: DenseParam,
    dim: usize,
    /// Maximum length of a history.
    positions: usize,
    /// The users' own embeddings; a table's stride apart, as all rows here.
    queries: Vec<f32>,
    /// The distinct items of their histories, with their embeddings and keys.
    items: Slots,
    vectors: Vec<f32>,
    keys: Vec<f32>,
    /// The user of each entry of the histories.
    owners: Vec<u32>,
}

/// The gradients of a step.
pub(super) struct Back<'a> {
    /// Items, each with one row of `to_items`.
    pub items: &'a [ItemId],
    pub to_items: Vec<f32>,
    pub to_weights: Vec<f32>,
}

impl Attention {
    /// With K and b 0.
    pub fn new(n_items: usize, dim: usize, positions: usize, optimizer: Optimizer) -> Self {
        Self {
            weights: DenseParam::new(dim * (dim + 1), optimizer),
            dim,
            positions,
            queries: Vec::new(),
            items: Slots::new(n_items),
            vectors: Vec::new(),
            keys: Vec::new(),
            owners: Vec::new(),
        }
    }

    /// Initialises K: normal, with Xavier's variance.
    pub fn init(&mut self, rng: &mut Rng) {
        let n = self.dim * self.dim;
        rng.fill_normal(&mut self.weights.values_mut()[..n], 0.0, 1.0 / (self.dim as f32).sqrt());
    }

    /// The weight of each entry of the histories of some users: those of the k-th are `starts[k]..starts[k + 1]`.
    pub fn shares(
        &mut self,
        users: &[UserId],
        (own, pooled): (&Table, &Table),
        (starts, items): (&[usize], &[ItemId]),
        shares: &mut [f32],
    ) {
        let (dim, stride) = (self.dim, own.stride());
        self.queries.clear();
        self.queries.resize(users.len() * stride, 0.0);
        for (query, &user) in self.queries.chunks_exact_mut(stride).zip(users) {
            query[..dim].copy_from_slice(own.row(user as usize));
        }
        self.items.assign(items);
        let n_items = self.items.len();
        for vectors in [&mut self.vectors, &mut self.keys] {
            vectors.clear();
            vectors.resize(n_items * stride, 0.0);
        }
        pooled.gather(&self.items, &mut self.vectors);
        let (matrix, bias) = self.weights.values().split_at(dim * dim);
        let vectors = Mat::new(&self.vectors, n_items, dim, stride);
        let mut keys = MatMut::new(&mut self.keys, n_items, dim, stride);
        parallel(1.0, vectors, Mat::dense(matrix, dim, dim).t(), 0.0, &mut keys);
        for key in self.keys.chunks_exact_mut(stride) {
            key.iter_mut().zip(bias).for_each(|(key, b)| *key += b);
        }
        tanh_slice(&mut self.keys);

        self.owners.clear();
        for (owner, bounds) in starts.windows(2).enumerate() {
            self.owners.resize(bounds[1], owner as u32);
        }
        let queries = (&self.queries[..], stride);
        pair_dots(&self.keys, self.items.slot_of(), queries, &self.owners, stride, shares);
        for bounds in starts.windows(2) {
            softmax(&mut shares[bounds[0]..bounds[1]], self.positions);
        }
    }

    /// The gradients that flow through the weights, given those of the pooled embeddings; the gradient of the
    /// users' embeddings is added to `to_own`. Rows are `stride` apart, as in [`Self::shares`]. The direct path
    /// from a pooled embedding to its items is not included.
    pub fn back(
        &self,
        starts: &[usize],
        shares: &[f32],
        to_means: &[f32],
        to_own: &mut [f32],
        stride: usize,
    ) -> Back<'_> {
        let dim = self.dim;
        let (n_items, slot_of) = (self.items.len(), self.items.slot_of());
        let mut to_logits = vec![0.0; shares.len()];
        let means = (to_means, stride);
        pair_dots(&self.vectors, slot_of, means, &self.owners, stride, &mut to_logits);
        for bounds in starts.windows(2) {
            back_from_softmax(&shares[bounds[0]..bounds[1]], &mut to_logits[bounds[0]..bounds[1]]);
        }

        let mut from_keys = vec![0.0; to_own.len()];
        let keys = (&self.keys[..], stride);
        weighted_sums(starts, &to_logits, slot_of, keys, stride, &mut from_keys);
        to_own.iter_mut().zip(&from_keys).for_each(|(to, from)| *to += from);

        let mut to_keys = vec![0.0; n_items * stride];
        let (source, vectors) = (&self.owners[..], &self.queries[..]);
        Terms { coef: &to_logits, source, vectors, stride, scale: 1.0, decay: 0.0 }
            .sums(&self.items, &mut to_keys);
        to_keys.iter_mut().zip(&self.keys).for_each(|(to, key)| *to *= 1.0 - key * key);
        let to_sums = Mat::new(&to_keys, n_items, dim, stride);

        let mut to_weights = vec![0.0; self.weights.len()];
        let (to_matrix, to_bias) = to_weights.split_at_mut(dim * dim);
        let vectors = Mat::new(&self.vectors, n_items, dim, stride);
        gemm(1.0, to_sums.t(), vectors, 0.0, &mut MatMut::dense(to_matrix, dim, dim));
        for row in to_keys.chunks_exact(stride) {
            to_bias.iter_mut().zip(row).for_each(|(to, x)| *to += x);
        }
        let mut to_items = vec![0.0; n_items * stride];
        let matrix = Mat::dense(&self.weights.values()[..dim * dim], dim, dim);
        parallel(1.0, to_sums, matrix, 0.0, &mut MatMut::new(&mut to_items, n_items, dim, stride));
        Back { items: self.items.rows(), to_items, to_weights }
    }
}

/// Softmax over `positions` logits, of which those missing in `x` are 0.
fn softmax(x: &mut [f32], positions: usize) {
    let most = x.iter().fold(0.0, |most: f32, &x| most.max(x));
    x.iter_mut().for_each(|x| *x -= most);
    exp_slice(x);
    let empty = positions.saturating_sub(x.len()) as f32 * exp(-most);
    let mass = x.iter().fold(empty, |sum, x| sum + x);
    x.iter_mut().for_each(|x| *x /= mass);
}

/// Replaces the gradients of the weights by those of the logits.
fn back_from_softmax(shares: &[f32], gradients: &mut [f32]) {
    let mean: f32 = shares.iter().zip(&*gradients).map(|(share, g)| share * g).sum();
    gradients.iter_mut().zip(shares).for_each(|(g, share)| *g = share * (*g - mean));
}
