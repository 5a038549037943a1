//! A simulator of interaction logs, for the quickstart, tests and measurements at scale.
//!
//! A user goes through sessions. For each row the user considers items, one after the other, and takes one with a probability that rises
//! with how well its vector fits the user's. Considered is, with the probabilities of the settings, one of the few *successors* of the
//! last item (`order`), an item of the *topic* of an earlier one (`taste`), or any; all of them by their popularity. Or the user comes
//! back to an item (`repeats`). Popularity and activity are log-normal, with their spreads as settings. So popularity learns something,
//! co-occurrence and factors more, each in its own way, and what knows the order the most.
//!
//! Real logs, and simulated ones with the settings that `docs/data.md` lists (`examples/log_profile.rs` of the facade measures them):
//!
//! | | ML-100K | simulated | Gowalla | simulated | Beauty | simulated |
//! | --- | ---: | ---: | ---: | ---: | ---: | ---: |
//! | density | 6.3% | 6.6% | .084% | .084% | .073% | .073% |
//! | Gini coefficient of the items' rows | .63 | .63 | .43 | .46 | .50 | .50 |
//! | rows on the top 1%, 10% of the items | 8%, 43% | 8%, 45% | 13%, 40% | 12%, 40% | 11%, 43% | 12%, 41% |
//! | items with one row | 8% | 5% | 0 | 0 | 0 | 1% |
//! | rows of a user: median, mean | 65, 106 | 71, 106 | 20, 34 | 20, 34 | 6, 9 | 6, 9 |
//! | 90%, 99% have at most | 245, 448 | 209, 572 | 67, 229 | 68, 236 | 14, 43 | 15, 50 |
//! | what the order tells ([`NextItem::order`](crate::profile::NextItem::order)) | 2.6 | 3.2 | no times | 15 | 3.1 | 3.4 |
//! | nDCG@10 of ALS by that of popularity | 2.0 | 1.9 | 5.6 | 6.1 | 5.4 | 5.4 |
//!
//! Every user has its own random stream, keyed by (seed, user). A row costs a bounded number of draws, and only the chunks being written
//! are in memory. The arithmetic uses integers and the basic operations of IEEE 754, so the same options give the same rows on every
//! machine and for any number of threads.

mod draws;
mod life;

use crate::columns::{Column, ColumnKind, TableWriter};
use crate::log::Log;
use crate::{Error, Result};
use draws::{Alias, SeenItems, exp};
use life::Life;
use rankstill_core::Vocab;
use rankstill_core::kernel::rng::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

/// Size and kind of the simulated log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulateOptions {
    /// Number of rows, from 1,000 to 1,000,000,000.
    pub interactions: u64,
    /// Number of users; by default 50 for 1 thousand interactions, 2,800 for 100 thousand, 290,000 for 20
    /// million, 8.9 million for 1 billion.
    pub users: Option<u32>,
    /// Number of items; by default 112 for 1 thousand interactions, 2,000 for 100 thousand, 55,000 for 20
    /// million, 630,000 for 1 billion.
    pub items: Option<u32>,
    /// Rows of the least active user, as a share of the mean.
    pub shortest: f64,
    /// Spread of the users' rows above that: the standard deviation of their logarithm, from 0 to 3.
    pub activity: f64,
    /// Popularity of the least popular item, as a share of the mean.
    pub rarest: f64,
    /// Spread of the items' popularity above that: the standard deviation of its logarithm, from 0 to 3.
    pub popularity: f64,
    /// The share of considered items that are of the topic of an earlier row.
    pub taste: f64,
    /// The share of considered items that are successors of the last one.
    pub order: f64,
    /// The share of rows that repeat an earlier item of the user.
    pub repeats: f64,
    /// Adds ratings from 1 to 5, higher for items that fit the user.
    pub ratings: bool,
    /// Seed of all random draws.
    pub seed: u64,
}

impl Default for SimulateOptions {
    fn default() -> Self {
        Self {
            interactions: 100_000,
            users: None,
            items: None,
            shortest: 0.2,
            activity: 1.0,
            rarest: 0.0,
            popularity: 2.0,
            taste: 0.3,
            order: 0.03,
            repeats: 0.0,
            ratings: false,
            seed: 0,
        }
    }
}

/// A simulated world with all sizes fixed.
#[derive(Clone, Debug)]
pub struct World {
    options: SimulateOptions,
    n_users: u64,
    n_items: u64,
    n_topics: u64,
    /// All items, by popularity.
    items: Alias,
    /// The items of each topic, by popularity.
    topics: Vec<Alias>,
    /// Of each topic, then of each style; an item's vector is the sum of its two.
    vectors: Vec<[f64; DIM]>,
    /// Item numbers become ids by `(number * stride) % n_items + 1`, so that ids carry no information.
    stride: u64,
    /// Minimum number of rows per user.
    least: u64,
    /// Cumulated weight of the users before chunk `c`; the last entry is the total.
    chunk_weights: Vec<u64>,
}

/// The rows of a range of users, user by user, each in order of time. Ids count from 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    /// User ids.
    pub users: Vec<i64>,
    /// Item ids.
    pub items: Vec<i64>,
    /// Unix seconds.
    pub times: Vec<i64>,
    /// From 1 to 5; empty unless `ratings` is set.
    pub ratings: Vec<f32>,
}

/// Items of a topic, about.
const TOPIC_ITEMS: u64 = 50;
/// Number of styles, which items of all topics have.
const STYLES: u64 = 16;
/// Dimension of the vectors of users and items.
const DIM: usize = 8;
/// Successors of an item.
const SUCCESSORS: u32 = 3;
/// Users per chunk: about half a million rows at the largest size.
const CHUNK_USERS: u64 = 4096;
/// 2023-01-01, and two years, in seconds.
const START: i64 = 1_672_531_200;
const SPAN: i64 = 2 * 365 * 86_400;

/// Keys of the random streams, in addition to the user number.
const STREAM_WEIGHT: u64 = 1;
const STREAM_LIFE: u64 = 2;
const STREAM_SUCCESSOR: u64 = 3;
const STREAM_POPULARITY: u64 = 4;
const STREAM_VECTOR: u64 = 5;

/// Simulates in memory. Rows are user by user, each in order of time.
///
/// # Errors
/// When an option is out of range.
pub fn simulate(options: &SimulateOptions) -> Result<Log> {
    let world = World::new(options)?;
    let chunks: Vec<Chunk> =
        (0..world.n_chunks()).into_par_iter().map(|chunk| world.chunk(chunk)).collect();
    let mut log = Log { times: Some(Vec::new()), ..Log::default() };
    let (mut user_ids, mut item_ids) = (Vocab::new(), Vocab::new());
    let mut ratings = options.ratings.then(Vec::new);
    for chunk in chunks {
        log.users.extend(chunk.users.iter().map(|&id| user_ids.intern_int(id)));
        log.items.extend(chunk.items.iter().map(|&id| item_ids.intern_int(id)));
        log.times.get_or_insert_default().extend(chunk.times);
        if let Some(ratings) = &mut ratings {
            ratings.extend(chunk.ratings);
        }
    }
    log.weights = ratings;
    log.user_ids = user_ids;
    log.item_ids = item_ids;
    Ok(log)
}

/// Simulates into a table file (`user_id`, `item_id`, `timestamp`, optionally `rating`) without holding it in
/// memory; the extension decides the format. `progress` receives the number of rows written so far.
///
/// # Errors
/// When an option is out of range, or the file cannot be written.
pub fn simulate_to(
    path: &Path,
    options: &SimulateOptions,
    mut progress: impl FnMut(u64) + Send,
) -> Result<World> {
    let world = World::new(options)?;
    let mut names = vec![
        ("user_id", ColumnKind::I64),
        ("item_id", ColumnKind::I64),
        ("timestamp", ColumnKind::I64),
    ];
    if options.ratings {
        names.push(("rating", ColumnKind::F32));
    }
    let mut writer = TableWriter::create(path, &names)?;
    let batch = rayon::current_num_threads().max(1) as u64;
    let n_chunks = world.n_chunks();
    let make = |first: u64| -> Vec<Chunk> {
        let chunks = first..(first + batch).min(n_chunks);
        chunks.into_par_iter().map(|chunk| world.chunk(chunk)).collect()
    };
    let mut rows = 0;
    let mut first = 0;
    let mut ready = make(0);
    while first < n_chunks {
        first += batch;
        // One batch is written while the next is made.
        let (next, written) = rayon::join(
            || make(first.min(n_chunks)),
            || -> Result<()> {
                for chunk in ready.drain(..) {
                    rows += chunk.users.len() as u64;
                    writer.write(&chunk.into_columns())?;
                    progress(rows);
                }
                Ok(())
            },
        );
        written?;
        ready = next;
    }
    writer.finish()?;
    Ok(world)
}

impl Chunk {
    fn into_columns(self) -> Vec<Column> {
        let mut columns =
            vec![Column::I64(self.users), Column::I64(self.items), Column::I64(self.times)];
        if !self.ratings.is_empty() {
            columns.push(Column::F32(self.ratings));
        }
        columns
    }
}

impl World {
    /// Fixes the sizes.
    ///
    /// # Errors
    /// When an option is out of range.
    pub fn new(options: &SimulateOptions) -> Result<Self> {
        let n = options.interactions;
        if !(1_000..=1_000_000_000).contains(&n) {
            let problem = format!("must be from 1,000 to 1,000,000,000, found {n}");
            return Err(Error::config("simulate.interactions", problem));
        }
        // n^(1/8) by square roots, which give the same bits on every machine.
        let eighth = (n as f64).sqrt().sqrt().sqrt();
        let n_users = match options.users {
            Some(users) => u64::from(users),
            None => (n as f64 / (8.43 * eighth)) as u64,
        };
        let n_items = match options.items {
            Some(items) => u64::from(items),
            None => (1.5 * (n as f64).sqrt() * eighth) as u64,
        };
        if !(1..=n).contains(&n_users) {
            let problem =
                format!("must be from 1 to the number of interactions ({n}), found {n_users}");
            return Err(Error::config("simulate.users", problem));
        }
        if n_items < 32 {
            let problem = format!("must be at least 32, found {n_items}");
            return Err(Error::config("simulate.items", problem));
        }
        for (name, value, most) in [
            ("shortest", options.shortest, 1.0),
            ("activity", options.activity, 3.0),
            ("rarest", options.rarest, 1.0),
            ("popularity", options.popularity, 3.0),
            ("taste", options.taste, 1.0),
            ("order", options.order, 1.0),
            ("repeats", options.repeats, 1.0),
        ] {
            if !(0.0..=most).contains(&value) {
                let problem = format!("must be from 0 to {most}, found {value}");
                return Err(Error::config(format!("simulate.{name}"), problem));
            }
        }
        if options.taste + options.order > 1.0 {
            let sum = options.taste + options.order;
            let problem = format!("and simulate.taste must be at most 1 together, found {sum}");
            return Err(Error::config("simulate.order", problem));
        }
        let n_topics = (n_items / TOPIC_ITEMS).clamp(4, 1024);
        let popularity = |item: u64| {
            let mut rng = Rng::keyed(options.seed, [STREAM_POPULARITY, item]);
            let (spread, rarest) = (options.popularity, options.rarest);
            // The mean of this is 1.
            let above = exp(spread * f64::from(rng.normal()) - spread * spread / 2.0);
            rarest + (1.0 - rarest) * above
        };
        let topic = |topic: u64| {
            let items = (topic..n_items).step_by(n_topics as usize);
            Alias::new(&items.map(popularity).collect::<Vec<_>>())
        };
        let vector = |of: u64| {
            let mut rng = Rng::keyed(options.seed, [STREAM_VECTOR, of]);
            std::array::from_fn(|_| f64::from(rng.normal()))
        };
        let mut stride = (n_items * 618 / 1000) | 1;
        while gcd(stride, n_items) != 1 {
            stride += 2;
        }
        let mut world = Self {
            options: options.clone(),
            n_users,
            n_items,
            n_topics,
            items: Alias::new(&(0..n_items).map(popularity).collect::<Vec<_>>()),
            topics: (0..n_topics).map(topic).collect(),
            vectors: (0..n_topics + STYLES).map(vector).collect(),
            stride,
            least: ((n as f64 / n_users as f64 * options.shortest) as u64).max(1),
            chunk_weights: Vec::new(),
        };
        let sums: Vec<u64> = (0..world.n_chunks())
            .into_par_iter()
            .map(|chunk| world.users_of(chunk).map(|user| world.weight(user)).sum())
            .collect();
        let mut total = 0;
        world.chunk_weights.push(0);
        for sum in sums {
            total += sum;
            world.chunk_weights.push(total);
        }
        Ok(world)
    }

    /// Number of users, each with at least one row.
    #[must_use]
    pub fn n_users(&self) -> u64 {
        self.n_users
    }

    /// Number of items; some may not occur.
    #[must_use]
    pub fn n_items(&self) -> u64 {
        self.n_items
    }

    /// Number of chunks in the log.
    #[must_use]
    pub fn n_chunks(&self) -> u64 {
        self.n_users.div_ceil(CHUNK_USERS)
    }

    /// The rows of a chunk; empty beyond the last one.
    #[must_use]
    pub fn chunk(&self, chunk: u64) -> Chunk {
        let mut rows = Chunk::default();
        let mut seen = SeenItems::default();
        let Some(&(mut weight)) = self.chunk_weights.get(chunk as usize) else { return rows };
        for user in self.users_of(chunk) {
            let before = self.rows_before(user, weight);
            weight += self.weight(user);
            let n = self.rows_before(user + 1, weight) - before;
            Life::new(self, user, n).live(&mut rows, &mut seen);
        }
        rows
    }

    fn users_of(&self, chunk: u64) -> Range<u64> {
        (chunk * CHUNK_USERS).min(self.n_users)..((chunk + 1) * CHUNK_USERS).min(self.n_users)
    }

    /// Activity of a user.
    fn weight(&self, user: u64) -> u64 {
        let mut rng = Rng::keyed(self.options.seed, [STREAM_WEIGHT, user]);
        // At most three deviations: nobody has half of the log.
        let deviations = f64::from(rng.normal()).min(3.0);
        (1000.0 * exp(self.options.activity * deviations)) as u64 + 1
    }

    /// Number of rows of all users before this one, whose weights add up to `weight`. Integers, so that the
    /// total is exact.
    fn rows_before(&self, user: u64, weight: u64) -> u64 {
        let total = self.chunk_weights.last().copied().unwrap_or(1).max(1);
        let rest = self.options.interactions - self.least * self.n_users;
        self.least * user + (u128::from(rest) * u128::from(weight) / u128::from(total)) as u64
    }

    fn topic_of(&self, item: u64) -> u64 {
        item % self.n_topics
    }

    /// An item of a topic, by popularity.
    fn of_topic(&self, topic: u64, rng: &mut Rng) -> u64 {
        self.topics[topic as usize].draw(rng) * self.n_topics + topic
    }

    /// One of the few successors of an item, of the same topic; the first is the likeliest.
    fn successor(&self, item: u64, rng: &mut Rng) -> u64 {
        let which = rng.below(SUCCESSORS).min(rng.below(SUCCESSORS));
        let key = [STREAM_SUCCESSOR, item, u64::from(which)];
        self.of_topic(self.topic_of(item), &mut Rng::keyed(self.options.seed, key))
    }

    /// How well an item fits a user: about standard normal.
    fn fit(&self, user: &[f64; DIM], item: u64) -> f64 {
        let style = self.n_topics + item / self.n_topics % STYLES;
        let vectors = [self.topic_of(item), style].map(|at| &self.vectors[at as usize]);
        let products = (0..DIM).map(|d| user[d] * (vectors[0][d] + vectors[1][d]));
        products.fold(0.0, |sum, x| sum + x) / 4.0 // the square root of 2 DIM
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
