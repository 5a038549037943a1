#![allow(clippy::unwrap_used)]

use super::*;
use perpetual::objective::Objective;
use perpetual::{Matrix, PerpetualBooster};
use rankstill_core::Lists;

fn log() -> CandidateIndex {
    let lines = [vec![0, 1, 2], vec![0, 1], vec![1, 3], vec![2, 3, 4]];
    let train = Interactions::new(6, Lists::from_iter(lines), None, None).unwrap();
    CandidateIndex::new(baskets(&train))
}

fn features(found: &[(ItemId, [f32; N])], item: ItemId) -> Option<[f32; N]> {
    found.iter().find(|(other, _)| *other == item).map(|(_, features)| *features)
}

#[test]
fn counts_by_hand() {
    let log = log();
    let mut scratch = CandidateScratch::new(&log);
    // 1: two users have it with 0, one with 2; it has three users, 0 and 2 have two each. The first has both 0
    // and 2 and three items, the second 0 and two items.
    let found = log.candidates(&[2, 0], None, 9, &mut scratch);
    let cosines = [2.0 / 6f32.sqrt(), 1.0 / 6f32.sqrt()];
    let alike = [2.0 / 3f32.sqrt(), 1.0 / 2f32.sqrt()];
    let by_hand = [
        2.0,
        3.0,
        2.0,
        3.0,
        2.0,
        cosines[0] + cosines[1],
        cosines[0],
        2.0,
        cosines[0],
        alike[0] + alike[1],
        4.0 / 3.0 + 0.5,
        1.0,
        1.0,
        1.0,
    ];
    let ours = features(&found, 1).unwrap();
    for (found, by_hand) in ours.iter().zip(by_hand) {
        assert!((found - by_hand).abs() < 1e-6, "{ours:?} {by_hand:?}");
    }
    assert!(features(&found, 5).is_none(), "no user has it");
    // The same query again, with an unknown item in the history: the scratch space was left clean.
    assert_eq!(features(&log.candidates(&[2, 77, 0], None, 9, &mut scratch), 1), Some(ours));
    assert_eq!(log.candidates(&[2, 0], None, 2, &mut scratch).len(), 2);
}

#[test]
fn the_user_of_a_training_example_does_not_count() {
    let log = log();
    let mut scratch = CandidateScratch::new(&log);
    // The first user has 0, 1 and 2, and 1 is the positive: one other user has it together with 0, none with 2.
    let found = log.candidates(&[0, 2], Some((0, 1)), 9, &mut scratch);
    let ours = features(&found, 1).unwrap();
    assert_eq!((ours[1], ours[2], ours[3]), (2.0, 1.0, 1.0));
    assert!((ours[10] - 0.5).abs() < 1e-6, "{ours:?}");
    assert_eq!(features(&found, 3).unwrap()[3], 1.0, "of the others, all count");
}

#[test]
fn the_trees_score_as_in_the_library() {
    let mut rng = Rng::new(5);
    let rows: Vec<[f32; N]> =
        (0..2000).map(|_| std::array::from_fn(|_| rng.below(40) as f32)).collect();
    let labels: Vec<f64> =
        rows.iter().map(|row| f64::from(u8::from(row[1] + row[5] > 40.0))).collect();
    let forest = Forest::learn(&rows, labels.clone(), 0.3, 1, &Stop::default()).unwrap();
    let columns: Vec<f64> =
        (0..N).flat_map(|at| rows.iter().map(move |row| f64::from(row[at]))).collect();
    let mut theirs =
        PerpetualBooster::default().set_objective(Objective::LogLoss).set_budget(0.3).set_seed(1);
    let matrix = Matrix::new(&columns, rows.len(), N);
    theirs.fit(&matrix, &labels, None, None).unwrap();
    let expected = theirs.predict(&matrix, false);
    for (row, expected) in rows.iter().zip(&expected) {
        let ours = f64::from(forest.score(row)) + theirs.base_score;
        assert!((ours - expected).abs() < 1e-4, "{ours} {expected}");
    }
    let right = rows.iter().zip(&labels).filter(|(row, labels)| {
        (f64::from(forest.score(row)) + theirs.base_score > 0.0) == (**labels == 1.0)
    });
    assert!(right.count() > 1900);
}

#[test]
fn corrupt_files_are_refused() {
    let train = crate::testing::blocks();
    let recipe = BoostedTrees::default();
    let tensors = crate::testing::fit(&recipe, &train, 1).tensors();
    assert!(recipe.load(&tensors).is_ok());
    let n = tensors.u32s("left").unwrap().len();
    let spoil = |name: &str, data: rankstill_core::Data| {
        let mut tensors = tensors.clone();
        let shape = [data.len()];
        tensors.insert(name, &shape, data);
        recipe.load(&tensors).err().map(|error| error.to_string()).unwrap()
    };
    assert!(n > 0 && spoil("left", vec![0u32; n].into()).contains("later node"));
    assert!(spoil("right", vec![0u32; n + 1].into()).contains("expected"));
    assert!(spoil("roots", vec![n as u32].into()).contains("below"));
    assert!(spoil("values", vec![f32::NAN; n].into()).contains("finite"));
}
