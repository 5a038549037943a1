use proptest::prelude::*;

use super::super::panels::{PanelOrder, score_one};
use super::super::simd::with_isa;
use super::selection::id_of;
use super::*;

/// The same, by sorting everything.
fn naive(scores: &[f32], k: usize, masked: &[u32], allowed: Option<&ItemSet>) -> Vec<(u32, u32)> {
    let mut all: Vec<(f32, u32)> = scores.iter().zip(0u32..).map(|(s, i)| (*s, i)).collect();
    all.retain(|(_, i)| !masked.contains(i) && allowed.is_none_or(|allowed| allowed.contains(*i)));
    all.sort_by(|(a, i), (b, j)| match (a.is_nan(), b.is_nan()) {
        (false, false) => b.partial_cmp(a).expect("no NaN").then(i.cmp(j)),
        (a, b) => a.cmp(&b).then(i.cmp(j)),
    });
    all.truncate(k);
    all.into_iter().map(|(s, i)| (i, bits(s))).collect()
}

fn bits(score: f32) -> u32 {
    if score.is_nan() { u32::MAX } else { (score + 0.0).to_bits() }
}

fn list(found: &TopLists, query: usize) -> Vec<(u32, u32)> {
    let (ids, scores) = found.list(query);
    ids.iter().zip(scores).map(|(id, s)| (*id, bits(*s))).collect()
}

#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub n_queries: usize,
    pub n_items: usize,
    dim: usize,
    pub k: usize,
    queries: Vec<f32>,
    items: Vec<f32>,
    pub masks: Vec<Vec<u32>>,
    pub allowed: Option<ItemSet>,
}

impl Problem {
    pub fn queries(&self) -> Rows<'_> {
        Rows::new(&self.queries, self.n_queries, self.dim, self.dim + 2)
    }

    pub fn items(&self) -> Rows<'_> {
        Rows::new(&self.items, self.n_items, self.dim, self.dim + 1)
    }

    /// Replaces every number of an item, given the old one and its column.
    pub fn set_items(&mut self, make: impl Fn(f32, usize) -> f32) {
        let columns = (0..self.dim + 1).cycle();
        self.items.iter_mut().zip(columns).for_each(|(x, column)| *x = make(*x, column));
    }

    /// Replaces every number of a query, in order, the unused ones between the rows too.
    pub fn set_queries(&mut self, mut make: impl FnMut(f32, usize) -> f32) {
        let columns = (0..self.dim + 2).cycle();
        self.queries.iter_mut().zip(columns).for_each(|(x, column)| *x = make(*x, column));
    }

    fn run(&self, order: PanelOrder) -> TopLists {
        let panels = Panels::pack(self.items(), order);
        top_k(self.queries(), &panels, self.k, |q| &self.masks[q][..], self.allowed.as_ref())
    }

    pub fn scores(&self, query: usize) -> Vec<f32> {
        let (items, queries) = (self.items(), self.queries());
        (0..self.n_items).map(|i| score_one(queries.row(query), items.row(i))).collect()
    }

    fn check(&self) {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            with_isa(isa, 1, || {
                let (found, by_id) = (self.run(PanelOrder::Norm), self.run(PanelOrder::Id));
                assert_eq!(found.len(), self.n_queries);
                for query in 0..self.n_queries {
                    let scores = self.scores(query);
                    let expected =
                        naive(&scores, self.k, &self.masks[query], self.allowed.as_ref());
                    assert_eq!(list(&found, query), expected, "{} query {query}", isa.name());
                    assert_eq!(list(&by_id, query), expected);
                    let row =
                        select_row(&scores, &self.masks[query], self.allowed.as_ref(), self.k);
                    assert_eq!(
                        row.iter().map(|(id, s)| (*id, bits(*s))).collect::<Vec<_>>(),
                        expected
                    );
                }
            });
        }
    }
}

/// Numbers with many repeats, so that scores tie, and now and then with what breaks comparisons.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (-3i32..=3).prop_map(|x| x as f32 * 0.5),
        6 => -2.0f32..2.0,
        1 => Just(-0.0f32),
    ]
}

fn wild_number() -> impl Strategy<Value = f32> {
    prop_oneof![
        20 => number(),
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(3e38f32),
    ]
}

pub(crate) fn problem(wild: bool) -> impl Strategy<Value = Problem> {
    let number = if wild { wild_number().boxed() } else { number().boxed() };
    (0usize..30, 0usize..150, 0usize..40, 0usize..170).prop_flat_map(
        move |(n_queries, n_items, dim, k)| {
            let masks = proptest::collection::vec(
                proptest::collection::vec(0..n_items as u32 + 5, 0..n_items + 1),
                n_queries,
            );
            (
                proptest::collection::vec(number.clone(), n_queries * (dim + 2)),
                proptest::collection::vec(number.clone(), n_items * (dim + 1)),
                masks,
                proptest::option::of(proptest::collection::vec(any::<bool>(), n_items)),
            )
                .prop_map(move |(queries, items, masks, flags)| {
                    let allowed = flags.map(|flags| {
                        let mut allowed = ItemSet::empty(n_items);
                        let items = (0..).zip(flags).filter(|(_, flag)| *flag);
                        items.for_each(|(item, _)| _ = allowed.insert(item));
                        allowed
                    });
                    Problem { n_queries, n_items, dim, k, queries, items, masks, allowed }
                })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn equals_sorting_everything(problem in problem(false)) {
        problem.check();
    }

    #[test]
    fn equals_sorting_everything_with_nan_and_infinity(problem in problem(true)) {
        problem.check();
    }
}

/// A larger problem, in which lists fill up and thresholds rise many times.
pub(crate) fn large(
    seed: u64,
    n_queries: usize,
    n_items: usize,
    dim: usize,
    k: usize,
    levels: f32,
) -> Problem {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let x = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
        if levels > 0.0 { (x * levels).round() } else { x }
    };
    let queries = (0..n_queries * (dim + 2)).map(|_| next()).collect();
    let mut items: Vec<f32> = (0..n_items * (dim + 1)).map(|_| next()).collect();
    // Unequal lengths, so that the tail is pruned.
    for (i, row) in items.chunks_mut(dim + 1).enumerate() {
        let scale = if i % 3 == 0 { 1.0 } else { 1.0 / (1 + i % 50) as f32 };
        row.iter_mut().for_each(|x| *x *= scale);
    }
    let masks = (0..n_queries)
        .map(|q| (0..q as u32 * 3).map(|j| (j * 7 + q as u32) % n_items as u32).collect())
        .collect();
    Problem { n_queries, n_items, dim, k, queries, items, masks, allowed: None }
}

#[test]
fn large_catalogues_with_and_without_ties_equal_sorting() {
    large(1, 130, 3_000, 20, 50, 0.0).check();
    large(2, 37, 3_001, 3, 100, 5.0).check();
    large(3, 13, 2_000, 64, 400, 0.0).check();
    large(4, 3, 2_000, 17, 10, 0.0).check();
    large(5, 1, 5_000, 20, 20, 3.0).check();
}

#[test]
fn bits_do_not_depend_on_threads_or_on_the_instruction_set() {
    let problem = large(7, 400, 1_500, 33, 30, 0.0);
    let mut first: Option<TopLists> = None;
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available() && isa.is_fused()) {
        for threads in 1..=3 {
            let found =
                with_isa(isa, threads, || problem.run(PanelOrder::Norm)).expect("available");
            let first = first.get_or_insert_with(|| found.clone());
            assert!(*first == found, "{} {threads}", isa.name());
        }
    }
}

#[test]
fn a_catalogue_that_is_all_masked_gives_empty_lists() {
    let mut problem = large(9, 5, 100, 8, 10, 0.0);
    problem.masks = vec![(0..100).rev().chain(0..100).collect(); 5];
    assert_eq!(problem.run(PanelOrder::Norm).offsets, [0; 6]);
}

#[test]
fn keys_order_as_documented_and_give_the_score_back() {
    let scores = [f32::INFINITY, 2.0, 1e-40, 0.0, -1e-40, -1.0, f32::NEG_INFINITY, f32::NAN];
    for pair in scores.windows(2) {
        assert!(key(pair[0], 9) > key(pair[1], 3), "{pair:?}");
    }
    for score in scores {
        assert!(key(score, 3) > key(score, 4));
        assert_eq!(bits(score_of(key(score, 3))), bits(score));
        assert_eq!(id_of(key(score, 3)), 3);
    }
    assert_eq!(key(0.0, 1), key(-0.0, 1));
}
