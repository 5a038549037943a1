#![allow(clippy::unwrap_used)]

use super::*;
use crate::kernel::rng::Rng;
use crate::{Interactions, Query, Scorer};

const N: usize = 60;

/// Softmax of the target among everything but the rest of the history. Every third row asks for nothing.
struct Softmax;

impl Objective for Softmax {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let target = |at: usize| batch.targets(at)[0];
        let others = |at: usize| batch.case(at).query.history.iter().copied();
        let left_out = |at: usize| others(at).filter(move |&item| item != target(at));
        Slate::WithComplement {
            listed: (0..batch.len()).map(|at| [target(at)]).collect(),
            left_out: (0..batch.len()).map(left_out).collect(),
            asking: (0..batch.len() as u32).filter(|at| at % 3 != 2).collect(),
            probes: Lists::default(),
            blended: None,
        }
    }

    fn loss(&self, _row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let (own, rest) = (f64::from(scores.listed[0]), f64::from(scores.log_complement));
        let log = own.max(rest) + ((own - own.max(rest)).exp() + (rest - own.max(rest)).exp()).ln();
        grad.listed[0] = ((own - log).exp() - 1.0) as f32;
        *grad.log_complement = (rest - log).exp() as f32;
        (log - own) as f32
    }
}

/// Scores that are a function of the user and this number.
struct Drawn(u64);

impl Drawn {
    fn of(&self, user: u32) -> Vec<f32> {
        let mut scores = vec![0.0; N];
        Rng::keyed(self.0, [u64::from(user)]).fill_normal(&mut scores, 0.0, 1.5);
        scores
    }
}

impl Scorer for Drawn {
    fn n_items(&self) -> usize {
        N
    }
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, out) in queries.iter().zip(out.chunks_mut(N)) {
            out.copy_from_slice(&self.of(query.user.unwrap()));
        }
    }
}

impl Model for Drawn {
    fn tensors(&self) -> Tensors {
        Tensors::default()
    }
    fn n_parameters(&self) -> usize {
        0
    }
}

fn cases() -> Cases {
    let line = |u: u64| Rng::keyed(1, [u]).permutation(N as u32)[..3 + u as usize % 5].to_vec();
    Cases::each_interaction(&Interactions::new(N, (0..8).map(line).collect(), None, None).unwrap())
}

fn estimated(top: usize, sample: usize, cases: &Cases) -> Box<dyn Objective> {
    let settings = Estimate { top, sample, refresh_every: 2 };
    let rest = Some(Rest::Estimated(settings));
    let mut objective = Rest::around(rest, Box::new(Softmax), N, cases.n_queries());
    objective.refresh(0, &Drawn(3), cases).unwrap();
    objective
}

/// The loss of a row, and the slope of every item's score.
fn ask(objective: &dyn Objective, slate: &Slate, batch: &Batch<'_>, at: usize) -> (f32, Vec<f64>) {
    let row = Row { batch, slate, at };
    let all = Drawn(3).of(batch.user(at).unwrap());
    let listed: Vec<f32> = row.items().iter().map(|&item| all[item as usize]).collect();
    let rest: Vec<usize> = match slate.left_out(at) {
        Some(left_out) => {
            let counts = |item: &u32| !row.items().contains(item) && !left_out.contains(item);
            (0..N as u32).filter(counts).map(|item| item as usize).collect()
        }
        None => slate.drawn_for(at).map(|item| item as usize).collect(),
    };
    let mass: f64 = rest.iter().map(|&item| f64::from(all[item]).exp()).sum();
    let (mut grad, mut slope) = (vec![0.0; listed.len()], 0.0);
    let scores = Scores { listed: &listed, probes: &[], log_complement: mass.ln() as f32 };
    let loss = objective.loss(row, scores, Grad { listed: &mut grad, log_complement: &mut slope });
    let mut slopes = vec![0.0; N];
    row.items().iter().zip(grad).for_each(|(&i, g)| slopes[i as usize] += f64::from(g));
    rest.iter().for_each(|&i| slopes[i] += f64::from(slope) * f64::from(all[i]).exp() / mass);
    (loss, slopes)
}

#[test]
fn two_items_and_three_that_stand_for_nine_by_hand() {
    // 2 + 4 + 9 / 3 (1 + 1 + 2) = 18.
    let mut shares = [0.0; 2];
    let mass = Mass::of(&[2f32.ln(), 4f32.ln()], 4f32.ln() + 3f32.ln(), &mut shares);
    assert!((mass.log - 18f32.ln()).abs() < 1e-6, "{}", mass.log);
    let others = mass.give_back(0.5, &mut shares);
    for (slope, by_hand) in [shares[0], shares[1], others].iter().zip([2.0, 4.0, 12.0]) {
        assert!((slope - by_hand / 36.0).abs() < 1e-6, "{shares:?} {others}");
    }
    let nothing = Mass::of(&[], f32::NEG_INFINITY, &mut []);
    assert_eq!((nothing.log, nothing.give_back(0.0, &mut [])), (f32::NEG_INFINITY, 0.0));
    let mut shares = [0.0; 3];
    assert!((shares_of(&[0.0, 0.0, 2f32.ln()], &mut shares) - 4f32.ln()).abs() < 1e-6);
    shares.iter().zip([0.25, 0.25, 0.5]).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
}

#[test]
fn a_part_that_is_everything_gives_the_exact_loss() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).collect();
    let batch = Batch::new(&cases, &rows, 1, 7);
    let exact = Softmax.slate(&batch);
    for (top, sample) in [(0, N), (20, N), (N, 1)] {
        let objective = estimated(top, sample, &cases);
        let slate = objective.slate(&batch);
        for at in 0..rows.len() {
            let (loss, slopes) = ask(&*objective, &slate, &batch, at);
            let (expected, of_all) = ask(&Softmax, &exact, &batch, at);
            assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");
            let spelled_out = ask(&*objective, &slate.spelled_out(), &batch, at);
            assert!((loss - spelled_out.0).abs() < 1e-5, "{loss} {spelled_out:?}");
            for ((ours, theirs), spelled) in slopes.iter().zip(&of_all).zip(&spelled_out.1) {
                assert!((ours - theirs).abs() < 1e-5, "{at}: {ours} {theirs}");
                assert!((ours - spelled).abs() < 1e-5, "{at}: {ours} {spelled}");
            }
        }
    }
}

#[test]
fn the_students_best_items_come_first_and_the_sample_is_of_the_others() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).collect();
    let objective = estimated(7, 19, &cases);
    let batch = Batch::new(&cases, &rows, 1, 7);
    let slate = objective.slate(&batch);
    let division = slate.estimated().unwrap();
    assert_eq!((slate.drawn().len(), division.asking().len()), (19, rows.len() - rows.len() / 3));
    assert!(rows.len() <= SHARING && slate.drawn().is_sorted_by(|a, b| a < b));
    for at in 0..rows.len() {
        let drawn: Vec<u32> = slate.drawn_for(at).collect();
        let row = slate.listed().unwrap().row(at);
        if at % 3 == 2 {
            assert_eq!((row, drawn.len()), (batch.targets(at), 0), "nothing is asked for");
            continue;
        }
        let case = batch.case(at);
        let scores = Drawn(3).of(batch.user(at).unwrap());
        let mut best: Vec<u32> =
            (0..N as u32).filter(|item| !case.query.history.contains(item)).collect();
        best.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        assert_eq!((row[0], &row[1..]), (case.targets[0], &best[..7]));
        let free = |item: &&u32| !row.contains(item) && !case.query.history.contains(item);
        let expected: Vec<u32> = slate.drawn().iter().filter(free).copied().collect();
        assert_eq!((&drawn, division.top[at]), (&expected, 7));
        let others = (N - case.query.history.len() - 7) as f32;
        let each = others / drawn.len() as f32;
        assert!((division.stands_for[at] - each.ln()).abs() < 1e-6);
    }
}

#[test]
fn the_mean_of_many_estimates_is_the_mass() {
    let cases = cases();
    let rows = [0u32, 4];
    for (top, sample) in [(0, 15), (6, 15), (6, 30)] {
        let objective = estimated(top, sample, &cases);
        let (mut sums, n) = ([0.0; 2], 20_000);
        let mut squares = [0.0; 2];
        for epoch in 0..n {
            let batch = Batch::new(&cases, &rows, epoch, 7);
            let slate = objective.slate(&batch);
            let division = slate.estimated().unwrap();
            for at in 0..2 {
                let scores = Drawn(3).of(batch.user(at).unwrap());
                let of = |items: &[u32]| -> Vec<f32> {
                    items.iter().map(|&item| scores[item as usize]).collect()
                };
                let top = of(&slate.listed().unwrap().row(at)[1..]);
                let drawn = of(&slate.drawn_for(at).collect::<Vec<_>>());
                let drawn = shares_of(&drawn, &mut vec![0.0; drawn.len()]);
                let mass =
                    Mass::of(&top, drawn + division.stands_for[at], &mut vec![0.0; top.len()]);
                sums[at] += f64::from(mass.log).exp();
                squares[at] += f64::from(mass.log).exp().powi(2);
            }
        }
        for at in 0..2 {
            let batch = Batch::new(&cases, &rows, 0, 7);
            let (scores, seen) =
                (Drawn(3).of(batch.user(at).unwrap()), batch.case(at).query.history);
            let unseen = (0..N as u32).filter(|item| !seen.contains(item));
            let exact: f64 = unseen.map(|item| f64::from(scores[item as usize]).exp()).sum();
            let mean = sums[at] / n as f64;
            let deviation = ((squares[at] / n as f64 - mean * mean) / n as f64).sqrt();
            assert!((mean - exact).abs() < 4.5 * deviation, "{top} {sample}: {mean} {exact}");
        }
    }
}

#[test]
fn draws_depend_on_the_cases_and_a_restored_objective_goes_on() {
    let cases = cases();
    let rows: Vec<u32> = (0..200).map(|i| i * 7 % cases.len() as u32).collect();
    let fresh = || estimated(5, 4, &cases);
    let drawn = |objective: &dyn Objective, epoch: usize, rows: &[u32]| {
        let slate = objective.slate(&Batch::new(&cases, rows, epoch, 7));
        (slate.listed().unwrap().clone(), slate.drawn().to_vec())
    };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| drawn(&*fresh(), 1, &rows))
    };
    let whole = on(1);
    assert!(on(2) == whole && on(3) == whole);
    assert_ne!(drawn(&*fresh(), 2, &rows), whole);
    // Row 64 of the first batch is row 0 of the second: both begin a draw.
    let later = drawn(&*fresh(), 1, &rows[64..]);
    assert_eq!(later.0.row(0), whole.0.row(64));
    assert_eq!(later.1[..4], whole.1[4..8]);
    let mut objective = fresh();
    objective.refresh(2, &Drawn(8), &cases).unwrap();
    let mut again = Rest::around(
        Some(Rest::Estimated(Estimate { top: 5, sample: 4, refresh_every: 2 })),
        Box::new(Softmax),
        N,
        cases.n_queries(),
    );
    again.restore(&objective.state()).unwrap();
    for epoch in 3..6 {
        objective.refresh(epoch, &Drawn(9), &cases).unwrap();
        again.refresh(epoch, &Drawn(9), &cases).unwrap();
        assert_eq!(drawn(&*objective, epoch, &rows), drawn(&*again, epoch, &rows));
        assert!(objective.state() == again.state());
    }
    let mut short = fresh();
    short.refresh(0, &Drawn(1), &cases).unwrap();
    let mut other = Rest::around(
        Some(Rest::Estimated(Estimate::default())),
        Box::new(Softmax),
        N,
        cases.n_queries() + 1,
    );
    assert!(other.restore(&short.state()).is_err(), "lists for other queries");
}

#[test]
fn small_catalogues_stay_exact_and_large_ones_are_said_to_be_estimated() {
    let note = |rest, n_items| Rest::around(rest, Box::new(Softmax), n_items, 8).note();
    assert_eq!(note(None, MANY_ITEMS - 1), None);
    assert_eq!(note(Some(Rest::Exact), MANY_ITEMS), None);
    let said = note(None, MANY_ITEMS).unwrap();
    assert!(said.contains("first 300 and from 2000 random ones of 50000"), "{said}");
    assert!(note(Some(Rest::Estimated(Estimate::default())), 10).is_some());
    let error = Rest::Estimated(Estimate { sample: 0, ..Estimate::default() }).check();
    assert!(
        error.unwrap_err().to_string().starts_with("rest.estimated.sample: must be at least 1")
    );
}
