//! Steps on slates over the whole catalogue.
//!
//! Groups of rows are scored, evaluated and propagated back one after another. The catalogue is cut into tiles,
//! one task each. A tile owns the gradients of its items; its contributions to users and weights are added tile
//! by tile. A pair's layers are computed twice, forward and again for the backward pass, so that rows x items x
//! layers numbers never exist at once.

use super::learner::NeuLearner;
use super::model::{TILE, UserContext};
use super::tower::Block;
use crate::parts::item_head::rows_to_gradients;
use rankstill_core::kernel::dense::axpy;
use rankstill_core::{Batch, Objective, Slate};
use rayon::prelude::*;

/// Rows per group.
const GROUP: usize = 32;

/// The gradients of one tile's items, and its contribution to those of the weights.
struct Tile {
    /// Sums of slope times p.
    sums: Vec<f32>,
    to_halves: Vec<f32>,
    grads: Vec<f32>,
    block: Block,
    /// Its contribution to the gradients of the group's users.
    to_users: Vec<f32>,
}

impl NeuLearner {
    /// `live`: the batch's rows with known users, whose embeddings have been fetched.
    pub(super) fn step_on_everything(
        &mut self,
        batch: &Batch<'_>,
        live: &[usize],
        slate: &Slate,
        objective: &dyn Objective,
    ) -> f64 {
        self.net.items.settle();
        let Self { net, users, .. } = self;
        let (n_items, stride) = (net.items.n_rows(), net.users.stride());
        let (product, first) = (net.tower.shape.product(), net.tower.shape.first());
        let halves = net.item_halves();
        let mut tiles: Vec<Tile> = (0..n_items)
            .step_by(TILE)
            .map(|from| {
                let n = TILE.min(n_items - from);
                Tile {
                    sums: vec![0.0; n * product],
                    to_halves: vec![0.0; n * first],
                    grads: vec![0.0; self.grads.len()],
                    block: Block::default(),
                    to_users: Vec::new(),
                }
            })
            .collect();
        users.sums.clear();
        users.sums.resize(users.slots.len() * product, 0.0);
        users.to_halves.clear();
        users.to_halves.resize(users.slots.len() * first, 0.0);
        let slot_of = users.slots.slot_of().to_vec();

        let mut loss = 0.0;
        for (group, slots) in live.chunks(GROUP).zip(slot_of.chunks(GROUP)) {
            let user = |slot: u32| &users.rows[slot as usize * stride..][..stride];
            let contexts: Vec<UserContext> =
                slots.iter().map(|&slot| net.context(user(slot))).collect();
            let mut scores = vec![0.0; group.len() * n_items];
            scores.par_chunks_mut(n_items).zip(&contexts).for_each(|(scores, context)| {
                scores
                    .par_chunks_mut(TILE)
                    .enumerate()
                    .for_each_init(Block::default, |block, (at, out)| {
                        net.score_tile(context, &halves, at * TILE, block, out)
                    });
            });
            let losses: Vec<f64> = scores
                .par_chunks_mut(n_items)
                .zip(group)
                .map(|(scores, &at)| {
                    rows_to_gradients(batch, at, &[true], slate, objective, scores)
                })
                .collect();
            loss = losses.iter().fold(loss, |sum, loss| sum + loss);

            let slopes = &scores;
            tiles.par_iter_mut().enumerate().for_each(|(at, tile)| {
                tile.to_users.clear();
                tile.to_users.resize(group.len() * (product + first), 0.0);
                let n = tile.sums.len() / product;
                let mut scores = vec![0.0; n];
                for (row, to_user) in tile.to_users.chunks_exact_mut(product + first).enumerate() {
                    let slopes = &slopes[row * n_items + at * TILE..][..n];
                    if slopes.iter().all(|&slope| slope == 0.0) {
                        continue;
                    }
                    let block = &mut tile.block;
                    net.score_tile(&contexts[row], &halves, at * TILE, block, &mut scores);
                    net.tower.backward(block, slopes);
                    axpy(1.0, &block.grads, &mut tile.grads);
                    let p = &user(slots[row])[..product];
                    let (to_p, to_half) = to_user.split_at_mut(product);
                    for (item, (&slope, to)) in
                        slopes.iter().zip(block.to[0].chunks_exact(first)).enumerate()
                    {
                        axpy(slope, p, &mut tile.sums[item * product..][..product]);
                        axpy(1.0, to, &mut tile.to_halves[item * first..][..first]);
                        axpy(slope, &net.items.row(at * TILE + item)[..product], to_p);
                        axpy(1.0, to, to_half);
                    }
                }
            });
            for (row, &slot) in slots.iter().enumerate() {
                let slot = slot as usize;
                for tile in &tiles {
                    let share = &tile.to_users[row * (product + first)..][..product + first];
                    axpy(1.0, &share[..product], &mut users.sums[slot * product..][..product]);
                    axpy(1.0, &share[product..], &mut users.to_halves[slot * first..][..first]);
                }
            }
        }
        self.grads.fill(0.0);
        tiles.iter().for_each(|tile| axpy(1.0, &tile.grads, &mut self.grads));
        let sums: Vec<f32> = tiles.iter().flat_map(|tile| &tile.sums).copied().collect();
        let to_halves: Vec<f32> = tiles.iter().flat_map(|tile| &tile.to_halves).copied().collect();
        self.update(batch, Some((&sums, &to_halves)));
        loss
    }
}
