#![allow(clippy::unwrap_used)]
use super::super::rng::Rng;
use super::super::simd::{Isa, with_isa};
use super::*;

/// A batch on a catalogue, with everything that the two passes are given.
struct Batch {
    n_items: usize,
    dim: usize,
    record: usize,
    items: Vec<f32>,
    stride: usize,
    vectors: Vec<f32>,
    of_row: Vec<u32>,
    asking: Vec<u32>,
    listed: (Vec<usize>, Vec<u32>),
    left_out: (Vec<usize>, Vec<u32>),
    to_listed: Vec<f32>,
    to_complement: Vec<f32>,
}

/// What comes out: ln of the rests, the gradients of the rows and of the items.
type Found = (Vec<f32>, Vec<f32>, Vec<f32>);

impl Batch {
    /// Rows share vectors; lists are of any length, with items twice, and in both lists; every third row
    /// needs no complement.
    fn new(n_items: usize, dim: usize, n_rows: usize, spread: f32) -> Self {
        let mut rng = Rng::keyed(9, [n_items as u64, dim as u64, n_rows as u64]);
        let stride = dim.next_multiple_of(LANES);
        let record = 3 * stride;
        let n_vectors = n_rows.div_ceil(2).max(1);
        let mut fill = |n: usize, step: usize| {
            let mut numbers = vec![0.0; n * step];
            for row in numbers.chunks_exact_mut(step) {
                rng.fill_normal(&mut row[..dim], 0.0, spread);
            }
            numbers
        };
        let (items, vectors) = (fill(n_items, record), fill(n_vectors, stride));
        let mut list = |longest: u32| {
            let (mut starts, mut values) = (vec![0], Vec::new());
            for _ in 0..n_rows {
                let n = if n_items == 0 { 0 } else { rng.below(longest) };
                values.extend((0..n).map(|_| rng.below(n_items as u32)));
                starts.push(values.len());
            }
            (starts, values)
        };
        let (listed, left_out) = (list(9), list(5));
        let mut to_listed = vec![0.0; listed.1.len()];
        rng.fill_normal(&mut to_listed, 0.0, 1.0);
        let mut to_complement = vec![0.0; n_rows];
        rng.fill_normal(&mut to_complement, 0.0, 1.0);
        to_complement.iter_mut().step_by(5).for_each(|slope| *slope = 0.0);
        let of_row = (0..n_rows).map(|_| rng.below(n_vectors as u32)).collect();
        let asking: Vec<u32> = (0..n_rows as u32).filter(|row| row % 3 != 2).collect();
        Self {
            n_items,
            dim,
            record,
            items,
            stride,
            vectors,
            of_row,
            asking,
            listed,
            left_out,
            to_listed,
            to_complement,
        }
    }

    fn run(&self, kernel: &mut Complement) -> Found {
        let items = (&self.items[..], self.record);
        let Self { vectors, of_row, asking, .. } = self;
        let queries = Queries { vectors, stride: self.stride, of_row, asking };
        let listed = Ragged { starts: &self.listed.0, values: &self.listed.1 };
        let left_out = Ragged { starts: &self.left_out.0, values: &self.left_out.1 };
        let log_complement = kernel.sum(items, queries, listed, left_out).to_vec();
        let mut rows = vec![f32::NAN; self.of_row.len() * self.stride];
        let mut all = vec![f32::NAN; self.n_items * self.stride];
        let gradients = Gradients { queries: &mut rows, items: &mut all };
        kernel.propagate(items, queries, listed, &self.to_listed, &self.to_complement, gradients);
        (log_complement, rows, all)
    }

    fn fresh(&self) -> Found {
        self.run(&mut Complement::new(self.n_items, self.dim))
    }

    /// The same in f64, item by item.
    fn naive(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (mut log_complement, n) = (Vec::new(), self.of_row.len());
        let mut rows = vec![0.0; n * self.stride];
        let mut all = vec![0.0; self.n_items * self.stride];
        let row_of = |list: &(Vec<usize>, Vec<u32>), row: usize| {
            list.1[list.0[row]..list.0[row + 1]].to_vec()
        };
        for row in 0..n {
            let query = &self.vectors[self.of_row[row] as usize * self.stride..][..self.dim];
            let item = |i: usize| &self.items[i * self.record..][..self.dim];
            let product = |i: usize| {
                item(i).iter().zip(query).fold(0.0, |s, (a, b)| s + f64::from(*a) * f64::from(*b))
            };
            let (listed, left_out) = (row_of(&self.listed, row), row_of(&self.left_out, row));
            let counts =
                |i: &usize| !listed.contains(&(*i as u32)) && !left_out.contains(&(*i as u32));
            let asks = self.asking.contains(&(row as u32));
            let rest: Vec<usize> = (0..self.n_items).filter(|i| asks && counts(i)).collect();
            let most = rest.iter().fold(f64::NEG_INFINITY, |most, &i| most.max(product(i)));
            let mass = rest.iter().fold(0.0, |sum, &i| sum + (product(i) - most).exp());
            log_complement.push(if rest.is_empty() { f64::NEG_INFINITY } else { most + mass.ln() });
            let mut add = |i: usize, slope: f64| {
                for k in 0..self.dim {
                    rows[row * self.stride + k] += slope * f64::from(item(i)[k]);
                    all[i * self.stride + k] += slope * f64::from(query[k]);
                }
            };
            for &i in &rest {
                add(i, f64::from(self.to_complement[row]) * (product(i) - most).exp() / mass);
            }
            for (&i, &slope) in listed.iter().zip(&self.to_listed[self.listed.0[row]..]) {
                add(i as usize, f64::from(slope));
            }
        }
        (log_complement, rows, all)
    }
}

fn shapes() -> Vec<(usize, usize, usize)> {
    let mut all = vec![(0, 6, 3), (1, 4, 2), (40, 6, 0), (5, 1, 1)];
    for (at, dim) in [4, 5, 6, 7, 11, 16, 20, 33, 64, 100, 128].into_iter().enumerate() {
        all.push(([15, 16, 31, 32, 33, 100, 700][at % 7], dim, [1, 7, 16, 17, 70][at % 5]));
    }
    all.push((1500, 6, 130));
    all
}

fn close(what: &str, found: &[f32], expected: &[f64], slack: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let same = f64::from(f) == e;
        assert!(
            same || (f64::from(f) - e).abs() <= slack * e.abs().max(1.0),
            "{what} {i}: {f} {e}"
        );
    }
}

#[test]
fn both_passes_agree_with_the_naive_twin_on_every_instruction_set() {
    for (n_items, dim, n_rows) in shapes() {
        let batch = Batch::new(n_items, dim, n_rows, 0.4);
        let (log_complement, rows, all) = batch.naive();
        for isa in Isa::ALL {
            with_isa(isa, 2, || {
                let found = batch.fresh();
                let what = format!("{} {n_items} x {dim}, {n_rows} rows:", isa.name());
                close(&format!("{what} rest"), &found.0, &log_complement, 2e-6);
                close(&format!("{what} row"), &found.1, &rows, 1e-5);
                close(&format!("{what} item"), &found.2, &all, 1e-5);
            });
        }
    }
}

#[test]
fn bits_are_equal_on_any_threads_and_every_instruction_set_with_fma() {
    let bits = |found: &Found| -> Vec<u32> {
        let parts = [&found.0, &found.1, &found.2];
        parts.into_iter().flatten().map(|x| x.to_bits()).collect()
    };
    for (n_items, dim, n_rows) in shapes() {
        for spread in [0.4, 6.0] {
            let batch = Batch::new(n_items, dim, n_rows, spread);
            let mut first = None;
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_fused()) {
                for threads in [1, 2, 3] {
                    let Some(found) = with_isa(isa, threads, || bits(&batch.fresh())) else {
                        continue;
                    };
                    let first = first.get_or_insert_with(|| found.clone());
                    assert!(*first == found, "{n_items} x {dim}: {} {threads}", isa.name());
                }
            }
        }
    }
}

#[test]
fn scores_of_any_size_neither_overflow_nor_vanish() {
    // Standard deviations of the scores: some 20, 300, 2e5 and 2e33 (the last beyond what f32 can square).
    for spread in [2.0, 8.0, 200.0, 2e16] {
        let batch = Batch::new(120, 20, 30, spread);
        let (log_complement, ..) = batch.naive();
        let (found, rows, all) = batch.fresh();
        close(&format!("{spread}"), &found, &log_complement, 1e-5);
        assert!(rows.iter().chain(&all).all(|x| x.is_finite()), "{spread}");
    }
    // All scores far below 0: as they are, their exp would be 0.
    let mut batch = Batch::new(50, 4, 3, 0.1);
    batch.items.chunks_exact_mut(batch.record).for_each(|item| item[0] += 40.0);
    batch.vectors.chunks_exact_mut(batch.stride).for_each(|query| query[0] -= 40.0);
    let (log_complement, rows, all) = batch.naive();
    let found = batch.fresh();
    assert!(found.0.iter().all(|&rest| rest < -1400.0) && found.0[0].is_finite());
    close("rest", &found.0, &log_complement, 1e-6);
    close("row", &found.1, &rows, 1e-3);
    close("item", &found.2, &all, 1e-3);
    batch.items[..batch.record].fill(0.0);
    let (log_complement, rows, all) = batch.naive();
    let found = batch.fresh();
    assert!(found.0.iter().any(|rest| rest.abs() < 1e-30));
    close("rest", &found.0, &log_complement, 1e-6);
    close("row", &found.1, &rows, 1e-3);
    close("item", &found.2, &all, 1e-3);
}

/// One panel in 16 is sampled first: here the sample tells nothing about the others, or is masked.
#[test]
fn where_some_panels_are_no_guide_all_are_looked_at() {
    for (strange, of_others) in [(5, 300.0), (16, -300.0)] {
        let mut batch = Batch::new(40 * LANES, 6, 20, 0.5);
        batch.vectors.chunks_exact_mut(batch.stride).for_each(|query| query[0] = 1.0);
        for (i, item) in batch.items.chunks_exact_mut(batch.record).enumerate() {
            item[0] = if i / LANES == strange { of_others } else { 0.0 };
        }
        let (log_complement, rows, all) = batch.naive();
        let found = batch.fresh();
        close("rest", &found.0, &log_complement, 1e-5);
        close("row", &found.1, &rows, 1e-3);
        close("item", &found.2, &all, 1e-3);
    }
    // Panels 0 and 16 are left out whole, and the others are far from 0.
    for of_others in [300.0, -300.0] {
        let mut batch = Batch::new(20 * LANES, 6, 20, 0.5);
        batch.vectors.chunks_exact_mut(batch.stride).for_each(|query| query[0] = 1.0);
        batch.items.chunks_exact_mut(batch.record).for_each(|item| item[0] = of_others);
        let hidden: Vec<u32> = (0..16).chain(256..272).collect();
        batch.left_out = ((0..=20).map(|row| row * 32).collect(), hidden.repeat(20));
        let (log_complement, rows, all) = batch.naive();
        let found = batch.fresh();
        close("rest", &found.0, &log_complement, 1e-6);
        close("row", &found.1, &rows, 1e-3);
        close("item", &found.2, &all, 1e-3);
    }
}

#[test]
fn where_no_item_is_left_there_is_no_rest_and_no_slope() {
    let mut batch = Batch::new(20, 6, 3, 0.5);
    batch.left_out = (vec![0, 0, 20, 20], (0..20).collect());
    batch.asking = vec![0, 1, 2];
    let found = batch.fresh();
    assert_eq!(found.0[1], f32::NEG_INFINITY);
    assert!(found.0[0].is_finite() && found.0[2].is_finite() && batch.to_complement[1] != 0.0);
    batch.to_complement[1] = 0.0;
    assert!(found == batch.fresh());
    assert!(found.1.iter().chain(&found.2).all(|x| x.is_finite()));
}

#[test]
fn what_diverged_is_no_number_and_no_panic() {
    let mut batch = Batch::new(40, 6, 20, 0.5);
    batch.items[3 * batch.record] = f32::NAN;
    batch.left_out = (vec![0; 21], Vec::new());
    batch.listed = (vec![0; 21], Vec::new());
    batch.to_listed.clear();
    let found = batch.fresh();
    let asks = |row: usize| batch.asking.contains(&(row as u32));
    assert!(found.0.iter().enumerate().all(|(row, rest)| rest.is_nan() == asks(row)));
}

#[test]
fn scratch_space_carries_nothing_over_from_one_batch_to_the_next() {
    let mut kernel = Complement::new(100, 6);
    for n_rows in [70, 3, 17, 0, 40] {
        let batch = Batch::new(100, 6, n_rows, 0.5);
        assert!(batch.run(&mut kernel) == batch.fresh(), "{n_rows} rows");
    }
}
