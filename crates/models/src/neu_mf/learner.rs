//! Training: one step on the slate of a batch.
//!
//! A user or item occurs many times in a batch: the half of each distinct one is computed once, and it takes
//! one step with the sum of its pairs' gradients, in the batch's order. Pairs go through the layers in blocks,
//! one task each.

use super::NeuMf;
use super::model::{NeuMfModel, TILE, add};
use super::tower::{Block, Half, Tower};
use rankstill_core::kernel::dense::{axpy, dot};
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Table;
use rankstill_core::{Batch, Grad, Learner, Lists, Objective, Row, Scores, Slate, Tensors};
use rayon::prelude::*;

/// A model with the scratch space of training.
pub(super) struct NeuLearner {
    recipe: NeuMf,
    pub(super) net: NeuMfModel,
    pub(super) users: Side,
    items: Side,
    probes: Side,
    blocks: Vec<Block>,
    /// The gradients of the weights.
    pub(super) grads: Vec<f32>,
}

/// The distinct users, or items, of a batch.
pub(super) struct Side {
    half: Half,
    pub slots: Slots,
    /// Embeddings, the table's stride apart, and halves; one row per slot.
    pub rows: Vec<f32>,
    pub halves: Vec<f32>,
    /// Their gradients; `sums` are, for the product part, the sums of slope times the other side's embedding.
    pub sums: Vec<f32>,
    pub to_halves: Vec<f32>,
    to_rows: Vec<f32>,
}

/// Slots per task, and inputs per task of the weights' gradients.
const SLOTS: usize = 64;
const INPUTS: usize = 16;

impl Side {
    fn new(half: Half, n_rows: usize) -> Self {
        let slots = Slots::new(n_rows);
        let (rows, halves, sums) = (Vec::new(), Vec::new(), Vec::new());
        let (to_halves, to_rows) = (Vec::new(), Vec::new());
        Self { half, slots, rows, halves, sums, to_halves, to_rows }
    }

    /// Fetches the embeddings of these rows of the table and computes their halves.
    pub fn fetch(&mut self, table: &mut Table, tower: &Tower, ids: &[u32]) {
        self.slots.assign(ids);
        let (stride, first) = (table.stride(), tower.shape.first());
        self.rows.resize(self.slots.len() * stride, 0.0);
        table.fetch(&self.slots, &mut self.rows);
        self.halves.resize(self.slots.len() * first, 0.0);
        let halves = self.halves.par_chunks_mut(SLOTS * first);
        halves.zip(self.rows.par_chunks(SLOTS * stride)).for_each(|(halves, rows)| {
            tower.halves(self.half, rows, rows.len() / stride, stride, halves);
        });
    }

    /// Sums the gradients of the slots' pairs: `pairs(slot)` are (pair, row of `others`), `slopes` the pairs'
    /// gradients, and `to` those of the first layer's sums.
    fn sum<'a, I: Iterator<Item = (usize, usize)>>(
        &mut self,
        tower: &Tower,
        stride: usize,
        others: &[f32],
        slopes: &[f32],
        to: impl Fn(usize) -> &'a [f32] + Sync,
        pairs: impl Fn(&Slots, usize) -> I + Sync,
    ) {
        let (product, first) = (tower.shape.product(), tower.shape.first());
        self.sums.resize(self.slots.len() * product, 0.0);
        self.to_halves.resize(self.slots.len() * first, 0.0);
        let slots = &self.slots;
        let sums = self.sums.par_chunks_mut(SLOTS * product);
        sums.zip(self.to_halves.par_chunks_mut(SLOTS * first)).enumerate().for_each(
            |(chunk, (sums, to_halves))| {
                let rows = sums.chunks_exact_mut(product).zip(to_halves.chunks_exact_mut(first));
                for (at, (sum, to_half)) in rows.enumerate() {
                    sum.fill(0.0);
                    to_half.fill(0.0);
                    for (pair, other) in pairs(slots, chunk * SLOTS + at) {
                        axpy(slopes[pair], &others[other * stride..][..product], sum);
                        axpy(1.0, to(pair), to_half);
                    }
                }
            },
        );
    }

    /// The table's step, and the gradient of this half of the first layer.
    fn apply(&mut self, table: &mut Table, tower: &Tower, to_weights: &mut [f32], scale: f32) {
        let Self { half, slots, rows, sums, to_halves, to_rows, .. } = self;
        let stride = table.stride();
        to_rows.resize(rows.len(), 0.0);
        gradients(tower, *half, sums, to_halves, stride, to_rows);
        half_weights(tower, rows, stride, to_halves, to_weights);
        table.apply_dense_rows(slots, to_rows, scale);
    }
}

/// The gradients of embeddings, from the sums of the product part and the gradients of the halves.
pub(super) fn gradients(
    tower: &Tower,
    half: Half,
    sums: &[f32],
    to_halves: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    let (product, first) = (tower.shape.product(), tower.shape.first());
    let (mlp_dim, width) = (tower.shape.mlp_dim, tower.shape.mlp_dim.next_multiple_of(16));
    let gmf = tower.gmf();
    (
        out.par_chunks_mut(SLOTS * stride),
        sums.par_chunks(SLOTS * product),
        to_halves.par_chunks(SLOTS * first),
    )
        .into_par_iter()
        .for_each(|(out, sums, to_halves)| {
            let mut back = vec![0.0; out.len() / stride * width];
            tower.to_vectors(half, to_halves, &mut back);
            let rows = out.chunks_exact_mut(stride).zip(sums.chunks_exact(product));
            for ((out, sum), back) in rows.zip(back.chunks_exact(width)) {
                for ((out, sum), h) in out.iter_mut().zip(sum).zip(gmf) {
                    *out = sum * h;
                }
                out[product..][..mlp_dim].copy_from_slice(&back[..mlp_dim]);
            }
        });
}

/// The gradient of W1' or W1''.
pub(super) fn half_weights(
    tower: &Tower,
    rows: &[f32],
    stride: usize,
    to_halves: &[f32],
    out: &mut [f32],
) {
    let first = tower.shape.first();
    out.par_chunks_mut(INPUTS * first).enumerate().for_each(|(task, out)| {
        let inputs = task * INPUTS..task * INPUTS + out.len() / first;
        tower.to_halves(inputs, rows, to_halves.len() / first, stride, to_halves, out);
    });
}

/// The gradient of h: the sum over users of p times the sum for p.
pub(super) fn to_gmf(rows: &[f32], stride: usize, sums: &[f32], product: usize, out: &mut [f32]) {
    out.fill(0.0);
    for (row, sum) in rows.chunks_exact(stride).zip(sums.chunks_exact(product)) {
        for ((out, p), sum) in out.iter_mut().zip(row).zip(sum) {
            *out += p * sum;
        }
    }
}

impl NeuLearner {
    pub fn new(recipe: &NeuMf, net: NeuMfModel) -> Self {
        let (n_users, n_items) = (net.users.n_rows(), net.items.n_rows());
        Self {
            recipe: recipe.clone(),
            users: Side::new(Half::User, n_users),
            items: Side::new(Half::Item, n_items),
            probes: Side::new(Half::Item, n_items),
            blocks: Vec::new(),
            grads: vec![0.0; net.tower.shape.ranges().end],
            net,
        }
    }

    fn set_rate(&mut self, epoch: usize) {
        let rate = self.recipe.training().rate(epoch);
        let NeuMfModel { users, items, tower, .. } = &mut self.net;
        users.set_learning_rate(rate);
        items.set_learning_rate(rate);
        tower.weights.set_learning_rate(rate);
    }

    fn step_on_lists(
        &mut self,
        batch: &Batch<'_>,
        live: &[usize],
        slate: &Slate,
        [listed, probes]: [&Lists<u32>; 2],
        objective: &dyn Objective,
    ) -> f64 {
        let probed = !probes.is_empty();
        let probe_scores = if probed { self.probe(live, probes) } else { Vec::new() };
        let Self { net, users, items, blocks, .. } = self;
        let of_live: Vec<&[u32]> = live.iter().map(|&at| listed.row(at)).collect();
        let ids = of_live.concat();
        items.fetch(&mut net.items, &net.tower, &ids);
        let mut starts = vec![0];
        starts.extend(of_live.iter().scan(0, |end, row| {
            *end += row.len();
            Some(*end)
        }));
        let user_of = spread(&starts, users.slots.slot_of());
        let scores = forward(net, users, items, &user_of, blocks);

        let mut slopes = vec![0.0; scores.len()];
        let mut left = slopes.as_mut_slice();
        let mut rows = Vec::with_capacity(live.len());
        for k in 0..live.len() {
            let (own, rest) = left.split_at_mut(starts[k + 1] - starts[k]);
            left = rest;
            rows.push((k, own));
        }
        let losses: Vec<f64> = rows
            .into_par_iter()
            .with_min_len(64)
            .map(|(k, slopes)| {
                let at = live[k];
                let scores = Scores {
                    listed: &scores[starts[k]..starts[k + 1]],
                    probes: probe_scores.get(k).map_or(&[], Vec::as_slice),
                    log_complement: f32::NEG_INFINITY,
                };
                let row = Row { batch, slate, at };
                f64::from(objective.loss(
                    row,
                    scores,
                    Grad { listed: slopes, log_complement: &mut 0.0 },
                ))
            })
            .collect();

        let Self { net, users, items, blocks, grads, .. } = self;
        let (tower, stride) = (&net.tower, net.items.stride());
        let used = slopes.len().div_ceil(TILE);
        blocks[..used].par_iter_mut().zip(slopes.par_chunks(TILE)).for_each(|(block, slopes)| {
            tower.backward(block, slopes);
        });
        let first = tower.shape.first();
        let blocks = &blocks[..used];
        let to = |pair: usize| &blocks[pair / TILE].to[0][pair % TILE * first..][..first];
        let item_of = items.slots.slot_of().to_vec();
        users.sum(tower, stride, &items.rows, &slopes, to, |slots, slot| {
            let rows = slots.occurrences(slot).iter();
            let pairs = rows.flat_map(|&k| starts[k as usize]..starts[k as usize + 1]);
            let pairs: Vec<_> = pairs.map(|pair| (pair, item_of[pair] as usize)).collect();
            pairs.into_iter()
        });
        items.sum(tower, stride, &users.rows, &slopes, to, |slots, slot| {
            let pairs = slots.occurrences(slot).iter();
            let pairs = pairs.map(|&pair| (pair as usize, user_of[pair as usize] as usize));
            pairs.collect::<Vec<_>>().into_iter()
        });
        sum_blocks(blocks, grads);
        self.update(batch, None);
        losses.iter().fold(0.0, |sum, loss| sum + loss)
    }

    /// The scores of the probes, one list per live row.
    pub(super) fn probe(&mut self, live: &[usize], probes: &Lists<u32>) -> Vec<Vec<f32>> {
        let Self { net, users, probes: items, .. } = self;
        let of_live: Vec<&[u32]> = live.iter().map(|&at| probes.row(at)).collect();
        items.fetch(&mut net.items, &net.tower, &of_live.concat());
        let mut starts = vec![0];
        of_live.iter().for_each(|row| starts.push(starts[starts.len() - 1] + row.len()));
        let user_of = spread(&starts, users.slots.slot_of());
        let scores = forward(net, users, items, &user_of, &mut Vec::new());
        starts.windows(2).map(|pair| scores[pair[0]..pair[1]].to_vec()).collect()
    }

    /// The optimiser's step with the summed gradients; `to_all`: the sums and the gradients of halves of all
    /// items, where all have one.
    pub(super) fn update(&mut self, batch: &Batch<'_>, to_all: Option<(&[f32], &[f32])>) {
        let Self { net, users, items, grads, .. } = self;
        let NeuMfModel { users: user_table, items: item_table, tower, .. } = net;
        let scale = 1.0 / batch.len() as f32;
        let ranges = tower.shape.ranges();
        let [user_half, item_half] = ranges.halves;
        let product = tower.shape.product();
        to_gmf(&users.rows, user_table.stride(), &users.sums, product, &mut grads[ranges.gmf]);
        users.apply(user_table, tower, &mut grads[user_half], scale);
        match to_all {
            None => items.apply(item_table, tower, &mut grads[item_half], scale),
            Some((sums, to_halves)) => {
                let stride = item_table.stride();
                let mut to_rows = vec![0.0; item_table.n_rows() * stride];
                gradients(tower, Half::Item, sums, to_halves, stride, &mut to_rows);
                let (data, record) = item_table.params();
                half_weights(tower, data, record, to_halves, &mut grads[item_half]);
                item_table.apply_full(&to_rows, scale);
            }
        }
        tower.weights.update(grads, scale);
        tower.changed();
    }
}

/// The slot of each pair's user.
fn spread(starts: &[usize], slot_of: &[u32]) -> Vec<u32> {
    let rows = starts.windows(2).zip(slot_of);
    rows.flat_map(|(pair, &slot)| std::iter::repeat_n(slot, pair[1] - pair[0])).collect()
}

/// The scores of pairs, given the slot of each pair's user; pair k has the k-th item occurrence.
fn forward(
    net: &NeuMfModel,
    users: &Side,
    items: &Side,
    user_of: &[u32],
    blocks: &mut Vec<Block>,
) -> Vec<f32> {
    let (shape, stride) = (&net.tower.shape, net.items.stride());
    let (product, first) = (shape.product(), shape.first());
    let gmf = net.tower.gmf();
    // h times p, once per user.
    let weighted: Vec<f32> = users
        .rows
        .chunks_exact(stride)
        .flat_map(|row| row[..product].iter().zip(gmf).map(|(p, h)| p * h))
        .collect();
    let mut scores = vec![0.0; user_of.len()];
    let used = scores.len().div_ceil(TILE);
    blocks.resize_with(blocks.len().max(used), Block::default);
    let item_of = items.slots.slot_of();
    (
        blocks[..used].par_iter_mut(),
        scores.par_chunks_mut(TILE),
        user_of.par_chunks(TILE),
        item_of.par_chunks(TILE),
    )
        .into_par_iter()
        .for_each(|(block, scores, user_of, item_of)| {
            block.resize(shape, scores.len());
            let sums = block.acts[0].chunks_exact_mut(first);
            let pairs = user_of.iter().zip(item_of);
            for (((&user, &item), sums), score) in pairs.zip(sums).zip(&mut *scores) {
                let (user, item) = (user as usize, item as usize);
                add(
                    &users.halves[user * first..][..first],
                    &items.halves[item * first..][..first],
                    sums,
                );
                let q = &items.rows[item * stride..][..product];
                *score = dot(&weighted[user * product..][..product], q);
            }
            net.tower.forward(block, scores);
        });
    scores
}

/// Sums the blocks' gradients of the weights, in order.
pub(super) fn sum_blocks(blocks: &[Block], grads: &mut [f32]) {
    grads.fill(0.0);
    for block in blocks {
        axpy(1.0, &block.grads, grads);
    }
}

impl Learner for NeuLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        let n_users = self.net.users.n_rows();
        // Unknown users have nothing to learn.
        let user =
            |at: &usize| batch.case(*at).query.user.filter(|&user| (user as usize) < n_users);
        let live: Vec<usize> = (0..batch.len()).filter(|at| user(at).is_some()).collect();
        if live.is_empty() || self.net.items.n_rows() == 0 {
            return 0.0;
        }
        let users: Vec<u32> = live.iter().filter_map(user).collect();
        self.set_rate(batch.epoch);
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(
            || {
                self.users.fetch(&mut self.net.users, &self.net.tower, &users);
                let slate = &*slate.spelled_out();
                match slate {
                    Slate::Lists { listed, probes, .. } => {
                        self.step_on_lists(batch, &live, slate, [listed, probes], objective)
                    }
                    _ => self.step_on_everything(batch, &live, slate, objective),
                }
            },
            || (),
        );
        self.net.users.advance();
        self.net.items.advance();
        self.net.changed();
        loss
    }

    fn settle(&mut self) {
        self.net.users.settle();
        self.net.items.settle();
    }

    fn state(&self) -> Tensors {
        self.net.state()
    }
}

crate::parts::scores_as_its_model!(NeuLearner, net);
