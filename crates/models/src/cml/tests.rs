#![allow(clippy::unwrap_used)]

use super::*;
use crate::parts::loss::CosineContrastive;
use crate::testing;
use rankstill_core::kernel::optimizer::{AdamMode, Sgd};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Batch, ItemId, Query, Scorer, Slate, VectorGrads, VectorObjective, Vectors};

const RATE: f64 = 0.5;

/// The ball is so large that no point leaves it.
fn by_sgd() -> Cml {
    Cml {
        dim: 5,
        max_norm: 100.0,
        init_std: 0.3, // Distances near 1: losses that f32 holds well enough for slopes.
        loss: Loss {
            kind: LossKind::Hinge(Hinge { margin: 0.5 }),
            negatives: 20,
            ..Loss::default()
        },
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..Cml::default()
    }
}

fn check_gradient(objective: &dyn Objective) {
    let train = testing::blocks();
    for cases in [Cases::each_interaction(&train), Cases::windows(&train, 2, 2)] {
        testing::learner_gradient(&by_sgd(), RATE, &train, &cases, objective);
    }
}

#[test]
fn a_step_is_the_slope_of_every_smooth_loss() {
    for kind in [LossKind::Bpr, LossKind::LogLoss, LossKind::Softmax] {
        check_gradient(&Sampled::new(
            Loss { kind, negatives: 4, ..Loss::default() },
            &testing::blocks(),
        ));
    }
}

#[test]
fn a_step_is_the_slope_for_slates_of_every_shape() {
    for (name, objective) in testing::shapes() {
        println!("{name}");
        check_gradient(&*objective);
    }
}

/// An objective of vectors that uses none: learners must provide them all the same.
struct Blind;

impl VectorObjective for Blind {
    fn items(&self, _batch: &Batch<'_>, _slate: &Slate) -> Vec<ItemId> {
        vec![]
    }
    fn loss(&self, _: &Batch<'_>, _: &Vectors<'_>, _: VectorGrads<'_>) -> f64 {
        0.0
    }
}

#[test]
fn sampled_lists_move_the_points_as_products_do() {
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.02, ..Adam::default() });
    let optimizers = [AdamMode::Sparse, AdamMode::Exact, AdamMode::Dense].map(adam);
    for optimizer in optimizers.into_iter().chain([by_sgd().optimizer]) {
        for dim in [5, 70] {
            let recipe = Cml { dim, max_norm: 1.0, optimizer: optimizer.clone(), ..by_sgd() };
            let ragged: Box<dyn Objective> = Box::new(testing::RaggedLists);
            for objective in [recipe.objective(&train), ragged] {
                let fit = |objective: &dyn Objective| {
                    let cases = Cases::each_interaction(&train);
                    let rows = Rng::new(1).permutation(cases.len() as u32);
                    let mut learner = recipe.init(&train, 1).unwrap();
                    let mut losses = Vec::new();
                    for rows in rows.chunks(100).take(3) {
                        let batch = Batch::new(&cases, rows, 0, 1);
                        losses.push(learner.step(&batch, &objective.slate(&batch), objective));
                    }
                    learner.settle();
                    (losses, learner.tensors())
                };
                let (losses, points) = fit(&*objective);
                let (expected, as_products) = fit(&testing::WithVectors(&*objective, Blind));
                for (ours, expected) in losses.iter().zip(expected) {
                    assert!((ours - expected).abs() < 1e-4 * expected, "{ours} {expected}");
                }
                for name in ["users", "items"] {
                    let of = |points: &Tensors| points.matrix(name).unwrap().0.to_vec();
                    for (ours, expected) in of(&points).iter().zip(of(&as_products)) {
                        assert!((ours - expected).abs() < 1e-3, "{name}: {ours} {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn scores_are_minus_the_squared_distance() {
    let train = testing::blocks();
    let model = CmlModel::random(&by_sgd(), &train, 1);
    let mut scores = vec![0.0; 40];
    model.score(&[Query { user: Some(7), history: &[], hidden: &[] }], &mut scores);
    for (item, score) in scores.iter().enumerate() {
        let pairs = model.users.row(7).iter().zip(model.items.row(item));
        let distance = pairs.fold(0.0, |sum, (u, v)| sum + f64::from(u - v).powi(2));
        assert!((f64::from(*score) + distance).abs() < 1e-5, "{score} {distance}");
    }
}

#[test]
fn new_users_are_the_centroid_of_their_items_or_of_all_users() {
    let train = testing::blocks();
    let model = CmlModel::random(&by_sgd(), &train, 1);
    let scores = |query| {
        let mut scores = vec![0.0; 40];
        model.score(&[query], &mut scores);
        scores
    };
    let check = |scores: Vec<f32>, middle: Vec<f32>| {
        for (item, score) in scores.iter().enumerate() {
            let pairs = middle.iter().zip(model.items.row(item));
            let distance = pairs.fold(0.0, |sum, (u, v)| sum + (u - v).powi(2));
            assert!((score + distance).abs() < 1e-5, "{score} {distance}");
        }
    };
    let middle = (0..5).map(|k| 0.5 * (model.items.row(3)[k] + model.items.row(9)[k])).collect();
    check(scores(Query { user: None, history: &[3, 9, 3, 99], hidden: &[] }), middle);
    let mean = |k| (0..48).map(|user| model.users.row(user)[k]).sum::<f32>() / 48.0;
    check(scores(Query::default()), (0..5).map(mean).collect());
}

#[test]
fn what_moved_stays_in_the_ball() {
    let train = testing::blocks();
    let cases = Cases::each_interaction(&train);
    for mode in [AdamMode::Sparse, AdamMode::Exact, AdamMode::Dense] {
        let adam = Adam { mode, learning_rate: 0.5, ..Adam::default() };
        let recipe = Cml { max_norm: 0.7, optimizer: Optimizer::Adam(adam), ..by_sgd() };
        let objective = recipe.objective(&train);
        let mut learner = recipe.init(&train, 1).unwrap();
        for epoch in 0..5 {
            let batch = Batch::new(&cases, &[0, 50, 99, 300], epoch, 1);
            learner.step(&batch, &objective.slate(&batch), &*objective);
        }
        learner.settle();
        let tensors = learner.tensors();
        let mut on_the_surface = 0;
        for name in ["users", "items"] {
            for point in tensors.matrix(name).unwrap().0.chunks(5) {
                let length = point.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
                assert!(length <= 0.7 * 1.0001, "{length}");
                on_the_surface += usize::from(length > 0.6999);
            }
        }
        assert!(on_the_surface > 2);
        // And what it answers with is what it would answer when loaded.
        let loaded = ModelConfig::load(&recipe, &tensors).unwrap();
        let query = [Query { user: Some(0), history: &[], hidden: &[] }];
        let (mut ours, mut theirs) = (vec![0.0; 40], vec![0.0; 40]);
        learner.score(&query, &mut ours);
        loaded.score(&query, &mut theirs);
        assert_eq!(ours, theirs);
    }
}

#[test]
fn exact_is_dense_to_the_bit() {
    let fitted = |mode| {
        let adam = Adam { mode, learning_rate: 0.05, ..Adam::default() };
        let plan = Plan { epochs: 8, batch_size: 32, patience: 0, ..Plan::default() };
        let recipe = Cml { max_norm: 0.7, train: plan, ..by_sgd() };
        let recipe = Cml { optimizer: Optimizer::Adam(adam), ..recipe };
        testing::fit(&recipe, &testing::blocks(), 1).tensors()
    };
    assert_eq!(fitted(AdamMode::Exact), fitted(AdamMode::Dense));
    assert_ne!(fitted(AdamMode::Exact), fitted(AdamMode::Sparse));
}

#[test]
fn the_penalty_lowers_the_covariances_of_different_axes() {
    let covariances = |covariance: f64| {
        let train = testing::blocks();
        let plan = Plan { epochs: 30, batch_size: 64, patience: 0, ..Plan::default() };
        let recipe = Cml { covariance, train: plan, max_norm: 1.0, ..by_sgd() };
        let optimizer = Optimizer::Adam(Adam { learning_rate: 0.02, ..Adam::default() });
        let tensors = testing::fit(&Cml { optimizer, ..recipe }, &train, 1).tensors();
        let items = tensors.matrix("items").unwrap().0.to_vec();
        super::covariance::penalise(&items, 5, 5, 1.0, &mut vec![0.0; items.len()])
    };
    let (without, with) = (covariances(0.0), covariances(10.0));
    assert!(with < 0.5 * without, "{with} {without}");
}

#[test]
fn probes_are_scored_by_every_optimiser() {
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.1, ..Adam::default() });
    let modes = [AdamMode::Sparse, AdamMode::Exact, AdamMode::Dense];
    for optimizer in modes.map(adam).into_iter().chain([by_sgd().optimizer]) {
        let recipe = Cml { optimizer, max_norm: 1.0, ..by_sgd() };
        testing::probes_are_scored(&recipe, &train, &Cases::each_interaction(&train));
    }
}

#[test]
fn rows_of_unknown_users_teach_nothing() {
    testing::unknown_users_teach_nothing(&by_sgd());
}

#[test]
fn invalid_settings_and_models_are_refused() {
    let error = |settings| testing::parse_error("cml", "teacher", &settings);
    use serde_json::json;
    assert!(error(json!({"max_norm": 0.0})).starts_with("teacher.max_norm: must be above 0"));
    assert!(error(json!({"max_norm": 1e-60})).starts_with("teacher.max_norm: must be above 0"));
    assert!(error(json!({"max_norm": 1e60})).starts_with("teacher.max_norm: must be above 0"));
    assert!(error(json!({"covariance": -1.0})).starts_with("teacher.covariance: must be at"));
    let tensors = by_sgd().init(&testing::blocks(), 1).unwrap().tensors();
    let error = ModelConfig::load(&Cml { dim: 6, ..by_sgd() }, &tensors).err().unwrap().to_string();
    assert_eq!(error, "tensor `users`: expected rows of 6, found rows of 5");
}

#[test]
fn every_optimiser_and_loss_passes_the_generic_tests() {
    use serde_json::json;
    let entry = crate::MODELS.iter().find(|entry| entry.name == "cml").unwrap();
    let contrast = LossKind::CosineContrastive(CosineContrastive { margin: 0.5, weight: 2.0 });
    for (loss, optimizer) in [
        (json!({"kind": contrast, "negatives": 8}), json!({"kind": "sgd", "learning_rate": 0.5})),
        (
            json!({"kind": "softmax", "negatives": 5}),
            json!({"mode": "exact", "learning_rate": 0.02}),
        ),
    ] {
        let mut optimizer = optimizer;
        optimizer.as_object_mut().unwrap().entry("kind").or_insert(json!("adam"));
        let settings = json!({
            "dim": 8, "loss": loss, "optimizer": optimizer, "covariance": 0.01, "final_rate": 0.5,
            "train": {"epochs": 30, "batch_size": 64, "validate_every": 3, "patience": 8},
        });
        testing::same_bytes_on_any_threads(entry, &settings);
        testing::resumes_to_the_same_bytes(entry, &settings);
    }
}
