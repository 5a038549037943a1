//! Times of training embedding tables on Gowalla (29,858 users, 40,981 items, 810,128 interactions):
//! `cargo bench --bench embedding -- [sampling] [sgd] [adam] [quality]`, all but `quality` by default.
//!
//! The data is `gowalla/train.tsv` and `test.tsv` under `RANKSTILL_DATA` or `../shared/data`.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rankstill_core::kernel::bpr::BprSgd;
use rankstill_core::kernel::math::sigmoid_slice;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer, Sgd};
use rankstill_core::kernel::pairs::pair_dots;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::sample::Positives;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::{Table, Terms};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|a| a == "--bench") {
        println!("timings run under `cargo bench` only");
        return;
    }
    let Some(gowalla) = Gowalla::read() else {
        println!("skipped: no gowalla/train.tsv under RANKSTILL_DATA or ../shared/data");
        return;
    };
    let named: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| named.contains(&part) || (named.is_empty() && part != "quality");
    println!("instruction set {}", rankstill_core::kernel::simd::isa().name());
    if wanted("sampling") {
        sampling(&gowalla);
    }
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool of one or two threads").install(|| {
            if wanted("sgd") {
                sgd(&gowalla, threads);
            }
            if wanted("adam") {
                for batch in [1024, 2048] {
                    for mode in [AdamMode::Sparse, AdamMode::Exact, AdamMode::Dense] {
                        adam(&gowalla, threads, batch, mode);
                    }
                }
            }
        });
    }
    if wanted("quality") {
        quality(&gowalla);
    }
}

const DIM: usize = 64;

struct Gowalla {
    train: Vec<Vec<u32>>,
    test: Vec<Vec<u32>>,
    positives: Positives,
    n_items: u32,
}

impl Gowalla {
    fn read() -> Option<Self> {
        let root = std::env::var_os("RANKSTILL_DATA").map(PathBuf::from);
        let root = root.unwrap_or_else(|| {
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data")
        });
        let lists = |name: &str| -> Option<Vec<Vec<u32>>> {
            let text = std::fs::read_to_string(root.join("gowalla").join(name)).ok()?;
            let mut lists: Vec<Vec<u32>> = Vec::new();
            for line in text.lines().skip(1) {
                let (user, item) = line.split_once('\t')?;
                let user: usize = user.parse().ok()?;
                lists.resize_with(lists.len().max(user + 1), Vec::new);
                lists[user].push(item.parse().ok()?);
            }
            Some(lists)
        };
        let (train, mut test) = (lists("train.tsv")?, lists("test.tsv")?);
        test.resize_with(train.len(), Vec::new);
        let n_items = train.iter().chain(&test).flatten().max()? + 1;
        let positives = Positives::new(train.iter().map(Vec::as_slice), n_items);
        Some(Self { train, test, positives, n_items })
    }

    fn tables(&self, optimizer: Optimizer) -> (Table, Table) {
        let mut users = Table::new(self.train.len(), DIM, optimizer.clone());
        let mut items = Table::new(self.n_items as usize, DIM, optimizer);
        users.init(|row, p| Rng::keyed(1, [0, row as u64]).fill_normal(p, 0.0, 0.1));
        items.init(|row, p| Rng::keyed(1, [1, row as u64]).fill_normal(p, 0.0, 0.1));
        (users, items)
    }

    fn pairs(&self) -> Vec<(u32, u32)> {
        let users = self.train.iter().enumerate();
        users.flat_map(|(u, items)| items.iter().map(move |&i| (u as u32, i))).collect()
    }
}

/// The fastest and the median of the times.
fn summary(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    (times[0].as_secs_f64(), times[times.len() / 2].as_secs_f64())
}

fn sampling(gowalla: &Gowalla) {
    let mut rng = Rng::new(1);
    let users: Vec<u32> = (0..1 << 16).map(|_| rng.below(gowalla.train.len() as u32)).collect();
    let mut out = vec![0; users.len()];
    let time = |work: &mut dyn FnMut()| {
        let one = |work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        summary((0..21).map(|_| one(work)).collect()).1 * 1e9 / users.len() as f64
    };
    let batched = time(&mut || {
        black_box(gowalla.positives.negatives(1, 1, 0, &users, 1, &mut out));
    });
    let single = time(&mut || {
        for &user in &users {
            black_box(gowalla.positives.negative(user, &mut rng));
        }
    });
    let mut slots = Slots::new(gowalla.n_items as usize);
    let assign = time(&mut || users.chunks(2048).for_each(|ids| slots.assign(ids)));
    println!(
        "negative, keyed and batched {batched:5.1} ns; one by one from one stream {single:5.1} ns; slot {assign:5.1} ns"
    );
}

fn sgd(gowalla: &Gowalla, threads: usize) {
    let optimizer = Optimizer::Sgd(Sgd { learning_rate: 0.05, weight_decay: 0.01 });
    let (mut users, mut items) = gowalla.tables(optimizer);
    let mut bpr = BprSgd::new(7, false);
    let mut times = Vec::new();
    for epoch in 0..21 {
        let start = Instant::now();
        let done = bpr.epoch(&mut users, &mut items, &gowalla.positives, epoch);
        if epoch > 0 {
            times.push(start.elapsed());
        }
        black_box(done);
    }
    let (best, median) = summary(times);
    let rate = gowalla.positives.len() as f64 / median / 1e6;
    println!(
        "BPR-MF SGD d{DIM}, {threads} threads: {median:.4} s an epoch, best {best:.4}; {rate:.1} M samples/s"
    );
}

/// One training step of BPR-MF by Adam from the pieces that learners use.
fn adam(gowalla: &Gowalla, threads: usize, batch: usize, mode: AdamMode) {
    let settings = Adam { mode, weight_decay: 1e-5, ..Adam::default() };
    let (mut users, mut items) = gowalla.tables(Optimizer::Adam(settings));
    let (mut user_slots, mut item_slots) = (Slots::new(users.n_rows()), Slots::new(items.n_rows()));
    let pairs = gowalla.pairs();
    let mut work = Scratch::default();
    let mut times = Vec::new();
    let warm = if mode == AdamMode::Dense { 20 } else { 300 };
    for step in 0..warm + if mode == AdamMode::Dense { 60 } else { 400 } {
        let start = Instant::now();
        let mut rng = Rng::keyed(1, [step]);
        work.users.clear();
        work.items.clear();
        for _ in 0..batch {
            let (user, item) = pairs[rng.below(pairs.len() as u32) as usize];
            work.users.push(user);
            work.items.push(item);
        }
        work.items.resize(2 * batch, 0);
        let negatives = &mut work.items[batch..];
        gowalla.positives.negatives(2, 0, step * batch as u64, &work.users, 1, negatives);
        rayon::join(|| user_slots.assign(&work.users), || item_slots.assign(&work.items));
        let prepared = start.elapsed();

        let stride = users.stride();
        work.user_rows.resize(user_slots.len() * stride, 0.0);
        work.item_rows.resize(item_slots.len() * stride, 0.0);
        users.fetch(&user_slots, &mut work.user_rows);
        items.fetch(&item_slots, &mut work.item_rows);
        let fetched = start.elapsed();

        let (positives, negatives) = item_slots.slot_of().split_at(batch);
        work.scores.resize(2 * batch, 0.0);
        work.user_of_item.clear();
        work.user_of_item.extend_from_slice(user_slots.slot_of());
        work.user_of_item.extend_from_slice(user_slots.slot_of());
        pair_dots(
            &work.user_rows,
            &work.user_of_item,
            (&work.item_rows, stride),
            item_slots.slot_of(),
            stride,
            &mut work.scores,
        );
        work.push.clear();
        let (high, low) = work.scores.split_at(batch);
        work.push.extend(high.iter().zip(low).map(|(high, low)| low - high));
        sigmoid_slice(&mut work.push);
        work.user_coef.clear();
        work.user_source.clear();
        work.item_coef.clear();
        work.item_coef.extend(work.push.iter().map(|c| -c));
        work.item_coef.extend_from_slice(&work.push);
        for (k, &push) in work.push.iter().enumerate() {
            work.user_coef.extend([-push, push]);
            work.user_source.extend([positives[k], negatives[k]]);
        }
        let scored = start.elapsed();

        let scale = 1.0 / batch as f32;
        let (coef, source) = (&work.user_coef[..], &work.user_source[..]);
        users.apply(
            &user_slots,
            &Terms { coef, source, vectors: &work.item_rows, stride, scale, decay: 0.0 },
        );
        let (coef, source) = (&work.item_coef[..], &work.user_of_item[..]);
        items.apply(
            &item_slots,
            &Terms { coef, source, vectors: &work.user_rows, stride, scale, decay: 0.0 },
        );
        let applied = start.elapsed();
        users.advance();
        items.advance();
        let done = start.elapsed();
        if step >= warm {
            let parts = [prepared, fetched, scored, applied, done];
            times.push(parts);
        }
    }
    times.sort_unstable_by_key(|parts| parts[4]);
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let median = times[times.len() / 2];
    let parts: Vec<String> = (0..5)
        .map(|p| {
            let mut part: Vec<f64> =
                times.iter().map(|t| ms(t[p]) - if p > 0 { ms(t[p - 1]) } else { 0.0 }).collect();
            part.sort_unstable_by(f64::total_cmp);
            format!("{:.3}", part[part.len() / 2])
        })
        .collect();
    println!(
        "BPR-MF Adam d{DIM} {mode:?} batch {batch}, {threads} threads: {:.3} ms a step, best {:.3} (sample, fetch, score, apply, advance: {})",
        ms(median[4]),
        ms(times[0][4]),
        parts.join(" ")
    );
}

#[derive(Default)]
struct Scratch {
    users: Vec<u32>,
    items: Vec<u32>,
    user_rows: Vec<f32>,
    item_rows: Vec<f32>,
    user_of_item: Vec<u32>,
    scores: Vec<f32>,
    push: Vec<f32>,
    user_coef: Vec<f32>,
    user_source: Vec<u32>,
    item_coef: Vec<f32>,
}

/// Recall@20 after 20 epochs: shards and blocks against one plain sequential loop with negatives from everywhere.
fn quality(gowalla: &Gowalla) {
    let settings = Sgd { learning_rate: 0.05, weight_decay: 0.01 };
    for seed in [1, 2, 3] {
        let (mut users, mut items) = gowalla.tables(Optimizer::Sgd(settings.clone()));
        let mut bpr = BprSgd::new(seed, false);
        (0..20).for_each(|epoch| {
            bpr.epoch(&mut users, &mut items, &gowalla.positives, epoch);
        });
        let sharded = recall(gowalla, &users, &items);

        let (mut users, mut items) = gowalla.tables(Optimizer::Sgd(settings.clone()));
        let mut pairs = gowalla.pairs();
        for epoch in 0..20 {
            let mut rng = Rng::keyed(seed, [epoch]);
            rng.shuffle(&mut pairs);
            for &(user, positive) in &pairs {
                let Some(negative) = gowalla.positives.negative(user, &mut rng) else { continue };
                plain_step(
                    &settings,
                    users.row_mut(user as usize),
                    &mut items,
                    positive as usize,
                    negative as usize,
                );
            }
        }
        let plain = recall(gowalla, &users, &items);
        println!(
            "seed {seed}: recall@20 after 20 epochs: sharded {sharded:.4}, sequential {plain:.4}"
        );
    }
}

fn plain_step(sgd: &Sgd, user: &mut [f32], items: &mut Table, positive: usize, negative: usize) {
    let (rate, decay) = (sgd.learning_rate as f32, sgd.weight_decay as f32);
    let (mut i, mut j) = ([0.0; DIM], [0.0; DIM]);
    i.copy_from_slice(items.row(positive));
    j.copy_from_slice(items.row(negative));
    let mut margin = 0.0;
    for d in 0..DIM {
        margin += user[d] * (i[d] - j[d]);
    }
    let push = 1.0 / (1.0 + margin.exp());
    for d in 0..DIM {
        let u = user[d];
        user[d] += rate * (push * (i[d] - j[d]) - decay * u);
        i[d] += rate * (push * u - decay * i[d]);
        j[d] += rate * (-push * u - decay * j[d]);
    }
    items.row_mut(positive).copy_from_slice(&i);
    items.row_mut(negative).copy_from_slice(&j);
}

fn recall(gowalla: &Gowalla, users: &Table, items: &Table) -> f64 {
    let (mut sum, mut n) = (0.0, 0);
    let mut scores: Vec<(f32, u32)> = Vec::new();
    for user in (0..gowalla.train.len()).step_by(10).filter(|&u| !gowalla.test[u].is_empty()) {
        scores.clear();
        for item in (0..gowalla.n_items).filter(|&i| !gowalla.positives.contains(user as u32, i)) {
            let lanes = users.row(user).chunks(16).zip(items.row(item as usize).chunks(16));
            let mut partial = [0.0f32; 16];
            lanes.for_each(|(a, b)| (0..16).for_each(|l| partial[l] += a[l] * b[l]));
            scores.push((partial.iter().sum(), item));
        }
        scores.select_nth_unstable_by(19, |a, b| b.0.total_cmp(&a.0));
        let hits = scores[..20].iter().filter(|s| gowalla.test[user].contains(&s.1)).count();
        sum += hits as f64 / gowalla.test[user].len() as f64;
        n += 1;
    }
    sum / f64::from(n)
}
