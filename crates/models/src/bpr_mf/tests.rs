#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Sgd};
use rankstill_core::kernel::simd::{Isa, force};
use rankstill_core::{Batch, Lists, Query, Slate, Tensors};

const RATE: f64 = 0.5;

fn by_sgd(item_bias: bool) -> BprMf {
    BprMf {
        dim: 5,
        item_bias,
        init_std: 0.5,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..BprMf::default()
    }
}

fn check_gradient(objective: &dyn Objective) {
    let train = testing::blocks();
    for item_bias in [false, true] {
        for cases in [Cases::each_interaction(&train), Cases::windows(&train, 2, 2)] {
            testing::learner_gradient(&by_sgd(item_bias), RATE, &train, &cases, objective);
        }
    }
}

#[test]
fn a_step_is_the_slope_of_every_own_loss() {
    use crate::parts::loss::LossKind::{Bpr, LogLoss, Softmax};
    for kind in [Bpr, LogLoss, Softmax] {
        for negatives in [1, 4] {
            check_gradient(&Sampled::new(
                Loss { kind, negatives, ..Loss::default() },
                &testing::blocks(),
            ));
        }
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
fn probes_are_scored_by_every_optimiser() {
    let train = testing::blocks();
    let adam = |mode| Optimizer::Adam(Adam { mode, learning_rate: 0.1, ..Adam::default() });
    let optimizers = [adam(AdamMode::Exact), adam(AdamMode::Sparse), adam(AdamMode::Dense)];
    for optimizer in optimizers.into_iter().chain([by_sgd(true).optimizer]) {
        let recipe = BprMf { optimizer, ..by_sgd(true) };
        testing::probes_are_scored(&recipe, &train, &Cases::each_interaction(&train));
    }
}

#[test]
fn rows_of_unknown_users_teach_nothing() {
    testing::unknown_users_teach_nothing(&by_sgd(false));
}

#[test]
fn exact_and_dense_adam_are_one_model_and_sparse_is_another() {
    let train = testing::blocks();
    let by = |mode| {
        let adam = Adam { mode, learning_rate: 0.02, weight_decay: 1e-3, ..Adam::default() };
        let plan = Plan { epochs: 4, batch_size: 50, ..Plan::default() };
        let recipe =
            BprMf { dim: 7, optimizer: Optimizer::Adam(adam), train: plan, ..BprMf::default() };
        testing::fit(&recipe, &train, 1).tensors()
    };
    assert!(by(AdamMode::Exact) == by(AdamMode::Dense));
    assert!(by(AdamMode::Exact) != by(AdamMode::Sparse));
}

#[test]
fn plain_bpr_by_sgd_runs_the_fused_kernel_and_learns() {
    let train = testing::blocks();
    for item_bias in [false, true] {
        let recipe = BprMf {
            optimizer: Optimizer::Sgd(Sgd { learning_rate: 0.05, weight_decay: 1e-3 }),
            ..by_sgd(item_bias)
        };
        let mut learner = recipe.init(&train, 1).unwrap();
        let (one, two) =
            (Sampled::new(Loss::default(), &train), Loss { negatives: 2, ..Loss::default() });
        assert!(learner.epoch(0, 1, &Sampled::new(two, &train)).is_none());
        let losses: Vec<f64> =
            (0..60).map(|epoch| learner.epoch(epoch, 1, &one).unwrap()).collect();
        let mean = |loss: f64| loss / train.len() as f64;
        assert!(mean(losses[0]) > 0.4 && mean(losses[59]) < 0.25 * mean(losses[0]), "{losses:?}");
    }
}

#[test]
fn the_learning_rate_decays_linearly_over_the_plan() {
    let plan = Plan { epochs: 5, ..Plan::default() };
    let recipe = BprMf { final_rate: 0.2, train: plan, ..by_sgd(false) };
    let rates: Vec<f64> = (0..5).map(|epoch| recipe.training().rate(epoch) / RATE).collect();
    for (rate, by_hand) in rates.iter().zip([1.0, 0.8, 0.6, 0.4, 0.2]) {
        assert!((rate - by_hand).abs() < 1e-12, "{rates:?}");
    }
    assert_eq!(BprMf { final_rate: 1.0, ..recipe.clone() }.training().rate(3), RATE);
    let once = Plan { epochs: 1, ..recipe.train.clone() };
    assert_eq!(BprMf { train: once, ..recipe.clone() }.training().rate(0), RATE);

    // With SGD, steps are proportional to the rate, in batches and in the fused kernel.
    let train = testing::blocks();
    let cases = Cases::each_interaction(&train);
    let objective = Sampled::new(Loss { negatives: 2, ..Loss::default() }, &train);
    let step = |final_rate| {
        let recipe = BprMf { final_rate, ..recipe.clone() };
        let mut learner = recipe.init(&train, 1).unwrap();
        let before = learner.tensors().f32s("users", 240).unwrap().to_vec();
        let batch = Batch::new(&cases, &[0, 50, 99], 4, 1);
        learner.step(&batch, &objective.slate(&batch), &objective);
        let after = learner.tensors().f32s("users", 240).unwrap().to_vec();
        before.iter().zip(after).map(|(old, new)| f64::from(old - new)).collect::<Vec<_>>()
    };
    let (short, long) = (step(0.2), step(1.0));
    assert!(long.iter().any(|&x| x.abs() > 1e-3));
    assert!(short.iter().zip(&long).all(|(short, long)| (short - 0.2 * long).abs() < 1e-6));
    let still = BprMf { final_rate: 0.0, ..recipe.clone() };
    let mut learner = still.init(&train, 1).unwrap();
    let before = learner.tensors();
    learner.epoch(4, 1, &Sampled::new(Loss::default(), &train)).unwrap();
    assert!(learner.tensors() == before, "a rate of 0 moves nothing");
}

#[test]
fn a_batch_that_is_one_list_long_and_one_that_is_empty_do_no_harm() {
    let train = testing::blocks();
    let cases = Cases::each_interaction(&train);
    let objective = Sampled::new(Loss::default(), &train);
    let mut learner = by_sgd(false).init(&train, 1).unwrap();
    let before = learner.tensors();
    let batch = Batch::new(&cases, &[], 0, 1);
    assert_eq!(learner.step(&batch, &objective.slate(&batch), &objective), 0.0);
    let batch = Batch::new(&cases, &[3], 0, 1);
    let nothing = Slate::lists(Lists::from_iter([vec![]]));
    learner.step(&batch, &nothing, &testing::RaggedLists);
    assert!(learner.tensors() == before);
}

#[test]
fn a_user_without_a_history_is_the_mean_user() {
    let train = testing::blocks();
    let recipe = by_sgd(true);
    let model = Mf::first(&recipe, &train, 1).unwrap();
    let mut vector = vec![0.0; 6];
    rankstill_core::Factored::embed(&model, &[Query::default()], &mut vector);
    for (column, &x) in vector[..5].iter().enumerate() {
        let mean = (0..48).map(|u| f64::from(model.users.row(u)[column])).sum::<f64>() / 48.0;
        assert!((f64::from(x) - mean).abs() < 1e-6);
    }
    assert_eq!(vector[5], 1.0, "for the bias");
}

#[test]
fn models_that_do_not_fit_the_recipe_are_refused() {
    let train = testing::blocks();
    let tensors = by_sgd(false).init(&train, 1).unwrap().tensors();
    let message = |recipe: BprMf| ModelConfig::load(&recipe, &tensors).err().unwrap().to_string();
    let error = message(BprMf { dim: 6, ..by_sgd(false) });
    assert_eq!(error, "tensor `users`: expected rows of 6, found rows of 5");
    let error = message(by_sgd(true));
    assert_eq!(error, "tensor `items`: expected rows of 6, found rows of 5");
    assert!(by_sgd(false).resume(&train, &tensors).is_err());
}

#[test]
fn invalid_settings_are_named_in_full() {
    let error = |settings| testing::parse_error("bpr_mf", "student", &settings);
    use serde_json::json;
    assert!(error(json!({"dim": 0})).starts_with("student.dim: must be from 1"));
    assert!(error(json!({"final_rate": 1.5})).starts_with("student.final_rate: must be from 0"));
    assert!(error(json!({"loss": {"negatives": 0}})).starts_with("student.loss.negatives:"));
    let rate = json!({"optimizer": {"kind": "sgd", "learning_rate": -1.0}});
    assert!(error(rate).starts_with("student.optimizer: `learning_rate`"));
    let by_users = json!({"optimizer": {"kind": "sgd"}, "train": {"sampling": "users"}});
    assert!(error(by_users).starts_with("student.train.sampling: plain BPR by `sgd`"));
    let typo = error(json!({"train": {"sampling": "user"}}));
    assert!(typo.contains("student.train.sampling") && typo.contains("`users`"), "{typo}");
    let typo = error(json!({"loss": {"kind": "brp"}}));
    assert!(typo.contains("student.loss.kind") && typo.contains("log_loss"), "{typo}");
}

#[test]
fn every_optimiser_and_loss_passes_the_generic_tests() {
    use serde_json::json;
    let entry = crate::MODELS.iter().find(|entry| entry.name == "bpr_mf").unwrap();
    let plan = |sampling| {
        json!({
            "epochs": 40, "sampling": sampling, "batch_size": 100, "validate_every": 3, "patience": 4
        })
    };
    let (sgd, adam) = (
        json!({"kind": "sgd", "learning_rate": 0.1}),
        |mode| json!({"kind": "adam", "mode": mode, "learning_rate": 0.03, "weight_decay": 1e-5}),
    );
    for (loss, optimizer, plan) in [
        (json!({"kind": "bpr"}), sgd, plan("cases")), // the fused kernel
        (json!({"kind": "bpr"}), adam("exact"), plan("users")),
        (json!({"kind": "softmax", "negatives": 5}), adam("sparse"), plan("users")),
        (json!({"kind": "log_loss", "negatives": 3}), adam("dense"), plan("cases")),
    ] {
        let settings = json!({
            "dim": 8, "loss": loss, "optimizer": optimizer, "final_rate": 0.5, "train": plan
        });
        testing::same_bytes_on_any_threads(entry, &settings);
        testing::resumes_to_the_same_bytes(entry, &settings);
        testing::finds_the_held_out_item(entry, &settings);
    }
}

#[test]
fn steps_on_lists_and_with_the_complement_have_the_same_bytes_on_instruction_sets_with_fma() {
    let (train, recipe) = (testing::blocks(), by_sgd(true));
    let cases = recipe.cases(&train);
    let rows: Vec<u32> = (0..100).collect();
    let sets = Isa::ALL.into_iter().filter(|isa| isa.is_available() && isa.is_fused());
    let models: Vec<Vec<Tensors>> = sets
        .map(|isa| {
            // All tests of this process use it meanwhile; by this very claim, that changes none of their results.
            force(Some(isa));
            let objectives = testing::shapes().into_iter().filter(|(name, _)| *name != "all");
            objectives
                .map(|(_, objective)| {
                    let mut learner = recipe.init(&train, 1).unwrap();
                    for epoch in 0..5 {
                        let batch = Batch::new(&cases, &rows, epoch, 1);
                        learner.step(&batch, &objective.slate(&batch), &*objective);
                    }
                    learner.tensors()
                })
                .collect()
        })
        .collect();
    force(None);
    assert!(models.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Coded items, trained by plain steps along the gradient.
fn coded(bits: u32) -> BprMf {
    let loss = Loss { negatives: 2, ..Loss::default() };
    BprMf { item_bits: bits, loss, ..by_sgd(false) }
}

#[test]
fn coded_items_follow_the_gradient_at_what_their_codes_stand_for() {
    use rankstill_core::kernel::codes::{Scale, quantise};
    use rankstill_core::{Learner, Tensors};
    let train = testing::blocks();
    let rows: Vec<u32> = (0..90).collect();
    for bits in [1, 2, 4] {
        let recipe = coded(bits);
        let cases = recipe.cases(&train);
        for (name, objective) in testing::shapes() {
            let items = |learner: &dyn Learner| {
                let state = learner.state();
                state.get("items.parameters").unwrap().data.floats().unwrap().to_vec()
            };
            let mut learner = recipe.init(&train, 1).unwrap();
            let before = items(&*learner);
            // The exact model whose items are the decoded ones.
            let mut state = Tensors::default();
            let (mut decoded, mut inside) = (before.clone(), vec![true; before.len()]);
            for (i, row) in decoded.chunks_mut(5).enumerate() {
                quantise(row, bits, Scale::Nearest, |k, is_inside| inside[i * 5 + k] = is_inside);
            }
            for (key, tensor) in learner.state().iter() {
                let data = match key {
                    "items.parameters" => decoded.clone().into(),
                    _ => tensor.data.clone(),
                };
                state.insert(key, &tensor.shape, data);
            }
            let mut exact =
                BprMf { item_bits: 0, ..recipe.clone() }.resume(&train, &state).unwrap();
            let batch = Batch::new(&cases, &rows, 0, 1);
            let slate = objective.slate(&batch);
            let losses = [&mut learner, &mut exact].map(|l| l.step(&batch, &slate, &*objective));
            assert!((losses[0] - losses[1]).abs() <= 1e-9 * losses[1].abs(), "{name}: {losses:?}");
            let (after, expected) = (items(&*learner), items(&*exact));
            let mut moved = 0;
            for at in 0..before.len() {
                let step = expected[at] - decoded[at];
                let step = if inside[at] { step } else { 0.0 };
                assert!((after[at] - before[at] - step).abs() < 1e-5, "{bits} {name} {at}");
                moved += usize::from(step != 0.0);
            }
            assert!(moved > 50, "{bits} {name}: {moved}");
            let users = |learner: &dyn Learner| learner.state().with_prefix("users.");
            assert!(users(&*learner) == users(&*exact), "{bits} {name}");
        }
    }
}

#[test]
fn coded_models_pass_the_generic_tests() {
    use serde_json::json;
    let entry = crate::MODELS.iter().find(|entry| entry.name == "bpr_mf").unwrap();
    for (bits, mode) in [(1, "exact"), (2, "sparse"), (4, "exact")] {
        let settings = json!({
            "dim": 16, "item_bits": bits, "loss": {"kind": "softmax", "negatives": 5},
            "optimizer": {"kind": "adam", "mode": mode, "learning_rate": 0.03},
            "train": {"epochs": 30, "batch_size": 64, "validate_every": 2, "patience": 8}
        });
        testing::settings_round_trip(entry, &settings);
        testing::save_and_load(entry, &settings);
        testing::ranks_for_every_query(entry, &settings);
        testing::same_bytes_on_any_threads(entry, &settings);
        testing::resumes_to_the_same_bytes(entry, &settings);
        testing::finds_the_held_out_item(entry, &settings);
    }
}

#[test]
fn coded_items_take_the_bytes_of_codes() {
    use rankstill_core::ServingBytes;
    let train = testing::blocks();
    let learner = BprMf { dim: 32, ..coded(1) }.init(&train, 1).unwrap();
    // 40 items fill a block of 64: 32 bits and a scale each. 48 users of 32 numbers.
    let bytes = ServingBytes { items: 64 * 8, users: 48 * 128 };
    assert_eq!(learner.serving_bytes(), bytes);
    let exact = BprMf { dim: 32, ..coded(0) }.init(&train, 1).unwrap();
    assert_eq!(exact.serving_bytes(), ServingBytes { items: 40 * 128, users: 48 * 128 });
}

#[test]
fn what_cannot_be_trained_in_codes_is_refused() {
    use serde_json::json;
    let error = |settings| testing::parse_error("bpr_mf", "student", &settings);
    assert!(error(json!({"item_bits": 5})).starts_with("student.item_bits: must be 0, 1, 2"));
    let bias = error(json!({"item_bits": 4, "item_bias": true}));
    assert!(bias.starts_with("student.item_bias: must be false"), "{bias}");
    let sgd = error(json!({"item_bits": 4, "optimizer": {"kind": "sgd"}}));
    assert!(sgd.starts_with("student.item_bits: plain BPR by `sgd`"), "{sgd}");
}

#[test]
fn training_begins_with_als_scaled_to_odds() {
    use rankstill_core::{Fit, Recipe as _};
    let train = testing::blocks();
    for item_bias in [false, true] {
        let recipe = BprMf { dim: 3, item_bias, start: Start::Als, ..BprMf::default() };
        let model = Mf::first(&recipe, &train, 7).unwrap();
        let als = crate::ImplicitAls { dim: 3, iterations: 8, patience: 0, ..Default::default() };
        let als = als.fit(&train, &mut Fit::seeded(7)).unwrap();
        let n_items = train.n_items();
        let (mut found, mut expected) = (vec![0.0; n_items], vec![0.0; n_items]);
        let (mut sum, mut factor) = (0.0f64, None);
        for user in 0..train.n_users() as u32 {
            let query = [Query { user: Some(user), history: &[], hidden: &[] }];
            rankstill_core::Scorer::score(&model, &query, &mut found);
            als.score(&query, &mut expected);
            for (&found, &expected) in found.iter().zip(&expected) {
                // One factor for all pairs: the ranking is that of ALS.
                if expected.abs() > 1e-3 {
                    let own = found / expected;
                    let factor = *factor.get_or_insert(own);
                    assert!((own / factor - 1.0).abs() < 1e-3, "{own} {factor}");
                }
            }
            let own = train.items().row(user as usize).iter();
            sum += own.map(|&item| f64::from(found[item as usize])).sum::<f64>();
        }
        assert!((sum / train.len() as f64 - 4.0).abs() < 1e-3, "{}", sum / train.len() as f64);
    }
    let recipe = BprMf { start: Start::Als, ..BprMf::default() };
    let weights = Some(vec![-1.0, 3.0]);
    let weighted = Interactions::new(3, Lists::from_iter([vec![0], vec![1]]), None, weights);
    assert!(Mf::first(&recipe, &Arc::new(weighted.unwrap()), 1).is_ok(), "weights are not used");
    let empty = Arc::new(Interactions::new(3, Lists::from_iter([vec![]]), None, None).unwrap());
    assert!(Mf::first(&recipe, &empty, 1).is_err(), "nothing to factorise");
}
