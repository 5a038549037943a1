#![allow(clippy::unwrap_used)]
use super::*;
use crate::kernel::rng::Rng;
use crate::kernel::simd::with_isa;

/// Vectors of unequal lengths, the third of which is 0.
fn vectors(n: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut all = vec![0.0; n * dim];
    for (i, row) in all.chunks_mut(dim).enumerate().filter(|(i, _)| *i != 2) {
        let length = 0.2 + (i * 7 % 11) as f32;
        Rng::keyed(seed, [i as u64]).fill_normal(row, 0.0, length);
    }
    all
}

/// A table's scores are products with its decoded vectors, its lists are what sorting the scores gives, on every instruction
/// set and any number of threads; `exact` if every set gives the same bits, FMA or not.
fn conforms(table: &dyn CodeTable, tolerance: f32, exact: bool) {
    conforms_for(table, &vectors(9, table.dim(), 77), tolerance, exact);
}

/// The same for these nine queries.
fn conforms_for(table: &dyn CodeTable, queries: &[f32], tolerance: f32, exact: bool) {
    let (n, dim) = (table.n_items(), table.dim());
    let rows = Rows::dense(queries, 9, dim);
    let mut decoded = vec![0.0; dim];
    let naive: Vec<f64> = (0..9 * n)
        .map(|at| {
            table.decode(at % n, &mut decoded);
            let pairs = rows.row(at / n).iter().zip(&decoded);
            pairs.fold(0.0, |sum, (q, v)| sum + f64::from(*q) * f64::from(*v))
        })
        .collect();
    let masks: Vec<Vec<u32>> = (0..9).map(|i| vec![i, 5, u32::MAX, 5, 3 * i]).collect();
    let masks: Vec<&[u32]> = masks.iter().map(Vec::as_slice).collect();
    let mut some = ItemSet::all(n);
    (0..n as u32).step_by(3).for_each(|item| some.remove(item));
    let mut first: Option<(Vec<f32>, TopLists)> = None;
    for isa in Isa::ALL {
        for threads in [1, 2] {
            with_isa(isa, threads, || {
                let mut scores = vec![f32::NAN; 9 * n];
                for (query, out) in scores.chunks_mut(n.max(1)).enumerate() {
                    table.scores(rows.row(query), out);
                    let size = naive[query * n..][..n].iter().fold(1e-6, |a, x| x.abs().max(a));
                    for (item, score) in out.iter().enumerate() {
                        let error = (f64::from(*score) - naive[query * n + item]).abs() / size;
                        assert!(error < f64::from(tolerance), "{isa:?} {query} {item}: {error}");
                    }
                }
                for (k, allowed) in [(1, None), (7, None), (7, Some(&some)), (n + 3, None)] {
                    let lists = top_k(table, rows, k, &masks, allowed);
                    for query in 0..9 {
                        let own = &scores[query * n..][..n];
                        let mut sorted: Vec<u32> = (0..n as u32)
                            .filter(|item| !masks[query].contains(item))
                            .filter(|item| allowed.is_none_or(|some| some.contains(*item)))
                            .collect();
                        // 0 and -0 are equal.
                        let own = |item: u32| own[item as usize] + 0.0;
                        sorted.sort_by(|a, b| own(*b).total_cmp(&own(*a)));
                        sorted.truncate(k);
                        assert_eq!(lists.list(query).0, sorted, "{isa:?}, query {query}, {k}");
                    }
                    if k == 7 && allowed.is_none() && (exact || isa.is_fused()) {
                        let found = (scores.clone(), lists);
                        assert!(*first.get_or_insert(found.clone()) == found, "{isa:?}");
                    }
                }
            });
        }
    }
}

#[test]
fn whole_numbers_are_scored_as_they_decode() {
    for bits in BITS {
        for (n, dim) in [(1, 1), (64, 6), (130, 20), (70, 33), (65, 64), (130, 129)] {
            for scale in [Scale::Nearest, Scale::Length] {
                let items = vectors(n, dim, 1);
                let table = Ints::pack(Rows::dense(&items, n, dim), bits, scale).unwrap();
                conforms(&table, 3e-4, true);
                let read = Ints::from_parts((n, dim), bits, &table.words(), table.scales());
                conforms(&read.unwrap(), 3e-4, true);
            }
        }
    }
}

#[test]
fn a_code_is_what_quantising_gives() {
    for bits in BITS {
        let items = vectors(70, 37, 3);
        let rows = Rows::dense(&items, 70, 37);
        let table = Ints::pack(rows, bits, Scale::Nearest).unwrap();
        let mut decoded = vec![0.0; 37];
        for item in 0..70 {
            table.decode(item, &mut decoded);
            let mut quantised = rows.row(item).to_vec();
            quantise(&mut quantised, bits, Scale::Nearest, |_, _| ());
            // A zero of codes that have none has its sign.
            assert!(
                decoded.iter().zip(&quantised).all(|(a, b)| a == b),
                "{bits} bits, item {item}"
            );
        }
    }
}

#[test]
fn codes_by_hand() {
    let decoded = |vector: &[f32], bits| {
        let table = Ints::pack(Rows::dense(vector, 1, vector.len()), bits, Scale::Nearest).unwrap();
        let mut out = vec![0.0; vector.len()];
        table.decode(0, &mut out);
        out
    };
    // Already on the grid.
    assert_eq!(decoded(&[7.0, -7.0, 3.0, 0.0, 1.0], 4), [7.0, -7.0, 3.0, 0.0, 1.0]);
    assert_eq!(decoded(&[-127.0, 2.0], 8), [-127.0, 2.0]);
    assert_eq!(decoded(&[3.0, -1.0, 1.0, -3.0], 2), [3.0, -1.0, 1.0, -3.0]);
    // The mean of 1, 2 and 6.
    assert_eq!(decoded(&[1.0, -2.0, 6.0], 1), [3.0, -3.0, 3.0]);
    assert_eq!(decoded(&[0.0, 0.0], 3), [0.0, 0.0]);
    // As long as the vector: the square root of (9 + 16) / 2.
    let vector = [3.0, -4.0];
    let table = Ints::pack(Rows::dense(&vector, 1, 2), 1, Scale::Length).unwrap();
    let mut out = [0.0; 2];
    table.decode(0, &mut out);
    assert_eq!(out, [12.5f32.sqrt(), -12.5f32.sqrt()]);
}

#[test]
fn a_better_scale_than_the_largest_numbers_is_found() {
    let items = vectors(200, 64, 5);
    let error = |bits: u32, cut: bool| {
        let mut sum = 0.0;
        for row in items.chunks(64) {
            let mut codes = row.to_vec();
            if cut {
                quantise(&mut codes, bits, Scale::Nearest, |_, _| ());
            } else {
                let most = ((1u32 << (bits - 1)) - 1) as f32;
                let unit = row.iter().fold(1e-9f32, |a, x| a.max(x.abs())) / most;
                codes.iter_mut().for_each(|x| *x = (*x / unit).round() * unit);
            }
            let errors = codes.iter().zip(row).map(|(a, b)| f64::from(a - b).powi(2));
            sum += errors.sum::<f64>();
        }
        sum
    };
    for bits in [3, 4] {
        assert!(error(bits, true) < 0.99 * error(bits, false), "{bits}");
    }
}

#[test]
fn what_cannot_be_coded_is_refused() {
    for wrong in [f32::NAN, f32::INFINITY, 1e30] {
        let items = [1.0, wrong];
        assert!(Ints::pack(Rows::dense(&items, 2, 1), 4, Scale::Nearest).is_none());
    }
    assert!(Ints::pack(Rows::dense(&[0.0; 2049], 1, 2049), 4, Scale::Nearest).is_none());
    assert!(Ints::from_parts((3, 5), 4, &[0; 64], &[1.0; 3]).is_some());
    assert!(Ints::from_parts((3, 5), 4, &[0; 63], &[1.0; 3]).is_none());
    assert!(Ints::from_parts((3, 5), 4, &[0; 64], &[f32::NAN; 3]).is_none());
    assert!(Ints::from_parts((usize::MAX, 5), 4, &[], &[]).is_none());
    assert!(Hamming::pack(Rows::dense(&[f32::NAN], 1, 1), false).is_none());
    assert!(Hamming::from_parts((2, 33), &[0; 4], &[]).is_some());
    assert!(Hamming::from_parts((2, 33), &[0; 4], &[1.0]).is_none());
}

#[test]
fn queries_that_are_not_finite_score_0() {
    let items = vectors(70, 8, 1);
    let table = Ints::pack(Rows::dense(&items, 70, 8), 4, Scale::Nearest).unwrap();
    for wrong in [f32::NAN, f32::INFINITY, 1e-44] {
        let mut scores = vec![1.0; 70];
        table.scores(&[wrong; 8], &mut scores);
        assert_eq!(scores, [0.0; 70]);
    }
}

#[test]
fn signs_are_counted() {
    for (n, dim) in [(1, 1), (64, 31), (130, 64), (65, 200)] {
        for with_length in [false, true] {
            let items = vectors(n, dim, 1);
            let table = Hamming::pack(Rows::dense(&items, n, dim), with_length).unwrap();
            let table = Hamming::from_parts((n, dim), &table.words(), table.lengths()).unwrap();
            conforms_for(&table, &queries_of_signs(dim), 1e-6, true);
        }
    }
}

/// Queries of which a table of signs sees everything.
fn queries_of_signs(dim: usize) -> Vec<f32> {
    vectors(9, dim, 77).iter().map(|x| if *x >= 0.0 { 1.0 } else { -1.0 }).collect()
}

#[test]
fn products_are_sums_of_their_parts() {
    for (n, dim, parts) in [(70, 5, 5), (130, 13, 4), (300, 16, 1), (65, 24, 8)] {
        for n_centres in [256, 16] {
            let items = vectors(n, dim, 1);
            let rows = Rows::dense(&items, n, dim);
            let table = Products::fit(rows, parts, n_centres, 5, 1).unwrap();
            // Tables of 16 are rounded: half a step of 1/255 of the widest table for each part.
            let tolerance = if n_centres == 256 { 1e-5 } else { 0.01 * parts as f32 };
            conforms(&table, tolerance, true);
            let (centres, codes) = (table.centres(), table.codes());
            let read = Products::from_parts((n, dim), parts, n_centres, centres, &codes).unwrap();
            conforms(&read, tolerance, true);
            restored_lengths_are_the_items(read, rows, tolerance);
            if n_centres == 256 && n <= 256 {
                // A centre for each item: nothing is lost, but for points that rounding cannot tell apart.
                let mut decoded = vec![0.0; dim];
                for item in 0..n {
                    table.decode(item, &mut decoded);
                    let errors = decoded.iter().zip(rows.row(item)).map(|(a, b)| (a - b).abs());
                    assert!(errors.fold(0.0, f32::max) < 1e-2);
                }
            }
        }
    }
    let items = vectors(4, 3, 1);
    let rows = Rows::dense(&items, 4, 3);
    assert!(
        Products::fit(rows, 4, 16, 5, 1).is_none() && Products::fit(rows, 0, 16, 5, 1).is_none()
    );
    assert!(Products::from_parts((4, 3), 2, 16, &[0.0; 48], &[0; 16]).is_some());
    assert!(Products::from_parts((4, 3), 2, 16, &[0.0; 48], &[0; 15]).is_none());
    assert!(Products::from_parts((4, 3), 2, 16, &[f32::NAN; 48], &[0; 16]).is_none());
}

/// To half a step, and what is read again is the same.
fn restored_lengths_are_the_items(mut table: Products, items: Rows<'_>, tolerance: f32) {
    let (n, dim) = (items.n(), items.dim());
    let (centres, codes) = (table.centres().to_vec(), table.codes());
    let (parts, n_centres) = (table.parts(), centres.len() / dim);
    let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    let decoded = |table: &Products, item| {
        let mut decoded = vec![0.0; dim];
        table.decode(item, &mut decoded);
        decoded
    };
    let before: Vec<f32> = (0..n).map(|item| length(&decoded(&table, item))).collect();
    let bytes = table.bytes();
    table.restore_lengths(items);
    assert_eq!(table.bytes(), bytes + n.div_ceil(64) * 64 + 4);
    conforms(&table, 4.0 * tolerance, true);
    let (step, words) = table.lengths().unwrap();
    for (item, before) in before.iter().enumerate() {
        let restored = decoded(&table, item);
        // At most four times as long as it was.
        let error = (length(&restored) - length(items.row(item)).min(4.0 * before)).abs();
        assert!(error <= (0.51 * step * before).max(1e-6), "{item}: {error}");
    }
    let fresh = || Products::from_parts((n, dim), parts, n_centres, &centres, &codes).unwrap();
    let read = fresh().with_lengths(step, &words).unwrap();
    for item in 0..n {
        assert_eq!(decoded(&read, item), decoded(&table, item));
    }
    assert!(fresh().with_lengths(step, &words[1..]).is_none());
    assert!(fresh().with_lengths(f32::NAN, &words).is_none());
    assert!(fresh().with_lengths(-1.0, &words).is_none());
}

#[test]
fn items_of_length_zero_score_zero_once_lengths_are_restored() {
    let mut items = vectors(300, 8, 1);
    items[80..160].fill(0.0);
    let rows = Rows::dense(&items, 300, 8);
    for n_centres in [256, 16] {
        let mut table = Products::fit(rows, 4, n_centres, 5, 1).unwrap();
        table.restore_lengths(rows);
        let mut scores = vec![0.0; 300];
        table.scores(&vectors(1, 8, 2), &mut scores);
        assert!(scores[10..20].iter().all(|score| *score == 0.0));
        assert!(scores[20..].iter().any(|score| *score != 0.0));
    }
}

#[test]
fn sums_of_the_widest_tables_do_not_overflow() {
    // 256 parts whose tables span their full range at the same item: 256 * 255 fits into 16 bits.
    let items: Vec<f32> =
        (0..64 * 256).map(|at| if at / 256 % 2 == 0 { 1.0 } else { 0.0 }).collect();
    let table = Products::fit(Rows::dense(&items, 64, 256), 256, 16, 3, 1).unwrap();
    let mut scores = vec![0.0; 64];
    table.scores(&[1.0; 256], &mut scores);
    for (item, score) in scores.iter().enumerate() {
        let expected = if item % 2 == 0 { 256.0 } else { 0.0 };
        assert!((score - expected).abs() < 0.1, "{item}: {score}");
    }
}

#[test]
fn prefixes_are_as_long_as_asked() {
    for (n, dim) in [(1, 3), (64, 8), (150, 20)] {
        let items = vectors(n, dim, 1);
        let rows = Rows::dense(&items, n, dim);
        let lengths: Vec<u32> = (0..n).map(|i| (i * 7 % (dim + 1)) as u32).collect();
        let table = Ragged::pack(rows, &lengths).unwrap();
        conforms(&table, 1e-5, false);
        let read = Ragged::from_parts(dim, &table.values(), table.lengths()).unwrap();
        conforms(&read, 1e-5, false);
        let mut decoded = vec![0.0; dim];
        for (item, length) in lengths.iter().enumerate() {
            table.decode(item, &mut decoded);
            let (kept, cut) = decoded.split_at(*length as usize);
            assert_eq!(kept, &rows.row(item)[..kept.len()]);
            assert!(cut.iter().all(|x| *x == 0.0));
        }
    }
    let items = [1.0; 6];
    assert!(Ragged::pack(Rows::dense(&items, 2, 3), &[1, 4]).is_none());
    assert!(Ragged::from_parts(3, &[1.0; 3], &[1, 1]).is_none());
    assert!(Ragged::from_parts(3, &[f32::NAN; 2], &[1, 1]).is_none());
}

#[test]
fn all_lists_together_are_the_table() {
    let items = vectors(700, 12, 1);
    let table = InvertedLists::fit(Rows::dense(&items, 700, 12), 9, 10, 1).unwrap();
    assert_eq!(table.n_lists(), table.probes());
    conforms(&table, 3e-4, true);
}

#[test]
fn few_lists_find_most_of_the_best_items_and_more_if_they_are_too_few() {
    let (n, dim) = (3000, 8);
    let items = vectors(n, dim, 1);
    let rows = Rows::dense(&items, n, dim);
    let mut table = InvertedLists::fit(rows, 30, 10, 1).unwrap();
    let queries = vectors(20, dim, 9);
    let queries = Rows::dense(&queries, 20, dim);
    let masks: Vec<&[u32]> = vec![&[]; 20];
    let all = top_k(&table, queries, 10, &masks, None);
    let whole = Ints::pack(rows, 8, Scale::Nearest).unwrap();
    assert_eq!(all, top_k(&whole, queries, 10, &masks, None));
    for item in [0, 17, 2999] {
        assert!(table.list_of(item) < 30);
    }
    table.set_probes(3);
    let few = top_k(&table, queries, 10, &masks, None);
    let mut found = 0;
    for query in 0..20 {
        // What was found is in the right order and has the scores of the whole table.
        let (ids, scores) = few.list(query);
        assert_eq!(ids.len(), 10);
        let mut own = vec![0.0; n];
        table.scores(queries.row(query), &mut own);
        assert!(ids.iter().zip(scores).all(|(id, score)| own[*id as usize] == *score));
        found += ids.iter().filter(|id| all.list(query).0.contains(id)).count();
        let scored = own.iter().filter(|score| score.is_finite()).count();
        assert!(scored <= table.n_scored(queries.row(query)) && scored < n / 2, "{scored}");
    }
    // A tenth of the lists, of vectors without any structure but their lengths.
    assert!(found > 100, "{found} of 200");
    // A query that may get 3 items only looks until it has them.
    let mut few = ItemSet::empty(n);
    few.insert_all(&[5, 1000, 2998]);
    table.set_probes(1);
    let lists = top_k(&table, queries, 10, &masks, Some(&few));
    assert!((0..20).all(|query| lists.list(query).0.len() == 3));
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let items = vectors(70, 3, 1);
    let parts = || {
        let fitted = InvertedLists::fit(Rows::dense(&items, 70, 3), 4, 5, 1).unwrap();
        let copy = fitted.table();
        let table = Ints::from_parts((70, 3), 8, &copy.words(), copy.scales()).unwrap();
        (table, fitted.ids().to_vec(), fitted.starts().to_vec(), fitted.centres().to_vec())
    };
    let (table, ids, starts, centres) = parts();
    assert!(InvertedLists::from_parts(table, ids, starts, centres, 1.0).is_some());
    let (table, mut ids, starts, centres) = parts();
    ids[0] = ids[1];
    assert!(InvertedLists::from_parts(table, ids, starts, centres, 1.0).is_none());
    let (table, ids, mut starts, centres) = parts();
    starts[1] = 71;
    assert!(InvertedLists::from_parts(table, ids, starts, centres, 1.0).is_none());
    let (table, ids, starts, centres) = parts();
    assert!(InvertedLists::from_parts(table, ids, starts, centres[1..].to_vec(), 1.0).is_none());
}
