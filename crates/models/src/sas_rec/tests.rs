#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::kernel::optimizer::{AdamMode, Sgd};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Batch, Lists, Query};

const RATE: f64 = 0.1;

/// Without dropout, with a smooth activation and vectors that are not small: finite differences meet no kink,
/// and little curvature.
fn by_sgd() -> SasRec {
    SasRec {
        dim: 6,
        length: 3,
        blocks: 2,
        heads: 2,
        dropout: 0.0,
        activation: Activation::Tanh,
        init_std: 1.0,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..SasRec::default()
    }
}

/// A query's vector from the tensors, number by number in f64, every position of every block.
fn naive_vector(recipe: &SasRec, tensors: &Tensors, history: &[u32]) -> Vec<f64> {
    let (dim, heads) = (recipe.dim, recipe.heads);
    let matrix = |name: &str| {
        let (data, _, columns) = tensors.matrix(name).unwrap();
        move |row: usize, column: usize| f64::from(data[row * columns + column])
    };
    let normal = |x: &[f64], name: &str| -> Vec<f64> {
        let (gain, bias) = (matrix(&format!("{name}.gain")), matrix(&format!("{name}.bias")));
        let mean = x.iter().sum::<f64>() / dim as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / dim as f64;
        let hat = |k: usize| (x[k] - mean) / (variance + 1e-8).sqrt();
        (0..dim).map(|k| gain(0, k) * hat(k) + bias(0, k)).collect()
    };
    let n = history.len().min(recipe.length);
    let (items, positions) = (matrix("items"), matrix("positions"));
    let mut x: Vec<Vec<f64>> = history[history.len() - n..]
        .iter()
        .enumerate()
        .map(|(j, &item)| {
            let at = recipe.length - n + j;
            let scale = (dim as f64).sqrt();
            (0..dim).map(|k| scale * items(item as usize, k) + positions(at, k)).collect()
        })
        .collect();
    for block in 0..recipe.blocks {
        let linear = |x: &[f64], name: &str| -> Vec<f64> {
            let weight = matrix(&format!("blocks.{block}.{name}.weight"));
            let bias = matrix(&format!("blocks.{block}.{name}.bias"));
            (0..dim).map(|k| (0..dim).fold(bias(0, k), |s, j| s + x[j] * weight(j, k))).collect()
        };
        let keys: Vec<_> = x.iter().map(|x| linear(x, "key")).collect();
        let values: Vec<_> = x.iter().map(|x| linear(x, "value")).collect();
        let out = (0..n).map(|t| {
            let normed = normal(&x[t], &format!("blocks.{block}.normal.0"));
            let q = linear(&normed, "query");
            let mut y = normed;
            let width = dim / heads;
            for head in 0..heads {
                let columns = head * width..(head + 1) * width;
                let shares: Vec<f64> = (0..=t)
                    .map(|j| columns.clone().fold(0.0, |s, k| s + q[k] * keys[j][k]))
                    .map(|dot| (dot / (width as f64).sqrt()).exp())
                    .collect();
                let mass: f64 = shares.iter().sum();
                for k in columns {
                    y[k] += (0..=t).fold(0.0, |s, j| s + shares[j] / mass * values[j][k]);
                }
            }
            let z = normal(&y, &format!("blocks.{block}.normal.1"));
            let inner: Vec<f64> = linear(&z, "inner").into_iter().map(f64::tanh).collect();
            linear(&inner, "outer").iter().zip(&z).map(|(a, b)| a + b).collect()
        });
        x = out.collect();
    }
    normal(&x[n - 1], "last")
}

#[test]
fn a_score_is_that_of_the_definition() {
    let train = testing::blocks();
    for (blocks, heads) in [(1, 1), (3, 2)] {
        let recipe = SasRec { blocks, heads, length: 5, ..by_sgd() };
        let mut learner = Trainable::init(&recipe, &train, 1).unwrap();
        let cases = recipe.cases(&train);
        let rows: Vec<u32> = (0..50).collect();
        let batch = Batch::new(&cases, &rows, 0, 1);
        let objective = recipe.objective(&train);
        learner.step(&batch, &objective.slate(&batch), &*objective);
        let tensors = learner.tensors();
        let (items, _, dim) = tensors.matrix("items").unwrap();
        for history in [&[3, 1, 8, 20, 5, 39, 2][..], &[7, 7, 0], &[11]] {
            let vector = naive_vector(&recipe, &tensors, history);
            let mut scores = vec![0.0; 40];
            learner.score(&[Query { user: None, history, hidden: &[] }], &mut scores);
            for (item, score) in items.chunks_exact(dim).zip(&scores) {
                let by_hand = item.iter().zip(&vector).fold(0.0, |s, (&a, b)| s + f64::from(a) * b);
                assert!((f64::from(*score) - by_hand).abs() < 1e-3, "{score} {by_hand}");
            }
        }
    }
}

#[test]
fn a_loss_of_vectors_steps_as_that_of_their_products() {
    testing::vectors_or_scores(&by_sgd(), &testing::blocks());
}

/// In f64, because attention is curved: in f32, steps long enough for the slope to be seen meet the curvature.
#[test]
fn a_step_is_the_slope_of_a_naive_twin_for_lists_and_for_everything() {
    let train = testing::blocks();
    for (name, objective) in testing::shapes() {
        for (blocks, heads) in [(2, 2), (1, 1)] {
            let recipe = SasRec { blocks, heads, ..by_sgd() };
            let cases = recipe.cases(&train);
            let rows: Vec<u32> = Rng::new(2).permutation(cases.len() as u32)[..20].to_vec();
            let batch = Batch::new(&cases, &rows, 0, 1);
            let slate = objective.slate(&batch);
            let loss = |tensors: &Tensors| {
                (0..batch.len()).fold(0.0, |sum, at| {
                    let history = batch.case(at).query.history;
                    let vector = naive_vector(&recipe, tensors, history);
                    let (items, _, dim) = tensors.matrix("items").unwrap();
                    let scores: Vec<f64> = items
                        .chunks_exact(dim)
                        .map(|e| e.iter().zip(&vector).fold(0.0, |s, (&a, b)| s + f64::from(a) * b))
                        .collect();
                    sum + naive_loss(name, &slate, at, batch.case(at).targets, history, &scores)
                })
            };
            let mut learner = Trainable::init(&recipe, &train, 1).unwrap();
            let before = learner.tensors();
            let reported = learner.step(&batch, &slate, &*objective);
            let after = learner.tensors();
            let expected = loss(&before);
            assert!((reported - expected).abs() < 1e-4 * expected, "{name}: {reported} {expected}");
            let mut moved = 0;
            for (tensor, values) in before.iter() {
                let len = values.data.len();
                let old = before.f32s(tensor, len).unwrap();
                let new = after.f32s(tensor, len).unwrap();
                for i in 0..len {
                    let shifted = |by: f32| {
                        let mut values = old.to_vec();
                        values[i] += by;
                        let at = f64::from(values[i]);
                        let mut tensors = before.clone();
                        tensors.insert(tensor, &before.get(tensor).unwrap().shape, values);
                        (loss(&tensors), at)
                    };
                    let (up, down) = (shifted(5e-4), shifted(-5e-4));
                    let slope = (up.0 - down.0) / (up.1 - down.1) / batch.len() as f64;
                    let step = f64::from(old[i] - new[i]) / RATE;
                    moved += usize::from(step != 0.0);
                    let close = (step - slope).abs() < 1e-4 + 1e-3 * slope.abs();
                    assert!(close, "{name}: {tensor}[{i}]: step {step}, slope {slope}");
                }
            }
            assert!(moved > 300, "{name}: only {moved} parameters moved");
        }
    }
}

/// The losses of [`testing::shapes`], in f64.
fn naive_loss(
    name: &str,
    slate: &rankstill_core::Slate,
    at: usize,
    targets: &[u32],
    history: &[u32],
    scores: &[f64],
) -> f64 {
    use rankstill_core::Slate;
    match slate {
        Slate::Lists { listed, .. } => {
            let listed = listed.row(at).iter().enumerate();
            listed.fold(0.0, |s, (k, &i)| s + 0.5 * (scores[i as usize] - (k as f64 - 1.0)).powi(2))
        }
        Slate::All => (0..scores.len()).fold(0.0, |s, i| {
            let goal = f64::from(u8::from(history.contains(&(i as u32))));
            s + 0.5 * (scores[i] - goal).powi(2)
        }),
        Slate::WithSample { estimated, .. } => {
            let drawn: f64 = slate.drawn_for(at).map(|i| scores[i as usize].exp()).sum();
            let rest = drawn * f64::from(estimated.stands_for[at]).exp();
            targets.iter().fold(0.0, |s, &i| s + (rest / scores[i as usize].exp()).ln_1p())
        }
        Slate::WithComplement { left_out, asking, .. } => {
            assert_eq!(name, "complement");
            let asks = asking.contains(&(at as u32));
            let counts = |i: &usize| {
                let i = *i as u32;
                asks && !targets.contains(&i) && !left_out.row(at).contains(&i)
            };
            let rest = (0..scores.len()).filter(counts).fold(0.0, |s, i| s + scores[i].exp());
            targets.iter().fold(0.0, |s, &i| s + (rest / scores[i as usize].exp()).ln_1p())
        }
    }
}

/// With dropout a step is the slope of the loss with the same masks, which only the learner knows.
#[test]
fn a_step_with_dropout_is_the_slope_of_its_own_loss() {
    let train = testing::blocks();
    let recipe = SasRec { dropout: 0.3, ..by_sgd() };
    let still = Optimizer::Sgd(Sgd { learning_rate: 0.0, weight_decay: 0.0 });
    let still = SasRec { optimizer: still, ..recipe.clone() };
    let objective = recipe.objective(&train);
    // Padding learns nothing, and shifting it is no model.
    let named = [("items.parameters", false), ("tower.parameters", true)];
    testing::step_is_slope_of_own_loss((&recipe, &still), RATE, &train, &*objective, &named);
}

#[test]
fn probes_are_scored_by_every_optimiser() {
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.02, ..Adam::default() });
    let optimizers = [adam(AdamMode::Exact), adam(AdamMode::Sparse), adam(AdamMode::Dense)];
    for optimizer in optimizers.into_iter().chain([by_sgd().optimizer]) {
        let recipe = SasRec { optimizer, ..by_sgd() };
        testing::probes_are_scored(&recipe, &train, &recipe.cases(&train));
    }
}

#[test]
fn what_is_older_than_the_window_or_unknown_does_not_count_and_order_does() {
    let train = testing::blocks();
    let learner = Trainable::init(&by_sgd(), &train, 1).unwrap();
    let answer = |history: &[u32]| {
        let mut scores = vec![0.0; 40];
        learner.score(&[Query { user: Some(1), history, hidden: &[] }], &mut scores);
        scores
    };
    let known = answer(&[1, 2, 3]);
    assert_eq!(known, answer(&[9, 8, 1, 2, 3]));
    assert_eq!(known, answer(&[1, 2, 40, 3, u32::MAX]));
    assert_ne!(known, answer(&[2, 1, 3]));
    assert_ne!(known, answer(&[2, 3]));
    assert!(answer(&[]).iter().all(|score| score.is_finite()));
}

#[test]
fn every_prefix_is_a_case() {
    let log = Lists::from_iter([vec![4, 2, 7], vec![5], vec![1, 3]]);
    let cases = by_sgd().cases(&Interactions::new(9, log, None, None).unwrap());
    let all: Vec<_> = cases.iter().map(|c| (c.query.history.to_vec(), c.targets[0])).collect();
    assert_eq!(all, [(vec![4], 2), (vec![4, 2], 7), (vec![1], 3)]);
}

#[test]
fn parameters_are_counted_by_hand() {
    // 40 x 6; positions 3 x 6; two blocks of 5 x (36 + 6) + 4 x 6; the last gain and bias.
    let model = Trainable::init(&by_sgd(), &testing::blocks(), 1).unwrap();
    assert_eq!(model.n_parameters(), 240 + 18 + 2 * 234 + 12);
    assert_eq!(model.tensors().n_numbers(), model.n_parameters());
}

#[test]
fn invalid_settings_and_models_are_refused() {
    use serde_json::json;
    let error = |settings| testing::parse_error("sas_rec", "teacher", &settings);
    assert!(error(json!({"heads": 5})).starts_with("teacher.heads: must divide `dim`, 64"));
    assert!(error(json!({"length": 0})).starts_with("teacher.length: must be from 1"));
    let train = testing::blocks();
    let tensors = Trainable::init(&by_sgd(), &train, 1).unwrap().tensors();
    let error = ModelConfig::load(&SasRec { length: 4, ..by_sgd() }, &tensors).err().unwrap();
    assert_eq!(error.to_string(), "tensor `positions`: expected 4 x 6, found 3 x 6");
    assert!(Trainable::resume(&by_sgd(), &train, &tensors).is_err());
}
