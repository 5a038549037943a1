#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::kernel::optimizer::Sgd;
use rankstill_core::{Batch, Data, ItemId, Lists, Query, UserId};

const RATE: f64 = 0.5;

fn by_sgd(own: f64) -> Simplex {
    Simplex {
        dim: 4,
        own,
        history: 5,
        init_std: 0.5,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..Simplex::default()
    }
}

fn with_two_tables(own: f64) -> Simplex {
    Simplex { history_apart: true, ..by_sgd(own) }
}

fn attending(own: f64) -> Simplex {
    Simplex { pooling: Pooling::UserAttention, ..by_sgd(own) }
}

fn check_gradient(objective: &dyn Objective) {
    let train = testing::blocks();
    let others = [
        with_two_tables(0.4),
        with_two_tables(0.0),
        attending(0.4),
        Simplex { history_apart: true, ..attending(0.0) },
    ];
    for recipe in [1.0, 0.4, 0.0].map(by_sgd).iter().chain(&others) {
        let cases = Cases::each_interaction(&train);
        testing::learner_gradient_of_state(recipe, RATE, &train, &cases, objective);
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

/// With dropout or left-out targets a step is the slope of the loss with the same masks and histories,
/// which only the learner knows.
#[test]
fn a_step_with_training_only_inputs_is_the_slope_of_its_own_loss() {
    for (leave_target_out, pooling) in
        [(false, Pooling::UserAttention), (true, Pooling::UserAttention), (true, Pooling::Mean)]
    {
        let recipe = Simplex { leave_target_out, pooling, dropout: 0.3, ..with_two_tables(0.4) };
        is_slope_of_its_own_loss(&recipe);
    }
}

fn is_slope_of_its_own_loss(recipe: &Simplex) {
    let train = testing::blocks();
    let objective =
        Sampled::new(Loss { kind: LossKind::Softmax, negatives: 4, ..Loss::default() }, &train);
    let still = Optimizer::Sgd(Sgd { learning_rate: 0.0, weight_decay: 0.0 });
    let still = Simplex { optimizer: still, ..recipe.clone() };
    let tables = ["own", "items", "apart", "map", "attention"];
    let tables = &tables[..if recipe.attends() { 5 } else { 4 }];
    let named: Vec<String> = tables.iter().map(|table| format!("{table}.parameters")).collect();
    let named: Vec<_> = named.iter().map(|name| (name.as_str(), false)).collect();
    testing::step_is_slope_of_own_loss((recipe, &still), RATE, &train, &objective, &named);

    let cases = Cases::each_interaction(&train);
    let batch = Batch::new(&cases, &[0, 50, 99], 0, 1);
    let slate = objective.slate(&batch);
    let [dropped, whole] = [0.3, 0.0].map(|dropout| {
        let recipe = Simplex { dropout, ..recipe.clone() };
        recipe.init(&train, 1).unwrap().step(&batch, &slate, &objective)
    });
    assert_ne!(dropped, whole);
}

#[test]
fn a_target_left_out_is_as_if_the_user_had_never_had_it() {
    let train = testing::blocks();
    let target = train.history(3)[6];
    let without = |user: UserId| {
        let kept = |item: &&ItemId| user != 3 || **item != target;
        train.history(user).iter().filter(kept).copied().collect::<Vec<ItemId>>()
    };
    let lists: Lists<ItemId> = (0..train.n_users() as u32).map(without).collect();
    let fewer = Arc::new(Interactions::new(train.n_items(), lists, None, None).unwrap());
    let cases = Cases::each_interaction(&train);
    let row = |row: &usize| cases.user(*row) == Some(3) && cases.targets_of(*row) == [target];
    let rows = [(0..cases.len()).find(row).unwrap() as u32];
    let batch = Batch::new(&cases, &rows, 0, 1);
    for recipe in [with_two_tables(0.4), attending(0.4)] {
        let recipe = Simplex { history: 20, ..recipe };
        let leaving = Simplex { leave_target_out: true, ..recipe.clone() };
        let objective =
            Sampled::new(Loss { kind: LossKind::Softmax, negatives: 4, ..Loss::default() }, &train);
        let slate = objective.slate(&batch);
        let mut left_out = leaving.init(&train, 1).unwrap();
        let mut never = recipe.resume(&fewer, &left_out.state()).unwrap();
        let mut had = recipe.resume(&train, &left_out.state()).unwrap();
        let [left_out, never, had] = [&mut left_out, &mut never, &mut had]
            .map(|learner| learner.step(&batch, &slate, &objective));
        assert_eq!(left_out, never);
        assert_ne!(left_out, had);
    }
}

#[test]
fn scores_are_cosines_of_users_mixed_with_their_latest_items() {
    let train = testing::blocks();
    let apart = "apart.parameters";
    for (recipe, pooled) in [
        (by_sgd(0.4), "items.parameters"),
        (with_two_tables(0.4), apart),
        (attending(0.4), "items.parameters"),
        (Simplex { history_apart: true, ..attending(0.4) }, apart),
        (Simplex { history: 12, ..attending(0.4) }, "items.parameters"),
    ] {
        are_cosines(&recipe, pooled, &train);
    }
}

fn are_cosines(recipe: &Simplex, pooled: &str, train: &Arc<Interactions>) {
    let learner = recipe.init(train, 1).unwrap();
    let state = learner.state();
    let of = |name: &str| match &state.get(name).unwrap().data {
        Data::F32(numbers) => numbers.clone(),
        other => panic!("{other:?}"),
    };
    let (own, items, map) = (of("own.parameters"), of("items.parameters"), of("map.parameters"));
    let pooled = of(pooled);
    let mut scores = vec![0.0; 40];
    learner.score(&[Query { user: Some(3), history: &[], hidden: &[] }], &mut scores);
    let all = train.history(3);
    assert_eq!(all.len(), 9);
    let latest = &all[all.len().saturating_sub(recipe.history)..];
    let counts = match recipe.pooling {
        Pooling::Mean => vec![1.0 / latest.len() as f32; latest.len()],
        Pooling::UserAttention => {
            let weights = of("attention.parameters");
            let key = |i: usize, k: usize| {
                let sum: f32 = (0..4).map(|j| weights[4 * k + j] * pooled[4 * i + j]).sum();
                (sum + weights[16 + k]).tanh()
            };
            let counts: Vec<f32> = latest
                .iter()
                .map(|&i| (0..4).map(|k| key(i as usize, k) * own[4 * 3 + k]).sum::<f32>().exp())
                .collect();
            assert!(counts.iter().any(|&x| (x / counts[0] - 1.0).abs() > 0.05), "{counts:?}");
            let sum: f32 = counts.iter().sum::<f32>() + (recipe.history - latest.len()) as f32;
            counts.iter().map(|x| x / sum).collect()
        }
    };
    let mean = |k: usize| {
        latest.iter().zip(&counts).map(|(&i, n)| n * pooled[4 * i as usize + k]).sum::<f32>()
    };
    let mapped = |k: usize| (0..4).map(|j| map[4 * k + j] * mean(j)).sum::<f32>();
    let user: Vec<f32> = (0..4).map(|k| 0.4 * own[4 * 3 + k] + 0.6 * mapped(k)).collect();
    let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    for (item, score) in items.chunks(4).zip(&scores) {
        let product: f32 = user.iter().zip(item).map(|(u, v)| u * v).sum();
        let cosine = product / length(&user) / length(item);
        assert!((score - cosine).abs() < 1e-5, "{score} {cosine}");
    }
}

#[test]
fn new_users_point_where_their_items_do() {
    let train = testing::blocks();
    for recipe in [by_sgd(1.0), by_sgd(0.4), with_two_tables(0.4), attending(0.4)] {
        let tensors = recipe.init(&train, 1).unwrap().tensors();
        let model = SimplexModel::loaded(&recipe, &tensors).unwrap();
        let mut vector = vec![0.0; 4];
        let query = [Query { user: None, history: &[3, 9, 3, 99], hidden: &[] }];
        rankstill_core::Factored::embed(&model, &query, &mut vector);
        // W is the identity before anything is learnt.
        let sum: Vec<f32> =
            model.pooled().row(3).iter().zip(model.pooled().row(9)).map(|(a, b)| a + b).collect();
        let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (x, sum) in vector.iter().zip(&sum) {
            assert!((x - sum / length).abs() < 1e-5);
        }
    }
}

#[test]
fn a_vector_of_0_has_no_direction_and_no_gradient() {
    let train =
        Arc::new(Interactions::new(3, Lists::from_iter([vec![0, 1], vec![]]), None, None).unwrap());
    let recipe = by_sgd(0.0);
    let mut learner = recipe.init(&train, 1).unwrap();
    // The second user has nothing: with no vector of their own they are 0.
    let query = [Query { user: Some(1), history: &[], hidden: &[] }];
    let mut scores = vec![f32::NAN; 3];
    learner.score(&query, &mut scores);
    assert_eq!(scores, [0.0; 3]);
    let cases = Cases::each_interaction(&train);
    let objective = recipe.objective(&train);
    let batch = Batch::new(&cases, &[0, 1], 0, 1);
    assert!(learner.step(&batch, &objective.slate(&batch), &*objective).is_finite());
    learner.settle();
    assert!(learner.tensors().matrix("items").unwrap().0.iter().all(|x| x.is_finite()));
}

#[test]
fn probes_are_scored_by_every_optimiser() {
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.1, ..Adam::default() });
    for own in [1.0, 0.4] {
        for optimizer in [adam(AdamMode::Sparse), adam(AdamMode::Dense), by_sgd(own).optimizer] {
            let recipe = Simplex { optimizer, ..by_sgd(own) };
            testing::probes_are_scored(&recipe, &train, &Cases::each_interaction(&train));
        }
    }
}

#[test]
fn rows_of_unknown_users_teach_nothing() {
    testing::unknown_users_teach_nothing(&by_sgd(0.4));
    testing::unknown_users_teach_nothing(&by_sgd(1.0));
    testing::unknown_users_teach_nothing(&with_two_tables(0.4));
    testing::unknown_users_teach_nothing(&attending(0.4));
    testing::unknown_users_teach_nothing(&Simplex { leave_target_out: true, ..by_sgd(0.4) });
}

#[test]
fn invalid_settings_are_named_in_full() {
    let error = |settings| testing::parse_error("simplex", "teacher", &settings);
    use serde_json::json;
    assert!(error(json!({"own": 1.5})).starts_with("teacher.own: must be from 0 to 1"));
    assert!(error(json!({"dropout": 1.0})).starts_with("teacher.dropout: must be from 0 to 0.999"));
    assert!(error(json!({"pooling": "sum"})).contains("teacher.pooling"));
    assert!(error(json!({"history": 0})).starts_with("teacher.history: must be at least 1"));
    let exact = error(json!({"optimizer": {"kind": "adam", "mode": "exact"}}));
    assert!(exact.starts_with("teacher.optimizer.mode: `exact` replays"), "{exact}");
    let kind = json!({"loss": {"kind": {"cosine_contrastive": {"margn": 0.5}}}});
    assert!(error(kind).contains("margn"));
}

#[test]
fn without_histories_with_two_tables_and_by_attention_it_holds_what_models_must_hold() {
    use serde_json::json;
    let entry = crate::MODELS.iter().find(|entry| entry.name == "simplex").unwrap();
    let (sgd, dense) = (
        json!({"kind": "sgd", "learning_rate": 0.5}),
        json!({"kind": "adam", "mode": "dense", "learning_rate": 0.02}),
    );
    let sparse = json!({"kind": "adam", "mode": "sparse", "learning_rate": 0.02});
    for (own, pooling, leave_target_out, loss, optimizer) in [
        (1.0, "mean", true, json!({"kind": "softmax"}), sgd),
        (1.0, "mean", false, json!({}), dense.clone()),
        (0.5, "mean", false, json!({}), dense.clone()),
        (0.5, "mean", true, json!({}), sparse.clone()),
        (0.5, "user_attention", true, json!({}), dense),
        (0.5, "user_attention", false, json!({}), sparse),
    ] {
        let mut loss = loss;
        loss["negatives"] = json!(8);
        let settings = json!({
            "dim": 8, "own": own, "pooling": pooling,
            "leave_target_out": leave_target_out, "history_apart": true, "dropout": 0.2, "loss": loss,
            "optimizer": optimizer, "final_rate": 0.5,
            "train": {"epochs": 20, "batch_size": 64, "validate_every": 3, "patience": 8},
        });
        testing::same_bytes_on_any_threads(entry, &settings);
        testing::resumes_to_the_same_bytes(entry, &settings);
        testing::save_and_load(entry, &settings);
    }
}
