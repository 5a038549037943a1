#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::super::bits::ItemSet;
use super::super::panels::{PanelOrder, Panels};
use super::super::rng::Rng;
use super::super::simd::{Isa, Portable, half_to_float, with_isa};
use super::super::topk::tests::{Problem, large, problem};
use super::super::topk::{TopLists, top_k};
use super::*;

const WIDTHS: [Width; 2] = [Width::Half, Width::Byte];

/// Both widths, on every instruction set, must answer what `top_k` answers there; how many were scored exactly.
fn check(problem: &Problem) -> Vec<u64> {
    let mut rescored = Vec::new();
    for isa in Isa::ALL {
        let found = with_isa(isa, 2, || {
            let panels = Panels::pack(problem.items(), PanelOrder::Norm);
            let masked = |q: usize| &problem.masks[q][..];
            let allowed = problem.allowed.as_ref();
            let expected = top_k(problem.queries(), &panels, problem.k, masked, allowed);
            let mut rescored = Vec::new();
            for width in WIDTHS {
                let Some(table) = Narrow::pack(problem.items(), width) else { continue };
                let items = problem.items();
                let found = search(problem.queries(), items, &table, problem.k, masked, allowed);
                same(&found.lists, &expected, &format!("{width:?} on {}", isa.name()));
                rescored.push(found.rescored);
            }
            rescored
        });
        rescored = found.unwrap_or(rescored);
    }
    rescored
}

fn same(found: &TopLists, expected: &TopLists, what: &str) {
    assert_eq!(found.offsets, expected.offsets, "{what}");
    assert_eq!(found.ids, expected.ids, "{what}");
    let bits = |lists: &TopLists| lists.scores.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected), "{what}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn answers_are_those_of_the_full_table(problem in problem(false)) {
        check(&problem);
    }

    #[test]
    fn answers_are_those_of_the_full_table_with_nan_and_infinity(problem in problem(true)) {
        check(&problem);
    }

    #[test]
    fn no_score_is_further_from_what_is_read_than_the_bound_says(
        seed in any::<u64>(), dim in 1usize..70, items in -9i32..9, queries in -9i32..9, bias in -6i32..6,
    ) {
        // The bound itself: at its own score as the bar, no item may be passed over.
        let mut rng = Rng::new(seed);
        let n = 40;
        let mut draw = |n: usize, scale: i32| -> Vec<f32> {
            (0..n).map(|_| rng.normal() * 10f32.powi(scale)).collect()
        };
        let (mut vectors, query) = (draw(n * dim, items), draw(dim, queries));
        vectors.iter_mut().step_by(dim).for_each(|x| *x *= 10f32.powi(bias));
        let rows = Rows::dense(&vectors, n, dim);
        for width in WIDTHS {
            let table = Narrow::pack(rows, width).unwrap();
            let mut packed = query::Queries::default();
            packed.pack(Rows::dense(&query, 1, dim), 0..1, 1, &table);
            prop_assume!(packed.constants[0].is_tame);
            for place in 0..n {
                let id = table.ids[place];
                let score = super::super::panels::score_one(&query, rows.row(id as usize));
                let thresholds = packed.constants[0].thresholds(Portable, score, &table.bounds, 0);
                let sum = naive_sum(&table, &packed, place);
                prop_assert!(sum >= f64::from(thresholds[place / PANEL]), "{width:?}: {sum} {thresholds:?}");
            }
        }
    }
}

/// What a lane's sum is, from the table and the packed query, number by number.
fn naive_sum(table: &Narrow, packed: &query::Queries, place: usize) -> f64 {
    let (panel, lane) = (table.panel(place / PANEL), place % PANEL);
    let product = |k: usize| match table.width {
        Width::Half => {
            let at = 2 * (k * PANEL + lane);
            let half = half_to_float(u16::from_ne_bytes([panel[at], panel[at + 1]]));
            f64::from(half) * f64::from(f32::from_bits(packed.words[k] as u32))
        }
        Width::Byte => {
            let item = i32::from(panel[(k / 4 * PANEL + lane) * 4 + k % 4]) - 128;
            f64::from(item * i32::from((packed.words[k / 4] >> (8 * (k % 4))) as i8))
        }
    };
    (0..table.dim).map(product).sum()
}

#[test]
fn large_catalogues_are_scored_exactly_in_small_part() {
    let few = [
        large(1, 130, 3_000, 20, 50, 0.0),
        large(3, 13, 2_000, 64, 400, 0.0),
        large(4, 3, 20_000, 17, 10, 0.0),
        large(6, 1, 20_000, 32, 20, 0.0),
    ];
    for problem in few {
        let most = (problem.n_queries * (problem.n_items / 12 + 4 * problem.k)) as u64;
        for rescored in check(&problem) {
            assert!(rescored < most, "{rescored} of at most {most}");
        }
    }
}

#[test]
fn ties_everywhere_are_broken_as_in_the_full_table() {
    check(&large(2, 37, 3_001, 3, 100, 5.0));
    check(&large(5, 1, 5_000, 20, 20, 3.0));
    let mut alike = large(8, 5, 700, 6, 30, 0.0);
    alike.set_items(|_, _| 0.25);
    check(&alike);
}

#[test]
fn scales_and_signs_do_not_matter() {
    let base = large(11, 14, 2_500, 24, 25, 0.0);
    for (query, item, bias) in [
        (1e9, 1e-9, 1.0),
        (1e-9, 1e-9, 50.0),
        (1e9, 1e9, 0.0),
        (3e-20, 1.0, 1.0),
        (-1.0, 7.0, 1e-5),
    ] {
        let mut problem = base.clone();
        problem.set_queries(|x, k| if k == 3 { 1.0 } else { x * query });
        problem.set_items(|x, k| if k == 3 { x * bias } else { x * item });
        check(&problem);
        problem.set_queries(|x, _| x * query);
        check(&problem);
    }
}

#[test]
fn queries_that_are_not_numbers_or_zero_are_answered_from_the_full_table() {
    let mut problem = large(12, 9, 500, 8, 12, 0.0);
    let mut at = 0;
    problem.set_queries(|x, _| {
        at += 1;
        // With two unused numbers a row: rows 0, 2, 5 and 8.
        match at / 10 {
            0 => 0.0,
            2 => f32::NAN,
            5 => x * 1e-38,
            8 => f32::INFINITY,
            _ => x,
        }
    });
    let rescored = check(&problem);
    assert!(rescored.iter().all(|&rescored| rescored >= 4 * 500), "{rescored:?}");
}

#[test]
fn a_sparse_allow_list_is_found() {
    for every in [7usize, 400] {
        let mut problem = large(13, 5, 3_000, 16, 20, 0.0);
        let mut allowed = ItemSet::empty(3_000);
        (0..3_000).step_by(every).for_each(|item| _ = allowed.insert(item));
        problem.allowed = Some(allowed);
        check(&problem);
    }
}

#[test]
fn tables_of_no_use_are_not_made() {
    let none = |items: &[f32], dim: usize| {
        let rows = Rows::dense(items, items.len() / dim, dim);
        WIDTHS.iter().all(|&width| Narrow::pack(rows, width).is_none())
    };
    assert!(none(&[], 3) && none(&[0.0; 6], 3));
    assert!(none(&[1.0, f32::NAN], 1) && none(&[1.0, f32::NEG_INFINITY], 2));
    assert!(none(&[1e-30, 1e-30], 2) && none(&[1e30, 1.0], 2));
}

#[test]
fn a_table_is_a_half_or_a_quarter_of_the_numbers() {
    let problem = large(14, 1, 6_400, 32, 1, 0.0);
    let bytes = |width| Narrow::pack(problem.items(), width).unwrap().bytes();
    let (half, byte) = (bytes(Width::Half), bytes(Width::Byte));
    let numbers = 6_400 * 32;
    assert!((2 * numbers..2 * numbers + 5 * 6_400 + 2_000).contains(&half), "{half}");
    assert!((numbers..numbers + 5 * 6_400 + 2_000).contains(&byte), "{byte}");
}

#[test]
fn halves_are_the_nearest() {
    let mut rng = Rng::new(3);
    for _ in 0..20_000 {
        let x = rng.normal() * 10f32.powi(rng.below(14) as i32 - 10);
        let half = half_of(x);
        let kept = half_to_float(half);
        assert!((half & 0x7fff) < 0x7c00);
        for other in [half.wrapping_sub(1), half + 1] {
            if other & 0x8000 == half & 0x8000 && other & 0x7c00 != 0x7c00 {
                let other = half_to_float(other);
                assert!((x - kept).abs() <= (x - other).abs(), "{x}: {kept}, not {other}");
            }
        }
        // Rounded twice below the normal numbers, which costs no more than that.
        assert!((x - kept).abs() <= (x.abs() * 2f32.powi(-11)).max(2f32.powi(-25)), "{x} {kept}");
    }
}
