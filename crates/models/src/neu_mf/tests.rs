#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::Query;
use rankstill_core::kernel::optimizer::{AdamMode, Sgd};

const RATE: f64 = 0.5;

/// A smooth activation, so that finite differences see no kink.
fn by_sgd() -> NeuMf {
    NeuMf {
        dim: 3,
        mlp_dim: 4,
        layers: vec![5, 3],
        activation: Activation::Tanh,
        init_std: 0.5,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..NeuMf::default()
    }
}

fn check_gradient(recipe: &NeuMf, objective: &dyn Objective) {
    let train = testing::blocks();
    for cases in [Cases::each_interaction(&train), Cases::windows(&train, 2, 2)] {
        testing::learner_gradient(recipe, RATE, &train, &cases, objective);
    }
}

#[test]
fn a_step_is_the_slope_of_every_own_loss() {
    for kind in [LossKind::Bpr, LossKind::LogLoss] {
        let objective =
            Sampled::new(Loss { kind, negatives: 4, ..Loss::default() }, &testing::blocks());
        for layers in [vec![5], vec![6, 5, 3]] {
            check_gradient(&NeuMf { layers, ..by_sgd() }, &objective);
        }
    }
}

#[test]
fn a_step_is_the_slope_for_slates_of_every_shape() {
    for (name, objective) in testing::shapes() {
        println!("{name}");
        check_gradient(&by_sgd(), &*objective);
    }
}

#[test]
fn rows_of_unknown_users_teach_nothing() {
    testing::unknown_users_teach_nothing(&by_sgd());
}

#[test]
fn probes_are_scored_by_every_optimiser() {
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.05, ..Adam::default() });
    let optimizers = [adam(AdamMode::Exact), adam(AdamMode::Sparse), adam(AdamMode::Dense)];
    for optimizer in optimizers.into_iter().chain([by_sgd().optimizer]) {
        let recipe = NeuMf { optimizer, ..by_sgd() };
        testing::probes_are_scored(&recipe, &train, &Cases::each_interaction(&train));
    }
}

#[test]
fn a_score_is_that_of_the_definition() {
    let train = testing::blocks();
    let recipe = NeuMf { layers: vec![5, 4, 3], activation: Activation::Relu, ..by_sgd() };
    let mut learner = Trainable::init(&recipe, &train, 1).unwrap();
    let cases = Cases::each_interaction(&train);
    for epoch in 0..3 {
        let rows: Vec<u32> = (0..60).map(|row| 5 * row).collect();
        let batch = rankstill_core::Batch::new(&cases, &rows, epoch, 1);
        let objective = Sampled::new(recipe.loss.clone(), &train);
        learner.step(&batch, &objective.slate(&batch), &objective);
    }
    let tensors = learner.tensors();
    let matrix = |name: &str| {
        let (data, _, columns) = tensors.matrix(name).unwrap();
        move |row: usize, column: usize| f64::from(data[row * columns + column])
    };
    let (users, items) = (matrix("users"), matrix("items"));
    for user in [0, 30] {
        let mut scores = vec![0.0; 40];
        learner.score(&[Query { user: Some(user), history: &[], hidden: &[] }], &mut scores);
        let user = user as usize;
        for (item, score) in scores.iter().enumerate() {
            let (h, c) = (matrix("last.product"), matrix("last.bias"));
            let product = (0..3).fold(0.0, |s, k| s + h(0, k) * users(user, k) * items(item, k));
            let (w, v, b) =
                (matrix("layers.1.user"), matrix("layers.1.item"), matrix("layers.1.bias"));
            let mut act: Vec<f64> = (0..5)
                .map(|j| {
                    (0..4).fold(b(0, j), |s, k| {
                        s + w(k, j) * users(user, 3 + k) + v(k, j) * items(item, 3 + k)
                    })
                })
                .map(|sum: f64| sum.max(0.0))
                .collect();
            for (layer, outputs) in [(2, 4), (3, 3)] {
                let w = matrix(&format!("layers.{layer}.weight"));
                let b = matrix(&format!("layers.{layer}.bias"));
                let sum = |j| act.iter().enumerate().fold(b(0, j), |s, (k, a)| s + a * w(k, j));
                act = (0..outputs).map(|j| f64::max(sum(j), 0.0)).collect();
            }
            let g = matrix("last.mlp");
            let by_hand =
                act.iter().enumerate().fold(product + c(0, 0), |s, (k, a)| s + g(0, k) * a);
            assert!((f64::from(*score) - by_hand).abs() < 1e-4, "{score} {by_hand}");
        }
    }
}

#[test]
fn parameters_are_counted_by_hand() {
    // Rows of 3 + 4; halves 2 x 4 x 5 and 5 biases; 5 x 3 + 3; the last layer 3 + 3 + 1.
    let model = Trainable::init(&by_sgd(), &testing::blocks(), 1).unwrap();
    assert_eq!(model.n_parameters(), (48 + 40) * 7 + 45 + 18 + 7);
    assert_eq!(model.tensors().n_numbers(), model.n_parameters());
}

#[test]
fn models_that_do_not_fit_the_recipe_are_refused() {
    let train = testing::blocks();
    let tensors = Trainable::init(&by_sgd(), &train, 1).unwrap().tensors();
    let message = |recipe: NeuMf| ModelConfig::load(&recipe, &tensors).err().unwrap().to_string();
    let error = message(NeuMf { dim: 4, ..by_sgd() });
    assert_eq!(error, "tensor `users`: expected rows of 8, found rows of 7");
    let error = message(NeuMf { layers: vec![5, 4], ..by_sgd() });
    assert_eq!(error, "tensor `layers.2.weight`: expected 5 x 4, found 5 x 3");
    assert!(Trainable::resume(&by_sgd(), &train, &tensors).is_err());
}

#[test]
fn invalid_settings_are_named_in_full() {
    use serde_json::json;
    let error = |settings| testing::parse_error("neu_mf", "teacher", &settings);
    assert!(error(json!({"layers": []})).starts_with("teacher.layers: must be 1 to 16"));
    assert!(error(json!({"layers": [8, 0]})).starts_with("teacher.layers: must be from 1"));
    assert!(error(json!({"mlp_dim": 0})).starts_with("teacher.mlp_dim: must be from 1"));
    assert!(error(json!({"loss": {"negatives": 0}})).starts_with("teacher.loss.negatives"));
}

#[test]
fn every_optimiser_and_activation_passes_the_generic_tests() {
    use serde_json::json;
    let entry = crate::MODELS.iter().find(|entry| entry.name == "neu_mf").unwrap();
    let plan = json!({"epochs": 30, "batch_size": 100, "validate_every": 3, "patience": 9});
    for (activation, mode, layers) in
        [("relu", "sparse", json!([12])), ("tanh", "dense", json!([12, 8, 4]))]
    {
        let settings = json!({
            "dim": 8, "mlp_dim": 6, "layers": layers, "activation": activation, "init_std": 0.1,
            "optimizer": {"kind": "adam", "mode": mode, "learning_rate": 0.02}, "final_rate": 0.5, "train": plan,
        });
        testing::same_bytes_on_any_threads(entry, &settings);
        testing::resumes_to_the_same_bytes(entry, &settings);
        testing::finds_the_held_out_item(entry, &settings);
    }
}
