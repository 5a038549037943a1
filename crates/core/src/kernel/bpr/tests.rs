#![allow(clippy::unwrap_used)]
use super::super::simd::{Isa, with_isa};
use super::*;

fn table(n_rows: usize, dim: usize, sgd: &Sgd, seed: u64) -> Table {
    let mut table = Table::new(n_rows, dim, Optimizer::Sgd(sgd.clone()));
    table.init(|row, p| Rng::keyed(seed, [row as u64]).fill_normal(p, 0.0, 0.1));
    table
}

/// Users and items of two tastes: a user has seen about half of the items of the own taste and one in fifty others.
fn two_tastes(n_users: u64, n_items: u32) -> Positives {
    let histories: Vec<Vec<u32>> = (0..n_users)
        .map(|user| {
            let mut rng = Rng::keyed(4, [user]);
            let chance = |item: u32| if u64::from(item) % 2 == user % 2 { 0.5 } else { 0.02 };
            (0..n_items).filter(|&item| rng.chance(chance(item))).collect()
        })
        .collect();
    Positives::new(histories.iter().map(Vec::as_slice), n_items)
}

/// The same samples in the order of the sub-rounds, in scalar `f64` arithmetic by the formulas of the paper.
fn naive_epoch(
    bpr: &mut BprSgd,
    users: &mut [Vec<f64>],
    items: &mut [Vec<f64>],
    (user_sgd, item_sgd): (&Sgd, &Sgd),
    positives: &Positives,
    epoch: u64,
) -> f64 {
    bpr.plan.draw(bpr.seed, epoch, positives);
    let n = bpr.plan.n_shards;
    let mut loss = 0.0;
    for (round, shard) in (0..n).flat_map(|round| (0..n).map(move |shard| (round, shard))) {
        let block = (shard + round) % n;
        let mut rng = Rng::keyed(bpr.seed, [epoch, NEGATIVES, (shard * n + block) as u64]);
        let mut samples = [Sample::default(); BLOCK];
        for pairs in bpr.plan.pairs(shard, block).chunks(BLOCK) {
            let members = bpr.plan.members(block);
            let n = draw_negatives(positives, pairs, members, &mut rng, &mut samples);
            for sample in &samples[..n] {
                let u = users[sample.user as usize].clone();
                let i = items[sample.positive as usize].clone();
                let j = items[sample.negative as usize].clone();
                let dim = u.len();
                let margin = (0..dim).fold(0.0, |sum, d| sum + u[d] * (i[d] - j[d]));
                let push = 1.0 / (1.0 + margin.exp());
                loss += (-margin).exp().ln_1p();
                for d in 0..dim {
                    let (rate, decay) = (user_sgd.learning_rate, user_sgd.weight_decay);
                    if !(bpr.item_bias && d + 1 == dim) {
                        users[sample.user as usize][d] +=
                            rate * (push * (i[d] - j[d]) - decay * u[d]);
                    }
                    let (rate, decay) = (item_sgd.learning_rate, item_sgd.weight_decay);
                    items[sample.positive as usize][d] += rate * (push * u[d] - decay * i[d]);
                    items[sample.negative as usize][d] += rate * (-push * u[d] - decay * j[d]);
                }
            }
        }
    }
    loss
}

#[test]
fn takes_the_steps_of_the_paper() {
    let positives = two_tastes(70, 300);
    let user_sgd = Sgd { learning_rate: 0.05, weight_decay: 0.01 };
    let item_sgd = Sgd { learning_rate: 0.04, weight_decay: 0.02 };
    for (dim, item_bias) in
        [(6, false), (20, true), (64, false), (65, true), (128, false), (150, true)]
    {
        let (mut users, mut items) = (table(70, dim, &user_sgd, 1), table(300, dim, &item_sgd, 2));
        if item_bias {
            (0..70).for_each(|user| users.row_mut(user)[dim - 1] = 1.0);
        }
        let wide = |table: &Table| -> Vec<Vec<f64>> {
            (0..table.n_rows())
                .map(|r| table.row(r).iter().map(|&x| f64::from(x)).collect())
                .collect()
        };
        let (mut naive_users, mut naive_items) = (wide(&users), wide(&items));
        let mut bpr = BprSgd::new(3, item_bias);
        for epoch in 0..2 {
            let rates = (&user_sgd, &item_sgd);
            let loss =
                naive_epoch(&mut bpr, &mut naive_users, &mut naive_items, rates, &positives, epoch);
            let done = bpr.epoch(&mut users, &mut items, &positives, epoch);
            assert_eq!(done.samples + done.skipped, positives.len() as u64);
            assert!((done.loss - loss).abs() < 1e-4 * loss, "{} {loss}", done.loss);
        }
        assert!(bpr.plan.n_shards > 1);
        for (table, naive) in [(&users, &naive_users), (&items, &naive_items)] {
            for (row, naive) in naive.iter().enumerate() {
                let apart =
                    table.row(row).iter().zip(naive).map(|(&a, b)| (f64::from(a) - b).abs());
                assert!(apart.fold(0.0, f64::max) < 1e-4, "dim {dim}, row {row}");
            }
        }
        if item_bias {
            assert!((0..70).all(|user| users.row(user)[dim - 1] == 1.0));
            let start = table(300, dim, &item_sgd, 2);
            assert!((0..300).all(|item| items.row(item)[dim - 1] != start.row(item)[dim - 1]));
        }
    }
}

#[test]
fn any_number_of_threads_and_any_instruction_set_with_fma_give_the_same_bits() {
    let positives = two_tastes(300, 1100);
    let sgd = Sgd { learning_rate: 0.05, weight_decay: 0.01 };
    for dim in [20, 64, 100] {
        let mut first = None;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_fused()) {
            for threads in [1, 2, 3] {
                let trained = with_isa(isa, threads, || {
                    let (mut users, mut items) =
                        (table(300, dim, &sgd, 1), table(1100, dim, &sgd, 2));
                    let mut bpr = BprSgd::new(3, true);
                    let done = [0, 1].map(|e| bpr.epoch(&mut users, &mut items, &positives, e));
                    (users.export(), items.export(), done)
                });
                let Some(trained) = trained else { continue };
                assert!(
                    first.get_or_insert_with(|| trained.clone()) == &trained,
                    "{isa:?} {threads}"
                );
            }
        }
    }
}

#[test]
fn every_pair_is_visited_once_an_epoch_in_an_order_of_its_own() {
    let positives = two_tastes(300, 1100);
    let mut plan = Plan::default();
    let mut orders = Vec::new();
    for epoch in 0..2 {
        plan.draw(9, epoch, &positives);
        assert_eq!(plan.n_shards, 16);
        let mut shard_of = vec![None; 300];
        for shard in 0..16 {
            for block in 0..16 {
                for &(user, item) in plan.pairs(shard, block) {
                    assert_eq!(*shard_of[user as usize].get_or_insert(shard), shard);
                    assert!(plan.members(block).contains(&item));
                }
            }
        }
        orders.push(plan.pairs.clone());
        let mut pairs = plan.pairs.clone();
        pairs.sort_unstable();
        let all =
            (0..300).flat_map(|user| positives.of(user).iter().map(move |&item| (user, item)));
        assert!(pairs.iter().copied().eq(all));
        let mut members: Vec<u32> =
            (0..16).flat_map(|block| plan.members(block).to_vec()).collect();
        members.sort_unstable();
        assert!(members.into_iter().eq(0..1100));
    }
    assert_ne!(orders[0], orders[1]);
}

#[test]
fn learns_to_rank_unseen_items_of_the_own_taste_first() {
    let positives = two_tastes(100, 200);
    let sgd = Sgd { learning_rate: 0.05, weight_decay: 0.002 };
    let (mut users, mut items) = (table(100, 8, &sgd, 1), table(200, 8, &sgd, 2));
    let mut bpr = BprSgd::new(3, false);
    let done: Vec<BprEpoch> =
        (0..20).map(|e| bpr.epoch(&mut users, &mut items, &positives, e)).collect();
    assert!(done[19].loss < 0.5 * done[0].loss);
    assert!(done[19].correct * 10 > done[19].samples * 8);
    let (mut right, mut all) = (0, 0);
    for user in 0..100 {
        let score = |item: u32| -> f32 {
            users.row(user).iter().zip(items.row(item as usize)).map(|(a, b)| a * b).sum()
        };
        let unseen: Vec<u32> = (0..200).filter(|&i| !positives.contains(user as u32, i)).collect();
        for &own in unseen.iter().filter(|&&i| i as usize % 2 == user % 2) {
            for &other in unseen.iter().filter(|&&i| i as usize % 2 != user % 2) {
                right += u32::from(score(own) > score(other));
                all += 1;
            }
        }
    }
    assert!(f64::from(right) > 0.95 * f64::from(all), "{right} of {all}");
}

#[test]
fn users_who_have_seen_everything_or_nothing_are_passed_over() {
    let all: Vec<u32> = (0..10).collect();
    let positives = Positives::new([&all[..], &[], &all[..9]], 10);
    let sgd = Sgd::default();
    let (mut users, mut items) = (table(3, 4, &sgd, 1), table(10, 4, &sgd, 2));
    let before = users.row(0).to_vec();
    let done = BprSgd::new(1, false).epoch(&mut users, &mut items, &positives, 0);
    assert_eq!((done.samples, done.skipped), (9, 10));
    assert_eq!(users.row(0), before);
    let no_users = Positives::new([], 0);
    let (mut users, mut items) = (table(0, 4, &sgd, 1), table(0, 4, &sgd, 2));
    assert_eq!(
        BprSgd::new(1, true).epoch(&mut users, &mut items, &no_users, 0),
        BprEpoch::default()
    );
}
