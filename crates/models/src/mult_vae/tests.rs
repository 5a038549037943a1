#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::kernel::dropout::Dropout;
use rankstill_core::kernel::optimizer::Sgd;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Batch, Query};

const RATE: f64 = 0.5;

/// Neither dropout nor noise.
fn by_sgd() -> MultVae {
    MultVae {
        hidden: 5,
        latent: 3,
        variational: false,
        dropout: 0.0,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..MultVae::default()
    }
}

#[test]
fn a_step_is_the_slope_for_slates_of_every_shape() {
    let train = testing::blocks();
    for (name, objective) in testing::shapes() {
        println!("{name}");
        let cases = Cases::windows(&train, 2, 2);
        testing::learner_gradient(&by_sgd(), RATE, &train, &cases, &*objective);
    }
    let cases = Cases::per_user(&train);
    testing::learner_gradient(&by_sgd(), RATE, &train, &cases, &Multinomial);
}

/// One row's loss from the tensors, number by number in f64, with the masks and the noise that the learner draws.
fn naive_loss(recipe: &MultVae, tensors: &Tensors, batch: &Batch<'_>, beta: f64) -> f64 {
    let matrix = |name: &str| {
        let (data, _, columns) = tensors.matrix(name).unwrap();
        move |row: usize, column: usize| f64::from(data[row * columns + column])
    };
    let (w1, b1) = (matrix("inputs"), matrix("encoder.1.bias"));
    let (w2, b2) = (matrix("encoder.2.weight"), matrix("encoder.2.bias"));
    let (w3, b3) = (matrix("decoder.1.weight"), matrix("decoder.1.bias"));
    let w4 = matrix("outputs");
    let MultVae { hidden, latent, variational, .. } = *recipe;
    let dropout = Dropout::new(recipe.dropout);
    (0..batch.len()).fold(0.0, |sum, at| {
        let mut history = batch.case(at).query.history.to_vec();
        history.sort_unstable();
        let mut mask = [0];
        dropout.draw(&mut batch.rng(at, learner::DROPOUT), &mut mask);
        let value = f64::from(dropout.scale()) / (history.len() as f64).sqrt();
        let kept: Vec<u32> =
            (0..history.len()).filter(|k| mask[0] >> k & 1 == 1).map(|k| history[k]).collect();
        let h: Vec<f64> = (0..hidden)
            .map(|k| kept.iter().fold(b1(0, k), |s, &i| s + value * w1(i as usize, k)).tanh())
            .collect();
        let second = |k| (0..hidden).fold(b2(0, k), |s, j| s + h[j] * w2(j, k));
        let mut noise = vec![0.0f32; latent];
        batch.rng(at, learner::NOISE).fill_normal(&mut noise, 0.0, 1.0);
        let mut divergence = 0.0;
        let z: Vec<f64> = (0..latent)
            .map(|k| {
                if !variational {
                    return second(k).tanh();
                }
                let (mu, log_variance): (f64, f64) = (second(k), second(latent + k));
                divergence -= 0.5 * (1.0 + log_variance - mu * mu - log_variance.exp());
                mu + (0.5 * log_variance).exp() * f64::from(noise[k])
            })
            .collect();
        let g: Vec<f64> = (0..hidden)
            .map(|k| (0..latent).fold(b3(0, k), |s, j| s + z[j] * w3(j, k)).tanh())
            .collect();
        let scores: Vec<f64> =
            (0..40).map(|i| (0..hidden).fold(w4(i, hidden), |s, k| s + g[k] * w4(i, k))).collect();
        let mass = scores.iter().fold(0.0, |s, score| s + score.exp()).ln();
        let loss = history.iter().fold(0.0, |s, &i| s + mass - scores[i as usize]);
        sum + loss + beta * divergence
    })
}

#[test]
fn with_noise_dropout_and_divergence_a_step_is_the_slope_of_a_naive_twin() {
    let train = testing::blocks();
    let cases = Cases::per_user(&train);
    for (anneal_steps, beta) in [(0, 0.7), (4, 0.0)] {
        let recipe =
            MultVae { variational: true, dropout: 0.4, beta: 0.7, anneal_steps, ..by_sgd() };
        let mut learner = Trainable::init(&recipe, &train, 3).unwrap();
        let rows = Rng::new(2).permutation(48);
        let batch = Batch::new(&cases, &rows[..20], 2, 1);
        let before = learner.tensors();
        let reported = learner.step(&batch, &Multinomial.slate(&batch), &Multinomial);
        let after = learner.tensors();
        let loss = |tensors: &Tensors| naive_loss(&recipe, tensors, &batch, beta);
        let expected = loss(&before);
        assert!((reported - expected).abs() < 1e-4 * expected, "{reported} {expected}");
        let mut moved = 0;
        for (name, tensor) in before.iter() {
            let old = before.f32s(name, tensor.data.len()).unwrap();
            let new = after.f32s(name, tensor.data.len()).unwrap();
            for i in 0..old.len() {
                let shifted = |by: f32| {
                    let mut values = old.to_vec();
                    values[i] += by;
                    let mut tensors = before.clone();
                    tensors.insert(name, &tensor.shape, values);
                    loss(&tensors)
                };
                let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2 / batch.len() as f64;
                let step = f64::from(old[i] - new[i]) / RATE;
                moved += usize::from(step != 0.0);
                let close = (step - slope).abs() < 2e-4 + 2e-3 * slope.abs();
                assert!(close, "{name}[{i}]: step {step}, slope {slope}");
            }
        }
        assert!(moved > 300, "only {moved} parameters moved");
    }
}

#[test]
fn the_divergence_rises_with_the_steps_of_the_whole_run() {
    let recipe = MultVae { beta: 0.5, anneal_steps: 4, ..MultVae::default() };
    let risen: Vec<f32> = (0..6).map(|step| recipe.beta_at(step)).collect();
    assert_eq!(risen, [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]);
    assert_eq!(MultVae { anneal_steps: 0, ..recipe.clone() }.beta_at(0), 0.5);
    assert_eq!(MultVae { variational: false, ..recipe }.beta_at(9), 0.0);
}

#[test]
fn known_and_new_users_are_scored_from_their_history_alone() {
    let train = testing::blocks();
    let recipe = MultVae { variational: true, ..by_sgd() };
    let learner = Trainable::init(&recipe, &train, 1).unwrap();
    let answer = |user, history: &[u32]| {
        let mut scores = vec![0.0; 40];
        learner.score(&[Query { user, history, hidden: &[] }], &mut scores);
        scores
    };
    let known = answer(Some(3), &[1, 5, 9]);
    assert_eq!(known, answer(None, &[1, 5, 9]));
    assert_eq!(known, answer(Some(99), &[9, 1, 5, 1, 77]), "order, repeats, unknown items");
    assert_ne!(known, answer(None, &[1, 5]));
}

#[test]
fn probes_are_scored_by_every_optimiser() {
    use rankstill_core::kernel::optimizer::AdamMode;
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.1, ..Adam::default() });
    let optimizers = [adam(AdamMode::Exact), adam(AdamMode::Sparse), adam(AdamMode::Dense)];
    for optimizer in optimizers.into_iter().chain([by_sgd().optimizer]) {
        let recipe = MultVae { optimizer, ..by_sgd() };
        testing::probes_are_scored(&recipe, &train, &Cases::each_interaction(&train));
    }
}

#[test]
fn parameters_are_counted_by_hand() {
    // 40 items, 5 hidden, 3 latent: 40 x 5 + 5, 5 x 6 + 6, 3 x 5 + 5, 5 x 40 + 40.
    let train = testing::blocks();
    let count = |recipe: &MultVae| Trainable::init(recipe, &train, 1).unwrap().n_parameters();
    assert_eq!(count(&MultVae { variational: true, ..by_sgd() }), 205 + 36 + 20 + 240);
    assert_eq!(count(&by_sgd()), 205 + 18 + 20 + 240);
    let numbers = Trainable::init(&by_sgd(), &train, 1).unwrap().tensors().n_numbers();
    assert_eq!(numbers, count(&by_sgd()));
}

#[test]
fn models_that_do_not_fit_the_recipe_are_refused() {
    let train = testing::blocks();
    let tensors = Trainable::init(&by_sgd(), &train, 1).unwrap().tensors();
    let message = |recipe: MultVae| ModelConfig::load(&recipe, &tensors).err().unwrap().to_string();
    let error = message(MultVae { hidden: 6, ..by_sgd() });
    assert_eq!(error, "tensor `inputs`: expected rows of 6, found 5");
    let error = message(MultVae { variational: true, ..by_sgd() });
    assert_eq!(error, "tensor `encoder.2.weight`: expected 5 x 6, found 5 x 3");
    assert!(Trainable::resume(&by_sgd(), &train, &tensors).is_err());
}

#[test]
fn invalid_settings_are_named_in_full() {
    use serde_json::json;
    let error = |settings| testing::parse_error("mult_vae", "teacher", &settings);
    assert!(error(json!({"hidden": 0})).starts_with("teacher.hidden: must be from 1"));
    assert!(error(json!({"dropout": 1.0})).starts_with("teacher.dropout: must be from 0"));
    assert!(error(json!({"beta": -0.1})).starts_with("teacher.beta: must be at least 0"));
}

#[test]
fn both_kinds_and_wide_layers_hold_what_models_must_hold() {
    use serde_json::json;
    let entry = crate::MODELS.iter().find(|entry| entry.name == "mult_vae").unwrap();
    let plan = json!({"epochs": 50, "batch_size": 20, "validate_every": 3, "patience": 9});
    for (hidden, variational, mode) in
        [(20, false, "sparse"), (130, true, "dense"), (130, false, "exact")]
    {
        let settings = json!({
            "hidden": hidden, "latent": 8, "variational": variational, "beta": 0.1, "train": plan,
            "optimizer": {"kind": "adam", "mode": mode, "learning_rate": 0.02}, "final_rate": 0.5,
        });
        testing::same_bytes_on_any_threads(entry, &settings);
        testing::resumes_to_the_same_bytes(entry, &settings);
        testing::finds_the_held_out_item(entry, &settings);
    }
}
