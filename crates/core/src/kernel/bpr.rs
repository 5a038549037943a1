//! Whole epochs of BPR matrix factorisation by stochastic gradient descent, one sample at a time (Rendle et
//! al., "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009, figure 4 and section 4.3.1).
//!
//! Plain SGD is sequential. Usual parallel code ("hogwild") lets threads race on the item rows: fast, never
//! the same twice, and in Rust undefined. Here users are cut into shards and items into as many blocks, S of
//! each; S sub-rounds pair every shard with every block, so that the tasks of a sub-round share no row (the
//! stratification of Gemulla et al., "Large-scale matrix factorization with distributed stochastic gradient
//! descent", KDD 2011). S depends on the data alone: any number of threads computes the same bits.
//!
//! Differs from the paper:
//! - an epoch visits every (user, item) pair once, in an order drawn anew, whereas the paper draws pairs with replacement;
//! - the negative of a pair is uniform over the unseen items *of the positive's block*. Blocks are drawn anew every epoch,
//!   so every unseen item is paired with every positive, about equally often over epochs;
//! - the order is random within each (shard, block) and fixed among them.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::math::{sigmoid_lanes, softplus_lanes};
use super::optimizer::{Optimizer, Sgd};
use super::rng::Rng;
use super::sample::Positives;
use super::simd::{LANES, Simd, dispatch, prefetch};
use super::table::Table;

/// Samples that are drawn and tested together, ahead of their updates.
const BLOCK: usize = 128;

/// How many samples ahead rows are prefetched for the second time.
const AHEAD: usize = 6;

/// Most shards; a task's rows, one shard and one block, then fit a core's second-level cache for tables of
/// some 20 MB.
const MAX_SHARDS: usize = 16;

/// Trains matrix factorisation by BPR, epoch by epoch. Holds the scratch space.
#[derive(Clone, Debug)]
pub struct BprSgd {
    seed: u64,
    /// The last column is the item's bias: users hold 1 there and do not learn it.
    item_bias: bool,
    plan: Plan,
}

/// The result of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BprEpoch {
    /// Sum over the samples of -ln sigmoid(score of the positive - score of the negative), each before its update.
    pub loss: f64,
    /// Samples whose positive scored higher than their negative.
    pub correct: u64,
    /// Samples taken.
    pub samples: u64,
    /// Pairs without a negative, because the user has seen the whole block.
    pub skipped: u64,
}

impl BprSgd {
    /// With `item_bias`, the last column of the item table is a bias: the user table's is set to 1 and stays so.
    pub fn new(seed: u64, item_bias: bool) -> Self {
        Self { seed, item_bias, plan: Plan::default() }
    }

    /// Visits every pair of `positives` once. Learning rates and penalties are those of the tables: each
    /// sample subtracts `learning_rate * (gradient + weight_decay * p)` from its three rows.
    ///
    /// # Panics
    /// If the tables' optimisers are not [`Optimizer::Sgd`], their dimensions differ, or their rows are not the users and
    /// items of `positives`.
    pub fn epoch(
        &mut self,
        users: &mut Table,
        items: &mut Table,
        positives: &Positives,
        epoch: u64,
    ) -> BprEpoch {
        assert_eq!(users.dim(), items.dim(), "tables of one dimension");
        assert_eq!(users.n_rows(), positives.n_users(), "one row a user");
        assert_eq!(items.n_rows(), positives.n_items() as usize, "one row an item");
        let (Optimizer::Sgd(user_sgd), Optimizer::Sgd(item_sgd)) =
            (users.optimizer().clone(), items.optimizer().clone())
        else {
            panic!("tables trained by SGD");
        };
        if self.item_bias && users.dim() > 0 {
            let last = users.dim() - 1;
            users.init(|_, p| p[last] = 1.0);
        }
        self.plan.draw(self.seed, epoch, positives);
        let plan = &self.plan;
        let stride = users.stride();
        let work = Work {
            positives,
            stride,
            bias_lane: self.item_bias.then(|| (users.dim().max(1) - 1) % LANES),
            user_sgd,
            item_sgd,
            users: SharedRows::new(users),
            items: SharedRows::new(items),
        };
        let n_shards = plan.n_shards;
        let mut total = BprEpoch::default();
        for round in 0..n_shards {
            let tasks = (0..n_shards).into_par_iter().with_max_len(1);
            let done: Vec<BprEpoch> = tasks
                .map(|shard| {
                    let block = (shard + round) % n_shards;
                    let rng = Rng::keyed(
                        self.seed,
                        [epoch, NEGATIVES, (shard * n_shards + block) as u64],
                    );
                    let pairs = plan.pairs(shard, block);
                    let members = plan.members(block);
                    match stride / LANES {
                        1 => run_task::<1>(&work, pairs, members, rng),
                        2 => run_task::<2>(&work, pairs, members, rng),
                        3 => run_task::<3>(&work, pairs, members, rng),
                        4 => run_task::<4>(&work, pairs, members, rng),
                        5 => run_task::<5>(&work, pairs, members, rng),
                        8 => run_task::<8>(&work, pairs, members, rng),
                        _ => run_task::<0>(&work, pairs, members, rng),
                    }
                })
                .collect();
            for task in done {
                total.loss += task.loss;
                total.correct += task.correct;
                total.samples += task.samples;
                total.skipped += task.skipped;
            }
        }
        total
    }
}

// Purposes of random streams.
const ITEMS: u64 = 0;
const ORDER: u64 = 1;
const NEGATIVES: u64 = 2;

/// The assignment of pairs to tasks in an epoch.
#[derive(Clone, Debug, Default)]
struct Plan {
    n_shards: usize,
    /// All items, block after block.
    items: Vec<u32>,
    /// The block of each item.
    block_of: Vec<u8>,
    /// All (user, item) pairs, by shard, then by block.
    pairs: Vec<(u32, u32)>,
    /// Where the pairs of (shard, block) start.
    starts: Vec<usize>,
}

impl Plan {
    fn draw(&mut self, seed: u64, epoch: u64, positives: &Positives) {
        let (n_users, n_items) = (positives.n_users(), positives.n_items() as usize);
        // Small catalogues keep blocks of some size, so that there is a choice of negatives in each.
        let n = (n_items / 64).min(n_users / 16).clamp(1, MAX_SHARDS);
        self.n_shards = n;
        self.items = Rng::keyed(seed, [epoch, ITEMS, 0]).permutation(n_items as u32);
        self.block_of.resize(n_items, 0);
        for block in 0..n {
            for &item in &self.items[block * n_items / n..(block + 1) * n_items / n] {
                self.block_of[item as usize] = block as u8;
            }
        }
        // Shards are runs of users with about equally many pairs.
        let shard_starts: Vec<usize> =
            (0..=n).map(|shard| positives.first_user_at(shard * positives.len() / n)).collect();
        self.pairs.resize(positives.len(), (0, 0));
        self.starts.clear();
        self.starts.resize(n * n + 1, positives.len());
        let mut shares = Vec::with_capacity(n);
        let mut rest = (&mut self.pairs[..], &mut self.starts[..n * n]);
        for shard in 0..n {
            let users =
                shard_starts[shard]..if shard + 1 == n { n_users } else { shard_starts[shard + 1] };
            let from = positives.start(users.start);
            let (pairs, later) = rest.0.split_at_mut(positives.start(users.end) - from);
            let (starts, later_starts) = rest.1.split_at_mut(n);
            shares.push((shard, users, from, pairs, starts));
            rest = (later, later_starts);
        }
        let block_of = &self.block_of;
        shares.into_par_iter().with_max_len(1).for_each(|(shard, users, from, pairs, starts)| {
            group(positives, users, block_of, pairs, starts);
            for block in 0..n {
                let end = starts.get(block + 1).map_or(pairs.len(), |&start| start);
                let key = [epoch, ORDER, (shard * n + block) as u64];
                Rng::keyed(seed, key).shuffle(&mut pairs[starts[block]..end]);
            }
            starts.iter_mut().for_each(|start| *start += from);
        });
    }

    fn pairs(&self, shard: usize, block: usize) -> &[(u32, u32)] {
        let at = shard * self.n_shards + block;
        &self.pairs[self.starts[at]..self.starts[at + 1]]
    }

    fn members(&self, block: usize) -> &[u32] {
        let n = self.items.len();
        &self.items[block * n / self.n_shards..(block + 1) * n / self.n_shards]
    }
}

/// Writes the users' pairs by block, and where each block starts.
fn group(
    positives: &Positives,
    users: std::ops::Range<usize>,
    block_of: &[u8],
    pairs: &mut [(u32, u32)],
    starts: &mut [usize],
) {
    let mut counts = [0; MAX_SHARDS];
    for user in users.clone() {
        for &item in positives.of(user as u32) {
            counts[block_of[item as usize] as usize] += 1;
        }
    }
    let mut next = [0; MAX_SHARDS];
    let mut sum = 0;
    for (block, start) in starts.iter_mut().enumerate() {
        (*start, next[block]) = (sum, sum);
        sum += counts[block];
    }
    for user in users {
        for &item in positives.of(user as u32) {
            let at = &mut next[block_of[item as usize] as usize];
            pairs[*at] = (user as u32, item);
            *at += 1;
        }
    }
}

/// The data shared by all tasks of an epoch.
struct Work<'a> {
    positives: &'a Positives,
    stride: usize,
    /// The lane of the bias in the last vector of a row, if there is one.
    bias_lane: Option<usize>,
    user_sgd: Sgd,
    item_sgd: Sgd,
    users: SharedRows<'a>,
    items: SharedRows<'a>,
}

/// The rows of a mutably borrowed table, for tasks that each use rows of their own.
#[derive(Clone, Copy)]
struct SharedRows<'a> {
    data: *mut f32,
    n_rows: usize,
    record: usize,
    table: PhantomData<&'a mut Table>,
}

// SAFETY: represents a `&mut Table` of which each task uses rows of its own: the tasks of a sub-round have different
// shards of users and different blocks of items.
unsafe impl Send for SharedRows<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    fn new(table: &'a mut Table) -> Self {
        let n_rows = table.n_rows();
        let (data, record) = table.params_mut();
        Self { data: data.as_mut_ptr(), n_rows, record, table: PhantomData }
    }

    #[inline(always)]
    fn at(&self, row: u32) -> *mut f32 {
        debug_assert!((row as usize) < self.n_rows);
        self.data.wrapping_add(row as usize * self.record)
    }
}

dispatch! {
    fn run_task[const V: usize](work: &Work<'_>, pairs: &[(u32, u32)], members: &[u32], rng: Rng) -> BprEpoch = task_kernel;
}

/// One shard of users with one block of items. `V`: vectors in a row if the compiler knows it, else 0.
#[inline(always)]
fn task_kernel<S: Simd, const V: usize>(
    s: S,
    work: &Work<'_>,
    pairs: &[(u32, u32)],
    members: &[u32],
    mut rng: Rng,
) -> BprEpoch {
    let vectors = if V > 0 { V } else { work.stride / LANES };
    let step = Step::new(s, work);
    let mut done = BprEpoch::default();
    let mut samples = [Sample::default(); BLOCK];
    let mut margins = [0.0; BLOCK];
    for pairs in pairs.chunks(BLOCK) {
        let n = draw_negatives(work.positives, pairs, members, &mut rng, &mut samples);
        // Twice: from memory to the second-level cache a block ahead, from there to the first shortly before use.
        for &sample in &samples[..n] {
            prefetch_rows(work, sample, vectors);
        }
        for k in 0..n {
            if k + AHEAD < n {
                prefetch_rows(work, samples[k + AHEAD], vectors);
            }
            let Sample { user, positive, negative } = samples[k];
            let rows = [work.users.at(user), work.items.at(positive), work.items.at(negative)];
            // SAFETY: rows of this task's shard and block, of `vectors` vectors; no positive is its own negative.
            margins[k] = unsafe { step.take(s, rows, vectors) };
        }
        tally(s, &margins[..n], &mut done);
        done.skipped += (pairs.len() - n) as u64;
    }
    done
}

#[derive(Clone, Copy, Default)]
struct Sample {
    user: u32,
    positive: u32,
    negative: u32,
}

/// Gives each pair a negative from `members`; returns how many have one. Draws all, then tests all, so that
/// the filter's cache misses overlap.
#[inline(always)]
fn draw_negatives(
    positives: &Positives,
    pairs: &[(u32, u32)],
    members: &[u32],
    rng: &mut Rng,
    samples: &mut [Sample; BLOCK],
) -> usize {
    for (sample, &(user, positive)) in samples.iter_mut().zip(pairs) {
        let negative = members[rng.below(members.len() as u32) as usize];
        *sample = Sample { user, positive, negative };
        positives.prefetch(user, negative);
    }
    let mut n = 0;
    for k in 0..pairs.len() {
        let mut sample = samples[k];
        if positives.contains(sample.user, sample.negative) {
            match draw_again(positives, sample.user, members, rng) {
                Some(negative) => sample.negative = negative,
                None => continue,
            }
        }
        samples[n] = sample;
        n += 1;
    }
    n
}

/// An unseen item of `members`, each equally likely: by rejection, and by a list of them where that takes long.
#[cold]
#[inline(never)]
fn draw_again(positives: &Positives, user: u32, members: &[u32], rng: &mut Rng) -> Option<u32> {
    for _ in 0..32 {
        let item = members[rng.below(members.len() as u32) as usize];
        if !positives.contains(user, item) {
            return Some(item);
        }
    }
    let unseen: Vec<u32> =
        members.iter().copied().filter(|&item| !positives.contains(user, item)).collect();
    unseen.get(rng.below(unseen.len() as u32) as usize).copied()
}

#[inline(always)]
fn prefetch_rows(work: &Work<'_>, sample: Sample, vectors: usize) {
    for v in 0..vectors {
        prefetch(work.users.at(sample.user).wrapping_add(v * LANES));
        prefetch(work.items.at(sample.positive).wrapping_add(v * LANES));
        prefetch(work.items.at(sample.negative).wrapping_add(v * LANES));
    }
}

/// The constants of a sample's update, in every lane.
#[derive(Clone, Copy)]
struct Step<S: Simd> {
    user_rate: S::F,
    item_rate: S::F,
    /// 1 - rate * weight decay
    user_keep: S::F,
    item_keep: S::F,
    /// The last vector of a user's row: the lane of the bias moves by 0 and keeps its 1.
    last_moves: S::F,
    last_keep: S::F,
}

impl<S: Simd> Step<S> {
    #[inline(always)]
    fn new(s: S, work: &Work<'_>) -> Self {
        let keep = |sgd: &Sgd| (1.0 - sgd.learning_rate * sgd.weight_decay) as f32;
        let mut last_moves = [1.0; LANES];
        let mut last_keep = [keep(&work.user_sgd); LANES];
        if let Some(lane) = work.bias_lane {
            last_moves[lane] = 0.0;
            last_keep[lane] = 1.0;
        }
        Self {
            user_rate: s.splat(work.user_sgd.learning_rate as f32),
            item_rate: s.splat(work.item_sgd.learning_rate as f32),
            user_keep: s.splat(keep(&work.user_sgd)),
            item_keep: s.splat(keep(&work.item_sgd)),
            last_moves: s.load(&last_moves),
            last_keep: s.load(&last_keep),
        }
    }

    /// One sample: user, positive, negative. Returns the margin, positive's score less negative's, before the update.
    ///
    /// # Safety
    /// The rows are distinct, `vectors` long, and used by this task only.
    #[inline(always)]
    unsafe fn take(&self, s: S, [user, positive, negative]: [*mut f32; 3], vectors: usize) -> f32 {
        // SAFETY of the pointers: the caller's promise.
        let mut sums = [s.zero(); 2];
        for v in 0..vectors {
            let at = v * LANES;
            unsafe {
                let apart = s.sub(s.load_ptr(positive.add(at)), s.load_ptr(negative.add(at)));
                sums[v % 2] = s.fma(s.load_ptr(user.add(at)), apart, sums[v % 2]);
            }
        }
        let margin = s.hsum(s.add(sums[0], sums[1]));
        let push = sigmoid_lanes(s, s.splat(-margin)); // - d loss / d margin
        let (user_push, item_push) = (s.mul(self.user_rate, push), s.mul(self.item_rate, push));
        for v in 0..vectors {
            let at = v * LANES;
            let (push, keep) = if v + 1 == vectors {
                (s.mul(user_push, self.last_moves), self.last_keep)
            } else {
                (user_push, self.user_keep)
            };
            unsafe {
                let u = s.load_ptr(user.add(at));
                let i = s.load_ptr(positive.add(at));
                let j = s.load_ptr(negative.add(at));
                s.store_ptr(user.add(at), s.fma(push, s.sub(i, j), s.mul(keep, u)));
                s.store_ptr(positive.add(at), s.fma(item_push, u, s.mul(self.item_keep, i)));
                s.store_ptr(negative.add(at), s.fnma(item_push, u, s.mul(self.item_keep, j)));
            }
        }
        margin
    }
}

/// Adds the samples with these margins.
#[inline(always)]
fn tally<S: Simd>(s: S, margins: &[f32], done: &mut BprEpoch) {
    done.samples += margins.len() as u64;
    for margins in margins.chunks(LANES) {
        let lanes = s.mask_from_bits(((1u32 << margins.len()) - 1) as u16);
        let x = s.load_part(margins);
        let loss = s.select(lanes, softplus_lanes(s, s.neg(x)), s.zero());
        done.loss += f64::from(s.hsum(loss));
        done.correct += u64::from(s.mask_bits(s.gt(x, s.zero())).count_ones()); // lanes beyond the end are 0
    }
}

#[cfg(test)]
mod tests;
