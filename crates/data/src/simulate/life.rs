//! The interactions of one simulated user.

use super::draws::SeenItems;
use super::{Chunk, FLAVOURS, INTERESTS, SPAN, START, STREAM_LIFE, SUCCESSORS, World};
use rankstill_core::kernel::rng::Rng;

/// A user from the first row to the last.
pub(super) struct Life<'a> {
    world: &'a World,
    user: u64,
    n: u64,
    rng: Rng,
    flavour: u64,
    interests: [u64; INTERESTS],
}

impl<'a> Life<'a> {
    pub(super) fn new(world: &'a World, user: u64, n: u64) -> Self {
        let mut rng = Rng::keyed(world.options.seed, [STREAM_LIFE, user]);
        let flavour = u64::from(rng.below(FLAVOURS as u32));
        let mut interests = [world.topics.draw(&mut rng); INTERESTS];
        let mut life = Self { world, user, n, rng, flavour, interests };
        for slot in 1..INTERESTS {
            // Mostly close to the first, so that few factors explain many topics.
            interests[slot] = if life.chance(200) {
                world.topics.draw(&mut life.rng)
            } else {
                life.near(interests[0], 3)
            };
        }
        life.interests = interests;
        life
    }

    pub(super) fn live(&mut self, rows: &mut Chunk, seen: &mut SeenItems) {
        seen.begin(self.n);
        // A user is active for a tenth to all of the time that remains after the first row.
        let first = (self.rng.uniform_f64() * 0.9 * SPAN as f64) as i64;
        let share = 0.1 + 0.9 * self.rng.uniform_f64();
        let pause = (SPAN - first) as f64 * share / (self.n as f64 / 4.0 + 1.0);
        let mut time = START + first;
        let mut last = None;
        for _ in 0..self.n {
            if last.is_some() && self.chance(250) {
                // A new session after a pause, mostly short and sometimes long, `pause` on average.
                time += (pause * 0.333 / (self.rng.uniform_f64() + 0.05)) as i64 + 1800;
                last = None;
            } else if last.is_some() {
                time += 20 + i64::from(self.rng.below(400));
            }
            if self.chance(40) {
                self.drift();
            }
            let mut item = self.next(last);
            for attempt in 0..4 {
                if seen.insert(item) {
                    break;
                }
                // A user who has most of the interesting items already explores.
                item = if attempt < 2 { self.next(last) } else { self.anything() };
            }
            rows.users.push(self.user as i64 + 1);
            rows.items.push((item * self.world.stride % self.world.n_items) as i64 + 1);
            rows.times.push(time);
            if self.world.options.ratings {
                let mut rating = 2 + self.rng.below(3);
                rating += u32::from(self.interests.contains(&self.world.topic_of(item)));
                rating -= u32::from(self.world.flavour_of(item) != self.flavour);
                rows.ratings.push(rating.clamp(1, 5) as f32);
            }
            last = Some(item);
        }
    }

    fn next(&mut self, last: Option<u64>) -> u64 {
        let world = self.world;
        let dice = self.rng.below(1000);
        let topic = match last {
            Some(last) if dice < 220 => {
                let which = self.rng.below(SUCCESSORS);
                return world.successor(last, which);
            }
            Some(last) if dice < 500 => world.topic_of(last),
            _ if dice >= 950 => world.topics.draw(&mut self.rng),
            _ => {
                let slot = self.rng.below(10);
                self.interests[if slot < 5 {
                    0
                } else if slot < 8 {
                    1
                } else {
                    2
                }]
            }
        };
        let flavour = if self.chance(700) {
            self.flavour
        } else {
            u64::from(self.rng.below(FLAVOURS as u32))
        };
        world.item(topic, flavour, &mut self.rng)
    }

    /// Any topic, any flavour.
    fn anything(&mut self) -> u64 {
        let topic = u64::from(self.rng.below(self.world.n_topics as u32));
        let flavour = u64::from(self.rng.below(FLAVOURS as u32));
        self.world.item(topic, flavour, &mut self.rng)
    }

    /// One interest moves to a neighbouring topic, or occasionally to any.
    fn drift(&mut self) {
        let slot = self.rng.below(INTERESTS as u32) as usize;
        self.interests[slot] = if self.chance(150) {
            self.world.topics.draw(&mut self.rng)
        } else {
            self.near(self.interests[slot], 1)
        };
    }

    /// Another topic at most `steps` away on the ring of topics.
    fn near(&mut self, topic: u64, steps: u64) -> u64 {
        let away = 1 + u64::from(self.rng.below(steps as u32));
        let n = self.world.n_topics;
        if self.chance(500) { (topic + away) % n } else { (topic + n - away % n) % n }
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.below(1000) < per_mille
    }
}
