#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Sgd};
use rankstill_core::{Batch, Lists, Query, ServingBytes, TopK};

const RATE: f64 = 0.5;

fn by_sgd(item_bias: bool) -> Fism {
    Fism {
        dim: 5,
        item_bias,
        init_std: 0.4,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..Fism::default()
    }
}

#[test]
fn a_score_by_hand_for_everyone_alike() {
    // P = (1, 2, 4), Q = (1, 10, 100), b = (0.5, 0, 0), alpha = 0.5.
    let recipe = Fism { dim: 1, item_bias: true, ..Fism::default() };
    let mut tensors = Tensors::default();
    tensors.insert("inputs", &[3, 1], vec![1.0f32, 2.0, 4.0]);
    tensors.insert("items", &[3, 2], vec![1.0f32, 0.5, 10.0, 0.0, 100.0, 0.0]);
    let model = ModelConfig::load(&recipe, &tensors).unwrap();
    let score = |user, history: &[u32]| {
        let mut out = [0.0; 3];
        model.score(&[Query { user, history, hidden: &[] }], &mut out);
        out
    };
    let x = 5.0 * 2f32.powf(-0.5);
    for user in [None, Some(0), Some(9)] {
        let found = score(user, &[2, 0, 2, 77]);
        for (found, by_hand) in found.iter().zip([x + 0.5, 10.0 * x, 100.0 * x]) {
            assert!((found - by_hand).abs() < 1e-4, "{found} {by_hand}: repeated, unknown items");
        }
        assert_eq!(score(user, &[]), [0.5, 0.0, 0.0], "without a history: the biases");
    }
    assert_eq!(model.serving_bytes(), ServingBytes { items: 4 * 9, users: 0 });
}

/// Only the learner knows which items each row leaves out, so its own loss is the measure.
#[test]
fn a_step_is_the_slope_of_its_own_loss_for_slates_of_every_shape() {
    let train = testing::blocks();
    for item_bias in [false, true] {
        let recipe = by_sgd(item_bias);
        let still = Optimizer::Sgd(Sgd { learning_rate: 0.0, weight_decay: 0.0 });
        let still = Fism { optimizer: still, ..recipe.clone() };
        for (name, objective) in
            testing::shapes().into_iter().chain([("own", recipe.objective(&train))])
        {
            println!("{name}");
            let named = [("inputs.parameters", true), ("items.parameters", true)];
            let (recipe, still) = (&recipe, &still);
            testing::step_is_slope_of_own_loss((recipe, still), RATE, &train, &*objective, &named);
        }
    }
}

/// A model that was never given the target has the same loss as one that leaves it out.
#[test]
fn a_target_does_not_explain_itself() {
    let train = testing::blocks();
    let target = train.history(3)[6];
    let kept = |user: u32| {
        let kept = |item: &&u32| user != 3 || **item != target;
        train.history(user).iter().filter(kept).copied().collect::<Vec<u32>>()
    };
    let lists: Lists<u32> = (0..train.n_users() as u32).map(kept).collect();
    let fewer = Interactions::new(train.n_items(), lists, None, None).unwrap();
    let recipe = by_sgd(false);
    let mut learner = recipe.init(&train, 1).unwrap();
    let score = |history: &[u32]| {
        let mut out = vec![0.0; train.n_items()];
        learner.score(&[Query { user: Some(3), history, hidden: &[] }], &mut out);
        out
    };
    let (without, with) = (score(fewer.history(3)), score(train.history(3)));
    let cases = recipe.cases(&train);
    let row = (0..cases.len())
        .find(|&row| cases.user(row) == Some(3) && cases.targets_of(row) == [target])
        .unwrap() as u32;
    let rows = [row];
    let batch = Batch::new(&cases, &rows, 0, 1);
    let objective = recipe.objective(&train);
    let slate = objective.slate(&batch);
    let negative = slate.listed().unwrap().row(0)[1] as usize;
    let loss_of =
        |scores: &[f32]| f64::from((1.0 + (scores[negative] - scores[target as usize]).exp()).ln());
    let loss = learner.step(&batch, &slate, &*objective);
    assert!((loss - loss_of(&without)).abs() < 1e-5);
    assert!((loss - loss_of(&with)).abs() > 1e-3);
}

#[test]
fn the_first_vectors_can_be_those_of_the_training_matrix() {
    let train = testing::blocks();
    let plan = Plan { epochs: 0, ..Plan::default() };
    let begin = |dim| Fism { dim, start: Start::Svd, train: plan.clone(), ..by_sgd(false) };
    let first = begin(6).init(&train, 1).unwrap();
    let tensors = first.tensors();
    assert_eq!(tensors.matrix("inputs").unwrap(), tensors.matrix("items").unwrap());
    let square = tensors.matrix("items").unwrap().0.iter().map(|x| f64::from(x * x)).sum::<f64>();
    let variance = square / (6.0 * train.n_items() as f64);
    assert!((variance.sqrt() - 0.4).abs() < 0.01, "{variance}");
    // More dimensions than the matrix has: the others are random.
    assert!(begin(60).init(&train, 1).unwrap().tensors() != first.tensors());
    let queries: Vec<Query<'_>> = (0..48)
        .map(|user| Query { user: None, history: train.history(user), hidden: &[] })
        .collect();
    let ranked = first.rank(&queries, &TopK::unseen(1)).unwrap();
    let found = (0..48u32).filter(|&u| ranked.items(u as usize) == [testing::held_out(u)]).count();
    assert!(found >= 40, "untrained, {found} of 48 held-out items are first");
}

#[test]
fn probes_are_scored_by_every_optimiser() {
    // Without targets in the history the learner's vectors are the model's.
    let train = testing::blocks();
    let cases = Cases::windows(&train, 2, 2);
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.1, ..Adam::default() });
    for optimizer in [adam(AdamMode::Exact), adam(AdamMode::Sparse), by_sgd(true).optimizer] {
        let recipe = Fism { optimizer, ..by_sgd(true) };
        testing::probes_are_scored(&recipe, &train, &cases);
        testing::learner_gradient(&by_sgd(true), RATE, &train, &cases, &*recipe.objective(&train));
    }
}

#[test]
fn exact_and_dense_adam_are_one_model() {
    let train = testing::blocks();
    let by = |mode| {
        let adam = Adam { mode, learning_rate: 0.02, weight_decay: 1e-3, ..Adam::default() };
        let plan = Plan { epochs: 3, batch_size: 50, ..Plan::default() };
        let recipe = Fism { optimizer: Optimizer::Adam(adam), train: plan, ..by_sgd(true) };
        testing::fit(&recipe, &train, 1).tensors()
    };
    assert!(by(AdamMode::Exact) == by(AdamMode::Dense));
    assert!(by(AdamMode::Exact) != by(AdamMode::Sparse));
}

#[test]
fn invalid_settings_are_named() {
    use serde_json::json;
    let error = |settings| testing::parse_error("fism", "student", &settings);
    assert_eq!(error(json!({"alpha": 1.5})), "student.alpha: must be from 0 to 1, is 1.5");
    assert!(error(json!({"init_std": 0})).starts_with("student.init_std: must be above 0"));
    assert!(error(json!({"start": "ease"})).starts_with("student.start: unknown variant"));
    let train = testing::blocks();
    let tensors = by_sgd(false).init(&train, 1).unwrap().tensors();
    let message = |recipe: Fism| ModelConfig::load(&recipe, &tensors).err().unwrap().to_string();
    assert_eq!(
        message(Fism { dim: 6, ..by_sgd(false) }),
        "tensor `inputs`: expected 6 columns, found 5"
    );
    assert_eq!(message(by_sgd(true)), "tensor `items`: expected 6 columns, found 5");
    assert!(by_sgd(false).resume(&train, &tensors).is_err());
}
