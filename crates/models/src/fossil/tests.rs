#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Sgd};
use rankstill_core::{Batch, Lists, Query};

const RATE: f64 = 0.5;

fn by_sgd(dim: usize) -> Fossil {
    Fossil {
        dim,
        order: 3,
        init_std: 0.4,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..Fossil::default()
    }
}

/// So many users and items, and nothing else.
fn sized(n_users: usize, n_items: usize) -> Arc<Interactions> {
    let lines = (0..n_users).map(|_| Vec::new());
    Arc::new(Interactions::new(n_items, Lists::from_iter(lines), None, None).unwrap())
}

#[test]
fn parameters_are_as_many_as_in_the_papers_table_3() {
    let count = |n_users, n_items, dim| {
        let recipe = Fossil { dim, ..Fossil::default() };
        recipe.init(&sized(n_users, n_items), 1).unwrap().n_parameters()
    };
    assert_eq!(count(13_149, 14_009, 50), 1_480_659, "Gowalla, teacher: 1.48M");
    assert_eq!(count(13_149, 14_009, 20), 640_119, "Gowalla, student: 0.64M");
    // Foursquare's users and items are known to three digits only.
    assert!((1_005_000..1_015_000).contains(&count(10_100, 23_400, 20)), "1.01M");
    assert!((535_000..545_000).contains(&count(10_100, 23_400, 10)), "0.54M");
}

#[test]
fn a_score_by_hand() {
    // P = (1, 2, 4), Q = (1, 10, 100), b = (0.5, 0, 0), eta = (0.25, 0.125), eta^0 = (0.5, 0), alpha = 0.5.
    let recipe = Fossil { dim: 1, order: 2, alpha: 0.5, ..Fossil::default() };
    let mut tensors = Tensors::default();
    tensors.insert("said", &[3, 1], vec![1.0f32, 2.0, 4.0]);
    tensors.insert("items", &[3, 2], vec![1.0f32, 0.5, 10.0, 0.0, 100.0, 0.0]);
    tensors.insert("own_weights", &[1, 2], vec![0.5f32, 0.0]);
    tensors.insert("weights", &[2], vec![0.25f32, 0.125]);
    let model = ModelConfig::load(&recipe, &tensors).unwrap();
    let score = |user, history: &[u32]| {
        let mut out = [0.0; 3];
        model.score(&[Query { user, history, hidden: &[] }], &mut out);
        out
    };
    // 4^-0.5 (1 + 2 + 2 + 4) = 4.5; the latest, 4, by 0.25 + 0.5, the one before, 2, by 0.125.
    let x = 4.5 + 0.75 * 4.0 + 0.125 * 2.0;
    assert_eq!(score(Some(0), &[0, 1, 1, 2]), [x + 0.5, 10.0 * x, 100.0 * x]);
    let new_user = 4.5 + 0.25 * 4.0 + 0.125 * 2.0;
    assert_eq!(score(None, &[0, 1, 1, 2])[1], 10.0 * new_user);
    let short = 2.0 + 0.25 * 2.0;
    assert_eq!(score(Some(9), &[1])[2], 100.0 * short, "one item: only the first weight");
    assert_eq!(score(Some(0), &[]), [0.5, 0.0, 0.0], "without a history: the biases");
}

#[test]
fn a_step_is_the_slope_of_every_own_loss() {
    use crate::parts::loss::LossKind::{Bpr, LogLoss, Softmax};
    let train = testing::blocks();
    for dim in [5, 16] {
        for kind in [Bpr, LogLoss, Softmax] {
            let objective = Sampled::new(Loss { kind, negatives: 3, ..Loss::default() }, &train);
            let recipe = by_sgd(dim);
            let cases = recipe.cases(&train);
            testing::learner_gradient(&recipe, RATE, &train, &cases, &objective);
        }
    }
}

#[test]
fn a_step_is_the_slope_for_slates_of_every_shape() {
    let train = testing::blocks();
    for (name, objective) in testing::shapes() {
        println!("{name}");
        for cases in [Cases::windows(&train, 2, 2), Cases::each_interaction(&train)] {
            testing::learner_gradient(&by_sgd(5), RATE, &train, &cases, &*objective);
        }
    }
}

#[test]
fn unknown_users_teach_items_but_no_users() {
    let train = testing::blocks();
    let timeline = Arc::new(train.items().values().to_vec());
    let span = |user| rankstill_core::Span { user, history: 0..4, hidden: 0..0, targets: 4..5 };
    let cases = Cases::new(40, timeline, vec![span(None), span(Some(999)), span(Some(3))]).unwrap();
    let recipe = by_sgd(4);
    let objective = recipe.objective(&train);
    for (rows, user_moves) in [(&[0u32, 1][..], false), (&[2, 0, 1][..], true)] {
        let mut learner = recipe.init(&train, 1).unwrap();
        let before = learner.tensors();
        let batch = Batch::new(&cases, rows, 0, 1);
        learner.step(&batch, &objective.slate(&batch), &*objective);
        let after = learner.tensors();
        assert_ne!(before.get("said"), after.get("said"));
        assert_ne!(before.get("weights"), after.get("weights"));
        assert_eq!(before.get("own_weights") != after.get("own_weights"), user_moves);
    }
}

#[test]
fn probes_are_scored_by_every_optimiser() {
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.1, ..Adam::default() });
    for optimizer in [adam(AdamMode::Exact), adam(AdamMode::Sparse), by_sgd(5).optimizer] {
        let recipe = Fossil { optimizer, ..by_sgd(5) };
        testing::probes_are_scored(&recipe, &train, &recipe.cases(&train));
    }
}

#[test]
fn exact_and_dense_adam_are_one_model() {
    let train = testing::blocks();
    let by = |mode| {
        let adam = Adam { mode, learning_rate: 0.02, weight_decay: 1e-3, ..Adam::default() };
        let plan = Plan { epochs: 3, batch_size: 50, ..Plan::default() };
        let recipe = Fossil { optimizer: Optimizer::Adam(adam), train: plan, ..by_sgd(7) };
        testing::fit(&recipe, &train, 1).tensors()
    };
    assert!(by(AdamMode::Exact) == by(AdamMode::Dense));
    assert!(by(AdamMode::Exact) != by(AdamMode::Sparse));
}

#[test]
fn invalid_settings_are_named() {
    use serde_json::json;
    let error = |settings| testing::parse_error("fossil", "student", &settings);
    assert_eq!(error(json!({"order": 0})), "student.order: must be from 1 to 4096, is 0");
    assert_eq!(error(json!({"alpha": 1.5})), "student.alpha: must be from 0 to 1, is 1.5");
    assert!(error(json!({"init_std": 0})).starts_with("student.init_std: must be above 0"));
    let train = testing::blocks();
    let tensors = by_sgd(5).init(&train, 1).unwrap().tensors();
    let message = |recipe: Fossil| ModelConfig::load(&recipe, &tensors).err().unwrap().to_string();
    assert_eq!(message(by_sgd(6)), "tensor `said`: expected 6 columns, found 5");
    let order = Fossil { order: 4, ..by_sgd(5) };
    assert_eq!(message(order), "tensor `own_weights`: expected 4 columns, found 3");
    assert!(by_sgd(5).resume(&train, &tensors).is_err());
}
