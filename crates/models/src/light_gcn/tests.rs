#![allow(clippy::unwrap_used)]

use super::*;
use crate::parts::loss::LossKind;
use crate::testing;
use rankstill_core::kernel::optimizer::{AdamMode, Sgd};
use rankstill_core::{Batch, Factored, Lists, Query};

const RATE: f64 = 0.5;

fn by_sgd(layers: usize) -> LightGcn {
    LightGcn {
        dim: 5,
        layers,
        init_std: 0.5,
        l2: 0.0,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..LightGcn::default()
    }
}

/// Users 0..4 of items 0..4: a user and an item without neighbours, one pair twice.
fn small() -> Arc<Interactions> {
    let lines = [vec![0, 1], vec![1, 2, 1], vec![], vec![0]];
    Arc::new(Interactions::new(4, Lists::from_iter(lines), None, None).unwrap())
}

fn embedded(model: &LightGcnModel, query: Query<'_>) -> Vec<f32> {
    let mut vector = vec![0.0; model.items.dim()];
    model.embed(&[query], &mut vector);
    vector
}

/// The mean of the layers, in `f64`, layer by layer, with a dense matrix.
fn naive(train: &Interactions, first: &[f32], dim: usize, layers: usize) -> Vec<f64> {
    let (n_users, n) = (train.n_users(), train.n_users() + train.n_items());
    let mut edge = vec![0.0; n * n];
    for (user, item, _) in train.iter() {
        let (user, item) = (user as usize, n_users + item as usize);
        (edge[user * n + item], edge[item * n + user]) = (1.0, 1.0);
    }
    let degrees: Vec<f64> = edge.chunks(n).map(|row| row.iter().sum()).collect();
    let mut layer: Vec<f64> = first.iter().map(|&x| f64::from(x)).collect();
    let mut sum = layer.clone();
    for _ in 0..layers {
        let mut next = vec![0.0; n * dim];
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            if edge[i * n + j] > 0.0 {
                for k in 0..dim {
                    next[i * dim + k] += layer[j * dim + k] / (degrees[i] * degrees[j]).sqrt();
                }
            }
        }
        layer = next;
        sum.iter_mut().zip(&layer).for_each(|(sum, x)| *sum += x);
    }
    sum.iter().map(|sum| sum / (layers + 1) as f64).collect()
}

#[test]
fn what_is_saved_is_the_mean_of_the_layers() {
    for train in [small(), testing::blocks()] {
        for layers in 1..=4 {
            let learner = by_sgd(layers).init(&train, 1).unwrap();
            let state = learner.state();
            let first = &state::first(&state);
            let expected = naive(&train, first, 5, layers);
            let tensors = learner.tensors();
            let (users, ..) = tensors.matrix("users").unwrap();
            let (items, ..) = tensors.matrix("items").unwrap();
            let ours: Vec<f32> = [users, items].concat();
            assert_eq!(ours.len(), expected.len());
            for (ours, expected) in ours.iter().zip(&expected) {
                assert!((f64::from(*ours) - expected).abs() < 1e-6, "{ours} {expected}");
            }
        }
    }
}

#[test]
fn two_layers_of_a_pair_by_hand() {
    // One user, one item, both of degree 1: layers swap their vectors, so the mean of three is (2 a + b) / 3.
    let train = Arc::new(Interactions::new(1, Lists::from_iter([[0]]), None, None).unwrap());
    let recipe = LightGcn { dim: 1, ..by_sgd(2) };
    let learner = recipe.init(&train, 3).unwrap();
    let first = state::first(&learner.state());
    let users = learner.tensors().f32s("users", 1).unwrap()[0];
    assert!((users - (2.0 * first[0] + first[1]) / 3.0).abs() < 1e-6);
}

mod state {
    use rankstill_core::{Data, Tensors};

    pub fn first(state: &Tensors) -> Vec<f32> {
        match &state.get("first.parameters").unwrap().data {
            Data::F32(numbers) => numbers.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn check_gradient(objective: &dyn Objective) {
    let train = testing::blocks();
    for layers in [1, 2, 3] {
        let cases = Cases::each_interaction(&train);
        let recipe = LightGcn { dim: 3, ..by_sgd(layers) };
        testing::learner_gradient_of_state(&recipe, RATE, &train, &cases, objective);
    }
}

#[test]
fn a_step_is_the_slope_of_every_own_loss() {
    for kind in [LossKind::Bpr, LossKind::LogLoss, LossKind::Softmax] {
        let loss = Loss { kind, negatives: 3, ..Loss::default() };
        check_gradient(&Sampled::new(loss, &testing::blocks()));
    }
}

#[test]
fn a_step_is_the_slope_for_slates_of_every_shape() {
    for (name, objective) in testing::shapes() {
        println!("{name}");
        check_gradient(&*objective);
    }
}

#[test]
fn the_penalty_pulls_what_occurs_in_the_batch_towards_0() {
    let train = testing::blocks();
    let cases = Cases::each_interaction(&train);
    let objective = Sampled::new(Loss { negatives: 2, ..Loss::default() }, &train);
    let batch = Batch::new(&cases, &[0, 3, 99, 100], 0, 1);
    let slate = objective.slate(&batch);
    let step = |l2| {
        let mut learner = LightGcn { l2, ..by_sgd(2) }.init(&train, 1).unwrap();
        let before = state::first(&learner.state());
        learner.step(&batch, &slate, &objective);
        (before, state::first(&learner.state()))
    };
    let ((before, without), (_, with)) = (step(0.0), step(0.25));
    let rankstill_core::Slate::Lists { listed, .. } = &slate else { panic!() };
    let mut occurs = [0; 88];
    for at in 0..4 {
        occurs[batch.case(at).query.user.unwrap() as usize] += 1;
        listed.row(at).iter().for_each(|&item| occurs[48 + item as usize] += 1);
    }
    assert_eq!(occurs.iter().sum::<i32>(), 4 * (1 + 3));
    for (node, n) in occurs.iter().enumerate() {
        for k in node * 5..node * 5 + 5 {
            // A rate of 1/2, the mean over 4 rows, and a penalty of 1/4: x / 32 an occurrence.
            let by_hand = *n as f32 * before[k] / 32.0;
            assert!((without[k] - with[k] - by_hand).abs() < 1e-6, "node {node}");
        }
    }
}

#[test]
fn probes_are_scored_by_every_optimiser() {
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.1, ..Adam::default() });
    let optimizers = [adam(AdamMode::Exact), adam(AdamMode::Sparse), adam(AdamMode::Dense)];
    for optimizer in optimizers.into_iter().chain([by_sgd(2).optimizer]) {
        let recipe = LightGcn { optimizer, ..by_sgd(2) };
        testing::probes_are_scored(&recipe, &train, &Cases::each_interaction(&train));
    }
}

#[test]
fn rows_of_unknown_users_teach_nothing() {
    testing::unknown_users_teach_nothing(&by_sgd(2));
}

#[test]
fn adam_has_one_mode() {
    let train = testing::blocks();
    let by = |mode| {
        let adam = Adam { mode, learning_rate: 0.02, weight_decay: 1e-3, ..Adam::default() };
        let plan = Plan { epochs: 3, batch_size: 50, ..Plan::default() };
        let recipe = LightGcn { optimizer: Optimizer::Adam(adam), train: plan, ..by_sgd(2) };
        testing::fit(&recipe, &train, 1).tensors()
    };
    assert!(by(AdamMode::Exact) == by(AdamMode::Dense));
    assert!(by(AdamMode::Exact) == by(AdamMode::Sparse));
}

#[test]
fn a_new_user_is_the_normalised_sum_of_their_items() {
    // Items 0 and 1 have two neighbours each (a pair counts once), item 3 none: it counts as if it had one.
    let train = small();
    let recipe = by_sgd(2);
    let model = LightGcnModel::loaded(&recipe, &recipe.init(&train, 1).unwrap().tensors()).unwrap();
    let new_user = embedded(&model, Query { user: None, history: &[0, 3, 0], hidden: &[] });
    for (k, &x) in new_user.iter().enumerate() {
        let by_hand = model.items.row(0)[k] / 2.0 + model.items.row(3)[k] / 2f32.sqrt();
        assert!((x - by_hand).abs() < 1e-6);
    }
    let vector = embedded(&model, Query::default());
    for (k, &x) in vector.iter().enumerate() {
        let mean = (0..4).map(|user| model.users.row(user)[k]).sum::<f32>() / 4.0;
        assert!((x - mean).abs() < 1e-6);
    }
}

#[test]
fn catalogues_and_logs_of_nothing_do_no_harm() {
    let nothing = |n_users: usize, n_items: usize| {
        let lines = Lists::from_iter((0..n_users).map(|_| Vec::<u32>::new()));
        Arc::new(Interactions::new(n_items, lines, None, None).unwrap())
    };
    for (n_users, n_items) in [(0, 0), (3, 0), (0, 3), (2, 2)] {
        let train = nothing(n_users, n_items);
        let learner = by_sgd(2).init(&train, 1).unwrap();
        assert_eq!(learner.tensors().f32s("users", 5 * n_users).unwrap().len(), 5 * n_users);
    }
}

#[test]
fn models_that_do_not_fit_the_recipe_are_refused() {
    let train = testing::blocks();
    let tensors = by_sgd(2).init(&train, 1).unwrap().tensors();
    let other = LightGcn { dim: 6, ..by_sgd(2) };
    let error = ModelConfig::load(&other, &tensors).err().unwrap().to_string();
    assert_eq!(error, "tensor `users`: expected 6 columns, found 5");
    let mut few = tensors.clone();
    few.insert("item_degrees", &[3], vec![1u32, 2, 3]);
    let error = ModelConfig::load(&by_sgd(2), &few).err().unwrap().to_string();
    assert_eq!(error, "tensor `item_degrees`: expected 40 numbers, found 3");
    assert!(by_sgd(2).resume(&train, &tensors).is_err());
}

#[test]
fn invalid_settings_are_named_in_full() {
    let error = |settings| testing::parse_error("light_gcn", "teacher", &settings);
    use serde_json::json;
    assert!(error(json!({"layers": 0})).starts_with("teacher.layers: must be from 1 to 16"));
    assert!(error(json!({"l2": -1.0})).starts_with("teacher.l2: must be at least 0"));
    assert!(error(json!({"final_rate": 2.0})).starts_with("teacher.final_rate: must be from 0"));
}
