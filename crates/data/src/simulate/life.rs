//! The interactions of one simulated user.

use super::draws::SeenItems;
use super::{Chunk, DIM, SPAN, START, STREAM_LIFE, World};
use rankstill_core::kernel::rng::Rng;

/// A user from the first row to the last.
pub(super) struct Life<'a> {
    world: &'a World,
    user: u64,
    n: u64,
    rng: Rng,
    vector: [f64; DIM],
    /// Items so far, in order.
    had: Vec<u64>,
}

/// Rows a session, on average.
const SESSION: f64 = 4.0;
/// How far back a user looks for a topic: interests drift.
const MEMORY: usize = 32;
/// Items that a user considers at most before taking one.
const PATIENCE: usize = 32;

impl<'a> Life<'a> {
    pub(super) fn new(world: &'a World, user: u64, n: u64) -> Self {
        let mut rng = Rng::keyed(world.options.seed, [STREAM_LIFE, user]);
        let vector = std::array::from_fn(|_| f64::from(rng.normal()));
        Self { world, user, n, rng, vector, had: Vec::new() }
    }

    pub(super) fn live(&mut self, rows: &mut Chunk, seen: &mut SeenItems) {
        seen.begin(self.n);
        // A user is active for a tenth to all of the time that remains after the first row.
        let first = (self.rng.uniform_f64() * 0.9 * SPAN as f64) as i64;
        let share = 0.1 + 0.9 * self.rng.uniform_f64();
        let pause = (SPAN - first) as f64 * share / (self.n as f64 / SESSION + 1.0);
        let mut time = START + first;
        let mut last = None;
        for _ in 0..self.n {
            if last.is_some() && self.rng.chance(1.0 / SESSION) {
                // A new session after a pause, mostly short and sometimes long, `pause` on average.
                time += (pause * 0.333 / (self.rng.uniform_f64() + 0.05)) as i64 + 1800;
                last = None;
            } else if last.is_some() {
                time += 20 + i64::from(self.rng.below(400));
            }
            let item = self.next(last, seen);
            self.had.push(item);
            last = Some(item);
            rows.users.push(self.user as i64 + 1);
            rows.items.push((item * self.world.stride % self.world.n_items) as i64 + 1);
            rows.times.push(time);
            if self.world.options.ratings {
                let rating =
                    3.0 + self.world.fit(&self.vector, item) + f64::from(self.rng.normal());
                rows.ratings.push(rating.round().clamp(1.0, 5.0) as f32);
            }
        }
    }

    /// The next item, after `last` in the same session if there is one.
    fn next(&mut self, last: Option<u64>, seen: &mut SeenItems) -> u64 {
        if !self.had.is_empty() && self.rng.chance(self.world.options.repeats) {
            return self.had[self.rng.below(self.had.len() as u32) as usize];
        }
        let mut item = self.consider(last);
        for _ in 1..PATIENCE {
            if self.takes(item) && seen.insert(item) {
                return item;
            }
            item = self.consider(last);
        }
        // A user who has most of what is of interest takes anything new, where there is something.
        for _ in 0..PATIENCE {
            if seen.insert(item) {
                break;
            }
            item = self.world.items.draw(&mut self.rng);
        }
        item
    }

    fn consider(&mut self, last: Option<u64>) -> u64 {
        let (world, rng) = (self.world, &mut self.rng);
        let (dice, order, taste) = (rng.uniform_f64(), world.options.order, world.options.taste);
        match last {
            Some(last) if dice < order => world.successor(last, rng),
            _ if dice < order + taste && !self.had.is_empty() => {
                let back = rng.below(self.had.len().min(MEMORY) as u32) as usize;
                let like = last.unwrap_or(self.had[self.had.len() - 1 - back]);
                world.of_topic(world.topic_of(like), rng)
            }
            _ => world.items.draw(rng),
        }
    }

    /// Whether the user takes an item: never if its fit is -1 or less, always from 2 on.
    fn takes(&mut self, item: u64) -> bool {
        let fit = ((self.world.fit(&self.vector, item) + 1.0) / 3.0).clamp(0.0, 1.0);
        self.rng.chance(fit * fit)
    }
}
