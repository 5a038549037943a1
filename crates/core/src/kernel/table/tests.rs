#![allow(clippy::unwrap_used)]
use super::super::optimizer::naive::NaiveAdam;
use super::super::optimizer::{Adam, Sgd};
use super::super::rng::Rng;
use super::super::simd::{Isa, isa, with_isa};
use super::*;

const ROWS: usize = 150;
const BATCH: usize = 300;

/// A batch in which few rows are common, most are rare and some never occur, with two terms an occurrence,
/// some of them 0.
struct Batch {
    ids: Vec<u32>,
    coef: Vec<f32>,
    source: Vec<u32>,
    vectors: Vec<f32>,
    stride: usize,
}

impl Batch {
    fn new(dim: usize, step: u64) -> Self {
        let mut rng = Rng::keyed(3, [step]);
        let skewed = |rng: &mut Rng| (rng.uniform().powi(4) * (ROWS - 10) as f32) as u32;
        let ids = (0..BATCH).map(|_| skewed(&mut rng)).collect();
        let coef = |rng: &mut Rng| if rng.chance(0.3) { 0.0 } else { rng.normal() };
        let coef = (0..2 * BATCH).map(|_| coef(&mut rng)).collect();
        let source = (0..2 * BATCH).map(|_| rng.below(40)).collect();
        let stride = dim.next_multiple_of(LANES);
        let mut vectors = vec![0.0; 40 * stride];
        vectors.chunks_mut(stride).for_each(|v| rng.fill_normal(&mut v[..dim], 0.0, 1.0));
        Self { ids, coef, source, vectors, stride }
    }

    fn terms(&self) -> Terms<'_> {
        Terms {
            coef: &self.coef,
            source: &self.source,
            vectors: &self.vectors,
            stride: self.stride,
            scale: 0.125,
            decay: 0.02,
        }
    }

    /// The gradient of every row at `p`, without gaps, and which rows have one.
    fn gradient(&self, dim: usize, p: &[f32]) -> (Vec<f32>, Vec<bool>) {
        let mut gradient = vec![0.0; ROWS * dim];
        let mut counted = vec![0; ROWS];
        for (o, &id) in self.ids.iter().enumerate() {
            let terms = (2 * o..2 * o + 2).filter(|&t| self.coef[t] != 0.0);
            counted[id as usize] += usize::from(terms.clone().count() > 0);
            for t in terms {
                let vector = &self.vectors[self.source[t] as usize * self.stride..][..dim];
                for (g, &x) in gradient[id as usize * dim..].iter_mut().zip(vector) {
                    *g = self.coef[t].mul_add(x, *g);
                }
            }
        }
        for (row, &n) in counted.iter().enumerate() {
            let penalty = 0.02 * n as f32 * 0.125;
            for i in row * dim..(row + 1) * dim {
                gradient[i] = penalty.mul_add(p[i], gradient[i] * 0.125);
            }
        }
        (gradient, counted.iter().map(|&n| n > 0).collect())
    }
}

fn start(dim: usize) -> Vec<f32> {
    let mut p = vec![0.0; ROWS * dim];
    Rng::new(1).fill_normal(&mut p, 0.0, 0.1);
    p
}

fn adam(mode: AdamMode, weight_decay: f64) -> Adam {
    Adam { mode, learning_rate: 0.01, weight_decay, ..Adam::default() }
}

/// `steps` steps, with every fetched row handed to `look(step, row, parameters)`.
fn train(table: &mut Table, steps: std::ops::Range<u64>, mut look: impl FnMut(u64, usize, &[f32])) {
    let mut slots = Slots::new(ROWS);
    for step in steps {
        let batch = Batch::new(table.dim(), step);
        slots.assign(&batch.ids);
        let mut compact = vec![f32::NAN; slots.len() * table.stride()];
        table.fetch(&slots, &mut compact);
        for (&row, p) in slots.rows().iter().zip(compact.chunks(table.stride())) {
            look(step, row as usize, &p[..table.dim()]);
            assert!(p[table.dim()..].iter().all(|&x| x == 0.0));
        }
        table.apply(&slots, &batch.terms());
        table.advance();
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// The claim on which `Exact` rests, for every instruction set with FMA and for one, two and three threads.
#[test]
fn exact_and_dense_take_the_steps_of_naive_dense_adam_to_the_bit() {
    for (dim, weight_decay) in [(6, 1e-2), (20, 1e-4), (64, 1e-2), (100, 1e-2), (20, 0.0)] {
        let mut naive = NaiveAdam::new(&adam(AdamMode::Exact, weight_decay), start(dim));
        let mut history = Vec::new();
        for step in 0..70 {
            history.push(naive.p.clone());
            let (gradient, _) = Batch::new(dim, step).gradient(dim, &naive.p);
            naive.step_where(&gradient, |_| true);
        }
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_fused()) {
            for (mode, threads) in [
                (AdamMode::Exact, 1),
                (AdamMode::Exact, 2),
                (AdamMode::Exact, 3),
                (AdamMode::Dense, 2),
            ] {
                let state = with_isa(isa, threads, || {
                    let optimizer = Optimizer::Adam(adam(mode, weight_decay));
                    let mut table = Table::new(ROWS, dim, optimizer);
                    table.import(&start(dim)).unwrap();
                    train(&mut table, 0..70, |step, row, p| {
                        assert_eq!(bits(p), bits(&history[step as usize][row * dim..][..dim]));
                    });
                    assert_eq!(table.is_settled(), mode == AdamMode::Dense);
                    table.settle();
                    assert!(table.is_settled());
                    table.state()
                });
                let Some(state) = state else { continue };
                for (ours, naive) in [
                    (&state.parameters, &naive.p),
                    (&state.first_moments, &naive.m),
                    (&state.second_moments, &naive.v),
                ] {
                    assert_eq!(
                        bits(ours),
                        bits(naive),
                        "{isa:?} {mode:?} {threads} threads, dim {dim}"
                    );
                }
            }
        }
    }
}

#[test]
fn sparse_moves_the_rows_of_the_batch_and_no_others() {
    let dim = 20;
    let adam = adam(AdamMode::Sparse, 1e-2);
    let mut naive = NaiveAdam::new(&adam, start(dim));
    let mut rested = 0;
    for step in 0..40 {
        let (gradient, live) = Batch::new(dim, step).gradient(dim, &naive.p);
        rested += live.iter().filter(|&&live| !live).count();
        naive.step_where(&gradient, |i| live[i / dim]);
    }
    assert!(rested > 1000);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_fused()) {
        with_isa(isa, 2, || {
            let mut table = Table::new(ROWS, dim, Optimizer::Adam(adam.clone()));
            table.import(&start(dim)).unwrap();
            train(&mut table, 0..40, |_, _, _| ());
            assert_eq!(table.export(), naive.p);
            assert_eq!(table.state().second_moments, naive.v);
        });
    }
}

#[test]
fn rows_stay_in_the_ball_whether_their_steps_are_taken_or_replayed() {
    for (dim, weight_decay) in [(6, 0.0), (20, 1e-2), (64, 0.0), (100, 0.0)] {
        let radius = 0.09 * (dim as f32).sqrt();
        let mut naive = NaiveAdam::new(&adam(AdamMode::Exact, weight_decay), start(dim));
        let mut outside = 0;
        for step in 0..70 {
            let (gradient, _) = Batch::new(dim, step).gradient(dim, &naive.p);
            naive.step_where(&gradient, |_| true);
            for (p, m) in naive.p.chunks_mut(dim).zip(naive.m.chunks(dim)) {
                let norm = p.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
                if norm > radius && m.iter().any(|&m| m != 0.0) {
                    p.iter_mut().for_each(|x| *x *= radius / norm);
                    outside += 1;
                }
            }
        }
        assert!(outside > 100);
        let mut states = Vec::new();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_fused()) {
            for (mode, threads) in
                [(AdamMode::Exact, 1), (AdamMode::Exact, 3), (AdamMode::Dense, 2)]
            {
                states.extend(with_isa(isa, threads, || {
                    let optimizer = Optimizer::Adam(adam(mode, weight_decay));
                    let mut table = Table::new(ROWS, dim, optimizer).in_ball(radius);
                    table.import(&start(dim)).unwrap();
                    train(&mut table, 0..70, |_, _, _| ());
                    table.settle();
                    table.state()
                }));
            }
        }
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-3;
        assert!(!states[0].parameters.iter().zip(&naive.p).any(far), "dim {dim}");
        assert!(states.iter().all(|state| *state == states[0]), "dim {dim}");
    }
}

#[test]
fn a_step_puts_a_row_back_onto_the_ball() {
    let sgd = Sgd { learning_rate: 1.0, weight_decay: 0.0 };
    let mut table = Table::new(3, 2, Optimizer::Sgd(sgd)).in_ball(1.0);
    table.import(&[0.0, 0.0, 0.0, 0.0, 3.0, 4.0]).unwrap();
    let mut slots = Slots::new(3);
    slots.assign(&[1, 0]);
    let mut gradients = [0.0; 32];
    (gradients[0], gradients[1], gradients[16]) = (-6.0, -8.0, -0.5);
    table.apply_dense_rows(&slots, &gradients, 0.5);
    table.advance();
    // Row 1 would be (3, 4); row 0 stays inside, and row 2, which takes no step, outside.
    let expected = [0.25, 0.0, 0.6, 0.8, 3.0, 4.0];
    assert!(table.export().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn without_fma_the_steps_are_close() {
    let dim = 20;
    let train_on = |isa| {
        with_isa(isa, 2, || {
            let mut table = Table::new(ROWS, dim, Optimizer::Adam(adam(AdamMode::Exact, 1e-2)));
            table.import(&start(dim)).unwrap();
            train(&mut table, 0..30, |_, _, _| ());
            table.settle();
            table.export()
        })
    };
    let best = train_on(isa()).unwrap();
    let portable = train_on(Isa::Portable).unwrap();
    assert!(best.iter().zip(&portable).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn sgd_by_hand() {
    let sgd = Sgd { learning_rate: 0.5, weight_decay: 0.1 };
    let mut table = Table::new(3, 2, Optimizer::Sgd(sgd));
    table.import(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let mut slots = Slots::new(3);
    slots.assign(&[2, 0, 2, 1]);
    let mut vectors = vec![0.0; 32];
    (vectors[0], vectors[17]) = (1.0, 1.0);
    table.apply(
        &slots,
        &Terms {
            coef: &[2.0, 1.0, 4.0, 0.0],
            source: &[0, 1, 1, 99],
            vectors: &vectors,
            stride: 16,
            scale: 0.5,
            decay: 0.2,
        },
    );
    table.advance();
    // Row 2: two occurrences, g = 0.5 * ((2, 4) + 0.4 * (5, 6)) = (2, 3.2); p -= 0.5 * (g + 0.1 * p).
    // Row 0: g = 0.5 * ((0, 1) + 0.2 * (1, 2)) = (0.1, 0.7). Row 1 has only a term of 0: it rests.
    let expected = [0.9, 1.55, 3.0, 4.0, 3.75, 4.1];
    assert!(table.export().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn explicit_gradients_give_what_terms_give() {
    let dim = 20;
    let batch = Batch::new(dim, 5);
    let mut slots = Slots::new(ROWS);
    slots.assign(&batch.ids);
    let new = || {
        let mut table = Table::new(ROWS, dim, Optimizer::Adam(adam(AdamMode::Exact, 1e-2)));
        table.import(&start(dim)).unwrap();
        table
    };
    let (mut by_terms, mut by_rows, mut by_full, mut on_the_way) = (new(), new(), new(), new());
    by_terms.apply(&slots, &Terms { decay: 0.0, ..batch.terms() });

    let stride = by_rows.stride();
    let (mut gradient, _) = batch.gradient(dim, &vec![0.0; ROWS * dim]);
    gradient.iter_mut().for_each(|g| *g *= 8.0); // exact: a power of two
    let mut full = vec![0.0; ROWS * stride];
    for (to, from) in full.chunks_mut(stride).zip(gradient.chunks(dim)) {
        to[..dim].copy_from_slice(from);
    }
    let rows: Vec<f32> =
        slots.rows().iter().flat_map(|&r| full[r as usize * stride..][..stride].to_vec()).collect();
    let mut sums = vec![f32::NAN; rows.len()];
    batch.terms().sums(&slots, &mut sums);
    assert_eq!(sums, rows);
    by_rows.apply_dense_rows(&slots, &rows, 0.125);
    by_full.apply_full(&full, 0.125);
    on_the_way.apply_full_by(
        |first, out| out.copy_from_slice(&full[first * stride..][..out.len()]),
        0.125,
    );
    assert!(by_full.last_step.iter().all(|&last| last == 1));
    for table in [&mut by_terms, &mut by_rows, &mut by_full, &mut on_the_way] {
        table.advance();
        table.settle();
    }
    assert_eq!(by_terms.state(), by_rows.state());
    assert_eq!(by_terms.state(), by_full.state());
    assert_eq!(by_terms.state(), on_the_way.state());
}

#[test]
fn goes_on_from_an_unsettled_checkpoint_to_the_same_bits() {
    for optimizer in [
        Optimizer::Adam(adam(AdamMode::Exact, 1e-2)),
        Optimizer::Adam(adam(AdamMode::Sparse, 1e-2)),
        Optimizer::Sgd(Sgd { learning_rate: 0.01, weight_decay: 0.1 }),
    ] {
        let mut whole = Table::new(ROWS, 20, optimizer.clone());
        whole.import(&start(20)).unwrap();
        train(&mut whole, 0..10, |_, _, _| ());
        let mut resumed = Table::new(ROWS, 20, optimizer.clone());
        resumed.restore(&whole.state()).unwrap();
        assert_eq!(resumed.step(), 10);
        train(&mut whole, 10..20, |_, _, _| ());
        train(&mut resumed, 10..20, |_, _, _| ());
        assert_eq!(whole.state(), resumed.state());
        let mut other = Table::new(ROWS, 21, optimizer);
        assert!(other.restore(&whole.state()).is_err());
    }
}

#[test]
fn a_changed_learning_rate_counts_from_the_next_step() {
    let dim = 6;
    let run = |mode| {
        let mut table = Table::new(ROWS, dim, Optimizer::Adam(adam(mode, 1e-2)));
        table.import(&start(dim)).unwrap();
        train(&mut table, 0..10, |_, _, _| ());
        table.set_learning_rate(1e-3);
        assert_eq!(table.optimizer().learning_rate(), 1e-3);
        train(&mut table, 10..20, |_, _, _| ());
        table.settle();
        table.export()
    };
    assert_eq!(run(AdamMode::Exact), run(AdamMode::Dense));
    let mut fixed = Table::new(ROWS, dim, Optimizer::Adam(adam(AdamMode::Exact, 1e-2)));
    fixed.import(&start(dim)).unwrap();
    train(&mut fixed, 0..20, |_, _, _| ());
    fixed.settle();
    assert_ne!(run(AdamMode::Exact), fixed.export());
}

#[test]
fn rows_are_read_and_written_in_place() {
    let mut table = Table::new(3, 5, Optimizer::default());
    table.init(|row, p| p.fill(row as f32));
    table.row_mut(1)[4] = 9.0;
    assert_eq!(table.row(1), [1.0, 1.0, 1.0, 1.0, 9.0]);
    let (data, distance) = table.params();
    assert_eq!(data[distance + 4], 9.0);
    assert_eq!(distance % LANES, 0);
    assert_eq!(table.export().len(), table.n_parameters());
    assert_eq!(table.import(&[0.0; 14]), Err(WrongLength { expected: 15, found: 14 }));
    let mut slots = Slots::new(3);
    slots.assign(&[2, 1]);
    table.init_rows(&slots, |slot, p| p[0] = 7.0 + slot as f32);
    assert_eq!([table.row(0)[0], table.row(1)[0], table.row(2)[0]], [0.0, 8.0, 7.0]);
    table.init_rows(&slots, |slot, p| p[0] = 2.0 - slot as f32);
    let mut out = vec![f32::NAN; 32];
    table.gather(&slots, &mut out);
    assert_eq!(out[..5], [2.0; 5]);
    assert_eq!(out[16..21], [1.0, 1.0, 1.0, 1.0, 9.0]);
    assert!(out[21..].iter().all(|&x| x == 0.0));
}

#[test]
fn empty_tables_and_batches_are_fine() {
    for (rows, dim) in [(0, 4), (4, 0), (0, 0), (4, 4)] {
        let mut table = Table::new(rows, dim, Optimizer::Adam(adam(AdamMode::Exact, 0.1)));
        let mut slots = Slots::new(rows);
        slots.assign(&[]);
        table.init(|_, _| ());
        table.fetch(&slots, &mut []);
        table.gather(&slots, &mut []);
        table.catch_up(&slots);
        let none =
            Terms { coef: &[], source: &[], vectors: &[], stride: 16, scale: 1.0, decay: 0.0 };
        table.apply(&slots, &none);
        table.advance();
        table.settle();
        assert_eq!(table.export().len(), rows * dim);
    }
}

#[test]
fn rows_that_lie_in_a_file_are_as_good_as_rows_in_memory() {
    use super::super::mapped::MappedFile as Mapping;
    use std::io::Write as _;
    let (n, dim) = (9, 5);
    let numbers: Vec<f32> = (0..n * dim).map(|i| i as f32 * 0.5 - 3.0).collect();
    let mut file = tempfile::tempfile().unwrap();
    numbers.iter().for_each(|x| file.write_all(&x.to_le_bytes()).unwrap());
    let mapped = Mapping::open(&file).unwrap();
    let floats = mapped.numbers::<f32>(0..4 * n * dim).unwrap();
    assert!(Table::over(floats.clone(), n, dim + 1).is_err());
    let mut fixed = Table::over(floats, n, dim).unwrap();
    let mut table = Table::new(n, dim, Optimizer::Sgd(Sgd::default()));
    table.import(&numbers).unwrap();
    for row in 0..n {
        assert_eq!(fixed.row(row), table.row(row));
    }
    assert_eq!((fixed.export(), fixed.params()), (numbers.clone(), (&numbers[..], dim)));
    let mut slots = Slots::new(n);
    slots.assign(&[3, 8, 3, 0]);
    let (mut a, mut b) = (vec![7.0; 3 * 16], vec![8.0; 3 * 16]);
    fixed.gather(&slots, &mut a);
    table.gather(&slots, &mut b);
    assert_eq!(a, b);
    // The first change brings them into memory.
    for table in [&mut fixed, &mut table] {
        table.row_mut(2)[1] = 99.0;
        table.init(|row, x| x[0] += row as f32);
    }
    assert_eq!(fixed.state(), table.state());
    assert_ne!(fixed.export(), numbers);
    assert_eq!(mapped.numbers::<f32>(0..4 * n * dim).unwrap()[..], numbers[..]);
}
